//! The systemd driver against a real systemd, the user's instance of a machine of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cgroups::{Driver, Layout, Prepared, Record, Request, Resources};
use rustix::process::Pid;

use crate::Case;
use crate::fixture::{request, soon};
use crate::limits::{every_limit, parse, throttles, weight_files, weights};

pub(crate) const CASES: &[Case] = &[
    ("a_scope_is_started_limited_and_removed", a_scope_is_started_limited_and_removed),
    ("devices_survive_reloads", devices_survive_reloads),
    ("a_failed_unit_does_not_take_the_name", a_failed_unit_does_not_take_the_name),
    ("a_taken_name_is_refused", a_taken_name_is_refused),
    ("every_limit_reaches_the_scope", every_limit_reaches_the_scope),
    ("a_weight_outlives_a_reload", a_weight_outlives_a_reload),
    ("an_update_reaches_systemd", an_update_reaches_systemd),
    ("annotations_become_unit_properties", annotations_become_unit_properties),
    ("a_busy_systemd_ends_in_an_error", a_busy_systemd_ends_in_an_error),
];

/// There is nothing to test without systemd.
fn is_there() -> bool {
    let there = Path::new("/run/user/systemd/private").exists();
    if !there {
        println!("skipped: no systemd could be started");
    }
    there
}

fn scope<'a>(path: &'a str, resources: &'a Resources) -> Request<'a> {
    Request { driver: Driver::Systemd, rootless: true, ..request(path, resources) }
}

/// A child that waits for its standard input to be closed, and then runs `script`.
fn waiting(script: &str) -> (Child, Pid) {
    let child = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    (child, pid)
}

/// A started scope with a process in it.
fn start(request: &Request<'_>, script: &str) -> (Prepared, Record, Child) {
    let layout = Layout::detect().unwrap();
    let record = cgroups::plan(request, &layout).unwrap();
    let prepared = cgroups::prepare(request, &layout).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(prepared.record(), record);
    assert!(prepared.unified_group().is_none() && prepared.tasks().is_empty());
    let (mut child, pid) = waiting(script);
    if let Err(error) = prepared.adopt(pid) {
        child.kill().unwrap();
        panic!("adopt: {error}");
    }
    drop(child.stdin.take());
    (prepared, record, child)
}

fn end(record: &Record, mut child: Child) {
    let cgroup = record.open().unwrap();
    cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
    cgroup.remove(soon()).unwrap();
    assert!(!Path::new(&record.container_paths()[0].1).exists());
}

fn show(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl").args(["--user", "show", unit, "-P", property]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn a_scope_is_started_limited_and_removed() {
    if !is_there() {
        return;
    }
    let resources = parse(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#);
    let (_prepared, record, child) = start(&scope("it-a-b.slice:it:c1", &resources), "exec sleep 100");
    let path = record.container_paths().remove(0).1;
    assert!(path.ends_with("/it.slice/it-a.slice/it-a-b.slice/it-c1.scope"), "{path}");
    assert_eq!(
        std::fs::read_to_string(format!("{path}/cgroup.procs")).unwrap().trim(),
        child.id().to_string()
    );
    for (property, value) in [("ActiveState", "active"), ("Delegate", "yes"), ("Slice", "it-a-b.slice")] {
        assert_eq!(show("it-c1.scope", property), value, "{property}");
    }
    let cgroup = record.open().unwrap();
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    end(&record, child);
    assert_eq!(show("it-c1.scope", "LoadState"), "not-found");
}

fn can_read(record: &Record, device: &str) -> bool {
    let script = format!("read go; exec head -c 0 {device} 2>/dev/null");
    let mut child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let procs = format!("{}/cgroup.procs", record.container_paths()[0].1);
    std::fs::write(procs, child.id().to_string()).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap().success()
}

fn devices_survive_reloads() {
    if !is_there() {
        return;
    }
    let rules = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    let (_prepared, record, child) = start(&scope(":it:devices", &parse(rules)), "exec sleep 100");
    for round in 0..20 {
        assert!(can_read(&record, "/dev/kmsg") && can_read(&record, "/dev/null"), "round {round}");
        assert!(!can_read(&record, "/dev/mem"), "round {round}");
        assert!(Command::new("systemctl").args(["--user", "daemon-reload"]).status().unwrap().success());
    }
    assert!(can_read(&record, "/dev/kmsg") && !can_read(&record, "/dev/mem"));
    end(&record, child);
}

fn a_failed_unit_does_not_take_the_name() {
    if !is_there() {
        return;
    }
    let resources = Resources::default();
    let request = scope(":it:again", &resources);
    for _ in 0..3 {
        let (_prepared, record, child) = start(&request, "exec sleep 100");
        end(&record, child);
    }
}

fn a_taken_name_is_refused() {
    if !is_there() {
        return;
    }
    let resources = Resources::default();
    let request = scope(":it:taken", &resources);
    let (_prepared, record, child) = start(&request, "exec sleep 100");
    let second = cgroups::prepare(&request, &Layout::detect().unwrap());
    let error = second.and_then(|second| {
        let (mut other, pid) = waiting("exit 0");
        let adopted = second.adopt(pid);
        other.kill().unwrap();
        other.wait().unwrap();
        adopted
    });
    assert_eq!(error.unwrap_err().kind(), sys::Kind::AlreadyExists);
    assert_eq!(record.open().unwrap().pids().unwrap().len(), 1, "the first container is untouched");
    end(&record, child);
}

fn an_update_reaches_systemd() {
    if !is_there() {
        return;
    }
    let resources = parse(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#);
    let (_prepared, record, child) = start(&scope(":it:update", &resources), "exec sleep 100");
    let cgroup = record.open().unwrap();
    cgroup.update(&parse(r#"{"unified":{"hugetlb.2MB.max":"2097152"}}"#)).unwrap();
    let path = record.container_paths().remove(0).1;
    let limit = || std::fs::read_to_string(format!("{path}/hugetlb.2MB.max")).unwrap();
    assert_eq!(limit().trim(), "2097152");
    assert!(Command::new("systemctl").args(["--user", "daemon-reload"]).status().unwrap().success());
    assert_eq!(limit().trim(), "2097152");
    end(&record, child);
}

/// The directory of a scope.
fn group(record: &Record) -> PathBuf {
    PathBuf::from(record.container_paths().remove(0).1)
}

fn every_limit_reaches_the_scope() {
    if !is_there() {
        return;
    }
    let layout = Layout::detect().unwrap();
    let read = |asked: &Resources, file: &str| {
        let (_prepared, record, child) = start(&scope(":it:limit", asked), "exec sleep 100");
        let text = std::fs::read_to_string(group(&record).join(file));
        end(&record, child);
        text.unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
    };
    every_limit(
        |asked| cgroups::validate(&scope(":it:limit", asked), &layout),
        |asked, _, file| read(asked, file),
    );
    throttles(read);
}

/// systemd keeps a weight of its own, from which it writes both files again.
fn a_weight_outlives_a_reload() {
    if !is_there() {
        return;
    }
    weights(|asked| {
        let request = scope(":it:weight", asked);
        let prepared = cgroups::prepare(&request, &Layout::detect().unwrap())?;
        let (mut child, pid) = waiting("exec sleep 100");
        if let Err(error) = prepared.adopt(pid) {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(error);
        }
        drop(child.stdin.take());
        let record = prepared.record();
        let before = weight_files(&group(&record));
        assert!(Command::new("systemctl").args(["--user", "daemon-reload"]).status().unwrap().success());
        assert_eq!(weight_files(&group(&record)).first(), before.first());
        let other = parse(r#"{"blockIO":{"weight":700}}"#);
        record.open().unwrap().update(&other).unwrap();
        let changed = weight_files(&group(&record));
        assert!(Command::new("systemctl").args(["--user", "daemon-reload"]).status().unwrap().success());
        assert_eq!(weight_files(&group(&record)).first(), changed.first());
        assert_ne!(changed.first(), before.first());
        end(&record, child);
        Ok(before)
    });
}

fn annotations_become_unit_properties() {
    if !is_there() {
        return;
    }
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties =
        [pair("TimeoutStopSec", "uint64 7"), pair("TasksMax", "uint64 9"), pair("Description", "'it'")];
    let resources = Resources::default();
    let request = Request { properties: &properties, ..scope(":it:annotated", &resources) };
    let (_prepared, record, child) = start(&request, "exec sleep 100");
    for (property, value) in [("TimeoutStopUSec", "7s"), ("TasksMax", "9"), ("Description", "it")] {
        assert_eq!(show("it-annotated.scope", property), value, "{property}");
    }
    end(&record, child);
    let wrong = [pair("NoSuchProperty", "true")];
    let request = Request { properties: &wrong, ..request };
    let prepared = cgroups::prepare(&request, &Layout::detect().unwrap()).unwrap();
    let (mut child, pid) = waiting("exit 0");
    let error = prepared.adopt(pid).unwrap_err().to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(error.contains("NoSuchProperty"), "{error}");
}

/// A stopped systemd accepts connections and never answers.
fn a_busy_systemd_ends_in_an_error() {
    if !is_there() {
        return;
    }
    let resources = Resources::default();
    let (_prepared, record, child) = start(&scope(":it:busy", &resources), "exec sleep 100");
    let output = Command::new("pgrep").args(["-x", "systemd"]).output().unwrap();
    let manager = Pid::from_raw(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(manager, rustix::process::Signal::STOP).unwrap();
    let start = std::time::Instant::now();
    let cgroup = record.open().unwrap();
    cgroup.kill(soon()).unwrap();
    let error = cgroup.remove(std::time::Instant::now() + std::time::Duration::from_secs(1)).unwrap_err();
    assert!(start.elapsed() < std::time::Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(error.kind(), sys::Kind::Timeout, "{error}");
    rustix::process::kill_process(manager, rustix::process::Signal::CONT).unwrap();
    end(&record, child);
}
