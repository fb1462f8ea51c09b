//! `exec`: one more process in a container, with all of its confinement.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::{Ran, Running, is_alive, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, Report, World, cases, harness, pty, sockets};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    harness::main(cases![
        confinement_is_that_of_the_first_process,
        confinement_in_a_container_that_was_not_started,
        a_profile_holds_for_every_exec,
        changes_on_the_command_line_are_exact,
        a_process_file_is_complete_by_itself_or_by_the_container,
        added_capabilities_are_never_inheritable,
        a_user_is_numbers_and_exact,
        an_unmapped_user_is_refused,
        groups_of_the_caller_do_not_come_along,
        descriptors_of_the_caller_do_not_come_along,
        preserved_descriptors_come_along,
        a_descriptor_as_working_directory_is_refused,
        environment_of_the_caller_does_not_come_along,
        exit_codes_are_the_programs,
        failures_of_the_runtime_are_255,
        a_missing_program_is_named,
        states_in_which_exec_works,
        a_paused_container_is_joined_on_demand,
        a_detached_exec_goes_on_by_itself,
        the_pid_file_and_the_pidfd_name_the_process,
        a_terminal_is_one_of_the_container,
        the_console_socket_receives_the_master,
        the_callers_terminal_is_out_of_reach,
        sub_groups_stay_beneath_the_container,
        no_descriptor_of_the_host_is_seen_inside,
        the_first_process_that_changed_its_root_is_followed,
        a_process_may_come_through_a_pipe,
        a_thousand_execs_leave_nothing,
        parallel_execs_do_not_disturb_each_other,
        a_failed_exec_leaves_nothing,
    ])
}

/// A bundle whose first process says what it sees and then waits.
fn reporting(bundle: Bundle) -> Bundle {
    bundle.args(&["/bin/probe", "sleep:1000"])
}

/// What the first process of a container has said to the output of the command that made it.
fn report_of_init(command: &Running) -> Report {
    wait_until("the first process has reported", LIMIT, || command.output().0.ends_with('\n'));
    Report(serde_json::from_str(&command.output().0).unwrap())
}

/// A bundle that waits.
fn waiting(world: &World) -> Bundle {
    world.shell("exec sleep 1000")
}

fn exec(world: &World, id: &str, options: &[&str], program: &[&str]) -> Ran {
    world.orlop(&[&["exec"], options, &[id], program].concat())
}

fn probe(world: &World, id: &str, options: &[&str]) -> Report {
    Report(exec(world, id, options, &["/bin/probe"]).ok().json())
}

/// The keys of /proc/self/status that are confinement or that a caller could leave a trace in.
const STATUS: [&str; 19] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "Speculation_Store_Bypass",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "Cpus_allowed",
    "Mems_allowed",
    "CoreDumping",
];

const FACTS: [&str; 22] = [
    "cwd",
    "getcwd",
    "env",
    "limits",
    "namespaces",
    "timens_offsets",
    "uid_map",
    "gid_map",
    "setgroups",
    "mounts",
    "oom_score_adj",
    "scheduler",
    "ioprio",
    "personality",
    "memory_policy",
    "hostname",
    "cgroup",
    "dumpable",
    "securebits",
    "parent_death_signal",
    "attr_current",
    "interfaces",
];

#[track_caller]
fn assert_same(name: &str, init: &Report, exec: &Report) {
    let mut different: Vec<String> = Vec::new();
    let mut compare = |key: &str, init: &Value, exec: &Value| {
        if init != exec {
            different.push(format!("{key}: init {init}, exec {exec}"));
        }
    };
    for key in STATUS {
        compare(key, &init["status"][key], &exec["status"][key]);
    }
    // Counters of packets change by themselves.
    for key in FACTS.into_iter().filter(|key| *key != "interfaces") {
        compare(key, &init[key], &exec[key]);
    }
    compare("keyring", &init["keyring"]["description"], &exec["keyring"]["description"]);
    assert!(different.is_empty(), "{name}: {different:#?}");
    assert_eq!(exec.descriptors(), [0, 1, 2].into(), "{name}: {}", exec["fds"]);
    assert_eq!(exec["session"], exec["pid"], "{name}: a session of its own");
    assert_eq!(exec["tty"]["controlling"], false, "{name}");
}

/// A profile of the usual shape: everything but a few calls.
fn filter() -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["add_key", "keyctl", "unshare", "mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]})
}

fn configurations(world: &World) -> Vec<(&'static str, Bundle)> {
    let bundle = || reporting(world.bundle());
    let edit = |change: fn(&mut Value)| reporting(world.bundle().edit(change));
    let all =
        json!(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SETPCAP", "CAP_NET_RAW"]);
    vec![
        ("the default", bundle()),
        ("a user", edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1001}))),
        (
            "groups and umask",
            edit(|config| {
                config["process"]["user"] =
                    json!({"uid": 0, "gid": 0, "umask": 63, "additionalGids": [5, 70000, 6]});
            }),
        ),
        ("no capabilities", edit(|config| config["process"]["capabilities"] = json!({}))),
        (
            "many capabilities",
            world.bundle().edit(|config| {
                config["process"]["capabilities"] =
                    json!({"bounding": all, "permitted": all, "effective": all, "inheritable": all, "ambient": all});
                config["process"]["noNewPrivileges"] = json!(false);
            }),
        ),
        (
            "ambient capabilities of a user",
            edit(|config| {
                let set = json!(["CAP_KILL"]);
                config["process"]["capabilities"] =
                    json!({"bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set});
                config["process"]["user"] = json!({"uid": 7, "gid": 8});
            }),
        ),
        ("a filter", world.bundle().edit(|config| config["linux"]["seccomp"] = filter())),
        (
            "a filter without no_new_privs",
            world.bundle().edit(|config| {
                config["linux"]["seccomp"] = filter();
                config["process"]["noNewPrivileges"] = json!(false);
            }),
        ),
        (
            "a filter of a user without no_new_privs",
            world.bundle().edit(|config| {
                config["linux"]["seccomp"] = filter();
                config["process"]["noNewPrivileges"] = json!(false);
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                config["process"]["capabilities"] = json!({});
            }),
        ),
        (
            "limits",
            edit(|config| {
                config["process"]["rlimits"] = json!([
                    {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 4097}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                    {"type": "RLIMIT_NPROC", "soft": 5000, "hard": 5000}, {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 21}]);
                config["process"]["oomScoreAdj"] = json!(17);
            }),
        ),
        (
            "scheduling",
            edit(|config| {
                config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
                config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
            }),
        ),
        ("another personality", edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}))),
        (
            "a memory policy",
            edit(|config| config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"})),
        ),
        ("a user namespace", bundle().with_user_namespace(200_000, 65_536)),
        (
            "a user of a user namespace",
            world
                .bundle()
                .edit(|config| {
                    config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [9]});
                    config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 3});
                    config["process"]["oomScoreAdj"] = json!(5);
                    config["process"]["rlimits"] =
                        json!([{"type": "RLIMIT_NOFILE", "soft": 4097, "hard": 4097}]);
                    config["linux"]["seccomp"] = filter();
                })
                .with_user_namespace(200_000, 65_536),
        ),
        ("a time namespace", bundle().with_namespace("time", None)),
        (
            "a time namespace with offsets",
            bundle().with_namespace("time", None).edit(|config| {
                config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7777}, "boottime": {"secs": -3}});
            }),
        ),
        (
            "time and user namespaces",
            bundle().with_user_namespace(200_000, 65_536).with_namespace("time", None),
        ),
        ("the host's processes", bundle().without_namespace("pid")),
        ("the host's network", bundle().without_namespace("network").without_mount("/sys")),
        ("the host's cgroup namespace", bundle().without_namespace("cgroup")),
        (
            "a read-only root",
            edit(|config| config["root"]["readonly"] = json!(true)),
        ),
        (
            "another directory and variables",
            edit(|config| {
                config["process"]["cwd"] = json!("/etc");
                config["process"]["env"] = json!(["PATH=/bin", "A=1", "HOME=/given", "A=2"]);
            }),
        ),
    ]
}

fn confinement_is_that_of_the_first_process(world: &World) -> Outcome {
    for (name, bundle) in configurations(world) {
        let (bundle, id) = (reporting(bundle), world.id());
        let run = world.begin(&mut world.command(&["run", "--detach", "--bundle", bundle.path(), &id]));
        let init = report_of_init(&run);
        assert_same(name, &init, &probe(world, &id, &[]));
        world.orlop(&["delete", "--force", &id]).ok();
        run.end(LIMIT);
    }
    Ok(())
}

fn confinement_in_a_container_that_was_not_started(world: &World) -> Outcome {
    let offsets = json!({"monotonic": {"secs": 7777}});
    for bundle in [
        world.bundle(),
        world.bundle().with_user_namespace(200_000, 65_536),
        world
            .bundle()
            .with_namespace("time", None)
            .edit(|config| config["linux"]["timeOffsets"] = offsets.clone()),
    ] {
        let (bundle, id) = (reporting(bundle), world.id());
        let create = world.begin(&mut world.command(&["create", "--bundle", bundle.path(), &id]));
        let is_created = || world.orlop(&["state", &id]).out.contains("\"status\": \"created\"");
        wait_until("the container is created", LIMIT, is_created);
        let before = probe(world, &id, &[]);
        world.orlop(&["start", &id]).ok();
        assert_same("created", &report_of_init(&create), &before);
        world.orlop(&["delete", "--force", &id]).ok();
        create.end(LIMIT).ok();
    }
    Ok(())
}

/// The properties behind "seccomp is lost": with `--process`, for another user, with more capabilities.
fn a_profile_holds_for_every_exec(world: &World) -> Outcome {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    let bundle = waiting(world).edit(|config| config["linux"]["seccomp"] = profile);
    let id = world.started(&bundle);
    let file = world.file(
        "process.json",
        &json!({"args": ["/bin/probe", "mkdir:/tmp/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}})
            .to_string(),
    );
    let asked =
        |options: &[&str]| Report(exec(world, &id, options, &["/bin/probe", "mkdir:/tmp/x"]).ok().json());
    let reports = [
        asked(&[]),
        asked(&["--user", "1000:1000"]),
        asked(&["--cap", "CAP_SYS_ADMIN"]),
        asked(&["--no-new-privs=false"]),
        Report(world.orlop(&["exec", "--process", &file, &id]).ok().json()),
    ];
    for report in reports {
        assert_eq!(report.asked("mkdir:/tmp/x")["errno"], 38, "{}", report["asked"]);
        assert_eq!(report.status("Seccomp_filters"), "1");
    }
    Ok(())
}

fn changes_on_the_command_line_are_exact(world: &World) -> Outcome {
    let bundle = waiting(world).edit(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "KEPT=1", "CHANGED=old"]);
        config["process"]["user"] = json!({"uid": 3, "gid": 4, "additionalGids": [5]});
        config["process"]["terminal"] = json!(false);
    });
    let id = world.started(&bundle);
    let options = [
        "--cwd",
        "/etc",
        "--env",
        "CHANGED=new",
        "-e",
        "NEW=a b",
        "--user",
        "1000",
        "--additional-gids",
        "6",
        "-g",
        "7",
    ];
    let report = probe(world, &id, &options);
    assert_eq!(report["getcwd"], "/etc");
    assert_eq!(report["env"], json!(["PATH=/bin", "KEPT=1", "CHANGED=new", "NEW=a b", "HOME=/home/walter"]));
    assert_eq!((report.ids("Uid"), report.ids("Gid")), (vec![1000; 4], vec![4; 4]), "the group stays");
    assert_eq!(report.groups(), [5, 6, 7].into());
    assert_eq!(report.status("NoNewPrivs"), "1");
    let report = probe(world, &id, &["--user", "9:10", "--no-new-privs=false"]);
    assert_eq!((report.ids("Uid"), report.ids("Gid")), (vec![9; 4], vec![10; 4]));
    assert_eq!(report.status("NoNewPrivs"), "0");
    exec(world, &id, &["--cwd", "/no/such"], &["/bin/true"]).fails();
    assert!(!bundle.rootfs("no").exists(), "exec makes no directory");
    exec(world, &id, &["--cwd", "relative"], &["/bin/true"]).fails().says("Cwd must be an absolute path");
    Ok(())
}

fn a_process_file_is_complete_by_itself_or_by_the_container(world: &World) -> Outcome {
    let bundle = waiting(world).edit(|config| {
        config["process"]["oomScoreAdj"] = json!(11);
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let id = world.started(&bundle);
    let run = |process: Value| {
        let file = world.file("process.json", &process.to_string());
        world.orlop(&["exec", "--process", &file, &id])
    };
    let sparse = json!({"args": ["/bin/probe"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    let report = Report(run(sparse.clone()).ok().json());
    let container = probe(world, &id, &["--user", "0:0"]);
    for key in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(report.status(key), container.status(key), "{key} is the container's");
    }
    assert_eq!((&report["oom_score_adj"], &report["limits"]), (&json!("11"), &container["limits"]));
    assert_eq!(report["scheduler"], container["scheduler"]);
    assert_eq!(report["env"], json!(["HOME=/root"]), "the environment is the file's");

    let mut whole = sparse;
    whole["capabilities"] = json!({"bounding": ["CAP_CHOWN"]});
    whole["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 10}]);
    whole["oomScoreAdj"] = json!(12);
    whole["noNewPrivileges"] = json!(true);
    let report = Report(run(whole.clone()).ok().json());
    assert_eq!((report.status("CapBnd"), report.status("CapEff")), ("0000000000000001", "0000000000000000"));
    assert_eq!(report["limits"]["Max open files"], json!({"soft": "9", "hard": "10"}));
    assert_eq!((&report["oom_score_adj"], report.status("NoNewPrivs")), (&json!("12"), "1"));

    whole["capabilities"] = json!({});
    assert_eq!(Report(run(whole).ok().json()).status("CapBnd"), "0000000000000000", "empty is not absent");
    for (process, text) in [
        (json!({"args": ["a"]}), "Cwd property must not be empty"),
        (json!({"cwd": "/"}), "args must not be empty"),
        (json!({"cwd": "/", "args": ["a"], "user": {"uid": -1}}), "-1 is no id"),
    ] {
        let ran = run(process).fails().says(text);
        assert_eq!(ran.code, Some(255));
    }
    Ok(())
}

/// CVE-2022-29162 and its relatives: what --cap adds must not survive a change of user through an inheritable set.
fn added_capabilities_are_never_inheritable(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let report = probe(world, &id, &["--cap", "CAP_NET_RAW"]);
    let net_raw = 1_u64 << 13;
    let set = |key| u64::from_str_radix(report.status(key), 16).unwrap();
    for key in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(set(key) & net_raw, net_raw, "{key}");
    }
    assert_eq!((set("CapInh"), set("CapAmb")), (0, 0));
    let report = probe(world, &id, &["--cap", "CAP_NET_RAW", "--user", "1000"]);
    assert_eq!((report.status("CapEff"), report.status("CapInh")), ("0000000000000000", "0000000000000000"));
    Ok(())
}

/// CVE-2026-30892, CVE-2016-3697: an exact number or nothing.
fn a_user_is_numbers_and_exact(world: &World) -> Outcome {
    let bundle = waiting(world);
    fs::write(bundle.rootfs("etc/passwd"), "1000:x:0:0::/:/bin/sh\n1:x:0:0::/:/bin/sh\n").unwrap();
    let id = world.started(&bundle);
    for (text, uid, gid) in [
        ("0", 0, 0),
        ("1", 1, 0),
        ("1:2", 1, 2),
        ("1000", 1000, 0),
        ("4294967294:4294967294", u32::MAX - 1, u32::MAX - 1),
    ] {
        let report = probe(world, &id, &["--user", text]);
        assert_eq!((report.ids("Uid"), report.ids("Gid")), (vec![uid; 4], vec![gid; 4]), "{text}");
    }
    for text in [
        "1:",
        ":2",
        ":",
        "-1",
        "4294967295",
        "4294967296",
        "1:4294967295",
        "0x0",
        "root",
        " 1",
        "1 ",
        "+1",
        "１",
        "1:2:3",
        "1.0",
    ] {
        let ran = exec(world, &id, &["--user", text], &["/bin/true"]).fails();
        assert_eq!(ran.code, Some(255), "{text:?}");
    }
    Ok(())
}

fn an_unmapped_user_is_refused(world: &World) -> Outcome {
    let id = world.started(&waiting(world).with_user_namespace(200_000, 10));
    assert_eq!(probe(world, &id, &["--user", "9:9"]).ids("Uid"), [9; 4]);
    exec(world, &id, &["--user", "10:0"], &["/bin/true"]).fails().says("is not mapped");
    exec(world, &id, &["--user", "0:10"], &["/bin/true"]).fails().says("is not mapped");
    exec(world, &id, &["-g", "10"], &["/bin/true"]).fails().says("is not mapped");
    Ok(())
}

fn groups_of_the_caller_do_not_come_along(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let mut command = std::process::Command::new("setpriv");
    command.args(["--groups", "4,27,999"]).arg(&world.runtime).arg("--root").arg(&world.root);
    let ran = world.finish(command.args(["exec", &id, "/bin/probe"])).ok();
    assert_eq!(Report(ran.json()).groups(), [].into());
    Ok(())
}

fn descriptors_of_the_caller_do_not_come_along(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let ran = world.orlop_after("exec 3</ 25</etc/passwd 900</", &["exec", &id, "/bin/probe"]).ok();
    assert_eq!(Report(ran.json()).descriptors(), [0, 1, 2].into());
    Ok(())
}

fn preserved_descriptors_come_along(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let prelude = "exec 3</etc/passwd 4</etc/group 25</";
    let ran = world.orlop_after(prelude, &["exec", "--preserve-fds", "2", &id, "/bin/probe"]).ok();
    let report = Report(ran.json());
    assert_eq!(report.descriptors(), [0, 1, 2, 3, 4].into());
    let ran = world.orlop_after("exec 3</etc/passwd", &["exec", "--preserve-fds", "2", &id, "/bin/true"]);
    ran.fails().says("--preserve-fds");
    Ok(())
}

/// CVE-2024-21626: a working directory or a program that is a descriptor of the runtime's.
fn a_descriptor_as_working_directory_is_refused(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    for number in 3..40 {
        let own = format!("/proc/self/fd/{number}");
        exec(world, &id, &["--cwd", &own], &["/bin/true"]).fails();
        exec(world, &id, &[], &[&format!("{own}/etc/passwd")]).fails();
    }
    Ok(())
}

fn environment_of_the_caller_does_not_come_along(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let ran = world.orlop_after("export SECRET=1 HOME=/caller", &["exec", &id, "/bin/probe"]).ok();
    let report = Report(ran.json());
    assert_eq!((report.env("SECRET"), report.env("HOME")), (None, Some("/root")));
    Ok(())
}

fn exit_codes_are_the_programs(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    for code in [0, 1, 2, 42, 126, 127, 128, 254, 255] {
        let ran = exec(world, &id, &[], &["/bin/sh", "-c", &format!("exit {code}")]);
        assert_eq!(ran.code, Some(code));
    }
    for signal in [1, 2, 6, 9, 11, 15] {
        let ran = exec(world, &id, &[], &["/bin/sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(ran.code, Some(128 + signal));
    }
    Ok(())
}

fn failures_of_the_runtime_are_255(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    for arguments in [
        &["exec", "it-no-such-container", "/bin/true"][..],
        &["exec", &id, "/no/such"],
        &["exec", &id],
        &["exec", "--process", "/no/such", &id],
        &["exec", "--no-such-flag", &id, "/bin/true"],
        &["exec", "--cwd", "/no/such", &id, "/bin/true"],
        &["exec", "--tty", "--detach", &id, "/bin/true"],
        &["exec", "--console-socket", "/no/such", &id, "/bin/true"],
        &["exec", "--pid-file", "/no/such/dir/pid", &id, "/bin/sleep", "1000"],
    ] {
        let ran = world.orlop(arguments).fails();
        assert_eq!(ran.code, Some(255), "{ran}");
    }
    Ok(())
}

fn a_missing_program_is_named(world: &World) -> Outcome {
    let bundle = waiting(world);
    fs::write(bundle.rootfs("bin/plain"), "text").unwrap();
    fs::write(bundle.rootfs("bin/script"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(bundle.rootfs("bin/script"), fs::Permissions::from_mode(0o755)).unwrap();
    let id = world.started(&bundle);
    let say = |program: &str, text: &str| exec(world, &id, &[], &[program]).fails().says(text);
    say("nope", "executable file not found in $PATH");
    say("/nope", "no such file or directory");
    say("/bin/plain", "permission denied");
    say("/etc", "permission denied");
    say("/etc/passwd/x", "not a directory");
    say("/bin/script", "no such file or directory");
    Ok(())
}

fn states_in_which_exec_works(world: &World) -> Outcome {
    let id = world.create(&waiting(world));
    exec(world, &id, &[], &["/bin/true"]).ok();
    assert_eq!(world.status(&id), "created", "an exec does not start the container");
    world.orlop(&["start", &id]).ok();
    exec(world, &id, &[], &["/bin/true"]).ok();
    world.orlop(&["kill", &id, "KILL"]).ok();
    world.wait_stopped(&id);
    exec(world, &id, &[], &["/bin/true"]).fails().says("cannot exec in a stopped container");
    exec(world, "it-no-such-container", &[], &["/bin/true"]).fails().says("container does not exist");
    Ok(())
}

fn a_paused_container_is_joined_on_demand(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    world.orlop(&["pause", &id]).ok();
    exec(world, &id, &[], &["/bin/true"])
        .fails()
        .says("cannot exec in a paused container (use --ignore-paused to override)");
    let running =
        world.begin(&mut world.command(&["exec", "--ignore-paused", &id, "/bin/sh", "-c", "exit 3"]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(running.pid()), "it waits for the container: {:?}", running.output());
    world.orlop(&["resume", &id]).ok();
    assert_eq!(running.end(LIMIT).code, Some(3));
    Ok(())
}

fn a_detached_exec_goes_on_by_itself(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let pid_file = world.path("pid");
    exec(world, &id, &["--detach", "--pid-file", &pid_file], &["/bin/sleep", "1000"]).ok();
    let text = fs::read_to_string(&pid_file).unwrap();
    assert!(is_alive(text.parse().unwrap()), "the pid file has a number and nothing else: {text:?}");
    let ran = exec(world, &id, &["--detach"], &["/no/such"]).fails();
    assert_eq!(ran.code, Some(255), "what fails before the program runs is known");
    Ok(())
}

fn the_pid_file_and_the_pidfd_name_the_process(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let (socket, pid_file) = (world.path("s"), world.path("pid"));
    let receiver = sockets::listen(&socket);
    let options = ["--detach", "--pid-file", &pid_file, "--pidfd-socket", &socket];
    exec(world, &id, &options, &["/bin/sleep", "1000"]).ok();
    let (_, descriptors) = receiver.receive();
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&descriptors[0]));
    let info = fs::read_to_string(info).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid);
    let parent = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(parent.starts_with("/bin/sleep"), "{parent:?}");
    Ok(())
}

fn a_terminal_is_one_of_the_container(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let command = world.command(&["exec", "--tty", &id, "/bin/sh", "-c", "tty; stty size; echo end; exit 5"]);
    let (code, seen) = pty::start(&command, 33, 77).end();
    assert!(seen.contains("/dev/pts/0") && seen.contains("end"), "{seen:?}");
    assert!(seen.contains("33 77"), "{seen:?}");
    assert_eq!(code, Some(5));
    Ok(())
}

fn the_console_socket_receives_the_master(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let socket = world.path("s");
    let receiver = sockets::listen(&socket);
    let options = ["--tty", "--detach", "--console-socket", &socket];
    exec(world, &id, &options, &["/bin/sh", "-c", "test -t 0 && echo terminal; sleep 1000"]).ok();
    let (_, descriptors) = receiver.receive();
    assert!(pty::read_some(&descriptors[0], LIMIT).contains("terminal"));
    exec(world, &id, &["--tty", "--detach"], &["/bin/true"])
        .fails()
        .says("cannot allocate tty if orlop will detach without setting console socket");
    Ok(())
}

/// A program without a terminal of its own must not reach the caller's (TIOCSTI and its relatives).
fn the_callers_terminal_is_out_of_reach(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let command = world.command(&["exec", &id, "/bin/sh", "-c", "(: < /dev/tty) && echo reached; echo end"]);
    let (_, seen) = pty::start(&command, 24, 80).end();
    assert!(seen.contains("end") && !seen.contains("reached"), "{seen:?}");
    Ok(())
}

fn sub_groups_stay_beneath_the_container(world: &World) -> Outcome {
    let bundle = waiting(world).without_namespace("cgroup");
    let id = world.started(&bundle);
    for sub in ["../x", "..", "a/../../x", "memory:../x", "memory:..", "no/such/group", "memory:no/such"] {
        exec(world, &id, &["--cgroup", sub], &["/bin/true"]).fails();
    }
    let pids = fs::exists("/sys/fs/cgroup/pids").unwrap();
    // Version 1 names a hierarchy, version 2 has no name.
    let (names, mount, target) = match pids {
        true => ("pids", "/sys/fs/cgroup/pids", "pids:below"),
        false => ("", "/sys/fs/cgroup", "below"),
    };
    let group = group_of(&probe(world, &id, &[]), names);
    let below = format!("{mount}{group}/below");
    fs::create_dir(&below).unwrap();
    let inside = probe(world, &id, &["--cgroup", target]);
    assert_eq!(group_of(&inside, names), format!("{group}/below"));
    if pids {
        let memory = |report: &Report| group_of(report, "memory");
        assert_eq!(memory(&inside), memory(&probe(world, &id, &[])), "the other hierarchies stay");
    }
    wait_until("the group is empty", LIMIT, || fs::remove_dir(&below).is_ok());
    Ok(())
}

fn group_of(report: &Report, controller: &str) -> String {
    let text = report["cgroup"].as_str().unwrap();
    let line = text.lines().find(|line| line.split(':').nth(1).is_some_and(|names| names == controller));
    line.and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or_default().to_owned()
}

/// CVE-2016-9962: while processes join, one inside that may trace looks at everything it can see.
fn no_descriptor_of_the_host_is_seen_inside(world: &World) -> Outcome {
    let script = "while :; do for p in /proc/[0-9]*; do \
        ls -l $p/fd $p/cwd $p/root $p/exe 2>/dev/null; done; done > /tmp/seen";
    let capabilities = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]);
    let bundle = world.shell(script).edit(|config| {
        config["process"]["capabilities"] =
            json!({"bounding": capabilities, "permitted": capabilities, "effective": capabilities});
    });
    let id = world.started(&bundle);
    for _ in 0..200 {
        exec(world, &id, &[], &["/bin/true"]).ok();
    }
    let seen = fs::read_to_string(bundle.rootfs("tmp/seen")).unwrap();
    // The container's own passwd file is read for HOME.
    let allowed = |target: &str| {
        [
            "/etc/passwd",
            "socket:",
            "pipe:",
            "anon_inode:",
            "/memfd:",
            "/dev/null",
            "/bin/",
            "/proc",
            "/tmp/seen",
        ]
        .iter()
        .any(|start| target.starts_with(start))
            || target == "/"
            || target.contains("/it-")
    };
    let strange: Vec<&str> = seen
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|pair| pair.1)
        .filter(|target| !allowed(target))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    Ok(())
}

/// A first process that pivots by itself (an init that switches its root) takes later processes along.
fn the_first_process_that_changed_its_root_is_followed(world: &World) -> Outcome {
    let script = "mkdir -p /new/old && cp -a /bin /etc /new/ && mkdir /new/proc /new/dev && mount -t tmpfs none /new/old && \
        mount --bind /new /new && cd /new && mkdir -p old && pivot_root . old && echo moved > /marker && exec sleep 1000";
    let capabilities = json!(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"]);
    let bundle = world.shell(script).edit(|config| {
        config["process"]["capabilities"] =
            json!({"bounding": capabilities, "permitted": capabilities, "effective": capabilities});
        config["process"]["cwd"] = json!("/");
    });
    let id = world.started(&bundle);
    let marker = bundle.rootfs("new/marker");
    wait_until("the first process has moved", LIMIT, || marker.exists() || world.status(&id) == "stopped");
    if world.status(&id) == "stopped" {
        return integration_tests::skip("busybox cannot pivot here");
    }
    let ran = exec(world, &id, &[], &["/bin/cat", "/marker"]).ok();
    assert_eq!(ran.out, "moved\n");
    Ok(())
}

/// As shells make it of `--process <(...)`.
fn a_process_may_come_through_a_pipe(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let process = r#"{"args": ["/bin/echo", "from a pipe"], "cwd": "/"}"#;
    let prelude = format!("printf '%s' '{process}' |");
    let ran = world.orlop_after(&prelude, &["exec", "--process", "/dev/stdin", &id]).ok();
    assert_eq!(ran.out, "from a pipe\n");
    Ok(())
}

/// As many as `ORLOP_EXECS` says, else a thousand.
fn a_thousand_execs_leave_nothing(world: &World) -> Outcome {
    let count: i32 = std::env::var("ORLOP_EXECS").map_or(1000, |count| count.parse().unwrap());
    let id = world.started(&waiting(world));
    let pid = world.pid(&id);
    exec(world, &id, &[], &["/bin/true"]).ok();
    let (before, used) = (residue(world, pid), memory(pid));
    for number in 0..count {
        let code = number % 200;
        let mut command = world.command(&["exec", &id, "/bin/sh", "-c", &format!("exit {code}")]);
        assert_eq!(command.status().unwrap().code(), Some(code), "exec {number}");
    }
    assert_eq!(residue(world, pid), before);
    let grown = memory(pid).saturating_sub(used);
    assert!(grown < 1 << 20, "{count} execs left {grown} bytes charged to the container");
    Ok(())
}

/// What the kernel charges to the memory group of a process, in bytes; 0 where no such controller is mounted.
fn memory(pid: i32) -> u64 {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let files = groups.lines().filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
        [_, "memory", path] => Some(format!("/sys/fs/cgroup/memory{path}/memory.usage_in_bytes")),
        [_, "", path] => Some(format!("/sys/fs/cgroup{path}/memory.current")),
        _ => None,
    });
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()).max().unwrap_or(0)
}

/// What an exec could leave: processes of the container, cgroups, files of the state, descriptors of the first process.
fn residue(world: &World, pid: i32) -> (usize, usize, usize, usize) {
    let count = |path: &str| fs::read_dir(path).unwrap().count();
    let own = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    let shares =
        |entry: &fs::DirEntry| fs::read_link(entry.path().join("ns/pid")).is_ok_and(|other| other == own);
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(shares).count();
    let state = fs::read_dir(&world.root).unwrap().flatten();
    // The log of events has a second file once it is long, and no third.
    let files = state.map(|entry| {
        let second = fs::exists(entry.path().join("events.1")).unwrap();
        count(entry.path().to_str().unwrap()) - usize::from(second)
    });
    let files = files.sum();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let places =
        cgroups.lines().filter_map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>().try_into().ok());
    let group =
        |[names, path]: [&str; 2]| format!("/sys/fs/cgroup/{}{path}", names.trim_start_matches("name="));
    let groups = places.map(group).filter(|path| fs::exists(path).unwrap()).map(|path| count(&path)).sum();
    (processes, files, count(&format!("/proc/{pid}/fd")), groups)
}

fn parallel_execs_do_not_disturb_each_other(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let begin = |code: i32| {
        world.begin(&mut world.command(&["exec", &id, "/bin/sh", "-c", &format!("echo {code}; exit {code}")]))
    };
    for _ in 0..4 {
        let running: Vec<_> = (0..50).map(|code| (code, begin(code))).collect();
        for (code, running) in running {
            let ran = running.end(LIMIT);
            assert_eq!((ran.code, ran.out), (Some(code), format!("{code}\n")), "{}", ran.err);
        }
    }
    Ok(())
}

fn a_failed_exec_leaves_nothing(world: &World) -> Outcome {
    let id = world.started(&waiting(world));
    let pid = world.pid(&id);
    let before = residue(world, pid);
    for _ in 0..50 {
        exec(world, &id, &[], &["/no/such"]).fails();
        exec(world, &id, &["--pid-file", "/no/such/dir/pid"], &["/bin/sleep", "1000"]).fails();
    }
    assert_eq!(residue(world, pid), before);
    Ok(())
}
