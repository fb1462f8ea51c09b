//! Filters in a real kernel, call by call: every entry, every operator over 64 bits, tracers, calls newer than the profile,
//! and what a filter may leave to init.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Bundle, Outcome, World, cases, harness, skip};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        int_0x80_is_the_entry_of_another_architecture,
        x32_is_an_architecture_of_its_own,
        every_operator_compares_64_bits,
        each_errno_is_what_the_call_returns,
        clone3_and_what_is_newer_than_the_profile_do_not_exist,
        without_a_tracer_a_traced_call_does_not_exist,
        a_tracer_gets_the_number_and_decides,
        no_new_privs_and_one_filter_are_in_force,
        only_execve_is_needed_after_the_filter,
        a_filter_in_the_way_of_init_is_an_error_at_create,
        hooks_in_the_container_run_under_the_filter,
        hooks_in_the_container_run_as_its_user,
        a_relative_program_is_found_by_exec_before_the_filter,
    ])
}

/// getpid(2) of x86-64; the same number is mkdir(2) for 32-bit programs.
const GETPID: u32 = 39;

/// getpid(2) for 32-bit programs; the same number is writev(2) of x86-64.
const GETPID_32: u32 = 20;

/// 128 and SIGSYS.
const KILLED: i32 = 128 + 31;

const ALL: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];

/// The probe, asked for calls, under a filter with this default and these rules.
fn asked(world: &World, questions: &[&str], architectures: &[&str], default: &str, rules: Value) -> Bundle {
    world.bundle().asking(questions).edit(|config| {
        config["linux"]["seccomp"] =
            json!({"defaultAction": default, "architectures": architectures, "syscalls": rules});
    })
}

/// What the kernel answers to a question: the result of the call, negative for an errno.
fn answer(world: &World, bundle: &Bundle, question: &str) -> Value {
    world.run(bundle).ok().json()["asked"][question].clone()
}

fn only_x86_64() -> Outcome {
    if cfg!(target_arch = "x86_64") { Ok(()) } else { skip("x86-64 alone has three entries") }
}

fn refuses(name: &str, errno: u32) -> Value {
    json!([{"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}])
}

fn int_0x80_is_the_entry_of_another_architecture(world: &World) -> Outcome {
    only_x86_64()?;
    let question = format!("int80:{GETPID_32}");
    let plain = world.run(&world.bundle().asking(&[&question]));
    if plain.code != Some(0) || plain.json()["asked"][&question] != json!(1) {
        return skip("the kernel runs no 32-bit programs");
    }
    let ask = |architectures: &[&str], rules: Value| {
        asked(world, &[&question], architectures, "SCMP_ACT_ALLOW", rules)
    };
    assert_eq!(answer(world, &ask(&ALL, json!([])), &question), 1);
    assert_eq!(answer(world, &ask(&ALL, refuses("getpid", 28)), &question), -28);
    // The numbers of one architecture say nothing about the other.
    assert_eq!(answer(world, &ask(&ALL, refuses("writev", 28)), &question), 1);
    let other = format!("int80:{GETPID}");
    let mkdir = asked(world, &[&other], &ALL, "SCMP_ACT_ALLOW", refuses("mkdir", 28));
    assert_eq!(answer(world, &mkdir, &other), -28);
    // An architecture that is not listed is no way around the filter.
    assert_eq!(world.run(&ask(&["SCMP_ARCH_X86_64"], json!([]))).code, Some(KILLED));
    Ok(())
}

fn x32_is_an_architecture_of_its_own(world: &World) -> Outcome {
    only_x86_64()?;
    let question = format!("x32:{GETPID}");
    let plain = answer(world, &world.bundle().asking(&[&question]), &question);
    // Where the kernel lacks x32 the call fails, but the filter sees it all the same.
    assert!(plain == 1 || plain == -38, "{plain}");
    let ask = |architectures: &[&str], rules: Value| {
        asked(world, &[&question], architectures, "SCMP_ACT_ALLOW", rules)
    };
    assert_eq!(answer(world, &ask(&ALL, json!([])), &question), plain);
    assert_eq!(answer(world, &ask(&ALL, refuses("getpid", 28)), &question), -28);
    assert_eq!(world.run(&ask(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], json!([]))).code, Some(KILLED));
    Ok(())
}

/// The values that tell a comparison of both halves from one of either.
fn every_operator_compares_64_bits(world: &World) -> Outcome {
    const VALUE: u64 = 0x5_0000_0005;
    let near = [0, 5, 0x4_ffff_ffff, 0x5_0000_0004, VALUE, 0x5_0000_0006, 0x6_0000_0000, u64::MAX];
    let questions: Vec<String> = near.iter().map(|value| format!("call:{GETPID}:{value:#x}")).collect();
    let words: Vec<&str> = questions.iter().map(String::as_str).collect();
    type Holds = fn(u64) -> bool;
    let rows: [(&str, Holds); 7] = [
        ("SCMP_CMP_NE", |it| it != VALUE),
        ("SCMP_CMP_LT", |it| it < VALUE),
        ("SCMP_CMP_LE", |it| it <= VALUE),
        ("SCMP_CMP_EQ", |it| it == VALUE),
        ("SCMP_CMP_GE", |it| it >= VALUE),
        ("SCMP_CMP_GT", |it| it > VALUE),
        ("SCMP_CMP_MASKED_EQ", |it| it & VALUE == 0x5_0000_0004),
    ];
    for (operator, holds) in rows {
        let rule = json!([{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
            "args": [{"index": 0, "value": VALUE, "valueTwo": 0x5_0000_0004_u64, "op": operator}]}]);
        let ran = world.run(&asked(world, &words, &[], "SCMP_ACT_ALLOW", rule)).ok().json();
        for (value, question) in near.iter().zip(&questions) {
            let expected = if holds(*value) { -28 } else { 1 };
            assert_eq!(ran["asked"][question], expected, "{operator} {value:#x}");
        }
    }
    Ok(())
}

/// All that a filter may return: 0, which is no failure, to 4095, the largest that the kernel takes for one.
fn each_errno_is_what_the_call_returns(world: &World) -> Outcome {
    // More would not fit into one program.
    const PORTION: i64 = 512;
    for first in (0..4096).step_by(PORTION as usize) {
        let portion = first..first + PORTION;
        let questions: Vec<String> =
            portion.clone().map(|errno| format!("call:{GETPID}:{errno:#x}")).collect();
        let words: Vec<&str> = questions.iter().map(String::as_str).collect();
        let rule = |errno: i64| {
            json!({"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
                "args": [{"index": 0, "value": errno, "op": "SCMP_CMP_EQ"}]})
        };
        let rules = portion.clone().map(rule).collect();
        let ran = world.run(&asked(world, &words, &[], "SCMP_ACT_ALLOW", rules)).ok().json();
        for (errno, question) in portion.zip(&questions) {
            assert_eq!(ran["asked"][question], -errno, "{question}");
        }
    }
    Ok(())
}

/// Every call that the probe and its start-up code may make, clone3 and what is newer left out.
fn known_calls() -> Value {
    let names = [
        "access",
        "arch_prctl",
        "brk",
        "clone",
        "close",
        "execve",
        "exit",
        "exit_group",
        "fcntl",
        "fork",
        "fstat",
        "futex",
        "get_mempolicy",
        "getcwd",
        "getdents64",
        "getpgid",
        "getpid",
        "getppid",
        "getrandom",
        "getsid",
        "ioctl",
        "ioprio_get",
        "keyctl",
        "lseek",
        "lstat",
        "madvise",
        "mmap",
        "mprotect",
        "mremap",
        "munmap",
        "newfstatat",
        "open",
        "openat",
        "poll",
        "prctl",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "readv",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getattr",
        "set_robust_list",
        "set_tid_address",
        "sigaltstack",
        "stat",
        "statx",
        "wait4",
        "write",
        "writev",
        "close_range",
    ];
    json!([{"names": names.as_slice(), "action": "SCMP_ACT_ALLOW"}])
}

fn clone3_and_what_is_newer_than_the_profile_do_not_exist(world: &World) -> Outcome {
    only_x86_64()?;
    let (clone3, newer, older) = ("call:435", "call:600", "call:334");
    // As the default profiles of engines have it: programs then use clone(2), whose flags a filter can see.
    let mut rules = known_calls();
    rules.as_array_mut().unwrap().push(refuses("clone3", 38)[0].clone());
    let bundle = asked(world, &[clone3, newer, older], &ALL, "SCMP_ACT_ERRNO", rules);
    let ran = world.run(&bundle).ok().json()["asked"].clone();
    // rseq(2) is older than close_range(2), so the profile's author knew it and did not want it.
    assert_eq!([&ran[clone3], &ran[newer], &ran[older]], [&json!(-38), &json!(-38), &json!(-1)]);
    Ok(())
}

fn traced(number: u32) -> Value {
    json!([{"names": ["getpid"], "action": "SCMP_ACT_TRACE", "errnoRet": number}])
}

fn without_a_tracer_a_traced_call_does_not_exist(world: &World) -> Outcome {
    only_x86_64()?;
    let question = format!("call:{GETPID}");
    let bundle = asked(world, &[&question], &[], "SCMP_ACT_ALLOW", traced(7));
    assert_eq!(answer(world, &bundle, &question), -38);
    Ok(())
}

fn a_tracer_gets_the_number_and_decides(world: &World) -> Outcome {
    only_x86_64()?;
    let question = format!("traced:{GETPID}");
    for number in [0, 7, 0xffff] {
        let bundle = asked(world, &[&question], &[], "SCMP_ACT_ALLOW", traced(number));
        let seen = answer(world, &bundle, &question);
        assert_eq!(seen, json!({"event": true, "message": number, "result": 77}));
    }
    Ok(())
}

fn no_new_privs_and_one_filter_are_in_force(world: &World) -> Outcome {
    for (asked_for, capability) in [(true, false), (true, true), (false, false), (false, true)] {
        let rules = refuses("swapon", 1);
        let bundle = asked(world, &[], &[], "SCMP_ACT_ALLOW", rules).edit(|config| {
            config["process"]["noNewPrivileges"] = json!(asked_for);
            if capability {
                let sets = json!({"bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"],
                    "permitted": ["CAP_SYS_ADMIN"]});
                config["process"]["capabilities"] = sets;
            }
        });
        let status = world.run(&bundle).ok().json()["status"].clone();
        assert_eq!(status["NoNewPrivs"], if asked_for { "1" } else { "0" }, "{asked_for} {capability}");
        assert_eq!([&status["Seccomp"], &status["Seccomp_filters"]], ["2", "1"]);
        assert_eq!(status["CapEff"], if capability { "0000000000200000" } else { "0000000020000420" });
    }
    Ok(())
}

/// The program itself cannot get far; that it was executed at all is the proof.
fn only_execve_is_needed_after_the_filter(world: &World) -> Outcome {
    let rules = json!([{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]);
    let bundle = asked(world, &[], &[], "SCMP_ACT_ERRNO", rules);
    let id = world.create(&bundle);
    world.orlop(&["start", &id]).ok();
    world.wait_stopped(&id);
    Ok(())
}

fn a_filter_in_the_way_of_init_is_an_error_at_create(world: &World) -> Outcome {
    world.only_orlop()?;
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let without =
            asked(world, &[], &[], "SCMP_ACT_ALLOW", json!([{"names": ["execve"], "action": action}]));
        world
            .refused(&without)
            .says("linux.seccomp")
            .says(action)
            .says("to execve")
            .says("start the program");
    }
    let early = asked(world, &[], &[], "SCMP_ACT_ALLOW", refuses("capset", 1))
        .edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    world.refused(&early).says("to capset").says("become the user of the process");
    let late = asked(world, &[], &[], "SCMP_ACT_ALLOW", refuses("capset", 1));
    world.run(&late).ok();
    let hooks = asked(world, &[], &[], "SCMP_ACT_ALLOW", refuses("pipe2", 1))
        .edit(|config| config["hooks"] = json!({"startContainer": [{"path": "/bin/true"}]}));
    world.refused(&hooks).says("to pipe2").says("startContainer hooks");
    let agent = world.path("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let listener = asked(world, &[], &[], "SCMP_ACT_ALLOW", refuses("write", 1)).edit(|config| {
        config["linux"]["seccomp"]["listenerPath"] = json!(agent);
        let rules = config["linux"]["seccomp"]["syscalls"].as_array_mut().unwrap();
        rules.push(json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}));
    });
    world.refused(&listener).says("to write").says("hand its listener over");
    Ok(())
}

/// Such a hook is a program of the container: it gets no calls that the container's own program may not make.
fn hooks_in_the_container_run_under_the_filter(world: &World) -> Outcome {
    for no_new_privileges in [true, false] {
        let with_hook = |script: &str, action: &str| {
            let rules = json!([{"names": ["mkdir", "mkdirat"], "action": action},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]);
            asked(world, &[], &ALL, "SCMP_ACT_ALLOW", rules).edit(|config| {
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                let args = ["sh", "-c", script];
                config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": args}]});
            })
        };
        let bundle =
            with_hook("cat > /tmp/state; grep Seccomp: /proc/self/status > /tmp/mode", "SCMP_ACT_ERRNO");
        world.run(&bundle).ok();
        let mode = fs::read_to_string(bundle.rootfs("tmp/mode")).unwrap();
        assert_eq!(mode.split_whitespace().last(), Some("2"));
        assert!(fs::read_to_string(bundle.rootfs("tmp/state")).unwrap().contains("ociVersion"));
        let ran = world.run(&with_hook("mkdir /tmp/d || exit 9", "SCMP_ACT_ERRNO")).fails();
        ran.says("hooks.startContainer[0]").says("exit status 9").says("Operation not permitted");
        let ran = world.run(&with_hook("exec mkdir /tmp/d", "SCMP_ACT_KILL")).fails();
        ran.says("hooks.startContainer[0]").says("bad system call");
    }
    Ok(())
}

fn hooks_in_the_container_run_as_its_user(world: &World) -> Outcome {
    for no_new_privileges in [true, false] {
        let bundle = asked(world, &[], &[], "SCMP_ACT_ALLOW", refuses("swapon", 1)).edit(|config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            let args = ["sh", "-c", "grep -E '^(Uid|CapEff)' /proc/self/status > /tmp/who"];
            config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": args}]});
        });
        world.run(&bundle).ok();
        let who = fs::read_to_string(bundle.rootfs("tmp/who")).unwrap();
        assert_eq!(who, "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n", "{no_new_privileges}");
    }
    Ok(())
}

fn a_relative_program_is_found_by_exec_before_the_filter(world: &World) -> Outcome {
    let bundle = asked(world, &["sleep:1000"], &[], "SCMP_ACT_ALLOW", refuses("swapon", 1))
        .edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    let id = world.started(&bundle);
    let ran = world.orlop(&["exec", "--cwd", "/bin", &id, "./busybox", "pwd"]).ok();
    assert_eq!(ran.out, "/bin\n");
    Ok(())
}
