//! What each command does: options in, library calls, output. Start at [`run`].

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod follow;
mod info;
mod inspect;
mod kill;
mod list;
mod pause;
mod plan;
mod ps;
mod seccomp;
mod spec;
mod start;
mod state;
mod update;

use std::os::fd::OwnedFd;
use std::path::Path;

use child::op::Newlines;

use crate::Result;
use crate::cli::args::{Command, Globals, Invocation, RootOrigin};
use crate::id::ContainerId;
use crate::state::{Directory, Root};

/// The descriptors that the program of `command` gets: the standard streams and those that the caller hands over. Gathered
/// before anything of the runtime's own, the log among it, can take the number of one that is missing.
///
/// # Errors
/// `Kernel` with EBADF for one that is not open.
pub fn inherited(command: &Command) -> Result<Vec<OwnedFd>> {
    match command {
        Command::Create(options) => create::inherited(options),
        Command::Run(options) => create::inherited(&options.create),
        Command::Exec(options) => create::descriptors(options.preserve_fds),
        Command::Checkpoint(options) => checkpoint::status_fd(options),
        Command::Restore(_) => create::descriptors(0),
        _ => Ok(Vec::new()),
    }
}

/// Does what the command line asks with the descriptors of [`inherited`]; the value is the exit status.
///
/// # Errors
/// What is printed once, by `main`.
pub fn run(invocation: Invocation, inherited: Vec<OwnedFd>) -> Result<u8> {
    let Invocation { globals, command, warnings } = invocation;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    match command {
        Command::Create(options) => create::create(&globals, options, inherited),
        Command::Run(options) => create::run(&globals, options, inherited),
        Command::Start(options) => start::start(&globals, &options),
        Command::State(id) => state::state(&globals, &id),
        Command::Kill(options) => kill::kill(&globals, &options),
        Command::Delete(options) => delete::delete(&globals, &options),
        Command::List(options) => list::list(&globals, &options),
        Command::Spec(options) => spec::spec(&options),
        Command::Exec(options) => exec::exec(&globals, &options, inherited),
        Command::Ps(options) => ps::ps(&globals, &options),
        Command::Pause(id) => pause::pause(&globals, &id),
        Command::Resume(id) => pause::resume(&globals, &id),
        Command::Update(options) => update::update(&globals, &options),
        Command::Events(options) => events::events(&globals, &options),
        Command::Checkpoint(options) => checkpoint::checkpoint(&globals, &options, inherited),
        Command::Restore(options) => checkpoint::restore(&globals, *options, inherited),
        Command::Features => features::features(),
        Command::SeccompExplain(options) => seccomp::explain(&options),
        Command::SeccompDump(options) => seccomp::dump(&options),
        Command::Info(options) => info::info(&options),
        Command::Inspect(options) => inspect::inspect(&globals, &options),
        Command::Plan(options) => plan::plan(&globals, &options),
        Command::Validate(options) => plan::validate(&globals, &options),
    }
}

/// What a program's newlines become: a terminal needs carriage returns, a file or a pipe has no use for them. Who gets the
/// terminal by a socket decides for itself.
fn newlines(console_socket: Option<&Path>) -> Newlines {
    let to_terminal = rustix::termios::isatty(sys::fd::borrow(1));
    if to_terminal || console_socket.is_some() { Newlines::Translated } else { Newlines::AsWritten }
}

/// The directory of states, made if absent.
fn root(globals: &Globals) -> Result<Root> {
    let root = Root::open_or_create(&globals.root.path)?;
    if globals.root.origin == RootOrigin::XdgRuntimeDir {
        root.make_sticky()?;
    }
    Ok(root)
}

/// The state directory of a container that exists.
fn container(globals: &Globals, id: &ContainerId) -> Result<Directory> {
    match Root::open(&globals.root.path) {
        Ok(root) => root.container(id),
        Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Err(crate::state::missing(id)),
        Err(error) => Err(error),
    }
}

/// Prints a line that a program reads; a closed pipe is an error, as the reader is gone.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    use sys::error::Context;
    std::io::stdout().write_all(text.as_bytes()).context("write", || "print the result".to_owned())
}
