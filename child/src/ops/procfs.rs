//! Writes to procfs, through the runtime's own handle: nothing the container mounts can redirect them.

use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, retry_on_intr, write};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::paths::PathBuffer;
use crate::data::Text;
use crate::page::{Called, Failure};
use crate::run::Executor;

impl Executor<'_> {
    pub(crate) fn time_offsets(&self, lines: Text<'_>) -> Result<(), Failure> {
        self.write_proc(c"self/timens_offsets", lines.0)
    }

    pub(crate) fn enter_time_namespace(&self) -> Result<(), Failure> {
        let namespace = self.open_own_namespace(c"time_for_children")?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Time)).called("setns")
    }

    pub(crate) fn sysctl(&self, name: Text<'_>, value: Text<'_>) -> Result<(), Failure> {
        let path = join(b"sys/", name.0).called("openat2")?;
        self.write_proc(path.as_c_str(), value.0)
    }

    pub(crate) fn oom_score_adj(&self, value: Text<'_>) -> Result<(), Failure> {
        self.write_proc(c"self/oom_score_adj", value.0)
    }

    pub(crate) fn exec_label(&self, file: Text<'_>, label: Text<'_>) -> Result<(), Failure> {
        let path = join(b"thread-self/", file.0).called("openat2")?;
        self.write_proc(path.as_c_str(), label.0)
    }

    pub(crate) fn key_label(&self, label: Text<'_>) -> Result<(), Failure> {
        self.write_proc(c"thread-self/attr/keycreate", label.0)
    }

    fn write_proc(&self, path: &CStr, value: &CStr) -> Result<(), Failure> {
        let file = self.open_proc(path)?;
        let bytes = value.to_bytes();
        let written = retry_on_intr(|| write(&file, bytes)).called("write")?;
        if written == bytes.len() { Ok(()) } else { Err(Failure::new("write", Errno::IO)) }
    }

    /// The directory is checked as every file of procfs is; its entry is a link that only leads out of procfs.
    fn open_own_namespace(&self, name: &CStr) -> Result<OwnedFd, Failure> {
        let directory = self.open_in_proc(c"thread-self/ns", OFlags::PATH | OFlags::DIRECTORY)?;
        openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).called("openat")
    }

    /// A file of procfs, opened to write.
    fn open_proc(&self, path: &CStr) -> Result<OwnedFd, Failure> {
        self.open_in_proc(path, OFlags::WRONLY)
    }

    /// Opens beneath procfs. Where something is mounted over the path on the host (an outer container's mask), a private
    /// procfs is tried.
    fn open_in_proc(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Failure> {
        let outer = match self.proc {
            Some(proc) => openat2_beneath(sys::fd::borrow(proc.0), path, flags),
            None => Err(Errno::XDEV),
        };
        match outer {
            Err(Errno::XDEV) => {
                let private = private_procfs()?;
                openat2_beneath(&private, path, flags).called("openat2")
            }
            other => other.called("openat2"),
        }
    }
}

fn openat2_beneath(proc: impl AsFd, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(proc, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

fn private_procfs() -> Result<OwnedFd, Failure> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC).called("fsopen")?;
    fsconfig_create(&context).called("fsconfig")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).called("fsmount")?;
    Ok(mount)
}

fn join(prefix: &[u8], rest: &CStr) -> Result<PathBuffer, Errno> {
    PathBuffer::concat(prefix, rest.to_bytes())
}
