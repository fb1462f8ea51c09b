//! `info`: what this host has of what containers may ask for, and the remedy for what it lacks.
//!
//! Each line is one question to the kernel or the host. `features` says what orlop can do, whatever the host.

use std::path::Path;
use std::time::Duration;

use rustix::thread::{CapabilitySet, capabilities};
use serde::Serialize;

use super::print;
use crate::cli::args::{self, ReportFormat};
use crate::facts::Facts;
use crate::launch::process::output_of;
use crate::{Error, Kind, Result, procfs};

/// One answer.
#[derive(Debug, Serialize)]
struct Line {
    /// What was asked.
    name: &'static str,
    /// Whether all of it is there.
    available: bool,
    /// What was found.
    found: String,
    /// What may help where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

pub(super) fn info(options: &args::Info) -> Result<u8> {
    let lines = lines()?;
    let text = match options.format {
        ReportFormat::Json => serde_json::to_string_pretty(&lines),
        ReportFormat::Text => Ok(text(&lines)),
    };
    print(&format!("{}\n", text.map_err(|error| Error::new(Kind::Internal, error.to_string()))?))?;
    Ok(0)
}

fn text(lines: &[Line]) -> String {
    let line = |line: &Line| {
        let mark = if line.available { "yes" } else { "no" };
        let remedy = line.remedy.map_or(String::new(), |remedy| format!("; {remedy}"));
        format!("{:<24} {mark:<4} {}{remedy}", line.name, line.found)
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The oldest kernel that orlop runs on.
const OLDEST: (u32, u32) = (5, 14);

fn lines() -> Result<Vec<Line>> {
    let facts = Facts::default();
    let layout = cgroups::Layout::detect()?;
    Ok(vec![
        kernel(),
        cgroup(&layout),
        Line {
            name: "systemd",
            available: exists("/run/systemd/system"),
            found: "the host's manager".to_owned(),
            remedy: (!exists("/run/systemd/system"))
                .then_some("the systemd cgroup driver needs it; use cgroupfs"),
        },
        user_namespaces(),
        helper("newuidmap"),
        helper("newgidmap"),
        missing_capabilities(),
        module("apparmor", facts.apparmor(), "profiles are refused without it"),
        module("selinux", facts.selinux(), "labels are refused without it"),
        module("resctrl", facts.resctrl().is_some(), "mount -t resctrl resctrl /sys/fs/resctrl"),
        filters(&facts),
        memory_files(),
        criu(),
        helper("ps"),
    ])
}

fn kernel() -> Line {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let available = version(&release).is_some_and(|version| version >= OLDEST);
    Line {
        name: "kernel",
        available,
        found: release,
        remedy: (!available).then_some("5.14 is the oldest one"),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn cgroup(layout: &cgroups::Layout) -> Line {
    let available = layout.name() != "none";
    Line {
        name: "cgroups",
        available,
        found: layout.name().to_owned(),
        remedy: (!available).then_some("mount -t cgroup2 none /sys/fs/cgroup"),
    }
}

fn setting(path: &str) -> Option<String> {
    procfs::read_file(&procfs::open().ok()?, path).ok().map(|text| text.trim().to_owned())
}

fn user_namespaces() -> Line {
    let most = setting("sys/user/max_user_namespaces").unwrap_or_else(|| "0".to_owned());
    let unprivileged = setting("sys/kernel/unprivileged_userns_clone").is_none_or(|value| value != "0");
    let restricted =
        setting("sys/kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value == "1");
    let remedy = match (most.as_str(), unprivileged, restricted) {
        ("0", ..) => Some("sysctl user.max_user_namespaces=15000"),
        (_, false, _) => Some("for ordinary users: sysctl kernel.unprivileged_userns_clone=1"),
        (.., true) => Some("for ordinary users: sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
        _ => None,
    };
    Line { name: "user namespaces", available: remedy.is_none(), found: format!("at most {most}"), remedy }
}

fn helper(program: &'static str) -> Line {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let place =
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    let remedy = match program {
        "criu" => "checkpoint and restore need it; install criu",
        "ps" => "the table of `ps` needs it; install procps",
        _ => "users without root need it for more than one id; install uidmap",
    };
    Line {
        name: program,
        available: place.is_some(),
        found: place.as_ref().map_or("not in PATH".to_owned(), |place| place.display().to_string()),
        remedy: place.is_none().then_some(remedy),
    }
}

/// Being there is not enough: an old CRIU fails on a newer kernel.
fn criu() -> Line {
    let line = helper("criu");
    if !line.available {
        return line;
    }
    match output_of("criu", &["check".into()], Duration::from_secs(10)) {
        Ok(_) => line,
        Err(error) => {
            let why = error.what().split(" | ").next().unwrap_or_default();
            let found = format!("{}: {why}", line.found);
            let remedy = Some("checkpoint and restore need root and a criu that knows this kernel");
            Line { available: false, found, remedy, ..line }
        }
    }
}

fn missing_capabilities() -> Line {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted).bits();
    let names = crate::config::capabilities::NAMES.iter().enumerate();
    let missing: Vec<&str> = names.filter(|(bit, _)| held & (1 << bit) == 0).map(|(_, name)| *name).collect();
    let found = if missing.is_empty() { "all".to_owned() } else { format!("without {}", missing.join(", ")) };
    let remedy =
        (!missing.is_empty()).then_some("a container without a user namespace gets no more than these");
    Line { name: "capabilities", available: missing.is_empty(), found, remedy }
}

fn module(name: &'static str, available: bool, remedy: &'static str) -> Line {
    let found = if available { "enabled" } else { "not enabled" };
    Line { name, available, found: found.to_owned(), remedy: (!available).then_some(remedy) }
}

fn filters(facts: &Facts) -> Line {
    let flags: Vec<&str> = facts.seccomp().flag_names().collect();
    let available = facts.seccomp().actions != seccomp::profile::Actions::NONE;
    let found = flags.join(", ").replace("SECCOMP_FILTER_FLAG_", "");
    Line {
        name: "seccomp",
        available,
        found: if available { format!("flags {found}") } else { "no filters of system calls".to_owned() },
        remedy: (!available).then_some("a kernel with CONFIG_SECCOMP_FILTER; run without linux.seccomp"),
    }
}

fn memory_files() -> Line {
    let limit = setting("sys/vm/memfd_noexec").unwrap_or_else(|| "0".to_owned());
    let available = limit != "2";
    Line {
        name: "executable memory files",
        available,
        found: format!("vm.memfd_noexec is {limit}"),
        remedy: (!available).then_some("a private file system serves instead, which is slower"),
    }
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        for (release, expected) in
            [("6.18.44-fc", Some((6, 18))), ("5.14-rc1", Some((5, 14))), ("x", None), ("6", None)]
        {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("5.9.1").unwrap() < OLDEST && version("5.14.0").unwrap() >= OLDEST);
    }

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        for line in lines().unwrap() {
            assert_eq!(line.available, line.remedy.is_none(), "{line:?}");
        }
    }
}
