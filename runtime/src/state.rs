//! The state directory: one folder a container, claimed, locked and recorded.
//!
//! ```text
//! ROOT/            0700, owned by the caller
//!   ID/            0700, made by mkdirat as the claim; flock on it is the lock of the container
//!     record       see `record.rs`
//!     start        the socket on which init waits for start
//!     cgroups      names the cgroups, in case the record is damaged
//!     events       see `event_log.rs`
//!     resources    what updates changed; see `limits.rs`
//!     notify/      the notification socket, if there is one; the container sees this directory
//! ```
//!
//! A directory without a record whose lock is free is an abandoned claim: create may take it, delete removes it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use child::page::{Page, Phase};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, openat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use sys::error::Context;

use crate::config::hooks::Hook;
use crate::id::ContainerId;
use crate::{Error, Kind, Result, record};

/// The file that names the container's cgroups.
const CGROUPS: &str = "cgroups";

/// How long a command waits for another one that holds the lock of the same container.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// The directory of a container's notification socket.
const NOTIFY: &str = "notify";

/// How often a directory is emptied: whoever sees a container pause or end notes it there without a lock, and may do so
/// between the last file and the directory itself.
const ATTEMPTS: u32 = 100;

/// The directory of all containers' states.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// The state directory of one container.
#[derive(Debug)]
pub struct Directory {
    parent: OwnedFd,
    fd: OwnedFd,
    path: PathBuf,
    id: ContainerId,
}

/// What the record says about a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The version of the specification in the bundle.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created: RFC 3339, UTC.
    pub created: String,
    /// The uid that created it.
    pub owner: u32,
    /// The annotations of the configuration.
    pub annotations: Vec<(String, String)>,
    /// How far the runtime came.
    pub progress: Progress,
    /// The boot during which it was created.
    pub boot_id: String,
    /// Its first process, once there is one.
    pub init: Option<Init>,
    /// Its cgroups.
    pub cgroup: cgroups::Record,
    /// Whether there is a program to start.
    pub has_process: bool,
    /// The steps that follow start, for errors.
    #[serde(default)]
    pub late: crate::launch::explain::LateSteps,
    /// Who gets the listener of the filter, if it has one.
    #[serde(default)]
    pub agent: Option<crate::launch::listener::Agent>,
    /// The hooks that later commands run.
    pub poststart: Vec<Hook>,
    /// The hooks that follow deletion.
    pub poststop: Vec<Hook>,
    /// What was made for `linux.intelRdt` and goes with the container.
    #[serde(default)]
    pub resctrl: Vec<PathBuf>,
    /// The class of `linux.intelRdt`, its own or another's.
    #[serde(default)]
    pub resctrl_class: Option<PathBuf>,
}

/// How far the runtime came with a container; what the container itself did is in the shared page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Written before the first side effect.
    Creating,
    /// Set-up is done.
    Created,
    /// Being removed; poststop hooks have been run if this is set.
    Deleting,
}

/// A process that cannot be confused with another one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// The inode of its pidfd, which is never used twice in a boot (kernel 6.9).
    pub inode: Option<u64>,
    /// Without such inodes: when it started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: Option<u64>,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// create has not finished.
    Creating,
    /// The program waits for start.
    Created,
    /// The program runs.
    Running,
    /// All processes are frozen.
    Paused,
    /// The program ended.
    Stopped,
}

impl Status {
    /// The word of the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Root {
    /// Opens the directory of states, or makes it with mode 0700.
    ///
    /// # Errors
    /// `Kernel`; `InvalidConfig` where it belongs to somebody else.
    pub fn open_or_create(path: &Path) -> Result<Self> {
        match Self::open(path) {
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            other => return other,
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(path.parent().unwrap_or(path))
            .context("mkdir", || what("make", path))?;
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::kernel(what("make", path), "mkdir", errno)),
        }
        let root = Self::open(path)?;
        fchmod(&root.fd, Mode::RWXU).context("fchmod", || what("protect", path))?;
        Ok(root)
    }

    /// Opens the directory of states.
    ///
    /// # Errors
    /// `Kernel` with ENOENT where there is none yet, `InvalidConfig` where it belongs to somebody else.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).context("openat", || what("open", path))?;
        let seen = fstat(&fd).context("fstat", || what("open", path))?;
        let own = rustix::process::geteuid().as_raw();
        if seen.st_uid != own {
            let text = format!("{} belongs to uid {}, not to {own}", path.display(), seen.st_uid);
            return Err(Error::new(Kind::InvalidConfig, text).with_key("--root"));
        }
        if seen.st_mode & 0o022 != 0 {
            let text =
                format!("{} may be written by others (mode {:04o})", path.display(), seen.st_mode & 0o7777);
            return Err(Error::new(Kind::InvalidConfig, text).with_key("--root").with_hint("chmod 0700 it"));
        }
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Sets the sticky bit, which keeps a session's clean-up from removing the directory (XDG Base Directory
    /// Specification).
    ///
    /// # Errors
    /// `Kernel`.
    pub fn make_sticky(&self) -> Result<()> {
        fchmod(&self.fd, Mode::RWXU | Mode::SVTX).context("fchmod", || what("protect", &self.path))
    }

    /// The names of all state directories, whether readable or not.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let entries = Dir::read_from(&self.fd).context("getdents64", || what("list", &self.path))?;
        let mut ids: Vec<ContainerId> = entries
            .filter_map(std::result::Result::ok)
            .filter(|entry| matches!(entry.file_type(), FileType::Directory | FileType::Unknown))
            .filter_map(|entry| ContainerId::try_from(OsStr::from_bytes(entry.file_name().to_bytes())).ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Makes the directory of a new container and locks it.
    ///
    /// # Errors
    /// `AlreadyExists`; `Kernel`.
    pub fn claim(&self, id: &ContainerId) -> Result<Directory> {
        match mkdirat(&self.fd, id.as_str(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(Error::kernel(what("make", &self.path.join(id.as_str())), "mkdirat", errno));
            }
        }
        let directory = self.container(id)?;
        if flock(&directory.fd, FlockOperation::NonBlockingLockExclusive).is_err()
            || !directory.is_linked()
            || directory.has_record()
        {
            return Err(Error::new(
                Kind::AlreadyExists,
                format!("container {id}: container with given ID already exists"),
            ));
        }
        Ok(directory)
    }

    /// The path of the directory that a container sees for its notification socket.
    pub fn notify(&self, id: &ContainerId) -> PathBuf {
        self.path.join(id.as_str()).join(NOTIFY)
    }

    /// Opens the directory of a container without locking it.
    ///
    /// # Errors
    /// `NotFound`; `Kernel`.
    pub fn container(&self, id: &ContainerId) -> Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(id.as_str());
        let fd = match openat(&self.fd, id.as_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing(id)),
            Err(errno) => return Err(Error::kernel(what("open", &path), "openat", errno)),
        };
        let parent = self.fd.try_clone().context("fcntl(F_DUPFD_CLOEXEC)", || what("open", &path))?;
        Ok(Directory { parent, fd, path, id: id.clone() })
    }
}

/// The error for an id without a container.
pub fn missing(id: &ContainerId) -> Error {
    Error::new(Kind::NotFound, format!("container {id}: container does not exist"))
}

fn what(verb: &str, path: &Path) -> String {
    format!("{verb} state directory {}", path.display())
}

impl Directory {
    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The descriptor of the directory.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the start socket.
    pub fn start_socket(&self) -> PathBuf {
        self.path.join("start")
    }

    /// Takes the lock of the container, which ends with the value. Waits for another command that holds it.
    ///
    /// # Errors
    /// `Timeout`; `NotFound` where the container was deleted meanwhile.
    pub fn lock(&self) -> Result<()> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        while let Err(errno) = flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            if errno != Errno::WOULDBLOCK && errno != Errno::INTR {
                return Err(Error::kernel(what("lock", &self.path), "flock", errno));
            }
            if Instant::now() > deadline {
                let text = format!(
                    "container {}: another command has held its lock for {} s",
                    self.id,
                    LOCK_PATIENCE.as_secs()
                );
                return Err(Error::new(Kind::Timeout, text));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.is_linked() { Ok(()) } else { Err(missing(&self.id)) }
    }

    /// Lets go of the lock before the value is dropped.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn unlock(&self) -> Result<()> {
        flock(&self.fd, FlockOperation::Unlock).context("flock", || what("unlock", &self.path))
    }

    /// Makes the directory of the notification socket. The container's users must be able to search it.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn make_notify(&self) -> Result<()> {
        let doing = || what("make a directory in", &self.path);
        match mkdirat(&self.fd, NOTIFY, Mode::RWXU) {
            // An abandoned claim may have left one.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::kernel(doing(), "mkdirat", errno)),
        }
        fchmod(self.open_notify()?, Mode::from_raw_mode(0o755)).context("fchmod", doing)
    }

    /// Opens the directory of the notification socket.
    ///
    /// # Errors
    /// `Kernel` with ENOENT where the container was made without one.
    pub fn open_notify(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, NOTIFY, flags, Mode::empty())
            .context("openat", || what("open a directory in", &self.path))
    }

    fn is_linked(&self) -> bool {
        let named = statat(&self.parent, self.id.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        let held = fstat(&self.fd);
        matches!((named, held), (Ok(named), Ok(held)) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino))
    }

    fn has_record(&self) -> bool {
        statat(&self.fd, "record", AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Notes the container's cgroups once more, beside the record, for the day when no slot of that can be read.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn note_cgroups(&self, cgroups: &cgroups::Record) -> Result<()> {
        let what = || what("note the cgroups in", &self.path);
        let text = serde_json::to_string(cgroups).unwrap_or_default();
        // An abandoned claim may have left one.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, CGROUPS, flags, Mode::RUSR | Mode::WUSR).context("openat", what)?;
        rustix::io::write(file, text.as_bytes()).context("write", what).map(drop)
    }

    /// The cgroups that [`Directory::note_cgroups`] noted.
    pub fn noted_cgroups(&self) -> Option<cgroups::Record> {
        let text = crate::procfs::read_file(&self.fd, CGROUPS).ok()?;
        serde_json::from_slice(text.as_bytes()).ok()
    }

    /// Reads the record.
    ///
    /// # Errors
    /// `NotFound` for an abandoned claim, `Internal` for a damaged record.
    pub fn open_record(&self) -> Result<(record::File, State)> {
        match record::File::open(&self.fd) {
            Err(error) if error.errno() == Some(Errno::NOENT) => Err(missing(&self.id)),
            other => other,
        }
    }

    /// Removes the directory and what is in it.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn remove(&self) -> Result<()> {
        if let Ok(notify) = self.open_notify() {
            self.empty(&notify)?;
            unlinkat(&self.fd, NOTIFY, AtFlags::REMOVEDIR)
                .context("unlinkat", || what("empty", &self.path))?;
        }
        for _ in 0..ATTEMPTS {
            self.empty(&self.fd)?;
            match unlinkat(&self.parent, self.id.as_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(Error::kernel(what("remove", &self.path), "unlinkat", errno)),
            }
        }
        Err(Error::kernel(what("remove", &self.path), "unlinkat", Errno::NOTEMPTY))
    }
}

impl Directory {
    fn empty(&self, directory: &OwnedFd) -> Result<()> {
        let entries = Dir::read_from(directory).context("getdents64", || what("list", &self.path))?;
        for entry in entries.filter_map(std::result::Result::ok) {
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                // A damaged state may hold a directory where a file belongs.
                match unlinkat(directory, name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => unlinkat(directory, name, AtFlags::REMOVEDIR),
                    Err(Errno::NOENT) => Ok(()),
                    other => other,
                }
                .context("unlinkat", || what("empty", &self.path))?;
            }
        }
        Ok(())
    }
}

impl Init {
    /// Identifies a process by a descriptor of it.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn of(pid: i32, pidfd: &OwnedFd) -> Result<Self> {
        if let Some(inode) = pidfs_inode(pidfd) {
            return Ok(Self { pid, inode: Some(inode), start_time: None });
        }
        Ok(Self { pid, inode: None, start_time: crate::procfs::start_time(pid)? })
    }

    /// A descriptor of the process, unless it is gone or its number belongs to another one by now.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 0) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => {
                return Err(Error::kernel(format!("open process {}", self.pid), "pidfd_open", errno));
            }
        };
        let same = match self.inode {
            Some(inode) => pidfs_inode(&pidfd) == Some(inode),
            None => self.start_time.is_some() && crate::procfs::start_time(self.pid)? == self.start_time,
        };
        Ok(same.then_some(pidfd))
    }
}

/// The inode of a pidfd where it identifies the process: 64 bits that are never used again in a boot.
fn pidfs_inode(pidfd: &OwnedFd) -> Option<u64> {
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    let magic = rustix::fs::fstatfs(pidfd).ok()?.f_type;
    (magic as u64 == PID_FS_MAGIC).then_some(())?;
    Some(fstat(pidfd).ok()?.st_ino)
}

/// Whether the process behind a descriptor has not exited; a zombie has.
pub fn is_alive(pidfd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)) == Ok(0)
}

impl State {
    /// The first process, if it is alive in this boot.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn open_init(&self) -> Result<Option<OwnedFd>> {
        let Some(init) = self.init else { return Ok(None) };
        if !self.is_of_this_boot()? {
            return Ok(None);
        }
        Ok(init.open()?.filter(|init| is_alive(init)))
    }

    /// Whether it was created in this boot: the numbers and groups of another one may belong to anybody now.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot_id == crate::procfs::boot_id()?)
    }

    /// What the container is doing, seen from its first process and the shared page.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn status(&self, page: &Page) -> Result<Status> {
        self.status_with(page, self.open_init()?.as_ref())
    }

    /// The same for a caller that has [`State::open_init`]'s answer.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn status_with(&self, page: &Page, init: Option<&OwnedFd>) -> Result<Status> {
        if init.is_none() {
            let creating = self.progress == Progress::Creating && self.init.is_none();
            return Ok(if creating { Status::Creating } else { Status::Stopped });
        }
        if self.progress == Progress::Creating {
            return Ok(Status::Creating);
        }
        match page.phase() {
            Some(Phase::Started | Phase::Executing) => {}
            _ => return Ok(Status::Created),
        }
        let frozen = self.cgroup.open().and_then(|cgroup| cgroup.is_frozen()).unwrap_or(false);
        Ok(if frozen { Status::Paused } else { Status::Running })
    }
}
