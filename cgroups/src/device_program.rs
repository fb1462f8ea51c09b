//! The device policy of a version 2 group: one small program (BPF_PROG_TYPE_CGROUP_DEVICE) that denies by default.
//!
//! ```text
//! r2 = kind, r3 = access, r4 = major, r5 = minor        from struct bpf_cgroup_dev_ctx
//! for each rule, the last one first:
//!     if kind, major or minor do not match: go to the next rule
//!     allow: take its access out of r3; return 1 if nothing is left
//!     deny:  return 0 if its access is in r3
//! return the default
//! ```
//!
//! Start at [`assemble`] for the program, at [`install`] for how it gets into the kernel without a moment in which another
//! policy or none is in force.

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
const SHIFT_RIGHT: u8 = 0x74; // w(dst) >>= immediate
const MOVE_REGISTER: u8 = 0xbc; // w(dst) = w(src)
const MOVE: u8 = 0xb4; // w(dst) = immediate
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

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, immediate }
}

/// The program for `policy`.
pub(crate) fn assemble(policy: &Policy) -> Vec<Instruction> {
    let mut code = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in &sorted_runs(&policy.rules) {
        let length = block_length(rule);
        push_rule(rule, length, &mut code);
    }
    code.push(instruction(MOVE, RESULT, 0, 0, value(policy.default)));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

/// The rules from the last to the first. Neighbours with the same verdict do not depend on their order.
fn sorted_runs(rules: &[Rule]) -> Vec<Rule> {
    let mut reversed: Vec<Rule> = rules.iter().rev().copied().collect();
    for run in reversed.chunk_by_mut(|a, b| a.verdict == b.verdict) {
        run.sort_unstable();
    }
    reversed
}

fn value(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Allow => 1,
        Verdict::Deny => 0,
    }
}

/// Instructions of the block of `rule`.
fn block_length(rule: &Rule) -> usize {
    let access = match rule.verdict {
        _ if rule.access == Access::ALL => 0,
        Verdict::Allow => 2,
        Verdict::Deny => 3,
    };
    let tests = [rule.kinds != Kinds::Both, rule.major.is_some(), rule.minor.is_some()];
    tests.into_iter().filter(|test| *test).count() + access + 2
}

fn push_rule(rule: &Rule, length: usize, code: &mut Vec<Instruction>) {
    let end = code.len() + length;
    // A jump counts from the instruction behind it; a block is at most eight long.
    let leave = |code: &Vec<Instruction>, operation, register, immediate| {
        let distance = i16::try_from(end - code.len() - 1).unwrap_or(i16::MAX);
        instruction(operation, register, 0, distance, immediate)
    };
    match rule.kinds {
        Kinds::Both => {}
        Kinds::Block => code.push(leave(code, JUMP_IF_NOT_EQUAL, KIND, KIND_BLOCK)),
        Kinds::Char => code.push(leave(code, JUMP_IF_NOT_EQUAL, KIND, KIND_CHAR)),
    }
    if let Some(major) = rule.major {
        code.push(leave(code, JUMP_IF_NOT_EQUAL, MAJOR, major as i32));
    }
    if let Some(minor) = rule.minor {
        code.push(leave(code, JUMP_IF_NOT_EQUAL, MINOR, minor as i32));
    }
    match rule.verdict {
        _ if rule.access == Access::ALL => {}
        Verdict::Allow => {
            code.push(instruction(AND, ACCESS, 0, 0, i32::from(!rule.access.0 & Access::ALL.0)));
            code.push(leave(code, JUMP_IF_NOT_EQUAL, ACCESS, 0));
        }
        Verdict::Deny => {
            code.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
            code.push(instruction(AND, SCRATCH, 0, 0, i32::from(rule.access.0)));
            code.push(leave(code, JUMP_IF_EQUAL, SCRATCH, 0));
        }
    }
    code.push(instruction(MOVE, RESULT, 0, 0, value(rule.verdict)));
    code.push(instruction(EXIT, 0, 0, 0, 0));
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
    let program = assemble(policy);
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
            let program = assemble(&policy);
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
        let program = assemble(&Policy::new(&[]).unwrap());
        assert!(program.len() <= 60, "{} instructions", program.len());
    }
}
