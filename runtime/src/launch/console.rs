//! Handing descriptors to whoever called: the terminal's master and a pidfd, over a socket that the caller listens on.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};
use sys::error::Context;

use crate::{Error, Kind, Result};

/// Sends `fd` in one message with `data` to the stream socket at `path`, as callers of `--console-socket` and
/// `--pidfd-socket` expect it. SCM_RIGHTS, unix(7).
///
/// # Errors
/// `Kernel`.
pub fn send(path: &Path, fd: BorrowedFd<'_>, data: &[u8], key: &'static str) -> Result<()> {
    let what = || format!("send a descriptor to {}", path.display());
    let address = SocketAddrUnix::new(path).context("connect", what).map_err(|error| error.with_key(key))?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .context("socket", what)?;
    connect(&socket, &address).context("connect", what).map_err(|error| error.with_key(key))?;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Error::new(Kind::Internal, "no room for a descriptor"));
    }
    sendmsg(socket.as_fd(), &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL)
        .context("sendmsg", what)
        .map_err(|error| error.with_key(key))?;
    Ok(())
}
