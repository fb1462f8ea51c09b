//! `linux.seccomp` as written, and the rules that make it valid.
//!
//! Unknown keys are ignored, as the spec demands of extensions; unknown values are violations, and all
//! violations are reported at once. Source: config-linux.md of runtime-spec 1.3, section "Seccomp".

use crate::arch::Arch;
use crate::ir::{Action, Condition, Operator, Policy, Rule};
use serde::{Deserialize, Deserializer};

// --- Shape ---

/// `linux.seccomp`. A missing key and `null` are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Profile {
    /// `SCMP_ACT_*`, required.
    #[serde(deserialize_with = "null_as_default")]
    pub default_action: String,
    /// The errno of an ERRNO default, or the number of a TRACE one.
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_*`. The native one is always added.
    #[serde(deserialize_with = "null_as_default")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*`. Missing is not the same as empty: it means SPEC_ALLOW.
    pub flags: Option<Vec<String>>,
    /// The socket that gets the descriptor of the listener.
    #[serde(deserialize_with = "null_as_default")]
    pub listener_path: String,
    /// Opaque text that is sent along.
    #[serde(deserialize_with = "null_as_default")]
    pub listener_metadata: String,
    /// The rules.
    #[serde(deserialize_with = "null_as_default")]
    pub syscalls: Vec<Syscall>,
}

/// `linux.seccomp.syscalls[]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Syscall {
    /// Names of calls, at least one. A name that no architecture has is skipped.
    #[serde(deserialize_with = "null_as_default")]
    pub names: Vec<String>,
    /// `SCMP_ACT_*`.
    #[serde(deserialize_with = "null_as_default")]
    pub action: String,
    /// The errno of ERRNO, or the number of TRACE.
    pub errno_ret: Option<u32>,
    /// The conditions.
    #[serde(deserialize_with = "null_as_default")]
    pub args: Vec<Argument>,
}

/// `linux.seccomp.syscalls[].args[]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Argument {
    /// 0 to 5.
    pub index: u32,
    /// What the argument is compared with; for MASKED_EQ the mask.
    pub value: u64,
    /// What the masked argument is compared with for MASKED_EQ, ignored otherwise.
    #[serde(deserialize_with = "null_as_default")]
    pub value_two: u64,
    /// `SCMP_CMP_*`.
    #[serde(deserialize_with = "null_as_default")]
    pub op: String,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

impl Profile {
    /// Whether the section says nothing, so that the container runs without a filter: runc reads it so when
    /// neither a default nor a rule is there.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        self.default_action.is_empty() && self.syscalls.is_empty()
    }

    /// Whether some rule asks an agent.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY")
    }

    /// The calls about which an agent is asked, with or without conditions.
    pub fn notified_calls(&self) -> impl Iterator<Item = &str> {
        let notifying = self.syscalls.iter().filter(|rule| rule.action == "SCMP_ACT_NOTIFY");
        notifying.flat_map(|rule| rule.names.iter().map(String::as_str))
    }
}

// --- Rules ---

/// One thing that is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key, such as `linux.seccomp.syscalls[3].args[0].op`.
    pub key: String,
    /// What is wrong with its value, as half a sentence.
    pub what: String,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No kernel takes the value.
    Profile,
    /// The kernel of this host does not.
    Host,
}

/// What the kernel of this host can do. The default is everything this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// The `SECCOMP_FILTER_FLAG_*` bits it takes.
    pub flags: u32,
    /// The actions it takes.
    pub actions: Actions,
}

impl Default for Support {
    fn default() -> Self {
        Self {
            flags: FLAGS.iter().fold(flag::NEW_LISTENER, |all, (_, bit)| all | bit),
            actions: Actions::ALL,
        }
    }
}

impl Support {
    /// Asks for everything that a profile may need. `flags` says whether `seccomp(2)` takes a flag word, `action` whether
    /// it knows the action of a returned word; what they ask, and how, is not this crate's.
    #[must_use]
    pub fn probe(flags: impl Fn(u32) -> bool, action: impl Fn(u32) -> bool) -> Self {
        let alone = [flag::TSYNC, flag::LOG, flag::SPEC_ALLOW, flag::NEW_LISTENER];
        let taken = alone.into_iter().filter(|bit| flags(*bit));
        let mut known = taken.fold(0, |all, bit| all | bit);
        // The kernel takes it only beside a listener.
        if flags(flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV) {
            known |= flag::WAIT_KILLABLE_RECV;
        }
        let known_actions = EVERY.into_iter().filter(|known| action(known.word()));
        Self { flags: known, actions: Actions(known_actions.fold(0, |set, action| set | bit(action))) }
    }

    /// The names of the flags that the kernel takes.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        FLAGS.iter().filter(|(_, bit)| self.flags & bit != 0).map(|(name, _)| *name)
    }
}

/// A set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actions(u8);

/// One of each, with no data.
const EVERY: [Action; 8] = [
    Action::KillProcess,
    Action::KillThread,
    Action::Trap,
    Action::Errno(0),
    Action::Notify,
    Action::Trace(0),
    Action::Log,
    Action::Allow,
];

const fn bit(action: Action) -> u8 {
    match action {
        Action::KillProcess => 1 << 0,
        Action::KillThread => 1 << 1,
        Action::Trap => 1 << 2,
        Action::Errno(_) => 1 << 3,
        Action::Notify => 1 << 4,
        Action::Trace(_) => 1 << 5,
        Action::Log => 1 << 6,
        Action::Allow => 1 << 7,
    }
}

impl Actions {
    /// All of them.
    pub const ALL: Self = Self(0xff);

    /// None, as where the kernel has no filters at all.
    pub const NONE: Self = Self(0);

    /// Whether the action is one of them.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }
}

/// The bits of `seccomp(2)`. Source: `include/uapi/linux/seccomp.h`.
pub mod flag {
    /// All threads of the process get the filter.
    pub const TSYNC: u32 = 1 << 0;
    /// Every answer but ALLOW is logged.
    pub const LOG: u32 = 1 << 1;
    /// The speculative store bypass mitigation is not switched on.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// `seccomp(2)` returns the descriptor of a listener.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// A notified call that the agent has taken up is not interrupted but by a fatal signal.
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// The flags of the spec.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", flag::TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", flag::LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", flag::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", flag::WAIT_KILLABLE_RECV),
];

/// The actions of the spec.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];

/// The operators of the spec.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// What the kernel can return as an errno: `MAX_ERRNO`.
const MAX_ERRNO: u32 = 4095;

/// What an ERRNO or TRACE without a number has: EPERM.
const EPERM: u16 = 1;

/// The valid form of a profile.
///
/// # Errors
/// Every violation.
pub fn validate<'p>(
    profile: &'p Profile,
    native: Arch,
    support: &Support,
) -> Result<Policy<'p>, Vec<Violation>> {
    if support.actions == Actions::NONE {
        let what = "the kernel has no filters of system calls (CONFIG_SECCOMP_FILTER)".to_owned();
        return Err(vec![Violation { key: "linux.seccomp".to_owned(), what, fault: Fault::Host }]);
    }
    let mut check = Check { support, violations: Vec::new() };
    let default = check.default_action(profile);
    let architectures = check.architectures(&profile.architectures, native);
    let rules = check.rules(&profile.syscalls);
    let flags = check.flags(profile);
    check.listener(profile);
    match default {
        Some(default) if check.violations.is_empty() => Ok(Policy { default, architectures, rules, flags }),
        _ => Err(check.violations),
    }
}

/// The pass over a profile: what the host can do, and what was wrong so far.
struct Check<'s> {
    support: &'s Support,
    violations: Vec<Violation>,
}

impl Check<'_> {
    fn refuse(&mut self, key: String, what: String) {
        self.violations.push(Violation { key: format!("linux.seccomp.{key}"), what, fault: Fault::Profile });
    }

    fn lacks(&mut self, key: String, name: &str) {
        let what = format!("the kernel does not know {name}");
        self.violations.push(Violation { key: format!("linux.seccomp.{key}"), what, fault: Fault::Host });
    }

    fn default_action(&mut self, profile: &Profile) -> Option<Action> {
        let keys = || ("defaultAction".to_owned(), "defaultErrnoRet".to_owned());
        let action = self.action(&profile.default_action, profile.default_errno_ret, keys)?;
        if action == Action::Notify {
            let what = "SCMP_ACT_NOTIFY cannot be the default: init's own calls would wait for the agent";
            self.refuse(keys().0, what.to_owned());
        }
        Some(action)
    }

    /// The action of a name and its number. `keys` names the keys of both.
    fn action(
        &mut self,
        name: &str,
        number: Option<u32>,
        keys: impl Fn() -> (String, String),
    ) -> Option<Action> {
        let data = number.map_or(EPERM, |number| u16::try_from(number).unwrap_or(u16::MAX));
        let (action, limit) = match name {
            "SCMP_ACT_ALLOW" => (Action::Allow, None),
            "SCMP_ACT_ERRNO" => (Action::Errno(data), Some(MAX_ERRNO)),
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => (Action::KillThread, None),
            "SCMP_ACT_KILL_PROCESS" => (Action::KillProcess, None),
            "SCMP_ACT_TRAP" => (Action::Trap, None),
            "SCMP_ACT_TRACE" => (Action::Trace(data), Some(u32::from(u16::MAX))),
            "SCMP_ACT_LOG" => (Action::Log, None),
            "SCMP_ACT_NOTIFY" => (Action::Notify, None),
            _ => {
                self.refuse(keys().0, unknown("action", name, &ACTIONS));
                return None;
            }
        };
        match (number, limit) {
            (Some(_), None) => self.refuse(keys().1, format!("{name} takes no errno")),
            (Some(number), Some(limit)) if number > limit => {
                self.refuse(keys().1, format!("{number} is above {limit}"));
            }
            _ => {}
        }
        if !self.support.actions.contains(action) {
            self.lacks(keys().0, name);
        }
        Some(action)
    }

    fn architectures(&mut self, names: &[String], native: Arch) -> Vec<Arch> {
        let mut all = vec![native];
        for (place, name) in names.iter().enumerate() {
            match Arch::from_name(name) {
                None => {
                    let known = Arch::ALL.map(Arch::name);
                    self.refuse(format!("architectures[{place}]"), unknown("architecture", name, &known));
                }
                Some(arch) if arch.endian() != native.endian() => {
                    let what = format!("{name} has the other byte order than {}", native.name());
                    self.refuse(format!("architectures[{place}]"), what);
                }
                Some(arch) if all.contains(&arch) => {}
                Some(arch) => all.push(arch),
            }
        }
        all
    }

    fn rules<'p>(&mut self, syscalls: &'p [Syscall]) -> Vec<Rule<'p>> {
        syscalls.iter().enumerate().filter_map(|(place, syscall)| self.rule(place, syscall)).collect()
    }

    fn rule<'p>(&mut self, place: usize, syscall: &'p Syscall) -> Option<Rule<'p>> {
        let key = |end: &str| format!("syscalls[{place}].{end}");
        if syscall.names.is_empty() {
            self.refuse(key("names"), "at least one name is required".to_owned());
        }
        for (index, _) in syscall.names.iter().enumerate().filter(|(_, name)| name.is_empty()) {
            self.refuse(key(&format!("names[{index}]")), "an empty name".to_owned());
        }
        let action = self.action(&syscall.action, syscall.errno_ret, || (key("action"), key("errnoRet")));
        if action == Some(Action::Notify) {
            self.notified(place, &syscall.names);
        }
        let arguments = syscall.args.iter().enumerate();
        let conditions: Vec<Condition> =
            arguments.filter_map(|(index, argument)| self.condition(place, index, argument)).collect();
        Some(Rule { names: &syscall.names, action: action?, alternatives: alternatives(conditions) })
    }

    /// Init announces the listener with `write`. An agent can only be asked about that after it happened.
    fn notified(&mut self, place: usize, names: &[String]) {
        for (index, _) in names.iter().enumerate().filter(|(_, name)| *name == "write") {
            let what =
                "SCMP_ACT_NOTIFY cannot be used for the write syscall: init announces the listener with it";
            self.refuse(format!("syscalls[{place}].names[{index}]"), what.to_owned());
        }
    }

    fn condition(&mut self, place: usize, index: usize, argument: &Argument) -> Option<Condition> {
        let key = |end: &str| format!("syscalls[{place}].args[{index}].{end}");
        let number = u8::try_from(argument.index).ok().filter(|number| *number < 6);
        if number.is_none() {
            self.refuse(key("index"), format!("{} is above 5, the last argument of a call", argument.index));
        }
        let plain = |operator| Some((operator, argument.value));
        let comparison = match argument.op.as_str() {
            "SCMP_CMP_NE" => plain(Operator::Ne),
            "SCMP_CMP_LT" => plain(Operator::Lt),
            "SCMP_CMP_LE" => plain(Operator::Le),
            "SCMP_CMP_EQ" => plain(Operator::Eq),
            "SCMP_CMP_GE" => plain(Operator::Ge),
            "SCMP_CMP_GT" => plain(Operator::Gt),
            // Bits of valueTwo outside the mask are dropped, as libseccomp does.
            "SCMP_CMP_MASKED_EQ" => {
                Some((Operator::MaskedEq { mask: argument.value }, argument.value_two & argument.value))
            }
            _ => None,
        };
        if comparison.is_none() {
            self.refuse(key("op"), unknown("operator", &argument.op, &OPERATORS));
        }
        let (operator, value) = comparison?;
        Some(Condition { argument: number?, operator, value })
    }

    /// The flag word. TSYNC is accepted and left out: init has one thread, and the kernel refuses TSYNC together
    /// with a listener.
    fn flags(&mut self, profile: &Profile) -> u32 {
        let mut flags = if profile.notifies() { flag::NEW_LISTENER } else { 0 };
        let Some(names) = &profile.flags else {
            return flags | flag::SPEC_ALLOW & self.support.flags;
        };
        for (place, name) in names.iter().enumerate() {
            let key = format!("flags[{place}]");
            match FLAGS.iter().find(|(known, _)| known == name) {
                None => self.refuse(key, unknown("flag", name, &FLAGS.map(|(known, _)| known))),
                Some((_, bit)) if self.support.flags & bit == 0 => {
                    self.lacks(key, name);
                }
                Some((_, flag::WAIT_KILLABLE_RECV)) if !profile.notifies() => {
                    self.refuse(key, format!("{name} needs a rule with SCMP_ACT_NOTIFY"));
                }
                Some((_, bit)) => flags |= bit & !flag::TSYNC,
            }
        }
        flags
    }

    fn listener(&mut self, profile: &Profile) {
        if profile.listener_path.is_empty() {
            if !profile.listener_metadata.is_empty() {
                let what = "must not be set without listenerPath";
                self.refuse("listenerMetadata".to_owned(), what.to_owned());
            }
            if profile.notifies() {
                let what = "SCMP_ACT_NOTIFY is used but nobody is named to answer";
                self.refuse("listenerPath".to_owned(), what.to_owned());
            }
        }
        if profile.listener_path.contains('\0') {
            self.refuse("listenerPath".to_owned(), "a NUL byte".to_owned());
        }
    }
}

/// The conditions of a rule hold together. But where one argument has several, runc adds each condition of the rule
/// as a rule of its own, and profiles rely on it: then any one of them is enough.
fn alternatives(mut conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    if conditions.is_empty() {
        return Vec::new();
    }
    let seen = conditions.iter().fold(0u8, |seen, condition| seen | 1 << condition.argument);
    if seen.count_ones() as usize == conditions.len() {
        conditions.sort_by_key(|condition| condition.argument);
        return vec![conditions];
    }
    conditions.into_iter().map(|condition| vec![condition]).collect()
}

/// An unknown value, and the known one that was probably meant.
fn unknown(kind: &str, given: &str, known: &[&str]) -> String {
    if given.is_empty() {
        return format!("the {kind} is missing");
    }
    let folded = given.to_ascii_uppercase();
    let ends_alike = |name: &&&str| {
        name.strip_suffix(folded.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    };
    match known.iter().find(ends_alike) {
        Some(meant) => format!("unknown {kind} {given:?}; did you mean {meant:?}?"),
        None => format!("unknown {kind} {given:?}"),
    }
}
