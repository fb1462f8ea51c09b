//! Ending every process of a container, however fast it forks.
//!
//! Version 2 has `cgroup.kill`, which no fork escapes. On version 1 the group is frozen first, so that nothing forks and no
//! pid changes its owner, every process is killed by number, and the group is thawed so that the signals take effect;
//! that is repeated until the group is empty. Where it does not freeze, a process is killed through a pidfd that was opened
//! between two listings of the group, so a reused number is never hit.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use sys::{Error, Kind, Result};

use crate::controller::Version;
use crate::directory::{Directory, read_again};
use crate::{freeze, processes};

/// How long one round waits for the version 1 freezer before it kills what still runs.
const FREEZE_ROUND: Duration = Duration::from_millis(100);
/// How long one round waits for killed processes to be gone, before it looks again.
const SETTLE_ROUND: Duration = Duration::from_millis(50);
/// Processes whose pidfd is held at the same time.
const BATCH: usize = 256;

/// Kills everything in the version 2 `group`, without waiting for the end.
pub(crate) fn signal_v2(group: &Directory) -> Result<()> {
    match group.try_write("cgroup.kill", "1") {
        // Whoever else owns the group, such as systemd, may remove it as soon as it is empty.
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(Error::kernel(format!("kill {}", group.path()), "write", errno)),
    }
}

/// Waits for `populated 0`, which the kernel announces to poll(2), or for the group to be gone.
pub(crate) fn wait_v2(group: &Directory, deadline: Instant) -> Result<()> {
    let events = match group.file("cgroup.events", OFlags::RDONLY) {
        Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    loop {
        match read_again(&events) {
            Ok(text) if text.contains("populated 1") => {}
            Ok(_) | Err(Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(Error::kernel(group.path_of("cgroup.events"), "pread", errno)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(stuck(group, "kill"));
        }
        // Where systemd removes the group at once, the news that it is empty may be lost with it: the kernel holds back what
        // follows within 10 ms of the last announcement, and a removal wakes nobody.
        let left = left.min(SETTLE_ROUND);
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel(group.path_of("cgroup.events"), "poll", errno)),
        }
    }
}

/// Kills everything in the version 1 `group` and waits until it is empty. `freezer` is the container's group in the freezer
/// hierarchy, if there is one.
pub(crate) fn kill_v1(group: &Directory, freezer: Option<&Directory>, deadline: Instant) -> Result<()> {
    loop {
        kill_round(group, freezer, deadline)?;
        if empty_before(group, deadline.min(Instant::now() + SETTLE_ROUND))? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(stuck(group, "kill"));
        }
    }
}

fn kill_round(group: &Directory, freezer: Option<&Directory>, deadline: Instant) -> Result<()> {
    let Some(freezer) = freezer else { return signal_members(group, Signal::KILL) };
    let until = deadline.min(Instant::now() + FREEZE_ROUND);
    let killed = match freeze::try_freeze(freezer, Version::V1, until) {
        Ok(true) => signal_frozen(group, Signal::KILL),
        _ => signal_members(group, Signal::KILL),
    };
    freeze::thaw_tree(freezer, Version::V1)?;
    killed
}

/// Signals the processes of a frozen group: none of them can exit, so no number is reused.
fn signal_frozen(group: &Directory, signal: Signal) -> Result<()> {
    for pid in processes::in_tree(group)? {
        send(pid, rustix::process::kill_process(pid, signal))?;
    }
    Ok(())
}

/// Signals every process of `group` that is there now, and none that merely got the number of one that was.
pub(crate) fn signal_members(group: &Directory, signal: Signal) -> Result<()> {
    for pids in processes::in_tree(group)?.chunks(BATCH) {
        let open = |pid: &Pid| Some((*pid, rustix::process::pidfd_open(*pid, PidfdFlags::empty()).ok()?));
        let held: Vec<(Pid, OwnedFd)> = pids.iter().filter_map(open).collect();
        let members: HashSet<Pid> = processes::in_tree(group)?.into_iter().collect();
        for (pid, pidfd) in held.iter().filter(|(pid, _)| members.contains(pid)) {
            send(*pid, rustix::process::pidfd_send_signal(pidfd, signal))?;
        }
    }
    Ok(())
}

fn send(pid: Pid, result: rustix::io::Result<()>) -> Result<()> {
    match result {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::kernel(format!("signal process {}", pid.as_raw_nonzero()), "kill", errno)),
    }
}

fn empty_before(group: &Directory, deadline: Instant) -> Result<bool> {
    let mut pause = Duration::from_micros(200);
    while !processes::in_tree(group)?.is_empty() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(true)
}

/// The processes that did not go before the deadline.
pub(crate) fn stuck(group: &Directory, doing: &str) -> Error {
    let pids = processes::in_tree(group).unwrap_or_default();
    let what = format!(
        "{doing} {}: container's cgroup is not empty: {} process(es) found: {}",
        group.path(),
        pids.len(),
        processes::describe(&pids)
    );
    let error = Error::new(Kind::Timeout, what);
    match pids.is_empty() {
        true => error,
        false => {
            error.with_hint("a process in state D waits for the kernel and cannot be killed until that ends")
        }
    }
}
