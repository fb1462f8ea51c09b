//! The sockets on which a runtime hands over descriptors: the console's and that of a seccomp agent.
//!
//! Start at [`accept`].

use crate::row::{Stop, fail};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// One message: its bytes and descriptors.
pub(crate) struct Message {
    /// The payload.
    pub(crate) bytes: Vec<u8>,
    /// What came with it.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Accepts a connection, which must come soon.
pub(crate) fn accept(listener: &UnixListener) -> Result<UnixStream, Stop> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                return Ok(stream);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    fail("nobody connected to the socket")
}

/// Reads one message; an empty one is the end.
pub(crate) fn receive(stream: &UnixStream) -> Result<Message, Stop> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = vec![0; 65536];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received =
        recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).map_err(std::io::Error::from)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    buffer.truncate(received.bytes);
    Ok(Message { bytes: buffer, descriptors })
}
