//! A directory of a control group file system, held open, and the reads and writes of its files.
//!
//! Every path beneath a mount point is opened by openat2(2) with RESOLVE_BENEATH, without symbolic links and without
//! crossing a mount, from a descriptor that was verified to be of a control group file system. So neither a bind mount
//! nor a rename can redirect a write of limits, a kill or a removal to another place.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use sys::error::Context;
use sys::{Error, Kind, Result};

use crate::controller::Version;

/// CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC of linux/magic.h.
const MAGIC_V1: u64 = 0x0027_e0eb;
const MAGIC_V2: u64 = 0x6367_7270;

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Mode of new groups, before the caller's umask.
const MODE: Mode = Mode::from_raw_mode(0o755);

/// The text of a file of the kernel that is kept open, as it is now.
pub(crate) fn read_again(file: &OwnedFd) -> rustix::io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let length = match rustix::io::pread(file, &mut buffer, text.len() as u64) {
            Err(Errno::INTR) => continue,
            length => length?,
        };
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else { break };
        text.extend_from_slice(part);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A group, or the root of a mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: String,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// Opens the mount point `path` of a hierarchy and verifies that a control group file system is there.
    pub(crate) fn mount_point(path: &str, version: Version) -> Result<Self> {
        let what = || format!("open {path}");
        let fd = rustix::fs::open(path, PATH_ONLY, Mode::empty()).context("open", what)?;
        let found = rustix::fs::fstatfs(&fd).context("fstatfs", what)?.f_type as u64;
        let expected = match version {
            Version::V1 => MAGIC_V1,
            Version::V2 => MAGIC_V2,
        };
        if found != expected {
            return Err(Error::new(Kind::Kernel, format!("{path} is not a control group file system")));
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The descriptor alone.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The absolute path, for messages.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of `name` in this directory, for messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The group `names` beneath this directory, `None` if there is no such group.
    pub(crate) fn find(&self, names: &str) -> Result<Option<Self>> {
        match self.open_beneath(names, PATH_ONLY) {
            Ok(fd) => Ok(Some(Self { fd, path: self.path_of(names) })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::kernel(format!("open {}", self.path_of(names)), "openat2", errno)),
        }
    }

    /// The group `names` beneath this directory.
    pub(crate) fn open(&self, names: &str) -> Result<Self> {
        let fd = self.open_beneath(names, PATH_ONLY).context("openat2", || self.opening(names))?;
        Ok(Self { fd, path: self.path_of(names) })
    }

    /// The file `name` of this group, open for `flags`.
    pub(crate) fn file(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        self.open_beneath(name, flags | OFlags::CLOEXEC).context("openat2", || self.opening(name))
    }

    fn opening(&self, name: &str) -> String {
        format!("open {}", self.path_of(name))
    }

    fn open_beneath(&self, names: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&self.fd, names, flags, Mode::empty(), resolve)
    }

    /// Creates the group `name`, which must be one name, and says whether it was not there before.
    pub(crate) fn make(&self, name: &str) -> rustix::io::Result<bool> {
        match rustix::fs::mkdirat(&self.fd, name, MODE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Removes the empty group `name`, which must be one name.
    pub(crate) fn remove(&self, name: &str) -> rustix::io::Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
    }

    /// The names of the groups directly beneath this one.
    pub(crate) fn children(&self) -> Result<Vec<String>> {
        let mut names = self.entries(FileType::Directory)?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// The names of the files of this group.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        self.entries(FileType::RegularFile)
    }

    fn entries(&self, kind: FileType) -> Result<Vec<String>> {
        let what = || format!("list {}", self.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = self.open_beneath(".", flags).context("openat2", what)?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut entries = RawDir::new(fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.context("getdents64", what)?;
            if entry.file_type() == kind {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    /// The text of the file `name`, which is one that the kernel prints at once and that fits one page: a second read that
    /// would only find the end is spared.
    pub(crate) fn read_short(&self, name: &str) -> Result<String> {
        let fd = self.file(name, OFlags::RDONLY)?;
        let mut buffer = [0_u8; 4096];
        let length = rustix::io::read(&fd, &mut buffer);
        let length = length.context("read", || format!("read {}", self.path_of(name)))?;
        Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
    }

    /// The whole text of the file `name`.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let text = self.read_raw(name);
        text.map_err(|(call, errno)| Error::kernel(format!("read {}", self.path_of(name)), call, errno))
    }

    /// The whole text of the file `name`, `None` where this kernel or this group has no such file.
    pub(crate) fn read_if_there(&self, name: &str) -> Result<Option<String>> {
        match self.read_raw(name) {
            Ok(text) => Ok(Some(text)),
            Err((_, Errno::NOENT | Errno::NODEV)) => Ok(None),
            Err((call, errno)) => Err(Error::kernel(format!("read {}", self.path_of(name)), call, errno)),
        }
    }

    fn read_raw(&self, name: &str) -> std::result::Result<String, (&'static str, Errno)> {
        let fd = self.open_beneath(name, OFlags::RDONLY | OFlags::CLOEXEC).map_err(|e| ("openat2", e))?;
        read_all(&fd).map_err(|e| ("read", e))
    }

    /// Whether the group has the file `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.fd, name, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Whether the caller may write to the file `name`.
    pub(crate) fn may_write(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.fd, name, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }

    /// Writes `value` to the file `name` in one write, which is the unit in which the kernel parses it.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<()> {
        self.write_raw(name, value).map_err(|(call, errno)| self.write_error(name, value, call, errno))
    }

    /// The same without a text for the errno, for callers that try.
    pub(crate) fn try_write(&self, name: &str, value: &str) -> rustix::io::Result<()> {
        self.write_raw(name, value).map_err(|(_, errno)| errno)
    }

    /// Writes several values to the file `name`, one write each.
    pub(crate) fn write_each<'a>(&self, name: &str, values: impl Iterator<Item = &'a str>) -> Result<()> {
        let fd = self.file(name, OFlags::WRONLY)?;
        for value in values {
            let written = rustix::io::pwrite(&fd, value.as_bytes(), 0);
            written.map_err(|errno| self.write_error(name, value, "write", errno))?;
        }
        Ok(())
    }

    fn write_raw(&self, name: &str, value: &str) -> std::result::Result<(), (&'static str, Errno)> {
        let fd = self.open_beneath(name, OFlags::WRONLY | OFlags::CLOEXEC).map_err(|e| ("openat2", e))?;
        rustix::io::write(&fd, value.as_bytes()).map(|_| ()).map_err(|e| ("write", e))
    }

    fn write_error(&self, name: &str, value: &str, call: &'static str, errno: Errno) -> Error {
        Error::kernel(format!("set {} to {value:?}", self.path_of(name)), call, errno)
    }
}

/// Everything that is left to read in `fd`, as text; control group files are ASCII.
pub(crate) fn read_all(fd: &OwnedFd) -> rustix::io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let length = match rustix::io::read(fd, &mut buffer) {
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else { break };
        text.extend_from_slice(part);
    }
    Ok(match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}
