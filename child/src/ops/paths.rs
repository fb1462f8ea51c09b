//! Paths of the configuration, resolved beneath the container's root, once, to a descriptor.
//!
//! The kernel resolves (openat2 with RESOLVE_IN_ROOT), so neither `..` nor a symbolic link of the image leaves the root,
//! and nothing can change between a check and its use: the descriptor is what is used afterwards.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstatfs, mkdirat, openat, openat2,
    readlinkat_raw, statx,
};
use rustix::io::Errno;

use crate::op::Over;
use crate::page::{Called, Failure};
use crate::run::Executor;

/// The longest path that the kernel takes, with its terminator.
const PATH_MAX: usize = 4096;

/// How often a resolution is repeated that lost a race against renames (EAGAIN).
const ATTEMPTS: usize = 128;

/// How many dangling links a path may lead through. The kernel follows forty; images have one.
const LINKS: usize = 8;

/// The magic number of procfs (linux/magic.h).
pub(crate) const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// A path under construction: no heap exists here.
pub(crate) struct PathBuffer {
    bytes: [u8; PATH_MAX],
}

impl PathBuffer {
    /// A copy of `bytes` with a terminator.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Errno> {
        Self::concat(bytes, b"")
    }

    /// Both one after the other with a terminator.
    pub(crate) fn concat(head: &[u8], tail: &[u8]) -> Result<Self, Errno> {
        let mut bytes = [0; PATH_MAX];
        if head.len() + tail.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        bytes.iter_mut().zip(head.iter().chain(tail)).for_each(|(to, from)| *to = *from);
        Ok(Self { bytes })
    }

    /// Both with a slash between them.
    fn join(head: &[u8], tail: &[u8]) -> Result<Self, Errno> {
        let mut path = Self::concat(head, b"/")?;
        let slot = path.bytes.get_mut(head.len() + 1..PATH_MAX - 1).ok_or(Errno::NAMETOOLONG)?;
        if tail.len() > slot.len() {
            return Err(Errno::NAMETOOLONG);
        }
        slot.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        Ok(path)
    }

    /// The path for a system call.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// Opens `path` beneath `root` without following magic links.
pub(crate) fn open_beneath(
    root: impl AsFd,
    path: &CStr,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// What is known of an open file without touching the file system behind it.
pub(crate) fn stat(fd: impl AsFd) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    statx(fd, c"", flags, StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::INO)
}

/// The type in a mode.
pub(crate) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// A path's parent and last component: `/a/b` gives (`/a`, `b`), `b` gives (`.`, `b`).
pub(crate) fn split(path: &CStr) -> Result<(PathBuffer, &CStr), Errno> {
    let bytes = path.to_bytes_with_nul();
    let slash = path.to_bytes().iter().rposition(|byte| *byte == b'/');
    let name_at = slash.map_or(0, |slash| slash + 1);
    let parent = match slash {
        None => &b"."[..],
        Some(0) => b"/",
        Some(slash) => bytes.get(..slash).unwrap_or_default(),
    };
    let name =
        bytes.get(name_at..).and_then(|name| CStr::from_bytes_with_nul(name).ok()).ok_or(Errno::INVAL)?;
    if matches!(name.to_bytes(), b"" | b"." | b"..") {
        return Err(Errno::INVAL);
    }
    Ok((PathBuffer::new(parent)?, name))
}

/// What is at a path, or where it goes on.
#[expect(clippy::large_enum_variant, reason = "there is no heap to put a path into")]
enum Found {
    Open(OwnedFd),
    /// A symbolic link without a target led here.
    Elsewhere(PathBuffer),
}

/// The directory `path` beneath `root`, made where it is absent, component by component. Where a symbolic link dangles,
/// its target is made, beneath the root as well: images link /etc/resolv.conf into a /run that is empty.
pub(crate) fn make_directory(
    root: impl AsFd,
    path: &CStr,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Failure> {
    follow(path, |path| find_directory(&root, path, resolve))
}

fn follow(path: &CStr, find: impl Fn(&CStr) -> Result<Found, Failure>) -> Result<OwnedFd, Failure> {
    let mut path = PathBuffer::new(path.to_bytes()).called("openat2")?;
    for _ in 0..LINKS {
        match find(path.as_c_str())? {
            Found::Open(fd) => return Ok(fd),
            Found::Elsewhere(next) => path = next,
        }
    }
    Err(Failure::new("openat2", Errno::LOOP))
}

fn find_directory(root: impl AsFd, path: &CStr, resolve: ResolveFlags) -> Result<Found, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_beneath(&root, path, flags, resolve) {
        Err(Errno::NOENT) => {}
        other => return other.map(Found::Open).called("openat2"),
    }
    // Nearly always the last component alone is absent, and its parent is found at once.
    if let Ok((before, name)) = split(path)
        && let Ok(parent) = open_beneath(&root, before.as_c_str(), flags, resolve)
    {
        return make_component(&parent, before.as_c_str().to_bytes(), name, None);
    }
    let bytes = path.to_bytes();
    let mut parent = open_beneath(&root, c"/", flags, resolve).called("openat2")?;
    let mut start = 0;
    loop {
        let before = bytes.get(..start).unwrap_or_default();
        let Some(name) = component(bytes, &mut start) else { return Ok(Found::Open(parent)) };
        let prefix = PathBuffer::new(bytes.get(..start).unwrap_or(bytes)).called("openat2")?;
        parent = match open_beneath(&root, prefix.as_c_str(), flags, resolve) {
            Err(Errno::NOENT) => {
                let name = PathBuffer::new(name).called("mkdirat")?;
                match make_component(&parent, before, name.as_c_str(), bytes.get(start..))? {
                    Found::Open(made) => made,
                    elsewhere => return Ok(elsewhere),
                }
            }
            other => other.called("openat2")?,
        };
    }
}

/// The path behind the symbolic link `name` in `parent`, which has the path `before`, with `rest` after it; `None` where
/// `name` is no link.
fn beyond(
    parent: impl AsFd,
    before: &[u8],
    name: &CStr,
    rest: Option<&[u8]>,
) -> Result<Option<PathBuffer>, Failure> {
    let mut target = [MaybeUninit::uninit(); PATH_MAX];
    let target = match readlinkat_raw(parent, name, &mut target) {
        Ok((target, _)) => &*target,
        Err(Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Failure::new("readlinkat", errno)),
    };
    let before = if target.first() == Some(&b'/') { b"" } else { before };
    let begun = PathBuffer::join(before, target).called("readlinkat")?;
    match rest.filter(|rest| !rest.is_empty()) {
        Some(rest) => PathBuffer::join(begun.as_c_str().to_bytes(), rest).map(Some).called("readlinkat"),
        None => Ok(Some(begun)),
    }
}

/// The next component of `bytes` from `start` on, which is moved behind it.
fn component<'a>(bytes: &'a [u8], start: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*start..)?;
    let skip = rest.iter().position(|byte| *byte != b'/')?;
    let name = rest.get(skip..)?;
    let len = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
    *start += skip + len;
    name.get(..len)
}

/// Makes the directory `name` in `parent`, which has the path `before`, unless a symbolic link without a target is there;
/// `rest` comes after it.
fn make_component(
    parent: impl AsFd,
    before: &[u8],
    name: &CStr,
    rest: Option<&[u8]>,
) -> Result<Found, Failure> {
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {}
        // A link, or somebody else made it; the open below tells what.
        Err(Errno::EXIST) => {
            if let Some(next) = beyond(&parent, before, name, rest)? {
                return Ok(Found::Elsewhere(next));
            }
        }
        Err(errno) => return Err(Failure::new("mkdirat", errno)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&parent, name, flags, Mode::empty()).map(Found::Open).called("openat")
}

/// The file `path` beneath `root` for something to be attached to, made empty where it is absent, behind a symbolic link
/// that dangles as well.
pub(crate) fn make_file(root: impl AsFd, path: &CStr, resolve: ResolveFlags) -> Result<OwnedFd, Failure> {
    follow(path, |path| find_file(&root, path, resolve))
}

fn find_file(root: impl AsFd, path: &CStr, resolve: ResolveFlags) -> Result<Found, Failure> {
    match open_beneath(&root, path, OFlags::PATH, resolve) {
        Err(Errno::NOENT) => {}
        other => return other.map(Found::Open).called("openat2"),
    }
    let (parent_path, name) = split(path).called("openat2")?;
    let parent = make_directory(&root, parent_path.as_c_str(), resolve)?;
    if let Some(next) = beyond(&parent, parent_path.as_c_str().to_bytes(), name, None)? {
        return Ok(Found::Elsewhere(next));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(Found::Open).called("openat")
}

/// Refuses a target inside procfs, where a mount would redirect what the runtime and the container's tools read and
/// write there; the planner allows the few files for which it is the custom.
pub(crate) fn check_over(target: impl AsFd, over: Over) -> Result<(), Failure> {
    if over != Over::Procfs && is_procfs(target)? {
        return Err(Failure::new("target is inside procfs", Errno::PERM));
    }
    Ok(())
}

/// Whether an open file lies in procfs.
pub(crate) fn is_procfs(fd: impl AsFd) -> Result<bool, Failure> {
    let magic = fstatfs(fd).called("fstatfs")?.f_type;
    Ok(i128::from(magic) == i128::from(PROC_SUPER_MAGIC))
}

/// The extra rule of resolution for a kind of target.
pub(crate) fn resolve_for(over: Over) -> ResolveFlags {
    match over {
        Over::Any => ResolveFlags::empty(),
        Over::Directory | Over::Procfs | Over::ProcfsTree => ResolveFlags::NO_SYMLINKS,
    }
}

impl Executor<'_> {
    /// The container's root: the descriptor of the tree before the root changes, which stays valid afterwards.
    pub(crate) fn root(&self) -> Result<&OwnedFd, Failure> {
        self.root.as_ref().ok_or(Failure::new("root is not open", Errno::BADF))
    }

    /// Opens a path inside the container.
    pub(crate) fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        match &self.root {
            Some(root) => open_beneath(root, path, flags, ResolveFlags::empty()),
            None => open_beneath(CWD, path, flags, ResolveFlags::empty()),
        }
    }
}
