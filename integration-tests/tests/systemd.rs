//! The systemd cgroup driver, with the real manager of a host: units, limits, devices, delegation, and a systemd inside.
//!
//! It needs a host that systemd started with pure v2 groups, so here most of it is skipped and the virtual machines of
//! `make test-vm` run it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::layout::{self, Layout};
use integration_tests::process::{Ran, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        a_container_is_a_scope,
        a_scope_goes_into_the_slice_that_is_named,
        limits_are_properties_and_files,
        an_update_outlives_a_reload,
        device_access_outlives_reloads,
        annotations_become_properties,
        an_unknown_property_is_named,
        auto_takes_systemd_where_it_can,
        a_v1_host_refuses_the_driver,
        nothing_is_left_after_a_failed_start,
        a_user_has_scopes_in_a_manager_of_his_own,
        a_systemd_runs_inside,
        podman_makes_its_containers_scopes,
    ])
}

/// Whether the host's groups are systemd's to give.
fn managed() -> bool {
    Path::new("/run/systemd/private").exists() && layout::current() == Some(Layout::V2)
}

/// A container of the systemd driver that runs.
struct Scope<'a> {
    world: &'a World,
    id: String,
    unit: String,
}

/// `systemd` is the words that choose the driver.
fn call(world: &World, words: &[&str]) -> Ran {
    let mut all = vec!["--systemd-cgroup"];
    all.extend(words);
    world.orlop(&all)
}

fn scope<'a>(world: &'a World, bundle: &Bundle, unit: &str) -> Scope<'a> {
    let id = world.id();
    call(world, &["create", "--bundle", bundle.path(), &id]).ok();
    world.orlop(&["start", &id]).ok();
    Scope { world, unit: unit.replace("ID", &id), id }
}

impl Scope<'_> {
    fn show(&self, property: &str) -> String {
        show(self.world, &self.unit, property)
    }

    /// The directory of the container's group.
    fn group(&self) -> PathBuf {
        let group = fs::read_to_string(format!("/proc/{}/cgroup", self.world.pid(&self.id))).unwrap();
        let path = group.lines().find_map(|line| line.strip_prefix("0::/")).expect("a v2 group").to_owned();
        Path::new("/sys/fs/cgroup").join(path)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.group().join(name)).unwrap().trim().to_owned()
    }

    fn exec(&self, program: &[&str]) -> Ran {
        let mut words = vec!["exec", &self.id];
        words.extend(program);
        self.world.orlop(&words)
    }

    /// Deletes the container; unit and group are gone when that returns.
    fn delete(self) {
        let group = self.group();
        self.world.orlop(&["delete", "--force", &self.id]).ok();
        assert!(!group.exists(), "{}", group.display());
        assert_eq!(self.show("LoadState"), "not-found");
    }
}

fn show(world: &World, unit: &str, property: &str) -> String {
    let ran = world.finish(Command::new("systemctl").args(["show", unit, "-P", property]));
    ran.ok().out.trim().to_owned()
}

fn reload(world: &World) {
    world.finish(Command::new("systemctl").arg("daemon-reload")).ok();
}

fn sleeping(world: &World) -> Bundle {
    world.shell("exec sleep 1000")
}

fn with_path(bundle: Bundle, path: &str) -> Bundle {
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path))
}

fn a_container_is_a_scope(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    for round in 0..3 {
        let scope = scope(world, &sleeping(world), "orlop-ID.scope");
        assert_eq!(scope.show("ActiveState"), "active", "round {round}");
        assert_eq!(scope.show("Delegate"), "yes");
        assert_eq!(scope.show("Slice"), "system.slice");
        assert!(scope.group().ends_with(format!("system.slice/{}", scope.unit)));
        assert_eq!(scope.exec(&["cat", "/proc/self/cgroup"]).ok().out.trim(), "0::/");
        scope.delete();
    }
    let report = call(world, &["run", "--bundle", world.bundle().path(), &world.id()]).ok().json();
    assert_eq!(report["pid"], 1);
    Ok(())
}

fn a_scope_goes_into_the_slice_that_is_named(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    let scope = scope(world, &with_path(sleeping(world), "it-a-b.slice:it:named"), "it-named.scope");
    assert!(scope.group().ends_with("it.slice/it-a.slice/it-a-b.slice/it-named.scope"));
    scope.delete();
    for slice in ["it-a-b.slice", "it-a.slice", "it.slice"] {
        world.finish(Command::new("systemctl").args(["stop", slice])).ok();
    }
    Ok(())
}

fn limited(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "burst": 20_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}],
            "unified": {"memory.high": "60000000"}
        });
    })
}

fn limits_are_properties_and_files(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    let disk = fs::metadata("/dev/vda").ok().map(|disk| disk.rdev());
    let disk = disk.map(|number| (rustix::fs::major(number), rustix::fs::minor(number)));
    let bundle = limited(sleeping(world)).edit(|config| {
        if let Some((major, minor)) = disk {
            let rate = |rate: u32| json!([{"major": major, "minor": minor, "rate": rate}]);
            config["linux"]["resources"]["blockIO"] = json!({
                "throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
                "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400)
            });
        }
    });
    let scope = scope(world, &bundle, "orlop-ID.scope");
    for (property, value) in [
        ("CPUWeight", "59"),
        ("AllowedMemoryNodes", "0"),
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "67108864"),
        ("MemoryHigh", "60000000"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("TasksMax", "50"),
        ("AllowedCPUs", "0"),
    ] {
        assert_eq!(scope.show(property), value, "{property}");
    }
    for round in ["started", "reloaded"] {
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.swap.max", "67108864"),
            // The kernel counts pages.
            ("memory.high", "59998208"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "50"),
            ("cpu.max.burst", "20000"),
            ("cpu.weight", "59"),
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
            ("hugetlb.2MB.max", "4194304"),
            ("hugetlb.2MB.rsvd.max", "4194304"),
        ] {
            assert_eq!(scope.file(file), value, "{round}: {file}");
        }
        if let Some((major, minor)) = disk {
            let all = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400");
            assert_eq!(scope.file("io.max"), all, "{round}");
        }
        reload(world);
    }
    scope.delete();
    Ok(())
}

fn an_update_outlives_a_reload(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    let scope = scope(world, &limited(sleeping(world)), "orlop-ID.scope");
    world
        .orlop(&["update", "--memory", "80000000", "--memory-swap", "-1", "--pids-limit", "60", &scope.id])
        .ok();
    world.orlop(&["update", "--cpu-quota", "20000", "--cpu-period", "100000", &scope.id]).ok();
    for _ in 0..2 {
        assert_eq!(scope.file("memory.max"), "79998976");
        assert_eq!(scope.file("memory.swap.max"), "max");
        assert_eq!(scope.file("pids.max"), "60");
        assert_eq!(scope.file("cpu.max"), "20000 100000");
        assert_eq!(scope.show("TasksMax"), "60");
        reload(world);
    }
    scope.delete();
    Ok(())
}

fn device_access_outlives_reloads(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    // The two disks of the virtual machine: opening one takes no capability.
    let number = |path: &str| fs::metadata(path).ok().map(|disk| disk.rdev());
    let (Some(first), Some(second)) = (number("/dev/vda"), number("/dev/vdb")) else {
        return skip("no two disks");
    };
    let parts = |device: u64| (rustix::fs::major(device), rustix::fs::minor(device));
    let ((major, minor), other) = (parts(first), parts(second));
    let bundle = sleeping(world).edit(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "b", "major": major, "minor": minor, "access": "r"}]});
        config["linux"]["devices"] = json!([{"path": "/dev/ours", "type": "b", "major": major, "minor": minor},
            {"path": "/dev/other", "type": "b", "major": other.0, "minor": other.1}]);
    });
    let scope = scope(world, &bundle, "orlop-ID.scope");
    let script = "for d in null ours other; do (: </dev/$d) 2>/dev/null && echo $d; done";
    for round in 0..20 {
        assert_eq!(scope.exec(&["/bin/sh", "-c", script]).out, "null\nours\n", "after {round} reloads");
        reload(world);
    }
    assert_eq!(scope.exec(&["/bin/sh", "-c", script]).out, "null\nours\n");
    scope.delete();
    Ok(())
}

fn annotated(bundle: Bundle, annotations: Value) -> Bundle {
    bundle.edit(|config| config["annotations"] = annotations)
}

fn annotations_become_properties(world: &World) -> Outcome {
    let bundle = annotated(
        sleeping(world),
        json!({"org.systemd.property.TimeoutStopUSec": "uint64 7000000", "org.systemd.property.Description": "'it'",
            "org.systemd.property.KillSignal": "10",
            "org.systemd.property.CollectMode": "'inactive-or-failed'"}),
    );
    let id = world.id();
    let unused = world.orlop(&["create", "--bundle", bundle.path(), &id]).ok();
    unused.says("has no effect without the systemd cgroup driver");
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    let scope = scope(world, &bundle, "orlop-ID.scope");
    for (property, value) in [
        ("TimeoutStopUSec", "7s"),
        ("Description", "it"),
        ("KillSignal", "10"),
        ("CollectMode", "inactive-or-failed"),
    ] {
        assert_eq!(scope.show(property), value, "{property}");
    }
    scope.delete();
    Ok(())
}

fn an_unknown_property_is_named(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    for (key, value, words) in [
        ("NoSuchProperty", "true", "NoSuchProperty"),
        ("TimeoutStopUSec", "soon", "org.systemd.property.TimeoutStopUSec"),
    ] {
        let bundle = annotated(sleeping(world), json!({format!("org.systemd.property.{key}"): value}));
        let id = world.id();
        call(world, &["create", "--bundle", bundle.path(), &id]).fails().says(words);
        world.orlop(&["state", &id]).fails();
        assert_eq!(show(world, &format!("orlop-{id}.scope"), "LoadState"), "not-found");
    }
    Ok(())
}

fn auto_takes_systemd_where_it_can(world: &World) -> Outcome {
    let group_of = |path: Option<&str>| {
        let bundle = match path {
            Some(path) => with_path(sleeping(world), path),
            None => sleeping(world),
        };
        let id = world.id();
        world.orlop(&["--cgroup-manager", "auto", "create", "--bundle", bundle.path(), &id]).ok();
        let group = fs::read_to_string(format!("/proc/{}/cgroup", world.pid(&id))).unwrap();
        world.orlop(&["delete", "--force", &id]).ok();
        (group, id)
    };
    let (absolute, _) = group_of(Some("/it-auto-absolute"));
    assert!(absolute.contains("/it-auto-absolute"), "{absolute}");
    let (named, _) = group_of(Some("system.slice:it:auto"));
    assert_eq!(named.contains("/system.slice/it-auto.scope"), managed(), "{named}");
    let (default, id) = group_of(None);
    assert_eq!(default.contains(&format!("/system.slice/orlop-{id}.scope")), managed(), "{default}");
    Ok(())
}

fn a_v1_host_refuses_the_driver(world: &World) -> Outcome {
    if layout::current() == Some(Layout::V2) {
        return skip("a v2 host");
    }
    let bundle = sleeping(world);
    call(world, &["create", "--bundle", bundle.path(), &world.id()])
        .fails()
        .says("the systemd driver needs a pure version 2 host");
    Ok(())
}

fn nothing_is_left_after_a_failed_start(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    for args in [json!(["/no/such/program"]), json!(["/etc"])] {
        let bundle = world.bundle().edit(|config| config["process"]["args"] = args);
        let id = world.id();
        call(world, &["run", "--bundle", bundle.path(), &id]).fails();
        let unit = format!("orlop-{id}.scope");
        wait_until("the unit is forgotten", LIMIT, || show(world, &unit, "LoadState") == "not-found");
    }
    Ok(())
}

/// The user that the virtual machine has, with a manager that runs without a session.
fn lingering_user() -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.starts_with("walter:"))?;
    let mut ids = line.split(':').skip(2).map(|word| word.parse().ok());
    let (uid, gid) = (ids.next()??, ids.next()??);
    Path::new(&format!("/run/user/{uid}/systemd/private")).exists().then_some((uid, gid))
}

/// A command as that user, as his manager would start it.
fn as_user(world: &World, (uid, gid): (u32, u32), words: &[&str]) -> Ran {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--init-groups", "env", "-i"]);
    command.arg(format!("XDG_RUNTIME_DIR=/run/user/{uid}")).arg("PATH=/usr/bin:/bin:/usr/sbin:/sbin");
    world.finish(command.args(words))
}

fn a_user_has_scopes_in_a_manager_of_his_own(world: &World) -> Outcome {
    let Some((uid, gid)) = lingering_user().filter(|_| managed()) else {
        return skip("no user with a systemd of his own");
    };
    let runtime = world.dir.join("bin/orlop");
    fs::create_dir_all(runtime.parent().unwrap()).unwrap();
    fs::copy(&world.runtime, &runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = sleeping(world).without_namespace("network").with_namespace("user", None).edit(|config| {
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        (config["linux"]["uidMappings"], config["linux"]["gidMappings"]) = (map(uid), map(gid));
        config["linux"]["resources"] =
            json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 50}, "cpu": {"quota": 50_000, "period": 100_000}});
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys" && mount["type"] != "cgroup");
        mounts.iter_mut().filter_map(|mount| mount["options"].as_array_mut()).for_each(|options| {
            options.retain(|option| option != "gid=5");
        });
    });
    for dir in ["", "dev", "etc", "proc", "root", "sys", "tmp", "var", "bin"] {
        chown(bundle.rootfs(dir), Some(uid), Some(gid)).unwrap();
    }
    chown(bundle.path(), Some(uid), Some(gid)).unwrap();
    let (id, orlop) = (world.id(), runtime.display().to_string());
    let user = |words: &[&str]| as_user(world, (uid, gid), words);
    user(&[&orlop, "--systemd-cgroup", "create", "--bundle", bundle.path(), &id]).ok();
    let unit = format!("orlop-{id}.scope");
    let show = |property: &str| {
        user(&["systemctl", "--user", "show", &unit, "-P", property]).ok().out.trim().to_owned()
    };
    assert_eq!(show("ActiveState"), "active");
    let group = Path::new("/sys/fs/cgroup").join(show("ControlGroup").trim_start_matches('/'));
    assert!(group.starts_with(format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service")));
    for (file, value) in [("memory.max", "67108864"), ("pids.max", "50"), ("cpu.max", "50000 100000")] {
        assert_eq!(fs::read_to_string(group.join(file)).unwrap().trim(), value, "{file}");
    }
    user(&[&orlop, "start", &id]).ok();
    user(&[&orlop, "delete", "--force", &id]).ok();
    assert_eq!(show("LoadState"), "not-found");
    assert!(!group.exists());
    Ok(())
}

/// The host's own systemd as the first program, its files shared read-only.
fn a_systemd_runs_inside(world: &World) -> Outcome {
    if !managed() {
        return skip("no systemd with v2 groups");
    }
    let bundle = sleeping(world).args(&["/usr/lib/systemd/systemd", "--log-target=console"]);
    for name in ["usr", "run", "etc", "var/log"] {
        fs::create_dir_all(bundle.rootfs(name)).unwrap();
    }
    fs::remove_dir_all(bundle.rootfs("bin")).unwrap();
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), bundle.rootfs(name)).unwrap();
    }
    let units = bundle.rootfs("etc/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::write(bundle.rootfs("etc/machine-id"), "").unwrap();
    fs::write(
        units.join("inner.service"),
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/sleep 1000\nMemoryMax=32M\n",
    )
    .unwrap();
    fs::write(
        units.join("inner.target"),
        "[Unit]\nDefaultDependencies=no\nWants=inner.service dbus.socket\n",
    )
    .unwrap();
    symlink("/etc/systemd/system/inner.target", units.join("default.target")).unwrap();
    let every: Vec<_> = all_capabilities();
    let bundle = bundle
        .bind("/usr", "/usr", &["rbind", "ro"])
        .mount(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}))
        .edit(|config| {
            config["process"]["env"].as_array_mut().unwrap().push(json!("container=oci"));
            config["process"]["capabilities"] =
                json!({"bounding": every, "effective": every, "permitted": every});
            config["process"]["noNewPrivileges"] = json!(false);
            let mounts = config["mounts"].as_array_mut().unwrap();
            let group = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
            group["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
        });
    let scope = scope(world, &bundle, "orlop-ID.scope");
    let inner = scope.group();
    wait_until("the service inside has its limit", LIMIT, || {
        let base = if inner.ends_with("init.scope") { inner.parent().unwrap() } else { &inner };
        fs::read_to_string(base.join("system.slice/inner.service/memory.max"))
            .is_ok_and(|limit| limit.trim() == "33554432")
    });
    world.orlop(&["delete", "--force", &scope.id]).ok();
    assert_eq!(scope.show("LoadState"), "not-found");
    Ok(())
}

/// Podman's own choice on such a host; it names slice and scope, and asks systemd about them by itself.
fn podman_makes_its_containers_scopes(world: &World) -> Outcome {
    if !managed() || !Path::new("/usr/bin/podman").exists() {
        return skip("no systemd with v2 groups, or no podman");
    }
    let rootfs = world.bundle().rootfs("").display().to_string();
    let podman = |words: &[&str]| {
        let mut command = Command::new("/usr/bin/podman");
        for (option, place) in [("--root", "podman"), ("--runroot", "podman-run"), ("--tmpdir", "podman-tmp")]
        {
            command.arg(option).arg(world.path(place));
        }
        command.arg("--runtime").arg(&world.runtime).args(["--cgroup-manager", "systemd"]);
        command.args(["--events-backend", "file", "--storage-driver", "vfs"]);
        world.finish(command.args(words))
    };
    let (name, plain) = (world.id(), ["--network", "none", "--rootfs"]);
    let run = |options: &[&str], program: &[&str]| {
        podman(&[&["run"], options, &plain, &[rootfs.as_str()], program].concat())
    };
    assert_eq!(run(&["--rm"], &["/bin/sh", "-c", "exit 7"]).code, Some(7));
    let limits = ["--detach", "--name", &name, "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"];
    let id = run(&limits, &["/bin/sleep", "1000"]).ok().out.trim().to_owned();
    let unit = format!("libpod-{id}.scope");
    for (property, value) in [
        ("ActiveState", "active"),
        ("MemoryMax", "67108864"),
        ("TasksMax", "50"),
        ("CPUQuotaPerSecUSec", "500ms"),
    ] {
        assert_eq!(show(world, &unit, property), value, "{property}");
    }
    let group = Path::new("/sys/fs/cgroup").join(show(world, &unit, "ControlGroup").trim_start_matches('/'));
    let memory = || fs::read_to_string(group.join("memory.max")).unwrap_or_default().trim().to_owned();
    assert_eq!(memory(), "67108864");
    assert_eq!(podman(&["exec", &name, "echo", "inside"]).ok().out, "inside\n");
    podman(&["update", "--memory", "80m", &name]).ok();
    reload(world);
    assert_eq!(memory(), "83886080");
    podman(&["stop", "--time", "1", &name]).ok();
    podman(&["rm", &name]).ok();
    wait_until("the unit is forgotten", LIMIT, || show(world, &unit, "LoadState") == "not-found");
    assert!(!group.exists());
    Ok(())
}

fn all_capabilities() -> Vec<String> {
    // What a systemd of a container gets by default in engines' privileged mode, without those that reach the host.
    [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "SYS_CHROOT",
        "SYS_ADMIN",
    ]
    .iter()
    .map(|name| format!("CAP_{name}"))
    .collect()
}
