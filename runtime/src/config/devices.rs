//! `linux.devices`, and the nodes and links that every /dev has.
//!
//! Which devices may be opened is another question: that is linux.resources.devices.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#devices>

use std::ffi::CString;

use child::op::{Attributes, Depth, Device, Existing, Over, Source};
use child::{Op, Text};
use serde::Deserialize;

use super::idmappings::IdMappings;
use super::mounts::{External, Ids, Mounts};
use super::namespaces::{Kind, Namespaces};
use super::paths::{clean, is_within};
use super::text::c_string;
use super::{Problems, Spec};
use crate::facts::{Facts, Node};
use crate::json::Integer;
use crate::step::{Open, Opens, Step, Tree};

// ── Shape ──

/// One entry of `linux.devices` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shape {
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Where inside the container.
    pub path: Option<String>,
    /// The major number; not for a FIFO.
    pub major: Option<Integer>,
    /// The minor number; not for a FIFO.
    pub minor: Option<Integer>,
    /// The permission bits; 0666 if absent.
    pub file_mode: Option<Integer>,
    /// The owner inside the container.
    pub uid: Option<Integer>,
    /// The group inside the container.
    pub gid: Option<Integer>,
}

// ── Rules ──

/// What is made in /dev, and the devices elsewhere, valid.
#[derive(Debug, Default)]
pub struct Devices {
    nodes: Vec<Entry>,
    links: Vec<(&'static str, CString, CString, Existing)>,
    opener: Opener,
}

#[derive(Debug, PartialEq)]
struct Entry {
    key: String,
    clean: String,
    path: CString,
    device: Device,
}

/// How the nodes come to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opener {
    /// mknod(2).
    #[default]
    Made,
    /// Bound from the host's tree by the child: nobody in a user namespace can make a node that works.
    Child,
    /// Bound from a tree that the parent opened.
    Parent,
}

const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;

/// The nodes that the specification demands. `console` comes with the terminal, `ptmx` is a link.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The container's own multiplexer, not the one that an image holds.
const PTMX: &str = "/dev/ptmx";

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Checks the devices and adds the defaults, of which a configured device of the same path takes the place. With the
/// host's own /dev bound into the container nothing is made in it.
pub fn check(
    spec: &Spec,
    namespaces: &Namespaces,
    mappings: &IdMappings,
    mounts: &Mounts,
    facts: &Facts,
    problems: &mut Problems,
) -> Devices {
    let mut nodes: Vec<Entry> = Vec::new();
    let shapes = spec.linux.as_ref().map_or(&[][..], |linux| linux.devices.as_slice());
    for (index, shape) in shapes.iter().enumerate() {
        let key = format!("linux.devices[{index}]");
        let Some(entry) = entry(shape, key, problems) else { continue };
        if entry.clean == PTMX || (mounts.binds_dev && is_within(&entry.clean, "/dev")) {
            warn_of_left_out(&entry, problems);
        } else if !is_known(&entry, &nodes, problems) {
            nodes.push(entry);
        }
    }
    if !mounts.binds_dev {
        let mut defaults = defaults();
        defaults.retain(|default| nodes.iter().all(|node| node.clean != default.clean));
        defaults.append(&mut nodes);
        nodes = defaults;
    }
    let opener = opener(namespaces, facts);
    if opener != Opener::Made {
        check_host_nodes(&nodes, mappings, facts, problems);
    }
    let links = if mounts.binds_dev { Vec::new() } else { links(facts) };
    Devices { nodes, links, opener }
}

fn entry(shape: &Shape, key: String, problems: &mut Problems) -> Option<Entry> {
    let file_type = file_type(shape, &key, problems);
    let clean = device_path(shape, &key, problems);
    let (major, minor) = match file_type {
        Some(S_IFIFO) => (Some(0), Some(0)),
        _ => (
            number(shape.major, MAJORS, format!("{key}.major"), problems),
            number(shape.minor, MINORS, format!("{key}.minor"), problems),
        ),
    };
    let mode = mode(shape, file_type, &key, problems);
    let uid = owner(shape.uid, format!("{key}.uid"), problems);
    let gid = owner(shape.gid, format!("{key}.gid"), problems);
    let clean = clean?;
    let path = c_string(&clean, &format!("{key}.path"), problems);
    let (major, minor) = (major?, minor?);
    let device = Device { file_type: file_type?, major, minor, mode: mode?, uid: uid?, gid: gid? };
    Some(Entry { key, clean, path, device })
}

fn file_type(shape: &Shape, key: &str, problems: &mut Problems) -> Option<u32> {
    let key = format!("{key}.type");
    match shape.kind.as_deref() {
        Some("c" | "u") => Some(S_IFCHR),
        Some("b") => Some(S_IFBLK),
        Some("p") => Some(S_IFIFO),
        Some(other) => {
            problems.invalid(key, format!("unknown type of device {other:?}; it is c, b, u or p"));
            None
        }
        None => {
            problems.invalid(key, "required");
            None
        }
    }
}

fn device_path(shape: &Shape, key: &str, problems: &mut Problems) -> Option<String> {
    let key = format!("{key}.path");
    let path = shape.path.as_deref().unwrap_or_default();
    let clean = clean(path);
    let mistake = match path {
        "" => "required".to_owned(),
        _ if !path.starts_with('/') => format!("{path:?} is not absolute"),
        _ if clean == "/" || clean == "/dev" => format!("{path:?} is a directory"),
        _ if is_within(&clean, "/proc") => format!("{clean} is inside /proc"),
        _ => return Some(clean),
    };
    problems.invalid(key, mistake);
    None
}

/// Major numbers have 12 bits and minor numbers 20. makedev(3), linux/kdev_t.h.
const MAJORS: u32 = 0xfff;
const MINORS: u32 = 0xf_ffff;

fn number(written: Option<Integer>, highest: u32, key: String, problems: &mut Problems) -> Option<u32> {
    let Some(written) = written else {
        problems.invalid(key, "required");
        return None;
    };
    let number = u32::try_from(written.0).ok().filter(|number| *number <= highest);
    if number.is_none() {
        problems.invalid(key, format!("{written} is not between 0 and {highest}"));
    }
    number
}

/// The permission bits. Engines hand on the whole st_mode; a type in it must be the device's.
fn mode(shape: &Shape, file_type: Option<u32>, key: &str, problems: &mut Problems) -> Option<u32> {
    let Some(written) = shape.file_mode else { return Some(0o666) };
    let mode = u32::try_from(written.0).ok().filter(|mode| mode >> 16 == 0);
    let in_mode = mode.map_or(0, |mode| mode & 0o170_000);
    let agrees = in_mode == 0 || file_type.is_none_or(|file_type| file_type == in_mode);
    if mode.is_none() || !agrees {
        problems.invalid(format!("{key}.fileMode"), format!("{written} is no mode of such a device"));
        return None;
    }
    mode.map(|mode| mode & 0o7777)
}

fn owner(written: Option<Integer>, key: String, problems: &mut Problems) -> Option<u32> {
    let Some(written) = written else { return Some(0) };
    let id = u32::try_from(written.0).ok().filter(|id| *id != u32::MAX);
    if id.is_none() {
        problems.invalid(key, format!("{written} is no id; ids end below {}", u32::MAX));
    }
    id
}

fn warn_of_left_out(entry: &Entry, problems: &mut Problems) {
    let why = match entry.clean.as_str() {
        // The link leads to the same device, that of the container's own devpts, so nothing is missing.
        PTMX if entry.device.major == 5 && entry.device.minor == 2 => return,
        PTMX => "/dev/ptmx is a link to the container's own pts/ptmx; the device is not made",
        _ => "/dev is bound from the host and nothing is made in it; the device must be there already",
    };
    problems.warn(entry.key.clone(), why);
}

fn is_known(entry: &Entry, nodes: &[Entry], problems: &mut Problems) -> bool {
    let Some(same) = nodes.iter().find(|node| node.clean == entry.clean) else { return false };
    if same.device != entry.device {
        problems.invalid(
            format!("{}.path", entry.key),
            format!("{} is another device in {}", entry.clean, same.key),
        );
    }
    true
}

fn defaults() -> Vec<Entry> {
    let entry = |(path, major, minor): (&str, u32, u32)| Entry {
        key: String::new(),
        clean: path.to_owned(),
        path: CString::new(path).unwrap_or_default(),
        device: Device { file_type: S_IFCHR, major, minor, mode: 0o666, uid: 0, gid: 0 },
    };
    DEFAULTS.into_iter().map(entry).collect()
}

fn opener(namespaces: &Namespaces, facts: &Facts) -> Opener {
    if namespaces.has(Kind::User) && facts.euid() == 0 {
        Opener::Parent
    } else if namespaces.has(Kind::User) || facts.euid() != 0 || facts.in_user_namespace() {
        Opener::Child
    } else {
        Opener::Made
    }
}

/// A bound node is the host's: it must exist there under the same path and be the device that is asked for, and it keeps
/// its mode and owner.
fn check_host_nodes(nodes: &[Entry], mappings: &IdMappings, facts: &Facts, problems: &mut Problems) {
    for entry in nodes.iter().filter(|entry| entry.device.file_type != S_IFIFO) {
        let Device { file_type, major, minor, mode, uid, gid } = entry.device;
        let key = if entry.key.is_empty() { "linux.devices" } else { &entry.key };
        match facts.node(&entry.path) {
            None => problems.unsupported(
                key.to_owned(),
                format!("{} is not on the host; a user namespace can only bind it from there", entry.clean),
            ),
            Some(Node { numbers, .. }) if numbers != (file_type, major, minor) => problems.unsupported(
                key.to_owned(),
                format!("{} is another device on the host; a user namespace can only bind it", entry.clean),
            ),
            Some(Node { mode: host_mode, owner, .. }) if !entry.key.is_empty() => {
                let wanted = (mappings.host_uid(uid), mappings.host_gid(gid));
                if host_mode != mode || wanted != (Some(owner.0), Some(owner.1)) {
                    problems.warn(
                        key.to_owned(),
                        format!("{} is bound from the host and keeps its mode and owner", entry.clean),
                    );
                }
            }
            Some(_) => {}
        }
    }
}

fn links(facts: &Facts) -> Vec<(&'static str, CString, CString, Existing)> {
    let core = facts.kcore().then_some(("/dev/core", "/proc/kcore"));
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let mut links = vec![("", text(PTMX), text("pts/ptmx"), Existing::Replace)];
    links.extend(LINKS.into_iter().chain(core).map(|(path, to)| ("", text(path), text(to), Existing::Keep)));
    links
}

// ── Steps ──

impl Devices {
    /// The nodes, then the links; after the mounts, because /dev is one of them. Bound nodes may need the parent.
    pub fn steps<'a>(&'a self, opens: &mut Opens<'a>) -> Vec<Step<'a>> {
        let mut steps: Vec<Step<'a>> =
            self.nodes.iter().map(|entry| Step::new(entry.key.as_str(), self.node(entry, opens))).collect();
        steps.extend(self.links.iter().map(|(key, path, text, existing)| {
            Step::new(*key, Op::Symlink { path: Text(path), text: Text(text), existing: *existing })
        }));
        steps
    }

    fn node<'a>(&'a self, entry: &'a Entry, opens: &mut Opens<'a>) -> Op<'a> {
        let source = match self.opener {
            _ if entry.device.file_type == S_IFIFO => return made(entry),
            Opener::Made => return made(entry),
            Opener::Child => Source::Path(Text(&entry.path)),
            Opener::Parent => Source::Tree(opens.add(Open::Tree(Tree {
                source: &entry.path,
                depth: Depth::One,
                idmap: None,
                propagation: 0,
                key: entry.key.as_str().into(),
            }))),
        };
        // An image may hold a link under the name of a device; nothing in /dev may be followed.
        let over = if is_within(&entry.clean, "/dev") { Over::Directory } else { Over::Any };
        let (whole, attributes) = (Attributes::default(), Attributes::default());
        Op::Bind { source, target: Text(&entry.path), depth: Depth::One, whole, attributes, over }
    }
}

impl Devices {
    /// The nodes that are the host's own, bound.
    pub fn external(&self) -> impl Iterator<Item = External<'_>> {
        let bound = |entry: &&Entry| self.opener != Opener::Made && entry.device.file_type != S_IFIFO;
        self.nodes.iter().filter(bound).map(|entry| External {
            source: &entry.path,
            target: &entry.path,
            depth: Depth::One,
            ids: Ids::Own,
        })
    }
}

fn made(entry: &Entry) -> Op<'_> {
    Op::Device { path: Text(&entry.path), device: entry.device }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use child::Fd;

    use super::super::idmappings::Owner;
    use super::*;

    fn facts(euid: u32) -> Facts {
        let facts = Facts::default();
        facts.euid.set(euid).unwrap();
        facts.in_user_namespace.set(false).unwrap();
        facts.kcore.set(true).unwrap();
        facts
    }

    fn run(devices: &str, namespaces: &Namespaces, mounts: &Mounts, euid: u32) -> (Devices, Problems) {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(&format!(r#"{{"linux":{{"devices":{devices}}}}}"#)).unwrap();
        let owner = if namespaces.has(Kind::User) { Owner::New } else { Owner::Runtime };
        let mappings = IdMappings { owner, ..IdMappings::default() };
        let devices = check(&spec, namespaces, &mappings, mounts, &facts(euid), &mut problems);
        (devices, problems)
    }

    fn plain(devices: &str) -> (Devices, Problems) {
        run(devices, &Namespaces::default(), &Mounts::default(), 0)
    }

    fn errors(devices: &str) -> Vec<String> {
        plain(devices).1.errors.iter().map(ToString::to_string).collect()
    }

    fn lines(devices: &Devices) -> Vec<String> {
        devices.steps(&mut Opens::new(0)).iter().map(|step| format!("{}|{}", step.key, step.op)).collect()
    }

    #[test]
    fn every_container_has_the_default_devices_and_links() {
        let (devices, problems) = plain("null");
        assert!(problems.errors.is_empty());
        assert_eq!(
            lines(&devices),
            [
                "|make device /dev/null 1:3",
                "|make device /dev/zero 1:5",
                "|make device /dev/full 1:7",
                "|make device /dev/random 1:8",
                "|make device /dev/urandom 1:9",
                "|make device /dev/tty 5:0",
                "|link /dev/ptmx to pts/ptmx",
                "|link /dev/fd to /proc/self/fd",
                "|link /dev/stdin to /proc/self/fd/0",
                "|link /dev/stdout to /proc/self/fd/1",
                "|link /dev/stderr to /proc/self/fd/2",
                "|link /dev/core to /proc/kcore",
            ]
        );
    }

    #[test]
    fn a_configured_device_takes_the_place_of_a_default() {
        let (devices, problems) = plain(
            r#"[{"path":"/dev/./null","type":"u","major":7,"minor":1,"fileMode":8576,"uid":3,"gid":4},
                {"path":"/opt/x","type":"b","major":8,"minor":0},
                {"path":"/run/p","type":"p","fileMode":384}]"#,
        );
        assert!(problems.errors.is_empty(), "{:?}", problems.errors);
        let mut opens = Opens::new(0);
        let steps = devices.steps(&mut opens);
        let device =
            |file_type, major, minor, mode, uid, gid| Device { file_type, major, minor, mode, uid, gid };
        let made: Vec<_> = steps.iter().filter(|step| !step.key.is_empty()).map(|step| &step.op).collect();
        assert_eq!(
            made,
            [
                &Op::Device { path: Text(c"/dev/null"), device: device(S_IFCHR, 7, 1, 0o600, 3, 4) },
                &Op::Device { path: Text(c"/opt/x"), device: device(S_IFBLK, 8, 0, 0o666, 0, 0) },
                &Op::Device { path: Text(c"/run/p"), device: device(S_IFIFO, 0, 0, 0o600, 0, 0) },
            ]
        );
        assert_eq!(lines(&devices).iter().filter(|line| line.contains("/dev/null")).count(), 1);
    }

    #[test]
    fn every_violation_is_reported_by_its_key() {
        let table: [(&str, &[&str]); 9] = [
            (
                r#"{"type":"x"}"#,
                &[
                    "linux.devices[0].type: unknown type of device \"x\"; it is c, b, u or p",
                    "linux.devices[0].path: required",
                    "linux.devices[0].major: required",
                    "linux.devices[0].minor: required",
                ],
            ),
            (r#"{"path":"/dev/a","major":1,"minor":1}"#, &["linux.devices[0].type: required"]),
            (r#"{"path":"dev/a","type":"p"}"#, &["linux.devices[0].path: \"dev/a\" is not absolute"]),
            (r#"{"path":"/dev/..","type":"p"}"#, &["linux.devices[0].path: \"/dev/..\" is a directory"]),
            (r#"{"path":"/proc/a","type":"p"}"#, &["linux.devices[0].path: /proc/a is inside /proc"]),
            (
                r#"{"path":"/dev/a","type":"c","major":-1,"minor":1048576}"#,
                &[
                    "linux.devices[0].major: -1 is not between 0 and 4095",
                    "linux.devices[0].minor: 1048576 is not between 0 and 1048575",
                ],
            ),
            (
                r#"{"path":"/dev/a","type":"p","uid":4294967295,"gid":-1}"#,
                &[
                    "linux.devices[0].uid: 4294967295 is no id; ids end below 4294967295",
                    "linux.devices[0].gid: -1 is no id; ids end below 4294967295",
                ],
            ),
            (
                r#"{"path":"/dev/a","type":"p","fileMode":8630}"#,
                &["linux.devices[0].fileMode: 8630 is no mode of such a device"],
            ),
            (r#"{"path":"/dev/a\u0000","type":"p"}"#, &["linux.devices[0].path: contains NUL"]),
        ];
        for (device, expected) in table {
            assert_eq!(errors(&format!("[{device}]")), expected, "{device}");
        }
    }

    #[test]
    fn two_devices_of_one_path_must_be_the_same() {
        let device = |minor| format!(r#"{{"path":"/dev/a","type":"c","major":1,"minor":{minor}}}"#);
        assert!(errors(&format!("[{0},{0}]", device(1))).is_empty());
        assert_eq!(
            errors(&format!("[{},{}]", device(1), device(2))),
            ["linux.devices[1].path: /dev/a is another device in linux.devices[0]"]
        );
    }

    #[test]
    fn nothing_is_made_in_a_dev_that_is_the_hosts() {
        let mut mounts = Mounts::default();
        mounts.binds_dev = true;
        let (devices, problems) = run(
            r#"[{"path":"/dev/a","type":"c","major":1,"minor":1},{"path":"/x","type":"p"}]"#,
            &Namespaces::default(),
            &mounts,
            0,
        );
        assert_eq!(lines(&devices), ["linux.devices[1]|make device /x 0:0"]);
        assert_eq!(problems.warnings.len(), 1);
    }

    #[test]
    fn a_user_namespace_binds_the_hosts_nodes() {
        let namespaces = Namespaces::all_new(&[Kind::User]);
        let (devices, problems) = run("[]", &namespaces, &Mounts::default(), 1000);
        assert!(problems.errors.is_empty(), "{:?}", problems.errors);
        assert_eq!(lines(&devices)[0], "|attach /dev/null at /dev/null");
        let (devices, _) = run(r#"[{"path":"/run/p","type":"p"}]"#, &namespaces, &Mounts::default(), 0);
        let mut opens = Opens::new(5);
        let steps = devices.steps(&mut opens);
        let Op::Bind { source, over, .. } = steps[0].op else { panic!("{:?}", steps[0]) };
        assert_eq!((source, over), (Source::Tree(Fd(5)), Over::Directory));
        assert_eq!(opens.iter().count(), DEFAULTS.len());
        assert!(matches!(steps[DEFAULTS.len()].op, Op::Device { .. }));
    }

    #[test]
    fn a_bound_node_must_be_the_device_on_the_host() {
        let namespaces = Namespaces::all_new(&[Kind::User]);
        let (_, problems) = run(
            r#"[{"path":"/dev/null","type":"c","major":1,"minor":5},
                {"path":"/dev/it-absent","type":"c","major":1,"minor":5},
                {"path":"/dev/zero","type":"c","major":1,"minor":5,"fileMode":384}]"#,
            &namespaces,
            &Mounts::default(),
            1000,
        );
        let texts = |list: &[crate::Error]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(&problems.errors),
            [
                "linux.devices[0]: /dev/null is another device on the host; a user namespace can only bind it",
                "linux.devices[1]: /dev/it-absent is not on the host; a user namespace can only bind it from there",
            ]
        );
        assert_eq!(
            texts(&problems.warnings),
            ["linux.devices[2]: /dev/zero is bound from the host and keeps its mode and owner"]
        );
    }

    #[test]
    fn ptmx_is_always_the_link() {
        let (devices, problems) = plain(r#"[{"path":"/dev/ptmx","type":"c","major":5,"minor":2}]"#);
        assert_eq!(problems.warnings.len(), 0, "the link is that device");
        assert_eq!(plain(r#"[{"path":"/dev/ptmx","type":"c","major":1,"minor":3}]"#).1.warnings.len(), 1);
        assert!(!lines(&devices).iter().any(|line| line.contains("make device /dev/ptmx")));
    }
}
