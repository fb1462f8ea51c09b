//! A cgroup of a test's own, below which an engine puts its containers, instead of one of its own that would stay.
//!
//! It is the runtime's to remove the groups of containers; this removes what is above them, and what is left when a
//! test fails in the middle, with the processes in it. Start at [`Parent::new`].

use crate::layout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what was killed may take to die.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cgroup; gone with this.
pub struct Parent {
    /// Its name, at the root of every hierarchy.
    pub name: String,
}

impl Parent {
    /// A name that no other test has, because it has this process's number and a word of the test's. Engines make the group.
    pub fn new(word: &str) -> Parent {
        Parent { name: format!("it-engine-{}-{word}", std::process::id()) }
    }

    /// The groups below it, in all hierarchies, each before those that it contains.
    pub fn groups(&self) -> Vec<PathBuf> {
        layout::groups_named(&self.name).iter().flat_map(|top| groups_below(top)).collect()
    }
}

fn groups_below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    groups
        .flat_map(|entry| {
            std::iter::once(entry.path()).chain(groups_below(&entry.path())).collect::<Vec<_>>()
        })
        .collect()
}

/// Kills what is in a group, and lets it run where it is frozen, because it dies then only.
fn empty(group: &Path) {
    let _ = fs::write(group.join("freezer.state"), "THAWED");
    let _ = fs::write(group.join("cgroup.freeze"), "0");
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        let _ = pid.parse().map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (below, tops) = (self.groups(), layout::groups_named(&self.name));
            for group in below.iter().rev().chain(&tops) {
                if fs::remove_dir(group).is_err() {
                    empty(group);
                }
            }
            if layout::groups_named(&self.name).is_empty() {
                return;
            }
            if Instant::now() > end {
                eprintln!("left behind: {tops:?} and below it {below:?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
