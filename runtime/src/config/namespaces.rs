//! `linux.namespaces` and `linux.timeOffsets`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#namespaces>

use std::path::PathBuf;

use serde::Deserialize;

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

/// The namespaces of the container, valid: each type at most once.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// The types that are made new.
    pub new: Vec<Kind>,
    /// The types that are joined, with the index of the entry and the path.
    pub joined: Vec<(Kind, usize, PathBuf)>,
}

impl Namespaces {
    /// Whether the container has a namespace of this type other than the runtime's.
    pub fn has(&self, kind: Kind) -> bool {
        self.is_new(kind) || self.joined.iter().any(|joined| joined.0 == kind)
    }

    /// Whether a new namespace of this type is made.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// New namespaces of these types and nothing joined; for tests.
    pub fn all_new(kinds: &[Kind]) -> Self {
        Self { new: kinds.to_vec(), joined: Vec::new() }
    }
}
