//! What this host can do, asked of the kernel once and only when a configuration needs to know.
//!
//! Every fact is a plain value behind a cell: asking costs system calls, and a start that needs no fact pays for none.
//! Tests fill the cells instead of asking.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;

/// The host, as far as the configuration depends on it.
#[derive(Debug, Default)]
pub struct Facts {
    /// The effective uid of the caller in its user namespace.
    pub(crate) euid: OnceCell<u32>,
    /// The caller's permitted capabilities, bit n being capability n.
    pub(crate) permitted: OnceCell<u64>,
    /// The caller's bounding set, likewise.
    pub(crate) bounding: OnceCell<u64>,
    /// Whether AppArmor is on.
    pub(crate) apparmor: OnceCell<bool>,
    /// Whether SELinux is on.
    pub(crate) selinux: OnceCell<bool>,
    /// Where resctrl is mounted.
    pub(crate) resctrl: OnceCell<Option<PathBuf>>,
    /// Whether the caller is in a user namespace other than the host's.
    pub(crate) in_user_namespace: OnceCell<bool>,
    /// Whether the kernel has /proc/kcore.
    pub(crate) kcore: OnceCell<bool>,
    /// Which filters of system calls the kernel takes.
    pub(crate) seccomp: OnceCell<seccomp::Support>,
    /// The maps of user and group ids of the user namespace that is joined by path.
    pub(crate) joined_maps: OnceCell<(String, String)>,
}

impl Facts {
    /// The maps of user and group ids of the user namespace that is joined by path; `None` where nobody has asked, since that
    /// takes a process.
    pub fn joined_maps(&self) -> Option<&(String, String)> {
        self.joined_maps.get()
    }

    /// Tells the maps of the user namespace that is joined by path.
    pub fn tell_joined_maps(&self, maps: (String, String)) {
        let _ = self.joined_maps.set(maps);
    }

    /// The effective uid of the caller in its user namespace.
    pub fn euid(&self) -> u32 {
        *self.euid.get_or_init(|| rustix::process::geteuid().as_raw())
    }

    /// The capabilities that the caller may hand on without a new user namespace. capget(2).
    pub fn permitted(&self) -> u64 {
        *self
            .permitted
            .get_or_init(|| rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits()))
    }

    /// The caller's bounding set. prctl(PR_CAPBSET_READ), once for each capability.
    pub fn bounding(&self) -> u64 {
        *self.bounding.get_or_init(|| {
            // EINVAL: the kernel knows no capability of this number, nor any above it.
            let has = |bit: u32| {
                rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1_u64 << bit))
                    .ok()
            };
            (0..u64::BITS)
                .map_while(|bit| Some((bit, has(bit)?)))
                .filter(|(_, has)| *has)
                .fold(0, |set, (bit, _)| set | 1_u64 << bit)
        })
    }

    /// The caller's hard limit of a resource (RLIMIT_*); u64::MAX is unlimited. getrlimit(2).
    pub fn hard_limit(&self, resource: u32) -> u64 {
        sys::task::getrlimit(resource).map_or(u64::MAX, |limit| limit.1)
    }

    /// Whether AppArmor is built in and not switched off at boot.
    pub fn apparmor(&self) -> bool {
        *self.apparmor.get_or_init(|| begins("/sys/module/apparmor/parameters/enabled", b"Y"))
    }

    /// Whether SELinux is on: its file system is mounted where every distribution has it.
    pub fn selinux(&self) -> bool {
        *self.selinux.get_or_init(|| is_mounted("/sys/fs/selinux", SELINUX_MAGIC))
    }

    /// Where resctrl is mounted, if it is.
    pub fn resctrl(&self) -> Option<&Path> {
        self.resctrl
            .get_or_init(|| {
                is_mounted("/sys/fs/resctrl", RDTGROUP_SUPER_MAGIC).then(|| "/sys/fs/resctrl".into())
            })
            .as_deref()
    }

    /// Whether the caller is in a user namespace other than the host's, so that it owns neither devices nor the host's
    /// mounts whatever its uid.
    pub fn in_user_namespace(&self) -> bool {
        *self.in_user_namespace.get_or_init(|| {
            rustix::fs::stat("/proc/self/ns/user")
                .map_or(true, |found| found.st_ino != INITIAL_USER_NAMESPACE)
        })
    }

    /// Whether the kernel has /proc/kcore (CONFIG_PROC_KCORE).
    pub fn kcore(&self) -> bool {
        *self.kcore.get_or_init(|| rustix::fs::stat("/proc/kcore").is_ok())
    }

    /// Which flags and actions of filters the kernel takes. seccomp(2), a dozen times; nothing is loaded.
    pub fn seccomp(&self) -> &seccomp::Support {
        self.seccomp.get_or_init(|| {
            seccomp::Support::probe(sys::task::seccomp_takes_flags, sys::task::seccomp_knows_action)
        })
    }

    /// Whether `path` is the caller's own namespace; `file` is the name in /proc/self/ns. A path that cannot be read is
    /// another one: opening it will say why.
    pub fn is_own_namespace(&self, path: &Path, file: &str) -> bool {
        let own = rustix::fs::stat(format!("/proc/self/ns/{file}"));
        let other = rustix::fs::stat(path);
        own.is_ok_and(|own| other.is_ok_and(|other| (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)))
    }

    /// The file at `path` of the host, links followed as for a mount.
    pub fn node(&self, path: &CStr) -> Option<Node> {
        let found = rustix::fs::stat(path).ok()?;
        let numbers = (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev));
        Some(Node {
            numbers: (found.st_mode & S_IFMT, numbers.0, numbers.1),
            mode: found.st_mode & 0o7777,
            owner: (found.st_uid, found.st_gid),
        })
    }
}

/// A device of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// S_IFCHR or S_IFBLK, major and minor.
    pub numbers: (u32, u32, u32),
    /// The permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// The bits of a mode that hold the type of the file. inode(7).
const S_IFMT: u32 = 0o170_000;

/// The inode of the user namespace that the kernel starts with (PROC_USER_INIT_INO, linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// The types of file systems as statfs(2) gives them (linux/magic.h).
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
const RDTGROUP_SUPER_MAGIC: u64 = 0x0765_5821;

fn is_mounted(path: &str, magic: u64) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 & 0xffff_ffff == magic)
}

fn begins(path: &str, with: &[u8]) -> bool {
    let mut start = [0; 8];
    let read = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut start));
    read.is_ok() && start.starts_with(with)
}
