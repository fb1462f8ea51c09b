//! Hooks inside the container's namespaces.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::ftruncate;
use rustix::io::{Errno, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, pidfd_open, setpgid, waitid,
};
use rustix::time::Timespec;
use sys::clone::{exit, fork};
use sys::fd::{close_range, dup_to};

use super::exec::Pointers;
use crate::op::Hook;
use crate::page::{Called, Failure};
use crate::run::Executor;

impl Executor<'_> {
    pub(crate) fn hook(&mut self, hook: &Hook<'_>) -> Result<(), Failure> {
        // What an earlier hook printed is not part of this one's error.
        let _ = ftruncate(sys::fd::borrow(hook.output.0), 0);
        let (input, state) = pipe_with(PipeFlags::CLOEXEC).called("pipe2")?;
        let args = Pointers::new(hook.args, None).called("mmap")?;
        let env = Pointers::new(hook.env, None).called("mmap")?;
        let pid = fork(0).called("clone3")?;
        if pid == 0 {
            exit(run(hook, &input, &args, &env).raw_os_error() & 0x7f)
        }
        drop(input);
        let pid = Pid::from_raw(pid.cast_signed()).ok_or(Failure::new("clone3", Errno::CHILD))?;
        send_state(hook, &state)?;
        drop(state);
        finish(pid, hook.timeout_ms)
    }
}

/// The hook's own process: nothing of the runtime but three descriptors.
#[expect(clippy::disallowed_methods, reason = "this is the child's child")]
fn run(hook: &Hook<'_>, input: &OwnedFd, args: &Pointers<'_>, env: &Pointers<'_>) -> Errno {
    let prepared = setpgid(None, None)
        .and_then(|()| dup_to(input, 0))
        .and_then(|()| dup_to(sys::fd::borrow(hook.output.0), 1))
        .and_then(|()| dup_to(sys::fd::borrow(hook.output.0), 2))
        .and_then(|()| close_range(3, u32::MAX, 0))
        .and_then(|()| rustix::process::chdir(c"/"));
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
fn finish(pid: Pid, timeout_ms: u32) -> Result<(), Failure> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).called("pidfd_open")?;
    let timeout =
        Timespec { tv_sec: (timeout_ms / 1000).into(), tv_nsec: (timeout_ms % 1000 * 1_000_000).into() };
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).called("poll")?;
    if ready == 0 {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).called("waitid")?;
    if ready == 0 {
        return Err(Failure::new("hook timed out", Errno::TIMEDOUT));
    }
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        Some(code) => {
            Err(Failure { call: "hook failed", errno: Errno::CANCELED, value: code.unsigned_abs() })
        }
        None => Err(Failure::new("hook was killed", Errno::CANCELED)),
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
