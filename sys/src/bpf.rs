//! bpf(2) for programs that decide device access in a version 2 control group.
//!
//! The assembler is not here: a program is a slice of [`Instruction`].

use core::ffi::CStr;
use core::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

/// How a program is attached beside those that are there.
#[derive(Clone, Copy, Debug)]
pub enum Attach<'a> {
    /// Beside others; all of them must allow (BPF_F_ALLOW_MULTI).
    Beside,
    /// In the place of this one, atomically (BPF_F_ALLOW_MULTI | BPF_F_REPLACE).
    InPlaceOf(BorrowedFd<'a>),
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// Bytes of a program's name with its final NUL.
pub const NAME_LENGTH: usize = 16;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_LENGTH],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_prog_info`, up to and with the name.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    before_name: [u64; 8],
    name: [u8; NAME_LENGTH],
}

/// `bpf(BPF_PROG_LOAD, {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, ...})`
///
/// The verifier checks the program; EACCES and EINVAL mean that it refused. The name is at most 15 bytes of letters, digits,
/// `_` and `.`.
pub fn prog_load_cgroup_device(program: &[Instruction], name: &CStr) -> rustix::io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: CGROUP_DEVICE,
        ..LoadAttr::default()
    };
    let room = attr.prog_name.iter_mut().take(NAME_LENGTH - 1);
    room.zip(name.to_bytes()).for_each(|(to, from)| *to = *from);
    // SAFETY: `insns` and `license` point to memory that outlives the call and is as long as `insn_cnt` and the final NUL say.
    owned(unsafe { bpf(PROG_LOAD, &mut attr) }?)
}

/// `bpf(BPF_PROG_ATTACH, {.attach_type = BPF_CGROUP_DEVICE, ...})`
pub fn prog_attach_device(cgroup: impl AsFd, program: impl AsFd, how: Attach<'_>) -> rustix::io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&program),
        attach_type: CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    if let Attach::InPlaceOf(old) = how {
        attr.attach_flags |= F_REPLACE;
        attr.replace_bpf_fd = number(&old);
    }
    // SAFETY: the attributes hold descriptors and numbers only.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(|_| ())
}

/// `bpf(BPF_PROG_DETACH, {.attach_type = BPF_CGROUP_DEVICE, ...})`
pub fn prog_detach_device(cgroup: impl AsFd, program: impl AsFd) -> rustix::io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&program),
        attach_type: CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    // SAFETY: the attributes hold descriptors and numbers only.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(|_| ())
}

/// `bpf(BPF_PROG_QUERY, {.attach_type = BPF_CGROUP_DEVICE, ...})`: the ids of the programs attached to the group itself.
///
/// Fills `ids` and returns how many there are; ENOSPC if there are more than fit.
pub fn prog_query_device(cgroup: impl AsFd, ids: &mut [u32]) -> rustix::io::Result<usize> {
    let mut attr = QueryAttr {
        target_fd: number(&cgroup),
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).map_err(|_| Errno::TOOBIG)?,
        ..QueryAttr::default()
    };
    // SAFETY: `prog_ids` points to memory that is borrowed for writing and has room for `prog_cnt` numbers.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok(attr.prog_cnt as usize)
}

/// `bpf(BPF_PROG_GET_FD_BY_ID, {.prog_id = id})`
pub fn prog_get_fd_by_id(id: u32) -> rustix::io::Result<OwnedFd> {
    let mut attr = IdAttr { prog_id: id, ..IdAttr::default() };
    // SAFETY: the attributes hold numbers only.
    owned(unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?)
}

/// `bpf(BPF_OBJ_GET_INFO_BY_FD, {.bpf_fd = program, ...})`: the program's name, padded with NUL.
pub fn prog_name(program: impl AsFd) -> rustix::io::Result<[u8; NAME_LENGTH]> {
    let mut info = ProgInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: number(&program),
        info_len: size_of::<ProgInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` points to memory of `info_len` bytes that nothing else uses; the kernel reads it as zeros, which mean
    // that no array is wanted, and writes at most that many bytes.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.name)
}

fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

fn owned(fd: i64) -> rustix::io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us, with close-on-exec set, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
///
/// `T` is the `union bpf_attr` member that `command` reads, and the addresses in it are valid for what the command does.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> rustix::io::Result<i64> {
    // SAFETY: the caller vouches for the addresses inside; `attr` itself is valid for its own size.
    crate::result(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) })
}
