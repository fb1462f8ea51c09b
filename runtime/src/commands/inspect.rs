//! `inspect`: what is in force in a running container, and where that differs from what it was created with.
//!
//! A difference is not yet a fault: a program may drop what it does not need. Nothing is changed. What is in force comes
//! from procfs alone, what was asked for from the state directory; see [`crate::launch::saved`].

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use child::Op;
use child::op::NoNewPrivs;
use rustix::io::Errno;
use serde::Serialize;

use super::{container, print};
use crate::cli::args::{self, Globals, ReportFormat};
use crate::config::capabilities::NAMES;
use crate::config::namespaces::Kind as Namespace;
use crate::config::process::{self, Process};
use crate::config::{Problems, Spec};
use crate::facts::Facts;
use crate::launch::saved::{self, Saved};
use crate::state::{State, Status};
use crate::{Error, Kind, Result, bundle, limits, procfs};

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    id: String,
    status: &'static str,
    pid: i32,
    capabilities: BTreeMap<&'static str, Vec<String>>,
    no_new_privileges: bool,
    seccomp_filters: u32,
    user: BTreeMap<&'static str, String>,
    oom_score_adj: String,
    label: String,
    rlimits: BTreeMap<String, String>,
    namespaces: BTreeMap<&'static str, String>,
    cgroups: Vec<String>,
    mounts: usize,
    /// The limits that `update` changed, as `linux.resources` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<serde_json::Value>,
    /// A sentence each.
    differences: Vec<String>,
}

pub(super) fn inspect(globals: &Globals, options: &args::Inspect) -> Result<u8> {
    let directory = container(globals, &options.id)?;
    let (record, state) = directory.open_record()?;
    let init = state.open_init()?;
    let status = state.status_with(&record.page()?, init.as_ref())?;
    let (Some(_), Some(pid)) = (init, state.init.map(|init| init.pid)) else {
        return Err(Error::new(Kind::WrongState, format!("container {}: container not running", state.id)));
    };
    let seen = Seen::read(pid)?;
    let bytes = saved::read(directory.fd())?;
    let saved = Saved::decode(&bytes)?;
    let mut report = report(&state, status, &seen, differences(&state, &saved, &seen)?);
    report.updated = limits::changed(&directory)?;
    let text = match options.format {
        ReportFormat::Json => serde_json::to_string_pretty(&report),
        ReportFormat::Text => Ok(text(&report)),
    };
    print(&format!("{}\n", text.map_err(|error| Error::new(Kind::Internal, error.to_string()))?))?;
    Ok(0)
}

/// The files of a process that say what is in force.
struct Seen {
    pid: i32,
    proc: OwnedFd,
    status: String,
    mounts: String,
}

/// The sets of /proc/PID/status with the names of the configuration.
const SETS: [(&str, &str); 5] = [
    ("CapBnd", "bounding"),
    ("CapEff", "effective"),
    ("CapPrm", "permitted"),
    ("CapInh", "inheritable"),
    ("CapAmb", "ambient"),
];

impl Seen {
    fn read(pid: i32) -> Result<Self> {
        let proc = procfs::open()?;
        let read = |name: &str| {
            let path = format!("{pid}/{name}");
            let gone = |errno| Error::kernel(format!("read /proc/{path}"), "read", errno);
            procfs::read_file(&proc, &path).map_err(gone)
        };
        let (status, mounts) = (read("status")?, read("mountinfo")?);
        Ok(Self { pid, status, mounts, proc })
    }

    /// The text of another file; empty where this kernel has none or nothing is in it.
    fn file(&self, name: &str) -> String {
        let text = procfs::read_file(&self.proc, format!("{}/{name}", self.pid));
        text.unwrap_or_default().trim_end_matches(['\n', '\0']).to_owned()
    }

    fn value(&self, key: &str) -> &str {
        let line = self.status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    }

    fn set(&self, key: &str) -> u64 {
        u64::from_str_radix(self.value(key), 16).unwrap_or_default()
    }

    /// The effective one of the four ids.
    fn id(&self, key: &str) -> &str {
        self.value(key).split_whitespace().nth(1).unwrap_or_default()
    }

    fn namespace(&self, kind: Namespace) -> String {
        let path = format!("{}/ns/{}", self.pid, kind.file());
        let link = rustix::fs::readlinkat(&self.proc, path, Vec::new());
        link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The options of the topmost mount at a path.
    fn mount_at(&self, path: &str) -> Option<&str> {
        let lines = self.mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.filter(|fields| fields.get(4) == Some(&path)).find_map(|fields| fields.get(5).copied())
    }

    /// Whether a path exists in the container, without following what it may link to.
    fn exists(&self, path: &str) -> bool {
        let inside = format!("{}/root{path}", self.pid);
        !matches!(
            rustix::fs::statat(&self.proc, inside, rustix::fs::AtFlags::SYMLINK_NOFOLLOW),
            Err(Errno::NOENT | Errno::NOTDIR)
        )
    }
}

fn report(state: &State, status: Status, seen: &Seen, differences: Vec<String>) -> Report {
    Report {
        id: state.id.clone(),
        status: status.name(),
        pid: seen.pid,
        capabilities: SETS.iter().map(|(key, name)| (*name, names(seen.set(key)))).collect(),
        no_new_privileges: seen.value("NoNewPrivs") == "1",
        seccomp_filters: seen.value("Seccomp_filters").parse().unwrap_or_default(),
        user: [("uid", "Uid"), ("gid", "Gid")]
            .map(|(name, key)| (name, seen.id(key).to_owned()))
            .into_iter()
            .chain([("additionalGids", seen.value("Groups").to_owned())])
            .collect(),
        oom_score_adj: seen.file("oom_score_adj"),
        label: seen.file("attr/current"),
        rlimits: rlimits(&seen.file("limits")),
        namespaces: Namespace::all().map(|kind| (kind.name(), seen.namespace(kind))).collect(),
        cgroups: state.cgroup.container_paths().into_iter().map(|(_, path)| path).collect(),
        mounts: seen.mounts.lines().count(),
        updated: None,
        differences,
    }
}

fn names(set: u64) -> Vec<String> {
    let name = |bit: u32| match NAMES.get(bit as usize) {
        Some(name) => (*name).to_owned(),
        None => format!("capability {bit}"),
    };
    (0..u64::BITS).filter(|bit| set & (1 << bit) != 0).map(name).collect()
}

/// Name to `soft hard` of proc_pid_limits(5), whose first column is 26 wide.
fn rlimits(text: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut values = rest.split_whitespace();
        Some((name.trim().to_owned(), format!("{} {}", values.next()?, values.next()?)))
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// Where what is in force is not what was asked for.
fn differences(state: &State, saved: &Saved<'_>, seen: &Seen) -> Result<Vec<String>> {
    let context = process::Context {
        namespaces: &saved.namespaces(),
        id_mappings: &saved.id_mappings()?,
        facts: &Facts::default(),
        groups: saved.groups(),
    };
    let process = process::check(&saved.process()?, &context, &mut Problems::default());
    let mut found = Vec::new();
    capabilities(&process, seen, &mut found);
    if process.capabilities.no_new_privileges() == NoNewPrivs::Set && seen.value("NoNewPrivs") != "1" {
        found.push("process.noNewPrivileges: not set".to_owned());
    }
    if saved.filter().is_some() && matches!(seen.value("Seccomp_filters"), "" | "0") {
        found.push("linux.seccomp: no filter is loaded".to_owned());
    }
    if let Some(score) = process.limits.oom_score_adj() {
        let (asked, is) = (score.value.to_string_lossy(), seen.file("oom_score_adj"));
        if asked != is {
            found.push(format!("process.oomScoreAdj: {asked} was asked for, {is} is in force"));
        }
    }
    hidden_paths(state, seen, &mut found);
    Ok(found)
}

fn capabilities(process: &Process, seen: &Seen, found: &mut Vec<String>) {
    let sets = process.capabilities.sets();
    let bounding = match process.capabilities.bounding_step().op {
        Op::BoundingSet { keep } => keep,
        _ => 0,
    };
    let asked = [bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient];
    for ((key, name), asked) in SETS.iter().zip(asked) {
        let (less, more) = (names(asked & !seen.set(key)), names(seen.set(key) & !asked));
        for (list, what) in
            [(less, "was asked for and is not in force"), (more, "is in force and was not asked for")]
        {
            if !list.is_empty() {
                found.push(format!("process.capabilities.{name}: {} {what}", list.join(", ")));
            }
        }
    }
}

/// Masks and read-only paths of config.json that are not in place now. A bundle that is gone says nothing.
fn hidden_paths(state: &State, seen: &Seen, found: &mut Vec<String>) {
    let Ok(spec) = bundle::Bundle::open(&state.bundle).and_then(|bundle| bundle.config()) else { return };
    let Spec { linux: Some(linux), .. } = spec else { return };
    for path in linux.masked_paths.iter().filter(|path| seen.exists(path)) {
        if seen.mount_at(path).is_none() {
            found.push(format!("linux.maskedPaths: {path} is not masked"));
        }
    }
    for path in linux.readonly_paths.iter().filter(|path| seen.exists(path)) {
        let options = seen.mount_at(path).unwrap_or_default();
        if !options.split(',').any(|option| option == "ro") {
            found.push(format!("linux.readonlyPaths: {path} is not read-only"));
        }
    }
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("container  {} ({}, pid {})", report.id, report.status, report.pid)];
    let user: Vec<String> = report.user.iter().map(|(name, value)| format!("{name} {value}")).collect();
    lines.push(format!("user       {}", user.join(", ")));
    for (name, set) in &report.capabilities {
        lines.push(format!(
            "caps       {name}: {}",
            if set.is_empty() { "none".to_owned() } else { set.join(" ") }
        ));
    }
    let privileges = if report.no_new_privileges { "set" } else { "not set" };
    lines.push(format!("privileges no_new_privs {privileges}, {} filters", report.seccomp_filters));
    lines.push(format!("label      {}", if report.label.is_empty() { "none" } else { &report.label }));
    lines.push(format!("oom        score {}", report.oom_score_adj));
    let namespaces = report.namespaces.values().cloned().collect::<Vec<_>>();
    lines.push(format!("namespaces {}", namespaces.join(" ")));
    lines.extend(report.rlimits.iter().map(|(name, value)| format!("limit      {name}: {value}")));
    lines.extend(report.cgroups.iter().map(|path| format!("cgroup     {path}")));
    lines.push(format!("mounts     {}", report.mounts));
    lines.extend(report.updated.iter().map(|limits| format!("updated    {limits}")));
    match report.differences.is_empty() {
        true => lines.push("as created".to_owned()),
        false => lines.extend(report.differences.iter().map(|text| format!("differs    {text}"))),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_column() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            77                   100                  files     \n";
        let limits = rlimits(text);
        assert_eq!(limits.get("Max open files").map(String::as_str), Some("77 100"));
        assert_eq!(limits.get("Max cpu time").map(String::as_str), Some("unlimited unlimited"));
    }

    #[test]
    fn the_topmost_mount_counts_and_only_the_path_itself() {
        let mounts =
            "1 0 0:1 / / rw - a b c\n2 1 0:2 / /proc/sys rw - a b c\n3 2 0:2 / /proc/sys ro,nosuid - a b c\n";
        let proc = std::fs::File::open("/").unwrap().into();
        let status = "Uid:\t1\t2\t3\t4\nCapBnd:\t0000000000000020\nNoNewPrivs:\t1\n".to_owned();
        let seen = Seen { pid: 1, proc, status, mounts: mounts.to_owned() };
        assert_eq!(seen.mount_at("/proc/sys"), Some("ro,nosuid"));
        assert_eq!(seen.mount_at("/proc"), None);
        assert_eq!((seen.id("Uid"), names(seen.set("CapBnd"))), ("2", vec!["CAP_KILL".to_owned()]));
        assert_eq!(names(1 << 63), ["capability 63"]);
    }
}
