//! The name of a container: checked once, a safe file name ever after.
//!
//! It is not the record of that name (the state directory keeps it). Start at [`ContainerId`].

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use crate::{Error, Kind, Result};

/// A container id: letters, digits, `_`, `+`, `-` and `.`, not beginning with a dot, at most 255 bytes.
///
/// The rule is the one of other runtimes, so that an id that works there works here; it makes the id a single
/// component of a path that is neither hidden nor `..`. NAME_MAX gives the length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

/// NAME_MAX of the kernel: the id is the name of a directory.
const LONGEST: usize = 255;

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&OsStr> for ContainerId {
    type Error = Error;

    fn try_from(name: &OsStr) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::new(Kind::InvalidConfig, "container id cannot be empty"));
        }
        match name.to_str().filter(|name| is_valid(name)) {
            Some(name) => Ok(Self(name.to_owned())),
            None => Err(Error::new(Kind::InvalidConfig, format!("invalid container ID format: {name:?}"))
                .with_hint(
                    "letters, digits, _, +, - and . are allowed, no dot in front, at most 255 of them",
                )),
        }
    }
}

impl TryFrom<&str> for ContainerId {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::try_from(OsStr::new(name))
    }
}

impl AsRef<Path> for ContainerId {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_valid(name: &str) -> bool {
    name.len() <= LONGEST
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn ids_that_other_runtimes_take_are_taken() {
        let longest = "a".repeat(255);
        for name in ["web", "0", "_x", "+x", "-x", "a.b", "a..b", "k8s_web-1.2+3", &longest] {
            assert_eq!(ContainerId::try_from(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn whatever_is_no_single_path_component_is_refused() {
        let too_long = "a".repeat(256);
        let table = [".", "..", ".hidden", "a/b", "/", "a b", "a\n", "ä", "a\0", "\u{202e}", &too_long];
        for name in table {
            let error = ContainerId::try_from(name).unwrap_err();
            assert!(error.to_string().contains("invalid container ID format"), "{name:?}: {error}");
        }
        assert!(ContainerId::try_from(OsStr::from_bytes(b"a\xff")).is_err());
    }

    #[test]
    fn an_empty_id_has_its_own_text() {
        let error = ContainerId::try_from("").unwrap_err();
        assert_eq!(error.to_string(), "container id cannot be empty");
        assert_eq!(error.kind(), Kind::InvalidConfig);
    }
}
