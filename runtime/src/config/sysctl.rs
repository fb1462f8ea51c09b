//! `linux.sysctl`.
//!
//! Only what a namespace of the container keeps for itself can be set; everything else is the host's.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#sysctl>

use std::ffi::CString;

use child::{Op, Text};

use super::namespaces::{Kind, Namespaces};
use super::text::c_string;
use super::{Problems, Spec};
use crate::facts::Facts;
use crate::step::Step;

// ── Shape ── an object of strings in the section `linux`; see `Linux`.

// ── Rules ──

/// Kernel parameters, valid: each lies in a namespace that is not the host's.
#[derive(Debug, Default)]
pub struct Sysctls(Vec<Sysctl>);

#[derive(Debug)]
struct Sysctl {
    key: String,
    /// The path beneath /proc/sys.
    path: CString,
    value: CString,
}

/// Checks names and values.
pub fn check(spec: &Spec, namespaces: &Namespaces, facts: &Facts, problems: &mut Problems) -> Sysctls {
    let Some(linux) = spec.linux.as_ref() else { return Sysctls::default() };
    let mut sysctls: Vec<Sysctl> = Vec::new();
    for (name, value) in &linux.sysctl.0 {
        let key = format!("linux.sysctl[{name:?}]");
        check_value(value, &key, problems);
        let Some(path) = path(name, &key, problems) else { continue };
        check_owner(&path, &key, namespaces, facts, problems);
        let path = c_string(&path, &key, problems);
        if let Some(same) = sysctls.iter().find(|other| other.path == path) {
            problems.invalid(key, format!("the same parameter as {}", same.key));
            continue;
        }
        let value = c_string(value, &key, problems);
        sysctls.push(Sysctl { key, path, value });
    }
    Sysctls(sysctls)
}

/// The longest value: the kernel takes one write(2) of less than a page, and no page is smaller than this.
const LONGEST: usize = 4095;

fn check_value(value: &str, key: &str, problems: &mut Problems) {
    if value.is_empty() {
        problems.invalid(key.to_owned(), "the value is empty; the kernel would keep what it has");
    }
    if value.len() > LONGEST {
        problems.invalid(
            key.to_owned(),
            format!("the value has {} bytes; the kernel takes {LONGEST}", value.len()),
        );
    }
    // A NUL is reported when the value is terminated.
    if value.chars().any(|letter| letter.is_control() && !matches!(letter, '\t' | '\0')) {
        problems.invalid(key.to_owned(), "the value contains a control character");
    }
}

/// The path beneath /proc/sys. As for sysctl(8), the first separator of the two says which one separates: after a `.` a
/// `/` stands for a dot in a name (`net.ipv4.conf.eth0/100.forwarding`), after a `/` a dot is a dot.
fn path(name: &str, key: &str, problems: &mut Problems) -> Option<String> {
    let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes().get(at) == Some(&b'.'));
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    let mistake = if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "the name has an empty component or `.` or `..`"
    } else if path.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        "the name contains a space or a control character"
    } else {
        return Some(path);
    };
    problems.invalid(key.to_owned(), mistake);
    None
}

/// What an ipc namespace keeps for itself, besides fs.mqueue. ipc_namespaces(7).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

fn check_owner(path: &str, key: &str, namespaces: &Namespaces, facts: &Facts, problems: &mut Problems) {
    let owner = match path {
        "kernel/hostname" => {
            return problems.invalid(key.to_owned(), "the host name has a key of its own; see hostname");
        }
        "kernel/domainname" => Kind::Uts,
        _ if IPC.contains(&path) || path.starts_with("fs/mqueue/") => Kind::Ipc,
        _ if path.starts_with("net/") => Kind::Network,
        _ if path.starts_with("user/") => Kind::User,
        _ => {
            return problems.invalid(key.to_owned(), "belongs to no namespace; it would change the host");
        }
    };
    if namespaces.is_hosts(owner, facts) {
        let name = owner.name();
        problems.invalid(
            key.to_owned(),
            format!("the {name} namespace is the host's; add {{\"type\": {name:?}}} to linux.namespaces"),
        );
    }
}

// ── Steps ──

impl Sysctls {
    /// One write each, in the order of the file.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.0.iter().map(|Sysctl { key, path, value }| {
            Step::new(key.as_str(), Op::Sysctl { name: Text(path), value: Text(value) })
        })
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const ALL: [Kind; 4] = [Kind::Ipc, Kind::Network, Kind::Uts, Kind::User];

    fn run(name: &str, value: &str, namespaces: &Namespaces) -> (Sysctls, Vec<String>) {
        let mut problems = Problems::default();
        let mut spec = Spec { linux: Some(super::super::Linux::default()), ..Spec::default() };
        spec.linux.as_mut().unwrap().sysctl.0 = vec![(name.to_owned(), value.to_owned())];
        let sysctls = check(&spec, namespaces, &Facts::default(), &mut problems);
        (sysctls, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_name_is_a_path_beneath_proc_sys() {
        let table = [
            ("net.ipv4.ip_forward", c"net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", c"net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/100.forwarding", c"net/ipv4/conf/eth0.100/forwarding"),
            ("net/ipv4/conf/eth0.100/forwarding", c"net/ipv4/conf/eth0.100/forwarding"),
            ("kernel.shm_rmid_forced", c"kernel/shm_rmid_forced"),
            ("fs.mqueue.queues_max", c"fs/mqueue/queues_max"),
            ("kernel.domainname", c"kernel/domainname"),
            ("user.max_mnt_namespaces", c"user/max_mnt_namespaces"),
        ];
        for (name, path) in table {
            let (sysctls, errors) = run(name, "1", &Namespaces::all_new(&ALL));
            assert!(errors.is_empty(), "{name}: {errors:?}");
            let key = format!("linux.sysctl[{name:?}]");
            let op = Op::Sysctl { name: Text(path), value: Text(c"1") };
            assert_eq!(sysctls.steps().collect::<Vec<_>>(), [Step::new(key, op)]);
        }
    }

    #[test]
    fn what_belongs_to_the_host_is_refused() {
        let hosts = "belongs to no namespace; it would change the host";
        let table = [
            ("kernel.core_pattern", hosts),
            ("vm.swappiness", hosts),
            ("kernel", hosts),
            ("kernel.shmmax.x", hosts),
            ("netx.a", hosts),
            ("kernel.hostname", "the host name has a key of its own; see hostname"),
            ("net.ipv4.../../kernel/x", "the name has an empty component or `.` or `..`"),
            ("net/../kernel/core_pattern", "the name has an empty component or `.` or `..`"),
            ("net//ipv4", "the name has an empty component or `.` or `..`"),
            ("", "the name has an empty component or `.` or `..`"),
            (".net", "the name has an empty component or `.` or `..`"),
            ("net.a\n", "the name contains a space or a control character"),
            ("net.a b", "the name contains a space or a control character"),
            ("net.a\0", "the name contains a space or a control character"),
        ];
        for (name, what) in table {
            let (_, errors) = run(name, "1", &Namespaces::all_new(&ALL));
            assert_eq!(errors, [format!("linux.sysctl[{name:?}]: {what}")]);
        }
    }

    /// CRI-O's CVE-2022-0532: a parameter of a namespace that is the host's changes the host.
    #[test]
    fn a_parameter_needs_a_namespace_of_its_own() {
        let table = [
            ("kernel.shmmax", "ipc"),
            ("fs.mqueue.msg_max", "ipc"),
            ("net.core.somaxconn", "network"),
            ("kernel.domainname", "uts"),
            ("user.max_ipc_namespaces", "user"),
        ];
        for (name, kind) in table {
            let error = format!(
                "linux.sysctl[{name:?}]: the {kind} namespace is the host's; add {{\"type\": {kind:?}}} to linux.namespaces"
            );
            assert_eq!(run(name, "1", &Namespaces::default()).1, [error]);
        }
        let joined = |path: &str| Namespaces {
            joined: vec![(Kind::Network, 0, PathBuf::from(path))],
            ..Namespaces::default()
        };
        assert_eq!(run("net.core.somaxconn", "1", &joined("/proc/self/ns/net")).1.len(), 1);
        assert!(run("net.core.somaxconn", "1", &joined("/run/netns/it-other")).1.is_empty());
    }

    /// CRI-O's CVE-2022-0811: a value is one value.
    #[test]
    fn a_value_is_one_line_that_the_kernel_reads_whole() {
        let long = "1".repeat(4096);
        let table = [
            ("250\t32000 100", None),
            ("1\nkernel.core_pattern=x", Some("the value contains a control character")),
            ("", Some("the value is empty; the kernel would keep what it has")),
            ("a\0b", Some("contains NUL")),
            (long.as_str(), Some("the value has 4096 bytes; the kernel takes 4095")),
        ];
        for (value, what) in table {
            let expected: Vec<String> =
                what.map(|what| format!("linux.sysctl[\"kernel.sem\"]: {what}")).into_iter().collect();
            assert_eq!(run("kernel.sem", value, &Namespaces::all_new(&ALL)).1, expected);
        }
    }

    #[test]
    fn one_parameter_in_two_spellings_is_refused() {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(r#"{"linux":{"sysctl":{"net.a":"1","net/a":"2"}}}"#).unwrap();
        check(&spec, &Namespaces::all_new(&ALL), &Facts::default(), &mut problems);
        assert_eq!(
            problems.errors[0].to_string(),
            "linux.sysctl[\"net/a\"]: the same parameter as linux.sysctl[\"net.a\"]"
        );
        let spec: Spec = serde_json::from_str(r#"{"linux":{"sysctl":null}}"#).unwrap();
        assert_eq!(check(&spec, &Namespaces::default(), &Facts::default(), &mut problems).steps().count(), 0);
    }
}
