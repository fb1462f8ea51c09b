//! The child as its parent sees it: a process, a socket, a page, and a deadline.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use child::message::Message;
use child::page::{Page, Phase};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};
use rustix::time::Timespec;
use sys::error::Context;

use super::console;
use super::process::tail;
use crate::state::State;
use crate::step::Step;
use crate::{Error, Kind, Result};

/// A child during its set-up.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    /// The parent's end of the create socket.
    pub socket: OwnedFd,
    /// The shared page.
    pub page: Page,
    /// When the phase that runs must have ended.
    pub deadline: Deadline,
    /// The file to which hooks inside the container print, if there are any.
    pub hook_output: Option<File>,
}

/// The end of a phase.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    patience: Duration,
    phase: &'static str,
}

impl Deadline {
    /// `patience` from now on, for the phase that an error names.
    pub fn new(phase: &'static str, patience: Duration) -> Self {
        Self { at: Instant::now() + patience, patience, phase }
    }

    /// Moves the end by time that something with a limit of its own took.
    pub fn extend(&mut self, by: Duration) {
        self.at += by;
    }

    /// What is left.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The error for a phase that did not end.
    pub fn error(&self, doing: &str) -> Error {
        let text = format!("{}: {doing}: not done after {} s", self.phase, self.patience.as_secs_f32());
        Error::new(Kind::Timeout, text).with_hint("--timeout sets the limit")
    }
}

/// Waits until `socket` can be read.
///
/// # Errors
/// `Timeout` with what `doing` says; `Kernel`.
pub fn readable(socket: &OwnedFd, deadline: &Deadline, doing: impl Fn() -> String) -> Result<()> {
    loop {
        let left = deadline.left();
        let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&wait)) {
            Ok(0) => return Err(deadline.error(&doing())),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel(doing(), "poll", errno)),
        }
    }
}

impl Spawned {
    /// The next message and its descriptor; `None` at end of file.
    ///
    /// # Errors
    /// `Timeout`, with the step that hangs; `Kernel`.
    pub fn receive(&self, steps: &[Step<'_>]) -> Result<Option<(Message, Option<OwnedFd>)>> {
        readable(&self.socket, &self.deadline, || describe(steps, self.page.step()))?;
        match Message::receive_with(&self.socket) {
            // The child ended with a message of ours unread.
            Err(Errno::CONNRESET) => Ok(None),
            other => other.context("recvmsg", || "talk to the new process".to_owned()),
        }
    }

    /// Answers the child.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        let bytes: Message = message.into();
        match bytes.send_quietly(&self.socket) {
            // Its end of file will say why.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::kernel("answer the new process", "write", errno)),
        }
    }

    /// Goes over to the last process of two, after the first one said its number.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn become_last(&mut self, pid: u32) -> Result<()> {
        let what = || format!("open process {pid}");
        let last = Pid::from_raw(pid.cast_signed()).ok_or_else(|| Error::new(Kind::Internal, what()))?;
        // The number cannot belong to another process: the last one is a child of ours that nobody has reaped.
        let pidfd = pidfd_open(last, PidfdFlags::empty()).context("pidfd_open", what)?;
        let first = std::mem::replace(&mut self.pidfd, pidfd);
        self.pid = pid.cast_signed();
        reap(&first)?;
        Ok(())
    }

    /// Why the child ended before it was done.
    pub fn failure(&self, steps: &[Step<'_>], state: &State) -> Error {
        if let Some(report) = self.page.failure() {
            let printed = || self.hook_output.as_ref().map(tail).unwrap_or_default();
            let pids = [self.pid, state.init.map_or(0, |init| init.pid)];
            return super::explain::failure(&report, steps, pids, printed);
        }
        let doing = describe(steps, self.page.step());
        match (self.page.phase(), self.kill()) {
            (Some(Phase::Cloned), Ok(Some(status))) if status.exit_status().is_some_and(|code| code > 0) => {
                let errno = Errno::from_raw_os_error(status.exit_status().unwrap_or(1).clamp(1, 4095));
                Error::kernel("execute the init image", "execveat", errno)
            }
            (_, Ok(status)) => super::explain::ended(&state.cgroup, &doing, status.as_ref()),
            (_, Err(error)) => super::explain::ended(&state.cgroup, &doing, None).and_also(error),
        }
    }

    /// Tells the caller's socket and file, `--pidfd-socket` and `--pid-file`, about the new process.
    ///
    /// # Errors
    /// `Kernel` and `Timeout`, with the key.
    pub fn announce(&self, socket: Option<&Path>, file: Option<&Path>) -> Result<()> {
        if let Some(path) = socket {
            console::send(path, self.pidfd.as_fd(), b"pidfd", "--pidfd-socket", &self.deadline)?;
        }
        file.map_or(Ok(()), |path| crate::pid_file::write(path, self.pid))
    }

    /// Kills the child, if it lives, and reaps it.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn kill(&self) -> Result<Option<WaitIdStatus>> {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        reap(&self.pidfd)
    }
}

/// Waits for a child of this process; `None` where another part of the process has reaped it.
///
/// # Errors
/// `Kernel`.
pub fn reap(pidfd: &OwnedFd) -> Result<Option<WaitIdStatus>> {
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(status) => return Ok(status),
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(Error::kernel("reap init", "waitid", errno)),
        }
    }
}

/// How a child of this process ended, without reaping it; `None` for a process that lives or that is another's child.
pub(super) fn peek(pidfd: BorrowedFd<'_>) -> Option<WaitIdStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::PidFd(pidfd), options).ok().flatten()
}

/// How a process ended, in words.
pub(super) fn how(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "for an unknown reason".to_owned(),
    }
}

fn describe(steps: &[Step<'_>], index: u32) -> String {
    match steps.get(index as usize) {
        Some(step) if step.key.is_empty() => step.op.to_string(),
        Some(step) => format!("{}: {}", step.key, step.op),
        None => "set up the container".to_owned(),
    }
}
