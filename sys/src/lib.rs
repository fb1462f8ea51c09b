//! The system calls that rustix lacks, and the one error type.
//!
//! This is the only crate with `unsafe` (the entry point of the init image apart). A wrapper has the kernel's name, takes
//! borrowed descriptors and typed flags, returns an owned descriptor or nothing, and contains one call. What rustix
//! offers is used from rustix directly and not wrapped again.
//!
//! Without the feature `std` the crate allocates nothing, so the init image can use it. Start at [`error`] for the
//! error type, at the module of a call's family for a system call.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod errno;
#[cfg(feature = "std")]
pub mod error;

#[cfg(feature = "std")]
pub use error::{Error, Kind, Result};
