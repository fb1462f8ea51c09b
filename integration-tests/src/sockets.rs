//! Unix sockets that receive descriptors: what an engine gives as `--console-socket` or `--pidfd-socket`.

use rustix::fd::OwnedFd;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// A listening socket at a path.
pub struct Receiver {
    listener: UnixListener,
    /// Its path.
    pub path: String,
}

/// Listens at `path`, which must be shorter than 108 bytes.
#[track_caller]
pub fn listen(path: &str) -> Receiver {
    let listener = UnixListener::bind(path).expect("bind");
    listener.set_nonblocking(true).expect("nonblocking");
    Receiver { listener, path: path.to_owned() }
}

impl Receiver {
    /// Takes the next connection and the one message with its descriptors.
    #[track_caller]
    pub fn receive(&self) -> (String, Vec<OwnedFd>) {
        let stream = self.accept();
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        message(&stream)
    }

    #[track_caller]
    fn accept(&self) -> UnixStream {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                return stream;
            }
            assert!(Instant::now() < deadline, "nobody connected to {}", self.path);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[track_caller]
fn message(stream: &UnixStream) -> (String, Vec<OwnedFd>) {
    let mut bytes = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    (String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), descriptors)
}
