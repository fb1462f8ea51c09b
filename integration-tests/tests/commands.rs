//! The commands beside the lifecycle: pause, resume, ps, update, events, features, seccomp, info and inspect.
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
use integration_tests::{Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

fn main() -> ExitCode {
    harness::main(cases![
        pause_stops_every_process_and_resume_lets_them_go_on,
        pause_and_resume_name_a_wrong_state,
        a_paused_container_can_be_killed_and_deleted,
        ps_lists_the_processes_of_the_container_alone,
        ps_passes_options_to_the_hosts_ps,
        update_changes_what_is_asked_and_nothing_else,
        update_reads_json_from_a_file_and_from_standard_input,
        update_is_all_or_nothing,
        update_refuses_what_is_no_limit,
        update_of_a_resctrl_class_that_is_not_there_is_refused,
        events_prints_the_statistics_in_the_known_form,
        events_repeats_until_the_container_ends,
        events_tells_of_a_kill_for_memory,
        features_is_json_with_the_keys_of_the_specification,
        seccomp_explains_and_dumps_the_filter_of_a_bundle,
        what_is_odd_about_a_filter_is_warned_of,
        info_names_a_remedy_for_everything_that_is_missing,
        inspect_finds_nothing_different_in_an_ordinary_container,
        inspect_tells_what_a_program_gave_up,
        commands_on_an_unknown_container_say_so,
    ])
}

fn waiting(world: &World) -> String {
    world.started(&world.bundle().args(&["/bin/sleep", "1000"]))
}

/// The file of a limit on the host, in version 1 or 2; `None` where neither hierarchy has it.
fn limit(world: &World, id: &str, v1: &str, v2: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", world.pid(id))).unwrap();
    let candidates = groups.lines().flat_map(|line| {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let (names, group) = (fields[1], fields[2]);
        let place =
            if names.is_empty() { String::new() } else { format!("/{}", names.trim_start_matches("name=")) };
        let file = if names.is_empty() { v2 } else { v1 };
        [format!("/sys/fs/cgroup{place}{group}/{file}"), format!("/sys/fs/cgroup/unified{group}/{file}")]
    });
    candidates.map(PathBuf::from).find(|path| path.is_file())
}

fn read(path: &PathBuf) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn pause_stops_every_process_and_resume_lets_them_go_on(world: &World) -> Outcome {
    let bundle = world.shell("while :; do echo x >> /tmp/count; sleep 0.01; done");
    let id = world.started(&bundle);
    let count = || fs::metadata(bundle.rootfs("tmp/count")).map_or(0, |file| file.len());
    wait_until("it counts", LIMIT, || count() > 0);
    world.orlop(&["pause", &id]).ok();
    assert_eq!(world.status(&id), "paused");
    let before = count();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(count(), before, "nothing runs while paused");
    world.orlop(&["resume", &id]).ok();
    assert_eq!(world.status(&id), "running");
    wait_until("it counts again", LIMIT, || count() > before);
    Ok(())
}

fn pause_and_resume_name_a_wrong_state(world: &World) -> Outcome {
    let id = waiting(world);
    world.orlop(&["resume", &id]).fails().says("container not paused");
    world.orlop(&["pause", &id]).ok();
    world.orlop(&["pause", &id]).fails().says("container not running");
    world.orlop(&["resume", &id]).ok();
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["pause", &id]).fails().says("container not running");
    world.orlop(&["resume", &id]).fails().says("container not paused");
    Ok(())
}

fn a_paused_container_can_be_killed_and_deleted(world: &World) -> Outcome {
    let id = waiting(world);
    world.orlop(&["pause", &id]).ok();
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    let other = waiting(world);
    world.orlop(&["pause", &other]).ok();
    world.orlop(&["delete", "--force", &other]).ok();
    Ok(())
}

fn ps_lists_the_processes_of_the_container_alone(world: &World) -> Outcome {
    let id = world.started(&world.shell("sleep 1000 & sleep 1000 & wait"));
    let pids = || -> BTreeSet<i64> {
        let list = world.orlop(&["ps", "--format", "json", &id]).ok().json();
        list.as_array().unwrap().iter().map(|pid| pid.as_i64().unwrap()).collect()
    };
    wait_until("three processes run", LIMIT, || pids().len() == 3);
    assert!(pids().contains(&i64::from(world.pid(&id))));
    assert!(pids().iter().all(|pid| is_alive(i32::try_from(*pid).unwrap())));
    let table = world.orlop(&["ps", &id]).ok().out;
    assert_eq!(table.lines().count(), 4, "a heading and three lines: {table}");
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    let raw = world.orlop(&["ps", "-f", "json", &id]).ok().out;
    assert!(raw.starts_with('[') && raw.ends_with("]\n") && !raw.contains(' '), "{raw:?}");
    Ok(())
}

fn ps_passes_options_to_the_hosts_ps(world: &World) -> Outcome {
    let id = waiting(world);
    let table = world.orlop(&["ps", &id, "-e", "-o", "pid,comm"]).ok().out;
    assert!(table.contains("sleep") && table.lines().count() == 2, "{table}");
    world.orlop(&["ps", &id, "-e", "-o", "comm"]).fails().says("PID");
    world.orlop(&["ps", &id, "--no-such-option-of-ps"]).fails();
    Ok(())
}

fn update_changes_what_is_asked_and_nothing_else(world: &World) -> Outcome {
    let bundle = world.shell("exec sleep 1000").edit(|config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 50});
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    });
    let id = world.id();
    if world.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).code != Some(0) {
        return skip("no controllers for pids and memory here");
    }
    let (Some(pids), Some(memory)) =
        (limit(world, &id, "pids.max", "pids.max"), limit(world, &id, "memory.limit_in_bytes", "memory.max"))
    else {
        return skip("no controllers for pids and memory here");
    };
    assert_eq!((read(&pids).as_str(), read(&memory)), ("50", (64 << 20).to_string()));
    world.orlop(&["update", "--memory", "96m", &id]).ok();
    assert_eq!((read(&pids).as_str(), read(&memory)), ("50", (96 << 20).to_string()));
    world.orlop(&["update", "--pids-limit", "60", &id]).ok();
    assert_eq!((read(&pids).as_str(), read(&memory)), ("60", (96 << 20).to_string()));
    world.orlop(&["update", "--pids-limit", "-1", &id]).ok();
    assert_eq!(read(&pids), "max");
    let report = world.orlop(&["inspect", "--format", "json", &id]).ok().json();
    assert_eq!(report["updated"], json!({"memory": {"limit": 96 << 20}, "pids": {"limit": -1}}));
    Ok(())
}

/// There is no resctrl on most machines; a container without a class has none to change.
fn update_of_a_resctrl_class_that_is_not_there_is_refused(world: &World) -> Outcome {
    let id = waiting(world);
    world.orlop(&["update", "--l3-cache-schema", "L3:0=1", "--pids-limit", "9", &id]).fails().says("resctrl");
    world.orlop(&["update", "--mem-bw-schema", "L3:0=1", &id]).fails().says("--mem-bw-schema");
    let report = world.orlop(&["inspect", "--format", "json", &id]).ok().json();
    assert_eq!(report["updated"], Value::Null, "nothing was changed");
    Ok(())
}

fn update_reads_json_from_a_file_and_from_standard_input(world: &World) -> Outcome {
    let id = waiting(world);
    let Some(pids) = limit(world, &id, "pids.max", "pids.max") else {
        return skip("no controller for pids here");
    };
    let file = world.file("resources.json", r#"{"pids": {"limit": 44}, "unknown": [1, {"a": null}]}"#);
    world.orlop(&["update", "--resources", &file, &id]).ok();
    assert_eq!(read(&pids), "44");
    let mut command = world.command(&["update", "-r", "-", &id]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"pids": {"limit": 45}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read(&pids), "45");
    Ok(())
}

fn update_is_all_or_nothing(world: &World) -> Outcome {
    let id = waiting(world);
    let Some(pids) = limit(world, &id, "pids.max", "pids.max") else {
        return skip("no controller for pids here");
    };
    let before = read(&pids);
    let file = world.file("resources.json", r#"{"cpu": {"cpus": "7000"}, "pids": {"limit": 33}}"#);
    world.orlop(&["update", "--resources", &file, &id]).fails().says("linux.resources.cpu.cpus");
    assert_eq!(read(&pids), before);
    Ok(())
}

fn update_refuses_what_is_no_limit(world: &World) -> Outcome {
    let id = waiting(world);
    for text in ["", "{", "[]", r#"{"pids": 1}"#, r#"{"pids": {"limit": "1"}}"#] {
        let file = world.file("resources.json", text);
        world.orlop(&["update", "--resources", &file, &id]).fails().says("resources.json");
    }
    world.orlop(&["update", "--memory", "1x", &id]).fails().says("--memory");
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["update", "--pids-limit", "7", &id]).fails().says("container not running");
    Ok(())
}

fn events_prints_the_statistics_in_the_known_form(world: &World) -> Outcome {
    let id = waiting(world);
    let ran = world.orlop(&["events", "--stats", &id]).ok();
    assert_eq!(ran.out.lines().count(), 1, "one line");
    let event = ran.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    for key in ["cpu", "memory", "pids", "blkio"] {
        assert!(event["data"][key].is_object(), "{key}: {event}");
    }
    if limit(world, &id, "pids.current", "pids.current").is_some() {
        assert_eq!(event["data"]["pids"]["current"], 1);
    }
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["events", "--stats", &id]).fails().says("is not running");
    Ok(())
}

fn events_repeats_until_the_container_ends(world: &World) -> Outcome {
    let id = waiting(world);
    let running = world.begin(&mut world.command(&["events", "--interval", "50ms", &id]));
    wait_until("three lines", LIMIT, || running.output().0.lines().count() >= 3);
    world.orlop(&["delete", "--force", &id]).ok();
    let ran = running.end(LIMIT).ok();
    for line in ran.out.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["type"], "stats");
    }
    Ok(())
}

fn events_tells_of_a_kill_for_memory(world: &World) -> Outcome {
    let script = "sleep 0.5; head -c 200m /dev/zero | tail > /dev/null; sleep 1000";
    let bundle = world.shell(script).edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 24 << 20, "swap": 24 << 20});
    });
    let ran = world.orlop(&["create", "--bundle", bundle.path(), &world.id()]);
    if ran.code != Some(0) {
        return skip("no controller for memory and swap here");
    }
    let id = ran.line.rsplit(' ').next().unwrap().to_owned();
    let running = world.begin(&mut world.command(&["events", "--interval", "1h", &id]));
    std::thread::sleep(Duration::from_millis(100));
    world.orlop(&["start", &id]).ok();
    wait_until("an event", LIMIT, || !running.output().0.is_empty());
    let event: Value = serde_json::from_str(running.output().0.lines().next().unwrap()).unwrap();
    assert_eq!(event, json!({"type": "oom", "id": id}));
    world.orlop(&["delete", "--force", &id]).ok();
    running.end(LIMIT).ok();
    Ok(())
}

fn features_is_json_with_the_keys_of_the_specification(world: &World) -> Outcome {
    let features = world.orlop(&["features"]).ok().json();
    for key in ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"] {
        assert!(!features[key].is_null(), "{key}");
    }
    let namespaces = features["linux"]["namespaces"].as_array().unwrap();
    assert_eq!(namespaces.len(), 8, "{namespaces:?}");
    Ok(())
}

fn seccomp_explains_and_dumps_the_filter_of_a_bundle(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    });
    let text = world.orlop(&["seccomp", "explain", bundle.path(), "mkdir"]).ok().out;
    assert!(text.contains("mkdir") && text.contains("linux.seccomp.syscalls[0]"), "{text}");
    let text = world.orlop(&["seccomp", "explain", bundle.path(), "getpid"]).ok().out;
    assert!(text.contains("linux.seccomp.defaultAction"), "{text}");
    assert!(world.orlop(&["seccomp", "dump", bundle.path()]).ok().out.lines().count() > 3);
    world.orlop(&["seccomp", "dump", world.bundle().path()]).fails().says("has no filter");
    Ok(())
}

fn what_is_odd_about_a_filter_is_warned_of(world: &World) -> Outcome {
    let bundle = world.shell("true").edit(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "frobnicate"], "action": "SCMP_ACT_ERRNO"}]});
    });
    let what = "unknown system calls skipped: frobnicate";
    let text = world.orlop(&["validate", bundle.path()]).ok().out;
    assert!(text.contains(&format!("warning: /linux/seccomp/syscalls: {what}")), "{text}");
    let what = format!("linux.seccomp.syscalls: {what}");
    world.orlop(&["seccomp", "explain", bundle.path(), "mkdir"]).ok().says(&what);
    world.run(&bundle).ok().says(&what);
    world.orlop(&["--strict", "run", "--bundle", bundle.path(), &world.id()]).fails().says(&what);
    Ok(())
}

fn info_names_a_remedy_for_everything_that_is_missing(world: &World) -> Outcome {
    let lines = world.orlop(&["info", "--format", "json"]).ok().json();
    let lines = lines.as_array().unwrap();
    assert!(lines.len() > 8);
    for line in lines {
        assert_eq!(line["available"] == false, line["remedy"].is_string(), "{line}");
    }
    assert_eq!(world.orlop(&["info"]).ok().out.lines().count(), lines.len());
    Ok(())
}

fn inspect_finds_nothing_different_in_an_ordinary_container(world: &World) -> Outcome {
    let bundle = world.shell("exec sleep 1000").edit(|config| {
        config["process"]["oomScoreAdj"] = json!(33);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    });
    let id = world.started(&bundle);
    let report = world.orlop(&["inspect", "--format", "json", &id]).ok().json();
    assert_eq!(report["differences"], json!([]), "{report}");
    assert_eq!(report["pid"], world.pid(&id));
    assert_eq!(report["capabilities"]["effective"].as_array().unwrap().len(), 3);
    assert_eq!((&report["noNewPrivileges"], &report["seccompFilters"]), (&json!(true), &json!(1)));
    assert_eq!(report["oomScoreAdj"], "33");
    assert!(world.orlop(&["inspect", &id]).ok().out.contains("as created"));
    Ok(())
}

fn inspect_tells_what_a_program_gave_up(world: &World) -> Outcome {
    let id = waiting(world);
    // A higher score needs no right, so this stands for any change that somebody makes from outside.
    fs::write(format!("/proc/{}/oom_score_adj", world.pid(&id)), "99").unwrap();
    let bundle = world.shell("exec sleep 1000").edit(|config| config["process"]["oomScoreAdj"] = json!(5));
    let scored = world.started(&bundle);
    fs::write(format!("/proc/{}/oom_score_adj", world.pid(&scored)), "99").unwrap();
    let differences =
        |id: &str| world.orlop(&["inspect", "--format", "json", id]).ok().json()["differences"].clone();
    assert_eq!(differences(&id), json!([]), "what was not asked for cannot differ");
    assert_eq!(differences(&scored), json!(["process.oomScoreAdj: 5 was asked for, 99 is in force"]));
    Ok(())
}

fn commands_on_an_unknown_container_say_so(world: &World) -> Outcome {
    for command in ["pause", "resume", "ps", "inspect"] {
        world.orlop(&[command, "it-no-such-container"]).fails().says("container does not exist");
    }
    world.orlop(&["update", "--pids-limit", "7", "it-no-such-container"]).fails().says("does not exist");
    world.orlop(&["events", "--stats", "it-no-such-container"]).fails().says("does not exist");
    Ok(())
}
