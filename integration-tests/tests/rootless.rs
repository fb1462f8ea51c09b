//! Rootless: an ordinary user, with one mapping or with newuidmap and newgidmap.
//!
//! Root makes a user for it and removes it afterwards; anybody else runs the tests as himself.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::layout::{self, Layout};
use integration_tests::process::Ran;
use integration_tests::{Bundle, Outcome, Report, World, cases, harness, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let made = rustix::process::geteuid().is_root() && !std::env::args().any(|word| word == "--list");
    if made {
        make_user();
    }
    let code = harness::main_for_anyone(cases![
        spec_rootless_writes_a_config_that_runs,
        state_is_kept_in_the_users_runtime_directory,
        the_lifecycle_works,
        one_mapping_needs_no_helper,
        several_mappings_use_newuidmap,
        a_mapping_that_is_not_the_users_is_refused,
        devices_are_there,
        sysfs_without_a_network_namespace_is_bound,
        an_unmapped_gid_of_devpts_is_explained,
        no_right_to_cgroups_is_no_error,
        without_a_group_of_its_own_it_sees_the_callers,
        a_limit_that_cannot_be_set_is_refused,
        forbidden_user_namespaces_are_explained,
        the_user_gains_nothing_on_the_host,
    ]);
    if made {
        remove_user();
    }
    code
}

const USER: &str = "it-user";

fn make_user() {
    let _ = Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", USER]).output();
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        if !text.lines().any(|line| line.starts_with(&format!("{USER}:"))) {
            fs::write(file, format!("{text}{USER}:700000:65536\n")).expect("subordinate ids");
        }
    }
}

fn remove_user() {
    let _ = Command::new("userdel").args(["--remove", USER]).output();
}

/// What id(1) says of the user.
fn id(option: &str) -> String {
    let mut command = Command::new("id");
    command.arg(option);
    if rustix::process::geteuid().is_root() {
        command.arg(USER);
    }
    String::from_utf8_lossy(&command.output().expect("id").stdout).trim().to_owned()
}

/// The user's id and group.
fn ids() -> (u32, u32) {
    (id("-u").parse().expect("an id"), id("-g").parse().expect("an id"))
}

/// The user's first subordinate id, where it has the usual 65536 of them.
fn first_subordinate() -> Option<u32> {
    let prefix = format!("{}:", id("-un"));
    let text = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
    let (first, count) = line.split_once(':')?;
    (count.parse::<u32>().ok()? >= 65535).then(|| first.parse().ok()).flatten()
}

/// A bundle of the user's, with what `spec --rootless` writes for it.
fn bundle(world: &World) -> Bundle {
    let (uid, gid) = ids();
    let bundle = world.bundle();
    for dir in ["", "dev", "etc", "proc", "root", "sys", "tmp", "var", "bin"] {
        chown(bundle.rootfs(dir), Some(uid), Some(gid)).unwrap();
    }
    chown(bundle.path(), Some(uid), Some(gid)).unwrap();
    let home = world.dir.join("home");
    for dir in [home.clone(), home.join("run")] {
        fs::create_dir_all(&dir).unwrap();
        chown(&dir, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    install(world);
    bundle.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|entry| entry["type"] != "network" && entry["type"] != "cgroup");
        namespaces.push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
        config["linux"].as_object_mut().unwrap().remove("resources");
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup" && mount["type"] != "sysfs");
        mounts.push(json!({"destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}));
        for mount in mounts {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    })
}

/// A copy of the runtime where the user can reach it.
fn install(world: &World) {
    let target = world.dir.join("bin").join(world.runtime.file_name().unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(&world.runtime, &target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The runtime as the user, with nothing of root's: no capability, no group, a runtime directory of its own.
fn as_user(world: &World, prelude: &str, words: &[&str]) -> Ran {
    let (uid, gid) = ids();
    let home = world.dir.join("home").display().to_string();
    let inner = format!("cd {home}; {prelude}\nexec \"$@\"");
    let mut command = Command::new("/usr/bin/setpriv");
    if rustix::process::geteuid().is_root() {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
    }
    command.arg("--inh-caps=-all");
    command.args(["/usr/bin/env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]);
    command.args([
        &format!("HOME={home}"),
        &format!("XDG_RUNTIME_DIR={home}/run"),
        "/bin/bash",
        "-c",
        &inner,
        "bash",
    ]);
    command.arg(world.dir.join("bin").join(world.runtime.file_name().unwrap())).args(words);
    world.finish(&mut command)
}

fn run_as_user(world: &World, bundle: &Bundle) -> Ran {
    as_user(world, "", &["run", "--bundle", bundle.path(), &world.id()])
}

fn spec_rootless_writes_a_config_that_runs(world: &World) -> Outcome {
    let bundle = bundle(world);
    fs::remove_file(format!("{}/config.json", bundle.path())).unwrap();
    as_user(world, "", &["spec", "--rootless", "--bundle", bundle.path()]).ok();
    let bundle = bundle.edit(|config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/probe"]);
    });
    let report = Report(run_as_user(world, &bundle).ok().json());
    assert_eq!(report["pid"], 1);
    assert_eq!(report.ids("Uid"), [0; 4]);
    Ok(())
}

fn state_is_kept_in_the_users_runtime_directory(world: &World) -> Outcome {
    world.only_orlop()?;
    let (bundle, id) = (bundle(world).args(&["/bin/sleep", "1000"]), world.id());
    as_user(world, "", &["run", "--detach", "--bundle", bundle.path(), &id]).ok();
    assert!(world.dir.join("home/run/orlop").join(&id).is_dir());
    as_user(world, "", &["delete", "--force", &id]).ok();
    assert!(!world.dir.join("home/run/orlop").join(&id).exists());
    Ok(())
}

fn the_lifecycle_works(world: &World) -> Outcome {
    let (bundle, id) = (bundle(world).args(&["/bin/sleep", "1000"]), world.id());
    as_user(world, "", &["create", "--bundle", bundle.path(), &id]).ok();
    let status = || as_user(world, "", &["state", &id]).ok().json()["status"].clone();
    assert_eq!(status(), "created");
    as_user(world, "", &["start", &id]).ok();
    assert_eq!(status(), "running");
    assert!(as_user(world, "", &["list", "-q"]).ok().out.lines().any(|line| line == id));
    as_user(world, "", &["kill", &id, "KILL"]).ok();
    integration_tests::process::wait_until("it is stopped", integration_tests::world::LIMIT, || {
        status() == "stopped"
    });
    as_user(world, "", &["delete", &id]).ok();
    as_user(world, "", &["state", &id]).fails();
    Ok(())
}

fn one_mapping_needs_no_helper(world: &World) -> Outcome {
    let (uid, _) = ids();
    let bundle = bundle(world);
    let report = Report(
        as_user(world, "export PATH=/nowhere", &["run", "--bundle", bundle.path(), &world.id()]).ok().json(),
    );
    let words: Vec<&str> = report["uid_map"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(words, ["0", &uid.to_string(), "1"]);
    assert_eq!(report["setgroups"], "deny");
    Ok(())
}

fn several_mappings(bundle: Bundle, first: u32) -> Bundle {
    let (uid, gid) = ids();
    bundle.edit(|config| {
        let map = |own: u32| json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": 65535}]);
        config["linux"]["uidMappings"] = map(uid);
        config["linux"]["gidMappings"] = map(gid);
    })
}

fn several_mappings_use_newuidmap(world: &World) -> Outcome {
    let Some(first) = first_subordinate().filter(|_| Path::new("/usr/bin/newuidmap").exists()) else {
        return skip("no newuidmap, or no subordinate ids");
    };
    let bundle = several_mappings(bundle(world), first).edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5]});
    });
    let report = Report(run_as_user(world, &bundle).ok().json());
    assert_eq!(report.ids("Uid"), [1000; 4]);
    assert!(report.groups().contains(&5));
    Ok(())
}

fn a_mapping_that_is_not_the_users_is_refused(world: &World) -> Outcome {
    let ran = run_as_user(world, &several_mappings(bundle(world), 4_000_000)).fails();
    world.only_orlop()?;
    ran.says_any(&["newuidmap", "subuid", "uidMappings"]);
    Ok(())
}

fn devices_are_there(world: &World) -> Outcome {
    let report = Report(run_as_user(world, &bundle(world)).ok().json());
    for (name, rdev) in [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ] {
        assert_eq!(report["devices"][name]["rdev"], rdev, "{name}");
    }
    Ok(())
}

/// The kernel lets nobody mount sysfs for a network namespace that it does not own.
fn sysfs_without_a_network_namespace_is_bound(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = bundle(world).without_mount("/sys").mount(json!({"destination": "/sys", "type": "sysfs",
        "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}));
    let report = Report(run_as_user(world, &bundle.asking(&["list:/sys"])).ok().json());
    assert!(report.asked("list:/sys")["kernel"]["type"] == "directory", "{}", report["asked"]);
    assert!(report.mount_flags("/sys").contains("ro"));
    Ok(())
}

fn an_unmapped_gid_of_devpts_is_explained(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = bundle(world).edit(|config| {
        let mounts: &mut Vec<Value> = config["mounts"].as_array_mut().unwrap();
        let devpts = mounts.iter_mut().find(|mount| mount["type"] == "devpts").unwrap();
        devpts["options"].as_array_mut().unwrap().push(json!("gid=5"));
    });
    run_as_user(world, &bundle).fails().says("gid=5").says_any(&["mapped", "mapping"]);
    Ok(())
}

/// Where no group was asked for by name, the container stays in the caller's.
fn no_right_to_cgroups_is_no_error(world: &World) -> Outcome {
    let bundle = bundle(world).without_namespace("cgroup");
    let report = Report(run_as_user(world, &bundle).ok().json());
    assert_eq!(
        report["cgroup"].as_str().map(str::to_owned),
        fs::read_to_string("/proc/self/cgroup").ok().map(|text| text.trim().to_owned())
    );
    Ok(())
}

/// Programs find their limits there, and engines bind over single hierarchies.
fn without_a_group_of_its_own_it_sees_the_callers(world: &World) -> Outcome {
    let bundle = bundle(world).without_namespace("cgroup").mount(json!({"destination": "/sys/fs/cgroup",
        "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}));
    let report = Report(run_as_user(world, &bundle.asking(&["list:/sys/fs/cgroup"])).ok().json());
    let name = if layout::current() == Some(Layout::V2) { "cgroup.procs" } else { "memory" };
    assert!(!report.asked("list:/sys/fs/cgroup")[name].is_null(), "{}", report["asked"]);
    assert!(report.mount_flags("/sys/fs/cgroup").contains("ro"));
    Ok(())
}

fn a_limit_that_cannot_be_set_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle =
        bundle(world).edit(|config| config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}}));
    run_as_user(world, &bundle).fails().says("memory");
    Ok(())
}

/// A user namespace of our own in which no further one may be made stands for a host that forbids them.
fn forbidden_user_namespaces_are_explained(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = bundle(world);
    let prelude = "exec unshare --user --map-current-user --keep-caps /bin/bash -c \
        'echo 0 > /proc/sys/user/max_user_namespaces || exit 99; \
        exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"' bash \"$@\"";
    let ran = as_user(world, prelude, &["run", "--bundle", bundle.path(), &world.id()]).fails();
    assert_ne!(ran.code, Some(99), "the limit could not be set");
    ran.says("max_user_namespaces");
    Ok(())
}

fn the_user_gains_nothing_on_the_host(world: &World) -> Outcome {
    let bundle = bundle(world).asking(&["read:/mnt/shadow", "write:/mnt/shadow", "write:/mnt/passwd"]);
    let report = Report(run_as_user(world, &bundle.bind("/etc", "/mnt", &["rbind"])).ok().json());
    for question in ["read:/mnt/shadow", "write:/mnt/shadow", "write:/mnt/passwd"] {
        assert_eq!(report.asked(question)["errno"], 13, "{question}");
    }
    Ok(())
}
