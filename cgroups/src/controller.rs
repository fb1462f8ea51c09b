//! The controllers by name, and where each of them lives on this host.
//!
//! On a hybrid host some controllers live in version 1 hierarchies and the others in the version 2 tree, so every
//! question about a controller starts with [`Homes::of`].

use serde::{Deserialize, Serialize};

/// The two interfaces of control groups (cgroups(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// One hierarchy for each set of controllers.
    V1,
    /// The unified hierarchy.
    V2,
}

/// A controller that a field of `linux.resources`, the freezer or a statistic needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Block I/O: `blkio` on version 1, `io` on version 2.
    Blkio,
    /// CPU time.
    Cpu,
    /// CPU accounting, version 1 only: version 2 always accounts.
    Cpuacct,
    /// CPUs and memory nodes.
    Cpuset,
    /// Device access: a list on version 1, a program on version 2.
    Devices,
    /// The freezer: a controller on version 1, part of every group on version 2.
    Freezer,
    /// Huge pages.
    Hugetlb,
    /// Memory and swap.
    Memory,
    /// Network class, version 1 only.
    NetCls,
    /// Network priority, version 1 only.
    NetPrio,
    /// Number of tasks.
    Pids,
    /// RDMA resources.
    Rdma,
}

use Controller::*;

/// Each controller with its name on version 1 and on version 2; an empty name means that the version has none.
const NAMES: [(Controller, &str, &str); 12] = [
    (Blkio, "blkio", "io"),
    (Cpu, "cpu", "cpu"),
    (Cpuacct, "cpuacct", ""),
    (Cpuset, "cpuset", "cpuset"),
    (Devices, "devices", ""),
    (Freezer, "freezer", ""),
    (Hugetlb, "hugetlb", "hugetlb"),
    (Memory, "memory", "memory"),
    (NetCls, "net_cls", ""),
    (NetPrio, "net_prio", ""),
    (Pids, "pids", "pids"),
    (Rdma, "rdma", "rdma"),
];

impl Controller {
    /// The kernel's name on version 1.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// The kernel's name on version 2, empty where that version has no such controller.
    pub fn name_v2(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }
}

/// A set of controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers(u16);

impl Controllers {
    /// The controllers among `names` that a version 1 hierarchy can have, as in the options of its mount: `cpu,cpuacct`.
    pub fn of_v1(names: &str) -> Self {
        Self::collect(names.split(','), |row| row.1)
    }

    /// The controllers in the text of a `cgroup.controllers` file.
    pub fn of_v2(names: &str) -> Self {
        Self::collect(names.split_ascii_whitespace(), |row| row.2)
    }

    fn collect<'a>(
        names: impl Iterator<Item = &'a str>,
        column: fn(&(Controller, &'static str, &'static str)) -> &'static str,
    ) -> Self {
        let bits = names
            .filter(|name| !name.is_empty())
            .filter_map(|name| NAMES.iter().find(|row| column(row) == name))
            .fold(0, |bits, row| bits | Self::bit(row.0));
        Self(bits)
    }

    /// Whether `controller` is in the set.
    pub fn contains(self, controller: Controller) -> bool {
        self.0 & Self::bit(controller) != 0
    }

    /// The controllers of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn bit(controller: Controller) -> u16 {
        1 << controller as u16
    }
}

/// Where each controller lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Homes {
    /// The controllers of all version 1 hierarchies together.
    pub v1: Controllers,
    /// The controllers of the version 2 tree, `None` where there is no such tree.
    pub v2: Option<Controllers>,
}

impl Homes {
    /// The version whose files drive `controller`, `None` if the host has no such controller.
    ///
    /// Device policy and the freezer are part of every version 2 group without being listed as controllers.
    pub fn of(self, controller: Controller) -> Option<Version> {
        if self.v1.contains(controller) {
            return Some(Version::V1);
        }
        let listed = self.v2?.contains(controller);
        let built_in = matches!(controller, Devices | Freezer);
        (listed || built_in).then_some(Version::V2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_is_used_where_it_lives() {
        let hybrid = Homes {
            v1: Controllers::of_v1("cpu,cpuacct").union(Controllers::of_v1("devices")),
            v2: Some(Controllers::of_v2("hugetlb io\n")),
        };
        for (controller, home) in [
            (Cpu, Some(Version::V1)),
            (Cpuacct, Some(Version::V1)),
            (Devices, Some(Version::V1)),
            (Hugetlb, Some(Version::V2)),
            (Blkio, Some(Version::V2)),
            (Freezer, Some(Version::V2)),
            (Memory, None),
        ] {
            assert_eq!(hybrid.of(controller), home, "{controller:?}");
        }
        assert_eq!(Homes { v1: Controllers::of_v1("cpu"), v2: None }.of(Devices), None);
    }

    #[test]
    fn named_hierarchies_have_no_controllers() {
        assert_eq!(Controllers::of_v1("name=systemd"), Controllers::default());
        assert_eq!(Controllers::of_v1(""), Controllers::default());
    }
}
