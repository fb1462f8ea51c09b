//! How long a filter takes to compile and to load, ours and libseccomp's, in the same run: `cargo bench -p seccomp`.
//!
//! `--out FILE` writes the figures as JSON, which `make bench` puts into its table; `--profile FILE` measures another
//! profile than the one of the shape of Docker's default. Both compilers take turns, and what is loaded is loaded by the
//! same call in a process of its own each time: seccomp(2) checks, translates and emulates a program, and what a process
//! has loaded stays.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measuring program: whatever fails makes the run worthless"
)]
#![allow(unsafe_code, reason = "there is no safe function for fork(2) and seccomp(2)")]

#[path = "../tests/common/engines.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod engines;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use seccomp::profile::{Argument, Profile, Syscall};
use seccomp::{Arch, Support, compile};
use std::ffi::{c_int, c_long, c_ulong};
use std::hint::black_box;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Who compiles.
#[derive(Clone, Copy)]
enum Compiler {
    Ours,
    /// libseccomp with SCMP_FLTATR_CTL_OPTIMIZE: 2 is a binary tree, 1 a list.
    Libseccomp(u32),
}

const COMPILERS: [(&str, Compiler); 3] = [
    ("orlop", Compiler::Ours),
    ("libseccomp, binary tree (runc, crun)", Compiler::Libseccomp(2)),
    ("libseccomp, list", Compiler::Libseccomp(1)),
];

/// Rounds, in each of which every compiler has its turn.
const ROUNDS: usize = 40;

/// How often ours compiles in a turn, which is too short to time once.
const REPEATS: usize = 50;

/// What was measured of one compiler.
#[derive(Default)]
struct Figures {
    compile: Vec<Duration>,
    load: Vec<Duration>,
    instructions: usize,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let profile = value("--profile").map_or_else(engines::docker_like, |path| {
        let text = std::fs::read(path).expect("the profile");
        serde_json::from_slice(&text).expect("a profile")
    });
    let figures = measure(&profile);
    for ((name, _), figures) in COMPILERS.iter().zip(&figures) {
        let (compile, load) = (median(&figures.compile), median(&figures.load));
        println!("{name}: compile {compile:?}, {} instructions, load {load:?}", figures.instructions);
    }
    if let Some(path) = value("--out") {
        std::fs::write(path, json(&profile, &figures)).expect("the figures");
    }
}

fn json(profile: &Profile, figures: &[Figures; 3]) -> String {
    let rows = COMPILERS.iter().zip(figures).map(|((name, _), figures)| {
        serde_json::json!({"compiler": name, "instructions": figures.instructions,
            "compile_us": median(&figures.compile).as_secs_f64() * 1e6,
            "load_us": median(&figures.load).as_secs_f64() * 1e6})
    });
    let names: usize = profile.syscalls.iter().map(|rule| rule.names.len()).sum();
    let report = serde_json::json!({"rules": profile.syscalls.len(), "names": names, "rounds": ROUNDS,
        "architectures": profile.architectures.len(), "rows": rows.collect::<Vec<_>>()});
    format!("{report:#}\n")
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn measure(profile: &Profile) -> [Figures; 3] {
    let mut all: [Figures; 3] = Default::default();
    // The first round warms caches and is not counted.
    for round in 0..=ROUNDS {
        for ((_, compiler), figures) in COMPILERS.iter().zip(&mut all) {
            let (program, compiled) = timed_compile(profile, *compiler);
            let loaded = load(&program);
            figures.instructions = program.len() / 8;
            if round > 0 {
                figures.compile.push(compiled);
                figures.load.push(loaded);
            }
        }
    }
    all
}

fn timed_compile(profile: &Profile, compiler: Compiler) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    match compiler {
        Compiler::Ours => {
            for _ in 1..REPEATS {
                black_box(ours(black_box(profile)));
            }
            let program = ours(profile);
            (program, start.elapsed() / u32::try_from(REPEATS).expect("few"))
        }
        Compiler::Libseccomp(optimize) => {
            let program = theirs(profile, optimize).expect("libseccomp compiles it");
            (program, start.elapsed())
        }
    }
}

fn ours(profile: &Profile) -> Vec<u8> {
    compile(profile, Arch::X86_64, &Support::default()).expect("a valid profile").bytes()
}

/// libseccomp's way from a profile to a program, as runc goes it.
fn theirs(profile: &Profile, optimize: u32) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut context = ScmpFilterContext::new(action(&profile.default_action, profile.default_errno_ret))?;
    if !profile.architectures.is_empty() {
        context.add_arch(ScmpArch::X86)?.add_arch(ScmpArch::X32)?;
    }
    context.set_ctl_optimize(optimize)?;
    for rule in profile
        .syscalls
        .iter()
        .filter(|rule| rule.action != profile.default_action || rule.errno_ret.is_some())
    {
        for name in &rule.names {
            add(&mut context, rule, name)?;
        }
    }
    let (mut reader, writer) = std::io::pipe()?;
    context.export_bpf(&writer)?;
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn action(name: &str, errno: Option<u32>) -> ScmpAction {
    match name {
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        _ => ScmpAction::Errno(errno.map_or(1, u32::cast_signed)),
    }
}

fn add(
    context: &mut ScmpFilterContext,
    rule: &Syscall,
    name: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let Ok(call) = ScmpSyscall::from_name(name) else { return Ok(()) };
    let conditions: Vec<ScmpArgCompare> = rule.args.iter().map(condition).collect();
    context.add_rule_conditional(action(&rule.action, rule.errno_ret), call, &conditions)?;
    Ok(())
}

fn condition(argument: &Argument) -> ScmpArgCompare {
    let (operator, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, argument.value),
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, argument.value),
        _ => (ScmpCompareOp::MaskedEqual(argument.value), argument.value_two),
    };
    ScmpArgCompare::new(argument.index, operator, value)
}

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn prctl(option: c_int, first: c_ulong, second: c_ulong, third: c_ulong, fourth: c_ulong) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

#[repr(C)]
struct Fprog {
    len: u16,
    filter: *const u8,
}

/// How long seccomp(2) takes for a program, in a process of its own, with SPEC_ALLOW as containers have it.
fn load(program: &[u8]) -> Duration {
    const PR_SET_NO_NEW_PRIVS: c_int = 38;
    const SECCOMP_SET_MODE_FILTER: c_int = 1;
    const SPEC_ALLOW: c_int = 4;
    const SYS_SECCOMP: c_long = if cfg!(target_arch = "x86_64") { 317 } else { 277 };
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let fprog = Fprog { len: u16::try_from(program.len() / 8).expect("a program"), filter: program.as_ptr() };
    // SAFETY: this program has one thread.
    let child = unsafe { fork() };
    if child == 0 {
        // SAFETY: takes numbers.
        unsafe { prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let start = Instant::now();
        // SAFETY: `fprog` is a struct sock_fprog whose filter holds as many entries as it says.
        let returned = unsafe { syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SPEC_ALLOW, &raw const fprog) };
        let took = if returned == 0 { start.elapsed() } else { Duration::ZERO };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let _ = writer.write_all(&nanos.to_ne_bytes());
        std::process::exit(0)
    }
    drop(writer);
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes).expect("the child's figure");
    let mut status = 0;
    // SAFETY: the kernel writes one int at `status`.
    unsafe { waitpid(child, &raw mut status, 0) };
    let nanos = u64::from_ne_bytes(bytes);
    assert!(nanos > 0, "seccomp(2) refused a program of {} instructions", fprog.len);
    Duration::from_nanos(nanos)
}
