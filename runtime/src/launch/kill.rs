//! kill: a signal for a container.
//!
//! It goes to the first process. SIGKILL is meant for the container, and a first process that is not the first of its pid
//! namespace leaves the others behind when it dies: they get it as well.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::state::{State, Status};
use crate::{Error, Kind, Result, procfs};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends signal number `signal`; 0 only asks whether there is a process.
///
/// # Errors
/// `WrongState` where there is nothing left that it could reach; `Timeout` for what does not die; `Kernel`.
pub fn kill(state: &State, status: Status, signal: i32) -> Result<()> {
    let kills = signal == Signal::KILL.as_raw();
    let init = match (status, state.open_init()?) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
        (Status::Stopped, _) if kills => return kill_left_behind(state),
        _ => return Err(not_running(state)),
    };
    if kills && !is_first_of_its_namespace(state) {
        return group(state)?.kill(Instant::now() + PATIENCE);
    }
    send(&init, state, signal)
}

fn send(init: &OwnedFd, state: &State, signal: i32) -> Result<()> {
    match sys::signal::pidfd_send(init, signal) {
        Ok(()) => Ok(()),
        Err(Errno::SRCH) => Err(not_running(state)),
        Err(errno) => {
            Err(Error::kernel(format!("signal container {}", state.id), "pidfd_send_signal", errno))
        }
    }
}

/// What outlived the first process, if anything did.
fn kill_left_behind(state: &State) -> Result<()> {
    // What has the group's name after another boot is another's.
    if state.cgroup.is_empty() || !state.is_of_this_boot()? {
        return Err(not_running(state));
    }
    let group = group(state)?;
    if group.pids().unwrap_or_default().is_empty() {
        return Err(not_running(state));
    }
    group.kill(Instant::now() + PATIENCE)
}

fn group(state: &State) -> Result<cgroups::Cgroup> {
    state.cgroup.open()
}

/// The kernel ends a whole pid namespace with its first process. A process that has gone meanwhile is as good, as the
/// signal will say.
fn is_first_of_its_namespace(state: &State) -> bool {
    let Some(init) = state.init.filter(|_| !state.cgroup.is_empty()) else { return true };
    let status = procfs::open().map(|proc| procfs::read_file(&proc, format!("{}/status", init.pid)));
    let Ok(Ok(status)) = status else { return true };
    innermost_pid(&status) == Some("1")
}

/// The last number of `NSpid`, proc_pid_status(5).
fn innermost_pid(status: &str) -> Option<&str> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().next_back()
}

fn not_running(state: &State) -> Error {
    Error::new(Kind::WrongState, format!("container {}: container not running", state.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_pid_is_the_last() {
        assert_eq!(innermost_pid("Name:\tsh\nNSpid:\t812\t7\t1\nNSpgid:\t3\n"), Some("1"));
        assert_eq!(innermost_pid("NSpid:\t812\n"), Some("812"));
        assert_eq!(innermost_pid("Name:\tsh\n"), None);
    }
}
