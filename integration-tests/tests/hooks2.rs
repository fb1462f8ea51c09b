//! Hooks, the second part: what a failure quotes, how deadlines add up, what start undoes, and the memory limit that
//! ends a start.
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
use integration_tests::{Bundle, Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        what_hooks_inside_print_is_quoted,
        only_the_failing_hook_is_quoted,
        a_failing_hook_of_start_is_quoted_by_start_and_run,
        a_failing_poststart_hook_kills_every_process,
        a_failing_poststop_hook_is_a_warning,
        a_timeout_of_a_hook_may_be_longer_than_that_of_the_phase,
        the_phase_ends_a_hook_without_a_timeout,
        hooks_of_the_host_have_an_empty_environment,
        every_hook_gets_its_own_state,
        a_hook_before_the_root_changes_begins_in_the_root,
        a_limit_too_low_for_init_is_said,
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

/// A hook that runs a line of shell; where it runs decides whose shell.
fn shell(bundle: Bundle, kind: &str, line: &str, timeout: Option<u32>) -> Bundle {
    let mut entry = json!({"path": "/bin/sh", "args": ["sh", "-c", line]});
    if let Some(seconds) = timeout {
        entry["timeout"] = json!(seconds);
    }
    hook(bundle, kind, entry)
}

fn what_hooks_inside_print_is_quoted(world: &World) -> Outcome {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = shell(world.bundle(), kind, "echo first; echo second >&2; exit 3", None);
        let ran = world.refused(&bundle);
        ran.says(&format!("hooks.{kind}[0]")).says("first | second").says("exit status");
    }
    Ok(())
}

fn only_the_failing_hook_is_quoted(world: &World) -> Outcome {
    let bundle = shell(world.bundle(), "createContainer", "echo harmless", None);
    let bundle = shell(bundle, "createContainer", "echo harmful; exit 4", None);
    let ran = world.refused(&bundle).says("hooks.createContainer[1]").says("exit status 4: harmful");
    assert!(!ran.err.contains("harmless"), "{ran}");
    Ok(())
}

fn a_failing_hook_of_start_is_quoted_by_start_and_run(world: &World) -> Outcome {
    let failing = || shell(world.bundle(), "startContainer", "echo oh dear; exit 5", None);
    let bundle = shell(failing(), "createContainer", "echo harmless", None);
    let id = world.create(&bundle);
    let ran =
        world.orlop(&["start", &id]).fails().says("hooks.startContainer[0]").says("exit status 5: oh dear");
    assert!(!ran.err.contains("harmless"), "{ran}");
    assert_eq!(world.status(&id), "stopped");
    let id = world.id();
    let bundle = failing();
    world.orlop(&["run", "--bundle", bundle.path(), &id]).fails().says("exit status 5: oh dear");
    world.orlop(&["state", &id]).fails();
    Ok(())
}

fn a_failing_poststart_hook_kills_every_process(world: &World) -> Outcome {
    let bundle = world.shell("sleep 1000 & sleep 1000").without_namespace("pid");
    let bundle = shell(bundle, "poststart", "echo not today; exit 1", None);
    let id = world.create(&bundle);
    world.orlop(&["start", &id]).fails().says("hooks.poststart[0]").says("not today");
    assert_eq!(world.status(&id), "stopped");
    world.orlop(&["delete", &id]).ok();
    Ok(())
}

fn a_failing_poststop_hook_is_a_warning(world: &World) -> Outcome {
    let notes = world.path("after");
    let bundle = shell(world.bundle().args(&["/bin/true"]), "poststop", "echo grumble; exit 1", None);
    let bundle = shell(bundle, "poststop", &format!("echo ran > {notes}"), None);
    let id = world.id();
    world.orlop(&["run", "--bundle", bundle.path(), &id]).ok().says("hooks.poststop[0]").says("grumble");
    assert_eq!(fs::read_to_string(notes).unwrap(), "ran\n");
    world.orlop(&["state", &id]).fails();
    Ok(())
}

fn a_timeout_of_a_hook_may_be_longer_than_that_of_the_phase(world: &World) -> Outcome {
    world.only_orlop()?;
    for kind in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        let bundle = shell(world.bundle().args(&["/bin/sleep", "1000"]), kind, "sleep 2", Some(20));
        let id = world.id();
        world.orlop(&["create", "--timeout", "1", "--bundle", bundle.path(), &id]).ok();
        world.orlop(&["start", "--timeout", "1", &id]).ok();
    }
    Ok(())
}

fn the_phase_ends_a_hook_without_a_timeout(world: &World) -> Outcome {
    world.only_orlop()?;
    for kind in ["createRuntime", "createContainer"] {
        let bundle = shell(world.bundle(), kind, "sleep 1000", None);
        let id = world.id();
        let ran = world.orlop(&["create", "--timeout", "1", "--bundle", bundle.path(), &id]).fails();
        let ran = ran.says(&format!("hooks.{kind}[0]"));
        assert!(ran.took.as_secs() < 10, "{ran}");
        world.orlop(&["state", &id]).fails();
    }
    for kind in ["startContainer", "poststart"] {
        let bundle = shell(world.bundle().args(&["/bin/sleep", "1000"]), kind, "sleep 1000", None);
        let id = world.create(&bundle);
        let ran = world.orlop(&["start", "--timeout", "1", &id]).fails().says(&format!("hooks.{kind}[0]"));
        assert!(ran.took.as_secs() < 10, "{ran}");
        assert_eq!(world.status(&id), "stopped");
    }
    Ok(())
}

fn hooks_of_the_host_have_an_empty_environment(world: &World) -> Outcome {
    let out = world.path("out");
    fs::create_dir(&out).unwrap();
    let mut bundle = world.bundle().args(&["/bin/sleep", "1000"]).bind(&out, "/out", &["bind"]);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let directory = if kind == "startContainer" { "/out" } else { &out };
        // cp copies what the kernel says about cp itself, whose environment is the shell's exported one.
        bundle = hook(
            bundle,
            kind,
            json!({"path": "/bin/cp", "args": ["cp", "/proc/self/environ", format!("{directory}/{kind}")]}),
        );
    }
    let id = world.started(&bundle);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let environment = fs::read(format!("{out}/{kind}")).unwrap();
        let text = String::from_utf8_lossy(&environment);
        match kind {
            // runc gives the program's to a hook of the container that has none.
            "startContainer" => assert!(text.contains("PATH=") && text.contains("HOME=/"), "{text}"),
            _ => assert!(environment.is_empty(), "{kind}: {text}"),
        }
    }
    world.orlop(&["delete", "--force", &id]).ok();
    Ok(())
}

fn every_hook_gets_its_own_state(world: &World) -> Outcome {
    let out = world.path("out");
    fs::create_dir(&out).unwrap();
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]).bind(&out, "/out", &["bind"]);
    let mut bundle = bundle.edit(|config| config["annotations"] = json!({"it.key": "value"}));
    let kinds = [
        ("prestart", "created"),
        ("createRuntime", "created"),
        ("createContainer", "created"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    for (kind, _) in kinds {
        let directory = if kind == "startContainer" { "/out" } else { &out };
        bundle = shell(bundle, kind, &format!("cat > {directory}/{kind}"), None);
    }
    let id = world.started(&bundle);
    let pid = world.pid(&id);
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok();
    for (kind, status) in kinds {
        wait_until("the hook has written", LIMIT, || fs::metadata(format!("{out}/{kind}")).is_ok());
        let state: Value = serde_json::from_slice(&fs::read(format!("{out}/{kind}")).unwrap()).unwrap();
        let expected = match kind {
            "createContainer" | "startContainer" => 1,
            "poststop" => 0,
            _ => pid,
        };
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["pid"], expected, "{kind}");
        assert_eq!(state["id"], id, "{kind}");
        assert_eq!(state["bundle"], bundle.path(), "{kind}");
        assert_eq!(state["ociVersion"], "1.0.2", "{kind}");
        assert_eq!(state["annotations"], json!({"it.key": "value"}), "{kind}");
    }
    Ok(())
}

fn a_hook_before_the_root_changes_begins_in_the_root(world: &World) -> Outcome {
    let bundle =
        shell(world.shell("cat /made-here"), "createContainer", "echo by the hook >./made-here", None);
    assert_eq!(world.output_of(&bundle).trim(), "by the hook");
    Ok(())
}

fn a_limit_too_low_for_init_is_said(world: &World) -> Outcome {
    let limit = 16 * 4096;
    let bundle = world.bundle().edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": limit});
        config["process"]["args"] = json!(["/bin/true", "x".repeat(100_000)]);
    });
    let id = world.id();
    let ran = world.orlop(&["run", "--bundle", bundle.path(), &id]);
    if ran.err.contains("linux.resources.memory.limit") && !ran.err.contains("OOM") {
        return skip("no memory controller here");
    }
    let ran = ran.fails().says("container init was OOM-killed (memory limit too low?)");
    ran.says(&format!("{limit} bytes")).says("in use at most").says("1 MiB is enough");
    let enough = bundle.edit(|config| config["linux"]["resources"]["memory"] = json!({"limit": 1 << 20}));
    world.run(&enough).ok();
    Ok(())
}
