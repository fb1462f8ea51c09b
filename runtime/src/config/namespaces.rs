//! `linux.namespaces` and `linux.timeOffsets`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#namespaces>

use std::ffi::CString;
use std::path::PathBuf;

use child::{Op, Text};
use serde::Deserialize;

use super::suggest::unknown;
use super::text::c_string;
use super::{Linux, Problems, Spec};
use crate::facts::Facts;
use crate::json::{Integer, Pairs};
use crate::step::Step;

// ── Shape ──

/// One entry of `linux.namespaces` as written.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Namespace {
    /// The specification's name of the type.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// The namespace to join; absent or empty makes a new one.
    #[serde(default)]
    pub path: Option<String>,
}

/// One clock of `linux.timeOffsets` as written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds, possibly negative.
    pub secs: Integer,
    /// Nanoseconds to add to the seconds.
    pub nanosecs: Integer,
}

// ── Rules ──

/// The type of a namespace; the value is its CLONE_NEW* flag (sched.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Kind {
    /// CLONE_NEWUSER.
    User = 0x1000_0000,
    /// CLONE_NEWPID.
    Pid = 0x2000_0000,
    /// CLONE_NEWNS.
    Mount = 0x0002_0000,
    /// CLONE_NEWNET.
    Network = 0x4000_0000,
    /// CLONE_NEWIPC.
    Ipc = 0x0800_0000,
    /// CLONE_NEWUTS.
    Uts = 0x0400_0000,
    /// CLONE_NEWCGROUP.
    Cgroup = 0x0200_0000,
    /// CLONE_NEWTIME.
    Time = 0x0000_0080,
}

/// Every type with the specification's name and the name of its file in /proc/PID/ns.
const KINDS: [(&str, Kind, &str); 8] = [
    ("pid", Kind::Pid, "pid"),
    ("network", Kind::Network, "net"),
    ("mount", Kind::Mount, "mnt"),
    ("ipc", Kind::Ipc, "ipc"),
    ("uts", Kind::Uts, "uts"),
    ("user", Kind::User, "user"),
    ("cgroup", Kind::Cgroup, "cgroup"),
    ("time", Kind::Time, "time"),
];

impl Kind {
    /// The CLONE_NEW* flag.
    pub fn flag(self) -> u32 {
        self as u32
    }

    /// The specification's name.
    pub fn name(self) -> &'static str {
        child::op::namespace_name(self.flag())
    }

    /// The name of its file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        KINDS.iter().find(|entry| entry.1 == self).map_or("", |entry| entry.2)
    }

    /// Every type.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|entry| entry.1)
    }

    /// The names that the specification has, for `features`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|entry| entry.0)
    }
}

/// The namespaces of the container, valid: each type at most once.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// The types that are made new.
    pub new: Vec<Kind>,
    /// The types that are joined, with the index of the entry and the path.
    pub joined: Vec<(Kind, usize, PathBuf)>,
    /// The lines for /proc/self/timens_offsets; none if the new time namespace keeps the host's clocks.
    pub time_offsets: Option<CString>,
}

impl Namespaces {
    /// Whether the container has a namespace of this type other than the runtime's.
    pub fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.is_joined(kind)
    }

    /// Whether a new namespace of this type is made.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether a namespace of this type is joined by path.
    pub fn is_joined(&self, kind: Kind) -> bool {
        self.path(kind).is_some()
    }

    /// The path of the namespace of this type that is joined.
    pub fn path(&self, kind: Kind) -> Option<&std::path::Path> {
        self.joined.iter().find(|joined| joined.0 == kind).map(|joined| joined.2.as_path())
    }

    /// Whether what happens in the container's namespace of this type happens in the runtime's as well: there is none,
    /// or the one that is joined is the runtime's own.
    pub fn is_hosts(&self, kind: Kind, facts: &Facts) -> bool {
        match self.path(kind) {
            Some(path) => facts.is_own_namespace(path, kind.file()),
            None => !self.is_new(kind),
        }
    }

    /// The CLONE_NEW* flags of the new ones.
    pub fn new_flags(&self) -> u32 {
        self.new.iter().fold(0, |flags, kind| flags | kind.flag())
    }

    /// New namespaces of these types and nothing joined; for tests.
    pub fn all_new(kinds: &[Kind]) -> Self {
        Self { new: kinds.to_vec(), ..Self::default() }
    }
}

/// Checks the list and the offsets. Whether a path names a namespace of its type is checked when it is opened.
pub fn check(spec: &Spec, facts: &Facts, problems: &mut Problems) -> Namespaces {
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let mut namespaces = Namespaces::default();
    let mut seen: Vec<(Kind, usize)> = Vec::new();
    for (index, entry) in linux.namespaces.iter().enumerate() {
        let Some(kind) = known_kind(entry, index, problems) else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == kind) {
            problems.invalid(
                format!("linux.namespaces[{index}].type"),
                format!("duplicate namespace {:?}; linux.namespaces[{first}] is one already", kind.name()),
            );
            continue;
        }
        seen.push((kind, index));
        match entry.path.as_deref().filter(|path| !path.is_empty()) {
            None => namespaces.new.push(kind),
            Some(path) => namespaces.joined.push((kind, index, joined_path(path, index, problems))),
        }
    }
    check_presence(&namespaces, facts, problems);
    namespaces.time_offsets = time_offsets(&linux.time_offsets, &namespaces, problems);
    namespaces
}

fn known_kind(entry: &Namespace, index: usize, problems: &mut Problems) -> Option<Kind> {
    let key = || format!("linux.namespaces[{index}].type");
    let Some(name) = entry.kind.as_deref() else {
        problems.invalid(key(), "required");
        return None;
    };
    let found = KINDS.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
    if found.is_none() {
        problems.invalid(key(), unknown("namespace", name, Kind::names()));
    }
    found
}

fn joined_path(path: &str, index: usize, problems: &mut Problems) -> PathBuf {
    let key = format!("linux.namespaces[{index}].path");
    if !path.starts_with('/') {
        problems.invalid(key.clone(), format!("{path:?} is not absolute"));
    }
    c_string(path, &key, problems);
    PathBuf::from(path)
}

/// The mount namespace is demanded although the specification lets it be inherited: every mount of the container, and
/// the new root, would be the host's.
fn check_presence(namespaces: &Namespaces, facts: &Facts, problems: &mut Problems) {
    if !namespaces.has(Kind::Mount) {
        problems.unsupported(
            "linux.namespaces",
            "no mount namespace, so the container would mount on the host; add {\"type\": \"mount\"}",
        );
    }
    if facts.euid() != 0 && !namespaces.has(Kind::User) {
        problems.unsupported(
            "linux.namespaces",
            format!("uid {} needs a user namespace; add {{\"type\": \"user\"}} and mappings", facts.euid()),
        );
    }
}

/// Half of what a 64-bit number of nanoseconds holds, in seconds: no clock of a time namespace goes further
/// (KTIME_SEC_MAX / 2).
const FURTHEST_SECONDS: i128 = 9_223_372_036 / 2;

/// A nanosecond part is below one second. time_namespaces(7).
const NANOSECONDS: i128 = 1_000_000_000;

const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

fn time_offsets(
    offsets: &Pairs<TimeOffset>,
    namespaces: &Namespaces,
    problems: &mut Problems,
) -> Option<CString> {
    if offsets.0.is_empty() {
        return None;
    }
    if namespaces.is_joined(Kind::Time) {
        problems.invalid("linux.timeOffsets", "the time namespace that is joined has offsets of its own");
    } else if !namespaces.is_new(Kind::Time) {
        problems.invalid(
            "linux.timeOffsets",
            "needs a time namespace; add {\"type\": \"time\"} to linux.namespaces",
        );
    }
    let mut lines = String::new();
    for (clock, offset) in &offsets.0 {
        check_offset(clock, *offset, problems);
        lines.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    // A NUL can only be in the name of a clock, which is reported as unknown.
    CString::new(lines).ok()
}

fn check_offset(clock: &str, offset: TimeOffset, problems: &mut Problems) {
    let key = format!("linux.timeOffsets.{clock}");
    if !CLOCKS.contains(&clock) {
        problems.invalid(key.clone(), unknown("clock", clock, CLOCKS));
    }
    if !(-FURTHEST_SECONDS..=FURTHEST_SECONDS).contains(&offset.secs.0) {
        problems.invalid(
            format!("{key}.secs"),
            format!("{} is further than {FURTHEST_SECONDS} seconds", offset.secs),
        );
    }
    if !(0..NANOSECONDS).contains(&offset.nanosecs.0) {
        problems.invalid(format!("{key}.nanosecs"), format!("{} is not below one second", offset.nanosecs));
    }
}

// ── Steps ──

impl Namespaces {
    /// The offsets of the new time namespace. Making and joining namespaces is the planner's: it depends on all of them
    /// at once.
    pub fn offsets_step(&self) -> Option<Step<'_>> {
        let lines = Text(self.time_offsets.as_deref()?);
        Some(Step::new("linux.timeOffsets", Op::TimeOffsets { lines }))
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn run(linux: &str, euid: u32) -> (Namespaces, Vec<String>) {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(&format!(r#"{{"linux":{linux}}}"#)).unwrap();
        let facts = Facts::default();
        facts.euid.set(euid).unwrap();
        let namespaces = check(&spec, &facts, &mut problems);
        (namespaces, problems.errors.iter().map(ToString::to_string).collect())
    }

    const NO_MOUNT: &str = "linux.namespaces: no mount namespace, so the container would mount on the host; add {\"type\": \"mount\"}";

    #[test]
    fn every_violation_is_reported_by_its_key() {
        let (_, errors) = run(
            r#"{"namespaces":[{"type":"net"},{},{"type":"pid"},{"type":"pid","path":"/x"},{"type":"ipc","path":"rel"}]}"#,
            0,
        );
        assert_eq!(
            errors,
            [
                "linux.namespaces[0].type: unknown namespace \"net\"; did you mean \"network\"?",
                "linux.namespaces[1].type: required",
                "linux.namespaces[3].type: duplicate namespace \"pid\"; linux.namespaces[2] is one already",
                "linux.namespaces[4].path: \"rel\" is not absolute",
                NO_MOUNT,
            ]
        );
    }

    #[test]
    fn absent_lists_and_null_are_the_same() {
        for linux in ["null", "{}", r#"{"namespaces":null,"timeOffsets":null}"#] {
            assert_eq!(run(linux, 0).1, [NO_MOUNT]);
        }
    }

    #[test]
    fn an_empty_path_makes_a_new_namespace() {
        let (namespaces, errors) = run(
            r#"{"namespaces":[{"type":"mount","path":""},{"type":"network","path":"/run/netns/a"},{"type":"uts"}]}"#,
            0,
        );
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(namespaces.new, [Kind::Mount, Kind::Uts]);
        assert_eq!(namespaces.joined, [(Kind::Network, 1, PathBuf::from("/run/netns/a"))]);
        assert_eq!(namespaces.new_flags(), 0x0402_0000);
    }

    #[test]
    fn a_namespace_by_path_is_the_hosts_if_it_is_the_runtimes_own() {
        let facts = Facts::default();
        let joined = |path: &str| Namespaces {
            joined: vec![(Kind::Network, 0, PathBuf::from(path))],
            ..Namespaces::default()
        };
        assert!(joined("/proc/self/ns/net").is_hosts(Kind::Network, &facts));
        assert!(!joined("/proc/self/ns/uts").is_hosts(Kind::Network, &facts));
        assert!(!joined("/nonexistent").is_hosts(Kind::Network, &facts));
        assert!(Namespaces::default().is_hosts(Kind::Network, &facts));
        assert!(!Namespaces::all_new(&[Kind::Network]).is_hosts(Kind::Network, &facts));
    }

    #[test]
    fn an_ordinary_user_needs_a_user_namespace() {
        assert_eq!(
            run(r#"{"namespaces":[{"type":"mount"}]}"#, 1000).1,
            ["linux.namespaces: uid 1000 needs a user namespace; add {\"type\": \"user\"} and mappings"]
        );
        assert!(run(r#"{"namespaces":[{"type":"mount"},{"type":"user"}]}"#, 1000).1.is_empty());
    }

    #[test]
    fn time_offsets_become_lines() {
        let (namespaces, errors) = run(
            r#"{"namespaces":[{"type":"mount"},{"type":"time"}],
                "timeOffsets":{"monotonic":{"secs":-3,"nanosecs":5},"boottime":{"secs":7}}}"#,
            0,
        );
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(
            namespaces.offsets_step(),
            Some(Step::new(
                "linux.timeOffsets",
                Op::TimeOffsets { lines: Text(c"monotonic -3 5\nboottime 7 0\n") }
            ))
        );
    }

    #[test]
    fn time_offsets_have_rules() {
        let table = [
            (
                r#"[{"type":"mount"}],"timeOffsets":{"boottime":{"secs":1}}"#,
                "linux.timeOffsets: needs a time namespace; add {\"type\": \"time\"} to linux.namespaces",
            ),
            (
                r#"[{"type":"mount"},{"type":"time","path":"/t"}],"timeOffsets":{"boottime":{"secs":1}}"#,
                "linux.timeOffsets: the time namespace that is joined has offsets of its own",
            ),
            (
                r#"[{"type":"mount"},{"type":"time"}],"timeOffsets":{"bootime":{"secs":1}}"#,
                "linux.timeOffsets.bootime: unknown clock \"bootime\"; did you mean \"boottime\"?",
            ),
            (
                r#"[{"type":"mount"},{"type":"time"}],"timeOffsets":{"boottime":{"nanosecs":1000000000}}"#,
                "linux.timeOffsets.boottime.nanosecs: 1000000000 is not below one second",
            ),
            (
                r#"[{"type":"mount"},{"type":"time"}],"timeOffsets":{"boottime":{"secs":-4611686019}}"#,
                "linux.timeOffsets.boottime.secs: -4611686019 is further than 4611686018 seconds",
            ),
        ];
        for (linux, error) in table {
            assert_eq!(run(&format!("{{\"namespaces\":{linux}}}"), 0).1, [error]);
        }
    }
}
