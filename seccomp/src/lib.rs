//! `linux.seccomp` of a container's config, compiled to the classic BPF program that `seccomp(2)` takes.
//!
//! ```text
//! Profile        as written     profile.rs   serde, and every rule about valid values
//!   -> Policy    valid          ir.rs        actions and conditions as the kernel has them
//!   -> Section   per arch       lower.rs     which answer each number of each architecture gets
//!   -> Filter    the program    compile.rs   a tree over the numbers, comparisons of the arguments
//! ```
//!
//! This crate makes no system call and does not load anything: what the host supports comes in as [`Support`],
//! and the program goes out as bytes. Start at [`compile()`]. Beside it stand [`order`], which says when init
//! loads the program and what is then in its way; [`explain`], which says what a profile answers to a call and
//! why; [`dump`], which prints a program; [`learn`], which makes a profile out of what a program did; and
//! [`program::run`], which executes one.
//!
//! Where the spec leaves the meaning open, it is the one that profiles are written for: libseccomp's as runc
//! calls it. It differs by intent in four things, each of which the comparison with libseccomp in `tests/` names:
//!
//! - `socketcall` and `ipc` select by the bits of their first argument that the kernel looks at, so no other bit of it
//!   leads around a rule.
//! - A call that the profile names never gets ENOSYS for being newer than the profile. runc does not count calls that
//!   are also behind `socketcall` or `ipc`.
//! - ARM's private calls, whose numbers are far above all others, do not make a profile newer than every call.
//! - Where rules with conditions hold together and disagree, libseccomp's order follows from the tree it merges them
//!   into. Ours is that of `lower.rs`, which is the same in all but rare cases.
//!
//! An `errnoRet` that no action takes, an empty `names` and NOTIFY without a listener are errors here.

pub mod arch;
mod compile;
pub mod dump;
pub mod explain;
pub mod ir;
pub mod learn;
mod lower;
pub mod order;
pub mod profile;
pub mod program;
mod tables;

pub use arch::Arch;
pub use compile::{Filter, Listener, compile};
pub use ir::Action;
pub use profile::{Fault, Profile, Support, Violation};
pub use program::Instruction;
pub use tables::{name as call_name, names as call_names, number as call_number};
