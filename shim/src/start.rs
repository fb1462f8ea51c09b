//! `start`: the process that serves a container, or a whole pod.
//!
//! The program forks, the child is the shim, and the parent prints its address: nothing is executed a second time. The
//! socket listens before the fork, so whoever reads the address can connect.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use orlop::{Error, Kind, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;
use sys::daemon::{Fork, fork, sched_core_create};
use sys::error::Context;

use crate::address::{self, Found};
use crate::args::Args;
use crate::bootstrap::{Caller, LONGEST, Version};
use crate::log::Log;
use crate::options::Options;
use crate::shim::{Place, Shim};

/// The annotations that name the group of a container: all of a group share a shim.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What config.json says of the group.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotated {
    annotations: BTreeMap<String, String>,
}

/// The group of the container whose bundle is `bundle`.
pub(crate) fn group(bundle: &Path, id: &str) -> String {
    let text = std::fs::read(bundle.join("config.json")).unwrap_or_default();
    let annotated: Annotated = serde_json::from_slice(&text).unwrap_or_default();
    let named = GROUPS.iter().find_map(|name| annotated.annotations.get(*name));
    named.map_or(id, String::as_str).to_owned()
}

/// Makes the shim and prints its address.
///
/// # Errors
/// What kept it from listening.
pub(crate) fn start(args: &Args) -> Result<()> {
    if args.id.is_empty() || args.namespace.is_empty() {
        return Err(Error::new(Kind::InvalidConfig, "start needs -namespace and -id"));
    }
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_end(&mut input)
        .context("read", || "standard input".to_owned())?;
    let caller = Caller::read(&input, args);
    let bundle = bundle(args)?;
    let directory = PathBuf::from(caller.socket_dir().unwrap_or(address::DIRECTORY));
    let socket = address::path(&directory, &args.address, &args.namespace, &group(&bundle, &args.id));
    if let Found::Free(listener) = address::claim(&socket)? {
        let environment = std::env::var("TTRPC_ADDRESS").ok();
        let place = Place {
            namespace: args.namespace.clone(),
            socket: socket.clone(),
            ttrpc_address: caller.ttrpc_address().map(str::to_owned).or(environment),
        };
        match fork().context("fork", || "make the shim".to_owned())? {
            Fork::Child => serve(place, listener, &bundle, &args.id),
            Fork::Parent(pid) => settle(pid, &caller)?,
        }
    }
    let url = address::url(&socket);
    if caller.socket_dir().is_some() {
        let link = bundle.join("s");
        let _ = std::fs::remove_file(&link);
        let _ = std::os::unix::fs::symlink(&directory, link);
    }
    if matches!(caller, Caller::Plain(_)) {
        write_address(&bundle, &url)?;
    }
    let mut output = std::io::stdout();
    let printed = output.write_all(&caller.answer(&url, Version::asked())).and_then(|()| output.flush());
    printed.context("write", || "print the address".to_owned())
}

/// The bundle: the working directory, unless it is named.
pub(crate) fn bundle(args: &Args) -> Result<PathBuf> {
    match &args.bundle {
        Some(bundle) => Ok(bundle.clone()),
        None => std::env::current_dir().context("getcwd", || "the bundle".to_owned()),
    }
}

/// containerd up to 1.7 finds the shim again by this file after a restart.
fn write_address(bundle: &Path, url: &str) -> Result<()> {
    let (file, new) = (bundle.join("address"), bundle.join(".address"));
    let written = std::fs::write(&new, url).and_then(|()| std::fs::rename(&new, &file));
    written.context("write", || format!("write {}", file.display()))
}

/// The parent's side: the shim's cgroup.
fn settle(pid: i32, caller: &Caller) -> Result<()> {
    let options = Options::read(caller.options()).unwrap_or_default();
    if options.shim_cgroup.is_empty() {
        return Ok(());
    }
    let group = options.shim_cgroup.trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies: Vec<PathBuf> = if root.join("cgroup.controllers").exists() {
        vec![root.to_owned()]
    } else {
        let entries = std::fs::read_dir(root).context("opendir", || root.display().to_string())?;
        entries
            .filter_map(std::result::Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    for hierarchy in hierarchies {
        let group = hierarchy.join(group);
        let what = || format!("join {}", group.display());
        std::fs::create_dir_all(&group).context("mkdir", what)?;
        std::fs::write(group.join("cgroup.procs"), pid.to_string()).context("write", what)?;
    }
    Ok(())
}

/// The child's side: the shim, until it is not needed any more.
fn serve(place: Place, listener: OwnedFd, bundle: &Path, id: &str) -> ! {
    let _ = rustix::process::setsid();
    let parent_score = oom_score();
    sys::daemon::ignore_sigpipe();
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    if std::env::var_os("SCHED_CORE").is_some_and(|value| value == "1") {
        let _ = sched_core_create();
    }
    if let Some(score) = parent_score {
        let _ = std::fs::write("/proc/self/oom_score_adj", (score + 1).min(1000).to_string());
    }
    let log = Log::new(bundle, id);
    // containerd waits until nobody holds its pipe any more.
    if detach(&log).is_err() {
        sys::clone::exit(1);
    }
    let socket = place.socket.clone();
    match Shim::new(place, listener, log) {
        Ok(mut shim) => shim.run(),
        Err(_) => drop(std::fs::remove_file(socket)),
    }
    sys::clone::exit(0)
}

/// The score of whoever started this program, which the shim has inherited.
fn oom_score() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// Standard streams that are nobody's, and a working directory that is in nobody's way.
#[expect(clippy::disallowed_methods, reason = "this process is the shim; it has no caller")]
fn detach(log: &Log) -> std::result::Result<(), rustix::io::Errno> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::fd::dup_to(&null, 0)?;
    sys::fd::dup_to(&null, 1)?;
    sys::fd::dup_to(log.fifo().unwrap_or(&null), 2)?;
    rustix::process::chdir("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_in_the_annotations() {
        let directory = std::env::temp_dir().join(format!("it-shim-group-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(group(&directory, "c1"), "c1");
        let config = directory.join("config.json");
        std::fs::write(&config, r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}"#).unwrap();
        assert_eq!(group(&directory, "c1"), "pod");
        std::fs::write(
            &config,
            r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "g"}}"#,
        )
        .unwrap();
        assert_eq!(group(&directory, "c1"), "g");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
