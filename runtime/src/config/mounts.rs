//! `mounts` and `linux.mountLabel`.
//!
//! What an option means is in [`super::mount_options`]; what becomes of a mount of type `cgroup` is in
//! [`super::cgroup_mount`]. Sources and targets are looked up when they are used, never here.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts>

use std::ffi::{CStr, CString};
use std::path::Path;

use child::op::{Attributes, Depth, Over, Source};
use child::{Op, Text};
use serde::Deserialize;

use super::cgroup_mount::{self, CgroupMount, HostCgroups, Part, Scope};
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
use crate::step::{IdMap, Open, Opens, Step, Tree};

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
        let Some(target) = check_destination(shape, &key, problems) else { continue };
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

fn check_destination(shape: &Shape, key: &str, problems: &mut Problems) -> Option<Target> {
    let key = format!("{key}.destination");
    let Some(text) = shape.destination.as_deref().filter(|text| !text.is_empty()) else {
        problems.invalid(key, "required");
        return None;
    };
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
            opener: self.opener(idmap),
        })
    }

    /// The parent opens what must be id-mapped, and everything for a user namespace that a privileged caller sets up:
    /// its root is nobody in particular on the host and may not even search the directories on the way.
    fn opener(&self, idmap: Option<MountMap>) -> Opener {
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

// ── Steps ──

/// The mounts of type `cgroup` as this host's layout makes them, by key.
#[derive(Debug, Default)]
pub struct CgroupView(Vec<(String, Vec<Part>)>);

impl Mounts {
    /// Whether a mount needs to know the host's cgroups.
    pub fn wants_cgroups(&self) -> bool {
        self.list.iter().any(Mount::is_cgroup)
    }

    /// Whether the program may make groups beneath its own: it sees them as the root of a namespace, and writable.
    pub fn has_own_writable_cgroups(&self) -> bool {
        self.list
            .iter()
            .any(|mount| matches!(&mount.action, Action::Cgroup(cgroup) if cgroup.is_own_and_writable()))
    }

    /// What the mounts of type `cgroup` become on this host.
    pub fn cgroup_view(&self, host: &HostCgroups) -> CgroupView {
        let expand = |mount: &Mount| match &mount.action {
            Action::Cgroup(cgroup) => Some((mount.key.clone(), cgroup.expand(host))),
            _ => None,
        };
        CgroupView(self.list.iter().filter_map(expand).collect())
    }

    /// The label of the container's file systems, as it is written in the configuration.
    pub fn label(&self) -> Option<&CStr> {
        self.label.as_deref()
    }

    /// Every mount in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.list.iter()
    }

    /// What the container has of the host's file systems: the trees that a restore must attach again.
    pub fn external<'a>(&'a self, view: &'a CgroupView) -> impl Iterator<Item = External<'a>> {
        self.list.iter().flat_map(move |mount| mount.external(view))
    }

    /// Gives the trees of the host their attributes once more. CRIU loses them: of two mounts of one directory, the second
    /// comes back writable.
    pub fn attribute_steps(&self) -> impl Iterator<Item = Step<'_>> {
        let of_bind = |mount: &Mount| match &mount.action {
            Action::Bind(Bind { whole, attributes, .. }) => {
                [(Depth::Tree, *whole), (Depth::One, *attributes)]
            }
            _ => [(Depth::One, Attributes::default()); 2],
        };
        self.list.iter().flat_map(move |mount| {
            let parts = of_bind(mount).into_iter().filter(|(_, part)| part.set | part.clear != 0);
            parts.map(|(depth, part)| {
                mount.step(mount.set_attributes(depth, Attributes { propagation: 0, ..part }))
            })
        })
    }

    /// Makes read-only what had to stay writable until the devices, the targets of later mounts, what hooks add and the
    /// terminal's /dev/console were made.
    pub fn readonly_steps(&self) -> impl Iterator<Item = Step<'_>> {
        let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        self.list
            .iter()
            .filter(|mount| mount.readonly_later)
            .map(move |mount| mount.step(mount.set_attributes(Depth::One, attributes)))
    }
}

impl CgroupView {
    fn parts(&self, key: &str) -> impl Iterator<Item = &Part> {
        self.0.iter().filter(move |entry| entry.0 == key).flat_map(|entry| &entry.1)
    }
}

/// A tree of the host in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External<'a> {
    /// The absolute path on the host.
    pub source: &'a CStr,
    /// The path in the container, as it is looked up there.
    pub target: &'a CStr,
    /// Whether submounts follow.
    pub depth: Depth,
    /// Whether its ids are mapped.
    pub ids: Ids,
}

/// Whether the ids of a mount are those of its file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// They are.
    Own,
    /// They are mapped.
    Mapped,
}

impl Mount {
    fn external<'a>(&'a self, view: &'a CgroupView) -> Vec<External<'a>> {
        match &self.action {
            Action::Bind(Bind { source, depth, opener, .. }) => {
                let mapped = matches!(opener, Opener::Parent { idmap: Some(_), .. });
                let ids = if mapped { Ids::Mapped } else { Ids::Own };
                vec![External { source, target: &self.target, depth: *depth, ids }]
            }
            Action::Cgroup(_) => view.parts(&self.key).filter_map(cgroup_mount::external).collect(),
            Action::New { .. } | Action::CopyUp { .. } | Action::Change { .. } => Vec::new(),
        }
    }

    /// Makes the place where it goes and what later mounts in it find there: the tree of the host, or an empty file system
    /// in place of one of the container's own. For a tree of mounts that is thrown away. Files of procfs are there.
    pub fn mount_point_step(&self) -> Option<Step<'_>> {
        let target = Text(&self.target);
        let op = match &self.action {
            Action::Change { .. } => return None,
            Action::Bind(Bind { over: Over::Procfs | Over::ProcfsTree, .. }) => return None,
            Action::New { over: Over::Procfs, .. } => return None,
            Action::Bind(Bind { source, depth, .. }) => Op::Bind {
                source: Source::Path(Text(source)),
                target,
                depth: *depth,
                whole: Attributes::default(),
                attributes: Attributes::default(),
                over: Over::Any,
            },
            Action::New { .. } | Action::CopyUp { .. } | Action::Cgroup(_) => Op::Mount {
                target,
                source: Text(c"tmpfs"),
                kind: Text(c"tmpfs"),
                flags: 0,
                data: Text(c"mode=755"),
                over: Over::Any,
            },
        };
        Some(self.step(op))
    }

    /// Whether it shows cgroups, so that the container must have joined its own before.
    pub fn is_cgroup(&self) -> bool {
        matches!(self.action, Action::Cgroup(_))
    }

    /// What the child does; sources that the parent must open are added to `opens`.
    pub fn steps<'a>(&'a self, opens: &mut Opens<'a>, view: &'a CgroupView) -> Vec<Step<'a>> {
        let target = Text(&self.target);
        let mut steps: Vec<Step<'a>> = match &self.action {
            Action::Cgroup(_) => {
                view.parts(&self.key).map(|part| self.step(cgroup_mount::op(part))).collect()
            }
            Action::Change { filesystem, whole, attributes } => {
                self.changes(filesystem.as_ref(), *whole, *attributes).collect()
            }
            Action::Bind(bind) => vec![self.step(self.bind(bind, opens))],
            Action::New { source, kind, flags, data, over } => vec![self.step(Op::Mount {
                target,
                source: Text(source),
                kind: Text(kind),
                flags: *flags,
                data: Text(data),
                over: *over,
            })],
            Action::CopyUp { flags, data } => {
                vec![self.step(Op::MountCopyUp { target, flags: *flags, data: Text(data) })]
            }
        };
        steps.extend(self.propagations());
        steps
    }

    fn step<'a>(&'a self, op: Op<'a>) -> Step<'a> {
        Step::new(self.key.as_str(), op)
    }

    fn set_attributes(&self, depth: Depth, attributes: Attributes) -> Op<'_> {
        Op::SetAttributes { target: Text(&self.target), depth, attributes }
    }

    fn propagations(&self) -> impl Iterator<Item = Step<'_>> {
        self.propagation.iter().map(|(flag, depth)| {
            let attributes = Attributes { propagation: (*flag).into(), ..Attributes::default() };
            self.step(self.set_attributes(*depth, attributes))
        })
    }

    fn changes<'a>(
        &'a self,
        filesystem: Option<&'a (u32, CString)>,
        whole: Attributes,
        attributes: Attributes,
    ) -> impl Iterator<Item = Step<'a>> {
        let target = Text(&self.target);
        let remount = filesystem
            .map(|(flags, data)| self.step(Op::Remount { target, flags: *flags, data: Text(data) }));
        let changes = [(Depth::Tree, whole), (Depth::One, attributes)]
            .into_iter()
            .filter(|(_, attributes)| *attributes != Attributes::default())
            .map(|(depth, attributes)| self.step(self.set_attributes(depth, attributes)));
        remount.into_iter().chain(changes)
    }

    fn bind<'a>(&'a self, bind: &'a Bind, opens: &mut Opens<'a>) -> Op<'a> {
        let source = match &bind.opener {
            Opener::Child => Source::Path(Text(&bind.source)),
            Opener::Parent { propagation, idmap } => Source::Tree(opens.add(Open::Tree(Tree {
                source: &bind.source,
                depth: bind.depth,
                idmap: idmap.as_ref().map(|map| IdMap {
                    uid_map: map.uid.lines(),
                    gid_map: map.gid.lines(),
                    depth: map.depth,
                }),
                propagation: *propagation,
                key: self.key.as_str().into(),
            }))),
        };
        Op::Bind {
            source,
            target: Text(&self.target),
            depth: bind.depth,
            whole: bind.whole,
            attributes: bind.attributes,
            over: bind.over,
        }
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use child::Fd;

    use super::*;

    const NONE: Attributes = Attributes { set: 0, clear: 0, propagation: 0 };

    /// A host and a container to check mounts for.
    struct Case {
        namespaces: Vec<Kind>,
        linux: &'static str,
        euid: u32,
        selinux: bool,
    }

    const PLAIN: Case = Case { namespaces: Vec::new(), linux: "{}", euid: 0, selinux: false };

    fn user_namespace() -> Case {
        let linux = r#"{"uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
                        "gidMappings":[{"containerID":0,"hostID":1000,"size":1}]}"#;
        Case { namespaces: vec![Kind::User], linux, ..PLAIN }
    }

    impl Case {
        fn check(&self, mounts: &str) -> (Mounts, Problems) {
            let mut problems = Problems::default();
            let json = format!(r#"{{"mounts":{mounts},"linux":{}}}"#, self.linux);
            let spec: Spec = serde_json::from_str(&json).unwrap();
            let namespaces = Namespaces::all_new(&self.namespaces);
            let mappings = idmappings::check(&spec, &namespaces, &Facts::default(), &mut problems);
            let facts = Facts::default();
            facts.euid.set(self.euid).unwrap();
            facts.selinux.set(self.selinux).unwrap();
            facts.in_user_namespace.set(false).unwrap();
            let root = super::super::root::check(
                &Spec {
                    root: Some(super::super::root::Shape {
                        path: Some("rootfs".to_owned()),
                        ..Default::default()
                    }),
                    linux: spec.linux.as_ref().map(|linux| super::super::Linux {
                        rootfs_propagation: linux.rootfs_propagation.clone(),
                        ..Default::default()
                    }),
                    ..Spec::default()
                },
                Path::new("/bundle"),
                &mut problems,
            );
            let mounts =
                check(&spec, Path::new("/bundle"), &namespaces, &mappings, &root, &facts, &mut problems);
            (mounts, problems)
        }

        fn errors(&self, mounts: &str) -> Vec<String> {
            self.check(mounts).1.errors.iter().map(ToString::to_string).collect()
        }

        fn warnings(&self, mounts: &str) -> Vec<String> {
            self.check(mounts).1.warnings.iter().map(ToString::to_string).collect()
        }

        /// Runs `test` on the steps of valid mounts, and on what is opened for them.
        fn steps(&self, mounts: &str, test: impl FnOnce(&[Op<'_>], &[Open<'_>])) {
            let (mounts, problems) = self.check(mounts);
            assert!(problems.errors.is_empty(), "{:?}", problems.errors);
            let view = mounts.cgroup_view(&HostCgroups::V2 { mount_point: c"/sys/fs/cgroup".to_owned() });
            let mut opens = Opens::new(10);
            let steps: Vec<Step<'_>> =
                mounts.iter().flat_map(|mount| mount.steps(&mut opens, &view)).collect();
            let mut ops: Vec<Op<'_>> = steps.into_iter().map(|step| step.op).collect();
            ops.extend(mounts.readonly_steps().map(|step| step.op));
            let opened: Vec<Open<'_>> = opens.iter().map(|(_, open)| open.clone()).collect();
            test(&ops, &opened);
        }
    }

    fn mount<'a>(target: &'a CStr, kind: &'a CStr, flags: u32, data: &'a CStr, over: Over) -> Op<'a> {
        Op::Mount {
            target: Text(target),
            source: Text(kind),
            kind: Text(kind),
            flags,
            data: Text(data),
            over,
        }
    }

    fn bind<'a>(source: &'a CStr, target: &'a CStr, depth: Depth) -> Op<'a> {
        let source = Source::Path(Text(source));
        Op::Bind { source, target: Text(target), depth, whole: NONE, attributes: NONE, over: Over::Any }
    }

    fn set(target: &CStr, depth: Depth, attributes: Attributes) -> Op<'_> {
        Op::SetAttributes { target: Text(target), depth, attributes }
    }

    fn propagation(flag: u64) -> Attributes {
        Attributes { propagation: flag, ..NONE }
    }

    #[test]
    fn the_usual_file_systems() {
        let mounts = r#"[
            {"destination":"/proc","type":"proc","source":"proc"},
            {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
            {"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
            {"destination":"/sys","type":"sysfs","options":["nosuid","noexec","nodev","ro"]}]"#;
        PLAIN.steps(mounts, |ops, _| {
            assert_eq!(
                ops,
                [
                    mount(c"/proc", c"proc", 0, c"", Over::Directory),
                    mount(c"/dev", c"tmpfs", 0x100_0002, c"mode=755,size=65536k", Over::Any),
                    mount(
                        c"/dev/pts",
                        c"devpts",
                        10,
                        c"newinstance,ptmxmode=0666,mode=0620,gid=5",
                        Over::Any
                    ),
                    mount(c"/sys", c"sysfs", 15, c"", Over::Directory),
                ]
            );
        });
    }

    #[test]
    fn a_read_only_tmpfs_and_dev_stay_writable_until_everything_is_made() {
        let mounts = r#"[
            {"destination":"/run","type":"tmpfs","options":["ro","size=1m"]},
            {"destination":"/dev/","type":"devtmpfs","options":["ro"]},
            {"destination":"/x","type":"tmpfs","options":["tmpcopyup","ro"]},
            {"destination":"/y","type":"ext4","source":"/dev/sda","options":["ro"]}]"#;
        PLAIN.steps(mounts, |ops, _| {
            let readonly = Attributes { set: 1, ..NONE };
            assert_eq!(
                ops,
                [
                    mount(c"/run", c"tmpfs", 0, c"size=1m", Over::Any),
                    mount(c"/dev/", c"devtmpfs", 0, c"", Over::Any),
                    Op::MountCopyUp { target: Text(c"/x"), flags: 0, data: Text(c"") },
                    Op::Mount {
                        target: Text(c"/y"),
                        source: Text(c"/dev/sda"),
                        kind: Text(c"ext4"),
                        flags: 1,
                        data: Text(c""),
                        over: Over::Any
                    },
                    set(c"/run", Depth::One, readonly),
                    set(c"/dev/", Depth::One, readonly),
                    set(c"/x", Depth::One, readonly),
                ]
            );
        });
    }

    #[test]
    fn a_bind_mount_changes_what_is_named_and_nothing_else() {
        let attributes = |set, clear| Attributes { set, clear, propagation: 0 };
        let table = [
            (r#"["bind"]"#, Depth::One, NONE, NONE),
            (r#"["rbind","ro","rprivate"]"#, Depth::Tree, propagation(0x4_0000), attributes(1, 0)),
            (r#"["rbind","rro"]"#, Depth::Tree, attributes(1, 0), NONE),
            (r#"["rbind","rro","rw"]"#, Depth::Tree, attributes(1, 0), attributes(0, 1)),
            (r#"["bind","suid","exec","dev"]"#, Depth::One, NONE, attributes(0, 14)),
            (r#"["bind","noatime"]"#, Depth::One, NONE, attributes(0x10, 0x70)),
            (r#"["bind","rslave"]"#, Depth::One, propagation(0x8_0000), NONE),
            (r#"["rbind","shared"]"#, Depth::Tree, NONE, propagation(0x10_0000)),
        ];
        for (options, depth, whole, own) in table {
            let mounts =
                format!(r#"[{{"destination":"/data","type":"none","source":"/srv","options":{options}}}]"#);
            PLAIN.steps(&mounts, |ops, opened| {
                let source = Source::Path(Text(c"/srv"));
                let target = Text(c"/data");
                let over = Over::Any;
                assert_eq!(
                    ops,
                    [Op::Bind { source, target, depth, whole, attributes: own, over }],
                    "{options}"
                );
                assert!(opened.is_empty());
            });
        }
    }

    #[test]
    fn two_propagations_are_applied_in_their_order() {
        let mounts = r#"[{"destination":"/d","source":"/s","options":["rbind","rslave","shared"]},
                         {"destination":"/t","type":"tmpfs","options":["private"]}]"#;
        PLAIN.steps(mounts, |ops, _| {
            assert_eq!(
                ops,
                [
                    bind(c"/s", c"/d", Depth::Tree),
                    set(c"/d", Depth::Tree, propagation(0x8_0000)),
                    set(c"/d", Depth::One, propagation(0x10_0000)),
                    mount(c"/t", c"tmpfs", 0, c"", Over::Any),
                    set(c"/t", Depth::One, propagation(0x4_0000)),
                ]
            );
        });
    }

    #[test]
    fn relative_paths_start_at_the_bundle_and_at_the_root() {
        let mounts = r#"[{"destination":"data","source":"volume/a","options":["bind"]}]"#;
        PLAIN.steps(mounts, |ops, _| assert_eq!(ops, [bind(c"/bundle/volume/a", c"/data", Depth::One)]));
        assert_eq!(
            PLAIN.warnings(mounts),
            ["mounts[0].destination: \"data\" is not absolute; taken as \"/data\""]
        );
    }

    #[test]
    fn remount_names_what_changes() {
        let mounts = r#"[
            {"destination":"/a","options":["bind","remount","ro","suid"]},
            {"destination":"/b","options":["remount","nosuid"]},
            {"destination":"/c","options":["remount","ro","size=1m","nodev"]}]"#;
        PLAIN.steps(mounts, |ops, _| {
            let attributes = |set, clear| Attributes { set, clear, propagation: 0 };
            assert_eq!(
                ops,
                [
                    set(c"/a", Depth::One, attributes(1, 2)),
                    set(c"/b", Depth::One, attributes(2, 0)),
                    Op::Remount { target: Text(c"/c"), flags: 1, data: Text(c"size=1m") },
                    set(c"/c", Depth::One, attributes(5, 0)),
                ]
            );
        });
    }

    /// What is mounted on /proc decides what the runtime and the tools of an operator read: CVE-2019-16884.
    #[test]
    fn proc_can_be_covered_by_proc_and_a_few_files_alone() {
        let over = |mounts: &str| {
            let mut found = None;
            PLAIN.steps(mounts, |ops, _| {
                found = ops.iter().find_map(|op| match op {
                    Op::Bind { over, .. } | Op::Mount { over, .. } => Some(*over),
                    _ => None,
                });
            });
            found
        };
        let to = |destination: &str| {
            format!(r#"[{{"destination":"{destination}","source":"/s","options":["bind"]}}]"#)
        };
        assert_eq!(over(&to("/proc/")), Some(Over::ProcfsTree));
        assert_eq!(over(&to("/proc/uptime")), Some(Over::Procfs));
        assert_eq!(over(&to("/x/../proc//sys/kernel/ns_last_pid")), Some(Over::Procfs));
        assert_eq!(over(&to("/process")), Some(Over::Any));
        for path in ["/proc/self", "/proc/sys", "proc/thread-self/attr", "/a/../proc/./1", "/proc/uptime/x"] {
            let errors = PLAIN.errors(&to(path));
            assert_eq!(errors.len(), 1, "{path}");
            assert!(
                errors[0].contains("is inside /proc; only a few of its files can be replaced"),
                "{errors:?}"
            );
        }
        let errors = PLAIN
            .errors(r#"[{"destination":"/proc","type":"tmpfs"},{"destination":"/proc/sys","type":"proc"}]"#);
        assert_eq!(
            errors,
            [
                "mounts[0].destination: \"tmpfs\" would hide proc; only proc goes there",
                "mounts[1].destination: /proc/sys is inside /proc; only a few of its files can be replaced",
            ]
        );
    }

    #[test]
    fn every_violation_is_reported_by_its_key() {
        let table = [
            (r#"{"type":"tmpfs"}"#, "mounts[0].destination: required"),
            (r#"{"destination":"","type":"tmpfs"}"#, "mounts[0].destination: required"),
            (
                r#"{"destination":"/a/..","type":"tmpfs"}"#,
                "mounts[0].destination: the root cannot be mounted over; see root.path",
            ),
            (r#"{"destination":"/a\u0000","type":"tmpfs"}"#, "mounts[0].destination: contains NUL"),
            (
                r#"{"destination":"/a","options":["ro"]}"#,
                "mounts[0].type: required unless the options have bind or rbind",
            ),
            (
                r#"{"destination":"/a","type":"bind","source":"/s"}"#,
                "mounts[0].options: a mount of type bind needs the option bind or rbind",
            ),
            (r#"{"destination":"/a","options":["bind"]}"#, "mounts[0].source: required for a bind mount"),
            (
                r#"{"destination":"/a","source":"/s","options":["rbind","nosiud"]}"#,
                "mounts[0].options[1]: a bind mount takes no options of a file system: unknown option \"nosiud\"; did you mean \"nosuid\"?",
            ),
            (
                r#"{"destination":"/a","source":"/s","options":["rbind","tmpcopyup"]}"#,
                "mounts[0].options[1]: tmpcopyup is for mounts of type tmpfs",
            ),
            (
                r#"{"destination":"/a","type":"tmpfs","options":["idmap"]}"#,
                "mounts[0]: only a new bind mount can be id-mapped",
            ),
            (
                r#"{"destination":"/a","source":"/s","options":["bind","idmap"]}"#,
                "mounts[0]: idmap needs uidMappings and gidMappings, or a user namespace whose maps it takes",
            ),
            (
                r#"{"destination":"/a","source":"/s","options":["bind"],"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#,
                "mounts[0].gidMappings: required together with uidMappings",
            ),
            (
                r#"{"destination":"/a","type":"tmpfs","options":["a\u0000"]}"#,
                "mounts[0].options: contains NUL",
            ),
        ];
        for (mount, error) in table {
            assert_eq!(PLAIN.errors(&format!("[{mount}]")), [error], "{mount}");
        }
        assert!(PLAIN.errors("null").is_empty());
    }

    #[test]
    fn data_is_at_most_a_page() {
        let mount = |len: usize| {
            format!(r#"[{{"destination":"/a","type":"overlay","options":["{}"]}}]"#, "x".repeat(len))
        };
        assert!(PLAIN.errors(&mount(4095)).is_empty());
        assert_eq!(
            PLAIN.errors(&mount(4096)),
            ["mounts[0].options: 4096 bytes for the file system; the kernel reads 4095"]
        );
    }

    #[test]
    fn flags_of_a_file_system_do_nothing_on_a_bind_mount() {
        assert_eq!(
            PLAIN.warnings(r#"[{"destination":"/a","source":"/s","options":["bind","sync","async"]}]"#),
            [
                "mounts[0].options[1]: \"sync\" has no effect: it is a property of the file system, which a bind mount shares"
            ]
        );
    }

    #[test]
    fn the_label_is_quoted_and_given_to_those_that_take_one() {
        let labelled =
            Case { linux: r#"{"mountLabel":"system_u:object_r:t:s0:c1,c2"}"#, selinux: true, ..PLAIN };
        let mounts = r#"[
            {"destination":"/t","type":"tmpfs","options":["mode=755"]},
            {"destination":"/u","type":"tmpfs","options":["context=\"own\""]},
            {"destination":"/proc","type":"proc"},
            {"destination":"/s","source":"/s","options":["bind"]},
            {"destination":"/dev/mqueue","type":"mqueue"}]"#;
        labelled.steps(mounts, |ops, _| {
            assert_eq!(
                ops[0],
                mount(c"/t", c"tmpfs", 0, c"mode=755,context=\"system_u:object_r:t:s0:c1,c2\"", Over::Any)
            );
            assert_eq!(ops[1], mount(c"/u", c"tmpfs", 0, c"context=\"own\"", Over::Any));
            assert_eq!(ops[2], mount(c"/proc", c"proc", 0, c"", Over::Directory));
            assert_eq!(ops[4], mount(c"/dev/mqueue", c"mqueue", 0, c"", Over::Any));
        });
        assert_eq!(
            labelled.warnings(mounts),
            ["mounts[4]: mqueue takes no label; linux.mountLabel is not applied to it"]
        );
        let without = Case { selinux: false, ..labelled };
        assert_eq!(without.errors("[]"), ["linux.mountLabel: this host has no SELinux"]);
        let quote = Case { linux: r#"{"mountLabel":"a\",b"}"#, selinux: true, ..PLAIN };
        assert_eq!(quote.errors("[]"), ["linux.mountLabel: contains a quote or a control character"]);
    }

    #[test]
    fn for_a_user_namespace_the_parent_opens_the_sources() {
        let mounts = r#"[{"destination":"/a","source":"/s","options":["rbind"]}]"#;
        user_namespace().steps(mounts, |ops, opened| {
            let Op::Bind { source, .. } = ops[0] else { panic!("{ops:?}") };
            assert_eq!(source, Source::Tree(Fd(10)));
            let tree = Tree {
                source: c"/s",
                depth: Depth::Tree,
                idmap: None,
                propagation: 0x8_0000,
                key: "mounts[0]".into(),
            };
            assert_eq!(opened, [Open::Tree(tree)]);
        });
        let shared = Case { linux: r#"{"rootfsPropagation":"rshared"}"#, namespaces: vec![], ..PLAIN };
        let mapped = r#"[{"destination":"/a","source":"/s","options":["bind"],
            "uidMappings":[{"containerID":0,"hostID":1,"size":1}],
            "gidMappings":[{"containerID":0,"hostID":2,"size":3}]}]"#;
        shared.steps(mapped, |_, opened| {
            let idmap = IdMap { uid_map: "0 1 1\n", gid_map: "0 2 3\n", depth: Depth::One };
            let tree = Tree {
                source: c"/s",
                depth: Depth::One,
                idmap: Some(idmap),
                propagation: 0,
                key: "mounts[0]".into(),
            };
            assert_eq!(opened, [Open::Tree(tree)]);
        });
    }

    #[test]
    fn an_idmap_without_maps_takes_those_of_the_container() {
        let mounts = r#"[{"destination":"/a","source":"/s","options":["rbind","ridmap"]}]"#;
        user_namespace().steps(mounts, |_, opened| {
            let Open::Tree(tree) = &opened[0] else { panic!("{opened:?}") };
            let lines = "0 1000 1\n";
            assert_eq!(tree.idmap, Some(IdMap { uid_map: lines, gid_map: lines, depth: Depth::Tree }));
        });
        let rootless = Case { euid: 1000, ..user_namespace() };
        assert_eq!(
            rootless.errors(mounts),
            ["mounts[0]: id-mapped mounts need root of the host; this is uid 1000"]
        );
    }

    #[test]
    fn an_ordinary_user_opens_the_sources_itself() {
        let rootless = Case { euid: 1000, ..user_namespace() };
        rootless.steps(r#"[{"destination":"/a","source":"/s","options":["bind"]}]"#, |ops, opened| {
            assert_eq!(ops, [bind(c"/s", c"/a", Depth::One)]);
            assert!(opened.is_empty());
        });
    }

    #[test]
    fn an_id_that_is_not_mapped_is_explained() {
        let mounts = r#"[{"destination":"/dev/pts","type":"devpts","options":["gid=5","uid=0"]}]"#;
        assert!(PLAIN.errors(mounts).is_empty());
        assert_eq!(
            user_namespace().errors(mounts),
            [
                "mounts[0].options[0]: \"gid=5\": 5 is not mapped; add it to linux.gidMappings or leave the option out"
            ]
        );
    }

    #[test]
    fn sysfs_of_a_foreign_network_namespace_is_the_hosts_read_only() {
        let mounts = r#"[{"destination":"/sys","type":"sysfs","options":["rw"]}]"#;
        user_namespace().steps(mounts, |ops, _| {
            let whole = Attributes { set: 15, ..NONE };
            let (source, target) = (Source::Path(Text(c"/sys")), Text(c"/sys"));
            let (depth, over) = (Depth::Tree, Over::Directory);
            assert_eq!(ops, [Op::Bind { source, target, depth, whole, attributes: NONE, over }]);
        });
        assert_eq!(user_namespace().warnings(mounts).len(), 1);
        let own = Case { namespaces: vec![Kind::User, Kind::Network], ..user_namespace() };
        own.steps(mounts, |ops, _| assert_eq!(ops, [mount(c"/sys", c"sysfs", 0, c"", Over::Directory)]));
    }

    #[test]
    fn mqueue_in_a_user_namespace_needs_an_ipc_namespace() {
        let mounts = r#"[{"destination":"/dev/mqueue","type":"mqueue"}]"#;
        assert_eq!(user_namespace().errors(mounts).len(), 1);
        let own = Case { namespaces: vec![Kind::User, Kind::Ipc], ..user_namespace() };
        assert!(own.errors(mounts).is_empty());
    }

    #[test]
    fn cgroups_of_the_host_are_read_only_for_all_but_root() {
        let mounts =
            r#"[{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["rw"]}]"#;
        let attributes = |case: &Case| {
            let mut found = None;
            case.steps(mounts, |ops, _| {
                found = match ops {
                    [Op::Bind { whole, .. }] => Some(whole.set),
                    _ => None,
                };
            });
            found
        };
        assert_eq!(attributes(&PLAIN), Some(14));
        assert_eq!(attributes(&user_namespace()), Some(15));
        assert_eq!(attributes(&Case { euid: 1000, ..PLAIN }), Some(15));
        assert_eq!(attributes(&Case { namespaces: vec![Kind::Cgroup], ..PLAIN }), None);
        assert_eq!(user_namespace().warnings(mounts).len(), 1);
        let (mounts, _) = PLAIN.check(mounts);
        assert!(mounts.wants_cgroups() && mounts.writes_cgroups);
    }

    #[test]
    fn dev_from_the_host_is_noticed() {
        let bound = |destination: &str, options: &str| {
            let mount = format!(
                r#"[{{"destination":"{destination}","type":"tmpfs","source":"/d","options":{options}}}]"#
            );
            PLAIN.check(&mount).0.binds_dev
        };
        assert!(bound("/dev/./", r#"["rbind"]"#));
        assert!(!bound("/dev", "[]"));
        assert!(!bound("/dev/pts", r#"["bind"]"#));
    }

    #[test]
    fn ids_are_not_judged_by_the_maps_of_a_namespace_that_is_not_known_yet() {
        let joined =
            Namespaces { joined: vec![(Kind::User, 0, PathBuf::from("/ns"))], ..Namespaces::default() };
        let mut problems = Problems::default();
        let spec: Spec =
            serde_json::from_str(r#"{"mounts":[{"destination":"/p","type":"devpts","options":["gid=5"]}]}"#)
                .unwrap();
        let mappings = idmappings::check(&spec, &joined, &Facts::default(), &mut problems);
        let (root, facts) = (Root::default(), Facts::default());
        check(&spec, Path::new("/b"), &joined, &mappings, &root, &facts, &mut problems);
        assert!(problems.errors.is_empty(), "{:?}", problems.errors);
    }
}
