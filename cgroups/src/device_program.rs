//! The device policy of a version 2 group: one small program (BPF_PROG_TYPE_CGROUP_DEVICE) that denies by default.
//!
//! ```text
//! r2 = kind, r3 = access, r4 = major, r5 = minor, r6 = major and minor       from struct bpf_cgroup_dev_ctx
//! for each run of rules with the same verdict, kind and access, the last run first:
//!     if the kind does not match: go to the next run
//!     all of rwm:        if the numbers of a rule match: go to its verdict
//!     less, an allowing: if the numbers match: take the access out of r3; if nothing is left: go to allow
//!     less, a denying:   if the numbers match and r3 has some of the access: go to deny
//! the default: return it
//! the other verdict: return it
//! ```
//!
//! Loading costs 2 to 3 us for each instruction, nearly all in the kernel's verifier, so the program is kept short. Start at
//! [`assemble`] for the program, at [`install`] for how it gets into the kernel without a moment in which another policy or
//! none is in force.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use sys::bpf::{self, Attach, Instruction};
use sys::{Error, Result};

use crate::directory::Directory;
use crate::resources::devices::{Access, Kinds, Policy, Rule, Verdict};

/// By this name a later process knows our program from those of others, such as systemd's.
const NAME: &CStr = c"orlop_devices";

/// Programs that a group can have attached (BPF_CGROUP_MAX_PROGS).
const MAX_PROGRAMS: usize = 64;

const KIND_BLOCK: i32 = 1;
const KIND_CHAR: i32 = 2;

// Operations of linux/bpf.h, as far as they are used.
const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + offset)
const AND: u8 = 0x54; // w(dst) &= immediate
const SHIFT_LEFT: u8 = 0x64; // w(dst) <<= immediate
const SHIFT_RIGHT: u8 = 0x74; // w(dst) >>= immediate
const OR_REGISTER: u8 = 0x4c; // w(dst) |= w(src)
const MOVE_REGISTER: u8 = 0xbc; // w(dst) = w(src)
const MOVE: u8 = 0xb4; // w(dst) = immediate
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x16; // w(dst) == immediate
const JUMP_IF_NOT_EQUAL: u8 = 0x56; // w(dst) != immediate
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const SCRATCH: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const NUMBER: u8 = 6;

/// Bits of a minor number; a major one has the twelve above.
const MINOR_BITS: i32 = 20;

/// Jumps reach no further (a signed 16-bit number of instructions).
const MAX_LENGTH: usize = i16::MAX as usize;

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, immediate }
}

/// Sets the registers from the context, which has the kind in the low half and the access in the high half of its first word.
const PROLOGUE: [Instruction; 9] = [
    instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
    instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
    instruction(AND, KIND, 0, 0, 0xffff),
    instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
    instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
    instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    instruction(MOVE_REGISTER, NUMBER, MAJOR, 0, 0),
    instruction(SHIFT_LEFT, NUMBER, 0, 0, MINOR_BITS),
    instruction(OR_REGISTER, NUMBER, MINOR, 0, 0),
];

/// The program for `policy`; `None` if it has more rules than a program can.
pub(crate) fn assemble(policy: &Policy) -> Option<Vec<Instruction>> {
    let mut program = Program { code: PROLOGUE.to_vec(), to_verdict: Vec::new() };
    for run in ordered(&policy.rules).chunk_by(same_run) {
        program.push_run(run);
    }
    program.finish(policy.default)
}

/// The rules from the last to the first, without those whose numbers no device has. Neighbours with the same verdict do not
/// depend on their order.
fn ordered(rules: &[Rule]) -> Vec<Rule> {
    let possible = |rule: &&Rule| {
        rule.major.is_none_or(|major| major < 1 << 12)
            && rule.minor.is_none_or(|minor| minor < 1 << MINOR_BITS)
    };
    let mut reversed: Vec<Rule> = rules.iter().rev().filter(possible).copied().collect();
    for run in reversed.chunk_by_mut(|a, b| a.verdict == b.verdict) {
        run.sort_unstable();
    }
    reversed
}

fn same_run(a: &Rule, b: &Rule) -> bool {
    (a.verdict, a.kinds, a.access) == (b.verdict, b.kinds, b.access)
}

fn value(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Allow => 1,
        Verdict::Deny => 0,
    }
}

/// A program while it is written.
struct Program {
    code: Vec<Instruction>,
    /// Jumps whose distance is known at the end: where they are, and what they go to.
    to_verdict: Vec<(usize, Verdict)>,
}

impl Program {
    /// The rules of one run.
    fn push_run(&mut self, run: &[Rule]) {
        let Some(first) = run.first() else { return };
        let kind = match first.kinds {
            Kinds::Both => None,
            Kinds::Block => Some(self.push(instruction(JUMP_IF_NOT_EQUAL, KIND, 0, 0, KIND_BLOCK))),
            Kinds::Char => Some(self.push(instruction(JUMP_IF_NOT_EQUAL, KIND, 0, 0, KIND_CHAR))),
        };
        for rule in run {
            if rule.access == Access::ALL { self.push_whole(rule) } else { self.push_part(rule) }
        }
        self.land(kind);
    }

    /// A rule for all access decides as soon as its numbers match.
    fn push_whole(&mut self, rule: &Rule) {
        let jump = match numbers(rule) {
            Some((register, number)) => instruction(JUMP_IF_EQUAL, register, 0, 0, number),
            None => instruction(JUMP, 0, 0, 0, 0),
        };
        self.push_to(jump, rule.verdict);
    }

    /// A rule for some access decides about that part only.
    fn push_part(&mut self, rule: &Rule) {
        let skip = numbers(rule)
            .map(|(register, number)| self.push(instruction(JUMP_IF_NOT_EQUAL, register, 0, 0, number)));
        match rule.verdict {
            Verdict::Allow => {
                self.push(instruction(AND, ACCESS, 0, 0, i32::from(!rule.access.0 & Access::ALL.0)));
                self.push_to(instruction(JUMP_IF_EQUAL, ACCESS, 0, 0, 0), Verdict::Allow);
            }
            Verdict::Deny => {
                self.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
                self.push(instruction(AND, SCRATCH, 0, 0, i32::from(rule.access.0)));
                self.push_to(instruction(JUMP_IF_NOT_EQUAL, SCRATCH, 0, 0, 0), Verdict::Deny);
            }
        }
        self.land(skip);
    }

    fn push(&mut self, instruction: Instruction) -> usize {
        self.code.push(instruction);
        self.code.len() - 1
    }

    fn push_to(&mut self, jump: Instruction, verdict: Verdict) {
        let at = self.push(jump);
        self.to_verdict.push((at, verdict));
    }

    /// The jump at `from` goes to the next instruction that is pushed.
    fn land(&mut self, from: Option<usize>) {
        if let Some(from) = from {
            self.set_target(from, self.code.len());
        }
    }

    /// A jump counts from the instruction behind it.
    fn set_target(&mut self, from: usize, target: usize) {
        if let Some(jump) = self.code.get_mut(from) {
            jump.offset = i16::try_from(target - from - 1).unwrap_or(i16::MAX);
        }
    }

    fn finish(mut self, default: Verdict) -> Option<Vec<Instruction>> {
        let other = match default {
            Verdict::Allow => Verdict::Deny,
            Verdict::Deny => Verdict::Allow,
        };
        for verdict in [default, other] {
            let here = self.code.len();
            let jumps: Vec<usize> =
                self.to_verdict.iter().filter(|jump| jump.1 == verdict).map(|jump| jump.0).collect();
            // The verifier refuses instructions that nothing reaches.
            if verdict == default || !jumps.is_empty() {
                self.push(instruction(MOVE, RESULT, 0, 0, value(verdict)));
                self.push(instruction(EXIT, 0, 0, 0, 0));
            }
            jumps.into_iter().for_each(|from| self.set_target(from, here));
        }
        (self.code.len() <= MAX_LENGTH).then_some(self.code)
    }
}

/// The register that tells whether the numbers of `rule` match, and its value then; `None` if all numbers match.
fn numbers(rule: &Rule) -> Option<(u8, i32)> {
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some((NUMBER, (major << MINOR_BITS | minor) as i32)),
        (Some(major), None) => Some((MAJOR, major as i32)),
        (None, Some(minor)) => Some((MINOR, minor as i32)),
        (None, None) => None,
    }
}

/// Makes `policy` the policy of a new `group`. A policy that allows everything needs no program there.
pub(crate) fn install(group: &Directory, policy: &Policy) -> Result<()> {
    if policy.allows_everything() {
        return Ok(());
    }
    attach(group, &load(policy)?, Attach::Beside)
}

/// Puts `policy` in the place of the one that `group` has from us, in one step.
pub(crate) fn replace(group: &Directory, policy: &Policy) -> Result<()> {
    let program = load(policy)?;
    let mut ours = ours(group)?.into_iter();
    match ours.next() {
        Some(old) => attach(group, &program, Attach::InPlaceOf(old.as_fd()))?,
        None => attach(group, &program, Attach::Beside)?,
    }
    // More than one of ours would be left by somebody who died here; each could only deny more.
    for old in ours {
        bpf::prog_detach_device(group, &old).map_err(|errno| failed(group, "BPF_PROG_DETACH", errno))?;
    }
    Ok(())
}

fn load(policy: &Policy) -> Result<OwnedFd> {
    let too_many =
        || Error::invalid("linux.resources.devices", format!("{} rules are too many", policy.rules.len()));
    let program = assemble(policy).ok_or_else(too_many)?;
    bpf::prog_load_cgroup_device(&program, NAME).map_err(|errno| {
        let what = format!("load a device program of {} instructions", program.len());
        Error::kernel(what, "bpf(BPF_PROG_LOAD)", errno).with_key("linux.resources.devices")
    })
}

fn attach(group: &Directory, program: &OwnedFd, how: Attach<'_>) -> Result<()> {
    bpf::prog_attach_device(group, program, how).map_err(|errno| failed(group, "BPF_PROG_ATTACH", errno))
}

fn failed(group: &Directory, command: &str, errno: Errno) -> Error {
    let what = format!("set the device policy of {}", group.path());
    Error::kernel(what, format!("bpf({command})"), errno).with_key("linux.resources.devices")
}

/// The programs of `group` that carry our name.
fn ours(group: &Directory) -> Result<Vec<OwnedFd>> {
    let mut ids = [0; MAX_PROGRAMS];
    let count = bpf::prog_query_device(group, &mut ids).map_err(|e| failed(group, "BPF_PROG_QUERY", e))?;
    let mut found = Vec::new();
    for id in ids.iter().take(count) {
        let program = bpf::prog_get_fd_by_id(*id).map_err(|e| failed(group, "BPF_PROG_GET_FD_BY_ID", e))?;
        let name = bpf::prog_name(&program).map_err(|e| failed(group, "BPF_OBJ_GET_INFO_BY_FD", e))?;
        if CStr::from_bytes_until_nul(&name) == Ok(NAME) {
            found.push(program);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::devices::DeviceRule;

    /// Runs a program the way the kernel would; only what [`assemble`] emits is known.
    fn run(code: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 11];
        let mut next = 0;
        for _ in 0..code.len() {
            let i = code[next];
            let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            next += 1;
            let jump = |taken: bool| if taken { usize::try_from(i.offset).unwrap() } else { 0 };
            match i.code {
                LOAD_WORD => registers[dst] = context[i.offset as usize / 4],
                AND => registers[dst] &= i.immediate as u32,
                SHIFT_LEFT => registers[dst] <<= i.immediate,
                OR_REGISTER => registers[dst] |= registers[src],
                JUMP => next += jump(true),
                SHIFT_RIGHT => registers[dst] >>= i.immediate,
                MOVE_REGISTER => registers[dst] = registers[src],
                MOVE => registers[dst] = i.immediate as u32,
                JUMP_IF_EQUAL => next += jump(registers[dst] == i.immediate as u32),
                JUMP_IF_NOT_EQUAL => next += jump(registers[dst] != i.immediate as u32),
                EXIT => return registers[0],
                other => panic!("{other:#x} is not emitted"),
            }
        }
        panic!("the program does not end")
    }

    /// Numbers that look random and are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }

        fn rule(&mut self) -> DeviceRule {
            let number = |n: u64| if n == 0 { None } else { Some(n as i64) };
            let access: String = "rwm".chars().filter(|_| self.below(2) == 0).collect();
            DeviceRule {
                allow: self.below(2) == 0,
                kind: Some(["a", "b", "c"][self.below(3) as usize].to_owned()),
                major: number(self.below(4)),
                minor: number(self.below(4)),
                access: Some(if access.is_empty() { "rwm".to_owned() } else { access }),
            }
        }
    }

    /// What the rules as written say, computed without any of the simplifications.
    fn decide(rules: &[DeviceRule], kind: char, major: i64, minor: i64, access: Access) -> bool {
        let always = |kind: &str, major, minor, access: &str| DeviceRule {
            allow: true,
            kind: Some(kind.to_owned()),
            major,
            minor,
            access: Some(access.to_owned()),
        };
        let mut all = rules.to_vec();
        all.extend([always("c", None, None, "m"), always("b", None, None, "m")]);
        all.extend([3, 5, 7, 8, 9].map(|minor| always("c", Some(1), Some(minor), "rwm")));
        let last = |part: char| {
            let speaks = |rule: &&DeviceRule| {
                let kinds = rule.kind.as_deref().unwrap();
                (kinds == "a" || kinds.starts_with(kind))
                    && rule.major.is_none_or(|m| m == major)
                    && rule.minor.is_none_or(|m| m == minor)
                    && rule.access.as_deref().unwrap().contains(part)
            };
            all.iter().rev().find(speaks).is_some_and(|rule| rule.allow)
        };
        let asked = [('m', 1), ('r', 2), ('w', 4)].into_iter().filter(|(_, bit)| access.0 & bit != 0);
        asked.into_iter().all(|(part, _)| last(part))
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let mut numbers = Numbers(1);
        for round in 0..500 {
            let rules: Vec<DeviceRule> = (0..numbers.below(7)).map(|_| numbers.rule()).collect();
            let policy = Policy::new(&rules).unwrap();
            let program = assemble(&policy).unwrap();
            for (kind, number) in [('b', 1), ('c', 2)] {
                for (major, minor) in (0..5).flat_map(|major| (0..5).map(move |minor| (major, minor))) {
                    for access in 1..8 {
                        let expected = decide(&rules, kind, major.into(), minor.into(), Access(access));
                        let found = run(&program, number, access.into(), major, minor) == 1;
                        assert_eq!(
                            found, expected,
                            "round {round}: {rules:?} {kind} {major}:{minor} {access}"
                        );
                        let kinds = if kind == 'b' { Kinds::Block } else { Kinds::Char };
                        let decided = policy.decide(kinds, major, minor, Access(access)) == Verdict::Allow;
                        assert_eq!(
                            decided, expected,
                            "round {round}: {rules:?} {kind} {major}:{minor} {access}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_default_program_stays_small() {
        let program = assemble(&Policy::new(&[]).unwrap()).unwrap();
        assert_eq!(program.len(), 24, "each instruction costs time at every start");
    }

    #[test]
    fn more_rules_than_a_program_can_hold_are_refused() {
        let rule = |minor| DeviceRule {
            allow: true,
            kind: Some("c".to_owned()),
            major: Some(9),
            minor: Some(minor),
            access: Some("rwm".to_owned()),
        };
        let fits: Vec<_> = (0..1_000).map(rule).collect();
        assert!(assemble(&Policy::new(&fits).unwrap()).is_some());
        let one = *Policy::new(&[rule(1)]).unwrap().rules.first().unwrap();
        let rules = (0..40_000).map(|minor| Rule { minor: Some(minor), ..one }).collect();
        let policy = Policy { default: Verdict::Deny, rules };
        assert_eq!(assemble(&policy), None);
    }
}
