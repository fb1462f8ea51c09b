//! Programs that cannot be executed: the error says what is missing, not only what the errno is called.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::Ran;
use integration_tests::{Bundle, Outcome, World, cases, harness, leaks};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        a_missing_path_is_named_at_create,
        a_missing_name_says_where_it_was_looked_for,
        a_dangling_link_is_named,
        a_directory_is_no_program,
        a_file_without_the_permission_is_named,
        a_file_on_a_noexec_mount_is_explained,
        a_directory_that_the_user_may_not_search_is_named,
        a_missing_interpreter_is_named_at_start,
        a_script_with_dos_line_ends_is_explained,
        a_missing_dynamic_loader_is_named,
        a_program_for_another_machine_is_named,
        a_text_and_an_empty_file_are_no_programs,
        run_that_cannot_execute_leaves_nothing,
        a_program_that_ends_at_once_was_started,
        exec_says_the_same,
    ])
}

/// An executable file in the bundle.
fn with_file(bundle: Bundle, name: &str, bytes: &[u8], mode: u32) -> Bundle {
    let path = bundle.rootfs(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    bundle
}

/// The error must contain all of `texts`; the log escapes quotes and backslashes.
#[track_caller]
fn says_all(ran: &Ran, texts: &[&str]) {
    let err = ran.err.replace("\\\"", "\"").replace("\\\\", "\\");
    texts.iter().for_each(|text| assert!(err.contains(text), "expected `{text}` on standard error of {ran}"));
}

/// `start` must fail, and the container is stopped then.
#[track_caller]
fn fails_at_start(world: &World, bundle: &Bundle, texts: &[&str]) {
    let id = world.create(bundle);
    says_all(&world.orlop(&["start", &id]).fails(), texts);
    assert_eq!(world.status(&id), "stopped");
}

#[track_caller]
fn fails_at_create(world: &World, bundle: &Bundle, texts: &[&str]) {
    says_all(&world.refused(bundle), texts);
}

fn a_missing_path_is_named_at_create(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/opt/it/none", "x"]);
    let texts =
        ["exec: \"/opt/it/none\"", "stat /opt/it/none: no such file or directory", "/opt does not exist"];
    fails_at_create(world, &bundle, &texts);
    let bundle = world.bundle().args(&["./none"]).edit(|config| config["process"]["cwd"] = json!("/etc"));
    fails_at_create(world, &bundle, &["no such file or directory", "/etc/./none does not exist"]);
    Ok(())
}

fn a_missing_name_says_where_it_was_looked_for(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["none"]);
    fails_at_create(
        world,
        &bundle,
        &["exec: \"none\": executable file not found in $PATH", "looked in /usr/local/sbin, /usr/local/bin"],
    );
    Ok(())
}

fn a_dangling_link_is_named(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/dangling"]);
    symlink("/usr/lib/none", bundle.rootfs("bin/dangling")).unwrap();
    fails_at_create(world, &bundle, &["/bin/dangling is a link to /usr/lib/none, which does not exist"]);
    Ok(())
}

fn a_directory_is_no_program(world: &World) -> Outcome {
    fails_at_create(
        world,
        &world.bundle().args(&["/etc"]),
        &["exec: \"/etc\"", "permission denied", "is a directory"],
    );
    fails_at_create(
        world,
        &world.bundle().args(&["/etc/passwd/x"]),
        &["not a directory", "/etc/passwd is not a"],
    );
    Ok(())
}

fn a_file_without_the_permission_is_named(world: &World) -> Outcome {
    let bundle = with_file(world.bundle().args(&["/bin/tool"]), "bin/tool", b"#!/bin/sh\n", 0o644);
    let texts =
        ["exec: \"/bin/tool\"", "permission denied", "/bin/tool has no execute permission (mode 0644)"];
    fails_at_create(world, &bundle, &texts);
    let bundle = with_file(world.bundle().args(&["/bin/tool"]), "bin/tool", b"#!/bin/sh\n", 0o744);
    let bundle = bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    fails_at_create(world, &bundle, &["/bin/tool (mode 0744, uid 0) is not executable for uid 1000"]);
    Ok(())
}

fn a_file_on_a_noexec_mount_is_explained(world: &World) -> Outcome {
    let source = world.path("tools");
    fs::create_dir(&source).unwrap();
    let bundle = world.bundle().bind(&source, "/opt", &["bind", "noexec"]).args(&["/opt/tool"]);
    fs::copy("/bin/busybox", format!("{source}/tool")).unwrap();
    fails_at_create(
        world,
        &bundle,
        &["permission denied", "/opt/tool is on a file system that is mounted noexec"],
    );
    Ok(())
}

fn a_directory_that_the_user_may_not_search_is_named(world: &World) -> Outcome {
    let bundle = with_file(world.bundle().args(&["/srv/in/tool"]), "srv/in/tool", b"#!/bin/sh\n", 0o755);
    fs::set_permissions(bundle.rootfs("srv"), fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    fails_at_create(world, &bundle, &["permission denied", "directory /srv is not searchable for uid 1000"]);
    Ok(())
}

fn a_missing_interpreter_is_named_at_start(world: &World) -> Outcome {
    let bundle = with_file(world.bundle().args(&["/tool"]), "tool", b"#!/usr/bin/python3 -u\n", 0o755);
    let texts = [
        "process.args[0]: exec \"/tool\": execve: ENOENT (no such file or directory)",
        "/tool begins with #!/usr/bin/python3: /usr does not exist",
    ];
    fails_at_start(world, &bundle, &texts);
    Ok(())
}

fn a_script_with_dos_line_ends_is_explained(world: &World) -> Outcome {
    let bundle = with_file(world.bundle().args(&["tool"]), "bin/tool", b"#!/bin/sh\r\necho hi\r\n", 0o755);
    let texts = [
        "exec \"tool\"",
        "no such file or directory",
        "/bin/tool begins with #!/bin/sh\\r: its lines end with CR LF",
    ];
    fails_at_start(world, &bundle, &texts);
    Ok(())
}

fn a_missing_dynamic_loader_is_named(world: &World) -> Outcome {
    let program = fs::read("/bin/bash").unwrap();
    let bundle = with_file(world.bundle().args(&["/bin/bash"]), "bin/bash", &program, 0o755);
    let texts = ["no such file or directory", "/bin/bash needs the dynamic loader /lib", "does not exist"];
    fails_at_start(world, &bundle, &texts);
    Ok(())
}

fn a_program_for_another_machine_is_named(world: &World) -> Outcome {
    let mut program = fs::read("/bin/busybox").unwrap();
    program[18..20].copy_from_slice(&22u16.to_le_bytes());
    let bundle = with_file(world.bundle().args(&["/bin/foreign"]), "bin/foreign", &program, 0o755);
    let machine = std::env::consts::ARCH;
    let text = format!("/bin/foreign is a program for s390; this machine is {machine}");
    fails_at_start(world, &bundle, &["exec format error", &text]);
    Ok(())
}

fn a_text_and_an_empty_file_are_no_programs(world: &World) -> Outcome {
    for (content, text) in [("", "/bin/tool is empty"), ("echo hi\n", "no script, which would begin with #!")]
    {
        let bundle = with_file(world.bundle().args(&["/bin/tool"]), "bin/tool", content.as_bytes(), 0o755);
        fails_at_start(world, &bundle, &["exec format error", text]);
    }
    Ok(())
}

fn run_that_cannot_execute_leaves_nothing(world: &World) -> Outcome {
    let bundle = with_file(world.bundle().args(&["/tool"]), "tool", b"#!/none\n", 0o755);
    let id = world.id();
    world
        .orlop(&["run", "--bundle", bundle.path(), &id])
        .fails()
        .says("/tool begins with #!/none: /none does not exist");
    world.orlop(&["state", &id]).fails();
    let left = leaks::settled(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// The name of a process tells whether execve(2) was reached, so a program that is gone at once must not be taken for
/// one that never ran.
fn a_program_that_ends_at_once_was_started(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]);
    for _ in 0..20 {
        world.run(&bundle).ok();
        world.wait_stopped(&world.started(&bundle));
    }
    Ok(())
}

fn exec_says_the_same(world: &World) -> Outcome {
    let bundle = with_file(world.bundle().args(&["/bin/sleep", "1000"]), "tool", b"#!/none\n", 0o755);
    let id = world.started(&with_file(bundle, "data", b"x", 0o644));
    let fails =
        |program: &str, texts: &[&str]| says_all(&world.orlop(&["exec", &id, program]).fails(), texts);
    fails("/tool", &["exec \"/tool\": execve: ENOENT", "/tool begins with #!/none: /none does not exist"]);
    fails("/data", &["exec: \"/data\": permission denied", "has no execute permission (mode 0644)"]);
    fails("none", &["exec: \"none\": executable file not found in $PATH"]);
    assert_eq!(world.status(&id), "running");
    Ok(())
}
