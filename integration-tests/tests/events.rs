//! `events --follow`: the life of a container as lines of JSON.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::layout::{self, Layout};
use integration_tests::process::{Running, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        a_life_is_told_from_its_beginning_to_its_end,
        the_exit_code_is_that_of_the_program,
        a_container_that_ended_is_told_of_as_far_as_it_is_known,
        who_attended_a_container_left_its_exit_code,
        a_forced_delete_is_an_end_with_the_usage,
        a_kill_for_memory_is_told_before_the_end_and_run_says_137,
        pressure_is_told_or_its_absence_is_said,
        a_container_without_any_log_can_be_followed,
        an_unknown_container_is_an_error,
    ])
}

fn follow(world: &World, id: &str) -> Running {
    world.begin(&mut world.command(&["events", "--follow", id]))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The types of lines, without those that depend on what else the machine does.
fn types(lines: &[Value]) -> Vec<&str> {
    let types = lines.iter().map(|line| line["type"].as_str().unwrap());
    types.filter(|kind| !kind.ends_with("_pressure")).collect()
}

fn sees(running: &Running, kind: &str) {
    wait_until(kind, LIMIT, || types(&lines(&running.output().0)).contains(&kind));
}

fn a_life_is_told_from_its_beginning_to_its_end(world: &World) -> Outcome {
    let id = world.create(&world.bundle().args(&["/bin/sleep", "1000"]));
    let pid = world.pid(&id);
    let running = follow(world, &id);
    sees(&running, "created");
    world.orlop(&["start", &id]).ok();
    sees(&running, "started");
    world.orlop(&["exec", &id, "/bin/true"]).ok();
    sees(&running, "exec");
    world.orlop(&["pause", &id]).ok();
    sees(&running, "paused");
    world.orlop(&["resume", &id]).ok();
    world.orlop(&["kill", &id, "USR1"]).ok();
    world.orlop(&["kill", &id, "KILL"]).ok();
    let ran = running.end(LIMIT).ok();
    let lines = lines(&ran.out);
    assert_eq!(types(&lines), ["created", "started", "exec", "paused", "resumed", "exited"], "{ran}");
    for line in &lines {
        assert_eq!(line["id"], json!(id));
        let time = line["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000000000Z".len(), "{time}");
    }
    assert_eq!(lines[0]["data"]["pid"], pid);
    assert!(lines[2]["data"]["pid"].as_i64().unwrap() > 0);
    let last = &lines.last().unwrap()["data"];
    assert!(last["cpuTime"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(last["code"], Value::Null, "a signal ended it: {last}");
    Ok(())
}

/// Where the kernel keeps how a process ended (6.15), also of a container that nobody attends.
fn the_exit_code_is_that_of_the_program(world: &World) -> Outcome {
    let bundle = world.shell("while [ ! -e /go ]; do sleep 0.02; done; exit 7");
    let id = world.started(&bundle);
    let running = follow(world, &id);
    sees(&running, "started");
    fs::write(bundle.rootfs("go"), "").unwrap();
    let ran = running.end(LIMIT).ok();
    let lines = lines(&ran.out);
    let code = &lines.last().unwrap()["data"]["code"];
    // Before, it is seen where the one who reaps takes his time, and else not guessed.
    assert!(*code == 7 || (code.is_null() && !kernel_keeps_the_end()), "{ran}");
    Ok(())
}

fn kernel_keeps_the_end() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 15)
}

fn a_container_that_ended_is_told_of_as_far_as_it_is_known(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/true"]));
    world.wait_stopped(&id);
    let ran = follow(world, &id).end(LIMIT).ok();
    let lines = lines(&ran.out);
    assert_eq!(types(&lines), ["created", "started", "exited"]);
    assert_eq!(lines[2]["data"], json!({}), "nobody of ours saw the end: {ran}");
    Ok(())
}

fn who_attended_a_container_left_its_exit_code(world: &World) -> Outcome {
    for (script, data) in [("exit 5", json!({"code": 5})), ("kill -9 $$", json!({"signal": 9}))] {
        let id = world.id();
        // The first process of a pid namespace cannot kill itself.
        let bundle = world.shell(script).without_namespace("pid");
        world.orlop(&["run", "--keep", "--bundle", bundle.path(), &id]);
        let ran = follow(world, &id).end(LIMIT).ok();
        let lines = lines(&ran.out);
        assert_eq!(types(&lines), ["created", "started", "exited"]);
        assert_eq!(lines[2]["data"], data, "{ran}");
    }
    Ok(())
}

fn a_forced_delete_is_an_end_with_the_usage(world: &World) -> Outcome {
    let id = world.started(&world.shell("i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done; sleep 1000"));
    let running = follow(world, &id);
    sees(&running, "started");
    world.orlop(&["delete", "--force", &id]).ok();
    let ran = running.end(LIMIT).ok();
    let lines = lines(&ran.out);
    assert_eq!(types(&lines), ["created", "started", "exited"]);
    assert!(lines.last().unwrap()["data"]["cpuTime"].as_u64().unwrap() > 0, "{ran}");
    Ok(())
}

/// A limit of 64 MiB and a program that wants 128.
fn a_kill_for_memory_is_told_before_the_end_and_run_says_137(world: &World) -> Outcome {
    let script = "while [ ! -e /go ]; do sleep 0.02; done; exec dd if=/dev/zero of=/dev/null bs=128M count=1";
    let bundle = world.shell(script).edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 64 << 20});
    });
    let id = world.id();
    let run = world.begin(&mut world.command(&["run", "--bundle", bundle.path(), &id]));
    let mut run = Some(run);
    wait_until("it runs or is refused", LIMIT, || {
        run.as_mut().unwrap().child.try_wait().unwrap().is_some() || runs(world, &id)
    });
    if !runs(world, &id) {
        run.take().unwrap().end(LIMIT).fails().says("linux.resources.memory");
        return skip("no controller for memory and swap here");
    }
    let running = follow(world, &id);
    sees(&running, "started");
    fs::write(bundle.rootfs("go"), "").unwrap();
    assert_eq!(run.take().unwrap().end(LIMIT).code, Some(137));
    let ran = running.end(LIMIT).ok();
    let lines = lines(&ran.out);
    let types = types(&lines);
    let kill = types.iter().position(|kind| *kind == "oom_kill").unwrap_or_else(|| panic!("{ran}"));
    // A process that is being killed may want memory once more.
    let after = &types[kill + 1..];
    assert_eq!(after.iter().filter(|kind| **kind != "oom").collect::<Vec<_>>(), [&"exited"], "{ran}");
    let data = &lines.last().unwrap()["data"];
    assert_eq!((&data["signal"], &data["oomKills"]), (&json!(9), &json!(1)), "{ran}");
    assert_eq!(data["peakMemory"].as_u64().unwrap().div_ceil(1 << 20), 64, "{ran}");
    Ok(())
}

fn runs(world: &World, id: &str) -> bool {
    let ran = world.orlop(&["state", id]);
    ran.code == Some(0) && ran.json()["status"] == "running"
}

fn pressure_is_told_or_its_absence_is_said(world: &World) -> Outcome {
    let burn = "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; sleep 1000";
    let id = world.started(&busy(world, burn));
    let running = follow(world, &id);
    if layout::current() == Some(Layout::V1) || !fs::exists("/proc/pressure").unwrap() {
        sees(&running, "started");
        wait_until("the absence is said", LIMIT, || running.output().1.contains("pressure is not reported"));
    } else {
        let told = || lines(&running.output().0).into_iter().find(|line| line["type"] == "cpu_pressure");
        wait_until("pressure", LIMIT, || told().is_some());
        assert!(told().unwrap()["data"]["some"]["total"].as_u64().unwrap() > 0);
    }
    world.orlop(&["delete", "--force", &id]).ok();
    running.end(LIMIT).ok();
    Ok(())
}

/// Eight loops on two processors would starve the tests beside it.
fn busy(world: &World, script: &str) -> Bundle {
    world.shell(script).edit(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"});
    })
}

/// A log that somebody removed, or that a full disk kept from being written, is no reason to have no events.
fn a_container_without_any_log_can_be_followed(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    fs::remove_file(world.root.join(&id).join("events")).unwrap();
    let running = follow(world, &id);
    wait_until("it follows", LIMIT, || world.root.join(&id).join("follow").exists());
    world.orlop(&["exec", &id, "/bin/true"]).ok();
    sees(&running, "exec");
    world.orlop(&["kill", &id, "KILL"]).ok();
    let ran = running.end(LIMIT).ok();
    assert_eq!(types(&lines(&ran.out)), ["exec", "exited"]);
    Ok(())
}

fn an_unknown_container_is_an_error(world: &World) -> Outcome {
    world.orlop(&["events", "--follow", "it-no-such-container"]).fails().says("does not exist");
    Ok(())
}
