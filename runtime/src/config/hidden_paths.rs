//! `linux.maskedPaths` and `linux.readonlyPaths`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#masked-paths>

use std::collections::HashSet;
use std::ffi::{CStr, CString};

use child::{Op, Text};

use super::mounts::Mounts;
use super::paths::clean;
use super::text::c_string;
use super::{Problems, Spec};
use crate::step::Step;

// ── Shape ── two lists of strings of the section `linux`; see `Linux`.

// ── Rules ──

/// Paths that the container cannot read, and paths that it cannot write, valid: absolute, cleaned, each once.
#[derive(Debug, Default)]
pub struct HiddenPaths {
    masked: Vec<(String, CString)>,
    readonly: Vec<(String, CString)>,
    label: Option<CString>,
}

/// Checks both lists; the empty directories of masks get the label of the container's file systems.
pub fn check(spec: &Spec, mounts: &Mounts, problems: &mut Problems) -> HiddenPaths {
    let Some(linux) = spec.linux.as_ref() else { return HiddenPaths::default() };
    HiddenPaths {
        masked: check_list(&linux.masked_paths, "linux.maskedPaths", problems),
        readonly: check_list(&linux.readonly_paths, "linux.readonlyPaths", problems),
        label: mounts.label().map(ToOwned::to_owned),
    }
}

fn check_list(list: &[String], key: &str, problems: &mut Problems) -> Vec<(String, CString)> {
    let mut seen = HashSet::new();
    let mut valid = Vec::new();
    for (index, path) in list.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let clean = clean(path);
        if !path.starts_with('/') {
            problems.invalid(key, format!("{path:?} is not absolute"));
        } else if clean == "/" {
            problems.invalid(key, "the whole root; see root.readonly");
        } else if seen.insert(clean.clone()) {
            let path = c_string(&clean, &key, problems);
            valid.push((key, path));
        }
    }
    valid
}

// ── Steps ──

impl HiddenPaths {
    /// Read-only paths, then masks: a path in both lists ends masked, and a mask beneath a read-only path is not part of
    /// the tree that is made read-only.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let label = self.label.as_deref().map(Text);
        let readonly = self
            .readonly
            .iter()
            .map(|(key, path)| Step::new(key.as_str(), Op::ReadonlyPath { path: Text(path) }));
        let masked = self
            .masked
            .iter()
            .map(move |(key, path)| Step::new(key.as_str(), Op::MaskPath { path: Text(path), label }));
        readonly.chain(masked)
    }

    /// The masked paths.
    pub fn masked(&self) -> impl Iterator<Item = &CStr> {
        self.masked.iter().map(|(_, path)| path.as_c_str())
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn run(linux: &str) -> (HiddenPaths, Vec<String>) {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(&format!(r#"{{"linux":{linux}}}"#)).unwrap();
        let paths = check(&spec, &Mounts::default(), &mut problems);
        (paths, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_path_is_hidden_once_and_masks_come_last() {
        let (paths, errors) =
            run(r#"{"maskedPaths":["/proc/kcore","/proc//kcore/","/proc/x/../kcore","/sys/firmware"],
                "readonlyPaths":["/proc/sys","/proc/kcore"]}"#);
        assert!(errors.is_empty());
        let mask = |key: &'static str, path| Step::new(key, Op::MaskPath { path: Text(path), label: None });
        let readonly = |key: &'static str, path| Step::new(key, Op::ReadonlyPath { path: Text(path) });
        assert_eq!(
            paths.steps().collect::<Vec<_>>(),
            [
                readonly("linux.readonlyPaths[0]", c"/proc/sys"),
                readonly("linux.readonlyPaths[1]", c"/proc/kcore"),
                mask("linux.maskedPaths[0]", c"/proc/kcore"),
                mask("linux.maskedPaths[3]", c"/sys/firmware"),
            ]
        );
    }

    #[test]
    fn paths_are_absolute_and_not_the_root() {
        assert_eq!(
            run(r#"{"maskedPaths":["proc/kcore","","/proc/.."],"readonlyPaths":["/a\u0000b"]}"#).1,
            [
                "linux.maskedPaths[0]: \"proc/kcore\" is not absolute",
                "linux.maskedPaths[1]: \"\" is not absolute",
                "linux.maskedPaths[2]: the whole root; see root.readonly",
                "linux.readonlyPaths[0]: contains NUL",
            ]
        );
        assert!(run(r#"{"maskedPaths":null,"readonlyPaths":null}"#).1.is_empty());
    }

    #[test]
    fn thousands_of_paths_take_no_time() {
        let list: Vec<String> = (0..20_000).map(|n| format!("\"/sys/cpu{n}\"")).collect();
        let (paths, errors) = run(&format!(r#"{{"maskedPaths":[{}]}}"#, list.join(",")));
        assert!(errors.is_empty());
        assert_eq!(paths.steps().count(), 20_000);
    }
}
