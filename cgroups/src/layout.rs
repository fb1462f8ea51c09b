//! Which control group hierarchies are mounted here, asked once.
//!
//! A host has version 1 hierarchies, a version 2 tree, or both (hybrid). The answer comes from the mounts that the
//! calling thread sees, so it is right inside a private mount namespace too. Start at [`Layout::detect`].

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use sys::Result;
use sys::error::Context;

use crate::controller::{Controllers, Homes, Version};
use crate::directory::{Directory, read_all};

/// Where everybody mounts control groups; mounts elsewhere are used only where none is here.
const USUAL_PLACE: &str = "/sys/fs/cgroup";

/// The mounted hierarchies, each held open at its root.
#[derive(Debug)]
pub struct Layout {
    /// Version 1 hierarchies in mount order, then the version 2 tree.
    pub(crate) hierarchies: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// The mount point.
    pub(crate) mount: String,
    /// The group of the hierarchy that is visible at the mount point: `/`, or more inside a container.
    pub(crate) shown: String,
    /// Version 1: the mount options that name it (`cpu,cpuacct`, `name=systemd`). Version 2: empty.
    pub(crate) names: String,
    pub(crate) controllers: Controllers,
    /// Version 2: the text of `cgroup.controllers` at the mount point.
    pub(crate) available: String,
    pub(crate) root: Directory,
}

impl Layout {
    /// Looks at the mounts of the calling thread.
    ///
    /// The usual pure version 2 host is recognized by one statfs(2). Elsewhere mountinfo is read, once. An empty layout is
    /// not an error: without control groups a container runs as long as nothing of them is asked for.
    pub fn detect() -> Result<Self> {
        if let Ok(root) = Directory::mount_point(USUAL_PLACE, Version::V2) {
            return Ok(Self {
                hierarchies: vec![Hierarchy::v2(USUAL_PLACE.to_owned(), String::new(), root)?],
            });
        }
        let path = "/proc/thread-self/mountinfo";
        let what = || format!("read {path}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd: OwnedFd = rustix::fs::open(path, flags, Mode::empty()).context("open", what)?;
        let mounts = read_all(&fd).context("read", what)?;
        Ok(Self::from_mountinfo(&mounts))
    }

    /// The hierarchies among `mounts`, the text of a mountinfo file (proc_pid_mountinfo(5)).
    ///
    /// A mount that cannot be opened or that another one covers is not usable, so it is left out.
    fn from_mountinfo(mounts: &str) -> Self {
        let mut lines: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
        lines.sort_by_key(|mount| !mount.point.starts_with(USUAL_PLACE));
        let mut hierarchies: Vec<Hierarchy> = Vec::with_capacity(lines.len());
        for mount in lines {
            let known = |h: &Hierarchy| h.version == mount.version && h.names == mount.names;
            if !hierarchies.iter().any(known) {
                hierarchies.extend(mount.open());
            }
        }
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
        Self { hierarchies }
    }

    /// Whether everything lives in the version 2 tree.
    pub fn is_pure_v2(&self) -> bool {
        matches!(self.hierarchies.as_slice(), [only] if only.version == Version::V2)
    }

    /// Where each controller lives.
    pub fn controllers(&self) -> Homes {
        let mut homes = Homes::default();
        for hierarchy in &self.hierarchies {
            match hierarchy.version {
                Version::V1 => homes.v1 = homes.v1.union(hierarchy.controllers),
                Version::V2 => homes.v2 = Some(hierarchy.controllers),
            }
        }
        homes
    }

    /// `v1`, `v2`, `hybrid` or `none`, for messages.
    pub fn name(&self) -> &'static str {
        let v2 = self.hierarchies.iter().any(|h| h.version == Version::V2);
        let v1 = self.hierarchies.iter().any(|h| h.version == Version::V1);
        match (v1, v2) {
            (true, true) => "hybrid",
            (true, false) => "v1",
            (false, true) => "v2",
            (false, false) => "none",
        }
    }
}

impl Hierarchy {
    fn v2(mount: String, shown: String, root: Directory) -> Result<Self> {
        let available = root.read("cgroup.controllers")?;
        let controllers = Controllers::of_v2(&available);
        Ok(Self { version: Version::V2, mount, shown, names: String::new(), controllers, available, root })
    }

    /// The group of the calling process in this hierarchy, relative to the mount point; `None` if the mount does not show
    /// it. `own` is the text of /proc/self/cgroup (cgroups(7)).
    pub(crate) fn own_group(&self, own: &str) -> Option<String> {
        own_group(own, &self.names, &self.shown)
    }
}

fn own_group(own: &str, hierarchy: &str, shown: &str) -> Option<String> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        (names == hierarchy).then(|| fields.next())?
    })?;
    let below = match shown.trim_end_matches('/') {
        "" => path,
        shown => path.strip_prefix(shown).filter(|rest| rest.is_empty() || rest.starts_with('/'))?,
    };
    let escapes = below.split('/').any(|name| name == "..");
    (!escapes).then(|| below.trim_matches('/').to_owned())
}

/// A line of mountinfo that mounts a hierarchy.
struct Mount<'a> {
    version: Version,
    /// The device number, which tells whether another mount covers this one.
    device: &'a str,
    shown: &'a str,
    point: String,
    names: String,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - cgroup")?;
        let mut fields = place.split(' ').skip(2);
        let (device, shown, point) = (fields.next()?, fields.next()?, unescape(fields.next()?));
        if let Some(options) = file_system.strip_prefix(' ') {
            let options = options.split_once(' ')?.1;
            return Some(Self {
                version: Version::V1,
                device,
                shown,
                point,
                names: hierarchy_names(options),
            });
        }
        let names = String::new();
        file_system.starts_with("2 ").then_some(Self { version: Version::V2, device, shown, point, names })
    }

    fn open(self) -> Option<Hierarchy> {
        let root = Directory::mount_point(&self.point, self.version).ok()?;
        let device = rustix::fs::fstat(&root).ok()?.st_dev;
        if device_number(device) != self.device {
            return None;
        }
        let shown = self.shown.to_owned();
        if self.version == Version::V2 {
            return Hierarchy::v2(self.point, shown, root).ok();
        }
        let controllers = Controllers::of_v1(&self.names);
        let available = String::new();
        let mount = self.point;
        Some(Hierarchy {
            version: Version::V1,
            mount,
            shown,
            names: self.names,
            controllers,
            available,
            root,
        })
    }
}

/// A device number as mountinfo writes it.
fn device_number(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// The super block options that name a version 1 hierarchy, in the kernel's order, which is that of /proc/self/cgroup.
fn hierarchy_names(options: &str) -> String {
    let flags = [
        "rw",
        "ro",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
        "nofavordynmods",
    ];
    let names = options.split(',').filter(|o| !flags.contains(o) && !o.starts_with("release_agent="));
    names.collect::<Vec<_>>().join(",")
}

/// Blank, tab, newline and backslash are written as three octal digits after a backslash.
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    if !text.contains('\\') {
        return text.to_owned();
    }
    escapes.iter().fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// The text of /proc/self/cgroup of the calling thread.
pub(crate) fn own_groups() -> Result<String> {
    let path = "/proc/thread-self/cgroup";
    let what = || format!("read {path}");
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("open", what)?;
    read_all(&fd).context("read", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<(Version, String, String, String)> {
        Mount::parse(line).map(|m| (m.version, m.shown.to_owned(), m.point, m.names))
    }

    #[test]
    fn mountinfo_names_the_hierarchies() {
        let v1 = "33 24 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct";
        let named = "40 31 0:37 /docker/x /sys/fs/cgroup/a\\040b ro - cgroup systemd rw,xattr,name=systemd";
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate";
        let texts =
            |v: Version, a: &str, b: &str, c: &str| Some((v, a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(parse(v1), texts(Version::V1, "/", "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"));
        assert_eq!(parse(named), texts(Version::V1, "/docker/x", "/sys/fs/cgroup/a b", "name=systemd"));
        assert_eq!(parse(v2), texts(Version::V2, "/", "/sys/fs/cgroup/unified", ""));
        for other in
            ["31 23 0:28 / /sys rw - tmpfs tmpfs rw", "", "x", "1 2 3:4 - cgroup", "a b c d e - cgroup3 x y"]
        {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_own_group_is_seen_from_the_mount_point() {
        let own =
            "5:cpu,cpuacct:/docker/x/y\n4:memory:/../other\n3:name=systemd:/docker/xx\n0::/user.slice/a b\n";
        let at = |names: &str, shown: &str| own_group(own, names, shown);
        assert_eq!(at("cpu,cpuacct", "/"), Some("docker/x/y".to_owned()));
        assert_eq!(at("cpu,cpuacct", "/docker/x"), Some("y".to_owned()));
        assert_eq!(at("cpu,cpuacct", "/docker/x/y"), Some(String::new()));
        assert_eq!(at("name=systemd", "/docker/x"), None);
        assert_eq!(at("memory", "/"), None);
        assert_eq!(at("", "/"), Some("user.slice/a b".to_owned()));
        assert_eq!(at("pids", "/"), None);
    }
}
