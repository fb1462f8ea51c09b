//! What `features` prints: what orlop can do, whatever this host can.
//!
//! Every list is the table that the rules themselves use, so it cannot promise more than they accept. The kernel is asked
//! for one thing: which flags of filters it takes, as the specification wants for `supportedFlags`. That needs no right.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/features.md>

use serde::Serialize;

use crate::config::annotations::HONOURED;
use crate::config::{capabilities, hooks, memory_policy, mount_options, namespaces, version};
use crate::facts::Facts;

/// The features structure. A property that is absent says nothing; an empty list says "none".
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: Annotations,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Debug, Serialize)]
struct Annotations {
    #[serde(rename = "run.oci.orlop.version")]
    version: &'static str,
    /// Engines look for the key of runc, which crun has as well.
    #[serde(rename = "org.opencontainers.runc.checkpoint.enabled")]
    checkpoint: &'static str,
}

/// What this program can do.
pub fn features() -> Features {
    Features {
        oci_version_min: version::OLDEST,
        oci_version_max: version::NEWEST,
        hooks: hooks::NAMES.to_vec(),
        mount_options: names(&mount_options::OPTIONS),
        linux: linux(),
        annotations: Annotations { version: env!("CARGO_PKG_VERSION"), checkpoint: "true" },
        potentially_unsafe_config_annotations: HONOURED.iter().map(|honoured| honoured.key).collect(),
    }
}

impl Features {
    /// As JSON text, indented, with a newline at the end.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn linux() -> Linux {
    const YES: Enabled = Enabled { enabled: true };
    Linux {
        namespaces: namespaces::Kind::names().collect(),
        capabilities: capabilities::NAMES.to_vec(),
        cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
        seccomp: seccomp(),
        apparmor: YES,
        selinux: YES,
        intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
        memory_policy: MemoryPolicy {
            modes: names(&memory_policy::MODES),
            flags: names(&memory_policy::FLAGS),
        },
        mount_extensions: MountExtensions { idmap: YES },
        net_devices: YES,
    }
}

fn seccomp() -> Seccomp {
    Seccomp {
        enabled: true,
        actions: seccomp::profile::ACTIONS.to_vec(),
        operators: seccomp::profile::OPERATORS.to_vec(),
        archs: seccomp::Arch::ALL.iter().map(|arch| arch.name()).collect(),
        known_flags: names(&seccomp::profile::FLAGS),
        supported_flags: Facts::default().seccomp().flag_names().collect(),
    }
}

fn names<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|entry| entry.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_properties_of_the_specification() {
        let value: serde_json::Value = serde_json::from_str(&features().text()).unwrap();
        let keys = |pointer: &str| {
            let mut keys: Vec<&str> =
                value.pointer(pointer).unwrap().as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            keys.join(" ")
        };
        for (pointer, expected) in [
            (
                "",
                "annotations hooks linux mountOptions ociVersionMax ociVersionMin potentiallyUnsafeConfigAnnotations",
            ),
            (
                "/linux",
                "apparmor capabilities cgroup intelRdt memoryPolicy mountExtensions namespaces netDevices seccomp selinux",
            ),
            ("/linux/cgroup", "rdma systemd systemdUser v1 v2"),
            ("/linux/seccomp", "actions archs enabled knownFlags operators supportedFlags"),
            ("/linux/intelRdt", "enabled monitoring schemata"),
            ("/linux/memoryPolicy", "flags modes"),
            ("/linux/mountExtensions/idmap", "enabled"),
        ] {
            assert_eq!(keys(pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn what_is_listed_is_complete() {
        let features = features();
        assert_eq!(features.linux.namespaces.len(), 8);
        assert_eq!(features.linux.capabilities.len(), 41);
        assert_eq!(features.linux.memory_policy.modes.len(), 7);
        for option in ["ro", "rro", "rnosymfollow", "idmap", "ridmap", "tmpcopyup", "iversion", "runbindable"]
        {
            assert!(features.mount_options.contains(&option), "{option}");
        }
        let seccomp = features.linux.seccomp;
        assert_eq!((seccomp.actions.len(), seccomp.operators.len(), seccomp.archs.len()), (9, 7, 23));
        assert_eq!(seccomp.known_flags.len(), 4);
        // WAIT_KILLABLE_RECV is of kernel 5.19, the others are older than any kernel that orlop runs on.
        assert!(seccomp.supported_flags.len() >= 3, "{:?}", seccomp.supported_flags);
        assert!(seccomp.supported_flags.iter().all(|flag| seccomp.known_flags.contains(flag)));
    }
}
