//! The mount option `tmpcopyup`: what a tmpfs starts with, and what stops the copy.
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
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        a_tmpfs_starts_with_a_copy,
        a_read_only_tmpfs_starts_with_a_copy_too,
        owners_are_right_in_a_user_namespace,
        an_owner_without_an_id_stays_out_of_reach,
        another_mount_below_becomes_an_empty_directory,
        a_tmpfs_that_is_too_small_is_an_error,
        a_link_in_the_image_is_copied_and_not_followed,
    ])
}

fn copied_up(bundle: Bundle, options: &[&str]) -> Bundle {
    let mut all = vec!["tmpcopyup"];
    all.extend(options);
    bundle.mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": all}))
}

fn with_data(world: &World, script: &str) -> Bundle {
    let bundle = world.shell(script);
    fs::create_dir_all(bundle.rootfs("data/sub")).unwrap();
    fs::write(bundle.rootfs("data/file"), "content\n").unwrap();
    fs::write(bundle.rootfs("data/sub/tool"), "tool\n").unwrap();
    fs::set_permissions(bundle.rootfs("data/sub/tool"), fs::Permissions::from_mode(0o4711)).unwrap();
    bundle
}

fn a_tmpfs_starts_with_a_copy(world: &World) -> Outcome {
    let bundle = with_data(world, "cat /data/file; stat -c %a:%u:%g /data/sub/tool; echo new > /data/file");
    chown(bundle.rootfs("data/sub"), Some(7), Some(8)).unwrap();
    let output = world.output_of(&copied_up(bundle, &[]));
    assert_eq!(output, "content\n4711:0:0\n");
    let bundle = with_data(world, "stat -c %u:%g /data/sub");
    chown(bundle.rootfs("data/sub"), Some(7), Some(8)).unwrap();
    let bundle = copied_up(bundle, &[]);
    assert_eq!(world.output_of(&bundle), "7:8\n");
    assert_eq!(fs::read_to_string(bundle.rootfs("data/file")).unwrap(), "content\n");
    Ok(())
}

fn a_read_only_tmpfs_starts_with_a_copy_too(world: &World) -> Outcome {
    let bundle = with_data(world, "cat /data/file; echo x > /data/file || echo refused");
    let ran = world.run(&copied_up(bundle, &["ro"])).ok();
    assert_eq!(ran.out, "content\nrefused\n");
    Ok(())
}

fn owners_are_right_in_a_user_namespace(world: &World) -> Outcome {
    let bundle = with_data(world, "stat -c %u:%g /data/file /data/sub /data/sub/tool; cat /data/file");
    let bundle = bundle.with_user_namespace(100_000, 65_536);
    chown(bundle.rootfs("data/file"), Some(100_000), Some(100_007)).unwrap();
    chown(bundle.rootfs("data/sub/tool"), Some(101_000), Some(101_000)).unwrap();
    let output = world.output_of(&copied_up(bundle, &[]));
    assert_eq!(output, "0:7\n0:0\n1000:1000\ncontent\n");
    Ok(())
}

/// A file of somebody for whom the container has no id must not become readable by the copy.
fn an_owner_without_an_id_stays_out_of_reach(world: &World) -> Outcome {
    let bundle = with_data(world, "stat -c %u:%g /data/file; cat /data/file 2>/dev/null || echo refused");
    let bundle = bundle.with_user_namespace(100_000, 65_536);
    fs::set_permissions(bundle.rootfs("data/file"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.output_of(&copied_up(bundle, &[])), "65534:65534\nrefused\n");
    Ok(())
}

fn another_mount_below_becomes_an_empty_directory(world: &World) -> Outcome {
    let source = world.path("other");
    fs::create_dir(&source).unwrap();
    fs::write(format!("{source}/secret"), "").unwrap();
    let bundle =
        with_data(world, "ls -A /data/sub; echo end; cat /data/file").bind(&source, "/data/sub", &["bind"]);
    assert_eq!(world.output_of(&copied_up(bundle, &[])), "end\ncontent\n");
    Ok(())
}

fn a_tmpfs_that_is_too_small_is_an_error(world: &World) -> Outcome {
    let bundle = with_data(world, "true");
    fs::write(bundle.rootfs("data/sub/large"), vec![1; 1 << 20]).unwrap();
    let ran = world.refused(&copied_up(bundle, &["size=64k"]));
    ran.says("mounts[7]").says("./sub/large").says("ENOSPC").says("too small");
    Ok(())
}

fn a_link_in_the_image_is_copied_and_not_followed(world: &World) -> Outcome {
    let outside = world.file("outside", "outside\n");
    let before = fs::metadata(&outside).unwrap();
    let bundle = with_data(world, "readlink /data/link; cat /data/link || echo nothing");
    symlink(&outside, bundle.rootfs("data/link")).unwrap();
    lchown(bundle.rootfs("data/link"), Some(7), Some(7)).unwrap();
    assert_eq!(world.run(&copied_up(bundle, &[])).ok().out, format!("{outside}\nnothing\n"));
    let after = File::open(&outside).unwrap().metadata().unwrap();
    assert_eq!((before.uid(), before.mode(), before.mtime()), (after.uid(), after.mode(), after.mtime()));
    Ok(())
}
