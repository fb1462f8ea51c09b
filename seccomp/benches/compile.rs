//! How long a compilation takes: `cargo bench -p seccomp`.

#[path = "../tests/common/engines.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod engines;

use seccomp::{Arch, Support, compile};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let profile = engines::docker_like();
    let instructions = compile(&profile, Arch::X86_64, &Support::default()).map(|it| it.instructions.len());
    println!("orlop: {instructions:?} instructions");
    report("orlop, three architectures", 2000, || {
        compile(&profile, Arch::X86_64, &Support::default()).is_ok()
    });
    let mut single = profile.clone();
    single.architectures.clear();
    report("orlop, one architecture", 2000, || compile(&single, Arch::X86_64, &Support::default()).is_ok());
}

/// The first run and the middle one of `runs`.
fn report<T>(what: &str, runs: usize, mut work: impl FnMut() -> T) {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed()
        })
        .collect();
    let first = times.first().copied().unwrap_or_default();
    times.sort_unstable();
    let middle = times.get(runs / 2).copied().unwrap_or_default();
    println!("{what}: first {first:?}, median {middle:?} of {runs}");
}
