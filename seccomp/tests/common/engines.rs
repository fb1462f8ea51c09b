//! Profiles of the shape and size of the engines' defaults: what they deny and what they condition is common
//! knowledge, the rest is all calls of the architectures they list. They are not the engines' files, which change.

use seccomp::profile::{Argument, Profile, Syscall};
use seccomp::{Arch, call_names, call_number};

/// Calls that act on the whole machine, or undo the container, which an engine's default refuses without the
/// capability that goes with them.
const DENIED: [&str; 58] = [
    "_sysctl",
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_settime",
    "clock_settime64",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "get_mempolicy",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "syslog",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// Calls of other times, which engines do not list although the tables have them.
const OBSOLETE: [&str; 53] = [
    "afs_syscall",
    "bdflush",
    "break",
    "epoll_ctl_old",
    "epoll_wait_old",
    "ftime",
    "getpmsg",
    "gtty",
    "idle",
    "lock",
    "migrate_pages",
    "modify_ldt",
    "arch_prctl",
    "mpx",
    "multiplexer",
    "nice",
    "oldfstat",
    "oldlstat",
    "oldolduname",
    "oldstat",
    "olduname",
    "oldumount",
    "pciconfig_iobase",
    "pciconfig_read",
    "pciconfig_write",
    "prof",
    "profil",
    "putpmsg",
    "readdir",
    "rtas",
    "s390_pci_mmio_read",
    "s390_pci_mmio_write",
    "security",
    "sgetmask",
    "sigaction",
    "signal",
    "sigpending",
    "sigsuspend",
    "ssetmask",
    "stty",
    "sys_debug_setcontext",
    "sysfs",
    "tuxcall",
    "ulimit",
    "uprobe",
    "uretprobe",
    "uselib",
    "ustat",
    "vhangup",
    "vm86",
    "vm86old",
    "vserver",
    "subpage_prot",
];

/// Calls that have a rule of their own, with conditions or another errno.
const SPECIAL: [&str; 5] = ["clone", "clone3", "personality", "socket", "io_uring_setup"];

const X86: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
const ARM: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
const CLONE_NEW: u64 = 0x7e02_0000;

/// As an engine writes it for x86-64 with its two other entries: 13 rules, about 370 names.
pub(crate) fn docker_like() -> Profile {
    let mut syscalls = vec![rule(&allowed(), "SCMP_ACT_ALLOW", &[])];
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        syscalls.push(rule(&["personality"], "SCMP_ACT_ALLOW", &[(0, "SCMP_CMP_EQ", value, 0)]));
    }
    syscalls.push(rule(&["socket"], "SCMP_ACT_ALLOW", &[(0, "SCMP_CMP_NE", 40, 0)]));
    syscalls.push(rule(&["clone"], "SCMP_ACT_ALLOW", &[(0, "SCMP_CMP_MASKED_EQ", CLONE_NEW, 0)]));
    syscalls.push(Syscall { errno_ret: Some(38), ..rule(&["clone3"], "SCMP_ACT_ERRNO", &[]) });
    syscalls.push(rule(&["sync_file_range2", "swapcontext"], "SCMP_ACT_ALLOW", &[]));
    syscalls.push(rule(&["arch_prctl", "modify_ldt"], "SCMP_ACT_ALLOW", &[]));
    syscalls.push(rule(&["chroot"], "SCMP_ACT_ALLOW", &[]));
    syscalls.push(rule(&["ptrace", "process_vm_readv"], "SCMP_ACT_ALLOW", &[]));
    profile("SCMP_ACT_ERRNO", Some(1), &X86, syscalls)
}

/// The same for 64-bit ARM, with traps where the other has errors.
pub(crate) fn containerd_like() -> Profile {
    let mut syscalls = docker_like().syscalls;
    syscalls.retain(|rule| rule.names != ["arch_prctl", "modify_ldt"]);
    syscalls.push(rule(&["breakpoint", "cacheflush", "set_tls"], "SCMP_ACT_ALLOW", &[]));
    profile("SCMP_ACT_TRAP", None, &ARM, syscalls)
}

/// As an engine writes it that denies by a list too: unknown calls get ENOSYS, the listed ones EPERM, and audit sockets
/// are told apart by two arguments.
pub(crate) fn podman_like() -> Profile {
    let mut syscalls = vec![
        Syscall { errno_ret: Some(1), ..rule(&DENIED, "SCMP_ACT_ERRNO", &[]) },
        rule(&allowed(), "SCMP_ACT_ALLOW", &[]),
        rule(&["clone"], "SCMP_ACT_ALLOW", &[(0, "SCMP_CMP_MASKED_EQ", CLONE_NEW, 0)]),
        Syscall { errno_ret: Some(38), ..rule(&["clone3"], "SCMP_ACT_ERRNO", &[]) },
    ];
    let audit = [(0, "SCMP_CMP_EQ", 16, 0), (2, "SCMP_CMP_EQ", 9, 0)];
    syscalls.push(Syscall { errno_ret: Some(22), ..rule(&["socket"], "SCMP_ACT_ERRNO", &audit) });
    for other in [(2, "SCMP_CMP_NE", 9, 0), (0, "SCMP_CMP_NE", 16, 0)] {
        syscalls.push(rule(&["socket"], "SCMP_ACT_ALLOW", &[other]));
    }
    profile("SCMP_ACT_ERRNO", Some(38), &X86, syscalls)
}

fn allowed() -> Vec<&'static str> {
    let listed = |name: &&str| {
        let somewhere = [Arch::X86_64, Arch::X86, Arch::Arm, Arch::Aarch64];
        somewhere.into_iter().any(|arch| call_number(name, arch).is_some())
    };
    let newest = |name: &&str| call_number(name, Arch::X86_64).is_none_or(|number| number <= 452);
    let refused = |name: &&str| DENIED.contains(name) || OBSOLETE.contains(name) || SPECIAL.contains(name);
    call_names().filter(listed).filter(newest).filter(|name| !refused(name)).collect()
}

/// Index, operator, value, valueTwo.
pub(crate) type Condition<'a> = (u32, &'a str, u64, u64);

pub(crate) fn rule(names: &[&str], action: &str, args: &[Condition<'_>]) -> Syscall {
    let argument = |&(index, op, value, value_two): &Condition<'_>| Argument {
        index,
        op: op.to_owned(),
        value,
        value_two,
    };
    Syscall {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: action.to_owned(),
        errno_ret: None,
        args: args.iter().map(argument).collect(),
    }
}

pub(crate) fn profile(
    default: &str,
    errno: Option<u32>,
    architectures: &[&str],
    syscalls: Vec<Syscall>,
) -> Profile {
    Profile {
        default_action: default.to_owned(),
        default_errno_ret: errno,
        architectures: architectures.iter().map(|name| (*name).to_owned()).collect(),
        syscalls,
        ..Profile::default()
    }
}
