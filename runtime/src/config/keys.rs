//! Every key of config.json: which file gives it its meaning, and which keys have none.
//!
//! `properties.txt` has every property of the JSON schema of runtime-spec 1.3.0, one in a line, in the schema's order:
//! `[]` is an element of a list, `{}` a value of a map. The blocks of other platforms stand for all that is in them.

use std::fmt::Write;

use serde_json::Value;

use crate::json::path::push_key;

/// The properties of the schema.
const PROPERTIES: &str = include_str!("properties.txt");

/// The file that gives a key, and what is below it, its meaning. The longest entry that fits counts.
const FILES: [(&str, &str); 48] = [
    ("ociVersion", "runtime/src/config/version.rs"),
    ("annotations", "runtime/src/config/annotations.rs"),
    ("hooks", "runtime/src/config/hooks.rs"),
    ("hostname", "runtime/src/config/uts.rs"),
    ("domainname", "runtime/src/config/uts.rs"),
    ("root", "runtime/src/config/root.rs"),
    ("mounts", "runtime/src/config/mounts.rs"),
    ("mounts[].options", "runtime/src/config/mount_options.rs"),
    ("mounts[].uidMappings", "runtime/src/config/idmappings.rs"),
    ("mounts[].gidMappings", "runtime/src/config/idmappings.rs"),
    ("process", "runtime/src/config/process.rs"),
    ("process.user", "runtime/src/config/user.rs"),
    ("process.user.username", ELSEWHERE),
    ("process.commandLine", ELSEWHERE),
    ("process.capabilities", "runtime/src/config/capabilities.rs"),
    ("process.noNewPrivileges", "runtime/src/config/capabilities.rs"),
    ("process.rlimits", "runtime/src/config/limits.rs"),
    ("process.oomScoreAdj", "runtime/src/config/limits.rs"),
    ("process.scheduler", "runtime/src/config/scheduling.rs"),
    ("process.ioPriority", "runtime/src/config/scheduling.rs"),
    ("process.execCPUAffinity", "runtime/src/config/scheduling.rs"),
    ("process.terminal", "runtime/src/config/terminal.rs"),
    ("process.consoleSize", "runtime/src/config/terminal.rs"),
    ("process.apparmorProfile", "runtime/src/config/lsm.rs"),
    ("process.selinuxLabel", "runtime/src/config/lsm.rs"),
    ("linux", "runtime/src/config/mod.rs"),
    ("linux.rootfsPropagation", "runtime/src/config/root.rs"),
    ("linux.mountLabel", "runtime/src/config/mounts.rs"),
    ("linux.namespaces", "runtime/src/config/namespaces.rs"),
    ("linux.timeOffsets", "runtime/src/config/namespaces.rs"),
    ("linux.uidMappings", "runtime/src/config/idmappings.rs"),
    ("linux.gidMappings", "runtime/src/config/idmappings.rs"),
    ("linux.devices", "runtime/src/config/devices.rs"),
    ("linux.netDevices", "runtime/src/config/net_devices.rs"),
    ("linux.sysctl", "runtime/src/config/sysctl.rs"),
    ("linux.maskedPaths", "runtime/src/config/hidden_paths.rs"),
    ("linux.readonlyPaths", "runtime/src/config/hidden_paths.rs"),
    ("linux.intelRdt", "runtime/src/config/intel_rdt.rs"),
    ("linux.memoryPolicy", "runtime/src/config/memory_policy.rs"),
    ("linux.personality", "runtime/src/config/personality.rs"),
    ("linux.seccomp", "seccomp/src/profile.rs"),
    ("linux.cgroupsPath", "cgroups/src/path.rs"),
    ("linux.resources", "cgroups/src/resources/mod.rs"),
    ("solaris", ELSEWHERE),
    ("windows", ELSEWHERE),
    ("vm", ELSEWHERE),
    ("zos", ELSEWHERE),
    ("freebsd", ELSEWHERE),
];

/// Stands for a file where a key belongs to another platform.
const ELSEWHERE: &str = "";

/// A key of a configuration that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The key as errors write it.
    pub key: String,
    /// Why it has none.
    pub why: Why,
}

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The specification does not have it.
    Unknown,
    /// It is for another platform.
    OtherPlatform,
}

/// The keys of `config` that have no effect. They are allowed, but whoever wrote them may not know.
pub fn ignored(config: &Value) -> Vec<Ignored> {
    let mut ignored = Vec::new();
    walk(config, "", "", &mut ignored);
    ignored
}

/// Visits what is in `value`. `property` is its name in the schema, `key` that of this one value.
fn walk(value: &Value, property: &str, key: &str, ignored: &mut Vec<Ignored>) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                walk(element, &format!("{property}[]"), &format!("{key}[{index}]"), ignored);
            }
        }
        Value::Object(entries) => {
            for (name, value) in entries {
                visit(name, value, property, key, ignored);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn visit(name: &str, value: &Value, parent: &str, parent_key: &str, ignored: &mut Vec<Ignored>) {
    let mut key = parent_key.to_owned();
    push_key(&mut key, name);
    let named = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    let of_map = format!("{parent}{{}}");
    if PROPERTIES.lines().any(|property| property == named) {
        match file(&named) {
            Some(ELSEWHERE) => ignored.push(Ignored { key, why: Why::OtherPlatform }),
            _ => walk(value, &named, &key, ignored),
        }
    } else if PROPERTIES.lines().any(|property| property.starts_with(&of_map)) {
        walk(value, &of_map, &key, ignored);
    } else {
        ignored.push(Ignored { key, why: Why::Unknown });
    }
}

/// The file that gives a property its meaning.
fn file(property: &str) -> Option<&'static str> {
    let fits = |entry: &&(&str, &str)| {
        let rest = property.strip_prefix(entry.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
    };
    FILES.iter().filter(fits).max_by_key(|entry| entry.0.len()).map(|entry| entry.1)
}

/// A key as errors write it, as a JSON pointer (RFC 6901): `linux.namespaces[2].type` is `/linux/namespaces/2/type`.
pub fn pointer(key: &str) -> String {
    let mut pointer = String::new();
    let mut rest = key;
    while !rest.is_empty() {
        let (name, after) = first_name(rest);
        let _ = write!(pointer, "/{}", name.replace('~', "~0").replace('/', "~1"));
        rest = after;
    }
    pointer
}

/// The first name of a key, and what follows it.
fn first_name(key: &str) -> (String, &str) {
    if let Some((quoted, after)) = key.strip_prefix("[\"").and_then(|rest| rest.split_once("\"]")) {
        return (quoted.replace("\\\"", "\"").replace("\\\\", "\\"), without_dot(after));
    }
    if let Some((index, after)) = key.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (index.to_owned(), without_dot(after));
    }
    let end = key.find(['.', '[']).unwrap_or(key.len());
    let (name, after) = key.split_at_checked(end).unwrap_or((key, ""));
    (name.to_owned(), without_dot(after))
}

fn without_dot(rest: &str) -> &str {
    rest.strip_prefix('.').unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::bundle::parse;
    use crate::config::Spec;

    /// A configuration that has `value` at `property` and nothing else.
    fn with(property: &str, value: &str) -> String {
        let (mut text, mut end) = (String::new(), String::new());
        for name in property.split('.') {
            let plain = name.trim_end_matches("[]").trim_end_matches("{}");
            text += &format!("{{\"{plain}\": ");
            end.insert(0, '}');
            if name.ends_with("[]") {
                text += "[";
                end.insert(0, ']');
            }
            if name.ends_with("{}") {
                text += "{\"x\": ";
                end.insert(0, '}');
            }
        }
        text + value + &end
    }

    #[test]
    fn every_property_of_the_specification_has_its_file() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for property in PROPERTIES.lines() {
            let file = file(property).unwrap_or_else(|| panic!("{property} has no file"));
            assert!(file == ELSEWHERE || workspace.join(file).is_file(), "{property}: {file} is absent");
        }
        for (property, _) in FILES {
            assert!(PROPERTIES.lines().any(|line| line == property), "{property} is no property");
        }
    }

    /// A list of lists of lists is a valid value of nothing, so an error proves that the key is read.
    #[test]
    fn every_property_of_the_specification_is_read() {
        for property in PROPERTIES.lines() {
            let read = parse::<Spec>(with(property, "[[[]]]").as_bytes(), "config.json");
            if file(property) == Some(ELSEWHERE) {
                assert!(read.is_ok(), "{property}");
                continue;
            }
            let error = read.map(|_| ()).expect_err(property);
            let key = property.replace("[]", "[0]").replace("{}", ".x");
            assert!(error.key().unwrap_or_default().starts_with(&key), "{property}: {error}");
        }
    }

    /// Writers in Go emit null for lists, maps and objects that they leave empty. The clocks are values of a map there,
    /// which are never null.
    #[test]
    fn null_is_as_good_as_absent() {
        let reads = |property: &str, value: &str| {
            parse::<Spec>(with(property, value).as_bytes(), "config.json").is_ok()
        };
        let is_compound = |property: &&str| {
            !property.starts_with("linux.timeOffsets.") && (reads(property, "[]") || reads(property, "{}"))
        };
        let compound: Vec<&str> = PROPERTIES.lines().filter(is_compound).collect();
        assert!(compound.len() > 50);
        for property in compound {
            assert!(reads(property, "null"), "{property}");
        }
    }

    #[test]
    fn keys_without_effect_are_named() {
        let config = serde_json::json!({
            "hostName": "x",
            "windows": {"layerFolders": []},
            "process": {"commandLine": "x", "user": {"username": "x", "uid": 1}, "rlimits": [{}, {"kind": 1}]},
            "annotations": {"any.key": "x"},
            "linux": {"netDevices": {"eth0": {"name": "a", "mtu": 1}}, "sysctl": {"a.b": "c"}, "x.y": {}}
        });
        let mut found: Vec<(String, Why)> =
            ignored(&config).into_iter().map(|ignored| (ignored.key, ignored.why)).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(
            found,
            [
                ("hostName".to_owned(), Why::Unknown),
                ("linux.netDevices.eth0.mtu".to_owned(), Why::Unknown),
                ("linux[\"x.y\"]".to_owned(), Why::Unknown),
                ("process.commandLine".to_owned(), Why::OtherPlatform),
                ("process.rlimits[1].kind".to_owned(), Why::Unknown),
                ("process.user.username".to_owned(), Why::OtherPlatform),
                ("windows".to_owned(), Why::OtherPlatform),
            ]
        );
    }

    #[test]
    fn a_key_is_a_pointer() {
        for (key, expected) in [
            ("", ""),
            ("hostname", "/hostname"),
            ("linux.namespaces[2].type", "/linux/namespaces/2/type"),
            ("annotations[\"a.b/c\"]", "/annotations/a.b~1c"),
            ("linux.sysctl[\"a]\\\"b\"].x", "/linux/sysctl/a]\"b/x"),
            ("mounts[3].options[1]", "/mounts/3/options/1"),
        ] {
            assert_eq!(pointer(key), expected);
        }
    }
}
