//! Namespaces: new ones, those joined by path, what each must contain, and where the container is in the cgroups.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::layout::{self, Layout};
use integration_tests::{Bundle, Outcome, Report, World, cases, harness, skip};
use serde_json::json;
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        new_namespaces_differ_from_the_hosts,
        absent_namespaces_are_the_callers,
        namespaces_are_joined_by_path,
        a_pid_namespace_is_joined_by_path,
        a_user_namespace_is_joined_by_path,
        a_path_of_the_wrong_type_is_refused,
        a_path_that_is_no_namespace_is_refused,
        a_namespace_given_twice_is_refused,
        an_unknown_namespace_is_refused,
        program_is_pid_1_only_in_a_new_pid_namespace,
        hostname_and_domainname_are_set,
        hostname_without_a_uts_namespace_is_refused,
        loopback_is_up_in_a_new_network_namespace,
        time_offsets_are_in_force,
        time_offsets_without_a_time_namespace_are_refused,
        user_namespace_maps_are_as_configured,
        several_mappings_are_written_in_order,
        user_namespace_without_mappings_is_refused,
        root_of_a_user_namespace_owns_its_other_namespaces,
        own_cgroup_is_the_root_of_a_new_cgroup_namespace,
        absolute_cgroups_path_is_used_in_every_hierarchy,
        relative_cgroups_path_ends_the_containers_path,
        default_cgroup_carries_the_id,
        program_is_in_its_cgroup_before_its_first_instruction,
        cgroups_are_gone_after_delete,
    ])
}

const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_str().unwrap().to_owned()
}

fn has_time_namespaces(world: &World) -> bool {
    world.is_orlop() && fs::metadata("/proc/self/ns/time").is_ok()
}

fn new_namespaces_differ_from_the_hosts(world: &World) -> Outcome {
    let bundle = world.bundle();
    let bundle = if has_time_namespaces(world) { bundle.with_namespace("time", None) } else { bundle };
    let report = world.probe(&bundle);
    for (kind, file) in KINDS.iter().filter(|(kind, _)| *kind != "time" || has_time_namespaces(world)) {
        assert_ne!(report["namespaces"][*file], own(file), "{kind}");
    }
    Ok(())
}

fn absent_namespaces_are_the_callers(world: &World) -> Outcome {
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        let bundle = world.bundle().without_namespace(kind).without_mount("/dev/mqueue").edit(|config| {
            config.as_object_mut().unwrap().remove("hostname");
        });
        assert_eq!(world.probe(&bundle)["namespaces"][file], own(file), "{kind}");
    }
    Ok(())
}

fn namespaces_are_joined_by_path(world: &World) -> Outcome {
    let first = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    let pid = world.pid(&first);
    let mut bundle = world.bundle().edit(|config| drop(config.as_object_mut().unwrap().remove("hostname")));
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        bundle = bundle.with_namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
    }
    let report = world.probe(&bundle);
    for file in ["net", "ipc", "uts"] {
        let target = fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
        assert_eq!(report["namespaces"][file], target.to_str().unwrap(), "{file}");
    }
    assert_eq!(report["hostname"], "it");
    Ok(())
}

fn a_pid_namespace_is_joined_by_path(world: &World) -> Outcome {
    let first = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    let path = format!("/proc/{}/ns/pid", world.pid(&first));
    let report = world.probe(&world.bundle().with_namespace("pid", Some(&path)));
    assert_eq!(report["namespaces"]["pid"], fs::read_link(&path).unwrap().to_str().unwrap());
    assert!(report["pid"].as_i64() > Some(1), "{}", report["pid"]);
    assert_eq!(world.status(&first), "running");
    Ok(())
}

fn a_user_namespace_is_joined_by_path(world: &World) -> Outcome {
    let (path, bundle) = in_a_running_user_namespace(world);
    let report = world.probe(&bundle);
    assert_eq!(report["namespaces"]["user"], fs::read_link(path).unwrap().to_str().unwrap());
    assert_eq!(report.ids("Uid"), [0; 4]);
    Ok(())
}

/// The user namespace of a container that runs, and a bundle that joins it.
fn in_a_running_user_namespace(world: &World) -> (String, Bundle) {
    let bundle = world.bundle().with_user_namespace(100_000, 65536).args(&["/bin/sleep", "1000"]);
    let path = format!("/proc/{}/ns/user", world.pid(&world.started(&bundle)));
    let second = world.bundle().with_user_namespace(100_000, 65536).edit(|config| {
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    let second = second.with_namespace("user", Some(&path));
    (path, second)
}

fn a_path_of_the_wrong_type_is_refused(world: &World) -> Outcome {
    for (kind, _) in KINDS.iter().filter(|(kind, _)| !matches!(*kind, "mount" | "time")) {
        let file = if *kind == "uts" { "ipc" } else { "uts" };
        world.refused(&world.bundle().with_namespace(kind, Some(&format!("/proc/self/ns/{file}"))));
    }
    Ok(())
}

fn a_path_that_is_no_namespace_is_refused(world: &World) -> Outcome {
    let file = world.file("plain", "");
    for path in ["/no/such/namespace", "/dev/null", "/", &file] {
        world.refused(&world.bundle().with_namespace("network", Some(path)));
    }
    world.only_orlop()?;
    world.refused(&world.bundle().with_namespace("network", Some("proc/self/ns/net"))).says("namespaces");
    world.refused(&world.bundle().with_namespace("network", Some(&"/x".repeat(40_000)))).says("namespaces");
    Ok(())
}

fn a_namespace_given_twice_is_refused(world: &World) -> Outcome {
    for (kind, _) in KINDS.iter().filter(|(kind, _)| *kind != "time") {
        let bundle = world.bundle().edit(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": kind}));
        });
        world.refused(&bundle);
    }
    Ok(())
}

fn an_unknown_namespace_is_refused(world: &World) -> Outcome {
    let ran = world.refused(&world.bundle().with_namespace("net", None));
    world.only_orlop()?;
    ran.says("linux.namespaces[6].type").says("network");
    Ok(())
}

fn program_is_pid_1_only_in_a_new_pid_namespace(world: &World) -> Outcome {
    assert_eq!(world.probe(&world.bundle())["pid"], 1);
    let report = world.probe(&world.bundle().without_namespace("pid"));
    assert!(report["pid"].as_i64() > Some(1));
    Ok(())
}

fn hostname_and_domainname_are_set(world: &World) -> Outcome {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let bundle = world.bundle().edit(|config| {
        config["hostname"] = json!("inside.example");
        config["domainname"] = json!("domain.example");
    });
    let report = world.probe(&bundle);
    assert_eq!(report["hostname"], "inside.example");
    if world.is_orlop() {
        assert_eq!(report["domainname"], "domain.example");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
    Ok(())
}

fn hostname_without_a_uts_namespace_is_refused(world: &World) -> Outcome {
    world.refused(&world.bundle().without_namespace("uts"));
    world.only_orlop()?;
    let bundle = world.bundle().without_namespace("uts").edit(|config| {
        config.as_object_mut().unwrap().remove("hostname");
        config["domainname"] = json!("domain.example");
    });
    world.refused(&bundle).says("domainname");
    Ok(())
}

fn loopback_is_up_in_a_new_network_namespace(world: &World) -> Outcome {
    let report = world.probe(&world.bundle().asking(&["read:/sys/class/net/lo/flags"]));
    assert_eq!(report.asked("read:/sys/class/net/lo/flags")["ok"], "0x9\n");
    Ok(())
}

fn time_offsets_are_in_force(world: &World) -> Outcome {
    if !has_time_namespaces(world) {
        return skip("no time namespaces");
    }
    time_offsets_of(world, world.bundle());
    time_offsets_of(world, world.bundle().with_user_namespace(100_000, 65536));
    time_offsets_of(world, in_a_running_user_namespace(world).1);
    // Two processes, and the last one is born with the rest.
    let holder = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    let network = format!("/proc/{}/ns/net", world.pid(&holder));
    let joins = world.bundle().with_user_namespace(100_000, 65536).without_mount("/sys");
    time_offsets_of(world, joins.with_namespace("network", Some(&network)));
    Ok(())
}

fn time_offsets_of(world: &World, bundle: Bundle) {
    let bundle = bundle.with_namespace("time", None).edit(|config| {
        config["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 7_000_000, "nanosecs": 0}});
    });
    let report = world.probe(&bundle.asking(&["read:/proc/uptime"]));
    let offsets = report["timens_offsets"].as_str().unwrap_or_default().to_owned();
    let words: Vec<&str> = offsets.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "1000", "5", "boottime", "7000000", "0"]);
    let uptime = report.asked("read:/proc/uptime")["ok"].as_str().unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    assert!(seconds > 7_000_000.0, "{uptime}");
    assert_eq!(report["namespaces"]["time"], report["namespaces"]["time_for_children"]);
    assert_eq!(report["pid"], 1);
}

fn time_offsets_without_a_time_namespace_are_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle =
        world.bundle().edit(|config| config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}}));
    world.refused(&bundle).says("timeOffsets");
    Ok(())
}

fn user_namespace_maps_are_as_configured(world: &World) -> Outcome {
    let bundle = world.bundle().with_user_namespace(100_000, 65536);
    let report = world.probe(&bundle);
    assert_ne!(report["namespaces"]["user"], own("user"));
    for map in ["uid_map", "gid_map"] {
        let words: Vec<&str> = report[map].as_str().unwrap_or_default().split_whitespace().collect();
        assert_eq!(words, ["0", "100000", "65536"], "{map}");
    }
    assert_eq!(report.ids("Uid"), [0; 4]);
    let id = world.started(&bundle.args(&["/bin/sleep", "1000"]));
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid(&id))).unwrap();
    assert!(status.contains("Uid:\t100000\t100000"), "{status}");
    Ok(())
}

fn several_mappings_are_written_in_order(world: &World) -> Outcome {
    let bundle = world.bundle().with_user_namespace(100_000, 10).edit(|config| {
        let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 10},
            {"containerID": 1000, "hostID": 200_000, "size": 1}, {"containerID": 5000, "hostID": 100_010, "size": 5}]);
        config["linux"]["uidMappings"] = maps.clone();
        config["linux"]["gidMappings"] = maps;
        config["process"]["user"] = json!({"uid": 1000, "gid": 5004});
    });
    // gid=5 of devpts is mapped by the first row.
    let report = world.probe(&bundle);
    let words =
        |key: &str| report[key].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words("uid_map"), "0 100000 10 1000 200000 1 5000 100010 5");
    assert_eq!(report.ids("Uid"), [1000; 4]);
    assert_eq!(report.ids("Gid"), [5004; 4]);
    Ok(())
}

fn user_namespace_without_mappings_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    world.refused(&world.bundle().with_namespace("user", None)).says("Mappings");
    let bundle = world.bundle().with_user_namespace(100_000, 65536).without_namespace("user");
    world.refused(&bundle).says("Mappings");
    Ok(())
}

/// A full set of capabilities in the new user namespace is of use only in namespaces that it owns.
fn root_of_a_user_namespace_owns_its_other_namespaces(world: &World) -> Outcome {
    let bundle =
        world.shell("hostname changed && hostname").with_user_namespace(100_000, 65536).edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
            }
        });
    assert_eq!(world.output_of(&bundle), "changed\n");
    Ok(())
}

fn own_cgroup_is_the_root_of_a_new_cgroup_namespace(world: &World) -> Outcome {
    let report = world.probe(&world.bundle());
    let text = report["cgroup"].as_str().unwrap_or_default();
    for line in text.lines().filter(|line| is_mounted(line)) {
        assert!(line.ends_with(":/"), "{text}");
    }
    Ok(())
}

/// A line of /proc/PID/cgroup whose hierarchy this layout mounts; the others are out of a runtime's reach.
fn is_mounted(line: &str) -> bool {
    let list = line.split(':').nth(1).unwrap_or_default();
    match layout::current() {
        Some(Layout::V2) => list.is_empty(),
        Some(Layout::V1) => !list.is_empty(),
        Some(Layout::Hybrid) => true,
        None => false,
    }
}

/// The cgroup of a process in each hierarchy of this layout.
fn groups_of(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let lines = text.lines().filter(|line| is_mounted(line));
    lines.filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_owned).collect()
}

fn absolute_cgroups_path_is_used_in_every_hierarchy(world: &World) -> Outcome {
    let leaf = format!("it-deep-{}", std::process::id());
    let path = format!("/it-parent-{}/{leaf}", std::process::id());
    let bundle = world.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    let id = world.create(&bundle);
    let groups = groups_of(world.pid(&id));
    assert!(!groups.is_empty());
    // Some runtimes leave the v2 part of a hybrid alone, and on v2 some add a group of their own below.
    let exact =
        groups.iter().filter(|group| **group == path || group.starts_with(&format!("{path}/"))).count();
    world.orlop(&["delete", "--force", &id]).ok();
    let left = layout::groups_named(&leaf);
    for parent in layout::groups_named(path.split('/').nth(1).unwrap()) {
        let _ = fs::remove_dir(parent);
    }
    assert_eq!(exact, groups.len(), "{groups:?}");
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn relative_cgroups_path_ends_the_containers_path(world: &World) -> Outcome {
    let name = format!("it-relative-{}", std::process::id());
    let bundle = world.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(format!("{name}/leaf")));
    let id = world.create(&bundle);
    let groups = groups_of(world.pid(&id));
    world.orlop(&["delete", "--force", &id]).ok();
    for parent in layout::groups_named(&name) {
        let _ = fs::remove_dir(parent);
    }
    assert!(groups.iter().all(|group| group.contains(&format!("{name}/leaf"))), "{groups:?}");
    Ok(())
}

fn default_cgroup_carries_the_id(world: &World) -> Outcome {
    let id = world.create(&world.bundle());
    let groups = groups_of(world.pid(&id));
    assert!(groups.iter().all(|group| group.contains(&id)), "{groups:?}");
    Ok(())
}

/// The probe is the first program; without a cgroup namespace it sees its whole path.
fn program_is_in_its_cgroup_before_its_first_instruction(world: &World) -> Outcome {
    let bundle = world.bundle().without_namespace("cgroup");
    let id = world.id();
    let report = Report(world.orlop(&["run", "--bundle", bundle.path(), &id]).ok().json());
    let text = report["cgroup"].as_str().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| is_mounted(line)).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(&id)), "{text}");
    Ok(())
}

fn cgroups_are_gone_after_delete(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    assert!(!layout::groups_named(&id).is_empty());
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok();
    assert!(layout::groups_named(&id).is_empty());
    Ok(())
}
