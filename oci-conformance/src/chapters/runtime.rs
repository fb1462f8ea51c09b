//! runtime.md: the state, the lifecycle, and the operations.

use crate::broken::Call;
use crate::lab::Lab;
use crate::row::Broken::{Command, Config, Ignores};
use crate::row::Level::{Must, MustNot, Plain};
use crate::row::Refusal::{Create, CreateOrStart};
use crate::row::Test::{Lab as InLab, Refused, Seen};
use crate::row::{Row, Stop, Verdict, check, fail, row};
use crate::seen::Seen as Report;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A row: hooks of a kind are called.
macro_rules! invoked {
    ($kind:literal, $line:literal) => {
        row(
            concat!("runtime.lifecycle.", $kind),
            Must,
            &[$line],
            concat!($kind, " hooks are called"),
            InLab(|lab| {
                lab.hook($kind, &[]);
                whole_life(lab)?;
                lab.hooked($kind).map(|_| ())
            }),
            Config(|config| config.remove(concat!("/hooks/", $kind))),
        )
    };
}

/// A row: a failed hook of the kind makes the operation fail and ends the container.
macro_rules! fails {
    ($kind:literal, $line:literal, $test:expr) => {
        row(
            concat!("runtime.lifecycle.", $kind, "-fails"),
            Must,
            &[$line],
            concat!("a failed ", $kind, " hook makes the operation fail and ends the container"),
            InLab(|lab| {
                lab.hook($kind, &["fail"]);
                lab.config.ask(&["stay"]);
                ($test)(lab)
            }),
            Ignores,
        )
    };
}

/// The rows of this chapter.
pub(super) const ROWS: &[&[Row]] = &[TABLE];

const TABLE: &[Row] = &[
    row(
        "runtime.scope.operations",
        Must,
        &[5],
        "who created a container can use every operation on it",
        InLab(|lab| {
            lab.config.ask(&["stay"]);
            lab.run()?;
            drop(lab.state()?);
            let done = lab.kill("KILL")?;
            check(done.ok().then_some(()), || format!("kill failed: {}", done.said))?;
            settled(lab, "stopped")?;
            lab.delete()
        }),
        Command(|call| call.refuses("kill")),
    ),
    row(
        "runtime.state.oci-version",
        Must,
        &[12],
        "the state has the version it complies with",
        InLab(|lab| {
            let version = running(lab)?.text("/ociVersion");
            check((version.split('.').count() >= 3).then_some(()), || format!("ociVersion is {version:?}"))
        }),
        Command(|call| call.lies("state", |state| state.remove("/ociVersion"))),
    ),
    row(
        "runtime.state.id",
        Must,
        &[13],
        "the state has the container's id",
        InLab(|lab| running(lab)?.is("/id", lab.id.as_str())),
        Command(|call| call.lies("state", |state| state.set("/id", json!("another")))),
    ),
    row(
        "runtime.state.id-unique",
        Must,
        &[14],
        "an id belongs to one container at a time",
        InLab(|lab| {
            running(lab)?;
            let done = lab.create_as(&lab.id)?;
            check((!done.ok()).then_some(()), || "a second container took the id".to_owned())
        }),
        Command(|call| call.forgives("create")),
    ),
    row(
        "runtime.state.status",
        Must,
        &[16],
        "the state has a status, and a program that runs is running",
        InLab(|lab| running(lab)?.is("/status", "running")),
        Command(|call| call.lies("state", |state| state.remove("/status"))),
    ),
    row(
        "runtime.state.values",
        Must,
        &[24],
        "created, running and stopped have the specification's names and no other",
        InLab(|lab| {
            lab.config.ask(&["stay"]);
            lab.create()?;
            lab.state()?.is("/status", "created")?;
            lab.start()?;
            lab.report()?;
            lab.state()?.is("/status", "running")?;
            lab.end()?;
            settled(lab, "stopped")
        }),
        Command(|call| {
            call.lies("state", |state| {
                if state.at("/status") == "stopped" {
                    state.set("/status", json!("exited"))
                }
            })
        }),
    ),
    row(
        "runtime.state.pid",
        Must,
        &[25],
        "the pid of a created and of a running container is that of its process",
        InLab(|lab| {
            lab.config.ask(&["stay"]);
            lab.create()?;
            lab.state()?.is("/pid", lab.pid()?)?;
            lab.start()?;
            lab.state()?.is("/pid", lab.pid()?)
        }),
        Command(|call| call.lies("state", |state| state.set("/pid", json!(1)))),
    ),
    row(
        "runtime.state.bundle",
        Must,
        &[28],
        "the state has the absolute path of the bundle",
        InLab(|lab| {
            let path = running(lab)?.text("/bundle");
            let same = fs::metadata(&path)
                .is_ok_and(|meta| fs::metadata(lab.bundle()).is_ok_and(|own| own.ino() == meta.ino()));
            check((path.starts_with('/') && same).then_some(()), || format!("bundle is {path:?}"))
        }),
        Command(|call| call.lies("state", |state| state.set("/bundle", json!("bundle")))),
    ),
    row(
        "runtime.state.annotations",
        Plain,
        &[30],
        "the state has the annotations of the configuration",
        InLab(|lab| {
            lab.config.set("/annotations", json!({"org.example.key": "value"}));
            running(lab)?.is("/annotations/org.example.key", "value")
        }),
        Ignores,
    ),
    row(
        "runtime.state.schema",
        Must,
        &[35],
        "the state has the types of the schema",
        InLab(|lab| {
            let state = running(lab)?;
            let strings =
                ["/ociVersion", "/id", "/status", "/bundle"].iter().all(|key| state.at(key).is_string());
            let notes = state.at("/annotations");
            let map =
                notes.is_null() || notes.as_object().is_some_and(|map| map.values().all(Value::is_string));
            check((strings && state.at("/pid").is_u64() && map).then_some(()), || {
                format!("state is {}", state.0)
            })
        }),
        Command(|call| call.lies("state", |state| state.set("/pid", json!("12")))),
    ),
    row(
        "runtime.lifecycle.environment",
        Must,
        &[58],
        "create makes the environment that the configuration asks for",
        InLab(|lab| {
            lab.create()?;
            for kind in ["pid", "net", "ipc", "uts", "mnt"] {
                let own = fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string();
                check((lab.namespace(kind)? != own).then_some(()), || format!("no new {kind} namespace"))?;
            }
            Ok(())
        }),
        Config(|config| {
            config.no_namespace("ipc");
        }),
    ),
    row(
        "runtime.lifecycle.unable",
        Must,
        &[59],
        "an environment that cannot be made is an error",
        Refused(Create, |config| config.mount("bind", "/nonexistent/it", "/mnt", &["bind"])),
        Ignores,
    ),
    row(
        "runtime.lifecycle.resources",
        Must,
        &[60],
        "what the configuration asks for exists once the container is created",
        InLab(|lab| {
            lab.config.mount("tmpfs", "asked", "/mnt", &[]);
            lab.create()?;
            let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", lab.pid()?))?;
            check(mounts.contains(" - tmpfs asked ").then_some(()), || {
                "the mount is not there yet".to_owned()
            })
        }),
        Ignores,
    ),
    row(
        "runtime.lifecycle.not-yet",
        MustNot,
        &[60],
        "create does not run the program",
        InLab(not_before_start),
        Command(starts_at_once),
    ),
    row(
        "runtime.lifecycle.config-is-read-once",
        MustNot,
        &[61],
        "config.json may change after create without effect",
        InLab(|lab| {
            lab.config.ask(&["stay"]);
            lab.create()?;
            lab.config.set("/process/env", json!(["PATH=/", "CHANGED=yes"]));
            lab.write()?;
            lab.start()?;
            lab.report()?.has_not("/env", "CHANGED=yes")
        }),
        Command(|call| {
            if call.command() == "start" {
                let bundle = call.place().join("bundle").display().to_string();
                call.also(&["delete", "--force", call.last()]);
                call.also(&["create", "--bundle", &bundle, call.last()]);
            }
            None
        }),
    ),
    invoked!("prestart", 62),
    fails!("prestart", 63, fails_to_create),
    invoked!("createRuntime", 64),
    fails!("createRuntime", 65, fails_to_create),
    invoked!("createContainer", 66),
    fails!("createContainer", 67, fails_to_create),
    invoked!("startContainer", 69),
    fails!("startContainer", 70, |lab: &mut Lab| {
        lab.create()?;
        let done = lab.try_start()?;
        check((!done.ok()).then_some(()), || "start succeeded".to_owned())?;
        check((!lab.has_run()).then_some(()), || "the program ran".to_owned())?;
        lab.until("the container's end", || lab.inhabitants().is_empty())
    }),
    row(
        "runtime.lifecycle.program",
        Must,
        &[71],
        "start runs the program that process names",
        InLab(|lab| {
            lab.run()?;
            lab.report()?.is("/args/0", "/probe")
        }),
        Command(|call| call.forgets("start")),
    ),
    invoked!("poststart", 72),
    fails!("poststart", 73, |lab: &mut Lab| {
        lab.create()?;
        let done = lab.try_start()?;
        check((!done.ok()).then_some(()), || "start succeeded".to_owned())?;
        lab.until("the container's end", || lab.inhabitants().is_empty())
    }),
    row(
        "runtime.lifecycle.destroyed",
        Must,
        &[77],
        "delete undoes what create did",
        InLab(|lab| {
            whole_life(lab)?;
            lab.nothing_left()?;
            check(lab.state_of(&lab.id)?.is_err().then_some(()), || {
                "the container still has a state".to_owned()
            })
        }),
        Command(|call| call.forgets("delete")),
    ),
    invoked!("poststop", 78),
    row(
        "runtime.lifecycle.poststop-fails",
        Must,
        &[79],
        "after a failed poststop hook the others run and delete goes on",
        InLab(|lab| {
            lab.hook("poststop", &["fail"]);
            lab.hook("poststop", &["stat:/second"]);
            lab.config.ask(&["stay"]);
            lab.run()?;
            lab.end()?;
            settled(lab, "stopped")?;
            drop(lab.try_delete()?);
            check((lab.hooks().len() == 2).then_some(()), || {
                format!("{} of 2 hooks ran", lab.hooks().len())
            })?;
            check(lab.state_of(&lab.id)?.is_err().then_some(()), || "the container is still there".to_owned())
        }),
        Config(|config| config.remove("/hooks/poststop/1")),
    ),
    row(
        "runtime.errors.no-trace",
        Must,
        &[84],
        "an operation that fails leaves the host as it was",
        InLab(|lab| {
            lab.config.mount("bind", "/nonexistent/it", "/mnt", &["bind"]);
            lab.refuses()?;
            let mounts = fs::read_to_string("/proc/self/mounts")?;
            check((!mounts.contains(&lab.id)).then_some(()), || "a mount is left on the host".to_owned())
        }),
        Command(|call| {
            if call.command() != "create" {
                return None;
            }
            let status = call.run();
            drop(crate::cgroup::make_somewhere(call.last()));
            Some(status)
        }),
    ),
    row(
        "runtime.warnings.go-on",
        Must,
        &[89],
        "after a warning the operation goes on",
        InLab(|lab| {
            lab.hook("poststop", &["fail"]);
            whole_life(lab)?;
            lab.nothing_left()
        }),
        Command(|call| call.blames("delete")),
    ),
    row(
        "runtime.operations",
        Must,
        &[93],
        "state, create, start, kill and delete exist",
        InLab(|lab| {
            lab.config.ask(&["signals"]);
            lab.run()?;
            lab.report()?;
            drop(lab.state()?);
            let done = lab.kill("TERM")?;
            check(done.ok().then_some(()), || format!("kill failed: {}", done.said))?;
            lab.until("the program to end", || lab.inhabitants().is_empty())?;
            settled(lab, "stopped")?;
            lab.delete()
        }),
        Command(|call| call.refuses("state")),
    ),
    row(
        "runtime.query.without-id",
        Must,
        &[101],
        "state without an id is an error",
        InLab(|lab| is_error(lab, &["state"])),
        Command(|call| call.forgives("state")),
    ),
    row(
        "runtime.query.unknown",
        Must,
        &[102],
        "state of an id that no container has is an error",
        InLab(|lab| is_error(lab, &["state", "it-oci-nobody"])),
        Command(|call| call.forgives("state")),
    ),
    row(
        "runtime.query.answer",
        Must,
        &[103],
        "state gives what the host sees: id, bundle, pid and status",
        InLab(|lab| {
            let state = running(lab)?;
            state.is("/id", lab.id.as_str())?;
            state.is("/pid", lab.pid()?)?;
            state.is("/status", "running")
        }),
        Command(|call| call.forgets("state")),
    ),
    row(
        "runtime.create.without-id",
        Must,
        &[109],
        "create without an id or a bundle is an error",
        InLab(|lab| {
            lab.write()?;
            let bundle = lab.bundle().display().to_string();
            is_error(lab, &["create", "--bundle", &bundle])?;
            is_error(lab, &["create", "--bundle", "/nonexistent/it", &lab.id.clone()])?;
            lab.nothing_left()
        }),
        Command(|call| call.forgives("create")),
    ),
    row(
        "runtime.create.taken-id",
        Must,
        &[110],
        "create with an id that is in use is an error",
        InLab(|lab| {
            running(lab)?;
            let done = lab.create_as(&lab.id)?;
            check((!done.ok()).then_some(()), || "create succeeded".to_owned())
        }),
        Command(|call| call.forgives("create")),
    ),
    row(
        "runtime.create.taken-id-no-container",
        MustNot,
        &[110],
        "create with an id in use touches no process",
        InLab(|lab| {
            running(lab)?;
            let before = lab.inhabitants();
            drop(lab.create_as(&lab.id)?);
            check((lab.inhabitants() == before).then_some(()), || {
                format!("{before:?} became {:?}", lab.inhabitants())
            })
        }),
        Command(|call| {
            if call.command() == "create" {
                call.also(&["delete", "--force", call.last()]);
            }
            None
        }),
    ),
    row(
        "runtime.create.bad-id",
        Must,
        &[110],
        "create with an id that is a path is an error",
        InLab(|lab| {
            lab.write()?;
            let done = lab.create_as("../it-oci-x")?;
            check((!done.ok()).then_some(()), || "create succeeded".to_owned())
        }),
        Command(|call| call.forgives("create")),
    ),
    row(
        "runtime.create.container",
        Must,
        &[111],
        "create makes a container",
        InLab(|lab| {
            lab.create()?;
            lab.pid().map(|_| ())
        }),
        Command(|call| call.forgets("create")),
    ),
    row(
        "runtime.create.properties",
        Must,
        &[113],
        "create applies all properties but process",
        InLab(|lab| {
            lab.config.mount("tmpfs", "asked", "/mnt", &[]);
            lab.create()?;
            let pid = lab.pid()?;
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
            check(mounts.contains(" - tmpfs asked ").then_some(()), || "a mount is missing".to_owned())?;
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            check(groups.contains(&lab.id).then_some(()), || format!("the groups are {groups}"))
        }),
        Ignores,
    ),
    row(
        "runtime.create.args-later",
        MustNot,
        &[114],
        "args are not applied before start",
        InLab(not_before_start),
        Command(starts_at_once),
    ),
    row(
        "runtime.create.unable",
        Must,
        &[116],
        "a property that cannot be applied is an error",
        Refused(Create, |config| config.set("/linux/sysctl", json!({"kernel.it_does_not_exist": "1"}))),
        Ignores,
    ),
    row(
        "runtime.create.unable-no-container",
        MustNot,
        &[116],
        "a property that cannot be applied makes no container",
        InLab(|lab| {
            lab.config.mount("it-no-such-filesystem", "none", "/mnt", &[]);
            drop(lab.try_create()?);
            lab.nothing_left()?;
            check(lab.state_of(&lab.id)?.is_err().then_some(()), || "there is a container".to_owned())
        }),
        Ignores,
    ),
    row(
        "runtime.start.without-id",
        Must,
        &[126],
        "start without an id is an error",
        InLab(|lab| is_error(lab, &["start"])),
        Command(|call| call.forgives("start")),
    ),
    row(
        "runtime.start.twice-no-effect",
        Must,
        &[127],
        "start of a container that runs has no effect on it",
        InLab(|lab| {
            running(lab)?;
            let before = lab.inhabitants();
            drop(lab.try_start()?);
            std::thread::sleep(std::time::Duration::from_millis(20));
            check((lab.inhabitants() == before).then_some(()), || "its processes are others now".to_owned())?;
            lab.state()?.is("/status", "running")
        }),
        Command(|call| {
            if call.command() == "start" && call.run() != 0 {
                call.also(&["kill", call.last(), "KILL"]);
                return Some(1);
            }
            (call.command() == "start").then_some(0)
        }),
    ),
    row(
        "runtime.start.twice-error",
        Must,
        &[127],
        "start of a container that runs or has ended is an error",
        InLab(|lab| {
            running(lab)?;
            is_error(lab, &["start", &lab.id.clone()])?;
            lab.end()?;
            is_error(lab, &["start", &lab.id.clone()])
        }),
        Command(|call| call.forgives("start")),
    ),
    row(
        "runtime.start.program",
        Must,
        &[128],
        "start runs the program with the arguments of process",
        Seen(
            |config| config.set("/process/args/-", json!("a word")),
            &[],
            |seen| seen.has("/args", "a word"),
        ),
        Command(|call| {
            call.edit(|config| config.remove("/process/args/2"));
            None
        }),
    ),
    row(
        "runtime.start.without-process",
        Must,
        &[129],
        "start without process is an error",
        Refused(CreateOrStart, |config| config.remove("/process")),
        Ignores,
    ),
    row(
        "runtime.kill.without-id",
        Must,
        &[134],
        "kill without an id is an error",
        InLab(|lab| is_error(lab, &["kill"])),
        Command(|call| call.forgives("kill")),
    ),
    row(
        "runtime.kill.stopped-no-effect",
        Must,
        &[135],
        "kill of a container that has ended leaves it stopped",
        InLab(|lab| {
            stopped(lab)?;
            drop(lab.kill("KILL")?);
            lab.state()?.is("/status", "stopped")
        }),
        Command(|call| {
            let id = call.id_of_kill();
            if call.command() == "kill" {
                call.run();
                call.also(&["delete", "--force", &id]);
                return Some(1);
            }
            None
        }),
    ),
    row(
        "runtime.kill.stopped-error",
        Must,
        &[135],
        "kill of a container that has ended is an error",
        InLab(|lab| {
            stopped(lab)?;
            is_error(lab, &["kill", &lab.id.clone(), "KILL"])
        }),
        Command(|call| call.forgives("kill")),
    ),
    row(
        "runtime.kill.signal",
        Must,
        &[136],
        "kill sends the signal that was asked for",
        InLab(|lab| {
            lab.config.ask(&["signals"]);
            lab.run()?;
            lab.report()?;
            lab.kill("USR1")?;
            let log = lab.rootfs("report/signals");
            let usr1 = format!("{}\n", libc::SIGUSR1);
            lab.until("SIGUSR1", || fs::read_to_string(&log).is_ok_and(|text| text == usr1))
        }),
        Command(|call| {
            call.replace("USR1", "USR2");
            None
        }),
    ),
    row(
        "runtime.kill.created",
        Plain,
        &[135],
        "a created container can be sent a signal",
        InLab(|lab| {
            lab.create()?;
            let done = lab.kill("KILL")?;
            check(done.ok().then_some(()), || format!("kill failed: {}", done.said))?;
            lab.until("the end", || lab.inhabitants().is_empty())
        }),
        Command(|call| call.forgets("kill")),
    ),
    row(
        "runtime.delete.without-id",
        Must,
        &[141],
        "delete without an id is an error",
        InLab(|lab| is_error(lab, &["delete"])),
        Command(|call| call.forgives("delete")),
    ),
    row(
        "runtime.delete.running-no-effect",
        Must,
        &[142],
        "delete of a container that runs has no effect on it",
        InLab(|lab| {
            running(lab)?;
            let before = lab.inhabitants();
            drop(lab.try_delete()?);
            check((lab.inhabitants() == before).then_some(()), || "its process is gone".to_owned())
        }),
        Command(|call| {
            (call.command() == "delete" && !call.has("--force"))
                .then(|| call.also(&["delete", "--force", call.last()]))
        }),
    ),
    row(
        "runtime.delete.running-error",
        Must,
        &[142],
        "delete of a container that runs is an error",
        InLab(|lab| {
            running(lab)?;
            is_error(lab, &["delete", &lab.id.clone()])
        }),
        Command(|call| call.forgives("delete")),
    ),
    row(
        "runtime.delete.resources",
        Must,
        &[143],
        "delete removes the cgroup that create made",
        InLab(|lab| {
            whole_life(lab)?;
            lab.nothing_left()
        }),
        Command(|call| call.forgets("delete")),
    ),
    row(
        "runtime.delete.others",
        MustNot,
        &[144],
        "delete leaves what the container did not make",
        InLab(|lab| {
            let outside = lab.directory("outside")?;
            fs::write(lab.aside("outside/kept"), "kept")?;
            lab.config.mount("bind", &outside, "/mnt", &["bind"]);
            whole_life(lab)?;
            check(lab.aside("outside/kept").exists().then_some(()), || {
                "a bound directory was emptied".to_owned()
            })
        }),
        Command(|call| {
            if call.command() == "delete" {
                drop(fs::remove_dir_all(call.place().join("outside")));
            }
            None
        }),
    ),
    row(
        "runtime.delete.id-is-free",
        Plain,
        &[145],
        "the id of a deleted container can be used again",
        InLab(|lab| {
            whole_life(lab)?;
            lab.create()
        }),
        Command(|call| call.forgets("delete")),
    ),
];

/// Creates, starts, ends and deletes the container.
fn whole_life(lab: &mut Lab) -> Verdict {
    lab.config.ask(&["stay"]);
    lab.run()?;
    lab.report()?;
    lab.end()?;
    settled(lab, "stopped")?;
    lab.delete()
}

/// Starts a container that stays and gives its state.
fn running(lab: &mut Lab) -> Result<Report, Stop> {
    lab.config.ask(&["stay"]);
    lab.run()?;
    lab.report()?;
    lab.state()
}

/// A container whose process has ended.
fn stopped(lab: &mut Lab) -> Verdict {
    running(lab)?;
    lab.end()?;
    settled(lab, "stopped")
}

/// Waits for a status: the end of a process is known to the runtime only once somebody has waited for it.
fn settled(lab: &Lab, status: &str) -> Verdict {
    let mut last = String::new();
    let found = lab.until("a status", || {
        last = lab.state().map(|state| state.text("/status")).unwrap_or_default();
        last == status
    });
    found.or_else(|_| fail(format!("the status stays {last:?} and does not become {status:?}")))
}

fn is_error(lab: &Lab, words: &[&str]) -> Verdict {
    let done = lab.call(words)?;
    check((!done.ok()).then_some(()), || format!("{words:?} succeeded"))
}

fn fails_to_create(lab: &mut Lab) -> Verdict {
    let done = lab.try_create()?;
    check((!done.ok()).then_some(()), || "create succeeded".to_owned())?;
    lab.nothing_left()
}

fn not_before_start(lab: &mut Lab) -> Verdict {
    lab.create()?;
    check((!lab.has_run()).then_some(()), || "the program ran".to_owned())?;
    lab.start()?;
    lab.report().map(|_| ())
}

/// A runtime whose `create` is a `run`.
fn starts_at_once(call: &mut Call) -> Option<i32> {
    if call.command() != "create" {
        return call.forgets("start");
    }
    let status = call.run();
    call.also(&["start", call.last()]);
    Some(status)
}
