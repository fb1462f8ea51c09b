//! The groups of a container that exists: the operations after it was created, possibly in another process.

use std::time::Instant;

use rustix::process::{Pid, Signal};
use sys::error::Context;
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Controllers, Version};
use crate::directory::Directory;
use crate::join::Join;
use crate::record::{Mounts, Place, Record};
use crate::resources::Resources;
use crate::stats::{Meter, Stats};
use crate::watch::Watch;
use crate::{freeze, kill, path, processes, remove, systemd, update};

/// The groups of one container. A group is opened when an operation needs it.
#[derive(Clone, Debug)]
pub struct Cgroup {
    record: Record,
}

impl Cgroup {
    pub(crate) fn new(record: Record) -> Self {
        Self { record }
    }

    /// Where the groups are.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The processes in the container's group and in every group beneath it.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        match self.member_group()? {
            Some((_, group)) => processes::in_tree(&group),
            None => Ok(Vec::new()),
        }
    }

    /// Stops every process; an error if that is not complete within two seconds, after which all run again.
    pub fn freeze(&self) -> Result<()> {
        let (version, group) = self.freezer()?.ok_or_else(|| self.no_freezer())?;
        freeze::freeze(&group, version)
    }

    /// Lets every process go on, whichever freezer stopped it.
    pub fn thaw(&self) -> Result<()> {
        for (version, group) in self.freezers()? {
            freeze::thaw(&group, version)?;
        }
        Ok(())
    }

    /// Whether every process is stopped by a freezer.
    pub fn is_frozen(&self) -> Result<bool> {
        for (version, group) in self.freezers()? {
            if freeze::is_frozen(&group, version)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Kills every process, also a frozen one and one that forks as fast as it can, and waits until none is left. What is
    /// left at `deadline` is an error that names the processes and their states.
    pub fn kill(&self, deadline: Instant) -> Result<()> {
        if let Some(group) = self.unified()? {
            kill::signal_v2(&group)?;
            // What version 1 froze dies only once it is thawed.
            self.thaw_trees()?;
            return kill::wait_v2(&group, deadline);
        }
        let Some((_, group)) = self.member_group()? else { return Ok(()) };
        let freezer = self.freezer()?.map(|(_, group)| group);
        kill::kill_v1(&group, freezer.as_ref(), deadline)
    }

    /// Sends `signal` to every process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.member_group()? {
            Some((_, group)) => kill::signal_members(&group, signal),
            None => Ok(()),
        }
    }

    /// Removes every group with all groups beneath it. Groups that are busy are tried again until `deadline`; an error
    /// names the processes that hold them.
    pub fn remove(&self, deadline: Instant) -> Result<()> {
        let mut failed: Option<Error> =
            self.record.unit.as_ref().and_then(|unit| systemd::stop(unit, deadline).err());
        for place in &self.record.places {
            if let Err(error) = self.remove_place(place, deadline) {
                failed = Some(failed.map_or_else(|| error.clone(), |first| first.and_also(error.clone())));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn remove_place(&self, place: &Place, deadline: Instant) -> Result<()> {
        let root = Directory::mount_point(&place.mount, place.version)?;
        remove::remove(&root, &place.group(&self.record.path), deadline)
    }

    /// Changes the limits that `asked` asks for and leaves the others; a device list replaces the whole device policy. Either
    /// everything is changed or nothing.
    pub fn update(&self, asked: &Resources) -> Result<()> {
        update::update(self, asked)
    }

    /// What a process needs to join the container: its groups, or the groups beneath them that `targets` name.
    ///
    /// A target is a path beneath the container's group, or `controller[,controller]:path` for some of the version 1
    /// hierarchies. Without one, the version 2 group is the one that `init` is in by now.
    pub fn join(&self, targets: &[&str], init: Option<Pid>) -> Result<Join> {
        let targets = targets.iter().map(|target| Target::parse(target)).collect::<Result<Vec<_>>>()?;
        targets.iter().try_for_each(|target| target.check(&self.record.places))?;
        let mut join = Join::default();
        for place in &self.record.places {
            let sub = sub_path(place, &targets);
            let Some(group) = self.group(place)? else { continue };
            let group = match sub {
                "" => self.joinable(place, group, init)?,
                sub => group.open(sub).map_err(|error| error.with_key("--cgroup"))?,
            };
            join.add(place.version, group)?;
        }
        Ok(join)
    }

    /// A process in the group of a container that has groups of its own would stand in the way of the controllers there,
    /// so it goes where init is.
    fn joinable(&self, place: &Place, group: Directory, init: Option<Pid>) -> Result<Directory> {
        let Some(init) = init.filter(|_| place.version == Version::V2) else { return Ok(group) };
        let path = format!("/proc/{}/cgroup", init.as_raw_nonzero());
        let text = std::fs::read_to_string(&path).context("read", || format!("read {path}"))?;
        match beneath(&text, &place.group(&self.record.path)) {
            Some("") | None => Ok(group),
            Some(inner) => Ok(group.find(inner)?.unwrap_or(group)),
        }
    }

    /// The absolute path of each group with the names of its hierarchy.
    pub fn container_paths(&self) -> Vec<(String, String)> {
        self.record.container_paths()
    }

    /// What a `cgroup` mount inside the container must contain.
    pub fn mounts(&self) -> Mounts {
        self.record.mounts()
    }

    /// Opens the statistics files, to be read as often as needed.
    pub fn meter(&self) -> Result<Meter> {
        Meter::new(self)
    }

    /// What the container used so far.
    pub fn stats(&self) -> Result<Stats> {
        self.meter()?.read()
    }

    /// Watches for kills and pressure from now on.
    pub fn watch(&self) -> Result<Watch> {
        Watch::new(self)
    }

    /// How many processes of the container the kernel killed because its memory limit was reached; `None` where memory is
    /// not controlled.
    pub fn oom_kill_count(&self) -> Result<Option<u64>> {
        let Some((version, group)) = self.home(Controller::Memory)? else { return Ok(None) };
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = group.read_if_there(file)?.unwrap_or_default();
        Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()))
    }

    /// The container's group in the hierarchy that drives `controller`.
    pub(crate) fn home(&self, controller: Controller) -> Result<Option<(Version, Directory)>> {
        let lives = |place: &&Place| Controllers::of_v1(&place.names).contains(controller);
        if let Some(place) = self.record.places.iter().find(lives) {
            return Ok(self.group(place)?.map(|group| (Version::V1, group)));
        }
        Ok(self.unified()?.map(|group| (Version::V2, group)))
    }

    /// Every group that exists, with the names of its hierarchy.
    pub(crate) fn groups(&self) -> Result<Vec<(Version, &str, Directory)>> {
        let mut found = Vec::with_capacity(self.record.places.len());
        for place in &self.record.places {
            found.extend(self.group(place)?.map(|group| (place.version, place.names.as_str(), group)));
        }
        Ok(found)
    }

    pub(crate) fn unified(&self) -> Result<Option<Directory>> {
        match self.record.places.iter().find(|place| place.version == Version::V2) {
            Some(place) => self.group(place),
            None => Ok(None),
        }
    }

    /// The group that lists the container's processes best: version 2, else the version 1 freezer, else any.
    fn member_group(&self) -> Result<Option<(Version, Directory)>> {
        if let Some(freezer) = self.freezer()? {
            return Ok(Some(freezer));
        }
        for place in &self.record.places {
            if let Some(group) = self.group(place)? {
                return Ok(Some((place.version, group)));
            }
        }
        Ok(None)
    }

    /// The freezer that serves: version 2 where there is one.
    fn freezer(&self) -> Result<Option<(Version, Directory)>> {
        Ok(self.freezers()?.pop())
    }

    /// Every freezer of the container, version 2 last.
    fn freezers(&self) -> Result<Vec<(Version, Directory)>> {
        let mut found = Vec::new();
        let freezes = |place: &&Place| {
            place.version == Version::V2 || Controllers::of_v1(&place.names).contains(Controller::Freezer)
        };
        for place in self.record.places.iter().filter(freezes) {
            found.extend(self.group(place)?.map(|group| (place.version, group)));
        }
        Ok(found)
    }

    fn thaw_trees(&self) -> Result<()> {
        for (version, group) in self.freezers()? {
            freeze::thaw_tree(&group, version)?;
        }
        Ok(())
    }

    fn no_freezer(&self) -> Error {
        match self.record.is_empty() {
            true => Error::new(Kind::Unsupported, "the container has no control group to freeze"),
            false => Error::new(Kind::Unsupported, "this host has no freezer controller"),
        }
    }

    fn group(&self, place: &Place) -> Result<Option<Directory>> {
        Directory::mount_point(&place.mount, place.version)?.find(&place.group(&self.record.path))
    }
}

/// The version 2 group in `text`, a /proc/PID/cgroup, as a path beneath the group `names`; `None` if it is elsewhere. The
/// path there begins at the root of the reader's cgroup namespace, which may lie above what is mounted.
fn beneath<'a>(text: &'a str, names: &str) -> Option<&'a str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let rest = |path: &'a str| {
        let rest = path.strip_prefix(names)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    };
    let starts = path.match_indices('/').filter_map(|(at, _)| path.get(at + 1..));
    std::iter::once(path).chain(starts).find_map(rest)
}

/// A group beneath the container's that a process is to join.
struct Target<'a> {
    /// The hierarchies that are meant, by controller; empty for all.
    names: &'a str,
    path: String,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (names, path) = text.split_once(':').unwrap_or(("", text));
        let path =
            path::beneath(path).map_err(|error| Error::invalid("--cgroup", error.what().to_owned()))?;
        Ok(Self { names, path })
    }

    /// A name without a hierarchy would leave the process in the container's own group without a word.
    fn check(&self, places: &[Place]) -> Result<()> {
        let has = |name: &str| {
            places
                .iter()
                .any(|place| place.version == Version::V1 && place.names.split(',').any(|own| own == name))
        };
        match self.names.split(',').find(|name| !self.names.is_empty() && !has(name)) {
            None => Ok(()),
            Some(name) => {
                let what = format!("the container has no version 1 hierarchy {name:?}");
                Err(Error::new(Kind::Unsupported, what).with_key("--cgroup"))
            }
        }
    }

    fn means(&self, place: &Place) -> bool {
        let listed = || self.names.split(',').any(|name| place.names.split(',').any(|own| own == name));
        self.names.is_empty() || (place.version == Version::V1 && listed())
    }
}

/// The path beneath the container's group that `targets` give for the hierarchy of `place`; the last one counts.
fn sub_path<'a>(place: &Place, targets: &'a [Target<'_>]) -> &'a str {
    targets.iter().rev().find(|target| target.means(place)).map_or("", |target| &target.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_init_is_found_beneath_the_containers() {
        for (line, names, expected) in [
            ("0::/docker/c1", "docker/c1", Some("")),
            ("0::/docker/c1/init", "docker/c1", Some("init")),
            ("0::/docker/c10", "docker/c1", None),
            ("0::/elsewhere", "docker/c1", None),
            ("0::/shown/docker/c1/a/b", "docker/c1", Some("a/b")),
            ("0::/c1/c1/x", "c1", Some("c1/x")),
            ("0::/", "c1", None),
        ] {
            let text = format!("2:cpu:/docker/c1\n{line}\n");
            assert_eq!(beneath(&text, names), expected, "{line}");
        }
    }
}
