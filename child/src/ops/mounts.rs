//! Mounts inside the container: a file system, a tree, its attributes.
//!
//! Every target is resolved once, beneath the root, to a descriptor, and the mount goes onto that descriptor: by
//! move_mount(2), or by mount(2) on `.` after fchdir(2), which takes options of any length.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstatvfs, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_set_flag, fsconfig_set_string, fsopen,
    mount, mount_remount, move_mount, open_tree,
};
use rustix::process::fchdir;
use sys::mount::{AT_RECURSIVE, MountAttr, mount_setattr};

use super::paths::{
    PathBuffer, check_over, file_type, is_procfs, make_directory, make_file, resolve_for, stat,
};
use crate::data::Text;
use crate::message::{Kind, Message};
use crate::op::{Attributes, Depth, Over, Source};
use crate::page::{Called, Failure};
use crate::run::Executor;

impl<'a> Executor<'a> {
    pub(crate) fn mount(
        &mut self,
        target: Text<'a>,
        source: Text<'a>,
        kind: Text<'a>,
        (flags, data): (u32, Text<'a>),
        over: Over,
    ) -> Result<(), Failure> {
        self.dev = None;
        let was_there = self.open(target.0, OFlags::PATH | OFlags::DIRECTORY).is_ok();
        let directory = make_directory(self.root()?, target.0, resolve_for(over))?;
        check_over(&directory, over)?;
        let has_mode = data.0.to_bytes().split(|byte| *byte == b',').any(|part| part.starts_with(b"mode="));
        let with_mode = match kind.0 == c"tmpfs" && was_there && !has_mode {
            true => Some(mode_of(&directory, data.0)?),
            false => None,
        };
        let data = with_mode.as_ref().map_or(data.0, PathBuffer::as_c_str);
        mount_here(&directory, source.0, kind.0, flags, data)
            .map_err(|failure| Failure { value: refused_option(kind.0, data), ..failure })
    }

    pub(crate) fn mount_copy_up(
        &mut self,
        target: Text<'a>,
        flags: u32,
        data: Text<'a>,
    ) -> Result<(), Failure> {
        self.dev = None;
        let below = make_directory(self.root()?, target.0, ResolveFlags::empty())?;
        check_over(&below, Over::Any)?;
        // The copy needs a writable file system; read-only is what the mount becomes afterwards.
        let read_only = flags & MountFlags::RDONLY.bits();
        mount_here(&below, c"tmpfs", c"tmpfs", flags & !read_only, data.0)?;
        let above = self.open(target.0, OFlags::PATH | OFlags::DIRECTORY).called("openat2")?;
        self.copy(below.as_fd(), above.as_fd())?;
        if read_only == 0 {
            return Ok(());
        }
        let attr = MountAttr { attr_set: sys::mount::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount_setattr(&above, 0, &attr).called("mount_setattr")
    }

    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Failure> {
        Message::from(Kind::CopyFrom).send_with(self.socket, from).called("sendmsg")?;
        Message::from(Kind::CopyTo).send_with(self.socket, to).called("sendmsg")?;
        self.await_go()
    }

    pub(crate) fn bind(
        &mut self,
        (source, depth): (Source<'a>, Depth),
        target: Text<'a>,
        (whole, attributes): (Attributes, Attributes),
        over: Over,
    ) -> Result<(), Failure> {
        self.dev = None;
        let opened;
        let tree = match source {
            Source::Path(path) => {
                opened = clone_tree(CWD, path.0, depth).called("open_tree")?;
                opened.as_fd()
            }
            Source::Inside(path) => {
                let below = self.open(path.0, OFlags::PATH).called("openat2")?;
                opened = clone_tree(below, c"", depth).called("open_tree")?;
                opened.as_fd()
            }
            Source::Tree(fd) => sys::fd::borrow(fd.0),
        };
        for (attributes, flags) in [(whole, AT_RECURSIVE), (attributes, 0)] {
            if attributes != Attributes::default() {
                mount_setattr(tree, flags, &attr(attributes)).called("mount_setattr")?;
            }
        }
        if over == Over::ProcfsTree && !is_procfs(tree)? {
            return Err(Failure::new("source is not procfs", Errno::PERM));
        }
        let resolve = resolve_for(over);
        let onto = match file_type(&stat(tree).called("statx")?) {
            FileType::Directory => make_directory(self.root()?, target.0, resolve)?,
            _ => make_file(self.root()?, target.0, resolve)?,
        };
        check_over(&onto, over)?;
        attach(tree, onto)
    }

    pub(crate) fn set_attributes(
        &mut self,
        target: Text<'a>,
        depth: Depth,
        attributes: Attributes,
    ) -> Result<(), Failure> {
        let mount = self.open(target.0, OFlags::PATH).called("openat2")?;
        let flags = if depth == Depth::Tree { AT_RECURSIVE } else { 0 };
        mount_setattr(mount, flags, &attr(attributes)).called("mount_setattr")
    }

    pub(crate) fn remount(&mut self, target: Text<'a>, flags: u32, data: Text<'a>) -> Result<(), Failure> {
        let directory = self.open(target.0, OFlags::PATH | OFlags::DIRECTORY).called("openat2")?;
        let kept = mount_flags(&directory)?;
        fchdir(&directory).called("fchdir")?;
        mount_remount(c".", MountFlags::from_bits_retain(flags | kept), data.0).called("mount(MS_REMOUNT)")
    }
}

/// The attributes of the mount itself as flags of mount(2), because MS_REMOUNT replaces them: ST_* of statfs(2) have the
/// numbers of MS_*, but for relatime.
fn mount_flags(directory: &OwnedFd) -> Result<u32, Failure> {
    const ST_RELATIME: u64 = 0x1000;
    const OF_THE_MOUNT: u32 = 2 | 4 | 8 | 1024 | 2048;
    let flags = fstatvfs(directory).called("fstatfs")?.f_flag.bits();
    let relatime = if flags & ST_RELATIME != 0 { MountFlags::RELATIME.bits() } else { 0 };
    Ok(flags as u32 & OF_THE_MOUNT | relatime)
}

/// The data of a tmpfs with the mode of the directory that it covers, as users of volumes expect. As an option it shows
/// in the table of mounts and outlives a remount.
fn mode_of(below: &OwnedFd, data: &CStr) -> Result<PathBuffer, Failure> {
    let mode = u32::from(stat(below).called("statx")?.stx_mode) & 0o7777;
    let mut option = *b",mode=0000";
    for (place, digit) in option.iter_mut().rev().take(4).enumerate() {
        *digit = b'0' + (mode >> (3 * place) & 7) as u8;
    }
    let option = if data.is_empty() { option.get(1..).unwrap_or_default() } else { &option };
    PathBuffer::concat(data.to_bytes(), option).called("mount")
}

/// mount(2) on an open directory.
fn mount_here(
    directory: &OwnedFd,
    source: &CStr,
    kind: &CStr,
    flags: u32,
    data: &CStr,
) -> Result<(), Failure> {
    fchdir(directory).called("fchdir")?;
    mount(source, c".", kind, MountFlags::from_bits_retain(flags), data).called("mount")
}

/// The number of the first option that the file system refuses, counted from 1; 0 where none stands out. Asked only
/// after mount(2) failed, which does not say.
fn refused_option(kind: &CStr, data: &CStr) -> u32 {
    let Ok(context) = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) else { return 0 };
    let refused = |option: &[u8]| {
        let mut parts = option.splitn(2, |byte| *byte == b'=');
        let (Some(key), value) = (parts.next(), parts.next()) else { return false };
        let (Ok(key), Ok(value)) = (PathBuffer::new(key), value.map(PathBuffer::new).transpose()) else {
            return false;
        };
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_c_str(), value.as_c_str()).is_err(),
            None => fsconfig_set_flag(context.as_fd(), key.as_c_str()).is_err(),
        }
    };
    let position = data.to_bytes().split(|byte| *byte == b',').position(refused);
    position.and_then(|index| u32::try_from(index + 1).ok()).unwrap_or(0)
}

/// A detached copy of the tree at `path`.
pub(crate) fn clone_tree(directory: impl AsFd, path: &CStr, depth: Depth) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// Puts a detached tree onto an open file or directory.
pub(crate) fn attach(tree: impl AsFd, onto: impl AsFd) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", onto, c"", flags).called("move_mount")
}

fn attr(attributes: Attributes) -> MountAttr {
    let Attributes { set, clear, propagation } = attributes;
    MountAttr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 }
}

/// Opens a directory of the host by its path.
pub(crate) fn open_host_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::empty())
}
