//! What the runtime asks for: one container's group, its limits and who delivers them.

use serde::{Deserialize, Serialize};

use crate::resources::Resources;

/// Who creates and owns the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// We write to the control group file system ourselves.
    #[default]
    Cgroupfs,
    /// systemd starts a transient unit and applies what it has a property for.
    Systemd,
    /// No group is made; a limit that is asked for is an error.
    Disabled,
}

/// A user and group on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id, outside the container.
    pub uid: u32,
    /// Group id, outside the container.
    pub gid: u32,
}

/// One container's demands on control groups.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// `linux.cgroupsPath` as written.
    pub cgroups_path: Option<&'a str>,
    /// `linux.resources`.
    pub resources: &'a Resources,
    /// Who delivers.
    pub driver: Driver,
    /// The caller has no right over the host's groups: what was not asked for and is not permitted is skipped.
    pub rootless: bool,
    /// Delegates the group to the container's root: set with a cgroup namespace and a writable cgroup mount.
    pub owner: Option<Owner>,
    /// Version 2: the name of a group beneath the container's own, for init to live in, so that the container can enable
    /// controllers in its own group.
    pub leaf: Option<&'a str>,
    /// Properties of the systemd unit from `org.systemd.property.*` annotations: name without the prefix, and the value as
    /// GVariant text.
    pub properties: &'a [(String, String)],
}
