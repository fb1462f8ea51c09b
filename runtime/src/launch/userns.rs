//! User namespaces from the parent's side: writing id maps, and making a namespace that only carries maps.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use rustix::io::{Errno, write};
use sys::error::Context;

use super::process::run_helper;
use super::spawned::reap;
use crate::config::idmappings::IdMappings;
use crate::{Error, Kind, Result, procfs};

/// How long newuidmap and newgidmap may take.
const HELPER_PATIENCE: Duration = Duration::from_secs(10);

/// Who writes the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The runtime, which has CAP_SETUID and CAP_SETGID over the parent namespace.
    Privileged,
    /// An ordinary user: its own id alone, or newuidmap(1) and newgidmap(1).
    Ordinary,
}

/// Writes the id maps of the user namespace of process `pid`, before it executes anything or becomes non-dumpable.
///
/// # Errors
/// `Kernel` with the key of the map.
pub fn write_maps(pid: i32, mappings: &IdMappings, writer: Writer) -> Result<()> {
    let proc = procfs::open()?;
    if writer == Writer::Privileged {
        put(&proc, pid, "uid_map", mappings.uid.lines(), "linux.uidMappings")?;
        return put(&proc, pid, "gid_map", mappings.gid.lines(), "linux.gidMappings");
    }
    ordinary(&proc, pid, mappings)
}

/// One line that maps the caller's own id needs no help; setgroups(2) must be given up for it. user_namespaces(7).
fn ordinary(proc: &OwnedFd, pid: i32, mappings: &IdMappings) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    if mappings.uid.is_only(own) {
        put(proc, pid, "uid_map", mappings.uid.lines(), "linux.uidMappings")?;
    } else {
        help("newuidmap", pid, mappings.uid.lines(), "linux.uidMappings")?;
    }
    if mappings.gid.is_only(rustix::process::getegid().as_raw()) {
        put(proc, pid, "setgroups", "deny", "linux.gidMappings")?;
        return put(proc, pid, "gid_map", mappings.gid.lines(), "linux.gidMappings");
    }
    help("newgidmap", pid, mappings.gid.lines(), "linux.gidMappings")
}

fn put(proc: &OwnedFd, pid: i32, file: &str, text: &str, key: &'static str) -> Result<()> {
    let what = || format!("write {:?} to /proc/{pid}/{file}", text.trim_end());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = openat(proc, format!("{pid}/{file}"), flags, Mode::empty()).context("openat", what);
    let fd = opened.map_err(|error| error.with_key(key))?;
    write(&fd, text.as_bytes()).context("write", what).map(drop).map_err(|error| match error.errno() {
        Some(Errno::PERM) => error
            .with_key(key)
            .with_hint("these ids are not the caller's to map; see /etc/subuid and /etc/subgid"),
        _ => error.with_key(key),
    })
}

fn help(program: &'static str, pid: i32, lines: &str, key: &'static str) -> Result<()> {
    let mut args = vec![pid.to_string()];
    args.extend(lines.split_ascii_whitespace().map(str::to_owned));
    run_helper(program, &args, HELPER_PATIENCE).map_err(|error| match error.errno() {
        Some(Errno::NOENT) => error
            .with_key(key)
            .with_hint("install newuidmap and newgidmap (package uidmap), or map only your own id"),
        _ => error.with_key(key).with_hint("the ranges must be granted in /etc/subuid and /etc/subgid"),
    })
}

/// A user namespace with these maps, for id-mapped mounts. A process is made for it and ends at once.
///
/// # Errors
/// `Kernel`.
pub fn with_maps(uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let what = || "make a user namespace for an id-mapped mount".to_owned();
    let holder = sys::clone::idle(sys::clone::CLONE_NEWUSER).context("clone3", what)?;
    let namespace = name(&holder, uid_map, gid_map);
    let _ = rustix::process::pidfd_send_signal(&holder.pidfd, rustix::process::Signal::KILL);
    reap(&holder.pidfd)?;
    namespace
}

/// The maps of the user namespace at `path`, as the caller sees them: of user ids and of group ids, in the form of
/// /proc/PID/uid_map. Only a member shows them, so a process enters the namespace for it and ends at once. `None` where the
/// caller may not enter it or there is none; joining it says why.
pub fn maps_of(path: &Path) -> Option<(String, String)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = openat(CWD, path, flags, Mode::empty()).ok()?;
    let member = sys::clone::idle_in_user_namespace(namespace.as_fd()).ok()?;
    let maps = maps_of_member(&member, &namespace);
    let _ = rustix::process::pidfd_send_signal(&member.pidfd, rustix::process::Signal::KILL);
    reap(&member.pidfd).ok()?;
    maps
}

fn maps_of_member(member: &sys::clone::Process, namespace: &OwnedFd) -> Option<(String, String)> {
    let proc = procfs::open().ok()?;
    let wanted = fstat(namespace).ok()?;
    let is_there = || {
        let found = statat(&proc, format!("{}/ns/user", member.pid), AtFlags::empty());
        found.is_ok_and(|found| (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino))
    };
    while !is_there() {
        if !crate::state::is_alive(&member.pidfd) {
            return None;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    let map = |name: &str| procfs::read_file(&proc, format!("{}/{name}", member.pid)).ok();
    Some((map("uid_map")?, map("gid_map")?))
}

fn name(holder: &sys::clone::Process, uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let proc = procfs::open()?;
    put(&proc, holder.pid, "uid_map", uid_map, "uidMappings")?;
    put(&proc, holder.pid, "gid_map", gid_map, "gidMappings")?;
    user_namespace(holder.pid)
}

/// The user namespace of a process.
///
/// # Errors
/// `Kernel`.
pub fn user_namespace(pid: i32) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(procfs::open()?, format!("{pid}/ns/user"), flags, Mode::empty())
        .context("openat", || format!("open the user namespace of process {pid}"))
}

/// What the errno of a clone with a new user namespace means on hosts that forbid it.
pub fn explain_clone(errno: Errno) -> Error {
    let error = Error::kernel("make the container's first process", "clone3", errno);
    let limit =
        procfs::open().ok().and_then(|proc| procfs::read_file(&proc, "sys/user/max_user_namespaces").ok());
    let restricted = procfs::open()
        .ok()
        .and_then(|proc| procfs::read_file(&proc, "sys/kernel/apparmor_restrict_unprivileged_userns").ok());
    match errno {
        Errno::NOSPC if limit.as_deref().map(str::trim) == Some("0") => {
            error.with_hint("user namespaces are switched off: sysctl user.max_user_namespaces is 0")
        }
        Errno::NOSPC => error.with_hint("a limit of /proc/sys/user or of nesting is reached"),
        Errno::PERM | Errno::ACCESS if restricted.as_deref().map(str::trim) == Some("1") => error
            .with_hint("AppArmor restricts user namespaces of ordinary users: sysctl kernel.apparmor_restrict_unprivileged_userns"),
        Errno::PERM => error.with_hint("ordinary users may not make user namespaces here: sysctl kernel.unprivileged_userns_clone"),
        _ => error,
    }
    .with_key("linux.namespaces")
    .with_kind(Kind::Kernel)
}
