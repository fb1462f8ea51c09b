//! What a profile answers to a call and which rule decides, for each architecture. Start at [`explain`].
//!
//! This reads the rules as they are spread over the architectures and not the program, so it can name the rule. That
//! both say the same is a test.

use crate::arch::{Arch, Width};
use crate::ir::{Action, Condition};
use crate::lower::{Decision, Lowered, lower};
use crate::profile::{Profile, Support, Violation, validate};
use crate::tables;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `linux.seccomp.syscalls[N]`.
    Rule(usize),
    /// `linux.seccomp.defaultAction`.
    Default,
    /// Nobody: the call is newer than the newest one that the profile names, and the default would refuse it.
    NewerThanProfile,
    /// Nobody: the number is of an architecture that the profile does not list.
    ForeignArchitecture,
}

impl std::fmt::Display for By {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(place) => write!(out, "linux.seccomp.syscalls[{place}]"),
            Self::Default => out.write_str("linux.seccomp.defaultAction"),
            Self::NewerThanProfile => out.write_str("newer than every call the profile names"),
            Self::ForeignArchitecture => out.write_str("not one of linux.seccomp.architectures"),
        }
    }
}

/// One answer, and when it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What has to hold of the arguments that were not given, all of it. Empty: in every case that is left.
    pub when: Vec<Condition>,
    /// The answer.
    pub answer: Action,
    /// Who decides.
    pub by: By,
}

/// What happens to a call on one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The architecture.
    pub arch: Arch,
    /// The call whose number it is: the one asked for, or `socketcall` or `ipc`, through which it can be made too.
    pub entry: String,
    /// The number, or nothing where the architecture lacks the call.
    pub number: Option<u32>,
    /// The answers, in the order in which they are tried. The last has no condition.
    pub outcomes: Vec<Outcome>,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { arch, entry, number, outcomes } = self;
        let Some(number) = number else { return write!(out, "{}: no {entry}", arch.name()) };
        write!(out, "{}: {entry} ({number})", arch.name())?;
        for outcome in outcomes {
            let when: Vec<String> = outcome.when.iter().map(ToString::to_string).collect();
            let when = match (when.is_empty(), outcomes.len()) {
                (true, 1) => "always".to_owned(),
                (true, _) => "otherwise".to_owned(),
                (false, _) => when.join(" and "),
            };
            write!(out, "\n  {when}: {}, by {}", outcome.answer, outcome.by)?;
        }
        Ok(())
    }
}

/// Explains a call, given by its name or its number, on each architecture of the profile. `arguments` are the first
/// ones as far as they are known.
///
/// # Errors
/// The violations of the profile.
pub fn explain(
    profile: &Profile,
    native: Arch,
    support: &Support,
    call: &str,
    arguments: &[u64],
) -> Result<Vec<Explanation>, Vec<Violation>> {
    let policy = validate(profile, native, support)?;
    let lowered = lower(&policy);
    let mut all = Vec::new();
    for arch in policy.architectures {
        let number = parse(call).or_else(|| tables::number(call, arch));
        let entry = tables::name(number.unwrap_or(u32::MAX), arch).unwrap_or(call).to_owned();
        let outcomes = number.map_or_else(Vec::new, |number| outcomes(&lowered, arch, number, arguments));
        all.push(Explanation { arch, entry, number, outcomes });
        all.extend(multiplexed(&lowered, arch, call));
    }
    Ok(all)
}

/// A number as it is written in decimal or, after `0x`, in hexadecimal.
fn parse(call: &str) -> Option<u32> {
    match call.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => call.parse().ok(),
    }
}

/// The same call through `socketcall` or `ipc`, of whose arguments only the selector says something.
fn multiplexed(lowered: &Lowered<'_>, arch: Arch, call: &str) -> Option<Explanation> {
    let (kind, selector) = tables::lookup(call)?.selector()?;
    let number = tables::number(kind.name(), arch)?;
    let outcomes = outcomes(lowered, arch, number, &[selector]);
    Some(Explanation {
        arch,
        entry: format!("{call} through {}", kind.name()),
        number: Some(number),
        outcomes,
    })
}

fn outcomes(lowered: &Lowered<'_>, arch: Arch, number: u32, arguments: &[u64]) -> Vec<Outcome> {
    let decision = lowered.decide(arch.audit(), number);
    let always = |answer, by| vec![Outcome { when: Vec::new(), answer, by }];
    let plain = |by| always(lowered.answer(decision).unwrap_or(lowered.default), by);
    match decision {
        Decision::Rule(rule) => plain(By::Rule(rule)),
        Decision::Default => plain(By::Default),
        Decision::Newer => plain(By::NewerThanProfile),
        Decision::Foreign => plain(By::ForeignArchitecture),
        Decision::Chain(chain) => tried(lowered, chain, arch.width(), arguments),
    }
}

/// The alternatives that the known arguments leave, up to the first that they decide.
fn tried(lowered: &Lowered<'_>, chain: usize, width: Width, arguments: &[u64]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let known = |condition: &Condition| {
        let argument = arguments.get(usize::from(condition.argument)).copied();
        argument.map(|argument| {
            condition.holds(match width {
                Width::Bits32 => argument & u64::from(u32::MAX),
                Width::Bits64 => argument,
            })
        })
    };
    for alternative in lowered.chains.get(chain).map_or(&[][..], |chain| &chain.alternatives) {
        if alternative.conditions.iter().any(|condition| known(condition) == Some(false)) {
            continue;
        }
        let open = alternative.conditions.iter().filter(|condition| known(condition).is_none());
        let when: Vec<Condition> = open.copied().collect();
        let answer = lowered.actions.get(alternative.rule).copied().unwrap_or(lowered.default);
        let decided = when.is_empty();
        outcomes.push(Outcome { when, answer, by: By::Rule(alternative.rule) });
        if decided {
            return outcomes;
        }
    }
    outcomes.push(Outcome { when: Vec::new(), answer: lowered.default, by: By::Default });
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(call: &str, arguments: &[u64]) -> String {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["read", "futex"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}, {"index": 2, "value": 9, "op": "SCMP_CMP_LT"}]},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;
        let profile: Profile = serde_json::from_str(json).unwrap();
        let all = explain(&profile, Arch::X86_64, &Support::default(), call, arguments).unwrap();
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_architecture_and_entry_is_explained() {
        let expected = "\
SCMP_ARCH_X86_64: socket (41)
  arg0 != 0x28 and arg2 < 0x9: SCMP_ACT_ALLOW, by linux.seccomp.syscalls[1]
  otherwise: SCMP_ACT_ERRNO(1), by linux.seccomp.defaultAction
SCMP_ARCH_X86: socket (359)
  arg0 != 0x28 and arg2 < 0x9: SCMP_ACT_ALLOW, by linux.seccomp.syscalls[1]
  otherwise: SCMP_ACT_ERRNO(1), by linux.seccomp.defaultAction
SCMP_ARCH_X86: socket through socketcall (102)
  arg2 < 0x9: SCMP_ACT_ALLOW, by linux.seccomp.syscalls[1]
  otherwise: SCMP_ACT_ERRNO(1), by linux.seccomp.defaultAction
SCMP_ARCH_X32: socket (1073741865)
  arg0 != 0x28 and arg2 < 0x9: SCMP_ACT_ALLOW, by linux.seccomp.syscalls[1]
  otherwise: SCMP_ACT_ERRNO(1), by linux.seccomp.defaultAction";
        assert_eq!(explained("socket", &[]), expected);
    }

    #[test]
    fn known_arguments_decide() {
        let refused = explained("clone", &[0x1000_0000]);
        assert!(refused.starts_with(
            "SCMP_ARCH_X86_64: clone (56)\n  always: SCMP_ACT_ERRNO(1), by linux.seccomp.defaultAction\n"
        ));
        let allowed = explained("clone", &[0x11]);
        assert!(
            allowed.contains("clone (120)\n  always: SCMP_ACT_ALLOW, by linux.seccomp.syscalls[2]"),
            "{allowed}"
        );
    }

    #[test]
    fn what_no_rule_is_about_is_explained_too() {
        assert!(
            explained("clone3", &[])
                .contains("SCMP_ACT_ERRNO(38), by newer than every call the profile names")
        );
        assert!(
            explained("mount", &[])
                .contains("mount (165)\n  always: SCMP_ACT_ERRNO(1), by linux.seccomp.default")
        );
        assert!(
            explained("_newselect", &[])
                .starts_with("SCMP_ARCH_X86_64: no _newselect\nSCMP_ARCH_X86: _newselect")
        );
        assert!(explained("0x0", &[]).starts_with("SCMP_ARCH_X86_64: read (0)\n  always: SCMP_ACT_ALLOW"));
    }
}
