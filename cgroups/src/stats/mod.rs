//! What a container used: numbers as the kernel's files give them, for `events`, for a shim's metrics and for embedders.
//!
//! [`Meter`] opens the files of one container once and reads them as often as it is asked. The version decides the shape,
//! since the two versions count different things: [`Stats::V1`] and [`Stats::V2`] have the fields of containerd's metrics of
//! the same version. A hybrid host gives version 1; what lives in its version 2 tree is filled in from there.
//! [`events::data`] makes of both the JSON that runc prints.

pub mod events;
mod meter;
pub(crate) mod parse;
mod v1;
mod v2;

pub use meter::Meter;
pub use v1::{
    BlkioEntry, BlkioV1, CpuV1, Cpuset, HugetlbV1, MemoryEntry, MemoryStatV1, MemoryV1, OomControl, StatsV1,
};
pub use v2::{CpuV2, HugetlbV2, IoEntry, IoV2, MemoryEvents, MemoryStatV2, MemoryV2, StatsV2};

use serde::Serialize;

/// One reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Stats {
    /// Version 1 and hybrid.
    V1(StatsV1),
    /// Pure version 2.
    V2(StatsV2),
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PidsStats {
    /// Tasks now.
    pub current: u64,
    /// Tasks at most; [`u64::MAX`] is unlimited.
    pub limit: u64,
}

/// Pressure stall information of one resource (the kernel's accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Time in which at least one task waited.
    pub some: PsiData,
    /// Time in which all tasks waited.
    pub full: PsiData,
}

/// One line of pressure: averages in percent, the total in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PsiData {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Since the group exists.
    pub total: u64,
}

/// RDMA resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RdmaStats {
    /// In use.
    pub current: Vec<RdmaEntry>,
    /// At most.
    pub limit: Vec<RdmaEntry>,
}

/// RDMA resources of one device; [`u32::MAX`] is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RdmaEntry {
    /// The device.
    pub device: String,
    /// Handles.
    pub hca_handles: u32,
    /// Objects.
    pub hca_objects: u32,
}
