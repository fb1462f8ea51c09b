//! Loop devices: a file as a block device, loop(4).

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::result;

/// `struct loop_info64` of linux/loop.h.
#[derive(Clone, Copy)]
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// Nothing can be written: LO_FLAGS_READ_ONLY.
pub const READ_ONLY: u32 = 1;
/// The device lets go of its file when nobody has it open or mounted any more: LO_FLAGS_AUTOCLEAR.
pub const AUTOCLEAR: u32 = 4;

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;

/// `ioctl(control, LOOP_CTL_GET_FREE)`: the number of a device that has no file; `control` is /dev/loop-control. Somebody
/// else may be given the same number.
///
/// # Errors
/// ENOMEM, ENOSPC.
pub fn get_free(control: impl AsFd) -> Result<u32, Errno> {
    let number = control.as_fd().as_raw_fd();
    // SAFETY: the call takes numbers only.
    let returned = result(unsafe { libc::syscall(libc::SYS_ioctl, number, LOOP_CTL_GET_FREE) })?;
    u32::try_from(returned).map_err(|_| Errno::OVERFLOW)
}

/// `ioctl(device, LOOP_CONFIGURE, struct loop_config *)`, kernel 5.8: gives the device a file.
///
/// # Errors
/// EBUSY where it has one, EACCES and EROFS for a file that cannot be written without [`READ_ONLY`].
pub fn configure(device: impl AsFd, file: impl AsFd, flags: u32) -> Result<(), Errno> {
    let info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let fd = file.as_fd().as_raw_fd().unsigned_abs();
    let config = Config { fd, block_size: 0, info, reserved: [0; 8] };
    let number = device.as_fd().as_raw_fd();
    // SAFETY: `config` is a whole struct loop_config, which the kernel reads.
    result(unsafe { libc::syscall(libc::SYS_ioctl, number, LOOP_CONFIGURE, &raw const config) })?;
    Ok(())
}
