//! The one thing about network interfaces that needs no netlink.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::result;

/// `struct ifreq` as SIOCGIFFLAGS and SIOCSIFFLAGS read and write it.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    padding: [u8; 22],
}

/// Sets IFF_UP on `lo` in the caller's network namespace; `socket` is any AF_INET or AF_UNIX socket made in it.
/// ioctl(SIOCGIFFLAGS), ioctl(SIOCSIFFLAGS), netdevice(7).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, ENODEV without the interface.
pub fn loopback_up(socket: impl AsFd) -> Result<(), Errno> {
    let mut name = [0; 16];
    name.iter_mut().zip(b"lo").for_each(|(to, from)| *to = *from);
    let mut request = InterfaceFlags { name, flags: 0, padding: [0; 22] };
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the request is a whole struct ifreq, into which the kernel writes the flags.
    result(unsafe { libc::syscall(libc::SYS_ioctl, number, libc::SIOCGIFFLAGS, &raw mut request) })?;
    request.flags |= libc::IFF_UP as i16;
    // SAFETY: the request is a whole struct ifreq, which the kernel reads.
    result(unsafe { libc::syscall(libc::SYS_ioctl, number, libc::SIOCSIFFLAGS, &raw const request) })?;
    Ok(())
}
