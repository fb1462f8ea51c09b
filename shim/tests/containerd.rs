//! The shim under a real containerd, driven by `ctr`, in directories of its own.
//!
//! Skipped without root, containerd, ctr or a static busybox. The containerd that is started is stopped by its pid.
#![expect(clippy::disallowed_methods, reason = "a test starts processes as it likes")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The shim under test: `SHIM`, or the one that was built with the tests.
fn shim() -> String {
    std::env::var("SHIM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_containerd-shim-orlop-v2").to_owned())
}

/// A containerd with a root file system for containers.
struct Containerd {
    dir: PathBuf,
    namespace: String,
    daemon: Child,
}

fn spawn(dir: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new("containerd");
    command.arg("-c").arg(dir.join("config.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let daemon = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !Command::new("ctr")
        .arg("-a")
        .arg(dir.join("c.sock"))
        .arg("version")
        .output()
        .unwrap()
        .status
        .success()
    {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(dir.join("log")).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon
}

impl Containerd {
    fn new(name: &str) -> Option<Self> {
        let present = |program: &str| {
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
        };
        let able = rustix::process::geteuid().is_root() && Path::new("/usr/bin/busybox").exists();
        if !able || !present("containerd") || !present("ctr") {
            return None;
        }
        let dir = std::env::temp_dir().join(format!("it-containerd-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("rootfs/bin")).unwrap();
        for name in ["proc", "dev", "sys", "run", "tmp"] {
            fs::create_dir(dir.join("rootfs").join(name)).unwrap();
        }
        fs::copy("/usr/bin/busybox", dir.join("rootfs/bin/busybox")).unwrap();
        for name in ["sh", "sleep", "cat", "echo"] {
            std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(name)).unwrap();
        }
        let place = dir.display();
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = \"{place}/c.sock\"\n[ttrpc]\n  address = \"{place}/c.sock.ttrpc\"\n"
        );
        fs::write(dir.join("config.toml"), config).unwrap();
        let daemon = spawn(&dir);
        let namespace = format!("it-{name}-{}", std::process::id());
        Some(Self { dir, namespace, daemon })
    }

    fn restart(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        self.daemon = spawn(&self.dir);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("-a")
            .arg(self.dir.join("c.sock"))
            .args(["-n", &self.namespace])
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn ctr(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn run(&self, options: &[&str], id: &str, script: &str) -> Output {
        let rootfs = self.dir.join("rootfs").display().to_string();
        let shim = shim();
        let words =
            [&["run", "--rootfs", "--runtime", &shim], options, &[&rootfs, id, "/bin/sh", "-c", script]];
        self.ctr(&words.concat())
    }

    fn status(&self, id: &str) -> String {
        let list = String::from_utf8(self.ctr(&["task", "ls"]).stdout).unwrap();
        let line = list.lines().find(|line| line.starts_with(&format!("{id} ")));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or("none").to_owned()
    }

    fn await_status(&self, id: &str, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.status(id) != status {
            assert!(Instant::now() < deadline, "{id} is {} and not {status}", self.status(id));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn shim_pid(&self, id: &str) -> Option<i32> {
        let socket = self.dir.join("c.sock").display().to_string();
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
            let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let ours =
                line.contains(&socket) && line.contains("shim") && line.contains(&format!("-id\0{id}\0"));
            ours.then(|| entry.file_name().to_string_lossy().parse().ok())?
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for id in ["c1", "c2"] {
            let _ = self.ctr(&["task", "kill", "-s", "KILL", id]);
            let _ = self.ctr(&["task", "rm", "-f", id]);
            let _ = self.ctr(&["container", "rm", id]);
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir(Path::new("/run/containerd/runc").join(&self.namespace));
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok) {
            let _ = fs::remove_dir(hierarchy.path().join(&self.namespace));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Waits until a file contains something.
fn await_text(path: &Path, part: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(path).unwrap();
        if text.contains(part) {
            return text;
        }
        assert!(Instant::now() < deadline, "no {part:?} in {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_container_runs_prints_and_ends() {
    let Some(containerd) = Containerd::new("run") else { return };
    let output = containerd.run(&["--rm"], "c1", "echo out; echo err >&2; exit 7");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out".to_owned(), "err".to_owned()));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(containerd.status("c1"), "none");
    assert_eq!(containerd.shim_pid("c1"), None);
}

#[test]
fn a_container_is_paused_measured_entered_and_killed() {
    let Some(containerd) = Containerd::new("life") else { return };
    assert!(containerd.run(&["-d"], "c1", "sleep 1000").status.success());
    let exec = containerd.ctr(&["task", "exec", "--exec-id", "e1", "c1", "/bin/sh", "-c", "echo in; exit 5"]);
    assert_eq!((text(&exec.stdout).as_str(), exec.status.code()), ("in", Some(5)));
    assert!(containerd.ctr(&["task", "pause", "c1"]).status.success());
    assert_eq!(containerd.status("c1"), "PAUSED");
    assert!(containerd.ctr(&["task", "resume", "c1"]).status.success());
    assert_eq!(containerd.status("c1"), "RUNNING");
    assert!(text(&containerd.ctr(&["task", "metrics", "c1"]).stdout).contains("pids.current"));
    let processes = text(&containerd.ctr(&["task", "ps", "c1"]).stdout);
    assert!(processes.lines().count() >= 2, "{processes}");
    assert!(containerd.ctr(&["task", "kill", "-s", "KILL", "c1"]).status.success());
    containerd.await_status("c1", "STOPPED");
    assert!(containerd.ctr(&["task", "rm", "c1"]).stderr.ends_with(b"exit with non-zero exit code 137\"\n"));
}

#[test]
fn a_terminal_an_attached_client_and_the_events_are_served() {
    let Some(containerd) = Containerd::new("attach") else { return };
    let events = containerd.dir.join("events");
    let mut watcher =
        containerd.command(&["events"]).stdout(fs::File::create(&events).unwrap()).spawn().unwrap();
    // It hears nothing of what happens before it listens.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut number = 0;
    while !fs::read_to_string(&events).unwrap().contains("/namespaces/create") {
        assert!(Instant::now() < deadline);
        number += 1;
        containerd.ctr(&["namespaces", "create", &format!("it-heard-{number}")]);
    }
    assert!(containerd.run(&["-d"], "c1", "while :; do echo tick; sleep 0.1; done").status.success());
    // script(1) gives the client a terminal, whose size the container's gets.
    let ctr = format!("ctr -a {}/c.sock -n {}", containerd.dir.display(), containerd.namespace);
    let line = format!(
        "stty rows 33 cols 77; {ctr} task exec -t --exec-id e1 c1 /bin/sh -c 'sleep 0.3; busybox stty size; exit 6'"
    );
    let exec =
        Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert!(text(&exec.stdout).contains("33 77"), "{exec:?}");
    assert_eq!(exec.status.code(), Some(6));
    let printed = containerd.dir.join("attached");
    let mut attached = containerd
        .command(&["task", "attach", "c1"])
        .stdout(fs::File::create(&printed).unwrap())
        .spawn()
        .unwrap();
    await_text(&printed, "tick");
    // The client hands other signals on to the container.
    attached.kill().unwrap();
    attached.wait().unwrap();
    let before = containerd.shim_pid("c1");
    assert!(containerd.ctr(&["task", "kill", "-s", "KILL", "c1"]).status.success());
    containerd.await_status("c1", "STOPPED");
    assert!(before.is_some());
    containerd.ctr(&["task", "rm", "c1"]);
    let told = await_text(&events, "/tasks/delete");
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    let topics = ["/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"];
    let places: Vec<_> = topics.iter().map(|topic| told.find(topic).unwrap()).collect();
    assert!(places.is_sorted(), "{told}");
}

#[test]
fn containers_outlive_containerd_and_their_ends_are_not_forgotten() {
    let Some(mut containerd) = Containerd::new("restart") else { return };
    assert!(containerd.run(&["-d"], "c1", "sleep 1000").status.success());
    assert!(containerd.run(&["-d"], "c2", "sleep 0.3; exit 3").status.success());
    containerd.daemon.kill().unwrap();
    std::thread::sleep(Duration::from_millis(600));
    containerd.restart();
    assert_eq!(containerd.status("c1"), "RUNNING");
    containerd.await_status("c2", "STOPPED");
    let exec = containerd.ctr(&["task", "exec", "--exec-id", "e1", "c1", "/bin/echo", "alive"]);
    assert_eq!(text(&exec.stdout), "alive");
}

#[test]
fn containerd_cleans_up_behind_a_shim_that_was_killed() {
    let Some(containerd) = Containerd::new("killed") else { return };
    assert!(containerd.run(&["-d"], "c1", "sleep 1000").status.success());
    let pid = rustix::process::Pid::from_raw(containerd.shim_pid("c1").unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    containerd.await_status("c1", "none");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&containerd.dir.display().to_string()));
}

#[test]
fn a_path_with_a_slice_makes_a_scope_of_systemd() {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    let Some(containerd) = Containerd::new("scope") else { return };
    let unit = format!("it-ctr-{}.scope", std::process::id());
    let path = format!("system.slice:it-ctr:{}", std::process::id());
    assert!(containerd.run(&["-d", "--cgroup", &path], "c1", "sleep 1000").status.success());
    let list = text(&containerd.ctr(&["task", "ls"]).stdout);
    let pid = list
        .lines()
        .find_map(|line| line.strip_prefix("c1 "))
        .and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.unwrap())).unwrap();
    assert!(groups.lines().any(|line| line.ends_with(&format!("/system.slice/{unit}"))), "{groups}");
    assert!(containerd.ctr(&["task", "kill", "-s", "KILL", "c1"]).status.success());
    containerd.await_status("c1", "STOPPED");
    containerd.ctr(&["task", "rm", "c1"]);
    let units = Command::new("systemctl").args(["list-units", "--all", "--plain", &unit]).output().unwrap();
    assert!(!text(&units.stdout).contains(&unit), "{units:?}");
}
