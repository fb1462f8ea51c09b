//! The parts of a plan: a step with the configuration key that asked for it, and what is opened before the clone.

use std::borrow::Cow;
use std::ffi::CStr;
use std::path::Path;

use child::op::Depth;
use child::{Fd, Op};

/// A step with the key that an error about it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// The key as a person would write it (`mounts[3]`); empty for what orlop does on its own.
    pub key: Cow<'a, str>,
    /// What the child does.
    pub op: Op<'a>,
}

impl<'a> Step<'a> {
    /// A step for the configuration key `key`.
    pub fn new(key: impl Into<Cow<'a, str>>, op: Op<'a>) -> Self {
        Self { key: key.into(), op }
    }
}

/// What the parent opens before the clone, so that the child inherits it.
#[derive(Clone, Debug, PartialEq)]
pub enum Open<'a> {
    /// The child's end of the create socket.
    Socket,
    /// The runtime's own procfs, verified.
    Proc,
    /// The listening start socket.
    Start,
    /// The n-th file into which the child writes `0` to join a cgroup.
    Tasks(usize),
    /// A namespace to join; opened and its type checked.
    Namespace {
        /// The CLONE_NEW* flag.
        kind: u32,
        /// The file that names it.
        path: &'a Path,
        /// The configuration key.
        key: Cow<'a, str>,
    },
    /// A detached copy of a tree on the host, prepared where the child may not.
    Tree(Tree<'a>),
    /// A file that collects what the hooks inside the container print.
    HookOutput,
}

impl Open<'_> {
    /// One line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Socket => "the create socket".to_owned(),
            Self::Proc => "the runtime's procfs".to_owned(),
            Self::Start => "the start socket".to_owned(),
            Self::Tasks(index) => format!("the file to join cgroup {index}"),
            Self::Namespace { kind, path, .. } => {
                format!("the {} namespace {}", child::op::namespace_name(*kind), path.display())
            }
            Self::Tree(tree) => format!("a copy of {}", tree.source.to_string_lossy()),
            Self::HookOutput => "a file for the output of hooks".to_owned(),
        }
    }
}

/// A detached tree: open_tree(2), then mount_setattr(2) with the propagation and the id map.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree<'a> {
    /// The absolute path on the host.
    pub source: &'a CStr,
    /// Whether submounts follow.
    pub depth: Depth,
    /// The id map, if the tree is id-mapped; `None` maps nothing.
    pub idmap: Option<IdMap<'a>>,
    /// The propagation of the copy, recursively (MS_SLAVE), or 0: it is made in the runtime's mount namespace, so without
    /// this it is a peer of the host's mount and what the container mounts in it appears on the host.
    pub propagation: u64,
    /// The configuration key.
    pub key: Cow<'a, str>,
}

/// How a tree is id-mapped: MOUNT_ATTR_IDMAP (kernel 5.12, recursive with [`Depth::Tree`]).
#[derive(Clone, Debug, PartialEq)]
pub struct IdMap<'a> {
    /// Lines of uid_map for the user namespace that carries the map; empty for the one that the container joins.
    pub uid_map: &'a str,
    /// Lines of gid_map.
    pub gid_map: &'a str,
    /// Whether submounts are mapped as well (`ridmap`).
    pub depth: Depth,
}

/// The descriptors of a plan. The numbers that the child sees are fixed here, before anything is opened.
#[derive(Debug)]
pub struct Opens<'a> {
    first: i32,
    list: Vec<Open<'a>>,
}

impl<'a> Opens<'a> {
    /// No descriptors yet; the first one will have the number `first` in the child.
    pub fn new(first: i32) -> Self {
        Self { first, list: Vec::new() }
    }

    /// Plans to open `open`; the number is the one that the child's steps use.
    pub fn add(&mut self, open: Open<'a>) -> Fd {
        self.list.push(open);
        Fd(self.first + i32::try_from(self.list.len()).unwrap_or(i32::MAX) - 1)
    }

    /// What to open, with the number of each in the child.
    pub fn iter(&self) -> impl Iterator<Item = (Fd, &Open<'a>)> {
        (self.first..).map(Fd).zip(&self.list)
    }
}
