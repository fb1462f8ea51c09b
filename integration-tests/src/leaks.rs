//! What must hold after every test: no process, mount, cgroup or state directory carries one of its names.
//!
//! Processes are found by what only they have: the name in their command line, environment, cgroup or mount table.
//! The kernel takes a moment to end a killed process, so [`settled`] asks again for a while before it reports.

use crate::process::is_alive;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to end what was killed: on a busy machine a second and more.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is left, after some time for the kernel to finish.
pub fn settled(names: &[&str], root: &Path) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = find(names, root);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What is left right now: one line for each process, mount, cgroup and state directory.
pub fn find(names: &[&str], root: &Path) -> Vec<String> {
    let processes = processes(names).into_iter().map(|pid| format!("process {pid}: {}", describe(pid)));
    let mounts = mounts(names).into_iter().map(|target| format!("mount {target}"));
    let groups = cgroups(names).into_iter().map(|path| format!("cgroup {}", path.display()));
    let states = states(names, root).into_iter().map(|path| format!("state {}", path.display()));
    processes.chain(mounts).chain(groups).chain(states).collect()
}

/// Ends, unmounts and removes everything that [`find`] finds, so that one failure is not the next test's.
pub fn remove(names: &[&str]) {
    for pid in processes(names) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    std::thread::sleep(Duration::from_millis(100));
    for target in mounts(names).into_iter().rev() {
        let _ = rustix::mount::unmount(target.as_str(), rustix::mount::UnmountFlags::DETACH);
    }
    for path in cgroups(names).into_iter().rev() {
        let _ = fs::remove_dir(path);
    }
}

fn processes(names: &[&str]) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own && carries(*pid, names) && is_alive(*pid)).collect()
}

/// Whether a process has one of the names in its command line, environment or cgroup, or in a mount table that is
/// not ours.
fn carries(pid: i32, names: &[&str]) -> bool {
    let holds = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        contains(&String::from_utf8_lossy(&bytes), names)
    };
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt")).ok();
    ["cmdline", "environ", "cgroup"].into_iter().any(holds)
        || (namespace(&pid.to_string()) != namespace("self") && holds("mountinfo"))
}

fn contains(text: &str, names: &[&str]) -> bool {
    names.iter().any(|name| text.contains(name))
}

fn describe(pid: i32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    format!(
        "{} {}",
        String::from_utf8_lossy(&command).replace('\0', " "),
        group.lines().next().unwrap_or_default()
    )
}

fn mounts(names: &[&str]) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let ours = text.lines().filter(|line| contains(line, names));
    ours.filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// Cgroups whose name is one of ours, parents first.
fn cgroups(names: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &mut |path| {
        if contains(&path.to_string_lossy(), names) {
            found.push(path.to_owned());
        }
    });
    found
}

fn walk(dir: &Path, depth: u32, visit: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        visit(&entry.path());
        if depth > 0 {
            walk(&entry.path(), depth - 1, visit);
        }
    }
}

/// Entries of the state root, or of a directory in it, that carry one of the names.
fn states(names: &[&str], root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk_files(root, 2, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if contains(&name, names) {
            found.push(path.to_owned());
        }
    });
    found
}

fn walk_files(dir: &Path, depth: u32, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        visit(&entry.path());
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk_files(&entry.path(), depth - 1, visit);
        }
    }
}
