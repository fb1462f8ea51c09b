//! `linux.resources.pids`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#pids)).

use serde::{Deserialize, Serialize};

use super::write::{Field, Writes};
use crate::controller::{Controller, Version};

/// The number of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Pids {
    /// Tasks at most; -1 (any negative number) is unlimited, 0 lets init start and nothing beside it.
    pub limit: Option<i64>,
}

impl Pids {
    /// On version 2 init is cloned into its group, which a limit of 0 would refuse. 1 means the same once init is there: no
    /// task can be added.
    pub(super) fn convert(&self, out: &mut Writes) {
        let Some(limit) = self.limit else { return };
        out.field(Controller::Pids, "linux.resources.pids.limit", |version| match (version, limit) {
            (_, ..0) => Field::file("pids.max", "max"),
            (Version::V2, 0) => Field::file("pids.max", 1),
            (_, limit) => Field::file("pids.max", limit),
        });
    }
}
