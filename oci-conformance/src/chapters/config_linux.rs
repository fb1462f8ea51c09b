//! config-linux.md: namespaces, devices, cgroups, resctrl, seccomp and the rest of `linux`.

use crate::cgroup::{self, Version};
use crate::config::Config as Configuration;
use crate::lab::Lab;
use crate::network::{self, Device};
use crate::row::Broken::{Command, Config, Ignores, Nothing};
use crate::row::Level::{Must, MustNot, Plain, Should, ShouldNot};
use crate::row::Refusal::{Create, CreateOrStart};
use crate::row::Test::{Impossible, Lab as InLab, Refused, Seen};
use crate::row::{Row, Stop, Verdict, check, fail, row, skip};
use crate::seen::Seen as Report;
use crate::socket::{self, Message};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A filesystem that the program finds.
macro_rules! filesystem {
    ($name:literal, $path:literal, $type:literal) => {
        row(
            concat!("config-linux.filesystems.", $name),
            Should,
            &[11],
            concat!($type, " is at ", $path),
            Seen(|_| {}, &[], |seen| seen.mount($path)?.is("/type", $type)),
            Config(|config| config.unmount($path)),
        )
    };
}

/// A namespace type: new where it is listed.
macro_rules! namespace {
    ($kind:literal, $link:literal, $given:expr) => {
        row(
            concat!("config-linux.namespaces.", $kind),
            Should,
            &[29],
            concat!("namespaces of type ", $kind, " are supported"),
            Seen($given, &[], |seen| {
                let own = fs::read_link(concat!("/proc/self/ns/", $link))?.display().to_string();
                seen.mentions(concat!("/ns/", $link), ":[")?;
                seen.is_not(concat!("/ns/", $link), own)
            }),
            Config(|config| {
                config.no_namespace($kind);
                config.remove("/linux/uidMappings");
                config.remove("/linux/gidMappings");
                config.remove("/linux/timeOffsets");
                config.remove("/hostname");
            }),
        )
    };
}

/// A device that every container has.
macro_rules! device {
    ($name:literal, $numbers:literal) => {
        row(
            concat!("config-linux.devices.default.", $name),
            Must,
            &[180],
            concat!("every container has /dev/", $name),
            Seen(
                |_| {},
                &[concat!("stat:/dev/", $name)],
                |seen| {
                    let answer = seen.answer(concat!("stat:/dev/", $name));
                    answer.is("/ok/type", "c")?;
                    answer.is("/ok/device", $numbers)
                },
            ),
            Config(|config| config.sabotage(&["unlink", concat!("/dev/", $name)])),
        )
    };
}

/// A file of a controller that a key of `resources` is written to.
macro_rules! limit {
    ($id:literal, $level:expr, $at:expr, $says:literal, $controller:literal, $key:literal, $value:tt, $v1:literal, $v2:literal, $then:expr) => {
        row(
            concat!("config-linux.", $id),
            $level,
            $at,
            $says,
            InLab(|lab| {
                cgroup::needs($controller)?;
                lab.config.set(concat!("/linux/resources/", $key), json!($value));
                lab.config.ask(&["stay"]);
                lab.run()?;
                let text = cgroup::read(lab.pid()?, $controller, $v1, $v2)?;
                let then: fn(&str) -> bool = $then;
                check(then(&text).then_some(()), || format!("the file says {text:?}"))
            }),
            Ignores,
        )
    };
}

/// A seccomp rule: `chmod` of /etc/file by the probe fails with a number or not.
macro_rules! filtered {
    ($id:literal, $level:expr, $at:expr, $says:literal, $rules:tt, $then:expr) => {
        row(
            concat!("config-linux.seccomp.", $id),
            $level,
            $at,
            $says,
            Seen(
                |config| {
                    config.set("/process/noNewPrivileges", json!(true));
                    config.set("/linux/seccomp", json!($rules));
                },
                &["chmod:/etc/file", "mkdir:/tmp/made"],
                $then,
            ),
            Ignores,
        )
    };
}

/// The state that a seccomp agent gets.
macro_rules! notified {
    ($id:literal, $level:expr, $at:expr, $says:literal, $then:expr) => {
        row(
            concat!("config-linux.seccomp.", $id),
            $level,
            $at,
            $says,
            InLab(|lab| {
                let messages = notify(lab)?;
                let then: fn(&Lab, &[Message]) -> Verdict = $then;
                then(lab, &messages)
            }),
            Ignores,
        )
    };
}

/// A sentence about resctrl: skipped where there is none.
macro_rules! resctrl {
    ($id:literal, $level:expr, $at:expr, $says:literal, $rdt:tt, $then:expr) => {
        row(
            concat!("config-linux.intel-rdt.", $id),
            $level,
            $at,
            $says,
            InLab(|lab| {
                let root = resctrl()?;
                let text = json!($rdt).to_string().replace("ID", &lab.id);
                lab.config.set("/linux/intelRdt", serde_json::from_str(&text).unwrap_or_default());
                lab.config.ask(&["stay"]);
                let then: fn(&mut Lab, &Path) -> Verdict = $then;
                then(lab, root)
            }),
            Ignores,
        )
    };
}

/// The rows of this chapter.
pub(super) const ROWS: &[&[Row]] =
    &[NAMESPACES, DEVICES, NETWORK, CGROUPS, RESOURCES, RESCTRL, SECCOMP, REST];

const NAMESPACES: &[Row] = &[
    filesystem!("proc", "/proc", "proc"),
    filesystem!("sys", "/sys", "sysfs"),
    filesystem!("pts", "/dev/pts", "devpts"),
    filesystem!("shm", "/dev/shm", "tmpfs"),
    row(
        "config-linux.namespaces.type",
        Must,
        &[29],
        "a namespace without a type is an error",
        Refused(Create, |config| config.set("/linux/namespaces/-", json!({}))),
        Ignores,
    ),
    namespace!("pid", "pid", |_| {}),
    namespace!("network", "net", |_| {}),
    namespace!("mount", "mnt", |_| {}),
    namespace!("ipc", "ipc", |_| {}),
    namespace!("uts", "uts", |_| {}),
    namespace!("user", "user", |config| config.user_namespace(100_000)),
    namespace!("cgroup", "cgroup", |config| config.namespace("cgroup", None)),
    namespace!("time", "time", |config| config.namespace("time", None)),
    row(
        "config-linux.namespaces.path-absolute",
        Must,
        &[39],
        "a relative path of a namespace is an error",
        Refused(Create, |config| config.namespace("network", Some("proc/self/ns/net"))),
        Ignores,
    ),
    row(
        "config-linux.namespaces.path",
        Must,
        &[40],
        "the program is in the namespace of path",
        InLab(|lab| joined(lab, "network", "net")),
        Config(|config| {
            if config.at("/linux/namespaces/4/path").is_string() {
                config.namespace("network", None)
            }
        }),
    ),
    row(
        "config-linux.namespaces.path-ipc-uts",
        Must,
        &[40],
        "the program is in the namespaces of several paths",
        InLab(|lab| joined(lab, "ipc", "ipc")),
        Config(|config| {
            if config.at("/linux/namespaces/4/path").is_string() {
                config.namespace("ipc", None)
            }
        }),
    ),
    row(
        "config-linux.namespaces.path-type",
        Must,
        &[41],
        "a path of a namespace of another type is an error",
        Refused(Create, |config| config.namespace("network", Some("/proc/self/ns/ipc"))),
        Ignores,
    ),
    row(
        "config-linux.namespaces.path-missing",
        Must,
        &[41],
        "a path where no namespace is is an error",
        Refused(Create, |config| config.namespace("network", Some("/dev/null"))),
        Ignores,
    ),
    row(
        "config-linux.namespaces.new",
        Must,
        &[43],
        "without a path the namespace is new",
        Seen(
            |_| {},
            &[],
            |seen| {
                ["pid", "net", "ipc", "uts", "mnt"].iter().try_for_each(|kind| {
                    let own = fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string();
                    seen.is_not(&format!("/ns/{kind}"), own)
                })
            },
        ),
        Config(|config| config.no_namespace("ipc")),
    ),
    row(
        "config-linux.namespaces.inherited",
        Must,
        &[45],
        "a type that is not listed is the runtime's own namespace",
        Seen(
            |config| config.no_namespace("ipc"),
            &[],
            |seen| seen.is("/ns/ipc", fs::read_link("/proc/self/ns/ipc")?.display().to_string()),
        ),
        Ignores,
    ),
    row(
        "config-linux.namespaces.twice",
        Must,
        &[46],
        "a type that is listed twice is an error",
        Refused(Create, |config| config.set("/linux/namespaces/-", json!({"type": "ipc"}))),
        Ignores,
    ),
    row(
        "config-linux.mappings.container-id",
        Must,
        &[88],
        "containerID is where the ids begin inside",
        Seen(|config| config.user_namespace(100_000), &[], |seen| seen.is("/uid_map", "0 100000 65536")),
        Config(|config| config.set("/linux/uidMappings/0/containerID", json!(1))),
    ),
    row(
        "config-linux.mappings.host-id",
        Must,
        &[89],
        "hostID is where the ids begin outside",
        Seen(|config| config.user_namespace(100_000), &[], |seen| seen.is("/uid_map", "0 100000 65536")),
        Config(|config| config.set("/linux/uidMappings/0/hostID", json!(200_000))),
    ),
    row(
        "config-linux.mappings.size",
        Must,
        &[90],
        "size is how many ids there are",
        Seen(|config| config.user_namespace(100_000), &[], |seen| seen.is("/gid_map", "0 100000 65536")),
        Config(|config| config.set("/linux/gidMappings/0/size", json!(10))),
    ),
    row(
        "config-linux.mappings.ownership",
        ShouldNot,
        &[92],
        "the mapping changes no owner in the root filesystem",
        InLab(|lab| {
            lab.config.user_namespace(100_000);
            lab.see(&[])?;
            let uid = fs::metadata(lab.rootfs("etc/file"))?.uid();
            check((uid == 0).then_some(()), || format!("/etc/file belongs to {uid} now"))
        }),
        Command(|call| {
            if call.command() == "create" {
                drop(std::os::unix::fs::chown(call.bundle().join("rootfs/etc/file"), Some(100_000), None));
            }
            None
        }),
    ),
    row(
        "config-linux.time-offsets",
        Plain,
        &[116],
        "timeOffsets are the offsets of the time namespace",
        Seen(
            |config| {
                config.namespace("time", None);
                config.set("/linux/timeOffsets", json!({"boottime": {"secs": 4321, "nanosecs": 0}}));
            },
            &[],
            |seen| seen.mentions("/timens", "4321"),
        ),
        Ignores,
    ),
];

const DEVICES: &[Row] = &[
    row(
        "config-linux.devices.available",
        Must,
        &[127],
        "a listed device is in the container",
        Seen(|config| test_device(config, "c"), &["stat:/dev/it"], |seen| seen.could("stat:/dev/it")),
        Ignores,
    ),
    row(
        "config-linux.devices.type",
        Must,
        &[132],
        "type is what kind of node it is: c, u and p",
        Seen(
            |config| {
                test_device(config, "c");
                config.set(
                    "/linux/devices/-",
                    json!({"type": "u", "path": "/dev/it-u", "major": 1, "minor": 7}),
                );
                config.set("/linux/devices/-", json!({"type": "p", "path": "/dev/it-p"}));
            },
            &["stat:/dev/it", "stat:/dev/it-u", "stat:/dev/it-p"],
            |seen| {
                seen.answer("stat:/dev/it").is("/ok/type", "c")?;
                seen.answer("stat:/dev/it-u").is("/ok/type", "c")?;
                seen.answer("stat:/dev/it-p").is("/ok/type", "p")
            },
        ),
        Ignores,
    ),
    row(
        "config-linux.devices.type-b",
        Must,
        &[132],
        "type b is a block device",
        Seen(
            |config| {
                config
                    .set("/linux/devices", json!([{"type": "b", "path": "/dev/it", "major": 7, "minor": 99}]))
            },
            &["stat:/dev/it"],
            |seen| seen.answer("stat:/dev/it").is("/ok/type", "b"),
        ),
        Ignores,
    ),
    row(
        "config-linux.devices.path",
        Must,
        &[134],
        "path is where it is, /dev or not",
        Seen(
            |config| {
                config
                    .set("/linux/devices", json!([{"type": "c", "path": "/tmp/it", "major": 1, "minor": 5}]))
            },
            &["byte:/tmp/it"],
            |seen| seen.could("byte:/tmp/it"),
        ),
        Ignores,
    ),
    row(
        "config-linux.devices.other-file",
        Must,
        &[135],
        "a file at path that is not that device is an error",
        Refused(Create, |config| {
            config.set("/linux/devices", json!([{"type": "c", "path": "/etc/file", "major": 1, "minor": 5}]));
        }),
        Ignores,
    ),
    row(
        "config-linux.devices.numbers",
        Must,
        &[137],
        "major and minor are the device's numbers",
        Seen(
            |config| test_device(config, "c"),
            &["stat:/dev/it"],
            |seen| seen.answer("stat:/dev/it").is("/ok/device", "1:5"),
        ),
        Config(|config| config.set("/linux/devices/0/minor", json!(7))),
    ),
    row(
        "config-linux.devices.mode",
        Plain,
        &[138],
        "fileMode is the node's mode",
        Seen(
            |config| test_device(config, "c"),
            &["stat:/dev/it"],
            |seen| seen.answer("stat:/dev/it").is("/ok/mode", "604"),
        ),
        Config(|config| config.set("/linux/devices/0/fileMode", json!(0o600))),
    ),
    row(
        "config-linux.devices.uid",
        Plain,
        &[140],
        "uid is the node's owner",
        Seen(
            |config| test_device(config, "c"),
            &["stat:/dev/it"],
            |seen| seen.answer("stat:/dev/it").is("/ok/uid", 11),
        ),
        Config(|config| config.remove("/linux/devices/0/uid")),
    ),
    row(
        "config-linux.devices.gid",
        Plain,
        &[141],
        "gid is the node's group",
        Seen(
            |config| test_device(config, "c"),
            &["stat:/dev/it"],
            |seen| seen.answer("stat:/dev/it").is("/ok/gid", 12),
        ),
        Config(|config| config.remove("/linux/devices/0/gid")),
    ),
    row(
        "config-linux.devices.distinct",
        ShouldNot,
        &[143],
        "devices with different numbers are different devices",
        Seen(
            |config| {
                test_device(config, "c");
                config.set(
                    "/linux/devices/-",
                    json!({"type": "c", "path": "/dev/it2", "major": 1, "minor": 7}),
                );
            },
            &["stat:/dev/it", "stat:/dev/it2"],
            |seen| {
                seen.answer("stat:/dev/it").is("/ok/device", "1:5")?;
                seen.answer("stat:/dev/it2").is("/ok/device", "1:7")
            },
        ),
        Config(|config| config.set("/linux/devices/1/minor", json!(5))),
    ),
    device!("null", "1:3"),
    device!("zero", "1:5"),
    device!("full", "1:7"),
    device!("random", "1:8"),
    device!("urandom", "1:9"),
    device!("tty", "5:0"),
    row(
        "config-linux.devices.default.ptmx",
        Must,
        &[180],
        "/dev/ptmx is that of the container's own devpts",
        Seen(
            |_| {},
            &["stat:/dev/ptmx", "open:/dev/ptmx", "list:/dev/pts"],
            |seen| {
                seen.could("open:/dev/ptmx")?;
                let answer = seen.answer("stat:/dev/ptmx");
                let link = answer.text("/ok/link");
                check((link.ends_with("pts/ptmx") || answer.text("/ok/type") == "c").then_some(()), || {
                    answer.0.to_string()
                })
            },
        ),
        Config(|config| config.sabotage(&["unlink", "/dev/ptmx"])),
    ),
    row(
        "config-linux.devices.default.console",
        Must,
        &[180],
        "with a terminal /dev/console is that terminal",
        InLab(|lab| {
            lab.config.set("/process/terminal", json!(true));
            lab.config.ask(&["stat:/dev/console"]);
            let seen = super::config::see_terminal(lab)?;
            seen.answer("stat:/dev/console").is("/ok/type", "c")?;
            seen.mount("/dev/console")?.is("/type", "devpts")
        }),
        Config(|config| config.sabotage(&["umount", "/dev/console"])),
    ),
];

const NETWORK: &[Row] = &[
    row(
        "config-linux.net-devices.moved",
        Must,
        &[214],
        "a listed network device is in the container",
        InLab(|lab| with_device(lab, "", |seen, name| seen.has("/net", name))),
        Ignores,
    ),
    row(
        "config-linux.net-devices.possible",
        Must,
        &[224],
        "a network device that is not there is an error",
        Refused(Create, |config| config.set("/linux/netDevices", json!({"it-missing0": {}}))),
        Ignores,
    ),
    row(
        "config-linux.net-devices.name-taken",
        Must,
        &[226],
        "a name that the container has already is an error",
        InLab(|lab| {
            let device = Device::pair(&device_name(lab))?;
            lab.config.set("/linux/netDevices", json!({device.0.as_str(): {"name": "lo"}}));
            lab.refuses()
        }),
        Ignores,
    ),
    row(
        "config-linux.net-devices.template",
        Must,
        &[228],
        "a name with %d is completed by the kernel",
        InLab(|lab| with_device(lab, "it%d", |seen, _| seen.has("/net", "it0"))),
        Ignores,
    ),
    row(
        "config-linux.net-devices.addresses",
        Must,
        &[232],
        "a moved device keeps its permanent global addresses",
        InLab(|lab| {
            with_device(lab, "", |seen, _| {
                seen.answer("read:/proc/net/fib_trie").mentions("/ok", "192.0.2.7")
            })
        }),
        Ignores,
    ),
    row(
        "config-linux.net-devices.up",
        Must,
        &[238],
        "a moved device is up",
        InLab(|lab| with_device(lab, "it%d", |seen, _| seen.could("up:it0"))),
        Ignores,
    ),
    row(
        "config-linux.net-devices.lifecycle",
        MustNot,
        &[244],
        "the runtime does not manage a moved device afterwards",
        Impossible("what a runtime does not do at some later time cannot be waited for"),
        Nothing,
    ),
    row(
        "config-linux.net-devices.not-back",
        MustNot,
        &[251],
        "a moved device does not come back: the kernel ends it with its namespace",
        InLab(|lab| {
            let device = Device::pair(&device_name(lab))?;
            lab.config.set("/linux/netDevices", json!({device.0.as_str(): {}}));
            lab.see(&["stay"])?.has("/net", &device.0)?;
            lab.end()?;
            lab.until("the status stopped", || {
                lab.state().is_ok_and(|state| state.text("/status") == "stopped")
            })?;
            lab.delete()?;
            let back = fs::exists(format!("/sys/class/net/{}", device.0))?;
            check((!back).then_some(()), || format!("{} is on the host again", device.0))
        }),
        Command(|call| {
            if call.command() == "delete" && !call.has("--force") {
                network::make(&device_of(call.last()));
            }
            None
        }),
    ),
];

const CGROUPS: &[Row] = &[
    row(
        "config-linux.cgroups.fit",
        Must,
        &[303],
        "create where the cgroup is not empty ends: with an error, or with a container",
        InLab(|lab| {
            lab.config.ask(&["stay"]);
            lab.run()?;
            let mut second = lab.sibling()?;
            second.config.set("/linux/cgroupsPath", json!(format!("/{}", lab.id)));
            let done = second.try_create()?;
            check(done.status.is_some().then_some(()), || "create did not end".to_owned())?;
            if done.ok() { second.pid().map(|_| ()) } else { Ok(()) }
        }),
        Command(|call| {
            let text = fs::read_to_string(call.bundle().join("config.json")).unwrap_or_default();
            if text.contains(&format!("\"/{}\"", call.last())) { None } else { call.forgets("create") }
        }),
    ),
    row(
        "config-linux.cgroups.path-form",
        Must,
        &[315],
        "cgroupsPath may be relative",
        InLab(|lab| {
            let path = format!("it-relative/{}", lab.id);
            lab.config.set("/linux/cgroupsPath", json!(path));
            lab.config.ask(&["stay"]);
            lab.run()?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", lab.pid()?))?;
            let found = text.lines().any(|line| line.ends_with(&path));
            lab.end()?;
            check(found.then_some(()), || format!("the groups are {text}"))
        }),
        Ignores,
    ),
    row(
        "config-linux.cgroups.path-absolute",
        Must,
        &[317],
        "an absolute cgroupsPath begins at the mount point",
        InLab(|lab| {
            let path = format!("/it-parent/{}", lab.id);
            lab.config.set("/linux/cgroupsPath", json!(path));
            lab.config.ask(&["stay"]);
            lab.run()?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", lab.pid()?))?;
            let found = text.lines().any(|line| line.rsplit(':').next() == Some(&path));
            check(found.then_some(()), || format!("the groups are {text}"))
        }),
        Ignores,
    ),
    row(
        "config-linux.cgroups.path-same",
        Must,
        &[320],
        "the same cgroupsPath is the same place each time",
        InLab(|lab| {
            lab.config.set("/linux/cgroupsPath", json!(format!("it-relative/{}", lab.id)));
            lab.config.ask(&["stay"]);
            let mut places = Vec::new();
            for _ in 0..2 {
                lab.run()?;
                places.push(fs::read_to_string(format!("/proc/{}/cgroup", lab.pid()?))?);
                lab.end()?;
                lab.until("the status stopped", || {
                    lab.state().is_ok_and(|state| state.text("/status") == "stopped")
                })?;
                lab.delete()?;
            }
            let same = places.first() == places.last();
            check(same.then_some(()), || format!("{places:?}"))
        }),
        Command(|call| {
            if fs::exists(call.place().join("once")).unwrap_or_default() {
                call.edit(|config| config.set("/linux/cgroupsPath", json!("/it-parent/elsewhere")));
            } else if call.command() == "create" {
                drop(fs::write(call.place().join("once"), ""));
            }
            None
        }),
    ),
    row(
        "config-linux.cgroups.path-invalid",
        Must,
        &[322],
        "a cgroupsPath that the runtime calls invalid is an error; none leads out of the hierarchy",
        InLab(|lab| {
            lab.config.set("/linux/cgroupsPath", json!(format!("/../../../../{}", lab.id)));
            lab.config.ask(&["stay"]);
            let done = lab.try_create()?;
            if !done.ok() {
                return Ok(());
            }
            let text = fs::read_to_string(format!("/proc/{}/cgroup", lab.pid()?))?;
            check((!text.contains("..")).then_some(()), || format!("the groups are {text}"))
        }),
        Command(|call| call.forgets("create")),
    ),
    row(
        "config-linux.cgroups.owner-v1",
        ShouldNot,
        &[343],
        "in version 1 the owner of the cgroup does not change",
        InLab(|lab| {
            if !cgroup::has_v1() {
                return skip("no version 1 hierarchy is mounted");
            }
            cgroup_mount(&mut lab.config, "rw");
            let dir = delegated(lab, "pids")?;
            owner_is(&dir, 0)
        }),
        Command(chown_groups),
    ),
    row(
        "config-linux.cgroups.owner-without-namespace",
        ShouldNot,
        &[347],
        "without a new cgroup namespace the owner does not change",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "rw");
            lab.config.no_namespace("cgroup");
            let dir = delegated(lab, "")?;
            owner_is(&dir, 0)
        }),
        Command(chown_groups),
    ),
    row(
        "config-linux.cgroups.owner-writable",
        Should,
        &[352],
        "with a cgroup namespace and a writable mount the group belongs to the program's user",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "rw");
            let dir = delegated(lab, "")?;
            owner_is(&dir, 100_000)
        }),
        Ignores,
    ),
    row(
        "config-linux.cgroups.owner-read-only",
        ShouldNot,
        &[361],
        "with a read-only mount, or none, the owner does not change",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "ro");
            let dir = delegated(lab, "")?;
            owner_is(&dir, 0)
        }),
        Command(chown_groups),
    ),
    row(
        "config-linux.cgroups.owner-files",
        Should,
        &[363],
        "only the directory and the files that the kernel lists change their owner",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "rw");
            let dir = delegated(lab, "")?;
            owner_is(&dir.join("cgroup.procs"), 100_000)?;
            owner_is(&dir.join("cgroup.max.depth"), 0)
        }),
        Ignores,
    ),
    row(
        "config-linux.cgroups.owner-missing-files",
        MustNot,
        &[368],
        "a listed file that the group does not have fails nothing",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "rw");
            delegated(lab, "").map(|_| ())
        }),
        Command(|call| call.refuses("create")),
    ),
    row(
        "config-linux.cgroups.owner-existing-files",
        Should,
        &[368],
        "the listed files that the group has change their owner",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "rw");
            let dir = delegated(lab, "")?;
            owner_is(&dir.join("cgroup.subtree_control"), 100_000)?;
            owner_is(&dir.join("cgroup.threads"), 100_000)
        }),
        Ignores,
    ),
    row(
        "config-linux.cgroups.owner-fallback",
        Must,
        &[372],
        "without the kernel's list three names are taken",
        Impossible("every kernel that runs here has the list, and it cannot be taken away"),
        Nothing,
    ),
    row(
        "config-linux.cgroups.owner-others",
        ShouldNot,
        &[380],
        "no other file changes its owner",
        InLab(|lab| {
            pure_v2()?;
            cgroup_mount(&mut lab.config, "rw");
            let dir = delegated(lab, "")?;
            let listed = fs::read_to_string("/sys/kernel/cgroup/delegate")?;
            for entry in fs::read_dir(&dir)?.flatten().filter(|entry| entry.path().is_file()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !listed.lines().any(|line| line == name) {
                    owner_is(&entry.path(), 0)?;
                }
            }
            Ok(())
        }),
        Command(chown_groups),
    ),
];

const RESOURCES: &[Row] = &[
    row(
        "config-linux.devices-list.order",
        Must,
        &[405],
        "entries of the device list apply in the listed order",
        Seen(
            |config| allow_devices(config, &[(false, None, "rwm"), (true, Some(237), "rwm")]),
            &[CONTROL, TUN],
            |seen| {
                seen.could(CONTROL)?;
                seen.errno(TUN, libc::EPERM)
            },
        ),
        Config(|config| allow_devices(config, &[(true, Some(237), "rwm"), (false, None, "rwm")])),
    ),
    row(
        "config-linux.devices-list.allow",
        Must,
        &[409],
        "allow says whether the devices may be used",
        Seen(
            |config| allow_devices(config, &[(true, None, "rwm"), (false, Some(237), "rwm")]),
            &[CONTROL, TUN],
            |seen| {
                seen.errno(CONTROL, libc::EPERM)?;
                seen.could(TUN)
            },
        ),
        Ignores,
    ),
    row(
        "config-linux.devices-list.access",
        Plain,
        &[414],
        "access says what may be done with them",
        Seen(
            |config| allow_devices(config, &[(false, None, "rwm"), (true, Some(237), "rm")]),
            &[CONTROL, "open:/tmp/it-control"],
            |seen| {
                seen.could(CONTROL)?;
                seen.errno("open:/tmp/it-control", libc::EPERM)
            },
        ),
        Ignores,
    ),
    limit!(
        "memory.limit",
        Plain,
        &[449],
        "memory.limit is the limit of memory",
        "memory",
        "memory/limit",
        67_108_864,
        "memory.limit_in_bytes",
        "memory.max",
        |text| text == "67108864"
    ),
    limit!(
        "memory.reservation",
        Plain,
        &[450],
        "memory.reservation is the soft limit of memory",
        "memory",
        "memory/reservation",
        33_554_432,
        "memory.soft_limit_in_bytes",
        "memory.low",
        |text| text == "33554432"
    ),
    row(
        "config-linux.memory.kernel",
        ShouldNot,
        &[452],
        "memory.kernel should not be used",
        Impossible("the sentence advises the author of a configuration"),
        Nothing,
    ),
    row(
        "config-linux.memory.kernel-tcp",
        ShouldNot,
        &[453],
        "memory.kernelTCP should not be used",
        Impossible("the sentence advises the author of a configuration"),
        Nothing,
    ),
    row(
        "config-linux.memory.check-before-update",
        Must,
        &[466],
        "an update to less memory than is in use is rejected with checkBeforeUpdate",
        InLab(|lab| {
            cgroup::needs("memory")?;
            lab.config.set("/linux/resources/memory", json!({"limit": 67_108_864}));
            lab.config.ask(&["stay"]);
            lab.run()?;
            lab.report()?;
            let file = lab.aside_text("update.json");
            fs::write(&file, json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}).to_string())?;
            let done = lab.call(&["update", "--resources", &file, &lab.id.clone()])?;
            check((!done.ok()).then_some(()), || "update succeeded".to_owned())
        }),
        Command(|call| call.forgives("update")),
    ),
    limit!(
        "cpu.shares",
        Plain,
        &[492],
        "cpu.shares is the weight of the group",
        "cpu",
        "cpu/shares",
        512,
        "cpu.shares",
        "cpu.weight",
        |text| text == "512" || text.parse().is_ok_and(|weight: u32| (1..100).contains(&weight))
    ),
    limit!("cpu.quota", Must, &[494], "cpu.quota is the time that the group has in a period", "cpu", "cpu",
        {"quota": 50_000, "period": 100_000, "burst": 20_000}, "cpu.cfs_quota_us", "cpu.max", |text| text.starts_with("50000")),
    limit!("cpu.burst", Must, &[496], "cpu.burst, no larger than the quota, is the time that may be saved", "cpu", "cpu",
        {"quota": 50_000, "period": 100_000, "burst": 20_000}, "cpu.cfs_burst_us", "cpu.max.burst", |text| text == "20000"),
    limit!("cpu.period", Plain, &[497], "cpu.period is the length of a period", "cpu", "cpu",
        {"quota": 25_000, "period": 50_000}, "cpu.cfs_period_us", "cpu.max", |text| text.ends_with("50000")),
    limit!(
        "cpu.cpus",
        Plain,
        &[500],
        "cpu.cpus is where the group may run",
        "cpuset",
        "cpu/cpus",
        "0",
        "cpuset.cpus",
        "cpuset.cpus",
        |text| text == "0"
    ),
    row(
        "config-linux.cpu.mems",
        Plain,
        &[501],
        "cpu.mems is which memory nodes the group has",
        InLab(|lab| {
            cgroup::needs("cpuset")?;
            lab.config.set("/linux/resources/cpu/mems", json!("0"));
            lab.create()?;
            let text = cgroup::read(lab.pid()?, "cpuset", "cpuset.mems", "cpuset.mems")?;
            check((text == "0").then_some(()), || format!("cpuset.mems is {text}"))
        }),
        Config(|config| config.set("/linux/resources/cpu/mems", json!("4095"))),
    ),
    row(
        "config-linux.block-io.weight-device",
        Must,
        &[533],
        "an entry of weightDevice names a device by its numbers",
        InLab(|lab| {
            throttled(lab, "weightDevice", "weight", 300, "blkio.bfq.weight_device", "io.bfq.weight")
        }),
        Ignores,
    ),
    row(
        "config-linux.block-io.weight-needed",
        Must,
        &[538],
        "an entry of weightDevice without a weight is an error, or has no effect",
        InLab(|lab| {
            lab.config.set("/linux/resources/blockIO", json!({"weightDevice": [{"major": 7, "minor": 0}]}));
            let done = lab.try_create()?;
            if done.ok() { lab.pid().map(|_| ()) } else { lab.nothing_left() }
        }),
        Command(|call| call.forgets("create")),
    ),
    row(
        "config-linux.block-io.bps-device",
        Must,
        &[542],
        "an entry of throttleReadBpsDevice names a device by its numbers",
        InLab(|lab| {
            throttled(
                lab,
                "throttleReadBpsDevice",
                "rate",
                1_048_576,
                "blkio.throttle.read_bps_device",
                "io.max",
            )
        }),
        Ignores,
    ),
    row(
        "config-linux.block-io.bps-rate",
        Must,
        &[544],
        "rate of throttleWriteBpsDevice is the limit in bytes per second",
        InLab(|lab| {
            throttled(
                lab,
                "throttleWriteBpsDevice",
                "rate",
                2_097_152,
                "blkio.throttle.write_bps_device",
                "io.max",
            )
        }),
        Ignores,
    ),
    row(
        "config-linux.block-io.iops-device",
        Must,
        &[548],
        "an entry of throttleReadIOPSDevice names a device by its numbers",
        InLab(|lab| {
            throttled(lab, "throttleReadIOPSDevice", "rate", 300, "blkio.throttle.read_iops_device", "io.max")
        }),
        Ignores,
    ),
    row(
        "config-linux.block-io.iops-rate",
        Must,
        &[550],
        "rate of throttleWriteIOPSDevice is the limit in operations per second",
        InLab(|lab| {
            throttled(
                lab,
                "throttleWriteIOPSDevice",
                "rate",
                400,
                "blkio.throttle.write_iops_device",
                "io.max",
            )
        }),
        Ignores,
    ),
    limit!("hugepages.page-size", Must, &[608], "pageSize names which pages are limited", "hugetlb", "hugepageLimits",
        [{"pageSize": "2MB", "limit": 4_194_304}], "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max", |text| text == "4194304"),
    limit!("hugepages.limit", Must, &[614], "limit is the limit in bytes", "hugetlb", "hugepageLimits",
        [{"pageSize": "2MB", "limit": 8_388_608}], "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max", |text| text == "8388608"),
    limit!("network.name", Must, &[641], "an entry of priorities names an interface", "net_prio", "network",
        {"priorities": [{"name": "lo", "priority": 7}]}, "net_prio.ifpriomap", "net_prio.ifpriomap", |text| text.contains("lo 7")),
    limit!("network.priority", Must, &[642], "priority is the interface's priority", "net_prio", "network",
        {"priorities": [{"name": "lo", "priority": 5}]}, "net_prio.ifpriomap", "net_prio.ifpriomap", |text| text.contains("lo 5")),
    limit!(
        "pids.limit",
        Plain,
        &[669],
        "pids.limit is how many tasks there may be",
        "pids",
        "pids/limit",
        32_771,
        "pids.max",
        "pids.max",
        |text| text == "32771"
    ),
    row(
        "config-linux.pids.zero",
        Should,
        &[671],
        "pids.limit 0 is a limit of 0",
        InLab(|lab| {
            cgroup::needs("pids")?;
            lab.config.set("/linux/resources/pids", json!({"limit": 0}));
            lab.create()?;
            let text = cgroup::read(lab.pid()?, "pids", "pids.max", "pids.max")?;
            check((text == "0").then_some(()), || format!("pids.max is {text}"))
        }),
        Ignores,
    ),
    limit!("rdma.handles", Must, &[692], "an entry of rdma limits handles or objects", "rdma", "rdma",
        {"mlx5_1": {"hcaHandles": 3}}, "rdma.max", "rdma.max", |text| text.contains("hca_handle=3")),
    row(
        "config-linux.unified.controllers",
        Must,
        &[717],
        "the controllers that unified needs are enabled for the group",
        InLab(|lab| {
            pure_v2()?;
            let available = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
            let Some(first) = available.split_whitespace().find(|name| ["pids", "memory"].contains(name))
            else {
                return skip("the unified hierarchy offers neither pids nor memory here");
            };
            lab.config.set(&format!("/linux/resources/unified/{first}.max"), json!("10000000"));
            lab.create()?;
            let text = fs::read_to_string(cgroup::of(lab.pid()?, "")?.join(format!("{first}.max")))?;
            check((text.trim() != "max").then_some(()), || format!("{first}.max is {text}"))
        }),
        Ignores,
    ),
    row(
        "config-linux.unified.unknown",
        Must,
        &[719],
        "a file that the runtime does not know is written all the same",
        InLab(|lab| {
            pure_v2()?;
            lab.config.set("/linux/resources/unified", json!({"cgroup.max.descendants": "7"}));
            lab.create()?;
            let text = fs::read_to_string(cgroup::of(lab.pid()?, "")?.join("cgroup.max.descendants"))?;
            check((text.trim() == "7").then_some(()), || format!("cgroup.max.descendants is {text}"))
        }),
        Ignores,
    ),
    row(
        "config-linux.unified.absent",
        Must,
        &[721],
        "unified with a controller that is not there is an error",
        InLab(|lab| {
            pure_v2()?;
            lab.config.set("/linux/resources/unified", json!({"itnone.max": "7"}));
            lab.refuses()
        }),
        Ignores,
    ),
    row(
        "config-linux.unified.no-conversion",
        Must,
        &[734],
        "a version 1 setting that version 2 has no word for is an error",
        InLab(|lab| {
            pure_v2()?;
            lab.config.set("/linux/resources/network", json!({"classID": 1_048_577}));
            lab.refuses()
        }),
        Ignores,
    ),
];

const RESCTRL: &[Row] = &[
    resctrl!("tasks", Must, &[739], "the process is in the tasks file of the group", {"closID": "ID", "schemata": []}, |lab, root| {
        make_group(lab, root)?;
        lab.run()?;
        has_task(lab, &root.join(&lab.id))
    }),
    row(
        "config-linux.intel-rdt.not-mounted",
        Must,
        &[740],
        "intelRdt where resctrl is not mounted is an error",
        InLab(|lab| {
            if resctrl().is_ok() {
                return skip("resctrl is mounted here");
            }
            lab.config.set("/linux/intelRdt", json!({"closID": "it"}));
            lab.refuses()
        }),
        Ignores,
    ),
    row(
        "config-linux.intel-rdt.untouched",
        MustNot,
        &[742],
        "without intelRdt nothing of resctrl changes",
        InLab(|lab| {
            let root = resctrl()?;
            lab.run()?;
            check((!root.join(&lab.id).exists()).then_some(()), || "a group was made".to_owned())
        }),
        Config(|config| config.set("/linux/intelRdt", json!({"schemata": []}))),
    ),
    resctrl!("default-group", Must, &[747], "closID / is the root of resctrl", {"closID": "/"}, |lab, root| {
        lab.run()?;
        has_task(lab, root)
    }),
    resctrl!("l3-form", Should, &[751, 751], "a value of l3CacheSchema is one line that begins with L3:", {"closID": "ID", "l3CacheSchema": "MB:0=10"},
        |lab, _| lab.refuses()),
    resctrl!("mb-prefix", Must, &[753], "a value of memBwSchema begins with MB:", {"closID": "ID", "memBwSchema": "L3:0=f"},
        |lab, _| lab.refuses()),
    resctrl!("mb-newline", MustNot, &[753], "a value of memBwSchema has no newline", {"closID": "ID", "memBwSchema": "MB:0=10\nMB:1=10"},
        |lab, _| lab.refuses()),
    resctrl!("schemata-newline", MustNot, &[754], "an element of schemata has no newline", {"closID": "ID", "schemata": ["L3:0=f\nL3:1=f"]},
        |lab, _| lab.refuses()),
    resctrl!("rules", Must, &[757], "the rules on parameters hold", {"schemata": []}, |lab, root| {
        lab.run()?;
        has_task(lab, &root.join(&lab.id))
    }),
    resctrl!("both", Must, &[759, 759], "l3CacheSchema is written first and memBwSchema last", {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50"},
        |lab, root| written(lab, root, &["L3:", "MB:"])),
    resctrl!("either", Must, &[761], "one of both is written", {"l3CacheSchema": "L3:0=f"}, |lab, root| written(lab, root, &["L3:"])),
    resctrl!("schemata", Must, &[763], "schemata is written", {"schemata": ["L3:0=f"]}, |lab, root| written(lab, root, &["L3:"])),
    resctrl!("no-schema", MustNot, &[765], "without a schema no schemata file is written", {"closID": "/"}, |lab, root| {
        let before = fs::read_to_string(root.join("schemata"))?;
        lab.run()?;
        let after = fs::read_to_string(root.join("schemata"))?;
        check((before == after).then_some(()), || "schemata has changed".to_owned())
    }),
    resctrl!("own-group", Must, &[767], "without closID the group has the container's id", {"schemata": []}, |lab, root| {
        lab.create()?;
        check(root.join(&lab.id).is_dir().then_some(()), || "there is no such group".to_owned())
    }),
    resctrl!("named-group", Must, &[770], "a closID that is not there is made", {"closID": "ID", "l3CacheSchema": "L3:0=f"}, |lab, root| {
        lab.create()?;
        check(root.join(&lab.id).is_dir().then_some(()), || "there is no such group".to_owned())
    }),
    resctrl!("mismatch", Must, &[771], "a closID that is there with another schema is an error", {"closID": "ID", "l3CacheSchema": "L3:0=1"},
    |lab, root| {
        make_group(lab, root)?;
        let done = lab.try_create()?;
        check((!done.ok()).then_some(()), || "create succeeded".to_owned())
    }),
    resctrl!("prepared", Must, &[773, 773], "a closID without a schema has to be there", {"closID": "ID"}, |lab, _| lab.refuses()),
    resctrl!("own-group-removed", Must, &[775], "a group that the runtime made for itself goes with the container", {"schemata": []}, |lab, root| {
        ended(lab)?;
        check((!root.join(&lab.id).exists()).then_some(()), || "the group is left".to_owned())
    }),
    resctrl!("named-group-stays", MustNot, &[777], "a group with a closID stays", {"closID": "ID", "l3CacheSchema": "L3:0=f"}, |lab, root| {
        ended(lab)?;
        let stays = root.join(&lab.id).is_dir();
        drop(fs::remove_dir(root.join(&lab.id)));
        check(stays.then_some(()), || "the group is gone".to_owned())
    }),
    resctrl!("monitoring", Must, &[779, 780], "enableMonitoring makes a monitoring group with the container's id", {"closID": "/", "enableMonitoring": true},
    |lab, root| {
        lab.create()?;
        check(root.join("mon_groups").join(&lab.id).is_dir().then_some(()), || "there is no such group".to_owned())
    }),
    resctrl!("monitoring-removed", Must, &[783], "the monitoring group goes with the container", {"closID": "/", "enableMonitoring": true}, |lab, root| {
        ended(lab)?;
        check((!root.join("mon_groups").join(&lab.id).exists()).then_some(()), || "the group is left".to_owned())
    }),
    resctrl!("monitoring-fails", Must, &[785], "a monitoring group that cannot be made is an error", {"closID": "/", "enableMonitoring": true}, |lab, root| {
        let group = root.join("mon_groups").join(&lab.id);
        fs::create_dir(&group)?;
        let done = lab.try_create()?;
        drop(fs::remove_dir(&group));
        check((!done.ok()).then_some(()), || "create succeeded".to_owned())
    }),
];

const SECCOMP: &[Row] = &[
    filtered!("default-action", Must, &[885], "defaultAction is what happens to system calls without a rule",
        {"defaultAction": "SCMP_ACT_LOG"}, |seen| seen.is("/status/Seccomp", "2")),
    row(
        "config-linux.seccomp.default-errno",
        Must,
        &[888],
        "defaultErrnoRet with an action that has no number is an error",
        Refused(CreateOrStart, |config| {
            config.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}));
        }),
        Ignores,
    ),
    notified!(
        "listener.stream",
        Must,
        &[927],
        "listenerPath is a stream socket, and the runtime connects to it",
        |_, messages| { check((!messages.is_empty()).then_some(()), || "nothing came".to_owned()) }
    ),
    notified!(
        "listener.one-state",
        Must,
        &[928],
        "a connection carries one container process state",
        |_, messages| {
            let text: Vec<u8> = messages.iter().flat_map(|message| message.bytes.clone()).collect();
            let count = serde_json::Deserializer::from_slice(&text)
                .into_iter::<Value>()
                .filter(Result::is_ok)
                .count();
            check((count == 1).then_some(()), || format!("{count} states came"))
        }
    ),
    notified!("listener.not-reused", MustNot, &[929], "a connection is not used again", |_, messages| {
        let count = messages.iter().filter(|message| message.bytes.first() == Some(&b'{')).count();
        check((count == 1).then_some(()), || format!("{count} messages begin a state"))
    }),
    notified!("listener.closed", Must, &[929], "the connection is closed after the state", |_, messages| {
        let last = messages.last().is_some_and(|message| message.bytes.is_empty());
        check(last.then_some(()), || "the end did not come".to_owned())
    }),
    row(
        "config-linux.seccomp.listener.fails",
        Must,
        &[930],
        "a socket that cannot be sent to is an error",
        Refused(CreateOrStart, |config| config.set("/linux/seccomp", notify_profile("/nonexistent/it"))),
        Ignores,
    ),
    notified!("listener.fd", Must, &[935], "the state's descriptor is named seccompFd", |_, messages| {
        state_of(messages)?.is("/fds", json!(["seccompFd"]))
    }),
    row(
        "config-linux.seccomp.listener.metadata",
        MustNot,
        &[939],
        "listenerMetadata without listenerPath is an error",
        Refused(CreateOrStart, |config| {
            config.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}));
        }),
        Ignores,
    ),
    filtered!("names", Must, &[946], "names are the system calls of a rule",
    {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["fchmodat", "chmod", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]},
    |seen| {
        seen.errno("chmod:/etc/file", libc::EPERM)?;
        seen.could("mkdir:/tmp/made")
    }),
    row(
        "config-linux.seccomp.names-empty",
        Must,
        &[947],
        "a rule without a name is an error",
        Refused(CreateOrStart, |config| {
            let rule = json!({"names": [], "action": "SCMP_ACT_ERRNO"});
            config.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        }),
        Ignores,
    ),
    filtered!("action", Must, &[948], "action is what happens to those calls",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["fchmodat", "chmod", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]},
        |seen| seen.errno("chmod:/etc/file", 95)),
    row(
        "config-linux.seccomp.action-unknown",
        Must,
        &[948],
        "an unknown action is an error",
        Refused(CreateOrStart, |config| {
            let rule = json!({"names": ["chmod"], "action": "SCMP_ACT_NOTHING"});
            config.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        }),
        Ignores,
    ),
    row(
        "config-linux.seccomp.errno",
        Must,
        &[963],
        "errnoRet with an action that has no number is an error",
        Refused(CreateOrStart, |config| {
            let rule = json!({"names": ["chmod"], "action": "SCMP_ACT_KILL", "errnoRet": 1});
            config.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        }),
        Ignores,
    ),
    filtered!("args.index", Must, &[969], "index is which argument is compared",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": 416, "op": "SCMP_CMP_EQ"}]},
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 416, "op": "SCMP_CMP_EQ"}]}]},
        |seen| seen.errno("chmod:/etc/file", libc::EPERM)),
    filtered!("args.value", Must, &[970], "value is what it is compared with",
    {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": 417, "op": "SCMP_CMP_EQ"}]},
        {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 417, "op": "SCMP_CMP_EQ"}]}]},
    |seen| {
        seen.is("/status/Seccomp", "2")?;
        seen.could("chmod:/etc/file")
    }),
    filtered!("args.op", Must, &[972], "op is how it is compared",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": 417, "op": "SCMP_CMP_LT"}]},
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 417, "op": "SCMP_CMP_LT"}]}]},
        |seen| seen.errno("chmod:/etc/file", libc::EPERM)),
    notified!("state.payload", Must, &[1007], "the state is JSON in the payload", |_, messages| state_of(
        messages
    )
    .map(|_| ())),
    notified!("state.rights", Must, &[1007], "the descriptor comes with SCM_RIGHTS", |_, messages| {
        let count: usize = messages.iter().map(|message| message.descriptors.len()).sum();
        check((count == 1).then_some(()), || format!("{count} descriptors came"))
    }),
    notified!(
        "state.first-message",
        Must,
        &[1009],
        "descriptors come with the first message only",
        |_, messages| {
            let first = messages.first().map_or(0, |message| message.descriptors.len());
            let others: usize = messages.iter().skip(1).map(|message| message.descriptors.len()).sum();
            check((first == 1 && others == 0).then_some(()), || format!("{first} first and {others} later"))
        }
    ),
    notified!("state.version", Must, &[1013], "the state has the version it complies with", |_, messages| {
        let version = state_of(messages)?.text("/ociVersion");
        check((version.split('.').count() >= 3).then_some(()), || format!("ociVersion is {version:?}"))
    }),
    notified!(
        "state.pid",
        Must,
        &[1016],
        "the state has the container's pid as the host sees it",
        |lab, messages| {
            let state = state_of(messages)?;
            state.is("/pid", lab.pid()?)
        }
    ),
    notified!("state.state", Must, &[1018], "the state has the container's own state", |lab, messages| {
        let state = state_of(messages)?;
        state.is("/state/id", lab.id.as_str())?;
        state.is("/state/bundle", lab.bundle().display().to_string())
    }),
];

const REST: &[Row] = &[
    row(
        "config-linux.memory-policy.mode",
        Must,
        &[826],
        "memoryPolicy.mode is the policy of the process",
        Seen(
            |config| config.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"})),
            &[],
            |seen| seen.is("/policy", "bind:0"),
        ),
        Ignores,
    ),
    row(
        "config-linux.sysctl",
        Plain,
        &[862],
        "sysctl sets kernel parameters of the container",
        Seen(
            |config| config.set("/linux/sysctl", json!({"net.core.somaxconn": "333"})),
            &["read:/proc/sys/net/core/somaxconn"],
            |seen| seen.answer("read:/proc/sys/net/core/somaxconn").is("/ok", "333\n"),
        ),
        Ignores,
    ),
    row(
        "config-linux.propagation.shared",
        Plain,
        &[1050],
        "with rootfsPropagation shared the root is in a peer group of its own",
        Seen(
            |config| config.set("/linux/rootfsPropagation", json!("shared")),
            &[],
            |seen| seen.mount("/")?.mentions("/peers/0", "shared:"),
        ),
        Ignores,
    ),
    row(
        "config-linux.propagation.slave",
        Plain,
        &[1053],
        "with rootfsPropagation slave the root sends nothing to the host",
        Seen(
            |config| config.set("/linux/rootfsPropagation", json!("slave")),
            &[],
            |seen| {
                let peers = seen.mount("/")?.at("/peers").to_string();
                check((!peers.contains("shared:")).then_some(()), || format!("the root has {peers}"))
            },
        ),
        Config(|config| config.set("/linux/rootfsPropagation", json!("shared"))),
    ),
    row(
        "config-linux.propagation.private",
        Plain,
        &[1054],
        "with rootfsPropagation private the root has no peers",
        Seen(
            |config| config.set("/linux/rootfsPropagation", json!("private")),
            &[],
            |seen| seen.mount("/")?.is("/peers", json!([])),
        ),
        Config(|config| config.set("/linux/rootfsPropagation", json!("shared"))),
    ),
    row(
        "config-linux.propagation.unbindable",
        Plain,
        &[1055],
        "with rootfsPropagation unbindable the root cannot be bound",
        Seen(
            |config| config.set("/linux/rootfsPropagation", json!("unbindable")),
            &[],
            |seen| seen.mount("/")?.is("/peers/0", "unbindable"),
        ),
        Ignores,
    ),
    row(
        "config-linux.masked-paths",
        Plain,
        &[1067],
        "masked paths cannot be read",
        Seen(
            |config| config.set("/linux/maskedPaths", json!(["/etc/file", "/tmp"])),
            &["read:/etc/file", "list:/tmp", "create:/tmp/x"],
            |seen| {
                seen.answer("read:/etc/file").is("/ok", "")?;
                seen.answer("list:/tmp").is("/ok", json!([]))?;
                seen.could_not("create:/tmp/x")
            },
        ),
        Ignores,
    ),
    row(
        "config-linux.masked-paths.absolute",
        Must,
        &[1068],
        "masked paths are absolute paths of the container",
        Seen(
            |config| config.set("/linux/maskedPaths", json!(["/etc/file"])),
            &["read:/etc/file"],
            |seen| seen.answer("read:/etc/file").is("/ok", ""),
        ),
        Ignores,
    ),
    row(
        "config-linux.readonly-paths",
        Plain,
        &[1080],
        "read-only paths cannot be written",
        Seen(
            |config| config.set("/linux/readonlyPaths", json!(["/tmp", "/etc/file"])),
            &["create:/tmp/x", "append:/etc/file"],
            |seen| {
                seen.errno("create:/tmp/x", libc::EROFS)?;
                seen.errno("append:/etc/file", libc::EROFS)
            },
        ),
        Ignores,
    ),
    row(
        "config-linux.readonly-paths.absolute",
        Must,
        &[1081],
        "read-only paths are absolute paths of the container",
        Seen(
            |config| config.set("/linux/readonlyPaths", json!(["/etc"])),
            &["create:/etc/x"],
            |seen| seen.errno("create:/etc/x", libc::EROFS),
        ),
        Ignores,
    ),
    row(
        "config-linux.personality",
        Must,
        &[1108],
        "personality.domain is the execution domain",
        Seen(
            |config| config.set("/linux/personality", json!({"domain": "LINUX32"})),
            &[],
            |seen| {
                // PER_LINUX32 is 8: personality(2).
                seen.is("/personality", "00000008")
            },
        ),
        Ignores,
    ),
];

/// A device at /dev/it with everything that an entry can say.
fn test_device(config: &mut Configuration, kind: &str) {
    config.set(
        "/linux/devices",
        json!([{"type": kind, "path": "/dev/it", "major": 1, "minor": 5, "fileMode": 0o604,
        "uid": 11, "gid": 12}]),
    );
}

/// The probe makes a node of the loop devices' control, which no runtime allows by default, and opens it for reading.
const CONTROL: &str = "device:/tmp/it-control=237";

/// The same with the tunnel device.
const TUN: &str = "device:/tmp/it-tun=200";

/// The device list of the cgroup: allowed or not, the minor number of a device or all of them, and what may be done.
fn allow_devices(config: &mut Configuration, rules: &[(bool, Option<u32>, &str)]) {
    let entries = rules.iter().map(|(allow, minor, access)| match minor {
        Some(minor) => json!({"allow": allow, "type": "c", "major": 10, "minor": minor, "access": access}),
        None => json!({"allow": allow, "access": access}),
    });
    config.set("/linux/resources/devices", entries.collect());
}

/// Runs a second container in the namespace of a first one and compares what both see.
fn joined(lab: &mut Lab, kind: &str, link: &str) -> Verdict {
    let mut second = lab.sibling()?;
    lab.config.ask(&["stay"]);
    lab.run()?;
    let pid = lab.pid()?;
    second.config.namespace(kind, Some(&format!("/proc/{pid}/ns/{link}")));
    let seen = second.see(&[])?;
    seen.is(&format!("/ns/{link}"), lab.namespace(link)?)
}

fn device_name(lab: &Lab) -> String {
    device_of(&lab.id)
}

/// A device's name from a container's id: names have at most 15 letters.
fn device_of(id: &str) -> String {
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    let start = digits.len().saturating_sub(8);
    format!("itd{}", digits.get(start..).unwrap_or_default())
}

/// Moves a device into the container, under a new name unless that is empty.
fn with_device(lab: &mut Lab, name: &str, then: fn(&Report, &str) -> Verdict) -> Verdict {
    let device = Device::pair(&device_name(lab))?;
    let entry = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    lab.config.set("/linux/netDevices", json!({device.0.as_str(): entry}));
    let seen = lab.see(&["read:/proc/net/fib_trie", "up:it0"])?;
    then(&seen, &device.0)
}

fn pure_v2() -> Verdict {
    if cgroup::is_pure_v2() {
        Ok(())
    } else {
        skip("the sentence is about version 2, and version 1 is mounted here")
    }
}

/// A cgroup namespace and mount, and a user namespace whose root is somebody else on the host.
fn cgroup_mount(config: &mut Configuration, access: &str) {
    config.namespace("cgroup", None);
    config.user_namespace(100_000);
    config.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", access]);
}

/// Runs the container and gives the directory of its group.
fn delegated(lab: &mut Lab, controller: &str) -> Result<std::path::PathBuf, Stop> {
    lab.config.ask(&["stay"]);
    lab.run()?;
    lab.report()?;
    cgroup::of(lab.pid()?, controller)
}

fn owner_is(path: &Path, uid: u32) -> Verdict {
    let found = fs::metadata(path)?.uid();
    check((found == uid).then_some(()), || format!("{} belongs to {found}, not {uid}", path.display()))
}

/// A runtime that gives every file of the group away.
fn chown_groups(call: &mut crate::broken::Call) -> Option<i32> {
    if call.command() != "create" {
        return None;
    }
    let status = call.run();
    for group in cgroup::named(call.last()) {
        drop(std::os::unix::fs::chown(&group, Some(100_000), None));
        for entry in fs::read_dir(&group).into_iter().flatten().flatten() {
            drop(std::os::unix::fs::chown(entry.path(), Some(100_000), None));
        }
    }
    Some(status)
}

/// A limit for the first disk of this host.
fn throttled(lab: &mut Lab, key: &str, word: &str, value: u64, v1: &str, v2: &str) -> Verdict {
    let controller = if cgroup::needs("blkio").is_ok() { "blkio" } else { "io" };
    let version = cgroup::needs(controller)?;
    let Some((major, minor)) = disk() else { return skip("this host has no disk") };
    let mut entry = json!({"major": major, "minor": minor});
    entry.as_object_mut().map(|map| map.insert(word.to_owned(), json!(value)));
    let file = if version == Version::V1 { v1 } else { v2 };
    let known = cgroup::of(std::process::id().cast_signed(), controller)?.join(file);
    // The weight of a disk needs its scheduler; the rates are always there, but not in the root group of version 2.
    if (version == Version::V1 || word == "weight") && !known.exists() {
        return skip(format!("there is no {file}"));
    }
    lab.config.set(&format!("/linux/resources/blockIO/{key}"), json!([entry]));
    lab.config.ask(&["stay"]);
    lab.run()?;
    let text = cgroup::read(lab.pid()?, controller, v1, v2)?;
    let found = text.contains(&format!("{major}:{minor} ")) && text.contains(&value.to_string());
    check(found.then_some(()), || format!("{file} says {text:?}"))
}

/// The numbers of the first disk.
fn disk() -> Option<(u32, u32)> {
    let mut entries: Vec<_> = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let real = entries.into_iter().filter(|path| !path.to_string_lossy().contains("/loop"));
    let numbers = real.filter_map(|path| fs::read_to_string(path.join("dev")).ok());
    numbers
        .filter_map(|text| {
            text.trim().split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
        })
        .next()
}

fn resctrl() -> Result<&'static Path, Stop> {
    let root = Path::new("/sys/fs/resctrl");
    if root.join("schemata").exists() { Ok(root) } else { skip("this host has no resctrl") }
}

fn make_group(lab: &Lab, root: &Path) -> Verdict {
    Ok(fs::create_dir(root.join(&lab.id))?)
}

fn has_task(lab: &Lab, group: &Path) -> Verdict {
    let (pid, tasks) = (lab.pid()?.to_string(), fs::read_to_string(group.join("tasks"))?);
    check(tasks.lines().any(|line| line == pid).then_some(()), || {
        format!("{} is without {pid}", group.display())
    })
}

fn written(lab: &mut Lab, root: &Path, kinds: &[&str]) -> Verdict {
    lab.run()?;
    let text = fs::read_to_string(root.join(&lab.id).join("schemata"))?;
    check(kinds.iter().all(|kind| text.contains(kind)).then_some(()), || format!("schemata is {text:?}"))
}

fn ended(lab: &mut Lab) -> Verdict {
    lab.run()?;
    lab.end()?;
    lab.until("the status stopped", || lab.state().is_ok_and(|state| state.text("/status") == "stopped"))?;
    lab.delete()
}

fn notify_profile(path: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "about", "syscalls": [
        {"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"}]})
}

/// Runs a container with a filter that notifies, and collects what the runtime sends to the agent.
fn notify(lab: &mut Lab) -> Result<Vec<Message>, Stop> {
    let path = lab.aside("agent");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    lab.config.set("/linux/seccomp", notify_profile(&path.display().to_string()));
    lab.config.set("/process/noNewPrivileges", json!(true));
    lab.config.ask(&["stay"]);
    let agent = std::thread::spawn(move || {
        let stream = socket::accept(&listener)?;
        let mut messages = Vec::new();
        while let Ok(message) = socket::receive(&stream) {
            let end = message.bytes.is_empty();
            messages.push(message);
            if end {
                break;
            }
        }
        Ok::<_, Stop>(messages)
    });
    lab.run()?;
    agent.join().unwrap_or_else(|_| fail("the agent of the suite ended"))
}

/// The container process state in the messages.
fn state_of(messages: &[Message]) -> Result<Report, Stop> {
    let text: Vec<u8> = messages.iter().flat_map(|message| message.bytes.clone()).collect();
    let state = serde_json::from_slice(&text).map(Report);
    state.or_else(|error| fail(format!("no JSON: {error}: {}", String::from_utf8_lossy(&text))))
}
