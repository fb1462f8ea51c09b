//! `oci-conformance`: judges an OCI runtime by the sentences of runtime-spec 1.3.0 that bind it on Linux.
//!
//! It imports nothing of this project's runtime, so that it can judge it. The rows are in `chapters`, one file for each
//! chapter of the specification; `lab` is where a test takes place, `probe` what runs inside the container, `broken`
//! the runtimes that a row must find fault with. Start at [`suite::run`], or at a chapter.
#![allow(
    clippy::disallowed_methods,
    reason = "the list keeps the runtime's library from changing its caller; this is a program that starts runtimes"
)]

mod arguments;
mod broken;
mod cgroup;
mod chapters;
mod config;
mod coverage;
mod lab;
mod network;
mod probe;
mod raw;
mod report;
mod row;
mod runtime;
mod seen;
mod socket;
mod suite;
mod upstream;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    // Inside a container the program is `/probe`, and what follows is for it alone.
    if name.ends_with("probe") {
        return probe::main(rest);
    }
    match rest.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("probe", rest)) => probe::main(rest),
        Some(("broken", rest)) => broken::main(rest),
        Some(("upstream", rest)) => upstream::main(rest),
        Some(("coverage", rest)) => coverage::main(rest),
        Some(("self-test", rest)) => suite::self_test(rest),
        _ => suite::main(rest),
    }
}
