//! The steps that a new process can take: a closed list, one kernel intention each.
//!
//! An [`Op`] holds everything that its system calls need, so nothing is looked up, formatted or decided after the clone
//! except what the documentation of the variant names. The plan decides the order; [`crate::run`] executes; the files in
//! `ops/` do the work, one family each. Paths inside the container are resolved beneath the root descriptor.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::{Bytes, Fd, List, Text, Words};

/// One step.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
#[expect(missing_docs, reason = "the documentation of a variant covers its fields")]
pub enum Op<'a> {
    // ── descriptors and the process itself ──────────────────────────────────────────────────────────────────────
    /// Moves inherited descriptors to their places (pairs of from, to) and closes every other one but the first `keep`.
    /// `socket` and `proc` are the numbers that the create socket and the runtime's procfs have from then on.
    /// dup3(2), close_range(2).
    Descriptors { place: Words<'a>, keep: u32, socket: Fd, proc: Option<Fd> },
    /// Dies when the process that made this one dies. prctl(PR_SET_PDEATHSIG).
    DieWithParent,
    /// Closes /proc/PID/{fd,exe,mem} and ptrace(2) to everyone inside the container. prctl(PR_SET_DUMPABLE).
    NonDumpable,
    /// Gives every signal its default disposition and unblocks all. Until execve(2) the four that ask to end do so even as
    /// process 1, for which the kernel would drop them.
    ResetSignals,
    /// umask(2).
    Umask { mask: u32 },
    /// setsid(2).
    NewSession,
    /// A session keyring of its own. ENOSYS and EDQUOT and EACCES are tolerated, as kernels without keys exist.
    NewKeyring { name: Text<'a> },
    /// Runs on every processor that the cgroup allows, whatever the caller was bound to. sched_setaffinity(2).
    AllProcessors,
    /// Runs on these processors; the mask is as the kernel reads it. sched_setaffinity(2).
    Processors { mask: Bytes<'a> },

    // ── namespaces ──────────────────────────────────────────────────────────────────────────────────────────────
    /// setns(2) with a descriptor that the parent opened; `kind` is the CLONE_NEW* flag that it must match.
    JoinNamespace { fd: Fd, kind: u32 },
    /// unshare(2).
    Unshare { flags: u32 },
    /// Lines for /proc/self/timens_offsets, which an unshared time namespace accepts until a process is in it.
    TimeOffsets { lines: Text<'a> },
    /// Enters the time namespace that was unshared: setns(2) to /proc/self/ns/time_for_children. unshare(2) puts only
    /// children there; execve(2) follows from kernel 6.3 on, below it never does.
    EnterTimeNamespace,
    /// Goes on in a new process whose parent is the runtime (CLONE_PARENT); this one exits.
    Clone { flags: u64 },
    /// setns(2) with a pidfd: the namespaces in `flags` of the process behind it, all at once (kernel 5.8).
    JoinProcess { pidfd: Fd, flags: u32 },
    /// Keeps `/` of the mount namespace that was joined as the root. Choice: another inode than that of the container's
    /// root is accepted only if it is what the container's first process has as its root (`root` below procfs), as after
    /// a pivot_root(2) of its own.
    EnterRoot { device: u64, inode: u64, root: Text<'a> },
    /// Closes `count` descriptors from `first` on, which no later step may have.
    Close { first: Fd, count: u32 },
    /// Goes on in a new process, a child of the runtime (CLONE_PARENT) that is born in the v2 cgroup `group`; this one
    /// tells its pid and exits. The new one waits for nobody.
    CloneInto { group: Option<Fd> },
    /// Takes uid and gid 0 of the user namespace and no supplementary groups where setgroups(2) is allowed.
    BecomeRoot,
    /// Tells the parent and waits until it has done its part.
    Await { request: Request },
    /// Joins v1 cgroups (and the v2 part of a hybrid) by writing `0` to `count` files from `first` on, which the parent
    /// opened.
    JoinCgroups { first: Fd, count: u32 },
    /// Sets the interface `lo` up.
    LoopbackUp,
    /// sethostname(2).
    Hostname { name: Text<'a> },
    /// setdomainname(2).
    Domainname { name: Text<'a> },

    // ── the mount tree ──────────────────────────────────────────────────────────────────────────────────────────
    /// The propagation of the whole tree that was inherited from the host (MS_SLAVE, MS_PRIVATE ... | MS_REC).
    HostPropagation { flags: u32 },
    /// Mounts the root file system upon itself and keeps its descriptor. The inode must be the one the parent saw. With
    /// a descriptor the tree comes from the parent (id-mapped). Choice: if the mount that holds the root is still shared
    /// (rootfsPropagation), it is made private first: pivot_root(2) refuses a shared parent, and the container's mounts
    /// would appear on the host.
    Root { path: Text<'a>, tree: Option<Fd>, device: u64, inode: u64 },
    /// A new file system instance. The target directory is made if absent. Choices: a target inside procfs is refused
    /// unless `over` allows it; for `Over::Directory` no component of the target may be a symbolic link; a tmpfs without
    /// a mode gets that of the directory that was there.
    Mount { target: Text<'a>, source: Text<'a>, kind: Text<'a>, flags: u32, data: Text<'a>, over: Over },
    /// A new tmpfs that starts with a copy of what its target held; the parent copies, by descriptors.
    MountCopyUp { target: Text<'a>, flags: u32, data: Text<'a> },
    /// Attaches a tree at `target`: `whole` is applied to every mount of the tree (AT_RECURSIVE), then `attributes` to
    /// the top one alone. Choice: an absent target becomes a directory or an empty file, as the source is.
    Bind {
        source: Source<'a>,
        target: Text<'a>,
        depth: Depth,
        whole: Attributes,
        attributes: Attributes,
        over: Over,
    },
    /// mount_setattr(2) of the mount at `target`.
    SetAttributes { target: Text<'a>, depth: Depth, attributes: Attributes },
    /// Changes options of the file system at `target`: mount(2) with MS_REMOUNT. The attributes of the mount itself
    /// (nosuid, nodev ...) stay as they are; [`Op::SetAttributes`] changes those.
    Remount { target: Text<'a>, flags: u32, data: Text<'a> },
    /// A device node, FIFO or regular type with exact mode and owner. Choice: an existing node that matches stays; one
    /// that does not is an error.
    Device { path: Text<'a>, device: Device },
    /// A symbolic link. Choice: an existing entry stays as it is, or is unlinked first, as `existing` says.
    Symlink { path: Text<'a>, text: Text<'a>, existing: Existing },
    /// A new pty of the container's devpts: its end becomes 0 to 2 and the controlling terminal, and is bound at
    /// /dev/console; the other end goes to the parent. `rows` and `columns` of 0 leave the size unset.
    Console { rows: u16, columns: u16, uid: u32, bind: Placement, newlines: Newlines },
    /// Makes the root the container's: pivot_root(".", ".") and the old tree detached.
    PivotRoot,
    /// Without pivot_root (a root on the initramfs): the tree is moved over `/`, then chroot(2).
    MoveRoot,
    /// Takes away the mount at a path of the host's tree, before the root moves over it. Choices: a tree that still has
    /// peers becomes their slave first, so that the host keeps its own; a mount that is locked there is covered.
    HideView { path: Text<'a> },
    /// The propagation of the container's root (linux.rootfsPropagation).
    RootPropagation { flags: u32 },
    /// Makes `/` read-only, submounts excepted.
    ReadonlyRoot,
    /// Makes a path read-only. Choice: an absent path is skipped.
    ReadonlyPath { path: Text<'a> },
    /// Hides a path. Choice: absent is skipped, a directory gets an empty read-only tmpfs, a file the verified null device.
    MaskPath { path: Text<'a>, label: Option<Text<'a>> },
    /// Writes a value beneath /proc/sys, through the runtime's own procfs handle.
    Sysctl { name: Text<'a>, value: Text<'a> },

    // ── what the program runs with ──────────────────────────────────────────────────────────────────────────────
    /// A hook inside the container's namespaces; its standard input gets the state with this container's pid.
    Hook { hook: Hook<'a> },
    /// setrlimit(2); u64::MAX is unlimited.
    Rlimit { resource: u32, soft: u64, hard: u64 },
    /// /proc/self/oom_score_adj.
    OomScoreAdj { value: Text<'a> },
    /// sched_setattr(2).
    Scheduler { attributes: Scheduler },
    /// ioprio_set(2) of this process; `value` holds class and priority.
    IoPriority { value: u32 },
    /// personality(2).
    Personality { domain: u32 },
    /// set_mempolicy(2); `nodes` is the mask as the kernel reads it.
    MemoryPolicy { mode: u32, nodes: Bytes<'a>, max_node: u32 },
    /// A security label for the next execve(2): a file below /proc/thread-self and its text.
    ExecLabel { file: Text<'a>, label: Text<'a> },
    /// A security label for keys that are made from here on.
    KeyLabel { label: Text<'a> },
    /// Gives 0, 1 and 2 to `uid`. Choice: the null device and what the host's administrator owns elsewhere stays.
    StdioOwner { uid: u32 },
    /// prctl(PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges,
    /// Drops every capability outside `keep` from the bounding set; the kernel says which exist.
    BoundingSet { keep: u64 },
    /// Supplementary groups, then gid, then uid; capabilities survive until [`Op::Capabilities`]. `groups` of `None`
    /// keeps what the caller had.
    Ids { uid: u32, gid: u32, groups: Option<Words<'a>> },
    /// capset(2) and the ambient set.
    Capabilities { sets: Capabilities },
    /// Reads uid, gid, groups, capabilities and no_new_privs back from the kernel and compares.
    VerifyIdentity {
        uid: u32,
        gid: u32,
        groups: Option<Words<'a>>,
        sets: Capabilities,
        no_new_privileges: NoNewPrivs,
    },
    /// Enters the working directory, unless an earlier step of this kind did.
    WorkingDirectory { path: Text<'a>, how: Enter },
    /// Chooses the first candidate that is an executable file.
    FindExecutable { candidates: List<'a> },
    /// Environment: HOME from the container's passwd file for `uid`, when the configuration has none.
    FindHome { uid: u32 },
    /// The create socket gets Ready; then Go is awaited from it or from the start socket.
    AwaitStart { listener: Option<Fd> },
    /// Closes every descriptor from `first` on but the connection over which start came, the file to which hooks print and
    /// the socket on which start is awaited, which execve(2) closes. Choice: the root stays open for hooks while start is
    /// awaited.
    CloseHandles { first: u32, output: Option<Fd>, start: Option<Fd> },
    /// Loads the filter: seccomp(2). With `listener` the descriptor goes to the parent.
    Seccomp { program: Bytes<'a>, flags: u32, listener: Listener },
    /// execve(2) of the chosen candidate. The last step. Choice: an empty LISTEN_PID in the environment gets the number of
    /// this process.
    Execute { args: List<'a>, env: List<'a> },
}

/// What the child asks of its parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// The id maps of the new user namespace, and what only the parent may set from then on.
    Maps,
    /// Adoption by the cgroup driver and the network devices.
    Adopt,
    /// The hooks of the runtime namespace: prestart and createRuntime.
    Hooks,
}

/// Where a tree to attach comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub enum Source<'a> {
    /// A path on the host, looked up in the child's mount namespace before the root changes.
    Path(Text<'a>),
    /// A path inside the container's root, with what was mounted there so far.
    Inside(Text<'a>),
    /// A detached tree that the parent prepared (id-mapped, or beyond the child's reach).
    Tree(Fd),
}

/// Whether submounts follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Depth {
    /// This mount alone.
    One,
    /// With every submount (AT_RECURSIVE).
    Tree,
}

/// What a target may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Over {
    /// Anything outside procfs.
    Any,
    /// A path without any symbolic link: the rule for proc and sysfs.
    Directory,
    /// One of the files of procfs that may be replaced.
    Procfs,
    /// As `Directory`, and the tree that is attached must be of procfs: the rule for a bind onto /proc.
    ProcfsTree,
}

/// What becomes of an entry that is in the way of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Existing {
    /// It stays and there is no link.
    Keep,
    /// It is unlinked; a directory is an error.
    Replace,
}

/// The arguments of mount_setattr(2); all zero does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// MOUNT_ATTR_* to set.
    pub set: u64,
    /// MOUNT_ATTR_* to clear first.
    pub clear: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0.
    pub propagation: u64,
}

/// A node in /dev.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub file_type: u32,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// Permission bits, exactly as they will be.
    pub mode: u32,
    /// The owner inside the container.
    pub uid: u32,
    /// The group inside the container.
    pub gid: u32,
}

/// Whether the terminal is also put at /dev/console.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Placement {
    /// Bound at /dev/console, as for a container's first process.
    Console,
    /// Only 0 to 2, as for an exec.
    StdioOnly,
}

/// What becomes of a newline that the program writes to its terminal (ONLCR, termios(3)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Newlines {
    /// A carriage return comes before it, as on every new terminal.
    #[default]
    Translated,
    /// It stays as it is: the output goes to a file or another program.
    AsWritten,
}

/// How the working directory is entered. Root may lack the right on a network file system while the user has it, and
/// the other way round, so there are two attempts and one that succeeds is enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Enter {
    /// As root, made with mode 0755 beneath the root where it is absent; EACCES leaves it to the user.
    MakeAsRoot,
    /// As root; absent is an error, EACCES leaves it to the user.
    AsRoot,
    /// As the user, whatever is left to do.
    AsUser,
}

/// Whether no_new_privs must be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NoNewPrivs {
    /// Must be set.
    Set,
    /// May be either: the caller's own is inherited.
    Inherited,
}

/// What becomes of a filter's listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Listener {
    /// The filter has none.
    None,
    /// The parent fetches it before the child goes on.
    Announce,
}

/// A program that runs at a point of the lifecycle inside the container's namespaces.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub struct Hook<'a> {
    /// The executable.
    pub path: Text<'a>,
    /// argv, the name included.
    pub args: List<'a>,
    /// The environment.
    pub env: List<'a>,
    /// Whether the HOME that was looked up for the program is added to it.
    pub home: HookHome,
    /// The state's JSON text up to the number of the pid.
    pub state_head: Bytes<'a>,
    /// The state's JSON text after the pid.
    pub state_tail: Bytes<'a>,
    /// Milliseconds until the hook's process group is killed.
    pub timeout_ms: u32,
    /// Where its standard output and error go: a file that the parent reads after a failure.
    pub output: Fd,
}

/// Whose HOME a hook has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HookHome {
    /// What its environment says.
    OfHook,
    /// The program's, whose environment it has.
    OfProgram,
}

/// The arguments of sched_setattr(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Scheduler {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds, SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, SCHED_DEADLINE.
    pub period: u64,
}

/// Four of the five capability sets, bit n being capability n; the bounding set has its own step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}

impl fmt::Display for Op<'_> {
    /// One line: what the step is about, so that an error can name its object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Descriptors { keep, .. } => write!(f, "keep {keep} descriptors"),
            Op::DieWithParent => f.write_str("die with the runtime until ready"),
            Op::NonDumpable => f.write_str("become non-dumpable"),
            Op::ResetSignals => f.write_str("reset signal dispositions and mask"),
            Op::Umask { mask } => write!(f, "set umask {mask:04o}"),
            Op::NewSession => f.write_str("start a session"),
            Op::NewKeyring { .. } => f.write_str("join a new session keyring"),
            Op::AllProcessors => f.write_str("reset the CPU affinity"),
            Op::Processors { mask } => {
                write!(f, "run on {} processors", mask.0.iter().map(|byte| byte.count_ones()).sum::<u32>())
            }
            Op::JoinNamespace { fd, kind } => {
                write!(f, "join the {} namespace ({fd})", namespace_name(*kind))
            }
            Op::Unshare { flags } => {
                f.write_str("unshare")?;
                namespace_list(f, u64::from(*flags))
            }
            Op::TimeOffsets { lines } => write!(f, "set time offsets {lines}"),
            Op::EnterTimeNamespace => f.write_str("enter the new time namespace"),
            Op::Clone { flags } => {
                f.write_str("clone the last process")?;
                namespace_list(f, *flags)
            }
            Op::JoinProcess { flags, .. } => {
                f.write_str("join the container's namespaces:")?;
                namespace_list(f, u64::from(*flags))
            }
            Op::EnterRoot { .. } => f.write_str("enter the container's root"),
            Op::Close { first, count } => write!(f, "close {count} descriptors from {} on", first.0),
            Op::CloneInto { .. } => f.write_str("clone the last process into the container"),
            Op::BecomeRoot => f.write_str("become root of the user namespace"),
            Op::Await { request } => write!(f, "wait for the runtime: {}", request.name()),
            Op::JoinCgroups { count, .. } => write!(f, "join {count} cgroups"),
            Op::LoopbackUp => f.write_str("set lo up"),
            Op::Hostname { name } => write!(f, "set hostname {name}"),
            Op::Domainname { name } => write!(f, "set domainname {name}"),
            Op::HostPropagation { flags } => {
                write!(f, "make the host's mounts {}", propagation_name(u64::from(*flags)))
            }
            Op::Root { path, .. } => write!(f, "open root {path}"),
            Op::Mount { target, source, kind, .. } => write!(f, "mount {kind} ({source}) at {target}"),
            Op::MountCopyUp { target, .. } => {
                write!(f, "mount tmpfs with a copy of what was there at {target}")
            }
            Op::Bind { source: Source::Path(path), target, .. } => write!(f, "attach {path} at {target}"),
            Op::Bind { source: Source::Inside(path), target, .. } => {
                write!(f, "attach the container's {path} at {target}")
            }
            Op::Bind { source: Source::Tree(fd), target, .. } => {
                write!(f, "attach a prepared tree ({fd}) at {target}")
            }
            Op::SetAttributes { target, .. } => write!(f, "set mount attributes of {target}"),
            Op::Remount { target, .. } => write!(f, "remount {target}"),
            Op::Device { path, device } => write!(f, "make device {path} {}:{}", device.major, device.minor),
            Op::Symlink { path, text, .. } => write!(f, "link {path} to {text}"),
            Op::Console { .. } => f.write_str("make the terminal"),
            Op::PivotRoot => f.write_str("pivot to the root"),
            Op::HideView { path } => write!(f, "hide the host's {path}"),
            Op::MoveRoot => f.write_str("move the root over / and chroot"),
            Op::RootPropagation { flags } => {
                write!(f, "make the root {}", propagation_name(u64::from(*flags)))
            }
            Op::ReadonlyRoot => f.write_str("make the root read-only"),
            Op::ReadonlyPath { path } => write!(f, "make {path} read-only"),
            Op::MaskPath { path, .. } => write!(f, "mask {path}"),
            Op::Sysctl { name, value } => write!(f, "write {value} to /proc/sys/{name}"),
            Op::Hook { hook } => write!(f, "run hook {}", hook.path),
            Op::Rlimit { resource, .. } => write!(f, "set rlimit {resource}"),
            Op::OomScoreAdj { value } => write!(f, "set oom_score_adj {value}"),
            Op::Scheduler { attributes } => write!(f, "set scheduler policy {}", attributes.policy),
            Op::IoPriority { value } => write!(f, "set I/O priority {value:#x}"),
            Op::Personality { domain } => write!(f, "set personality {domain:#x}"),
            Op::MemoryPolicy { mode, .. } => write!(f, "set memory policy {mode:#x}"),
            Op::ExecLabel { file, label } => write!(f, "set label {label} in {file}"),
            Op::KeyLabel { label } => write!(f, "set key label {label}"),
            Op::StdioOwner { uid } => write!(f, "give the standard streams to uid {uid}"),
            Op::NoNewPrivileges => f.write_str("set no_new_privs"),
            Op::BoundingSet { keep } => write!(f, "reduce the bounding set to {keep:#x}"),
            Op::Ids { uid, gid, .. } => write!(f, "become uid {uid} gid {gid}"),
            Op::Capabilities { sets } => write!(f, "set capabilities {:#x}", sets.effective),
            Op::VerifyIdentity { .. } => f.write_str("verify ids and capabilities"),
            Op::WorkingDirectory { path, .. } => write!(f, "enter {path}"),
            Op::FindExecutable { candidates } => {
                write!(f, "find the executable among {}", candidates.count())
            }
            Op::FindHome { uid } => write!(f, "find HOME of uid {uid}"),
            Op::AwaitStart { .. } => f.write_str("ready; wait for start"),
            Op::CloseHandles { first, .. } => write!(f, "close descriptors from {first} on"),
            Op::Seccomp { program, .. } => {
                write!(f, "load the filter of {} instructions", program.0.len() / 8)
            }
            Op::Execute { args, .. } => match args.iter().next() {
                Some(name) => write!(f, "execute {}", Text(name)),
                None => f.write_str("execute"),
            },
        }
    }
}

impl Request {
    /// What the parent does for this request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maps => "id maps",
            Self::Adopt => "cgroup and devices",
            Self::Hooks => "prestart and createRuntime hooks",
        }
    }
}

/// The CLONE_NEW* flags (sched.h) in the order in which they are printed, with the names of the specification.
pub const NAMESPACES: [(u32, &str); 8] = [
    (0x1000_0000, "user"),
    (0x2000_0000, "pid"),
    (0x0002_0000, "mount"),
    (0x4000_0000, "network"),
    (0x0800_0000, "ipc"),
    (0x0400_0000, "uts"),
    (0x0200_0000, "cgroup"),
    (0x0000_0080, "time"),
];

/// The specification's name of a CLONE_NEW* flag.
pub fn namespace_name(kind: u32) -> &'static str {
    NAMESPACES.iter().find(|entry| entry.0 == kind).map_or("unknown", |entry| entry.1)
}

fn namespace_list(f: &mut fmt::Formatter<'_>, flags: u64) -> fmt::Result {
    NAMESPACES
        .iter()
        .filter(|entry| flags & u64::from(entry.0) != 0)
        .try_for_each(|entry| write!(f, " {}", entry.1))
}

fn propagation_name(flags: u64) -> &'static str {
    match flags & 0x1e_0000 {
        0x10_0000 => "shared",
        0x08_0000 => "slave",
        0x04_0000 => "private",
        0x02_0000 => "unbindable",
        _ => "unchanged",
    }
}
