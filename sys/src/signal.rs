//! Signal dispositions and the mask, on the raw calls: the wrappers of a C library hide the signals it uses itself.

use core::ptr::{null, null_mut};

/// The highest signal number.
pub const LAST: i32 = 64;

/// The size of the kernel's sigset_t in bytes.
const SET_SIZE: usize = 8;

/// All signals are blocked until this is dropped; then the former mask is back.
#[derive(Debug)]
pub struct Blocked(u64);

/// `int rt_sigprocmask(SIG_SETMASK, all, &old, 8)` of the calling thread.
pub fn block_all() -> Blocked {
    let mut old = 0_u64;
    set_mask(u64::MAX, Some(&mut old));
    Blocked(old)
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(self.0, None);
    }
}

/// Blocks exactly the signals of `mask` (bit n is signal n + 1) in the calling thread.
pub fn set_mask(mask: u64, old: Option<&mut u64>) {
    let old = old.map_or(null_mut(), core::ptr::from_mut);
    // SAFETY: both pointers are to 8 bytes, the size that is passed, or null. The call cannot fail with these arguments.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, old, SET_SIZE) };
}

/// SIGCHLD.
pub const CHILD: i32 = libc::SIGCHLD;

/// Gives one signal its default disposition.
pub fn default_disposition(number: i32) {
    let default = [0_u64; 4];
    // SAFETY: the action points to at least as many zero bytes as the kernel reads.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), null::<u64>(), SET_SIZE) };
}

/// Gives every signal its default disposition: `int rt_sigaction(int n, &SIG_DFL, NULL, 8)` for each. Ignored signals
/// stay ignored over execve(2), so a program that was started with some would keep them.
pub fn reset_dispositions() {
    // struct kernel_sigaction is at most four words on every architecture, and SIG_DFL without flags is all zero.
    let default = [0_u64; 4];
    for number in 1..=LAST {
        // SAFETY: the action points to at least as many zero bytes as the kernel reads; SIGKILL and SIGSTOP give EINVAL.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), null::<u64>(), SET_SIZE) };
    }
}

/// What a process does on a signal: struct kernel_sigaction, which is at most four words on every architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition([u64; 4]);

impl Disposition {
    /// SIG_DFL without flags.
    pub const DEFAULT: Self = Self([0; 4]);

    /// Whether it is SIG_IGN.
    pub fn is_ignored(&self) -> bool {
        self.0.first() == Some(&(libc::SIG_IGN as u64))
    }
}

/// `int rt_sigaction(int number, &new, &old, 8)`: what happened before on the signal is returned; without `new` it stays.
///
/// Only dispositions that were read, and the default one, can be set: a handler would have to be a function of ours.
///
/// # Errors
/// EINVAL for a number that no signal has, and for SIGKILL and SIGSTOP with `new`.
pub fn sigaction(number: i32, new: Option<&Disposition>) -> Result<Disposition, rustix::io::Errno> {
    let mut old = Disposition::DEFAULT;
    let new = new.map_or(null(), core::ptr::from_ref);
    // SAFETY: both pointers are null or to at least as many bytes as the kernel reads and writes, and what is set was
    // valid in this process before.
    let returned = unsafe { libc::syscall(libc::SYS_rt_sigaction, number, new, &raw mut old, SET_SIZE) };
    crate::result(returned)?;
    Ok(old)
}

/// `int pidfd_send_signal(int pidfd, int signal, NULL, 0)`, kernel 5.1, for every number: 0 only asks.
///
/// # Errors
/// ESRCH where the process is gone, EPERM.
pub fn pidfd_send(pidfd: impl rustix::fd::AsFd, signal: i32) -> Result<(), rustix::io::Errno> {
    use rustix::fd::AsRawFd;
    let number = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes numbers and a null pointer.
    crate::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal, null::<u8>(), 0) })?;
    Ok(())
}
