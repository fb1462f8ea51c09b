//! A connection from containerd: calls come in, answers go out, in any order.

use std::os::fd::OwnedFd;

use prost::Message;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::failure::{Code, Failure, Outcome};
use crate::frame::{self, Reader};
use crate::poll::{Poll, Source};
use crate::proto::ttrpc::Request;

/// A call that came in.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its stream.
    pub(crate) stream: u32,
    /// What is called, or why it cannot be.
    pub(crate) request: Outcome<Request>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    serial: u64,
    reader: Reader,
    unsent: Vec<u8>,
}

impl Connection {
    /// A connection that is accepted and watched as `serial`.
    pub(crate) fn new(socket: OwnedFd, serial: u64) -> Self {
        Self { socket, serial, reader: Reader::default(), unsent: Vec::new() }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The end of the connection.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Vec<Call>, Errno> {
        match rustix::io::read(&self.socket, &mut *buffer) {
            Ok(0) => return Err(Errno::CONNRESET),
            Ok(length) => self.reader.feed(buffer.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let frames = std::iter::from_fn(|| self.reader.frame());
        let calls = frames.filter(|frame| frame.kind == frame::REQUEST).map(|frame| {
            let too_large = || {
                let text = format!("message is larger than {} bytes", frame::LARGEST);
                Failure::new(Code::ResourceExhausted, text)
            };
            let request = frame.body.ok_or_else(too_large).and_then(|body| {
                Request::decode(body.as_slice())
                    .map_err(|error| Failure::new(Code::InvalidArgument, format!("request: {error}")))
            });
            Call { stream: frame.stream, request }
        });
        Ok(calls.collect())
    }

    /// Sends bytes, and keeps what the socket does not take now.
    ///
    /// # Errors
    /// The end of the connection.
    pub(crate) fn send(&mut self, poll: &Poll, bytes: &[u8]) -> Result<(), Errno> {
        let idle = self.unsent.is_empty();
        self.unsent.extend_from_slice(bytes);
        if idle { self.flush(poll) } else { Ok(()) }
    }

    /// Sends what was kept.
    ///
    /// # Errors
    /// The end of the connection.
    pub(crate) fn flush(&mut self, poll: &Poll) -> Result<(), Errno> {
        let mut sent = 0;
        let outcome = loop {
            let rest = self.unsent.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(EventFlags::IN);
            }
            match rustix::io::write(&self.socket, rest) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break Ok(EventFlags::IN | EventFlags::OUT),
                Err(errno) => break Err(errno),
            }
        };
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        poll.change(&self.socket, Source::Connection(self.serial), outcome?)
    }
}
