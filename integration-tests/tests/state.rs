//! State: records that are damaged, foreign or abandoned, and init processes that nobody waits for.
//!
//! This test program is the subreaper of its containers and never waits for them, so an ended init stays a zombie,
//! as it does under an engine that has not come to reap it yet.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::{is_alive, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, World, cases, harness, leaks};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).expect("subreaper");
    harness::main(cases![
        a_zombie_init_is_stopped_and_can_be_deleted,
        a_killed_zombie_can_be_deleted_by_force,
        state_directories_are_private_whatever_the_umask,
        a_damaged_record_breaks_no_other_container,
        a_damaged_record_can_be_deleted_by_force,
        an_abandoned_claim_is_taken_or_deleted,
        strange_files_in_the_root_are_no_containers,
        a_root_that_is_no_directory_is_refused,
        a_full_disk_leaves_nothing,
        a_read_only_root_leaves_nothing,
        a_record_of_another_boot_is_stopped,
        kill_before_the_record_says_created_is_safe,
        two_hundred_states_change_nothing,
    ])
}

fn a_zombie_init_is_stopped_and_can_be_deleted(world: &World) -> Outcome {
    let id = world.create(&world.bundle().args(&["/bin/true"]));
    let pid = world.pid(&id);
    world.orlop(&["start", &id]).ok();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until("init is a zombie", LIMIT, || stat().contains(") Z"));
    assert_eq!(world.status(&id), "stopped");
    let listed = world.orlop(&["list"]).ok().out;
    assert!(listed.contains("stopped"), "{listed}");
    world.orlop(&["kill", &id, "TERM"]).fails().says_any(&["not running", "no such process"]);
    world.orlop(&["delete", &id]).ok();
    assert!(stat().contains(") Z"), "the runtime reaped a process that is not its own");
    Ok(())
}

fn a_killed_zombie_can_be_deleted_by_force(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    let pid = world.pid(&id);
    world.orlop(&["delete", "--force", &id]).ok();
    assert!(!is_alive(pid));
    let left = leaks::find(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Everything below the state root.
fn tree(world: &World) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![world.root.clone()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

fn state_directories_are_private_whatever_the_umask(world: &World) -> Outcome {
    world.only_orlop()?;
    for umask in ["0", "0777", "0022"] {
        let bundle = world.bundle();
        let id = world.id();
        world.orlop_after(&format!("umask {umask}"), &["create", "--bundle", bundle.path(), &id]).ok();
        let mut paths = tree(world);
        paths.push(world.root.clone());
        for path in paths {
            let meta = fs::symlink_metadata(&path).unwrap();
            let expected = if meta.is_dir() { 0o700 } else { 0o600 };
            // A socket's mode is that of the umask at bind; it is 0600 or narrower inside a directory of 0700.
            assert_eq!(
                meta.mode() & 0o777 & !expected,
                0,
                "umask {umask}: {} {:o}",
                path.display(),
                meta.mode()
            );
        }
        world.orlop(&["state", &id]).ok();
        world.orlop(&["delete", "--force", &id]).ok();
    }
    Ok(())
}

/// The regular files that the runtime keeps for a container.
fn records(world: &World, id: &str) -> Vec<PathBuf> {
    let files = tree(world).into_iter().filter(|path| path.is_file());
    files.filter(|path| path.to_string_lossy().contains(id)).collect()
}

/// Something done to a file.
type Damage = Box<dyn Fn(&PathBuf)>;

/// Twelve ways in which a file can be wrong.
fn damages() -> Vec<(&'static str, Damage)> {
    fn put(text: &'static [u8]) -> Damage {
        Box::new(move |path| fs::write(path, text).unwrap())
    }
    vec![
        ("empty", put(b"")),
        ("null", put(b"null")),
        ("an empty object", put(b"{}")),
        ("an array", put(b"[[[[")),
        ("text", put(b"no record at all\n")),
        ("zeroes", put(&[0; 16384])),
        ("ones", put(&[0xff; 16384])),
        ("huge", Box::new(|path| fs::write(path, vec![b'x'; 32 << 20]).unwrap())),
        (
            "half",
            Box::new(|path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }),
        ),
        (
            "flipped bits",
            Box::new(|path| {
                let bytes: Vec<u8> = fs::read(path).unwrap().iter().map(|byte| byte ^ 0x10).collect();
                fs::write(path, bytes).unwrap();
            }),
        ),
        (
            "a directory",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ),
        (
            "a symlink",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                symlink("/etc/passwd", path).unwrap();
            }),
        ),
    ]
}

fn a_damaged_record_breaks_no_other_container(world: &World) -> Outcome {
    world.only_orlop()?;
    let healthy = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    for (what, damage) in damages() {
        let id = world.started(&world.bundle().args(&["/bin/sleep", "1001"]));
        let files = records(world, &id);
        assert!(!files.is_empty());
        files.iter().for_each(damage);
        assert_eq!(world.status(&healthy), "running", "{what}");
        let listed = world.orlop(&["list"]).ok().out;
        assert!(listed.contains(&healthy), "{what}: {listed}");
        for command in ["state", "start", "kill"] {
            let ran = world.orlop(&[command, &id]);
            assert!(ran.signal.is_none() && !ran.err.contains("panicked"), "{what}: {ran}");
        }
        world.orlop(&["delete", "--force", &id]);
        leaks::remove(&[&id]);
        tree(world)
            .into_iter()
            .filter(|path| path.ends_with(&id))
            .for_each(|path| drop(fs::remove_dir_all(path)));
    }
    Ok(())
}

/// With a record that says nothing, delete may fail, but then it must not say that all is done.
fn a_damaged_record_can_be_deleted_by_force(world: &World) -> Outcome {
    world.only_orlop()?;
    for (what, damage) in damages() {
        let id = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
        let pid = world.pid(&id);
        records(world, &id).iter().for_each(damage);
        let ran = world.orlop(&["delete", "--force", &id]);
        assert!(ran.signal.is_none() && !ran.err.contains("panicked"), "{what}: {ran}");
        if ran.code == Some(0) {
            let left = leaks::settled(&[&id], &world.root);
            assert!(
                !is_alive(pid) && left.is_empty(),
                "{what}: delete said it was done, but {left:?}\n{ran}"
            );
        }
        leaks::remove(&[&id]);
        tree(world)
            .into_iter()
            .filter(|path| path.ends_with(&id))
            .for_each(|path| drop(fs::remove_dir_all(path)));
    }
    Ok(())
}

/// What SIGKILL between mkdir and the first record leaves.
fn an_abandoned_claim_is_taken_or_deleted(world: &World) -> Outcome {
    world.only_orlop()?;
    let (taken, deleted) = (world.id(), world.id());
    for id in [&taken, &deleted] {
        fs::create_dir_all(world.root.join(id)).unwrap();
    }
    world.orlop(&["list"]).ok();
    world.orlop(&["create", "--bundle", world.bundle().path(), &taken]).ok();
    assert_eq!(world.status(&taken), "created");
    world.orlop(&["delete", "--force", &deleted]).ok();
    assert!(!world.root.join(&deleted).exists());
    Ok(())
}

fn strange_files_in_the_root_are_no_containers(world: &World) -> Outcome {
    world.only_orlop()?;
    let healthy = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    fs::write(world.root.join("it-file"), "x").unwrap();
    symlink("/etc", world.root.join("it-link")).unwrap();
    fs::create_dir(world.root.join("it-ünicode")).unwrap();
    fs::create_dir(world.root.join("it with space")).unwrap();
    let listed = world.orlop(&["list", "-q"]).ok().out;
    assert!(listed.lines().any(|line| line == healthy), "{listed}");
    assert!(
        !listed.contains("it-file") && !listed.contains("it-link") && !listed.contains("space"),
        "{listed}"
    );
    world.orlop(&["delete", "--force", "it-link"]);
    assert!(PathBuf::from("/etc/passwd").exists());
    for name in ["it-file", "it-link"] {
        let _ = fs::remove_file(world.root.join(name));
    }
    for name in ["it-ünicode", "it with space"] {
        fs::remove_dir(world.root.join(name)).unwrap();
    }
    Ok(())
}

fn a_root_that_is_no_directory_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle();
    let file = world.file("plain", "");
    let id = world.id();
    for root in [&file, "/", ""] {
        let mut command = Command::new(&world.runtime);
        command.args(["--root", root, "create", "--bundle", bundle.path(), &id]);
        world.finish(&mut command).fails();
    }
    Ok(())
}

/// `create` with the state root on a filesystem that cannot take it.
fn create_on(world: &World, options: &str) {
    let bundle = world.bundle();
    let id = world.id();
    fs::create_dir_all(&world.root).unwrap();
    let root = world.root.display();
    let inner = format!(
        "mount -t tmpfs -o {options} it-state {root} || exit 0\n\"$@\"; code=$?; ls -A {root}; exit $code"
    );
    let mut command = Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation", "private", "/bin/bash", "-c", &inner, "bash"])
        .arg(&world.runtime);
    command.arg("--root").arg(&world.root).args(["create", "--bundle", bundle.path(), &id]);
    let ran = world.finish(&mut command).fails();
    assert_eq!(ran.out, "", "something is left in the state root: {ran}");
    let left = leaks::settled(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}\n{ran}");
}

fn a_full_disk_leaves_nothing(world: &World) -> Outcome {
    world.only_orlop()?;
    // nr_blocks=1: the directory takes none, the record does not fit.
    create_on(world, "nr_blocks=1");
    create_on(world, "nr_inodes=1");
    create_on(world, "nr_inodes=2");
    Ok(())
}

fn a_read_only_root_leaves_nothing(world: &World) -> Outcome {
    create_on(world, "ro");
    Ok(())
}

/// A record whose boot id is another: what it names is gone, whatever has its numbers now.
fn a_record_of_another_boot_is_stopped(world: &World) -> Outcome {
    world.only_orlop()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = world.file("boot_id", "00000000-1111-2222-3333-444444444444\n");
    let id = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    let pid = world.pid(&id);
    let inner = format!("mount --bind {other} /proc/sys/kernel/random/boot_id || exit 99\nexec \"$@\"");
    let elsewhere = |words: &[&str]| {
        let mut command = Command::new("/usr/bin/unshare");
        command
            .args(["--mount", "--propagation", "private", "/bin/bash", "-c", &inner, "bash"])
            .arg(&world.runtime);
        command.arg("--root").arg(&world.root).args(words);
        world.finish(&mut command)
    };
    let state = elsewhere(&["state", &id]);
    assert_ne!(state.code, Some(99), "the boot id could not be replaced");
    if state.clone().ok().json()["status"] == "running" {
        return harness::skip("the boot id is read from where a bind mount does not reach");
    }
    assert_eq!(state.json()["status"], "stopped");
    elsewhere(&["kill", &id, "KILL"]).fails();
    assert!(is_alive(pid), "a process of another boot was signalled");
    assert_eq!(boot, fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
    Ok(())
}

fn kill_before_the_record_says_created_is_safe(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["hooks"]["createRuntime"] =
            serde_json::json!([{"path": "/bin/sleep", "args": ["sleep", "3"]}]);
    });
    let id = world.id();
    let running = world.begin(&mut world.command(&["create", "--bundle", bundle.path(), &id]));
    std::thread::sleep(std::time::Duration::from_millis(500));
    for words in [vec!["state", &id], vec!["kill", &id, "KILL"], vec!["start", &id], vec!["list"]] {
        let ran = world.orlop(&words);
        assert!(ran.signal.is_none(), "{ran}");
    }
    running.end(LIMIT);
    world.orlop(&["delete", "--force", &id]).ok();
    Ok(())
}

fn two_hundred_states_change_nothing(world: &World) -> Outcome {
    let id = world.create(&world.bundle());
    let before = world.state(&id);
    for _ in 0..200 {
        assert_eq!(world.state(&id), before);
    }
    assert_eq!(fs::metadata(&world.dir).unwrap().permissions().mode() & 0o777, 0o755);
    Ok(())
}
