//! Attributes of the calling process that rustix lacks: limits by number, scheduling, keys, filters.

use core::ffi::{CStr, c_int, c_ulong};
use core::ptr::{from_ref, null};

use rustix::io::Errno;

use crate::result;

/// `int prlimit64(pid_t pid, unsigned resource, &{soft, hard}, NULL)`; a pid of 0 is the caller, u64::MAX is unlimited.
///
/// # Errors
/// EPERM to raise a hard limit without CAP_SYS_RESOURCE, EINVAL for an unknown resource or soft above hard.
pub fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = [soft, hard];
    // SAFETY: `limit` has the layout of struct rlimit64, two 64-bit words, and is only read.
    result(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, limit.as_ptr(), null::<u64>()) })?;
    Ok(())
}

/// `int prlimit64(0, unsigned resource, NULL, &limit)`: the caller's soft and hard limit; u64::MAX is unlimited.
///
/// # Errors
/// EINVAL for an unknown resource.
pub fn getrlimit(resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = [0_u64; 2];
    // SAFETY: `limit` has the layout of struct rlimit64, two 64-bit words, which the kernel writes.
    result(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0 as c_int, resource, null::<u64>(), limit.as_mut_ptr())
    })?;
    let [soft, hard] = limit;
    Ok((soft, hard))
}

/// `struct sched_attr` of sched_setattr(2) with the utilisation clamps (kernel 5.3).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SchedAttr {
    /// The size of the struct in bytes; filled in by [`sched_setattr`].
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
    /// Lower utilisation clamp.
    pub util_min: u32,
    /// Upper utilisation clamp.
    pub util_max: u32,
}

/// `int sched_setattr(pid_t pid, struct sched_attr *attr, 0)`; a pid of 0 is the caller.
///
/// # Errors
/// EPERM without CAP_SYS_NICE, EINVAL, EBUSY for a deadline that cannot be admitted.
pub fn sched_setattr(pid: i32, attr: SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..attr };
    // SAFETY: `attr` is a whole sched_attr whose size field says so; the kernel reads it.
    result(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, from_ref(&attr), 0 as c_int) })?;
    Ok(())
}

/// `int ioprio_set(IOPRIO_WHO_PROCESS, pid, value)`; a pid of 0 is the caller.
///
/// # Errors
/// EPERM for the real-time class without CAP_SYS_ADMIN or CAP_SYS_NICE, EINVAL.
pub fn ioprio_set(pid: i32, value: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: the call takes numbers only.
    result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, value) })?;
    Ok(())
}

/// `long set_mempolicy(int mode, const unsigned long *nodes, unsigned long maxnode)`; no nodes is a null pointer.
///
/// # Errors
/// EINVAL for nodes that do not fit the mode or do not exist.
pub fn set_mempolicy(mode: u32, nodes: &[u8], max_node: u32) -> Result<(), Errno> {
    let mut words = [0 as c_ulong; 128];
    for (word, chunk) in words.iter_mut().zip(nodes.chunks(size_of::<c_ulong>())) {
        let mut bytes = [0; size_of::<c_ulong>()];
        bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        *word = c_ulong::from_ne_bytes(bytes);
    }
    let pointer = if nodes.is_empty() { null() } else { words.as_ptr() };
    // SAFETY: the mask is null or holds 1024 words, more than `max_node` bits for every mask that a plan carries.
    result(unsafe {
        libc::syscall(libc::SYS_set_mempolicy, mode, pointer, c_ulong::from(max_node.min(8192)))
    })?;
    Ok(())
}

/// `int personality(unsigned long domain)`.
///
/// # Errors
/// EINVAL.
pub fn personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: the call takes a number only.
    result(unsafe { libc::syscall(libc::SYS_personality, c_ulong::from(domain)) })?;
    Ok(())
}

/// `int sched_setaffinity(0, size, mask)` with every bit of 8192 set; the kernel keeps those that the cpuset allows.
///
/// # Errors
/// EINVAL where no processor is left.
pub fn all_processors() -> Result<(), Errno> {
    sched_setaffinity(&[u8::MAX; 1024])
}

/// `int sched_setaffinity(0, size, mask)`; bit n of the mask, in words of the machine, is processor n.
///
/// # Errors
/// EINVAL where the cpuset allows none of them.
pub fn sched_setaffinity(mask: &[u8]) -> Result<(), Errno> {
    // SAFETY: the mask holds as many bytes as are passed and is only read.
    result(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0 as c_int, mask.len(), mask.as_ptr()) })?;
    Ok(())
}

/// `int clock_gettime(CLOCK_REALTIME, &time)`: nanoseconds since 1970. Of the clocks it is the one that no time namespace
/// moves.
pub fn realtime() -> u64 {
    let mut time = [0_i64; 2];
    // SAFETY: the array has the layout of a 64-bit struct timespec, which the kernel fills. The call cannot fail with it.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, time.as_mut_ptr()) };
    let [seconds, nanoseconds] = time.map(i64::unsigned_abs);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// `key_serial_t keyctl(KEYCTL_JOIN_SESSION_KEYRING, name)`.
///
/// # Errors
/// ENOSYS without keys, EDQUOT.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: the name is NUL-terminated and only read.
    result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    Ok(())
}

/// `int seccomp(SECCOMP_SET_MODE_FILTER, flags, &{len, program})`; `program` holds struct sock_filter entries of 8 bytes.
/// The returned number is the listener with SECCOMP_FILTER_FLAG_NEW_LISTENER, else 0.
///
/// # Errors
/// EACCES without no_new_privs and CAP_SYS_ADMIN, EINVAL for a program or a flag that the kernel refuses.
pub fn seccomp_set_filter(program: &[u8], flags: u32) -> Result<i32, Errno> {
    #[repr(C)]
    struct SockFprog {
        len: u16,
        filter: *const u8,
    }
    const SECCOMP_SET_MODE_FILTER: c_int = 1;
    let len = u16::try_from(program.len() / 8).map_err(|_| Errno::INVAL)?;
    let fprog = SockFprog { len, filter: program.as_ptr() };
    // SAFETY: `fprog` has the layout of struct sock_fprog and its filter holds `len` entries, which the kernel copies
    // byte by byte.
    let returned = result(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, from_ref(&fprog))
    })?;
    i32::try_from(returned).map_err(|_| Errno::OVERFLOW)
}

/// `int seccomp(SECCOMP_SET_MODE_FILTER, flags, NULL)`: whether the kernel takes the flag word. It looks at the flags before
/// the program, so what it knows fails with EFAULT and nothing is loaded.
pub fn seccomp_takes_flags(flags: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: c_int = 1;
    let program = null::<u8>();
    // SAFETY: without a program there is no memory of ours that the kernel could read.
    let returned =
        result(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program) });
    returned == Err(Errno::FAULT)
}

/// `int seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action)`: whether the kernel knows the action (SECCOMP_RET_*), kernel 4.14.
pub fn seccomp_knows_action(action: u32) -> bool {
    const SECCOMP_GET_ACTION_AVAIL: c_int = 2;
    // SAFETY: the kernel reads one u32 at the address.
    let returned =
        result(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, from_ref(&action)) });
    returned.is_ok()
}

/// `int getcwd(char *buf, size_t size)`: the bytes before the terminator.
///
/// # Errors
/// ENOENT for a directory that was removed, ERANGE.
pub fn getcwd(buffer: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    let written = result(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    let len = usize::try_from(written).map_err(|_| Errno::OVERFLOW)?;
    buffer.get(..len.saturating_sub(1)).ok_or(Errno::RANGE)
}

/// `int getgroups(int size, gid_t list[])`: how many supplementary groups there are, and as many as fit.
///
/// # Errors
/// EINVAL where the list is shorter than the number of groups.
pub fn getgroups(list: &mut [u32]) -> Result<usize, Errno> {
    let size = c_int::try_from(list.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel writes at most `size` entries.
    let count = result(unsafe { libc::syscall(libc::SYS_getgroups, size, list.as_mut_ptr()) })?;
    usize::try_from(count).map_err(|_| Errno::OVERFLOW)
}

/// `int getresuid(...)` or `int getresgid(...)`: real, effective and saved id.
///
/// # Errors
/// None that a correct call can cause.
fn three_ids(number: libc::c_long) -> Result<[u32; 3], Errno> {
    let (mut real, mut effective, mut saved) = (0_u32, 0_u32, 0_u32);
    // SAFETY: the three pointers are to one id each, which the kernel writes.
    result(unsafe { libc::syscall(number, &raw mut real, &raw mut effective, &raw mut saved) })?;
    Ok([real, effective, saved])
}

/// Real, effective and saved uid of the calling thread.
///
/// # Errors
/// None that a correct call can cause.
pub fn getresuid() -> Result<[u32; 3], Errno> {
    three_ids(libc::SYS_getresuid)
}

/// Real, effective and saved gid of the calling thread.
///
/// # Errors
/// None that a correct call can cause.
pub fn getresgid() -> Result<[u32; 3], Errno> {
    three_ids(libc::SYS_getresgid)
}

/// `int setgroups(size_t size, const gid_t *list)` of the calling thread.
///
/// # Errors
/// EPERM without CAP_SETGID or where setgroups is denied in the user namespace, EINVAL for more than 65,536 groups or
/// one without a mapping.
pub fn setgroups(list: &[u32]) -> Result<(), Errno> {
    // SAFETY: the list holds as many ids as are passed and is only read.
    result(unsafe { libc::syscall(libc::SYS_setgroups, list.len(), list.as_ptr()) })?;
    Ok(())
}

/// `int setfsuid(uid_t fsuid)`: with whose id this thread, and no other, makes and opens files. setfsuid(2).
///
/// The call reports no failure; without CAP_SETUID the id stays what it was.
pub fn setfsuid(uid: u32) {
    // SAFETY: the call takes a number and touches no memory.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
}

/// `int setfsgid(gid_t fsgid)`: the same for the group. setfsgid(2).
pub fn setfsgid(gid: u32) {
    // SAFETY: the call takes a number and touches no memory.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) };
}

/// `ioctl(pidfd, PIDFD_GET_INFO, &info)` with PIDFD_INFO_EXIT (kernel 6.15): how the process ended, as wait(2) encodes it.
/// `None` until somebody has reaped it.
///
/// # Errors
/// ENOTTY or EINVAL from an older kernel, ESRCH where a reaped process left no such information.
pub fn pidfd_exit_status(pidfd: impl rustix::fd::AsFd) -> Result<Option<i32>, Errno> {
    use rustix::fd::AsRawFd;
    const EXIT: u64 = 1 << 3;
    // struct pidfd_info of 6.13 is eight words; the last half word is the status.
    let mut info = [EXIT, 0, 0, 0, 0, 0, 0, 0];
    let number = pidfd.as_fd().as_raw_fd();
    // SAFETY: the request number carries the size of 64 bytes, which is that of `info`, into which the kernel writes.
    result(unsafe { libc::syscall(libc::SYS_ioctl, number, PIDFD_GET_INFO, info.as_mut_ptr()) })?;
    let [mask, .., last] = info;
    let [.., a, b, c, d] = last.to_ne_bytes();
    Ok((mask & EXIT != 0).then(|| i32::from_ne_bytes([a, b, c, d])))
}

/// `_IOWR(0xff, 11, struct pidfd_info)` of linux/pidfd.h with the first size of the struct.
const PIDFD_GET_INFO: c_ulong = 3 << 30 | 64 << 16 | 0xff << 8 | 11;
