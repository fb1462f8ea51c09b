//! What a process that lives long and has many children needs: fork(2) and children that ended.

use core::mem::MaybeUninit;

use rustix::io::Errno;

use crate::result;

/// Which of the two processes this is after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The caller, with the pid of the new process.
    Parent(i32),
}

/// `pid_t fork(void)` of the C library, so that what it keeps of a thread (its number, for abort(3)) is right in the
/// child. For processes with one thread.
///
/// # Errors
/// EAGAIN, ENOMEM.
pub fn fork() -> Result<Fork, Errno> {
    // SAFETY: the process has one thread by contract, so no lock is held by a thread that the child lacks.
    match result(unsafe { libc::fork() }.into())? {
        0 => Ok(Fork::Child),
        pid => i32::try_from(pid).map(Fork::Parent).map_err(|_| Errno::OVERFLOW),
    }
}

/// A child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its pid.
    pub pid: i32,
    /// Its exit status, or 128 and the signal that killed it.
    pub status: u32,
    /// The signal that killed it.
    pub signal: Option<u32>,
}

/// A child that ended and waits to be reaped, without reaping it: `waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)`.
pub fn ended_child() -> Option<Ended> {
    wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Reaps the child `pid` if it has ended: `waitid(P_PID, pid, &info, WEXITED | WNOHANG)`.
pub fn reap(pid: i32) -> Option<Ended> {
    wait(libc::P_PID, libc::id_t::try_from(pid).ok()?, libc::WEXITED | libc::WNOHANG)
}

fn wait(kind: libc::idtype_t, id: libc::id_t, options: i32) -> Option<Ended> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is to a whole siginfo_t, into which the kernel writes.
    let returned = unsafe { libc::waitid(kind, id, info.as_mut_ptr(), options) };
    if returned != 0 {
        return None;
    }
    // SAFETY: every bit pattern is a valid siginfo_t, and it was zeroed before the call.
    let info = unsafe { info.assume_init() };
    // SAFETY: the fields of a waitid siginfo are set, or zero where no child has ended.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let value = unsafe { info.si_status() }.unsigned_abs();
    let signal = (info.si_code != libc::CLD_EXITED).then_some(value);
    let status = signal.map_or(value, |signal| 128 + signal);
    (pid > 0).then_some(Ended { pid, status, signal })
}

/// `signal(SIGPIPE, SIG_IGN)`: a reader that is gone is then an error of the write.
pub fn ignore_sigpipe() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// `prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PIDTYPE_TGID, 0)`: a core-scheduling cookie of its own.
///
/// # Errors
/// EINVAL and ENODEV where the kernel or the processor has no core scheduling.
pub fn sched_core_create() -> Result<(), Errno> {
    const PR_SCHED_CORE: i32 = 62;
    // SAFETY: the call takes numbers only.
    result(unsafe { libc::syscall(libc::SYS_prctl, PR_SCHED_CORE, 1_usize, 0_usize, 1_usize, 0_usize) })?;
    Ok(())
}
