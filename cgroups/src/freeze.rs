//! Stopping and resuming every process of a group.
//!
//! Version 2 has a freezer in every group, and what it froze can still be killed. Version 1 has the freezer controller:
//! its frozen processes ignore every signal until they are thawed. On a hybrid host the version 2 freezer serves.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use sys::error::Context;
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Controllers, Version};
use crate::directory::Directory;
use crate::processes;

/// How long all processes may take to stop before the freeze is taken back.
const FREEZE_DEADLINE: Duration = Duration::from_secs(2);

const STATE_V1: &str = "freezer.state";
const STATE_V2: &str = "cgroup.freeze";
const EVENTS_V2: &str = "cgroup.events";

/// A group that is frozen, or lies in a frozen one, would stop its first process before it has done anything.
pub(crate) fn refuse_frozen(group: &Directory, version: Version, controllers: Controllers) -> Result<()> {
    let frozen = match version {
        Version::V1 if controllers.contains(Controller::Freezer) => !is_thawed_v1(group)?,
        Version::V1 => false,
        Version::V2 => is_frozen(group, Version::V2)?,
    };
    if !frozen {
        return Ok(());
    }
    let what = format!("container's cgroup unexpectedly frozen: {}", group.path());
    Err(Error::new(Kind::WrongState, what).with_hint("it or a group above it was frozen by somebody else"))
}

fn is_thawed_v1(group: &Directory) -> Result<bool> {
    Ok(group.read_short(STATE_V1)?.trim() == "THAWED")
}

/// Whether every process of `group` is stopped.
pub(crate) fn is_frozen(group: &Directory, version: Version) -> Result<bool> {
    match version {
        Version::V1 => Ok(group.read_short(STATE_V1)?.trim() == "FROZEN"),
        Version::V2 => Ok(group.read_short(EVENTS_V2)?.lines().any(|line| line == "frozen 1")),
    }
}

/// Stops every process of `group` and waits until all have stopped. Those that will not are an error, after which none is
/// stopped.
pub(crate) fn freeze(group: &Directory, version: Version) -> Result<()> {
    let deadline = Instant::now() + FREEZE_DEADLINE;
    if try_freeze(group, version, deadline)? {
        return Ok(());
    }
    let pids = processes::describe(&processes::in_tree(group)?);
    thaw(group, version)?;
    let seconds = FREEZE_DEADLINE.as_secs();
    let what = format!("freeze {}: not all processes stopped within {seconds} s: {pids}", group.path());
    Err(Error::new(Kind::Timeout, what).with_hint("everything is thawed again"))
}

/// Asks for the freeze and says whether it was complete before `deadline`.
///
/// A version 1 group can stay FREEZING while its processes fork; asking again catches the new ones.
pub(crate) fn try_freeze(group: &Directory, version: Version, deadline: Instant) -> Result<bool> {
    let mut pause = Duration::from_micros(200);
    write_state(group, version, State::Frozen)?;
    while !is_frozen(group, version)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
        if version == Version::V1 {
            write_state(group, version, State::Frozen)?;
        }
    }
    Ok(true)
}

/// Lets every process of `group` go on.
pub(crate) fn thaw(group: &Directory, version: Version) -> Result<()> {
    write_state(group, version, State::Thawed)
}

/// Thaws `group` and every group beneath it, which a runtime inside the container may have frozen on its own.
pub(crate) fn thaw_tree(group: &Directory, version: Version) -> Result<()> {
    processes::visit(group, &mut |group| match thaw(group, version) {
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => Ok(()),
        other => other,
    })
}

#[derive(Clone, Copy)]
enum State {
    Frozen,
    Thawed,
}

fn write_state(group: &Directory, version: Version, state: State) -> Result<()> {
    let (file, value) = match (version, state) {
        (Version::V1, State::Frozen) => (STATE_V1, "FROZEN"),
        (Version::V1, State::Thawed) => (STATE_V1, "THAWED"),
        (Version::V2, State::Frozen) => (STATE_V2, "1"),
        (Version::V2, State::Thawed) => (STATE_V2, "0"),
    };
    let written = group.try_write(file, value);
    written.context("write", || format!("set {} to {value:?}", group.path_of(file)))
}
