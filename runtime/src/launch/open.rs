//! What the parent opens before the clone, and the numbers under which the child finds it.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use child::op::Depth;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, fcntl_setfl, fstatfs, memfd_create, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::error::Context;
use sys::mount::{AT_RECURSIVE, MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};

use crate::step::{IdMap, Open, Opens, Tree};
use crate::{Error, Kind, Result};

/// What is open already when the plan's descriptors are gathered.
#[derive(Debug)]
pub struct Ready<'a> {
    /// The child's end of the create socket.
    pub socket: BorrowedFd<'a>,
    /// The runtime's procfs.
    pub proc: BorrowedFd<'a>,
    /// The listening start socket.
    pub start: Option<BorrowedFd<'a>>,
    /// The files into which the child writes `0`.
    pub tasks: Vec<BorrowedFd<'a>>,
    /// What the program gets: its standard streams and the preserved descriptors, in order.
    pub program: Vec<BorrowedFd<'a>>,
    /// The file that collects what hooks print.
    pub hook_output: Option<BorrowedFd<'a>>,
    /// The user namespace of the container, for id-mapped mounts without maps of their own.
    pub user_namespace: Option<BorrowedFd<'a>>,
}

/// Descriptors that the child inherits, with the number of each in the child.
#[derive(Debug)]
pub struct Inherited {
    /// Copies with numbers above all that the child will use, so that placing one never overwrites another.
    copies: Vec<OwnedFd>,
    /// Where each belongs.
    places: Vec<i32>,
}

impl Inherited {
    /// Gathers what `opens` names and the program's own descriptors.
    ///
    /// # Errors
    /// With the key of what could not be opened.
    pub fn gather(opens: &Opens<'_>, ready: &Ready<'_>) -> Result<Self> {
        let limit = i32::try_from(ready.program.len() + opens.iter().count()).unwrap_or(i32::MAX);
        let mut inherited = Self { copies: Vec::new(), places: Vec::new() };
        for (place, fd) in (0..).zip(&ready.program) {
            inherited.add(*fd, place, limit)?;
        }
        for (place, open) in opens.iter() {
            inherited.open(place.0, open, ready, limit)?;
        }
        Ok(inherited)
    }

    /// Gathers `descriptors`, the first of which becomes number 0 in the child and so on.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn in_order(descriptors: &[BorrowedFd<'_>]) -> Result<Self> {
        let limit = i32::try_from(descriptors.len()).unwrap_or(i32::MAX);
        let mut inherited = Self { copies: Vec::new(), places: Vec::new() };
        for (place, fd) in (0..).zip(descriptors) {
            inherited.add(*fd, place, limit)?;
        }
        Ok(inherited)
    }

    fn open(&mut self, place: i32, open: &Open<'_>, ready: &Ready<'_>, limit: i32) -> Result<()> {
        let absent =
            || Error::new(Kind::Internal, format!("the plan opens what is not there: {}", open.describe()));
        match open {
            Open::Socket => self.add(ready.socket, place, limit),
            Open::Proc => self.add(ready.proc, place, limit),
            Open::Start => self.add(ready.start.ok_or_else(absent)?, place, limit),
            Open::Tasks(index) => self.add(*ready.tasks.get(*index).ok_or_else(absent)?, place, limit),
            Open::HookOutput => self.add(ready.hook_output.ok_or_else(absent)?, place, limit),
            Open::Namespace { kind, path, key } => {
                let fd = namespace(*kind, path).map_err(|error| error.with_key(key.clone().into_owned()))?;
                self.add(fd.as_fd(), place, limit)
            }
            Open::Tree(tree) => {
                let fd = detached(tree, ready.user_namespace)
                    .map_err(|error| error.with_key(tree.key.clone().into_owned()))?;
                self.add(fd.as_fd(), place, limit)
            }
        }
    }

    /// Adds one that the child needs at a number of the runtime's choice; returns that number.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn add_anywhere(&mut self, fd: BorrowedFd<'_>) -> Result<i32> {
        let above =
            i32::try_from(self.copies.len()).unwrap_or(i32::MAX).saturating_add(self.places.len() as i32);
        let copy = fcntl_dupfd_cloexec(fd, above)
            .context("fcntl(F_DUPFD_CLOEXEC)", || "copy a descriptor".to_owned())?;
        let number = copy.as_raw_fd();
        self.copies.push(copy);
        Ok(number)
    }

    fn add(&mut self, fd: BorrowedFd<'_>, place: i32, limit: i32) -> Result<()> {
        let copy = fcntl_dupfd_cloexec(fd, limit)
            .context("fcntl(F_DUPFD_CLOEXEC)", || "copy a descriptor".to_owned())?;
        self.copies.push(copy);
        self.places.push(place);
        Ok(())
    }

    /// The pairs of from and to for the plan's first step.
    pub fn place(&self) -> Vec<u8> {
        let pairs = self.copies.iter().zip(&self.places);
        pairs
            .flat_map(|(copy, place)| [copy.as_raw_fd().to_ne_bytes(), place.to_ne_bytes()].concat())
            .collect()
    }

    /// The numbers that must survive the exec of the init image.
    pub fn numbers(&self) -> Vec<i32> {
        self.copies.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

/// Opens a namespace and checks that it is one of the type that the configuration says. ioctl_nsfs(2).
fn namespace(kind: u32, path: &Path) -> Result<OwnedFd> {
    let what = || format!("open {} namespace {}", child::op::namespace_name(kind), path.display());
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .context("openat", what)?;
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    if fstatfs(&fd).context("fstatfs", what)?.f_type as u64 != NSFS_MAGIC {
        return Err(Error::new(Kind::InvalidConfig, format!("{} is not a namespace", path.display())));
    }
    let found = sys::namespace::kind(&fd).context("ioctl(NS_GET_NSTYPE)", what)?;
    if found == kind {
        return Ok(fd);
    }
    let (found, asked) = (child::op::namespace_name(found), child::op::namespace_name(kind));
    Err(Error::new(
        Kind::InvalidConfig,
        format!("{} is a {found} namespace, not a {asked} namespace", path.display()),
    ))
}

/// A detached copy of a tree, id-mapped if asked.
fn detached(tree: &Tree<'_>, own: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let what = || format!("open {}", tree.source.to_string_lossy());
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if tree.depth == Depth::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let fd = open_tree(CWD, tree.source, flags).context("open_tree", what)?;
    if tree.propagation != 0 {
        let slave = MountAttr { propagation: tree.propagation, ..MountAttr::default() };
        mount_setattr(&fd, AT_RECURSIVE, &slave).context("mount_setattr", what)?;
    }
    if let Some(map) = &tree.idmap {
        map_ids(&fd, map, own, tree.source)?;
    }
    Ok(fd)
}

fn map_ids(fd: &OwnedFd, map: &IdMap<'_>, own: Option<BorrowedFd<'_>>, source: &CStr) -> Result<()> {
    let what = || format!("id-map {}", source.to_string_lossy());
    let made;
    let namespace = if map.uid_map.is_empty() {
        own.ok_or_else(|| Error::new(Kind::InvalidConfig, "idmap without mappings needs a user namespace"))?
    } else {
        made = super::userns::with_maps(map.uid_map, map.gid_map)?;
        made.as_fd()
    };
    let number = u64::from(namespace.as_raw_fd().unsigned_abs());
    let attr = MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd: number, ..MountAttr::default() };
    let flags = if map.depth == Depth::Tree { AT_RECURSIVE } else { 0 };
    mount_setattr(fd, flags, &attr).context("mount_setattr(MOUNT_ATTR_IDMAP)", what).map_err(|error| {
        match error.errno() {
            Some(Errno::INVAL) => error.with_hint("the file system does not support id-mapped mounts"),
            Some(Errno::PERM) => error.with_hint("id-mapping needs CAP_SYS_ADMIN over the file system"),
            _ => error,
        }
    })
}

/// A file for what hooks inside the container print. It appends, because each hook begins with an empty file.
///
/// # Errors
/// `Kernel`.
pub fn hook_output() -> Result<OwnedFd> {
    let what = || "collect the output of hooks".to_owned();
    let file = memfd_create("orlop-hooks", MemfdFlags::CLOEXEC).context("memfd_create", what)?;
    fcntl_setfl(&file, OFlags::APPEND).context("fcntl(F_SETFL)", what)?;
    Ok(file)
}
