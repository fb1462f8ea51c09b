//! Devices: the default ones, those of the configuration, and what happens to files that stand in their place.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Bundle, Outcome, Report, World, cases, harness};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        default_devices_are_there,
        default_links_are_there,
        devices_belong_to_the_containers_root,
        umask_of_the_caller_does_not_reach_device_modes,
        configured_devices_are_made_exactly,
        a_device_outside_dev_is_made,
        a_configured_device_replaces_the_default_one,
        a_matching_existing_device_is_kept,
        a_mismatching_existing_file_is_refused,
        a_bad_device_is_refused_and_named,
        console_exists_only_with_a_terminal,
        default_devices_work,
    ])
}

const DEFAULT: [(&str, &str); 6] = [
    ("null", "1:3"),
    ("zero", "1:5"),
    ("full", "1:7"),
    ("random", "1:8"),
    ("urandom", "1:9"),
    ("tty", "5:0"),
];

fn with_devices(bundle: Bundle, devices: Value) -> Bundle {
    bundle.edit(|config| config["linux"]["devices"] = devices)
}

fn default_devices_are_there(world: &World) -> Outcome {
    let report = world.probe(&world.bundle());
    for (name, rdev) in DEFAULT {
        let device = &report["devices"][name];
        assert_eq!((&device["type"], &device["rdev"]), (&json!("char"), &json!(rdev)), "{name}: {device}");
        assert_eq!(
            (&device["mode"], &device["uid"], &device["gid"]),
            (&json!("666"), &json!(0), &json!(0)),
            "{name}"
        );
    }
    Ok(())
}

fn default_links_are_there(world: &World) -> Outcome {
    let report = world.probe(&world.bundle());
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        assert_eq!(report["devices"][name]["link"], target, "{name}");
    }
    Ok(())
}

/// A user namespace cannot make devices; the host's are bound in its place.
fn devices_belong_to_the_containers_root(world: &World) -> Outcome {
    let report = world.probe(&world.bundle().with_user_namespace(100_000, 65536));
    for (name, rdev) in DEFAULT {
        let device = &report["devices"][name];
        assert_eq!((&device["type"], &device["rdev"]), (&json!("char"), &json!(rdev)), "{name}: {device}");
    }
    Ok(())
}

fn umask_of_the_caller_does_not_reach_device_modes(world: &World) -> Outcome {
    let bundle = with_devices(
        world.bundle(),
        json!([{"path": "/dev/it", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}]),
    );
    let id = world.id();
    let ran = world.orlop_after("umask 0077", &["run", "--bundle", bundle.path(), &id]).ok();
    let report = Report(ran.json());
    for name in ["null", "tty", "it"] {
        assert_eq!(report["devices"][name]["mode"], "666", "{name}");
    }
    Ok(())
}

fn configured_devices_are_made_exactly(world: &World) -> Outcome {
    let bundle = with_devices(
        world.bundle(),
        json!([
            {"path": "/dev/it-char", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/it-unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600},
            {"path": "/dev/it-block", "type": "b", "major": 7, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 0},
            {"path": "/dev/it-pipe", "type": "p", "fileMode": 0o622, "uid": 9, "gid": 9},
            {"path": "/dev/deep/er/it", "type": "c", "major": 1, "minor": 7, "fileMode": 0o444}
        ]),
    );
    let report = world.probe(&bundle.asking(&["stat:/dev/deep/er/it"]));
    let facts =
        |value: &Value| json!([value["type"], value["rdev"], value["mode"], value["uid"], value["gid"]]);
    assert_eq!(facts(&report["devices"]["it-char"]), json!(["char", "1:3", "640", 7, 8]));
    assert_eq!(facts(&report["devices"]["it-unbuffered"]), json!(["char", "1:5", "600", 0, 0]));
    assert_eq!(facts(&report["devices"]["it-block"]), json!(["block", "7:3", "600", 0, 0]));
    assert_eq!(facts(&report["devices"]["it-pipe"]), json!(["fifo", "0:0", "622", 9, 9]));
    assert_eq!(facts(report.asked("stat:/dev/deep/er/it")), json!(["char", "1:7", "444", 0, 0]));
    Ok(())
}

fn a_device_outside_dev_is_made(world: &World) -> Outcome {
    let device = json!([{"path": "/opt/it", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    let report = world.probe(&with_devices(world.bundle().asking(&["stat:/opt/it"]), device));
    assert_eq!(report.asked("stat:/opt/it")["rdev"], "1:3");
    Ok(())
}

fn a_configured_device_replaces_the_default_one(world: &World) -> Outcome {
    let device = json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 3, "gid": 4}]);
    let found = world.probe(&with_devices(world.bundle(), device))["devices"]["zero"].clone();
    assert_eq!(
        json!([found["rdev"], found["mode"], found["uid"], found["gid"]]),
        json!(["1:5", "600", 3, 4])
    );
    Ok(())
}

/// Without a mount on /dev the image's own files are in the way.
fn in_image(world: &World, prepare: &[&str]) -> Bundle {
    let bundle = world.bundle().without_mount("/dev").without_mount("/dev/pts").without_mount("/dev/shm");
    let bundle = bundle.without_mount("/dev/mqueue");
    let (program, words) = prepare.split_first().unwrap();
    world.finish(Command::new(program).args(words).current_dir(bundle.rootfs("dev"))).ok();
    bundle
}

fn a_matching_existing_device_is_kept(world: &World) -> Outcome {
    let bundle = in_image(world, &["mknod", "-m", "666", "it", "c", "1", "3"]);
    let device = json!([{"path": "/dev/it", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}]);
    assert_eq!(world.probe(&with_devices(bundle, device))["devices"]["it"]["rdev"], "1:3");
    Ok(())
}

fn a_mismatching_existing_file_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let prepared: [&[&str]; 4] = [
        &["touch", "it"],
        &["mkfifo", "it"],
        &["mknod", "it", "c", "1", "5"],
        &["mknod", "it", "b", "1", "3"],
    ];
    for prepare in prepared {
        let device = json!([{"path": "/dev/it", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
        world.refused(&with_devices(in_image(world, prepare), device)).says("linux.devices[0]");
    }
    Ok(())
}

fn a_bad_device_is_refused_and_named(world: &World) -> Outcome {
    world.only_orlop()?;
    let bad = [
        json!([{"path": "/dev/it", "type": "x", "major": 1, "minor": 3}]),
        json!([{"path": "dev/it", "type": "c", "major": 1, "minor": 3}]),
        json!([{"path": "/dev/it", "type": "c"}]),
        json!([{"type": "c", "major": 1, "minor": 3}]),
    ];
    for devices in bad {
        world.refused(&with_devices(world.bundle(), devices)).says("devices[0]");
    }
    Ok(())
}

fn console_exists_only_with_a_terminal(world: &World) -> Outcome {
    assert!(world.probe(&world.bundle())["devices"]["console"].is_null());
    Ok(())
}

fn default_devices_work(world: &World) -> Outcome {
    let script = "echo gone > /dev/null; cat /dev/null; dd if=/dev/zero bs=4 count=1 2>/dev/null | cat -v; \
        dd if=/dev/urandom bs=8 count=1 2>/dev/null | wc -c 2>/dev/null || echo 8; echo full > /dev/full || echo refused";
    let out = world.output_of(&world.shell(script));
    assert!(out.starts_with("^@^@^@^@") && out.ends_with("refused\n"), "{out}");
    assert!(fs::metadata("/dev/null").is_ok());
    Ok(())
}
