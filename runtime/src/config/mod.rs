//! config.json: what each key means and which values are valid.
//!
//! [`Spec`] is the file as written; [`Config`] is what the kernel will be asked for: every string terminated, every flag
//! a number. Each section has one file with four parts in the same order: Shape, Rules, Steps, Tests. The order in which
//! steps happen is not here but in the planner.

pub mod annotations;
pub mod capabilities;
pub mod cgroup_mount;
pub mod devices;
pub mod hidden_paths;
pub mod hooks;
pub mod idmappings;
pub mod intel_rdt;
pub mod keys;
pub mod limits;
pub mod lsm;
pub mod memory_policy;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod numbers;
pub mod paths;
pub mod personality;
pub mod problems;
pub mod process;
pub mod root;
pub mod scheduling;
pub mod suggest;
pub mod sysctl;
pub mod terminal;
pub mod text;
pub mod user;
pub mod uts;
pub mod valid;
pub mod version;

use serde::Deserialize;

pub use problems::Problems;
pub use valid::Config;

use crate::json::{Pairs, or_default};

// ── Shape ──

/// config.json as written (runtime-spec 1.3). Unknown keys are ignored, as the specification demands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The version of the specification that the bundle complies with.
    pub oci_version: Option<String>,
    /// The root file system.
    pub root: Option<root::Shape>,
    /// What is mounted in the container, in this order.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<mounts::Shape>,
    /// The program; may be absent until the container is started.
    pub process: Option<process::Shape>,
    /// The container's host name.
    pub hostname: Option<String>,
    /// The container's NIS domain name.
    pub domainname: Option<String>,
    /// Programs that run at points of the lifecycle.
    #[serde(deserialize_with = "or_default")]
    pub hooks: hooks::Shape,
    /// Arbitrary metadata.
    #[serde(deserialize_with = "or_default")]
    pub annotations: Pairs<String>,
    /// What only Linux has.
    pub linux: Option<Linux>,
}

impl Spec {
    /// The path of the user namespace that is to be joined.
    pub fn joined_user_namespace(&self) -> Option<&std::path::Path> {
        let is_user = |namespace: &&namespaces::Namespace| namespace.kind.as_deref() == Some("user");
        let found = self.linux.as_ref()?.namespaces.iter().find(is_user)?;
        found.path.as_deref().filter(|path| path.starts_with('/')).map(std::path::Path::new)
    }
}

/// The section `linux` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// Namespaces to make or join.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Vec<namespaces::Namespace>,
    /// The clocks of a new time namespace.
    #[serde(deserialize_with = "or_default")]
    pub time_offsets: Pairs<namespaces::TimeOffset>,
    /// The map of user ids of a new user namespace.
    #[serde(deserialize_with = "or_default")]
    pub uid_mappings: Vec<idmappings::Mapping>,
    /// The map of group ids of a new user namespace.
    #[serde(deserialize_with = "or_default")]
    pub gid_mappings: Vec<idmappings::Mapping>,
    /// The path of the cgroup.
    pub cgroups_path: Option<String>,
    /// The limits of the cgroup.
    #[serde(deserialize_with = "or_default")]
    pub resources: cgroups::Resources,
    /// The filter of system calls.
    pub seccomp: Option<seccomp::Profile>,
    /// The resctrl group.
    pub intel_rdt: Option<intel_rdt::Shape>,
    /// The NUMA memory policy.
    pub memory_policy: Option<memory_policy::Shape>,
    /// The execution domain.
    pub personality: Option<personality::Shape>,
    /// The propagation of the container's root.
    pub rootfs_propagation: Option<String>,
    /// The SELinux label of the container's file systems.
    pub mount_label: Option<String>,
    /// Devices beside the default ones.
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<devices::Shape>,
    /// Interfaces of the host to move into the container.
    #[serde(deserialize_with = "or_default")]
    pub net_devices: Pairs<Option<net_devices::Shape>>,
    /// Kernel parameters.
    #[serde(deserialize_with = "or_default")]
    pub sysctl: Pairs<String>,
    /// Paths that cannot be read.
    #[serde(deserialize_with = "or_default")]
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    #[serde(deserialize_with = "or_default")]
    pub readonly_paths: Vec<String>,
}
