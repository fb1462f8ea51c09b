//! Kernel parameters: only those of a namespace that is the container's own, and never the host's.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Bundle, Outcome, World, cases, harness};
use serde_json::json;
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        namespaced_parameters_are_set_inside_only,
        slashes_and_dots_name_the_same,
        parameters_of_the_host_are_refused,
        parameters_of_a_namespace_that_is_not_new_are_refused,
        keys_that_leave_the_tree_are_refused,
        values_are_written_as_they_are_or_refused,
        user_parameters_need_a_user_namespace,
    ])
}

fn with(bundle: Bundle, key: &str, value: &str) -> Bundle {
    bundle.edit(|config| config["linux"]["sysctl"][key] = json!(value))
}

fn host(path: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{path}")).unwrap()
}

/// Tries a bundle that must not change the host's value, whether it is refused or not.
fn untouched(world: &World, bundle: &Bundle, paths: &[&str]) {
    let before: Vec<String> = paths.iter().map(|path| host(path)).collect();
    world.refused(bundle);
    let after: Vec<String> = paths.iter().map(|path| host(path)).collect();
    assert_eq!(before, after, "the host's parameters have changed");
}

fn namespaced_parameters_are_set_inside_only(world: &World) -> Outcome {
    let rows = [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "1"),
        ("net.ipv4.ping_group_range", "net/ipv4/ping_group_range", "0 100"),
        ("net.core.somaxconn", "net/core/somaxconn", "321"),
        ("kernel.msgmax", "kernel/msgmax", "8193"),
        ("kernel.sem", "kernel/sem", "100 200 50 10"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "11"),
    ];
    let bundle = rows.iter().fold(world.bundle(), |bundle, (key, _, value)| with(bundle, key, value));
    let questions: Vec<String> = rows.iter().map(|(_, path, _)| format!("read:/proc/sys/{path}")).collect();
    let before: Vec<String> = rows.iter().map(|(_, path, _)| host(path)).collect();
    let report = world.probe(&bundle.asking(&questions.iter().map(String::as_str).collect::<Vec<_>>()));
    for ((key, _, value), question) in rows.iter().zip(&questions) {
        let inside = report.asked(question)["ok"].as_str().unwrap_or_default();
        assert_eq!(inside.split_whitespace().collect::<Vec<_>>().join(" "), *value, "{key}");
    }
    assert_eq!(before, rows.iter().map(|(_, path, _)| host(path)).collect::<Vec<_>>());
    Ok(())
}

fn slashes_and_dots_name_the_same(world: &World) -> Outcome {
    world.only_orlop()?;
    let bundle =
        with(world.bundle(), "net/core/somaxconn", "123").asking(&["read:/proc/sys/net/core/somaxconn"]);
    assert_eq!(world.probe(&bundle).asked("read:/proc/sys/net/core/somaxconn")["ok"], "123\n");
    Ok(())
}

fn parameters_of_the_host_are_refused(world: &World) -> Outcome {
    for key in
        ["kernel.core_pattern", "kernel.pid_max", "vm.swappiness", "fs.file-max", "kernel.randomize_va_space"]
    {
        let path = key.replace('.', "/");
        let value = host(&path).trim().to_owned();
        untouched(world, &with(world.bundle(), key, &value), &[&path]);
    }
    Ok(())
}

fn parameters_of_a_namespace_that_is_not_new_are_refused(world: &World) -> Outcome {
    let network = with(world.bundle().without_namespace("network"), "net.core.somaxconn", "999");
    untouched(world, &network, &["net/core/somaxconn"]);
    let ipc =
        with(world.bundle().without_namespace("ipc").without_mount("/dev/mqueue"), "kernel.msgmax", "999");
    untouched(world, &ipc, &["kernel/msgmax"]);
    world.only_orlop()?;
    let joined = world.bundle().with_namespace("network", Some("/proc/self/ns/net"));
    untouched(world, &with(joined, "net.core.somaxconn", "999"), &["net/core/somaxconn"]);
    Ok(())
}

fn keys_that_leave_the_tree_are_refused(world: &World) -> Outcome {
    let keys = [
        "net/../kernel/core_pattern",
        "net....kernel.core_pattern",
        "net/ipv4/../../vm/swappiness",
        "",
        "net.",
        "net.no.such.key",
        "/net/core/somaxconn/../../../kernel/pid_max",
        "net.core",
    ];
    for key in keys {
        let ran = with(world.bundle(), key, "1");
        untouched(world, &ran, &["kernel/core_pattern", "vm/swappiness", "kernel/pid_max"]);
    }
    Ok(())
}

/// CVE-2022-0811: a value must not become a second key.
fn values_are_written_as_they_are_or_refused(world: &World) -> Outcome {
    let before = host("kernel/core_pattern");
    for value in ["1+kernel.core_pattern=x", "not a number"] {
        untouched(world, &with(world.bundle(), "net.core.somaxconn", value), &["kernel/core_pattern"]);
    }
    // The kernel itself reads a number up to the end of the line.
    world.run(&with(world.bundle(), "net.core.somaxconn", "1\nkernel.core_pattern=x"));
    assert_eq!(before, host("kernel/core_pattern"));
    Ok(())
}

fn user_parameters_need_a_user_namespace(world: &World) -> Outcome {
    world.only_orlop()?;
    untouched(world, &with(world.bundle(), "user.max_user_namespaces", "7"), &["user/max_user_namespaces"]);
    let path = "read:/proc/sys/user/max_user_namespaces";
    let bundle = with(world.bundle().with_user_namespace(100_000, 65536), "user.max_user_namespaces", "7");
    assert_eq!(world.probe(&bundle.asking(&[path])).asked(path)["ok"], "7\n");
    Ok(())
}
