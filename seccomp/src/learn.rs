//! A profile out of what a program did: a filter that asks about every call, and the smallest profile for those that
//! were asked about.
//!
//! Start at [`asking`] and [`profile`]. Who answers, and notes what was asked, is not here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::arch::{Arch, X32_BIT};
use crate::compile::{Filter, finish};
use crate::ir::{Action, Policy};
use crate::profile::{Support, flag};
use crate::tables;

/// The filter that asks a listener about every call of every architecture that the machine can run.
#[must_use]
pub fn asking(native: Arch, support: &Support) -> Filter {
    // A call that was taken up is then only interrupted by a fatal signal, so it is not made twice.
    let flags = flag::NEW_LISTENER | (flag::SPEC_ALLOW | flag::WAIT_KILLABLE_RECV) & support.flags;
    let architectures = native.family().to_vec();
    finish(&Policy { default: Action::Notify, architectures, rules: Vec::new(), flags })
}

/// A call as a filter sees it: `seccomp_data.arch` and `seccomp_data.nr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// `AUDIT_ARCH_*`.
    pub audit: u32,
    /// The number.
    pub number: u32,
}

impl Call {
    /// The architecture, where there are tables for it.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        let x32 = self.audit == Arch::X32.audit() && self.number & X32_BIT != 0;
        if x32 { Some(Arch::X32) } else { Arch::ALL.into_iter().find(|arch| arch.audit() == self.audit) }
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        tables::name(self.number, self.arch()?)
    }
}

/// `linux.seccomp` for the calls that were made and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Learned {
    default_action: &'static str,
    architectures: Vec<&'static str>,
    syscalls: [Allowed; 1],
    /// Calls that exist nowhere; they fail under the profile as they did without it, or with EPERM.
    #[serde(skip)]
    pub nameless: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Allowed {
    names: BTreeSet<&'static str>,
    action: &'static str,
}

/// The smallest profile under which these calls are allowed. A profile names a call for all its architectures at once, so
/// a call that was made by one of them is allowed to the others.
#[must_use]
pub fn profile(seen: &BTreeSet<Call>, native: Arch) -> Learned {
    let (named, nameless): (Vec<Call>, Vec<Call>) = seen.iter().partition(|call| call.name().is_some());
    let names: BTreeSet<&str> = named.iter().filter_map(|call| call.name()).collect();
    let used: BTreeMap<&str, Arch> =
        named.iter().filter_map(|call| call.arch()).map(|arch| (arch.name(), arch)).collect();
    let others = used.into_iter().filter(|(_, arch)| *arch != native).map(|(name, _)| name);
    Learned {
        default_action: "SCMP_ACT_ERRNO",
        architectures: std::iter::once(native.name()).chain(others).collect(),
        syscalls: [Allowed { names, action: "SCMP_ACT_ALLOW" }],
        nameless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call_number, compile};

    fn call(name: &str, arch: Arch) -> Call {
        Call { audit: arch.audit(), number: call_number(name, arch).unwrap() }
    }

    #[test]
    fn every_call_of_the_machine_is_asked_about() {
        for (native, arch) in [
            (Arch::X86_64, Arch::X86_64),
            (Arch::X86_64, Arch::X86),
            (Arch::X86_64, Arch::X32),
            (Arch::Aarch64, Arch::Arm),
            (Arch::S390x, Arch::S390),
        ] {
            let filter = asking(native, &Support::default());
            assert!(filter.notifies);
            for name in ["read", "write", "execve", "clone3", "exit_group"] {
                let number = call_number(name, arch).unwrap();
                assert_eq!(filter.answer(arch, number, [0; 6]), Action::Notify, "{arch:?} {name}");
            }
            assert_eq!(
                filter.answer(arch, call_number("read", arch).unwrap() + 5000, [0; 6]),
                Action::Notify
            );
        }
    }

    #[test]
    fn the_profile_allows_what_was_seen_and_nothing_else() {
        let nameless = Call { audit: Arch::X86_64.audit(), number: 999 };
        let calls = [
            call("read", Arch::X86_64),
            call("exit_group", Arch::X86_64),
            call("write", Arch::X86),
            call("socketcall", Arch::X86),
            nameless,
        ];
        let learned = profile(&calls.into_iter().collect(), Arch::X86_64);
        assert_eq!(learned.nameless, [nameless]);
        let json = serde_json::to_value(&learned).unwrap();
        let expected = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["exit_group", "read", "socketcall", "write"], "action": "SCMP_ACT_ALLOW"}]});
        assert_eq!(json, expected);
        let read = serde_json::from_value(json).unwrap();
        let filter = compile(&read, Arch::X86_64, &Support::default()).unwrap();
        for seen in calls.into_iter().filter(|call| *call != nameless) {
            assert_eq!(filter.answer(seen.arch().unwrap(), seen.number, [0; 6]), Action::Allow, "{seen:?}");
        }
        let other = call("mkdir", Arch::X86_64);
        assert_eq!(filter.answer(Arch::X86_64, other.number, [0; 6]), Action::Errno(1));
        assert_eq!(filter.answer(Arch::X32, X32_BIT | 1, [0; 6]), Action::KillThread);
    }

    #[test]
    fn x32_is_told_from_x86_64_by_its_number() {
        assert_eq!(call("read", Arch::X32).arch(), Some(Arch::X32));
        assert_eq!(call("read", Arch::X32).name(), Some("read"));
        assert_eq!(Call { audit: 0, number: 0 }.arch(), None);
    }
}
