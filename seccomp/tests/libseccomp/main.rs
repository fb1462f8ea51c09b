//! Our programs against libseccomp's, executed for the same calls. libseccomp is the oracle here and nothing else.
//!
//! ```text
//! generate.rs   random profiles, and the calls at which to look at them
//! oracle.rs     what runc and libseccomp make of a profile: their program, and runc's ENOSYS in front of it
//! model.rs      what a profile says about one call, rule by rule, without any program
//! compare.rs    the three of them at every call, and the list of explained differences
//! mutants.rs    planted bugs, each of which the comparison has to find
//! tables.rs     the numbers of the calls
//! ```
//!
//! `ORLOP_SECCOMP_PROFILES` is the number of random profiles, 2,000 unless set; `ORLOP_SECCOMP_SEED` the first seed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in the functions it calls"
)]

mod compare;
#[path = "../common/engines.rs"]
mod engines;
mod generate;
mod model;
mod mutants;
mod oracle;
mod tables;
