//! Removing a container's groups, with everything the container made beneath them.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use sys::{Error, Result};

use crate::directory::Directory;
use crate::kill;

/// Removes the group `names` beneath `root` and all groups beneath it; a group that is not there is fine.
///
/// EBUSY means processes that are still dying or groups that are still there: it is tried again until `deadline`.
pub(crate) fn remove(root: &Directory, names: &str, deadline: Instant) -> Result<()> {
    let (above, name) = names.rsplit_once('/').unwrap_or(("", names));
    match above {
        "" => remove_from(root, name, deadline),
        above => match root.find(above)? {
            Some(parent) => remove_from(&parent, name, deadline),
            None => Ok(()),
        },
    }
}

fn remove_from(parent: &Directory, name: &str, deadline: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(500);
    loop {
        match parent.remove(name) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(errno) => {
                return Err(Error::kernel(
                    format!("remove the group {}", parent.path_of(name)),
                    "unlinkat",
                    errno,
                ));
            }
        }
        let Some(group) = parent.find(name)? else { return Ok(()) };
        if remove_beneath(&group)? {
            continue;
        }
        if Instant::now() >= deadline {
            return Err(kill::stuck(&group, "remove"));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Removes the groups beneath `group` that are empty, the deepest first, and says whether any was removed.
fn remove_beneath(group: &Directory) -> Result<bool> {
    let mut removed = false;
    let mut parents = vec![group.open(".")?];
    let mut next = 0;
    while let Some(parent) = parents.get(next) {
        let mut found = Vec::new();
        for name in parent.children()? {
            found.extend(parent.find(&name)?);
        }
        parents.append(&mut found);
        next += 1;
    }
    for parent in parents.iter().rev() {
        for name in parent.children()? {
            removed |= parent.remove(&name).is_ok();
        }
    }
    Ok(removed)
}
