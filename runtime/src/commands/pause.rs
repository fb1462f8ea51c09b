//! `pause` and `resume`.

use super::container;
use crate::cli::args::Globals;
use crate::event_log::{self, Event};
use crate::id::ContainerId;
use crate::state::{Directory, State, Status};
use crate::{Error, Kind, Result};

pub(super) fn pause(globals: &Globals, id: &ContainerId) -> Result<u8> {
    let (directory, state, status) = locked(globals, id)?;
    match status {
        Status::Running | Status::Created => state.cgroup.open()?.freeze()?,
        Status::Creating | Status::Paused | Status::Stopped => {
            return Err(wrong(&state, status, "container not running"));
        }
    }
    event_log::append(&directory, &[Event::Paused]);
    Ok(0)
}

pub(super) fn resume(globals: &Globals, id: &ContainerId) -> Result<u8> {
    let (directory, state, status) = locked(globals, id)?;
    let cgroup = state.cgroup.open()?;
    // A container that was paused before its start is still called created.
    let paused = status == Status::Paused || (status == Status::Created && cgroup.is_frozen()?);
    if !paused {
        return Err(wrong(&state, status, "container not paused"));
    }
    cgroup.thaw()?;
    event_log::append(&directory, &[Event::Resumed]);
    Ok(0)
}

/// The state under the container's lock, which ends with the directory: start and delete must not come in between.
fn locked(globals: &Globals, id: &ContainerId) -> Result<(Directory, State, Status)> {
    let directory = container(globals, id)?;
    directory.lock()?;
    let (record, state) = directory.open_record()?;
    let status = state.status(&record.page()?)?;
    Ok((directory, state, status))
}

fn wrong(state: &State, status: Status, text: &str) -> Error {
    Error::new(Kind::WrongState, format!("container {}: {text}", state.id))
        .with_hint(format!("it is {}", status.name()))
}
