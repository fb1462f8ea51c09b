//! Device access as a process in the container meets it.

use std::path::Path;
use std::process::Child;

use cgroups::Resources;

use crate::Case;
use crate::fixture::{Container, layout_name, soon};
use crate::limits::{device_of, parse};

pub(crate) const CASES: &[Case] = &[
    ("without_rules_only_default_devices_open", without_rules_only_default_devices_open),
    ("a_rule_gives_what_it_says", a_rule_gives_what_it_says),
    ("everything_is_open_to_the_privileged", everything_is_open_to_the_privileged),
    ("an_update_never_takes_away_what_stays", an_update_never_takes_away_what_stays),
    ("an_update_leaves_one_program", an_update_leaves_one_program),
    ("the_kernel_takes_every_program", the_kernel_takes_every_program),
    ("a_hole_needs_version_2", a_hole_needs_version_2),
];

const DENY_ALL: &str = r#"{"allow":false,"access":"rwm"}"#;

fn rules(rules: &str) -> Resources {
    parse(&format!(r#"{{"devices":[{DENY_ALL}{rules}]}}"#))
}

/// Whether a process in `container` may do `script`.
fn may(container: &Container, script: &str) -> bool {
    container.run(&format!("exec 2>/dev/null; {script}")).wait().unwrap().success()
}

fn can_read(container: &Container, path: &str) -> bool {
    may(container, &format!("head -c 0 {path}"))
}

fn can_write(container: &Container, path: &str) -> bool {
    may(container, &format!(": >>{path}"))
}

fn without_rules_only_default_devices_open() {
    for asked in [Resources::default(), parse(r#"{"devices":[]}"#), rules("")] {
        let container = Container::new("default", &asked);
        for path in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            assert!(can_read(&container, path) && can_write(&container, path), "{path}");
        }
        assert!(can_write(&container, "/dev/ptmx"));
        for path in ["/dev/mem", "/dev/kmsg", "/dev/loop-control", "/dev/vda", "/dev/fuse"] {
            if Path::new(path).exists() {
                assert!(!can_read(&container, path) && !can_write(&container, path), "{path}");
            }
        }
        // mknod of anything is allowed and gives no access.
        let node = format!("/tmp/it-node-{}", std::process::id());
        assert!(may(&container, &format!("mknod {node} c 1 1 && ! head -c 0 {node}")));
        std::fs::remove_file(&node).unwrap();
    }
}

fn a_rule_gives_what_it_says() {
    let (major, minor) = device_of(Path::new("/dev/kmsg"));
    let read = format!(r#",{{"allow":true,"type":"c","major":{major},"minor":{minor},"access":"r"}}"#);
    let container = Container::new("rule", &rules(&read));
    assert!(can_read(&container, "/dev/kmsg"));
    assert!(!can_write(&container, "/dev/kmsg"));
    assert!(!can_read(&container, "/dev/mem"));
}

fn everything_is_open_to_the_privileged() {
    let container = Container::new("privileged", &rules(r#",{"allow":true,"access":"rwm"}"#));
    assert!(can_read(&container, "/dev/kmsg") && can_write(&container, "/dev/kmsg"));
    container.cgroup.update(&rules("")).unwrap();
    assert!(!can_read(&container, "/dev/kmsg"));
    assert!(can_read(&container, "/dev/null"));
    container.cgroup.update(&rules(r#",{"allow":true,"access":"rwm"}"#)).unwrap();
    assert!(can_read(&container, "/dev/kmsg"));
}

fn watch(container: &Container, path: &str) -> Child {
    container.run(&format!("exec perl -e 'while (1) {{ open(F, \"<\", \"{path}\") or exit 7; close F }}'"))
}

fn an_update_never_takes_away_what_stays() {
    let (major, minor) = device_of(Path::new("/dev/kmsg"));
    let kmsg = format!(r#",{{"allow":true,"type":"c","major":{major},"minor":{minor},"access":"rw"}}"#);
    let container = Container::new("smooth", &rules(&kmsg));
    let mut watchers = [watch(&container, "/dev/kmsg"), watch(&container, "/dev/null")];
    for round in 0..200 {
        let other = format!(
            r#"{kmsg},{{"allow":true,"type":"b","major":{},"minor":0,"access":"rw"}}"#,
            8 + round % 3
        );
        container.cgroup.update(&rules(&other)).unwrap();
    }
    for watcher in &mut watchers {
        assert_eq!(watcher.try_wait().unwrap(), None, "a device that was allowed throughout was denied");
    }
    container.cgroup.kill(soon()).unwrap();
    for watcher in &mut watchers {
        watcher.wait().unwrap();
    }
}

fn an_update_leaves_one_program() {
    if layout_name() != "v2" {
        println!("skipped: only version 2 has programs");
        return;
    }
    let container = Container::new("program", &rules(""));
    let (major, minor) = device_of(Path::new("/dev/kmsg"));
    let kmsg = format!(r#",{{"allow":true,"type":"c","major":{major},"minor":{minor},"access":"rw"}}"#);
    for _ in 0..100 {
        container.cgroup.update(&rules(&kmsg)).unwrap();
        container.cgroup.update(&rules("")).unwrap();
    }
    let group = std::fs::File::open(container.directory("")).unwrap();
    let mut ids = [0; 64];
    assert_eq!(sys::bpf::prog_query_device(&group, &mut ids).unwrap(), 1);
    assert!(!can_read(&container, "/dev/kmsg"));
}

fn a_hole_needs_version_2() {
    let hole = r#",{"allow":true,"type":"c","major":1,"access":"r"},{"allow":false,"type":"c","major":1,"minor":1,"access":"r"}"#;
    let asked = rules(hole);
    let path = crate::fixture::unique("hole");
    let layout = cgroups::Layout::detect().unwrap();
    let errors = cgroups::validate(&crate::fixture::request(&path, &asked), &layout);
    if layout_name() != "v2" {
        assert_eq!(errors[0].key(), Some("linux.resources.devices"));
        return;
    }
    let container = Container::new("hole", &asked);
    assert!(can_read(&container, "/dev/kmsg"));
    assert!(!can_read(&container, "/dev/mem"));
}

/// The verifier refuses code that nothing reaches and jumps that go nowhere, so every shape of a list is loaded once.
fn the_kernel_takes_every_program() {
    if layout_name() != "v2" {
        println!("skipped: only version 2 has programs");
        return;
    }
    let container = Container::new("shapes", &rules(""));
    let mut state = 7_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for round in 0..500 {
        let list: Vec<String> = (0..=below(8))
            .map(|_| {
                let (allow, kind) = (below(2) == 0, ["a", "b", "c"][below(3) as usize]);
                let (major, minor) = (below(4) as i64 - 1, below(4) as i64 - 1);
                let access = ["r", "w", "m", "rw", "rm", "wm", "rwm", "rwm"][below(8) as usize];
                format!(r#"{{"allow":{allow},"type":"{kind}","major":{major},"minor":{minor},"access":"{access}"}}"#)
            })
            .collect();
        let text = format!(r#"{{"devices":[{}]}}"#, list.join(","));
        container
            .cgroup
            .update(&parse(&text))
            .unwrap_or_else(|error| panic!("round {round}: {text}: {error}"));
    }
}
