//! The option `loop`: the source is a file, mounted through a block device that goes with the mount.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use orlop::{Error, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use sys::error::Context;
use sys::loop_device::{AUTOCLEAR, READ_ONLY, configure, get_free};

/// How often another process may be faster.
const TRIES: u32 = 32;

/// A device with a file. It keeps the file while this exists, and afterwards while it is mounted.
#[derive(Debug)]
pub(super) struct LoopDevice {
    pub(super) path: PathBuf,
    _device: OwnedFd,
}

/// Whether the file may be written through the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// No.
    Read,
    /// Yes.
    Write,
}

/// Makes a device of the file `source`.
///
/// # Errors
/// `Kernel`.
pub(super) fn attach(source: &str, access: Access) -> Result<LoopDevice> {
    let (mode, flags) = match access {
        Access::Read => (OFlags::RDONLY, AUTOCLEAR | READ_ONLY),
        Access::Write => (OFlags::RDWR, AUTOCLEAR),
    };
    let mode = mode | OFlags::CLOEXEC;
    let file = open(source, mode, Mode::empty()).context("open", || source.to_owned())?;
    let control = "/dev/loop-control";
    let control = open(control, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .context("open", || control.to_owned())?;
    for _ in 0..TRIES {
        let number = get_free(&control).context("ioctl(LOOP_CTL_GET_FREE)", || "a loop device".to_owned())?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path, mode, Mode::empty()).context("open", || path.display().to_string())?;
        match configure(&device, &file, flags) {
            Ok(()) => return Ok(LoopDevice { path, _device: device }),
            Err(Errno::BUSY) => {}
            Err(errno) => {
                return Err(Error::kernel(
                    format!("loop device of {source}"),
                    "ioctl(LOOP_CONFIGURE)",
                    errno,
                ));
            }
        }
    }
    Err(Error::kernel(format!("loop device of {source}"), "ioctl(LOOP_CONFIGURE)", Errno::BUSY))
}
