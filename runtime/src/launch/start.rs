//! start: one message on the start socket, then end of file with the page at the execve.
//!
//! [`start`] connects to a container that waits; [`Starting::finish`] is what `run` shares with it. A start that fails
//! ends the container, because it cannot be started again.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use child::message::{Kind as Said, Message};
use child::page::{Page, Phase};
use rustix::fs::{AtFlags, Mode, chmodat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as listen_on, socket_with,
};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use sys::error::Context;

use super::listener::Announced;
use super::process::{run_hooks, tail};
use super::spawned::{Deadline, peek, readable};
use super::{delete, diagnose, explain, state_json};
use crate::event_log::{self, Event};
use crate::state::{Directory, State, Status, is_alive};
use crate::{Error, Kind, Result, phase, procfs};

/// The longest path that fits into a socket address (sun_path, unix(7)).
const LONGEST: usize = 107;

/// Makes the socket on which init waits for start.
///
/// # Errors
/// `Kernel`.
pub fn listen(directory: &Directory) -> Result<OwnedFd> {
    let what = || "make the start socket".to_owned();
    let socket = seqpacket().context("socket", what)?;
    // An abandoned claim may have left one.
    let _ = unlinkat(directory.fd(), "start", AtFlags::empty());
    bind(&socket, &address(directory)?).context("bind", what)?;
    // bind(2) follows the umask of the calling process, which may be anything.
    chmodat(directory.fd(), "start", Mode::RUSR | Mode::WUSR, AtFlags::empty()).context("fchmodat", what)?;
    listen_on(&socket, 4).context("listen", what)?;
    Ok(socket)
}

fn seqpacket() -> std::result::Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The address; a path that is too long for one goes through the descriptor of the directory.
fn address(directory: &Directory) -> Result<SocketAddrUnix> {
    let path = directory.start_socket();
    let what = || format!("use the socket {}", path.display());
    if path.as_os_str().len() <= LONGEST {
        return SocketAddrUnix::new(&path).context("bind", what);
    }
    SocketAddrUnix::new(format!("/proc/self/fd/{}/start", directory.fd().as_raw_fd())).context("bind", what)
}

/// Starts the program of a created container, whose directory is locked, and runs the poststart hooks.
///
/// # Errors
/// `WrongState`, which changes nothing; `NotFound` for an executable that is missing; `Kernel`, `Hook` and `Timeout`
/// with the container stopped.
pub fn start(directory: &Directory, state: &State, page: &Page, timeout: Duration) -> Result<()> {
    check(state, state.status(page)?)?;
    let what = || format!("start container {}", state.id);
    phase::begin!("start", "start the program of {}", state.id);
    phase::time_steps(page);
    let pidfd = state.open_init()?.ok_or_else(|| wrong(state, STOPPED))?;
    let connection = seqpacket().context("socket", what)?;
    connect(&connection, &address(directory)?).context("connect", what)?;
    let starting = Starting::new(state, page, pidfd.as_fd(), &connection, timeout);
    Message::from(Said::Start).send_quietly(&connection).context("send", what)?;
    let pid = state.init.map_or(0, |init| init.pid);
    starting.finish(|| event_log::append(directory, &[Event::Started(pid)]))
}

/// How the kernel names a process that runs from the image (kernel 6.14 and later; before, it is a number).
const INIT_NAME: &str = "memfd:orlop";

/// How long the name may take to change after the connection was closed.
const NAME_PATIENCE: Duration = Duration::from_millis(100);

const STOPPED: &str = "cannot start a container that has stopped";

fn check(state: &State, status: Status) -> Result<()> {
    let text = match status {
        Status::Created if state.has_process => return Ok(()),
        Status::Created => "process property must not be empty: the configuration has no program to start",
        Status::Running | Status::Paused => "cannot start an already running container",
        Status::Stopped => STOPPED,
        Status::Creating => "cannot start a container that is still being created",
    };
    Err(wrong(state, text))
}

fn wrong(state: &State, text: &str) -> Error {
    Error::new(Kind::WrongState, format!("container {}: {text}", state.id))
}

/// A container between the message Start and the end of its first poststart hook.
#[derive(Debug)]
pub(super) struct Starting<'a> {
    state: &'a State,
    page: &'a Page,
    pidfd: BorrowedFd<'a>,
    connection: &'a OwnedFd,
    timeout: Duration,
    deadline: Deadline,
    proc: Option<OwnedFd>,
    /// Its root, for the explanation of a failure: afterwards the process may be gone.
    root: Option<OwnedFd>,
    /// The file to which its startContainer hooks print.
    hook_output: Option<File>,
    answers: Answers,
}

/// Who answers for a filter with a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// The agent of the configuration, to whom it is sent.
    Agent,
    /// The caller, who has it already.
    Caller,
}

impl<'a> Starting<'a> {
    /// What has to be looked at before init hears Start.
    pub(super) fn new(
        state: &'a State,
        page: &'a Page,
        pidfd: BorrowedFd<'a>,
        connection: &'a OwnedFd,
        timeout: Duration,
    ) -> Self {
        let fetch = |number| pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).ok();
        let proc = procfs::open().ok();
        let root = proc.as_ref().and_then(|proc| diagnose::root_of(proc, state.init?.pid));
        Self {
            state,
            page,
            pidfd,
            connection,
            timeout,
            deadline: Deadline::new("start", timeout + state.late.patience()),
            proc,
            root,
            hook_output: state.late.hook_output().and_then(fetch).map(File::from),
            answers: Answers::Agent,
        }
    }

    /// Waits until the program runs, calls `note` and runs the poststart hooks; a failure stops the container.
    pub(super) fn finish(self, note: impl FnOnce()) -> Result<()> {
        let done = self.until_executed().and_then(|()| {
            note();
            self.poststart()
        });
        done.map_err(|error| match delete::stop(self.state) {
            Ok(()) => error,
            Err(other) => error.and_also(other),
        })
    }

    /// The caller answers for the filter. Its own announcement has to pass it, so the number of the listener is read from
    /// the page. A failure leaves the container as it is.
    pub(super) fn answered_by(mut self, attend: impl FnOnce(OwnedFd) -> Result<()>) -> Result<Self> {
        self.await_listener()?.map_or(Ok(()), attend)?;
        self.answers = Answers::Caller;
        Ok(self)
    }

    /// The listener; nothing where init ended before it had one, which [`Self::finish`] explains.
    fn await_listener(&self) -> Result<Option<OwnedFd>> {
        while is_alive(self.pidfd) && self.page.phase() != Some(Phase::Failed) {
            if let Some(number) = self.page.listener() {
                let fetched = pidfd_getfd(self.pidfd, number.cast_signed(), PidfdGetfdFlags::empty());
                return fetched
                    .context("pidfd_getfd", || "fetch the listener of the filter".to_owned())
                    .map(Some);
            }
            if self.deadline.left().is_zero() {
                return Err(self.deadline.error(&self.doing()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(None)
    }

    /// End of file on the connection with the page at the execve is success.
    fn until_executed(&self) -> Result<()> {
        loop {
            readable(self.connection, &self.deadline, || self.doing())?;
            match Message::receive_with(self.connection) {
                Ok(Some((Message { kind: Said::Listener, value }, _))) => self.hand_over(value)?,
                Ok(Some((Message { kind: Said::Failed, .. }, _)) | None) | Err(Errno::CONNRESET) => break,
                Ok(Some(_)) => return Err(Error::new(Kind::Internal, "init broke the protocol")),
                Err(errno) => return Err(Error::kernel(self.doing(), "recvmsg", errno)),
            }
        }
        match self.page.phase() {
            Some(Phase::Failed) => Err(self.failure()),
            Some(Phase::Executing) if self.has_executed() => {
                self.state.late.log(self.page);
                Ok(())
            }
            _ => Err(self.ended()),
        }
    }

    fn ended(&self) -> Error {
        let doing = format!("container {}: before the program ran", self.state.id);
        explain::ended(&self.state.cgroup, &doing, peek(self.pidfd).as_ref())
    }

    fn doing(&self) -> String {
        self.state.late.doing(self.page.step(), &self.state.id)
    }

    fn hand_over(&self, number: u32) -> Result<()> {
        if self.answers == Answers::Agent {
            self.hand_over_to_agent(number)?;
        }
        match Message::from(Said::Go).send_quietly(self.connection) {
            // Its end of file will say why.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::kernel("answer the new process", "write", errno)),
        }
    }

    fn hand_over_to_agent(&self, number: u32) -> Result<()> {
        let Some(agent) = &self.state.agent else {
            return Err(Error::new(Kind::Internal, "a listener that nobody asked for"));
        };
        let pid = self.state.init.map_or(0, |init| init.pid);
        let state = state_json::specified(self.state, Status::Created, pid);
        agent.hand_over(state, Announced { pid, pidfd: self.pidfd, number }, &self.deadline)
    }

    fn failure(&self) -> Error {
        let printed = || self.hook_output.as_ref().map(tail).unwrap_or_default();
        explain::start_failure(self.page, self.state, self.root.as_ref(), printed)
    }

    /// Whether the program runs or has run. Init may have been killed in the execve itself, by its filter or for lack of
    /// memory, which closes the connection as well; but only execve(2) changes the name of the process, shortly after
    /// it has closed the connection. Where nothing can be told, the program ran.
    fn has_executed(&self) -> bool {
        let deadline = Instant::now() + NAME_PATIENCE;
        while self.is_named_init() && Instant::now() < deadline {
            if !is_alive(self.pidfd) {
                return !self.is_named_init();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }

    fn is_named_init(&self) -> bool {
        let pid = self.state.init.map_or(0, |init| init.pid);
        let comm = self.proc.as_ref().and_then(|proc| procfs::read_file(proc, format!("{pid}/comm")).ok());
        comm.is_some_and(|comm| comm.starts_with(INIT_NAME))
    }

    fn poststart(&self) -> Result<()> {
        if self.state.poststart.is_empty() {
            return Ok(());
        }
        phase::begin!("poststart", "run {} poststart hooks", self.state.poststart.len());
        let pid = self.state.init.map_or(0, |init| init.pid);
        let text = state_json::for_hook(self.state, Status::Running, pid);
        run_hooks(&self.state.poststart, &text, self.timeout)
    }
}
