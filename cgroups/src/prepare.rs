//! From a request to groups that are ready to be joined: create, check, limit, open.
//!
//! ```text
//! plan      names every group, touches nothing          the caller writes the record now
//! prepare   mkdir, enable or inherit, limits, devices, delegation, open; on failure everything made is removed
//! (clone)   Prepared::unified_group for clone3, Prepared::tasks for the child
//! adopt     systemd only: the unit is started around the waiting child
//! ```

use std::os::fd::BorrowedFd;

use rustix::process::Pid;
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Homes, Version};
use crate::groups::{Groups, Made};
use crate::join::Join;
use crate::layout::{Hierarchy, Layout, own_groups};
use crate::path::{self, GroupPath, Origin};
use crate::record::{Instance, Place, Record};
use crate::request::{Driver, Request};
use crate::resources::devices::V1State;
use crate::systemd;

/// Every rule that `request` breaks on this host, in the order of the configuration; nothing is touched.
pub fn validate(request: &Request<'_>, layout: &Layout) -> Vec<Error> {
    let mut errors: Vec<Error> = Vec::new();
    match request.driver {
        Driver::Systemd => errors.extend(systemd::validate(request, layout)),
        Driver::Cgroupfs | Driver::Disabled => {
            errors.extend(GroupPath::new(request.cgroups_path, request.id).err());
        }
    }
    errors.extend(request.leaf.and_then(|leaf| check_leaf(leaf).err()));
    let homes = homes(request, layout);
    errors.extend(request.resources.writes(homes).err().into_iter().flatten());
    match request.resources.device_policy() {
        Err(broken) => errors.extend(broken),
        Ok(policy) if homes.of(Controller::Devices) == Some(Version::V1) => {
            errors.extend(V1State::new(&policy).err());
        }
        Ok(_) => {}
    }
    errors
}

/// A leaf is one name.
fn check_leaf(leaf: &str) -> Result<()> {
    match path::beneath(leaf)?.as_str() {
        name if !name.is_empty() && name == leaf && !leaf.contains('/') => Ok(()),
        _ => Err(Error::new(Kind::InvalidConfig, format!("{leaf:?} is not the name of a group"))),
    }
}

/// Where the controllers are, as far as the driver of `request` reaches.
fn homes(request: &Request<'_>, layout: &Layout) -> Homes {
    match request.driver {
        Driver::Disabled => Homes::default(),
        Driver::Cgroupfs | Driver::Systemd => layout.controllers(),
    }
}

/// Who makes the groups where the caller does not care: systemd on a pure version 2 host on which it runs, unless
/// `cgroups_path` is no unit's; else we do.
pub fn usual_driver(cgroups_path: Option<&str>, instance: Instance, layout: &Layout) -> Driver {
    if systemd::is_usable(cgroups_path, instance, layout) { Driver::Systemd } else { Driver::Cgroupfs }
}

/// Names the groups of `request` without touching anything, for the record that is written before the first of them
/// exists.
pub fn plan(request: &Request<'_>, layout: &Layout) -> Result<Record> {
    if request.driver == Driver::Systemd {
        return systemd::plan(request, layout);
    }
    let path = GroupPath::new(request.cgroups_path, request.id)?;
    let mut record = Record { driver: request.driver, ..Record::default() };
    if request.driver != Driver::Disabled {
        record.places = places(layout, request.rootless && path.origin != Origin::Absolute)?;
        record.path = path.names;
        record.leaf = request.leaf.map(str::to_owned);
    }
    Ok(record)
}

fn places(layout: &Layout, beneath_own: bool) -> Result<Vec<Place>> {
    if !beneath_own {
        return Ok(layout.hierarchies.iter().map(|h| place(h, String::new())).collect());
    }
    let own = own_groups()?;
    let own_place = |h: &Hierarchy| base(h, &own).map(|base| place(h, base));
    Ok(layout.hierarchies.iter().filter_map(own_place).collect())
}

fn place(hierarchy: &Hierarchy, base: String) -> Place {
    let (mount, names) = (hierarchy.mount.clone(), hierarchy.names.clone());
    Place { version: hierarchy.version, mount, names, base }
}

/// Where an unprivileged caller puts its containers. Its own version 2 group holds processes, so controllers could not
/// be enabled beneath it; the container becomes its sibling.
fn base(hierarchy: &Hierarchy, own: &str) -> Option<String> {
    let group = hierarchy.own_group(own)?;
    match hierarchy.version {
        Version::V1 => Some(group),
        Version::V2 => Some(group.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())),
    }
}

/// Groups that exist, have their limits and can be joined.
#[derive(Debug)]
pub struct Prepared {
    record: Record,
    join: Join,
    systemd: Option<systemd::Pending>,
}

impl Prepared {
    /// The groups that were really made, which can be fewer than [`plan`] named.
    pub fn record(&self) -> Record {
        self.record.clone()
    }

    /// The version 2 group for clone3(2) with CLONE_INTO_CGROUP; present on hybrid hosts too.
    pub fn unified_group(&self) -> Option<BorrowedFd<'_>> {
        self.join.unified_group()
    }

    /// The `tasks` files of the version 1 groups: the child writes `0` to each while it has one thread.
    pub fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.join.tasks()
    }

    /// Version 2: the `cgroup.procs` of the leaf that [`Request::leaf`] asks for. The child writes `0` to it after it has
    /// unshared its cgroup namespace, whose root stays the container's group.
    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.join.leaf()
    }

    /// systemd: starts the unit around `pid`, the cloned child that waits. With the other drivers there is nothing to do.
    pub fn adopt(&self, pid: Pid) -> Result<()> {
        match &self.systemd {
            Some(pending) => pending.adopt(pid),
            None => Ok(()),
        }
    }
}

/// Makes the groups of `request`, limits them and opens what a child needs to join them.
///
/// On failure every group that was made is removed again. A group that exists already is used only if it is empty and not
/// frozen.
pub fn prepare(request: &Request<'_>, layout: &Layout) -> Result<Prepared> {
    if let Some(error) = validate(request, layout).into_iter().reduce(Error::and_also) {
        return Err(error);
    }
    let record = plan(request, layout)?;
    match request.driver {
        Driver::Disabled => Ok(Prepared { record, join: Join::default(), systemd: None }),
        Driver::Cgroupfs => cgroupfs(request, layout, record),
        Driver::Systemd => {
            let pending = systemd::prepare(request, layout, &record)?;
            Ok(Prepared { record, join: Join::default(), systemd: Some(pending) })
        }
    }
}

fn cgroupfs(request: &Request<'_>, layout: &Layout, record: Record) -> Result<Prepared> {
    let mut made = Made::default();
    build(request, layout, record, &mut made).map_err(|error| made.undo(error))
}

fn build<'a>(
    request: &Request<'_>,
    layout: &'a Layout,
    mut record: Record,
    made: &mut Made<'a>,
) -> Result<Prepared> {
    let mut groups = Groups::make(request, layout, &record, made)?;
    groups.settle()?;
    groups.limit(request, layout)?;
    groups.delegate(request.owner)?;
    record.places = groups.places();
    let join = groups.join(request, made)?;
    Ok(Prepared { record, join, systemd: None })
}
