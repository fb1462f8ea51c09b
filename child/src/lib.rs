//! What happens inside the new process: a list of steps, the code that executes one, and the messages to the parent.
//!
//! The child executes data. It allocates nothing, parses nothing but its own plan, and decides nothing that the
//! documentation of a step does not name. Start at [`Op`] for what can happen, at `message.rs` for the conversation with
//! the parent. The order of steps is not here: the runtime's planner decides it.
#![no_std]

pub mod data;
pub mod op;

pub use data::{Bytes, Fd, List, Text, Words};
pub use op::Op;
