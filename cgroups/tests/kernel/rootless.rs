//! A caller without rights: what was asked fails by its key, everything else is skipped; what was delegated is used.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use cgroups::{Layout, Request, Resources};

use crate::Case;
use crate::fixture::{Container, ID_VARIABLE, id, layout_name, request, soon, unique};
use crate::limits::parse;

pub(crate) const CASES: &[Case] = &[
    ("without_rights_only_demands_fail", without_rights_only_demands_fail),
    ("somebody_elses_group_is_none_of_ours", somebody_elses_group_is_none_of_ours),
    ("a_delegated_group_is_used", a_delegated_group_is_used),
];

/// Cases that run as somebody without rights; no layout starts them on its own.
pub(crate) const INNER: &[Case] =
    &[("inner_without_rights", inner_without_rights), ("inner_delegated", inner_delegated)];

const USER: u32 = 61_999;

/// Runs the inner case `name` as a user without rights, in the group `group` if there is one.
fn as_user(name: &str, group: Option<&str>) {
    let enter = group.map_or(String::new(), |group| format!("echo 0 >{group}/cgroup.procs;"));
    let script =
        format!("{enter} exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$0\" --case {name}");
    let program = std::env::current_exe().unwrap();
    let status =
        Command::new("sh").args(["-c", &script]).arg(program).env(ID_VARIABLE, id()).status().unwrap();
    assert!(status.success(), "{name}");
}

fn rootless<'a>(resources: &'a Resources) -> Request<'a> {
    Request { cgroups_path: None, rootless: true, ..request("", resources) }
}

fn without_rights_only_demands_fail() {
    as_user("inner_without_rights", None);
}

/// Root runs a container of the same id, where the user's would be.
fn somebody_elses_group_is_none_of_ours() {
    let (path, resources) = (format!("/{}", id()), Resources::default());
    let container = Container::prepare(&request(&path, &resources));
    let mut child = container.run("exec sleep 100");
    as_user("inner_without_rights", None);
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}

fn inner_without_rights() {
    let layout = Layout::detect().unwrap();
    for nothing in ["{}", r#"{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":0}}"#] {
        let prepared = cgroups::prepare(&rootless(&parse(nothing)), &layout).unwrap();
        assert!(
            prepared.record().is_empty() && prepared.unified_group().is_none() && prepared.tasks().is_empty()
        );
        let cgroup = prepared.record().open().unwrap();
        assert!(cgroup.pids().unwrap().is_empty() && !cgroup.is_frozen().unwrap());
        cgroup.kill(soon()).unwrap();
        cgroup.remove(soon()).unwrap();
    }
    let (json, key) = match layout_name().as_str() {
        "v2" => (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#, "linux.resources.hugepageLimits[0]"),
        _ => (r#"{"memory":{"limit":4194304}}"#, "linux.resources.memory.limit"),
    };
    let error = cgroups::prepare(&rootless(&parse(json)), &layout).unwrap_err();
    assert_eq!(error.key(), Some(key), "{error}");
    let resources = Resources::default();
    let path = unique("forbidden");
    let explicit = Request { cgroups_path: Some(&path), ..rootless(&resources) };
    assert_eq!(cgroups::prepare(&explicit, &layout).unwrap_err().key(), Some("linux.cgroupsPath"));
}

fn a_delegated_group_is_used() {
    if layout_name() != "v2" {
        println!("skipped: only version 2 delegates");
        return;
    }
    let group = format!("/sys/fs/cgroup{}", unique("user").replace("/user", ""));
    fs::create_dir_all(format!("{group}/session")).unwrap();
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+hugetlb").unwrap();
    for path in ["", "/cgroup.procs", "/cgroup.subtree_control", "/session", "/session/cgroup.procs"] {
        chown(format!("{group}{path}"), Some(USER), Some(USER)).unwrap();
    }
    as_user("inner_delegated", Some(&format!("{group}/session")));
    fs::remove_dir(format!("{group}/session")).unwrap();
    fs::remove_dir(&group).expect("the container left nothing");
}

fn inner_delegated() {
    let layout = Layout::detect().unwrap();
    let asked = parse(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#);
    let prepared = cgroups::prepare(&rootless(&asked), &layout).unwrap();
    let (_, path) = prepared.record().container_paths().remove(0);
    assert!(path.ends_with(&format!("/{}", id())) && !path.contains("session"), "{path}");
    assert_eq!(fs::read_to_string(format!("{path}/hugetlb.2MB.max")).unwrap().trim(), "2097152");
    assert!(prepared.unified_group().is_some());
    prepared.record().open().unwrap().remove(soon()).unwrap();
}
