//! The conversation between the child and its parent: the only file that knows it.
//!
//! ```text
//! PARENT (create)                                CHILD (init image)
//!                        <── Cloned{pid} ──      only with two processes: the first one, before it exits
//!   Go                   ───────────────>        the last process goes on
//!                        <── Need{request} ──    id maps; adoption by the cgroup; hooks of the runtime namespace
//!   Go                   ───────────────>
//!                        <── CopyFrom + fd ──    a tmpfs that starts with a copy: the old directory,
//!                        <── CopyTo + fd ────    then the new one
//!   Go                   ───────────────>
//!                        <── Console + fd ──     the master of the pty; no answer
//!                        <── Ready ──            set-up is done; the child no longer dies with its parent
//!   Go                   ───────────────>        the record says "created": the child waits on the start socket
//!   Start                ───────────────>        ... or starts at once (run), with this socket as the start connection
//!
//! PARENT (start)
//!   Start                ───────────────>        on a connection to the start socket
//!                        <── Listener{number} ── a filter with a listener was loaded; pidfd_getfd(2) fetches it
//!   Go                   ───────────────>
//!                        <── end of file ──      with the page at EXECUTING: the program runs
//!
//! at any time            <── Failed ──           the page holds step, call and errno; the child waits for end of file
//! ```
//!
//! Every message is one packet of the same size on a SOCK_SEQPACKET socket, with at most one descriptor. End of file ends
//! the child wherever it waits.

use core::mem::MaybeUninit;
use core::slice;

use rustix::cmsg_space;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::IoSliceMut;
use rustix::io::{Errno, IoSlice, read, retry_on_intr, write};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, send, sendmsg,
};

use crate::op::Request;

/// The size of every message in bytes.
pub const SIZE: usize = 8;

/// What is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// To the child: go on.
    Go = 1,
    /// To the child: run the program.
    Start = 2,
    /// The last process exists; the value is its pid.
    Cloned = 3,
    /// The id maps are needed.
    NeedMaps = 4,
    /// Adoption is needed.
    NeedAdopt = 5,
    /// The hooks of the runtime namespace are due.
    NeedHooks = 6,
    /// A directory to copy from is attached.
    CopyFrom = 7,
    /// A directory to copy to is attached.
    CopyTo = 8,
    /// The master of the pty is attached.
    Console = 9,
    /// Set-up is done.
    Ready = 10,
    /// The value is the number of the seccomp listener in the child.
    Listener = 11,
    /// The page says what failed.
    Failed = 12,
}

const KINDS: [Kind; 12] = [
    Kind::Go,
    Kind::Start,
    Kind::Cloned,
    Kind::NeedMaps,
    Kind::NeedAdopt,
    Kind::NeedHooks,
    Kind::CopyFrom,
    Kind::CopyTo,
    Kind::Console,
    Kind::Ready,
    Kind::Listener,
    Kind::Failed,
];

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// What is said.
    pub kind: Kind,
    /// Its number, where the kind has one.
    pub value: u32,
}

impl From<Kind> for Message {
    fn from(kind: Kind) -> Self {
        Self { kind, value: 0 }
    }
}

impl From<Request> for Kind {
    fn from(request: Request) -> Self {
        match request {
            Request::Maps => Self::NeedMaps,
            Request::Adopt => Self::NeedAdopt,
            Request::Hooks => Self::NeedHooks,
        }
    }
}

impl Message {
    fn to_bytes(self) -> [u8; SIZE] {
        let words = [self.kind as u32, self.value];
        let mut bytes = [0; SIZE];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; SIZE]) -> Option<Self> {
        let (kind, value) = bytes.split_at(4);
        let kind = u32::from_ne_bytes(kind.try_into().ok()?);
        let value = u32::from_ne_bytes(value.try_into().ok()?);
        let kind = KINDS.into_iter().find(|known| *known as u32 == kind)?;
        Some(Self { kind, value })
    }

    /// Sends the message by write(2), which needs no other call that a filter may know.
    ///
    /// # Errors
    /// EPIPE where the other side is gone (and SIGPIPE, which the child has blocked or deserves).
    pub fn send(self, socket: impl AsFd) -> Result<(), Errno> {
        retry_on_intr(|| write(&socket, &self.to_bytes())).map(drop)
    }

    /// Sends the message without a signal where the other side is gone: what the parent uses, as a signal would hit its
    /// embedder.
    ///
    /// # Errors
    /// EPIPE where the other side is gone.
    pub fn send_quietly(self, socket: impl AsFd) -> Result<(), Errno> {
        retry_on_intr(|| send(&socket, &self.to_bytes(), SendFlags::NOSIGNAL)).map(drop)
    }

    /// Sends the message with a descriptor.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send_with(self, socket: impl AsFd, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(Errno::NOBUFS);
        }
        let bytes = self.to_bytes();
        retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL))
            .map(drop)
    }

    /// Receives a message without a descriptor by read(2); `None` at end of file.
    ///
    /// # Errors
    /// EPROTO for a packet that is not a message.
    pub fn receive(socket: impl AsFd) -> Result<Option<Self>, Errno> {
        let mut bytes = [0; SIZE];
        let len = retry_on_intr(|| read(&socket, &mut bytes))?;
        Self::parse(bytes, len)
    }

    /// Receives a message and the descriptor that came with it; `None` at end of file.
    ///
    /// # Errors
    /// EPROTO for a packet that is not a message.
    pub fn receive_with(socket: impl AsFd) -> Result<Option<(Self, Option<OwnedFd>)>, Errno> {
        let mut bytes = [0; SIZE];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            recvmsg(
                &socket,
                slice::from_mut(&mut IoSliceMut::new(&mut bytes)),
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        let mut attached = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                attached = fds.last();
            }
        }
        Ok(Self::parse(bytes, received.bytes)?.map(|message| (message, attached)))
    }

    fn parse(bytes: [u8; SIZE], len: usize) -> Result<Option<Self>, Errno> {
        match len {
            0 => Ok(None),
            SIZE => Self::from_bytes(bytes).map(Some).ok_or(Errno::PROTO),
            _ => Err(Errno::PROTO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire_and_nothing_else_does() {
        for kind in KINDS {
            let message = Message { kind, value: 0xdead_beef };
            assert_eq!(Message::from_bytes(message.to_bytes()), Some(message));
        }
        assert_eq!(Message::from_bytes([0; SIZE]), None);
        assert_eq!(Message::from_bytes([13, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_short_packet_is_a_protocol_error() {
        assert_eq!(Message::parse([0; SIZE], 3), Err(Errno::PROTO));
        assert_eq!(Message::parse([0; SIZE], 0), Ok(None));
    }
}
