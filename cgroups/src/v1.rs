//! What is particular to version 1 groups when they are made.

use sys::Result;

use crate::controller::Controller;
use crate::directory::Directory;
use crate::layout::Hierarchy;

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
    let own = group.read(file)?;
    if !own.trim().is_empty() {
        return Ok(own);
    }
    let value = match names.rsplit_once('/') {
        Some((above, _)) => inherit(root, above, &root.open(above)?, file)?,
        None => root.read(file)?,
    };
    group.write(file, value.trim())?;
    Ok(value)
}
