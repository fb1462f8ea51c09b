//! What was made so far, and its undoing in reverse order.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};

use super::delete::end_groups;
use super::net_devices::Moved;
use super::process::run_hooks;
use super::spawned::reap;
use crate::config::hooks::Hook;
use crate::state::Directory;
use crate::{Error, Result, resctrl};

/// How long the undoing of a cgroup may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that a failed create must take back.
#[derive(Debug)]
pub struct Undo<'a> {
    directory: &'a Directory,
    /// The first process.
    pub init: Option<OwnedFd>,
    /// The cgroups, once they exist.
    pub cgroup: Option<cgroups::Record>,
    /// The hooks that follow a container's end, and the state that they are given; they run only if hooks ran before.
    pub poststop: Vec<Hook>,
    /// The state for the poststop hooks, set once the first hook has run.
    pub hooks_ran: Option<String>,
    /// Directories of resctrl.
    pub resctrl: Vec<std::path::PathBuf>,
    /// Network interfaces that have moved into the container.
    pub net_devices: Option<Moved>,
}

impl<'a> Undo<'a> {
    /// Nothing but the claimed directory.
    pub fn new(directory: &'a Directory) -> Self {
        Self {
            directory,
            init: None,
            cgroup: None,
            poststop: Vec::new(),
            hooks_ran: None,
            resctrl: Vec::new(),
            net_devices: None,
        }
    }

    /// Takes everything back. What cannot be is added to `cause`.
    pub fn undo(self, cause: Error) -> Error {
        let steps = [
            // Before the end of the namespace, with which a virtual interface would end.
            self.return_net_devices(),
            self.end_init(),
            self.remove_cgroup(),
            resctrl::remove(&self.resctrl),
            self.run_poststop(),
            self.directory.remove(),
        ];
        steps.into_iter().filter_map(Result::err).fold(cause, Error::and_also)
    }

    fn end_init(&self) -> Result<()> {
        let Some(init) = &self.init else { return Ok(()) };
        let _ = pidfd_send_signal(init, Signal::KILL);
        reap(init).map(drop)
    }

    fn remove_cgroup(&self) -> Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), end_groups)
    }

    fn return_net_devices(&self) -> Result<()> {
        self.net_devices.as_ref().map_or(Ok(()), Moved::back)
    }

    fn run_poststop(&self) -> Result<()> {
        match &self.hooks_ran {
            Some(state) => run_hooks(&self.poststop, state, PATIENCE),
            None => Ok(()),
        }
    }
}
