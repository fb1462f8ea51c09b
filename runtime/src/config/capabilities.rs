//! `process.capabilities` and `process.noNewPrivileges`.
//!
//! What cannot be granted is dropped with a warning, as the specification demands, and dropped from every set that the
//! kernel would refuse without it: capset(2) and PR_CAP_AMBIENT_RAISE fail as a whole for one capability too many. So the
//! sets here are always ones that the kernel takes.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#linux-process>

use child::Op;
use child::op::{self, NoNewPrivs};
use serde::{Deserialize, Serialize};

use super::namespaces::Kind;
use super::process::{self, Context};
use super::{Problems, suggest};
use crate::json::or_default;
use crate::step::Step;

// ── Shape ──

/// `process.capabilities` as written; an absent set is empty.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Shape {
    /// The ceiling of what execve(2) can grant.
    #[serde(deserialize_with = "or_default")]
    pub bounding: Vec<String>,
    /// What is in force.
    #[serde(deserialize_with = "or_default")]
    pub effective: Vec<String>,
    /// What files may add to at execve(2).
    #[serde(deserialize_with = "or_default")]
    pub inheritable: Vec<String>,
    /// What may be put in force.
    #[serde(deserialize_with = "or_default")]
    pub permitted: Vec<String>,
    /// What survives execve(2) of an ordinary file.
    #[serde(deserialize_with = "or_default")]
    pub ambient: Vec<String>,
}

impl Shape {
    /// Adds `names` as `exec --cap` does: to the bounding, effective and permitted sets. The inheritable set stays as it is,
    /// because a program that drops privileges would keep what is added; what it has already becomes ambient, without
    /// which a user other than root would not get it.
    pub fn add(&mut self, names: &[String]) {
        let inheritable = |name: &&String| self.inheritable.contains(name);
        self.ambient.extend(names.iter().filter(inheritable).cloned());
        for set in [&mut self.bounding, &mut self.effective, &mut self.permitted] {
            set.extend_from_slice(names);
        }
    }
}

// ── Rules ──

/// The capabilities in the order of their numbers (linux/capability.h). Every kernel that orlop runs on has all of them.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Every capability that has a name.
const ALL: u64 = (1 << NAMES.len()) - 1;

/// The sets of a program, such as the kernel takes them.
#[derive(Debug)]
pub struct Capabilities {
    bounding: u64,
    sets: op::Capabilities,
    no_new_privileges: NoNewPrivs,
}

/// Checks the five sets against each other and against what the caller can hand on.
pub fn check(process: &process::Shape, context: &Context<'_>, problems: &mut Problems) -> Capabilities {
    let shape = &process.capabilities;
    let mut set =
        |names: &[String], name: &str| mask(names, &format!("process.capabilities.{name}"), problems);
    let bounding = set(&shape.bounding, "bounding");
    let sets = op::Capabilities {
        effective: set(&shape.effective, "effective"),
        permitted: set(&shape.permitted, "permitted"),
        inheritable: set(&shape.inheritable, "inheritable"),
        ambient: set(&shape.ambient, "ambient"),
    };
    let (bounding, sets) = grantable(bounding, sets, context, problems);
    let no_new_privileges = match process.no_new_privileges {
        true => NoNewPrivs::Set,
        false => NoNewPrivs::Inherited,
    };
    Capabilities { bounding, sets, no_new_privileges }
}

fn mask(names: &[String], key: &str, problems: &mut Problems) -> u64 {
    let mut mask = 0;
    for (index, name) in names.iter().enumerate() {
        match NAMES.iter().position(|known| known == name) {
            Some(bit) => mask |= 1 << bit,
            None => problems.warn(format!("{key}[{index}]"), suggest::unknown("capability", name, NAMES)),
        }
    }
    mask
}

/// The rules of capabilities(7): a new or joined user namespace gives every capability in it, otherwise a program gets
/// no more than the caller has; effective is within permitted, inheritable within bounding, ambient within permitted and
/// inheritable.
fn grantable(
    bounding: u64,
    sets: op::Capabilities,
    context: &Context<'_>,
    problems: &mut Problems,
) -> (u64, op::Capabilities) {
    let own_namespace = context.namespaces.has(Kind::User);
    let caller = if own_namespace { ALL } else { context.facts.permitted() };
    // Reading the bounding set costs a system call for each capability. It is read only when it may be a limit: root that
    // holds everything was executed with everything in it.
    let ceiling = if caller & ALL == ALL { ALL } else { context.facts.bounding() };
    let mut within = |set: u64, limit: u64, name: &str, why: &str| {
        let lost = set & !limit;
        if lost != 0 {
            let key = format!("process.capabilities.{name}");
            problems.warn(key, format!("{} cannot be granted: not in {why}", list(lost)));
        }
        set & limit
    };
    let bounding = within(bounding, ceiling, "bounding", "the caller's bounding set");
    let permitted = within(sets.permitted, caller, "permitted", "the caller's permitted set");
    let effective = within(sets.effective, permitted, "effective", "the permitted set");
    let inheritable = within(sets.inheritable, bounding, "inheritable", "the bounding set");
    let ambient = within(
        sets.ambient,
        permitted & inheritable,
        "ambient",
        "both the permitted and the inheritable set",
    );
    (bounding, op::Capabilities { effective, permitted, inheritable, ambient })
}

fn list(set: u64) -> String {
    let names = NAMES.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(", ")
}

// ── Steps ──

impl Capabilities {
    /// The bounding set.
    pub fn bounding(&self) -> u64 {
        self.bounding
    }

    /// The four sets of capset(2) and the ambient set.
    pub fn sets(&self) -> op::Capabilities {
        self.sets
    }

    /// Whether no_new_privs must be set.
    pub fn no_new_privileges(&self) -> NoNewPrivs {
        self.no_new_privileges
    }

    /// Reduces the bounding set; needs CAP_SETPCAP, so it comes before the ids change.
    pub fn bounding_step(&self) -> Step<'_> {
        Step::new("process.capabilities.bounding", Op::BoundingSet { keep: self.bounding })
    }

    /// Sets no_new_privs, if asked.
    pub fn no_new_privileges_step(&self) -> Option<Step<'_>> {
        (self.no_new_privileges == NoNewPrivs::Set)
            .then(|| Step::new("process.noNewPrivileges", Op::NoNewPrivileges))
    }

    /// Sets the other four; comes after the ids have changed.
    pub fn set_step(&self) -> Step<'_> {
        Step::new("process.capabilities", Op::Capabilities { sets: self.sets })
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::idmappings::IdMappings;
    use crate::config::namespaces::Namespaces;
    use crate::config::user::Groups;
    use crate::facts::Facts;

    fn checked(json: &str, namespaces: &Namespaces, caller: u64) -> (Capabilities, Vec<String>) {
        let facts = Facts { permitted: caller.into(), bounding: caller.into(), ..Facts::default() };
        let context = Context {
            namespaces,
            id_mappings: &IdMappings::default(),
            facts: &facts,
            groups: Groups::Replace,
        };
        let mut problems = Problems::default();
        let capabilities = serde_json::from_str(json).unwrap();
        let process = process::Shape { capabilities, ..process::Shape::default() };
        let checked = check(&process, &context, &mut problems);
        assert!(problems.errors.is_empty());
        let warnings = problems.warnings.iter().map(|warning| warning.to_string());
        (checked, warnings.map(|text| text.replace("process.capabilities.", "")).collect())
    }

    const CHOWN: u64 = 1 << 0;
    const KILL: u64 = 1 << 5;
    const NET_RAW: u64 = 1 << 13;

    #[test]
    fn the_five_sets_are_as_asked_and_absent_ones_empty() {
        let (checked, warnings) = checked(
            r#"{"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN"], "inheritable": null}"#,
            &Namespaces::default(),
            ALL,
        );
        assert!(warnings.is_empty());
        assert_eq!(checked.bounding, CHOWN | KILL | NET_RAW);
        let expected =
            op::Capabilities { permitted: CHOWN | KILL, effective: CHOWN, ..op::Capabilities::default() };
        assert_eq!(checked.sets(), expected);
    }

    #[test]
    fn an_unknown_name_is_warned_of_and_dropped() {
        let (checked, warnings) =
            checked(r#"{"bounding": ["CAP_FROB", "KILL", "CAP_CHOWN"]}"#, &Namespaces::default(), ALL);
        assert_eq!(checked.bounding, CHOWN);
        assert_eq!(
            warnings,
            [
                "bounding[0]: unknown capability \"CAP_FROB\"",
                "bounding[1]: unknown capability \"KILL\"; did you mean \"CAP_KILL\"?",
            ]
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_dropped_with_a_warning() {
        let all = r#"["CAP_CHOWN", "CAP_KILL"]"#;
        let table = [
            (
                format!(r#"{{"effective": {all}}}"#),
                "effective: CAP_CHOWN, CAP_KILL cannot be granted: not in the permitted set",
            ),
            (
                format!(r#"{{"inheritable": {all}, "bounding": ["CAP_KILL"]}}"#),
                "inheritable: CAP_CHOWN cannot be granted: not in the bounding set",
            ),
            (
                format!(r#"{{"ambient": ["CAP_CHOWN"], "permitted": {all}, "bounding": {all}}}"#),
                "ambient: CAP_CHOWN cannot be granted: not in both the permitted and the inheritable set",
            ),
        ];
        for (json, warning) in table {
            assert_eq!(checked(&json, &Namespaces::default(), ALL).1, [warning]);
        }
    }

    #[test]
    fn a_caller_gives_what_it_has_and_a_user_namespace_gives_all() {
        let json = r#"{"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"]}"#;
        let (granted, warnings) = checked(json, &Namespaces::default(), KILL);
        assert_eq!((granted.bounding, granted.sets.permitted), (KILL, KILL));
        assert_eq!(
            warnings,
            [
                "bounding: CAP_CHOWN cannot be granted: not in the caller's bounding set",
                "permitted: CAP_CHOWN cannot be granted: not in the caller's permitted set",
            ]
        );
        let (granted, warnings) = checked(json, &Namespaces::all_new(&[Kind::User]), 0);
        assert_eq!((granted.bounding, granted.sets.permitted), (CHOWN | KILL, CHOWN | KILL));
        assert!(warnings.is_empty());
    }

    #[test]
    fn exec_adds_to_the_sets_that_a_change_of_user_clears() {
        let mut shape = Shape { ambient: vec!["CAP_KILL".into()], ..Shape::default() };
        shape.add(&["CAP_CHOWN".into()]);
        assert_eq!(shape.bounding, ["CAP_CHOWN"]);
        assert_eq!((&shape.effective, &shape.permitted), (&shape.bounding, &shape.bounding));
        assert_eq!((shape.inheritable.len(), shape.ambient.as_slice()), (0, &["CAP_KILL".to_owned()][..]));
    }
}
