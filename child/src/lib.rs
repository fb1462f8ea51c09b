//! What happens inside the new process: a list of steps, the code that executes one, and the messages to the parent.
//!
//! The child executes data. It allocates nothing, parses nothing but its own plan, and decides nothing that the
//! documentation of a step does not name. Start at [`Op`] for what can happen, at [`message`] for the conversation with
//! the parent, at [`Executor`] for what the steps share. The order of steps is not here: the runtime's planner decides it.
#![no_std]

pub mod data;
pub mod message;
pub mod op;
mod ops;
pub mod page;
mod run;

pub use data::{Bytes, Fd, List, Text, Words};
pub use op::Op;
pub use run::{Executor, Header};
