//! [`Config`]: the configuration, valid and kernel-ready, from [`Spec`] in one pass that reports everything.

use std::path::Path;

use super::annotations::{self, Annotations};
use super::devices::{self, Devices};
use super::hidden_paths::{self, HiddenPaths};
use super::hooks::{self, Hooks};
use super::idmappings::{self, IdMappings};
use super::intel_rdt::{self, IntelRdt};
use super::memory_policy::{self, MemoryPolicy};
use super::mounts::{self, Mounts};
use super::namespaces::{self, Namespaces};
use super::net_devices::{self, NetDevices};
use super::personality::{self, Personality};
use super::process::{self, Process};
use super::root::{self, Root};
use super::sysctl::{self, Sysctls};
use super::uts::{self, Uts};
use super::{Problems, Spec, version};
use crate::facts::Facts;

/// Everything that the kernel will be asked for.
#[derive(Debug)]
pub struct Config {
    /// Namespaces to make and to join.
    pub namespaces: Namespaces,
    /// The ids of a new user namespace.
    pub id_mappings: IdMappings,
    /// The root file system.
    pub root: Root,
    /// The mounts.
    pub mounts: Mounts,
    /// Nodes and links in /dev.
    pub devices: Devices,
    /// Masked and read-only paths.
    pub hidden_paths: HiddenPaths,
    /// Kernel parameters.
    pub sysctls: Sysctls,
    /// Network devices that move in.
    pub net_devices: NetDevices,
    /// Host and domain name.
    pub uts: Uts,
    /// The program; may be absent until start.
    pub process: Option<Process>,
    /// Hooks of all six kinds.
    pub hooks: Hooks,
    /// The resctrl group.
    pub intel_rdt: Option<IntelRdt>,
    /// The NUMA policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// The execution domain.
    pub personality: Personality,
    /// What annotations ask for.
    pub annotations: Annotations,
    /// Where the cgroup is.
    pub cgroups_path: Option<String>,
    /// The limits of the cgroup.
    pub resources: cgroups::Resources,
}

impl Config {
    /// Checks the whole configuration; what is wrong is in `problems`, and the value is only of use if nothing is.
    pub fn check(spec: &Spec, bundle: &Path, facts: &Facts, problems: &mut Problems) -> Self {
        version::check(spec, problems);
        let annotations = annotations::check(spec, problems);
        let namespaces = namespaces::check(spec, facts, problems);
        let id_mappings = idmappings::check(spec, &namespaces, facts, problems);
        let root = root::check(spec, bundle, problems);
        let mounts = mounts::check(spec, bundle, &namespaces, &id_mappings, &root, facts, problems);
        let context = process::Context {
            namespaces: &namespaces,
            id_mappings: &id_mappings,
            facts,
            groups: annotations.groups,
        };
        let process = spec.process.as_ref().map(|process| process::check(process, &context, problems));
        let linux = spec.linux.as_ref();
        Self {
            devices: devices::check(spec, &namespaces, &id_mappings, &mounts, facts, problems),
            hidden_paths: hidden_paths::check(spec, &mounts, problems),
            sysctls: sysctl::check(spec, &namespaces, facts, problems),
            net_devices: net_devices::check(spec, &namespaces, facts, problems),
            uts: uts::check(spec, &namespaces, problems),
            hooks: hooks::check(&spec.hooks, problems),
            intel_rdt: intel_rdt::check(spec, facts, problems),
            memory_policy: memory_policy::check(spec, problems),
            personality: personality::check(spec, problems),
            cgroups_path: linux.and_then(|linux| linux.cgroups_path.clone()).filter(|path| !path.is_empty()),
            resources: linux.map(|linux| linux.resources.clone()).unwrap_or_default(),
            namespaces,
            id_mappings,
            root,
            mounts,
            process,
            annotations,
        }
    }

    /// Adds variables that the runtime hands on (NOTIFY_SOCKET, LISTEN_FDS) to the program's environment.
    pub fn add_environment(&mut self, variables: &[String]) {
        if let Some(process) = &mut self.process {
            process.program.add_environment(variables);
        }
    }

    /// Says what becomes of the newlines that the program writes to its terminal.
    pub fn set_newlines(&mut self, newlines: child::op::Newlines) {
        if let Some(terminal) = self.process.as_mut().and_then(|process| process.terminal.as_mut()) {
            terminal.set_newlines(newlines);
        }
    }
}
