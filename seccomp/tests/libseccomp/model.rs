//! What a profile says about one call, read rule by rule: no program, no tree, no order among conditions.

use crate::generate::Call;
use seccomp::arch::Width;
use seccomp::profile::{Argument, Profile, Syscall};
use seccomp::{Arch, call_number};

/// What the rules say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The first rule without conditions.
    pub(crate) always: Option<(String, Option<u32>)>,
    /// The actions of the rules whose conditions hold, each once.
    pub(crate) matching: Vec<(String, Option<u32>)>,
}

impl Said {
    /// Whether rules with conditions disagree, so that only an order among them can tell.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.always.is_none() && self.matching.len() > 1
    }

    /// The action, or nothing where the default answers.
    pub(crate) fn action(&self) -> Option<&(String, Option<u32>)> {
        self.always.as_ref().or(self.matching.first())
    }
}

pub(crate) fn said(profile: &Profile, call: &Call) -> Said {
    let mut said = Said::default();
    for rule in profile.syscalls.iter().filter(|rule| action(rule) != default(profile)) {
        for name in &rule.names {
            if call_number(name, call.arch) == Some(call.number) {
                note(&mut said, rule, call, false);
            }
            if is_selected(name, call) {
                note(&mut said, rule, call, true);
            }
        }
    }
    said
}

fn note(said: &mut Said, rule: &Syscall, call: &Call, multiplexed: bool) {
    let mut counts = [0; 6];
    rule.args.iter().for_each(|argument| counts[argument.index as usize] += 1);
    let hidden = |argument: &&Argument| !(multiplexed && argument.index == 0);
    let all: Vec<&Argument> = rule.args.iter().filter(hidden).collect();
    // On a narrow architecture a mask of the upper half only compares nothing.
    let trivial =
        |argument: &&Argument| argument.op == "SCMP_CMP_MASKED_EQ" && argument.value & keep(call.arch) == 0;
    let alternatives = counts.iter().any(|count| *count > 1);
    let unconditional = if alternatives { all.iter().any(trivial) } else { all.iter().all(trivial) };
    if unconditional && !multiplexed {
        said.always.get_or_insert(action(rule));
    }
    let holds = |argument: &&Argument| holds(argument, call);
    let hidden_is_enough = multiplexed && alternatives && all.len() < rule.args.len();
    let matched =
        if alternatives { all.iter().any(holds) || hidden_is_enough } else { all.iter().all(holds) };
    if matched && !said.matching.contains(&action(rule)) {
        said.matching.push(action(rule));
    }
}

/// An action's one spelling, with its number.
fn action(rule: &Syscall) -> (String, Option<u32>) {
    spell(&rule.action, rule.errno_ret)
}

pub(crate) fn default(profile: &Profile) -> (String, Option<u32>) {
    spell(&profile.default_action, profile.default_errno_ret)
}

fn spell(name: &str, number: Option<u32>) -> (String, Option<u32>) {
    match name {
        "SCMP_ACT_KILL" => ("SCMP_ACT_KILL_THREAD".to_owned(), None),
        "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE" => (name.to_owned(), Some(number.unwrap_or(1))),
        _ => (name.to_owned(), None),
    }
}

fn keep(arch: Arch) -> u64 {
    match arch.width() {
        Width::Bits32 => 0xffff_ffff,
        Width::Bits64 => u64::MAX,
    }
}

fn holds(argument: &Argument, call: &Call) -> bool {
    let keep = keep(call.arch);
    let given = call.arguments[argument.index as usize] & keep;
    let value = argument.value & keep;
    match argument.op.as_str() {
        "SCMP_CMP_NE" => given != value,
        "SCMP_CMP_LT" => given < value,
        "SCMP_CMP_LE" => given <= value,
        "SCMP_CMP_EQ" => given == value,
        "SCMP_CMP_GE" => given >= value,
        "SCMP_CMP_GT" => given > value,
        "SCMP_CMP_MASKED_EQ" => given & value == argument.value_two & value,
        other => panic!("{other}"),
    }
}

const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

const IPC: [(u32, &str); 12] = [
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// What a call can also be behind.
pub(crate) fn multiplexer(name: &str) -> Option<&'static str> {
    if SOCKETCALL.contains(&name) {
        Some("socketcall")
    } else {
        IPC.iter().any(|(_, known)| *known == name).then_some("ipc")
    }
}

/// Whether the call is `socketcall` or `ipc` and selects the named one.
fn is_selected(name: &str, call: &Call) -> bool {
    let is = |multiplexer| call_number(multiplexer, call.arch) == Some(call.number);
    let selector = call.arguments[0] as u32;
    is("socketcall")
        && SOCKETCALL.iter().position(|it| *it == name).is_some_and(|it| it as u32 + 1 == selector)
        || is("ipc") && IPC.contains(&(selector & 0xffff, name))
}

/// Whether the call selects through `socketcall` or `ipc` with bits set that the kernel ignores.
pub(crate) fn selects_with_more_bits(call: &Call) -> bool {
    let is = |multiplexer| call_number(multiplexer, call.arch) == Some(call.number);
    let given = call.arguments[0] & keep(call.arch);
    is("socketcall") && given > 0xffff_ffff || is("ipc") && given > 0xffff
}

/// How many rules with conditions a call has, where each condition of a rule counts that has several on an argument.
pub(crate) fn conditional_rules(profile: &Profile, call: &Call) -> usize {
    let about = |name: &&String| call_number(name, call.arch) == Some(call.number) || is_selected(name, call);
    let rules =
        profile.syscalls.iter().map(|rule| rule.names.iter().filter(about).count() * rule.args.len().min(2));
    rules.sum()
}
