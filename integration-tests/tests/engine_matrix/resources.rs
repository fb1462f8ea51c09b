//! Limits: what the container's own cgroup says, whichever version it has.

use crate::cell::Cell;
use crate::engine::Kind;
use crate::lifecycle::events_of;
use integration_tests::layout::{self, Layout};
use integration_tests::process::wait_until;
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, skip};
use std::fs;

fn is_v2() -> bool {
    layout::current() == Some(Layout::V2)
}

/// Ends a test of a limit where an ordinary user has none.
fn limited(cell: &Cell) -> Outcome {
    if !cell.is_rootless() {
        return Ok(());
    }
    match is_v2() {
        true => skip(
            "an ordinary user has only the controllers that systemd delegates to his session, and the test has none",
        ),
        false => skip("an ordinary user has no limits on cgroup v1"),
    }
}

/// A file of the container's cgroup, by its v1 controller and name, and by its v2 name.
fn show(v1: &str, v2: &str) -> [String; 3] {
    ["/bin/sh".to_owned(), "-c".to_owned(), format!("cat /sys/fs/cgroup/{}", if is_v2() { v2 } else { v1 })]
}

#[track_caller]
fn assert_shows(cell: &Cell, options: &[&str], files: (&str, &str), expected: (&str, &str)) {
    let program = show(files.0, files.1);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let ran = cell.run(options, &program).ok();
    let text = ran.out.trim();
    assert_eq!(text, if is_v2() { expected.1 } else { expected.0 }, "{ran}");
}

/// `ctr` mounts no cgroups by itself.
const CTR_CGROUP: &[&str] = &["--mount", "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro"];

const MEMORY: (&str, &str) = ("memory/memory.limit_in_bytes", "memory.max");
const CPU: (&str, &str) = ("cpu/cpu.cfs_quota_us", "cpu.max");
const SHARES: (&str, &str) = ("cpu/cpu.shares", "cpu.weight");
const PIDS: (&str, &str) = ("pids/pids.max", "pids.max");

pub(crate) fn memory(cell: &Cell) -> Outcome {
    limited(cell)?;
    assert_shows(cell, &["--memory", "64m"], MEMORY, ("67108864", "67108864"));
    Ok(())
}

pub(crate) fn ctr_memory(cell: &Cell) -> Outcome {
    let options = [CTR_CGROUP, &["--memory-limit", "67108864"]].concat();
    assert_shows(cell, &options, MEMORY, ("67108864", "67108864"));
    Ok(())
}

pub(crate) fn buildah_memory(cell: &Cell) -> Outcome {
    assert_shows(cell, &["--memory", "64m"], MEMORY, ("67108864", "67108864"));
    Ok(())
}

pub(crate) fn swap(cell: &Cell) -> Outcome {
    limited(cell)?;
    let options = ["--memory", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"];
    assert_shows(
        cell,
        &options,
        ("memory/memory.soft_limit_in_bytes", "memory.low"),
        ("33554432", "33554432"),
    );
    let swap = ("memory/memory.memsw.limit_in_bytes", "memory.swap.max");
    let has_swap =
        fs::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").unwrap_or(false) || is_v2();
    if has_swap {
        assert_shows(cell, &options, swap, ("100663296", "33554432"));
    }
    Ok(())
}

pub(crate) fn cpus(cell: &Cell) -> Outcome {
    limited(cell)?;
    assert_shows(cell, &["--cpus", "0.5"], CPU, ("50000", "50000 100000"));
    Ok(())
}

pub(crate) fn ctr_cpus(cell: &Cell) -> Outcome {
    let options = [CTR_CGROUP, &["--cpus", "0.5"]].concat();
    assert_shows(cell, &options, CPU, ("50000", "50000 100000"));
    Ok(())
}

pub(crate) fn buildah_cpus(cell: &Cell) -> Outcome {
    let options = ["--cpu-period", "100000", "--cpu-quota", "50000"];
    assert_shows(cell, &options, CPU, ("50000", "50000 100000"));
    Ok(())
}

/// A weight of v2 comes from the shares by a formula that changed; any of them puts it below the default of 100.
fn assert_fewer_shares(cell: &Cell, options: &[&str]) {
    let program = show(SHARES.0, SHARES.1);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let ran = cell.run(options, &program).ok();
    let value: u32 = ran.out.trim().parse().expect("a number");
    assert!(if is_v2() { (1..100).contains(&value) } else { value == 512 }, "{ran}");
}

pub(crate) fn shares(cell: &Cell) -> Outcome {
    limited(cell)?;
    assert_fewer_shares(cell, &["--cpu-shares", "512"]);
    Ok(())
}

pub(crate) fn ctr_shares(cell: &Cell) -> Outcome {
    assert_fewer_shares(cell, &[CTR_CGROUP, &["--cpu-shares", "512"]].concat());
    Ok(())
}

pub(crate) fn buildah_shares(cell: &Cell) -> Outcome {
    assert_fewer_shares(cell, &["--cpu-shares", "512"]);
    Ok(())
}

const ALLOWED: [&str; 3] = ["/bin/sh", "-c", "grep Cpus_allowed_list /proc/self/status | cut -f2"];

pub(crate) fn cpuset(cell: &Cell) -> Outcome {
    limited(cell)?;
    assert_eq!(cell.run(&["--cpuset-cpus", "0"], &ALLOWED).ok().out, "0\n");
    Ok(())
}

pub(crate) fn buildah_cpuset(cell: &Cell) -> Outcome {
    assert_eq!(cell.run(&["--cpuset-cpus", "0"], &ALLOWED).ok().out, "0\n");
    Ok(())
}

pub(crate) fn pids(cell: &Cell) -> Outcome {
    limited(cell)?;
    assert_shows(cell, &["--pids-limit", "50"], PIDS, ("50", "50"));
    Ok(())
}

/// The first disk of the machine that has a node.
fn disk() -> Option<String> {
    let names = fs::read_dir("/sys/block")
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let disks = names.filter(|name| ["vd", "sd", "nvme"].iter().any(|start| name.starts_with(start)));
    disks.map(|name| format!("/dev/{name}")).find(|path| fs::exists(path).unwrap_or(false))
}

pub(crate) fn throttle(cell: &Cell) -> Outcome {
    limited(cell)?;
    let Some(disk) = disk() else { return skip("no disk here") };
    let program = show("blkio/blkio.throttle.read_bps_device", "io.max");
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let ran = cell.run(&["--device-read-bps", &format!("{disk}:1mb")], &program).ok();
    assert!(ran.out.contains("1048576"), "{ran}");
    Ok(())
}

/// Reads so much into one buffer that the kernel ends it, when the engine has said that it runs and so listens.
const HUNGRY: [&str; 3] =
    ["/bin/sh", "-c", "until test -e /mnt/go; do sleep 0.1; done; exec dd if=/dev/zero of=/dev/null bs=64M"];

pub(crate) fn out_of_memory(cell: &Cell) -> Outcome {
    limited(cell)?;
    let name = cell.start(&["--memory", "24m", "--memory-swap", "24m", "--volume", "{dir}:/mnt"], &HUNGRY);
    fs::write(format!("{}/go", cell.share()), "").expect("file");
    cell.wait_for(&name, "{{.State.Status}}", "exited");
    assert_eq!(cell.inspect(&name, "{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 true");
    Ok(())
}

/// containerd has it as an event only.
pub(crate) fn ctr_out_of_memory(cell: &Cell) -> Outcome {
    let share = cell.share();
    let mount = format!("type=bind,src={share},dst=/mnt,options=rbind:rw");
    let program = [HUNGRY[0], HUNGRY[1], &format!("'{}'", HUNGRY[2])];
    let run = cell.line(&["--rm", "--memory-limit", "25165824", "--mount", &mount], &program);
    let line = format!(
        "{run} & client=$!; until $ENGINE task ls | grep -q RUNNING; do sleep 0.1; done; touch {share}/go; wait $client"
    );
    let (events, ran) = events_of(cell, &line, "/tasks/oom");
    assert_eq!(ran.code, Some(137), "{ran}");
    assert!(events.contains("/tasks/oom"), "{events}");
    Ok(())
}

pub(crate) fn update(cell: &Cell) -> Outcome {
    limited(cell)?;
    let name = cell.start(&["--memory", "64m", "--cpus", "0.5"], &["/bin/sleep", "1000"]);
    cell.call(&["update", "--memory", "96m", "--memory-swap", "96m", "--cpus", "0.25", &name]).ok();
    let value = |files: (&str, &str)| {
        let program = show(files.0, files.1);
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        cell.exec(&name, &[], &program).ok().out.trim().to_owned()
    };
    wait_until("the memory is updated", LIMIT, || value(MEMORY) == "100663296");
    assert_eq!(value(CPU), if is_v2() { "25000 100000" } else { "25000" });
    Ok(())
}

pub(crate) fn no_cgroups(cell: &Cell) -> Outcome {
    cell.only_podman("running without cgroups")?;
    let line = match cell.is_rootless() {
        true => cell.line(&["--rm", "--cgroups=disabled"], &["/bin/echo", "none"]),
        false => "$ENGINE run --rm --cgroups=disabled it-busybox:latest /bin/echo none".to_owned(),
    };
    assert_eq!(cell.shell(&line).ok().out, "none\n");
    Ok(())
}

pub(crate) fn ctr_no_cgroups(cell: &Cell) -> Outcome {
    let name = cell.name();
    let runtime = match cell.engine.kind {
        Kind::ContainerdShim => "--runtime io.containerd.orlop.v2".to_owned(),
        _ => format!("--runc-binary {}", cell.engine.runtime_path()),
    };
    let line = format!(
        "$ENGINE run --rm {runtime} --cgroup '' docker.io/library/it-busybox:latest {name} /bin/echo none"
    );
    assert_eq!(cell.shell(&line).ok().out, "none\n");
    Ok(())
}
