//! `linux.memoryPolicy`.
//!
//! The rules are those of set_mempolicy(2), which answers every breach with the same EINVAL.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#memory-policy>

use child::Op;
use serde::Deserialize;

use super::numbers::Mask;
use super::{Problems, Spec, suggest};
use crate::json::or_default;
use crate::step::Step;

// ── Shape ──

/// `linux.memoryPolicy` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// MPOL_*.
    #[serde(deserialize_with = "or_default")]
    pub mode: String,
    /// Memory nodes: `0-3,7`.
    #[serde(deserialize_with = "or_default")]
    pub nodes: String,
    /// MPOL_F_*.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

// ── Rules ──

/// The modes of set_mempolicy(2) (linux/mempolicy.h).
pub const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", DEFAULT),
    ("MPOL_BIND", BIND),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ("MPOL_PREFERRED", PREFERRED),
    ("MPOL_PREFERRED_MANY", PREFERRED_MANY),
    ("MPOL_LOCAL", LOCAL),
];
const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const BIND: u32 = 2;
const LOCAL: u32 = 4;
const PREFERRED_MANY: u32 = 5;

/// The flags, which are added to the mode.
pub const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", STATIC_NODES),
];
const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

/// The first number that is no node: no kernel is built for more (MAX_NUMNODES).
const NODES: u32 = 1024;

/// The policy of a container, valid.
#[derive(Debug)]
pub struct MemoryPolicy {
    /// Mode and flags.
    mode: u32,
    nodes: Mask,
}

/// Checks mode, flags and nodes.
pub fn check(spec: &Spec, problems: &mut Problems) -> Option<MemoryPolicy> {
    let shape = spec.linux.as_ref()?.memory_policy.as_ref()?;
    let mode = MODES.iter().find(|entry| entry.0 == shape.mode).map(|entry| entry.1);
    if mode.is_none() {
        let names = MODES.map(|entry| entry.0);
        problems.invalid("linux.memoryPolicy.mode", suggest::unknown("mode", &shape.mode, names));
    }
    let flags = flags(&shape.flags, problems);
    let nodes =
        Mask::parse(&shape.nodes, NODES).map_err(|what| problems.invalid("linux.memoryPolicy.nodes", what));
    let (mode, nodes) = (mode?, nodes.ok()?);
    check_nodes(mode, &shape.mode, &nodes, problems);
    check_flags(mode, flags, &nodes, problems);
    Some(MemoryPolicy { mode: mode | flags, nodes })
}

fn flags(names: &[String], problems: &mut Problems) -> u32 {
    let mut flags = 0;
    for (index, name) in names.iter().enumerate() {
        match FLAGS.iter().find(|entry| entry.0 == name) {
            Some(entry) => flags |= entry.1,
            None => problems.invalid(
                format!("linux.memoryPolicy.flags[{index}]"),
                suggest::unknown("flag", name, FLAGS.map(|entry| entry.0)),
            ),
        }
    }
    flags
}

fn check_nodes(mode: u32, name: &str, nodes: &Mask, problems: &mut Problems) {
    const KEY: &str = "linux.memoryPolicy.nodes";
    match mode {
        DEFAULT | LOCAL if !nodes.is_empty() => problems.invalid(KEY, format!("{name} takes no nodes")),
        DEFAULT | LOCAL | PREFERRED => {}
        _ if nodes.is_empty() => problems.invalid(KEY, format!("{name} needs at least one node")),
        _ => {}
    }
}

fn check_flags(mode: u32, flags: u32, nodes: &Mask, problems: &mut Problems) {
    const KEY: &str = "linux.memoryPolicy.flags";
    let about_nodes = flags & (STATIC_NODES | RELATIVE_NODES);
    if about_nodes == STATIC_NODES | RELATIVE_NODES {
        problems.invalid(KEY, "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
    }
    if about_nodes != 0 && (matches!(mode, DEFAULT | LOCAL) || (mode == PREFERRED && nodes.is_empty())) {
        problems.invalid(KEY, "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes");
    }
    if flags & NUMA_BALANCING != 0 && !matches!(mode, BIND | PREFERRED_MANY) {
        problems.invalid(KEY, "MPOL_F_NUMA_BALANCING is only for MPOL_BIND and MPOL_PREFERRED_MANY");
    }
}

// ── Steps ──

impl MemoryPolicy {
    /// Sets the policy. The kernel takes one bit less than `max_node` says.
    pub fn step(&self) -> Step<'_> {
        let max_node = if self.nodes.is_empty() { 0 } else { self.nodes.bits() + 1 };
        let op = Op::MemoryPolicy { mode: self.mode, nodes: self.nodes.field(), max_node };
        Step::new("linux.memoryPolicy", op)
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use child::Bytes;

    use super::*;

    fn checked(policy: &str) -> (Option<MemoryPolicy>, Vec<String>) {
        let spec = serde_json::from_str(&format!(r#"{{"linux": {{"memoryPolicy": {policy}}}}}"#)).unwrap();
        let mut problems = Problems::default();
        let policy = check(&spec, &mut problems);
        let errors = problems.errors.iter().map(|error| error.to_string().replace("linux.memoryPolicy.", ""));
        (policy, errors.collect())
    }

    #[test]
    fn each_mode_has_its_own_nodes_and_flags() {
        let about_nodes = "flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes";
        let table: [(&str, &[&str]); 14] = [
            (r#"{"mode": "MPOL_DEFAULT"}"#, &[]),
            (r#"{"mode": "MPOL_LOCAL", "nodes": "0"}"#, &["nodes: MPOL_LOCAL takes no nodes"]),
            (r#"{"mode": "MPOL_BIND"}"#, &["nodes: MPOL_BIND needs at least one node"]),
            (
                r#"{"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": ""}"#,
                &["nodes: MPOL_WEIGHTED_INTERLEAVE needs at least one node"],
            ),
            (r#"{"mode": "MPOL_PREFERRED"}"#, &[]),
            (r#"{"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}"#, &[about_nodes]),
            (r#"{"mode": "MPOL_LOCAL", "flags": ["MPOL_F_RELATIVE_NODES"]}"#, &[about_nodes]),
            (r#"{"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}"#, &[]),
            (
                r#"{"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}"#,
                &["flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"],
            ),
            (
                r#"{"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}"#,
                &["flags: MPOL_F_NUMA_BALANCING is only for MPOL_BIND and MPOL_PREFERRED_MANY"],
            ),
            (r#"{"mode": "MPOL_BIND", "nodes": "0-1024"}"#, &["nodes: \"1024\" is no number below 1024"]),
            (
                r#"{"mode": "BIND", "nodes": "0"}"#,
                &["mode: unknown mode \"BIND\"; did you mean \"MPOL_BIND\"?"],
            ),
            (r#"{}"#, &["mode: unknown mode \"\""]),
            (
                r#"{"mode": "MPOL_BIND", "nodes": "0", "flags": ["STATIC"]}"#,
                &["flags[0]: unknown flag \"STATIC\""],
            ),
        ];
        for (policy, expected) in table {
            assert_eq!(checked(policy).1, expected, "{policy}");
        }
    }

    #[test]
    fn the_numbers_are_what_the_kernel_reads() {
        let (policy, _) =
            checked(r#"{"mode": "MPOL_BIND", "nodes": "0,2", "flags": ["MPOL_F_STATIC_NODES"]}"#);
        let word = 5_usize.to_ne_bytes();
        let expected = Op::MemoryPolicy { mode: 0x8002, nodes: Bytes(&word), max_node: usize::BITS + 1 };
        assert_eq!(policy.unwrap().step().op, expected);
        let (policy, _) = checked(r#"{"mode": "MPOL_DEFAULT"}"#);
        assert_eq!(policy.unwrap().step().op, Op::MemoryPolicy { mode: 0, nodes: Bytes(b""), max_node: 0 });
    }
}
