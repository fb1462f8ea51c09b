//! The cgroup filesystems as the host sees them: where a process is in them, and what a group's files say.
//!
//! Both versions may be mounted at once; a controller is in one of them. Start at [`Host::needs`].

use crate::probe;
use crate::row::{Stop, fail, skip};
use crate::seen::Seen;
use std::fs;
use std::path::PathBuf;

/// Which version has a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy of its own.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One mounted hierarchy.
struct Hierarchy {
    version: Version,
    at: PathBuf,
    controllers: Vec<String>,
}

/// What is mounted.
fn hierarchies() -> Vec<Hierarchy> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = probe::mounts(&text);
    let rows = mounts.as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| hierarchy(&Seen(row.clone()))).collect()
}

fn hierarchy(mount: &Seen) -> Option<Hierarchy> {
    let at = PathBuf::from(mount.text("/at"));
    match mount.text("/type").as_str() {
        "cgroup" => {
            let options = mount.at("/super");
            let words = options.as_array()?.iter().filter_map(|word| Some(word.as_str()?.to_owned()));
            Some(Hierarchy { version: Version::V1, at, controllers: words.collect() })
        }
        "cgroup2" => {
            let text = fs::read_to_string(at.join("cgroup.controllers")).ok()?;
            let controllers = text.split_whitespace().map(str::to_owned).collect();
            Some(Hierarchy { version: Version::V2, at, controllers })
        }
        _ => None,
    }
}

/// Which version has the controller; skipped where none has.
pub(crate) fn needs(controller: &str) -> Result<Version, Stop> {
    if controller == "rdma"
        && !fs::read_dir("/sys/class/infiniband").is_ok_and(|mut list| list.next().is_some())
    {
        return skip("this host has no RDMA device");
    }
    let all = hierarchies();
    let found = all.iter().find(|one| one.controllers.iter().any(|name| name == controller));
    found.map_or_else(
        || skip(format!("this host offers no {controller} controller here")),
        |one| Ok(one.version),
    )
}

/// Whether any version 1 hierarchy is mounted.
pub(crate) fn has_v1() -> bool {
    hierarchies().iter().any(|one| one.version == Version::V1)
}

/// Whether the unified hierarchy is mounted at the usual place.
pub(crate) fn is_pure_v2() -> bool {
    hierarchies().iter().any(|one| one.version == Version::V2 && one.at.as_os_str() == "/sys/fs/cgroup")
}

/// The directory of a process in the hierarchy of a controller, or in the unified one for the empty name.
pub(crate) fn of(pid: i32, controller: &str) -> Result<PathBuf, Stop> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for hierarchy in hierarchies() {
        let listed = hierarchy.controllers.iter().any(|name| name == controller);
        let wanted = listed || controller.is_empty() && hierarchy.version == Version::V2;
        let line = text.lines().find_map(|line| match hierarchy.version {
            Version::V2 => line.strip_prefix("0::"),
            Version::V1 => {
                let (names, path) = line.split_once(':')?.1.split_once(':')?;
                names.split(',').any(|name| name == controller).then_some(path)
            }
        });
        if let Some(path) = line.filter(|_| wanted) {
            return Ok(hierarchy.at.join(path.trim_start_matches('/')));
        }
    }
    skip(format!("this host offers no {controller} controller here"))
}

/// What a file of the process's group says: one name in version 1 and one in version 2.
pub(crate) fn read(pid: i32, controller: &str, v1: &str, v2: &str) -> Result<String, Stop> {
    let name = match needs(controller)? {
        Version::V1 => v1,
        Version::V2 => v2,
    };
    let path = of(pid, controller)?.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => fail(format!("{}: {error}", path.display())),
    }
}

/// Every group of that name, in any hierarchy.
pub(crate) fn named(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = hierarchies().into_iter().map(|one| one.at).collect();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_str() == Some(name) {
                    found.push(entry.path());
                }
                pending.push(entry.path());
            }
        }
    }
    found
}

/// Makes a group of that name in the first hierarchy: what a careless runtime leaves.
pub(crate) fn make_somewhere(name: &str) -> std::io::Result<()> {
    hierarchies().first().map_or(Ok(()), |one| fs::create_dir(one.at.join(name)))
}

/// Whether the unified hierarchy is mounted anywhere.
pub(crate) fn has_unified() -> bool {
    hierarchies().iter().any(|one| one.version == Version::V2)
}
