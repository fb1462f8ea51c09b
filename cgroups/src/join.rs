//! How a process gets into the groups.
//!
//! Into the version 2 group it is cloned (CLONE_INTO_CGROUP), on hybrid hosts too: 0.2 ms, where a write to
//! `cgroup.procs` waits 10 ms and more for a grace period of the kernel. Into version 1 groups the child moves itself, by
//! writing `0` to `tasks` while it has one thread, which spares that wait as well.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use sys::Result;

use crate::controller::Version;
use crate::directory::Directory;

/// Descriptors for joining the groups of one container; none where it has no groups.
#[derive(Debug, Default)]
pub struct Join {
    into: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
    leaf: Option<OwnedFd>,
}

impl Join {
    /// The version 2 group for clone3(2) with CLONE_INTO_CGROUP.
    pub fn unified_group(&self) -> Option<BorrowedFd<'_>> {
        self.into.as_ref().map(AsFd::as_fd)
    }

    /// The `tasks` files of the version 1 groups; the joining process writes `0` to each while it has one thread.
    pub fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.tasks.iter().map(AsFd::as_fd).collect()
    }

    /// The `cgroup.procs` file of a leaf that the process enters after it has unshared its cgroup namespace.
    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.leaf.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn add(&mut self, version: Version, group: Directory) -> Result<()> {
        match version {
            Version::V1 => self.tasks.push(group.file("tasks", OFlags::WRONLY)?),
            Version::V2 => self.into = Some(group.into_fd()),
        }
        Ok(())
    }

    pub(crate) fn add_leaf(&mut self, leaf: &Directory) -> Result<()> {
        self.leaf = Some(leaf.file("cgroup.procs", OFlags::WRONLY)?);
        Ok(())
    }
}
