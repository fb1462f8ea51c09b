//! `linux.cgroupsPath` for systemd: which slice and which unit.

use sys::{Error, Result};

const KEY: &str = "linux.cgroupsPath";

/// Unit names are file names.
const MAX_NAME: usize = 255;

/// `slice:prefix:name`, the form that the systemd driver takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitPath {
    /// The slice to put the unit into, ends in `.slice`; empty for the driver's default.
    pub(crate) slice: String,
    /// The whole name of the unit: `prefix-name.scope`.
    pub(crate) unit: String,
}

impl UnitPath {
    /// The unit of container `id` with the configured `cgroups_path`; an empty path is an absent one.
    pub(crate) fn new(cgroups_path: Option<&str>, id: &str) -> Result<Self> {
        let path = cgroups_path.unwrap_or_default();
        if path.is_empty() {
            return Self::from_parts("", "orlop", id);
        }
        let mut parts = path.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(slice), Some(prefix), Some(name), None) => Self::from_parts(slice, prefix, name),
            _ => Err(invalid(format!("{path:?} is not of the form \"slice:prefix:name\""))
                .with_hint("the systemd driver needs that form; a path needs the cgroupfs driver")),
        }
    }

    fn from_parts(slice: &str, prefix: &str, name: &str) -> Result<Self> {
        for part in [slice, prefix, name] {
            check_unit_text(part)?;
        }
        if name.is_empty() {
            return Err(invalid("the name of the unit is empty".to_owned()));
        }
        if !slice.is_empty() && !valid_slice(slice) {
            return Err(invalid(format!("{slice:?} is not a slice; a slice is called \"a-b.slice\"")));
        }
        if name.ends_with(".slice") {
            return Err(invalid(format!("{name:?} is a slice, and a slice has no processes")));
        }
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        if unit.len() > MAX_NAME {
            return Err(invalid(format!("a unit name of {} bytes; systemd takes {MAX_NAME}", unit.len())));
        }
        Ok(Self { slice: slice.to_owned(), unit })
    }
}

/// systemd.unit(5): letters, digits, `:-_.\` and `@`; the colon is the separator here.
fn check_unit_text(part: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.\\@".contains(c);
    match part.chars().find(|c| !legal(*c)) {
        Some(c) => Err(invalid(format!("{part:?} contains {c:?}, which no unit name can have"))),
        None => Ok(()),
    }
}

/// systemd.slice(5): parts between dashes are never empty; `-.slice` is the root slice.
fn valid_slice(slice: &str) -> bool {
    slice == "-.slice"
        || slice.strip_suffix(".slice").is_some_and(|stem| stem.split('-').all(|part| !part.is_empty()))
}

/// Where a slice is: `a-b.slice` lies in `a.slice`.
pub(super) fn slice_path(slice: &str) -> String {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    if stem == "-" {
        return String::new();
    }
    let mut path = String::new();
    for (end, _) in stem.match_indices('-').chain(std::iter::once((stem.len(), ""))) {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(stem.get(..end).unwrap_or(stem));
        path.push_str(".slice");
    }
    path
}

fn invalid(what: String) -> Error {
    Error::invalid(KEY, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_named_by_prefix_and_name() {
        for (path, slice, unit) in [
            (None, "", "orlop-c1.scope"),
            (Some("system.slice:docker:abc"), "system.slice", "docker-abc.scope"),
            (Some("a-b.slice::abc"), "a-b.slice", "abc.scope"),
            (Some(":docker:abc"), "", "docker-abc.scope"),
            (Some("-.slice:x:y"), "-.slice", "x-y.scope"),
        ] {
            let expected = UnitPath { slice: slice.to_owned(), unit: unit.to_owned() };
            assert_eq!(UnitPath::new(path, "c1"), Ok(expected), "{path:?}");
        }
    }

    #[test]
    fn a_slice_lies_in_the_slices_that_its_name_tells() {
        for (slice, path) in [
            ("system.slice", "system.slice"),
            ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", ""),
        ] {
            assert_eq!(slice_path(slice), path);
        }
    }

    #[test]
    fn a_malformed_unit_path_is_refused() {
        for path in
            ["/docker/c1", "a:b", "a.slice:b:c:d", "a:b:c", "a--b.slice:x:y", "a.slice:x/../:y", "a.slice:x:"]
        {
            assert!(UnitPath::new(Some(path), "c1").is_err(), "{path:?}");
        }
    }
}
