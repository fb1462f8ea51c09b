//! Mounts: every option of the spec, propagation, idmaps, cgroup mounts, and the root filesystem itself.
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
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        a_dangling_link_of_the_image_is_followed_inside_the_container,
        default_mounts_are_as_configured,
        classic_options_set_and_clear_their_flags,
        access_time_options_set_their_mode,
        filesystem_options_reach_the_superblock,
        recursive_options_reach_submounts,
        bind_without_r_leaves_submounts_out,
        read_only_bind_refuses_writes,
        bind_of_a_file_makes_a_file,
        relative_bind_source_starts_at_the_bundle,
        missing_bind_source_is_refused_and_named,
        missing_mount_points_are_made,
        mounts_happen_in_listed_order,
        propagation_options_are_applied,
        root_propagation_is_applied,
        a_shared_root_leaves_the_mounts_of_the_host,
        mounts_of_the_host_arrive_in_a_slave_only,
        data_reaches_the_filesystem,
        an_unknown_option_is_refused_and_named,
        an_unknown_filesystem_is_refused_and_named,
        tmpcopyup_copies_what_was_there,
        mode_of_a_tmpfs_is_that_of_its_directory,
        long_overlay_data_works,
        read_only_root_refuses_writes,
        read_only_root_still_gets_its_mount_points,
        idmapped_bind_shows_mapped_owners,
        idmap_without_mappings_is_refused,
        ridmap_reaches_submounts,
        cgroup_mount_shows_own_group,
        cgroup_mount_without_a_namespace_is_read_only,
        flags_of_the_source_survive_in_a_user_namespace,
        remount_changes_an_earlier_mount,
        relative_destination_is_taken_from_the_root,
        symlinked_destination_stays_in_the_root,
        no_pivot_runs,
        no_pivot_leaves_no_view_of_the_kernel_below,
        a_source_in_the_root_is_what_was_mounted_there,
        a_hundred_mounts_work,
        host_mounts_are_not_visible_inside,
        root_by_absolute_path_works,
        a_missing_root_is_refused_and_named,
    ])
}

fn tmpfs(bundle: Bundle, destination: &str, options: &[&str]) -> Bundle {
    bundle.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options}))
}

/// A directory of the host with one file in it.
fn source(world: &World, name: &str) -> String {
    let path = world.path(name);
    fs::create_dir(&path).unwrap();
    fs::write(format!("{path}/file"), "content\n").unwrap();
    path
}

fn default_mounts_are_as_configured(world: &World) -> Outcome {
    let report = world.probe(&world.bundle());
    let expected = [
        ("/proc", "proc", vec!["rw"]),
        ("/dev", "tmpfs", vec!["nosuid", "rw", "mode=755"]),
        ("/dev/pts", "devpts", vec!["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]),
        ("/dev/shm", "tmpfs", vec!["nosuid", "noexec", "nodev"]),
        ("/dev/mqueue", "mqueue", vec!["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", vec!["nosuid", "noexec", "nodev", "ro"]),
    ];
    for (target, kind, options) in expected {
        let mount = report.mount(target).unwrap_or_else(|| panic!("{target}: {}", report["mounts"]));
        assert_eq!(mount["type"], kind, "{target}");
        let found = report.mount_options(target);
        assert!(options.iter().all(|option| found.contains(*option)), "{target}: {found:?}");
    }
    Ok(())
}

/// One container for all rows: each row is a bind mount of its own with an option and what the mount table says of it.
fn classic_options_set_and_clear_their_flags(world: &World) -> Outcome {
    let rows: [(&[&str], &str, bool); 16] = [
        (&["ro"], "ro", true),
        (&["rw"], "rw", true),
        (&["ro", "rw"], "rw", true),
        (&["nosuid"], "nosuid", true),
        (&["nosuid", "suid"], "nosuid", false),
        (&["nodev"], "nodev", true),
        (&["nodev", "dev"], "nodev", false),
        (&["noexec"], "noexec", true),
        (&["noexec", "exec"], "noexec", false),
        (&["noatime"], "noatime", true),
        (&["noatime", "atime"], "noatime", false),
        (&["nodiratime"], "nodiratime", true),
        (&["nodiratime", "diratime"], "nodiratime", false),
        (&["relatime"], "relatime", true),
        (&["defaults"], "rw", true),
        (&["ro", "nosuid", "nodev", "noexec"], "noexec", true),
    ];
    check_rows(world, &rows, "bind")
}

fn access_time_options_set_their_mode(world: &World) -> Outcome {
    world.only_orlop()?;
    let rows: [(&[&str], &str, bool); 5] = [
        (&["strictatime"], "relatime", false),
        (&["strictatime"], "noatime", false),
        (&["noatime", "relatime"], "relatime", true),
        (&["nosymfollow"], "nosymfollow", true),
        (&["nosymfollow", "symfollow"], "nosymfollow", false),
    ];
    check_rows(world, &rows, "bind")
}

fn filesystem_options_reach_the_superblock(world: &World) -> Outcome {
    world.only_orlop()?;
    let rows: [(&[&str], &str, bool); 8] = [
        (&["sync"], "sync", true),
        (&["sync", "async"], "sync", false),
        (&["dirsync"], "dirsync", true),
        (&["lazytime"], "lazytime", true),
        (&["lazytime", "nolazytime"], "lazytime", false),
        (&["iversion", "silent"], "rw", true),
        (&["noiversion", "loud"], "rw", true),
        (&["size=4096k"], "size=4096k", true),
    ];
    check_rows(world, &rows, "tmpfs")
}

fn check_rows(world: &World, rows: &[(&[&str], &str, bool)], kind: &str) -> Outcome {
    let host = source(world, "source");
    let mut bundle = world.bundle();
    for (number, (options, _, _)) in rows.iter().enumerate() {
        let target = format!("/mnt/{number}");
        let mut options = options.to_vec();
        bundle = if kind == "bind" {
            options.push("bind");
            bundle.bind(&host, &target, &options)
        } else {
            tmpfs(bundle, &target, &options)
        };
    }
    let report = world.probe(&bundle);
    for (number, (options, flag, present)) in rows.iter().enumerate() {
        let target = format!("/mnt/{number}");
        let found = if kind == "bind" { report.mount_flags(&target) } else { report.mount_options(&target) };
        assert_eq!(found.contains(*flag), *present, "{options:?} gave {found:?}");
    }
    Ok(())
}

/// The source has a mount of its own below it, made in a mount namespace that only the runtime shares.
fn with_submount(world: &World, bundle: &Bundle) -> Report {
    let (host, id) = (world.path("tree"), world.id());
    fs::create_dir_all(format!("{host}/sub")).unwrap();
    let other = world.path("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(format!("{other}/file"), "below\n").unwrap();
    // A mount of its own, of the file system that is there: not every kernel can do with tmpfs what a test asks for.
    let prelude = format!("mount --bind {other} {host}/sub || exit 99");
    let inner = format!("{prelude}\nexec \"$@\"");
    let mut command = std::process::Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation", "private", "/bin/bash", "-c", &inner, "bash"])
        .arg(&world.runtime);
    command.arg("--root").arg(&world.root).args(["run", "--bundle", bundle.path(), &id]);
    Report(world.finish(&mut command).ok().json())
}

fn recursive_options_reach_submounts(world: &World) -> Outcome {
    if !world.is_orlop() {
        return skip("recursive options are not everywhere");
    }
    let rows = [
        ("rro", "ro", true),
        ("rnosuid", "nosuid", true),
        ("rnodev", "nodev", true),
        ("rnoexec", "noexec", true),
        ("rnoatime", "noatime", true),
        ("rnodiratime", "nodiratime", true),
        ("rstrictatime", "relatime", false),
        ("rnosymfollow", "nosymfollow", true),
    ];
    let host = world.path("tree");
    let mut bundle = world.bundle();
    for (option, _, _) in rows {
        bundle = bundle.bind(&host, &format!("/mnt/{option}"), &["rbind", option]);
    }
    let pairs = [("ro-rrw", vec!["rbind", "rro", "rrw"]), ("rsuid", vec!["rbind", "rnosuid", "rsuid"])];
    for (name, options) in &pairs {
        bundle = bundle.bind(&host, &format!("/mnt/{name}"), options);
    }
    let report = with_submount(world, &bundle);
    for (option, flag, present) in rows {
        for target in [format!("/mnt/{option}"), format!("/mnt/{option}/sub")] {
            let found = report.mount_flags(&target);
            assert_eq!(found.contains(flag), present, "{option} at {target}: {found:?}");
        }
    }
    assert!(report.mount_flags("/mnt/ro-rrw/sub").contains("rw"));
    assert!(!report.mount_flags("/mnt/rsuid/sub").contains("nosuid"));
    Ok(())
}

fn bind_without_r_leaves_submounts_out(world: &World) -> Outcome {
    let host = world.path("tree");
    let bundle = world.bundle().asking(&["stat:/mnt/one/sub/file", "read:/mnt/all/sub/file"]);
    let bundle = bundle.bind(&host, "/mnt/one", &["bind"]).bind(&host, "/mnt/all", &["rbind", "ro"]);
    let report = with_submount(world, &bundle);
    assert_eq!(report.asked("stat:/mnt/one/sub/file")["errno"], 2);
    assert_eq!(report.asked("read:/mnt/all/sub/file")["ok"], "below\n");
    assert!(report.mount_flags("/mnt/all").contains("ro"));
    assert!(report.mount_flags("/mnt/all/sub").contains("rw"), "ro without r is for the top only");
    Ok(())
}

fn read_only_bind_refuses_writes(world: &World) -> Outcome {
    let host = source(world, "source");
    let bundle = world.bundle().asking(&["write:/mnt/ro/file", "mkdir:/mnt/ro/dir", "write:/mnt/rw/file"]);
    let report =
        world.probe(&bundle.bind(&host, "/mnt/ro", &["bind", "ro"]).bind(&host, "/mnt/rw", &["bind"]));
    assert_eq!(report.asked("write:/mnt/ro/file")["errno"], 30);
    assert_eq!(report.asked("mkdir:/mnt/ro/dir")["errno"], 30);
    assert_eq!(report.asked("write:/mnt/rw/file")["ok"], "opened");
    Ok(())
}

fn bind_of_a_file_makes_a_file(world: &World) -> Outcome {
    let file = world.file("resolv", "nameserver\n");
    let bundle = world.bundle().asking(&["read:/etc/made/resolv.conf"]);
    let report = world.probe(&bundle.bind(&file, "/etc/made/resolv.conf", &["bind", "ro"]));
    assert_eq!(report.asked("read:/etc/made/resolv.conf")["ok"], "nameserver\n");
    Ok(())
}

fn relative_bind_source_starts_at_the_bundle(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["read:/mnt/file"]).bind("beside", "/mnt", &["bind"]);
    fs::create_dir(format!("{}/beside", bundle.path())).unwrap();
    fs::write(format!("{}/beside/file", bundle.path()), "of the bundle\n").unwrap();
    assert_eq!(world.probe(&bundle).asked("read:/mnt/file")["ok"], "of the bundle\n");
    Ok(())
}

fn missing_bind_source_is_refused_and_named(world: &World) -> Outcome {
    let bundle = world.bundle().bind("/no/such/source", "/mnt", &["bind"]);
    world.refused(&bundle).says("/no/such/source").says_any(&["no such file or directory"]);
    Ok(())
}

fn missing_mount_points_are_made(world: &World) -> Outcome {
    let bundle = tmpfs(world.bundle(), "/made/by/the/runtime", &[]);
    assert!(world.probe(&bundle).mount("/made/by/the/runtime").is_some());
    assert!(bundle.rootfs("made/by/the/runtime").is_dir());
    Ok(())
}

fn mounts_happen_in_listed_order(world: &World) -> Outcome {
    let host = source(world, "source");
    let bundle = world.bundle().asking(&["read:/mnt/a/file", "stat:/mnt/hidden/file"]);
    let bundle = bundle.bind(&host, "/mnt/hidden", &["bind"]);
    let report = world.probe(&tmpfs(bundle, "/mnt", &[]).bind(&host, "/mnt/a", &["bind"]));
    assert_eq!(report.asked("read:/mnt/a/file")["ok"], "content\n");
    assert_eq!(report.asked("stat:/mnt/hidden/file")["errno"], 2);
    Ok(())
}

fn propagation(report: &Report, target: &str) -> Vec<String> {
    let mount = report.mount(target).unwrap_or_else(|| panic!("{target}: {}", report["mounts"]));
    let tags = mount["propagation"].as_array().unwrap().iter().filter_map(Value::as_str);
    tags.map(|tag| tag.split(':').next().unwrap_or_default().to_owned())
        .filter(|tag| tag != "propagate_from")
        .collect()
}

fn propagation_options_are_applied(world: &World) -> Outcome {
    let host = source(world, "source");
    let rows: [(&str, &[&str]); 8] = [
        ("private", &[]),
        ("rprivate", &[]),
        ("shared", &["shared"]),
        ("rshared", &["shared"]),
        ("unbindable", &["unbindable"]),
        ("runbindable", &["unbindable"]),
        ("slave", &[]),
        ("rslave", &[]),
    ];
    let mut bundle = world.bundle();
    for (option, _) in rows {
        bundle = bundle.bind(&host, &format!("/mnt/{option}"), &["rbind", option]);
    }
    let report = world.probe(&bundle);
    for (option, expected) in rows {
        // A slave of a mount that is not shared is private; where the host shares its root it is a slave.
        let found: Vec<_> = propagation(&report, &format!("/mnt/{option}"));
        let found: Vec<&str> = found.iter().map(String::as_str).filter(|tag| *tag != "master").collect();
        assert_eq!(found, expected, "{option}");
    }
    Ok(())
}

fn root_propagation_is_applied(world: &World) -> Outcome {
    let rows: [(&str, &[&str]); 4] =
        [("private", &[]), ("rprivate", &[]), ("shared", &["shared"]), ("unbindable", &["unbindable"])];
    for (value, expected) in rows {
        let report =
            world.probe(&world.bundle().edit(|config| config["linux"]["rootfsPropagation"] = json!(value)));
        let found: Vec<_> = propagation(&report, "/").into_iter().filter(|tag| tag != "master").collect();
        assert_eq!(found, expected, "{value}");
    }
    world.only_orlop()?;
    let unknown = world.bundle().edit(|config| config["linux"]["rootfsPropagation"] = json!("sideways"));
    world.refused(&unknown).says("rootfsPropagation");
    Ok(())
}

/// A host whose root is shared, as systemd makes it: what the container takes down must not go there.
fn a_shared_root_leaves_the_mounts_of_the_host(world: &World) -> Outcome {
    for option in ["--no-pivot=false", "--no-pivot"] {
        for value in ["shared", "rshared", "slave", "private"] {
            let bundle = world.bundle().args(&["/bin/true"]);
            let bundle = bundle.edit(|config| config["linux"]["rootfsPropagation"] = json!(value));
            let id = world.id();
            let inner = "mount --make-rshared / || exit 99\ncut -d' ' -f5 /proc/self/mountinfo\necho == \n\
                \"$@\"\ncut -d' ' -f5 /proc/self/mountinfo";
            let mut command = std::process::Command::new("/usr/bin/unshare");
            command.args(["--mount", "--propagation", "private", "/bin/bash", "-c", inner, "bash"]);
            command.arg(&world.runtime).arg("--root").arg(&world.root);
            command.args(["run", option, "--bundle", bundle.path(), &id]);
            let ran = world.finish(&mut command).ok();
            let (before, after) = ran.out.split_once("==\n").expect("two lists");
            assert_eq!(after, before, "{option} {value}");
        }
    }
    Ok(())
}

/// In a mount namespace where the source is shared, a later mount of the host arrives in a slave, not in a private.
fn mounts_of_the_host_arrive_in_a_slave_only(world: &World) -> Outcome {
    let host = world.path("shared");
    fs::create_dir_all(format!("{host}/later")).unwrap();
    let script = "touch /tmp/ready; while ! test -e /tmp/go; do sleep 0.02; done; \
        cat /mnt/slave/later/file; cat /mnt/private/later/file 2>/dev/null || echo nothing";
    let bundle = world.shell(script).edit(|config| config["linux"]["rootfsPropagation"] = json!("rslave"));
    let bundle = bundle.bind(&host, "/mnt/slave", &["rbind", "rslave"]).bind(
        &host,
        "/mnt/private",
        &["rbind", "rprivate"],
    );
    let (id, tmp) = (world.id(), bundle.rootfs("tmp").display().to_string());
    let inner = format!(
        "mount --bind {host} {host} && mount --make-shared {host} || exit 99\n\"$@\" & \n\
         while ! test -e {tmp}/ready; do sleep 0.02; done\n\
         mount -t tmpfs it-later {host}/later && echo arrived > {host}/later/file; touch {tmp}/go; wait $!"
    );
    let mut command = std::process::Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation", "private", "/bin/bash", "-c", &inner, "bash"])
        .arg(&world.runtime);
    command.arg("--root").arg(&world.root).args(["run", "--bundle", bundle.path(), &id]);
    assert_eq!(world.finish(&mut command).ok().out, "arrived\nnothing\n");
    Ok(())
}

fn data_reaches_the_filesystem(world: &World) -> Outcome {
    let bundle =
        tmpfs(world.bundle(), "/mnt", &["size=1024k", "mode=1700", "nr_inodes=100", "uid=7", "noexec"]);
    let report = world.probe(&bundle);
    let options = report.mount_options("/mnt");
    for wanted in ["size=1024k", "mode=1700", "nr_inodes=100", "uid=7", "noexec"] {
        assert!(options.contains(wanted), "{wanted}: {options:?}");
    }
    Ok(())
}

fn an_unknown_option_is_refused_and_named(world: &World) -> Outcome {
    let ran = world.refused(&tmpfs(world.bundle(), "/mnt", &["no_such_option"]));
    world.only_orlop()?;
    ran.says("mounts[7]").says("no_such_option");
    Ok(())
}

fn an_unknown_filesystem_is_refused_and_named(world: &World) -> Outcome {
    let mount = json!({"destination": "/mnt", "type": "no_such_fs", "source": "none"});
    let ran = world.refused(&world.bundle().mount(mount));
    world.only_orlop()?;
    ran.says("mounts[7]").says("no_such_fs");
    Ok(())
}

fn tmpcopyup_copies_what_was_there(world: &World) -> Outcome {
    let questions = ["read:/etc/passwd", "stat:/etc/deep/er/link", "stat:/etc/deep/er", "write:/etc/passwd"];
    let bundle = tmpfs(world.bundle().asking(&questions), "/etc", &["tmpcopyup"]);
    fs::create_dir_all(bundle.rootfs("etc/deep/er")).unwrap();
    symlink("../../passwd", bundle.rootfs("etc/deep/er/link")).unwrap();
    chown(bundle.rootfs("etc/deep/er"), Some(7), Some(8)).unwrap();
    let report = world.probe(&bundle);
    assert_eq!(report.mount("/etc").map(|mount| mount["type"].clone()), Some(json!("tmpfs")));
    assert!(report.asked("read:/etc/passwd")["ok"].as_str().is_some_and(|text| text.starts_with("root:")));
    assert_eq!(report.asked("stat:/etc/deep/er/link")["link"], "../../passwd");
    assert_eq!(report.asked("stat:/etc/deep/er")["uid"], 7);
    assert_eq!(report.asked("write:/etc/passwd")["ok"], "opened");
    Ok(())
}

/// Without a mode of its own a tmpfs takes that of the directory it covers, and the kernel's where there was none. As an
/// option it is seen, and a remount keeps it.
fn mode_of_a_tmpfs_is_that_of_its_directory(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["stat:/tmp", "stat:/small", "stat:/new/one"]);
    fs::create_dir(bundle.rootfs("small")).unwrap();
    fs::set_permissions(bundle.rootfs("small"), fs::Permissions::from_mode(0o710)).unwrap();
    let bundle = tmpfs(tmpfs(bundle, "/tmp", &["nosuid"]), "/small", &["size=4k"]);
    let report = world.probe(&tmpfs(bundle, "/new/one", &[]));
    assert_eq!(report.asked("stat:/tmp")["mode"], "1777");
    assert_eq!(report.asked("stat:/small")["mode"], "710");
    assert!(report.mount_options("/small").contains("mode=710"));
    assert_eq!(report.asked("stat:/new/one")["mode"], "1777");
    Ok(())
}

/// A source beneath `root.path` may be what an earlier entry mounts there; a destination may name the place likewise.
fn a_source_in_the_root_is_what_was_mounted_there(world: &World) -> Outcome {
    let host = source(world, "source");
    fs::write(format!("{host}/file"), "from the host").unwrap();
    for user_namespace in [false, true] {
        let bundle = world.bundle().asking(&["read:/final/x/file"]).bind(&host, "/mnt/x", &["bind"]);
        let root = bundle.rootfs("");
        let root = root.to_str().unwrap().trim_end_matches('/');
        fs::create_dir_all(bundle.rootfs("final")).unwrap();
        let (from, to) = (format!("{root}/mnt"), format!("{root}/final"));
        let bundle = bundle.bind(&from, &to, &["rbind"]);
        let bundle = if user_namespace { bundle.with_user_namespace(100_000, 65536) } else { bundle };
        assert_eq!(world.probe(&bundle).asked("read:/final/x/file")["ok"], "from the host");
    }
    Ok(())
}

/// fsconfig(2) takes strings of up to 255 bytes; this one has more.
fn long_overlay_data_works(world: &World) -> Outcome {
    let layers: Vec<String> = (0..8)
        .map(|number| {
            let layer = world.path(&format!("layer-with-a-rather-long-name-to-fill-the-page-{number}"));
            fs::create_dir(&layer).unwrap();
            fs::write(format!("{layer}/from-{number}"), number.to_string()).unwrap();
            layer
        })
        .collect();
    for name in ["upper", "work"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    let lower = format!("lowerdir={}", layers.join(":"));
    let (upper, work) =
        (format!("upperdir={}", world.path("upper")), format!("workdir={}", world.path("work")));
    assert!(lower.len() > 255, "the data must not fit into one string of the mount API");
    let entry = json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": [lower, upper, work]});
    let report = world.probe(&world.bundle().asking(&["list:/mnt"]).mount(entry));
    assert_eq!(report.asked("list:/mnt").as_object().unwrap().len(), 8);
    Ok(())
}

fn read_only_root_refuses_writes(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["mkdir:/new", "write:/etc/passwd", "mkdir:/dev/shm/new"]);
    let report = world.probe(&bundle.edit(|config| config["root"]["readonly"] = json!(true)));
    assert_eq!(report.asked("mkdir:/new")["errno"], 30);
    assert_eq!(report.asked("write:/etc/passwd")["errno"], 30);
    assert_eq!(report.asked("mkdir:/dev/shm/new")["ok"], "made");
    assert!(report.mount_flags("/").contains("ro"));
    Ok(())
}

fn read_only_root_still_gets_its_mount_points(world: &World) -> Outcome {
    let bundle =
        tmpfs(world.bundle(), "/not/there/yet", &[]).edit(|config| config["root"]["readonly"] = json!(true));
    assert!(world.probe(&bundle).mount("/not/there/yet").is_some());
    Ok(())
}

fn idmap_entry(host: &str, option: &str) -> Value {
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    json!({"destination": "/mnt", "type": "bind", "source": host, "options": ["rbind", option],
        "uidMappings": map, "gidMappings": map})
}

/// On disk uid 7; the mount's mapping takes 0..1000 to 5000..6000.
fn idmapped_bind_shows_mapped_owners(world: &World) -> Outcome {
    world.only_orlop()?;
    let host = source(world, "source");
    chown(format!("{host}/file"), Some(7), Some(8)).unwrap();
    let bundle = world.bundle().asking(&["stat:/mnt/file"]).mount(idmap_entry(&host, "idmap"));
    let stat = world.probe(&bundle).asked("stat:/mnt/file").clone();
    assert_eq!((&stat["uid"], &stat["gid"]), (&json!(5007), &json!(5008)));
    assert_eq!(fs::metadata(format!("{host}/file")).unwrap().uid(), 7);
    Ok(())
}

fn idmap_without_mappings_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let host = source(world, "source");
    world.refused(&world.bundle().bind(&host, "/mnt", &["bind", "idmap"])).says("mounts[7]");
    let half = world.bundle().mount(json!({"destination": "/mnt", "type": "bind", "source": host,
        "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}));
    world.refused(&half).says("mounts[7]").says("gidMappings");
    Ok(())
}

fn ridmap_reaches_submounts(world: &World) -> Outcome {
    world.only_orlop()?;
    let host = world.path("tree");
    fs::create_dir_all(&host).unwrap();
    let questions = ["stat:/mnt/sub/file"];
    let recursive = world.bundle().asking(&questions).mount(idmap_entry(&host, "ridmap"));
    let report = with_submount(world, &recursive);
    assert_eq!(report.asked("stat:/mnt/sub/file")["uid"], 5000);
    let top_only = world.bundle().asking(&questions).mount(idmap_entry(&host, "idmap"));
    assert_eq!(with_submount(world, &top_only).asked("stat:/mnt/sub/file")["uid"], 0);
    Ok(())
}

/// The group that the container sees at the root of its cgroup mount is its own: it lists the container's pid 1.
fn cgroup_mount_shows_own_group(world: &World) -> Outcome {
    let place = match layout::current() {
        Some(Layout::V2) => "/sys/fs/cgroup/cgroup.procs",
        Some(_) => "/sys/fs/cgroup/memory/cgroup.procs",
        None => return skip("no cgroup filesystem"),
    };
    let question = format!("read:{place}");
    let report = world.probe(&world.bundle().asking(&[&question, "mkdir:/sys/fs/cgroup/new"]));
    assert_eq!(report.asked(&question)["ok"], "1\n");
    assert!(report.asked("mkdir:/sys/fs/cgroup/new")["errno"].is_number(), "{}", report["asked"]);
    Ok(())
}

/// CVE-2023-25809: without a cgroup namespace nothing above the own group may be written.
fn cgroup_mount_without_a_namespace_is_read_only(world: &World) -> Outcome {
    let dir = match layout::current() {
        Some(Layout::V2) => "/sys/fs/cgroup",
        Some(_) => "/sys/fs/cgroup/memory",
        None => return skip("no cgroup filesystem"),
    };
    let questions =
        [format!("read:{dir}/cgroup.procs"), format!("mkdir:{dir}/new"), format!("write:{dir}/cgroup.procs")];
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let report = world.probe(&world.bundle().without_namespace("cgroup").asking(&questions));
    // A v2 mount always begins at the root of its namespace; a v1 one can be a bind of the own group.
    assert!(dir == "/sys/fs/cgroup" || report.asked(questions[0])["ok"] == "1\n", "{}", report["asked"]);
    assert_eq!(report.asked(questions[1])["errno"], 30);
    assert_eq!(report.asked(questions[2])["errno"], 30);
    Ok(())
}

/// The kernel locks nosuid, nodev, noexec and ro of a mount that enters a less privileged namespace.
fn flags_of_the_source_survive_in_a_user_namespace(world: &World) -> Outcome {
    let host = world.path("locked");
    fs::create_dir(&host).unwrap();
    let bundle = world.bundle().with_user_namespace(100_000, 65536).bind(&host, "/mnt", &["bind", "ro"]);
    let id = world.id();
    let inner =
        format!("mount -t tmpfs -o nosuid,nodev,noexec,mode=777 it-locked {host} || exit 99\nexec \"$@\"");
    let mut command = std::process::Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation", "private", "/bin/bash", "-c", &inner, "bash"])
        .arg(&world.runtime);
    command.arg("--root").arg(&world.root).args(["run", "--bundle", bundle.path(), &id]);
    let flags = Report(world.finish(&mut command).ok().json()).mount_flags("/mnt");
    for flag in ["nosuid", "nodev", "noexec", "ro"] {
        assert!(flags.contains(flag), "{flag}: {flags:?}");
    }
    Ok(())
}

fn remount_changes_an_earlier_mount(world: &World) -> Outcome {
    let bundle = tmpfs(world.bundle(), "/mnt", &["mode=755"]);
    let again = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro", "nosuid"]});
    let report = world.probe(&bundle.mount(again));
    assert!(
        report.mount_flags("/mnt").is_superset(&["ro", "nosuid"].map(str::to_owned).into()),
        "{}",
        report["mounts"]
    );
    let mounts =
        report["mounts"].as_array().unwrap().iter().filter(|mount| mount["target"] == "/mnt").count();
    assert_eq!(mounts, 1);
    Ok(())
}

fn relative_destination_is_taken_from_the_root(world: &World) -> Outcome {
    let report = world.probe(&tmpfs(world.bundle(), "mnt/relative", &[]));
    assert!(report.mount("/mnt/relative").is_some());
    Ok(())
}

fn symlinked_destination_stays_in_the_root(world: &World) -> Outcome {
    let bundle = tmpfs(world.bundle(), "/link/dir", &[]);
    fs::create_dir(bundle.rootfs("srv")).unwrap();
    symlink("/srv", bundle.rootfs("link")).unwrap();
    let report = world.probe(&bundle);
    assert!(report.mount("/srv/dir").is_some(), "{}", report["mounts"]);
    assert!(bundle.rootfs("srv/dir").is_dir());
    Ok(())
}

fn no_pivot_runs(world: &World) -> Outcome {
    let (bundle, id) = (world.bundle().asking(&["stat:/bin/probe", "list:/"]), world.id());
    let ran = world.orlop(&["run", "--no-pivot", "--bundle", bundle.path(), &id]).ok();
    let report = Report(ran.json());
    assert_eq!(report.asked("stat:/bin/probe")["type"], "file");
    assert!(report.asked("list:/")["work"].is_null() && report.asked("list:/")["usr"].is_null());
    Ok(())
}

/// The host's tree stays below a root that was moved, and one view of the kernel in it that nothing covers would do for a
/// user namespace inside to mount proc without the masks.
fn no_pivot_leaves_no_view_of_the_kernel_below(world: &World) -> Outcome {
    let inside = "/bin/busybox mount -t proc none /proc && echo mounted || echo refused";
    let bundle =
        world.bundle().args(&["/bin/busybox", "unshare", "-mrpf", "/bin/sh", "-c", inside]).edit(|config| {
            let sets = config["process"]["capabilities"].as_object_mut().unwrap();
            ["bounding", "permitted"]
                .iter()
                .for_each(|set| sets[*set].as_array_mut().unwrap().push("CAP_SETFCAP".into()));
        });
    let elsewhere = source(world, "elsewhere");
    // Twice, one upon the other, and at a place of its own.
    let inner = format!(
        "mount -t proc it-second /proc && mount -t proc it-third {elsewhere} || exit 99\nexec \"$@\""
    );
    let mut command = std::process::Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation", "private", "/bin/bash", "-c", &inner, "bash"])
        .arg(&world.runtime);
    command.arg("--root").arg(&world.root).args([
        "run",
        "--no-pivot",
        "--bundle",
        bundle.path(),
        &world.id(),
    ]);
    let ran = world.finish(&mut command).ok();
    assert!(ran.out.contains("refused"), "{}{}", ran.out, ran.err);
    Ok(())
}

fn a_hundred_mounts_work(world: &World) -> Outcome {
    let host = source(world, "source");
    let bundle = (0..100).fold(world.bundle(), |bundle, number| {
        bundle.bind(&host, &format!("/mnt/{number}"), &["rbind", "ro", "nosuid"])
    });
    let report = world.probe(&bundle);
    let count = report["mounts"].as_array().unwrap().iter();
    assert_eq!(
        count
            .filter(|mount| mount["target"].as_str().is_some_and(|target| target.starts_with("/mnt/")))
            .count(),
        100
    );
    Ok(())
}

fn host_mounts_are_not_visible_inside(world: &World) -> Outcome {
    let report = world.probe(&world.bundle().without_mount("/dev/mqueue"));
    let allowed = |target: &str| {
        target == "/"
            || ["/proc", "/dev", "/sys"]
                .iter()
                .any(|top| target == *top || target.starts_with(&format!("{top}/")))
    };
    let strange: Vec<&Value> = report["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| !mount["target"].as_str().is_some_and(allowed))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    Ok(())
}

fn root_by_absolute_path_works(world: &World) -> Outcome {
    let bundle = world.bundle();
    let path = bundle.rootfs("").display().to_string();
    world.probe(&bundle.edit(|config| config["root"]["path"] = json!(path)));
    Ok(())
}

fn a_missing_root_is_refused_and_named(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["root"]["path"] = json!("no-such-root"));
    world.refused(&bundle).says("no-such-root");
    let none = world.bundle().edit(|config| drop(config.as_object_mut().unwrap().remove("root")));
    world.refused(&none);
    Ok(())
}

/// Images link /etc/resolv.conf into a /run that is empty. What is made is inside the root, whatever the link says.
fn a_dangling_link_of_the_image_is_followed_inside_the_container(world: &World) -> Outcome {
    let source = world.file("resolv", "by the host");
    let cases = [
        ("../run/resolve/stub.conf", "/run/resolve/stub.conf"),
        ("/var/lib/deep/er/file", "/var/lib/deep/er/file"),
        ("../../../../it-escape", "/it-escape"),
        ("first", "/tmp/second"),
    ];
    for (link, target) in cases {
        let bundle = world.shell(&format!("cat /etc/dangling {target}"));
        fs::create_dir_all(bundle.rootfs("etc")).unwrap();
        symlink(link, bundle.rootfs("etc/dangling")).unwrap();
        symlink("/tmp/second", bundle.rootfs("etc/first")).unwrap();
        let bundle = bundle.bind(&source, "/etc/dangling", &["bind", "ro"]);
        assert_eq!(world.output_of(&bundle), "by the hostby the host", "{link}");
    }
    assert!(!std::path::Path::new("/it-escape").exists());
    let bundle = world.shell("true");
    symlink("loop", bundle.rootfs("loop")).unwrap();
    world.refused(&bundle.bind(&source, "/loop", &["bind"])).says("ELOOP");
    Ok(())
}
