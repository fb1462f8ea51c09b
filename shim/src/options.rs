//! The options of the runtime, however they arrive: as runc's, as a text, or not at all.
//!
//! They are saved in the bundle, since `delete` runs as another process and may find nothing else.

use std::path::{Path, PathBuf};

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure, Outcome};
use crate::proto::Any;
use crate::proto::options::{LinuxCreateOptions, RuncOptions, RuntimeOptions};

/// Where states are when nobody says otherwise.
const ROOT: &str = "/run/containerd/runc";

/// The names of the files in the bundle.
const SAVED: &str = "options.json";
const RUNTIME: &str = "runtime";

/// Options with names as runc's shim saves them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    /// The root is entered without pivot_root.
    pub(crate) no_pivot_root: bool,
    /// No session keyring is made.
    pub(crate) no_new_keyring: bool,
    /// A cgroup for the shim itself.
    pub(crate) shim_cgroup: String,
    /// The owner of the pipes.
    pub(crate) io_uid: u32,
    /// The group of the pipes.
    pub(crate) io_gid: u32,
    /// The runtime to run; empty for the library in this program.
    pub(crate) binary_name: String,
    /// Where states are, without the namespace.
    pub(crate) root: String,
    /// systemd makes the cgroups.
    pub(crate) systemd_cgroup: bool,
    /// Where images of checkpoints go.
    pub(crate) criu_image_path: String,
    /// Where CRIU works.
    pub(crate) criu_work_path: String,
}

impl Options {
    /// Reads what containerd sends.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for bytes that are not what they say, and for a type that is not known: ignoring it would run the
    /// container otherwise than asked.
    pub(crate) fn read(any: Option<&Any>) -> Outcome<Self> {
        let invalid = |what: String| Failure::new(Code::InvalidArgument, what);
        match any.map(|any| (any.name(), any.value.as_slice())) {
            None | Some(("", [])) => Ok(Self::default()),
            Some(("containerd.runc.v1.Options", value)) => RuncOptions::decode(value)
                .map(Self::from)
                .map_err(|error| invalid(format!("runtime options: {error}"))),
            Some(("containerd.linux.runc.CreateOptions", value)) => LinuxCreateOptions::decode(value)
                .map(Self::from)
                .map_err(|error| invalid(format!("runtime options: {error}"))),
            Some(("runtimeoptions.v1.Options" | "containerd.runtimeoptions.v1.Options", value)) => {
                let options = RuntimeOptions::decode(value)
                    .map_err(|error| invalid(format!("runtime options: {error}")))?;
                Self::from_runtime_options(&options)
            }
            Some((name, _)) => Err(invalid(format!("runtime options of an unknown type {name:?}"))),
        }
    }

    fn from_runtime_options(options: &RuntimeOptions) -> Outcome<Self> {
        if options.config_body.is_empty() && options.config_path.is_empty() {
            return Ok(Self::default());
        }
        let text = if options.config_body.is_empty() {
            std::fs::read_to_string(&options.config_path).map_err(|error| {
                Failure::new(
                    Code::InvalidArgument,
                    format!("runtime options: {}: {error}", options.config_path),
                )
            })?
        } else {
            String::from_utf8_lossy(&options.config_body).into_owned()
        };
        Ok(Self::from_text(&text))
    }

    /// A flat TOML table with the names of containerd's configuration. Tables, and names that are not known, are skipped.
    fn from_text(text: &str) -> Self {
        let mut options = Self::default();
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            if let Some((name, value)) = line.split_once('=') {
                options.set(name.trim().trim_matches('"'), value.trim());
            }
        }
        options
    }

    fn set(&mut self, name: &str, value: &str) {
        let value = match value.strip_prefix(['"', '\'']) {
            Some(quoted) => quoted.split(['"', '\'']).next().unwrap_or_default(),
            None => value.split('#').next().unwrap_or_default().trim(),
        };
        let text = || value.to_owned();
        match name {
            "NoPivotRoot" => self.no_pivot_root = value == "true",
            "NoNewKeyring" => self.no_new_keyring = value == "true",
            "ShimCgroup" => self.shim_cgroup = text(),
            "IoUid" => self.io_uid = value.parse().unwrap_or(0),
            "IoGid" => self.io_gid = value.parse().unwrap_or(0),
            "BinaryName" => self.binary_name = text(),
            "Root" => self.root = text(),
            "SystemdCgroup" => self.systemd_cgroup = value == "true",
            "CriuImagePath" => self.criu_image_path = text(),
            "CriuWorkPath" => self.criu_work_path = text(),
            _ => {}
        }
    }

    /// The directory of states of a namespace.
    pub(crate) fn root(&self, namespace: &str) -> PathBuf {
        let root = if self.root.is_empty() { ROOT } else { &self.root };
        Path::new(root).join(namespace)
    }

    /// The runtime to run instead of the library. This program's own name means the library, as a caller that found the
    /// shim may not know better.
    pub(crate) fn binary(&self) -> Option<&str> {
        let name = self.binary_name.rsplit('/').next().unwrap_or_default();
        (!name.is_empty() && name != "orlop").then_some(self.binary_name.as_str())
    }

    /// Saves them in the bundle.
    pub(crate) fn save(&self, bundle: &Path) -> std::io::Result<()> {
        std::fs::write(bundle.join(SAVED), serde_json::to_vec(self)?)?;
        std::fs::write(bundle.join(RUNTIME), &self.binary_name)
    }

    /// What was saved; the defaults where nothing was, or nothing that can be read.
    pub(crate) fn saved(bundle: &Path) -> Self {
        let text = std::fs::read(bundle.join(SAVED)).unwrap_or_default();
        let mut options: Self = serde_json::from_slice(&text).unwrap_or_default();
        if options.binary_name.is_empty() {
            options.binary_name = std::fs::read_to_string(bundle.join(RUNTIME)).unwrap_or_default();
        }
        options
    }
}

impl From<RuncOptions> for Options {
    fn from(options: RuncOptions) -> Self {
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
        }
    }
}

impl From<LinuxCreateOptions> for Options {
    fn from(options: LinuxCreateOptions) -> Self {
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_every_type_are_read() {
        let runc = RuncOptions {
            binary_name: "/usr/bin/crun".into(),
            root: "/r".into(),
            systemd_cgroup: true,
            ..RuncOptions::default()
        };
        let body = b"BinaryName = \"/usr/bin/crun\" # mine\nRoot = '/r'\nSystemdCgroup = true # yes\nOther = 1\n[t]\n";
        let text = RuntimeOptions { config_body: body.to_vec(), ..RuntimeOptions::default() };
        let expected = Options::from(runc.clone());
        for any in [
            Any::new("containerd.runc.v1.Options", &runc),
            Any::new("type.googleapis.com/containerd.runc.v1.Options", &runc),
            Any::new("runtimeoptions.v1.Options", &text),
        ] {
            assert_eq!(Options::read(Some(&any)), Ok(expected.clone()), "{}", any.type_url);
        }
        let before = LinuxCreateOptions { io_uid: 7, shim_cgroup: "/g".into(), ..Default::default() };
        let read = Options::read(Some(&Any::new("containerd.linux.runc.CreateOptions", &before))).unwrap();
        assert_eq!((read.io_uid, read.shim_cgroup.as_str()), (7, "/g"));
        // A file that the options name.
        let file = std::env::temp_dir().join(format!("it-shim-options-{}", std::process::id()));
        std::fs::write(&file, body).unwrap();
        let config_path = file.display().to_string();
        let text = RuntimeOptions { config_path, ..RuntimeOptions::default() };
        let any = Any::new("runtimeoptions.v1.Options", &text);
        assert_eq!(Options::read(Some(&any)), Ok(expected.clone()));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Options::read(Some(&any)).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(Options::read(None), Ok(Options::default()));
        assert_eq!(Options::read(Some(&Any::default())), Ok(Options::default()));
        let error = Options::read(Some(&Any::new("windows.Options", &runc))).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }

    #[test]
    fn the_root_and_the_binary_have_defaults() {
        let options = Options::default();
        assert_eq!(options.root("ns"), Path::new("/run/containerd/runc/ns"));
        assert_eq!(options.binary(), None);
        let binary = |name: &str| Options { binary_name: name.into(), ..Options::default() };
        assert_eq!(binary("/usr/bin/runc").binary(), Some("/usr/bin/runc"));
        assert_eq!(binary("/usr/bin/orlop").binary(), None);
    }
}
