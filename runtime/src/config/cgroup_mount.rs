//! What becomes of a mount of type `cgroup`: the specification names the type, the host's layout decides the rest.
//!
//! | | own cgroup namespace | without |
//! |---|---|---|
//! | v2 | a cgroup2 mount, whose root is the container's group | the host's hierarchy, bound |
//! | v1 | a tmpfs with one cgroup mount for each hierarchy | a tmpfs with the container's group of each, bound |
//!
//! The v2 hierarchy of a hybrid host is `unified` in that tmpfs, but only in a cgroup namespace.

use std::ffi::{CStr, CString};

use child::op::{Attributes, Depth, Existing, Over, Source};
use child::{Op, Text};

use super::mount_options::{
    HARDENED_ATTRIBUTES, MOUNT_ATTR_RDONLY, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, Options,
};
use super::mounts::{External, Ids};

// ── Shape ──

/// The host's cgroups, as far as a container can see them; the launch fills this in once the container's group has a
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCgroups {
    /// One hierarchy.
    V2 {
        /// Where the host has it, usually /sys/fs/cgroup.
        mount_point: CString,
    },
    /// One hierarchy, and the container stays in its root group. A mount of it there would be refused (EBUSY) wherever the
    /// host's /sys is bound, as it is the same file system with the same root, so it is bound as well.
    V2Root {
        /// Where the host has it.
        mount_point: CString,
    },
    /// One hierarchy for each controller or set of controllers.
    V1 {
        /// The hierarchies that the host has mounted.
        hierarchies: Vec<Hierarchy>,
        /// The v2 hierarchy beside them (hybrid).
        unified: Option<Hierarchy>,
    },
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The name of its directory in /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `systemd`, `unified`.
    pub name: String,
    /// The data that mounts it: `cpu,cpuacct` or `none,name=systemd`; empty for v2.
    pub data: String,
    /// The directory of the container's group on the host.
    pub group: CString,
}

// ── Rules ──

/// Whose groups a container sees, and what it may do to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Its own, as the root of its cgroup namespace.
    Own,
    /// The host's, as the options say.
    Host,
    /// The host's, read-only whatever the options say.
    HostReadonly,
}

/// A mount of type `cgroup`, valid.
#[derive(Debug, PartialEq)]
pub(super) struct CgroupMount {
    target: CString,
    data: CString,
    /// The flags for new mounts.
    flags: u32,
    scope: Scope,
}

/// What every mount of cgroups has.
const HARDENED: u32 = MS_NOSUID | MS_NODEV | MS_NOEXEC;

impl CgroupMount {
    /// The mount at `target` with the data for cgroup2.
    pub(super) fn new(target: &CStr, options: &Options, data: CString, scope: Scope) -> Self {
        let readonly = if scope == Scope::HostReadonly { MS_RDONLY } else { 0 };
        Self { target: target.to_owned(), data, flags: options.flags | HARDENED | readonly, scope }
    }

    /// Whether it shows the container's own groups and lets it write to them.
    pub(super) fn is_own_and_writable(&self) -> bool {
        self.scope == Scope::Own && !self.is_readonly()
    }

    fn is_readonly(&self) -> bool {
        self.flags & MS_RDONLY != 0
    }
}

// ── Steps ──

/// One step of a cgroup mount, with strings of its own.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Mount { target: CString, kind: &'static CStr, flags: u32, data: CString },
    Bind { source: CString, target: CString, whole: Attributes },
    Link { path: CString, text: CString },
    Readonly { target: CString },
}

/// The step of a part.
pub(super) fn op(part: &Part) -> Op<'_> {
    match part {
        Part::Mount { target, kind, flags, data } => Op::Mount {
            target: Text(target),
            source: Text(c"cgroup"),
            kind: Text(kind),
            flags: *flags,
            data: Text(data),
            over: Over::Directory,
        },
        Part::Bind { source, target, whole } => Op::Bind {
            source: Source::Path(Text(source)),
            target: Text(target),
            depth: Depth::Tree,
            whole: *whole,
            attributes: Attributes::default(),
            over: Over::Directory,
        },
        Part::Link { path, text } => {
            Op::Symlink { path: Text(path), text: Text(text), existing: Existing::Keep }
        }
        Part::Readonly { target } => Op::SetAttributes {
            target: Text(target),
            depth: Depth::One,
            attributes: Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() },
        },
    }
}

/// The tree of the host that a part attaches.
pub(super) fn external(part: &Part) -> Option<External<'_>> {
    match part {
        Part::Bind { source, target, .. } => {
            Some(External { source, target, depth: Depth::Tree, ids: Ids::Own })
        }
        Part::Mount { .. } | Part::Link { .. } | Part::Readonly { .. } => None,
    }
}

impl CgroupMount {
    /// The parts in their order.
    pub(super) fn expand(&self, host: &HostCgroups) -> Vec<Part> {
        match host {
            HostCgroups::V2 { .. } if self.scope == Scope::Own => {
                vec![self.mount(self.target.clone(), c"cgroup2", self.data.clone())]
            }
            HostCgroups::V2 { mount_point } | HostCgroups::V2Root { mount_point } => {
                vec![self.bind(mount_point, self.target.clone())]
            }
            HostCgroups::V1 { hierarchies, unified } => self.expand_v1(hierarchies, unified.as_ref()),
        }
    }

    /// A tmpfs with a directory for each hierarchy and a link for each controller that shares one; read-only at last.
    fn expand_v1(&self, hierarchies: &[Hierarchy], unified: Option<&Hierarchy>) -> Vec<Part> {
        let mut parts = vec![Part::Mount {
            target: self.target.clone(),
            kind: c"tmpfs",
            flags: self.flags & !MS_RDONLY,
            data: c"mode=755".to_owned(),
        }];
        for hierarchy in hierarchies {
            parts.push(self.hierarchy(hierarchy, c"cgroup"));
            parts.extend(self.links(&hierarchy.name));
        }
        // systemd takes its presence for a hybrid host and looks in it for the groups that /proc/self/cgroup names. Where
        // those are the host's names they are not there, while engines bind the v1 hierarchy of systemd as a whole.
        let unified = unified.filter(|_| self.scope == Scope::Own);
        parts.extend(unified.map(|unified| self.hierarchy(unified, c"cgroup2")));
        if self.is_readonly() {
            parts.push(Part::Readonly { target: self.target.clone() });
        }
        parts
    }

    fn hierarchy(&self, hierarchy: &Hierarchy, kind: &'static CStr) -> Part {
        let target = self.beneath(&hierarchy.name);
        if self.scope != Scope::Own {
            return self.bind(&hierarchy.group, target);
        }
        let own = self.data.to_str().unwrap_or_default();
        let data = [hierarchy.data.as_str(), own].into_iter().filter(|data| !data.is_empty());
        self.mount(target, kind, c_string(&data.collect::<Vec<_>>().join(",")))
    }

    fn links(&self, name: &str) -> Vec<Part> {
        if !name.contains(',') {
            return Vec::new();
        }
        name.split(',')
            .map(|controller| Part::Link { path: self.beneath(controller), text: c_string(name) })
            .collect()
    }

    fn mount(&self, target: CString, kind: &'static CStr, data: CString) -> Part {
        Part::Mount { target, kind, flags: self.flags, data }
    }

    /// A part of the host's tree. Access times and the like stay: in a user namespace they may not be changed.
    fn bind(&self, source: &CStr, target: CString) -> Part {
        let readonly = if self.is_readonly() { MOUNT_ATTR_RDONLY } else { 0 };
        let whole = Attributes { set: HARDENED_ATTRIBUTES | readonly, ..Attributes::default() };
        Part::Bind { source: source.to_owned(), target, whole }
    }

    fn beneath(&self, name: &str) -> CString {
        let mut path = self.target.to_bytes().to_vec();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        CString::new(path).unwrap_or_default()
    }
}

/// Names of hierarchies come from the kernel's files and have no NUL.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mount_options::add_up;

    fn mount(options: &[&str], scope: Scope) -> CgroupMount {
        let options = add_up(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>());
        CgroupMount::new(c"/sys/fs/cgroup", &options, CString::default(), scope)
    }

    fn hierarchy(name: &str, data: &str, group: &CStr) -> Hierarchy {
        Hierarchy { name: name.to_owned(), data: data.to_owned(), group: group.to_owned() }
    }

    fn hybrid() -> HostCgroups {
        HostCgroups::V1 {
            hierarchies: vec![
                hierarchy("cpu,cpuacct", "cpu,cpuacct", c"/sys/fs/cgroup/cpu,cpuacct/c"),
                hierarchy("systemd", "none,name=systemd", c"/sys/fs/cgroup/systemd/c"),
            ],
            unified: Some(hierarchy("unified", "", c"/sys/fs/cgroup/unified/c")),
        }
    }

    /// A line for each part.
    fn lines(parts: &[Part]) -> Vec<String> {
        let text = |text: &CStr| text.to_str().unwrap().to_owned();
        let line = |part: &Part| match part {
            Part::Mount { target, kind, flags, data } => {
                format!("{} {} {flags:#x} {:?}", text(target), text(kind), text(data))
            }
            Part::Bind { source, target, whole } => {
                format!("{} from {} {:#x} {:#x}", text(target), text(source), whole.set, whole.clear)
            }
            Part::Link { path, text: to } => format!("{} -> {}", text(path), text(to)),
            Part::Readonly { target } => format!("{} read-only", text(target)),
        };
        parts.iter().map(line).collect()
    }

    #[test]
    fn v2_is_mounted_in_a_cgroup_namespace_and_bound_without() {
        let host = HostCgroups::V2 { mount_point: c"/sys/fs/cgroup".to_owned() };
        let table: [(&[&str], Scope, &str); 5] = [
            (&["ro", "relatime"], Scope::Own, "/sys/fs/cgroup cgroup2 0x20000f \"\""),
            (&[], Scope::Own, "/sys/fs/cgroup cgroup2 0xe \"\""),
            (&["ro", "relatime"], Scope::Host, "/sys/fs/cgroup from /sys/fs/cgroup 0xf 0x0"),
            (&["rw"], Scope::Host, "/sys/fs/cgroup from /sys/fs/cgroup 0xe 0x0"),
            (&["rw"], Scope::HostReadonly, "/sys/fs/cgroup from /sys/fs/cgroup 0xf 0x0"),
        ];
        for (options, scope, line) in table {
            assert_eq!(lines(&mount(options, scope).expand(&host)), [line], "{options:?} {scope:?}");
        }
        let root = HostCgroups::V2Root { mount_point: c"/sys/fs/cgroup".to_owned() };
        let bound = "/sys/fs/cgroup from /sys/fs/cgroup 0xf 0x0";
        assert_eq!(lines(&mount(&["ro"], Scope::Own).expand(&root)), [bound]);
    }

    #[test]
    fn v1_is_a_tmpfs_that_becomes_read_only_last() {
        assert_eq!(
            lines(&mount(&["ro"], Scope::Own).expand(&hybrid())),
            [
                "/sys/fs/cgroup tmpfs 0xe \"mode=755\"",
                "/sys/fs/cgroup/cpu,cpuacct cgroup 0xf \"cpu,cpuacct\"",
                "/sys/fs/cgroup/cpu -> cpu,cpuacct",
                "/sys/fs/cgroup/cpuacct -> cpu,cpuacct",
                "/sys/fs/cgroup/systemd cgroup 0xf \"none,name=systemd\"",
                "/sys/fs/cgroup/unified cgroup2 0xf \"\"",
                "/sys/fs/cgroup read-only",
            ]
        );
    }

    /// CVE-2023-25809: a container that is not root of the host must not write groups that are not its own.
    #[test]
    fn v1_without_a_cgroup_namespace_binds_the_groups_of_the_container() {
        assert_eq!(
            lines(&mount(&["rw"], Scope::HostReadonly).expand(&hybrid())),
            [
                "/sys/fs/cgroup tmpfs 0xe \"mode=755\"",
                "/sys/fs/cgroup/cpu,cpuacct from /sys/fs/cgroup/cpu,cpuacct/c 0xf 0x0",
                "/sys/fs/cgroup/cpu -> cpu,cpuacct",
                "/sys/fs/cgroup/cpuacct -> cpu,cpuacct",
                "/sys/fs/cgroup/systemd from /sys/fs/cgroup/systemd/c 0xf 0x0",
                "/sys/fs/cgroup read-only",
            ]
        );
        let writable = mount(&[], Scope::Host).expand(&hybrid());
        assert!(!lines(&writable).iter().any(|line| line.contains("read-only") || line.contains("0xf ")));
    }
}
