//! `linux.resources.rdma`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#rdma)): the same file on both versions.

use serde::{Deserialize, Serialize};

use super::write::{Field, Writes};
use crate::controller::Controller;

/// The limits of one RDMA device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rdma {
    /// Handles at most.
    pub hca_handles: Option<u32>,
    /// Objects at most.
    pub hca_objects: Option<u32>,
}

pub(super) fn convert<'a>(devices: impl Iterator<Item = (&'a String, &'a Rdma)>, out: &mut Writes) {
    for (name, limits) in devices {
        let key = format!("linux.resources.rdma.{name}");
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            out.invalid(key, format!("{name:?} is not the name of a device"));
            continue;
        }
        let words = [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)];
        let words: Vec<String> =
            words.iter().filter_map(|(word, value)| Some(format!("{word}={}", (*value)?))).collect();
        if !words.is_empty() {
            let value = format!("{name} {}", words.join(" "));
            out.field(Controller::Rdma, key, |_| Field::file("rdma.max", value));
        }
    }
}
