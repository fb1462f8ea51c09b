//! Emission: the jumps of the program. Start at [`compile`].
//!
//! ```text
//! load arch; one comparison per architecture, native first; otherwise kill
//!   load number; a balanced tree over the ranges of numbers with one answer
//!     return the answer, or
//!     load and compare words of arguments, alternative by alternative
//! ```
//!
//! Jumps only go forwards and a conditional one at most 255 instructions far. So the program is built from its
//! end: whatever an instruction jumps to is there already, and when it is too far away a copy of the return, or a
//! jump without that limit, is put in between.

use crate::arch::{Arch, Endian, Width};
use crate::ir::{Action, Condition, Operator, Policy, Rule};
use crate::lower::{Decision, FOREIGN, Lowered, lower};
use crate::profile::{Fault, Profile, Support, Violation, flag, validate};
use crate::program::{self, Data, Instruction, MAX_INSTRUCTIONS, op};

/// A compiled profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// The flag word for `seccomp(2)`, with NEW_LISTENER where a rule notifies.
    pub flags: u32,
    /// Who gets the listener, where a rule of a profile notifies.
    pub listener: Option<Listener>,
    /// Whether some rule notifies.
    pub notifies: bool,
    /// What is odd about the profile without being wrong: the key, and half a sentence.
    pub warnings: Vec<(String, String)>,
}

/// `linux.seccomp.listenerPath` and `listenerMetadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The socket of the agent.
    pub path: String,
    /// What is sent along, possibly empty.
    pub metadata: String,
}

/// Compiles a profile for a host whose native architecture is `native`.
///
/// A section that says nothing at all is no filter: ask [`Profile::is_unset`] first, here it is a violation.
///
/// # Errors
/// Every violation of the profile, or that the program would be longer than the kernel takes.
pub fn compile(profile: &Profile, native: Arch, support: &Support) -> Result<Filter, Vec<Violation>> {
    let policy = validate(profile, native, support)?;
    let filter = finish(&policy);
    let count = filter.instructions.len();
    if count > MAX_INSTRUCTIONS {
        let what = format!("compiles to {count} instructions; the kernel takes {MAX_INSTRUCTIONS}");
        let key = "linux.seccomp.syscalls".to_owned();
        return Err(vec![Violation { key, what, fault: Fault::Profile }]);
    }
    let listener = filter.notifies.then(|| Listener {
        path: profile.listener_path.clone(),
        metadata: profile.listener_metadata.clone(),
    });
    Ok(Filter { listener, ..filter })
}

/// The program of a policy, with nobody to whom its listener goes.
pub(crate) fn finish(policy: &Policy<'_>) -> Filter {
    let lowered = lower(policy);
    Filter {
        instructions: emit(&lowered),
        flags: policy.flags,
        listener: None,
        notifies: policy.flags & flag::NEW_LISTENER != 0,
        warnings: warnings(&lowered, policy),
    }
}

impl Filter {
    /// The program as an array of `struct sock_filter` of the machine this runs on.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8 * self.instructions.len()];
        let (rows, _) = bytes.as_chunks_mut();
        for (row, instruction) in rows.iter_mut().zip(&self.instructions) {
            let Instruction { code, jt, jf, k } = instruction;
            let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), k.to_ne_bytes());
            *row = [a, b, *jt, *jf, c, d, e, f];
        }
        bytes
    }

    /// What the program answers to a call. `number` is the one the kernel sees, so on x32 it has
    /// [`crate::arch::X32_BIT`].
    #[must_use]
    pub fn answer(&self, arch: Arch, number: u32, arguments: [u64; 6]) -> Action {
        let data = Data { number, audit: arch.audit(), arguments };
        // A program of this crate ends in a return on every path, so the kernel's answer to a broken one is moot.
        program::run(&self.instructions, arch.endian(), &data).map_or(Action::KillProcess, Action::from_word)
    }
}

fn warnings(lowered: &Lowered<'_>, policy: &Policy<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if !lowered.unknown.is_empty() {
        let what = format!("unknown system calls skipped: {}", lowered.unknown.join(", "));
        all.push(("linux.seccomp.syscalls".to_owned(), what));
    }
    for rule in &lowered.hidden {
        let what = "not seen where the call is made through socketcall or ipc".to_owned();
        all.push((format!("linux.seccomp.syscalls[{rule}].args"), what));
    }
    let unreachable = lowered.unreachable.iter().zip(&policy.rules).enumerate();
    for (rule, (_, Rule { action, .. })) in unreachable.filter(|(_, (unreachable, _))| **unreachable) {
        let what = format!("{} is never reached; another rule decides first", action.name());
        all.push((format!("linux.seccomp.syscalls[{rule}]"), what));
    }
    all
}

/// Where a jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    /// To a return of this word, wherever one is.
    Return(u32),
    /// To the instruction that has this many behind it.
    At(usize),
}

/// The numbers from `first` on get one answer, but for at most one of them.
struct Leaf {
    first: u32,
    target: Label,
    exception: Option<(u32, Label)>,
}

/// The program from its end: the first instruction here is the last one.
struct Assembler<'l> {
    lowered: &'l Lowered<'l>,
    reversed: Vec<Instruction>,
    /// The nearest return of each word.
    returns: Vec<(u32, usize)>,
    /// Where each chain is, once it is.
    chains: Vec<Option<usize>>,
    endian: Endian,
}

/// What one section needs, kept for the next.
struct Room {
    boundaries: Vec<u32>,
    ranges: Vec<(u32, Label)>,
    leaves: Vec<Leaf>,
}

/// How far a conditional jump reaches, less the one instruction that the other side of the same jump may need.
const REACH: usize = 255;

fn emit(lowered: &Lowered<'_>) -> Vec<Instruction> {
    let endian = lowered.sections.first().map_or(Endian::Little, |section| section.arch.endian());
    let mut assembler = Assembler {
        lowered,
        reversed: Vec::with_capacity(512),
        returns: Vec::new(),
        chains: vec![None; lowered.chains.len()],
        endian,
    };
    let mut audits: Vec<u32> = Vec::new();
    for section in &lowered.sections {
        if !audits.contains(&section.audit) {
            audits.push(section.audit);
        }
    }
    let mut room = Room {
        boundaries: Vec::with_capacity(512),
        ranges: Vec::with_capacity(256),
        leaves: Vec::with_capacity(256),
    };
    let sections: Vec<(u32, Label)> =
        audits.iter().rev().map(|&audit| (audit, assembler.section(audit, &mut room))).collect();
    let mut next = Label::Return(FOREIGN.word());
    for (audit, section) in sections {
        next = assembler.branch(op::EQUAL, audit, section, next);
    }
    assembler.before(op::LOAD, program::ARCH, next);
    assembler.reversed.reverse();
    assembler.reversed
}

impl Assembler<'_> {
    /// The code for the numbers of one `seccomp_data.arch`.
    fn section(&mut self, audit: u32, room: &mut Room) -> Label {
        let entry = self.lowered.entry(audit);
        entry.boundaries(&mut room.boundaries);
        room.ranges.clear();
        let mut last: Option<(Decision, Option<Action>)> = None;
        // The chains come first, which is behind the tree, so that it stays together.
        for &first in &room.boundaries {
            let decision = entry.decide(first);
            let answer = self.lowered.answer(decision);
            if !last.is_some_and(|last| last == (decision, answer) || answer.is_some() && last.1 == answer) {
                room.ranges.push((first, self.target(decision, answer)));
                last = Some((decision, answer));
            }
        }
        with_exceptions(&room.ranges, &mut room.leaves);
        let tree = self.tree(&room.leaves);
        self.before(op::LOAD, program::NUMBER, tree)
    }

    fn target(&mut self, decision: Decision, answer: Option<Action>) -> Label {
        match (answer, decision) {
            (None, Decision::Chain(chain)) => self.chain(chain),
            (answer, _) => Label::Return(answer.unwrap_or(FOREIGN).word()),
        }
    }

    /// A balanced tree of comparisons with the first number of each leaf.
    fn tree(&mut self, leaves: &[Leaf]) -> Label {
        match leaves {
            [] => Label::Return(FOREIGN.word()),
            [leaf] => match leaf.exception {
                Some((number, answer)) => self.branch(op::EQUAL, number, answer, leaf.target),
                None => leaf.target,
            },
            _ => {
                let (below, above) = leaves.split_at(leaves.len() / 2);
                let first = above.first().map_or(0, |leaf| leaf.first);
                let above = self.tree(above);
                let below = self.tree(below);
                self.branch(op::AT_LEAST, first, above, below)
            }
        }
    }

    /// The alternatives of a call, one after the other, then the default.
    fn chain(&mut self, index: usize) -> Label {
        if let Some(Some(place)) = self.chains.get(index) {
            return Label::At(*place);
        }
        let lowered = self.lowered;
        let mut next = Label::Return(lowered.default.word());
        let Some(chain) = lowered.chains.get(index) else { return next };
        for alternative in chain.alternatives.iter().rev() {
            let action = lowered.actions.get(alternative.rule).copied().unwrap_or(lowered.default);
            let mut yes = Label::Return(action.word());
            for condition in alternative.conditions.iter().rev() {
                yes = self.condition(condition, chain.width, yes, next);
            }
            next = yes;
        }
        if let (Label::At(place), Some(known)) = (next, self.chains.get_mut(index)) {
            *known = Some(place);
        }
        next
    }

    fn condition(&mut self, condition: &Condition, width: Width, yes: Label, no: Label) -> Label {
        match condition.operator {
            Operator::Eq => self.equal(condition, u64::MAX, width, yes, no),
            Operator::Ne => self.equal(condition, u64::MAX, width, no, yes),
            Operator::MaskedEq { mask } => self.equal(condition, mask, width, yes, no),
            Operator::Gt => self.ordered(condition, op::GREATER, width, yes, no),
            Operator::Ge => self.ordered(condition, op::AT_LEAST, width, yes, no),
            Operator::Le => self.ordered(condition, op::GREATER, width, no, yes),
            Operator::Lt => self.ordered(condition, op::AT_LEAST, width, no, yes),
        }
    }

    fn equal(&mut self, condition: &Condition, mask: u64, width: Width, yes: Label, no: Label) -> Label {
        let low = program::low(condition.argument, self.endian);
        let low = self.equal_word(low, mask as u32, condition.value as u32, yes, no);
        match width {
            Width::Bits32 => low,
            Width::Bits64 => {
                let high = program::high(condition.argument, self.endian);
                self.equal_word(high, (mask >> 32) as u32, (condition.value >> 32) as u32, low, no)
            }
        }
    }

    /// Loads a word and compares the bits of the mask. Without any it is equal.
    fn equal_word(&mut self, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        if mask == 0 {
            return yes;
        }
        let mut compare = self.branch(op::EQUAL, value, yes, no);
        if mask != u32::MAX {
            compare = self.before(op::AND, mask, compare);
        }
        self.before(op::LOAD, offset, compare)
    }

    /// `argument > value`, or `>=`: the high words decide unless they are equal.
    fn ordered(&mut self, condition: &Condition, compare: u16, width: Width, yes: Label, no: Label) -> Label {
        let low = self.branch(compare, condition.value as u32, yes, no);
        let low = self.before(op::LOAD, program::low(condition.argument, self.endian), low);
        match width {
            Width::Bits32 => low,
            Width::Bits64 => {
                let value = (condition.value >> 32) as u32;
                let equal = self.branch(op::EQUAL, value, low, no);
                let greater = self.branch(op::GREATER, value, yes, equal);
                self.before(op::LOAD, program::high(condition.argument, self.endian), greater)
            }
        }
    }

    /// A comparison with both its jumps. When they go to the same place there is nothing to compare.
    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let skip = |place: usize| (self.reversed.len() - 1 - place) as u8;
        let instruction = Instruction { code, jt: skip(yes), jf: skip(no), k };
        self.push(instruction)
    }

    /// An instruction without a jump, after which `next` follows.
    fn before(&mut self, code: u16, k: u32, next: Label) -> Label {
        match next {
            Label::At(place) if place + 1 == self.reversed.len() => {}
            Label::At(place) => {
                self.bridge(place);
            }
            Label::Return(word) => {
                self.push(Instruction { code: op::RETURN, jt: 0, jf: 0, k: word });
            }
        }
        self.push(Instruction { code, jt: 0, jf: 0, k })
    }

    /// The place of an instruction with the effect of the label, within reach of the next instruction but one.
    fn near(&mut self, label: Label) -> usize {
        let place = match label {
            Label::At(place) => Some(place),
            Label::Return(word) => {
                self.returns.iter().find(|(known, _)| *known == word).map(|(_, place)| *place)
            }
        };
        match (place, label) {
            (Some(place), _) if self.reversed.len() - place <= REACH => place,
            (Some(place), Label::At(_)) => self.bridge(place),
            (_, Label::Return(word)) => self.new_return(word),
            (None, Label::At(place)) => place,
        }
    }

    fn new_return(&mut self, word: u32) -> usize {
        let place = self.reversed.len();
        self.reversed.push(Instruction { code: op::RETURN, jt: 0, jf: 0, k: word });
        match self.returns.iter_mut().find(|(known, _)| *known == word) {
            Some(known) => known.1 = place,
            None => self.returns.push((word, place)),
        }
        place
    }

    /// A jump over any distance.
    fn bridge(&mut self, place: usize) -> usize {
        let k = (self.reversed.len() - 1 - place) as u32;
        self.reversed.push(Instruction { code: op::JUMP, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label::At(self.reversed.len() - 1)
    }
}

/// Joins a range of one number with the ranges around it where these have the same answer: one comparison
/// instead of two.
fn with_exceptions(ranges: &[(u32, Label)], leaves: &mut Vec<Leaf>) {
    leaves.clear();
    let mut rest = ranges;
    while let [(first, target), after @ ..] = rest {
        let leaf = |exception| Leaf { first: *first, target: *target, exception };
        match after {
            [(number, answer), (next, again), ..] if *next == number + 1 && again == target => {
                leaves.push(leaf(Some((*number, *answer))));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                leaves.push(leaf(None));
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(json: &str) -> Filter {
        compile_for(json, Arch::X86_64)
    }

    fn compile_for(json: &str, native: Arch) -> Filter {
        let profile: Profile = serde_json::from_str(json).unwrap();
        let filter = compile(&profile, native, &Support::default()).unwrap();
        assert_eq!(program::check(&filter.instructions), Ok(()));
        filter
    }

    fn violations(json: &str) -> Vec<String> {
        let profile: Profile = serde_json::from_str(json).unwrap();
        let violations = compile(&profile, Arch::X86_64, &Support::default()).unwrap_err();
        violations.into_iter().map(|violation| format!("{}: {}", violation.key, violation.what)).collect()
    }

    const ZERO: [u64; 6] = [0; 6];

    #[test]
    fn a_list_of_allowed_calls() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
                "syscalls": [{"names": ["read", "futex"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
        let cases = [
            (Arch::X86_64, 0, Action::Allow),
            (Arch::X86_64, 1, Action::Errno(1)),
            (Arch::X86_64, 202, Action::Allow),
            (Arch::X86_64, 203, Action::Errno(38)),
            (Arch::X86_64, 0x4000_0000, Action::KillThread),
            (Arch::X86_64, 0x8000_0000, Action::Errno(38)),
            (Arch::X86_64, u32::MAX, Action::Errno(1)),
            (Arch::X86, 3, Action::Allow),
            (Arch::X86, 0, Action::Errno(1)),
            (Arch::X86, 240, Action::Allow),
            (Arch::X86, 241, Action::Errno(38)),
            (Arch::Aarch64, 63, Action::KillThread),
        ];
        for (arch, number, expected) in cases {
            assert_eq!(filter.answer(arch, number, ZERO), expected, "{arch:?} {number}");
        }
        assert_eq!(filter.flags, flag::SPEC_ALLOW);
        assert_eq!(filter.bytes().len(), 8 * filter.instructions.len());
    }

    #[test]
    fn x32_has_numbers_of_its_own_where_it_is_listed() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "architectures": ["SCMP_ARCH_X32"],
                "syscalls": [{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
        let cases = [
            (16, Action::Allow),
            (17, Action::Errno(38)),
            (0x4000_0000 + 16, Action::Errno(5)),
            (0x4000_0000 + 514, Action::Allow),
            (0x4000_0000 + 515, Action::Errno(38)),
            (u32::MAX, Action::Errno(38)),
        ];
        for (number, expected) in cases {
            assert_eq!(filter.answer(Arch::X86_64, number, ZERO), expected, "{number:#x}");
        }
    }

    #[test]
    fn masked_operands_are_mask_and_value_in_that_order() {
        // The rule by which engines keep clone(2) from making namespaces.
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#,
        );
        let clone = |flags| filter.answer(Arch::X86_64, 56, [flags, 0, 0, 0, 0, 0]);
        assert_eq!(clone(0x11), Action::Allow);
        assert_eq!(clone(0x1000_0000), Action::Errno(1));
        assert_eq!(clone(0xffff_ffff_0000_0000), Action::Allow);
        assert_eq!(filter.answer(Arch::X86_64, 435, ZERO), Action::Errno(38));
    }

    #[test]
    fn every_operator_compares_all_64_bits() {
        const HIGH: u64 = 0x1_0000_0000;
        let value = HIGH + 5;
        let probes =
            [0, 4, 5, 6, value - HIGH, value - 1, value, value + 1, value + HIGH, value - 3 * 2, u64::MAX];
        type Holds = fn(u64, u64) -> bool;
        let operators: [(&str, Holds); 6] = [
            ("NE", |a, b| a != b),
            ("LT", |a, b| a < b),
            ("LE", |a, b| a <= b),
            ("EQ", |a, b| a == b),
            ("GE", |a, b| a >= b),
            ("GT", |a, b| a > b),
        ];
        for (name, holds) in operators {
            let filter = filter(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                    {{"names": ["ioctl"], "action": "SCMP_ACT_TRAP",
                      "args": [{{"index": 5, "value": {value}, "op": "SCMP_CMP_{name}"}}]}}]}}"#
            ));
            for probe in probes {
                let expected = |holds| if holds { Action::Trap } else { Action::Allow };
                let arguments = [0, 0, 0, 0, 0, probe];
                assert_eq!(
                    filter.answer(Arch::X86_64, 16, arguments),
                    expected(holds(probe, value)),
                    "{name}"
                );
                let narrow = expected(holds(probe & 0xffff_ffff, 5));
                assert_eq!(filter.answer(Arch::X86, 54, arguments), narrow, "{name} {probe:#x} on x86");
            }
        }
    }

    #[test]
    fn a_multiplexed_call_answers_at_both_entries() {
        let filter = compile_for(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97}]}"#,
            Arch::X86,
        );
        let cases = [
            (359, 0, Action::Errno(97)),
            (102, 1, Action::Errno(97)),
            (102, 2, Action::Allow),
            (395, 0, Action::Errno(97)),
            (117, 23, Action::Errno(97)),
            (117, 0x1_0017, Action::Errno(97)),
            (117, 22, Action::Allow),
        ];
        for (number, selector, expected) in cases {
            let answer = filter.answer(Arch::X86, number, [selector, 0, 0, 0, 0, 0]);
            assert_eq!(answer, expected, "{number} {selector}");
        }
    }

    #[test]
    fn a_call_behind_a_multiplexer_makes_that_known_also_in_a_rule_that_is_skipped() {
        let filter = compile_for(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["semtimedop"], "action": "SCMP_ACT_ERRNO"}]}"#,
            Arch::X86,
        );
        // ipc(2) is 117.
        assert_eq!(filter.answer(Arch::X86, 117, ZERO), Action::Errno(1));
        assert_eq!(filter.answer(Arch::X86, 118, ZERO), Action::Errno(38));
    }

    #[test]
    fn several_conditions_on_one_argument_are_alternatives() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]}]}"#,
        );
        let personality = |value| filter.answer(Arch::X86_64, 135, [value, 0, 0, 0, 0, 0]).may_proceed();
        assert_eq!([0, 8, 9].map(personality), [true, true, false]);
        let socket = |(domain, protocol)| {
            filter.answer(Arch::X86_64, 41, [domain, 0, protocol, 0, 0, 0]).may_proceed()
        };
        assert_eq!([(16, 0), (16, 9), (2, 0), (2, 9)].map(socket), [true, false, false, false]);
    }

    #[test]
    fn the_rule_without_conditions_wins_and_the_default_action_is_no_rule() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_TRAP", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
                {"names": ["kill", "tkill"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["tkill"], "action": "SCMP_ACT_KILL"},
                {"names": ["dup"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["dup"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
                {"names": ["frobnicate"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
        assert_eq!(filter.answer(Arch::X86_64, 62, [1, 0, 0, 0, 0, 0]), Action::Allow);
        assert_eq!(filter.answer(Arch::X86_64, 200, ZERO), Action::Allow);
        assert_eq!(filter.answer(Arch::X86_64, 32, [1, 0, 0, 0, 0, 0]), Action::Log);
        assert_eq!(filter.answer(Arch::X86_64, 32, ZERO), Action::Errno(1));
        let odd = "unknown system calls skipped: frobnicate";
        assert_eq!(filter.warnings, [("linux.seccomp.syscalls".to_owned(), odd.to_owned())]);
    }

    #[test]
    fn what_never_decides_or_is_not_seen_is_warned_of_once() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_TRAP", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
                {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]}]}"#,
        );
        let texts: Vec<String> = filter.warnings.iter().map(|(key, what)| format!("{key}: {what}")).collect();
        let expected = [
            "linux.seccomp.syscalls[2].args: not seen where the call is made through socketcall or ipc",
            "linux.seccomp.syscalls[1]: SCMP_ACT_ALLOW is never reached; another rule decides first",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn all_violations_at_once() {
        let found = violations(
            r#"{"defaultAction": "SCMP_ACT_NOTIFY", "defaultErrnoRet": 1, "architectures": ["x86_64", "SCMP_ARCH_S390X"],
                "flags": ["LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "listenerMetadata": "m",
                "futureKey": {"a": 1},
                "syscalls": [
                    {"names": [], "action": "SCMP_ACT_ALLOW", "errnoRet": 3},
                    {"names": ["read", ""], "action": "SCMP_ACT_KILL_ALL"},
                    {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096,
                     "args": [{"index": 6, "value": 0, "op": "EQ"}]}]}"#,
        );
        let expected = [
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_NOTIFY takes no errno",
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default: init's own calls would wait for the agent",
            "linux.seccomp.architectures[0]: unknown architecture \"x86_64\"; did you mean \"SCMP_ARCH_X86_64\"?",
            "linux.seccomp.architectures[1]: SCMP_ARCH_S390X has the other byte order than SCMP_ARCH_X86_64",
            "linux.seccomp.syscalls[0].names: at least one name is required",
            "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW takes no errno",
            "linux.seccomp.syscalls[1].names[1]: an empty name",
            "linux.seccomp.syscalls[1].action: unknown action \"SCMP_ACT_KILL_ALL\"",
            "linux.seccomp.syscalls[2].errnoRet: 4096 is above 4095",
            "linux.seccomp.syscalls[2].args[0].index: 6 is above 5, the last argument of a call",
            "linux.seccomp.syscalls[2].args[0].op: unknown operator \"EQ\"; did you mean \"SCMP_CMP_EQ\"?",
            "linux.seccomp.flags[0]: unknown flag \"LOG\"; did you mean \"SECCOMP_FILTER_FLAG_LOG\"?",
            "linux.seccomp.flags[1]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY",
            "linux.seccomp.listenerMetadata: must not be set without listenerPath",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_listener_is_announced_and_named() {
        let found = violations(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdir", "write"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        );
        assert_eq!(found.len(), 2, "{found:?}");
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "listenerMetadata": "m", "flags":
                ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        );
        assert_eq!(filter.flags, flag::LOG | flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV);
        assert_eq!(filter.listener, Some(Listener { path: "/run/agent".into(), metadata: "m".into() }));
        assert_eq!(filter.answer(Arch::X86_64, 83, ZERO), Action::Notify);
    }

    #[test]
    fn what_the_host_lacks_is_refused_unless_it_is_only_a_default() {
        let known = [Action::Errno(0).word(), Action::Allow.word()];
        let support = Support::probe(|_| false, |word| known.contains(&word));
        let profile = |json| serde_json::from_str::<Profile>(json).unwrap();
        let plain = profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        assert_eq!(compile(&plain, Arch::X86_64, &support).unwrap().flags, 0);
        let rich = profile(r#"{"defaultAction": "SCMP_ACT_LOG", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#);
        let refused = compile(&rich, Arch::X86_64, &support).unwrap_err();
        assert_eq!(
            refused.iter().map(|it| (it.key.as_str(), it.fault)).collect::<Vec<_>>(),
            [("linux.seccomp.defaultAction", Fault::Host), ("linux.seccomp.flags[0]", Fault::Host)]
        );
    }

    #[test]
    fn a_kernel_without_filters_is_one_violation() {
        let profile: Profile = serde_json::from_str(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
        let support = Support::probe(|_| false, |_| false);
        let refused = compile(&profile, Arch::X86_64, &support).unwrap_err();
        assert_eq!(refused.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["linux.seccomp"]);
    }

    #[test]
    fn every_flag_is_asked_for_as_the_kernel_takes_it() {
        // The kernel refuses a wait for a listener that is not there.
        let takes = |word: u32| word != flag::WAIT_KILLABLE_RECV && word != flag::TSYNC;
        let support = Support::probe(takes, |_| true);
        assert_eq!(support.flags, Support::default().flags & !flag::TSYNC);
        let names: Vec<&str> = support.flag_names().collect();
        let expected = ["LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
        assert_eq!(names, expected.map(|name| format!("SECCOMP_FILTER_FLAG_{name}")));
    }
}
