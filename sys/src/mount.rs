//! The part of the mount API that rustix lacks.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::result;

/// `struct mount_attr` of mount_setattr(2).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MountAttr {
    /// MOUNT_ATTR_* to set.
    pub attr_set: u64,
    /// MOUNT_ATTR_* to clear, before the others are set.
    pub attr_clr: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0.
    pub propagation: u64,
    /// The user namespace of MOUNT_ATTR_IDMAP.
    pub userns_fd: u64,
}

/// Read-only.
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// Set-user-id bits have no effect.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// Nothing can be executed.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
/// Id-mapped, kernel 5.12.
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// With every submount: AT_RECURSIVE.
pub const AT_RECURSIVE: u32 = 0x8000;

/// `int mount_setattr(int fd, "", AT_EMPTY_PATH | flags, struct mount_attr *attr, size_t size)`, kernel 5.12: changes
/// the mount that `fd` is on.
///
/// # Errors
/// EPERM for an attribute that is locked in this user namespace, EINVAL for an unknown one or a descriptor that is not
/// the root of a mount.
pub fn mount_setattr(fd: impl AsFd, flags: u32, attr: &MountAttr) -> Result<(), Errno> {
    let number = fd.as_fd().as_raw_fd();
    let flags = flags | libc::AT_EMPTY_PATH.unsigned_abs();
    // SAFETY: the path is a NUL-terminated constant and `attr` points to a whole mount_attr of the size that is passed;
    // the kernel only reads both.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            number,
            c"".as_ptr(),
            flags,
            core::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    result(returned)?;
    Ok(())
}
