//! create, start, state, kill, delete, run and list: what each does, when it refuses, what it prints.
//!
//! The error substrings are those that containerd, CRI-O, Podman and Docker search for.
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
use integration_tests::{Outcome, Report, World, cases, harness, leaks};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        a_created_container_ends_at_a_signal_that_asks_for_it,
        run_returns_the_programs_output_and_exit_code,
        run_ended_by_a_signal_returns_128_and_the_signal,
        run_leaves_no_container,
        run_with_keep_leaves_it_stopped,
        run_detached_returns_while_it_runs,
        create_leaves_it_created_with_its_program_not_run,
        state_names_what_engines_read,
        state_of_a_stopped_container_has_pid_0,
        annotations_appear_in_state,
        start_runs_the_program,
        start_of_a_running_container_fails_and_changes_nothing,
        start_of_a_stopped_container_fails,
        a_second_create_with_the_same_id_fails_and_leaves_the_first,
        an_id_is_free_again_after_delete,
        every_command_on_an_unknown_id_says_does_not_exist,
        forced_delete_of_an_unknown_id_succeeds,
        bad_ids_are_refused_by_every_command,
        longest_id_works,
        kill_delivers_the_signal,
        kill_takes_names_and_numbers,
        kill_of_an_unknown_signal_fails,
        kill_of_a_created_container_ends_it,
        kill_of_a_stopped_container_says_not_running,
        kill_all_of_a_stopped_container_succeeds,
        kill_all_reaches_every_process,
        sigkill_leaves_nothing_where_the_first_process_is_not_pid_1,
        delete_of_a_running_container_fails_and_changes_nothing,
        forced_delete_of_a_running_container_leaves_nothing,
        delete_of_a_created_container_leaves_nothing,
        delete_works_when_the_bundle_is_gone,
        edits_of_config_json_after_create_do_not_matter,
        pid_file_holds_the_decimal_pid_and_no_newline,
        list_prints_table_json_and_ids,
        list_is_empty_without_containers,
        options_in_go_style_are_understood,
        version_begins_with_the_name_and_a_version,
        features_is_json_with_the_required_keys,
        spec_writes_a_config_that_runs,
        spec_never_overwrites,
        a_missing_bundle_or_config_is_named,
        a_missing_program_is_named_as_engines_expect,
        a_program_without_permission_is_named_as_engines_expect,
        json_log_lines_have_level_msg_and_time,
        preserved_descriptors_reach_the_program,
        a_missing_preserved_descriptor_is_refused,
        listen_fds_are_passed_with_the_containers_pid,
        notify_socket_receives_readiness,
        console_misuse_is_refused,
        stdio_is_the_callers,
        concurrent_creates_of_one_id_have_one_winner,
        two_containers_do_not_see_each_other,
    ])
}

fn sleeping(world: &World) -> String {
    world.started(&world.bundle().args(&["/bin/sleep", "1000"]))
}

fn run_returns_the_programs_output_and_exit_code(world: &World) -> Outcome {
    let ran = world.run(&world.shell("echo to-out; echo to-err >&2; exit 37"));
    assert_eq!(ran.code, Some(37), "{ran}");
    assert_eq!(ran.out, "to-out\n");
    assert_eq!(ran.err, "to-err\n");
    Ok(())
}

fn run_ended_by_a_signal_returns_128_and_the_signal(world: &World) -> Outcome {
    // The shell is pid 1 and immune to its own signals, so a child of it takes the signal and it tells its end.
    let script = "sh -c 'kill -SEGV $$'; exit $?";
    assert_eq!(world.run(&world.shell(script)).code, Some(128 + 11));
    // What says that it runs is the program: one that is killed in its execve(2) never ran.
    let (id, bundle) = (world.id(), world.shell("touch /tmp/ready; exec sleep 1000"));
    let running = world.begin(&mut world.command(&["run", "--bundle", bundle.path(), &id]));
    wait_until("it runs", LIMIT, || bundle.rootfs("tmp/ready").exists());
    world.orlop(&["kill", &id, "KILL"]).ok();
    assert_eq!(running.end(LIMIT).code, Some(128 + 9));
    Ok(())
}

fn run_leaves_no_container(world: &World) -> Outcome {
    let id = world.id();
    world.orlop(&["run", "--bundle", world.bundle().path(), &id]).ok();
    let left = leaks::settled(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    world.orlop(&["state", &id]).fails();
    Ok(())
}

fn run_with_keep_leaves_it_stopped(world: &World) -> Outcome {
    let id = world.id();
    let bundle = world.bundle().args(&["/bin/true"]);
    let ran = world.orlop(&["run", "--keep", "--bundle", bundle.path(), &id]);
    if !world.is_orlop() && ran.code != Some(0) {
        return harness::skip("the runtime has no --keep");
    }
    ran.ok();
    assert_eq!(world.status(&id), "stopped");
    world.orlop(&["delete", &id]).ok();
    Ok(())
}

fn run_detached_returns_while_it_runs(world: &World) -> Outcome {
    let id = world.id();
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    world.orlop(&["run", "-d", "--bundle", bundle.path(), &id]).ok();
    assert_eq!(world.status(&id), "running");
    assert!(is_alive(world.pid(&id)));
    Ok(())
}

fn create_leaves_it_created_with_its_program_not_run(world: &World) -> Outcome {
    let bundle = world.shell("touch /tmp/ran; sleep 1000");
    let id = world.create(&bundle);
    assert_eq!(world.status(&id), "created");
    assert!(is_alive(world.pid(&id)));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!bundle.rootfs("tmp/ran").exists());
    world.orlop(&["start", &id]).ok();
    wait_until("the program has run", LIMIT, || bundle.rootfs("tmp/ran").exists());
    assert_eq!(world.status(&id), "running");
    Ok(())
}

fn state_names_what_engines_read(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    let id = world.started(&bundle);
    let state = world.state(&id);
    assert_eq!(state["id"], json!(id));
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], bundle.path());
    assert_eq!(state["rootfs"], format!("{}/rootfs", bundle.path()));
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    let created = state["created"].as_str().unwrap_or_default();
    assert!(created.len() >= 20 && created.contains('T') && created.ends_with('Z'), "{state}");
    Ok(())
}

fn state_of_a_stopped_container_has_pid_0(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/true"]));
    world.wait_stopped(&id);
    let state = world.state(&id);
    assert!(state["pid"].is_null() || state["pid"] == 0, "{state}");
    world.orlop(&["delete", &id]).ok();
    Ok(())
}

fn annotations_appear_in_state(world: &World) -> Outcome {
    let id =
        world.create(&world.bundle().edit(|config| config["annotations"] = json!({"it.key": "it value"})));
    assert_eq!(world.state(&id)["annotations"], json!({"it.key": "it value"}));
    Ok(())
}

fn start_runs_the_program(world: &World) -> Outcome {
    let bundle = world.shell("echo done > /tmp/ran");
    let id = world.create(&bundle);
    world.orlop(&["start", &id]).ok();
    world.wait_stopped(&id);
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/ran")).unwrap(), "done\n");
    Ok(())
}

fn start_of_a_running_container_fails_and_changes_nothing(world: &World) -> Outcome {
    let id = sleeping(world);
    let pid = world.pid(&id);
    let ran = world.orlop(&["start", &id]).fails();
    assert_eq!(world.status(&id), "running");
    assert_eq!(world.pid(&id), pid);
    world.only_orlop()?;
    ran.says("cannot start an already running container");
    Ok(())
}

fn start_of_a_stopped_container_fails(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/true"]));
    world.wait_stopped(&id);
    let ran = world.orlop(&["start", &id]).fails();
    assert_eq!(world.status(&id), "stopped");
    world.only_orlop()?;
    ran.says("cannot start a container that has stopped");
    Ok(())
}

fn a_second_create_with_the_same_id_fails_and_leaves_the_first(world: &World) -> Outcome {
    let id = sleeping(world);
    let pid = world.pid(&id);
    let other = world.bundle();
    world.orlop(&["create", "--bundle", other.path(), &id]).fails().says("exist");
    world.orlop(&["run", "--bundle", other.path(), &id]).fails().says("exist");
    assert_eq!(world.pid(&id), pid);
    assert!(is_alive(pid));
    Ok(())
}

fn an_id_is_free_again_after_delete(world: &World) -> Outcome {
    let id = world.id();
    let bundle = world.bundle().args(&["/bin/true"]);
    for _ in 0..2 {
        world.orlop(&["create", "--bundle", bundle.path(), &id]).ok();
        world.orlop(&["start", &id]).ok();
        world.wait_stopped(&id);
        world.orlop(&["delete", &id]).ok();
        world.orlop(&["state", &id]).fails();
    }
    Ok(())
}

fn every_command_on_an_unknown_id_says_does_not_exist(world: &World) -> Outcome {
    let id = world.id();
    for command in [vec!["state"], vec!["start"], vec!["kill"], vec!["delete"]] {
        let mut words = command;
        words.push(&id);
        let ran = world.orlop(&words).fails();
        if world.is_orlop() {
            ran.says("does not exist");
        } else {
            ran.says_any(&["does not exist", "No such file"]);
        }
    }
    Ok(())
}

fn forced_delete_of_an_unknown_id_succeeds(world: &World) -> Outcome {
    world.orlop(&["delete", "--force", &world.id()]).ok();
    Ok(())
}

fn bad_ids_are_refused_by_every_command(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle();
    let before = leaks::find(&["it-nothing"], &world.root);
    let long = "x".repeat(300);
    let bad = ["", ".", "..", "a/b", "../x", "/etc", "a\nb", "a b", "ä", "a*", &long];
    for id in bad {
        for command in ["state", "start", "kill", "delete"] {
            world.orlop(&[command, id]).fails();
        }
        world.orlop(&["delete", "--force", "--", id]).fails();
        world.orlop(&["create", "--bundle", bundle.path(), "--", id]).fails();
        world.orlop(&["run", "--bundle", bundle.path(), "--", id]).fails();
    }
    assert_eq!(before, leaks::find(&["it-nothing"], &world.root));
    let entries = fs::read_dir(&world.root).map(Iterator::count).unwrap_or(0);
    assert_eq!(entries, 0, "a refused id made something in the state root");
    Ok(())
}

fn longest_id_works(world: &World) -> Outcome {
    world.only_orlop()?;
    let start = world.id();
    let id = format!("{start}{}", "+_.-A9".repeat(40)).chars().take(200).collect::<String>();
    world.orlop(&["run", "--bundle", world.bundle().args(&["/bin/true"]).path(), &id]).ok();
    Ok(())
}

fn kill_delivers_the_signal(world: &World) -> Outcome {
    let bundle = world
        .shell("trap 'echo usr1 >> /tmp/got; exit 0' USR1; touch /tmp/ready; while :; do sleep 0.05; done");
    let id = world.started(&bundle);
    wait_until("the trap is set", LIMIT, || bundle.rootfs("tmp/ready").exists());
    world.orlop(&["kill", &id, "USR1"]).ok();
    world.wait_stopped(&id);
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/got")).unwrap(), "usr1\n");
    Ok(())
}

fn kill_takes_names_and_numbers(world: &World) -> Outcome {
    let script = "for s in USR1 USR2 HUP TERM; do trap \"echo $s >> /tmp/got\" $s; done; touch /tmp/ready; \
        while :; do sleep 0.02; done";
    let bundle = world.shell(script);
    let id = world.started(&bundle);
    wait_until("the traps are set", LIMIT, || bundle.rootfs("tmp/ready").exists());
    let got = || fs::read_to_string(bundle.rootfs("tmp/got")).unwrap_or_default().lines().count();
    let names = [("USR1", 1), ("SIGUSR2", 2), ("12", 3), ("1", 4)];
    for (name, count) in names {
        world.orlop(&["kill", &id, name]).ok();
        wait_until("the signal has arrived", LIMIT, || got() == count);
    }
    world.orlop(&["kill", &id]).ok();
    wait_until("SIGTERM is the default", LIMIT, || got() == 5);
    let text = fs::read_to_string(bundle.rootfs("tmp/got")).unwrap();
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["USR1", "USR2", "USR2", "HUP", "TERM"]);
    Ok(())
}

fn kill_of_an_unknown_signal_fails(world: &World) -> Outcome {
    let id = sleeping(world);
    for name in ["NOSUCH", "SIGNOSUCH", "-5", "99999", "9x"] {
        world.orlop(&["kill", "--", &id, name]).fails();
    }
    if world.is_orlop() {
        world.orlop(&["kill", &id, "NOSUCH"]).fails().says("unknown signal");
    }
    assert_eq!(world.status(&id), "running");
    Ok(())
}

fn kill_of_a_created_container_ends_it(world: &World) -> Outcome {
    let id = world.create(&world.bundle());
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok();
    Ok(())
}

fn kill_of_a_stopped_container_says_not_running(world: &World) -> Outcome {
    let id = world.started(&world.bundle().args(&["/bin/true"]));
    world.wait_stopped(&id);
    let texts = ["container not running", "no such process", "process already finished"];
    world.orlop(&["kill", &id, "TERM"]).fails().says_any(&texts);
    Ok(())
}

fn kill_all_of_a_stopped_container_succeeds(world: &World) -> Outcome {
    world.only_orlop()?;
    let id = world.started(&world.bundle().args(&["/bin/true"]));
    world.wait_stopped(&id);
    world.orlop(&["kill", "--all", &id, "9"]).ok();
    Ok(())
}

fn kill_all_reaches_every_process(world: &World) -> Outcome {
    let bundle = world.shell("sleep 1000 & sleep 1001 & touch /tmp/ready; wait").without_namespace("pid");
    let id = world.started(&bundle);
    wait_until("it is ready", LIMIT, || bundle.rootfs("tmp/ready").exists());
    world.orlop(&["kill", "--all", &id, "KILL"]).ok();
    let place = format!("{}/", world.dir.display());
    let running =
        || leaks::find(&[&place], &world.root).into_iter().filter(|line| line.starts_with("process")).count();
    wait_until("every process has ended", LIMIT, || running() == 0);
    Ok(())
}

/// Its end ends no pid namespace, so the others would live on; also where it has ended by itself already.
fn sigkill_leaves_nothing_where_the_first_process_is_not_pid_1(world: &World) -> Outcome {
    if !world.is_orlop() {
        return integration_tests::skip("runtimes differ");
    }
    for script in ["sleep 1000 & touch /tmp/ready; wait", "sleep 1000 & touch /tmp/ready"] {
        let bundle = world.shell(script).without_namespace("pid");
        let id = world.started(&bundle);
        wait_until("it is ready", LIMIT, || bundle.rootfs("tmp/ready").exists());
        if !script.ends_with("wait") {
            wait_until("the first process has ended", LIMIT, || world.status(&id) == "stopped");
        }
        world.orlop(&["kill", &id, "KILL"]).ok();
        let place = format!("{}/", world.dir.display());
        let left = || {
            let found = leaks::find(&[&place], &world.root);
            found.into_iter().filter(|line| line.starts_with("process")).count()
        };
        wait_until("every process has ended", LIMIT, || left() == 0);
        wait_until("it is stopped", LIMIT, || world.status(&id) == "stopped");
        world.orlop(&["kill", &id, "KILL"]).fails().says("container not running");
    }
    Ok(())
}

fn delete_of_a_running_container_fails_and_changes_nothing(world: &World) -> Outcome {
    let id = sleeping(world);
    let ran = world.orlop(&["delete", &id]).fails();
    assert_eq!(world.status(&id), "running");
    if world.is_orlop() {
        ran.says("that is not stopped");
    }
    Ok(())
}

fn forced_delete_of_a_running_container_leaves_nothing(world: &World) -> Outcome {
    let id = sleeping(world);
    let pid = world.pid(&id);
    world.orlop(&["delete", "--force", &id]).ok();
    assert!(!is_alive(pid), "init is alive after a delete that said it was done");
    let left = leaks::find(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn delete_of_a_created_container_leaves_nothing(world: &World) -> Outcome {
    let id = world.create(&world.bundle());
    let pid = world.pid(&id);
    world.orlop(&["delete", "--force", &id]).ok();
    assert!(!is_alive(pid));
    let left = leaks::find(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn delete_works_when_the_bundle_is_gone(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    let id = world.started(&bundle);
    fs::remove_dir_all(bundle.path()).unwrap();
    assert_eq!(world.status(&id), "running");
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok();
    let left = leaks::find(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn edits_of_config_json_after_create_do_not_matter(world: &World) -> Outcome {
    let bundle = world.shell("echo before > /tmp/ran");
    let id = world.create(&bundle);
    let bundle = bundle.args(&["/bin/sh", "-c", "echo after > /tmp/ran"]);
    world.orlop(&["start", &id]).ok();
    world.wait_stopped(&id);
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/ran")).unwrap(), "before\n");
    Ok(())
}

fn pid_file_holds_the_decimal_pid_and_no_newline(world: &World) -> Outcome {
    let id = world.id();
    let file = world.path("pid");
    fs::write(&file, "an old and longer content of that file").unwrap();
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    world.orlop(&["create", "--bundle", bundle.path(), "--pid-file", &file, &id]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), world.pid(&id).to_string());
    let names: Vec<_> = fs::read_dir(&world.dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".pid")), "{names:?}");
    Ok(())
}

fn list_prints_table_json_and_ids(world: &World) -> Outcome {
    let created = world.create(&world.bundle());
    let running = sleeping(world);
    let table = world.orlop(&["list"]).ok().out;
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    if world.is_orlop() {
        assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    }
    let row = |id: &str| {
        table.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap_or("").to_owned()
    };
    assert!(row(&created).contains("created"), "{table}");
    assert!(row(&running).contains("running"), "{table}");
    let mut ids: Vec<String> =
        world.orlop(&["list", "--quiet"]).ok().out.lines().map(str::to_owned).collect();
    ids.sort();
    assert_eq!(ids, [created.clone(), running.clone()]);
    let listed = world.orlop(&["list", "--format", "json"]).ok().json();
    let entries = listed.as_array().expect("an array");
    let entry = entries.iter().find(|entry| entry["id"] == json!(running)).expect("the running one");
    assert_eq!(entry["status"], "running");
    assert_eq!(entry["pid"].as_i64(), Some(world.pid(&running).into()));
    assert_eq!(entry["owner"], "root");
    Ok(())
}

fn list_is_empty_without_containers(world: &World) -> Outcome {
    assert!(world.orlop(&["list"]).ok().out.lines().count() <= 1);
    assert_eq!(world.orlop(&["list", "-q"]).ok().out, "");
    let listed = world.orlop(&["list", "--format", "json"]).ok().json();
    assert!(listed.is_null() || listed == json!([]), "{listed}");
    Ok(())
}

/// go-runc and others emit single dashes, `=true`, and numeric signals.
fn options_in_go_style_are_understood(world: &World) -> Outcome {
    world.only_orlop()?;
    let id = world.id();
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    let log = world.path("log");
    let globals =
        ["-log", &log, "--log-format=json", "--systemd-cgroup=false", "--rootless=false", "--debug=false"];
    let mut words: Vec<&str> = globals.to_vec();
    words.extend([
        "run",
        "-bundle",
        bundle.path(),
        "-no-subreaper",
        "--detach=true",
        "--no-new-keyring=false",
        &id,
    ]);
    world.orlop(&words).ok();
    world.orlop(&["list", "-quiet"]).ok();
    world.orlop(&["kill", "--all=false", &id, "9"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["delete", "-force=true", &id]).ok();
    Ok(())
}

fn version_begins_with_the_name_and_a_version(world: &World) -> Outcome {
    for option in ["--version", "-v"] {
        let ran = world.orlop(&[option]).ok();
        let first = ran.out.lines().next().unwrap_or_default();
        let words: Vec<&str> = first.split_whitespace().collect();
        let [_, "version", number] = words.as_slice() else { panic!("{ran}") };
        assert!(number.starts_with(|first: char| first.is_ascii_digit()), "{ran}");
        assert!(ran.out.lines().any(|line| line.starts_with("spec: 1.")), "{ran}");
    }
    Ok(())
}

fn features_is_json_with_the_required_keys(world: &World) -> Outcome {
    world.only_orlop()?;
    let features = world.orlop(&["features"]).ok().json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    let has =
        |list: &Value, word: &str| list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word));
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(has(&features["hooks"], hook), "{hook}: {features}");
    }
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        assert!(has(&features["linux"]["namespaces"], kind), "{kind}: {features}");
    }
    for option in ["ro", "rbind", "rslave", "rro", "idmap", "ridmap", "tmpcopyup", "nosymfollow", "lazytime"]
    {
        assert!(has(&features["mountOptions"], option), "{option}: {features}");
    }
    assert!(has(&features["linux"]["capabilities"], "CAP_CHOWN"), "{features}");
    Ok(())
}

fn spec_writes_a_config_that_runs(world: &World) -> Outcome {
    let bundle = world.bundle();
    fs::remove_file(format!("{}/config.json", bundle.path())).unwrap();
    world.orlop(&["spec", "--bundle", bundle.path()]).ok();
    let bundle = bundle.edit(|config| {
        assert_eq!(config["process"]["args"], json!(["sh"]));
        assert_eq!(config["process"]["terminal"], true);
        assert_eq!(config["root"]["readonly"], true);
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/probe"]);
    });
    let report = world.probe(&bundle);
    assert_eq!(report["pid"], 1);
    assert!(report.capabilities("CapInh").is_empty() || !world.is_orlop());
    Ok(())
}

fn spec_never_overwrites(world: &World) -> Outcome {
    let bundle = world.bundle();
    let before = bundle.config();
    world.orlop(&["spec", "--bundle", bundle.path()]).fails();
    assert_eq!(bundle.config(), before);
    Ok(())
}

fn a_missing_bundle_or_config_is_named(world: &World) -> Outcome {
    let id = world.id();
    world
        .orlop(&["create", "--bundle", &world.path("absent"), &id])
        .fails()
        .says_any(&["absent", "no such file"]);
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    world.orlop(&["create", "--bundle", &empty, &id]).fails().says("config.json");
    world.orlop(&["state", &id]).fails();
    Ok(())
}

fn a_missing_program_is_named_as_engines_expect(world: &World) -> Outcome {
    let bare = world.run(&world.bundle().args(&["no-such-program"])).fails();
    bare.says("executable file").says("no-such-program").says("not found in $PATH");
    let absolute = world.run(&world.bundle().args(&["/no/such/program"])).fails();
    absolute.says_any(&["no such file or directory"]).says("/no/such/program");
    Ok(())
}

fn a_program_without_permission_is_named_as_engines_expect(world: &World) -> Outcome {
    let bundle = world.bundle();
    fs::write(bundle.rootfs("tmp/plain"), "text").unwrap();
    let ran = world.run(&bundle.args(&["/tmp/plain"])).fails().says("/tmp/plain");
    world.only_orlop()?;
    ran.says_any(&["permission denied"]);
    let directory = world.run(&world.bundle().args(&["/etc"])).fails();
    directory.says_any(&["permission denied"]);
    Ok(())
}

fn json_log_lines_have_level_msg_and_time(world: &World) -> Outcome {
    let log = world.path("log.json");
    let bundle = world.bundle().args(&["/no/such/program"]);
    let id = world.id();
    let ran =
        world.orlop(&["--log", &log, "--log-format", "json", "run", "--bundle", bundle.path(), &id]).fails();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let error = lines.iter().rfind(|line| line["level"] == "error").expect("an error line");
    assert!(error["msg"].as_str().is_some_and(|msg| msg.contains("/no/such/program")), "{error}");
    let time = error["time"].as_str().unwrap_or_default();
    assert!(time.len() >= 20 && time.contains('T'), "{error}");
    // Callers read standard error or the file, so both have it.
    ran.says("/no/such/program");
    Ok(())
}

fn preserved_descriptors_reach_the_program(world: &World) -> Outcome {
    let bundle =
        world.shell("cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' ' 2>/dev/null || ls /proc/self/fd");
    let (three, four) = (world.file("three", "three\n"), world.file("four", "four\n"));
    let prelude = format!("exec 3<{three} 4<{four} 5<{three}");
    let id = world.id();
    let ran =
        world.orlop_after(&prelude, &["run", "--preserve-fds", "2", "--bundle", bundle.path(), &id]).ok();
    assert!(ran.out.starts_with("three\nfour\n"), "{ran}");
    let probe = world.bundle();
    let id = world.id();
    let ran =
        world.orlop_after(&prelude, &["run", "--preserve-fds", "2", "--bundle", probe.path(), &id]).ok();
    assert_eq!(Report(ran.json()).descriptors().into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    Ok(())
}

fn a_missing_preserved_descriptor_is_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle();
    let id = world.id();
    let file = world.file("three", "three\n");
    let words = ["run", "--preserve-fds", "2", "--bundle", bundle.path(), &id];
    world.orlop_after(&format!("exec 3<{file} 4>&-"), &words).fails();
    world.orlop_after(&format!("exec 3>&- 4<{file}"), &words).fails();
    world.orlop(&["state", &id]).fails();
    Ok(())
}

fn listen_fds_are_passed_with_the_containers_pid(world: &World) -> Outcome {
    let bundle = world.bundle();
    let id = world.id();
    let file = world.file("three", "three\n");
    let prelude = format!("exec 3<{file}; export LISTEN_FDS=1 LISTEN_PID=$$");
    let ran = world.orlop_after(&prelude, &["run", "--bundle", bundle.path(), &id]).ok();
    let report = Report(ran.json());
    assert_eq!(report.env("LISTEN_FDS"), Some("1"));
    assert_eq!(report.env("LISTEN_PID"), Some("1"));
    assert!(report.descriptors().contains(&3));
    Ok(())
}

fn notify_socket_receives_readiness(world: &World) -> Outcome {
    world.only_orlop()?;
    let path = world.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    // httpd cannot send datagrams; busybox has no client either, so the container proves that the socket is there.
    let bundle = world.shell("test -S \"$NOTIFY_SOCKET\" && echo \"$NOTIFY_SOCKET\"");
    let id = world.id();
    let prelude = format!("export NOTIFY_SOCKET={path}");
    let ran = world.orlop_after(&prelude, &["run", "--bundle", bundle.path(), &id]).ok();
    assert!(ran.out.starts_with('/'), "{ran}");
    Ok(())
}

fn console_misuse_is_refused(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["terminal"] = json!(true));
    let id = world.id();
    let ran = world.orlop(&["create", "--bundle", bundle.path(), &id]).fails();
    let detached = world.orlop(&["run", "-d", "--bundle", bundle.path(), &id]).fails();
    world.only_orlop()?;
    ran.says("without setting console socket");
    detached.says("without setting console socket");
    let plain = world.bundle();
    let socket = world.path("socket");
    let words = ["create", "--bundle", plain.path(), "--console-socket", &socket, &id];
    world.orlop(&words).fails().says("cannot use console socket");
    Ok(())
}

fn stdio_is_the_callers(world: &World) -> Outcome {
    let bundle = world.shell("read line; echo \"got $line\"; echo err >&2");
    let input = world.file("input", "from-the-caller\n");
    let id = world.id();
    let ran = world.orlop_after(&format!("exec <{input}"), &["run", "--bundle", bundle.path(), &id]).ok();
    assert_eq!(ran.out, "got from-the-caller\n");
    assert_eq!(ran.err, "err\n");
    Ok(())
}

fn concurrent_creates_of_one_id_have_one_winner(world: &World) -> Outcome {
    let id = world.id();
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    let words = ["create", "--bundle", bundle.path(), &id];
    let racers: Vec<_> = (0..6).map(|_| world.begin(&mut world.command(&words))).collect();
    let ended: Vec<_> = racers.into_iter().map(|racer| racer.end(LIMIT)).collect();
    let winners = ended.iter().filter(|ran| ran.code == Some(0)).count();
    assert_eq!(winners, 1, "{ended:#?}");
    world.orlop(&["start", &id]).ok();
    assert_eq!(world.status(&id), "running");
    Ok(())
}

fn two_containers_do_not_see_each_other(world: &World) -> Outcome {
    let (first, second) = (sleeping(world), sleeping(world));
    let namespace =
        |id: &str, kind: &str| fs::read_link(format!("/proc/{}/ns/{kind}", world.pid(id))).unwrap();
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        assert_ne!(namespace(&first, kind), namespace(&second, kind), "{kind}");
    }
    world.orlop(&["delete", "--force", &first]).ok();
    assert_eq!(world.status(&second), "running");
    Ok(())
}

/// The kernel drops such a signal for the first process of a pid namespace, unless that handles it.
fn a_created_container_ends_at_a_signal_that_asks_for_it(world: &World) -> Outcome {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let id = world.create(&world.shell("exec sleep 1000"));
        world.orlop(&["kill", &id, signal]).ok();
        world.wait_stopped(&id);
        world.orlop(&["start", &id]).fails();
        world.orlop(&["delete", &id]).ok();
    }
    // The program itself begins with default dispositions.
    let id = world.started(&world.bundle().args(&["/bin/sleep", "1000"]));
    let caught = fs::read_to_string(format!("/proc/{}/status", world.pid(&id))).unwrap();
    assert!(caught.contains("SigCgt:\t0000000000000000"), "{caught}");
    world.orlop(&["delete", "--force", &id]).ok();
    Ok(())
}
