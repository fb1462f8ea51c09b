//! `root` and `linux.rootfsPropagation`.
//!
//! Whether the directory exists is found out when it is opened; the child mounts that very inode.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#root>

use std::ffi::{CStr, CString};
use std::path::Path;

use child::{Op, Text};
use serde::Deserialize;

use super::mount_options::{MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE};
use super::paths::{clean, host_path};
use super::suggest::unknown;
use super::{Problems, Spec};
use crate::step::Step;

// ── Shape ──

/// The section `root` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The directory with the root file system.
    pub path: Option<String>,
    /// Whether it is read-only inside.
    pub readonly: Option<bool>,
}

// ── Rules ──

/// The root of the container, valid.
#[derive(Debug, Default)]
pub struct Root {
    /// The absolute path of the directory on the host.
    pub path: CString,
    /// Whether `/` is read-only inside.
    pub readonly: bool,
    propagation: Option<u32>,
}

const PATH: &str = "root.path";

/// The values of `linux.rootfsPropagation`; those with `r` are what runc takes besides the specification's.
const PROPAGATIONS: [(&str, u32); 8] = [
    ("shared", MS_SHARED),
    ("slave", MS_SLAVE),
    ("private", MS_PRIVATE),
    ("unbindable", MS_UNBINDABLE),
    ("rshared", MS_SHARED | MS_REC),
    ("rslave", MS_SLAVE | MS_REC),
    ("rprivate", MS_PRIVATE | MS_REC),
    ("runbindable", MS_UNBINDABLE | MS_REC),
];

/// Checks both keys; a relative path starts at `bundle`, which is absolute.
pub fn check(spec: &Spec, bundle: &Path, problems: &mut Problems) -> Root {
    let propagation = spec.linux.as_ref().and_then(|linux| linux.rootfs_propagation.as_deref());
    Root {
        path: root_path(spec.root.as_ref(), bundle, problems),
        readonly: spec.root.as_ref().and_then(|root| root.readonly).unwrap_or(false),
        propagation: propagation
            .filter(|value| !value.is_empty())
            .and_then(|value| known_propagation(value, problems)),
    }
}

fn root_path(root: Option<&Shape>, bundle: &Path, problems: &mut Problems) -> CString {
    let Some(root) = root else {
        problems.invalid("root", "required");
        return CString::default();
    };
    let path = root.path.as_deref().unwrap_or_default();
    if path.is_empty() {
        problems.invalid(PATH, "required");
        return CString::default();
    }
    if path.starts_with('/') && clean(path) == "/" {
        problems.invalid(PATH, "the root of the host cannot be the root of a container");
    }
    host_path(&bundle.join(path), PATH, problems)
}

fn known_propagation(value: &str, problems: &mut Problems) -> Option<u32> {
    let found = PROPAGATIONS.iter().find(|entry| entry.0 == value).map(|entry| entry.1);
    if found.is_none() {
        let known = PROPAGATIONS.iter().map(|entry| entry.0);
        problems.invalid("linux.rootfsPropagation", unknown("propagation", value, known));
    }
    found
}

impl Root {
    /// Whether mounts of the host's tree stay peers inside, which only a shared root asks for: a volume can then send
    /// what is mounted in it back to the host.
    pub fn keeps_host_peers(&self) -> bool {
        self.propagation.is_some_and(|flags| flags & MS_SHARED != 0)
    }
}

// ── Steps ──

const PROPAGATION: &str = "linux.rootfsPropagation";

impl Root {
    /// The propagation of the tree that was inherited from the host, before anything is mounted.
    ///
    /// It is a slave in all cases but one, also for `private` and `unbindable`: those describe the root, and a host's
    /// tree that is unbindable could not even be bound for it. The host's umounts must still arrive, or a mount stays
    /// busy. With `shared` only `/` is touched and every other mount stays what it was.
    pub fn host_propagation(&self) -> Step<'_> {
        let flags = if self.keeps_host_peers() { MS_SHARED } else { MS_SLAVE | MS_REC };
        let key = if self.keeps_host_peers() { PROPAGATION } else { "" };
        Step::new(key, Op::HostPropagation { flags })
    }

    /// The propagation of the container's `/`, after the change of root, because before it the flags would be the
    /// host's.
    pub fn root_propagation(&self) -> Option<Step<'_>> {
        Some(Step::new(PROPAGATION, Op::RootPropagation { flags: self.propagation? }))
    }

    /// Makes `/` read-only: the last of the mounts, as they need their targets made.
    pub fn readonly_step(&self) -> Option<Step<'_>> {
        self.readonly.then(|| Step::new("root.readonly", Op::ReadonlyRoot))
    }

    /// Mounts the root upon itself; the numbers are those of the inode that the parent saw at [`Root::path`].
    pub fn root_step(&self, device: u64, inode: u64) -> Step<'_> {
        let path: &CStr = &self.path;
        Step::new("root", Op::Root { path: Text(path), tree: None, device, inode })
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn run(json: &str) -> (Root, Vec<String>) {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(json).unwrap();
        let root = check(&spec, Path::new("/bundle"), &mut problems);
        (root, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_path_is_absolute_or_starts_at_the_bundle() {
        let table =
            [("rootfs", c"/bundle/rootfs"), ("/srv/root", c"/srv/root"), ("../shared", c"/bundle/../shared")];
        for (path, absolute) in table {
            let (root, errors) = run(&format!(r#"{{"root":{{"path":"{path}"}}}}"#));
            assert_eq!((root.path.as_c_str(), errors.as_slice()), (absolute, [].as_slice()));
        }
    }

    #[test]
    fn the_root_has_rules() {
        let table = [
            ("{}", "root: required"),
            (r#"{"root":{}}"#, "root.path: required"),
            (r#"{"root":{"path":""}}"#, "root.path: required"),
            (
                r#"{"root":{"path":"/a/.."}}"#,
                "root.path: the root of the host cannot be the root of a container",
            ),
            (r#"{"root":{"path":"a\u0000b"}}"#, "root.path: contains NUL"),
            (
                r#"{"root":{"path":"a"},"linux":{"rootfsPropagation":"share"}}"#,
                "linux.rootfsPropagation: unknown propagation \"share\"; did you mean \"shared\"?",
            ),
        ];
        for (json, error) in table {
            assert_eq!(run(json).1, [error]);
        }
    }

    #[test]
    fn only_a_shared_root_leaves_the_host_tree_as_it_is() {
        let slave = MS_SLAVE | MS_REC;
        let table = [
            ("", slave, None),
            ("slave", slave, Some(MS_SLAVE)),
            ("rslave", slave, Some(MS_SLAVE | MS_REC)),
            ("private", slave, Some(MS_PRIVATE)),
            ("rprivate", slave, Some(MS_PRIVATE | MS_REC)),
            ("unbindable", slave, Some(MS_UNBINDABLE)),
            ("shared", MS_SHARED, Some(MS_SHARED)),
            ("rshared", MS_SHARED, Some(MS_SHARED | MS_REC)),
        ];
        for (value, host, own) in table {
            let (root, errors) =
                run(&format!(r#"{{"root":{{"path":"a"}},"linux":{{"rootfsPropagation":"{value}"}}}}"#));
            assert!(errors.is_empty());
            assert_eq!(root.host_propagation().op, Op::HostPropagation { flags: host }, "{value}");
            assert_eq!(
                root.root_propagation(),
                own.map(|flags| Step::new(PROPAGATION, Op::RootPropagation { flags })),
                "{value}"
            );
        }
    }

    #[test]
    fn readonly_is_a_step_of_its_own() {
        assert_eq!(run(r#"{"root":{"path":"a"}}"#).0.readonly_step(), None);
        assert_eq!(
            run(r#"{"root":{"path":"a","readonly":true}}"#).0.readonly_step(),
            Some(Step::new("root.readonly", Op::ReadonlyRoot))
        );
    }
}
