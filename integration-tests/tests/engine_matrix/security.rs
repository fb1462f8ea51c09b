//! Users and their namespaces, capabilities, filters, labels, hidden paths, privileged containers.

use crate::cell::Cell;
use crate::engine::{Engine, Kind};
use integration_tests::{Outcome, skip};
use serde_json::json;
use std::fs;

fn sh(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

pub(crate) fn ctr_user(cell: &Cell) -> Outcome {
    cell.ctr_has("--user")?;
    let ran = cell.run(&["--user", "1000:1000"], &sh("id -u; id -g"));
    assert_eq!(ran.ok().out, "1000\n1000\n");
    Ok(())
}

pub(crate) fn ctr_user_by_name(cell: &Cell) -> Outcome {
    cell.ctr_has("--user")?;
    assert_eq!(cell.run(&["--user", "walter"], &sh("id -u; id -g")).ok().out, "1000\n1000\n");
    Ok(())
}

pub(crate) fn further_groups(cell: &Cell) -> Outcome {
    let ran = cell
        .run(&["--user", "1000:1000", "--group-add", "29", "--group-add", "4242"], &["/bin/id", "-G"])
        .ok();
    let groups: Vec<&str> = ran.out.split_whitespace().collect();
    assert!(["1000", "29", "4242"].iter().all(|group| groups.contains(group)), "{ran}");
    let named = cell.run(&["--group-add", "audio"], &["/bin/id", "-G"]).ok();
    assert!(named.out.split_whitespace().any(|group| group == "29"), "{named}");
    Ok(())
}

/// An engine that runs as an ordinary user without groups has none to keep, so this shows that the word is taken.
pub(crate) fn kept_groups(cell: &Cell) -> Outcome {
    cell.only_podman("keeping the caller's groups")?;
    let ran = cell.run(&["--group-add", "keep-groups"], &["/bin/echo", "kept"]);
    if ran.err.contains("not supported") || ran.err.contains("requires the crun") {
        return skip("Podman asks for crun by name");
    }
    assert_eq!(ran.ok().out, "kept\n");
    Ok(())
}

/// The map of a namespace, with single blanks.
const MAP: &str = "cat /proc/self/uid_map | tr -s ' '; echo > /data/new; stat -c %u /data/new";

pub(crate) fn mapped(cell: &Cell) -> Outcome {
    cell.only_podman("a map by option")?;
    let first = if cell.is_rootless() { "1" } else { "100000" };
    let map = format!("0:{first}:5000");
    let ran = cell.run(&["--uidmap", &map, "--gidmap", &map], &sh(MAP)).ok();
    assert!(ran.out.lines().next().is_some_and(|line| line.ends_with(" 5000")), "{ran}");
    assert_eq!(ran.out.lines().last(), Some("0"), "{ran}");
    Ok(())
}

pub(crate) fn ctr_mapped(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"], &sh(MAP)).ok();
    assert_eq!(ran.out, " 0 100000 5000\n0\n");
    Ok(())
}

pub(crate) fn buildah_mapped(cell: &Cell) -> Outcome {
    let options = ["--userns-uid-map", "0:100000:5000", "--userns-gid-map", "0:100000:5000"];
    assert_eq!(cell.run(&options, &sh(MAP)).ok().out, " 0 100000 5000\n0\n");
    Ok(())
}

pub(crate) fn userns_auto(cell: &Cell) -> Outcome {
    cell.only_podman("`--userns=auto`")?;
    let ran = cell.run(&["--userns=auto:size=2000"], &sh(MAP)).ok();
    assert!(ran.out.lines().next().is_some_and(|line| line.ends_with(" 2000")), "{ran}");
    Ok(())
}

/// A container of one's own user: the same number inside.
pub(crate) fn userns_keep_id(cell: &Cell) -> Outcome {
    cell.only_podman("`--userns=keep-id`")?;
    if !cell.is_rootless() {
        return skip("root has no id to keep");
    }
    assert_eq!(cell.run(&["--userns=keep-id"], &["/bin/id", "-u"]).ok().out, format!("{}\n", cell.owner()));
    Ok(())
}

pub(crate) fn userns_nomap(cell: &Cell) -> Outcome {
    cell.only_podman("`--userns=nomap`")?;
    if !cell.is_rootless() {
        return skip("`nomap` is for ordinary users");
    }
    let ran = cell.run(&["--userns=nomap"], &sh("cat /proc/self/uid_map | tr -s ' '")).ok();
    assert!(!ran.out.contains(" 0 0 "), "{ran}");
    Ok(())
}

pub(crate) fn userns_host(cell: &Cell) -> Outcome {
    let inside = cell.run(&["--userns=host"], &["/bin/readlink", "/proc/self/ns/user"]).ok().out;
    let host = cell.on_host(&["readlink", "/proc/self/ns/user"]).ok().out;
    assert_eq!(inside == host, !cell.is_rootless());
    Ok(())
}

pub(crate) fn userns_of_another(cell: &Cell) -> Outcome {
    cell.only_podman("the user namespace of another container")?;
    let map = if cell.is_rootless() { "0:1:5000" } else { "0:100000:5000" };
    let name = cell.start(&["--uidmap", map, "--gidmap", map], &["/bin/sleep", "1000"]);
    let ran = cell.run(&["--userns", &format!("container:{name}")], &["/bin/readlink", "/proc/self/ns/user"]);
    let first = cell.exec(&name, &[], &["/bin/readlink", "/proc/self/ns/user"]).ok();
    assert_eq!(ran.ok().out, first.out);
    Ok(())
}

/// A daemon of its own, whose containers' root is the host's ordinary user's first subordinate.
pub(crate) fn remapped_daemon(cell: &Cell) -> Outcome {
    cell.only_docker("userns-remap")?;
    let engine = Engine::start_with(
        cell.engine.kind,
        cell.engine.runtime,
        &json!({"userns-remap": crate::host::USER}),
    )?;
    let inner = Cell::new(&engine, "remapped");
    let ran = inner.run(&[], &sh(MAP)).ok();
    assert_eq!(ran.out, " 0 700000 65536\n0\n");
    let name = inner.start(&["--volume", "/data"], &["/bin/sleep", "1000"]);
    assert_eq!(inner.exec(&name, &[], &sh("echo x > /data/y; id -u")).ok().out, "0\n");
    assert!(inner.run(&["--userns=host"], &sh(MAP)).ok().out.starts_with(" 0 0 "));
    inner.finish();
    inner.world.clean_up();
    Ok(())
}

const EFFECTIVE: [&str; 3] = ["/bin/sh", "-c", "grep CapEff /proc/self/status | cut -f2"];

fn effective(cell: &Cell, options: &[&str]) -> u64 {
    let ran = cell.run(options, &EFFECTIVE).ok();
    u64::from_str_radix(ran.out.trim(), 16).expect("a mask")
}

/// CAP_CHOWN is number 0, CAP_NET_BIND_SERVICE 10, CAP_NET_ADMIN 12, CAP_SYS_ADMIN 21.
const CHOWN: u64 = 1;
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

pub(crate) fn default_capabilities(cell: &Cell) -> Outcome {
    let mask = effective(cell, &[]);
    assert!(mask & CHOWN != 0 && mask & (NET_ADMIN | SYS_ADMIN) == 0, "{mask:x}");
    Ok(())
}

fn assert_changed(cell: &Cell, options: &[&str]) -> Outcome {
    let (before, after) = (effective(cell, &[]), effective(cell, options));
    assert_eq!(after, (before | NET_ADMIN) & !CHOWN, "{before:x} {after:x}");
    Ok(())
}

pub(crate) fn capabilities(cell: &Cell) -> Outcome {
    assert_changed(cell, &["--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN"])
}

pub(crate) fn ctr_capabilities(cell: &Cell) -> Outcome {
    assert_changed(cell, &["--cap-add", "CAP_NET_ADMIN", "--cap-drop", "CAP_CHOWN"])
}

pub(crate) fn buildah_capabilities(cell: &Cell) -> Outcome {
    assert_changed(cell, &["--cap-add", "CAP_NET_ADMIN", "--cap-drop", "CAP_CHOWN"])
}

/// All are those that the engine itself has.
pub(crate) fn all_capabilities(cell: &Cell) -> Outcome {
    assert_eq!(effective(cell, &["--cap-drop", "ALL"]), 0);
    assert_eq!(effective(cell, &["--cap-drop", "ALL", "--cap-add", "CHOWN"]), CHOWN);
    let all = effective(cell, &["--cap-add", "ALL"]);
    assert!(all & SYS_ADMIN != 0, "{all:x}");
    Ok(())
}

/// A filter that answers mkdir with "no space left" and allows the rest.
fn profile(cell: &Cell) -> String {
    let rule = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
    cell.world.file("profile.json", &rule.to_string())
}

pub(crate) fn seccomp_file(cell: &Cell) -> Outcome {
    let option = format!("seccomp={}", profile(cell));
    cell.run(&["--security-opt", &option], &["/bin/mkdir", "/tmp/refused"])
        .fails()
        .says("No space left on device");
    Ok(())
}

pub(crate) fn ctr_seccomp_file(cell: &Cell) -> Outcome {
    let options = ["--seccomp", "--seccomp-profile", &profile(cell)];
    cell.run(&options, &["/bin/mkdir", "/tmp/refused"]).fails().says("No space left on device");
    Ok(())
}

pub(crate) fn buildah_seccomp_file(cell: &Cell) -> Outcome {
    let option = format!("seccomp={}", profile(cell));
    cell.run(&["--security-opt", &option], &["/bin/mkdir", "/tmp/refused"])
        .fails()
        .says("No space left on device");
    Ok(())
}

fn with_apparmor() -> Outcome {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.trim() == "Y" { Ok(()) } else { skip("this machine has no AppArmor") }
}

const LABEL: [&str; 2] = ["/bin/cat", "/proc/self/attr/current"];

pub(crate) fn apparmor(cell: &Cell) -> Outcome {
    with_apparmor()?;
    if cell.is_rootless() {
        return skip("an ordinary user loads no profiles");
    }
    let label = cell.run(&[], &LABEL).ok().out;
    assert!(label.contains("(enforce)"), "{label}");
    assert_eq!(cell.run(&["--security-opt", "apparmor=unconfined"], &LABEL).ok().out.trim(), "unconfined");
    Ok(())
}

pub(crate) fn ctr_apparmor(cell: &Cell) -> Outcome {
    with_apparmor()?;
    let label = cell.run(&["--apparmor-default-profile", "it-default"], &LABEL).ok().out;
    assert!(label.contains("it-default (enforce)"), "{label}");
    Ok(())
}

pub(crate) fn masked_paths(cell: &Cell) -> Outcome {
    let script = "head -c1 /proc/kcore | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -cv :; \
                  echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo refused";
    let ran = cell.run(&[], &sh(script)).ok();
    assert!(ran.out.starts_with("0\n") && ran.out.ends_with("refused\n"), "{ran}");
    Ok(())
}

pub(crate) fn unmasked_paths(cell: &Cell) -> Outcome {
    let option = if cell.is_docker() { "systempaths=unconfined" } else { "unmask=ALL" };
    let ran = cell.run(&["--security-opt", option], &sh("grep -c ' /proc/' /proc/mounts || true"));
    assert_eq!(ran.out, "0\n", "{ran}");
    Ok(())
}

fn assert_privileged(cell: &Cell) -> Outcome {
    let script = "grep -E 'CapEff|Seccomp:' /proc/self/status | tr '\\t' ' '; ls /dev | wc -l; \
                  mount -t tmpfs tmpfs /mnt && echo mounted; grep -c ' /proc/kcore ' /proc/mounts || true";
    let ran = cell.run(&["--privileged"], &sh(script)).ok();
    let lines: Vec<&str> = ran.out.lines().collect();
    let mask = lines[0].strip_prefix("CapEff: ").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    assert!(mask.is_some_and(|mask| mask & SYS_ADMIN != 0), "{ran}");
    assert_eq!((lines[1], lines[3], lines[4]), ("Seccomp: 0", "mounted", "0"), "{ran}");
    let devices: u32 = lines[2].parse().expect("a number");
    assert!(devices > 20 || cell.engine.kind.family() == Kind::Containerd, "{ran}");
    Ok(())
}

pub(crate) fn privileged(cell: &Cell) -> Outcome {
    assert_privileged(cell)
}

pub(crate) fn ctr_privileged(cell: &Cell) -> Outcome {
    assert_privileged(cell)
}
