//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`.
//!
//! The rules of sched(7) and ioprio_set(2) that do not depend on the host are checked here, because the kernel answers
//! most of them with the same EINVAL.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#linux-process>

use child::{Op, op};
use serde::{Deserialize, Serialize};

use super::numbers::Mask;
use super::{Problems, process, suggest};
use crate::json::{Integer, or_default};
use crate::step::Step;

// ── Shape ──

/// `process.scheduler` as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Scheduler {
    /// SCHED_*.
    #[serde(deserialize_with = "or_default")]
    pub policy: String,
    /// -20 to 19.
    #[serde(deserialize_with = "or_default")]
    pub nice: Integer,
    /// 1 to 99 for the real-time policies.
    #[serde(deserialize_with = "or_default")]
    pub priority: Integer,
    /// SCHED_FLAG_*.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
    /// Nanoseconds.
    #[serde(deserialize_with = "or_default")]
    pub runtime: Integer,
    /// Nanoseconds.
    #[serde(deserialize_with = "or_default")]
    pub deadline: Integer,
    /// Nanoseconds.
    #[serde(deserialize_with = "or_default")]
    pub period: Integer,
}

/// `process.ioPriority` as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct IoPriority {
    /// IOPRIO_CLASS_*.
    #[serde(deserialize_with = "or_default")]
    pub class: String,
    /// 0 (highest) to 7 (lowest).
    #[serde(deserialize_with = "or_default")]
    pub priority: Integer,
}

/// `process.execCPUAffinity` as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ExecAffinity {
    /// Processors until the cgroup is joined.
    pub initial: Option<String>,
    /// Processors from then on.
    #[serde(rename = "final")]
    pub last: Option<String>,
}

// ── Rules ──

/// The policies of sched_setattr(2) (linux/sched.h).
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", OTHER),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", ROUND_ROBIN),
    ("SCHED_BATCH", BATCH),
    ("SCHED_ISO", ISO),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const OTHER: u32 = 0;
const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const BATCH: u32 = 3;
const ISO: u32 = 4;
const DEADLINE: u32 = 6;

/// The flags of sched_setattr(2), without their prefix `SCHED_FLAG_`.
const FLAGS: [(&str, u64); 7] = [
    ("RESET_ON_FORK", 0x01),
    ("RECLAIM", 0x02),
    ("DL_OVERRUN", 0x04),
    ("KEEP_POLICY", 0x08),
    ("KEEP_PARAMS", 0x10),
    ("UTIL_CLAMP_MIN", 0x20),
    ("UTIL_CLAMP_MAX", 0x40),
];

/// The classes of ioprio_set(2) (linux/ioprio.h).
const IO_CLASSES: [(&str, u32); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Where the class is in the value of ioprio_set(2).
const IO_CLASS_SHIFT: u32 = 13;

/// The shortest runtime of SCHED_DEADLINE in nanoseconds (DL_SCALE).
const SHORTEST_RUNTIME: u64 = 1024;

/// The first number that is no processor: well above what any kernel is built for, and it bounds the mask to 8 KiB.
const CPUS: u32 = 1 << 16;

/// The scheduling of a program, valid.
#[derive(Debug, Default)]
pub struct Scheduling {
    scheduler: Option<op::Scheduler>,
    io_priority: Option<u32>,
    initial: Mask,
    last: Mask,
}

/// Checks all three.
pub fn check(process: &process::Shape, problems: &mut Problems) -> Scheduling {
    let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
    Scheduling {
        scheduler: process.scheduler.as_ref().map(|shape| scheduler(shape, problems)),
        io_priority: process.io_priority.as_ref().map(|shape| io_priority(shape, problems)),
        initial: cpus(affinity.initial.as_deref(), "process.execCPUAffinity.initial", problems),
        last: cpus(affinity.last.as_deref(), "process.execCPUAffinity.final", problems),
    }
}

fn scheduler(shape: &Scheduler, problems: &mut Problems) -> op::Scheduler {
    let attributes = op::Scheduler {
        policy: policy(&shape.policy, problems),
        flags: flags(&shape.flags, problems),
        nice: within(shape.nice, -20, 19, "nice", problems) as i32,
        priority: within(shape.priority, 0, 99, "priority", problems) as u32,
        runtime: within(shape.runtime, 0, i64::MAX, "runtime", problems) as u64,
        deadline: within(shape.deadline, 0, i64::MAX, "deadline", problems) as u64,
        period: within(shape.period, 0, i64::MAX, "period", problems) as u64,
    };
    check_together(attributes, shape, problems);
    attributes
}

fn policy(name: &str, problems: &mut Problems) -> u32 {
    const KEY: &str = "process.scheduler.policy";
    let policy = POLICIES.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
    match policy {
        Some(ISO) => problems.unsupported(KEY, "Linux has no SCHED_ISO"),
        Some(_) => {}
        None => problems.invalid(KEY, suggest::unknown("policy", name, POLICIES.map(|entry| entry.0))),
    }
    policy.unwrap_or(OTHER)
}

fn flags(names: &[String], problems: &mut Problems) -> u64 {
    let mut flags = 0;
    for (index, name) in names.iter().enumerate() {
        let short = name.strip_prefix("SCHED_FLAG_").unwrap_or(name);
        match FLAGS.iter().find(|entry| entry.0 == short) {
            Some(entry) => flags |= entry.1,
            None => problems.invalid(
                format!("process.scheduler.flags[{index}]"),
                suggest::unknown("flag", name, FLAGS.map(|entry| entry.0)),
            ),
        }
    }
    flags
}

fn within(number: Integer, low: i64, high: i64, name: &str, problems: &mut Problems) -> i64 {
    let value = i64::try_from(number.0).ok().filter(|value| (low..=high).contains(value));
    if value.is_none() {
        let key = format!("process.scheduler.{name}");
        problems.invalid(key, format!("{number} is outside {low} to {high}"));
    }
    value.unwrap_or_default()
}

/// Which values go with which policy. A nice value beside a policy that has none is common and harmless, so it is only
/// warned of.
fn check_together(attributes: op::Scheduler, shape: &Scheduler, problems: &mut Problems) {
    let op::Scheduler { policy, nice, priority, .. } = attributes;
    let real_time = matches!(policy, FIFO | ROUND_ROBIN);
    if real_time && shape.priority.0 == 0 {
        problems.invalid("process.scheduler.priority", format!("{} needs 1 to 99", shape.policy));
    }
    if !real_time && priority != 0 {
        problems.invalid("process.scheduler.priority", "only for SCHED_FIFO and SCHED_RR");
    }
    if nice != 0 && !matches!(policy, OTHER | BATCH) {
        problems.warn("process.scheduler.nice", format!("{} has no nice value", shape.policy));
    }
    match policy {
        DEADLINE => check_deadline(attributes, problems),
        _ if attributes.runtime | attributes.deadline | attributes.period != 0 => {
            problems.invalid("process.scheduler", "runtime, deadline and period are only for SCHED_DEADLINE")
        }
        _ => {}
    }
}

fn check_deadline(attributes: op::Scheduler, problems: &mut Problems) {
    let op::Scheduler { runtime, deadline, period, .. } = attributes;
    if runtime < SHORTEST_RUNTIME {
        problems.invalid(
            "process.scheduler.runtime",
            format!("{runtime} ns; SCHED_DEADLINE needs {SHORTEST_RUNTIME} or more"),
        );
    }
    if runtime > deadline || (period != 0 && deadline > period) {
        problems.invalid("process.scheduler", "SCHED_DEADLINE needs runtime <= deadline <= period");
    }
}

fn io_priority(shape: &IoPriority, problems: &mut Problems) -> u32 {
    let class = IO_CLASSES.iter().find(|entry| entry.0 == shape.class).map(|entry| entry.1);
    if class.is_none() {
        problems.invalid(
            "process.ioPriority.class",
            suggest::unknown("class", &shape.class, IO_CLASSES.map(|entry| entry.0)),
        );
    }
    let level = u32::try_from(shape.priority.0).ok().filter(|level| *level <= 7);
    if level.is_none() {
        problems.invalid("process.ioPriority.priority", format!("{} is outside 0 to 7", shape.priority));
    }
    class.unwrap_or_default() << IO_CLASS_SHIFT | level.unwrap_or_default()
}

fn cpus(list: Option<&str>, key: &'static str, problems: &mut Problems) -> Mask {
    Mask::parse(list.unwrap_or_default(), CPUS).unwrap_or_else(|what| {
        problems.invalid(key, what);
        Mask::default()
    })
}

// ── Steps ──

impl Scheduling {
    /// The attributes of sched_setattr(2), for a parent that sets them on the child.
    pub fn scheduler(&self) -> Option<op::Scheduler> {
        self.scheduler
    }

    /// The value of ioprio_set(2), for a parent that sets it on the child.
    pub fn io_priority(&self) -> Option<u32> {
        self.io_priority
    }

    /// sched_setattr in the child.
    pub fn scheduler_step(&self) -> Option<Step<'static>> {
        self.scheduler.map(|attributes| Step::new("process.scheduler", Op::Scheduler { attributes }))
    }

    /// ioprio_set in the child.
    pub fn io_priority_step(&self) -> Option<Step<'static>> {
        self.io_priority.map(|value| Step::new("process.ioPriority", Op::IoPriority { value }))
    }

    /// The processors of an exec until it joins the cgroup.
    pub fn initial_affinity_step(&self) -> Option<Step<'_>> {
        affinity("process.execCPUAffinity.initial", &self.initial)
    }

    /// The processors of an exec once it is in the cgroup.
    pub fn final_affinity_step(&self) -> Option<Step<'_>> {
        affinity("process.execCPUAffinity.final", &self.last)
    }
}

fn affinity<'a>(key: &'static str, mask: &'a Mask) -> Option<Step<'a>> {
    (!mask.is_empty()).then(|| Step::new(key, Op::Processors { mask: mask.field() }))
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> (Scheduling, Problems) {
        let mut problems = Problems::default();
        let scheduling = check(&serde_json::from_str(json).unwrap(), &mut problems);
        (scheduling, problems)
    }

    fn errors(scheduler: &str) -> Vec<String> {
        let (_, problems) = checked(&format!(r#"{{"scheduler": {scheduler}}}"#));
        problems.errors.iter().map(|error| error.to_string().replace("process.scheduler", "")).collect()
    }

    #[test]
    fn each_policy_has_its_own_values() {
        let table: [(&str, &[&str]); 13] = [
            (r#"{"policy": "SCHED_OTHER", "nice": -20}"#, &[]),
            (r#"{"policy": "SCHED_BATCH", "nice": 20}"#, &[".nice: 20 is outside -20 to 19"]),
            (r#"{"policy": "SCHED_FIFO", "priority": 99}"#, &[]),
            (r#"{"policy": "SCHED_RR"}"#, &[".priority: SCHED_RR needs 1 to 99"]),
            (r#"{"policy": "SCHED_FIFO", "priority": 100}"#, &[".priority: 100 is outside 0 to 99"]),
            (r#"{"policy": "SCHED_IDLE", "priority": 1}"#, &[".priority: only for SCHED_FIFO and SCHED_RR"]),
            (r#"{"policy": "SCHED_ISO"}"#, &[".policy: Linux has no SCHED_ISO"]),
            (
                r#"{"policy": "SCHED_OTHER", "runtime": 1}"#,
                &[": runtime, deadline and period are only for SCHED_DEADLINE"],
            ),
            (
                r#"{"policy": "SCHED_DEADLINE", "nice": 19, "runtime": 42000, "deadline": 100000, "period": 1000000}"#,
                &[],
            ),
            (
                r#"{"policy": "SCHED_DEADLINE", "runtime": 1000, "deadline": 100}"#,
                &[
                    ".runtime: 1000 ns; SCHED_DEADLINE needs 1024 or more",
                    ": SCHED_DEADLINE needs runtime <= deadline <= period",
                ],
            ),
            (
                r#"{"policy": "SCHED_DEADLINE", "runtime": 18446744073709551615, "deadline": -1}"#,
                &[
                    ".runtime: 18446744073709551615 is outside 0 to 9223372036854775807",
                    ".deadline: -1 is outside 0 to 9223372036854775807",
                    ".runtime: 0 ns; SCHED_DEADLINE needs 1024 or more",
                ],
            ),
            (r#"{}"#, &[".policy: unknown policy \"\""]),
            (
                r#"{"policy": "FIFO", "flags": ["RECLAIMS"]}"#,
                &[
                    ".policy: unknown policy \"FIFO\"; did you mean \"SCHED_FIFO\"?",
                    ".flags[0]: unknown flag \"RECLAIMS\"; did you mean \"RECLAIM\"?",
                ],
            ),
        ];
        for (json, expected) in table {
            assert_eq!(errors(json), expected, "{json}");
        }
    }

    #[test]
    fn both_spellings_of_a_flag_mean_the_same() {
        let (scheduling, problems) = checked(
            r#"{"scheduler": {"policy": "SCHED_RR", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK", "KEEP_PARAMS"]}}"#,
        );
        assert!(problems.errors.is_empty());
        let expected = op::Scheduler { policy: 2, flags: 0x11, priority: 3, ..op::Scheduler::default() };
        assert_eq!(scheduling.scheduler(), Some(expected));
    }

    #[test]
    fn a_nice_value_that_has_no_effect_is_warned_of() {
        let (_, problems) = checked(r#"{"scheduler": {"policy": "SCHED_IDLE", "nice": 3}}"#);
        assert!(problems.errors.is_empty());
        assert_eq!(
            problems.warnings.first().unwrap().to_string(),
            "process.scheduler.nice: SCHED_IDLE has no nice value"
        );
    }

    #[test]
    fn the_io_priority_holds_class_and_level() {
        let (scheduling, problems) =
            checked(r#"{"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7}}"#);
        assert!(problems.errors.is_empty());
        assert_eq!(scheduling.io_priority(), Some(2 << 13 | 7));
        let (_, problems) = checked(r#"{"ioPriority": {"class": "BE", "priority": 8}}"#);
        assert_eq!(
            problems.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "process.ioPriority.class: unknown class \"BE\"",
                "process.ioPriority.priority: 8 is outside 0 to 7"
            ]
        );
    }

    #[test]
    fn an_affinity_may_name_any_processor() {
        let (scheduling, problems) = checked(r#"{"execCPUAffinity": {"initial": "7", "final": "0-3,8191"}}"#);
        assert!(problems.errors.is_empty());
        assert!(scheduling.initial_affinity_step().is_some());
        match scheduling.final_affinity_step().unwrap().op {
            Op::Processors { mask } => assert_eq!(mask.0.len(), 1024),
            other => panic!("{other}"),
        }
        let (scheduling, problems) = checked(r#"{"execCPUAffinity": {"initial": "x", "final": ""}}"#);
        assert_eq!(problems.errors.len(), 1);
        assert_eq!(scheduling.final_affinity_step(), None);
    }
}
