//! The labels of security modules, seen on what runs: AppArmor profiles, SELinux contexts of processes and mounts.
//!
//! Each needs a kernel that runs the module, which the virtual machines `trixie` (AppArmor) and `selinux` have. What a
//! host without them says is in `bad_input.rs`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::{Bundle, Outcome, Report, World, cases, harness, skip};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        an_apparmor_profile_confines_the_program_and_each_exec,
        an_apparmor_profile_that_is_not_loaded_is_named,
        a_process_has_its_selinux_context,
        a_mount_has_its_selinux_context,
        an_impossible_selinux_context_is_named,
    ])
}

const CURRENT: &str = "read:/proc/self/attr/current";
const OF_APPARMOR: &str = "read:/proc/self/attr/apparmor/current";

// ── AppArmor ──

/// A profile in the kernel; it goes when the test ends.
struct Profile<'a> {
    world: &'a World,
    name: String,
    file: String,
}

impl<'a> Profile<'a> {
    /// Everything is allowed but one file.
    fn load(world: &'a World, denied: &str) -> Self {
        let name = format!("it-orlop-{}", std::process::id());
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  network,\n  capability,\n  \
             signal,\n  ptrace,\n  mount,\n  umount,\n  unix,\n  deny {denied} rwklx,\n}}\n"
        );
        let profile = Profile { world, file: world.file("profile", &text), name };
        profile.parse("--replace").ok();
        profile
    }

    fn parse(&self, what: &str) -> integration_tests::process::Ran {
        self.world.finish(Command::new("apparmor_parser").args(["--skip-cache", what, &self.file]))
    }
}

impl Drop for Profile<'_> {
    fn drop(&mut self) {
        self.parse("--remove");
    }
}

fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    enabled.starts_with('Y') && Path::new("/sys/kernel/security/apparmor/profiles").exists()
}

fn with_profile(bundle: Bundle, name: &str) -> Bundle {
    bundle.edit(|config| config["process"]["apparmorProfile"] = json!(name))
}

fn assert_confined(report: &Report, name: &str) {
    assert_eq!(report.asked(OF_APPARMOR)["ok"].as_str().map(str::trim), Some(&*format!("{name} (enforce)")));
    assert_eq!(report.asked("read:/etc/denied")["errno"], 13, "the profile denies it");
    assert_eq!(report.asked("read:/etc/allowed")["ok"], "text");
}

fn an_apparmor_profile_confines_the_program_and_each_exec(world: &World) -> Outcome {
    if !has_apparmor() {
        return skip("no AppArmor");
    }
    let profile = Profile::load(world, "/etc/denied");
    let files = |bundle: Bundle| {
        ["denied", "allowed"]
            .iter()
            .for_each(|name| fs::write(bundle.rootfs("etc").join(name), "text").unwrap());
        bundle
    };
    let asked = [OF_APPARMOR, "read:/etc/denied", "read:/etc/allowed"];
    for bundle in [world.bundle(), world.bundle().with_user_namespace(100_000, 65536)] {
        assert_confined(
            &world.probe(&with_profile(files(bundle), &profile.name).asking(&asked)),
            &profile.name,
        );
    }
    let plain = world.probe(&files(world.bundle()).asking(&asked));
    assert_eq!(plain.asked("read:/etc/denied")["ok"], "text", "without the profile nothing is denied");

    let bundle = with_profile(files(world.shell("exec sleep 1000")), &profile.name);
    let id = world.started(&bundle);
    let exec = |options: &[&str]| {
        let words = [&["exec"], options, &[&*id, "/bin/probe"], &asked].concat();
        Report(world.orlop(&words).ok().json())
    };
    assert_confined(&exec(&[]), &profile.name);
    let other = exec(&["--apparmor", "unconfined"]);
    assert_eq!(other.asked(OF_APPARMOR)["ok"].as_str().map(str::trim), Some("unconfined"));
    world.orlop(&["delete", "--force", &id]).ok();
    Ok(())
}

fn an_apparmor_profile_that_is_not_loaded_is_named(world: &World) -> Outcome {
    if !has_apparmor() {
        return skip("no AppArmor");
    }
    world.refused(&with_profile(world.bundle(), "it-nowhere")).says("apparmorProfile");
    Ok(())
}

// ── SELinux ──

/// The first of `contexts` that the loaded policy knows. selinux_check_context(3).
fn known(contexts: &[&'static str]) -> Option<&'static str> {
    let check = |context: &&&str| fs::write("/sys/fs/selinux/context", context).is_ok();
    contexts.iter().find(check).copied()
}

const PROCESSES: [&str; 3] = [
    "system_u:system_r:container_t:s0:c1,c2",
    "unconfined_u:unconfined_r:unconfined_t:s0:c1,c2",
    "system_u:system_r:initrc_t:s0",
];
const FILES: [&str; 3] = [
    "system_u:object_r:container_file_t:s0:c1,c2",
    "system_u:object_r:container_ro_file_t:s0",
    "system_u:object_r:tmp_t:s0",
];

fn a_process_has_its_selinux_context(world: &World) -> Outcome {
    let Some(context) = known(&PROCESSES) else {
        return skip("no SELinux");
    };
    let labelled = |bundle: Bundle| bundle.edit(|config| config["process"]["selinuxLabel"] = json!(context));
    let current = |report: &Report| {
        let text = report.asked(CURRENT)["ok"].as_str().unwrap_or_default();
        text.trim_matches(['\0', '\n']).to_owned()
    };
    for bundle in [world.bundle(), world.bundle().with_user_namespace(100_000, 65536)] {
        assert_eq!(current(&world.probe(&labelled(bundle).asking(&[CURRENT]))), context);
    }
    let id = world.started(&labelled(world.shell("exec sleep 1000")));
    let exec = world.orlop(&["exec", &id, "/bin/probe", CURRENT]).ok();
    assert_eq!(current(&Report(exec.json())), context, "an exec has that of the container");
    world.orlop(&["delete", "--force", &id]).ok();
    assert_ne!(current(&world.probe(&world.bundle().asking(&[CURRENT]))), context);
    Ok(())
}

fn a_mount_has_its_selinux_context(world: &World) -> Outcome {
    let Some(context) = known(&FILES) else {
        return skip("no SELinux");
    };
    let bundle = world.bundle().edit(|config| config["linux"]["mountLabel"] = json!(context));
    let tmpfs = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]});
    let report = world.probe(&bundle.mount(tmpfs).asking(&["read:/proc/self/mountinfo"]));
    let table = report.asked("read:/proc/self/mountinfo")["ok"].as_str().unwrap_or_default().to_owned();
    for target in ["/mnt", "/dev/shm"] {
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some(target)).expect(target);
        // A context with a comma is quoted there.
        assert!(line.replace('"', "").contains(&format!("context={context}")), "{line}");
    }
    Ok(())
}

fn an_impossible_selinux_context_is_named(world: &World) -> Outcome {
    if known(&PROCESSES).is_none() {
        return skip("no SELinux");
    }
    let bundle = world.bundle().edit(|config| config["process"]["selinuxLabel"] = json!("no:such:context"));
    world.refused(&bundle).says("selinuxLabel");
    Ok(())
}
