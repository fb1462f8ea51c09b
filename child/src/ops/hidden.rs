//! Masked and read-only paths.
//!
//! These run before the root changes: the empty directory and the null device that masks are made of come from the
//! runtime and the host, never from the image.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use sys::mount::{
    AT_RECURSIVE, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MountAttr, mount_setattr,
};

use super::devices::host_null;
use super::mounts::{attach, clone_tree};
use super::paths::{file_type, stat};
use crate::data::Text;
use crate::op::Depth;
use crate::page::{Called, Failure};
use crate::run::Executor;

impl Executor<'_> {
    pub(crate) fn readonly_path(&mut self, path: Text<'_>) -> Result<(), Failure> {
        let Some(target) = self.open_if_there(path)? else { return Ok(()) };
        let tree = clone_tree(&target, c"", Depth::Tree).called("open_tree")?;
        let attr = MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
        mount_setattr(&tree, AT_RECURSIVE, &attr).called("mount_setattr")?;
        attach(tree, target)
    }

    pub(crate) fn mask_path(&mut self, path: Text<'_>, label: Option<Text<'_>>) -> Result<(), Failure> {
        let Some(target) = self.open_if_there(path)? else { return Ok(()) };
        if file_type(&stat(&target).called("statx")?) == FileType::Directory {
            self.empty = Some(mask(self.empty.take(), &target, || empty_directory(label))?);
        } else {
            self.null = Some(mask(self.null.take(), &target, null_device)?);
        }
        Ok(())
    }

    fn open_if_there(&self, path: Text<'_>) -> Result<Option<OwnedFd>, Failure> {
        match self.open(path.0, OFlags::PATH) {
            Ok(target) => Ok(Some(target)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Failure::new("openat2", errno)),
        }
    }
}

/// Attaches a mask at `target` and returns it for the next one. The first mask is attached itself and the others are
/// clones of it, because a detached mount cannot be cloned before kernel 6.15.
fn mask(
    first: Option<OwnedFd>,
    target: &OwnedFd,
    make: impl FnOnce() -> Result<OwnedFd, Failure>,
) -> Result<OwnedFd, Failure> {
    let Some(first) = first else {
        let made = make()?;
        attach(&made, target)?;
        return Ok(made);
    };
    attach(clone_tree(&first, c"", Depth::One).called("open_tree")?, target)?;
    Ok(first)
}

/// One empty read-only tmpfs for all masked directories: one each would cost a superblock each, and hosts with many
/// processors mask thousands.
fn empty_directory(label: Option<Text<'_>>) -> Result<OwnedFd, Failure> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).called("fsopen")?;
    fsconfig_set_string(context.as_fd(), c"nr_inodes", c"1").called("fsconfig")?;
    if let Some(label) = label {
        fsconfig_set_string(context.as_fd(), c"context", label.0).called("fsconfig")?;
    }
    fsconfig_create(&context).called("fsconfig")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).called("fsmount")
}

fn null_device() -> Result<OwnedFd, Failure> {
    let null = clone_tree(&host_null()?, c"", Depth::One).called("open_tree")?;
    // Not nodev, which would make the device useless.
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
        ..MountAttr::default()
    };
    mount_setattr(&null, 0, &attr).called("mount_setattr")?;
    Ok(null)
}
