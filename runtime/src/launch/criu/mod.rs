//! checkpoint and restore: a container as files, by CRIU.
//!
//! CRIU does the work as a process of its own; what is here tells it what belongs to the container and what to the host,
//! answers it while it works, and keeps record and cgroups right. Start at [`dump::checkpoint`] and
//! [`restore::restore`]; the conversation is drawn in [`swrk`], and [`external`] says what the images leave to the host.

mod confinement;
pub mod dump;
pub mod external;
pub mod options;
pub mod restore;
pub mod rpc;
pub mod swrk;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use sys::error::Context;

use crate::config::annotations::CRIU_CONFIG;
use crate::config::namespaces::Kind as Namespace;
use crate::{Error, Result, procfs};
use options::{Criu, ManageCgroups};
use rpc::{Message, opts};

/// The directories of a request, open.
#[derive(Debug)]
struct Directories {
    images: OwnedFd,
    work: Option<OwnedFd>,
}

impl Directories {
    /// The same directories as the process `pid` sees them. CRIU mounts in the directory in which it works, and the
    /// kernel refuses that beneath a mount of another namespace.
    fn within(&self, pid: i32) -> Result<Self> {
        let work = self.work.as_ref().map(|work| within(work, pid)).transpose()?;
        Ok(Self { images: within(&self.images, pid)?, work })
    }

    /// Where CRIU writes its log.
    fn log(criu: &Criu, name: &str) -> PathBuf {
        criu.work_path.as_ref().unwrap_or(&criu.image_path).join(name)
    }
}

fn within(directory: &OwnedFd, pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root{}", procfs::path_of(directory)?);
    let what = || format!("open {path}");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat(CWD, &path, flags, Mode::empty()).context("openat", what)?;
    let [seen, expected] = [&found, directory].map(fstat);
    let (seen, expected) = (seen.context("fstat", what)?, expected.context("fstat", what)?);
    if (seen.st_dev, seen.st_ino) == (expected.st_dev, expected.st_ino) {
        return Ok(found);
    }
    Err(Error::kernel(format!("{}: it was replaced", what()), "openat", Errno::STALE))
}

/// The options that both requests have.
fn shared_options(criu: &Criu, directories: &Directories, log: &str) -> Message {
    let mut message = Message::default();
    message.number(opts::IMAGES_DIR_FD, swrk::number(&directories.images));
    if let Some(work) = &directories.work {
        message.number(opts::WORK_DIR_FD, swrk::number(work));
    }
    message.number(opts::LOG_LEVEL, 4);
    message.text(opts::LOG_FILE, log);
    message.flag(opts::NOTIFY_SCRIPTS, true);
    message.flag(opts::ORPHAN_PTS_MASTER, true);
    message.flag(opts::MANAGE_CGROUPS, true);
    message.number(opts::MANAGE_CGROUPS_MODE, cgroup_mode(criu.manage_cgroups));
    // Interfaces, addresses and routes are the business of whoever made the network.
    message.number(opts::EMPTY_NS, Namespace::Network.flag().into());
    message.flag(opts::TCP_ESTABLISHED, criu.tcp_established);
    message.flag(opts::EXT_UNIX_SK, criu.ext_unix_sk);
    message.flag(opts::SHELL_JOB, criu.shell_job);
    message.flag(opts::FILE_LOCKS, criu.file_locks);
    message.flag(opts::LAZY_PAGES, criu.lazy_pages);
    message.flag(opts::AUTO_DEDUP, criu.auto_dedup);
    if let Some(method) = criu.network_lock {
        message.number(opts::NETWORK_LOCK, method as u64);
    }
    message
}

fn cgroup_mode(mode: ManageCgroups) -> u64 {
    match mode {
        ManageCgroups::Ignore => 0,
        ManageCgroups::Soft => 3,
        ManageCgroups::Full => 4,
        ManageCgroups::Strict => 5,
    }
}

/// Where a host's administrator tunes CRIU for all containers: for orlop, or for the runtime that it stands in for.
const CONFIG_FILES: [&str; 2] = ["/etc/criu/orlop.conf", "/etc/criu/runc.conf"];

/// Names CRIU's configuration file, whose settings count more than those of the request.
fn config_file(annotations: &[(String, String)], message: &mut Message) {
    let named = annotations.iter().find(|(key, _)| key == CRIU_CONFIG).map(|(_, value)| value.as_str());
    let default = || CONFIG_FILES.into_iter().find(|path| Path::new(path).exists());
    if let Some(path) = named.or_else(default).filter(|path| !path.is_empty()) {
        message.text(opts::CONFIG_FILE, path);
    }
}

/// Opens the work directory, if one is named.
fn open_work(criu: &Criu) -> Result<Option<OwnedFd>> {
    criu.work_path.as_deref().map(|path| swrk::open_or_make(path, "--work-path")).transpose()
}
