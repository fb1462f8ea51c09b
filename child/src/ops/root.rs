//! The root of the container's file system: found, entered, closed to the host.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, dup};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{chroot, fchdir, pivot_root};
use sys::mount::{AT_RECURSIVE, MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};

use super::mounts::{attach, clone_tree, open_host_directory};
use super::paths::stat;
use crate::data::{Fd, Text};
use crate::op::Depth;
use crate::page::{Called, Failure};
use crate::run::Executor;

/// The mount is moved (sys/mount.h).
const MS_MOVE: u32 = 0x2000;
/// The mount is in a peer group (sys/mount.h).
const MS_SHARED: u32 = 0x10_0000;
/// The mount is in no peer group (sys/mount.h).
const MS_PRIVATE: u64 = 0x4_0000;
/// The mount follows its peer group and tells it nothing (sys/mount.h).
const MS_SLAVE: u64 = 0x8_0000;

impl Executor<'_> {
    pub(crate) fn host_propagation(&mut self, flags: u32) -> Result<(), Failure> {
        self.host_shared = flags & MS_SHARED != 0;
        mount_change(c"/", MountPropagationFlags::from_bits_retain(flags)).called("mount")
    }

    pub(crate) fn open_root(
        &mut self,
        path: Text<'_>,
        tree: Option<Fd>,
        inode: (u64, u64),
    ) -> Result<(), Failure> {
        let below = open_host_directory(path.0).called("openat2")?;
        let seen = stat(&below).called("statx")?;
        // Another directory at the path than the one that the parent opened means that somebody renames what we mount.
        if (device_number(&seen), seen.stx_ino) != inode {
            return Err(Failure::new("root was replaced", Errno::STALE));
        }
        if self.host_shared {
            make_holder_private(&below)?;
        }
        let tree = match tree {
            Some(fd) => sys::fd::take(fd.0),
            None => clone_tree(&below, c"", Depth::Tree).called("open_tree")?,
        };
        attach(&tree, &below)?;
        self.root = Some(tree);
        Ok(())
    }

    pub(crate) fn enter_root(&mut self, inode: (u64, u64), of_init: Text<'_>) -> Result<(), Failure> {
        let root = open_slash()?;
        let seen = stat(&root).called("statx")?;
        let found = (device_number(&seen), seen.stx_ino);
        if found != inode && Some(found) != self.root_of(of_init) {
            return Err(Failure::new("the root is not the container's", Errno::STALE));
        }
        self.root = Some(root);
        Ok(())
    }

    /// The inode that a magic link below the runtime's procfs names.
    fn root_of(&self, link: Text<'_>) -> Option<(u64, u64)> {
        let proc = sys::fd::borrow(self.proc?.0);
        let root = openat(proc, link.0, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let seen = stat(&root).ok()?;
        Some((device_number(&seen), seen.stx_ino))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the child")]
    pub(crate) fn pivot_root(&mut self) -> Result<(), Failure> {
        let shared = if self.host_shared { Some(open_slash()?) } else { None };
        fchdir(self.root()?).called("fchdir")?;
        pivot_root(c".", c".").called("pivot_root")?;
        if let Some(old) = shared {
            // Where the tree has peers, what is unmounted in it is unmounted on the host as well: all of it. Not before,
            // because what is mounted for the container hangs in the same tree until now.
            let attr = MountAttr { propagation: MS_SLAVE, ..MountAttr::default() };
            mount_setattr(&old, AT_RECURSIVE, &attr).called("mount_setattr")?;
        }
        // The old root is now mounted upon the new one and is what `.` names.
        unmount(c".", UnmountFlags::DETACH).called("umount2")?;
        rustix::process::chdir(c"/").called("chdir")
    }

    pub(crate) fn hide_view(&self, path: Text<'_>) -> Result<(), Failure> {
        if self.host_shared {
            // What is unmounted from a shared mount goes on the host too. The rest of the tree keeps its peers.
            mount_change(c"/", MountPropagationFlags::DOWNSTREAM).called("mount")?;
            let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            match mount_change(path.0, flags) {
                // Covered by now, or not there: nothing to reach.
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(Failure::new("mount", errno)),
            }
        }
        hide_from_below(path.0)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the child")]
    pub(crate) fn move_root(&mut self) -> Result<(), Failure> {
        fchdir(self.root()?).called("fchdir")?;
        mount(c".", c"/", c"", MountFlags::from_bits_retain(MS_MOVE), c"").called("mount(MS_MOVE)")?;
        chroot(c".").called("chroot")?;
        rustix::process::chdir(c"/").called("chdir")
    }

    pub(crate) fn root_propagation(&self, flags: u32) -> Result<(), Failure> {
        mount_change(c"/", MountPropagationFlags::from_bits_retain(flags)).called("mount")
    }

    pub(crate) fn readonly_root(&self) -> Result<(), Failure> {
        let attr = MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount_setattr(self.root()?, 0, &attr).called("mount_setattr")
    }
}

fn open_slash() -> Result<OwnedFd, Failure> {
    openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).called("openat")
}

/// Takes the mount that holds `directory` out of its peer group: pivot_root(2) refuses a shared parent, and what the
/// container mounts would appear on the host.
fn make_holder_private(directory: &OwnedFd) -> Result<(), Failure> {
    let attr = MountAttr { propagation: MS_PRIVATE, ..MountAttr::default() };
    let mut at = dup(directory).called("dup")?;
    // EINVAL means that this directory is not the root of its mount; `..` of `/` is `/`, which always is one.
    while let Err(errno) = mount_setattr(&at, 0, &attr) {
        if errno != Errno::INVAL {
            return Err(Failure::new("mount_setattr", errno));
        }
        at = openat(&at, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .called("openat")?;
    }
    Ok(())
}

/// Detaches what is mounted at a path of the host's tree (in this mount namespace); covers it where it is locked.
fn hide_from_below(path: &core::ffi::CStr) -> Result<(), Failure> {
    match unmount(path, UnmountFlags::DETACH) {
        // Not a mount, or not there: nothing to hide.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::PERM) => mount(c"tmpfs", path, c"tmpfs", MountFlags::RDONLY, c"size=0").called("mount"),
        Err(errno) => Err(Failure::new("umount2", errno)),
    }
}

fn device_number(stat: &rustix::fs::Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}
