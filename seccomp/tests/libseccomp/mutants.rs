//! Planted bugs. Each is what a profile or a program would be if the compiler had the bug, and the comparison has to
//! find it. A comparison that finds nothing is worth what it would find.

use crate::compare::{Tally, case, compare, names};
use crate::oracle::Builder;
use seccomp::profile::Profile;
use seccomp::program::{self, ARCH, NUMBER, op};
use seccomp::{Arch, Instruction, Support, call_name, call_number, compile};

/// A bug: what the compiler would have read, or have written.
enum Bug {
    Reading(fn(&mut Profile, Arch)),
    Writing(fn(&mut [Instruction], Arch)),
    /// With something in front of the program.
    Prepending(fn(&[Instruction]) -> Vec<Instruction>),
}

use Bug::{Prepending, Reading, Writing};

const BUGS: [(&str, Bug); 16] = [
    ("mask and value of MASKED_EQ swapped", Reading(swap_masked)),
    ("GE read as GT", Reading(|profile, _| operator(profile, "SCMP_CMP_GE", "SCMP_CMP_GT"))),
    ("LT read as LE", Reading(|profile, _| operator(profile, "SCMP_CMP_LT", "SCMP_CMP_LE"))),
    ("NE read as EQ", Reading(|profile, _| operator(profile, "SCMP_CMP_NE", "SCMP_CMP_EQ"))),
    ("the last condition of a rule dropped", Reading(drop_condition)),
    ("only the first of several conditions on one argument kept", Reading(first_alternative)),
    ("an argument's index off by one", Reading(shift_index)),
    ("a rule with the default's action wins over conditions", Reading(default_rule_wins)),
    ("the newest call not counted", Reading(newer_than_the_newest)),
    ("the high word not compared", Writing(ignore_high_words)),
    ("the errno lost", Writing(lose_errno)),
    ("x32 not told from x86-64", Writing(accept_x32)),
    ("foreign architectures allowed", Writing(allow_foreign)),
    ("a range of numbers one too long", Writing(shift_range)),
    ("a jump one too short", Writing(shorten_jump)),
    ("socketcall and ipc forgotten", Prepending(forget_multiplexers)),
];

fn swap_masked(profile: &mut Profile, _: Arch) {
    for argument in profile.syscalls.iter_mut().flat_map(|rule| &mut rule.args) {
        if argument.op == "SCMP_CMP_MASKED_EQ" {
            std::mem::swap(&mut argument.value, &mut argument.value_two);
        }
    }
}

fn operator(profile: &mut Profile, from: &str, to: &str) {
    let arguments = profile.syscalls.iter_mut().flat_map(|rule| &mut rule.args);
    arguments.filter(|argument| argument.op == from).for_each(|argument| to.clone_into(&mut argument.op));
}

fn drop_condition(profile: &mut Profile, _: Arch) {
    for rule in &mut profile.syscalls {
        if rule.args.len() > 1 {
            rule.args.pop();
        }
    }
}

fn first_alternative(profile: &mut Profile, _: Arch) {
    for rule in &mut profile.syscalls {
        if rule.args.windows(2).any(|pair| pair[0].index == pair[1].index) {
            rule.args.truncate(1);
        }
    }
}

fn shift_index(profile: &mut Profile, _: Arch) {
    let arguments = profile.syscalls.iter_mut().flat_map(|rule| &mut rule.args);
    arguments.for_each(|argument| argument.index = (argument.index + 1) % 6);
}

fn default_rule_wins(profile: &mut Profile, _: Arch) {
    let default = (profile.default_action.clone(), profile.default_errno_ret);
    let redundant = profile.syscalls.iter().filter(|rule| (rule.action.clone(), rule.errno_ret) == default);
    let names: Vec<String> = redundant.flat_map(|rule| rule.names.clone()).collect();
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| !names.contains(name));
        rule.names.push("getpid".to_owned());
    }
}

fn newer_than_the_newest(profile: &mut Profile, native: Arch) {
    let numbers =
        profile.syscalls.iter().flat_map(|rule| &rule.names).filter_map(|name| call_number(name, native));
    if let Some(next) = numbers.max().and_then(|newest| call_name(newest + 1, native)) {
        let mut rule = profile.syscalls[0].clone();
        rule.names = vec![next.to_owned()];
        rule.action.clone_from(&profile.default_action);
        rule.errno_ret = profile.default_errno_ret;
        rule.args.clear();
        profile.syscalls.push(rule);
    }
}

fn ignore_high_words(program: &mut [Instruction], native: Arch) {
    for place in 1..program.len() {
        let high = (0..6).any(|argument| program[place - 1].k == program::high(argument, native.endian()));
        if program[place - 1].code == op::LOAD && high && program[place].code == op::EQUAL {
            program[place].jf = program[place].jt;
        }
    }
}

fn lose_errno(program: &mut [Instruction], _: Arch) {
    for instruction in program.iter_mut().filter(|it| it.code == op::RETURN && it.k >> 16 == 5) {
        instruction.k = 0x0005_0001;
    }
}

fn accept_x32(program: &mut [Instruction], _: Arch) {
    for instruction in program.iter_mut().filter(|it| it.code == op::AT_LEAST && it.k == 0x4000_0000) {
        instruction.jt = instruction.jf;
    }
}

fn allow_foreign(program: &mut [Instruction], _: Arch) {
    for instruction in program.iter_mut().filter(|it| it.code == op::RETURN && it.k == 0) {
        instruction.k = 0x7fff_0000;
    }
}

fn shift_range(program: &mut [Instruction], _: Arch) {
    if let Some(range) = program.iter_mut().find(|it| it.code == op::AT_LEAST && it.k < 0x4000_0000) {
        range.k += 1;
    }
}

fn shorten_jump(program: &mut [Instruction], _: Arch) {
    if let Some(jump) = program.iter_mut().skip(3).find(|it| it.code == op::EQUAL && it.jt > 0) {
        jump.jt -= 1;
    }
}

/// A part in front of the program that answers for `socketcall` and `ipc` of x86 with its default.
fn forget_multiplexers(program: &[Instruction]) -> Vec<Instruction> {
    let default = program::run(
        program,
        Arch::X86.endian(),
        &program::Data { number: 102, audit: Arch::X86.audit(), arguments: [25, 0, 0, 0, 0, 0] },
    );
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let front = [
        instruction(op::LOAD, 0, 0, ARCH),
        instruction(op::EQUAL, 0, 4, Arch::X86.audit()),
        instruction(op::LOAD, 0, 0, NUMBER),
        instruction(op::EQUAL, 1, 0, 102),
        instruction(op::EQUAL, 0, 1, 117),
        instruction(op::RETURN, 0, 0, default.unwrap_or_default()),
    ];
    [&front[..], program].concat()
}

/// The seed at which the comparison finds a bug.
fn found(bug: &Bug, builder: &mut Builder) -> Option<u64> {
    let names = names();
    (0..3000).find(|seed| {
        let (profile, native, calls) = case(*seed, &names);
        let mut read = profile.clone();
        if let Reading(change) = bug {
            change(&mut read, native);
        }
        let Ok(mut filter) = compile(&read, native, &Support::default()) else { return false };
        if let Writing(change) = bug {
            change(&mut filter.instructions, native);
        }
        if let Prepending(change) = bug {
            filter.instructions = change(&filter.instructions);
        }
        compare(&profile, native, &filter.instructions, &calls, builder, &mut Tally::default()).is_err()
    })
}

#[test]
fn every_planted_bug_is_found() {
    let mut builder = Builder::new();
    assert_eq!(
        found(&Reading(|_, _| {}), &mut builder),
        None,
        "the comparison finds a bug where none is planted"
    );
    for (what, bug) in &BUGS {
        let seed = found(bug, &mut builder);
        println!("{what}: found at profile {seed:?}");
        assert!(seed.is_some(), "{what}: not found");
    }
}
