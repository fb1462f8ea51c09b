//! The configuration that `spec` writes as a start for one's own.
//!
//! It is what users of the command know from other runtimes: a shell in a terminal on a read-only root, three
//! capabilities, the usual mounts, masks and namespaces. A cgroup namespace is among them where all groups are of version 2,
//! as with runc: scripts that work on the result add the namespace on version 1, and two of a kind are an error.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use sys::error::Context;

use crate::bundle::CONFIG;
use crate::config::version;
use crate::{Error, Kind, Result};

/// Whom the configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Root.
    Root,
    /// An ordinary user, who becomes root of a user namespace: the host's network and /sys, no limits, no other ids.
    Rootless {
        /// The user's id on the host.
        uid: u32,
        /// The user's group id on the host.
        gid: u32,
    },
}

/// The cgroups of the host for which a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// All of version 2.
    Unified,
    /// Version 1, or both.
    Other,
}

impl Template {
    /// Writes config.json into `directory`.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] rather than overwriting one.
    pub fn write(self, cgroups: Cgroups, directory: BorrowedFd<'_>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            openat(directory, CONFIG, flags, Mode::from_raw_mode(0o666)).map_err(|errno| match errno {
                Errno::EXIST => {
                    Error::new(Kind::AlreadyExists, format!("File {CONFIG} exists. Remove it first"))
                }
                errno => Error::kernel(CONFIG, "open", errno),
            })?;
        File::from(file).write_all(self.text(cgroups).as_bytes()).context("write", || CONFIG.to_owned())
    }

    /// The JSON text.
    pub fn text(self, cgroups: Cgroups) -> String {
        let (devpts, sys, linux) = match self {
            Self::Root => (", \"gid=5\"", SYS, RESOURCES.to_owned()),
            Self::Rootless { uid, gid } => ("", SYS_OF_THE_HOST, mappings(uid, gid)),
        };
        let own = match self {
            Self::Root => "network",
            Self::Rootless { .. } => "user",
        };
        let more = match cgroups {
            Cgroups::Unified => &["cgroup"][..],
            Cgroups::Other => &[],
        };
        let namespaces: Vec<_> = ["pid", "ipc", "uts", "mount", own].iter().chain(more).map(entry).collect();
        let namespaces = namespaces.join(",\n");
        CONFIGURATION
            .replace("VERSION", version::NEWEST)
            .replace("DEVPTS", devpts)
            .replace("SYS", sys)
            .replace("LINUX", &linux)
            .replace("NAMESPACES", &namespaces)
    }
}

fn entry(namespace: &&str) -> String {
    format!("\t\t\t{{ \"type\": \"{namespace}\" }}")
}

fn mappings(uid: u32, gid: u32) -> String {
    let map = |name: &str, id: u32| {
        format!("\t\t\"{name}\": [\n\t\t\t{{ \"containerID\": 0, \"hostID\": {id}, \"size\": 1 }}\n\t\t]")
    };
    format!("{},\n{}", map("uidMappings", uid), map("gidMappings", gid))
}

const SYS: &str = r#"		{
			"destination": "/sys",
			"type": "sysfs",
			"source": "sysfs",
			"options": ["nosuid", "noexec", "nodev", "ro"]
		}"#;

/// A new sysfs shows the network namespace of who mounts it, so it needs one of its own.
const SYS_OF_THE_HOST: &str = r#"		{
			"destination": "/sys",
			"type": "none",
			"source": "/sys",
			"options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
		}"#;

const RESOURCES: &str = r#"		"resources": {
			"devices": [
				{ "allow": false, "access": "rwm" }
			]
		}"#;

const CONFIGURATION: &str = r#"{
	"ociVersion": "VERSION",
	"process": {
		"terminal": true,
		"user": { "uid": 0, "gid": 0 },
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
		},
		"rlimits": [
			{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "orlop",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"DEVPTS]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": ["nosuid", "noexec", "nodev"]
		},
SYS,
		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
		}
	],
	"linux": {
LINUX,
		"namespaces": [
NAMESPACES
		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(template: Template) -> serde_json::Value {
        serde_json::from_str(&template.text(Cgroups::Unified)).unwrap()
    }

    fn namespaces(value: &serde_json::Value) -> Vec<&str> {
        value["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["type"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn the_template_has_nothing_that_the_specification_does_not_know() {
        for template in [Template::Root, Template::Rootless { uid: 1000, gid: 100 }] {
            assert_eq!(crate::config::keys::ignored(&value(template)), []);
        }
    }

    #[test]
    fn root_gets_a_network_and_a_device_rule() {
        let value = value(Template::Root);
        assert_eq!(namespaces(&value), ["pid", "ipc", "uts", "mount", "network", "cgroup"]);
        assert_eq!(value["linux"]["resources"]["devices"][0]["allow"], false);
        assert_eq!(value["mounts"][2]["options"][5], "gid=5");
        assert_eq!(value["mounts"][5]["type"], "sysfs");
    }

    #[test]
    fn only_on_version_2_is_a_cgroup_namespace_asked_for() {
        let text = Template::Root.text(Cgroups::Other);
        assert_eq!(
            namespaces(&serde_json::from_str(&text).unwrap()),
            ["pid", "ipc", "uts", "mount", "network"]
        );
    }

    #[test]
    fn a_user_gets_maps_and_the_sys_of_the_host() {
        let value = value(Template::Rootless { uid: 1000, gid: 100 });
        assert_eq!(namespaces(&value), ["pid", "ipc", "uts", "mount", "user", "cgroup"]);
        assert_eq!(
            value["linux"]["uidMappings"],
            serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 1}])
        );
        assert_eq!(value["linux"]["gidMappings"][0]["hostID"], 100);
        assert_eq!(value["linux"].get("resources"), None);
        assert_eq!(value["mounts"][2]["options"].as_array().unwrap().len(), 5);
        assert_eq!(value["mounts"][5]["options"][0], "rbind");
    }

    #[test]
    fn an_existing_configuration_stays() {
        let directory = std::env::temp_dir().join(format!("it-template-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let bundle = crate::bundle::Bundle::open(&directory).unwrap();
        Template::Root.write(Cgroups::Other, bundle.directory()).unwrap();
        assert_eq!(bundle.config().unwrap().oci_version.as_deref(), Some(version::NEWEST));
        let error = Template::Root.write(Cgroups::Other, bundle.directory()).unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
