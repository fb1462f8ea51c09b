//! New processes: the clone that executes the init image, and the fork inside it.

use core::ffi::{CStr, c_char, c_int};
use core::ptr::null;

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;

use crate::{fd, result, signal};

/// `struct clone_args` of clone3(2) up to kernel 5.7.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The child's parent is the caller's parent.
pub const CLONE_PARENT: u64 = 0x8000;
/// The pid and a descriptor of it are returned together.
const CLONE_PIDFD: u64 = 0x1000;
/// Handled signals get their default disposition, kernel 5.5.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The child is born in a v2 cgroup, kernel 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process to make that executes an image at once.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// CLONE_NEW* flags.
    pub flags: u64,
    /// The v2 cgroup in which the child is born.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The executable file.
    pub image: BorrowedFd<'a>,
    /// argv.
    pub args: [&'a CStr; 4],
    /// Descriptors that the image inherits besides 0, 1 and 2.
    pub inherit: &'a [RawFd],
    /// With a new user namespace: a socket on which the child waits for one message before it executes anything. An
    /// exec before the id maps exist would lose all capabilities.
    pub maps: Option<BorrowedFd<'a>>,
}

/// A process that was just made.
#[derive(Debug)]
pub struct Process {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
}

impl Spawn<'_> {
    /// `long clone3(struct clone_args *args, size_t size)`, then execveat(2) in the child.
    ///
    /// All signals are blocked in the child; it exits with the errno as its status where it cannot execute the image.
    ///
    /// # Errors
    /// Those of clone3(2).
    pub fn start(&self) -> Result<Process, Errno> {
        let [a, b, c, d] = self.args.map(CStr::as_ptr);
        let argv = [a, b, c, d, null()];
        let mut pidfd: c_int = -1;
        let mut args = CloneArgs {
            flags: self.flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
            pidfd: core::ptr::from_mut(&mut pidfd) as u64,
            exit_signal: libc::SIGCHLD.unsigned_abs().into(),
            ..CloneArgs::default()
        };
        if let Some(cgroup) = self.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
        }
        let blocked = signal::block_all();
        let returned = clone3(&args);
        if returned == Ok(0) {
            self.execute(&argv);
        }
        drop(blocked);
        let pid = i32::try_from(returned?).map_err(|_| Errno::OVERFLOW)?;
        Ok(Process { pid, pidfd: fd::take(pidfd) })
    }

    /// The child's side: nothing but system calls on prepared data, as another thread may have held any lock.
    fn execute(&self, argv: &[*const c_char; 5]) -> ! {
        let prepared = self
            .await_maps()
            .and_then(|()| self.inherit.iter().try_for_each(|number| fd::keep_over_exec(*number)));
        let errno = match prepared {
            Ok(()) => execveat(self.image, argv),
            Err(errno) => errno,
        };
        exit(errno.raw_os_error())
    }

    fn await_maps(&self) -> Result<(), Errno> {
        let Some(socket) = self.maps else { return Ok(()) };
        let mut message = [0_u8; 64];
        if rustix::io::read(socket, &mut message)? == 0 {
            exit(0)
        }
        become_root()
    }
}

/// Takes the ids 0 of the user namespace, so that an exec keeps the capabilities. Without a mapping of 0 the ambient set
/// does the same.
///
/// # Errors
/// EPERM where the process has no capability in its user namespace.
pub fn become_root() -> Result<(), Errno> {
    use rustix::fs::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    // setgroups is denied in the namespace of an ordinary user; the groups stay then, as nobody may drop them.
    let _ = set_thread_groups(&[]);
    let gid = Gid::from_raw(0);
    let uid = Uid::from_raw(0);
    match set_thread_res_gid(gid, gid, gid).and_then(|()| set_thread_res_uid(uid, uid, uid)) {
        Err(Errno::INVAL) => keep_capabilities_over_exec(),
        other => other,
    }
}

fn keep_capabilities_over_exec() -> Result<(), Errno> {
    use rustix::thread::{
        CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
    };
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if sets.permitted.contains(capability) {
            configure_capability_in_ambient_set(capability, true)?;
        }
    }
    Ok(())
}

/// clone3 with `flags` and nothing executed: 0 in the child, the pid in the caller. For single-threaded processes.
///
/// # Errors
/// Those of clone3(2).
pub fn fork(flags: u64) -> Result<u32, Errno> {
    fork_with(CloneArgs { flags, ..CloneArgs::default() })
}

/// `long clone(CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL)`: `None` in the child. The older call, because filters of
/// system calls cannot see the flags of clone3(2) and refuse it. For single-threaded processes.
///
/// # Errors
/// Those of clone(2).
pub fn fork_watched() -> Result<Option<Process>, Errno> {
    let mut pidfd: c_int = -1;
    let flags = CLONE_PIDFD | u64::from(libc::SIGCHLD.unsigned_abs());
    let place = core::ptr::from_mut(&mut pidfd);
    let nothing = null::<u8>();
    // s390x has the stack in front of the flags.
    let [first, second] = if cfg!(target_arch = "s390x") { [0, flags] } else { [flags, 0] };
    // SAFETY: the kernel writes one int at `place`. Without CLONE_VM the child has a copy of the memory and of the stack,
    // so both may return from here.
    let returned = result(unsafe { libc::syscall(libc::SYS_clone, first, second, place, nothing, nothing) })?;
    if returned == 0 {
        return Ok(None);
    }
    let pid = i32::try_from(returned).map_err(|_| Errno::OVERFLOW)?;
    Ok(Some(Process { pid, pidfd: fd::take(pidfd) }))
}

/// [`fork`] with CLONE_INTO_CGROUP: the child is born in the v2 cgroup `group`.
///
/// # Errors
/// Those of clone3(2).
pub fn fork_into(flags: u64, group: BorrowedFd<'_>) -> Result<u32, Errno> {
    let flags = flags | CLONE_INTO_CGROUP;
    fork_with(CloneArgs { flags, cgroup: group.as_raw_fd().unsigned_abs().into(), ..CloneArgs::default() })
}

fn fork_with(args: CloneArgs) -> Result<u32, Errno> {
    // A child of CLONE_PARENT has the exit signal of its maker, and naming another one is EINVAL.
    let exit_signal = if args.flags & CLONE_PARENT == 0 { libc::SIGCHLD.unsigned_abs().into() } else { 0 };
    let returned = clone3(&CloneArgs { exit_signal, ..args })?;
    u32::try_from(returned).map_err(|_| Errno::OVERFLOW)
}

/// CLONE_NEWUSER.
pub const CLONE_NEWUSER: u64 = 0x1000_0000;

/// A process that does nothing until it is killed: it stands for the namespaces that `flags` make.
///
/// # Errors
/// Those of clone3(2).
pub fn idle(flags: u64) -> Result<Process, Errno> {
    idle_after(flags, || Ok(()))
}

/// A process that does nothing until it is killed, in the user namespace that `namespace` refers to; it exits where it may
/// not enter that. It is there some time after the call returns.
///
/// # Errors
/// Those of clone3(2).
pub fn idle_in_user_namespace(namespace: BorrowedFd<'_>) -> Result<Process, Errno> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    idle_after(0, || move_into_link_name_space(namespace, Some(LinkNameSpaceType::User)))
}

fn idle_after(flags: u64, first: impl Fn() -> Result<(), Errno>) -> Result<Process, Errno> {
    let mut pidfd: c_int = -1;
    let flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
    let pointer = core::ptr::from_mut(&mut pidfd) as u64;
    let exit_signal = libc::SIGCHLD.unsigned_abs().into();
    let blocked = signal::block_all();
    let returned = clone3(&CloneArgs { flags, pidfd: pointer, exit_signal, ..CloneArgs::default() });
    if returned == Ok(0) {
        match first() {
            Ok(()) => idle_until_killed(),
            Err(_) => exit(1),
        }
    }
    drop(blocked);
    let pid = i32::try_from(returned?).map_err(|_| Errno::OVERFLOW)?;
    Ok(Process { pid, pidfd: fd::take(pidfd) })
}

/// All signals but SIGKILL are blocked here. It dies with its maker.
fn idle_until_killed() -> ! {
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: the call takes null pointers and waits.
        unsafe { libc::syscall(libc::SYS_ppoll, 0, 0, 0, 0, 0) };
    }
}

fn clone3(args: &CloneArgs) -> Result<i64, Errno> {
    // SAFETY: `args` points to a whole clone_args of the size that is passed; without CLONE_VM the child has a copy of the
    // memory and of the stack, so both may return from here.
    result(unsafe { libc::syscall(libc::SYS_clone3, core::ptr::from_ref(args), size_of::<CloneArgs>()) })
}

/// `int execveat(int fd, "", char *const argv[], {NULL}, AT_EMPTY_PATH)`; returns only what went wrong.
fn execveat(image: BorrowedFd<'_>, argv: &[*const c_char; 5]) -> Errno {
    let envp = [null::<c_char>()];
    let number = image.as_raw_fd();
    // SAFETY: both arrays end with a null pointer, their strings are NUL-terminated and outlive the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            number,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    result(returned).err().unwrap_or(Errno::NOEXEC)
}

/// `int execve(const char *path, char *const argv[], char *const envp[])`; returns only what went wrong.
///
/// # Safety
/// Both arrays end with a null pointer and their other entries point to NUL-terminated strings.
pub unsafe fn execve(path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    // SAFETY: `path` is NUL-terminated; the arrays are what the caller promised.
    let returned = unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    result(returned).err().unwrap_or(Errno::NOEXEC)
}

/// `void exit_group(int status)`. Where a filter refuses even that, the process kills itself by a fault.
pub fn exit(status: c_int) -> ! {
    // SAFETY: the call takes a number and does not return, unless a filter answers it.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    // SAFETY: abort(3) has no conditions; when its signals are refused as well it executes an instruction that faults.
    unsafe { libc::abort() }
}

/// `int unshare(int flags)` of a single-threaded process.
///
/// # Errors
/// EPERM, EINVAL, ENOSPC where the limit of user namespaces is reached.
pub fn unshare(flags: rustix::thread::UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the danger of the call is CLONE_FILES, which makes descriptors of one thread invalid for others; no plan
    // has that flag, and the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}
