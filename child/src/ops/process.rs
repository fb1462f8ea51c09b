//! Descriptors, signals and other attributes of the process itself.

use rustix::fd::AsRawFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal, setsid, umask,
};
use sys::fd::{close_range, dup_to};
use sys::task;

use crate::data::{Bytes, Fd, Text, Words};
use crate::op::Scheduler;
use crate::page::{Called, Failure};
use crate::run::Executor;

impl Executor<'_> {
    pub(crate) fn descriptors(
        &mut self,
        place: Words<'_>,
        keep: u32,
        socket: Fd,
        proc: Option<Fd>,
    ) -> Result<(), Failure> {
        let mut numbers = place.iter();
        while let (Some(from), Some(to)) = (numbers.next(), numbers.next()) {
            if from != to {
                dup_to(sys::fd::borrow(from.cast_signed()), to.cast_signed()).called("dup3")?;
            }
        }
        close_range(keep, u32::MAX, 0).called("close_range")?;
        self.socket = sys::fd::borrow(socket.0);
        self.proc = proc;
        Ok(())
    }

    pub(crate) fn close(&mut self, first: Fd, count: u32) -> Result<(), Failure> {
        let number = first.0.unsigned_abs();
        let Some(last) = number.saturating_add(count).checked_sub(1).filter(|_| count > 0) else {
            return Ok(());
        };
        let closed = |fd: &Fd| (number..=last).contains(&fd.0.unsigned_abs());
        self.proc = self.proc.filter(|proc| !closed(proc));
        close_range(number, last, 0).called("close_range")
    }

    pub(crate) fn die_with_parent(&self) -> Result<(), Failure> {
        set_parent_process_death_signal(Some(Signal::KILL)).called("prctl(PR_SET_PDEATHSIG)")
    }

    pub(crate) fn non_dumpable(&self) -> Result<(), Failure> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).called("prctl(PR_SET_DUMPABLE)")
    }

    pub(crate) fn reset_signals(&self) -> Result<(), Failure> {
        sys::signal::reset_dispositions();
        sys::signal::end_at_termination();
        sys::signal::set_mask(0, None);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the child")]
    pub(crate) fn umask(&self, mask: u32) -> Result<(), Failure> {
        umask(Mode::from_raw_mode(mask));
        Ok(())
    }

    pub(crate) fn new_session(&self) -> Result<(), Failure> {
        match setsid() {
            // The leader of a process group has its session already: the shell-less start of an init under pid 1.
            Ok(_) | Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(Failure::new("setsid", errno)),
        }
    }

    pub(crate) fn new_keyring(&self, name: Text<'_>) -> Result<(), Failure> {
        match task::join_session_keyring(name.0) {
            // A kernel without keys has no keyring to leave. Where a filter of an outer container or a security module
            // refuses the call, it refuses the container's as well, and the caller's keyring is out of its reach. A
            // used-up quota is neither: the container would read the caller's keys.
            Ok(()) | Err(Errno::NOSYS | Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(errno) => Err(Failure::new("keyctl", errno)),
        }
    }

    pub(crate) fn all_processors(&self) -> Result<(), Failure> {
        match task::all_processors() {
            // A filter of an outer container may forbid it; the affinity stays then.
            Ok(()) | Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(Failure::new("sched_setaffinity", errno)),
        }
    }

    pub(crate) fn processors(&self, mask: Bytes<'_>) -> Result<(), Failure> {
        task::sched_setaffinity(mask.0).called("sched_setaffinity")
    }

    pub(crate) fn rlimit(&self, resource: u32, soft: u64, hard: u64) -> Result<(), Failure> {
        task::prlimit(0, resource, soft, hard).called("prlimit")
    }

    pub(crate) fn scheduler(&self, attributes: Scheduler) -> Result<(), Failure> {
        let Scheduler { policy, flags, nice, priority, runtime, deadline, period } = attributes;
        let attr = task::SchedAttr {
            policy,
            flags,
            nice,
            priority,
            runtime,
            deadline,
            period,
            ..Default::default()
        };
        task::sched_setattr(0, attr).called("sched_setattr")
    }

    pub(crate) fn io_priority(&self, value: u32) -> Result<(), Failure> {
        task::ioprio_set(0, value).called("ioprio_set")
    }

    pub(crate) fn personality(&self, domain: u32) -> Result<(), Failure> {
        task::personality(domain).called("personality")
    }

    pub(crate) fn memory_policy(&self, mode: u32, nodes: Bytes<'_>, max_node: u32) -> Result<(), Failure> {
        task::set_mempolicy(mode, nodes.0, max_node).called("set_mempolicy")
    }

    pub(crate) fn close_handles(
        &mut self,
        first: u32,
        output: Option<Fd>,
        start: Option<Fd>,
    ) -> Result<(), Failure> {
        // A startContainer hook begins in the root, and only what waits for start may still run one.
        if start.is_none() || output.is_none() {
            self.root = None;
        }
        (self.proc, self.dev, self.empty, self.null) = (None, None, None, None);
        let socket = self.socket.as_raw_fd().unsigned_abs();
        let or_socket = |fd: Option<Fd>| fd.map_or(socket, |fd| fd.0.unsigned_abs());
        let root = self.root.as_ref().map(|root| Fd(root.as_raw_fd()));
        let mut keep = [socket, or_socket(output), or_socket(start), or_socket(root)];
        keep.sort_unstable();
        let mut next = first;
        for kept in keep {
            if kept > next {
                close_range(next, kept - 1, 0).called("close_range")?;
            }
            next = next.max(kept.saturating_add(1));
        }
        close_range(next, u32::MAX, 0).called("close_range")?;
        close_range(first, u32::MAX, sys::fd::CLOSE_RANGE_CLOEXEC).called("close_range")
    }
}
