//! The root file system: the mounts that containerd asks for, and their removal.
//!
//! It runs in a helper, never on the loop: a mount may wait for a disk or a network, and long options need a working
//! directory of their own.

mod fuse;
mod idmapped;
mod loop_device;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop::{Error, Kind, Result};
use rustix::fs::{Gid, Mode, Uid, chmod, chown};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use sys::error::Context;

use self::idmapped::{Lower, Maps};
use self::loop_device::Access;
use crate::proto::task::Mount;

/// The kernel takes one page of options (mount(2)).
const LONGEST: usize = 4095;

/// How often an unmount of a busy mount is tried before it is detached.
const TRIES: u32 = 50;

/// What an option means.
enum Meaning {
    Set(MountFlags),
    Clear(MountFlags),
    Propagation(MountPropagationFlags),
    /// For tools, not for the kernel.
    Nothing,
}

/// The options that are no data of a file system, mount(8).
fn meaning(option: &str) -> Option<Meaning> {
    use Meaning::{Clear, Nothing, Propagation, Set};
    let recursive = MountPropagationFlags::REC;
    Some(match option {
        "defaults" | "auto" | "noauto" | "user" | "nouser" | "_netdev" | "nofail" => Nothing,
        "ro" => Set(MountFlags::RDONLY),
        "rw" => Clear(MountFlags::RDONLY),
        "nosuid" => Set(MountFlags::NOSUID),
        "suid" => Clear(MountFlags::NOSUID),
        "nodev" => Set(MountFlags::NODEV),
        "dev" => Clear(MountFlags::NODEV),
        "noexec" => Set(MountFlags::NOEXEC),
        "exec" => Clear(MountFlags::NOEXEC),
        "sync" => Set(MountFlags::SYNCHRONOUS),
        "async" => Clear(MountFlags::SYNCHRONOUS),
        "dirsync" => Set(MountFlags::DIRSYNC),
        "mand" => Set(MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
        "nomand" => Clear(MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
        "noatime" => Set(MountFlags::NOATIME),
        "atime" => Clear(MountFlags::NOATIME),
        "nodiratime" => Set(MountFlags::NODIRATIME),
        "diratime" => Clear(MountFlags::NODIRATIME),
        "relatime" => Set(MountFlags::RELATIME),
        "norelatime" => Clear(MountFlags::RELATIME),
        "strictatime" => Set(MountFlags::STRICTATIME),
        "nostrictatime" => Clear(MountFlags::STRICTATIME),
        "bind" => Set(MountFlags::BIND),
        "rbind" => Set(MountFlags::BIND.union(MountFlags::REC)),
        "private" => Propagation(MountPropagationFlags::PRIVATE),
        "rprivate" => Propagation(MountPropagationFlags::PRIVATE.union(recursive)),
        "shared" => Propagation(MountPropagationFlags::SHARED),
        "rshared" => Propagation(MountPropagationFlags::SHARED.union(recursive)),
        "slave" => Propagation(MountPropagationFlags::DOWNSTREAM),
        "rslave" => Propagation(MountPropagationFlags::DOWNSTREAM.union(recursive)),
        "unbindable" => Propagation(MountPropagationFlags::UNBINDABLE),
        "runbindable" => Propagation(MountPropagationFlags::UNBINDABLE.union(recursive)),
        _ => return None,
    })
}

/// A mount as mount(2) takes it.
#[derive(Debug)]
struct Call {
    flags: MountFlags,
    propagation: Option<MountPropagationFlags>,
    data: Vec<String>,
    maps: Maps,
    source: Source,
}

/// What the source of a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// What the file system takes.
    Named,
    /// A file that becomes a block device.
    Image,
}

impl Call {
    fn new(options: &[String]) -> Result<Self> {
        let mut call = Self {
            flags: MountFlags::empty(),
            propagation: None,
            data: Vec::new(),
            maps: Maps::default(),
            source: Source::Named,
        };
        for option in options {
            match meaning(option) {
                Some(Meaning::Set(flags)) => call.flags |= flags,
                Some(Meaning::Clear(flags)) => call.flags -= flags,
                Some(Meaning::Propagation(flags)) => call.propagation = Some(flags),
                Some(Meaning::Nothing) => {}
                None if option == "loop" => call.source = Source::Image,
                None if option.starts_with("X-containerd.") || option.starts_with("x-") => {}
                None => match call.maps.read(option) {
                    Some(read) => read?,
                    None => call.data.push(option.clone()),
                },
            }
        }
        Ok(call)
    }
}

/// Mounts `mounts` onto `rootfs`, one upon the other. What was mounted is unmounted where one fails.
///
/// # Errors
/// `Kernel`, `Unsupported`.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    make_directory(rootfs, 0o711)?;
    let mounted = mounts.iter().try_for_each(|mount| mount_one(mount, rootfs));
    mounted.map_err(|error| match unmount_all(rootfs) {
        Ok(()) => error,
        Err(other) => error.and_also(other),
    })
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let what = || format!("make {}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).context("mkdir", what)
}

fn mount_one(asked: &Mount, rootfs: &Path) -> Result<()> {
    let target = target(rootfs, &asked.target)?;
    make_asked_directories(asked)?;
    if fuse::program(&asked.kind).is_some() {
        return fuse::mount(&asked.kind, &asked.source, &target, &asked.options);
    }
    let mut call = Call::new(&asked.options)?;
    let namespace = call.maps.namespace()?;
    // It lives until the overlay is mounted.
    let lower = match &namespace {
        Some(namespace) if asked.kind == "overlay" => Some(Lower::map(&mut call.data, rootfs, namespace)?),
        _ => None,
    };
    let device = match call.source {
        Source::Named => None,
        Source::Image if call.flags.contains(MountFlags::RDONLY) => {
            Some(loop_device::attach(&asked.source, Access::Read)?)
        }
        Source::Image => Some(loop_device::attach(&asked.source, Access::Write)?),
    };
    let source = device.as_ref().map_or(Path::new(&asked.source), |device| &device.path);
    attach(asked, source, &target, call)?;
    match &namespace {
        Some(namespace) if lower.is_none() => idmapped::map(&target, namespace),
        _ => Ok(()),
    }
}

fn attach(asked: &Mount, source: &Path, target: &Path, call: Call) -> Result<()> {
    let what = || format!("mount {} {} at {}", asked.kind, asked.source, target.display());
    let flags = call.flags;
    let lengthy = call.data.iter().map(|option| option.len() + 1).sum::<usize>() > LONGEST;
    let (directory, data) = if lengthy { shorten(call.data) } else { (None, call.data) };
    let data = CString::new(data.join(",")).unwrap_or_default();
    if let Some(directory) = directory {
        chdir(&directory)?;
    }
    // A bind takes its other flags only when it is remounted.
    let first =
        if flags.contains(MountFlags::BIND) { flags & (MountFlags::BIND | MountFlags::REC) } else { flags };
    mount(source, target, kernel_type(asked), first, data.as_c_str()).context("mount", what)?;
    let later = flags - (MountFlags::BIND | MountFlags::REC);
    if flags.contains(MountFlags::BIND) && !later.is_empty() {
        mount_remount(target, MountFlags::BIND | later, c"").context("mount", what)?;
    }
    if let Some(propagation) = call.propagation {
        mount_change(target, propagation).context("mount", what)?;
    }
    chdir(Path::new("/"))
}

fn kernel_type(asked: &Mount) -> &str {
    if matches!(asked.kind.as_str(), "bind" | "rbind") { "none" } else { &asked.kind }
}

/// The helper that works here is a process of its own, so its working directory is nobody else's.
#[expect(clippy::disallowed_methods, reason = "it is a forked helper, not the library's caller")]
fn chdir(directory: &Path) -> Result<()> {
    rustix::process::chdir(directory).context("chdir", || format!("enter {}", directory.display()))
}

/// A place inside the root file system that a later mount asks for.
fn target(rootfs: &Path, inside: &str) -> Result<PathBuf> {
    let inside = Path::new(inside);
    let harmless = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::RootDir);
    if !inside.components().all(harmless) {
        return Err(Error::new(Kind::InvalidConfig, format!("rootfs mount target {}", inside.display())));
    }
    let inside = inside.strip_prefix("/").unwrap_or(inside);
    Ok(if inside.as_os_str().is_empty() { rootfs.to_owned() } else { rootfs.join(inside) })
}

/// `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]`: directories that must exist first. One that exists stays as it is.
fn make_asked_directories(asked: &Mount) -> Result<()> {
    for option in &asked.options {
        let Some(value) = option.strip_prefix("X-containerd.mkdir.path=") else { continue };
        let mut parts = value.split(':');
        let path = Path::new(parts.next().unwrap_or_default());
        let mode = parts.next().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0o700);
        let owner: Vec<u32> = parts.filter_map(|id| id.parse().ok()).collect();
        if path.is_dir() {
            continue;
        }
        make_directory(path, mode)?;
        // The umask of whoever started containerd is not asked.
        chmod(path, Mode::from_raw_mode(mode)).context("chmod", || path.display().to_string())?;
        if let [uid, gid] = owner.as_slice() {
            let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            chown(path, Some(uid), Some(gid)).context("chown", || path.display().to_string())?;
        }
    }
    Ok(())
}

/// Makes the layers of an overlay relative to the directory that all of them share.
fn shorten(data: Vec<String>) -> (Option<PathBuf>, Vec<String>) {
    let layers = data.iter().find_map(|option| option.strip_prefix("lowerdir=")).unwrap_or_default();
    let layers: Vec<PathBuf> = layers.split(':').map(PathBuf::from).collect();
    let Some(parent) = common_parent(&layers) else { return (None, data) };
    let relative = |layer: &PathBuf| layer.strip_prefix(&parent).unwrap_or(layer).display().to_string();
    let short = format!("lowerdir={}", layers.iter().map(relative).collect::<Vec<_>>().join(":"));
    let replace = |option: String| if option.starts_with("lowerdir=") { short.clone() } else { option };
    (Some(parent.clone()), data.into_iter().map(replace).collect())
}

fn common_parent(layers: &[PathBuf]) -> Option<PathBuf> {
    let (first, rest) = layers.split_first()?;
    let shared =
        first.ancestors().skip(1).find(|parent| rest.iter().all(|layer| layer.starts_with(parent)))?;
    shared.is_absolute().then(|| shared.to_owned())
}

/// Unmounts everything at `rootfs`. What stays busy is detached, so that nothing of it is in the way of the bundle's removal.
///
/// # Errors
/// `Kernel`.
pub(crate) fn unmount_all(rootfs: &Path) -> Result<()> {
    idmapped::remove_leftovers(rootfs);
    let mut tries = 0;
    loop {
        let flags = if tries < TRIES {
            UnmountFlags::NOFOLLOW
        } else {
            UnmountFlags::NOFOLLOW | UnmountFlags::DETACH
        };
        match unmount(rootfs, flags) {
            Ok(()) => {}
            // No mount, or nothing at all.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if tries < TRIES => {
                // Mounts beneath it, which the container left, never go by themselves.
                tries = if has_mounts_beneath(rootfs) { TRIES } else { tries + 1 };
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(errno) => {
                return Err(Error::kernel(format!("unmount {}", rootfs.display()), "umount2", errno));
            }
        }
    }
}

fn has_mounts_beneath(rootfs: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let beneath = |line: &str| {
        line.split(' ')
            .nth(4)
            .is_some_and(|point| Path::new(point) != rootfs && Path::new(point).starts_with(rootfs))
    };
    table.lines().any(beneath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn options_become_flags_and_data() {
        let call =
            Call::new(&strings(&["rbind", "ro", "rw", "nosuid", "rprivate", "index=off", "x-a"])).unwrap();
        assert_eq!(call.flags, MountFlags::BIND | MountFlags::REC | MountFlags::NOSUID);
        assert_eq!(call.propagation, Some(MountPropagationFlags::PRIVATE | MountPropagationFlags::REC));
        assert_eq!(call.data, ["index=off"]);
        assert_eq!(Call::new(&strings(&["loop"])).unwrap().source, Source::Image);
        assert_eq!(Call::new(&strings(&["uidmap=0:1"])).unwrap_err().kind(), Kind::InvalidConfig);
    }

    #[test]
    fn long_overlays_become_relative() {
        let data = strings(&["workdir=/s/9/work", "lowerdir=/s/1/fs:/s/2/fs"]);
        let (parent, data) = shorten(data);
        assert_eq!(parent, Some(PathBuf::from("/s")));
        assert_eq!(data, ["workdir=/s/9/work", "lowerdir=1/fs:2/fs"]);
        assert_eq!(common_parent(&[PathBuf::from("a"), PathBuf::from("b")]), None);
    }

    #[test]
    fn a_target_stays_inside() {
        assert_eq!(target(Path::new("/r"), "").unwrap(), Path::new("/r"));
        assert_eq!(target(Path::new("/r"), "/a/b").unwrap(), Path::new("/r/a/b"));
        assert!(target(Path::new("/r"), "../x").is_err());
    }
}
