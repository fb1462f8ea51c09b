//! The process section: what the container's program is, as whom it runs, and what it inherits.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Outcome, Report, World, cases, harness, skip};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        arguments_reach_the_program_as_written,
        environment_is_the_configured_one_and_home,
        home_given_is_kept,
        home_comes_from_the_images_passwd,
        numeric_user_is_never_looked_up_as_a_name,
        program_is_searched_in_the_containers_path,
        working_directory_is_entered,
        absent_working_directory_is_made,
        private_working_directory_of_the_user_is_entered,
        user_and_group_ids_are_exact,
        groups_are_exactly_the_configured_ones,
        groups_of_the_caller_are_kept_by_annotation,
        umask_is_the_configured_one,
        umask_of_the_caller_is_not_inherited,
        capability_sets_are_exact_for_root,
        capability_sets_are_exact_for_a_user,
        inheritable_and_ambient_are_empty_by_default,
        an_unknown_capability_is_warned_of_and_dropped,
        no_new_privileges_is_as_configured,
        rlimits_are_exact,
        duplicate_and_unknown_rlimits_are_refused,
        oom_score_adj_is_set,
        scheduler_is_set,
        io_priority_is_set,
        personality_is_set,
        memory_policy_is_set,
        a_container_stays_on_its_numa_node,
        cpu_affinity_of_the_caller_is_reset,
        signal_dispositions_and_mask_of_the_caller_are_reset,
        an_ignored_sigchld_of_the_caller_does_no_harm,
        descriptors_are_only_the_standard_ones,
        standard_streams_belong_to_the_user,
        dev_null_as_a_stream_is_never_given_away,
        session_keyring_is_the_containers_own,
        no_new_keyring_keeps_the_callers,
        program_is_ordinary_again,
        a_missing_interpreter_is_named,
        a_missing_loader_is_named,
        a_foreign_architecture_is_named,
        a_noexec_mount_is_named,
        an_unsearchable_directory_is_named,
        a_text_without_interpreter_is_an_exec_format_error,
        spec_version_1_3_is_accepted,
    ])
}

fn arguments_reach_the_program_as_written(world: &World) -> Outcome {
    let args = ["/bin/probe", "", " two  spaces ", "ünï", "$HOME", "a\nb", "--", "-x"];
    let report = world.probe(&world.bundle().args(&args));
    assert_eq!(report["args"], json!(args));
    Ok(())
}

fn environment_is_the_configured_one_and_home(world: &World) -> Outcome {
    let bundle =
        world.bundle().edit(|config| config["process"]["env"] = json!(["B=2", "A=1", "EMPTY=", "SP=a b"]));
    let id = world.id();
    let words = ["run", "--bundle", bundle.path(), &id];
    let report = Report(world.orlop_after("export SECRET_OF_THE_CALLER=1", &words).ok().json());
    assert_eq!(report["env"], json!(["B=2", "A=1", "EMPTY=", "SP=a b", "HOME=/root"]));
    Ok(())
}

fn home_given_is_kept(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["env"] = json!(["HOME=/given"]));
    assert_eq!(world.probe(&bundle)["env"], json!(["HOME=/given"]));
    Ok(())
}

fn home_comes_from_the_images_passwd(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(world.probe(&bundle).env("HOME"), Some("/home/walter"));
    let unknown = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 4242, "gid": 0}));
    assert_eq!(world.probe(&unknown).env("HOME"), Some("/"));
    Ok(())
}

/// CVE-2016-3697.
fn numeric_user_is_never_looked_up_as_a_name(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    fs::write(
        bundle.rootfs("etc/passwd"),
        "1000:x:0:0::/evil:/bin/sh\nwalter:x:1000:1000::/home/walter:/bin/sh\n",
    )
    .unwrap();
    let report = world.probe(&bundle);
    assert_eq!(report.ids("Uid"), [1000; 4]);
    assert_eq!(report.env("HOME"), Some("/home/walter"));
    Ok(())
}

fn program_is_searched_in_the_containers_path(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["tool"]).edit(|config| {
        config["process"]["env"] = json!(["PATH=/no/such/dir:/etc/passwd:/opt:/bin"]);
    });
    fs::create_dir(bundle.rootfs("opt")).unwrap();
    std::os::unix::fs::symlink("/bin/probe", bundle.rootfs("opt/tool")).unwrap();
    assert_eq!(world.probe(&bundle)["args"], json!(["tool"]));
    Ok(())
}

fn working_directory_is_entered(world: &World) -> Outcome {
    let report = world.probe(&world.bundle().edit(|config| config["process"]["cwd"] = json!("/etc")));
    assert_eq!(report["cwd"], "/etc");
    assert_eq!(report["getcwd"], "/etc");
    Ok(())
}

fn absent_working_directory_is_made(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["cwd"] = json!("/made/for/it"));
    assert_eq!(world.probe(&bundle)["cwd"], "/made/for/it");
    assert!(bundle.rootfs("made/for/it").is_dir());
    Ok(())
}

fn private_working_directory_of_the_user_is_entered(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["cwd"] = json!("/private");
    });
    fs::create_dir(bundle.rootfs("private")).unwrap();
    fs::set_permissions(bundle.rootfs("private"), fs::Permissions::from_mode(0o700)).unwrap();
    chown(bundle.rootfs("private"), Some(1000), Some(1000)).unwrap();
    assert_eq!(world.probe(&bundle)["getcwd"], "/private");
    Ok(())
}

fn user_and_group_ids_are_exact(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1234, "gid": 5678}));
    let report = world.probe(&bundle);
    assert_eq!(report.ids("Uid"), [1234; 4]);
    assert_eq!(report.ids("Gid"), [5678; 4]);
    Ok(())
}

fn groups_are_exactly_the_configured_ones(world: &World) -> Outcome {
    let none = world.bundle();
    let some = world.bundle().edit(|config| {
        config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [10, 4000000, 20]});
    });
    let run = |bundle: &integration_tests::Bundle| {
        let id = world.id();
        let words = ["run", "--bundle", bundle.path(), &id];
        let prelude = "exec setpriv --groups 77,88 \"$@\"";
        Report(world.orlop_after(prelude, &words).ok().json()).groups()
    };
    assert!(run(&none).is_subset(&BTreeSet::from([0])), "{:?}", run(&none));
    assert_eq!(run(&some).difference(&BTreeSet::from([0])).copied().collect::<Vec<_>>(), [10, 20, 4_000_000]);
    Ok(())
}

fn groups_of_the_caller_are_kept_by_annotation(world: &World) -> Outcome {
    let bundle =
        world.bundle().edit(|config| config["annotations"] = json!({"run.oci.keep_original_groups": "1"}));
    let id = world.id();
    let words = ["run", "--bundle", bundle.path(), &id];
    let prelude = "exec setpriv --groups 77,88 \"$@\"";
    let report = Report(world.orlop_after(prelude, &words).ok().json());
    assert!(report.groups().is_superset(&BTreeSet::from([77, 88])), "{:?}", report.groups());
    Ok(())
}

fn umask_is_the_configured_one(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["user"]["umask"] = json!(0o137));
    assert_eq!(world.probe(&bundle).status("Umask"), "0137");
    Ok(())
}

fn umask_of_the_caller_is_not_inherited(world: &World) -> Outcome {
    let bundle = world.bundle();
    let id = world.id();
    let ran = world.orlop_after("umask 0077", &["run", "--bundle", bundle.path(), &id]).ok();
    assert_eq!(Report(ran.json()).status("Umask"), "0022");
    Ok(())
}

const SETS: [(&str, &str); 5] = [
    ("inheritable", "CapInh"),
    ("permitted", "CapPrm"),
    ("effective", "CapEff"),
    ("bounding", "CapBnd"),
    ("ambient", "CapAmb"),
];

/// CAP_CHOWN 0, CAP_DAC_OVERRIDE 1, CAP_KILL 5, CAP_NET_RAW 13, CAP_SYS_CHROOT 18.
fn capability_sets_are_exact_for_root(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["process"]["noNewPrivileges"] = json!(true);
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "effective": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
    });
    let report = world.probe(&bundle);
    let expected = [vec![5], vec![0, 5, 13], vec![0, 5, 13], vec![0, 5, 13], vec![5]];
    for ((name, key), expected) in SETS.iter().zip(expected) {
        assert_eq!(report.capabilities(key), expected.into_iter().collect(), "{name}");
    }
    Ok(())
}

/// A user without ambient capabilities has none after execve; with them it has exactly those.
fn capability_sets_are_exact_for_a_user(world: &World) -> Outcome {
    let plain = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let report = world.probe(&plain);
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    assert!(sets.iter().all(|set| report.capabilities(set).is_empty()), "{}", report["status"]);
    assert_eq!(report.capabilities("CapBnd"), BTreeSet::from([5, 10, 29]));
    let ambient = plain.edit(|config| {
        let set = json!(["CAP_NET_RAW"]);
        config["process"]["capabilities"] =
            json!({"bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set});
    });
    let report = world.probe(&ambient);
    for (name, key) in SETS {
        assert_eq!(report.capabilities(key), BTreeSet::from([13]), "{name}");
    }
    Ok(())
}

/// CVE-2022-29162, CVE-2022-24769 and their family.
fn inheritable_and_ambient_are_empty_by_default(world: &World) -> Outcome {
    let report = world.probe(&world.bundle());
    assert!(report.capabilities("CapInh").is_empty());
    assert!(report.capabilities("CapAmb").is_empty());
    assert_eq!(report.capabilities("CapEff"), BTreeSet::from([5, 10, 29]));
    Ok(())
}

fn an_unknown_capability_is_warned_of_and_dropped(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle().edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
        }
    });
    let ran = world.run(&bundle).ok().says("CAP_OF_THE_FUTURE");
    assert_eq!(Report(ran.json()).capabilities("CapEff"), BTreeSet::from([5]));
    Ok(())
}

fn no_new_privileges_is_as_configured(world: &World) -> Outcome {
    for (wanted, expected) in [(json!(true), "1"), (json!(false), "0"), (json!(null), "0")] {
        let bundle = world.bundle().edit(|config| {
            config["process"]["noNewPrivileges"] = wanted.clone();
            if wanted.is_null() {
                config["process"].as_object_mut().unwrap().remove("noNewPrivileges");
            }
        });
        assert_eq!(world.probe(&bundle).status("NoNewPrivs"), expected, "{wanted}");
    }
    Ok(())
}

fn rlimits_are_exact(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| {
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_CPU", "soft": 120, "hard": 240},
            {"type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608},
        ]);
    });
    let limits = world.probe(&bundle)["limits"].clone();
    let expected = [
        ("Max open files", "100", "200"),
        ("Max core file size", "0", "0"),
        ("Max cpu time", "120", "240"),
        ("Max stack size", "4194304", "8388608"),
    ];
    for (name, soft, hard) in expected {
        assert_eq!(limits[name], json!({"soft": soft, "hard": hard}), "{name}");
    }
    Ok(())
}

fn duplicate_and_unknown_rlimits_are_refused(world: &World) -> Outcome {
    let entry = |kind: &str| json!({"type": kind, "soft": 10, "hard": 20});
    let unknown =
        world.bundle().edit(|config| config["process"]["rlimits"] = json!([entry("RLIMIT_NO_SUCH")]));
    world.refused(&unknown);
    world.only_orlop()?;
    let twice = world.bundle().edit(|config| {
        config["process"]["rlimits"] = json!([entry("RLIMIT_NOFILE"), entry("RLIMIT_NOFILE")]);
    });
    world.refused(&twice).says("rlimits[1]");
    let inverted = world.bundle().edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]);
    });
    world.refused(&inverted).says("rlimits[0]");
    Ok(())
}

fn oom_score_adj_is_set(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["oomScoreAdj"] = json!(321));
    assert_eq!(world.probe(&bundle)["oom_score_adj"], "321");
    Ok(())
}

fn scheduler_is_set(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle().edit(|config| {
        config["process"]["scheduler"] =
            json!({"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    });
    let scheduler = world.probe(&bundle)["scheduler"].clone();
    assert_eq!(
        (&scheduler["policy"], &scheduler["nice"], &scheduler["flags"]),
        (&json!(3), &json!(7), &json!(1))
    );
    let idle = world.bundle().edit(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"}));
    assert_eq!(world.probe(&idle)["scheduler"]["policy"], 5);
    let unknown =
        world.bundle().edit(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_SOON"}));
    world.refused(&unknown).says("scheduler");
    Ok(())
}

fn io_priority_is_set(world: &World) -> Outcome {
    world.only_orlop()?;
    for (class, priority, expected) in
        [("IOPRIO_CLASS_BE", 6, 2 << 13 | 6), ("IOPRIO_CLASS_IDLE", 0, 3 << 13)]
    {
        let bundle = world.bundle().edit(|config| {
            config["process"]["ioPriority"] = json!({"class": class, "priority": priority});
        });
        assert_eq!(world.probe(&bundle)["ioprio"], expected, "{class}");
    }
    Ok(())
}

fn personality_is_set(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
    assert_eq!(world.probe(&bundle)["personality"], "00000008");
    let plain = world.bundle().edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX"}));
    assert_eq!(world.probe(&plain)["personality"], "00000000");
    let unknown = world.bundle().edit(|config| config["linux"]["personality"] = json!({"domain": "MINIX"}));
    world.refused(&unknown);
    Ok(())
}

fn memory_policy_is_set(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle = world.bundle().edit(|config| {
        config["linux"]["memoryPolicy"] =
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    });
    if !std::path::Path::new("/sys/devices/system/node/node0").exists() {
        world.refused(&bundle).says("memoryPolicy");
        return skip("the kernel has no NUMA; that the policy is refused was checked");
    }
    let policy = world.probe(&bundle)["memory_policy"].clone();
    assert_eq!(policy, json!({"result": 0, "mode": 2 | 1 << 15, "nodes": 1}));
    Ok(())
}

/// Of two nodes the second one alone: its processors, its memory, and what the program prefers.
fn a_container_stays_on_its_numa_node(world: &World) -> Outcome {
    world.only_orlop()?;
    let Ok(processors) = fs::read_to_string("/sys/devices/system/node/node1/cpulist") else {
        return skip("the machine has one NUMA node");
    };
    let processors = processors.trim();
    let bundle = world.bundle().edit(|config| {
        config["linux"]["resources"] = json!({"cpu": {"cpus": processors, "mems": "1"}});
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_PREFERRED", "nodes": "1"});
    });
    let report = world.probe(&bundle);
    assert_eq!(report.status("Cpus_allowed_list"), processors);
    assert_eq!(report.status("Mems_allowed_list"), "1");
    assert_eq!(report["memory_policy"], json!({"result": 0, "mode": 1, "nodes": 2}));
    let both = world.bundle().edit(|config| {
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-1"});
    });
    assert_eq!(world.probe(&both)["memory_policy"], json!({"result": 0, "mode": 3, "nodes": 3}));
    Ok(())
}

fn cpu_affinity_of_the_caller_is_reset(world: &World) -> Outcome {
    world.only_orlop()?;
    let before = world.probe(&world.bundle()).status("Cpus_allowed").to_owned();
    if before.chars().filter(|digit| *digit != '0').count() == 1 && before.ends_with('1') {
        return skip("the machine has one processor");
    }
    let bundle = world.bundle();
    let id = world.id();
    let ran = world.orlop_after("taskset -p 1 $$ >/dev/null", &["run", "--bundle", bundle.path(), &id]).ok();
    assert_eq!(Report(ran.json()).status("Cpus_allowed"), before);
    Ok(())
}

fn signal_dispositions_and_mask_of_the_caller_are_reset(world: &World) -> Outcome {
    let bundle = world.bundle();
    let id = world.id();
    let ran = world.orlop_after("trap '' PIPE HUP USR1 TERM", &["run", "--bundle", bundle.path(), &id]).ok();
    let report = Report(ran.json());
    for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(report.status(set), "0000000000000000", "{set}");
    }
    Ok(())
}

fn an_ignored_sigchld_of_the_caller_does_no_harm(world: &World) -> Outcome {
    world.only_orlop()?;
    let (bundle, id) = (world.shell("exit 3"), world.id());
    let ran = world.orlop_after("trap '' CHLD", &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(ran.code, Some(3), "{ran}");
    Ok(())
}

/// CVE-2024-21626: nothing of the caller and nothing of the runtime is open inside.
fn descriptors_are_only_the_standard_ones(world: &World) -> Outcome {
    let bundle = world.bundle();
    let id = world.id();
    let prelude = "exec 3</ 4</etc/passwd 25</ 26</etc 900</";
    let ran = world.orlop_after(prelude, &["run", "--bundle", bundle.path(), &id]).ok();
    assert_eq!(Report(ran.json()).descriptors().into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    Ok(())
}

fn standard_streams_belong_to_the_user(world: &World) -> Outcome {
    let bundle = world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let report = world.probe(&bundle);
    for stream in ["1", "2"] {
        assert_eq!(report["fds"][stream]["uid"], 1000, "descriptor {stream}: {}", report["fds"]);
    }
    Ok(())
}

fn dev_null_as_a_stream_is_never_given_away(world: &World) -> Outcome {
    let before = fs::metadata("/dev/null").unwrap();
    let bundle = world.bundle().args(&["/bin/true"]);
    let bundle = bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let id = world.id();
    let words = ["run", "--bundle", bundle.path(), &id];
    world.orlop_after("exec </dev/null >/dev/null 2>/dev/null", &words).ok();
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((before.uid(), before.gid(), before.mode()), (after.uid(), after.gid(), after.mode()));
    Ok(())
}

fn session_keyring_is_the_containers_own(world: &World) -> Outcome {
    let (first, second) = (world.probe(&world.bundle()), world.probe(&world.bundle()));
    let serial = |report: &Report| report["keyring"]["serial"].as_i64().unwrap_or(0);
    if serial(&first) == -38 {
        return skip("the kernel has no keyrings");
    }
    assert!(serial(&first) > 0 && serial(&second) > 0, "{} {}", first["keyring"], second["keyring"]);
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(first["keyring"]["keys"], json!([]), "{}", first["keyring"]);
    Ok(())
}

fn no_new_keyring_keeps_the_callers(world: &World) -> Outcome {
    let run = || {
        let (bundle, id) = (world.bundle(), world.id());
        let ran = world.orlop(&["run", "--no-new-keyring", "--bundle", bundle.path(), &id]).ok();
        Report(ran.json())["keyring"].clone()
    };
    let (first, second) = (run(), run());
    if first["serial"] == -38 {
        return skip("the kernel has no keyrings");
    }
    assert_eq!(first["description"], second["description"]);
    Ok(())
}

/// What the set-up needed is gone at execve: no death signal, dumpable, no securebits, a session of its own.
fn program_is_ordinary_again(world: &World) -> Outcome {
    let report = world.probe(&world.bundle());
    assert_eq!(report["parent_death_signal"], 0);
    assert_eq!(report["dumpable"], 1);
    assert_eq!(report["securebits"], 0);
    assert_eq!(report["session"], 1);
    assert_eq!(report["tty"]["controlling"], false);
    Ok(())
}

fn program(world: &World, name: &str, content: &[u8]) -> integration_tests::Bundle {
    let bundle = world.bundle().args(&[&format!("/tmp/{name}")]);
    let path = bundle.rootfs("tmp").join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    bundle
}

fn a_missing_interpreter_is_named(world: &World) -> Outcome {
    let missing = world.run(&program(world, "script", b"#!/no/such/interpreter\n")).fails();
    missing.clone().says_any(&["no such file or directory"]);
    world.only_orlop()?;
    missing.says("/tmp/script").says("/no/such/interpreter");
    let carriage = world.run(&program(world, "dos", b"#!/bin/sh\r\necho\r\n")).fails();
    carriage.says("/tmp/dos").says_any(&["carriage return", "CRLF", "\\r"]);
    Ok(())
}

/// A minimal ELF header with one PT_INTERP, for the machine named by `machine`.
fn elf(machine: u16, interpreter: &str) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let half =
        |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let long =
        |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    half(&mut file, &[3, machine, 1, 0]);
    long(&mut file, &[0, 64, 0]);
    half(&mut file, &[0, 0, 64, 56, 1, 0, 0, 0]);
    let length = interpreter.len() as u64 + 1;
    half(&mut file, &[3, 0, 4, 0]);
    long(&mut file, &[120, 120, 120, length, length, 1]);
    file.extend(interpreter.bytes());
    file.push(0);
    file.resize(4096, 0);
    file
}

fn a_missing_loader_is_named(world: &World) -> Outcome {
    let machine = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let ran = world.run(&program(world, "dynamic", &elf(machine, "/lib/ld-of-another-system.so"))).fails();
    ran.clone().says_any(&["no such file or directory"]);
    world.only_orlop()?;
    ran.says("/tmp/dynamic").says("/lib/ld-of-another-system.so");
    Ok(())
}

fn a_foreign_architecture_is_named(world: &World) -> Outcome {
    let machine = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    let ran = world.run(&program(world, "foreign", &elf(machine, "/lib/ld.so"))).fails();
    ran.clone().says_any(&["exec format error"]);
    world.only_orlop()?;
    ran.says("/tmp/foreign").says_any(&["architecture", "aarch64", "x86_64"]);
    Ok(())
}

fn a_noexec_mount_is_named(world: &World) -> Outcome {
    let source = world.path("noexec");
    fs::create_dir(&source).unwrap();
    fs::write(format!("{source}/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(format!("{source}/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = world.bundle().args(&["/opt/tool"]).bind(&source, "/opt", &["rbind", "noexec"]);
    let ran = world.run(&bundle).fails();
    ran.clone().says_any(&["permission denied"]);
    world.only_orlop()?;
    ran.says("/opt/tool").says("noexec");
    Ok(())
}

fn an_unsearchable_directory_is_named(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/closed/tool"]).edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    fs::create_dir(bundle.rootfs("closed")).unwrap();
    fs::write(bundle.rootfs("closed/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(bundle.rootfs("closed/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bundle.rootfs("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let ran = world.run(&bundle).fails();
    ran.clone().says_any(&["permission denied"]);
    world.only_orlop()?;
    ran.says("/closed/tool");
    Ok(())
}

fn a_text_without_interpreter_is_an_exec_format_error(world: &World) -> Outcome {
    world.run(&program(world, "plain", b"echo no interpreter\n")).fails().says_any(&["exec format error"]);
    Ok(())
}

fn spec_version_1_3_is_accepted(world: &World) -> Outcome {
    world.only_orlop()?;
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        world.probe(&world.bundle().edit(|config| config["ociVersion"] = json!(version)));
    }
    Ok(())
}
