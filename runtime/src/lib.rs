//! orlop as a library: create, start and end containers from a bundle.
//!
//! The parent side never changes the state of the calling process (no chdir, umask, signal handler, environment or
//! leaked descriptor), so a program with threads can embed it. Start at `launch` for what happens, at [`config`] for
//! what a key of config.json means.

pub mod bundle;
pub mod config;
pub mod facts;
pub mod json;
pub mod step;

pub use sys::{Error, Kind, Result};
