//! checkpoint and restore: what goes on afterwards, what of the host is found again, and what is left when it fails.
//!
//! CRIU and the kernel have to agree about each other; where they do not, the tests say so and end.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::{Ran, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, World, cases, harness, leaks, pty, skip, sockets};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

fn main() -> ExitCode {
    harness::main(cases![
        a_counter_goes_on_where_it_stood,
        a_restored_container_is_a_container,
        leave_running_takes_a_picture,
        a_paused_container_stays_paused,
        a_restore_in_the_foreground_ends_as_the_program_does,
        the_standard_streams_are_the_new_callers,
        a_terminal_goes_to_the_console_socket,
        trees_of_the_host_are_attached_again,
        what_was_hidden_stays_hidden,
        a_missing_mount_point_is_made,
        connections_inside_survive,
        a_network_namespace_by_path_is_found_again,
        hooks_see_the_restored_process,
        memory_is_saved_in_steps,
        the_images_decide_nothing_about_the_host,
        more_rights_than_the_configuration_gives_are_refused,
        earlier_images_that_are_missing_are_an_error,
        only_what_runs_can_be_saved,
        a_failed_checkpoint_lets_the_container_run,
        a_failed_restore_leaves_nothing,
        without_criu_the_reason_is_told,
        a_criu_that_fails_is_quoted,
    ])
}

/// Counts into the file `count` of the root.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done";

/// Ends a test where CRIU cannot work.
fn criu_works() -> Outcome {
    works(&[])
}

fn works(arguments: &[&str]) -> Outcome {
    let mut command = Command::new("criu");
    let output = command.arg("check").args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(format!("criu check: {}", text.lines().next().unwrap_or("it fails")))
        }
        Err(error) => skip(format!("criu: {error}")),
    }
}

fn count(bundle: &Bundle) -> u64 {
    let text = fs::read_to_string(bundle.rootfs("count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[track_caller]
fn goes_on(bundle: &Bundle, beyond: u64) {
    wait_until("the counter goes on", LIMIT, || count(bundle) > beyond);
}

fn counting(world: &World) -> (Bundle, String) {
    let bundle = world.shell(COUNTER);
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    (bundle, id)
}

#[track_caller]
fn checkpoint(world: &World, id: &str, more: &[&str]) -> Ran {
    let images = world.path("images");
    let words = ["checkpoint", "--image-path", &images, "--work-path", &world.path("work")];
    world.orlop(&[&words[..], more, &[id]].concat())
}

#[track_caller]
fn restore(world: &World, bundle: &Bundle, id: &str, more: &[&str]) -> Ran {
    let (images, work) = (world.path("images"), world.path("work"));
    let words = ["restore", "--image-path", &images, "--work-path", &work, "--bundle", bundle.path()];
    world.orlop(&[&words[..], more, &[id]].concat())
}

#[track_caller]
fn gone(world: &World, id: &str) {
    world.orlop(&["state", id]).fails().says("does not exist");
    let left = leaks::settled(&[id], &world.root);
    assert!(left.is_empty(), "{left:?}");
}

fn a_counter_goes_on_where_it_stood(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    checkpoint(world, &id, &[]).ok();
    gone(world, &id);
    let stood = count(&bundle);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(&bundle), stood, "it must not run on");
    restore(world, &bundle, &id, &["--detach"]).ok();
    goes_on(&bundle, stood + 2);
    assert!(count(&bundle) < stood + 100, "it began where it stood");
    assert!(Path::new(&world.path("work/restore.log")).exists());
    Ok(())
}

fn a_restored_container_is_a_container(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    let groups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let before = groups(world.pid(&id));
    checkpoint(world, &id, &[]).ok();
    let stood = fs::read(bundle.rootfs("count")).unwrap();
    let pid_file = world.path("pid");
    restore(world, &bundle, &id, &["--detach", "--pid-file", &pid_file]).ok();
    let pid = world.pid(&id);
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    assert_eq!(groups(pid), before);
    let inside = world.orlop(&["exec", &id, "/bin/sh", "-c", "echo $$; cat /proc/1/comm; ls /dev/null"]).ok();
    assert!(inside.out.ends_with("sh\n/dev/null\n"), "{inside}");
    world.orlop(&["start", &id]).fails().says("cannot start an already running container");
    world.orlop(&["pause", &id]).ok();
    assert_eq!(world.status(&id), "paused");
    world.orlop(&["resume", &id]).ok();
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok();
    gone(world, &id);
    // The same images serve again, with the files as they were.
    fs::write(bundle.rootfs("count"), stood).unwrap();
    restore(world, &bundle, &id, &["--detach"]).ok();
    restore(world, &bundle, &id, &["--detach"]).fails().says("container with given ID already exists");
    world.orlop(&["delete", "--force", &id]).ok();
    gone(world, &id);
    Ok(())
}

fn leave_running_takes_a_picture(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    checkpoint(world, &id, &["--leave-running"]).ok();
    assert_eq!(world.status(&id), "running");
    goes_on(&bundle, count(&bundle) + 2);
    Ok(())
}

fn a_paused_container_stays_paused(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    world.orlop(&["pause", &id]).ok();
    checkpoint(world, &id, &["--leave-running"]).ok();
    assert_eq!(world.status(&id), "paused");
    world.orlop(&["resume", &id]).ok();
    goes_on(&bundle, count(&bundle) + 2);
    world.orlop(&["pause", &id]).ok();
    checkpoint(world, &id, &[]).ok();
    gone(world, &id);
    Ok(())
}

fn a_restore_in_the_foreground_ends_as_the_program_does(world: &World) -> Outcome {
    criu_works()?;
    let bundle = world.shell("echo 1 > /count; while ! test -e /go; do sleep 0.05; done; echo done; exit 7");
    let id = world.started(&bundle);
    goes_on(&bundle, 0);
    checkpoint(world, &id, &[]).ok();
    fs::write(bundle.rootfs("go"), "").unwrap();
    let ran = restore(world, &bundle, &id, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(7), "done\n"), "{ran}");
    gone(world, &id);
    Ok(())
}

fn the_standard_streams_are_the_new_callers(world: &World) -> Outcome {
    criu_works()?;
    let bundle =
        world.shell("echo 1 > /count; while ! test -e /go; do sleep 0.05; done; read a; echo \"got $a\"");
    let id = world.id();
    // Pipes, as engines have them.
    let script = "sleep 5 | \"$0\" \"$@\" | cat > /dev/null 2>&1 &";
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]).arg(&world.runtime).arg("--root").arg(&world.root);
    world.finish(command.args(["run", "--bundle", bundle.path(), &id])).ok();
    goes_on(&bundle, 0);
    checkpoint(world, &id, &[]).ok();
    fs::write(bundle.rootfs("go"), "").unwrap();
    let mut command = Command::new("/bin/bash");
    let script = "{ echo word; sleep 1; } | \"$0\" \"$@\" | cat";
    command.args(["-c", script]).arg(&world.runtime).arg("--root").arg(&world.root);
    let (images, work) = (world.path("images"), world.path("work"));
    let words = ["restore", "--image-path", &images, "--work-path", &work, "--bundle", bundle.path(), &id];
    let ran = world.finish(command.args(words)).ok();
    assert_eq!(ran.out, "got word\n");
    Ok(())
}

fn a_terminal_goes_to_the_console_socket(world: &World) -> Outcome {
    criu_works()?;
    let first = sockets::listen(&world.path("one"));
    let script = "echo 1 > /count; while read line; do echo \"got $line\"; tty; done";
    let bundle = world.shell(script).edit(|config| config["process"]["terminal"] = json!(true));
    let id = world.id();
    let words = ["run", "--detach", "--bundle", bundle.path(), "--console-socket", &first.path, &id];
    world.orlop(&words).ok();
    let (_, held) = first.receive();
    goes_on(&bundle, 0);
    checkpoint(world, &id, &[]).ok();
    drop(held);
    restore(world, &bundle, &id, &["--detach"]).fails().says("cannot allocate tty");
    let second = sockets::listen(&world.path("two"));
    restore(world, &bundle, &id, &["--console-socket", &second.path])
        .fails()
        .says("cannot use console socket");
    restore(world, &bundle, &id, &["--detach", "--console-socket", &second.path]).ok();
    let (_, descriptors) = second.receive();
    let [master] = descriptors.as_slice() else { panic!("{} descriptors", descriptors.len()) };
    pty::write_all(master, "hello\r");
    let mut seen = String::new();
    wait_until("the answer has come", LIMIT, || {
        seen.push_str(&pty::read_some(master, Duration::from_millis(50)));
        seen.contains("got hello") && seen.contains("/dev/pts/0")
    });
    Ok(())
}

fn trees_of_the_host_are_attached_again(world: &World) -> Outcome {
    criu_works()?;
    for name in ["read", "write", "moved"] {
        fs::create_dir_all(world.path(name)).unwrap();
    }
    fs::write(world.path("read/file"), "old").unwrap();
    let bundle = world
        .shell(COUNTER)
        .bind(&world.path("write"), "/write", &["rbind", "rw"])
        .bind(&world.path("read"), "/read", &["rbind", "ro", "nosuid"])
        .bind(&world.path("read"), "/again", &["rbind", "ro", "nosuid"])
        .bind(&world.path("read/file"), "/etc/one", &["bind", "ro"]);
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    let mounts = |world: &World| {
        let script = "for p in /read /write /again /etc/one; do grep \" $p \" /proc/self/mountinfo | cut -d' ' -f5,6; done";
        world.orlop(&["exec", &id, "/bin/sh", "-c", script]).ok().out
    };
    let before = mounts(world);
    checkpoint(world, &id, &[]).ok();
    // The configuration says what /write is now, whatever the images remember.
    let write = world.path("write");
    let bundle = bundle.edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["source"] == json!(write) {
                mount["source"] = json!(write.replace("/write", "/moved"));
            }
        }
    });
    restore(world, &bundle, &id, &["--detach"]).ok();
    assert_eq!(mounts(world), before);
    let script = "cat /read/file /etc/one; touch /write/x && ! touch /read/x && ! touch /again/x && echo ok";
    let ran = world.orlop(&["exec", &id, "/bin/sh", "-c", script]).ok();
    assert_eq!(ran.out, "oldoldok\n");
    assert!(Path::new(&world.path("moved/x")).exists() && !Path::new(&world.path("write/x")).exists());
    Ok(())
}

fn what_was_hidden_stays_hidden(world: &World) -> Outcome {
    criu_works()?;
    let bundle = world.shell(COUNTER).edit(|config| {
        config["linux"]["maskedPaths"] =
            json!(["/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/none"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    checkpoint(world, &id, &[]).ok();
    restore(world, &bundle, &id, &["--detach"]).ok();
    let script = "cat /proc/keys /proc/timer_list; ls /sys/firmware; ! echo x > /proc/sys/kernel/domainname && echo ok";
    assert_eq!(world.orlop(&["exec", &id, "/bin/sh", "-c", script]).ok().out, "ok\n");
    Ok(())
}

fn a_missing_mount_point_is_made(world: &World) -> Outcome {
    criu_works()?;
    fs::create_dir_all(world.path("tree/inner")).unwrap();
    let bundle = world.shell(COUNTER).bind(&world.path("tree"), "/made/here", &["rbind"]);
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    checkpoint(world, &id, &[]).ok();
    let stood = count(&bundle);
    fs::remove_dir_all(bundle.rootfs("made")).unwrap();
    restore(world, &bundle, &id, &["--detach"]).ok();
    goes_on(&bundle, stood);
    world.orlop(&["exec", &id, "/bin/ls", "-d", "/made/here/inner"]).ok();
    Ok(())
}

fn connections_inside_survive(world: &World) -> Outcome {
    criu_works()?;
    let script =
        "(sleep 1000 | /bin/busybox nc -l -p 7000 | while read n; do echo $n > /count; done) & sleep 0.3
        i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done | /bin/busybox nc 127.0.0.1 7000";
    let bundle = world.shell(script);
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    checkpoint(world, &id, &["--leave-running"]).fails().says("criu failed").says("tcp-established");
    goes_on(&bundle, count(&bundle) + 2);
    checkpoint(world, &id, &["--tcp-established"]).ok();
    let stood = count(&bundle);
    restore(world, &bundle, &id, &["--detach", "--tcp-established"]).ok();
    goes_on(&bundle, stood + 5);
    Ok(())
}

fn a_network_namespace_by_path_is_found_again(world: &World) -> Outcome {
    criu_works()?;
    let holder = world.id();
    let path = {
        let bundle = world.shell("exec sleep 1000");
        world.orlop(&["run", "--detach", "--bundle", bundle.path(), &holder]).ok();
        format!("/proc/{}/ns/net", world.pid(&holder))
    };
    let bundle = world.shell(COUNTER).with_namespace("network", Some(&path));
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    checkpoint(world, &id, &[]).ok();
    let stood = count(&bundle);
    restore(world, &bundle, &id, &["--detach"]).ok();
    goes_on(&bundle, stood + 2);
    let name = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(name(world.pid(&id)), name(world.pid(&holder)));
    Ok(())
}

fn hooks_see_the_restored_process(world: &World) -> Outcome {
    criu_works()?;
    let log = world.path("log");
    let hook = world.script("hook", &format!("echo \"$1 $(cat)\" >> {log}"));
    let bundle = world.shell(COUNTER).edit(|config| {
        let entry = |name: &str| json!([{"path": hook, "args": ["hook", name]}]);
        config["hooks"] = json!({"createRuntime": entry("createRuntime"), "poststop": entry("poststop")});
    });
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    checkpoint(world, &id, &[]).ok();
    let names = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["createRuntime", "poststop"]);
    restore(world, &bundle, &id, &["--detach"]).ok();
    assert_eq!(names(), ["createRuntime", "poststop", "createRuntime"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.lines().last().unwrap().contains(&format!("\"pid\":{}", world.pid(&id))), "{text}");
    world.orlop(&["delete", "--force", &id]).ok();
    assert_eq!(names().len(), 4);
    Ok(())
}

fn memory_is_saved_in_steps(world: &World) -> Outcome {
    criu_works()?;
    works(&["--feature", "mem_dirty_track"])?;
    let (bundle, id) = counting(world);
    let step = |name: &str, more: &[&str]| {
        let images = world.path(name);
        let words = ["checkpoint", "--image-path", &images, "--work-path", &world.path("work")];
        world.orlop(&[&words[..], more, &[id.as_str()]].concat()).ok()
    };
    step("pre1", &["--pre-dump"]);
    goes_on(&bundle, count(&bundle));
    step("pre2", &["--pre-dump", "--parent-path", "../pre1"]);
    goes_on(&bundle, count(&bundle));
    step("images", &["--parent-path", "../pre2"]);
    let stood = count(&bundle);
    restore(world, &bundle, &id, &["--detach"]).ok();
    goes_on(&bundle, stood + 2);
    Ok(())
}

fn the_images_decide_nothing_about_the_host(world: &World) -> Outcome {
    criu_works()?;
    fs::create_dir_all(world.path("tree")).unwrap();
    let bundle = world.shell(COUNTER).bind(&world.path("tree"), "/tree", &["rbind"]);
    let id = world.started(&bundle);
    goes_on(&bundle, 2);
    checkpoint(world, &id, &[]).ok();
    // A tree that the images name and the configuration does not is not attached from wherever it came.
    let without = bundle.edit(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/tree");
    });
    restore(world, &without, &id, &["--detach"]).fails().says("criu failed").says("restore.log");
    gone(world, &id);
    Ok(())
}

fn more_rights_than_the_configuration_gives_are_refused(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    checkpoint(world, &id, &[]).ok();
    let stood = count(&bundle);
    type Less = fn(&mut serde_json::Value);
    let table: [(&str, Less); 3] = [
        ("process.capabilities", |config| {
            config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
        }),
        ("process.noNewPrivileges", |config| config["process"]["noNewPrivileges"] = json!(true)),
        ("linux.seccomp", |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
        }),
    ];
    let original = bundle.config();
    let mut bundle = bundle;
    for (key, less) in table {
        bundle = bundle.edit(|config| {
            *config = original.clone();
            config["process"]["noNewPrivileges"] = json!(false);
            less(config);
        });
        if key == "process.noNewPrivileges" && original["process"]["noNewPrivileges"] == json!(true) {
            continue;
        }
        restore(world, &bundle, &id, &["--detach"]).fails().says(key);
        gone(world, &id);
        assert_eq!(count(&bundle), stood, "{key}: nothing may run");
    }
    Ok(())
}

/// Before CRIU is asked for anything, so that any program stands for it here.
fn earlier_images_that_are_missing_are_an_error(world: &World) -> Outcome {
    world.only_orlop()?;
    let id = world.started(&world.shell("sleep 1000"));
    let images = world.path("images");
    let options =
        ["checkpoint", "--criu", "/bin/true", "--image-path", &images, "--parent-path", "../no", &id];
    world.orlop(&options).fails().says("--parent-path: open ../no from --image-path: openat: ENOENT");
    assert_eq!(world.status(&id), "running");
    Ok(())
}

fn only_what_runs_can_be_saved(world: &World) -> Outcome {
    let id = world.create(&world.shell("exit 0"));
    checkpoint(world, &id, &[]).fails().says("Container cannot be checkpointed in created state");
    assert_eq!(world.status(&id), "created");
    world.orlop(&["start", &id]).ok();
    world.wait_stopped(&id);
    checkpoint(world, &id, &[]).fails().says("Container cannot be checkpointed in stopped state");
    checkpoint(world, "it-none", &[]).fails().says("does not exist");
    assert!(!Path::new(&world.path("images")).exists());
    Ok(())
}

fn a_failed_checkpoint_lets_the_container_run(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    let file = world.file("file", "");
    world.orlop(&["checkpoint", "--image-path", &file, &id]).fails().says("--image-path").says("ENOTDIR");
    // CRIU cannot write where a directory stands.
    for name in ["inventory.img", "pstree.img", "core-1.img"] {
        let images = world.path("images");
        fs::create_dir_all(format!("{images}/{name}")).unwrap();
        checkpoint(world, &id, &[]).fails().says("criu failed").says("dump.log");
        assert_eq!(world.status(&id), "running");
        goes_on(&bundle, count(&bundle) + 1);
        fs::remove_dir_all(images).unwrap();
    }
    Ok(())
}

fn a_failed_restore_leaves_nothing(world: &World) -> Outcome {
    criu_works()?;
    let (bundle, id) = counting(world);
    checkpoint(world, &id, &[]).ok();
    let images = world.path("images");
    for (name, bytes) in
        [("core-1.img", &b"x"[..]), ("mm-1.img", b""), ("descriptors.json", b"{"), ("pstree.img", b"y")]
    {
        let path = format!("{images}/{name}");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        restore(world, &bundle, &id, &["--detach"]).fails();
        gone(world, &id);
        fs::write(&path, whole).unwrap();
    }
    let hook = world.script("hook", "echo no >&2; exit 3");
    let original = bundle.config();
    let bundle = bundle.edit(|config| config["hooks"] = json!({"createRuntime": [{"path": hook}]}));
    restore(world, &bundle, &id, &["--detach"]).fails().says("hooks.createRuntime[0]");
    gone(world, &id);
    let bundle = bundle.edit(|config| *config = original);
    let words = ["restore", "--detach", "--image-path", &world.path("none"), "--bundle", bundle.path(), &id];
    world.orlop(&words).fails().says("--image-path").says("ENOENT");
    gone(world, &id);
    let pid_file = world.path("none/pid");
    restore(world, &bundle, &id, &["--detach", "--pid-file", &pid_file]).fails();
    gone(world, &id);
    restore(world, &bundle, &id, &["--detach"]).ok();
    Ok(())
}

fn without_criu_the_reason_is_told(world: &World) -> Outcome {
    let (bundle, id) = counting(world);
    let empty = world.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let images = world.path("images");
    let prelude = format!("export PATH={empty}");
    let words = ["checkpoint", "--image-path", &images, &id];
    world
        .orlop_after(&prelude, &words)
        .fails()
        .says("criu: executable file not found in $PATH")
        .says("install criu");
    assert!(!Path::new(&images).exists());
    goes_on(&bundle, count(&bundle) + 1);
    Ok(())
}

fn a_criu_that_fails_is_quoted(world: &World) -> Outcome {
    let (bundle, id) = counting(world);
    let fake = world.script("criu", "echo 'Error: it has no wish to' >&2; exit 1");
    for place in [world.path(""), fake.replace("/criu", "")] {
        let prelude = format!("export PATH={place}:$PATH");
        let words = ["checkpoint", "--image-path", &world.path("images"), &id];
        world.orlop_after(&prelude, &words).fails().says("criu failed").says("it has no wish to");
    }
    assert_eq!(world.status(&id), "running");
    goes_on(&bundle, count(&bundle) + 1);
    Ok(())
}
