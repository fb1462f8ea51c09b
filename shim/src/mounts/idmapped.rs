//! The options `uidmap=` and `gidmap=`: owners of files as another user namespace sees them.
//!
//! Of an overlay the lower directories are mapped, as the overlay itself cannot be: each is cloned, mapped and attached
//! below the bundle for as long as the overlay takes to be mounted, which makes clones of its own. They are read-only, so
//! that nothing is lost if whoever removes the bundle meets one that a killed helper left.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use orlop::launch::userns::with_maps;
use orlop::{Error, Kind, Result};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use sys::error::Context;
use sys::mount::{AT_RECURSIVE, MOUNT_ATTR_IDMAP, MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};

/// The maps of a mount: lines as uid_map of user_namespaces(7) takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Maps {
    pub(super) uids: String,
    pub(super) gids: String,
}

impl Maps {
    /// Reads `uidmap=0:1000:65536,...` or `gidmap=...`; `None` for another option.
    pub(super) fn read(&mut self, option: &str) -> Option<Result<()>> {
        let (lines, value) = match (option.strip_prefix("uidmap="), option.strip_prefix("gidmap=")) {
            (Some(value), _) => (&mut self.uids, value),
            (_, Some(value)) => (&mut self.gids, value),
            _ => return None,
        };
        Some(match table(value) {
            Some(table) => {
                lines.push_str(&table);
                Ok(())
            }
            None => Err(Error::new(
                Kind::InvalidConfig,
                format!("rootfs mount option {option:?}: three numbers with colons between are needed"),
            )),
        })
    }

    /// The user namespace with these maps; `None` where there are none.
    pub(super) fn namespace(&self) -> Result<Option<OwnedFd>> {
        match (self.uids.is_empty(), self.gids.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => with_maps(&self.uids, &self.gids).map(Some),
            _ => {
                Err(Error::new(Kind::InvalidConfig, "rootfs mount options uidmap and gidmap need each other"))
            }
        }
    }
}

fn table(value: &str) -> Option<String> {
    let mut table = String::new();
    for range in value.split(',') {
        let numbers: Vec<u32> = range.split(':').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [inside, outside, length] = numbers.as_slice() else { return None };
        table += &format!("{inside} {outside} {length}\n");
    }
    Some(table)
}

/// Maps the mount that was just made at `target`.
///
/// # Errors
/// `Kernel`: the file system cannot be mapped.
pub(super) fn map(target: &Path, namespace: &OwnedFd) -> Result<()> {
    let what = || format!("map the owners of {}", target.display());
    // A mount that others may already see cannot be mapped, so a clone of it takes its place.
    let tree = clone(target, namespace, 0).context("open_tree, mount_setattr", what)?;
    unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).context("umount2", what)?;
    attach(&tree, target).context("move_mount", what)
}

fn clone(source: &Path, namespace: &OwnedFd, more: u64) -> std::result::Result<OwnedFd, rustix::io::Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags | OpenTreeFlags::AT_RECURSIVE)?;
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP | more,
        userns_fd: u64::from(namespace.as_raw_fd().unsigned_abs()),
        ..MountAttr::default()
    };
    mount_setattr(&tree, AT_RECURSIVE, &attr)?;
    Ok(tree)
}

fn attach(tree: &OwnedFd, target: &Path) -> std::result::Result<(), rustix::io::Errno> {
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Mapped lower directories, attached below the bundle until this is dropped.
#[derive(Debug)]
pub(super) struct Lower {
    directory: PathBuf,
}

impl Lower {
    /// Maps the directories of `lowerdir=` in `data`, which then names the mapped ones.
    ///
    /// # Errors
    /// `Kernel`.
    pub(super) fn map(data: &mut [String], rootfs: &Path, namespace: &OwnedFd) -> Result<Self> {
        let lower = Self { directory: directory(rootfs) };
        for option in data.iter_mut() {
            let Some(layers) = option.strip_prefix("lowerdir=") else { continue };
            let mut mapped = Vec::new();
            for (index, layer) in layers.split(':').enumerate() {
                let target = lower.directory.join(index.to_string());
                super::make_directory(&target, 0o700)?;
                let what = || format!("map the owners of {layer}");
                let tree = clone(Path::new(layer), namespace, MOUNT_ATTR_RDONLY)
                    .context("open_tree, mount_setattr", what)?;
                attach(&tree, &target).context("move_mount", what)?;
                mapped.push(target.display().to_string());
            }
            *option = format!("lowerdir={}", mapped.join(":"));
        }
        Ok(lower)
    }
}

impl Drop for Lower {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// Where the lower directories of the root file system at `rootfs` are mapped.
fn directory(rootfs: &Path) -> PathBuf {
    rootfs.with_file_name("lower")
}

/// Removes what a helper that was killed has left.
pub(super) fn remove_leftovers(rootfs: &Path) {
    remove(&directory(rootfs));
}

fn remove(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let _ = unmount(entry.path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        let _ = std::fs::remove_dir(entry.path());
    }
    let _ = std::fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_three_numbers_each() {
        let mut maps = Maps::default();
        assert!(maps.read("index=off").is_none());
        maps.read("uidmap=0:1000:10,10:0:1").unwrap().unwrap();
        maps.read("gidmap=0:2000:10").unwrap().unwrap();
        assert_eq!(maps.uids, "0 1000 10\n10 0 1\n");
        assert_eq!(maps.gids, "0 2000 10\n");
        for option in ["uidmap=", "uidmap=0:1", "gidmap=0:1:x", "uidmap=0:1:2:3"] {
            assert!(Maps::default().read(option).unwrap().is_err(), "{option}");
        }
        let half = Maps { uids: "0 0 1\n".into(), gids: String::new() };
        assert_eq!(half.namespace().unwrap_err().kind(), Kind::InvalidConfig);
    }
}
