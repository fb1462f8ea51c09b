//! The init image and a plan in one sealed file that no one can write and no host inode stands behind.
//!
//! The image is what runs first inside the container's namespaces, so `args` or a shebang that name /proc/self/exe reach
//! this copy at most, never the runtime's own file (the class of CVE-2019-5736).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, openat};
use rustix::io::{Errno, pwrite};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use sys::error::Context;
use sys::mount::{MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};

use crate::Result;

/// The program that `child` builds.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// Plans begin at a multiple of this, because they are mapped: the largest page size of the supported architectures.
const ALIGNMENT: usize = 65536;

/// An image with its plan.
#[derive(Debug)]
pub struct Image {
    /// The file to execute.
    pub file: OwnedFd,
    /// Where the plan begins.
    pub offset: usize,
    /// How long it is, in bytes.
    pub len: usize,
}

/// The size of the program in bytes.
pub fn size() -> usize {
    IMAGE.len()
}

/// Writes the program and `plan` and seals them.
///
/// # Errors
/// `Kernel`.
pub fn with_plan(plan: &[u8]) -> Result<Image> {
    let offset = IMAGE.len().next_multiple_of(ALIGNMENT);
    let file = match memory_file() {
        // vm.memfd_noexec=2 forbids executable memory files; a file system that only this process sees does the same.
        Err(Errno::ACCESS) => private_file(plan, offset)?,
        file => {
            let file = file.context("memfd_create", what)?;
            fill(&file, plan, offset)?;
            let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            fcntl_add_seals(&file, seals).context("fcntl(F_ADD_SEALS)", what)?;
            file
        }
    };
    Ok(Image { file, offset, len: plan.len() })
}

fn what() -> String {
    "make the init image".to_owned()
}

/// MFD_EXEC says on kernel 6.3 and later what older ones take for granted.
fn memory_file() -> std::result::Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(c"orlop-init", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(c"orlop-init", flags),
        other => other,
    }
}

fn fill(file: &OwnedFd, plan: &[u8], offset: usize) -> Result<()> {
    write_all(file, IMAGE, 0)?;
    write_all(file, plan, offset)
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: usize) -> Result<()> {
    while !bytes.is_empty() {
        let written = pwrite(file, bytes, offset as u64).context("pwrite", what)?;
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written;
    }
    Ok(())
}

/// A file on a tmpfs of its own that is mounted nowhere and becomes read-only. Needs CAP_SYS_ADMIN.
fn private_file(plan: &[u8], offset: usize) -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen", what)?;
    fsconfig_create(context.as_fd()).context("fsconfig", what)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount =
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount", what)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let writable = openat(&mount, "init", flags, Mode::from_raw_mode(0o500)).context("openat", what)?;
    fill(&writable, plan, offset)?;
    drop(writable);
    let read_only = MountAttr { attr_set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(&mount, 0, &read_only).context("mount_setattr", what)?;
    openat(&mount, "init", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("openat", what)
}
