//! Hooks inside the container's namespaces.

use core::ffi::CStr;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::ftruncate;
use rustix::io::{Errno, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, chdir, fchdir, getpid, kill_process_group, setpgid, waitid,
};
use rustix::time::Timespec;
use sys::clone::{Process, exit, fork_watched};
use sys::fd::{close_range, dup_to};

use super::exec::{Pointers, as_it_is};
use crate::op::{Hook, HookHome};
use crate::page::{Called, Failure, KILLED};
use crate::run::Executor;

impl Executor<'_> {
    pub(crate) fn hook(&mut self, hook: &Hook<'_>) -> Result<(), Failure> {
        // What an earlier hook printed is not part of this one's error.
        let _ = ftruncate(sys::fd::borrow(hook.output.0), 0);
        let (input, state) = pipe_with(PipeFlags::CLOEXEC).called("pipe2")?;
        let kept = self.home.take();
        let home = kept.as_ref().filter(|_| hook.home == HookHome::OfProgram);
        let home = home.and_then(|home| CStr::from_bytes_until_nul(&home.entry).ok());
        let (args, env) =
            (self.pointers(hook.args, None, as_it_is)?, self.pointers(hook.env, home, as_it_is)?);
        let Some(process) = fork_watched().called("clone")? else {
            exit(run(hook, self.root.as_ref(), &input, &args, &env).raw_os_error() & 0x7f)
        };
        drop(input);
        send_state(hook, &state)?;
        drop(state);
        self.home = kept;
        finish(&process, hook.timeout_ms)
    }
}

/// The hook's own process: nothing of the runtime but three descriptors. Its working directory is the container's root,
/// which a createContainer hook finds nowhere else: it sees the host's paths.
#[expect(clippy::disallowed_methods, reason = "this is the child's child")]
fn run(
    hook: &Hook<'_>,
    root: Option<&OwnedFd>,
    input: &OwnedFd,
    args: &Pointers<'_>,
    env: &Pointers<'_>,
) -> Errno {
    let prepared = setpgid(None, None)
        .and_then(|()| root.map_or_else(|| chdir(c"/"), fchdir))
        .and_then(|()| dup_to(input, 0))
        .and_then(|()| dup_to(sys::fd::borrow(hook.output.0), 1))
        .and_then(|()| dup_to(sys::fd::borrow(hook.output.0), 2))
        .and_then(|()| close_range(3, u32::MAX, 0));
    match prepared {
        Ok(()) => {
            sys::signal::set_mask(0, None);
            args.execve(hook.path.0, env)
        }
        Err(errno) => errno,
    }
}

/// Writes the state with the pid that the hook sees. A hook that does not read it is not an error.
fn send_state(hook: &Hook<'_>, to: &OwnedFd) -> Result<(), Failure> {
    let mut digits = [0; 12];
    let pid = decimal(getpid().as_raw_nonzero().get().unsigned_abs(), &mut digits);
    for part in [hook.state_head.0, pid, hook.state_tail.0] {
        match write_all(to, part) {
            Ok(()) => {}
            Err(Errno::PIPE) => return Ok(()),
            Err(errno) => return Err(Failure::new("write", errno)),
        }
    }
    Ok(())
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| write(to, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Waits for the hook until its deadline; then its whole process group is killed.
fn finish(Process { pid, pidfd }: &Process, timeout_ms: u32) -> Result<(), Failure> {
    let timeout =
        Timespec { tv_sec: (timeout_ms / 1000).into(), tv_nsec: (timeout_ms % 1000 * 1_000_000).into() };
    let ready = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)).called("poll")?;
    if let (0, Some(group)) = (ready, Pid::from_raw(*pid)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).called("waitid")?;
    if ready == 0 {
        return Err(Failure::new("hook timed out", Errno::TIMEDOUT));
    }
    let ended = |call, value: i32| Err(Failure { call, errno: Errno::CANCELED, value: value.unsigned_abs() });
    match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(0), _)) => Ok(()),
        Some((Some(code), _)) => ended("hook failed", code),
        Some((None, Some(signal))) => ended(KILLED, signal),
        _ => ended(KILLED, 0),
    }
}

/// `number` in decimal.
fn decimal(mut number: u32, digits: &mut [u8; 12]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start = start.saturating_sub(1);
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            return digits.get(start..).unwrap_or_default();
        }
    }
}
