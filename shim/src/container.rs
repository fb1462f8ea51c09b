//! What the shim knows of a container and of its processes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::checkpoint::Saved;
use crate::failure::{Failure, Outcome};
use crate::oom::Watch;
use crate::proto::Timestamp;
use crate::proto::task::Status;
use crate::runtime::Target;
use crate::stdio::Stdio;

/// A process by name: the first one of a container has an empty `exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The container.
    pub(crate) container: String,
    /// The exec.
    pub(crate) exec: String,
}

impl Key {
    /// The first process of a container.
    pub(crate) fn init(container: &str) -> Self {
        Self { container: container.to_owned(), exec: String::new() }
    }

    /// The id in events.
    pub(crate) fn id(&self) -> &str {
        if self.exec.is_empty() { &self.container } else { &self.exec }
    }
}

/// A call that is answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its connection.
    pub(crate) connection: u64,
    /// Its stream.
    pub(crate) stream: u32,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Known, not started.
    Created,
    /// Started.
    Running,
    /// Ended, and everybody was told so.
    Stopped,
}

impl Phase {
    /// As error texts name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// What a helper does with a process now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Nothing.
    No,
    /// It makes it.
    Creating,
    /// It starts it.
    Starting,
    /// It removes it, or waits for its output to do so.
    Deleting(Caller),
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exit {
    /// The exit status, or 128 and the signal.
    pub(crate) status: u32,
    /// When.
    pub(crate) at: Timestamp,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number among all processes of this shim, never used again.
    pub(crate) serial: u64,
    /// Its pid; 0 before there is one.
    pub(crate) pid: i32,
    /// A descriptor of it, until its end is known.
    pub(crate) pidfd: Option<OwnedFd>,
    /// How far it is.
    pub(crate) phase: Phase,
    /// What is being done.
    pub(crate) busy: Busy,
    /// Its end, which may be known before it may be told.
    pub(crate) exit: Option<Exit>,
    /// Its streams.
    pub(crate) stdio: Stdio,
    /// An exec: the process as JSON.
    pub(crate) spec: Vec<u8>,
    /// Who waits for its end.
    pub(crate) waiters: Vec<Caller>,
    /// The master of its terminal.
    pub(crate) console: Option<OwnedFd>,
    /// The copiers of its streams that are not at their end.
    pub(crate) copiers: Vec<u64>,
    /// The logging binary of its output.
    pub(crate) logger: Option<OwnedFd>,
}

impl Process {
    /// One that does not exist yet.
    pub(crate) fn new(serial: u64, stdio: Stdio, spec: Vec<u8>, busy: Busy) -> Self {
        Self {
            serial,
            pid: 0,
            pidfd: None,
            phase: Phase::Created,
            busy,
            exit: None,
            stdio,
            spec,
            waiters: Vec::new(),
            console: None,
            copiers: Vec::new(),
            logger: None,
        }
    }

    /// The pid as messages have it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Whether it runs, or is about to, and its end has not been told.
    pub(crate) fn is_alive(&self) -> bool {
        self.phase == Phase::Running || self.busy == Busy::Starting
    }
}

/// Whether the processes of a container stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freezer {
    /// They run.
    Thawed,
    /// They are being stopped.
    Freezing,
    /// They stand still.
    Frozen,
}

/// Whether what outlives the first process has been killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing can: the pid namespace ends with its first process.
    None,
    /// Not yet.
    Left,
    /// A helper does it.
    Ending,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    /// What helpers need.
    pub(crate) target: Target,
    /// Its first process.
    pub(crate) init: Process,
    /// Its other processes.
    pub(crate) execs: BTreeMap<String, Process>,
    /// Whether it is paused.
    pub(crate) freezer: Freezer,
    /// What to kill after the first process.
    pub(crate) rest: Rest,
    /// Where its cgroups are.
    pub(crate) cgroup: cgroups::Record,
    /// The watch on its memory limit.
    pub(crate) oom: Option<Watch>,
    /// What its start restores, if it is created from a checkpoint.
    pub(crate) saved: Option<Saved>,
    /// What was mounted, for the event.
    pub(crate) rootfs: Vec<crate::proto::task::Mount>,
}

impl Container {
    /// A process of it.
    pub(crate) fn process(&self, exec: &str) -> Option<&Process> {
        if exec.is_empty() { Some(&self.init) } else { self.execs.get(exec) }
    }

    /// A process of it.
    pub(crate) fn process_mut(&mut self, exec: &str) -> Option<&mut Process> {
        if exec.is_empty() { Some(&mut self.init) } else { self.execs.get_mut(exec) }
    }

    /// The state that error texts name: that of the first process, or paused.
    pub(crate) fn state_name(&self) -> &'static str {
        match (self.init.phase, self.freezer) {
            (Phase::Running, Freezer::Frozen | Freezer::Freezing) => "paused",
            (phase, _) => phase.name(),
        }
    }

    /// The state of a process as clients see it.
    pub(crate) fn status(&self, process: &Process) -> Status {
        match (process.phase, self.freezer) {
            (Phase::Created, _) => Status::Created,
            (Phase::Stopped, _) => Status::Stopped,
            (Phase::Running, Freezer::Thawed) => Status::Running,
            (Phase::Running, Freezer::Freezing) => Status::Pausing,
            (Phase::Running, Freezer::Frozen) => Status::Paused,
        }
    }

    /// Whether an exec runs or is about to: its end must be told before that of the first process.
    pub(crate) fn has_live_execs(&self) -> bool {
        self.execs.values().any(Process::is_alive)
    }

    /// It, once it is made.
    ///
    /// # Errors
    /// FAILED_PRECONDITION before.
    pub(crate) fn made(&self) -> Outcome<&Self> {
        if self.init.busy == Busy::Creating {
            return Err(Failure::precondition("container must be created"));
        }
        Ok(self)
    }
}
