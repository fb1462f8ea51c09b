//! What is particular to version 1 groups when they are made.

use sys::{Error, Kind, Result};

use crate::controller::Controller;
use crate::directory::Directory;
use crate::layout::Hierarchy;
use crate::resources::devices::{Policy, V1State};

/// A new cpuset has no CPU and no memory node, and no process can join it; it gets those of its parent.
pub(crate) fn settle(hierarchy: &Hierarchy, names: &str, group: &Directory) -> Result<()> {
    if hierarchy.controllers.contains(Controller::Cpuset) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            inherit(&hierarchy.root, names, group, file)?;
        }
    }
    Ok(())
}

/// The value of `file` in `group`, taken from the nearest group above that has one if it is empty.
fn inherit(root: &Directory, names: &str, group: &Directory, file: &str) -> Result<String> {
    let own = group.read_short(file)?;
    if !own.trim().is_empty() {
        return Ok(own);
    }
    let value = match names.rsplit_once('/') {
        Some((above, _)) => inherit(root, above, &root.open(above)?, file)?,
        None => root.read_short(file)?,
    };
    group.write(file, value.trim())?;
    Ok(value)
}

/// Makes `policy` the device policy of a new group, which has that of its parent.
pub(crate) fn set_devices(group: &Directory, policy: &Policy) -> Result<()> {
    write_devices(group, &V1State::new(policy)?.writes())
}

/// Changes the device policy of a group to `policy` without denying in between what is allowed before and after.
pub(crate) fn change_devices(group: &Directory, policy: &Policy) -> Result<()> {
    let list = group.read("devices.list")?;
    let current = V1State::parse(&list).ok_or_else(|| {
        Error::new(Kind::Kernel, format!("{} is not understood", group.path_of("devices.list")))
    })?;
    write_devices(group, &V1State::new(policy)?.writes_from(&current))
}

fn write_devices(group: &Directory, writes: &[(&str, String)]) -> Result<()> {
    // Most writes go to one of the two files, which is opened once.
    for of_one_file in writes.chunk_by(|(a, _), (b, _)| a == b) {
        let file = of_one_file.first().map_or("", |(file, _)| *file);
        let written = group.write_each(file, of_one_file.iter().map(|(_, value)| value.as_str()));
        written.map_err(|error| {
            let hint =
                "a group cannot allow what the group above it denies, nor be reset with groups beneath it";
            error.with_key("linux.resources.devices").with_hint(hint)
        })?;
    }
    Ok(())
}
