//! A container's groups for a test, with processes in them, removed at the end whatever happens.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgroups::{Cgroup, Driver, Layout, Prepared, Record, Request, Resources};

use crate::LAYOUT_VARIABLE;

/// The layout that the harness has set up: `host`, `v1` or `v2`.
pub(crate) fn layout_name() -> String {
    std::env::var(LAYOUT_VARIABLE).unwrap_or_default()
}

/// A group of this process's own: parallel cases do not meet.
pub(crate) fn unique(name: &str) -> String {
    format!("/it-cgroups-{}/{name}", std::process::id())
}

/// A deadline that only a hang reaches, however slow the machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Waits for a state that comes by itself.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = soon();
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The container id of this case, which a case that runs as somebody else has too.
pub(crate) fn id() -> String {
    std::env::var(ID_VARIABLE).unwrap_or_else(|_| format!("it-c{}", std::process::id()))
}

/// Carries the id to a process that runs a part of a case.
pub(crate) const ID_VARIABLE: &str = "CGROUPS_TEST_ID";

pub(crate) fn request<'a>(path: &'a str, resources: &'a Resources) -> Request<'a> {
    Request {
        id: Box::leak(id().into_boxed_str()),
        cgroups_path: Some(path),
        resources,
        driver: Driver::Cgroupfs,
        rootless: false,
        owner: None,
        leaf: None,
        properties: &[],
    }
}

/// Prepared groups.
pub(crate) struct Container {
    pub(crate) prepared: Prepared,
    pub(crate) cgroup: Cgroup,
    record: Record,
}

impl Container {
    pub(crate) fn new(name: &str, resources: &Resources) -> Self {
        Self::prepare(&request(&unique(name), resources))
    }

    pub(crate) fn prepare(request: &Request<'_>) -> Self {
        let layout = Layout::detect().unwrap();
        let planned = cgroups::plan(request, &layout).unwrap();
        let prepared = cgroups::prepare(request, &layout).unwrap_or_else(|error| panic!("prepare: {error}"));
        assert_eq!(prepared.record(), planned, "root gets every group that was planned");
        let cgroup = planned.open().unwrap();
        Self::adopted(prepared, cgroup)
    }

    /// Groups that somebody has prepared.
    pub(crate) fn adopted(prepared: Prepared, cgroup: Cgroup) -> Self {
        let record = prepared.record();
        Self { prepared, cgroup, record }
    }

    /// The directory of the group in the hierarchy of `controller`, or the version 2 one for an empty name.
    pub(crate) fn directory(&self, controller: &str) -> PathBuf {
        let paths = self.record.container_paths();
        let found = paths.iter().find(|(names, _)| names.split(',').any(|name| name == controller));
        let unified = paths.iter().find(|(names, _)| names.is_empty());
        PathBuf::from(&found.or(unified).unwrap_or_else(|| panic!("no hierarchy for {controller}")).1)
    }

    /// The trimmed text of a file of the group.
    pub(crate) fn read(&self, controller: &str, file: &str) -> String {
        let path = self.directory(controller).join(file);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    /// A shell that runs `script` once it is in the groups.
    pub(crate) fn run(&self, script: &str) -> Child {
        let child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.enter(child.id());
        let mut child = child;
        drop(child.stdin.take());
        child
    }

    /// Puts `pid` into every group.
    pub(crate) fn enter(&self, pid: u32) {
        for tasks in self.prepared.tasks() {
            rustix::io::write(tasks, pid.to_string().as_bytes()).unwrap();
        }
        if self.prepared.unified_group().is_some() {
            fs::write(self.directory("").join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }

    /// Whether any of the groups is still there.
    pub(crate) fn is_there(&self) -> bool {
        self.record.container_paths().iter().any(|(_, path)| fs::exists(path).unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let ended = self.cgroup.kill(soon()).and_then(|()| self.cgroup.remove(soon()));
        for (_, path) in self.record.container_paths() {
            // The group above stays by design; other containers of the case may still be in it, or it is the root.
            let _ = fs::remove_dir(PathBuf::from(path).parent().unwrap());
        }
        if !std::thread::panicking() {
            ended.unwrap();
            assert!(!self.is_there());
        }
    }
}
