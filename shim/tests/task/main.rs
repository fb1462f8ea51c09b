//! The shim seen by a client and an events server that are not ours: containerd's own bindings for Rust.
//!
//! Each test starts the shim as containerd does, makes containers over its socket and reads the events that it sends. They
//! need root and a static busybox; without either they are skipped.
#![expect(clippy::disallowed_methods, reason = "a test starts processes as it likes")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod binary;
mod checkpoint;
mod codes;
mod ends;
mod growth;
mod harness;
mod lifecycle;
mod races;
mod rootfs;
mod start;
mod streams;
