//! The three cgroup layouts, each made in a private mount namespace, so that one machine tests all of them.
//!
//! Nothing outside that namespace changes: `/sys/fs/cgroup` is covered inside it by new mounts of the same
//! hierarchies. A controller belongs to one hierarchy at a time, so `v2` made on a machine that uses v1 has only
//! the controllers that v1 left free. Start at [`enter`].

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

const ROOT: &str = "/sys/fs/cgroup";

/// A way of mounting the cgroup hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Only v1 hierarchies under a tmpfs.
    V1,
    /// One v2 hierarchy at the root.
    V2,
    /// v1 hierarchies, and the v2 one at `unified`.
    Hybrid,
}

impl Layout {
    /// The layout of that name.
    pub fn from_name(name: &str) -> Option<Layout> {
        match name {
            "v1" => Some(Layout::V1),
            "v2" => Some(Layout::V2),
            "hybrid" => Some(Layout::Hybrid),
            _ => None,
        }
    }
}

/// The layout that this process sees; `None` where no cgroup filesystem is mounted.
pub fn current() -> Option<Layout> {
    let (mut v1, mut v2, mut root_is_v2) = (false, false, false);
    for (kind, target, _) in hierarchies() {
        v1 |= kind == "cgroup";
        v2 |= kind == "cgroup2";
        root_is_v2 |= kind == "cgroup2" && target == ROOT;
    }
    match (v1, v2, root_is_v2) {
        (_, _, true) => Some(Layout::V2),
        (true, true, false) => Some(Layout::Hybrid),
        (true, false, false) => Some(Layout::V1),
        (false, _, false) => None,
    }
}

/// Moves the calling process, which must have one thread, into a mount namespace with that layout.
pub fn enter(layout: Layout) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    if current() == Some(layout) {
        return Ok(());
    }
    let controllers = v1_hierarchies()?;
    unmount(ROOT, UnmountFlags::DETACH)?;
    if layout == Layout::V2 {
        return mount_at("cgroup2", ROOT, "");
    }
    mount_at("tmpfs", ROOT, "mode=755")?;
    for (name, data) in controllers {
        let target = format!("{ROOT}/{name}");
        fs::create_dir(&target)?;
        mount_at("cgroup", &target, &data)?;
    }
    if layout == Layout::Hybrid {
        fs::create_dir(format!("{ROOT}/unified"))?;
        mount_at("cgroup2", &format!("{ROOT}/unified"), "")?;
    }
    Ok(())
}

/// The v1 hierarchies of this machine: the name of the directory, and the data that mounts the hierarchy again.
fn v1_hierarchies() -> io::Result<Vec<(String, String)>> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let controllers = text.lines().filter_map(|line| line.split(':').nth(1)).filter(|list| !list.is_empty());
    let pairs = controllers.map(|list| match list.strip_prefix("name=") {
        Some(name) => (name.to_owned(), format!("none,name={name}")),
        None => (list.to_owned(), list.to_owned()),
    });
    Ok(pairs.collect())
}

fn mount_at(kind: &str, target: &str, data: &str) -> io::Result<()> {
    let data = CString::new(data)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(kind, target, kind, flags, data.as_c_str())
        .map_err(|errno| io::Error::other(format!("mount {target}: {errno}")))
}

/// The mounted cgroup filesystems: type, mount point and filesystem options.
pub fn hierarchies() -> Vec<(String, String, String)> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (target, kind, options) = (words.next()?, words.next()?, words.next()?);
        kind.starts_with("cgroup").then(|| (kind.to_owned(), target.to_owned(), options.to_owned()))
    });
    rows.filter(|(_, target, _)| Path::new(target).is_dir()).collect()
}

/// The directories of cgroups that `name` (a last path component) has, in any hierarchy below the first few levels.
pub fn groups_named(name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut pending: Vec<_> = hierarchies().into_iter().map(|(_, target, _)| target.into()).collect();
    while let Some(dir) = pending.pop() {
        let dir: std::path::PathBuf = dir;
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_str() == Some(name) {
                    found.push(entry.path());
                }
                pending.push(entry.path());
            }
        }
    }
    found
}
