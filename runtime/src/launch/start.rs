//! start: one message on the start socket, then end of file with the page at the execve.

use std::os::fd::OwnedFd;
use std::time::Duration;

use child::message::{Kind as Said, Message};
use child::page::{Page, Phase};
use rustix::fs::{AtFlags, Mode, chmodat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as listen_on, socket_with,
};
use sys::error::Context;

use super::process::run_hooks;
use super::spawned::{Deadline, readable};
use super::{explain, state_json};
use crate::state::{Directory, State, Status};
use crate::{Error, Kind, Result};

/// The longest path that fits into a socket address (sun_path, unix(7)).
const LONGEST: usize = 107;

/// Makes the socket on which init waits for start.
///
/// # Errors
/// `Kernel`.
pub fn listen(directory: &Directory) -> Result<OwnedFd> {
    let what = || "make the start socket".to_owned();
    let socket = seqpacket().context("socket", what)?;
    // An abandoned claim may have left one.
    let _ = unlinkat(directory.fd(), "start", AtFlags::empty());
    bind(&socket, &address(directory)?).context("bind", what)?;
    // bind(2) follows the umask of the calling process, which may be anything.
    chmodat(directory.fd(), "start", Mode::RUSR | Mode::WUSR, AtFlags::empty()).context("fchmodat", what)?;
    listen_on(&socket, 4).context("listen", what)?;
    Ok(socket)
}

fn seqpacket() -> std::result::Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The address; a path that is too long for one goes through the descriptor of the directory.
fn address(directory: &Directory) -> Result<SocketAddrUnix> {
    use std::os::fd::AsRawFd;
    let path = directory.start_socket();
    let what = || format!("use the socket {}", path.display());
    if path.as_os_str().len() <= LONGEST {
        return SocketAddrUnix::new(&path).context("bind", what);
    }
    SocketAddrUnix::new(format!("/proc/self/fd/{}/start", directory.fd().as_raw_fd())).context("bind", what)
}

/// Starts the program of a created container, whose directory is locked, and runs the poststart hooks.
///
/// # Errors
/// `WrongState`; `NotFound` for an executable that is missing; `Kernel`, `Hook` and `Timeout`.
pub fn start(directory: &Directory, state: &State, page: Page, timeout: Duration) -> Result<()> {
    check(state, state.status(page)?)?;
    let what = || format!("start container {}", state.id);
    let connection = seqpacket().context("socket", what)?;
    connect(&connection, &address(directory)?).context("connect", what)?;
    Message::from(Said::Start).send_quietly(&connection).context("send", what)?;
    let deadline = Deadline::new("start", timeout);
    await_program(&connection, page, &deadline, state)
}

fn check(state: &State, status: Status) -> Result<()> {
    let text = match status {
        Status::Created if state.has_process => return Ok(()),
        Status::Created => "process property must not be empty: the configuration has no program to start",
        Status::Running | Status::Paused => "cannot start an already running container",
        Status::Stopped => "cannot start a container that has stopped",
        Status::Creating => "cannot start a container that is still being created",
    };
    Err(Error::new(Kind::WrongState, format!("container {}: {text}", state.id)))
}

/// Waits until the program runs: end of file on the connection with the page at the execve.
///
/// # Errors
/// What init noted on the page, or how it ended.
pub fn await_program(connection: &OwnedFd, page: Page, deadline: &Deadline, state: &State) -> Result<()> {
    let doing = || format!("container {}: wait for the program", state.id);
    loop {
        readable(connection, deadline, doing)?;
        match Message::receive_with(connection) {
            Ok(Some((Message { kind: Said::Failed, .. }, _))) | Ok(None) | Err(Errno::CONNRESET) => break,
            Ok(Some(_)) => return Err(Error::new(Kind::Internal, "init broke the protocol")),
            Err(errno) => return Err(Error::kernel(doing(), "recvmsg", errno)),
        }
    }
    match page.phase() {
        Some(Phase::Executing) => {}
        Some(Phase::Failed) => return Err(explain::start_failure(page, state)),
        _ => {
            return Err(Error::new(
                Kind::Kernel,
                format!("container {}: init was killed before the program ran", state.id),
            ));
        }
    }
    let pid = state.init.map_or(0, |init| init.pid);
    run_hooks(&state.poststart, &state_json::for_hook(state, Status::Running, pid), deadline.left())
}
