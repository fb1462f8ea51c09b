//! What rustix lacks for sockets: the one thing about network interfaces that needs no netlink, and options of netlink.

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

/// The user of the process that connected. getsockopt(SO_PEERCRED), unix(7).
///
/// rustix has it too, but takes the peer's pid to be a number, and a peer outside the caller's pid namespace has none.
///
/// # Errors
/// ENOPROTOOPT for a socket that is not of AF_UNIX.
pub fn peer_uid(socket: impl AsFd) -> Result<u32, Errno> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of the struct, and the length itself.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            number,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            &raw mut peer,
            &raw mut length,
        )
    };
    result(returned).map(|_| peer.uid)
}

/// Lets the kernel explain an error in words (NETLINK_EXT_ACK) and leave the request out of it (NETLINK_CAP_ACK).
/// setsockopt(2), netlink(7).
///
/// # Errors
/// ENOPROTOOPT for a socket that is not netlink.
pub fn netlink_explain_errors(socket: impl AsFd) -> Result<(), Errno> {
    netlink_option(&socket, libc::NETLINK_EXT_ACK)?;
    netlink_option(&socket, libc::NETLINK_CAP_ACK)
}

fn netlink_option(socket: impl AsFd, option: libc::c_int) -> Result<(), Errno> {
    let number = socket.as_fd().as_raw_fd();
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads the four bytes of an int that lives through the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_setsockopt,
            number,
            libc::SOL_NETLINK,
            option,
            &raw const on,
            size_of::<libc::c_int>(),
        )
    };
    result(returned).map(drop)
}
