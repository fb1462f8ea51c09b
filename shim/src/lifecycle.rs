//! What follows when a helper is done or a process has ended.
//!
//! The order that containerd relies on is kept here and nowhere else: a process is told to be started before it is told
//! to have ended, the execs have ended before the first process, and kills for want of memory come before the end that
//! they caused. The end of a process may be *known* ([`crate::container::Process::exit`]) long before it may be *told*
//! ([`Phase::Stopped`]); [`Shim::settle`] tells what may be told.

use std::os::fd::OwnedFd;
use std::time::Duration;

use prost::Message;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::time::Timespec;
use sys::daemon::{ended_child, reap};

use crate::container::{Busy, Caller, Container, Exit, Freezer, Key, Phase, Process, Rest};
use crate::copy::{Copier, Direction, Sink};
use crate::failure::{Failure, Outcome};
use crate::helper::Done;
use crate::oom::Watch;
use crate::poll::Source;
use crate::proto::task::{DeleteResponse, PidResponse, WaitResponse};
use crate::proto::{Empty, Timestamp, events};
use crate::runtime;
use crate::shim::{Operation, Shim, Timer};

/// How long a removal waits for output that somebody else still holds open.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the end of a first process waits for the ends of execs.
const SETTLE: Duration = Duration::from_secs(10);
/// How long a logging binary may read on after its container has been removed, before it is asked to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a logging binary may take to end.
const LOGGER: Duration = Duration::from_secs(12);
/// When kills are counted again after a notice that came before its kill.
const RECOUNT: Duration = Duration::from_millis(50);

/// What a helper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Make a container.
    Create,
    /// Start its first process.
    Start,
    /// Restore its processes.
    Restore,
    /// Run one more process.
    Exec,
    /// Remove a container.
    Delete,
    /// Stop its processes.
    Pause,
    /// Let them go on.
    Resume,
    /// Something whose outcome changes nothing that the shim knows: the answer is in the report.
    Ask,
    /// Kill what outlived the first process.
    EndRest,
}

impl Shim {
    /// Draws the consequences of an operation that has ended.
    pub(crate) fn done(&mut self, operation: Operation, outcome: Outcome<Done>) {
        let Operation { task, key, caller, .. } = operation;
        let answer = match task {
            Task::Create => Some(self.created(&key, outcome)),
            Task::Start => Some(self.started(&key, outcome)),
            Task::Restore => Some(self.restored(&key, outcome)),
            Task::Exec => Some(self.exec_started(&key, outcome)),
            Task::Delete => self.deleted(&key, outcome),
            Task::Pause => Some(self.frozen(&key, outcome, Freezer::Frozen)),
            Task::Resume => Some(self.frozen(&key, outcome, Freezer::Thawed)),
            Task::Ask => Some(outcome.map(|done| done.report.payload)),
            Task::EndRest => {
                self.rest_ended(&key, outcome);
                None
            }
        };
        if let (Some(caller), Some(answer)) = (caller, answer) {
            self.answer(caller, answer);
        }
        self.settle(&key.container);
    }

    fn process(&mut self, key: &Key) -> Option<&mut Process> {
        self.containers.get_mut(&key.container)?.process_mut(&key.exec)
    }

    fn created(&mut self, key: &Key, outcome: Outcome<Done>) -> Outcome<Vec<u8>> {
        let done = match outcome {
            Ok(done) => done,
            Err(failure) => {
                self.remove(&key.container);
                return Err(failure);
            }
        };
        let gone = || Failure::not_found("container not created");
        let container = self.containers.get_mut(&key.container).ok_or_else(gone)?;
        container.init.busy = Busy::No;
        let images = container.saved.as_ref().map(|saved| saved.images.display().to_string());
        let event = events::TaskCreate {
            container_id: key.container.clone(),
            bundle: container.target.bundle.display().to_string(),
            rootfs: std::mem::take(&mut container.rootfs),
            io: Some(events::TaskIo {
                stdin: container.init.stdio.stdin.clone(),
                stdout: container.init.stdio.stdout.clone(),
                stderr: container.init.stdio.stderr.clone(),
                terminal: container.init.stdio.terminal,
            }),
            checkpoint: images.unwrap_or_default(),
            pid: done.report.pid.unsigned_abs(),
        };
        // Before the start: a program may be killed sooner than its start is reported.
        self.watch_group(key, &done);
        let pid = self.exists(key, done);
        self.events.publish("/tasks/create", "containerd.events.TaskCreate", &event);
        Ok(PidResponse { pid }.encode_to_vec())
    }

    /// Notes where the groups of a new container are and watches its memory.
    fn watch_group(&mut self, key: &Key, done: &Done) {
        let Some(container) = self.containers.get_mut(&key.container) else { return };
        container.cgroup = serde_json::from_slice(&done.report.cgroup).unwrap_or_default();
        container.rest = if done.report.shared_pids { Rest::Left } else { Rest::None };
        container.oom = Watch::new(&container.cgroup);
        if let Some(watch) = &container.oom {
            let _ = self.poll.watch(&watch.notice, Source::Oom(container.init.serial));
        }
    }

    /// A container from a checkpoint runs. One that could not be restored can only be removed.
    fn restored(&mut self, key: &Key, outcome: Outcome<Done>) -> Outcome<Vec<u8>> {
        let done = self.runs(key, "container not created", outcome)?;
        self.watch_group(key, &done);
        let pid = self.exists(key, done);
        let event = events::TaskStart { container_id: key.container.clone(), pid };
        self.events.publish("/tasks/start", "containerd.events.TaskStart", &event);
        Ok(PidResponse { pid }.encode_to_vec())
    }

    /// Notes that a process runs from its first moment, or that it could not be made; `missing` says that it is gone.
    fn runs(&mut self, key: &Key, missing: &str, outcome: Outcome<Done>) -> Outcome<Done> {
        let process = self.process(key).ok_or_else(|| Failure::not_found(missing))?;
        process.busy = Busy::No;
        match outcome {
            Ok(_) => process.phase = Phase::Running,
            Err(_) => self.never_started(key),
        }
        outcome
    }

    /// Takes over a process that a helper made.
    fn exists(&mut self, key: &Key, done: Done) -> u32 {
        let Done { report, pidfd, console, logger } = done;
        let Some(process) = self.process(key) else { return 0 };
        process.pid = report.pid;
        process.logger = logger.or(process.logger.take());
        let (serial, stdio, pid) = (process.serial, process.stdio.clone(), process.pid());
        if let Some(pidfd) = pidfd {
            let watched = self.poll.watch(&pidfd, Source::Process(serial));
            if let Err(errno) = watched {
                self.log.line(&format!("watch process {pid}: {errno}"));
            }
            if let Some(process) = self.process(key) {
                process.pidfd = Some(pidfd);
            }
        }
        if let Some(console) = console {
            let logger = self.process(key).and_then(|process| process.console.take());
            match stdio.attach(key, &console, logger) {
                Ok(copiers) => self.copy_all(key, copiers),
                Err(failure) => self.log.line(&failure.text),
            }
            if let Some(process) = self.process(key) {
                process.console = Some(console);
            }
        }
        pid
    }

    /// Copies the streams of a process from now on.
    pub(crate) fn copy_all(&mut self, key: &Key, copiers: Vec<Copier>) {
        let serials: Vec<u64> = copiers.into_iter().map(|copier| self.add_copier(copier)).collect();
        if let Some(process) = self.process(key) {
            process.copiers.extend(&serials);
        }
        serials.into_iter().for_each(|serial| self.copy(serial));
    }

    fn started(&mut self, key: &Key, outcome: Outcome<Done>) -> Outcome<Vec<u8>> {
        let gone = || Failure::not_found("container not created");
        let container = self.containers.get_mut(&key.container).ok_or_else(gone)?;
        container.init.busy = Busy::No;
        outcome?;
        container.init.phase = Phase::Running;
        let pid = container.init.pid();
        let event = events::TaskStart { container_id: key.container.clone(), pid };
        self.events.publish("/tasks/start", "containerd.events.TaskStart", &event);
        Ok(PidResponse { pid }.encode_to_vec())
    }

    fn exec_started(&mut self, key: &Key, outcome: Outcome<Done>) -> Outcome<Vec<u8>> {
        let done = self.runs(key, "process does not exist", outcome)?;
        let pid = self.exists(key, done);
        let event =
            events::TaskExecStarted { container_id: key.container.clone(), exec_id: key.exec.clone(), pid };
        self.events.publish("/tasks/exec-started", "containerd.events.TaskExecStarted", &event);
        Ok(PidResponse { pid }.encode_to_vec())
    }

    /// An exec could not be started: it can be removed, and whoever waits gets an answer. There was no start, so no end is
    /// told.
    pub(crate) fn never_started(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        process.phase = Phase::Stopped;
        process.exit = Some(Exit { status: 255, at: Timestamp::now() });
        self.drop_streams(key);
        self.tell_waiters(key);
    }

    fn frozen(&mut self, key: &Key, outcome: Outcome<Done>, now: Freezer) -> Outcome<Vec<u8>> {
        let gone = || Failure::not_found("container not created");
        let container = self.containers.get_mut(&key.container).ok_or_else(gone)?;
        let (before, topic, name) = match now {
            Freezer::Frozen => (Freezer::Thawed, "/tasks/paused", "containerd.events.TaskPaused"),
            _ => (Freezer::Frozen, "/tasks/resumed", "containerd.events.TaskResumed"),
        };
        container.freezer = if outcome.is_ok() { now } else { before };
        outcome?;
        self.events.publish(topic, name, &events::TaskOnly { container_id: key.container.clone() });
        Ok(Empty {}.encode_to_vec())
    }

    /// A process may have ended: its descriptor says so.
    pub(crate) fn process_ended(&mut self, serial: u64) {
        let Some(key) = self.keys.get(&serial).cloned() else { return };
        self.reap(&key);
        self.settle(&key.container);
    }

    /// Learns the end of a process. A helper may still be its parent, for as long as it takes to exit; the process is then
    /// looked at again when it has become a child of the shim, which a SIGCHLD tells.
    fn reap(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        let Some(pidfd) = process.pidfd.as_ref().filter(|pidfd| has_ended(pidfd)) else { return };
        let Some(ended) = reap(process.pid) else {
            // The descriptor stays ready, so it is silenced until then.
            let (pidfd, serial) = (pidfd.try_clone(), process.serial);
            if let Ok(pidfd) = pidfd {
                let flags = rustix::event::epoll::EventFlags::empty();
                let _ = self.poll.change(&pidfd, Source::Process(serial), flags);
            }
            return;
        };
        process.exit = Some(Exit { status: ended.status, at: Timestamp::now() });
        if let Some(pidfd) = process.pidfd.take() {
            self.poll.forget(&pidfd);
        }
        if let Some(container) = self.containers.get(&key.container).filter(|_| key.exec.is_empty()) {
            container.target.note_end(ended);
        }
    }

    /// Reaps every child that has ended: processes of containers, helpers, and strays that became children of the
    /// subreaper.
    pub(crate) fn sweep(&mut self) {
        let mut last = 0;
        while let Some(ended) = ended_child() {
            // All reports first: a helper reports before it ends, so what no report named is nobody's.
            self.take_reports();
            let key = self.keys.values().find(|key| self.pid_of(key) == ended.pid).cloned();
            match key {
                Some(key) => {
                    self.reap(&key);
                    self.settle(&key.container);
                    // It is still there: nothing can be done about it now.
                    if last == ended.pid {
                        break;
                    }
                }
                None => drop(reap(ended.pid)),
            }
            last = ended.pid;
        }
    }

    fn pid_of(&self, key: &Key) -> i32 {
        let process = self.containers.get(&key.container).and_then(|container| container.process(&key.exec));
        process.filter(|process| process.exit.is_none()).map_or(0, |process| process.pid)
    }

    /// Tells the ends that may be told.
    pub(crate) fn settle(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let ended = |process: &Process| {
            process.exit.is_some() && process.phase != Phase::Stopped && process.busy != Busy::Starting
        };
        let execs: Vec<String> =
            container.execs.iter().filter(|(_, process)| ended(process)).map(|(id, _)| id.clone()).collect();
        for exec in execs {
            self.stop(&Key { container: id.to_owned(), exec });
        }
        let Some(container) = self.containers.get(id) else { return };
        if !ended(&container.init) {
            return;
        }
        match container.rest {
            Rest::Left => self.end_rest(id),
            Rest::Ending => {}
            Rest::None if container.has_live_execs() => {
                let timer = Timer::Settle(container.init.serial);
                self.timers.cancel(&timer);
                self.timers.add(SETTLE, timer);
            }
            Rest::None => self.stop_init(id),
        }
    }

    /// An exec did not end though the first process did: its end is told when it comes.
    pub(crate) fn settle_anyway(&mut self, serial: u64) {
        let Some(key) = self.keys.get(&serial).cloned() else { return };
        let ready =
            |container: &Container| container.init.exit.is_some() && container.init.phase != Phase::Stopped;
        if self.containers.get(&key.container).is_some_and(ready) {
            self.stop_init(&key.container);
        }
    }

    fn end_rest(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.rest = Rest::Ending;
        let (target, cgroup) = (container.target.clone(), container.cgroup.clone());
        let work = move || runtime::kill_rest(&target, &cgroup);
        if let Err(errno) = self.operate(Task::EndRest, Key::init(id), None, &[], work) {
            self.log.line(&format!("fork: {errno}"));
            self.rest_ended(&Key::init(id), Ok(Done::default()));
        }
    }

    fn rest_ended(&mut self, key: &Key, outcome: Outcome<Done>) {
        if let Err(failure) = outcome {
            self.log.line(&format!("kill what is left of {}: {}", key.container, failure.text));
        }
        if let Some(container) = self.containers.get_mut(&key.container) {
            container.rest = Rest::None;
        }
    }

    fn stop_init(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let serial = container.init.serial;
        self.look_for_oom(serial);
        self.timers.cancel(&Timer::Settle(serial));
        if let Some(container) = self.containers.get_mut(id) {
            if let Some(watch) = container.oom.take() {
                self.poll.forget(&watch.notice);
            }
            container.freezer = Freezer::Thawed;
        }
        self.timers.cancel(&Timer::Oom(serial));
        let key = Key::init(id);
        self.stop(&key);
        // A container that was never started dies by its removal, which may still be under way.
        let removing = self.operations.values().any(|other| other.task == Task::Delete && other.key == key);
        if let Some(Busy::Deleting(caller)) = self.process(&key).map(|process| process.busy)
            && !removing
        {
            self.finish_delete(&key, caller);
        }
    }

    /// Tells everybody that a process has ended.
    fn stop(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        process.phase = Phase::Stopped;
        let (pid, exit) = (process.pid(), process.exit);
        let event = events::TaskExit {
            container_id: key.container.clone(),
            id: key.id().to_owned(),
            pid,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
        };
        self.events.publish("/tasks/exit", "containerd.events.TaskExit", &event);
        self.tell_waiters(key);
        self.end_input(key);
    }

    fn tell_waiters(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        let answer = wait_response(process);
        for waiter in std::mem::take(&mut process.waiters) {
            self.answer(waiter, Ok(answer.clone()));
        }
    }

    /// A process that has ended reads nothing any more.
    fn end_input(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        for serial in process.copiers.clone() {
            if self.copiers.get(&serial).is_some_and(|copier| copier.direction == Direction::In) {
                self.end_copier(serial);
            }
        }
    }

    /// Ends the copying of a stream.
    pub(crate) fn end_copier(&mut self, serial: u64) {
        let Some(copier) = self.copiers.remove(&serial) else { return };
        self.poll.forget(&copier.source);
        if let Sink::Open(sink) = &copier.sink {
            self.poll.forget(sink);
        }
        self.timers.cancel(&Timer::Copy(serial));
        let key = copier.key.clone();
        drop(copier);
        let Some(process) = self.process(&key) else { return };
        process.copiers.retain(|other| *other != serial);
        self.delete_when_drained(&key);
    }

    fn drop_streams(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        process.console = None;
        let logger = process.logger.take();
        for serial in std::mem::take(&mut process.copiers) {
            if let Some(copier) = self.copiers.remove(&serial) {
                self.poll.forget(&copier.source);
            }
            self.timers.cancel(&Timer::Copy(serial));
        }
        if let Some(logger) = logger {
            self.end_logger(logger);
        }
    }

    /// Lets a logging binary read to the end of the output, and sees to it that it ends.
    fn end_logger(&mut self, logger: OwnedFd) {
        let serial = self.next_serial();
        self.loggers.insert(serial, logger);
        self.timers.add(LAST_WORDS, Timer::Logger(serial, Signal::TERM));
    }

    /// The time of a logging binary is over.
    pub(crate) fn signal_logger(&mut self, serial: u64, signal: Signal) {
        let Some(logger) = self.loggers.remove(&serial) else { return };
        let is_there = pidfd_send_signal(&logger, signal).is_ok();
        if is_there && signal == Signal::TERM {
            self.loggers.insert(serial, logger);
            self.timers.add(LOGGER, Timer::Logger(serial, Signal::KILL));
        }
    }

    /// Removes a process whose output is at its end, or lets a timer do it that waits for so long.
    pub(crate) fn delete(&mut self, key: &Key, caller: Caller) {
        let Some(process) = self.process(key) else { return };
        process.busy = Busy::Deleting(caller);
        let (serial, stopped) = (process.serial, process.phase == Phase::Stopped);
        if stopped && self.is_draining(key) {
            self.timers.add(DRAIN, Timer::Drain(serial));
            self.look_for_clients(key);
        } else {
            self.delete_now(key, caller);
        }
    }

    /// Looks at once for the clients of a process that are not there or have not read the last, and often from now on.
    fn look_for_clients(&mut self, key: &Key) {
        let serials = self.process(key).map(|process| process.copiers.clone()).unwrap_or_default();
        for serial in serials {
            let Some(copier) = self.copiers.get_mut(&serial) else { continue };
            if copier.awaits_client() {
                copier.look_soon();
                self.timers.cancel(&Timer::Copy(serial));
                self.copy(serial);
            }
        }
    }

    fn is_draining(&self, key: &Key) -> bool {
        let process = self.containers.get(&key.container).and_then(|container| container.process(&key.exec));
        let out =
            |serial: &u64| self.copiers.get(serial).is_some_and(|copier| copier.direction == Direction::Out);
        process.is_some_and(|process| process.copiers.iter().any(out))
    }

    fn delete_when_drained(&mut self, key: &Key) {
        let Some(process) = self.process(key) else { return };
        let (serial, busy, phase) = (process.serial, process.busy, process.phase);
        if let (Busy::Deleting(caller), Phase::Stopped) = (busy, phase)
            && !self.is_draining(key)
            && self.has_timer(serial)
        {
            self.delete_now(key, caller);
        }
    }

    /// Whether the removal of a process waits for its output; afterwards it does not.
    fn has_timer(&mut self, serial: u64) -> bool {
        let before = self.timers.len();
        self.timers.cancel(&Timer::Drain(serial));
        self.timers.len() < before
    }

    /// Somebody holds the output of a process open that is to be removed. What is there has been copied.
    pub(crate) fn stop_draining(&mut self, serial: u64) {
        let Some(key) = self.keys.get(&serial).cloned() else { return };
        // The last chance of a client that has come since the last look.
        self.look_for_clients(&key);
        if self.is_draining(&key) {
            self.log.line(&format!("the output of {} is held open by another process", key.id()));
        }
        if let Some(Busy::Deleting(caller)) = self.process(&key).map(|process| process.busy) {
            self.delete_now(&key, caller);
        }
    }

    fn delete_now(&mut self, key: &Key, caller: Caller) {
        if !key.exec.is_empty() {
            self.finish_delete(key, caller);
            return;
        }
        let Some(container) = self.containers.get(&key.container) else { return };
        let target = container.target.clone();
        let work = move || runtime::delete(&target);
        if let Err(errno) = self.operate(Task::Delete, key.clone(), Some(caller), &[], work) {
            self.not_busy(key);
            self.answer(caller, Err(Failure::unknown(format!("fork: {errno}"))));
        }
    }

    fn not_busy(&mut self, key: &Key) {
        if let Some(process) = self.process(key) {
            process.busy = Busy::No;
        }
    }

    /// The runtime has removed a container. One that was never started dies by that, and is answered once its end is told.
    fn deleted(&mut self, key: &Key, outcome: Outcome<Done>) -> Option<Outcome<Vec<u8>>> {
        if let Err(failure) = outcome {
            self.not_busy(key);
            return Some(Err(failure));
        }
        // One that waited to be restored has no process whose end could be told.
        if self.containers.get(&key.container).is_some_and(|container| container.saved.is_some()) {
            self.never_started(key);
        }
        let process = self.process(key)?;
        if let (Phase::Stopped, Busy::Deleting(caller)) = (process.phase, process.busy) {
            self.finish_delete(key, caller);
        }
        None
    }

    fn finish_delete(&mut self, key: &Key, caller: Caller) {
        let Some(process) = self.process(key) else { return };
        let (pid, exit) = (process.pid(), process.exit);
        let response = DeleteResponse {
            pid,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
        };
        if key.exec.is_empty() {
            let event = events::TaskDelete {
                container_id: key.container.clone(),
                pid,
                exit_status: response.exit_status,
                exited_at: response.exited_at,
                id: key.container.clone(),
            };
            self.remove(&key.container);
            self.events.publish("/tasks/delete", "containerd.events.TaskDelete", &event);
        } else {
            self.remove_exec(key);
        }
        self.answer(caller, Ok(response.encode_to_vec()));
    }

    fn remove_exec(&mut self, key: &Key) {
        self.drop_streams(key);
        let container = self.containers.get_mut(&key.container);
        if let Some(process) = container.and_then(|container| container.execs.remove(&key.exec)) {
            self.forget(&process);
        }
    }

    /// Forgets a container and everything of it.
    pub(crate) fn remove(&mut self, id: &str) {
        let execs: Option<Vec<String>> =
            self.containers.get(id).map(|container| container.execs.keys().cloned().collect());
        for exec in execs.unwrap_or_default() {
            self.remove_exec(&Key { container: id.to_owned(), exec });
        }
        self.drop_streams(&Key::init(id));
        if let Some(container) = self.containers.remove(id) {
            if let Some(watch) = &container.oom {
                self.poll.forget(&watch.notice);
            }
            self.forget(&container.init);
        }
    }

    fn forget(&mut self, process: &Process) {
        if let Some(pidfd) = &process.pidfd {
            self.poll.forget(pidfd);
        }
        self.keys.remove(&process.serial);
        let waiters = process.waiters.clone();
        let answer = wait_response(process);
        waiters.into_iter().for_each(|waiter| self.answer(waiter, Ok(answer.clone())));
    }

    /// Tells kills for want of memory that were not told yet.
    pub(crate) fn look_for_oom(&mut self, serial: u64) {
        let Some(key) = self.keys.get(&serial).cloned() else { return };
        let Some(container) = self.containers.get_mut(&key.container) else { return };
        let Some(watch) = &mut container.oom else { return };
        if watch.look(&container.cgroup) {
            let event = events::TaskOnly { container_id: key.container.clone() };
            self.events.publish("/tasks/oom", "containerd.events.TaskOOM", &event);
        } else if watch.recount() {
            // Version 1 gives notice before it kills.
            self.timers.add(RECOUNT, Timer::Oom(serial));
        }
    }
}

/// The answer to Wait for a process that has ended.
pub(crate) fn wait_response(process: &Process) -> Vec<u8> {
    let exit = process.exit;
    WaitResponse { exit_status: exit.map_or(0, |exit| exit.status), exited_at: exit.map(|exit| exit.at) }
        .encode_to_vec()
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)) != Ok(0)
}
