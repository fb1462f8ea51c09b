//! Handing descriptors to whoever called: the terminal's master and a pidfd, over a socket that the caller listens on.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};
use sys::error::Context;

use super::spawned::Deadline;
use crate::{Error, Kind, Result};

/// Sends `fd` in one message with `data` to the stream socket at `path`, as callers of `--console-socket` and
/// `--pidfd-socket` expect it. SCM_RIGHTS, unix(7).
///
/// # Errors
/// `Kernel`; `Timeout` where the peer listens and never accepts.
pub fn send(
    path: &Path,
    fd: BorrowedFd<'_>,
    data: &[u8],
    key: &'static str,
    deadline: &Deadline,
) -> Result<()> {
    let what = || format!("send a descriptor to {}", path.display());
    let address = SocketAddrUnix::new(path).context("connect", what).map_err(|error| error.with_key(key))?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .context("socket", what)?;
    // A full backlog makes connect(2) wait, and SO_SNDTIMEO ends that wait too. Zero would mean for ever.
    let left = deadline.left().max(Duration::from_millis(1));
    set_socket_timeout(&socket, Timeout::Send, Some(left)).context("setsockopt", what)?;
    match connect(&socket, &address) {
        Err(Errno::AGAIN) => return Err(deadline.error(&what()).with_key(key)),
        other => other.context("connect", what).map_err(|error| error.with_key(key))?,
    }
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
