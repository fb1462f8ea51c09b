//! How long a compilation takes, ours and libseccomp's, in the same run: `cargo bench -p seccomp`.

#[path = "../tests/common/engines.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod engines;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use seccomp::profile::{Profile, Syscall};
use seccomp::{Arch, Support, compile};
use std::hint::black_box;
use std::io::Read;
use std::time::{Duration, Instant};

fn main() {
    let three = engines::docker_like();
    let mut one = three.clone();
    one.architectures.clear();
    for (what, profile) in [("three architectures", &three), ("one architecture", &one)] {
        report(&format!("orlop, {what}"), 2000, || ours(profile));
        report(&format!("libseccomp as a tree, {what}"), 20, || theirs(profile, 2));
        report(&format!("libseccomp as a list, {what}"), 20, || theirs(profile, 1));
    }
}

fn ours(profile: &Profile) -> Option<usize> {
    compile(profile, Arch::X86_64, &Support::default()).ok().map(|filter| filter.bytes().len() / 8)
}

fn theirs(profile: &Profile, optimize: u32) -> Option<usize> {
    export(profile, optimize).ok()
}

/// libseccomp's way from a profile to a program, as runc goes it. The number of instructions.
fn export(profile: &Profile, optimize: u32) -> Result<usize, Box<dyn std::error::Error>> {
    let mut context = ScmpFilterContext::new(ScmpAction::Errno(1))?;
    if !profile.architectures.is_empty() {
        context.add_arch(ScmpArch::X86)?.add_arch(ScmpArch::X32)?;
    }
    context.set_ctl_optimize(optimize)?;
    for rule in &profile.syscalls {
        for name in &rule.names {
            add(&mut context, rule, name)?;
        }
    }
    let (mut reader, writer) = std::io::pipe()?;
    context.export_bpf(&writer)?;
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes.len() / 8)
}

fn add(
    context: &mut ScmpFilterContext,
    rule: &Syscall,
    name: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let Ok(call) = ScmpSyscall::from_name(name) else { return Ok(()) };
    let action = match rule.action.as_str() {
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        _ => ScmpAction::Errno(38),
    };
    let conditions: Vec<ScmpArgCompare> = rule
        .args
        .iter()
        .map(|argument| match argument.op.as_str() {
            "SCMP_CMP_EQ" => ScmpArgCompare::new(argument.index, ScmpCompareOp::Equal, argument.value),
            "SCMP_CMP_NE" => ScmpArgCompare::new(argument.index, ScmpCompareOp::NotEqual, argument.value),
            _ => ScmpArgCompare::new(
                argument.index,
                ScmpCompareOp::MaskedEqual(argument.value),
                argument.value_two,
            ),
        })
        .collect();
    context.add_rule_conditional(action, call, &conditions)?;
    Ok(())
}

/// The first run, the middle one of `runs` and what it gave.
fn report(what: &str, runs: usize, mut work: impl FnMut() -> Option<usize>) {
    let instructions = work();
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let middle = times.get(runs / 2).copied().unwrap_or_default();
    println!("{what}: median {middle:?} of {runs}, {} instructions", instructions.unwrap_or(0));
}
