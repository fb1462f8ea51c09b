//! features.md and features-linux.md: what `features` lists is what `create` takes.

use crate::config::Config as Configuration;
use crate::lab::Lab;
use crate::row::Broken::{Command, Nothing};
use crate::row::Level::{Must, MustNot, Should, ShouldNot};
use crate::row::Test::{Impossible, Lab as InLab};
use crate::row::{Row, Stop, Verdict, check, fail, row, skip};
use serde_json::{Value, json};

/// A list of the structure: each element has to be taken by `create` where a configuration has it.
macro_rules! listed {
    ($id:literal, $at:expr, $says:literal, $pointer:literal, $lie:literal, $given:expr) => {
        row(
            $id,
            Must,
            $at,
            $says,
            InLab(|lab| each(lab, $pointer, $given)),
            Command(|call| {
                call.lies("features", |features| features.set(concat!($pointer, "/-"), json!($lie)))
            }),
        )
    };
}

/// The rows of this chapter.
pub(super) const ROWS: &[&[Row]] = &[STRUCTURE, LISTS];

const STRUCTURE: &[Row] = &[
    row(
        "features.constant",
        Should,
        &[7],
        "the structure is the same wherever and whenever it is asked for",
        InLab(|lab| {
            let first = lab.features()?;
            let second = lab.features()?;
            check((first.0 == second.0).then_some(()), || "it has changed between two calls".to_owned())
        }),
        Command(|call| {
            call.lies("features", |features| {
                features.set("/annotations/now", json!(std::process::id().to_string()));
            })
        }),
    ),
    row(
        "features.null",
        MustNot,
        &[10],
        "null is not an empty value",
        Impossible("the sentence binds who reads the structure"),
        Nothing,
    ),
    row(
        "features.version-min",
        Must,
        &[14],
        "ociVersionMin is there",
        InLab(|lab| version(lab, "/ociVersionMin").map(|_| ())),
        Command(|call| call.lies("features", |features| features.remove("/ociVersionMin"))),
    ),
    row(
        "features.version-min-accepted",
        Must,
        &[15],
        "ociVersionMin is accepted as ociVersion",
        InLab(|lab| accepts(lab, "/ociVersionMin")),
        Command(|call| call.lies("features", |features| features.set("/ociVersionMin", json!("0.0.0-none")))),
    ),
    row(
        "features.version-max",
        Must,
        &[17],
        "ociVersionMax is there",
        InLab(|lab| version(lab, "/ociVersionMax").map(|_| ())),
        Command(|call| call.lies("features", |features| features.remove("/ociVersionMax"))),
    ),
    row(
        "features.version-max-accepted",
        Must,
        &[18],
        "ociVersionMax is accepted as ociVersion",
        InLab(|lab| accepts(lab, "/ociVersionMax")),
        Command(|call| call.lies("features", |features| features.set("/ociVersionMax", json!("99.0.0")))),
    ),
    row(
        "features.version-order",
        MustNot,
        &[19],
        "ociVersionMax is not below ociVersionMin",
        InLab(|lab| {
            let (least, most) = (version(lab, "/ociVersionMin")?, version(lab, "/ociVersionMax")?);
            check((numbers(&least) <= numbers(&most)).then_some(()), || format!("{least} is above {most}"))
        }),
        Command(|call| call.lies("features", |features| features.set("/ociVersionMax", json!("0.1.0")))),
    ),
    row(
        "features.known-properties",
        MustNot,
        &[20],
        "the structure has only properties of the specification",
        InLab(|lab| {
            let features = lab.features()?;
            known(&features.0, &TOP)?;
            known(&features.at("/linux"), &LINUX)
        }),
        Command(|call| call.lies("features", |features| features.set("/linux/invented", json!(true)))),
    ),
    row(
        "features.mount-options.filesystem",
        ShouldNot,
        &[50],
        "no option of a single filesystem is listed",
        InLab(|lab| {
            let options = lab.features()?.at("/mountOptions");
            let odd: Vec<&str> =
                FILESYSTEM_OPTIONS.into_iter().filter(|word| contains(&options, word)).collect();
            check(odd.is_empty().then_some(()), || format!("listed are {odd:?}"))
        }),
        Command(|call| call.lies("features", |features| features.set("/mountOptions/-", json!("size")))),
    ),
    row(
        "features.annotations",
        Must,
        &[131],
        "annotations are a map of strings",
        InLab(|lab| {
            let map = lab.features()?.at("/annotations");
            let strings = map
                .as_object()
                .is_some_and(|map| map.iter().all(|(key, value)| !key.is_empty() && value.is_string()));
            check((map.is_null() || strings).then_some(()), || format!("annotations are {map}"))
        }),
        Command(|call| call.lies("features", |features| features.set("/annotations", json!({"a": 1})))),
    ),
    row(
        "features-linux.idmap",
        Must,
        &[257],
        "idmap.enabled is true if mappings of a mount are recognised",
        InLab(|lab| {
            let features = lab.features()?;
            let said = features.at("/linux/mountExtensions/idmap/enabled");
            lab.config.mount("bind", "rootfs/etc", "/mnt", &["bind", "idmap"]);
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            lab.config.set("/mounts/5/uidMappings", map.clone());
            lab.config.set("/mounts/5/gidMappings", map);
            lab.config.ask(&["stat:/mnt/file"]);
            let works = lab.try_create()?.ok() && {
                lab.start()?;
                lab.report()?.answer("stat:/mnt/file").at("/ok/uid") == 100_000
            };
            check((works == (said == true)).then_some(()), || {
                format!("enabled is {said}, and it works: {works}")
            })
        }),
        Command(|call| {
            call.lies("features", |features| {
                let said = features.at("/linux/mountExtensions/idmap/enabled") == true;
                features.set("/linux/mountExtensions/idmap/enabled", json!(!said));
            })
        }),
    ),
];

const LISTS: &[Row] = &[
    row(
        "features.hooks",
        Must,
        &[32],
        "every listed kind of hooks is called",
        InLab(|lab| {
            let kinds = list(lab, "/hooks")?;
            kinds.iter().for_each(|kind| lab.hook(kind, &[]));
            lab.see(&["stay"])?;
            lab.end()?;
            lab.until("the status stopped", || {
                lab.state().is_ok_and(|state| state.text("/status") == "stopped")
            })?;
            lab.delete()?;
            kinds.iter().try_for_each(|kind| lab.hooked(kind).map(|_| ()))
        }),
        Command(|call| call.lies("features", |features| features.set("/hooks/-", json!("preboot")))),
    ),
    listed!(
        "features.mount-options",
        &[49],
        "every listed mount option is recognised",
        "/mountOptions",
        "it-no-such-option",
        |config, word| {
            // A bind mount is what most of them are for; the others are for a new filesystem.
            let bound = word.starts_with('r') && !["ro", "rw", "relatime", "remount"].contains(&word)
                || ["bind", "idmap", "private", "shared", "slave", "unbindable"].contains(&word);
            match word {
                "remount" => {
                    config.mount("tmpfs", "it", "/mnt", &[]);
                    config.mount("tmpfs", "it", "/mnt", &["remount"]);
                }
                "mand" | "nomand" | "acl" | "noacl" | "idmap" | "ridmap" => {}
                _ if bound => config.mount("bind", "rootfs/etc", "/mnt", &["rbind", word]),
                _ => config.mount("tmpfs", "it", "/mnt", &[word]),
            }
        }
    ),
    listed!(
        "features-linux.namespaces",
        &[8],
        "every listed namespace type is recognised",
        "/linux/namespaces",
        "it-none",
        |config, word| {
            match word {
                "user" => config.user_namespace(100_000),
                _ => config.namespace(word, None),
            }
        }
    ),
    row(
        "features-linux.capabilities",
        Must,
        &[27],
        "every listed capability is recognised",
        InLab(|lab| {
            let names = list(lab, "/linux/capabilities")?;
            let known = |name: &&String| {
                name.strip_prefix("CAP_").is_some_and(|name| crate::config::CAPABILITIES.contains(&name))
            };
            let odd: Vec<&String> = names.iter().filter(|name| !known(name)).collect();
            check(odd.is_empty().then_some(()), || format!("capabilities(7) does not have {odd:?}"))?;
            lab.config.set("/process/capabilities", json!({"bounding": names}));
            lab.see(&[]).map(|_| ())
        }),
        Command(|call| {
            call.lies("features", |features| features.set("/linux/capabilities/-", json!("CAP_IT_NONE")))
        }),
    ),
    listed!(
        "features-linux.seccomp.actions",
        &[107],
        "every listed action is recognised",
        "/linux/seccomp/actions",
        "SCMP_ACT_IT",
        |config, word| {
            // A filter that notifies needs an agent, which other rows have.
            if word != "SCMP_ACT_NOTIFY" {
                profile(config, json!({"names": ["sethostname"], "action": word}));
            }
        }
    ),
    listed!(
        "features-linux.seccomp.operators",
        &[109],
        "every listed operator is recognised",
        "/linux/seccomp/operators",
        "SCMP_CMP_IT",
        |config, word| {
            let args = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": word}]);
            profile(config, json!({"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "args": args}));
        }
    ),
    listed!(
        "features-linux.seccomp.archs",
        &[111],
        "every listed architecture is recognised",
        "/linux/seccomp/archs",
        "SCMP_ARCH_IT",
        |config, word| {
            // One filter cannot hold architectures of both byte orders, so only those of this machine's can be tried.
            if !BIG_ENDIAN.contains(&word) {
                profile(config, json!({"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}));
                config.set("/linux/seccomp/architectures", json!([word]));
            }
        }
    ),
    listed!(
        "features-linux.seccomp.known-flags",
        &[113],
        "every known flag is recognised",
        "/linux/seccomp/knownFlags",
        "SECCOMP_FILTER_FLAG_IT",
        with_flag
    ),
    listed!(
        "features-linux.seccomp.supported-flags",
        &[116],
        "every supported flag is recognised",
        "/linux/seccomp/supportedFlags",
        "SECCOMP_FILTER_FLAG_IT",
        with_flag
    ),
    listed!(
        "features-linux.memory-policy.modes",
        &[203],
        "every listed memory policy is recognised",
        "/linux/memoryPolicy/modes",
        "MPOL_IT",
        |config, word| {
            let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&word) { "" } else { "0" };
            config.set("/linux/memoryPolicy", json!({"mode": word, "nodes": nodes}));
        }
    ),
    listed!(
        "features-linux.memory-policy.flags",
        &[206],
        "every listed flag of a memory policy is recognised",
        "/linux/memoryPolicy/flags",
        "MPOL_F_IT",
        |config, word| {
            config.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [word]}));
        }
    ),
];

/// Architectures whose bytes are in the other order than on the machines that the suite is built for.
const BIG_ENDIAN: [&str; 11] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SHEB",
];

/// The properties of the structure and of its part for Linux.
const TOP: [&str; 7] = [
    "ociVersionMin",
    "ociVersionMax",
    "hooks",
    "mountOptions",
    "linux",
    "annotations",
    "potentiallyUnsafeConfigAnnotations",
];
const LINUX: [&str; 10] = [
    "namespaces",
    "capabilities",
    "cgroup",
    "seccomp",
    "apparmor",
    "selinux",
    "memoryPolicy",
    "intelRdt",
    "mountExtensions",
    "netDevices",
];

/// Options that belong to one filesystem or a few.
const FILESYSTEM_OPTIONS: [&str; 10] =
    ["size", "mode", "uid", "gid", "nr_inodes", "hidepid", "newinstance", "ptmxmode", "lowerdir", "data"];

fn contains(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word))
}

fn version(lab: &Lab, pointer: &str) -> Result<String, Stop> {
    let version = lab.features()?.text(pointer);
    if version.split('.').count() >= 3 { Ok(version) } else { fail(format!("{pointer} is {version:?}")) }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(['.', '-']).filter_map(|part| part.parse().ok()).collect()
}

fn accepts(lab: &mut Lab, pointer: &str) -> Verdict {
    let version = version(lab, pointer)?;
    lab.config.set("/ociVersion", json!(version));
    lab.see(&[]).map(|_| ())
}

fn known(object: &Value, names: &[&str]) -> Verdict {
    let keys = object.as_object().map(|map| map.keys().collect::<Vec<_>>()).unwrap_or_default();
    let odd: Vec<_> = keys.into_iter().filter(|key| !names.contains(&key.as_str())).collect();
    check(odd.is_empty().then_some(()), || format!("unknown are {odd:?}"))
}

/// The words of a list; skipped where the structure does not have it.
fn list(lab: &Lab, pointer: &str) -> Result<Vec<String>, Stop> {
    let list = lab.features()?.at(pointer);
    let Some(list) = list.as_array() else { return skip(format!("the structure has no {pointer}")) };
    Ok(list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
}

/// Creates a container for each word of a list, and names those that are not taken.
fn each(lab: &mut Lab, pointer: &str, given: fn(&mut Configuration, &str)) -> Verdict {
    let words = list(lab, pointer)?;
    let mut odd = Vec::new();
    for word in &words {
        let mut one = lab.sibling()?;
        given(&mut one.config, word);
        let done = one.try_create()?;
        // What the kernel of this host does not have may be listed all the same.
        if !done.ok() && !unsupported_here(&done.said) {
            odd.push(format!("{word}: {}", done.said));
        }
    }
    check(odd.is_empty().then_some(()), || odd.join("; "))
}

/// Whether an error is the kernel's that it cannot do such a thing, and not the runtime's that it does not know it.
fn unsupported_here(said: &str) -> bool {
    ["ENOSYS", "not implemented", "EOPNOTSUPP", "not supported by the kernel", "ENODEV"]
        .iter()
        .any(|word| said.contains(word))
}

fn profile(config: &mut Configuration, rule: Value) {
    config.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
}

fn with_flag(config: &mut Configuration, word: &str) {
    // The kernel takes this one only with a listener.
    if word == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
        return;
    }
    profile(config, json!({"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}));
    config.set("/linux/seccomp/flags", json!([word]));
}
