//! Black-box tests of an OCI runtime, as a harness, a set of programs and the tests themselves.
//!
//! Nothing of the runtime is imported: tests run the binary that `ORLOP` names (or `target/dist/orlop`) on bundles
//! of their own and look at what the container sees, what the command says and what is left afterwards.
//! Any other OCI runtime may be named instead, which is how a test is shown to ask for something that can be had.
//!
//! A test is a function of [`World`] in one of the files of `tests/`, one file per topic; start reading there.
//! [`harness`] runs them, [`world`] is what a test gets, [`bundle`] and [`report`] are what goes in and comes out,
//! [`leaks`] is what must hold after every test. `src/bin/probe.rs` is the program inside the container.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the crate is test code throughout: a failed expectation ends the test with its reason"
)]

pub mod bundle;
pub mod grpc;
pub mod harness;
pub mod image;
pub mod layout;
pub mod leaks;
pub mod parent;
pub mod process;
pub mod pty;
pub mod report;
pub mod sockets;
pub mod trace;
pub mod world;

pub use bundle::Bundle;
pub use harness::{Outcome, skip};
pub use report::Report;
pub use world::World;
