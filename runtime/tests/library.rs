//! The promises of the library, in one process with threads: 200 containers from 8 threads, and the state of the calling
//! process before and after.
//!
//! It needs root and a static busybox, and says so where it has neither.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code: a failed expectation ends the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use orlop::container::{Container, Options, Status};
use rustix::process::{WaitId, WaitIdOptions, waitid};

const CONTAINERS: usize = 200;
const THREADS: usize = 8;

/// What the library may not change.
#[derive(Debug, PartialEq)]
struct Caller {
    cwd: PathBuf,
    umask: String,
    descriptors: BTreeSet<String>,
    environment: Vec<(String, String)>,
    signals: String,
    namespaces: Vec<PathBuf>,
}

fn caller() -> Caller {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| status.lines().filter(|line| line.starts_with(name)).collect::<String>();
    let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    Caller {
        cwd: std::env::current_dir().unwrap(),
        umask: line("Umask"),
        // The directory that is being read has a descriptor as well, always the lowest free number.
        descriptors: descriptors.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        environment: std::env::vars().collect(),
        signals: line("SigIgn") + &line("SigCgt"),
        namespaces: ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "pid_for_children"]
            .map(link)
            .to_vec(),
    }
}

fn bundle(directory: &Path) {
    fs::create_dir_all(directory.join("rootfs/bin")).unwrap();
    fs::copy("/bin/busybox", directory.join("rootfs/bin/true")).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_str(&orlop::template::Template::Root.text(orlop::template::Cgroups::Unified))
            .unwrap();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/true"]);
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
}

fn options() -> Options {
    let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut options = Options::default_for(cgroups::Driver::Cgroupfs);
    options.descriptors = (0..3).map(|_| null.try_clone().unwrap().into()).collect();
    options
}

fn run(root: &Path, bundle: &Path, number: usize) {
    let id = format!("it-library-{}-{number}", std::process::id());
    let container = Container::create(root, &id, bundle, &options()).unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    let pidfd = container.pidfd().unwrap().unwrap();
    container.start().unwrap();
    let ended =
        waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED).unwrap().unwrap();
    assert_eq!(ended.exit_status(), Some(0), "{id}");
    assert_eq!(container.status().unwrap(), Status::Stopped);
    assert_eq!(container.delete().unwrap(), None);
    assert_eq!(Container::open(root, &id).unwrap_err().kind(), orlop::Kind::NotFound);
}

#[test]
fn two_hundred_containers_from_eight_threads_leave_the_caller_as_it_was() {
    if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        println!("skipped: needs root and /bin/busybox");
        return;
    }
    let directory = std::env::temp_dir().join(format!("it-library-{}", std::process::id()));
    bundle(&directory.join("bundle"));
    let root = directory.join("state");
    run(&root, &directory.join("bundle"), CONTAINERS);
    let before = caller();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let number @ 0..CONTAINERS = next.fetch_add(1, Ordering::Relaxed) {
                    run(&root, &directory.join("bundle"), number);
                }
            });
        }
    });
    assert_eq!(caller(), before);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "a state is left");
    fs::remove_dir_all(directory).unwrap();
}
