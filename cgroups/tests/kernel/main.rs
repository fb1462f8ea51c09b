//! Tests on the real kernel, in three layouts: the host's own, plain version 1, pure version 2.
//!
//! Each case runs in a process of its own inside a private mount namespace in which the layout is set up by mounts; the
//! host's mounts are never touched. Without root every case is skipped. Add a case to `CASES`.
#![expect(clippy::disallowed_methods, reason = "a test starts processes as it likes")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod delegation;
mod device_access;
mod fixture;
mod lifecycle;
mod limits;
mod rootless;
mod scope;
mod usage;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// A layout's name, and the commands that make it inside private namespaces; `$0` is this program, `$1` the case.
const LAYOUTS: &[(&str, &str)] = &[
    ("host", "exec \"$0\" --case \"$1\""),
    (
        "v1",
        "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$0\" --case \"$1\"",
    ),
    ("v2", "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" --case \"$1\""),
];

/// Pure version 2 with a user's systemd, which needs nothing but a group and a runtime directory.
const SYSTEMD: &str = r#"
    umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 1
    mount -t tmpfs none /run && mkdir -p -m 700 /run/systemd/system /run/user || exit 1
    for name in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo +$name >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
    done
    group=/sys/fs/cgroup/it-systemd-$2-$1; mkdir -p $group/manager; echo $$ >$group/manager/cgroup.procs
    export XDG_RUNTIME_DIR=/run/user
    /usr/lib/systemd/systemd --user & manager=$!
    echo $$ >/sys/fs/cgroup/cgroup.procs
    for try in $(seq 100); do test -S /run/user/systemd/private && break; sleep 0.1; done
    "$0" --case "$1"; status=$?
    kill $manager; kill -CONT $manager; wait $manager
    find $group -depth -type d -exec rmdir {} \;
    exit $status"#;

/// A case's name and its function.
type Case = (&'static str, fn());

const CASES: &[&[Case]] = &[
    lifecycle::CASES,
    limits::CASES,
    device_access::CASES,
    usage::CASES,
    delegation::CASES,
    rootless::CASES,
];

/// Says inside a case which layout it runs in.
const LAYOUT_VARIABLE: &str = "CGROUPS_TEST_LAYOUT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = arguments.as_slice()
        && flag == "--case"
    {
        return run_case(name);
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (layout, setup) in LAYOUTS {
        for (name, _) in CASES.iter().copied().flatten() {
            trials.push(Trial::test(format!("{layout}::{name}"), move || start_case(layout, setup, name)));
        }
    }
    for (name, _) in scope::CASES {
        trials.push(Trial::test(format!("systemd::{name}"), move || start_case("systemd", SYSTEMD, name)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run_case(name: &str) -> ExitCode {
    match CASES
        .iter()
        .copied()
        .flatten()
        .chain(rootless::INNER)
        .chain(scope::CASES)
        .find(|case| case.0 == name)
    {
        Some((_, case)) => case(),
        None => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn start_case(layout: &str, setup: &str, name: &str) -> Result<(), Failed> {
    if !rustix::process::geteuid().is_root() {
        println!("{layout}::{name}: skipped, needs root");
        return Ok(());
    }
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        // A systemd ends with its pid namespace, whatever happens; the others tell their groups apart by pid.
        .args(if layout == "systemd" { &["-p", "-f", "--mount-proc"][..] } else { &[] })
        .args(["sh", "-c", setup])
        .arg(std::env::current_exe()?)
        .args([name, &std::process::id().to_string()])
        .env(LAYOUT_VARIABLE, layout)
        .output()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{}: {text}", output.status).into());
    }
    for line in text.lines().filter(|line| line.starts_with("skipped")) {
        println!("{layout}::{name}: {line}");
    }
    Ok(())
}
