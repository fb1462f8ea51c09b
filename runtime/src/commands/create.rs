//! `create` and `run`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;
use sys::error::Context;

use super::root;
use crate::bundle::Bundle;
use crate::cli::args::{self, CgroupDriver, Globals};
use crate::launch::delete::{Force, delete};
use crate::launch::{self, Created, Keyring, Options};
use crate::plan::RootChange;
use crate::{Error, Result};

/// How long a phase may take when nobody says otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn create(globals: &Globals, options: args::Create) -> Result<u8> {
    let created = make(globals, &options)?;
    launch::leave(&created)?;
    Ok(0)
}

pub(super) fn run(globals: &Globals, options: args::Run) -> Result<u8> {
    let mut created = make(globals, &options.create)?;
    let timeout = options.create.timeout.unwrap_or(PATIENCE);
    if let Err(error) = launch::start_created(&mut created, timeout) {
        return Err(match delete(&created.directory, Force::Yes) {
            Ok(_) => error,
            Err(other) => error.and_also(other),
        });
    }
    if options.detach {
        return Ok(0);
    }
    let code = crate::foreground::attend(&created)?;
    if !options.keep {
        created.directory.lock()?;
        if let Some(warning) = delete(&created.directory, Force::Yes)? {
            tracing::warn!("{warning}");
        }
    }
    Ok(code)
}

fn make(globals: &Globals, options: &args::Create) -> Result<Created> {
    let descriptors = descriptors(options.preserve_fds)?;
    let bundle = Bundle::open(&options.bundle)?;
    let root = root(globals)?;
    let options_of_launch = Options {
        descriptors,
        console_socket: options.console_socket.clone(),
        pidfd_socket: options.pidfd_socket.clone(),
        pid_file: options.pid_file.clone(),
        root_change: if options.no_pivot { RootChange::Move } else { RootChange::Pivot },
        keyring: if options.no_new_keyring { Keyring::Caller } else { Keyring::New },
        driver: driver(globals),
        timeout: options.timeout.unwrap_or(PATIENCE),
        environment: Vec::new(),
    };
    let created = launch::create(&root, &options.id, &bundle, &options_of_launch)?;
    created.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(created)
}

pub(super) fn driver(globals: &Globals) -> cgroups::Driver {
    match globals.cgroups {
        CgroupDriver::Cgroupfs => cgroups::Driver::Cgroupfs,
        CgroupDriver::Systemd => cgroups::Driver::Systemd,
        CgroupDriver::Disabled => cgroups::Driver::Disabled,
    }
}

/// The standard streams and `preserve` descriptors from 3 on, which the caller must have open: checked before anything
/// of the runtime's own could take their numbers.
pub(super) fn descriptors(preserve: u32) -> Result<Vec<OwnedFd>> {
    let last = i32::try_from(preserve).unwrap_or(i32::MAX).saturating_add(3);
    (0..last).map(|number| copy(number, last)).collect()
}

fn copy(number: i32, above: i32) -> Result<OwnedFd> {
    let what = || format!("descriptor {number}");
    fcntl_dupfd_cloexec(sys::fd::borrow(number), above)
        .context("fcntl(F_DUPFD_CLOEXEC)", what)
        .map_err(|error| not_open(error, number))
}

fn not_open(error: Error, number: i32) -> Error {
    if number < 3 {
        error
    } else {
        error.with_key("--preserve-fds").with_hint("every descriptor from 3 on must be open")
    }
}
