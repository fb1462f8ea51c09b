//! Pods through containerd's CRI, with the shim between it and the containers.
//!
//! The client is a small one of our own ([`integration_tests::grpc`]) with the fields of the published `runtime.v1` that
//! are used. The pods have the host's network, so no plugin is needed. `IT_PODS=100` is the long form.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::parent::Parent;
use integration_tests::process::{Running, wait, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, World, cases, grpc, harness, image, layout, skip};
use prost::Message;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![pods_live_and_leave_nothing, shims_of_pods_have_one_thread_and_little_memory])
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    /// 2 is the node's.
    #[prost(int32, tag = "1")]
    network: i32,
    /// 1 is each container's own.
    #[prost(int32, tag = "2")]
    pid: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SecurityContext {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandbox {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<SecurityContext>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct RunSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

/// The security context of a container: the namespaces are those of the pod.
#[derive(Clone, PartialEq, Message)]
struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxContainer {
    #[prost(message, optional, tag = "2")]
    security: Option<ContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

/// A request that names one thing, or an answer that does: its id is the first field of all of them.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Stop {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSync {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Executed {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    /// 0 created, 1 running, 2 exited.
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int32, tag = "7")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Cpu {
    #[prost(message, optional, tag = "2")]
    usage: Option<Number>,
}

#[derive(Clone, PartialEq, Message)]
struct Stats {
    #[prost(message, optional, tag = "2")]
    cpu: Option<Cpu>,
}

#[derive(Clone, PartialEq, Message)]
struct StatsAnswer {
    #[prost(message, optional, tag = "1")]
    stats: Option<Stats>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// A containerd of the test's own, with CRI and with the shim as its only runtime.
struct Containerd<'a> {
    world: &'a World,
    socket: String,
    daemon: Option<Running>,
    /// After the daemon, because it is gone before its groups go.
    parent: Parent,
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let _ = Command::new("kill").arg(daemon.pid().to_string()).status();
        wait(&mut daemon.child, LIMIT);
    }
}

fn containerd(world: &World) -> Result<Containerd<'_>, harness::Skipped> {
    let shim = world.runtime.with_file_name("containerd-shim-orlop-v2");
    if !Path::new("/usr/bin/containerd").exists() || !shim.is_file() {
        return skip("containerd or the shim is not there");
    }
    let socket = world.path("c.sock");
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {socket:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"docker.io/library/it-pause:latest\"\n\
         disable_apparmor = true\nrestrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"orlop\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.orlop]\n\
         runtime_type = \"io.containerd.orlop.v2\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = {:?}\n",
        world.path("root"),
        world.path("run"),
        world.path("no-cni"),
    );
    let file = world.file("containerd.toml", &config);
    let places = shim.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    let path = format!("{places}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("/usr/bin/containerd");
    let daemon = world.begin(command.args(["--config", &file]).env("PATH", path));
    let parent = Parent::new("cri");
    let containerd = Containerd { world, socket, daemon: Some(daemon), parent };
    wait_until("CRI answers", LIMIT, || {
        grpc::call(&containerd.socket, "/runtime.v1.RuntimeService/Version", &[])
            .is_ok_and(|answer| answer.is_some())
    });
    for (name, command) in [("it-busybox", "1"), ("it-pause", "1000000")] {
        let archive = image::archive(world, name, &["/bin/sleep", command]);
        containerd.ctr(&["image", "import", &archive]);
    }
    Ok(containerd)
}

impl Containerd<'_> {
    fn ctr(&self, words: &[&str]) -> String {
        let mut command = Command::new("/usr/bin/ctr");
        self.world.finish(command.args(["--address", &self.socket, "-n", "k8s.io"]).args(words)).ok().out
    }

    #[track_caller]
    fn call<A: Message + Default>(&self, method: &str, request: &impl Message) -> A {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let answer = grpc::call(&self.socket, &path, &request.encode_to_vec()).expect(method);
        let (_, log) = self.daemon.as_ref().expect("it runs").output();
        let last: Vec<_> = log.lines().rev().take(5).collect();
        A::decode(answer.unwrap_or_else(|| panic!("{method} fails: {last:#?}")).as_slice()).expect(method)
    }

    fn sandbox(&self, number: u32) -> (String, SandboxConfig) {
        let logs = self.world.path(&format!("logs-{number}"));
        let namespaces = NamespaceOption { network: 2, pid: 1 };
        let config = SandboxConfig {
            metadata: Some(Metadata {
                name: format!("it-pod-{number}"),
                uid: format!("uid-{number}"),
                namespace: "default".to_owned(),
            }),
            log_directory: logs,
            linux: Some(LinuxSandbox {
                cgroup_parent: format!("/{}", self.parent.name),
                security: Some(SecurityContext { namespaces: Some(namespaces) }),
            }),
        };
        let sandbox: Id = self.call("RunPodSandbox", &RunSandbox { config: Some(config.clone()) });
        (sandbox.id, config)
    }

    fn container(&self, sandbox: &str, config: &SandboxConfig, name: &str, script: &str) -> String {
        let namespaces = NamespaceOption { network: 2, pid: 1 };
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned() }),
            image: Some(ImageSpec { image: "docker.io/library/it-busybox:latest".to_owned() }),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainer {
                security: Some(ContainerSecurity { namespaces: Some(namespaces) }),
            }),
        };
        let request = CreateContainer {
            sandbox: sandbox.to_owned(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };
        let Id { id } = self.call("CreateContainer", &request);
        self.call::<Nothing>("StartContainer", &Id { id: id.clone() });
        id
    }

    fn status(&self, id: &str) -> (i32, i32) {
        let answer: StatusAnswer = self.call("ContainerStatus", &Id { id: id.to_owned() });
        answer.status.map_or((-1, -1), |status| (status.state, status.code))
    }

    /// One pod: two containers, an exec, logs, statistics; then it goes. The value is where its shim listened.
    fn pod(&self, number: u32) -> String {
        let (sandbox, config) = self.sandbox(number);
        let bundle = self.world.path("run/io.containerd.runtime.v2.task/k8s.io");
        let address = fs::read_to_string(format!("{bundle}/{sandbox}/address")).expect("address");
        wait_until("our shim serves it", LIMIT, || self.shims().len() == 1);
        let first = self.container(&sandbox, &config, "first", "echo said; exec /bin/sleep 1000");
        let second = self.container(&sandbox, &config, "second", "exit 7");
        let exec = ExecSync {
            id: first.clone(),
            command: ["/bin/sh", "-c", "echo out; echo err >&2; exit 5"].map(str::to_owned).to_vec(),
            timeout: 10,
        };
        let done: Executed = self.call("ExecSync", &exec);
        assert_eq!(
            (done.stdout.as_slice(), done.stderr.as_slice(), done.code),
            (&b"out\n"[..], &b"err\n"[..], 5)
        );
        wait_until("the second container has ended", LIMIT, || self.status(&second) == (2, 7));
        assert_eq!(self.status(&first), (1, 0));
        let stats: StatsAnswer = self.call("ContainerStats", &Id { id: first.clone() });
        let used = stats.stats.and_then(|stats| stats.cpu?.usage).map(|usage| usage.value);
        assert!(used.is_some_and(|used| used > 0), "{used:?}");
        let log = Path::new(&config.log_directory).join("first.log");
        let logged = || fs::read_to_string(&log).unwrap_or_default().ends_with(" stdout F said\n");
        wait_until("the output is in the log", LIMIT, logged);
        self.call::<Nothing>("StopContainer", &Stop { id: first.clone(), timeout: 0 });
        assert_eq!(self.status(&first), (2, 137));
        for id in [first, second] {
            self.call::<Nothing>("RemoveContainer", &Id { id });
        }
        self.call::<Nothing>("StopPodSandbox", &Id { id: sandbox.clone() });
        self.call::<Nothing>("RemovePodSandbox", &Id { id: sandbox });
        address.trim_start_matches("unix://").to_owned()
    }

    /// The processes of shims that this containerd has started, by their directories in /proc; a helper of one that is at
    /// work is among them.
    fn shims(&self) -> Vec<PathBuf> {
        let of_ours = |entry: fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            (line.contains("containerd-shim-orlop-v2") && line.contains(&self.socket)).then(|| entry.path())
        };
        fs::read_dir("/proc").expect("/proc").filter_map(Result::ok).filter_map(of_ours).collect()
    }
}

fn pods_live_and_leave_nothing(world: &World) -> Outcome {
    let containerd = containerd(world)?;
    let pods = std::env::var("IT_PODS").ok().and_then(|pods| pods.parse().ok()).unwrap_or(5);
    for number in 0..pods {
        let socket = containerd.pod(number);
        wait_until("the shim has ended", LIMIT, || containerd.shims().is_empty());
        assert!(!Path::new(&socket).exists(), "{socket} is left");
    }
    assert!(!containerd.ctr(&["task", "ls", "-q"]).contains(char::is_alphanumeric));
    assert!(!containerd.ctr(&["container", "ls", "-q"]).contains(char::is_alphanumeric));
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!table.contains(&world.path("run")), "{table}");
    for group in layout::groups_named(&containerd.parent.name) {
        let left = fs::read_dir(&group).expect("group").filter_map(Result::ok);
        let left = left.filter(|entry| entry.path().is_dir()).count();
        assert_eq!(left, 0, "cgroups below {}", group.display());
    }
    Ok(())
}

/// The largest shim of three, in KiB: its own memory and its share of all, with a pod of three containers each. The
/// limits hold for a release build; the other one is known by its size.
fn shims_of_pods_have_one_thread_and_little_memory(world: &World) -> Outcome {
    let containerd = containerd(world)?;
    let mut pods = Vec::new();
    for number in 0..3 {
        let (sandbox, config) = containerd.sandbox(number);
        let containers = ["first", "second"]
            .map(|name| containerd.container(&sandbox, &config, name, "exec /bin/sleep 1000"));
        pods.push((sandbox, containers));
    }
    wait_until("one shim serves each pod", LIMIT, || containerd.shims().len() == 3);
    let shims = containerd.shims();
    let kib = |shim: &Path, names: &[&str]| {
        let text = fs::read_to_string(shim.join("smaps_rollup")).expect("smaps_rollup");
        let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let own = shims.iter().map(|shim| kib(shim, &["Private_Clean:", "Private_Dirty:"])).max().unwrap();
    let share = shims.iter().map(|shim| kib(shim, &["Pss:"])).max().unwrap();
    println!("USS {own} KiB, PSS {share} KiB");
    for shim in &shims {
        assert_eq!(fs::read_dir(shim.join("task")).expect("threads").count(), 1);
    }
    let program = world.runtime.with_file_name("containerd-shim-orlop-v2");
    if fs::metadata(program).is_ok_and(|meta| meta.len() < 4 << 20) {
        assert!(own <= 400, "{own} KiB");
        assert!(share <= 800, "{share} KiB");
    }
    for (sandbox, containers) in pods {
        for id in containers {
            containerd.call::<Nothing>("RemoveContainer", &Id { id });
        }
        containerd.call::<Nothing>("StopPodSandbox", &Id { id: sandbox.clone() });
        containerd.call::<Nothing>("RemovePodSandbox", &Id { id: sandbox });
    }
    wait_until("every shim has ended", LIMIT, || containerd.shims().is_empty());
    Ok(())
}
