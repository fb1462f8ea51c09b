//! When the filter loads, as a pure function of what it depends on, and whether it then blocks what init still has
//! to do. Start at [`Order::of`]; both planners follow [`Order::steps`].
//!
//! Three facts decide:
//!
//! - `seccomp(2)` needs no_new_privs or CAP_SYS_ADMIN. So where the program will have neither, the filter loads while
//!   init still has its capabilities; otherwise init is the program's user by then, and fewest calls of ours have to
//!   pass it.
//! - The filter holds for everything after it. So it loads after Go, which is read from a socket; and before the
//!   startContainer hooks, which run programs of the container: they get no calls that its own program may not make.
//! - A listener is announced with `write`, fetched with `pidfd_getfd`, and the answer is taken with `read`. For that
//!   reason `write` may not notify; a `read` waits for the agent, which has the listener by then.

use crate::arch::Arch;
use crate::compile::Filter;
use crate::ir::Action;
use crate::program;
use crate::tables;

/// When the filter loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// After init has become the program's user.
    Late,
    /// Before that, because the right to load would go with it.
    Early,
}

/// Whether the program will have no_new_privs, which is set before any of these steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNewPrivileges {
    /// `process.noNewPrivileges` is true.
    Set,
    /// It is false or missing.
    Unset,
}

/// Whether there are startContainer hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hooks {
    /// There are.
    Run,
    /// There are none.
    None,
}

/// The last steps of init, of which the load is one. A process that joins a container has neither Go nor hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bounding set, ids, capabilities, and the proof that they are as asked.
    Identity,
    /// The wait for `start`.
    Go,
    /// `seccomp(2)`, and the listener is handed over.
    Load,
    /// The startContainer hooks.
    StartContainer,
    /// The container's program.
    Execve,
}

impl Order {
    /// Decides for a program with these effective capabilities; bit n is capability n.
    #[must_use]
    pub const fn of(no_new_privileges: NoNewPrivileges, effective: u64) -> Self {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        match no_new_privileges {
            NoNewPrivileges::Set => Self::Late,
            NoNewPrivileges::Unset if effective & CAP_SYS_ADMIN != 0 => Self::Late,
            NoNewPrivileges::Unset => Self::Early,
        }
    }

    /// The last steps in their order.
    #[must_use]
    pub const fn steps(self) -> [Step; 5] {
        use Step::{Execve, Go, Identity, Load, StartContainer};
        match self {
            Self::Late => [Identity, Go, Load, StartContainer, Execve],
            Self::Early => [Go, Load, Identity, StartContainer, Execve],
        }
    }
}

impl Step {
    /// The system calls that init makes in a step after the filter is loaded, whatever the configuration. Where it has
    /// supplementary groups, setgroups(2) and getgroups(2) come to them; hooks and the program make what calls they make.
    #[must_use]
    pub const fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Identity => {
                &["prctl", "setresgid", "setresuid", "capset", "getresuid", "getresgid", "capget"]
            }
            Self::Load => &["write", "read"],
            Self::StartContainer => &[
                "pipe2",
                "clone",
                "getpid",
                "close",
                "write",
                "ppoll",
                "waitid",
                "setpgid",
                "dup3",
                "close_range",
                "chdir",
                "execve",
            ],
            Self::Execve => &["execve"],
            Self::Go => &[],
        }
    }

    /// What the step is for, as the end of a sentence.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Identity => "become the user of the process",
            Self::Go => "wait for start",
            Self::Load => "hand its listener over",
            Self::StartContainer => "run the startContainer hooks",
            Self::Execve => "start the program",
        }
    }
}

/// A call that init still has to make and that the filter refuses whatever its arguments are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The call.
    pub call: &'static str,
    /// What for.
    pub step: Step,
    /// What the filter answers.
    pub answers: Vec<Action>,
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answers: Vec<String> = self.answers.iter().map(ToString::to_string).collect();
        let (call, purpose, answers) = (self.call, self.step.purpose(), answers.join(" or "));
        write!(
            out,
            "the filter answers {answers} to {call}, which is needed after it is loaded, to {purpose}"
        )
    }
}

/// What the filter refuses of the steps behind its load. Anything here is a container that can never start.
#[must_use]
pub fn blocked(filter: &Filter, native: Arch, order: Order, hooks: Hooks) -> Vec<Blocked> {
    let happens = |step: &Step| match step {
        Step::Load => filter.notifies,
        Step::StartContainer => hooks == Hooks::Run,
        _ => true,
    };
    let behind = order.steps().into_iter().skip_while(|step| *step != Step::Load).filter(happens);
    let mut found: Vec<Blocked> = Vec::new();
    for (step, call) in behind.flat_map(|step| step.calls().iter().map(move |call| (step, *call))) {
        let known = found.iter().any(|blocked| blocked.call == call);
        let answers = filter.possible_answers(call, native);
        if !known && !answers.is_empty() && !answers.iter().any(|answer| answer.may_proceed()) {
            found.push(Blocked { call, step, answers });
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

    #[test]
    fn the_load_stands_where_the_kernel_allows_it_and_blocks_least() {
        use NoNewPrivileges::{Set, Unset};
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        let rows = [
            (Set, 0, Order::Late),
            (Set, CAP_SYS_ADMIN, Order::Late),
            (Set, u64::MAX, Order::Late),
            (Unset, 0, Order::Early),
            (Unset, !CAP_SYS_ADMIN, Order::Early),
            (Unset, CAP_SYS_ADMIN, Order::Late),
            (Unset, u64::MAX, Order::Late),
        ];
        for (no_new_privileges, effective, expected) in rows {
            assert_eq!(
                Order::of(no_new_privileges, effective),
                expected,
                "{no_new_privileges:?} {effective:#x}"
            );
        }
    }

    #[test]
    fn nothing_of_the_container_runs_before_the_filter_and_nothing_is_awaited_under_it() {
        for order in [Order::Late, Order::Early] {
            let place = |step| order.steps().iter().position(|known| *known == step).unwrap();
            let before = |a, b| place(a) < place(b);
            assert!(before(Step::Go, Step::Load), "{order:?}");
            assert!(before(Step::Load, Step::StartContainer), "{order:?}");
            assert!(before(Step::Identity, Step::StartContainer), "{order:?}");
            assert_eq!(before(Step::Load, Step::Identity), order == Order::Early);
            assert_eq!(order.steps()[4], Step::Execve);
        }
    }

    #[test]
    fn a_filter_in_the_way_of_init_is_known_before() {
        let allow = |names: &str, default: &str| {
            format!(
                r#"{{"defaultAction": "{default}", "listenerPath": "/a", "syscalls": [
                    {{"names": ["getppid"{names}], "action": "SCMP_ACT_ALLOW"}}]}}"#
            )
        };
        let (execve, all) = (allow(r#", "execve""#, "SCMP_ACT_KILL"), allow("", "SCMP_ACT_ERRNO"));
        let cases: [(&str, String, Order, Hooks, &[&str]); 6] = [
            ("execve allowed", execve.clone(), Order::Late, Hooks::None, &[]),
            ("nothing allowed", all.clone(), Order::Late, Hooks::None, &["execve"]),
            ("early", execve.clone(), Order::Early, Hooks::None, Step::Identity.calls()),
            ("hooks", execve, Order::Late, Hooks::Run, &Step::StartContainer.calls()[..11]),
            ("logged", allow("", "SCMP_ACT_LOG"), Order::Early, Hooks::Run, &[]),
            ("with a listener", NOTIFIES.to_owned(), Order::Late, Hooks::None, &["write"]),
        ];
        for (what, json, order, hooks, expected) in cases {
            let profile: Profile = serde_json::from_str(&json).unwrap();
            let filter = crate::compile(&profile, Arch::X86_64, &Support::default()).unwrap();
            let found = blocked(&filter, Arch::X86_64, order, hooks);
            let calls: Vec<&str> = found.iter().map(|blocked| blocked.call).collect();
            assert_eq!(calls, expected, "{what}");
        }
    }

    #[test]
    fn a_blocked_call_is_said_with_its_purpose() {
        let answers = vec![Action::Errno(1)];
        let blocked = Blocked { call: "execve", step: Step::Execve, answers };
        let expected = "the filter answers SCMP_ACT_ERRNO(1) to execve, which is needed after it is loaded, to start the program";
        assert_eq!(blocked.to_string(), expected);
    }

    /// `execve` depends on an argument, so it is not known to be blocked.
    const NOTIFIES: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/a", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}, {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["execve"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 7, "op": "SCMP_CMP_EQ"}]}]}"#;
}
