//! `kill`.

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::container;
use crate::cli::args::{self, Globals};
use crate::state::{State, Status};
use crate::{Error, Kind, Result};

pub(super) fn kill(globals: &Globals, options: &args::Kill) -> Result<u8> {
    let (record, state) = container(globals, &options.id)?.open_record()?;
    let status = state.status(&record.page()?)?;
    if options.all {
        return kill_all(&state, options);
    }
    let init = match (status, state.open_init()?) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
        _ => return Err(not_running(&state)),
    };
    let Some(signal) = Signal::from_named_raw(options.signal.raw()) else {
        return send_raw(&init, &state, options.signal.raw());
    };
    match pidfd_send_signal(&init, signal) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(not_running(&state)),
        Err(errno) => {
            return Err(Error::kernel(format!("signal container {}", state.id), "pidfd_send_signal", errno));
        }
    }
    if signal == Signal::KILL && status == Status::Paused {
        // On v1 a frozen process dies only once it is thawed.
        state.cgroup.open()?.thaw()?;
    }
    Ok(0)
}

/// Signal 0 and the real-time signals have no name in the type that rustix takes.
fn send_raw(init: &std::os::fd::OwnedFd, state: &State, number: i32) -> Result<u8> {
    match sys::signal::pidfd_send(init, number) {
        Ok(()) => Ok(0),
        Err(Errno::SRCH) => Err(not_running(state)),
        Err(errno) => {
            Err(Error::kernel(format!("signal container {}", state.id), "pidfd_send_signal", errno))
        }
    }
}

/// Every process of the container's cgroup; a container that has stopped is no error.
fn kill_all(state: &State, options: &args::Kill) -> Result<u8> {
    let cgroup = state.cgroup.open()?;
    if let Some(signal) = Signal::from_named_raw(options.signal.raw()) {
        cgroup.signal(signal)?;
    }
    Ok(0)
}

fn not_running(state: &State) -> Error {
    Error::new(Kind::WrongState, format!("container {}: container not running", state.id))
}
