//! What a namespace descriptor is.

use core::ffi::c_int;

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::result;

/// `ioctl(fd, NS_GET_NSTYPE)`, ioctl_nsfs(2): the CLONE_NEW* flag of the namespace's type.
///
/// # Errors
/// ENOTTY for what is no namespace.
pub fn kind(fd: impl AsFd) -> Result<u32, Errno> {
    const NS_GET_NSTYPE: c_int = 0xb703;
    // SAFETY: the call takes numbers only.
    let kind = result(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) })?;
    u32::try_from(kind).map_err(|_| Errno::INVAL)
}
