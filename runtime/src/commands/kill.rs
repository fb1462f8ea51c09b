//! `kill`.

use rustix::process::Signal;

use super::container;
use crate::Result;
use crate::cli::args::{self, Globals};
use crate::launch;
use crate::state::{State, Status};

pub(super) fn kill(globals: &Globals, options: &args::Kill) -> Result<u8> {
    let (record, state) = container(globals, &options.id)?.open_record()?;
    let status = state.status(&record.page()?)?;
    if options.all {
        return kill_all(&state, options);
    }
    let signal = options.signal.raw();
    launch::kill::kill(&state, status, signal)?;
    if signal == Signal::KILL.as_raw() && status == Status::Paused {
        // On v1 a frozen process dies only once it is thawed.
        state.cgroup.open()?.thaw()?;
    }
    Ok(0)
}

/// Every process of the container's cgroup; a container that has stopped is no error.
fn kill_all(state: &State, options: &args::Kill) -> Result<u8> {
    let cgroup = state.cgroup.open()?;
    if let Some(signal) = Signal::from_named_raw(options.signal.raw()) {
        cgroup.signal(signal)?;
    }
    Ok(0)
}
