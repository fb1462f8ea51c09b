//! The parent's side of the conversation while the child sets itself up; `child/src/message.rs` draws it.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use child::Op;
use child::message::Kind as Said;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::write;
use rustix::process::Pid;
use sys::error::Context;
use sys::task;

use super::copy_up::Tmpfs;
use super::process::run_hooks;
use super::spawned::Spawned;
use super::undo::Undo;
use super::userns::{Writer, write_maps};
use super::{Console, Prepared, console, copy_up, net_devices, state_json};
use crate::config::limits::Refusal;
use crate::config::namespaces::Kind as Namespace;
use crate::plan::Plan;
use crate::state::{Init, State, Status};
use crate::step::Step;
use crate::{Error, Kind, Result, phase, procfs, record};

/// Who talks about what.
pub(super) struct Talk<'a> {
    prepared: &'a Prepared<'a>,
    plan: &'a Plan<'a>,
    cgroup: &'a cgroups::Prepared,
    pub(super) spawned: Spawned,
    console: Option<OwnedFd>,
    copy_from: Option<OwnedFd>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        prepared: &'a Prepared<'a>,
        plan: &'a Plan<'a>,
        cgroup: &'a cgroups::Prepared,
        spawned: Spawned,
    ) -> Self {
        Self { prepared, plan, cgroup, spawned, console: None, copy_from: None }
    }

    /// Answers the child until it is ready; returns the terminal's master unless a socket got it.
    pub(super) fn until_ready(
        &mut self,
        state: &mut State,
        record: &mut record::File,
        undo: &mut Undo<'_>,
    ) -> Result<Option<OwnedFd>> {
        if self.prepared.stages().first & Namespace::User as u32 != 0 {
            self.maps()?;
            self.spawned.send(Said::Go)?;
        } else if self.prepared.stages().second.is_none_or(|flags| flags & Namespace::User as u32 == 0) {
            self.on_child_all()?;
        }
        loop {
            let Some((message, fd)) = self.spawned.receive(&self.plan.steps)? else {
                return Err(self.spawned.failure(&self.plan.steps, state));
            };
            match message.kind {
                Said::Ready => {
                    phase::log_steps(&self.spawned.page, 0, |index| text_of(&self.plan.steps, index));
                    return Ok(self.console.take());
                }
                Said::Failed => return Err(self.spawned.failure(&self.plan.steps, state)),
                Said::Cloned => self.cloned(message.value, state, record, undo)?,
                Said::NeedMaps => self.maps()?,
                Said::NeedAdopt => self.adopt(undo)?,
                Said::NeedHooks => self.hooks(state, undo)?,
                Said::CopyFrom => self.copy_from = fd,
                Said::CopyTo => self.copy(fd)?,
                Said::Console => self.take_console(fd)?,
                Said::Go | Said::Start | Said::Listener => {
                    return Err(Error::new(Kind::Internal, "the new process broke the protocol"));
                }
            }
            if !matches!(message.kind, Said::CopyFrom | Said::Console) {
                self.spawned.send(Said::Go)?;
            }
        }
    }

    fn cloned(
        &mut self,
        pid: u32,
        state: &mut State,
        record: &mut record::File,
        undo: &mut Undo<'_>,
    ) -> Result<()> {
        self.spawned.become_last(pid)?;
        undo.init = self.spawned.pidfd.try_clone().ok();
        state.init = Some(Init::of(self.spawned.pid, &self.spawned.pidfd)?);
        record.write(state)
    }

    /// Id maps, and what a process in a new user namespace can no longer do for itself.
    fn maps(&self) -> Result<()> {
        const SET_IDS: u64 = 1 << 6 | 1 << 7;
        let privileged = self.prepared.facts.permitted() & SET_IDS == SET_IDS;
        let writer = if privileged { Writer::Privileged } else { Writer::Ordinary };
        write_maps(self.spawned.pid, &self.prepared.config.id_mappings, writer)?;
        self.on_child_all()
    }

    fn on_child_all(&self) -> Result<()> {
        self.plan.by_parent.iter().try_for_each(|step| match on_process(self.spawned.pid, step) {
            Err(error) if self.is_warned_of(step) => {
                tracing::warn!("{error}");
                Ok(())
            }
            other => other,
        })
    }

    /// Whether the refusal of a step is only worth a warning.
    fn is_warned_of(&self, step: &Step<'_>) -> bool {
        let score = self.prepared.config.process.as_ref().and_then(|process| process.limits.oom_score_adj());
        matches!(step.op, Op::OomScoreAdj { .. })
            && score.is_some_and(|score| score.refusal == Refusal::IsWarnedOf)
    }

    fn adopt(&self, undo: &mut Undo<'_>) -> Result<()> {
        let pid = Pid::from_raw(self.spawned.pid)
            .ok_or_else(|| Error::new(Kind::Internal, "the new process has no pid"))?;
        self.cgroup.adopt(pid)?;
        let devices = &self.prepared.config.net_devices.list;
        if !devices.is_empty() {
            undo.net_devices = Some(net_devices::move_to(devices, self.spawned.pid)?);
        }
        Ok(())
    }

    fn hooks(&mut self, state: &State, undo: &mut Undo<'_>) -> Result<()> {
        let hooks = &self.prepared.config.hooks;
        let began = Instant::now();
        phase::begin!("hooks", "run the prestart and createRuntime hooks");
        let text = state_json::for_hook(state, Status::Created, self.spawned.pid);
        undo.hooks_ran = Some(state_json::for_hook(state, Status::Stopped, 0));
        run_hooks(hooks.prestart.iter().chain(&hooks.create_runtime), &text, self.prepared.options.timeout)?;
        // Each hook has a limit of its own, so its time is not the phase's.
        self.spawned.deadline.extend(began.elapsed());
        phase::begin!("set-up", "process {} goes on", self.spawned.pid);
        Ok(())
    }

    fn copy(&mut self, to: Option<OwnedFd>) -> Result<()> {
        let (Some(from), Some(to)) = (self.copy_from.take(), to) else {
            return Err(Error::new(Kind::Internal, "a copy without directories"));
        };
        let namespaces = &self.prepared.config.namespaces;
        let own = !namespaces.is_new(Namespace::User) && namespaces.path(Namespace::User).is_none();
        let tmpfs = if own { Tmpfs::Own } else { Tmpfs::OfContainer };
        copy_up::copy(&from, &to, tmpfs, &self.spawned.deadline).map_err(|error| {
            match self.plan.steps.get(self.spawned.page.step() as usize) {
                Some(step) => error.with_key(step.key.clone().into_owned()),
                None => error,
            }
        })
    }

    fn take_console(&mut self, master: Option<OwnedFd>) -> Result<()> {
        let master = master.ok_or_else(|| Error::new(Kind::Internal, "a terminal without a master"))?;
        if let Console::Socket(path) = &self.prepared.options.console {
            let deadline = &self.spawned.deadline;
            return console::send(path, master.as_fd(), b"/dev/pts/ptmx", "--console-socket", deadline);
        }
        self.console = Some(master);
        Ok(())
    }
}

/// The key of a step and what it does.
pub(super) fn text_of(steps: &[Step<'_>], index: u32) -> Option<(String, String)> {
    steps.get(index as usize).map(|step| (step.key.to_string(), step.op.to_string()))
}

/// Does a step to another process, which may not do it to itself.
pub(super) fn on_process(pid: i32, step: &Step<'_>) -> Result<()> {
    let done = match step.op {
        Op::Rlimit { resource, soft, hard } => {
            task::prlimit(pid, resource, soft, hard).context("prlimit", || step.op.to_string())
        }
        Op::Scheduler { attributes } => {
            task::sched_setattr(pid, sched_attr(attributes)).context("sched_setattr", || step.op.to_string())
        }
        Op::IoPriority { value } => {
            task::ioprio_set(pid, value).context("ioprio_set", || step.op.to_string())
        }
        Op::OomScoreAdj { value } => oom_score_adj(pid, value.0),
        _ => Err(Error::new(Kind::Internal, format!("the parent cannot {}", step.op))),
    };
    done.map_err(|error| error.with_key(step.key.clone().into_owned()))
}

fn sched_attr(attributes: child::op::Scheduler) -> task::SchedAttr {
    let child::op::Scheduler { policy, flags, nice, priority, runtime, deadline, period } = attributes;
    task::SchedAttr { policy, flags, nice, priority, runtime, deadline, period, ..task::SchedAttr::default() }
}

fn oom_score_adj(pid: i32, value: &CStr) -> Result<()> {
    let what = || format!("write {} to /proc/{pid}/oom_score_adj", value.to_string_lossy());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(procfs::open()?, format!("{pid}/oom_score_adj"), flags, Mode::empty())
        .context("openat", what)?;
    write(file, value.to_bytes()).context("write", what).map(drop)
}
