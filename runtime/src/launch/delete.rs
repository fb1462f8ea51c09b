//! delete: everything that create made goes, and only then does the id become free.

use std::time::{Duration, Instant};

use child::page::Page;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use rustix::time::Timespec;

use super::process::run_hooks;
use super::state_json;
use crate::event_log::{self, Ending, Event};
use crate::state::{Directory, Progress, State, Status};
use crate::{Error, Kind, Result, record, resctrl};

/// How long processes may take to die and cgroups to become removable.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// A container that has stopped, or that was created and never started.
    No,
    /// Any, after its processes are killed.
    Yes,
}

/// Deletes a container whose directory is locked. Returns the failures of poststop hooks, which are only warnings.
///
/// # Errors
/// `WrongState` for a running container without force; `Kernel` and `Timeout` with what could not be removed.
pub fn delete(directory: &Directory, force: Force) -> Result<Option<Error>> {
    let (mut record, mut state) = match directory.open_record() {
        Ok(opened) => opened,
        // An abandoned claim: nothing was made before the record.
        Err(error) if error.kind() == Kind::NotFound => {
            directory.remove()?;
            return if force == Force::No { Err(error) } else { Ok(None) };
        }
        Err(error) if force == Force::Yes => return delete_damaged(directory, error),
        Err(error) => return Err(error),
    };
    let page = record.page()?;
    check(&state, &page, force)?;
    end(&state)?;
    clean_up(directory, &mut record, &mut state)
}

/// Removes what belongs to a container whose first process is gone: what [`delete`] does last, for a caller that has the
/// record open and has reaped the process.
///
/// # Errors
/// `Kernel` and `Timeout` with what could not be removed.
pub fn clean_up(
    directory: &Directory,
    record: &mut record::File,
    state: &mut State,
) -> Result<Option<Error>> {
    tell_followers(directory, state);
    remove_cgroup(state)?;
    resctrl::remove(&state.resctrl)?;
    let warning = run_poststop(state, record)?;
    directory.remove()?;
    Ok(warning)
}

/// Whoever follows the container could no longer ask its groups what it used.
fn tell_followers(directory: &Directory, state: &State) {
    if !event_log::is_followed(directory) {
        return;
    }
    let usage = state.cgroup.open().and_then(|cgroup| cgroup.watch()).map(|watch| watch.usage());
    let ending = Ending::default().with_usage(usage.unwrap_or_default());
    event_log::append(directory, &[Event::Exited(ending)]);
}

/// Ends and removes a container whose record cannot be read, by the cgroups that were noted beside it. Without them
/// nobody knows where its processes are, and the truth is an error.
fn delete_damaged(directory: &Directory, error: Error) -> Result<Option<Error>> {
    let Some(cgroups) = directory.noted_cgroups().filter(|cgroups| !cgroups.is_empty()) else {
        return Err(
            error.with_hint("nothing says where its processes are; end them, then remove the directory")
        );
    };
    end_groups(&cgroups)?;
    directory.remove()?;
    Ok(Some(
        error.with_hint("its cgroups were known and are empty and removed; its poststop hooks were not run"),
    ))
}

fn check(state: &State, page: &Page, force: Force) -> Result<()> {
    let status = state.status(page)?;
    match (status, force) {
        (_, Force::Yes) | (Status::Stopped | Status::Created | Status::Creating, _) => Ok(()),
        (status, Force::No) => {
            let text = format!("cannot delete container {} that is not stopped: {}", state.id, status.name());
            Err(Error::new(Kind::WrongState, text))
        }
    }
}

/// Ends every process of a container that stays on record, as after a failed poststart hook.
///
/// # Errors
/// `Timeout` and `Kernel`.
pub fn stop(state: &State) -> Result<()> {
    end(state)?;
    if state.cgroup.is_empty() { Ok(()) } else { state.cgroup.open()?.kill(Instant::now() + PATIENCE) }
}

/// Kills the first process and waits for its end; with a pid namespace everything else dies with it.
fn end(state: &State) -> Result<()> {
    let Some(init) = state.open_init()? else { return Ok(()) };
    let _ = pidfd_send_signal(&init, Signal::KILL);
    // A frozen process takes no signal on v1 until it is thawed.
    let cgroup = state.cgroup.open()?;
    let _ = cgroup.thaw();
    let wait = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&wait)) {
        Ok(0) => {
            let init: Vec<Pid> = state.init.and_then(|init| Pid::from_raw(init.pid)).into_iter().collect();
            let text = format!(
                "container {}: process {} does not die ({} s after SIGKILL)",
                state.id,
                cgroups::describe(&init),
                PATIENCE.as_secs()
            );
            Err(Error::new(Kind::Timeout, text)
                .with_hint("it is in an uninterruptible sleep or frozen by somebody else"))
        }
        _ => Ok(()),
    }
}

fn remove_cgroup(state: &State) -> Result<()> {
    if state.cgroup.is_empty() {
        return Ok(());
    }
    // Nearly always the groups are empty by now, as everything died with the pid namespace.
    if state.cgroup.open()?.remove(Instant::now()).is_ok() {
        return Ok(());
    }
    end_groups(&state.cgroup)
}

/// Kills every process of the groups and removes them.
pub(super) fn end_groups(groups: &cgroups::Record) -> Result<()> {
    let cgroup = groups.open()?;
    let deadline = Instant::now() + PATIENCE;
    cgroup.kill(deadline)?;
    cgroup.remove(deadline)
}

/// Runs the hooks at most once, whatever interrupts them: the record says first that they are about to run.
fn run_poststop(state: &mut State, record: &mut record::File) -> Result<Option<Error>> {
    if state.progress == Progress::Deleting {
        return Ok(None);
    }
    state.progress = Progress::Deleting;
    record.write(state)?;
    let text = state_json::for_hook(state, Status::Stopped, 0);
    // The specification makes a failed poststop hook a warning, and the hooks after it still run.
    let failures = state.poststop.iter().filter_map(|hook| run_hooks([hook], &text, PATIENCE).err());
    Ok(failures.reduce(Error::and_also))
}
