//! `run --seccomp-learn`: what was learned is enough for the same run, and for no more.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::world::text_of;
use integration_tests::{Bundle, Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        the_same_run_works_under_what_was_learned_and_another_does_not,
        nothing_is_learned_that_was_not_called,
        hooks_and_children_are_learned_from,
        another_entry_names_its_architecture,
        the_exit_status_is_the_programs,
        without_a_container_nothing_is_written,
    ])
}

/// A run that is learned from, and the profile.
fn learn(world: &World, bundle: &Bundle) -> Value {
    let file = world.path("learned.json");
    world.orlop(&["run", "--bundle", bundle.path(), "--seccomp-learn", &file, &world.id()]).ok();
    serde_json::from_slice(&fs::read(&file).expect("the profile")).expect("JSON")
}

fn names(profile: &Value) -> BTreeSet<String> {
    let names = profile["syscalls"][0]["names"].as_array().expect("names");
    names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn under(bundle: Bundle, profile: &Value) -> Bundle {
    bundle.edit(|config| config["linux"]["seccomp"] = profile.clone())
}

fn privileges(bundle: Bundle, no_new_privileges: bool) -> Bundle {
    bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges))
}

fn the_same_run_works_under_what_was_learned_and_another_does_not(world: &World) -> Outcome {
    const SCRIPT: &str = "cat /etc/passwd | grep walter > /tmp/found; ls -l /tmp/found; sleep 0.01";
    for no_new_privileges in [true, false] {
        let bundle = || privileges(world.shell(SCRIPT), no_new_privileges);
        let profile = learn(world, &bundle());
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let known = names(&profile);
        assert!(known.contains("execve") && known.contains("write"), "{known:?}");
        assert_eq!(known.contains("setresuid"), !no_new_privileges, "{known:?}");
        let again = world.run(&under(bundle(), &profile)).ok();
        assert!(again.out.contains("/tmp/found") && again.err.is_empty(), "{again}");
        let other =
            privileges(world.shell(&format!("{SCRIPT}; mkdir /tmp/d; chmod 700 /tmp")), no_new_privileges);
        let ran = world.run(&under(other, &profile)).fails();
        assert!(ran.out.contains("/tmp/found"), "{ran}");
        ran.says("mkdir").says("chmod");
    }
    Ok(())
}

/// The calls of a program as strace(1) sees them on the host.
fn traced(world: &World, program: &[&str]) -> BTreeSet<String> {
    let log = world.path("strace");
    let mut command = Command::new("strace");
    command.args(["-qq", "-f", "-e", "signal=none", "-o", &log]).args(program);
    assert!(command.output().expect("strace").status.success());
    let text = fs::read_to_string(&log).expect("the log");
    let call = |line: &str| Some(line.split_once(' ')?.1.trim().split_once('(')?.0.to_owned());
    text.lines().filter_map(call).collect()
}

fn nothing_is_learned_that_was_not_called(world: &World) -> Outcome {
    if !Path::new("/usr/bin/strace").is_file() {
        return skip("strace is not installed");
    }
    for program in [["/bin/busybox", "true"], ["/bin/busybox", "uname"]] {
        let bundle = world.bundle().args(&program);
        let inside = text_of(&bundle.rootfs("bin/busybox"));
        assert_eq!(names(&learn(world, &bundle)), traced(world, &[&inside, program[1]]), "{program:?}");
    }
    Ok(())
}

fn hooks_and_children_are_learned_from(world: &World) -> Outcome {
    let bundle = || {
        world.shell("(sh -c 'chmod 700 /tmp/d')").edit(|config| {
            let hook = json!({"path": "/bin/mkdir", "args": ["mkdir", "-p", "/tmp/d"]});
            config["hooks"] = json!({"startContainer": [hook]});
        })
    };
    let profile = learn(world, &bundle());
    let known = names(&profile);
    assert!(known.contains("mkdir") && known.contains("chmod"), "{known:?}");
    world.run(&under(bundle(), &profile)).ok();
    Ok(())
}

fn another_entry_names_its_architecture(world: &World) -> Outcome {
    let question = "int80:20";
    let bundle = || world.bundle().asking(&[question]);
    let plain = world.run(&bundle());
    if plain.code != Some(0) || plain.json()["asked"][question] != json!(1) {
        return skip("the kernel runs no 32-bit programs");
    }
    let profile = learn(world, &bundle());
    assert_eq!(profile["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    assert_eq!(world.run(&under(bundle(), &profile)).ok().json()["asked"][question], 1);
    let native = learn(world, &world.bundle().args(&["/bin/true"]));
    assert_eq!(native["architectures"], json!(["SCMP_ARCH_X86_64"]));
    Ok(())
}

fn the_exit_status_is_the_programs(world: &World) -> Outcome {
    let file = world.path("learned.json");
    let ran = world.orlop(&[
        "run",
        "--bundle",
        world.shell("exit 7").path(),
        "--seccomp-learn",
        &file,
        &world.id(),
    ]);
    assert_eq!(ran.code, Some(7), "{ran}");
    assert!(fs::exists(&file).unwrap());
    Ok(())
}

fn without_a_container_nothing_is_written(world: &World) -> Outcome {
    let directory = world.path("out");
    fs::create_dir(&directory).unwrap();
    let file = format!("{directory}/learned.json");
    let run = |bundle: &Bundle, more: &[&str]| {
        let id = world.id();
        let words = ["run", "--bundle", bundle.path(), "--seccomp-learn", &file];
        world.orlop(&[words.as_slice(), more, &[&id]].concat()).fails()
    };
    run(&world.shell("true"), &["--detach"]).says("--seccomp-learn").says("not with --detach");
    run(&world.bundle().args(&["/bin/nothing"]), &[]).says("no such file");
    let failing = json!({"createRuntime": [{"path": "/bin/false"}]});
    run(&world.bundle().edit(|config| config["hooks"] = failing), &[]).says("hooks.createRuntime[0]");
    let nowhere = format!("{directory}/none/learned.json");
    let bundle = world.bundle();
    let words = ["run", "--bundle", bundle.path(), "--seccomp-learn", &nowhere, "it-never"];
    world.orlop(&words).fails().says("--seccomp-learn").says("ENOENT");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    Ok(())
}
