//! The least that a kernel must do to run the default container: the clone, mounts, pivot_root and exec of it.
//!
//! `floor ROOTFS NAME [--netns PATH] PROGRAM [ARGUMENT]...` reads no configuration, checks nothing, keeps no state
//! and does not undo: what a runtime takes longer than this, it takes for itself. It knows cgroup v1, which it joins
//! by writing `0` to the `tasks` files, the fastest way there is. Start at `inside`, which is the container's side.
#![allow(unsafe_code, reason = "fork without its handlers, and execve, have no safe form")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measuring program that is all child: whatever fails makes the run worthless"
)]

use nix::sched::{CloneFlags, unshare};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, open, symlinkat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
};
use rustix::mount::{mount_change, mount_remount, unmount};
use rustix::process::{
    Pid, Resource, Rlimit, WaitOptions, chdir, pivot_root, setrlimit, setsid, umask, waitpid,
};
use rustix::thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities};
use std::ffi::{CStr, CString};
use std::process::ExitCode;

const CGROUP: &str = "/sys/fs/cgroup";
const LOCKED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const NAMESPACES: i32 = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
const MASKED: [&CStr; 10] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
    c"/sys/firmware",
    c"/proc/scsi",
];
const READ_ONLY: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// What the container's side needs, made before the clone.
struct Prepared {
    rootfs: CString,
    hierarchies: Vec<String>,
    tasks: Vec<OwnedFd>,
    netns: Option<OwnedFd>,
    arguments: Vec<CString>,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).collect::<Vec<_>>().into_iter();
    let (Some(rootfs), Some(name)) = (words.next(), words.next()) else { return usage() };
    let mut words = words.peekable();
    let netns = words.next_if_eq("--netns").and_then(|_| words.next());
    let arguments = words.map(|word| CString::new(word).expect("an argument")).collect();
    let hierarchies = hierarchies();
    let prepared = Prepared {
        rootfs: CString::new(rootfs).expect("a path"),
        tasks: hierarchies.iter().map(|hierarchy| make_group(hierarchy, &name)).collect(),
        hierarchies,
        netns: netns.map(|path| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("netns")),
        arguments,
    };
    let network = if prepared.netns.is_some() { 0 } else { libc::CLONE_NEWNET };
    // SAFETY: the process has one thread; with no stack and no pointers given, clone(2) is fork(2) with namespaces.
    let pid = unsafe { libc::syscall(libc::SYS_clone, NAMESPACES | network | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        0 => inside(&prepared),
        pid if pid > 0 => outside(&prepared, &name, pid),
        _ => panic!("clone: {}", std::io::Error::last_os_error()),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: floor ROOTFS NAME [--netns PATH] PROGRAM [ARGUMENT]...");
    ExitCode::from(2)
}

/// The v1 hierarchies of this layout: the directories of /sys/fs/cgroup.
fn hierarchies() -> Vec<String> {
    let entries = std::fs::read_dir(CGROUP).expect("cgroup root").flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != "unified").collect()
}

/// Makes the group and opens its `tasks`; a cpuset is unusable until it has processors and memory nodes.
fn make_group(hierarchy: &str, name: &str) -> OwnedFd {
    let group = format!("{CGROUP}/{hierarchy}/{name}");
    mkdirat(CWD, group.as_str(), Mode::from_raw_mode(0o755)).expect("cgroup");
    for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| hierarchy == "cpuset") {
        let value = std::fs::read(format!("{CGROUP}/{hierarchy}/{file}")).expect("cpuset");
        std::fs::write(format!("{group}/{file}"), value).expect("cpuset");
    }
    open(format!("{group}/tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).expect("tasks")
}

/// The runtime's side: wait for the end and take the cgroups away.
fn outside(prepared: &Prepared, name: &str, pid: libc::c_long) -> ExitCode {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
    for hierarchy in &prepared.hierarchies {
        rustix::fs::rmdir(format!("{CGROUP}/{hierarchy}/{name}")).expect("rmdir");
    }
    ExitCode::from(status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// The container's side, in the order of the kernel's demands.
fn inside(prepared: &Prepared) -> ExitCode {
    for tasks in &prepared.tasks {
        rustix::io::write(tasks, b"0").expect("join");
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).expect("cgroup namespace");
    if let Some(netns) = &prepared.netns {
        nix::sched::setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns");
    }
    setsid().expect("setsid");
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).expect("slave");
    mount_bind_recursive(prepared.rootfs.as_c_str(), prepared.rootfs.as_c_str()).expect("rootfs");
    chdir(prepared.rootfs.as_c_str()).expect("chdir");
    filesystems(&prepared.hierarchies);
    devices();
    pivot_root(c".", c".").expect("pivot_root");
    unmount(c".", UnmountFlags::DETACH).expect("old root");
    chdir(c"/").expect("root");
    mount_remount(c"/", MountFlags::BIND | MountFlags::RDONLY, c"").expect("read-only root");
    hide();
    rustix::system::sethostname(b"floor").expect("hostname");
    identity();
    exec(&prepared.arguments)
}

fn filesystems(hierarchies: &[String]) {
    let table: [(&CStr, &CStr, MountFlags, &CStr); 6] = [
        (c"proc", c"proc", MountFlags::empty(), c""),
        (c"tmpfs", c"dev", MountFlags::NOSUID.union(MountFlags::STRICTATIME), c"mode=755,size=65536k"),
        (
            c"devpts",
            c"dev/pts",
            MountFlags::NOSUID.union(MountFlags::NOEXEC),
            c"newinstance,ptmxmode=0666,mode=0620,gid=5",
        ),
        (c"tmpfs", c"dev/shm", LOCKED, c"mode=1777,size=65536k"),
        (c"mqueue", c"dev/mqueue", LOCKED, c""),
        (c"sysfs", c"sys", LOCKED.union(MountFlags::RDONLY), c""),
    ];
    for (kind, target, flags, data) in table {
        if target.to_bytes().starts_with(b"dev/") {
            mkdirat(CWD, target, Mode::from_raw_mode(0o755)).expect("mount point");
        }
        mount(kind, target, kind, flags, data).expect("mount");
    }
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", LOCKED, c"mode=755").expect("cgroup");
    for name in hierarchies {
        let target = CString::new(format!("sys/fs/cgroup/{name}")).expect("a name");
        mkdirat(CWD, &target, Mode::from_raw_mode(0o755)).expect("hierarchy");
        let data = if name == "systemd" {
            c"none,name=systemd".to_owned()
        } else {
            CString::new(name.as_str()).expect("data")
        };
        mount(c"cgroup", &target, c"cgroup", LOCKED | MountFlags::RDONLY, data.as_c_str())
            .expect("hierarchy");
    }
    mount_remount(c"sys/fs/cgroup", MountFlags::BIND | LOCKED | MountFlags::RDONLY, c"").expect("read-only");
}

fn devices() {
    let nodes: [(&CStr, u32, u32); 6] = [
        (c"null", 1, 3),
        (c"zero", 1, 5),
        (c"full", 1, 7),
        (c"random", 1, 8),
        (c"urandom", 1, 9),
        (c"tty", 5, 0),
    ];
    let dev = open(c"dev", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("dev");
    for (name, major, minor) in nodes {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(&dev, name, FileType::CharacterDevice, mode, makedev(major, minor)).expect("device");
        rustix::fs::chmodat(&dev, name, mode, AtFlags::empty()).expect("mode");
    }
    let links = [
        (c"/proc/self/fd", c"fd"),
        (c"/proc/self/fd/0", c"stdin"),
        (c"/proc/self/fd/1", c"stdout"),
        (c"/proc/self/fd/2", c"stderr"),
        (c"pts/ptmx", c"ptmx"),
    ];
    for (target, name) in links {
        symlinkat(target, &dev, name).expect("link");
    }
}

fn hide() {
    for path in MASKED {
        if mount_bind(c"/dev/null", path) == Err(rustix::io::Errno::NOTDIR) {
            mount(c"tmpfs", path, c"tmpfs", MountFlags::RDONLY, c"").expect("mask");
        }
    }
    for path in READ_ONLY {
        if mount_bind_recursive(path, path).is_ok() {
            mount_remount(path, MountFlags::BIND | LOCKED | MountFlags::RDONLY, c"").expect("read-only path");
        }
    }
}

fn identity() {
    let kept = CapabilitySet::AUDIT_WRITE | CapabilitySet::KILL | CapabilitySet::NET_BIND_SERVICE;
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), maximum: Some(1024) }).expect("rlimit");
    for capability in CapabilitySet::all().difference(kept).iter() {
        // The kernel may know fewer capabilities than the library.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).expect("capset");
    rustix::thread::set_no_new_privs(true).expect("no_new_privs");
    umask(Mode::from_raw_mode(0o022));
}

fn exec(arguments: &[CString]) -> ExitCode {
    let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let Some(program) = arguments.first() else { return ExitCode::from(127) };
    let environment = [c"PATH=/usr/bin:/bin".as_ptr(), std::ptr::null()];
    // SAFETY: the arrays end with a null pointer, and their strings with NUL; all of them outlive the call.
    unsafe { libc::execve(program.as_ptr(), pointers.as_ptr(), environment.as_ptr()) };
    panic!("{program:?}: {}", std::io::Error::last_os_error())
}
