//! Random profiles. Few calls and few values, so that rules meet.

use crate::tables::oracle_number;
use libseccomp::ScmpSyscall;
use seccomp::arch::{Endian, X32_BIT};
use seccomp::profile::{Argument, Profile, Syscall};
use seccomp::{Arch, call_names, call_number};

/// SplitMix64: a seed is a profile, on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A native architecture and those that a profile for it may list beside it.
pub(crate) const FAMILIES: [(Arch, &[Arch]); 10] = [
    (Arch::X86_64, &[Arch::X86, Arch::X32, Arch::X86_64, Arch::Aarch64]),
    (Arch::X86, &[Arch::X86]),
    (Arch::Aarch64, &[Arch::Arm, Arch::Aarch64]),
    (Arch::Ppc64le, &[Arch::Ppc64le]),
    (Arch::Riscv64, &[Arch::Riscv64]),
    (Arch::Mipsel64, &[Arch::Mipsel, Arch::Mipsel64N32]),
    (Arch::Mips64, &[Arch::Mips, Arch::Mips64N32]),
    (Arch::S390x, &[Arch::S390, Arch::S390x]),
    (Arch::Ppc64, &[Arch::Ppc]),
    (Arch::Parisc64, &[Arch::Parisc]),
];

pub(crate) const ACTIONS: [&str; 9] = seccomp::profile::ACTIONS;
pub(crate) const OPERATORS: [&str; 7] = seccomp::profile::OPERATORS;

/// Calls behind `socketcall` or `ipc`, those two, and ARM's private ones.
const SPECIAL: [&str; 14] = [
    "socket",
    "bind",
    "accept",
    "accept4",
    "send",
    "recvmmsg",
    "semop",
    "semtimedop",
    "msgget",
    "shmctl",
    "socketcall",
    "ipc",
    "set_tls",
    "breakpoint",
];

const VALUES: [u64; 13] = [
    0,
    1,
    2,
    5,
    0x10,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x5_0000_0000,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// The calls that both have the same number for on every architecture of a family, and that libseccomp can carry from
/// this machine's architecture to another, which it does by a number here and back by its name.
pub(crate) fn common_names(family: (Arch, &[Arch])) -> Vec<&'static str> {
    let agrees = |name: &str, arch: Arch| match oracle_number(name, arch) {
        Some(number) if number < 0 => (-224..=-100).contains(&number) || call_number(name, arch).is_none(),
        Some(number) => call_number(name, arch) == u32::try_from(number).ok(),
        None => false,
    };
    let everywhere = |name: &&str| agrees(name, family.0) && family.1.iter().all(|arch| agrees(name, *arch));
    let carried = |name: &&str| {
        let here = ScmpSyscall::from_name(name);
        here.is_ok_and(|here| here.get_name().is_ok_and(|back| back == *name))
    };
    call_names().filter(everywhere).filter(carried).collect()
}

/// A random profile for a family, of calls out of `names`.
pub(crate) fn profile(random: &mut Random, family: (Arch, &[Arch]), names: &[&str]) -> Profile {
    let mut pool: Vec<&str> = (0..6).map(|_| random.pick(names)).collect();
    let special: Vec<&str> = SPECIAL.into_iter().filter(|name| names.contains(name)).collect();
    if !special.is_empty() {
        pool.extend((0..3).map(|_| random.pick(&special)));
    }
    let default = random.pick(&ACTIONS[..8]);
    let mut syscalls: Vec<Syscall> = (0..random.below(9)).map(|_| rule(random, &pool)).collect();
    // Made on a little-endian machine, libseccomp's long jumps for a big-endian one have their bytes swapped.
    if random.one_in(8) && family.0.endian() == Endian::Little {
        syscalls.push(many(random, names));
    }
    let architectures: Vec<String> =
        family.1.iter().filter(|_| !random.one_in(3)).map(|arch| arch.name().to_owned()).collect();
    Profile {
        default_action: default.to_owned(),
        default_errno_ret: number(random, default),
        architectures,
        flags: None,
        listener_path: "/agent".to_owned(),
        listener_metadata: String::new(),
        syscalls,
    }
}

/// The number of an action, for the two that take one.
fn number(random: &mut Random, action: &str) -> Option<u32> {
    let takes_one = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
    (takes_one && !random.one_in(3)).then(|| random.pick(&[0, 1, 2, 22, 38, 4095]))
}

fn rule(random: &mut Random, pool: &[&str]) -> Syscall {
    // A few actions many times, so that rules for one call often agree.
    let action = match random.below(4) {
        0 => random.pick(&ACTIONS),
        1 => "SCMP_ACT_ERRNO",
        _ => "SCMP_ACT_ALLOW",
    };
    let mut names: Vec<String> = (0..1 + random.below(3)).map(|_| random.pick(pool).to_owned()).collect();
    if action == "SCMP_ACT_NOTIFY" {
        names.retain(|name| name != "read" && name != "write");
        names.push("getpid".to_owned());
    }
    let args = match random.below(3) {
        0 => 0,
        1 => 1,
        _ => 1 + random.below(3),
    };
    let args = (0..args).map(|_| argument(random)).collect();
    Syscall { names, action: action.to_owned(), errno_ret: number(random, action), args }
}

fn many(random: &mut Random, names: &[&str]) -> Syscall {
    let names = (0..35 + random.below(200)).map(|_| random.pick(names).to_owned()).collect();
    Syscall { names, action: "SCMP_ACT_ALLOW".to_owned(), errno_ret: None, args: Vec::new() }
}

fn argument(random: &mut Random) -> Argument {
    let index = random.pick(&[0, 0, 0, 1, 1, 2, 3, 4, 5]);
    let op = random.pick(&OPERATORS).to_owned();
    Argument { index, value: value(random), value_two: value(random), op }
}

fn value(random: &mut Random) -> u64 {
    if random.one_in(10) { random.next() } else { random.pick(&VALUES) }
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) arch: Arch,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

/// The calls at which a profile is looked at: each that a rule names with arguments around the values of its
/// conditions, the numbers beside them, and the ends of each architecture's numbers.
pub(crate) fn calls(random: &mut Random, profile: &Profile, native: Arch) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut architectures: Vec<Arch> =
        profile.architectures.iter().filter_map(|it| Arch::from_name(it)).collect();
    architectures.push(native);
    architectures.push(random.pick(&FAMILIES).0);
    architectures.dedup();
    for arch in architectures {
        let named = profile.syscalls.iter().flat_map(|rule| rule.names.iter().take(12));
        let mut numbers: Vec<u32> = named.filter_map(|name| call_number(name, arch)).collect();
        numbers.extend(["socketcall", "ipc"].iter().filter_map(|name| call_number(name, arch)));
        let around: Vec<u32> = numbers.iter().flat_map(|it| [it.wrapping_sub(1), it + 1]).collect();
        let newest = numbers.iter().copied().max().unwrap_or(0) + 1;
        let ends = [0, newest, 1023, 0x000f_0000, 0x000f_000f, 0x3fff_ffff, 0x4000_0000, 0x4000_0400];
        let plain = around.into_iter().chain(ends).chain([0x8000_0000, 0xc000_0000, u32::MAX]);
        for number in plain.chain([random.next() as u32, random.below(600) as u32]) {
            calls.push(Call { arch, number, arguments: [0; 6] });
        }
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            for _ in 0..12 {
                calls.push(Call { arch, number, arguments: arguments(random, profile) });
            }
        }
    }
    // Which of the two ABIs a number belongs to is in the number.
    for call in calls.iter_mut().filter(|call| call.arch.audit() == Arch::X32.audit()) {
        call.arch = if call.number & X32_BIT == 0 { Arch::X86_64 } else { Arch::X32 };
    }
    calls
}

fn arguments(random: &mut Random, profile: &Profile) -> [u64; 6] {
    let mut arguments = [0; 6];
    for (index, argument) in arguments.iter_mut().enumerate() {
        *argument = value(random);
        if index == 0 && random.one_in(3) {
            *argument = random.below(26) as u64;
        }
    }
    let conditions: Vec<&Argument> = profile.syscalls.iter().flat_map(|rule| &rule.args).collect();
    for condition in conditions {
        if random.one_in(2) {
            let value =
                if condition.op.ends_with("MASKED_EQ") { condition.value_two } else { condition.value };
            let near = [
                value,
                value,
                value.wrapping_add(1),
                value.wrapping_sub(1),
                value ^ 1 << 32,
                value & 0xffff_ffff,
            ];
            arguments[condition.index as usize] = random.pick(&near);
        }
    }
    arguments
}
