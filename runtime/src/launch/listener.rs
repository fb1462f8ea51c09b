//! `linux.seccomp.listenerPath`: the descriptor of a filter's listener, handed to the agent that answers for it.
//!
//! ```text
//! INIT ── Listener{number} ──> RUNTIME: pidfd_getfd(2) ── one sendmsg: state + descriptor ──> AGENT
//!      <── Go ────────────────
//! ```
//!
//! Start at [`Agent::hand_over`]; [`Agent::probe`] is what create does.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp>

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, send, sendmsg, socket_with,
};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde::{Deserialize, Serialize};
use sys::error::Context;

use super::spawned::Deadline;
use super::state_json::ForHooks;
use crate::{Error, Kind, Result};

/// The key that an error names.
const KEY: &str = "linux.seccomp.listenerPath";

/// Who gets the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The path of its socket on the host.
    pub path: PathBuf,
    /// `linux.seccomp.listenerMetadata`, possibly empty.
    pub metadata: String,
}

/// A process that has loaded a filter with a listener and waits.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    /// Its pid as the runtime sees it: init's, or that of an exec.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: BorrowedFd<'a>,
    /// The number of the listener in it.
    pub number: u32,
}

/// The container process state of the specification.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    /// What each descriptor of the message is.
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: ForHooks<'a>,
}

impl Agent {
    /// Whether somebody owns the socket. Nothing is connected, because an agent expects one state from each connection:
    /// the kernel compares the types of the two sockets before anything else, and says EPROTOTYPE where a live stream
    /// socket answers to the name of a datagram socket's peer.
    ///
    /// # Errors
    /// `Kernel` with ENOENT or ECONNREFUSED; `InvalidConfig` for a socket of another type.
    pub fn probe(&self) -> Result<()> {
        let what = || format!("reach the agent at {}", self.path.display());
        let address = self.address()?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .context("socket", what)?;
        match connect(&socket, &address) {
            Err(Errno::PROTOTYPE) => Ok(()),
            Err(errno) => Err(no_agent(Error::kernel(what(), "connect", errno))),
            Ok(()) => Err(Error::invalid(KEY, format!("{} is not a stream socket", self.path.display()))),
        }
    }

    /// Fetches the listener that a process of the container announced and sends it with the container's state.
    ///
    /// # Errors
    /// `Kernel` and `Timeout`; the caller then ends the process, which waits for an answer that nobody can give.
    pub fn hand_over(&self, state: ForHooks<'_>, from: Announced<'_>, deadline: &Deadline) -> Result<()> {
        let listener = pidfd_getfd(from.pidfd, from.number.cast_signed(), PidfdGetfdFlags::empty())
            .context("pidfd_getfd", || "fetch the listener of the filter".to_owned())
            .map_err(|error| error.with_key(KEY))?;
        let text = self.process_state(state, from.pid)?;
        self.send(&text, listener.as_fd(), deadline)
    }

    fn process_state(&self, state: ForHooks<'_>, pid: i32) -> Result<String> {
        let document = ProcessState {
            oci_version: state.oci_version,
            fds: ["seccompFd"],
            pid,
            metadata: &self.metadata,
            state,
        };
        serde_json::to_string(&document)
            .map_err(|error| Error::new(Kind::Internal, format!("write the state for the agent: {error}")))
    }

    /// One connection, one state: the descriptor goes with the first bytes.
    fn send(&self, text: &str, fd: BorrowedFd<'_>, deadline: &Deadline) -> Result<()> {
        let what = || format!("send the listener to the agent at {}", self.path.display());
        let socket = self.connect(deadline)?;
        let failed = |errno| match errno {
            Errno::AGAIN => deadline.error(&what()).with_key(KEY),
            errno => Error::kernel(what(), "sendmsg", errno).with_key(KEY),
        };
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(Error::new(Kind::Internal, "no room for a descriptor"));
        }
        let bytes = text.as_bytes();
        let sent = sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        let mut rest = bytes.get(sent.map_err(failed)?..).unwrap_or_default();
        while !rest.is_empty() {
            let sent = send(&socket, rest, SendFlags::NOSIGNAL).map_err(failed)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// A connection whose every call ends with the deadline, also where the agent has too many waiting.
    fn connect(&self, deadline: &Deadline) -> Result<OwnedFd> {
        let what = || format!("reach the agent at {}", self.path.display());
        let address = self.address()?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context("socket", what)?;
        // A timeout of zero would mean none at all.
        let left = deadline.left().max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(left)).context("setsockopt(SO_SNDTIMEO)", what)?;
        match connect(&socket, &address) {
            Ok(()) => Ok(socket),
            Err(Errno::AGAIN) => Err(deadline.error(&what()).with_key(KEY)),
            Err(errno) => Err(no_agent(Error::kernel(what(), "connect", errno))),
        }
    }

    fn address(&self) -> Result<SocketAddrUnix> {
        let what = || format!("use the socket {}", self.path.display());
        SocketAddrUnix::new(&self.path)
            .context("connect", what)
            .map_err(|error| error.with_key(KEY).with_hint("the path of a socket has at most 107 bytes"))
    }
}

fn no_agent(error: Error) -> Error {
    let hint = match error.errno() {
        Some(Errno::NOENT | Errno::CONNREFUSED) => "the agent must listen before the container is created",
        Some(Errno::ACCESS) => "the socket must be writable for the caller",
        _ => return error.with_key(KEY),
    };
    error.with_key(KEY).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn agent(name: &str) -> Agent {
        let path = std::env::temp_dir().join(format!("it-agent-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Agent { path, metadata: "m".to_owned() }
    }

    #[test]
    fn the_probe_tells_a_listening_agent_from_none_and_leaves_no_connection() {
        let agent = agent("probe");
        assert_eq!(agent.probe().unwrap_err().errno(), Some(Errno::NOENT));
        let listener = UnixListener::bind(&agent.path).unwrap();
        agent.probe().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(listener);
        let error = agent.probe().unwrap_err();
        assert_eq!((error.errno(), error.key()), (Some(Errno::CONNREFUSED), Some(KEY)));
        std::fs::remove_file(&agent.path).unwrap();
        let _datagram = UnixDatagram::bind(&agent.path).unwrap();
        assert_eq!(agent.probe().unwrap_err().kind(), Kind::InvalidConfig);
        std::fs::remove_file(&agent.path).unwrap();
    }

    #[test]
    fn an_agent_that_never_accepts_is_waited_for_until_the_deadline() {
        let agent = agent("full");
        let listener = UnixListener::bind(&agent.path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = agent.connect(&Deadline::new("start", Duration::from_secs(5))).unwrap();
        let error = agent.connect(&Deadline::new("start", Duration::from_millis(50))).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(first.as_raw_fd() > 2);
        std::fs::remove_file(&agent.path).unwrap();
    }
}
