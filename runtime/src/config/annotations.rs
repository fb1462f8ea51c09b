//! `annotations`: metadata that has no effect, but for the few in [`HONOURED`].
//!
//! All of them are part of the state that hooks and `state` see.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#annotations>

use super::user::Groups;
use super::{Problems, Spec};

// ── Shape ── an object of the top level; see `Spec`.

// ── Rules ──

/// An annotation that changes what orlop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honoured {
    /// The key; with a dot at its end, the beginning of keys.
    pub key: &'static str,
    /// What it does.
    pub effect: &'static str,
}

/// Every annotation that has an effect. `features` lists them as potentially unsafe, and the documentation as a table.
pub const HONOURED: [Honoured; 4] = [
    Honoured {
        key: KEEP_ORIGINAL_GROUPS,
        effect: "any value but 0: the program keeps the caller's supplementary groups; additionalGids is ignored",
    },
    Honoured {
        key: SYSTEMD_PROPERTY,
        effect: "with the systemd cgroup driver: a property of the container's scope, as GVariant text",
    },
    Honoured {
        key: DELEGATE_CGROUP,
        effect: "the name of a version 2 group beneath the container's own, which the program starts in",
    },
    Honoured {
        key: CRIU_CONFIG,
        effect: "the configuration file that CRIU reads for this container; empty: none, not even the host's",
    },
];

const KEEP_ORIGINAL_GROUPS: &str = "run.oci.keep_original_groups";
/// Read where CRIU is started: it changes nothing else.
pub const CRIU_CONFIG: &str = "org.criu.config";
const SYSTEMD_PROPERTY: &str = "org.systemd.property.";
const DELEGATE_CGROUP: &str = "run.oci.delegate-cgroup";

/// Beginnings of keys that some runtime acts upon. Whoever writes one expects an effect, so having none is said.
const ACTED_UPON: [&str; 1] = ["run.oci."];

/// Annotations with an effect, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// What becomes of the caller's supplementary groups.
    pub groups: Groups,
    /// Properties of the systemd unit: name and value. Their text is read where the unit is made.
    pub systemd_properties: Vec<(String, String)>,
    /// The version 2 group beneath the container's own in which init lives. A group is either a leaf or a parent, so only
    /// then can the container enable controllers in its own group, which stays the root of its cgroup namespace.
    pub leaf: Option<String>,
}

/// Checks the keys and reads those that have an effect.
pub fn check(spec: &Spec, problems: &mut Problems) -> Annotations {
    let mut annotations = Annotations::default();
    for (key, value) in &spec.annotations.0 {
        if key.is_empty() {
            problems.invalid("annotations", "a key is empty");
        }
        if key == KEEP_ORIGINAL_GROUPS && value != "0" {
            annotations.groups = Groups::Keep;
        }
        if let Some(name) = key.strip_prefix(SYSTEMD_PROPERTY) {
            annotations.systemd_properties.push((name.to_owned(), value.clone()));
        }
        if key == DELEGATE_CGROUP {
            match is_one_name(value) {
                true => annotations.leaf = Some(value.clone()),
                false => problems
                    .invalid(format!("annotations[{key:?}]"), format!("{value:?} is no name of a group")),
            }
        }
        if ACTED_UPON.iter().any(|begin| key.starts_with(begin)) && !is_honoured(key) {
            problems.warn(format!("annotations[{key:?}]"), "has no effect");
        }
    }
    annotations
}

fn is_one_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\n', '\0'])
}

fn is_honoured(key: &str) -> bool {
    HONOURED.iter().any(|honoured| match honoured.key.strip_suffix('.') {
        Some(_) => key.starts_with(honoured.key),
        None => key == honoured.key,
    })
}

// ── Steps ── none.

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(annotations: &str) -> (Annotations, Problems) {
        let spec = serde_json::from_str(&format!(r#"{{"annotations": {annotations}}}"#)).unwrap();
        let mut problems = Problems::default();
        (check(&spec, &mut problems), problems)
    }

    #[test]
    fn unknown_annotations_have_no_effect() {
        let (annotations, problems) = checked(r#"{"com.example.x": "a\nb", "handler": ""}"#);
        assert_eq!(annotations, Annotations::default());
        assert!(problems.errors.is_empty() && problems.warnings.is_empty());
    }

    #[test]
    fn groups_are_kept_on_request() {
        for (value, groups) in [("1", Groups::Keep), ("", Groups::Keep), ("0", Groups::Replace)] {
            let (annotations, problems) = checked(&format!(r#"{{"{KEEP_ORIGINAL_GROUPS}": "{value}"}}"#));
            assert_eq!(annotations.groups, groups);
            assert!(problems.warnings.is_empty());
        }
    }

    #[test]
    fn a_leaf_is_one_name() {
        let leaf = |value: &str| checked(&format!(r#"{{"{DELEGATE_CGROUP}": "{value}"}}"#));
        assert_eq!(leaf("init").0.leaf.as_deref(), Some("init"));
        for value in ["", ".", "..", "a/b", "../x", "/", "a\\n"] {
            assert_eq!(leaf(value).1.errors.len(), 1, "{value}");
        }
    }

    #[test]
    fn an_annotation_that_others_honour_is_warned_of() {
        let (_, problems) = checked(r#"{"run.oci.handler": "wasm"}"#);
        assert_eq!(
            problems.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["annotations[\"run.oci.handler\"]: has no effect"]
        );
    }

    #[test]
    fn properties_of_the_unit_lose_their_prefix() {
        let (annotations, problems) = checked(r#"{"org.systemd.property.TimeoutStopUSec": "uint64 5"}"#);
        assert_eq!(annotations.systemd_properties, [("TimeoutStopUSec".to_owned(), "uint64 5".to_owned())]);
        assert!(problems.errors.is_empty() && problems.warnings.is_empty());
    }

    #[test]
    fn a_key_is_never_empty() {
        assert_eq!(checked(r#"{"": "x"}"#).1.errors.len(), 1);
        assert!(checked("null").1.errors.is_empty());
    }
}
