//! `checkpoint` and `restore`.

use std::os::fd::OwnedFd;

use rustix::process::WaitStatus;

use super::{container, create, root};
use crate::bundle::Bundle;
use crate::cli::args::{self, Checkpoint, Globals};
use crate::foreground::relay::Relay;
use crate::foreground::{Foreground, Orphans, exit_code};
use crate::launch::criu::options::Restore;
use crate::launch::criu::{dump, restore};
use crate::launch::{self, Console, Created};
use crate::{Error, Kind, Result};

pub(super) fn checkpoint(globals: &Globals, options: &Checkpoint, inherited: Vec<OwnedFd>) -> Result<u8> {
    let directory = container(globals, &options.id)?;
    directory.lock()?;
    let status_fd = inherited.into_iter().next();
    let warning = dump::checkpoint(&directory, options, status_fd, globals.criu.as_deref())?;
    warning.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(0)
}

pub(super) fn restore(globals: &Globals, options: args::Restore, inherited: Vec<OwnedFd>) -> Result<u8> {
    if options.detach {
        return make(globals, &options, inherited, detached_console(&options)).map(|_| 0);
    }
    if options.console_socket.is_some() {
        return Err(create::no_console_socket());
    }
    let orphans = if options.no_subreaper { Orphans::Leave } else { Orphans::Adopt };
    let foreground = Foreground::begin(orphans)?;
    let mut created = make(globals, &options, inherited, Console::Caller)?;
    let status = attend(&foreground, &mut created).map_err(|error| create::undo(&created, error))?;
    create::remove(&created)?;
    Ok(exit_code(status))
}

fn attend(foreground: &Foreground, created: &mut Created) -> Result<WaitStatus> {
    let relay = created.console.take().map(Relay::new).transpose()?;
    // Other commands may change the container now.
    created.directory.unlock()?;
    foreground.attend(&created.spawned, relay, None)
}

fn detached_console(options: &args::Restore) -> Console {
    options.console_socket.clone().map_or(Console::Nobody, Console::Socket)
}

fn make(
    globals: &Globals,
    options: &args::Restore,
    descriptors: Vec<OwnedFd>,
    console: Console,
) -> Result<Created> {
    let bundle = Bundle::open(&options.bundle)?;
    let root = root(globals)?;
    let launch = launch::Options {
        descriptors,
        console,
        pid_file: options.pid_file.clone(),
        ..launch::Options::default_for(create::driver(globals, &bundle)?)
    };
    let how = Restore {
        criu: options.criu.clone(),
        tcp_close: options.tcp_close,
        lsm_profile: options.lsm_profile.clone(),
        lsm_mount_context: options.lsm_mount_context.clone(),
    };
    let created = restore::restore(&root, &options.id, &bundle, &launch, &how, globals.criu.as_deref())?;
    created.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(created)
}

/// The descriptor of `--status-fd`. Whoever reads from it waits for its end as well, so it is taken over whole.
pub(super) fn status_fd(options: &Checkpoint) -> Result<Vec<OwnedFd>> {
    let Some(number) = options.status_fd.filter(|_| options.criu.lazy_pages) else { return Ok(Vec::new()) };
    let flags = rustix::fs::fcntl_getfl(sys::fd::borrow(number));
    match flags {
        Ok(flags) if flags.intersects(rustix::fs::OFlags::RDWR | rustix::fs::OFlags::WRONLY) => {
            Ok(vec![sys::fd::take(number)])
        }
        Ok(_) => Err(bad(number, "not writable")),
        Err(_) => Err(bad(number, "not open")),
    }
}

fn bad(number: i32, why: &str) -> Error {
    Error::new(Kind::InvalidConfig, format!("descriptor {number} is {why}")).with_key("--status-fd")
}
