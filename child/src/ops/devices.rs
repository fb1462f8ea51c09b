//! Device nodes and symbolic links in the container's /dev.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, makedev, mknodat, openat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::paths::{file_type, make_directory, split, stat};
use crate::data::Text;
use crate::op::{Device, Existing};
use crate::page::{Called, Failure};
use crate::run::Executor;

impl<'a> Executor<'a> {
    pub(crate) fn device(&mut self, path: Text<'a>, device: Device) -> Result<(), Failure> {
        let (parent, name) = self.parent(path)?;
        let parent = self.directory(&parent)?;
        let kind = FileType::from_raw_mode(device.file_type);
        let number = makedev(device.major, device.minor);
        match mknodat(parent, name, kind, Mode::from_raw_mode(device.mode), number) {
            Ok(()) => own(parent, name, device),
            Err(Errno::EXIST) => same_device(parent, name, device),
            Err(errno) => Err(Failure::new("mknodat", errno)),
        }
    }

    pub(crate) fn symlink(
        &mut self,
        path: Text<'a>,
        text: Text<'a>,
        existing: Existing,
    ) -> Result<(), Failure> {
        let (parent, name) = self.parent(path)?;
        let parent = self.directory(&parent)?;
        if existing == Existing::Replace {
            match unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Failure::new("unlinkat", errno)),
            }
        }
        match symlinkat(text.0, parent, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Failure::new("symlinkat", errno)),
        }
    }

    /// The directory of `path`, unless it is /dev itself, which is kept open as most nodes are there; the last component.
    fn parent(&mut self, path: Text<'a>) -> Result<(Option<OwnedFd>, &'a CStr), Failure> {
        let (parent, name) = split(path.0).called("openat2")?;
        if parent.as_c_str() != c"/dev" {
            let parent = make_directory(self.root()?, parent.as_c_str(), ResolveFlags::empty())?;
            return Ok((Some(parent), name));
        }
        if self.dev.is_none() {
            self.dev = Some(make_directory(self.root()?, c"/dev", ResolveFlags::empty())?);
        }
        Ok((None, name))
    }

    /// A directory that [`Self::parent`] gave.
    fn directory<'d>(&'d self, parent: &'d Option<OwnedFd>) -> Result<&'d OwnedFd, Failure> {
        parent.as_ref().or(self.dev.as_ref()).ok_or(Failure::new("/dev is not open", Errno::BADF))
    }
}

fn own(parent: impl AsFd, name: &CStr, device: Device) -> Result<(), Failure> {
    if device.uid == 0 && device.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).called("fchownat")
}

/// Accepts what exists only if it is the very device: anything else under this name was put there by the image.
fn same_device(parent: impl AsFd, name: &CStr, device: Device) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let existing = openat(parent, name, flags, Mode::empty()).called("openat")?;
    let seen = stat(&existing).called("statx")?;
    let same_number = (seen.stx_rdev_major, seen.stx_rdev_minor) == (device.major, device.minor);
    let kind = FileType::from_raw_mode(device.file_type);
    if file_type(&seen) == kind && (kind == FileType::Fifo || same_number) {
        return Ok(());
    }
    Err(Failure::new("a different file exists", Errno::EXIST))
}

/// The host's null device, verified by type and number.
pub(crate) fn host_null() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = openat(CWD, c"/dev/null", flags, Mode::empty()).called("openat(/dev/null)")?;
    let seen = stat(&null).called("statx")?;
    if is_null(&seen) { Ok(null) } else { Err(Failure::new("/dev/null is not 1:3", Errno::NODEV)) }
}

/// Whether a file is the null device: character device 1:3.
pub(crate) fn is_null(seen: &rustix::fs::Statx) -> bool {
    file_type(seen) == FileType::CharacterDevice && (seen.stx_rdev_major, seen.stx_rdev_minor) == (1, 3)
}
