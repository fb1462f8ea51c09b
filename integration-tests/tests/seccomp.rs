//! Filters in a real kernel: what each action does to a program, with and without no_new_privs, and what exec inherits.
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
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        an_errno_is_what_the_program_gets,
        a_trap_and_a_kill_end_the_program,
        log_and_allow_let_a_call_through,
        arguments_decide,
        masks_and_operands_are_told_apart,
        an_unconditional_rule_beats_a_conditional_one,
        the_default_action_meets_every_other_call,
        an_exec_has_the_filter_too,
        a_bad_filter_is_refused,
    ])
}

/// 128 and SIGSYS.
const KILLED: i32 = 128 + 31;

/// A shell script under a filter that allows all but `rules`.
fn filtered(world: &World, script: &str, no_new_privileges: bool, rules: Value) -> Bundle {
    world.shell(script).edit(|config| {
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    })
}

fn an_errno_is_what_the_program_gets(world: &World) -> Outcome {
    let rows =
        [(1, "Operation not permitted"), (28, "No space left on device"), (38, "Function not implemented")];
    for (errno, text) in rows {
        for no_new_privileges in [true, false] {
            let rule =
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]);
            let bundle = filtered(world, "mkdir /tmp/d", no_new_privileges, rule);
            world.run(&bundle).fails().says(text);
        }
    }
    Ok(())
}

fn a_trap_and_a_kill_end_the_program(world: &World) -> Outcome {
    for action in ["SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] {
        let rule = json!([{"names": ["mkdir", "mkdirat"], "action": action}]);
        // The shell becomes the program, so that its end is the container's.
        let ran = world.run(&filtered(world, "exec mkdir /tmp/d", true, rule));
        assert_eq!(ran.code, Some(KILLED), "{action}: {ran}");
    }
    Ok(())
}

fn log_and_allow_let_a_call_through(world: &World) -> Outcome {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        let rule = json!([{"names": ["mkdir", "mkdirat"], "action": action}]);
        world.run(&filtered(world, "mkdir /tmp/d && test -d /tmp/d", true, rule)).ok();
    }
    Ok(())
}

fn arguments_decide(world: &World) -> Outcome {
    // The mode is the second argument of chmod.
    for (operator, refused, passes) in
        [("SCMP_CMP_EQ", "700", "755"), ("SCMP_CMP_LT", "600", "700"), ("SCMP_CMP_GE", "755", "600")]
    {
        let rule = json!([{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
            "args": [{"index": 1, "value": 0o700, "op": operator}]}]);
        let run = |mode: &str| {
            world.run(&filtered(world, &format!("touch /tmp/f; chmod {mode} /tmp/f"), true, rule.clone()))
        };
        run(refused).fails().says("No space left on device");
        run(passes).ok();
    }
    Ok(())
}

/// For SCMP_CMP_MASKED_EQ `value` is the mask and `valueTwo` what must be left; the other way round would allow always.
fn masks_and_operands_are_told_apart(world: &World) -> Outcome {
    let rule = json!([{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
        "args": [{"index": 1, "value": 0o070, "valueTwo": 0o050, "op": "SCMP_CMP_MASKED_EQ"}]}]);
    let run = |mode: &str| {
        world.run(&filtered(world, &format!("touch /tmp/f; chmod {mode} /tmp/f"), true, rule.clone()))
    };
    run("755").fails().says("No space left on device");
    run("775").ok();
    run("705").ok();
    Ok(())
}

fn an_unconditional_rule_beats_a_conditional_one(world: &World) -> Outcome {
    let rules = json!([
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [{"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]},
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]);
    world
        .run(&filtered(world, "umask 0; mkdir -m 700 /tmp/d", true, rules))
        .fails()
        .says("Operation not permitted");
    Ok(())
}

fn the_default_action_meets_every_other_call(world: &World) -> Outcome {
    let calls = [
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "clone",
        "close",
        "close_range",
        "dup2",
        "dup3",
        "execve",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fcntl",
        "fork",
        "fstat",
        "futex",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getgroups",
        "getpgrp",
        "getpid",
        "getppid",
        "getrandom",
        "getresgid",
        "getresuid",
        "getuid",
        "ioctl",
        "lseek",
        "mmap",
        "mprotect",
        "munmap",
        "newfstatat",
        "open",
        "openat",
        "pipe",
        "pipe2",
        "poll",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setuid",
        "stat",
        "umask",
        "uname",
        "vfork",
        "wait4",
        "write",
        "writev",
    ];
    let bundle = world.shell("echo alive; mkdir /tmp/d").edit(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
            "syscalls": [{"names": calls.as_slice(), "action": "SCMP_ACT_ALLOW"}]});
    });
    let ran = world.run(&bundle).fails();
    assert_eq!(ran.out, "alive\n", "{ran}");
    ran.says("Permission denied");
    Ok(())
}

fn an_exec_has_the_filter_too(world: &World) -> Outcome {
    for no_new_privileges in [true, false] {
        let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]);
        let id = world.started(&filtered(world, "sleep 1000", no_new_privileges, rule));
        world
            .orlop(&["exec", &id, "/bin/busybox", "mkdir", "/tmp/d"])
            .fails()
            .says("No space left on device");
    }
    Ok(())
}

fn a_bad_filter_is_refused(world: &World) -> Outcome {
    let rows = [
        (json!([{"names": ["mkdir"], "action": "SCMP_ACT_NO"}]), "linux.seccomp.syscalls[0].action"),
        (
            json!([{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}]),
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (json!([{"names": [], "action": "SCMP_ACT_ALLOW"}]), "linux.seccomp.syscalls[0].names"),
    ];
    for (rules, key) in rows {
        world.refused(&filtered(world, "true", true, rules)).says(key);
    }
    Ok(())
}
