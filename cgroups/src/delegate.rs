//! Giving a group to the container's root, so that it can make groups beneath it.
//!
//! On version 2 the owner gets the directory and the files that /sys/kernel/cgroup/delegate lists, and no limit of the group
//! itself (cgroups(7), "Delegation"). On version 1 only a hierarchy without controllers can be given away safely; that is
//! what a systemd in the container needs.

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;
use sys::{Error, Result};

use crate::controller::Version;
use crate::directory::Directory;
use crate::request::Owner;

/// What the kernel lists at least.
const USUAL_V2: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";
const NAMED_V1: &str = "cgroup.procs\ntasks\n";

/// Gives `group`, whose hierarchy has the names `names`, to `owner`.
pub(crate) fn delegate(group: &Directory, version: Version, names: &str, owner: Owner) -> Result<()> {
    let kernel = "/sys/kernel/cgroup/delegate";
    let files = match version {
        Version::V2 => std::fs::read_to_string(kernel).unwrap_or_else(|_| USUAL_V2.to_owned()),
        Version::V1 if names.starts_with("name=") => NAMED_V1.to_owned(),
        Version::V1 => return Ok(()),
    };
    chown(group, "", owner)?;
    for file in files.lines().filter(|file| !file.is_empty() && !file.contains('/')) {
        chown(group, file, owner)?;
    }
    Ok(())
}

/// A file that the group lacks, because a controller is not enabled, needs no owner.
fn chown(group: &Directory, file: &str, owner: Owner) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::chownat(group, file, Some(uid), Some(gid), flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => {
            let what = format!("give {} to {}:{}", group.path_of(file), owner.uid, owner.gid);
            Err(Error::kernel(what, "fchownat", errno))
        }
    }
}
