//! `create` and `run`.

use std::env;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::process::WaitStatus;
use sys::error::Context;

use super::root;
use crate::bundle::Bundle;
use crate::cli::args::{self, CgroupDriver, Globals};
use crate::event_log::{self, Ending, Event};
use crate::facts::Facts;
use crate::foreground::learn::Learning;
use crate::foreground::relay::Relay;
use crate::foreground::{Foreground, Orphans, exit_code};
use crate::launch::delete::{Force, delete};
use crate::launch::{self, Console, Created, FilterOf, Keyring, Notify, Options};
use crate::notify::{self, Manager, Proxy};
use crate::plan::RootChange;
use crate::{Error, Kind, Result, phase};

/// How long a phase may take when nobody says otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn create(globals: &Globals, options: args::Create, inherited: Vec<OwnedFd>) -> Result<u8> {
    // The notifications are served by start, which has a NOTIFY_SOCKET of its own.
    let notify = if manager().is_some() { Notify::Mounted } else { Notify::Absent };
    let created = make(globals, &options, inherited, console(&options), (notify, FilterOf::Configuration))?;
    launch::leave(&created)?;
    Ok(0)
}

pub(super) fn run(globals: &Globals, options: args::Run, inherited: Vec<OwnedFd>) -> Result<u8> {
    match options.detach {
        true if options.seccomp_learn.is_some() => {
            let text = "somebody has to answer the container's calls";
            Err(Error::invalid("--seccomp-learn", text).with_hint("not with --detach"))
        }
        true => run_detached(globals, &options, inherited),
        false => run_attended(globals, &options, inherited),
    }
}

fn run_detached(globals: &Globals, options: &args::Run, inherited: Vec<OwnedFd>) -> Result<u8> {
    let manager = manager();
    let kinds = (notify_of(manager.as_ref()), FilterOf::Configuration);
    let mut created = make(globals, &options.create, inherited, console(&options.create), kinds)?;
    let started = begin(&mut created, manager, &options.create, None).and_then(|proxy| match proxy {
        Some(proxy) => {
            await_ready(&proxy, &created.spawned.pidfd, created.spawned.pid, options.create.timeout)
        }
        None => Ok(()),
    });
    started.map(|()| 0).map_err(|error| undo(&created, error))
}

/// Waits for a program that runs to be ready. It need not become that: its end before is no failure of ours.
pub(super) fn await_ready(proxy: &Proxy, pidfd: &OwnedFd, pid: i32, limit: Option<Duration>) -> Result<()> {
    match proxy.await_ready(pidfd, pid, limit) {
        Err(error) if error.kind() != Kind::Timeout => {
            tracing::warn!("{error}");
            Ok(())
        }
        other => other,
    }
}

fn run_attended(globals: &Globals, options: &args::Run, inherited: Vec<OwnedFd>) -> Result<u8> {
    if options.create.console_socket.is_some() {
        return Err(no_console_socket());
    }
    let orphans = if options.create.no_subreaper { Orphans::Leave } else { Orphans::Adopt };
    let foreground = Foreground::begin(orphans)?;
    let manager = manager();
    let mut learning = options.seccomp_learn.as_deref().map(Learning::begin).transpose()?;
    let filter = if learning.is_some() { FilterOf::Learning } else { FilterOf::Configuration };
    let notify = notify_of(manager.as_ref());
    let mut created = make(globals, &options.create, inherited, Console::Caller, (notify, filter))?;
    let status = attend(&foreground, &mut created, manager, &options.create, learning.as_mut());
    let status = status.map_err(|error| undo(&created, error))?;
    if options.keep || event_log::is_followed(&created.directory) {
        event_log::append(&created.directory, &[Event::Exited(Ending::of_status(status.as_raw()))]);
    }
    if !options.keep {
        phase::begin!("delete", "delete the container");
        remove(&created)?;
    }
    learning.map_or(Ok(()), Learning::finish)?;
    Ok(exit_code(status))
}

/// The error for a socket and a caller that both want the terminal.
pub(super) fn no_console_socket() -> Error {
    let text = "cannot use console socket if orlop will not detach or allocate tty";
    Error::invalid("--console-socket", text).with_hint("add --detach")
}

fn attend(
    foreground: &Foreground,
    created: &mut Created,
    manager: Option<Manager>,
    options: &args::Create,
    learning: Option<&mut Learning>,
) -> Result<WaitStatus> {
    let relay = created.console.take().map(Relay::new).transpose()?;
    let proxy = begin(created, manager, options, learning)?;
    phase::begin!("program", "the program runs as process {}", created.spawned.pid);
    foreground.attend(&created.spawned, relay, proxy)
}

/// Starts the program, with its notification socket bound before. Then other commands may change the container.
fn begin(
    created: &mut Created,
    manager: Option<Manager>,
    options: &args::Create,
    learning: Option<&mut Learning>,
) -> Result<Option<Proxy>> {
    let proxy = manager.map(|manager| Proxy::new(&created.directory, manager)).transpose()?;
    let timeout = options.timeout.unwrap_or(PATIENCE);
    let init = created.spawned.pid;
    match learning {
        Some(learning) => {
            launch::start_learning(created, timeout, |listener| learning.attend(listener, init))?;
        }
        None => launch::start_created(created, timeout)?,
    }
    created.directory.unlock()?;
    Ok(proxy)
}

/// Deletes a container that has ended, unless somebody else already did.
pub(super) fn remove(created: &Created) -> Result<()> {
    match created.directory.lock().and_then(|()| delete(&created.directory, Force::Yes)) {
        Ok(warning) => warning.iter().for_each(|warning| tracing::warn!("{warning}")),
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Adds what the removal of a container says to the reason for it.
pub(super) fn undo(created: &Created, error: Error) -> Error {
    match remove(created) {
        Ok(()) => error,
        Err(other) => error.and_also(other),
    }
}

/// Who gets the terminal of a container that is left alone.
fn console(options: &args::Create) -> Console {
    options.console_socket.clone().map_or(Console::Nobody, Console::Socket)
}

/// The service manager that NOTIFY_SOCKET names. One that is not there is no reason to have no container.
pub(super) fn manager() -> Option<Manager> {
    let address = env::var_os(notify::VARIABLE).filter(|address| !address.is_empty())?;
    let manager = Manager::connect(&address);
    manager.inspect_err(|error| tracing::warn!("{}: {error}", notify::VARIABLE)).ok()
}

fn notify_of(manager: Option<&Manager>) -> Notify {
    if manager.is_some() { Notify::Mounted } else { Notify::Absent }
}

/// The standard streams, the listening sockets and the preserved descriptors.
pub(super) fn inherited(options: &args::Create) -> Result<Vec<OwnedFd>> {
    descriptors(listen_fds()?.saturating_add(options.preserve_fds))
}

fn make(
    globals: &Globals,
    options: &args::Create,
    descriptors: Vec<OwnedFd>,
    console: Console,
    (notify, filter): (Notify, FilterOf),
) -> Result<Created> {
    let sockets = listen_fds()?;
    let bundle = Bundle::open(&options.bundle)?.with_config(options.config.as_deref());
    if globals.strict {
        super::plan::refuse_warnings(&bundle)?;
    }
    let root = root(globals)?;
    let newlines = super::newlines(options.console_socket.as_deref());
    let options_of_launch = Options {
        descriptors,
        console,
        notify,
        pidfd_socket: options.pidfd_socket.clone(),
        pid_file: options.pid_file.clone(),
        root_change: if options.no_pivot { RootChange::Move } else { RootChange::Pivot },
        keyring: if options.no_new_keyring { Keyring::Caller } else { Keyring::New },
        driver: driver(globals, &bundle)?,
        timeout: options.timeout.unwrap_or(PATIENCE),
        environment: environment(sockets, notify),
        filter,
        newlines,
    };
    let created = launch::create(&root, &options.id, &bundle, &options_of_launch)?;
    created.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(created)
}

/// How many listening sockets the caller passes, from 3 on (sd_listen_fds(3)). They are ours if LISTEN_PID says so or
/// says nothing.
fn listen_fds() -> Result<u32> {
    let Some(count) = env::var_os("LISTEN_FDS").filter(|count| !count.is_empty()) else { return Ok(0) };
    let own = std::process::id().to_string();
    if env::var_os("LISTEN_PID").is_some_and(|pid| !pid.is_empty() && pid != own.as_str()) {
        return Ok(0);
    }
    let text = count.to_string_lossy();
    text.parse().map_err(|_| Error::invalid("LISTEN_FDS", format!("{text:?} is not a number of descriptors")))
}

/// Variables for the program. Its process is the one that the sockets are for, and knows its number when it executes it.
fn environment(sockets: u32, notify: Notify) -> Vec<String> {
    let mut variables = Vec::new();
    if sockets > 0 {
        variables.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=".to_owned()]);
        let names = env::var_os("LISTEN_FDNAMES").map(|names| names.to_string_lossy().into_owned());
        variables.extend(names.map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    if notify == Notify::Mounted {
        variables.push(notify::environment());
    }
    variables
}

pub(super) fn driver(globals: &Globals, bundle: &Bundle) -> Result<cgroups::Driver> {
    Ok(match globals.cgroups {
        CgroupDriver::Cgroupfs => cgroups::Driver::Cgroupfs,
        CgroupDriver::Systemd => cgroups::Driver::Systemd,
        CgroupDriver::Disabled => cgroups::Driver::Disabled,
        CgroupDriver::Auto => {
            let spec = bundle.config()?;
            let path = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
            let facts = Facts::default();
            let rootless = facts.euid() != 0 || facts.in_user_namespace();
            let instance = if rootless { cgroups::Instance::User } else { cgroups::Instance::System };
            cgroups::usual_driver(path, instance, &cgroups::Layout::detect()?)
        }
    })
}

/// The standard streams and `preserve` descriptors from 3 on, which the caller must have open: checked before anything
/// of the runtime's own could take their numbers.
pub(super) fn descriptors(preserve: u32) -> Result<Vec<OwnedFd>> {
    let last = i32::try_from(preserve).unwrap_or(i32::MAX).saturating_add(3);
    // All before the first copy: for a number beyond the limit of open files, copying would fail with another errno.
    (0..last).try_for_each(|number| {
        let found = fcntl_getfd(sys::fd::borrow(number)).context("fcntl(F_GETFD)", || what(number));
        found.map(drop).map_err(|error| not_open(error, number))
    })?;
    (0..last).map(|number| copy(number, last)).collect()
}

fn copy(number: i32, above: i32) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(sys::fd::borrow(number), above).context("fcntl(F_DUPFD_CLOEXEC)", || what(number))
}

fn what(number: i32) -> String {
    format!("descriptor {number}")
}

fn not_open(error: Error, number: i32) -> Error {
    if number < 3 {
        error
    } else {
        error.with_key("--preserve-fds").with_hint("every descriptor from 3 on must be open")
    }
}
