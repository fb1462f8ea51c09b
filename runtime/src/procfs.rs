//! The few facts that the parent reads from procfs: its own, opened and verified once a use.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat, readlinkat};
use rustix::io::{Errno, read, retry_on_intr};
use sys::error::Context;

use crate::{Error, Kind, Result};

/// linux/magic.h.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// A file of procfs that is larger than this is not one that orlop reads.
const LONGEST: usize = 1 << 20;

/// /proc of the runtime's own mount namespace, verified to be procfs.
///
/// # Errors
/// `Unsupported` where /proc is something else.
pub fn open() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = openat(CWD, "/proc", flags, Mode::empty()).context("openat", || "open /proc".to_owned())?;
    let magic = fstatfs(&proc).context("fstatfs", || "open /proc".to_owned())?.f_type;
    if magic as u64 != PROC_SUPER_MAGIC {
        return Err(Error::new(Kind::Unsupported, "/proc is not a procfs"));
    }
    Ok(proc)
}

/// Opens again what an O_PATH descriptor names: the very same file, whatever its path leads to by now.
///
/// # Errors
/// Those of openat(2); ENOTSUP without a procfs.
pub fn reopen(fd: &OwnedFd, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    let proc = open().map_err(|error| error.errno().unwrap_or(Errno::NOTSUP))?;
    openat(proc, format!("self/fd/{}", fd.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

/// The path of an open file without links, as the kernel knows it.
///
/// # Errors
/// `Kernel`.
pub fn path_of(fd: &OwnedFd) -> Result<String> {
    let path = format!("self/fd/{}", fd.as_raw_fd());
    let what = || format!("read /proc/{path}");
    let name = readlinkat(open()?, &path, Vec::new()).context("readlinkat", what)?;
    name.into_string().map_err(|_| Error::new(Kind::Unsupported, format!("{}: not UTF-8", what())))
}

/// The content of a small file below an open directory.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read_file(directory: &OwnedFd, path: impl AsRef<Path>) -> std::result::Result<String, Errno> {
    let file = openat(directory, path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; 4096];
    let mut len = 0;
    loop {
        let room = bytes.get_mut(len..).unwrap_or_default();
        let count = retry_on_intr(|| read(&file, &mut *room))?;
        len += count;
        if count == 0 || len > LONGEST {
            bytes.truncate(len);
            return String::from_utf8(bytes).map_err(|_| Errno::ILSEQ);
        }
        if len == bytes.len() {
            bytes.resize(len * 2, 0);
        }
    }
}

/// When a process started, in clock ticks since boot; `None` where there is no such process.
///
/// # Errors
/// `Kernel`.
pub fn start_time(pid: i32) -> Result<Option<u64>> {
    match read_file(&open()?, format!("{pid}/stat")) {
        Ok(stat) => Ok(start_time_of(&stat)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(errno) => Err(Error::kernel(format!("read /proc/{pid}/stat"), "read", errno)),
    }
}

/// Field 22 of proc_pid_stat(5). The second field may hold anything, so fields are counted from its last parenthesis.
fn start_time_of(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// How a process ended that nobody has reaped yet, as wait(2) encodes it; `None` where that cannot be known.
///
/// The kernel prints 0 to those who may not trace the process; whether the caller may shows in its `exe`, which is refused
/// then, and absent for one that has ended.
pub fn zombie_status(pid: i32) -> Option<i32> {
    let proc = open().ok()?;
    let refused = readlinkat(&proc, format!("{pid}/exe"), Vec::new()).err();
    zombie_status_of(&read_file(&proc, format!("{pid}/stat")).ok()?).filter(|_| refused == Some(Errno::NOENT))
}

/// Fields 3 and 52 of proc_pid_stat(5).
fn zombie_status_of(stat: &str) -> Option<i32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    (fields.next()? == "Z").then(|| fields.nth(48)?.parse().ok())?
}

/// The random id of this boot.
///
/// # Errors
/// `Kernel`.
pub fn boot_id() -> Result<String> {
    // It cannot change while this process runs.
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(known.clone());
    }
    let text =
        read_file(&open()?, "sys/kernel/random/boot_id").context("read", || "read the boot id".to_owned())?;
    Ok(BOOT_ID.get_or_init(|| text.trim_end().to_owned()).clone())
}

/// A path as mountinfo has it: blanks, newlines and backslashes are written there as three octal digits.
pub fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        match u8::from_str_radix(digits, 8) {
            Ok(byte) => whole.push(byte),
            Err(_) => whole.extend_from_slice(digits.as_bytes()),
        }
        whole.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&whole).into_owned()
}

/// Where proc and sysfs are mounted in this process's mount namespace, the last mount first: of two at one place, the
/// one that covers the other.
///
/// # Errors
/// `Kernel`.
pub fn kernel_views() -> Result<Vec<CString>> {
    let text = read_file(&open()?, "thread-self/mountinfo")
        .context("read", || "read /proc/thread-self/mountinfo".to_owned())?;
    Ok(kernel_views_in(&text))
}

/// The fifth field of a line of proc_pid_mountinfo(5) is the place, the first one behind the dash the type.
fn kernel_views_in(mountinfo: &str) -> Vec<CString> {
    let place = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        let place = mount.split(' ').nth(4).filter(|_| matches!(kind, "proc" | "sysfs"))?;
        CString::new(unescape(place)).ok()
    };
    mountinfo.lines().rev().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn every_view_of_the_kernel_is_found() {
        let lines = "22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid shared:3 - proc proc rw
24 22 0:22 / /sys rw - sysfs sysfs rw
25 22 0:25 / /srv/a\\040b/proc rw - proc proc rw
26 23 0:26 / /proc rw - proc proc rw
27 24 0:27 / /sys/fs/cgroup rw - tmpfs proc rw";
        assert_eq!(
            kernel_views_in(lines),
            [c"/proc", c"/srv/a b/proc", c"/sys", c"/proc"].map(CStr::to_owned)
        );
    }

    #[test]
    fn the_start_time_is_found_behind_a_hostile_name() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4242 1000 1 18446744073709551615";
        assert_eq!(start_time_of(stat), Some(4242));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test needs a child of its own")]
    fn only_a_zombie_has_ended() {
        let stat = |state: char, last: &str| format!("7 (a) Z) {state}{} {last}", " 0".repeat(48));
        assert_eq!(zombie_status_of(&stat('Z', "1792")), Some(7 << 8));
        assert_eq!(zombie_status_of(&stat('S', "1792")), None);
        let child = std::process::Command::new("/bin/sh").args(["-c", "exit 3"]).spawn().unwrap();
        let pid = child.id().cast_signed();
        while zombie_status(pid).is_none() {}
        assert_eq!(zombie_status(pid), Some(3 << 8));
        child.wait_with_output().unwrap();
        assert_eq!(zombie_status(pid), None);
    }
}
