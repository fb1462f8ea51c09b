//! Control groups over a container's life: what is delegated to it, who joins where, and that everything goes.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::layout::{self, Layout};
use integration_tests::process::wait_until;
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, World, cases, harness, leaks, skip};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        root_of_a_user_namespace_owns_its_groups_and_none_of_their_limits,
        a_read_only_mount_delegates_nothing,
        a_leaf_lets_the_container_enable_controllers,
        an_exec_goes_where_init_is,
        a_runtime_runs_containers_inside_a_container,
        a_joined_user_namespace_is_checked_with_its_real_maps,
        delete_ends_a_fork_bomb,
        a_process_that_cannot_die_is_named_with_its_state,
        five_hundred_containers_leave_no_group,
    ])
}

/// Where the version 2 tree is in this layout, inside a container as on the host.
fn unified() -> Option<&'static str> {
    match layout::current() {
        Some(Layout::V2) => Some("/sys/fs/cgroup"),
        Some(Layout::Hybrid) => Some("/sys/fs/cgroup/unified"),
        _ => None,
    }
}

/// The cgroup mount of the bundle with the options that it shall have.
fn with_cgroup_mount(bundle: Bundle, options: &[&str]) -> Bundle {
    let entry =
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
    bundle.without_mount("/sys/fs/cgroup").mount(entry)
}

fn root_of_a_user_namespace_owns_its_groups_and_none_of_their_limits(world: &World) -> Outcome {
    let Some(tree) = unified() else { return skip("version 1 delegates no controller") };
    let script = format!(
        "set -e; cd {tree}; mkdir inner; echo $$ > inner/cgroup.procs; grep ^0: /proc/self/cgroup
         stat -c '%n %u' . cgroup.procs cgroup.subtree_control cgroup.max.depth
         echo 1 2>/dev/null > cgroup.max.depth && echo written; echo end"
    );
    let bundle = world.shell(&script).with_user_namespace(100_000, 65536);
    let out = world.output_of(&with_cgroup_mount(bundle, &["nosuid", "noexec", "nodev", "rw"]));
    let nobody = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    let expected = format!(
        "0::/inner\n. 0\ncgroup.procs 0\ncgroup.subtree_control 0\ncgroup.max.depth {}\nend\n",
        nobody.trim()
    );
    assert_eq!(out, expected);
    Ok(())
}

fn a_read_only_mount_delegates_nothing(world: &World) -> Outcome {
    let Some(tree) = unified() else { return skip("version 1 delegates no controller") };
    let bundle = world.shell(&format!("stat -c %u {tree}/cgroup.procs")).with_user_namespace(100_000, 65536);
    let nobody = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    assert_eq!(world.output_of(&bundle), nobody);
    Ok(())
}

fn with_leaf(bundle: Bundle, name: &str) -> Bundle {
    bundle.edit(|config| config["annotations"] = json!({"run.oci.delegate-cgroup": name}))
}

fn a_leaf_lets_the_container_enable_controllers(world: &World) -> Outcome {
    let Some(tree) = unified() else { return skip("version 1 has no such rule") };
    let enable = format!(
        "cd {tree}; grep ^0: /proc/self/cgroup; for name in $(cat cgroup.controllers); do
         echo +$name > cgroup.subtree_control || exit 9; done; touch /done; sleep 1000"
    );
    let rw = ["nosuid", "noexec", "nodev", "rw"];
    let bundle = with_cgroup_mount(with_leaf(world.shell(&enable), "init"), &rw);
    let id = world.started(&bundle);
    wait_until("all controllers are enabled", LIMIT, || bundle.rootfs("done").exists());
    let inside = world.orlop(&["exec", &id, "/bin/grep", "^0:", "/proc/self/cgroup"]).ok().out;
    assert_eq!(inside, "0::/init\n");
    for name in ["", "..", "a/b"] {
        world.refused(&with_leaf(world.bundle(), name)).says("run.oci.delegate-cgroup");
    }
    Ok(())
}

/// In the container's own group it would keep the container from enabling controllers there.
fn an_exec_goes_where_init_is(world: &World) -> Outcome {
    let Some(tree) = unified() else { return skip("version 1 has no such rule") };
    let script =
        format!("mkdir {tree}/a {tree}/a/b; echo $$ > {tree}/a/b/cgroup.procs; touch /done; sleep 1000");
    let bundle = with_cgroup_mount(world.shell(&script), &["nosuid", "noexec", "nodev", "rw"]);
    let id = world.started(&bundle);
    wait_until("it has moved", LIMIT, || bundle.rootfs("done").exists());
    let group = |words: &[&str]| {
        let words = [&["exec"], words, &[id.as_str(), "/bin/grep", "^0:", "/proc/self/cgroup"]].concat();
        world.orlop(&words).ok().out
    };
    assert_eq!(group(&[]), "0::/a/b\n");
    if layout::current() == Some(Layout::V2) {
        assert_eq!(group(&["--cgroup", "a"]), "0::/a\n");
    }
    Ok(())
}

fn a_runtime_runs_containers_inside_a_container(world: &World) -> Outcome {
    world.only_orlop()?;
    let inner = world.bundle().args(&["/bin/cat", "/proc/self/cgroup"]);
    let every = capabilities(world);
    let script = "/orlop --root /states run --bundle /inner it-inner && /orlop --root /states list -q";
    let outer = world.shell(script).bind(inner.path(), "/inner", &["rbind"]).edit(|config| {
        config["process"]["capabilities"] =
            json!({"bounding": every, "effective": every, "permitted": every});
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
        config["linux"].as_object_mut().unwrap().remove("maskedPaths");
        config["linux"].as_object_mut().unwrap().remove("readonlyPaths");
    });
    let outer = with_cgroup_mount(outer, &["nosuid", "noexec", "nodev", "rw"]);
    fs::copy(&world.runtime, outer.rootfs("orlop")).unwrap();
    let out = world.output_of(&with_leaf(outer, "outer"));
    assert!(!out.is_empty() && out.lines().all(|line| line.ends_with(":/") || !is_mounted(line)), "{out}");
    Ok(())
}

/// Whether a line of /proc/PID/cgroup is about a hierarchy that this layout mounts.
fn is_mounted(line: &str) -> bool {
    let name = line.split(':').nth(1).unwrap().trim_start_matches("name=");
    let place =
        if name.is_empty() { unified().map(str::to_owned) } else { Some(format!("/sys/fs/cgroup/{name}")) };
    place.is_some_and(|place| Path::new(&place).join("cgroup.procs").exists())
}

/// The capabilities of the caller, which are all that it can hand on.
fn capabilities(world: &World) -> Vec<Value> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    let set = u64::from_str_radix(line.trim(), 16).unwrap();
    // Their order is that of the kernel's numbers.
    let known = world.orlop(&["features"]).ok().json()["linux"]["capabilities"].as_array().unwrap().clone();
    known.into_iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0).map(|(_, name)| name).collect()
}

fn a_joined_user_namespace_is_checked_with_its_real_maps(world: &World) -> Outcome {
    world.only_orlop()?;
    let first = world.started(&world.shell("exec sleep 1000").with_user_namespace(100_000, 1000));
    let path = format!("/proc/{}/ns/user", world.pid(&first));
    let joining = || world.bundle().with_namespace("user", Some(&path));
    let beyond = joining().edit(|config| config["process"]["user"]["uid"] = json!(1000));
    world.refused(&beyond).says("process.user.uid").says("not mapped");
    let within = joining().edit(|config| config["process"]["user"]["uid"] = json!(999));
    assert_eq!(world.probe(&within).ids("Uid"), [999; 4]);
    let other = joining().edit(|config| {
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    });
    world.refused(&other).says("linux.uidMappings").says("differs from the map");
    Ok(())
}

/// It forks as fast as it can; where there is a controller for it, at most 500 live at a time.
fn delete_ends_a_fork_bomb(world: &World) -> Outcome {
    let script = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); (while :; do /bin/true & done) & done
                  while :; do /bin/true & done";
    for shared in [false, true] {
        let bundle = world.shell(script);
        let bundle = if shared { bundle.without_namespace("pid") } else { bundle };
        let id = world.id();
        let limited = world.shell(script).edit(|config| {
            config["linux"]["resources"]["pids"] = json!({"limit": 500});
        });
        let limited = if shared { limited.without_namespace("pid") } else { limited };
        if world.orlop(&["create", "--bundle", limited.path(), &id]).code != Some(0) {
            world.orlop(&["create", "--bundle", bundle.path(), &id]).ok();
        }
        world.orlop(&["start", &id]).ok();
        let processes = || world.orlop(&["ps", "--format", "json", &id]).out.matches(',').count();
        wait_until("the bomb has gone off", LIMIT, || processes() > 19);
        let ran = world.orlop(&["delete", "--force", &id]).ok();
        println!("shared pid namespace: {shared}: deleted in {:?}", ran.took);
        assert!(leaks::find(&[&id], &world.root).is_empty(), "everything is gone");
    }
    Ok(())
}

/// A version 1 freezer above the container's group holds even a killed process.
fn a_process_that_cannot_die_is_named_with_its_state(world: &World) -> Outcome {
    let parent = format!("it-frozen-{}", std::process::id());
    let freezer = format!("/sys/fs/cgroup/freezer/{parent}");
    if !Path::new("/sys/fs/cgroup/freezer").is_dir() {
        return skip("no version 1 freezer here");
    }
    let bundle = world.shell("exec sleep 1000").edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{parent}/c"));
    });
    let id = world.started(&bundle);
    let pid = world.pid(&id);
    let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    wait_until("sleep is executed", LIMIT, || name() == "sleep\n");
    fs::write(format!("{freezer}/freezer.state"), "FROZEN").unwrap();
    let ran = world.orlop(&["delete", "--force", &id]).fails();
    fs::write(format!("{freezer}/freezer.state"), "THAWED").unwrap();
    ran.says(&format!("{pid} (sleep, state "));
    world.orlop(&["delete", "--force", &id]).ok();
    layout::groups_named(&parent).iter().for_each(|group| fs::remove_dir(group).unwrap());
    Ok(())
}

/// Fewer where each takes long: ORLOP_CONTAINERS.
fn five_hundred_containers_leave_no_group(world: &World) -> Outcome {
    let count: u32 = std::env::var("ORLOP_CONTAINERS").map_or(500, |count| count.parse().unwrap());
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    let id = world.id();
    let mut limited = false;
    for round in 0..count {
        world.orlop(&["create", "--bundle", bundle.path(), &id]).ok();
        // Where there is such a controller; it is the same for all.
        if round == 0 || limited {
            limited = world.orlop(&["update", "--cpu-share", "512", &id]).code == Some(0);
        }
        world.orlop(&["start", &id]).ok();
        world.orlop(&["pause", &id]).ok();
        world.orlop(&["resume", &id]).ok();
        world.orlop(&["delete", "--force", &id]).ok();
    }
    assert_eq!(leaks::find(&[&id], &world.root), Vec::<String>::new());
    Ok(())
}
