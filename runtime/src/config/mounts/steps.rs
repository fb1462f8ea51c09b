//! What mounts become: steps of the child, and trees of the host for a restore.

use std::ffi::{CStr, CString};

use child::op::{Attributes, Depth, Over, Source};
use child::{Op, Text};

use super::{Action, Bind, Mount, Mounts, Opener};
use crate::config::cgroup_mount::{self, HostCgroups, Part};
use crate::config::mount_options::MOUNT_ATTR_RDONLY;
use crate::step::{IdMap, Open, Opens, Step, Tree};

/// The mounts of type `cgroup` as this host's layout makes them, by key.
#[derive(Debug, Default)]
pub struct CgroupView(Vec<(String, Vec<Part>)>);

impl Mounts {
    /// Whether a mount needs to know the host's cgroups.
    pub fn wants_cgroups(&self) -> bool {
        self.list.iter().any(Mount::is_cgroup)
    }

    /// Whether the program may make groups beneath its own: it sees them as the root of a namespace, and writable.
    pub fn has_own_writable_cgroups(&self) -> bool {
        self.list
            .iter()
            .any(|mount| matches!(&mount.action, Action::Cgroup(cgroup) if cgroup.is_own_and_writable()))
    }

    /// What the mounts of type `cgroup` become on this host.
    pub fn cgroup_view(&self, host: &HostCgroups) -> CgroupView {
        let expand = |mount: &Mount| match &mount.action {
            Action::Cgroup(cgroup) => Some((mount.key.clone(), cgroup.expand(host))),
            _ => None,
        };
        CgroupView(self.list.iter().filter_map(expand).collect())
    }

    /// The label of the container's file systems, as it is written in the configuration.
    pub fn label(&self) -> Option<&CStr> {
        self.label.as_deref()
    }

    /// Every mount in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.list.iter()
    }

    /// What the container has of the host's file systems: the trees that a restore must attach again.
    pub fn external<'a>(&'a self, view: &'a CgroupView) -> impl Iterator<Item = External<'a>> {
        self.list.iter().flat_map(move |mount| mount.external(view))
    }

    /// Gives the trees of the host their attributes once more. CRIU loses them: of two mounts of one directory, the second
    /// comes back writable.
    pub fn attribute_steps(&self) -> impl Iterator<Item = Step<'_>> {
        let of_bind = |mount: &Mount| match &mount.action {
            Action::Bind(Bind { whole, attributes, .. }) => {
                [(Depth::Tree, *whole), (Depth::One, *attributes)]
            }
            _ => [(Depth::One, Attributes::default()); 2],
        };
        self.list.iter().flat_map(move |mount| {
            let parts = of_bind(mount).into_iter().filter(|(_, part)| part.set | part.clear != 0);
            parts.map(|(depth, part)| {
                mount.step(mount.set_attributes(depth, Attributes { propagation: 0, ..part }))
            })
        })
    }

    /// Makes read-only what had to stay writable until the devices, the targets of later mounts, what hooks add and the
    /// terminal's /dev/console were made.
    pub fn readonly_steps(&self) -> impl Iterator<Item = Step<'_>> {
        let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        self.list
            .iter()
            .filter(|mount| mount.readonly_later)
            .map(move |mount| mount.step(mount.set_attributes(Depth::One, attributes)))
    }
}

impl CgroupView {
    fn parts(&self, key: &str) -> impl Iterator<Item = &Part> {
        self.0.iter().filter(move |entry| entry.0 == key).flat_map(|entry| &entry.1)
    }
}

/// A tree of the host in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External<'a> {
    /// The absolute path on the host.
    pub source: &'a CStr,
    /// The path in the container, as it is looked up there.
    pub target: &'a CStr,
    /// Whether submounts follow.
    pub depth: Depth,
    /// Whether its ids are mapped.
    pub ids: Ids,
}

/// Whether the ids of a mount are those of its file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// They are.
    Own,
    /// They are mapped.
    Mapped,
}

impl Mount {
    fn external<'a>(&'a self, view: &'a CgroupView) -> Vec<External<'a>> {
        match &self.action {
            Action::Bind(Bind { source, depth, opener, .. }) => {
                let mapped = matches!(opener, Opener::Parent { idmap: Some(_), .. });
                let ids = if mapped { Ids::Mapped } else { Ids::Own };
                vec![External { source, target: &self.target, depth: *depth, ids }]
            }
            Action::Cgroup(_) => view.parts(&self.key).filter_map(cgroup_mount::external).collect(),
            Action::New { .. } | Action::CopyUp { .. } | Action::Change { .. } => Vec::new(),
        }
    }

    /// Makes the place where it goes and what later mounts in it find there: the tree of the host, or an empty file system
    /// in place of one of the container's own. For a tree of mounts that is thrown away. Files of procfs are there.
    pub fn mount_point_step(&self) -> Option<Step<'_>> {
        let target = Text(&self.target);
        let op = match &self.action {
            Action::Change { .. } => return None,
            Action::Bind(Bind { over: Over::Procfs | Over::ProcfsTree, .. }) => return None,
            Action::New { over: Over::Procfs, .. } => return None,
            Action::Bind(Bind { source, depth, .. }) => Op::Bind {
                source: Source::Path(Text(source)),
                target,
                depth: *depth,
                whole: Attributes::default(),
                attributes: Attributes::default(),
                over: Over::Any,
            },
            Action::New { .. } | Action::CopyUp { .. } | Action::Cgroup(_) => Op::Mount {
                target,
                source: Text(c"tmpfs"),
                kind: Text(c"tmpfs"),
                flags: 0,
                data: Text(c"mode=755"),
                over: Over::Any,
            },
        };
        Some(self.step(op))
    }

    /// Whether it shows cgroups, so that the container must have joined its own before.
    pub fn is_cgroup(&self) -> bool {
        matches!(self.action, Action::Cgroup(_))
    }

    /// What the child does; sources that the parent must open are added to `opens`.
    pub fn steps<'a>(&'a self, opens: &mut Opens<'a>, view: &'a CgroupView) -> Vec<Step<'a>> {
        let target = Text(&self.target);
        let mut steps: Vec<Step<'a>> = match &self.action {
            Action::Cgroup(_) => {
                view.parts(&self.key).map(|part| self.step(cgroup_mount::op(part))).collect()
            }
            Action::Change { filesystem, whole, attributes } => {
                self.changes(filesystem.as_ref(), *whole, *attributes).collect()
            }
            Action::Bind(bind) => vec![self.step(self.bind(bind, opens))],
            Action::New { source, kind, flags, data, over } => vec![self.step(Op::Mount {
                target,
                source: Text(source),
                kind: Text(kind),
                flags: *flags,
                data: Text(data),
                over: *over,
            })],
            Action::CopyUp { flags, data } => {
                vec![self.step(Op::MountCopyUp { target, flags: *flags, data: Text(data) })]
            }
        };
        steps.extend(self.propagations());
        steps
    }

    fn step<'a>(&'a self, op: Op<'a>) -> Step<'a> {
        Step::new(self.key.as_str(), op)
    }

    fn set_attributes(&self, depth: Depth, attributes: Attributes) -> Op<'_> {
        Op::SetAttributes { target: Text(&self.target), depth, attributes }
    }

    fn propagations(&self) -> impl Iterator<Item = Step<'_>> {
        self.propagation.iter().map(|(flag, depth)| {
            let attributes = Attributes { propagation: (*flag).into(), ..Attributes::default() };
            self.step(self.set_attributes(*depth, attributes))
        })
    }

    fn changes<'a>(
        &'a self,
        filesystem: Option<&'a (u32, CString)>,
        whole: Attributes,
        attributes: Attributes,
    ) -> impl Iterator<Item = Step<'a>> {
        let target = Text(&self.target);
        let remount = filesystem
            .map(|(flags, data)| self.step(Op::Remount { target, flags: *flags, data: Text(data) }));
        let changes = [(Depth::Tree, whole), (Depth::One, attributes)]
            .into_iter()
            .filter(|(_, attributes)| *attributes != Attributes::default())
            .map(|(depth, attributes)| self.step(self.set_attributes(depth, attributes)));
        remount.into_iter().chain(changes)
    }

    fn bind<'a>(&'a self, bind: &'a Bind, opens: &mut Opens<'a>) -> Op<'a> {
        let source = match &bind.opener {
            Opener::Child => Source::Path(Text(&bind.source)),
            Opener::Inside(path) => Source::Inside(Text(path)),
            Opener::Parent { propagation, idmap } => Source::Tree(opens.add(Open::Tree(Tree {
                source: &bind.source,
                depth: bind.depth,
                idmap: idmap.as_ref().map(|map| IdMap {
                    uid_map: map.uid.lines(),
                    gid_map: map.gid.lines(),
                    depth: map.depth,
                }),
                propagation: *propagation,
                key: self.key.as_str().into(),
            }))),
        };
        Op::Bind {
            source,
            target: Text(&self.target),
            depth: bind.depth,
            whole: bind.whole,
            attributes: bind.attributes,
            over: bind.over,
        }
    }
}
