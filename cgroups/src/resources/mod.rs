//! `linux.resources`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups)): from what is written
//! to what the kernel gets.
//!
//! Each section has one file with the same parts in the same order: the shape, the rules, the conversion for both versions,
//! the tests. A conversion is pure: it makes [`Write`]s, or errors that name the key. A zero means that nothing is asked,
//! as in every engine, except where the spec gives zero a meaning.

pub mod blkio;
pub mod cpu;
pub mod devices;
pub mod hugetlb;
pub mod memory;
pub mod network;
pub mod pids;
pub mod rdma;
mod unified;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sys::{Error, Result};

use crate::controller::Homes;
use crate::resources::write::Writes;

pub use write::{IfAbsent, Write};

/// `linux.resources` as written; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// Device access rules, in order.
    pub devices: Option<Vec<devices::DeviceRule>>,
    /// Memory and swap.
    pub memory: Option<memory::Memory>,
    /// CPU time and cpusets.
    pub cpu: Option<cpu::Cpu>,
    /// Number of tasks.
    pub pids: Option<pids::Pids>,
    /// Block I/O.
    #[serde(rename = "blockIO")]
    pub block_io: Option<blkio::BlockIo>,
    /// Huge pages.
    pub hugepage_limits: Option<Vec<hugetlb::HugepageLimit>>,
    /// Network class and priorities.
    pub network: Option<network::Network>,
    /// RDMA resources by device.
    pub rdma: Option<BTreeMap<String, rdma::Rdma>>,
    /// Version 2 files by name.
    pub unified: Option<BTreeMap<String, String>>,
}

/// Limits in force in a group that exists; the default is a new group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InForce {
    /// Bytes; `None` is unlimited.
    pub(crate) memory_limit: Option<i64>,
    /// Microseconds; `None` is unlimited.
    pub(crate) cpu_quota: Option<i64>,
}

impl Resources {
    /// Everything that is to be written into a new group, devices apart, or every rule that is broken.
    pub(crate) fn writes(&self, homes: Homes) -> std::result::Result<Vec<Write>, Vec<Error>> {
        self.changes(homes, InForce::default())
    }

    /// The same for a group whose limits are `in_force`.
    pub(crate) fn changes(
        &self,
        homes: Homes,
        in_force: InForce,
    ) -> std::result::Result<Vec<Write>, Vec<Error>> {
        let mut writes = Writes::new(homes);
        if let Some(memory) = &self.memory {
            memory.convert(in_force.memory_limit, &mut writes);
        }
        if let Some(cpu) = &self.cpu {
            cpu.convert(in_force.cpu_quota, &mut writes);
        }
        if let Some(pids) = &self.pids {
            pids.convert(&mut writes);
        }
        if let Some(block_io) = &self.block_io {
            block_io.convert(&mut writes);
        }
        hugetlb::convert(self.hugepage_limits.as_deref().unwrap_or_default(), &mut writes);
        if let Some(network) = &self.network {
            network.convert(&mut writes);
        }
        rdma::convert(self.rdma.iter().flatten(), &mut writes);
        unified::convert(self.unified.iter().flatten(), &mut writes);
        writes.finish()
    }

    /// The device policy: deny everything, then the rules in order, then what every container may use.
    pub(crate) fn device_policy(&self) -> std::result::Result<devices::Policy, Vec<Error>> {
        devices::Policy::new(self.devices.as_deref().unwrap_or_default())
    }
}

/// All of `errors` as one, the first in front.
pub(crate) fn all<T>(result: std::result::Result<T, Vec<Error>>) -> Result<T> {
    result.map_err(|errors| {
        let all = errors.into_iter().reduce(Error::and_also);
        all.unwrap_or_else(|| Error::new(sys::Kind::Internal, "a conversion failed without an error"))
    })
}

#[cfg(test)]
mod tests;
