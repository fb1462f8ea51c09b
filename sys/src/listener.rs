//! The two calls with which the owner of a filter's listener answers it, seccomp_unotify(2).

use core::ffi::{c_int, c_ulong};

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::result;

/// `struct seccomp_notif`: a call that waits for an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Question {
    /// What the answer names it by.
    pub id: u64,
    /// The thread that made the call, in the pid namespace of the one who asks; 0 where it is not visible.
    pub pid: u32,
    flags: u32,
    /// The number of the call.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub audit: u32,
    instruction_pointer: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// SECCOMP_IOCTL_NOTIF_RECV.
const RECEIVE: c_ulong = 0xc050_2100;
/// SECCOMP_IOCTL_NOTIF_SEND.
const SEND: c_ulong = 0xc018_2101;
/// SECCOMP_USER_NOTIF_FLAG_CONTINUE, kernel 5.5.
const CONTINUE: u32 = 1;

/// `int ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &question)`: waits for the next question; poll(2) tells when there is one.
///
/// # Errors
/// ENOENT where the thread was killed before its question was taken, EINTR.
pub fn receive(listener: impl AsFd) -> Result<Question, Errno> {
    let mut question = Question::default();
    let number = listener.as_fd().as_raw_fd();
    // SAFETY: `question` is zeroed, as the kernel demands, and as large as struct seccomp_notif, which it writes.
    result(i64::from(unsafe { libc::ioctl(number, RECEIVE as _, &raw mut question) } as c_int))?;
    Ok(question)
}

/// `int ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer)`: the thread makes the call itself. This is no decision about
/// safety, as the thread's memory may have changed since.
///
/// # Errors
/// ENOENT where the thread is gone or was interrupted by a signal.
pub fn proceed(listener: impl AsFd, question: &Question) -> Result<(), Errno> {
    let answer = Answer { id: question.id, value: 0, error: 0, flags: CONTINUE };
    let number = listener.as_fd().as_raw_fd();
    // SAFETY: `answer` has the layout and size of struct seccomp_notif_resp and is only read.
    result(i64::from(unsafe { libc::ioctl(number, SEND as _, &raw const answer) } as c_int)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_that_the_numbers_of_the_calls_name() {
        assert_eq!(size_of::<Question>() as c_ulong, RECEIVE >> 16 & 0x3fff);
        assert_eq!(size_of::<Answer>() as c_ulong, SEND >> 16 & 0x3fff);
    }
}
