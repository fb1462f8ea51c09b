//! The command line: what was asked for, in types.
//!
//! It decides nothing about containers. The path of a command line is [`table`] (every name), `go_flags`
//! (words to options and arguments), [`args`] (to types), and then the commands. [`log`] is where messages
//! and the final error go. Start at [`args::parse`].

pub mod args;
pub mod completion;
pub mod duration;
mod go_flags;
pub mod help;
pub mod log;
#[cfg(feature = "clap")]
pub mod manual;
mod read;
pub mod signal;
mod table;
mod timing;
mod values;
