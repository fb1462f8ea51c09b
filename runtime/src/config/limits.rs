//! `process.rlimits` and `process.oomScoreAdj`.
//!
//! The child sets both itself, unless it is in a new user namespace: there it may neither raise a hard limit nor lower
//! the score, and the parent does it from outside with the values of [`Limits::rlimits`] and [`Limits::oom_score_adj`].
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#posix-process>

use std::ffi::{CStr, CString};

use child::Op;
use serde::{Deserialize, Serialize};

use super::text::field;
use super::{Problems, process, suggest};
use crate::facts::Facts;
use crate::json::{Integer, or_default};
use crate::step::Step;

// ── Shape ──

/// One entry of `process.rlimits` as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Rlimit {
    /// The name of the resource.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// What is enforced.
    pub soft: Option<Integer>,
    /// What the program may raise `soft` to.
    pub hard: Option<Integer>,
}

// ── Rules ──

/// The resources of setrlimit(2) and their numbers (asm-generic/resource.h).
const RESOURCES: [(&str, u32); 16] = [
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

/// A limit, valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The index in `process.rlimits`.
    pub index: usize,
    /// RLIMIT_*.
    pub resource: u32,
    /// The soft limit; u64::MAX is unlimited.
    pub soft: u64,
    /// The hard limit; u64::MAX is unlimited.
    pub hard: u64,
    /// The hard limit that the caller has.
    pub callers_hard: u64,
}

/// What /proc/PID/oom_score_adj gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScoreAdj<'a> {
    /// The number as text.
    pub value: &'a CStr,
    /// What a refusal of the kernel means.
    pub refusal: Refusal,
}

const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// What it means when the kernel refuses a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The container fails.
    Fails,
    /// A warning: an ordinary user may not go below what an administrator has set, engines ask for it all the same, and
    /// the container then only is killed earlier than its owner hoped.
    IsWarnedOf,
}

/// Limits and score of a program, valid.
#[derive(Debug)]
pub struct Limits {
    rlimits: Vec<Limit>,
    oom_score_adj: Option<(CString, Refusal)>,
}

/// Checks all limits and the score.
pub fn check(process: &process::Shape, facts: &Facts, problems: &mut Problems) -> Limits {
    let mut rlimits: Vec<Limit> = Vec::with_capacity(process.rlimits.len());
    for (index, shape) in process.rlimits.iter().enumerate() {
        let Some(limit) = limit(index, shape, facts, problems) else { continue };
        match rlimits.iter().find(|other| other.resource == limit.resource) {
            Some(other) => problems.invalid(
                format!("process.rlimits[{index}].type"),
                format!("{} is already set by process.rlimits[{}]", shape.kind, other.index),
            ),
            None => rlimits.push(limit),
        }
    }
    Limits { rlimits, oom_score_adj: oom_score_adj(process.oom_score_adj, facts, problems) }
}

fn limit(index: usize, shape: &Rlimit, facts: &Facts, problems: &mut Problems) -> Option<Limit> {
    let key = |name: &str| format!("process.rlimits[{index}].{name}");
    let resource = RESOURCES.iter().find(|entry| entry.0 == shape.kind).map(|entry| entry.1);
    if resource.is_none() {
        let names = RESOURCES.iter().map(|entry| entry.0);
        problems.invalid(key("type"), suggest::unknown("resource", &shape.kind, names));
    }
    let soft = value(shape.soft, key("soft"), problems);
    let hard = value(shape.hard, key("hard"), problems);
    let resource = resource?;
    let callers_hard = facts.hard_limit(resource);
    let limit = Limit { index, resource, soft: soft?, hard: hard?, callers_hard };
    if limit.hard > callers_hard && !has_sys_resource(facts) {
        let text = format!(
            "{} is above {callers_hard}, the hard limit that the runtime has; raising it needs CAP_SYS_RESOURCE on the host",
            limit.hard
        );
        problems.unsupported(key("hard"), text);
    }
    if limit.soft > limit.hard {
        problems.invalid(key("soft"), format!("{} is above the hard limit {}", limit.soft, limit.hard));
    }
    Some(limit)
}

fn value(number: Option<Integer>, key: String, problems: &mut Problems) -> Option<u64> {
    let Some(number) = number else {
        problems.invalid(key, "missing");
        return None;
    };
    let value = u64::try_from(number.0).ok();
    if value.is_none() {
        problems.invalid(key, format!("{number} is negative; 18446744073709551615 is unlimited"));
    }
    value
}

fn oom_score_adj(
    score: Option<Integer>,
    facts: &Facts,
    problems: &mut Problems,
) -> Option<(CString, Refusal)> {
    let score = score?;
    if !(-1000..=1000).contains(&score.0) {
        problems.invalid("process.oomScoreAdj", format!("{score} is outside -1000 to 1000"));
        return None;
    }
    let refusal = if has_sys_resource(facts) { Refusal::Fails } else { Refusal::IsWarnedOf };
    Some((CString::new(score.to_string()).unwrap_or_default(), refusal))
}

/// The kernel asks for the capability in the initial user namespace, whatever the caller has in its own.
fn has_sys_resource(facts: &Facts) -> bool {
    !facts.in_user_namespace() && facts.permitted() & CAP_SYS_RESOURCE != 0
}

// ── Steps ──

impl Limits {
    /// The limits in the order of the file.
    pub fn rlimits(&self) -> &[Limit] {
        &self.rlimits
    }

    /// The score, if one is asked for.
    pub fn oom_score_adj(&self) -> Option<OomScoreAdj<'_>> {
        self.oom_score_adj.as_ref().map(|(value, refusal)| OomScoreAdj { value, refusal: *refusal })
    }

    /// setrlimit in the child.
    pub fn rlimit_steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.rlimits.iter().map(|limit| {
            let op = Op::Rlimit { resource: limit.resource, soft: limit.soft, hard: limit.hard };
            Step::new(format!("process.rlimits[{}]", limit.index), op)
        })
    }

    /// Those whose hard limit is above the caller's, which needs CAP_SYS_RESOURCE on the host: raised before anything is
    /// given up.
    pub fn raising_steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.rlimits.iter().filter(|limit| limit.hard > limit.callers_hard).map(|limit| {
            let op = Op::Rlimit { resource: limit.resource, soft: limit.soft, hard: limit.hard };
            Step::new(format!("process.rlimits[{}]", limit.index), op)
        })
    }

    /// The score, written by the child.
    pub fn oom_score_adj_step(&self) -> Option<Step<'_>> {
        let (value, _) = self.oom_score_adj.as_ref()?;
        Some(Step::new("process.oomScoreAdj", Op::OomScoreAdj { value: field(value) }))
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str, permitted: u64) -> (Limits, Vec<String>) {
        let facts =
            Facts { permitted: permitted.into(), in_user_namespace: false.into(), ..Facts::default() };
        let mut problems = Problems::default();
        let limits = check(&serde_json::from_str(json).unwrap(), &facts, &mut problems);
        (limits, problems.errors.iter().map(|error| error.to_string().replace("process.", "")).collect())
    }

    #[test]
    fn every_wrong_limit_is_named() {
        let (limits, errors) = checked(
            r#"{"rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 18446744073709551615},
                {"type": "RLIMIT_CORE", "soft": 1, "hard": 0},
                {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
                {"type": "NOFILE", "soft": -1, "hard": 2},
                {"soft": 1}
            ], "oomScoreAdj": 1001}"#,
            u64::MAX,
        );
        assert_eq!(
            errors,
            [
                "rlimits[1].soft: 1 is above the hard limit 0",
                "rlimits[2].type: RLIMIT_NOFILE is already set by process.rlimits[0]"
                    .replace("process.", "")
                    .as_str(),
                "rlimits[3].type: unknown resource \"NOFILE\"; did you mean \"RLIMIT_NOFILE\"?",
                "rlimits[3].soft: -1 is negative; 18446744073709551615 is unlimited",
                "rlimits[4].type: unknown resource \"\"",
                "rlimits[4].hard: missing",
                "oomScoreAdj: 1001 is outside -1000 to 1000",
            ]
        );
        let callers_hard = Facts::default().hard_limit(7);
        let nofile = Limit { index: 0, resource: 7, soft: 1024, hard: u64::MAX, callers_hard };
        assert_eq!(limits.rlimits().first(), Some(&nofile));
        let step = limits.rlimit_steps().next().unwrap();
        assert_eq!(step.key, "process.rlimits[0]");
        assert_eq!(step.op, Op::Rlimit { resource: 7, soft: 1024, hard: u64::MAX });
    }

    #[test]
    fn a_hard_limit_that_only_the_capability_could_raise_is_refused() {
        let callers_hard = Facts::default().hard_limit(7);
        let above = callers_hard.saturating_add(1);
        let json =
            |hard: u64| format!(r#"{{"rlimits": [{{"type": "RLIMIT_NOFILE", "soft": 1, "hard": {hard}}}]}}"#);
        let error = format!(
            "rlimits[0].hard: {above} is above {callers_hard}, the hard limit that the runtime has; raising it needs \
             CAP_SYS_RESOURCE on the host"
        );
        // Where it is unlimited nothing is above.
        let expected: Vec<String> = (above > callers_hard).then_some(error).into_iter().collect();
        assert_eq!(checked(&json(above), 0).1, expected);
        assert!(checked(&json(above), u64::MAX).1.is_empty());
        assert!(checked(&json(callers_hard), 0).1.is_empty());
    }

    #[test]
    fn the_score_is_exact_and_absent_means_untouched() {
        let (limits, _) = checked(r#"{"oomScoreAdj": -1000}"#, u64::MAX);
        let expected = OomScoreAdj { value: c"-1000", refusal: Refusal::Fails };
        assert_eq!(limits.oom_score_adj(), Some(expected));
        let (limits, _) = checked(r#"{"oomScoreAdj": 0}"#, 0);
        assert_eq!(limits.oom_score_adj().unwrap().refusal, Refusal::IsWarnedOf);
        assert_eq!(checked("{}", 0).0.oom_score_adj_step(), None);
    }

    #[test]
    fn the_numbers_are_those_of_the_kernel() {
        use rustix::process::Resource;
        for (name, resource) in [
            ("RLIMIT_NOFILE", Resource::Nofile),
            ("RLIMIT_NPROC", Resource::Nproc),
            ("RLIMIT_AS", Resource::As),
            ("RLIMIT_RTTIME", Resource::Rttime),
        ] {
            let number = RESOURCES.iter().find(|entry| entry.0 == name).unwrap().1;
            assert_eq!(number, resource as u32, "{name}");
        }
    }
}
