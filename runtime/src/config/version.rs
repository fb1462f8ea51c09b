//! `ociVersion`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#specification-version>

use super::{Problems, Spec};

// ── Shape ── a string of the top level; see `Spec`.

// ── Rules ──

/// The oldest version that is read.
pub const OLDEST: &str = "1.0.0";

/// The version that is implemented.
pub const NEWEST: &str = "1.3.0";

/// Checks that the configuration follows version 1 of the specification. A later minor version is accepted: it only adds
/// keys, and an unknown value in a key that is known is refused where it stands.
pub fn check(spec: &Spec, problems: &mut Problems) {
    const KEY: &str = "ociVersion";
    let Some(version) = spec.oci_version.as_deref().filter(|version| !version.is_empty()) else {
        problems.invalid(KEY, format!("missing; {NEWEST} is the current version"));
        return;
    };
    match major(version) {
        None => problems.invalid(KEY, format!("{version:?} is no version such as {NEWEST}")),
        Some(1) => {}
        Some(_) => {
            problems.invalid(KEY, format!("{version:?} is not supported; versions are {OLDEST} to {NEWEST}"))
        }
    }
}

/// The major version of a semantic version 2.0.0, leniently read: what follows the three numbers may be anything that a
/// version consists of.
fn major(version: &str) -> Option<u64> {
    let (numbers, rest) = match version.find(['-', '+']) {
        Some(end) => version.split_at(end),
        None => (version, ""),
    };
    let fine = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte));
    let mut numbers = numbers.split('.').map(number);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Some(major)), Some(Some(_)), Some(Some(_)), None) if fine => Some(major),
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

// ── Steps ── none.

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(version: Option<&str>) -> Vec<String> {
        let mut problems = Problems::default();
        let spec = Spec { oci_version: version.map(str::to_owned), ..Spec::default() };
        check(&spec, &mut problems);
        problems.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn version_1_is_accepted() {
        for version in ["1.0.0", "1.0.2-dev", "1.0.0-rc5-dev", "1.3.0", "1.3.0+dev", "1.99.0", OLDEST, NEWEST]
        {
            assert!(errors(Some(version)).is_empty(), "{version}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        let table = [
            (None, "ociVersion: missing; 1.3.0 is the current version"),
            (Some(""), "ociVersion: missing; 1.3.0 is the current version"),
            (Some("99.0.0"), "ociVersion: \"99.0.0\" is not supported; versions are 1.0.0 to 1.3.0"),
            (Some("0.6.0-dev"), "ociVersion: \"0.6.0-dev\" is not supported; versions are 1.0.0 to 1.3.0"),
            (Some("1.0"), "ociVersion: \"1.0\" is no version such as 1.3.0"),
            (Some("1.0.0.0"), "ociVersion: \"1.0.0.0\" is no version such as 1.3.0"),
            (Some("v1.0.0"), "ociVersion: \"v1.0.0\" is no version such as 1.3.0"),
            (Some("1.0.+1"), "ociVersion: \"1.0.+1\" is no version such as 1.3.0"),
            (Some("1.0.0-\n"), "ociVersion: \"1.0.0-\\n\" is no version such as 1.3.0"),
        ];
        for (version, expected) in table {
            assert_eq!(errors(version), [expected]);
        }
    }
}
