//! `plan` against what happens: the steps that it prints are those that a run of the same bundle then takes.
//!
//! `plan --bundle B` prints one step a line, `step NNN what` or `step NNN key: what`. A run with `--timing` names the
//! steps that it took in the same words. Both are compared for twenty configurations.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Bundle, Outcome, World, cases, harness};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![the_steps_that_run_are_the_planned_ones, plan_runs_nothing])
}

type Change = fn(&World, Bundle) -> Bundle;

/// Twenty configurations that differ in what they make the runtime do.
const CONFIGURATIONS: [(&str, Change); 20] = [
    ("the default", |_, bundle| bundle),
    ("a read-only root", |_, bundle| set(bundle, "/root/readonly", json!(true))),
    ("a user namespace", |_, bundle| bundle.with_user_namespace(100_000, 65536)),
    ("the host's network", |_, bundle| bundle.without_namespace("network")),
    ("a joined network namespace", |_, bundle| bundle.with_namespace("network", Some("/proc/self/ns/net"))),
    ("no pid namespace", |_, bundle| bundle.without_namespace("pid")),
    // The mounts name the groups then, and without a path of its own the group has the container's id.
    ("no cgroup namespace", |_, bundle| {
        bundle
            .without_namespace("cgroup")
            .edit(|config| config["linux"]["cgroupsPath"] = json!("/it-plan-group"))
    }),
    ("a time namespace", |_, bundle| {
        let bundle = bundle.with_namespace("time", None);
        bundle.edit(|config| config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 5}}))
    }),
    ("a user", |_, bundle| {
        set(bundle, "/process/user", json!({"uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [7, 8]}))
    }),
    ("ambient capabilities", |_, bundle| {
        let set_of = json!(["CAP_KILL"]);
        bundle.edit(|config| {
            for name in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
                config["process"]["capabilities"][name] = set_of.clone();
            }
        })
    }),
    ("new privileges", |_, bundle| set(bundle, "/process/noNewPrivileges", json!(false))),
    ("limits", |_, bundle| {
        set(bundle, "/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
    }),
    ("binds of all kinds", |world, bundle| {
        let host = world.path("plan-source");
        fs::create_dir_all(&host).unwrap();
        let bundle =
            bundle.bind(&host, "/mnt/a", &["bind", "ro", "nosuid"]).bind(&host, "/mnt/b", &["rbind", "rro"]);
        bundle.bind(&host, "/mnt/c", &["rbind", "rshared"])
    }),
    ("a tmpfs with data", |_, bundle| {
        let options = json!(["size=64k", "mode=700", "noexec"]);
        bundle.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}))
    }),
    ("devices", |_, bundle| {
        let device = json!([{"path": "/dev/it", "type": "c", "major": 1, "minor": 3, "fileMode": 438}]);
        bundle.edit(|config| config["linux"]["devices"] = device)
    }),
    ("kernel parameters", |_, bundle| {
        bundle.edit(|config| config["linux"]["sysctl"] = json!({"net.core.somaxconn": "99"}))
    }),
    ("no hidden paths", |_, bundle| {
        let bundle = set(bundle, "/linux/maskedPaths", json!([]));
        set(bundle, "/linux/readonlyPaths", json!([]))
    }),
    ("hooks in the container", |_, bundle| {
        let hook = json!([{"path": "/bin/true"}]);
        bundle.edit(|config| config["hooks"] = json!({"createContainer": hook, "startContainer": hook}))
    }),
    ("another directory", |_, bundle| set(bundle, "/process/cwd", json!("/new/directory"))),
    ("almost no mounts", |_, bundle| {
        ["/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup"]
            .iter()
            .fold(bundle, |bundle, path| bundle.without_mount(path))
    }),
];

fn set(bundle: Bundle, pointer: &str, value: Value) -> Bundle {
    bundle.edit(|config| *config.pointer_mut(pointer).expect("a key of the default configuration") = value)
}

/// The steps that `plan` prints.
fn planned(world: &World, bundle: &Bundle) -> Vec<String> {
    let plan = world.orlop(&["plan", "--bundle", bundle.path()]).ok().out;
    plan.lines().filter(|line| line.starts_with("step ")).map(without_id).collect()
}

/// The steps that a run takes, as `--timing` tells them.
fn done(world: &World, bundle: &Bundle) -> Vec<String> {
    let (timing, id) = (world.path("timing.json"), world.id());
    world.orlop(&["--timing", &timing, "run", "--bundle", bundle.path(), &id]).ok();
    let timing: Value = serde_json::from_str(&fs::read_to_string(&timing).unwrap()).unwrap();
    let steps = timing["steps"].as_array().unwrap();
    let number = |step: &Value| step["step"].as_str().unwrap().parse::<usize>().unwrap();
    let text = |step: &Value| format!("step {:03} {}", number(step), step["what"].as_str().unwrap());
    steps.iter().map(|step| without_id(&text(step))).collect()
}

/// `plan` has no container id; where a step names it, the two differ by that alone.
fn without_id(step: &str) -> String {
    step.split(' ')
        .map(|word| if word.starts_with("_ses.") { "_ses.ID" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

fn the_steps_that_run_are_the_planned_ones(world: &World) -> Outcome {
    world.only_orlop()?;
    let mut different = Vec::new();
    for (name, change) in CONFIGURATIONS {
        let bundle = change(world, world.bundle().args(&["/bin/true"]));
        let (planned, done) = (planned(world, &bundle), done(world, &bundle));
        assert!(planned.len() > 10, "{name}: a plan of {} steps", planned.len());
        let missing: Vec<_> = planned.iter().filter(|step| !done.contains(step)).collect();
        let unplanned: Vec<_> = done.iter().filter(|step| !planned.contains(step)).collect();
        if planned != done {
            different.push(format!("{name}: not done {missing:#?}, not planned {unplanned:#?}"));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {}:\n{}",
        different.len(),
        CONFIGURATIONS.len(),
        different.join("\n")
    );
    Ok(())
}

fn plan_runs_nothing(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.shell("touch /tmp/ran").edit(|config| {
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/false"}]);
    });
    world.orlop(&["plan", "--bundle", bundle.path()]).ok();
    assert!(!bundle.rootfs("tmp/ran").exists());
    assert!(!world.root.exists() || fs::read_dir(&world.root).unwrap().next().is_none());
    Ok(())
}
