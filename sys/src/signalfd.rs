//! signalfd(2): signals as data, for a loop that waits for descriptors anyway.

use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

/// The size of struct signalfd_siginfo, which begins with the number of the signal.
const INFO_SIZE: usize = 128;

/// The size of the kernel's sigset_t in bytes.
const SET_SIZE: usize = 8;

/// `int signalfd4(-1, &mask, 8, SFD_CLOEXEC | SFD_NONBLOCK)`: a descriptor of the signals in `mask` (bit n is signal
/// n + 1), which the caller has blocked.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn signalfd(mask: u64) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the mask is 8 bytes, the size that is passed, and is only read.
    let returned = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, SET_SIZE, flags) };
    let number = i32::try_from(crate::result(returned)?).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: the kernel just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The number of the next signal that is pending, which it then no longer is; `None` if there is none.
///
/// # Errors
/// Those of read(2), but for EAGAIN and EINTR.
pub fn next(signals: impl AsFd) -> Result<Option<i32>, Errno> {
    let mut info = [0_u8; INFO_SIZE];
    match rustix::io::read(signals, &mut info) {
        Ok(_) => {}
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let number = info.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    Ok(Some(number.cast_signed()))
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::signal::block_all;

    #[test]
    fn a_blocked_signal_is_read_once() {
        let _blocked = block_all();
        let number = libc::SIGRTMIN();
        let signals = signalfd(1 << (number - 1)).unwrap();
        assert_eq!(next(&signals), Ok(None));
        // Another thread of the test program may not block it, so it is sent to this one alone.
        let (process, thread) = (rustix::process::getpid(), rustix::thread::gettid());
        let numbers = (process.as_raw_nonzero().get(), thread.as_raw_nonzero().get());
        // SAFETY: tgkill takes numbers only.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, numbers.0, numbers.1, number) };
        assert_eq!(sent, 0);
        assert_eq!(next(&signals), Ok(Some(number)));
        assert_eq!(next(&signals), Ok(None));
    }
}
