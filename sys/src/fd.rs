//! Descriptors by number: what an exec hands over, and closing all but a few.

use core::ffi::c_int;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Errno;

use crate::result;

/// Marks descriptors close-on-exec instead of closing them: CLOSE_RANGE_CLOEXEC, kernel 5.11.
pub const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// The descriptor `number`, which the caller knows to be open for as long as it is used: one that a plan names. A number
/// that is not open makes the calls that use it fail with EBADF.
pub fn borrow(number: RawFd) -> BorrowedFd<'static> {
    let number = if number < 0 { RawFd::MAX } else { number };
    // SAFETY: borrow_raw demands a number that is not -1 and that stays open. The first is ensured above; a number that is
    // not open makes calls fail with EBADF and touches no memory.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Takes over the descriptor `number`, which nothing else in the process owns: one that was inherited over exec.
pub fn take(number: RawFd) -> OwnedFd {
    let number = if number < 0 { RawFd::MAX } else { number };
    // SAFETY: from_raw_fd demands an open descriptor that nobody else owns. Callers name inherited descriptors, each
    // taken once; a wrong number makes calls fail with EBADF and touches no memory.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// `int close_range(unsigned first, unsigned last, unsigned flags)`, kernel 5.9: closes `first` to `last`, both included.
///
/// # Errors
/// EINVAL for flags that the kernel does not know.
pub fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only. Closing descriptors that a Rust value owns makes later calls on them fail with
    // EBADF; the callers own the whole range by contract of the process they run in.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    Ok(())
}

/// `int dup3(int from, int to, int flags)` onto a number: the copy has no close-on-exec flag.
///
/// # Errors
/// EBADF for a descriptor that is not open, EINVAL where both are equal.
pub fn dup_to(from: impl AsFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    result(unsafe { libc::syscall(libc::SYS_dup3, from.as_fd().as_raw_fd(), to, 0 as c_int) })?;
    Ok(())
}

/// `int fcntl(int fd, F_SETFD, 0)`: lets a descriptor survive execve(2).
///
/// # Errors
/// EBADF.
pub fn keep_over_exec(number: RawFd) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    result(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, 0 as c_int) })?;
    Ok(())
}
