//! The system calls that no safe crate offers, one each. Only the probe and its hooks use them.

#![allow(unsafe_code, reason = "the probe asks the kernel for what no safe crate offers")]

use std::io;

/// Blocks all signals of this thread, so that [`wait_for_signal`] gets them.
pub(crate) fn block_signals() -> io::Result<()> {
    let set = full_set();
    // SAFETY: the set is initialised, and a null pointer for the old mask is allowed.
    match unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for the next signal and returns its number.
pub(crate) fn wait_for_signal() -> io::Result<i32> {
    let set = full_set();
    let mut number = 0;
    // SAFETY: both point to initialised memory of the right types.
    match unsafe { libc::sigwait(&raw const set, &raw mut number) } {
        0 => Ok(number),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn full_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigfillset(3) writes the whole set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: it was written above, and sigfillset cannot fail with a valid pointer.
    unsafe { set.assume_init() }
}

/// The I/O priority of this process: class << 13 | level.
pub(crate) fn io_priority() -> io::Result<i64> {
    // SAFETY: ioprio_get(2) takes two numbers; 1 is IOPRIO_WHO_PROCESS and 0 the caller.
    match unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) } {
        -1 => Err(io::Error::last_os_error()),
        #[allow(clippy::useless_conversion, reason = "c_long has 32 bits on some targets")]
        priority => Ok(priority.into()),
    }
}
