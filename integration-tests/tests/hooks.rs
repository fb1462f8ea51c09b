//! Hooks: when each of the six kinds runs, what it is given, and what its failure does.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::wait_until;
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, World, cases, harness, leaks};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        hooks_run_in_the_order_of_the_specification,
        hooks_of_a_kind_run_in_listed_order,
        poststop_runs_for_a_container_that_was_never_started,
        hooks_get_the_state_on_standard_input,
        hook_arguments_and_environment_are_as_configured,
        a_hook_that_does_not_read_its_input_is_no_failure,
        runtime_hooks_run_outside_and_container_hooks_inside,
        container_hooks_see_what_the_specification_says,
        hooks_inherit_no_descriptor,
        a_failing_hook_before_start_undoes_create,
        a_failing_start_container_hook_fails_start,
        a_failing_poststart_hook_stops_the_container,
        a_failing_poststop_hook_does_not_stop_delete,
        a_hook_past_its_timeout_is_killed_with_its_children,
        a_hook_ended_by_a_signal_has_failed,
        a_missing_hook_is_named,
        bad_hooks_are_refused,
        what_a_failing_hook_says_is_in_the_error,
    ])
}

fn hook(bundle: Bundle, kind: &str, entry: Value) -> Bundle {
    bundle.edit(|config| {
        let hooks = &mut config["hooks"][kind];
        if hooks.is_null() {
            *hooks = json!([]);
        }
        hooks.as_array_mut().unwrap().push(entry);
    })
}

/// A hook that appends a word to a file of the host; `startContainer` sees only the container and uses a bind mount.
fn noting(world: &World, bundle: Bundle, kind: &str, word: &str) -> Bundle {
    let notes = world.path("notes");
    if kind == "startContainer" {
        let line = format!("echo {word} >> /notes");
        return hook(bundle, kind, json!({"path": "/bin/sh", "args": ["sh", "-c", line]}));
    }
    let script = world.script(&format!("{kind}-{word}.sh"), &format!("echo {word} >> {notes}"));
    hook(bundle, kind, json!({"path": script}))
}

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn with_notes(world: &World, bundle: Bundle) -> Bundle {
    let notes = world.file("notes", "");
    bundle.bind(&notes, "/notes", &["bind"])
}

fn notes(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("notes")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn hooks_run_in_the_order_of_the_specification(world: &World) -> Outcome {
    let bundle = with_notes(world, world.shell("echo program >> /notes; sleep 1000"));
    let bundle = KINDS.iter().fold(bundle, |bundle, kind| noting(world, bundle, kind, kind));
    let id = world.create(&bundle);
    assert_eq!(notes(world), ["prestart", "createRuntime", "createContainer"]);
    world.orlop(&["start", &id]).ok();
    wait_until("the program has run", LIMIT, || notes(world).len() == 6);
    let order = notes(world);
    assert_eq!(order[3], "startContainer", "{order:?}");
    assert!(order.contains(&"program".to_owned()) && order.contains(&"poststart".to_owned()), "{order:?}");
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    assert_eq!(notes(world).len(), 6, "poststop is after delete");
    world.orlop(&["delete", &id]).ok();
    assert_eq!(notes(world)[6..], ["poststop"]);
    Ok(())
}

fn hooks_of_a_kind_run_in_listed_order(world: &World) -> Outcome {
    let words = ["first", "second", "third"];
    let bundle = with_notes(world, world.bundle().args(&["/bin/true"]));
    let bundle = words.iter().fold(bundle, |bundle, word| noting(world, bundle, "createRuntime", word));
    world.run(&bundle).ok();
    assert_eq!(notes(world), words);
    Ok(())
}

fn poststop_runs_for_a_container_that_was_never_started(world: &World) -> Outcome {
    let bundle = noting(world, with_notes(world, world.bundle()), "poststop", "poststop");
    let id = world.create(&bundle);
    world.orlop(&["delete", "--force", &id]).ok();
    assert_eq!(notes(world), ["poststop"]);
    Ok(())
}

fn hooks_get_the_state_on_standard_input(world: &World) -> Outcome {
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let mut bundle = world.bundle().args(&["/bin/sleep", "1000"]).edit(|config| {
        config["annotations"] = json!({"quoted": "a \"quoted\" \\ value\n"});
    });
    for kind in kinds {
        let script =
            world.script(&format!("{kind}.sh"), &format!("cat > {}", world.path(&format!("state-{kind}"))));
        bundle = hook(bundle, kind, json!({"path": script}));
    }
    let id = world.started(&bundle);
    let pid = world.pid(&id);
    world.orlop(&["delete", "--force", &id]).ok();
    for kind in kinds {
        let text = fs::read_to_string(world.path(&format!("state-{kind}"))).unwrap();
        let state: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
        let statuses: &[&str] = match kind {
            "poststart" => &["running"],
            "poststop" => &["stopped"],
            _ => &["creating", "created"],
        };
        assert!(statuses.iter().any(|status| state["status"] == *status), "{kind}: {text}");
        assert_eq!(state["id"], json!(id), "{kind}");
        assert_eq!(state["bundle"], bundle.path(), "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}: {text}");
        assert_eq!(state["annotations"]["quoted"], "a \"quoted\" \\ value\n", "{kind}");
        // createContainer runs in the container's pid namespace, where the same process is number 1.
        let seen = state["pid"].as_i64();
        let expected = seen == Some(pid.into()) || kind == "createContainer" && seen == Some(1);
        assert!(kind == "poststop" || expected, "{kind}: {text}");
    }
    Ok(())
}

/// `/proc/$$/environ` is what execve was given, before the shell adds variables of its own.
fn hook_arguments_and_environment_are_as_configured(world: &World) -> Outcome {
    world.only_orlop()?;
    let out = world.path("out");
    let script = world.script(
        "hook.sh",
        &format!("echo \"$#:$1:$2\" > {out}; cat /proc/$$/environ | tr '\\0' '\\n' >> {out}"),
    );
    let given = json!({"path": script, "args": ["zeroth", "one", "two words"], "env": ["A=1", "B=2 3"]});
    let run = |entry: Value| {
        let bundle = hook(world.bundle().args(&["/bin/true"]), "createRuntime", entry);
        let id = world.id();
        world.orlop_after("export SECRET_OF_THE_CALLER=1", &["run", "--bundle", bundle.path(), &id]).ok();
        fs::read_to_string(&out).unwrap()
    };
    assert_eq!(run(given), "2:one:two words\nA=1\nB=2 3\n");
    assert_eq!(run(json!({"path": script})), "0::\n", "without env the environment is empty");
    Ok(())
}

fn a_hook_that_does_not_read_its_input_is_no_failure(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]).edit(|config| {
        config["annotations"] = json!({"long": "x".repeat(300_000)});
    });
    let closing = world.script("closing.sh", "exec <&-; exit 0");
    world
        .run(&hook(
            hook(bundle, "createRuntime", json!({"path": "/bin/true"})),
            "poststop",
            json!({"path": closing}),
        ))
        .ok();
    Ok(())
}

fn runtime_hooks_run_outside_and_container_hooks_inside(world: &World) -> Outcome {
    let own = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let bundle = with_notes(world, world.shell("readlink /proc/self/ns/uts > /notes; sleep 1000"));
    let mut bundle = bundle;
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let script = world
            .script(&format!("{kind}.sh"), &format!("readlink /proc/self/ns/uts > {}", world.path(kind)));
        bundle = hook(bundle, kind, json!({"path": script}));
    }
    let id = world.started(&bundle);
    wait_until("the program has run", LIMIT, || notes(world).len() == 1);
    let inside = notes(world).remove(0);
    world.orlop(&["delete", "--force", &id]).ok();
    let seen = |kind: &str| fs::read_to_string(world.path(kind)).unwrap().trim().to_owned();
    assert_ne!(inside, own("uts"));
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(seen(kind), own("uts"), "{kind}");
    }
    assert_eq!(seen("createContainer"), inside);
    Ok(())
}

/// createContainer: the container's namespaces, the host's root. startContainer: both are the container's.
fn container_hooks_see_what_the_specification_says(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]);
    let script = world
        .script("create.sh", &format!("test -d {} && hostname > {}", bundle.path(), world.path("hostname")));
    let bundle = hook(bundle, "createContainer", json!({"path": script, "env": ["PATH=/usr/bin:/bin"]}));
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "test ! -e /work && pwd > /tmp/pwd && test -x /bin/probe"]});
    let bundle = hook(bundle, "startContainer", inside);
    world.run(&bundle).ok();
    assert!(bundle.rootfs("tmp/pwd").exists());
    assert!(fs::metadata(world.path("hostname")).is_ok());
    Ok(())
}

/// The numbers are asked one by one: a listing would show the descriptor that it lists with.
fn hooks_inherit_no_descriptor(world: &World) -> Outcome {
    world.only_orlop()?;
    let asking = |kind: &str, out: &str| {
        let numbers: Vec<String> =
            (3..10).chain(11..64).chain([900]).map(|number| number.to_string()).collect();
        let list = numbers.join(" ");
        format!(
            "for n in {list}; do test -e /proc/$$/fd/$n && echo {kind} $n >> {out}; done; echo {kind} done >> {out}"
        )
    };
    let out = world.path("fds");
    let bundle = world.bundle().args(&["/bin/true"]);
    let bundle =
        ["createRuntime", "createContainer", "poststart", "poststop"].iter().fold(bundle, |bundle, kind| {
            let script = world.script(&format!("{kind}.sh"), &asking(kind, &out));
            hook(bundle, kind, json!({"path": script}))
        });
    let inside = asking("startContainer", "/tmp/fds");
    let bundle = hook(bundle, "startContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", inside]}));
    let id = world.id();
    world.orlop_after("exec 3</ 25</etc/passwd 900</", &["run", "--bundle", bundle.path(), &id]).ok();
    let outside = fs::read_to_string(&out).unwrap();
    assert_eq!(outside, "createRuntime done\ncreateContainer done\npoststart done\npoststop done\n");
    assert_eq!(fs::read_to_string(bundle.rootfs("tmp/fds")).unwrap(), "startContainer done\n");
    Ok(())
}

fn a_failing_hook_before_start_undoes_create(world: &World) -> Outcome {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let script = world.script("failing.sh", "exit 3");
        let bundle = hook(world.bundle(), kind, json!({"path": script}));
        let ran = world.refused(&bundle);
        if world.is_orlop() {
            ran.says(kind);
        }
    }
    Ok(())
}

fn a_failing_start_container_hook_fails_start(world: &World) -> Outcome {
    let bundle = world.shell("touch /tmp/ran");
    let bundle = hook(bundle, "startContainer", json!({"path": "/bin/false"}));
    let id = world.create(&bundle);
    world.orlop(&["start", &id]).fails();
    wait_until("it does not run", LIMIT, || {
        let state = world.orlop(&["state", &id]);
        state.code != Some(0) || state.json()["status"] == "stopped"
    });
    assert!(!bundle.rootfs("tmp/ran").exists());
    Ok(())
}

/// Spec 1.3: an error, and the container is stopped.
fn a_failing_poststart_hook_stops_the_container(world: &World) -> Outcome {
    let bundle =
        hook(world.bundle().args(&["/bin/sleep", "1000"]), "poststart", json!({"path": "/bin/false"}));
    let id = world.create(&bundle);
    world.orlop(&["start", &id]).fails();
    wait_until("it is stopped", LIMIT, || {
        let state = world.orlop(&["state", &id]);
        state.code != Some(0) || state.json()["status"] == "stopped"
    });
    Ok(())
}

fn a_failing_poststop_hook_does_not_stop_delete(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = with_notes(world, world.bundle().args(&["/bin/true"]));
    let bundle = hook(bundle, "poststop", json!({"path": "/bin/false"}));
    let bundle = noting(world, bundle, "poststop", "second");
    let id = world.started(&bundle);
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok().says("poststop");
    assert_eq!(notes(world), ["second"]);
    world.orlop(&["state", &id]).fails();
    Ok(())
}

fn a_hook_past_its_timeout_is_killed_with_its_children(world: &World) -> Outcome {
    let place = world.path("in-time");
    let script = world.script("slow.sh", &format!("sleep 1234 & sleep 1235; touch {place}"));
    for kind in ["createRuntime", "createContainer"] {
        let ran = world.refused(&hook(world.bundle(), kind, json!({"path": script, "timeout": 1})));
        assert!(ran.took.as_secs() < 10, "{ran}");
        if world.is_orlop() {
            ran.says_any(&["timeout", "timed out", "did not end", "killed after"]);
        }
    }
    world.only_orlop()?;
    let sleepers = || {
        let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
        names.filter_map(|path| fs::read(path).ok()).filter(|line| line.starts_with(b"sleep\x00123")).count()
    };
    wait_until("the hook's children are gone", LIMIT, || sleepers() == 0);
    Ok(())
}

fn a_hook_ended_by_a_signal_has_failed(world: &World) -> Outcome {
    let script = world.script("killed.sh", "kill -9 $$");
    world.refused(&hook(world.bundle(), "createRuntime", json!({"path": script})));
    Ok(())
}

fn a_missing_hook_is_named(world: &World) -> Outcome {
    world
        .refused(&hook(world.bundle(), "createRuntime", json!({"path": "/no/such/hook"})))
        .says("/no/such/hook");
    Ok(())
}

fn bad_hooks_are_refused(world: &World) -> Outcome {
    world.only_orlop()?;
    let bad = [
        json!({"path": "bin/true"}),
        json!({"path": ""}),
        json!({}),
        json!({"path": "/bin/true", "timeout": 0}),
        json!({"path": "/bin/true", "timeout": -1}),
        json!({"path": "/bin/true", "env": ["NOEQUALS"]}),
        json!({"path": "/bin/true", "args": ["a\u{0}b"]}),
    ];
    for entry in bad {
        world.refused(&hook(world.bundle(), "poststop", entry)).says("hooks.poststop[0]");
    }
    Ok(())
}

fn what_a_failing_hook_says_is_in_the_error(world: &World) -> Outcome {
    let script = world.script("talking.sh", "echo the reason is here >&2; exit 1");
    let bundle = hook(world.bundle(), "createRuntime", json!({"path": script}));
    let id = world.id();
    world.orlop(&["create", "--bundle", bundle.path(), &id]).fails().says("the reason is here");
    let left = leaks::settled(&[&id], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
