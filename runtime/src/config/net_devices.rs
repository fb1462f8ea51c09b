//! `linux.netDevices`: interfaces of the host that move into the container's network namespace.
//!
//! The parent moves them while the child waits (`Request::Adopt`), as it needs rights over both namespaces.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#network-devices>

use std::collections::HashMap;

use serde::Deserialize;

use super::namespaces::{Kind, Namespaces};
use super::{Problems, Spec};
use crate::facts::Facts;

// ── Shape ──

/// One entry of `linux.netDevices` as written; its key is the name on the host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The name inside; absent keeps the host's. It may end with `%d`, for which the kernel finds a number.
    pub name: Option<String>,
}

// ── Rules ──

/// The interfaces to move, valid, in the order of the file.
#[derive(Debug, Default)]
pub struct NetDevices {
    /// Every interface.
    pub list: Vec<NetDevice>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// The configuration key, for errors.
    pub key: String,
    /// The name on the host.
    pub host: String,
    /// The name inside, possibly a template with `%d` at its end.
    pub name: String,
}

/// Checks the names, and that there is a network namespace to move to.
pub fn check(spec: &Spec, namespaces: &Namespaces, facts: &Facts, problems: &mut Problems) -> NetDevices {
    let mut devices = NetDevices::default();
    let written = spec.linux.as_ref().map_or(&[][..], |linux| linux.net_devices.0.as_slice());
    if written.is_empty() {
        return devices;
    }
    if namespaces.is_hosts(Kind::Network, facts) {
        problems.invalid(
            "linux.netDevices",
            "the network namespace is the host's; add {\"type\": \"network\"} to linux.namespaces",
        );
    }
    if facts.euid() != 0 {
        problems.unsupported(
            "linux.netDevices",
            format!("moving interfaces needs root of the host; this is uid {}", facts.euid()),
        );
    }
    let mut taken: HashMap<String, String> = HashMap::new();
    for (host, shape) in written {
        let key = format!("linux.netDevices[{host:?}]");
        let name = shape.as_ref().and_then(|shape| shape.name.as_deref());
        let name = name.filter(|name| !name.is_empty()).unwrap_or(host);
        check_name(host, None, &key, problems);
        if name != host {
            check_name(name, Some("%d"), &format!("{key}.name"), problems);
        }
        if !name.ends_with("%d")
            && let Some(other) = taken.insert(name.to_owned(), key.clone())
        {
            problems.invalid(format!("{key}.name"), format!("{name:?} is the name of {other} already"));
        }
        devices.list.push(NetDevice { key, host: host.clone(), name: name.to_owned() });
    }
    devices
}

/// The longest name (IFNAMSIZ less its terminator, linux/if.h).
const LONGEST: usize = 15;

/// The kernel's rule for names (dev_valid_name). A `%` is only valid as the template that is allowed here.
fn check_name(name: &str, template: Option<&str>, key: &str, problems: &mut Problems) {
    let stem = template.and_then(|template| name.strip_suffix(template)).unwrap_or(name);
    let valid = (1..=LONGEST).contains(&name.len())
        && !matches!(name, "." | "..")
        && !stem.contains(|letter: char| {
            matches!(letter, '/' | ':' | '%') || letter.is_whitespace() || letter.is_control()
        });
    if !valid {
        problems.invalid(
            key.to_owned(),
            format!(
                "{name:?} is no name of an interface: 1 to {LONGEST} bytes without space, `/`, `:` and `%`"
            ),
        );
    }
}

// ── Steps ── none: the parent moves the interfaces.

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn run(devices: &str, kinds: &[Kind], euid: u32) -> (NetDevices, Vec<String>) {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(&format!(r#"{{"linux":{{"netDevices":{devices}}}}}"#)).unwrap();
        let facts = Facts::default();
        facts.euid.set(euid).unwrap();
        let devices = check(&spec, &Namespaces::all_new(kinds), &facts, &mut problems);
        (devices, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_interface_keeps_its_name_or_gets_another() {
        let (devices, errors) = run(
            r#"{"eth0":{"name":"inside0"},"eth1":{},"eth2":{"name":"net%d"},"eth3":{"name":"net%d"}}"#,
            &[Kind::Network],
            0,
        );
        assert!(errors.is_empty(), "{errors:?}");
        let names: Vec<_> =
            devices.list.iter().map(|device| (device.host.as_str(), device.name.as_str())).collect();
        assert_eq!(names, [("eth0", "inside0"), ("eth1", "eth1"), ("eth2", "net%d"), ("eth3", "net%d")]);
    }

    #[test]
    fn names_have_rules() {
        for name in ["a/b", "a:b", "a b", "sixteen-letters-", ".", "..", "%dx", "a%", "a%d%d", "a\n"] {
            let (_, errors) = run(
                &format!(r#"{{"eth0":{{"name":{}}}}}"#, serde_json::to_string(name).unwrap()),
                &[Kind::Network],
                0,
            );
            assert_eq!(
                errors,
                [format!(
                    "linux.netDevices[\"eth0\"].name: {name:?} is no name of an interface: 1 to 15 bytes without space, `/`, `:` and `%`"
                )]
            );
        }
        assert_eq!(run(r#"{"eth%d":{}}"#, &[Kind::Network], 0).1.len(), 1);
        assert_eq!(run(r#"{"":{"name":"a"}}"#, &[Kind::Network], 0).1.len(), 1);
    }

    #[test]
    fn two_interfaces_cannot_have_one_name() {
        assert_eq!(
            run(r#"{"a":{"name":"x"},"x":{}}"#, &[Kind::Network], 0).1,
            ["linux.netDevices[\"x\"].name: \"x\" is the name of linux.netDevices[\"a\"] already"]
        );
    }

    #[test]
    fn moving_needs_a_namespace_and_root() {
        assert_eq!(
            run(r#"{"eth0":null}"#, &[], 1000).1,
            [
                "linux.netDevices: the network namespace is the host's; add {\"type\": \"network\"} to linux.namespaces",
                "linux.netDevices: moving interfaces needs root of the host; this is uid 1000",
            ]
        );
        assert!(run("null", &[], 1000).1.is_empty());
    }
}
