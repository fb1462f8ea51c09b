//! The bundle: a directory with config.json, opened once.
//!
//! The directory is kept as a descriptor; its path is only for people and for the state. What config.json means is not
//! here but in [`crate::config`].
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/bundle.md>

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use sys::error::Context;

use crate::config::Spec;
use crate::{Error, Kind, Result, json};

/// The name of the configuration in the bundle.
pub const CONFIG: &str = "config.json";

/// The largest configuration in bytes. Whatever writes larger ones is broken or hostile.
pub const LARGEST: u64 = 64 << 20;

/// The deepest nesting of a configuration, unknown keys included. A text shorter than this cannot be deeper.
pub const DEEPEST: usize = 1 << 16;

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    directory: OwnedFd,
    /// The file of the configuration; a relative path starts at the directory.
    config: PathBuf,
}

impl Bundle {
    /// Opens the directory at `path`, which may be relative to the caller's working directory.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none, [`Kind::Kernel`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let absolute =
            std::path::absolute(path).context("getcwd", || format!("bundle {}", path.display()))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| not_found(errno, format!("bundle {}", path.display())))?;
        Ok(Self { path: absolute.components().collect(), directory, config: PathBuf::from(CONFIG) })
    }

    /// The same bundle with its configuration in another file; a relative path starts at the bundle.
    #[must_use]
    pub fn with_config(mut self, config: Option<&Path>) -> Self {
        if let Some(config) = config {
            self.config = config.to_owned();
        }
        self
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Reads config.json.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without the file, [`Kind::InvalidConfig`] with the key, line and column for a text that is
    /// not a configuration.
    pub fn config(&self) -> Result<Spec> {
        parse(&self.config_text()?, &self.config.to_string_lossy())
    }

    /// The bytes of config.json.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without the file, [`Kind::InvalidConfig`] if it is no regular file or too large.
    pub fn config_text(&self) -> Result<Vec<u8>> {
        read(self.directory(), &self.config).map_err(|error| match error.kind() {
            Kind::NotFound => Error::new(
                Kind::NotFound,
                format!(
                    "JSON specification file {} not found in {}",
                    self.config.display(),
                    self.path.display()
                ),
            ),
            _ => error,
        })
    }
}

/// Reads a JSON file of the user: regular, at most [`LARGEST`]. `path` may be relative to `directory`.
///
/// # Errors
/// As [`Bundle::config_text`].
pub fn read(directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<u8>> {
    // Without O_NONBLOCK a FIFO of this name would hold the open for ever.
    let file = open(directory, path, OFlags::NONBLOCK)?;
    let name = || path.display().to_string();
    let stat = fstat(&file).context("fstat", name)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(Kind::InvalidConfig, format!("{} is no regular file", name())));
    }
    let size = u64::try_from(stat.st_size).unwrap_or_default().min(LARGEST);
    bounded(file, path, usize::try_from(size).unwrap_or_default() + 1)
}

/// Reads a JSON file that the command line names: also a pipe, as shells make it of `<(...)`.
///
/// # Errors
/// As [`read`].
pub fn read_argument(path: &Path) -> Result<Vec<u8>> {
    bounded(open(CWD, path, OFlags::empty())?, path, 0)
}

fn open(directory: BorrowedFd<'_>, path: &Path, more: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | more;
    openat(directory, path, flags, Mode::empty())
        .map_err(|errno| not_found(errno, path.display().to_string()))
}

fn bounded(file: OwnedFd, path: &Path, capacity: usize) -> Result<Vec<u8>> {
    let name = || path.display().to_string();
    let mut text = Vec::with_capacity(capacity);
    File::from(file).take(LARGEST + 1).read_to_end(&mut text).context("read", name)?;
    if text.len() as u64 > LARGEST {
        let what = format!("{} is larger than {} MiB", name(), LARGEST >> 20);
        return Err(Error::new(Kind::InvalidConfig, what));
    }
    Ok(text)
}

/// Reads `text`, the content of the file `name`, as one JSON document and nothing else.
///
/// # Errors
/// [`Kind::InvalidConfig`] with the key, line and column.
pub fn parse<T: DeserializeOwned>(text: &[u8], name: &str) -> Result<T> {
    let refuse = |what: &str| Err(Error::new(Kind::InvalidConfig, format!("{name}: {what}")));
    if text.starts_with(b"\xef\xbb\xbf") {
        return refuse("begins with a BOM (byte order mark); save it as UTF-8 without one");
    }
    if text.len() > DEEPEST && json::path::depth(text) > DEEPEST {
        return refuse(&format!("nested deeper than {DEEPEST} levels"));
    }
    json::strict::from_slice(text).map_err(|error| explain(&error, text, name))
}

/// serde_json's error with the key that it is about.
fn explain(error: &serde_json::Error, text: &[u8], name: &str) -> Error {
    let (line, column) = (error.line(), error.column());
    let what = error.to_string();
    let what = what.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&what);
    let what = match what.split_once("expected struct ") {
        Some((found, _)) => format!("{found}expected an object"),
        None => what.to_owned(),
    };
    let key = json::path::at(text, json::path::offset(text, line, column));
    if key.is_empty() {
        return Error::new(Kind::InvalidConfig, format!("{name}: {what} (line {line} column {column})"));
    }
    Error::invalid(key, format!("{what} ({name} line {line} column {column})"))
}

fn not_found(errno: Errno, what: String) -> Error {
    let error = Error::kernel(what, "open", errno);
    if errno == Errno::NOENT { error.with_kind(Kind::NotFound) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &[u8]) -> String {
        parse::<Spec>(text, CONFIG).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        let table: [(&[u8], &str); 14] = [
            (b"", "config.json: EOF while parsing a value (line 1 column 0)"),
            (
                b"\xef\xbb\xbf{}",
                "config.json: begins with a BOM (byte order mark); save it as UTF-8 without one",
            ),
            (b"{} {}", "config.json: trailing characters (line 1 column 4)"),
            (b"{}\0", "config.json: trailing characters (line 1 column 3)"),
            (b"[]", "config.json: invalid type: sequence, expected an object (line 1 column 0)"),
            (
                br#"{"hostname": "a", "hostname": "b"}"#,
                "hostname: duplicate field `hostname` (config.json line 1 column 28)",
            ),
            (
                br#"{"annotations": {"a.b": "1", "a.b": "2"}}"#,
                "annotations: duplicate key \"a.b\" (config.json line 1 column 40)",
            ),
            (
                br#"{"hostname": "\ud800"}"#,
                "hostname: unexpected end of hex escape (config.json line 1 column 21)",
            ),
            (
                b"{\"hostname\": \"\xff\"}",
                "hostname: invalid unicode code point (config.json line 1 column 15)",
            ),
            (
                b"{\"hostname\": \"a\nb\"}",
                "hostname: control character (\\u0000-\\u001F) found while parsing a string (config.json line 2 column 0)",
            ),
            (
                b"{\"linux\": {\n  \"namespaces\": [{}, {}, {\"type\": 5}]}}",
                "linux.namespaces[2].type: invalid type: integer `5`, expected a string (config.json line 2 column 35)",
            ),
            (
                br#"{"process": {"user": {"uid": "0"}}}"#,
                "process.user.uid: invalid type: string \"0\", expected an integer (config.json line 1 column 32)",
            ),
            (
                br#"{"process": {"user": {"uid": 1.0}}}"#,
                "process.user.uid: invalid type: floating point `1.0`, expected an integer (config.json line 1 column 32)",
            ),
            (
                br#"{"process": {"args": ["a", 1]}}"#,
                "process.args[1]: invalid type: integer `1`, expected a string (config.json line 1 column 28)",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn unknown_keys_are_ignored_whatever_is_in_them() {
        let nested = |levels: usize| format!(r#"{{"x": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        for levels in [1, 1000, 60_000] {
            assert!(parse::<Spec>(nested(levels).as_bytes(), CONFIG).is_ok(), "{levels}");
        }
        assert_eq!(error(nested(4_000_000).as_bytes()), "config.json: nested deeper than 65536 levels");
        let spec = parse::<Spec>(br#"{"HostName": "a", "hostName": "b"}"#, CONFIG).unwrap();
        assert_eq!(spec.hostname, None);
    }

    #[test]
    fn a_bundle_is_a_directory_with_a_regular_config() {
        let directory = std::env::temp_dir().join(format!("it-bundle-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let bundle = Bundle::open(&directory.join(".")).unwrap();
        assert_eq!(bundle.path(), directory);
        let error = bundle.config().unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("JSON specification file config.json not found"));

        rustix::fs::mkdirat(bundle.directory(), CONFIG, Mode::RWXU).unwrap();
        assert_eq!(bundle.config().unwrap_err().to_string(), "config.json is no regular file");
        std::fs::remove_dir(directory.join(CONFIG)).unwrap();

        rustix::fs::mknodat(bundle.directory(), CONFIG, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(bundle.config().unwrap_err().to_string(), "config.json is no regular file");
        std::fs::remove_file(directory.join(CONFIG)).unwrap();

        let file = File::create(directory.join(CONFIG)).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert_eq!(bundle.config().unwrap_err().to_string(), "config.json is larger than 64 MiB");

        std::fs::write(directory.join(CONFIG), r#"{"ociVersion": "1.3.0"}"#).unwrap();
        assert_eq!(bundle.config().unwrap().oci_version.as_deref(), Some("1.3.0"));
        std::fs::remove_dir_all(&directory).unwrap();
        let error = Bundle::open(&directory).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
