//! Paths of the configuration as text. Nothing here is looked up: what a path means is decided when it is opened.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Problems;

/// A path of the host with its terminator; a NUL inside is reported at `key` and gives an empty path.
pub fn host_path(path: &Path, key: &str, problems: &mut Problems) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_else(|_| {
        problems.invalid(key.to_owned(), "contains NUL");
        CString::default()
    })
}

/// An absolute path without empty components, `.` and `..`; a relative one is taken from the root.
///
/// This is how a path is compared with others, never how it is opened: `..` after a symbolic link leads elsewhere.
pub fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether the cleaned path `path` is `directory` or beneath it.
pub fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_as_text() {
        let table = [
            ("/", "/"),
            ("", "/"),
            ("a", "/a"),
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("/proc/../proc/./self", "/proc/self"),
        ];
        for (path, cleaned) in table {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn within_means_whole_components() {
        assert!(is_within("/proc", "/proc"));
        assert!(is_within("/proc/self", "/proc"));
        assert!(!is_within("/process", "/proc"));
    }
}
