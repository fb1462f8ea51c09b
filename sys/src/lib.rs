//! The system calls that rustix lacks, and the one error type.
//!
//! This is the only crate with `unsafe` (the entry point of the init image apart). A wrapper has the kernel's name, takes
//! borrowed descriptors and typed flags, returns an owned descriptor or nothing, and contains one call. What rustix
//! offers is used from rustix directly and not wrapped again.
//!
//! Without the feature `std` the crate allocates nothing, so the init image can use it. Start at [`error`] for the
//! error type, at the module of a call's family for a system call.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod bpf;
#[cfg(feature = "std")]
pub mod bump;
pub mod clone;
#[cfg(feature = "std")]
pub mod daemon;
pub mod errno;
#[cfg(feature = "std")]
pub mod error;
pub mod fd;
pub mod listener;
pub mod loop_device;
pub mod map;
pub mod mount;
pub mod namespace;
pub mod net;
#[cfg(feature = "std")]
pub mod process;
pub mod signal;
pub mod signalfd;
pub mod task;

#[cfg(feature = "std")]
pub use error::{Error, Kind, Result};

use rustix::io::Errno;

/// The value of a system call made through libc, or its errno.
fn result(returned: libc::c_long) -> core::result::Result<i64, Errno> {
    if returned != -1 {
        return Ok(returned);
    }
    // SAFETY: the address of errno is valid for the life of the thread.
    let number = unsafe { libc::__errno_location() };
    // SAFETY: as above; the value was set by the call that just failed.
    Err(Errno::from_raw_os_error(unsafe { *number }))
}
