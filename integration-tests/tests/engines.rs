//! Engines: containerd's `ctr`, Podman and Docker start real containers through the runtime.
//!
//! Each engine is a daemon or store of the test's own in its directory, and ends with it. dockerd lives in a network
//! and mount namespace of its own, so its bridge, its packet filter rules and its mounts go when it goes.
//! The image is busybox and the probe, in the archive format that all three read.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::{Ran, Running, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, World, cases, harness, skip};
use integration_tests::{image, layout};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        ctr_runs_a_container,
        ctr_sees_exit_codes_and_errors,
        ctr_starts_kills_and_deletes_a_task,
        ctr_saves_a_task_and_restores_it,
        podman_runs_a_container,
        podman_sees_exit_codes_and_errors,
        podman_starts_stops_and_removes_a_container,
        podman_saves_a_container_and_restores_it,
        docker_runs_a_container,
        docker_sees_exit_codes_and_errors,
        docker_publishes_a_port_on_a_bridge,
        docker_stops_and_removes_a_container,
        docker_saves_a_container_and_restores_it,
        docker_filters_system_calls,
        docker_limits_and_updates,
        docker_works_with_the_shim_in_the_place_of_its_own,
        docker_restarts_with_the_shim_and_shows_every_state,
    ])
}

const IMAGE: &str = "docker.io/library/it-busybox:latest";

/// The cgroup that an engine puts its containers below, instead of one of its own that would stay; gone with this.
struct Parent {
    name: String,
}

fn parent(world: &World) -> Parent {
    let serial = world.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Parent { name: format!("it-engine-{}-{serial}", std::process::id()) }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // The engine's monitor may take a moment to die after its client has returned.
        for _ in 0..100 {
            layout::groups_named(&self.name).iter().for_each(|top| remove_tree(top));
            if layout::groups_named(&self.name).is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Removes a cgroup and those below it; one with a process in it stays, and the leftover is seen.
fn remove_tree(group: &Path) {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    let _ = fs::remove_dir(group);
}

/// The first of these programs that is installed.
fn installed(paths: &[&str]) -> Option<String> {
    paths.iter().find(|path| Path::new(path).is_file()).map(|path| (*path).to_owned())
}

/// A daemon of the test; ended by its pid, and killed if it does not end.
struct Daemon {
    running: Option<Running>,
    /// A process whose end is the daemon's, where a wrapper stands before it.
    pid: i32,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        signal(self.pid, "-TERM");
        if integration_tests::process::wait(&mut running.child, LIMIT).is_none() {
            eprintln!("the daemon had to be killed");
        }
    }
}

fn signal(pid: i32, signal: &str) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
}

// containerd

/// A containerd of the test's own.
struct Containerd<'a> {
    world: &'a World,
    address: String,
    _daemon: Daemon,
    parent: Parent,
}

fn containerd(world: &World) -> Result<Containerd<'_>, harness::Skipped> {
    let (Some(server), Some(_)) = (installed(&["/usr/bin/containerd"]), installed(&["/usr/bin/ctr"])) else {
        return skip("containerd is not installed");
    };
    let address = world.path("containerd.sock");
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {address:?}\n",
        world.path("containerd-root"),
        world.path("containerd-state")
    );
    let file = world.file("containerd.toml", &config);
    let running = world.begin(Command::new(server).args(["--config", &file]));
    let daemon = Daemon { pid: running.pid(), running: Some(running) };
    let containerd = Containerd { world, address, _daemon: daemon, parent: parent(world) };
    wait_until("containerd answers", LIMIT, || containerd.ctr(&["version"]).code == Some(0));
    containerd.ctr(&["image", "import", &image::archive(world, "it-busybox", &["/bin/sh"])]).ok();
    Ok(containerd)
}

impl Containerd<'_> {
    fn ctr(&self, words: &[&str]) -> Ran {
        self.world
            .finish(Command::new("/usr/bin/ctr").args(["--address", &self.address, "-n", "it"]).args(words))
    }

    /// `ctr run` through the runtime under test.
    fn run(&self, options: &[&str], id: &str, program: &[&str]) -> Ran {
        let (runtime, root) = (self.world.runtime.display().to_string(), self.world.path("state"));
        let group = format!("/{}/{id}", self.parent.name);
        let mut words = vec!["run", "--runc-binary", &runtime, "--runc-root", &root, "--cgroup", &group];
        words.extend(options);
        words.extend([IMAGE, id]);
        words.extend(program);
        self.ctr(&words)
    }
}

fn ctr_runs_a_container(world: &World) -> Outcome {
    let containerd = containerd(world)?;
    let ran = containerd.run(&["--rm"], &world.id(), &["/bin/probe"]).ok();
    let report = ran.json();
    assert_eq!(report["pid"], 1);
    assert_eq!(report["status"]["Seccomp"], "0");
    let limited =
        containerd.run(&["--rm", "--memory-limit", "33554432"], &world.id(), &["/bin/echo", "limited"]);
    assert_eq!(limited.ok().out, "limited\n");
    Ok(())
}

fn ctr_sees_exit_codes_and_errors(world: &World) -> Outcome {
    let containerd = containerd(world)?;
    let ran = containerd.run(&["--rm"], &world.id(), &["/bin/sh", "-c", "exit 7"]);
    assert_eq!(ran.code, Some(7), "{ran}");
    let missing = containerd.run(&["--rm"], &world.id(), &["no-such-program"]).fails();
    missing.says("no-such-program").says("executable file not found in $PATH");
    Ok(())
}

fn ctr_starts_kills_and_deletes_a_task(world: &World) -> Outcome {
    let containerd = containerd(world)?;
    let id = world.id();
    containerd.run(&["--detach"], &id, &["/bin/sleep", "1000"]).ok();
    let tasks = containerd.ctr(&["task", "ls"]).ok().out;
    assert!(tasks.lines().any(|line| line.contains(&id) && line.contains("RUNNING")), "{tasks}");
    containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &id]).ok();
    let stopped = || containerd.ctr(&["task", "ls"]).out.contains("STOPPED");
    wait_until("the task has stopped", LIMIT, stopped);
    containerd.ctr(&["task", "delete", &id]);
    containerd.ctr(&["container", "delete", &id]).ok();
    assert!(!containerd.ctr(&["task", "ls"]).ok().out.contains(&id));
    Ok(())
}

/// Prints a number every 50 ms and writes it to /count.
const COUNTER: [&str; 3] =
    ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; /bin/busybox sleep 0.05; done"];

/// Ends a test where CRIU cannot work.
fn criu_works() -> Outcome {
    match Command::new("criu").arg("check").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(format!("criu check: {}", text.lines().next().unwrap_or("it fails")))
        }
        Err(error) => skip(format!("criu: {error}")),
    }
}

fn ctr_saves_a_task_and_restores_it(world: &World) -> Outcome {
    criu_works()?;
    let containerd = containerd(world)?;
    let (first, second) = (world.id(), world.id());
    let count = |id: &str| {
        let ran = containerd.ctr(&["task", "exec", "--exec-id", "look", id, "/bin/cat", "/count"]);
        ran.out.trim().parse::<u64>().unwrap_or(0)
    };
    containerd.run(&["--detach"], &first, &COUNTER).ok();
    wait_until("the counter runs", LIMIT, || count(&first) > 5);
    containerd.ctr(&["container", "checkpoint", "--rw", "--task", "--image", &first, "it/saved"]).ok();
    let stood = count(&first);
    containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &first]).ok();
    wait_until("the task has stopped", LIMIT, || containerd.ctr(&["task", "ls"]).out.contains("STOPPED"));
    containerd.ctr(&["task", "delete", &first]);
    containerd.ctr(&["container", "delete", &first]).ok();
    containerd.ctr(&["container", "restore", "--rw", "--live", &second, "it/saved"]).ok();
    wait_until("the counter goes on", LIMIT, || count(&second) > stood);
    assert!(count(&second) < stood + 1000);
    containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &second]).ok();
    wait_until("the task has stopped", LIMIT, || containerd.ctr(&["task", "ls"]).out.contains("STOPPED"));
    containerd.ctr(&["task", "delete", &second]);
    containerd.ctr(&["container", "delete", &second]).ok();
    Ok(())
}

// Podman

/// A store of the test's own.
struct Podman<'a> {
    world: &'a World,
    program: String,
    parent: Parent,
}

fn podman(world: &World) -> Result<Podman<'_>, harness::Skipped> {
    let Some(program) = installed(&["/usr/bin/podman"]) else { return skip("podman is not installed") };
    let podman = Podman { world, program, parent: parent(world) };
    podman.call(&["load", "--input", &image::archive(world, "it-busybox", &["/bin/sh"])]).ok();
    Ok(podman)
}

impl Podman<'_> {
    fn call(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.world.path("podman"))
            .arg("--runroot")
            .arg(self.world.path("podman-run"));
        command.arg("--tmpdir").arg(self.world.path("podman-tmp")).arg("--runtime").arg(&self.world.runtime);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--storage-driver", "vfs"]);
        self.world.finish(command.args(words))
    }

    fn run(&self, options: &[&str], program: &[&str]) -> Ran {
        // Podman's default is to raise limits, which takes a capability that a virtual machine's root may lack.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        let group = format!("/{}", self.parent.name);
        let mut words = vec!["run", "--network", "none", "--cgroup-parent", &group];
        words.extend(limits);
        words.extend(options);
        words.push("it-busybox:latest");
        words.extend(program);
        self.call(&words)
    }
}

fn podman_runs_a_container(world: &World) -> Outcome {
    let podman = podman(world)?;
    let report: Value = podman.run(&["--rm"], &["/bin/probe"]).ok().json();
    assert_eq!(report["pid"], 1);
    let ran = podman
        .run(&["--rm", "--memory", "32m", "--pids-limit", "50", "--read-only"], &["/bin/echo", "limited"]);
    assert_eq!(ran.ok().out, "limited\n");
    Ok(())
}

/// Podman turns the runtime's error text into 126 and 127.
fn podman_sees_exit_codes_and_errors(world: &World) -> Outcome {
    let podman = podman(world)?;
    assert_eq!(podman.run(&["--rm"], &["/bin/sh", "-c", "exit 7"]).code, Some(7));
    let missing = podman.run(&["--rm"], &["no-such-program"]);
    assert_eq!(missing.code, Some(127), "{missing}");
    let directory = podman.run(&["--rm"], &["/etc"]);
    assert_eq!(directory.code, Some(126), "{directory}");
    Ok(())
}

fn podman_starts_stops_and_removes_a_container(world: &World) -> Outcome {
    let podman = podman(world)?;
    let name = format!("it-podman-{}", std::process::id());
    podman.run(&["--detach", "--name", &name], &["/bin/sleep", "1000"]).ok();
    let state = podman.call(&["inspect", "--format", "{{.State.Status}}", &name]).ok().out;
    assert_eq!(state.trim(), "running");
    podman.call(&["stop", "--time", "1", &name]).ok();
    let state =
        podman.call(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &name]).ok().out;
    assert_eq!(state.trim(), "exited 137");
    podman.call(&["rm", &name]).ok();
    Ok(())
}

fn podman_saves_a_container_and_restores_it(world: &World) -> Outcome {
    criu_works()?;
    let podman = podman(world)?;
    let name = format!("it-podman-{}", std::process::id());
    podman.run(&["--detach", "--name", &name], &COUNTER).ok();
    let count = || podman.call(&["exec", &name, "/bin/cat", "/count"]).out.trim().parse::<u64>().unwrap_or(0);
    let state = || podman.call(&["inspect", "--format", "{{.State.Status}}", &name]).ok().out;
    wait_until("the counter runs", LIMIT, || count() > 5);
    podman.call(&["container", "checkpoint", "--leave-running", &name]).ok();
    assert_eq!(state().trim(), "running");
    let stood = count();
    podman.call(&["container", "checkpoint", &name]).ok();
    assert_eq!(state().trim(), "exited");
    podman.call(&["container", "restore", &name]).ok();
    assert_eq!(state().trim(), "running");
    wait_until("the counter goes on", LIMIT, || count() > stood);
    podman.call(&["rm", "--force", "--time", "0", &name]).ok();
    Ok(())
}

// Docker

/// A dockerd of the test's own, in network and mount namespaces of its own.
struct Docker<'a> {
    world: &'a World,
    client: String,
    host: String,
    daemon: Daemon,
    _parent: Parent,
}

fn docker(world: &World) -> Result<Docker<'_>, harness::Skipped> {
    // What a test looks for in PATH is what the daemon finds.
    let own = std::env::var("PATH").unwrap_or_default();
    docker_with(world, &format!("{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// A dockerd whose containerd finds our shim under the name of its own.
fn docker_behind_the_shim(world: &World) -> Result<Docker<'_>, harness::Skipped> {
    let shim = world.runtime.with_file_name("containerd-shim-orlop-v2");
    if !shim.is_file() {
        return skip("the shim is not beside the runtime");
    }
    let dir = world.dir.join("drop-in");
    fs::create_dir_all(&dir).unwrap();
    fs::copy(shim, dir.join("containerd-shim-runc-v2")).unwrap();
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", dir.display());
    docker_with(world, &path)
}

fn docker_with<'a>(world: &'a World, path: &str) -> Result<Docker<'a>, harness::Skipped> {
    let client = installed(&["/usr/bin/docker", "/usr/local/bin/docker"]);
    let (Some(client), Some(server)) = (client, installed(&["/usr/sbin/dockerd", "/usr/bin/dockerd"])) else {
        return skip("docker is not installed");
    };
    let socket = world.path("docker.sock");
    let parent = parent(world);
    let inner = format!(
        "ip link set lo up && exec {server} --host unix://{socket} --data-root {root} --exec-root {exec} --pidfile {pid} \
         --add-runtime orlop={runtime} --storage-driver vfs --exec-opt native.cgroupdriver=cgroupfs \
         --group root --experimental --bip 172.31.250.1/24 --cgroup-parent /{group}",
        group = parent.name,
        root = world.path("docker"),
        exec = world.path("x"),
        pid = world.path("docker.pid"),
        runtime = world.runtime.display()
    );
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--net", "--mount", "--propagation", "private", "/bin/sh", "-c", &inner]).env("PATH", path);
    let running = world.begin(&mut command);
    let daemon = Daemon { pid: running.pid(), running: Some(running) };
    let docker = Docker { world, client, host: format!("unix://{socket}"), daemon, _parent: parent };
    wait_until("dockerd answers", LIMIT, || docker.call(&["version"]).code == Some(0));
    docker.call(&["load", "--input", &image::archive(world, "it-busybox", &["/bin/sh"])]).ok();
    Ok(docker)
}

impl Docker<'_> {
    fn call(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(&self.client);
        command.env("DOCKER_CONFIG", self.world.path("docker-config"));
        self.world.finish(command.args(["--host", &self.host]).args(words))
    }

    fn run(&self, options: &[&str], program: &[&str]) -> Ran {
        let mut words = vec!["run", "--runtime", "orlop"];
        words.extend(options);
        words.push("it-busybox:latest");
        words.extend(program);
        self.call(&words)
    }

    /// A command in the daemon's network namespace, which stands for the host.
    fn beside(&self, words: &[&str]) -> Ran {
        let target = self.daemon.pid.to_string();
        self.world.finish(Command::new("/usr/bin/nsenter").args(["--target", &target, "--net"]).args(words))
    }
}

fn docker_runs_a_container(world: &World) -> Outcome {
    let docker = docker(world)?;
    let report: Value = docker.run(&["--rm"], &["/bin/probe"]).ok().json();
    assert_eq!(report["pid"], 1);
    let options =
        ["--rm", "--memory", "32m", "--cpus", "0.5", "--read-only", "--user", "1000", "--tmpfs", "/tmp"];
    assert_eq!(docker.run(&options, &["/bin/echo", "limited"]).ok().out, "limited\n");
    Ok(())
}

/// Docker turns the runtime's error text into 126 and 127.
fn docker_sees_exit_codes_and_errors(world: &World) -> Outcome {
    let docker = docker(world)?;
    assert_eq!(docker.run(&["--rm"], &["/bin/sh", "-c", "exit 7"]).code, Some(7));
    let missing = docker.run(&["--rm"], &["no-such-program"]);
    assert_eq!(missing.code, Some(127), "{missing}");
    missing.says("no-such-program");
    let directory = docker.run(&["--rm"], &["/etc"]);
    assert_eq!(directory.code, Some(126), "{directory}");
    Ok(())
}

fn docker_publishes_a_port_on_a_bridge(world: &World) -> Outcome {
    let docker = docker(world)?;
    let server = ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"];
    docker.run(&["--detach", "--name", "it-web", "--publish", "127.0.0.1:8080:80"], &server).ok();
    let fetch = || docker.beside(&["curl", "--silent", "--max-time", "5", "http://127.0.0.1:8080/"]);
    wait_until("the page is served", LIMIT, || fetch().out == "served from the inside\n");
    docker.call(&["rm", "--force", "it-web"]).ok();
    fetch().fails();
    Ok(())
}

fn docker_stops_and_removes_a_container(world: &World) -> Outcome {
    let docker = docker(world)?;
    docker.run(&["--detach", "--name", "it-sleep"], &["/bin/sleep", "1000"]).ok();
    docker.call(&["stop", "--time", "1", "it-sleep"]).ok();
    let state =
        docker.call(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "it-sleep"]).ok().out;
    assert_eq!(state.trim(), "exited 137");
    docker.call(&["start", "it-sleep"]).ok();
    docker.call(&["kill", "it-sleep"]).ok();
    docker.call(&["rm", "it-sleep"]).ok();
    assert!(!docker.call(&["ps", "--all", "--quiet"]).ok().out.contains(char::is_alphanumeric));
    Ok(())
}

/// An experimental command of Docker.
fn docker_saves_a_container_and_restores_it(world: &World) -> Outcome {
    criu_works()?;
    let docker = docker(world)?;
    docker.run(&["--detach", "--name", "it-count", "--network", "none"], &COUNTER).ok();
    let count =
        || docker.call(&["exec", "it-count", "/bin/cat", "/count"]).out.trim().parse::<u64>().unwrap_or(0);
    let mut stood = 0;
    wait_until("the counter runs", LIMIT, || {
        stood = count();
        stood > 40
    });
    docker.call(&["checkpoint", "create", "it-count", "one"]).ok();
    let state = || docker.call(&["inspect", "--format", "{{.State.Status}}", "it-count"]).ok().out;
    wait_until("the container has ended", LIMIT, || state().trim() == "exited");
    docker.call(&["start", "--checkpoint", "one", "it-count"]).ok();
    assert_eq!(state().trim(), "running");
    // Without a checkpoint it would have begun at one again.
    let mut resumed = 0;
    // The file is empty for a moment each time.
    wait_until("a number can be read", LIMIT, || {
        resumed = count();
        resumed > 0
    });
    assert!(resumed >= stood, "{resumed} after {stood}");
    wait_until("the counter goes on", LIMIT, || count() > resumed);
    docker.call(&["rm", "--force", "it-count"]).ok();
    Ok(())
}

/// The default profile, one from a file and none at all, as /proc/self/status and the calls themselves show.
fn docker_filters_system_calls(world: &World) -> Outcome {
    let docker = docker(world)?;
    let mode = |options: &[&str]| {
        let options = [&["--rm"], options].concat();
        docker.run(&options, &["/bin/busybox", "grep", "Seccomp:", "/proc/self/status"]).ok().out
    };
    assert_eq!(mode(&[]).split_whitespace().last(), Some("2"));
    assert_eq!(mode(&["--security-opt", "seccomp=unconfined"]).split_whitespace().last(), Some("0"));
    let profile = world.path("profile.json");
    let rule = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    });
    fs::write(&profile, rule.to_string()).expect("profile");
    let option = format!("seccomp={}", profile);
    let refused =
        docker.run(&["--rm", "--security-opt", &option], &["/bin/busybox", "mkdir", "/tmp/refused"]);
    refused.fails().says("No space left on device");
    Ok(())
}

/// A block device of this machine: its path and its numbers.
fn block_device() -> (String, String) {
    let named = |name: &str| {
        let numbers = fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
        let path = format!("/dev/{name}");
        Path::new(&path).exists().then(|| (path, numbers.trim().to_owned()))
    };
    let names = fs::read_dir("/sys/block").expect("block devices").flatten();
    names.filter_map(|entry| named(entry.file_name().to_str()?)).next().expect("a block device")
}

/// What `-m`, `--cpus`, `--pids-limit`, `--device-read-bps` and `update` say stands in the container's cgroup.
fn docker_limits_and_updates(world: &World) -> Outcome {
    let docker = docker(world)?;
    let (device, numbers) = block_device();
    let rate = format!("{device}:1mb");
    let limits =
        ["--detach", "--name", "it-limits", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "50"];
    let limits = [&limits[..], &["--device-read-bps", &rate]].concat();
    docker.run(&limits, &["/bin/sleep", "1000"]).ok();
    let pid = docker.call(&["inspect", "--format", "{{.State.Pid}}", "it-limits"]).ok().out;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).expect("cgroups");
    let value = |controller: &str, file: &str| {
        let line = groups.lines().find(|line| line.split(':').nth(1) == Some(controller)).expect("hierarchy");
        let group = line.splitn(3, ':').nth(2).expect("path");
        fs::read_to_string(format!("/sys/fs/cgroup/{controller}{group}/{file}")).expect("file")
    };
    assert_eq!(value("memory", "memory.limit_in_bytes").trim(), "67108864");
    assert_eq!(value("cpu", "cpu.cfs_quota_us").trim(), "50000");
    assert_eq!(value("pids", "pids.max").trim(), "50");
    assert_eq!(value("blkio", "blkio.throttle.read_bps_device").trim(), format!("{numbers} 1048576"));
    let stats = ["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "it-limits"];
    let stats = docker.call(&stats).ok().out;
    assert!(stats.starts_with("1 ") && stats.trim_end().ends_with("/ 64MiB"), "{stats}");
    docker.call(&["update", "--memory", "96m", "--memory-swap", "96m", "--cpus", "0.25", "it-limits"]).ok();
    assert_eq!(value("memory", "memory.limit_in_bytes").trim(), "100663296");
    assert_eq!(value("cpu", "cpu.cfs_quota_us").trim(), "25000");
    docker.call(&["pause", "it-limits"]).ok();
    let status = docker.call(&["inspect", "--format", "{{.State.Status}}", "it-limits"]).ok().out;
    assert_eq!(status.trim(), "paused");
    docker.call(&["unpause", "it-limits"]).ok();
    assert!(docker.call(&["top", "it-limits"]).ok().out.contains("sleep"));
    assert_eq!(docker.call(&["exec", "it-limits", "/bin/echo", "inside"]).ok().out, "inside\n");
    docker.call(&["rm", "--force", "it-limits"]).ok();
    Ok(())
}

/// What Docker's own shim does, done by ours: Docker 20.10 knows one name only.
fn docker_works_with_the_shim_in_the_place_of_its_own(world: &World) -> Outcome {
    let docker = docker_behind_the_shim(world)?;
    docker.run(&["--detach", "--name", "it-one"], &["/bin/sh", "-c", "echo said; exec /bin/sleep 1000"]).ok();
    let pid = docker.call(&["inspect", "--format", "{{.State.Pid}}", "it-one"]).ok().out;
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).expect("it runs");
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).expect("a parent");
    let shim = fs::read_link(format!("/proc/{parent}/exe")).expect("its shim");
    assert!(shim.ends_with("drop-in/containerd-shim-runc-v2"), "{}", shim.display());
    assert_eq!(docker.call(&["logs", "it-one"]).ok().out, "said\n");
    assert_eq!(docker.call(&["exec", "it-one", "/bin/sh", "-c", "exit 9"]).code, Some(9));
    assert_eq!(docker.call(&["exec", "it-one", "/bin/echo", "inside"]).ok().out, "inside\n");
    let stats = docker.call(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "it-one"]).ok();
    assert!(stats.out.starts_with("1 ") && !stats.out.contains(" 0B /"), "{stats}");
    let interfaces = |network: &str| {
        let options = ["--rm", "--network", network];
        let ran = docker.run(&options, &["/bin/ls", "/sys/class/net"]).ok();
        ran.out.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(interfaces("host").contains(&"docker0".to_owned()));
    assert_eq!(interfaces("bridge"), ["eth0", "lo"]);
    assert_eq!(interfaces("container:it-one"), ["eth0", "lo"]);
    assert!(!interfaces("none").contains(&"eth0".to_owned()));
    docker.run(&["--rm", "-v", "it-volume:/data"], &["/bin/sh", "-c", "echo kept >/data/file"]).ok();
    let kept = docker.run(&["--rm", "-v", "it-volume:/data"], &["/bin/cat", "/data/file"]).ok();
    assert_eq!(kept.out, "kept\n");
    assert_eq!(docker.run(&["--rm"], &["no-such-program"]).code, Some(127));
    docker.call(&["stop", "--time", "1", "it-one"]).ok();
    let state = docker.call(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "it-one"]).ok();
    assert_eq!(state.out.trim(), "exited 137");
    docker.call(&["rm", "it-one"]).ok();
    Ok(())
}

fn docker_restarts_with_the_shim_and_shows_every_state(world: &World) -> Outcome {
    let docker = docker_behind_the_shim(world)?;
    let states = || docker.call(&["ps", "--all", "--format", "{{.Names}}={{.State}}"]).ok().out;
    docker.run(&["--detach", "--name", "it-runs"], &["/bin/sleep", "1000"]).ok();
    docker.run(&["--detach", "--name", "it-waits"], &["/bin/sleep", "1000"]).ok();
    docker.call(&["pause", "it-waits"]).ok();
    docker.run(&["--name", "it-ended"], &["/bin/sh", "-c", "exit 4"]);
    let again = ["--detach", "--name", "it-again", "--restart", "always"];
    docker.run(&again, &["/bin/sh", "-c", "exit 1"]).ok();
    let expected = ["it-runs=running", "it-waits=paused", "it-ended=exited", "it-again=restarting"];
    wait_until("all four states are seen", LIMIT, || {
        let states = states();
        expected.iter().all(|state| states.lines().any(|line| line == *state))
    });
    let few = ["--detach", "--name", "it-few", "--restart", "on-failure:2"];
    docker.run(&few, &["/bin/sh", "-c", "exit 3"]).ok();
    let few = || {
        let format = "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}";
        docker.call(&["inspect", "--format", format, "it-few"]).ok().out
    };
    wait_until("it is not started any more", LIMIT, || few().trim() == "exited 2 3");
    docker.call(&["unpause", "it-waits"]).ok();
    docker.call(&["rm", "--force", "it-runs", "it-waits", "it-ended", "it-again", "it-few"]).ok();
    Ok(())
}
