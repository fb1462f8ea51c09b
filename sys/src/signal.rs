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

/// Ends the process with 128 and the signal's number at SIGHUP, SIGINT, SIGQUIT and SIGTERM, until the next execve(2)
/// gives them their default disposition again. The kernel drops a signal of default disposition that is sent to the
/// first process of a pid namespace (pid_namespaces(7)), so without this they would be lost.
pub fn end_at_termination() {
    const SA_RESTORER: u64 = 0x0400_0000;
    let handler = end as extern "C" fn(i32) as usize as u64;
    // struct kernel_sigaction: handler, flags, restorer, mask. The handler does not return, so nothing is ever restored.
    let action = [handler, SA_RESTORER, handler, u64::MAX];
    for number in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the action is whole, and its handler makes one system call that is safe in a handler.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), null::<u64>(), SET_SIZE) };
    }
}

extern "C" fn end(number: i32) {
    crate::clone::exit(128 + number)
}

/// `int rt_sigaction(int number, NULL, &old, 8)`: whether the signal is ignored (SIG_IGN).
pub fn is_ignored(number: i32) -> bool {
    // struct kernel_sigaction is at most four words on every architecture; the first one is the handler.
    let mut old = [0_u64; 4];
    // SAFETY: the buffer is at least as large as what the kernel writes. A number that no signal has gives EINVAL.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, number, null::<u64>(), old.as_mut_ptr(), SET_SIZE);
    }
    old.first() == Some(&(libc::SIG_IGN as u64))
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
