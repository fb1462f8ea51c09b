//! The state of a container as the specification writes it, for hooks and for the command `state`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime.md#state>

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::state::{State, Status};

/// The document; the order of its keys is that of other runtimes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a> {
    /// The version of the specification.
    pub oci_version: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// The pid of the first process; 0 once it is gone.
    pub pid: i32,
    /// The word for what the container is doing.
    pub status: &'static str,
    /// The absolute path of the bundle.
    pub bundle: Cow<'a, str>,
    /// The absolute path of the root file system.
    pub rootfs: Cow<'a, str>,
    /// RFC 3339, UTC.
    pub created: &'a str,
    /// The annotations of the configuration.
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations<'a>,
    /// The uid that created it, as other runtimes write it: text.
    pub owner: String,
}

/// Annotations in the order of the configuration.
#[derive(Debug)]
pub struct Annotations<'a>(pub &'a [(String, String)]);

impl Annotations<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

/// What the specification names, and nothing else: hooks and the agent of a filter get this.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForHooks<'a> {
    /// The version of the specification.
    pub oci_version: &'a str,
    id: &'a str,
    status: &'static str,
    bundle: Cow<'a, str>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations<'a>,
    // Last, so that a process that knows the number only later can put it in.
    /// The pid of the first process as the reader sees it.
    pub pid: i32,
}

/// The state as the command prints it.
pub fn document(state: &State, status: Status) -> Document<'_> {
    let alive = status != Status::Stopped;
    Document {
        oci_version: &state.oci_version,
        id: &state.id,
        pid: state.init.filter(|_| alive).map_or(0, |init| init.pid),
        status: status.name(),
        bundle: state.bundle.to_string_lossy(),
        rootfs: state.rootfs.to_string_lossy(),
        created: &state.created,
        annotations: Annotations(&state.annotations),
        owner: state.owner.to_string(),
    }
}

/// The state of the specification for a reader that sees the first process as `pid`.
pub fn specified(state: &State, status: Status, pid: i32) -> ForHooks<'_> {
    ForHooks {
        oci_version: &state.oci_version,
        id: &state.id,
        status: status.name(),
        bundle: state.bundle.to_string_lossy(),
        annotations: Annotations(&state.annotations),
        pid,
    }
}

/// The text of [`specified`], for the standard input of a hook.
pub fn for_hook(state: &State, status: Status, pid: i32) -> String {
    // Strings and numbers always have a JSON form.
    serde_json::to_string(&specified(state, status, pid)).unwrap_or_default()
}

/// The state before and after the number of the pid, for hooks that the new process runs.
pub fn around_pid(state: &State, status: Status) -> (Vec<u8>, Vec<u8>) {
    let mut text = for_hook(state, status, 0).into_bytes();
    let tail = text.split_off(text.len().saturating_sub(1));
    text.truncate(text.len().saturating_sub(1));
    (text, tail)
}
