//! NOTIFY_SOCKET: a container tells the service manager of the host that it is ready (sd_notify(3)).
//!
//! ```text
//! program --> /run/notify/notify.sock --> orlop --> $NOTIFY_SOCKET of the caller
//! ```
//!
//! The manager's socket itself is not handed in: the manager asks the kernel who sent a message and takes it only from a
//! process of the service, and a message may also name another main process or deposit descriptors. So `create` mounts a
//! directory of the container's state read-only at /run/notify, and whoever starts the program binds a socket in it and
//! passes on what a service says of itself, a line at a time.
//!
//! `run` in the foreground is the service's main process and passes messages on until the end. `run --detach` and
//! `start` are gone afterwards, so they wait until the program is ready and then name its pid as the main process, in
//! the same message. That wait has no limit of its own unless `--timeout` is given: the service manager has one. It ends
//! with the container, too.
//!
//! A message waits in the socket from before the program starts, so none is lost. A sender that waits until its message
//! was handled (BARRIER=1) is answered by closing the descriptor it sent, after everything before it was passed on.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode, chmodat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, connect, recvmsg, send, sendmsg, socket_with,
};
use rustix::time::Timespec;
use sys::error::Context;

use crate::config::mounts;
use crate::state::Directory;
use crate::{Error, Kind, Result};

/// The variable.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// The mount point in the container.
pub const INSIDE: &str = "/run/notify";

/// The socket's name in the directory.
const NAME: &str = "notify.sock";

/// What a service may say of itself (sd_notify(3)). Not what changes the manager's view of processes and descriptors:
/// MAINPID, FDSTORE, NOTIFYACCESS and the like.
const PASSED_ON: [&str; 8] = [
    "READY=",
    "RELOADING=",
    "MONOTONIC_USEC=",
    "STOPPING=",
    "STATUS=",
    "ERRNO=",
    "EXTEND_TIMEOUT_USEC=",
    "WATCHDOG=",
];

/// The longest message that is read; lines beyond it are cut off.
const LONGEST: usize = 4096;

/// How long the service manager may take to accept a message and to handle the last one. Five seconds is also what
/// systemd-notify(1) waits.
const MANAGER: Duration = Duration::from_secs(5);

/// How long the socket is still served once the program is ready.
const LINGER: Duration = Duration::from_millis(100);

/// The socket of the service manager.
#[derive(Debug)]
pub struct Manager(OwnedFd);

/// The socket in the container and the one of the service manager.
#[derive(Debug)]
pub struct Proxy {
    inside: OwnedFd,
    manager: Manager,
}

/// What a message said that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The program is ready.
    Ready,
    /// Something else, or nothing that is passed on.
    Other,
}

/// The variable for the program's environment.
pub fn environment() -> String {
    format!("{VARIABLE}={INSIDE}/{NAME}")
}

/// The mount of a container's directory at [`INSIDE`].
pub fn mount(directory: &Path) -> mounts::Shape {
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    mounts::Shape {
        destination: Some(INSIDE.to_owned()),
        kind: Some("bind".to_owned()),
        source: Some(directory.to_string_lossy().into_owned()),
        options: options.map(str::to_owned).to_vec(),
        ..mounts::Shape::default()
    }
}

impl Manager {
    /// Connects to what `NOTIFY_SOCKET` names: a path or, after `@`, an abstract name (unix(7)).
    ///
    /// # Errors
    /// `Unsupported` for another kind of address; `Kernel` where nobody listens.
    pub fn connect(address: &OsStr) -> Result<Self> {
        let what = || format!("connect to the service manager at {}", address.to_string_lossy());
        let bytes = address.as_bytes();
        let target = match bytes.first() {
            Some(b'/') => SocketAddrUnix::new(bytes),
            Some(b'@') => SocketAddrUnix::new_abstract_name(bytes.get(1..).unwrap_or_default()),
            _ => {
                return Err(
                    Error::new(Kind::Unsupported, what()).with_hint("it is neither a path nor begins with @")
                );
            }
        };
        let target = target.context("connect", what)?;
        let socket = datagram().context("socket", what)?;
        connect(&socket, &target).context("connect", what)?;
        Ok(Self(socket))
    }

    fn send(&self, text: &str) -> Result<()> {
        self.when_writable(|| send(&self.0, text.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }

    /// Waits until the manager has handled all messages so far: it closes the pipe that comes with this one. Without
    /// that it could find this process gone before it asks whose message it was, and drop it.
    fn await_handled(&self) -> Result<()> {
        let what = || "wait for the service manager".to_owned();
        let (ours, theirs) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("pipe2", what)?;
        let fds = [theirs.as_fd()];
        self.when_writable(|| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            sendmsg(
                &self.0,
                &[IoSlice::new(b"BARRIER=1")],
                &mut control,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            )
        })?;
        drop(theirs);
        wait_for(&mut [PollFd::new(&ours, PollFlags::empty())], Some(Instant::now() + MANAGER)).map(drop)
    }

    /// A full socket may be a busy manager; it gets a moment.
    fn when_writable(&self, mut send: impl FnMut() -> std::result::Result<usize, Errno>) -> Result<()> {
        let what = || "tell the service manager".to_owned();
        let deadline = Instant::now() + MANAGER;
        loop {
            match send() {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    wait_for(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(deadline))?;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel(what(), "sendmsg", errno)),
            }
        }
    }
}

impl Proxy {
    /// Makes the socket in a container's directory; whatever was there before is replaced, as its owner is gone.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn new(directory: &Directory, manager: Manager) -> Result<Self> {
        let what = || "make the notification socket".to_owned();
        let folder = directory.open_notify()?;
        let inside = datagram().context("socket", what)?;
        let _ = unlinkat(&folder, NAME, AtFlags::empty());
        // A path of the state directory may be too long for an address.
        let path = format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd());
        bind(&inside, &SocketAddrUnix::new(path).context("bind", what)?).context("bind", what)?;
        // Whoever can see the socket is in the container.
        chmodat(&folder, NAME, Mode::from_raw_mode(0o666), AtFlags::empty()).context("fchmodat", what)?;
        Ok(Self { inside, manager })
    }

    /// What to wait for.
    pub fn watch(&self) -> PollFd<'_> {
        PollFd::new(&self.inside, PollFlags::IN)
    }

    /// Passes the next message on, if there is one. A manager that does not take it is warned of.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn forward(&self) -> Result<Said> {
        let text = self.receive()?;
        let lines = passed_on(&text);
        if !lines.is_empty()
            && let Err(error) = self.manager.send(&lines)
        {
            tracing::warn!("{error}");
        }
        Ok(if is_ready(&lines) { Said::Ready } else { Said::Other })
    }

    /// Waits until the program with the pid `main` says that it is ready, tells the manager and returns.
    ///
    /// # Errors
    /// `Timeout` where a limit is given; `WrongState` where the container ends before; `Kernel`.
    pub fn await_ready(&self, pidfd: &OwnedFd, main: i32, limit: Option<Duration>) -> Result<()> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let mut set = [self.watch(), PollFd::new(pidfd, PollFlags::IN)];
            if wait_for(&mut set, deadline)? == 0 {
                let text =
                    format!("the program is not ready after {} s", limit.unwrap_or_default().as_secs_f32());
                return Err(
                    Error::new(Kind::Timeout, text).with_hint("it has to send READY=1 to $NOTIFY_SOCKET")
                );
            }
            let [message, ended] = set.map(|one| !one.revents().is_empty());
            if message {
                let lines = passed_on(&self.receive()?);
                if is_ready(&lines) {
                    self.manager.send(&format!("MAINPID={main}\n{lines}"))?;
                    self.manager.await_handled()?;
                    return self.linger();
                }
                if !lines.is_empty() {
                    self.manager.send(&lines)?;
                }
            } else if ended {
                return Err(Error::new(Kind::WrongState, "the program ended before it was ready"));
            }
        }
    }

    /// A sender that waits for its message to be handled asks for that right after it; it must still find somebody.
    fn linger(&self) -> Result<()> {
        let deadline = Instant::now() + LINGER;
        while wait_for(&mut [self.watch()], Some(deadline))? > 0 {
            if self.receive()?.starts_with("BARRIER=1") {
                break;
            }
        }
        Ok(())
    }

    /// The next message. Descriptors that come with it are closed by the kernel, as there is no room for them.
    fn receive(&self) -> Result<String> {
        let mut bytes = [0; LONGEST];
        let mut control = RecvAncillaryBuffer::new(&mut []);
        let received = recvmsg(
            &self.inside,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
        );
        match received {
            Ok(message) => {
                Ok(String::from_utf8_lossy(bytes.get(..message.bytes).unwrap_or_default()).into_owned())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(String::new()),
            Err(errno) => Err(Error::kernel("receive a notification", "recvmsg", errno)),
        }
    }
}

fn datagram() -> std::result::Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// Waits for any of `set`; 0 at the deadline.
fn wait_for(set: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<usize> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(set, wait.as_ref()) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("wait for a notification", "poll", errno)),
        }
    }
}

/// The lines of a message that are passed on, each with its newline.
fn passed_on(message: &str) -> String {
    let known = |line: &&str| PASSED_ON.iter().any(|name| line.starts_with(name));
    message.lines().filter(known).flat_map(|line| [line, "\n"]).collect()
}

fn is_ready(lines: &str) -> bool {
    lines.lines().any(|line| line == "READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_service_says_of_itself_is_passed_on() {
        let message =
            "MAINPID=1\nREADY=1\nFDSTORE=1\nSTATUS=MAINPID=1\nX_READY=1\nNOTIFYACCESS=all\nWATCHDOG=1";
        assert_eq!(passed_on(message), "READY=1\nSTATUS=MAINPID=1\nWATCHDOG=1\n");
        assert_eq!(passed_on("BARRIER=1"), "");
        assert_eq!(passed_on(""), "");
    }

    #[test]
    fn ready_is_a_line_of_its_own() {
        assert!(is_ready("STATUS=up\nREADY=1\n"));
        assert!(!is_ready("READY=0\n") && !is_ready("STATUS=READY=1\n"));
    }

    #[test]
    fn other_addresses_are_refused() {
        for address in ["", "vsock:2:1234", "relative"] {
            assert_eq!(
                Manager::connect(OsStr::new(address)).map_err(|error| error.kind()).err(),
                Some(Kind::Unsupported)
            );
        }
        let absent = Manager::connect(OsStr::new("/no/such/socket")).err().and_then(|error| error.errno());
        assert_eq!(absent, Some(Errno::NOENT));
    }
}
