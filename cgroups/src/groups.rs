//! The groups of one container while they are prepared with the cgroupfs driver.

use rustix::io::Errno;
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Version};
use crate::directory::Directory;
use crate::join::Join;
use crate::layout::{Hierarchy, Layout};
use crate::record::{Place, Record};
use crate::request::{Owner, Request};
use crate::resources::devices::Policy;
use crate::resources::{self, Write};
use crate::{delegate, device_program, freeze, processes, v1, v2};

const PATH_KEY: &str = "linux.cgroupsPath";

/// How often a group above ours is made anew when somebody removes it before ours is in it.
const PARENT_TRIES: u32 = 8;

/// The groups that were made, in reverse order of removal.
#[derive(Debug, Default)]
pub(crate) struct Made<'a>(Vec<(&'a Hierarchy, String)>);

impl<'a> Made<'a> {
    /// Removes what was made; what cannot be removed is added to `error`.
    pub(crate) fn undo(self, error: Error) -> Error {
        self.0.into_iter().rev().fold(error, |error, (hierarchy, names)| {
            match remove(&hierarchy.root, &names) {
                Ok(()) => error,
                Err(other) => error.and_also(other),
            }
        })
    }

    /// The group `names` of `hierarchy` and whether it is new; groups above it are made where they are missing.
    fn group(&mut self, hierarchy: &'a Hierarchy, names: &str) -> Result<(Directory, Age)> {
        let Some((above, name)) = names.rsplit_once('/') else {
            return self.child(hierarchy, &hierarchy.root, names, names);
        };
        for _ in 0..PARENT_TRIES {
            let parent = match hierarchy.root.find(above)? {
                Some(parent) => parent,
                None => self.group(hierarchy, above)?.0,
            };
            match self.child(hierarchy, &parent, name, names) {
                Err(error) if error.errno() == Some(Errno::NOENT) => {}
                other => return other,
            }
        }
        Err(make_error(hierarchy.root.path_of(names), Errno::NOENT))
    }

    fn child(
        &mut self,
        hierarchy: &'a Hierarchy,
        parent: &Directory,
        name: &str,
        names: &str,
    ) -> Result<(Directory, Age)> {
        let made = parent.make(name).map_err(|errno| make_error(parent.path_of(name), errno))?;
        if made {
            self.0.push((hierarchy, names.to_owned()));
        }
        let directory = parent.open(name)?;
        Ok((directory, if made { Age::New } else { Age::Old }))
    }
}

fn make_error(path: String, errno: Errno) -> Error {
    let error = Error::kernel(format!("create the group {path}"), "mkdirat", errno);
    match errno {
        Errno::AGAIN => error.with_hint("cgroup.max.descendants or cgroup.max.depth above it is reached"),
        Errno::NOSPC => error.with_hint("the kernel has no more group ids"),
        _ => error,
    }
}

/// Removes the one group `names`, which has no groups beneath it.
fn remove(root: &Directory, names: &str) -> Result<()> {
    let path = || format!("remove the group {}", root.path_of(names));
    let (above, name) = names.rsplit_once('/').unwrap_or(("", names));
    let removed = match above {
        "" => root.remove(name),
        above => root.open(above)?.remove(name),
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::kernel(path(), "unlinkat", errno)),
    }
}

/// Whether a group was there before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    New,
    Old,
}

/// One group in each hierarchy.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    made: Vec<Group<'a>>,
    /// What could not be made without root's rights and was not fatal.
    refused: Vec<(&'a Hierarchy, Error)>,
}

#[derive(Debug)]
struct Group<'a> {
    hierarchy: &'a Hierarchy,
    place: Place,
    /// The path beneath the mount point.
    names: String,
    directory: Directory,
    age: Age,
    /// Version 2: why a controller could not be enabled for the group.
    disabled: v2::Refusals,
}

impl<'a> Groups<'a> {
    /// Makes the groups that `record` names; without root's rights those that may be made.
    pub(crate) fn make(
        request: &Request<'_>,
        layout: &'a Layout,
        record: &Record,
        made: &mut Made<'a>,
    ) -> Result<Self> {
        let mut groups = Self { made: Vec::with_capacity(record.places.len()), refused: Vec::new() };
        for place in &record.places {
            let Some(hierarchy) = layout.hierarchies.iter().find(|h| h.mount == place.mount) else {
                continue;
            };
            let names = place.group(&record.path);
            match made.group(hierarchy, &names).and_then(|(group, age)| usable(group, age, request)) {
                Ok((directory, age)) => {
                    let (place, disabled) = (place.clone(), v2::Refusals::default());
                    groups.made.push(Group { hierarchy, place, names, directory, age, disabled });
                }
                Err(error) if request.rootless && is_refusal(&error) => {
                    groups.refused.push((hierarchy, error))
                }
                Err(error) => return Err(error.with_key(PATH_KEY)),
            }
        }
        groups.check_explicit_path(request)?;
        Ok(groups)
    }

    /// A path that was asked for must exist somewhere; only the default path may be impossible.
    fn check_explicit_path(&self, request: &Request<'_>) -> Result<()> {
        let explicit = request.cgroups_path.is_some_and(|path| !path.is_empty());
        match self.refused.first() {
            Some((_, error)) if explicit && self.made.is_empty() => Err(error.clone().with_key(PATH_KEY)),
            _ => Ok(()),
        }
    }

    /// What the groups need before they can have limits and members; refuses groups that are in use.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for group in &mut self.made {
            group.settle().map_err(|error| error.with_key(PATH_KEY))?;
        }
        Ok(())
    }

    /// Delivers every limit of the request, and the device policy.
    pub(crate) fn limit(&self, request: &Request<'_>, layout: &Layout) -> Result<()> {
        for write in resources::all(request.resources.writes(layout.controllers()))? {
            self.home(&write)?.deliver(&write)?;
        }
        let policy = resources::all(request.resources.device_policy())?;
        match self.limit_devices(&policy, layout) {
            Err(error) if request.rootless && is_refusal(&error) => Ok(()),
            other => other,
        }
    }

    /// Without root's rights nobody limits device access, and nobody needs to: mknod of devices is refused, and a device of
    /// the host is as open as its mode says.
    fn limit_devices(&self, policy: &Policy, layout: &Layout) -> Result<()> {
        let group = match layout.controllers().of(Controller::Devices) {
            _ if self.made.is_empty() => return Ok(()),
            Some(version) => self.made.iter().find(|group| group.drives(Controller::Devices, version)),
            None => return if policy.allows_everything() { Ok(()) } else { Err(no_device_controller()) },
        };
        match group {
            Some(group) if group.place.version == Version::V1 => v1::set_devices(&group.directory, policy),
            Some(group) if group.age == Age::Old => device_program::replace(&group.directory, policy),
            Some(group) => device_program::install(&group.directory, policy),
            None => Ok(()),
        }
    }

    fn home(&self, write: &Write) -> Result<&Group<'a>> {
        let lives = |h: &Hierarchy| {
            h.version == write.version
                && (h.version == Version::V2 || write.controller.is_some_and(|c| h.controllers.contains(c)))
        };
        if let Some(group) = self.made.iter().find(|group| lives(group.hierarchy)) {
            return Ok(group);
        }
        let refused = self.refused.iter().find(|(h, _)| lives(h)).map(|(_, error)| error.clone());
        let error = refused.map(|error| error.with_hint("the caller may not set limits here"));
        Err(error.unwrap_or_else(|| write.no_controller()).with_key(write.key.clone()))
    }

    /// Gives the groups to the container's root where the request says so.
    pub(crate) fn delegate(&self, owner: Option<Owner>) -> Result<()> {
        let Some(owner) = owner else { return Ok(()) };
        for group in &self.made {
            delegate::delegate(&group.directory, group.place.version, &group.place.names, owner)?;
        }
        Ok(())
    }

    /// Where the groups are, for the record.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.made.iter().map(|group| group.place.clone()).collect()
    }

    /// Opens what a child needs to join the groups, after making the `leaf` beneath the version 2 group.
    pub(crate) fn join(self, request: &Request<'_>, made: &mut Made<'a>) -> Result<Join> {
        let mut join = Join::default();
        let unified = self.made.iter().find(|group| group.place.version == Version::V2);
        if let (Some(leaf), Some(group)) = (request.leaf, unified) {
            let names = format!("{}/{leaf}", group.names);
            let (directory, _) = made.child(group.hierarchy, &group.directory, leaf, &names)?;
            if let Some(owner) = request.owner {
                delegate::delegate(&directory, Version::V2, "", owner)?;
            }
            join.add_leaf(&directory)?;
        }
        for group in self.made {
            join.add(group.place.version, group.directory)?;
        }
        Ok(join)
    }
}

/// Somebody else's group of the same name is as closed to a caller without rights as one that cannot be made.
fn usable(group: Directory, age: Age, request: &Request<'_>) -> Result<(Directory, Age)> {
    if age == Age::Old && request.rootless && !group.may_write("cgroup.procs") {
        let what = format!("use the group {}, which is there already", group.path());
        return Err(Error::kernel(what, "faccessat2", Errno::ACCESS));
    }
    Ok((group, age))
}

fn no_device_controller() -> Error {
    let what = "device access cannot be limited: this host has no devices controller";
    Error::new(Kind::Unsupported, what).with_key("linux.resources.devices")
}

impl Group<'_> {
    fn drives(&self, controller: Controller, version: Version) -> bool {
        self.place.version == version
            && (version == Version::V2 || self.hierarchy.controllers.contains(controller))
    }

    fn settle(&mut self) -> Result<()> {
        if self.age == Age::Old {
            processes::refuse_any(&self.directory)?;
        }
        match self.place.version {
            Version::V1 => v1::settle(self.hierarchy, &self.names, &self.directory),
            Version::V2 => {
                let Hierarchy { root, available, .. } = self.hierarchy;
                self.disabled = v2::enable(root, available, &self.names, &self.directory)?;
                if self.disabled.show_a_domain() { Ok(()) } else { v2::refuse_threaded(&self.directory) }
            }
        }?;
        freeze::refuse_frozen(&self.directory, self.place.version, self.hierarchy.controllers)
    }

    fn deliver(&self, write: &Write) -> Result<()> {
        self.disabled.check(write)?;
        write.deliver(&self.directory)
    }
}

/// The kernel's answers to somebody who has no rights here.
fn is_refusal(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}
