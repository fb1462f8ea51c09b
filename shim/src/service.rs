//! The calls of `containerd.task.v2.Task` and `containerd.task.v3.Task`.
//!
//! A call is answered at once, or it becomes an operation whose end answers it ([`crate::lifecycle`]). The texts of
//! failures are those that engines look for.

use std::os::fd::AsFd;
use std::path::PathBuf;

use prost::Message;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::checkpoint::{self, Saved, Saving};
use crate::container::{Busy, Caller, Container, Freezer, Key, Phase, Process, Rest};
use crate::copy::Direction;
use crate::failure::{Code, Failure, Outcome};
use crate::helper::Done;
use crate::lifecycle::{Task, wait_response};
use crate::options::Options;
use crate::proto::options::ProcessDetails;
use crate::proto::task::{
    CheckpointRequest, CloseIoRequest, ConnectResponse, ContainerRequest, CreateRequest, ExecRequest,
    KillRequest, PidsResponse, ProcessInfo, ProcessRequest, ResizePtyRequest, StateResponse, UpdateRequest,
};
use crate::proto::ttrpc::Request;
use crate::proto::{Any, Empty, events};
use crate::runtime::{self, Target, Whom};
use crate::shim::Shim;
use crate::stdio::Stdio;

/// The services that are spoken, with the same messages.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// The answer, or `None` where it comes later.
type Answer = Option<Outcome<Vec<u8>>>;

fn empty() -> Outcome<Vec<u8>> {
    Ok(Empty {}.encode_to_vec())
}

fn read<M: Message + Default>(payload: &[u8]) -> Outcome<M> {
    M::decode(payload).map_err(|error| Failure::new(Code::InvalidArgument, format!("request: {error}")))
}

fn later(outcome: Outcome<()>) -> Answer {
    outcome.err().map(Err)
}

impl Shim {
    /// Does what is called.
    pub(crate) fn call(&mut self, caller: Caller, request: &Request) -> Answer {
        let Request { service, method, payload, .. } = request;
        if !SERVICES.contains(&service.as_str()) {
            return Some(Err(Failure::new(Code::Unimplemented, format!("service {service}"))));
        }
        match method.as_str() {
            "Create" => later(read(payload).and_then(|request| self.create(caller, request))),
            "Start" => later(read(payload).and_then(|request| self.start(caller, request))),
            "Exec" => Some(read(payload).and_then(|request| self.exec(request))),
            "Delete" => later(read(payload).and_then(|request| self.ask_delete(caller, request))),
            "Kill" => {
                read(payload).map_or_else(|failure| Some(Err(failure)), |request| self.kill(caller, &request))
            }
            "Wait" => {
                read(payload).map_or_else(|failure| Some(Err(failure)), |request| self.wait(caller, request))
            }
            "State" => Some(read(payload).and_then(|request| self.state(&request))),
            "Pids" => Some(read(payload).and_then(|request| self.pids(&request))),
            "Connect" => Some(read(payload).map(|request| self.connect(&request))),
            "Pause" => later(read(payload).and_then(|request| self.pause(caller, request))),
            "Resume" => later(read(payload).and_then(|request| self.resume(caller, request))),
            "Update" => later(read(payload).and_then(|request| self.update(caller, request))),
            "Stats" => later(read(payload).and_then(|request| self.stats(caller, &request))),
            "ResizePty" => Some(read(payload).and_then(|request| self.resize(&request))),
            "CloseIO" => Some(read(payload).and_then(|request| self.close_io(&request))),
            "Checkpoint" => later(read(payload).and_then(|request| self.checkpoint(caller, &request))),
            "Shutdown" => {
                if self.containers.is_empty() {
                    self.end();
                }
                Some(empty())
            }
            _ => Some(Err(Failure::new(Code::Unimplemented, format!("method {method}")))),
        }
    }

    fn container(&self, id: &str) -> Outcome<&Container> {
        let found = self.containers.get(id).ok_or_else(|| Failure::not_found("container not created"))?;
        found.made()
    }

    fn container_mut(&mut self, id: &str) -> Outcome<&mut Container> {
        self.container(id)?;
        self.containers.get_mut(id).ok_or_else(|| Failure::not_found("container not created"))
    }

    fn find(&self, id: &str, exec: &str) -> Outcome<(&Container, &Process)> {
        let container = self.container(id)?;
        let missing = || Failure::not_found(format!("process does not exist {exec}"));
        Ok((container, container.process(exec).ok_or_else(missing)?))
    }

    fn process_mut(&mut self, key: &Key) -> Outcome<&mut Process> {
        let container = self.container_mut(&key.container)?;
        let missing = || Failure::not_found(format!("process does not exist {}", key.exec));
        container.process_mut(&key.exec).ok_or_else(missing)
    }

    /// Runs `work` in a helper; the end of that is the answer.
    fn begin(
        &mut self,
        task: Task,
        key: Key,
        caller: Caller,
        keep: &[i32],
        work: impl FnOnce() -> Outcome<Done>,
    ) -> Outcome<()> {
        self.operate(task, key, Some(caller), keep, work)
            .map_err(|errno| Failure::unknown(format!("start a helper: {errno}")))
    }

    fn create(&mut self, caller: Caller, request: CreateRequest) -> Outcome<()> {
        if self.containers.contains_key(&request.id) {
            return Err(Failure::new(Code::AlreadyExists, format!("container {}", request.id)));
        }
        let options = Options::read(request.options.as_ref())?;
        let key = Key::init(&request.id);
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let prepared = stdio.prepare(&key, &self.place.namespace, &options)?;
        let target = Target {
            namespace: self.place.namespace.clone(),
            id: request.id.clone(),
            bundle: PathBuf::from(request.bundle),
            options,
        };
        let serial = self.next_serial();
        let mut init = Process::new(serial, stdio, Vec::new(), Busy::Creating);
        init.console = prepared.logger_input;
        let container = Container {
            target: target.clone(),
            init,
            execs: std::collections::BTreeMap::new(),
            freezer: Freezer::Thawed,
            rest: Rest::None,
            cgroup: cgroups::Record::default(),
            oom: None,
            saved: None,
            rootfs: request.rootfs.clone(),
        };
        self.keys.insert(serial, key.clone());
        self.containers.insert(request.id.clone(), container);
        let (rootfs, streams) = (request.rootfs, prepared.streams);
        let begun = if request.checkpoint.is_empty() {
            let keep = crate::stdio::kept(&streams);
            self.begin(Task::Create, key.clone(), caller, &keep, move || {
                runtime::create(&target, &rootfs, streams)
            })
        } else {
            if let Some(container) = self.containers.get_mut(&key.container) {
                container.saved = Some(Saved { images: PathBuf::from(request.checkpoint), streams });
            }
            self.begin(Task::Create, key.clone(), caller, &[], move || checkpoint::mount(&target, &rootfs))
        };
        match begun {
            // Copying begins before the process does, so that nothing of its output waits for the answer.
            Ok(()) => self.copy_all(&key, prepared.copiers),
            Err(_) => self.remove(&key.container),
        }
        begun
    }

    fn start(&mut self, caller: Caller, request: ProcessRequest) -> Outcome<()> {
        let key = Key { container: request.id, exec: request.exec_id };
        if !key.exec.is_empty() {
            return self.start_exec(caller, key);
        }
        let container = self.container_mut(&key.container)?;
        if container.init.phase != Phase::Created || container.init.busy != Busy::No {
            return Err(Failure::unknown(format!("cannot start a {} process", container.state_name())));
        }
        if container.init.exit.is_some() {
            return Err(Failure::unknown("cannot start a stopped process"));
        }
        container.init.busy = Busy::Starting;
        let target = container.target.clone();
        let begun = match container.saved.take() {
            None => self.begin(Task::Start, key.clone(), caller, &[], move || runtime::start(&target)),
            Some(saved) => {
                let keep = crate::stdio::kept(&saved.streams);
                self.begin(Task::Restore, key.clone(), caller, &keep, move || {
                    checkpoint::restore(&target, saved)
                })
            }
        };
        self.not_busy_unless(&key, begun)
    }

    fn not_busy_unless(&mut self, key: &Key, begun: Outcome<()>) -> Outcome<()> {
        if begun.is_err()
            && let Ok(process) = self.process_mut(key)
        {
            process.busy = Busy::No;
        }
        begun
    }

    fn start_exec(&mut self, caller: Caller, key: Key) -> Outcome<()> {
        let (container, process) = self.find(&key.container, &key.exec)?;
        if process.phase != Phase::Created || process.busy != Busy::No {
            let state = if process.busy == Busy::Starting { "running" } else { process.phase.name() };
            return Err(Failure::unknown(format!("cannot start a {state} process")));
        }
        if container.init.phase != Phase::Running || container.init.exit.is_some() {
            let text = format!("container {} init process is not running", key.container);
            self.never_started(&key);
            return Err(Failure::precondition(text));
        }
        let target = container.target.clone();
        let (stdio, spec) = (process.stdio.clone(), process.spec.clone());
        let prepared = stdio.prepare(&key, &self.place.namespace, &target.options)?;
        let process = self.process_mut(&key)?;
        process.busy = Busy::Starting;
        process.console = prepared.logger_input;
        let (exec, streams) = (key.exec.clone(), prepared.streams);
        let keep = crate::stdio::kept(&streams);
        let begun = self.begin(Task::Exec, key.clone(), caller, &keep, move || {
            runtime::exec(&target, &exec, &spec, streams)
        });
        if begun.is_ok() {
            self.copy_all(&key, prepared.copiers);
        }
        self.not_busy_unless(&key, begun)
    }

    fn exec(&mut self, request: ExecRequest) -> Outcome<Vec<u8>> {
        let serial = self.next_serial();
        let container = self.container_mut(&request.id)?;
        // The id becomes part of file names in the bundle.
        if orlop::id::ContainerId::try_from(request.exec_id.as_str()).is_err() {
            return Err(Failure::new(
                Code::InvalidArgument,
                format!("invalid exec id {:?}", request.exec_id),
            ));
        }
        if container.execs.contains_key(&request.exec_id) || request.exec_id == request.id {
            return Err(Failure::new(Code::AlreadyExists, format!("id {}", request.exec_id)));
        }
        match container.state_name() {
            "running" => {}
            state => return Err(Failure::unknown(format!("cannot exec in a {state} state"))),
        }
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let spec = request.spec.map(|spec| spec.value).unwrap_or_default();
        container.execs.insert(request.exec_id.clone(), Process::new(serial, stdio, spec, Busy::No));
        let event =
            events::TaskExecAdded { container_id: request.id.clone(), exec_id: request.exec_id.clone() };
        self.keys.insert(serial, Key { container: request.id, exec: request.exec_id });
        self.events.publish("/tasks/exec-added", "containerd.events.TaskExecAdded", &event);
        empty()
    }

    fn ask_delete(&mut self, caller: Caller, request: ProcessRequest) -> Outcome<()> {
        let key = Key { container: request.id, exec: request.exec_id };
        let (container, process) = self.find(&key.container, &key.exec)?;
        match (process.phase, process.busy) {
            (_, Busy::Deleting(_)) => return Err(Failure::not_found("cannot delete a deleted process")),
            (Phase::Running, _) | (_, Busy::Starting) => {
                let state = if key.exec.is_empty() { container.state_name() } else { "running" };
                let state = if state == "created" { "running" } else { state };
                return Err(Failure::unknown(format!("cannot delete a {state} process")));
            }
            _ => {}
        }
        self.delete(&key, caller);
        Ok(())
    }

    fn kill(&mut self, caller: Caller, request: &KillRequest) -> Answer {
        match self.try_kill(caller, request) {
            Ok(answer) => answer,
            Err(failure) => Some(Err(failure)),
        }
    }

    fn try_kill(&mut self, caller: Caller, request: &KillRequest) -> Outcome<Answer> {
        let (container, process) = self.find(&request.id, &request.exec_id)?;
        let finished = || Failure::not_found("process already finished");
        if process.phase == Phase::Stopped || process.exit.is_some() {
            return Err(finished());
        }
        let is_exec = !request.exec_id.is_empty();
        if process.pid == 0 {
            return Err(Failure::precondition("process not created"));
        }
        let whom = if request.all { Whom::All } else { Whom::Init };
        let thaws = request.signal == 9 && container.freezer != Freezer::Thawed;
        let direct = container.target.binary().is_none() && whom == Whom::Init && !thaws;
        if is_exec || direct {
            let pidfd = process.pidfd.as_ref().ok_or_else(finished)?;
            let number = i32::try_from(request.signal).unwrap_or(i32::MAX);
            return match sys::signal::pidfd_send(pidfd, number) {
                Ok(()) => Ok(Some(empty())),
                Err(rustix::io::Errno::SRCH) => Err(finished()),
                Err(errno) => Err(Failure::unknown(format!("unknown error after kill: {errno}"))),
            };
        }
        let (target, signal) = (container.target.clone(), request.signal);
        let work = move || runtime::kill(&target, signal, whom);
        self.begin(Task::Ask, Key::init(&request.id), caller, &[], work)?;
        Ok(None)
    }

    fn wait(&mut self, caller: Caller, request: ProcessRequest) -> Answer {
        let key = Key { container: request.id, exec: request.exec_id };
        match self.process_mut(&key) {
            Ok(process) if process.phase == Phase::Stopped => Some(Ok(wait_response(process))),
            Ok(process) => {
                process.waiters.push(caller);
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    fn state(&self, request: &ProcessRequest) -> Outcome<Vec<u8>> {
        let (container, process) = self.find(&request.id, &request.exec_id)?;
        // What is known and not told yet is not shown either: a client would see an end before its event.
        let exit = process.exit.filter(|_| process.phase == Phase::Stopped);
        let state = StateResponse {
            id: if request.exec_id.is_empty() { request.id.clone() } else { request.exec_id.clone() },
            bundle: container.target.bundle.display().to_string(),
            pid: process.pid(),
            status: container.status(process) as i32,
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
            exec_id: request.exec_id.clone(),
        };
        Ok(state.encode_to_vec())
    }

    /// The processes of the cgroup. The first process is always among them while it lives, whatever the cgroup says: an
    /// empty list makes containerd take the shim for a leftover.
    fn pids(&self, request: &ContainerRequest) -> Outcome<Vec<u8>> {
        let container = self.container(&request.id)?;
        let members = container.cgroup.open().and_then(|group| group.pids()).unwrap_or_default();
        let mut pids: Vec<u32> =
            members.iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect();
        let init = container.init.pid();
        if container.init.phase != Phase::Stopped && !pids.contains(&init) {
            pids.insert(0, init);
        }
        let details = |pid: u32| {
            let (exec_id, _) =
                container.execs.iter().find(|(_, process)| process.pid() == pid && process.is_alive())?;
            let details = ProcessDetails { exec_id: exec_id.clone() };
            Some(Any::new("containerd.runc.v1.ProcessDetails", &details))
        };
        let processes = pids.into_iter().map(|pid| ProcessInfo { pid, info: details(pid) }).collect();
        Ok(PidsResponse { processes }.encode_to_vec())
    }

    fn connect(&self, request: &ContainerRequest) -> Vec<u8> {
        let task_pid = self.containers.get(&request.id).map_or(0, |container| container.init.pid());
        let shim_pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        ConnectResponse { shim_pid, task_pid, version: String::new() }.encode_to_vec()
    }

    fn pause(&mut self, caller: Caller, request: ContainerRequest) -> Outcome<()> {
        let container = self.container_mut(&request.id)?;
        match container.state_name() {
            "running" => {}
            "created" => return Err(Failure::unknown("cannot pause task in created state")),
            state => return Err(Failure::unknown(format!("cannot pause a {state} container"))),
        }
        container.freezer = Freezer::Freezing;
        let target = container.target.clone();
        let begun =
            self.begin(Task::Pause, Key::init(&request.id), caller, &[], move || runtime::pause(&target));
        if let (Err(_), Ok(container)) = (&begun, self.container_mut(&request.id)) {
            container.freezer = Freezer::Thawed;
        }
        begun
    }

    fn resume(&mut self, caller: Caller, request: ContainerRequest) -> Outcome<()> {
        let container = self.container_mut(&request.id)?;
        match container.state_name() {
            "paused" => {}
            "created" => return Err(Failure::unknown("cannot resume task in created state")),
            "stopped" => return Err(Failure::unknown("cannot resume a stopped container")),
            state => return Err(Failure::unknown(format!("cannot resume a {state} process"))),
        }
        let target = container.target.clone();
        self.begin(Task::Resume, Key::init(&request.id), caller, &[], move || runtime::resume(&target))
    }

    fn update(&mut self, caller: Caller, request: UpdateRequest) -> Outcome<()> {
        let container = self.container(&request.id)?;
        if container.init.phase == Phase::Stopped {
            return Err(Failure::unknown("cannot update a stopped container"));
        }
        let target = container.target.clone();
        let resources = request.resources.map(|resources| resources.value).unwrap_or_default();
        let work = move || runtime::update(&target, &resources);
        self.begin(Task::Ask, Key::init(&request.id), caller, &[], work)
    }

    fn stats(&mut self, caller: Caller, request: &ContainerRequest) -> Outcome<()> {
        let cgroup = self.container(&request.id)?.cgroup.clone();
        self.begin(Task::Ask, Key::init(&request.id), caller, &[], move || runtime::measure(&cgroup))
    }

    fn resize(&self, request: &ResizePtyRequest) -> Outcome<Vec<u8>> {
        let (_, process) = self.find(&request.id, &request.exec_id)?;
        if process.phase == Phase::Stopped {
            return Err(Failure::unknown("cannot resize a stopped container"));
        }
        let number = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        if let Some(console) = &process.console {
            let size = Winsize {
                ws_row: number(request.height),
                ws_col: number(request.width),
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(console.as_fd(), size)
                .map_err(|errno| Failure::unknown(format!("resize the terminal: {errno}")))?;
        }
        empty()
    }

    fn close_io(&mut self, request: &CloseIoRequest) -> Outcome<Vec<u8>> {
        let (_, process) = self.find(&request.id, &request.exec_id)?;
        if request.stdin {
            for serial in process.copiers.clone() {
                if let Some(copier) = self.copiers.get_mut(&serial)
                    && copier.direction == Direction::In
                {
                    // The end of the stream comes with the client's own end.
                    copier.hold = None;
                    self.copy(serial);
                }
            }
        }
        empty()
    }

    fn checkpoint(&mut self, caller: Caller, request: &CheckpointRequest) -> Outcome<()> {
        let container = self.container(&request.id)?;
        match container.state_name() {
            "created" => return Err(Failure::unknown("cannot checkpoint a task in created state")),
            "stopped" => return Err(Failure::unknown("cannot checkpoint a stopped container")),
            _ => {}
        }
        let target = container.target.clone();
        let saving = Saving::read(request, &target)?;
        let key = Key::init(&request.id);
        self.begin(Task::Ask, key, caller, &[], move || checkpoint::save(&target, &saving))
    }
}
