//! When the filter loads, as a pure function of what it depends on, and whether it then blocks what init still has
//! to do. Start at [`steps`].
//!
//! Three facts of the kernel decide:
//!
//! - `seccomp(2)` needs no_new_privs or CAP_SYS_ADMIN. So without no_new_privs the filter loads while init still has
//!   its capabilities, and with it as late as possible: then fewest calls of ours have to pass it.
//! - The filter holds for everything after it. So it loads after Go, which is read from a socket, and after the
//!   startContainer hooks.
//! - A listener has to reach its agent before `create` returns. So a notifying filter loads before Go. Init
//!   announces it with `write`, the runtime fetches it with `pidfd_getfd`, and init then reads Go under the
//!   filter. For that reason neither `write` nor `read` may notify.

use crate::arch::Arch;
use crate::compile::Filter;
use crate::ir::Action;
use crate::program;
use crate::tables;

/// Whether the process will have no_new_privs, which is set before any of these steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNewPrivileges {
    /// `process.noNewPrivileges` is true.
    Set,
    /// It is false or missing.
    Unset,
}

/// Whether the filter asks an agent: [`Filter::notifies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// It has a listener.
    Fetched,
    /// It has none.
    Absent,
}

/// The last steps of init, of which the load is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The capability sets become those of the config.
    Capabilities,
    /// `seccomp(2)`.
    Load,
    /// The runtime is told the number of the listener's descriptor, fetches it and says so.
    Announce,
    /// The wait for `start`.
    Go,
    /// The startContainer hooks.
    StartContainer,
    /// The container's program.
    Execve,
}

/// The last steps in their order.
#[must_use]
pub const fn steps(no_new_privileges: NoNewPrivileges, listener: Listener) -> [Step; 6] {
    use Step::{Announce, Capabilities, Execve, Go, Load, StartContainer};
    match (no_new_privileges, listener) {
        (NoNewPrivileges::Set, Listener::Absent) => {
            [Capabilities, Announce, Go, StartContainer, Load, Execve]
        }
        (NoNewPrivileges::Unset, Listener::Absent) => {
            [Announce, Go, StartContainer, Load, Capabilities, Execve]
        }
        (NoNewPrivileges::Set, Listener::Fetched) => {
            [Capabilities, Load, Announce, Go, StartContainer, Execve]
        }
        (NoNewPrivileges::Unset, Listener::Fetched) => {
            [Load, Announce, Capabilities, Go, StartContainer, Execve]
        }
    }
}

impl Step {
    /// The system calls that init makes in a step, as far as a filter can stand in their way. Hooks are programs of
    /// the config's and make what calls they make.
    #[must_use]
    pub const fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Capabilities => &["capset", "prctl"],
            Self::Announce => &["write", "read"],
            Self::Go => &["read"],
            Self::Execve => &["execve"],
            Self::Load | Self::StartContainer => &[],
        }
    }
}

/// A call that init still has to make and that the filter refuses whatever its arguments are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The call.
    pub call: &'static str,
    /// What the filter answers.
    pub answers: Vec<Action>,
}

/// What the filter refuses of the steps behind its load. Anything here is a container that can never start.
#[must_use]
pub fn blocked(filter: &Filter, native: Arch, no_new_privileges: NoNewPrivileges) -> Vec<Blocked> {
    let listener = if filter.notifies { Listener::Fetched } else { Listener::Absent };
    let all = steps(no_new_privileges, listener);
    let behind = all.into_iter().skip_while(|step| *step != Step::Load);
    let mut found: Vec<Blocked> = Vec::new();
    for call in behind.flat_map(Step::calls).copied() {
        let known = found.iter().any(|blocked| blocked.call == call);
        let answers = filter.possible_answers(call, native);
        if !known && !answers.is_empty() && !answers.iter().any(|answer| answer.may_proceed()) {
            found.push(Blocked { call, answers });
        }
    }
    found
}

impl Filter {
    /// Every answer that a call of the native architecture can get, over all arguments. Empty where the architecture
    /// lacks the call.
    #[must_use]
    pub fn possible_answers(&self, call: &str, arch: Arch) -> Vec<Action> {
        let Some(number) = tables::number(call, arch) else { return Vec::new() };
        let words = program::possible(&self.instructions, arch.audit(), number);
        words.into_iter().map(Action::from_word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, Support};

    fn place(order: &[Step], step: Step) -> usize {
        order.iter().position(|known| *known == step).unwrap()
    }

    #[test]
    fn the_load_stands_where_the_kernel_allows_it_and_blocks_least() {
        use NoNewPrivileges::{Set, Unset};
        for (privileges, listener) in [
            (Set, Listener::Absent),
            (Set, Listener::Fetched),
            (Unset, Listener::Absent),
            (Unset, Listener::Fetched),
        ] {
            let order = steps(privileges, listener);
            let before = |a, b| place(&order, a) < place(&order, b);
            assert_eq!(before(Step::Load, Step::Capabilities), privileges == Unset, "{order:?}");
            assert_eq!(before(Step::Load, Step::Go), listener == Listener::Fetched, "{order:?}");
            assert_eq!(before(Step::Load, Step::StartContainer), listener == Listener::Fetched, "{order:?}");
            assert!(listener == Listener::Absent || before(Step::Load, Step::Announce), "{order:?}");
            assert!(before(Step::Announce, Step::Go), "the listener is fetched before create returns");
            assert_eq!(order[5], Step::Execve);
            if privileges == Set && listener == Listener::Absent {
                assert_eq!(order[4], Step::Load, "nothing but execve is left to pass the filter");
            }
        }
    }

    #[test]
    fn a_filter_in_the_way_of_init_is_known_before() {
        let allow = |names: &str, default: &str| {
            format!(
                r#"{{"defaultAction": "{default}", "listenerPath": "/a", "syscalls": [
                    {{"names": ["getpid"{names}], "action": "SCMP_ACT_ALLOW"}}]}}"#
            )
        };
        let cases: [(&str, String, NoNewPrivileges, &[&str]); 5] = [
            ("execve allowed", allow(r#", "execve""#, "SCMP_ACT_ERRNO"), NoNewPrivileges::Set, &[]),
            ("nothing allowed", allow("", "SCMP_ACT_ERRNO"), NoNewPrivileges::Set, &["execve"]),
            ("early", allow(r#", "execve""#, "SCMP_ACT_KILL"), NoNewPrivileges::Unset, &["capset", "prctl"]),
            ("logged", allow("", "SCMP_ACT_LOG"), NoNewPrivileges::Unset, &[]),
            ("with a listener", NOTIFIES.to_owned(), NoNewPrivileges::Set, &["write"]),
        ];
        for (what, json, privileges, expected) in cases {
            let profile: Profile = serde_json::from_str(&json).unwrap();
            let filter = crate::compile(&profile, Arch::X86_64, &Support::default()).unwrap();
            let found = blocked(&filter, Arch::X86_64, privileges);
            let calls: Vec<&str> = found.iter().map(|blocked| blocked.call).collect();
            assert_eq!(calls, expected, "{what}");
        }
    }

    /// `execve` depends on an argument, so it is not known to be blocked.
    const NOTIFIES: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/a", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}, {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["execve"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 7, "op": "SCMP_CMP_EQ"}]}]}"#;
}
