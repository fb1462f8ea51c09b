//! `mounts` and `linux.mountLabel`.
//!
//! What an option means is in [`super::mount_options`]; what becomes of a mount of type `cgroup` is in
//! [`super::cgroup_mount`]. Sources and targets are looked up when they are used, never here.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts>

mod steps;
#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::path::Path;

use child::op::{Attributes, Depth, Over};
use serde::Deserialize;
pub use steps::{CgroupView, External, Ids};

use super::cgroup_mount::{CgroupMount, Scope};
use super::idmappings::{self, IdMappings, Mapping, Owner, check_map};
use super::mount_options::{
    HARDENED_ATTRIBUTES, MOUNT_ATTR_RDONLY, MS_DIRSYNC, MS_I_VERSION, MS_LAZYTIME, MS_MANDLOCK, MS_RDONLY,
    MS_SILENT, MS_SLAVE, MS_SYNCHRONOUS, OPTIONS, Options, add_up,
};
use super::namespaces::{Kind, Namespaces};
use super::paths::{clean, host_path, is_within};
use super::root::Root;
use super::suggest::unknown;
use super::text::c_string;
use super::{Problems, Spec};
use crate::facts::Facts;
use crate::json::or_default;

// ── Shape ──

/// One entry of `mounts` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shape {
    /// Where inside the container.
    pub destination: Option<String>,
    /// The type of the file system; a dummy for bind mounts.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A device, a path of the host or a dummy.
    pub source: Option<String>,
    /// Options by name; unknown ones belong to the file system.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// The map of user ids of an id-mapped mount.
    #[serde(deserialize_with = "or_default")]
    pub uid_mappings: Vec<Mapping>,
    /// The map of group ids of an id-mapped mount.
    #[serde(deserialize_with = "or_default")]
    pub gid_mappings: Vec<Mapping>,
}

// ── Rules ──

/// The mounts in their order, valid.
#[derive(Debug, Default)]
pub struct Mounts {
    list: Vec<Mount>,
    label: Option<CString>,
    /// Whether /dev comes from the host by a bind mount, so that nothing may be made in it.
    pub binds_dev: bool,
    /// Whether the container has its cgroups at /sys/fs/cgroup and may write there: the condition for handing them to
    /// its user.
    pub writes_cgroups: bool,
}

/// One mount, valid.
#[derive(Debug, PartialEq)]
pub struct Mount {
    key: String,
    target: CString,
    action: Action,
    /// Propagations that no single step can carry, in order.
    propagation: Vec<(u32, Depth)>,
    /// Read-only once everything in it is made.
    readonly_later: bool,
}

#[derive(Debug, PartialEq)]
enum Action {
    New { source: CString, kind: CString, flags: u32, data: CString, over: Over },
    CopyUp { flags: u32, data: CString },
    Bind(Bind),
    Change { filesystem: Option<(u32, CString)>, whole: Attributes, attributes: Attributes },
    Cgroup(CgroupMount),
}

#[derive(Debug, PartialEq)]
struct Bind {
    source: CString,
    depth: Depth,
    whole: Attributes,
    attributes: Attributes,
    over: Over,
    opener: Opener,
}

/// Who opens the source of a bind mount.
#[derive(Debug, PartialEq)]
enum Opener {
    Child,
    /// The child, by this path inside the container's root: what is mounted there by then is the source.
    Inside(CString),
    /// The parent, because the source must be id-mapped or root of the user namespace may not reach it.
    Parent {
        propagation: u64,
        idmap: Option<MountMap>,
    },
}

#[derive(Debug, PartialEq)]
struct MountMap {
    uid: idmappings::IdMap,
    gid: idmappings::IdMap,
    depth: Depth,
}

/// What the rules of a mount depend on besides the mount.
struct Around<'a> {
    bundle: &'a Path,
    namespaces: &'a Namespaces,
    mappings: &'a IdMappings,
    root: &'a Root,
    facts: &'a Facts,
    label: Option<&'a str>,
}

/// Where a mount goes: as it will be looked up, and as text to compare.
struct Target {
    path: CString,
    clean: String,
}

/// Checks every mount; a relative source starts at `bundle`, which is absolute.
pub fn check(
    spec: &Spec,
    bundle: &Path,
    namespaces: &Namespaces,
    mappings: &IdMappings,
    root: &Root,
    facts: &Facts,
    problems: &mut Problems,
) -> Mounts {
    let label = check_label(spec, facts, problems);
    let around = Around { bundle, namespaces, mappings, root, facts, label };
    let mut mounts = Mounts { label: label.and_then(|label| CString::new(label).ok()), ..Mounts::default() };
    for (index, shape) in spec.mounts.iter().enumerate() {
        let key = format!("mounts[{index}]");
        let Some(target) = check_destination(shape, &around, &key, problems) else { continue };
        let options = add_up(&shape.options);
        check_options(shape, &options, &key, problems);
        mounts.binds_dev |= options.bind.is_some() && target.clean == "/dev";
        mounts.writes_cgroups |= is_writable_cgroup(shape, &target, &options);
        let Some(action) = around.action(shape, &target, &options, &key, problems) else { continue };
        mounts.list.push(finish(action, target, options, key));
    }
    mounts
}

/// The label for SELinux, refused where there is none: the container would be less confined than asked.
fn check_label<'a>(spec: &'a Spec, facts: &Facts, problems: &mut Problems) -> Option<&'a str> {
    let label = spec.linux.as_ref()?.mount_label.as_deref().filter(|label| !label.is_empty())?;
    if !facts.selinux() {
        problems.unsupported("linux.mountLabel", "this host has no SELinux");
    }
    if label.contains(|letter: char| letter == '"' || letter.is_control()) {
        problems.invalid("linux.mountLabel", "contains a quote or a control character");
    }
    Some(label)
}

fn check_destination(
    shape: &Shape,
    around: &Around<'_>,
    key: &str,
    problems: &mut Problems,
) -> Option<Target> {
    let key = format!("{key}.destination");
    let Some(text) = shape.destination.as_deref().filter(|text| !text.is_empty()) else {
        problems.invalid(key, "required");
        return None;
    };
    // Old callers name the place by its path on the host, and runc takes that.
    let inside = around.inside_root(text);
    if let Some(inside) = inside {
        problems.warn(
            key.clone(),
            format!("{text:?} is beneath root.path; taken as {inside:?} in the container"),
        );
    }
    let text = inside.unwrap_or(text);
    let clean = clean(text);
    if clean == "/" {
        problems.invalid(key, "the root cannot be mounted over; see root.path");
        return None;
    }
    if text.starts_with('/') {
        return Some(Target { path: c_string(text, &key, problems), clean });
    }
    problems.warn(key.clone(), format!("{text:?} is not absolute; taken as \"/{text}\""));
    Some(Target { path: c_string(&format!("/{text}"), &key, problems), clean })
}

fn check_options(shape: &Shape, options: &Options, key: &str, problems: &mut Problems) {
    let is_bind = options.bind.is_some();
    if let Some(index) = options.copy_up
        && (is_bind || shape.kind.as_deref() != Some("tmpfs"))
    {
        problems.invalid(format!("{key}.options[{index}]"), "tmpcopyup is for mounts of type tmpfs");
    }
    let maps = options.idmap.is_some() || !shape.uid_mappings.is_empty() || !shape.gid_mappings.is_empty();
    if maps && (!is_bind || options.remount) {
        problems.invalid(key.to_owned(), "only a new bind mount can be id-mapped");
    }
}

fn is_writable_cgroup(shape: &Shape, target: &Target, options: &Options) -> bool {
    shape.source.as_deref() == Some("cgroup")
        && target.clean == "/sys/fs/cgroup"
        && options.flags & MS_RDONLY == 0
}

/// Sets apart what happens after the mount: propagation, and read-only where things are still to be made in it.
fn finish(mut action: Action, target: Target, options: Options, key: String) -> Mount {
    let readonly_later = match &mut action {
        Action::New { kind, flags, .. } if kind.as_c_str() == c"tmpfs" || target.clean == "/dev" => {
            take_readonly(flags)
        }
        Action::CopyUp { flags, .. } => take_readonly(flags),
        Action::New { .. } | Action::Bind(_) | Action::Change { .. } | Action::Cgroup(_) => false,
    };
    let mut propagation = options.propagation;
    if let Action::Bind(Bind { whole, attributes, .. }) = &mut action
        && let [(flag, depth)] = propagation.as_slice()
    {
        let slot = if *depth == Depth::Tree { whole } else { attributes };
        slot.propagation = (*flag).into();
        propagation.clear();
    }
    Mount { key, target: target.path, action, propagation, readonly_later }
}

fn take_readonly(flags: &mut u32) -> bool {
    let readonly = *flags & MS_RDONLY != 0;
    *flags &= !MS_RDONLY;
    readonly
}

impl Around<'_> {
    /// The path inside the container that a path of the host beneath its root has, by the text of both.
    fn inside_root<'p>(&self, path: &'p str) -> Option<&'p str> {
        let root = self.root.path.to_str().ok()?.trim_end_matches('/');
        let inside = path.strip_prefix(root).filter(|_| !root.is_empty())?;
        let plain = inside.starts_with('/') && inside.split('/').all(|part| part != "..");
        plain.then_some(inside)
    }

    fn action(
        &self,
        shape: &Shape,
        target: &Target,
        options: &Options,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Action> {
        let kind = shape.kind.as_deref().unwrap_or_default();
        if options.remount {
            return Some(change(options, key, problems));
        }
        if let Some(depth) = options.bind {
            return self.bind(shape, depth, target, options, key, problems).map(Action::Bind);
        }
        match kind {
            "" => problems.invalid(format!("{key}.type"), "required unless the options have bind or rbind"),
            "bind" => problems
                .invalid(format!("{key}.options"), "a mount of type bind needs the option bind or rbind"),
            "cgroup" => {
                check_outside_proc(target, key, problems);
                let data = joined_data(options, None, key, problems);
                let scope = self.cgroup_scope(options, key, problems);
                return Some(Action::Cgroup(CgroupMount::new(&target.path, options, data, scope)));
            }
            "sysfs" if self.network_is_foreign() => return Some(Self::host_sysfs(key, problems)),
            kind => return self.new_file_system(shape, kind, target, options, key, problems),
        }
        None
    }

    fn new_file_system(
        &self,
        shape: &Shape,
        kind: &str,
        target: &Target,
        options: &Options,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Action> {
        if kind == "mqueue" && self.namespaces.has(Kind::User) && !self.namespaces.has(Kind::Ipc) {
            problems.unsupported(
                key.to_owned(),
                "mqueue in a user namespace needs an ipc namespace; add {\"type\": \"ipc\"} to linux.namespaces",
            );
        }
        self.check_ids(options, key, problems);
        let over = over_of_new(kind, target, key, problems)?;
        let data = joined_data(options, self.label_for(kind, options, key, problems), key, problems);
        if options.copy_up.is_some() {
            return Some(Action::CopyUp { flags: options.flags, data });
        }
        let source = shape.source.as_deref().filter(|source| !source.is_empty()).unwrap_or(kind);
        Some(Action::New {
            source: c_string(source, &format!("{key}.source"), problems),
            kind: c_string(kind, &format!("{key}.type"), problems),
            flags: options.flags,
            data,
            over,
        })
    }

    /// An id in the data that the user namespace does not map gives a bare EINVAL; `gid=5` of devpts is the usual one.
    fn check_ids(&self, options: &Options, key: &str, problems: &mut Problems) {
        let maps = [
            ("uid=", &self.mappings.uid, "linux.uidMappings"),
            ("gid=", &self.mappings.gid, "linux.gidMappings"),
        ];
        for (index, option) in &options.data {
            for (prefix, map, section) in maps {
                let Some(Ok(id)) = option.strip_prefix(prefix).map(str::parse::<u32>) else { continue };
                let known = self.mappings.owner != Owner::Runtime && !map.is_empty();
                if known && map.to_host(id).is_none() {
                    problems.invalid(
                        format!("{key}.options[{index}]"),
                        format!(
                            "{option:?}: {id} is not mapped; add it to {section} or leave the option out"
                        ),
                    );
                }
            }
        }
    }

    /// The label for a new file system, unless it has one or its type takes none.
    fn label_for(&self, kind: &str, options: &Options, key: &str, problems: &mut Problems) -> Option<&str> {
        let label = self.label?;
        if options.data.iter().any(|(_, option)| option.starts_with("context=")) {
            return None;
        }
        match kind {
            // The policy labels the files of these by itself (genfscon) and the kernel refuses another label.
            "proc" | "sysfs" | "cgroup2" => None,
            "mqueue" => {
                problems.warn(key.to_owned(), "mqueue takes no label; linux.mountLabel is not applied to it");
                None
            }
            _ => Some(label),
        }
    }

    /// Whether sysfs shows a network namespace that root of the container's user namespace does not own, so that the
    /// kernel refuses to mount it.
    fn network_is_foreign(&self) -> bool {
        self.namespaces.has(Kind::User) && !self.namespaces.has(Kind::Network)
    }

    /// The host's /sys in place of a sysfs of its own, with everything in it, read-only: a submount is as much the host's
    /// as the rest, and uncovering what it hides is what the kernel forbids.
    fn host_sysfs(key: &str, problems: &mut Problems) -> Action {
        problems.warn(
            key.to_owned(),
            "sysfs in a user namespace needs a network namespace; the host's /sys is shown read-only instead",
        );
        Action::Bind(Bind {
            source: c"/sys".to_owned(),
            depth: Depth::Tree,
            whole: Attributes { set: MOUNT_ATTR_RDONLY | HARDENED_ATTRIBUTES, ..Attributes::default() },
            attributes: Attributes::default(),
            over: Over::Directory,
            opener: Opener::Child,
        })
    }

    /// Without a cgroup namespace the container sees groups that are not its own. Root of the host may write them, as
    /// engines expect of a privileged container; anyone else gets them read-only (CVE-2023-25809).
    fn cgroup_scope(&self, options: &Options, key: &str, problems: &mut Problems) -> Scope {
        if self.namespaces.has(Kind::Cgroup) {
            return Scope::Own;
        }
        let root_of_host = self.facts.euid() == 0 && !self.facts.in_user_namespace();
        if root_of_host && !self.namespaces.has(Kind::User) {
            return Scope::Host;
        }
        if (options.attributes.clear | options.whole.clear) & MOUNT_ATTR_RDONLY != 0 {
            problems.warn(
                format!("{key}.options"),
                "read-only, as there is no cgroup namespace and the groups are the host's",
            );
        }
        Scope::HostReadonly
    }

    fn bind(
        &self,
        shape: &Shape,
        depth: Depth,
        target: &Target,
        options: &Options,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Bind> {
        check_bind_options(shape, options, key, problems);
        let over = over_of_bind(target, key, problems);
        let idmap = self.idmap(shape, options, key, problems);
        let source_key = format!("{key}.source");
        let Some(source) = shape.source.as_deref().filter(|source| !source.is_empty()) else {
            problems.invalid(source_key, "required for a bind mount");
            return None;
        };
        Some(Bind {
            source: host_path(&self.bundle.join(source), &source_key, problems),
            depth,
            whole: options.whole,
            attributes: options.attributes,
            over: over?,
            opener: self.opener(source, idmap),
        })
    }

    /// The parent opens what must be id-mapped, and everything for a user namespace that a privileged caller sets up:
    /// its root is nobody in particular on the host and may not even search the directories on the way.
    ///
    /// A source inside the root file system may be what an earlier entry mounts there, which nobody but the child sees.
    fn opener(&self, source: &str, idmap: Option<MountMap>) -> Opener {
        if idmap.is_none()
            && let Some(inside) = self.bundle.join(source).to_str().and_then(|path| self.inside_root(path))
            && let Ok(inside) = CString::new(inside)
        {
            return Opener::Inside(inside);
        }
        let unreachable = self.namespaces.has(Kind::User) && self.facts.euid() == 0;
        if idmap.is_none() && !unreachable {
            return Opener::Child;
        }
        let propagation = if self.root.keeps_host_peers() { 0 } else { MS_SLAVE.into() };
        Opener::Parent { propagation, idmap }
    }

    fn idmap(
        &self,
        shape: &Shape,
        options: &Options,
        key: &str,
        problems: &mut Problems,
    ) -> Option<MountMap> {
        let keys = (format!("{key}.uidMappings"), format!("{key}.gidMappings"));
        let mut map = MountMap {
            uid: check_map(&shape.uid_mappings, &keys.0, problems),
            gid: check_map(&shape.gid_mappings, &keys.1, problems),
            depth: options.idmap.unwrap_or(Depth::One),
        };
        match (shape.uid_mappings.is_empty(), shape.gid_mappings.is_empty()) {
            (true, true) if options.idmap.is_none() => return None,
            (true, true) if !self.namespaces.has(Kind::User) => problems.invalid(
                key.to_owned(),
                "idmap needs uidMappings and gidMappings, or a user namespace whose maps it takes",
            ),
            (true, false) => problems.invalid(keys.0, "required together with gidMappings"),
            (false, true) => problems.invalid(keys.1, "required together with uidMappings"),
            // The new namespace does not exist when the tree is mapped; another one with the same maps does as well.
            (true, true) if self.mappings.owner == Owner::New => {
                (map.uid, map.gid) = (self.mappings.uid.clone(), self.mappings.gid.clone());
            }
            (true, true) | (false, false) => {}
        }
        if self.facts.euid() != 0 {
            problems.unsupported(
                key.to_owned(),
                format!("id-mapped mounts need root of the host; this is uid {}", self.facts.euid()),
            );
        }
        Some(map)
    }
}

fn check_bind_options(shape: &Shape, options: &Options, key: &str, problems: &mut Problems) {
    for (index, option) in &options.data {
        let at = format!("{key}.options[{index}]");
        // Data of a file system (`size=1k`) cannot be meant for a bind mount and other runtimes drop it; a bare word is more
        // likely a flag with a typing error, and a mount that lacks its nosuid is another mount.
        if option.contains('=') {
            problems
                .warn(at, format!("{option:?} has no effect: a bind mount takes no data of a file system"));
            continue;
        }
        let names = OPTIONS.iter().map(|entry| entry.0);
        let what = unknown("option", option, names);
        problems.invalid(at, format!("a bind mount takes no options of a file system: {what}"));
    }
    for index in &options.filesystem {
        let option = shape.options.get(*index).map_or("", String::as_str);
        problems.warn(
            format!("{key}.options[{index}]"),
            format!(
                "{option:?} has no effect: it is a property of the file system, which a bind mount shares"
            ),
        );
    }
}

/// The files of procfs that may be replaced: those that lxcfs gives a container its own version of, and two sysctls that
/// tests and checkpoints fake. Anything else would let an image lie to the runtime and to the tools of an operator.
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

fn over_of_new(kind: &str, target: &Target, key: &str, problems: &mut Problems) -> Option<Over> {
    if target.clean == "/proc" && kind != "proc" {
        problems
            .invalid(format!("{key}.destination"), format!("{kind:?} would hide proc; only proc goes there"));
        return None;
    }
    match kind {
        _ if PROC_FILES.contains(&target.clean.as_str()) => Some(Over::Procfs),
        "proc" | "sysfs" if target.clean == "/proc" => Some(Over::Directory),
        "proc" | "sysfs" => check_outside_proc(target, key, problems).then_some(Over::Directory),
        _ => check_outside_proc(target, key, problems).then_some(Over::Any),
    }
}

fn over_of_bind(target: &Target, key: &str, problems: &mut Problems) -> Option<Over> {
    match target.clean.as_str() {
        "/proc" => Some(Over::ProcfsTree),
        path if PROC_FILES.contains(&path) => Some(Over::Procfs),
        _ => check_outside_proc(target, key, problems).then_some(Over::Any),
    }
}

fn check_outside_proc(target: &Target, key: &str, problems: &mut Problems) -> bool {
    let outside = !is_within(&target.clean, "/proc");
    if !outside {
        problems.invalid(
            format!("{key}.destination"),
            format!("{} is inside /proc; only a few of its files can be replaced", target.clean),
        );
    }
    outside
}

/// The longest data that mount(2) reads: a page with the terminator, and no page is smaller than this.
const LONGEST_DATA: usize = 4095;

fn joined_data(options: &Options, label: Option<&str>, key: &str, problems: &mut Problems) -> CString {
    let mut parts: Vec<String> = options.data.iter().map(|(_, option)| option.clone()).collect();
    // Quoted, because a label has commas of its own.
    parts.extend(label.map(|label| format!("context=\"{label}\"")));
    let data = parts.join(",");
    let key = format!("{key}.options");
    if data.len() > LONGEST_DATA {
        problems.invalid(
            key.clone(),
            format!("{} bytes for the file system; the kernel reads {LONGEST_DATA}", data.len()),
        );
    }
    c_string(&data, &key, problems)
}

/// The flags of mount(2) that belong to the file system and not to the mount.
const FILESYSTEM_FLAGS: u32 =
    MS_RDONLY | MS_SYNCHRONOUS | MS_DIRSYNC | MS_MANDLOCK | MS_LAZYTIME | MS_I_VERSION | MS_SILENT;

/// `remount`: the attributes of the mount by what is named, the file system only where the options speak of it, because
/// its flags are replaced as a whole. With `bind` it is the mount alone.
fn change(options: &Options, key: &str, problems: &mut Problems) -> Action {
    let Options { attributes, whole, .. } = options;
    let readonly_named = (attributes.set | attributes.clear) & MOUNT_ATTR_RDONLY != 0;
    let of_filesystem = !options.filesystem.is_empty() || !options.data.is_empty() || readonly_named;
    let data = joined_data(options, None, key, problems);
    let filesystem =
        (options.bind.is_none() && of_filesystem).then_some((options.flags & FILESYSTEM_FLAGS, data));
    Action::Change { filesystem, whole: *whole, attributes: *attributes }
}
