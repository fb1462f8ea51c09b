//! Where a container's groups are: what the state record keeps, so that another process can find them again.
//!
//! A record is made by [`crate::plan`] before the first group exists, and written before it too: whatever happens
//! afterwards, everything that has to be removed is on record. Names that the record holds may therefore not exist.

use serde::{Deserialize, Serialize};
use sys::Result;
use sys::error::Context;

use crate::cgroup::Cgroup;
use crate::controller::Version;
use crate::layout::{Hierarchy, Layout, own_groups};
use crate::request::Driver;

/// The groups of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who made the groups.
    pub driver: Driver,
    /// The group's path beneath `Place::base`, without a leading slash.
    pub(crate) path: String,
    /// One entry for each hierarchy.
    pub(crate) places: Vec<Place>,
    /// Version 2: the group beneath the container's own in which init lives.
    pub(crate) leaf: Option<String>,
    /// systemd: the unit.
    pub(crate) unit: Option<Unit>,
}

/// The group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) version: Version,
    /// The mount point of the hierarchy.
    pub(crate) mount: String,
    /// The names of the hierarchy as in /proc/self/cgroup; empty for version 2.
    pub(crate) names: String,
    /// The path beneath the mount point that `Record::path` is relative to, without slashes at its ends.
    pub(crate) base: String,
}

/// A transient unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// The slice as systemd gets it.
    pub(crate) slice: String,
    /// The instance that owns it.
    pub(crate) instance: Instance,
}

/// Which systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instance {
    /// The host's, process 1.
    System,
    /// The one of the calling user.
    User,
}

impl Place {
    /// The group's path beneath the mount point.
    pub(crate) fn group(&self, path: &str) -> String {
        join(&self.base, path)
    }
}

/// `first/second`, or the one that is not empty.
pub(crate) fn join(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second.to_owned(),
        (_, true) => first.to_owned(),
        _ => format!("{first}/{second}"),
    }
}

impl Record {
    /// The groups that the process `pid` is in, for a container that another runtime made. A hierarchy in whose root the
    /// process is has no group of the container, so it is left out. Nothing says who made the groups: use the record to
    /// read and to watch, not to remove.
    ///
    /// # Errors
    /// `Kernel` where the process is gone.
    pub fn of_process(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/cgroup");
        let text = std::fs::read_to_string(&path).context("read", || path)?;
        let layout = Layout::detect()?;
        let found = |hierarchy: &Hierarchy| {
            let base = hierarchy.own_group(&text).filter(|base| !base.is_empty())?;
            let (mount, names) = (hierarchy.mount.clone(), hierarchy.names.clone());
            Some(Place { version: hierarchy.version, mount, names, base })
        };
        Ok(Self { places: layout.hierarchies.iter().filter_map(found).collect(), ..Self::default() })
    }

    /// The groups that the calling process is in, which a container without groups of its own stays in: what its mounts of
    /// type cgroup show. Not for removing.
    ///
    /// # Errors
    /// `Kernel` where /proc cannot be read.
    pub fn of_caller(layout: &Layout) -> Result<Self> {
        let own = own_groups()?;
        let found = |hierarchy: &Hierarchy| {
            let (mount, names) = (hierarchy.mount.clone(), hierarchy.names.clone());
            Some(Place { version: hierarchy.version, mount, names, base: hierarchy.own_group(&own)? })
        };
        Ok(Self { places: layout.hierarchies.iter().filter_map(found).collect(), ..Self::default() })
    }

    /// Whether the container has no group of its own: the driver is `disabled`, or nothing was permitted and nothing
    /// asked for.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether init lives in a group beneath the container's own.
    pub fn has_leaf(&self) -> bool {
        self.leaf.is_some() && self.places.iter().any(|place| place.version == Version::V2)
    }

    /// The container's groups, for every later operation. Nothing is opened until it is needed.
    pub fn open(&self) -> Result<Cgroup> {
        Ok(Cgroup::new(self.clone()))
    }

    /// The absolute path of each group with the names of its hierarchy (`cpu,cpuacct`, `name=systemd`, empty for version
    /// 2): what a bind mount of the container's own group takes as its source.
    pub fn container_paths(&self) -> Vec<(String, String)> {
        let path_of = |place: &Place| format!("{}/{}", place.mount, place.group(&self.path));
        self.places.iter().map(|place| (place.names.clone(), path_of(place))).collect()
    }

    /// What a `cgroup` mount inside the container must contain.
    pub fn mounts(&self) -> Mounts {
        if let [Place { version: Version::V2, .. }] = self.places.as_slice() {
            let source = self.container_paths().pop().map(|(_, path)| path).unwrap_or_default();
            return Mounts::Unified { source };
        }
        Mounts::Hierarchies { mounts: self.hierarchy_mounts(), links: self.links() }
    }

    fn hierarchy_mounts(&self) -> Vec<HierarchyMount> {
        let mount = |(place, (_, source)): (&Place, (String, String))| HierarchyMount {
            version: place.version,
            name: place.directory_name().to_owned(),
            options: place.names.clone(),
            source,
        };
        self.places.iter().zip(self.container_paths()).map(mount).collect()
    }

    /// `cpu -> cpu,cpuacct` for hierarchies that carry several controllers.
    fn links(&self) -> Vec<(String, String)> {
        let joint = self.places.iter().filter(|place| place.names.contains(','));
        joint
            .flat_map(|place| {
                place.names.split(',').map(|name| (name.to_owned(), place.directory_name().to_owned()))
            })
            .filter(|(name, directory)| name != directory)
            .collect()
    }
}

impl Place {
    /// The last name of the mount point, which is what the container's mount is called too.
    fn directory_name(&self) -> &str {
        self.mount.rsplit_once('/').map_or(self.mount.as_str(), |(_, name)| name)
    }
}

/// What a `cgroup` mount inside a container must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// Pure version 2: one `cgroup2` mount, or without a cgroup namespace a bind of the container's own group.
    Unified {
        /// Absolute path of the container's group on the host.
        source: String,
    },
    /// Version 1 and hybrid: a small tmpfs with one directory for each hierarchy, and links for controllers that share one.
    Hierarchies {
        /// One mount for each hierarchy; empty if the container has no groups.
        mounts: Vec<HierarchyMount>,
        /// Symbolic links: name and target.
        links: Vec<(String, String)>,
    },
}

/// One mount of [`Mounts::Hierarchies`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyMount {
    /// The file system is `cgroup` or `cgroup2`.
    pub version: Version,
    /// Name of the directory inside the tmpfs.
    pub name: String,
    /// Mount options that select the hierarchy: `cpu,cpuacct`, `name=systemd`; empty for version 2.
    pub options: String,
    /// Absolute path of the container's group on the host, for a bind where there is no cgroup namespace.
    pub source: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(version: Version, mount: &str, names: &str) -> Place {
        Place { version, mount: mount.to_owned(), names: names.to_owned(), base: String::new() }
    }

    fn record(places: Vec<Place>) -> Record {
        Record { path: "docker/c1".to_owned(), places, ..Record::default() }
    }

    #[test]
    fn version_2_needs_one_mount() {
        let source = "/sys/fs/cgroup/docker/c1".to_owned();
        let record = record(vec![place(Version::V2, "/sys/fs/cgroup", "")]);
        assert_eq!(record.mounts(), Mounts::Unified { source });
    }

    #[test]
    fn joint_controllers_get_links() {
        let record = record(vec![
            place(Version::V1, "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
            place(Version::V1, "/sys/fs/cgroup/systemd", "name=systemd"),
            place(Version::V2, "/sys/fs/cgroup/unified", ""),
        ]);
        let Mounts::Hierarchies { mounts, links } = record.mounts() else {
            panic!("a hybrid has hierarchies")
        };
        let names: Vec<_> = mounts.iter().map(|m| (m.version, m.name.as_str(), m.options.as_str())).collect();
        assert_eq!(
            names,
            [
                (Version::V1, "cpu,cpuacct", "cpu,cpuacct"),
                (Version::V1, "systemd", "name=systemd"),
                (Version::V2, "unified", ""),
            ]
        );
        assert_eq!(mounts[0].source, "/sys/fs/cgroup/cpu,cpuacct/docker/c1");
        let target = "cpu,cpuacct".to_owned();
        assert_eq!(links, [("cpu".to_owned(), target.clone()), ("cpuacct".to_owned(), target)]);
    }

    #[test]
    fn a_path_is_joined_to_its_base() {
        for (base, path, joined) in [("", "a", "a"), ("b", "", "b"), ("b/c", "a", "b/c/a"), ("", "", "")] {
            assert_eq!(join(base, path), joined);
        }
    }
}
