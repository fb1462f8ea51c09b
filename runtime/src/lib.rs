//! orlop as a library: create, start and end containers from a bundle.
//!
//! The parent side never changes the state of the calling process (no chdir, umask, signal handler, environment or
//! leaked descriptor), so a program with threads can embed it. Start at [`container`] to use it, at [`launch`] for what happens, at [`config`] for
//! what a key of config.json means, at [`plan`] for the order.

pub mod bundle;
pub mod cli;
pub mod commands;
pub mod config;
pub mod container;
pub mod event_log;
pub mod facts;
pub mod features;
pub mod foreground;
pub mod id;
pub mod json;
pub mod launch;
pub mod limits;
pub mod netlink;
pub mod notify;
pub mod phase;
pub mod pid_file;
pub mod plan;
pub mod plan_criu;
pub mod plan_exec;
pub mod procfs;
pub mod record;
pub mod resctrl;
pub mod stages;
pub mod state;
pub mod step;
pub mod template;
pub mod time;

pub use sys::{Error, Kind, Result};
