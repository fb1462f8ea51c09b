//! Masked and read-only paths.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Bundle, Outcome, World, cases, harness};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        a_masked_file_is_empty_and_the_null_device,
        a_masked_directory_is_empty_and_read_only,
        an_absent_masked_path_is_skipped,
        every_masked_file_of_the_default_list_is_empty,
        duplicate_and_nested_masks_work,
        masks_hold_with_a_read_only_root,
        masks_hold_in_a_user_namespace,
        a_symlinked_mask_stays_in_the_root,
        a_read_only_path_refuses_writes,
        a_read_only_path_keeps_its_flags,
        an_absent_read_only_path_is_skipped,
        relative_hidden_paths_are_refused,
        a_thousand_masks_start_in_time,
    ])
}

fn hidden(bundle: Bundle, key: &str, paths: &[&str]) -> Bundle {
    bundle.edit(|config| config["linux"][key] = json!(paths))
}

fn a_masked_file_is_empty_and_the_null_device(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["read:/etc/passwd", "stat:/etc/passwd", "read:/proc/cpuinfo"]);
    let report = world.probe(&hidden(bundle, "maskedPaths", &["/etc/passwd", "/proc/cpuinfo"]));
    assert_eq!(report.asked("read:/etc/passwd")["ok"], "");
    assert_eq!(report.asked("read:/proc/cpuinfo")["ok"], "");
    assert_eq!(report.asked("stat:/etc/passwd")["rdev"], "1:3");
    Ok(())
}

fn a_masked_directory_is_empty_and_read_only(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["list:/var", "mkdir:/var/new", "list:/proc/bus"]);
    fs::write(bundle.rootfs("var/secret"), "secret").unwrap();
    let report = world.probe(&hidden(bundle, "maskedPaths", &["/var", "/proc/bus"]));
    assert_eq!(report.asked("list:/var"), &json!({}));
    assert_eq!(report.asked("list:/proc/bus"), &json!({}));
    assert_eq!(report.asked("mkdir:/var/new")["errno"], 30);
    Ok(())
}

fn an_absent_masked_path_is_skipped(world: &World) -> Outcome {
    let bundle = hidden(world.bundle(), "maskedPaths", &["/no/such/path", "/proc/no-such"]);
    world.probe(&bundle);
    assert!(!bundle.rootfs("no").exists());
    Ok(())
}

fn every_masked_file_of_the_default_list_is_empty(world: &World) -> Outcome {
    let files = ["/proc/kcore", "/proc/keys", "/proc/timer_list"];
    let questions: Vec<String> = files.iter().map(|path| format!("stat:{path}")).collect();
    let report =
        world.probe(&world.bundle().asking(&questions.iter().map(String::as_str).collect::<Vec<_>>()));
    for question in &questions {
        let stat = report.asked(question);
        assert!(stat["rdev"] == "1:3" || stat["errno"] == 2, "{question}: {stat}");
    }
    Ok(())
}

fn duplicate_and_nested_masks_work(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["list:/var", "stat:/etc/group"]);
    fs::create_dir_all(bundle.rootfs("var/lib/deep")).unwrap();
    let paths = ["/var/lib/deep", "/var/lib", "/var", "/var", "/etc/group", "/etc/group", "//etc/./group"];
    let report = world.probe(&hidden(bundle, "maskedPaths", &paths));
    assert_eq!(report.asked("list:/var"), &json!({}));
    assert_eq!(report.asked("stat:/etc/group")["rdev"], "1:3");
    Ok(())
}

fn masks_hold_with_a_read_only_root(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&["read:/etc/passwd", "list:/var"]).edit(|config| {
        config["root"]["readonly"] = json!(true);
    });
    let report = world.probe(&hidden(bundle, "maskedPaths", &["/etc/passwd", "/var"]));
    assert_eq!(report.asked("read:/etc/passwd")["ok"], "");
    assert_eq!(report.asked("list:/var"), &json!({}));
    Ok(())
}

fn masks_hold_in_a_user_namespace(world: &World) -> Outcome {
    let bundle = world.bundle().asking(&[
        "stat:/proc/keys",
        "stat:/proc/timer_list",
        "write:/proc/sys/kernel/hostname",
    ]);
    let report = world.probe(&bundle.with_user_namespace(100_000, 65536));
    assert_eq!(report.asked("stat:/proc/keys")["rdev"], "1:3");
    assert_eq!(report.asked("stat:/proc/timer_list")["rdev"], "1:3");
    assert!(report.mount_flags("/proc/sys").contains("ro"));
    assert!(report.asked("write:/proc/sys/kernel/hostname")["errno"].is_number());
    Ok(())
}

fn a_symlinked_mask_stays_in_the_root(world: &World) -> Outcome {
    let secret = world.file("secret", "of the host\n");
    let bundle = world.bundle().asking(&["read:/etc/passwd"]);
    symlink(&secret, bundle.rootfs("etc/link")).unwrap();
    symlink("passwd", bundle.rootfs("etc/inner")).unwrap();
    let ran = world.run(&hidden(bundle, "maskedPaths", &["/etc/link", "/etc/inner"]));
    assert!(ran.code.is_some(), "{ran}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host\n");
    Ok(())
}

fn a_read_only_path_refuses_writes(world: &World) -> Outcome {
    let bundle =
        world.bundle().asking(&["mkdir:/var/new", "write:/etc/passwd", "write:/proc/sys/kernel/hostname"]);
    let report = world.probe(&hidden(bundle, "readonlyPaths", &["/var", "/etc/passwd", "/proc/sys"]));
    for question in ["mkdir:/var/new", "write:/etc/passwd", "write:/proc/sys/kernel/hostname"] {
        assert_eq!(report.asked(question)["errno"], 30, "{question}");
    }
    Ok(())
}

/// Making a path read-only must not take nosuid, nodev or noexec away from the mount it is on.
fn a_read_only_path_keeps_its_flags(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["linux"]["readonlyPaths"] = json!(["/dev/shm", "/dev/mqueue"]);
    });
    let report = world.probe(&bundle);
    for path in ["/dev/shm", "/dev/mqueue"] {
        let flags = report.mount_flags(path);
        assert!(
            ["ro", "nosuid", "nodev", "noexec"].iter().all(|flag| flags.contains(*flag)),
            "{path}: {flags:?}"
        );
    }
    Ok(())
}

fn an_absent_read_only_path_is_skipped(world: &World) -> Outcome {
    world.probe(&hidden(world.bundle(), "readonlyPaths", &["/no/such/path", "/proc/no-such"]));
    Ok(())
}

fn relative_hidden_paths_are_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    for key in ["maskedPaths", "readonlyPaths"] {
        world.refused(&hidden(world.bundle(), key, &["etc/passwd"])).says(key);
    }
    Ok(())
}

fn a_thousand_masks_start_in_time(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]);
    let paths: Vec<String> = (0..1000).map(|number| format!("/var/masked/{number}")).collect();
    for path in &paths {
        fs::create_dir_all(bundle.rootfs(path.trim_start_matches('/'))).unwrap();
    }
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let ran = world.run(&hidden(bundle, "maskedPaths", &paths)).ok();
    assert!(ran.took.as_secs() < 5, "{ran}");
    Ok(())
}
