//! A shim, its bundles, and somebody who takes its events.

use std::fs;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{
    ConnectRequest, CreateTaskRequest, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest,
    ForwardRequest, KillRequest, ShutdownRequest, StartRequest, StateRequest, StateResponse, WaitRequest,
    WaitResponse,
};
use containerd_shim_protos::events::task as task_events;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::context::{Context, with_timeout};
use containerd_shim_protos::ttrpc::{self, Code, Server};
use containerd_shim_protos::{Client, Events, TaskClient, create_events};
use containerd_shim_protos::{cgroups, cgroups_v2};

/// The shim under test: `SHIM`, or the one that was built with the tests.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("SHIM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-orlop-v2")), PathBuf::from)
}

/// Whether the tests can run here.
pub(crate) fn able() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/usr/bin/busybox").exists()
}

/// Whether a controller can be used in the layout of cgroups that the test finds.
pub(crate) fn controls(controller: &str) -> bool {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    Path::new("/sys/fs/cgroup").join(controller).is_dir()
        || controllers.split_whitespace().any(|name| name == controller)
}

/// What the answer to Stats says of the CPU time that was used, and of the limit of processes.
pub(crate) fn cpu_and_pids_limit(any: &Any) -> (u64, u64) {
    match any.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => {
            let seen = cgroups::metrics::Metrics::parse_from_bytes(&any.value).unwrap();
            (seen.cpu.usage.total, seen.pids.limit)
        }
        "io.containerd.cgroups.v2.Metrics" => {
            let seen = cgroups_v2::metrics::Metrics::parse_from_bytes(&any.value).unwrap();
            (seen.cpu.usage_usec, seen.pids.limit)
        }
        other => panic!("{other}"),
    }
}

/// One event: its topic and a line that says what is in it.
pub(crate) type Told = (String, String);

/// What the events server got.
#[derive(Clone, Default)]
pub(crate) struct Inbox {
    told: Arc<Mutex<Vec<Told>>>,
    namespace: String,
}

impl Inbox {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Waits until an event whose topic and text contain the two was told.
    pub(crate) fn await_event(&self, topic: &str, text: &str) -> Vec<Told> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let all = self.all();
            if all.iter().any(|(t, x)| t.ends_with(topic) && x.contains(text)) {
                return all;
            }
            assert!(Instant::now() < deadline, "no {topic} {text} in {all:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where the event is in the order.
    pub(crate) fn position(&self, topic: &str, text: &str) -> usize {
        let all = self.all();
        all.iter()
            .position(|(t, x)| t.ends_with(topic) && x.contains(text))
            .unwrap_or_else(|| panic!("no {topic} {text} in {all:#?}"))
    }
}

impl Events for Inbox {
    fn forward(&self, _: &ttrpc::TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.unwrap_or_default();
        let event = envelope.event.unwrap_or_default();
        let text = match event.type_url.as_str() {
            "containerd.events.TaskExit" => {
                let exit = task_events::TaskExit::parse_from_bytes(&event.value).unwrap();
                assert!(exit.exited_at.is_some());
                format!("{}/{} pid={} status={}", exit.container_id, exit.id, exit.pid, exit.exit_status)
            }
            "containerd.events.TaskCreate" => {
                let create = task_events::TaskCreate::parse_from_bytes(&event.value).unwrap();
                format!("{} pid={}", create.container_id, create.pid)
            }
            "containerd.events.TaskStart" => {
                let start = task_events::TaskStart::parse_from_bytes(&event.value).unwrap();
                format!("{} pid={}", start.container_id, start.pid)
            }
            "containerd.events.TaskExecStarted" => {
                let start = task_events::TaskExecStarted::parse_from_bytes(&event.value).unwrap();
                format!("{}/{} pid={}", start.container_id, start.exec_id, start.pid)
            }
            "containerd.events.TaskExecAdded" => {
                let added = task_events::TaskExecAdded::parse_from_bytes(&event.value).unwrap();
                format!("{}/{}", added.container_id, added.exec_id)
            }
            "containerd.events.TaskDelete" => {
                let delete = task_events::TaskDelete::parse_from_bytes(&event.value).unwrap();
                format!("{} pid={} status={}", delete.container_id, delete.pid, delete.exit_status)
            }
            _ => event.type_url.clone(),
        };
        assert_eq!(envelope.namespace, self.namespace);
        self.told.lock().unwrap().push((envelope.topic, text));
        Ok(Empty::new())
    }
}

/// A directory, an events server and the shims that tell it what happens.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) inbox: Inbox,
    /// The namespace of the containerd that the test pretends to be.
    pub(crate) namespace: String,
    server: Mutex<Option<Server>>,
    shims: Mutex<Vec<u32>>,
    namespaces: Mutex<Vec<std::process::Child>>,
    path: Mutex<Option<String>>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl World {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("it-shim-{}-{number}", std::process::id()));
        fs::create_dir_all(dir.join("rootfs/bin")).unwrap();
        for name in ["proc", "dev", "sys", "tmp", "etc"] {
            fs::create_dir(dir.join("rootfs").join(name)).unwrap();
        }
        fs::copy("/usr/bin/busybox", dir.join("rootfs/bin/busybox")).unwrap();
        for name in ["sh", "true", "sleep", "cat", "echo", "dd", "tr", "wc", "kill", "seq", "stty"] {
            std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(name)).unwrap();
        }
        let namespace = format!("it-shim-{}-{number}", std::process::id());
        let inbox = Inbox { namespace: namespace.clone(), ..Inbox::default() };
        let world = Self {
            dir,
            inbox,
            namespace,
            server: Mutex::new(None),
            shims: Mutex::default(),
            namespaces: Mutex::default(),
            path: Mutex::default(),
        };
        world.serve();
        world
    }

    /// Starts to take events.
    pub(crate) fn serve(&self) {
        let path = self.events_socket();
        let _ = fs::remove_file(&path);
        let service = create_events(Arc::new(self.inbox.clone()));
        let server = Server::new().bind(&format!("unix://{}", path.display())).unwrap();
        let mut server = server.register_service(service);
        server.start().unwrap();
        *self.server.lock().unwrap() = Some(server);
    }

    /// Stops to take events, as a containerd that is restarted.
    pub(crate) fn stop_serving(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.shutdown();
        }
        let _ = fs::remove_file(self.events_socket());
    }

    /// A fifo of the test's directory, by its path.
    pub(crate) fn fifo(&self, name: &str) -> String {
        let path = self.dir.join(name);
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        path.display().to_string()
    }

    pub(crate) fn events_socket(&self) -> PathBuf {
        self.dir.join("events.ttrpc")
    }

    /// A bundle whose program is a shell script.
    pub(crate) fn bundle(&self, id: &str, script: &str) -> PathBuf {
        self.bundle_with(id, script, |_| ())
    }

    /// The same, with changes to the configuration.
    pub(crate) fn bundle_with(
        &self,
        id: &str,
        script: &str,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> PathBuf {
        let bundle = self.dir.join(id);
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| serde_json::json!({"type": kind}));
        let mut config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": process(&["/bin/sh", "-c", script]),
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.namespace),
                "namespaces": namespaces,
            },
        });
        change(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    fn command(&self, bundle: &Path, id: &str) -> Command {
        self.command_of(&program(), bundle, id)
    }

    /// The PATH of shims that are started from now on.
    pub(crate) fn set_path(&self, path: &str) {
        *self.path.lock().unwrap() = Some(path.to_owned());
    }

    /// The shim, as containerd calls it.
    pub(crate) fn command_of(&self, program: &Path, bundle: &Path, id: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.path.lock().unwrap().iter().map(|path| ("PATH", path)));
        command
            .current_dir(bundle)
            .args(["-namespace", &self.namespace, "-address"])
            .arg(self.dir.join("containerd.sock"));
        command.args(["-publish-binary", "/bin/false", "-id", id]).env("TTRPC_ADDRESS", self.events_socket());
        command
    }

    /// A shim that is this program, and finds no other one.
    pub(crate) fn shim_of(&self, program: &Path, bundle: &Path, id: &str) -> Shim {
        let mut command = self.command_of(program, bundle, id);
        let output = command.arg("start").env("PATH", "/nonexistent").stdin(Stdio::null()).output().unwrap();
        let shim = Shim::connect(&String::from_utf8(output.stdout).unwrap());
        self.shims.lock().unwrap().push(shim.pid);
        shim
    }

    /// `start` with this standard input; what it printed.
    pub(crate) fn start_with(&self, bundle: &Path, id: &str, input: &[u8]) -> Vec<u8> {
        let mut command = self.command(bundle, id);
        command.arg("start").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        output.stdout
    }

    /// `delete`; what it printed.
    pub(crate) fn delete_leftovers(&self, bundle: &Path, id: &str) -> DeleteResponse {
        let mut command = self.command(bundle, id);
        let output = command.arg("-bundle").arg(bundle).arg("delete").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        DeleteResponse::parse_from_bytes(&output.stdout).unwrap()
    }

    /// A shim for the bundle, as a containerd that speaks the old dialect starts it.
    pub(crate) fn shim(&self, bundle: &Path, id: &str) -> Shim {
        let address = String::from_utf8(self.start_with(bundle, id, b"")).unwrap();
        let shim = Shim::connect(&address);
        self.shims.lock().unwrap().push(shim.pid);
        shim
    }

    /// A shim in a pid namespace in which numbers are used again after some 200 processes. The namespace ends with this
    /// world.
    pub(crate) fn shim_with_few_pids(&self, bundle: &Path, id: &str) -> Shim {
        let inner = self.command(bundle, id);
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation",
            "private",
            "sh",
            "-c",
        ]);
        command.arg("echo 500 >/proc/sys/kernel/pid_max && \"$@\" && echo && exec sleep 1000").arg("sh");
        command.arg(inner.get_program()).args(inner.get_args()).arg("start");
        command.env("TTRPC_ADDRESS", self.events_socket()).current_dir(bundle);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        self.namespaces.lock().unwrap().push(child);
        Shim::connect(address.trim())
    }

    /// A container that is created, not started.
    pub(crate) fn created(&self, id: &str, script: &str) -> Shim {
        let bundle = self.bundle(id, script);
        let shim = self.shim(&bundle, id);
        shim.create(self, id).unwrap();
        shim
    }
}

impl World {
    /// Whether a pid is still that of a shim of this test: numbers are used again.
    fn is_own(&self, pid: u32) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == self.namespace)
    }
}

impl Drop for World {
    /// A test that failed left its shims and containers.
    fn drop(&mut self) {
        self.stop_serving();
        for mut namespace in self.namespaces.lock().unwrap().drain(..) {
            let _ = namespace.kill();
            let _ = namespace.wait();
        }
        for pid in self.shims.lock().unwrap().iter().filter(|pid| self.is_own(**pid)) {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for bundle in fs::read_dir(&self.dir).unwrap().filter_map(Result::ok).map(|entry| entry.path()) {
            if bundle.join("address").exists() || bundle.join("init.pid").exists() {
                let id = bundle.file_name().unwrap().to_string_lossy().into_owned();
                let _ = self.command(&bundle, &id).arg("delete").output();
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_dir(Path::new("/run/containerd/runc").join(&self.namespace));
        let tree = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(tree).unwrap().filter_map(Result::ok).map(|entry| entry.path());
        for hierarchy in hierarchies.chain([tree.to_owned()]) {
            let _ = fs::remove_dir(hierarchy.join(&self.namespace));
        }
    }
}

/// The `process` of a configuration.
pub(crate) fn process(args: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
    })
}

/// A shim that was started.
pub(crate) struct Shim {
    pub(crate) address: String,
    pub(crate) task: TaskClient,
    pub(crate) pid: u32,
}

/// A call without a deadline.
pub(crate) fn ctx() -> Context {
    with_timeout(0)
}

/// The code and the text of a failed call.
pub(crate) fn status(error: ttrpc::Error) -> (Code, String) {
    match error {
        ttrpc::Error::RpcStatus(status) => (status.code.enum_value_or_default(), status.message),
        other => panic!("{other:?}"),
    }
}

impl Shim {
    pub(crate) fn connect(address: &str) -> Self {
        let task = TaskClient::new(Client::connect(address).unwrap());
        let pid = task.connect(ctx(), &ConnectRequest::new()).unwrap().shim_pid;
        Self { address: address.to_owned(), task, pid }
    }

    pub(crate) fn request(world: &World, id: &str) -> CreateTaskRequest {
        let mut request = CreateTaskRequest::new();
        request.id = id.to_owned();
        request.bundle = world.dir.join(id).display().to_string();
        let mut mount = containerd_shim_protos::types::mount::Mount::new();
        mount.type_ = "bind".to_owned();
        mount.source = world.dir.join("rootfs").display().to_string();
        mount.options = vec!["rbind".to_owned()];
        request.rootfs = vec![mount];
        request
    }

    pub(crate) fn create(&self, world: &World, id: &str) -> ttrpc::Result<u32> {
        self.task.create(ctx(), &Self::request(world, id)).map(|response| response.pid)
    }

    pub(crate) fn start(&self, id: &str, exec: &str) -> ttrpc::Result<u32> {
        let request = StartRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..StartRequest::default() };
        self.task.start(ctx(), &request).map(|response| response.pid)
    }

    pub(crate) fn wait(&self, id: &str, exec: &str) -> ttrpc::Result<WaitResponse> {
        let request = WaitRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..WaitRequest::default() };
        self.task.wait(ctx(), &request)
    }

    pub(crate) fn delete(&self, id: &str, exec: &str) -> ttrpc::Result<DeleteResponse> {
        let request =
            DeleteRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..DeleteRequest::default() };
        self.task.delete(ctx(), &request)
    }

    pub(crate) fn state(&self, id: &str, exec: &str) -> ttrpc::Result<StateResponse> {
        let request = StateRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..StateRequest::default() };
        self.task.state(ctx(), &request)
    }

    pub(crate) fn kill(&self, id: &str, exec: &str, signal: u32) -> ttrpc::Result<Empty> {
        let request =
            KillRequest { id: id.to_owned(), exec_id: exec.to_owned(), signal, ..KillRequest::default() };
        self.task.kill(ctx(), &request)
    }

    pub(crate) fn exec_request(id: &str, exec: &str, script: &str) -> ExecProcessRequest {
        let mut request = ExecProcessRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        let value = process(&["/bin/sh", "-c", script]).to_string().into_bytes();
        request.spec = Some(Any { value, ..Any::default() }).into();
        request
    }

    pub(crate) fn exec(&self, id: &str, exec: &str, script: &str) -> ttrpc::Result<Empty> {
        self.task.exec(ctx(), &Self::exec_request(id, exec, script))
    }

    /// One call by hand, for what the client does not say: the code of the answer, and its payload.
    pub(crate) fn raw(&self, service: &str, method: &str, payload: Vec<u8>) -> (i32, Vec<u8>) {
        let mut stream = self.stream();
        stream.write_all(&frame(service, method, payload)).unwrap();
        let mut header = [0; 10];
        stream.read_exact(&mut header).unwrap();
        let mut body = vec![0; u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize];
        stream.read_exact(&mut body).unwrap();
        let response = ttrpc::proto::Response::parse_from_bytes(&body).unwrap();
        (response.status.code.value(), response.payload)
    }

    /// A connection of its own.
    pub(crate) fn stream(&self) -> std::os::unix::net::UnixStream {
        std::os::unix::net::UnixStream::connect(self.address.strip_prefix("unix://").unwrap()).unwrap()
    }

    /// How many descriptors the shim has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// The memory that this shim has written to, in KiB. Its program is no part of that: pages of a file that was built
    /// a moment ago count as dirty too.
    pub(crate) fn written_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap();
        let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends the shim itself a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills, removes and shuts down; nothing may be left.
    pub(crate) fn end(self, world: &World, id: &str) {
        let _ = self.kill(id, "", 9);
        self.wait(id, "").unwrap();
        self.delete(id, "").unwrap();
        self.shutdown();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&world.dir.join(id).display().to_string()));
    }

    /// Ends the shim, which must then be gone with its socket.
    pub(crate) fn shutdown(self) {
        self.task.shutdown(ctx(), &ShutdownRequest::new()).unwrap();
        await_true("the shim ends", || !is_running(self.pid));
        assert!(!Path::new(self.address.strip_prefix("unix://").unwrap()).exists());
    }
}

/// A request as it goes over the socket.
pub(crate) fn frame(service: &str, method: &str, payload: Vec<u8>) -> Vec<u8> {
    let (service, method) = (service.to_owned(), method.to_owned());
    let request = ttrpc::proto::Request { service, method, payload, ..ttrpc::proto::Request::default() };
    let body = request.write_to_bytes().unwrap();
    let length = u32::try_from(body.len()).unwrap();
    let type_ = ttrpc::proto::MESSAGE_TYPE_REQUEST;
    let header: Vec<u8> = ttrpc::proto::MessageHeader { length, stream_id: 1, type_, flags: 0 }.into();
    [header, body].concat()
}

/// Whether a process runs; a zombie does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Waits for something.
pub(crate) fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}
