//! What is particular to version 2 groups when they are made: controllers are enabled from the top down, and a group with
//! processes cannot enable them (cgroups(7), "no internal processes").

use rustix::io::Errno;
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Controllers, Version};
use crate::directory::Directory;
use crate::resources::Write;

/// Controllers that threaded groups do not have (cgroup-v2.rst, "Threads").
const DOMAIN_ONLY: [Controller; 4] =
    [Controller::Memory, Controller::Blkio, Controller::Hugetlb, Controller::Rdma];

/// The controllers that a group has, and why it lacks the others.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    enabled: Controllers,
    refused: Vec<Refusal>,
}

/// A controller that a group above did not enable.
#[derive(Debug)]
struct Refusal {
    controller: String,
    file: String,
    errno: Errno,
}

impl Refusals {
    /// Whether the group has a controller that no threaded group can pass on, so that the group above it is not threaded.
    pub(crate) fn show_a_domain(&self) -> bool {
        DOMAIN_ONLY.into_iter().any(|controller| self.enabled.contains(controller))
    }

    /// An error if `write` needs a controller that the group lacks.
    pub(crate) fn check(&self, write: &Write) -> Result<()> {
        let Some(controller) = write.controller else { return Ok(()) };
        let name = controller.name_v2();
        if write.version == Version::V1 || name.is_empty() || self.enabled.contains(controller) {
            return Ok(());
        }
        let Some(refusal) = self.refused.iter().find(|refusal| refusal.controller == name) else {
            let error = write.no_controller().with_key(write.key.clone());
            return Err(error.with_hint("nobody enabled it for the container's group"));
        };
        let what = format!("enable the {name} controller in {}", refusal.file);
        let error = Error::kernel(what, "write", refusal.errno).with_key(write.key.clone());
        Err(match refusal.errno {
            Errno::BUSY => error
                .with_hint("that group has processes of its own, and a group is either a leaf or a parent"),
            Errno::OPNOTSUPP => error.with_hint("that group is threaded or has threaded groups beneath it"),
            Errno::ACCESS | Errno::PERM => error.with_hint("the caller was not delegated that group"),
            _ => error,
        })
    }
}

/// Makes every controller that is `available` at `root` available to the group `names`.
///
/// What cannot be enabled is an error only once somebody asks for it. In the usual case everything is enabled already and
/// this costs one read.
pub(crate) fn enable(root: &Directory, available: &str, names: &str, group: &Directory) -> Result<Refusals> {
    let available = available.trim();
    let mut present = group.read_short("cgroup.controllers")?;
    let mut refused = Vec::new();
    if !missing(available, &present).is_empty() {
        enable_above(root, names, available, &mut refused)?;
        present = group.read("cgroup.controllers")?;
    }
    Ok(Refusals { enabled: Controllers::of_v2(&present), refused })
}

fn missing<'a>(wanted: &'a str, present: &str) -> Vec<&'a str> {
    let there = |name: &&str| !present.split_ascii_whitespace().any(|other| other == *name);
    wanted.split_ascii_whitespace().filter(there).collect()
}

/// Walks from the root to the parent of `names`, since a group can enable only what its own parent enabled.
fn enable_above(root: &Directory, names: &str, available: &str, refused: &mut Vec<Refusal>) -> Result<()> {
    enable_in(root, available, refused)?;
    for (end, _) in names.match_indices('/') {
        if let Some(above) = names.get(..end) {
            enable_in(&root.open(above)?, available, refused)?;
        }
    }
    Ok(())
}

fn enable_in(group: &Directory, available: &str, refused: &mut Vec<Refusal>) -> Result<()> {
    let file = "cgroup.subtree_control";
    let names = missing(available, &group.read(file)?);
    let together: Vec<String> = names.iter().map(|name| format!("+{name}")).collect();
    if names.is_empty() || group.try_write(file, &together.join(" ")).is_ok() {
        return Ok(());
    }
    for (name, text) in names.iter().zip(together) {
        if let Err(errno) = group.try_write(file, &text) {
            refused.push(Refusal { controller: (*name).to_owned(), file: group.path_of(file), errno });
        }
    }
    Ok(())
}

/// No process can join a group beneath a threaded one unless it is threaded too, which a container's group never is.
pub(crate) fn refuse_threaded(group: &Directory) -> Result<()> {
    let Some(kind) = group.read_if_there("cgroup.type")? else { return Ok(()) };
    match kind.trim() {
        "domain" | "domain threaded" => Ok(()),
        kind => {
            let what = format!("{} has the type {kind:?}, so no process can be put into it", group.path());
            Err(Error::new(Kind::Unsupported, what)
                .with_hint("a group above it is threaded; choose a path outside of it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_controllers_keep_their_order() {
        assert_eq!(missing("cpuset cpu io\n", "io cpuset\n"), ["cpu"]);
        assert_eq!(missing("cpu cpuset", "cpu"), ["cpuset"]);
        assert!(missing("", "cpu").is_empty());
    }
}
