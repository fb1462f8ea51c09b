//! `linux.cgroupsPath`: which group the container gets
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cgroups-path)).
//!
//! With the cgroupfs driver, root's groups lie beneath the root of each mounted hierarchy, whether the path is absolute
//! or relative, and an absent path means `/<container id>`. Without root's rights a relative or absent path lies beneath
//! the caller's own group, the only place where something may be writable. With the systemd driver the value is
//! `slice:prefix:name`.
//!
//! A path is a claim of the configuration. It is refused rather than repaired when it contains `..`, so no text of a
//! bundle ever names a group outside; the kernel is asked to confirm it again when the path is opened.

use sys::{Error, Result};

const KEY: &str = "linux.cgroupsPath";

/// PATH_MAX of the kernel, which counts the final NUL.
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;

/// A place beneath the root of a hierarchy or beneath the caller's own group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPath {
    /// Names joined by single slashes, neither leading nor trailing; never empty, never with `..`.
    pub(crate) names: String,
    /// How the path was written.
    pub(crate) origin: Origin,
}

/// How the path of a group came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration gives an absolute path.
    Absolute,
    /// The configuration gives a relative path.
    Relative,
    /// The configuration gives none; the path is the container's id.
    Default,
}

impl GroupPath {
    /// The group of container `id` with the configured `cgroups_path`; an empty path is an absent one.
    pub(crate) fn new(cgroups_path: Option<&str>, id: &str) -> Result<Self> {
        let (text, origin) = match cgroups_path {
            None | Some("") => (id, Origin::Default),
            Some(path) if path.starts_with('/') => (path, Origin::Absolute),
            Some(path) => (path, Origin::Relative),
        };
        Ok(Self { names: normal_names(text)?, origin })
    }
}

/// A path beneath a container's own group, for a process that joins a part of it.
pub(crate) fn beneath(path: &str) -> Result<String> {
    if path.trim_matches('/').is_empty() {
        return Ok(String::new());
    }
    normal_names(path)
}

fn normal_names(path: &str) -> Result<String> {
    check_text(path)?;
    let mut names = String::with_capacity(path.len());
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        check_name(path, name)?;
        if !names.is_empty() {
            names.push('/');
        }
        names.push_str(name);
    }
    if names.is_empty() {
        return Err(invalid(format!("{path:?} names the root of the hierarchy")));
    }
    Ok(names)
}

fn check_text(path: &str) -> Result<()> {
    if path.len() >= MAX_PATH {
        return Err(invalid(format!("{} bytes long; a path has at most {}", path.len(), MAX_PATH - 1)));
    }
    if path.chars().any(char::is_control) {
        return Err(invalid(format!("{path:?} contains a control character")));
    }
    Ok(())
}

fn check_name(path: &str, name: &str) -> Result<()> {
    if name == ".." {
        return Err(invalid(format!("{path:?} contains \"..\"")));
    }
    if name.len() > MAX_NAME {
        return Err(invalid(format!("a name of {} bytes; the kernel takes {MAX_NAME}", name.len())));
    }
    Ok(())
}

fn invalid(what: String) -> Error {
    Error::invalid(KEY, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_path_has_one_meaning() {
        for (path, names, origin) in [
            (None, "c1", Origin::Default),
            (Some(""), "c1", Origin::Default),
            (Some("/docker/c1"), "docker/c1", Origin::Absolute),
            (Some("//docker/./c1/"), "docker/c1", Origin::Absolute),
            (Some("a/b"), "a/b", Origin::Relative),
            (Some("a..b/...c"), "a..b/...c", Origin::Relative),
            (Some("slice:prefix:name"), "slice:prefix:name", Origin::Relative),
        ] {
            let expected = GroupPath { names: names.to_owned(), origin };
            assert_eq!(GroupPath::new(path, "c1"), Ok(expected), "{path:?}");
        }
    }

    #[test]
    fn a_path_that_leaves_its_place_is_refused() {
        let long = format!("/{}", "a/".repeat(2048));
        let long_name = format!("/{}", "a".repeat(256));
        for path in ["/", ".", "//", "..", "/../x", "/a/../../x", "a/..", "/a\nb", "/a\0", &long, &long_name]
        {
            let error = GroupPath::new(Some(path), "c1").unwrap_err();
            assert_eq!(error.key(), Some("linux.cgroupsPath"), "{path:?}");
        }
    }

    #[test]
    fn a_sub_path_may_be_empty_but_never_leaves() {
        assert_eq!(beneath("/").unwrap(), "");
        assert_eq!(beneath("/a//b").unwrap(), "a/b");
        assert!(beneath("../x").is_err());
        assert!(beneath("a/../../x").is_err());
    }
}
