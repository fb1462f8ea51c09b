//! `linux.uidMappings` and `linux.gidMappings`, and the maps of id-mapped mounts, which have the same form.
//!
//! A map is kept as what will be written to /proc/PID/uid_map; writing it is the launch's.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#user-namespace-mappings>

use serde::{Deserialize, Serialize};

use super::namespaces::{Kind, Namespaces};
use super::{Problems, Spec};
use crate::facts::Facts;
use crate::json::Integer;

// ── Shape ──

/// One line of a map as written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Mapping {
    /// The first id inside.
    #[serde(rename = "containerID")]
    pub container_id: Integer,
    /// The first id outside.
    #[serde(rename = "hostID")]
    pub host_id: Integer,
    /// How many ids follow each other.
    pub size: Integer,
}

// ── Rules ──

/// A valid map of user or group ids, in the order in which it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    extents: Vec<Extent>,
    lines: String,
}

/// Ids that follow each other on both sides; neither side reaches 2^32-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Extent {
    container: u32,
    host: u32,
    size: u32,
}

/// Whose user namespace the container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Owner {
    /// The runtime's: an id is the same inside and outside.
    #[default]
    Runtime,
    /// A new one, with the maps of the configuration.
    New,
    /// One that is joined by path, with maps that it has already.
    Joined,
}

/// What ids of the container are on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMappings {
    /// Whose user namespace it is.
    pub owner: Owner,
    /// The map of user ids. With [`Owner::Joined`] it is what the kernel says, or what the configuration says, possibly
    /// nothing, where the kernel was not asked.
    pub uid: IdMap,
    /// The map of group ids, likewise.
    pub gid: IdMap,
}

/// Checks both maps. A new user namespace needs both, and root in them, because root sets the container up.
/// The maps of one that is joined are what the kernel says, where that was asked.
pub fn check(spec: &Spec, namespaces: &Namespaces, facts: &Facts, problems: &mut Problems) -> IdMappings {
    let Some(linux) = spec.linux.as_ref() else { return IdMappings::default() };
    let mut mappings = IdMappings {
        owner: owner(namespaces),
        uid: check_map(&linux.uid_mappings, "linux.uidMappings", problems),
        gid: check_map(&linux.gid_mappings, "linux.gidMappings", problems),
    };
    for (written, map, key) in [
        (&linux.uid_mappings, &mappings.uid, "linux.uidMappings"),
        (&linux.gid_mappings, &mappings.gid, "linux.gidMappings"),
    ] {
        match mappings.owner {
            Owner::Runtime if !written.is_empty() => {
                problems.invalid(key, "needs a user namespace; add {\"type\": \"user\"} to linux.namespaces")
            }
            Owner::New if written.is_empty() => {
                problems.invalid(key, "required for a new user namespace");
            }
            Owner::New if !map.extents.is_empty() && map.to_host(0).is_none() => problems
                .invalid(key, "container id 0 is not mapped; root of the namespace sets the container up"),
            Owner::Runtime | Owner::New | Owner::Joined => {}
        }
    }
    let known = facts.joined_maps().filter(|_| mappings.owner == Owner::Joined);
    if let Some((Some(uid), Some(gid))) = known.map(|(uid, gid)| (IdMap::parse(uid), IdMap::parse(gid))) {
        mappings.learn(uid, gid, problems);
    }
    mappings
}

fn owner(namespaces: &Namespaces) -> Owner {
    if namespaces.is_new(Kind::User) {
        Owner::New
    } else if namespaces.is_joined(Kind::User) {
        Owner::Joined
    } else {
        Owner::Runtime
    }
}

/// The most lines that a map can have. user_namespaces(7).
const LONGEST: usize = 340;

/// What the kernel takes in the one write(2) that a map is: less than a page, and no page is smaller than this.
const PAGE: usize = 4096;

/// The number of ids that exist: 2^32-1 means "no id" and is none.
const IDS: i128 = 0xffff_ffff;

/// Checks one map at `key`. Lines with a mistake are reported and left out.
pub fn check_map(written: &[Mapping], key: &str, problems: &mut Problems) -> IdMap {
    if written.len() > LONGEST {
        problems.invalid(key.to_owned(), format!("{} lines; the kernel takes {LONGEST}", written.len()));
        return IdMap::default();
    }
    let extents: Vec<(usize, Extent)> = written
        .iter()
        .enumerate()
        .filter_map(|(index, line)| Some((index, extent(*line, &format!("{key}[{index}]"), problems)?)))
        .collect();
    report_overlaps(&extents, key, problems);
    let map = IdMap::from_extents(extents.into_iter().map(|(_, extent)| extent).collect());
    if map.lines.len() >= PAGE {
        problems.invalid(
            key.to_owned(),
            format!("{} bytes as text; the kernel takes less than {PAGE}", map.lines.len()),
        );
    }
    map
}

fn extent(line: Mapping, key: &str, problems: &mut Problems) -> Option<Extent> {
    if line.size.0 == 0 {
        problems.invalid(format!("{key}.size"), "0 maps nothing");
        return None;
    }
    if !(1..=IDS).contains(&line.size.0) {
        problems.invalid(format!("{key}.size"), format!("{} is not between 1 and {IDS}", line.size));
        return None;
    }
    let mut first = |id: Integer, name: &str| {
        let fits = id.0 >= 0 && id.0 + line.size.0 <= IDS;
        if !fits {
            problems.invalid(
                format!("{key}.{name}"),
                format!("{id} with size {} does not end below {IDS}", line.size),
            );
        }
        u32::try_from(id.0).ok().filter(|_| fits)
    };
    let container = first(line.container_id, "containerID");
    let host = first(line.host_id, "hostID");
    Some(Extent { container: container?, host: host?, size: u32::try_from(line.size.0).ok()? })
}

fn report_overlaps(extents: &[(usize, Extent)], key: &str, problems: &mut Problems) {
    for (name, first) in [
        ("containerID", (|extent| extent.container) as fn(&Extent) -> u32),
        ("hostID", |extent: &Extent| extent.host),
    ] {
        let mut sorted: Vec<&(usize, Extent)> = extents.iter().collect();
        sorted.sort_by_key(|(_, extent)| first(extent));
        for (before, after) in sorted.iter().zip(sorted.iter().skip(1)) {
            if first(&after.1) - first(&before.1) < before.1.size {
                let (earlier, later) = (before.0.min(after.0), before.0.max(after.0));
                problems.invalid(format!("{key}[{later}].{name}"), format!("overlaps {key}[{earlier}]"));
            }
        }
    }
}

impl IdMap {
    fn from_extents(extents: Vec<Extent>) -> Self {
        let line = |extent: &Extent| format!("{} {} {}\n", extent.container, extent.host, extent.size);
        Self { lines: extents.iter().map(line).collect(), extents }
    }

    /// The map that the kernel shows in /proc/PID/uid_map, or `None` if `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        let extents = text.lines().map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(Extent { container: next()?, host: next()?, size: next()? })
        });
        Some(Self::from_extents(extents.collect::<Option<_>>()?))
    }

    /// What to write to /proc/PID/uid_map; also what newuidmap(1) takes, one word each.
    pub fn lines(&self) -> &str {
        &self.lines
    }

    /// Whether it maps one id to `host` and nothing else, which a user may write without help.
    pub fn is_only(&self, host: u32) -> bool {
        self.single().is_some_and(|(_, only)| only == host)
    }

    /// Whether it maps nothing, as for a namespace that is joined and not yet asked.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// The id on the host.
    pub fn to_host(&self, container: u32) -> Option<u32> {
        let within = |extent: &&Extent| {
            container.checked_sub(extent.container).is_some_and(|offset| offset < extent.size)
        };
        let extent = self.extents.iter().find(within)?;
        extent.host.checked_add(container - extent.container)
    }

    /// The only pair of ids, if it maps exactly one: container and host.
    pub fn single(&self) -> Option<(u32, u32)> {
        match self.extents.as_slice() {
            [Extent { container, host, size: 1 }] => Some((*container, *host)),
            _ => None,
        }
    }

    fn sorted(&self) -> Vec<Extent> {
        let mut extents = self.extents.clone();
        extents.sort();
        extents
    }
}

impl IdMappings {
    /// The user id on the host; `None` if it is not mapped, or the maps of a joined namespace are not known yet.
    pub fn host_uid(&self, container: u32) -> Option<u32> {
        match self.owner {
            Owner::Runtime => Some(container),
            Owner::New | Owner::Joined => self.uid.to_host(container),
        }
    }

    /// The group id on the host, likewise.
    pub fn host_gid(&self, container: u32) -> Option<u32> {
        match self.owner {
            Owner::Runtime => Some(container),
            Owner::New | Owner::Joined => self.gid.to_host(container),
        }
    }

    /// Takes the maps that the joined namespace really has, as /proc/PID/{uid,gid}_map of a member shows them. Engines
    /// write them into the configuration as well; a difference is an error, because ids would not be what they think.
    fn learn(&mut self, uid: IdMap, gid: IdMap, problems: &mut Problems) {
        for (written, real, key) in
            [(&self.uid, &uid, "linux.uidMappings"), (&self.gid, &gid, "linux.gidMappings")]
        {
            if !written.is_empty() && written.sorted() != real.sorted() {
                problems
                    .invalid(key, "differs from the map of the user namespace that is joined; leave it out");
            }
        }
        (self.uid, self.gid) = (uid, gid);
    }
}

// ── Steps ── none: the parent writes the maps while the child waits (`Request::Maps`).

// ── Tests ──

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn new() -> Namespaces {
        Namespaces::all_new(&[Kind::User])
    }

    fn joined() -> Namespaces {
        Namespaces { joined: vec![(Kind::User, 0, PathBuf::from("/ns"))], ..Namespaces::default() }
    }

    fn run(linux: &str, namespaces: &Namespaces) -> (IdMappings, Vec<String>) {
        let mut problems = Problems::default();
        let spec: Spec = serde_json::from_str(&format!(r#"{{"linux":{linux}}}"#)).unwrap();
        let mappings = check(&spec, namespaces, &Facts::default(), &mut problems);
        (mappings, problems.errors.iter().map(ToString::to_string).collect())
    }

    /// Container id, host id and size.
    type Line = (i128, i128, i128);

    fn map(lines: &[Line]) -> String {
        let line =
            |line: &Line| format!(r#"{{"containerID":{},"hostID":{},"size":{}}}"#, line.0, line.1, line.2);
        format!("[{}]", lines.iter().map(line).collect::<Vec<_>>().join(","))
    }

    fn uid_errors(lines: &[Line]) -> Vec<String> {
        let gid = map(&[(0, 0, 1)]);
        run(&format!(r#"{{"uidMappings":{},"gidMappings":{gid}}}"#, map(lines)), &new()).1
    }

    #[test]
    fn a_map_gives_lines_and_host_ids() {
        let lines = map(&[(0, 1000, 1), (1, 100_000, 65536)]);
        let (mappings, errors) = run(&format!(r#"{{"uidMappings":{lines},"gidMappings":{lines}}}"#), &new());
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(mappings.uid.lines(), "0 1000 1\n1 100000 65536\n");
        let table =
            [(0, Some(1000)), (1, Some(100_000)), (65536, Some(165_535)), (65537, None), (u32::MAX, None)];
        for (container, host) in table {
            assert_eq!(mappings.host_uid(container), host, "{container}");
            assert_eq!(mappings.host_gid(container), host, "{container}");
        }
    }

    #[test]
    fn without_a_user_namespace_ids_are_the_same() {
        let (mappings, errors) = run("{}", &Namespaces::default());
        assert!(errors.is_empty());
        assert_eq!(mappings.host_uid(7), Some(7));
    }

    #[test]
    fn lines_have_rules() {
        let far = 0xffff_fffe;
        let table: [(&[Line], &[&str]); 9] = [
            (&[(0, 0, 0xffff_ffff)], &[]),
            (&[(0, 0, 0), (0, 5, 1)], &["linux.uidMappings[0].size: 0 maps nothing"]),
            (&[(0, 0, -1), (0, 5, 1)], &["linux.uidMappings[0].size: -1 is not between 1 and 4294967295"]),
            (&[(0, 0, 1), (1, far, 1)], &[]),
            (
                &[(0, 0, 1), (1, 0xffff_ffff, 1)],
                &["linux.uidMappings[1].hostID: 4294967295 with size 1 does not end below 4294967295"],
            ),
            (
                &[(0, 0, 1), (-1, 1, 1)],
                &["linux.uidMappings[1].containerID: -1 with size 1 does not end below 4294967295"],
            ),
            (
                &[(5, 100, 10), (0, 0, 6)],
                &["linux.uidMappings[1].containerID: overlaps linux.uidMappings[0]"],
            ),
            (&[(0, 100, 10), (10, 109, 1)], &["linux.uidMappings[1].hostID: overlaps linux.uidMappings[0]"]),
            (
                &[(1, 1, 1)],
                &[
                    "linux.uidMappings: container id 0 is not mapped; root of the namespace sets the container up",
                ],
            ),
        ];
        for (lines, errors) in table {
            assert_eq!(uid_errors(lines), errors, "{lines:?}");
        }
    }

    #[test]
    fn a_map_has_at_most_340_lines_and_one_page() {
        let short: Vec<_> = (0..340).map(|n| (n, n, 1)).collect();
        assert!(uid_errors(&short).is_empty());
        let many: Vec<_> = (0..341).map(|n| (n, n, 1)).collect();
        assert_eq!(uid_errors(&many), ["linux.uidMappings: 341 lines; the kernel takes 340"]);
        let long: Vec<_> = (0..200).map(|n| (n * 1_000_000, 4_000_000_000 + n, 1)).collect();
        assert_eq!(
            uid_errors(&long),
            ["linux.uidMappings: 4484 bytes as text; the kernel takes less than 4096"]
        );
    }

    #[test]
    fn maps_and_namespace_belong_together() {
        let both = format!(r#"{{"uidMappings":{0},"gidMappings":{0}}}"#, map(&[(0, 0, 1)]));
        assert_eq!(
            run(&both, &Namespaces::default()).1,
            [
                "linux.uidMappings: needs a user namespace; add {\"type\": \"user\"} to linux.namespaces",
                "linux.gidMappings: needs a user namespace; add {\"type\": \"user\"} to linux.namespaces",
            ]
        );
        assert_eq!(
            run(r#"{"uidMappings":null}"#, &new()).1,
            [
                "linux.uidMappings: required for a new user namespace",
                "linux.gidMappings: required for a new user namespace",
            ]
        );
        assert!(run(&both, &joined()).1.is_empty());
        assert!(run("{}", &joined()).1.is_empty());
    }

    #[test]
    fn a_joined_namespace_must_have_the_maps_that_the_configuration_repeats() {
        let lines = map(&[(0, 1000, 1), (1, 5000, 10)]);
        let repeat = format!(r#"{{"uidMappings":{lines},"gidMappings":{lines}}}"#);
        let real =
            IdMap::parse("         1       5000         10\n         0       1000          1\n").unwrap();
        let other = IdMap::parse("0 1000 1\n").unwrap();
        let (mut mappings, _) = run(&repeat, &joined());
        let mut problems = Problems::default();
        mappings.learn(real.clone(), real, &mut problems);
        assert!(problems.errors.is_empty());
        assert_eq!(mappings.host_uid(1), Some(5000));
        mappings.learn(other.clone(), other, &mut problems);
        assert_eq!(problems.errors.len(), 2);
        assert_eq!(
            problems.errors[0].to_string(),
            "linux.uidMappings: differs from the map of the user namespace that is joined; leave it out"
        );
        assert_eq!(IdMap::parse("1 x 1\n"), None);
    }

    #[test]
    fn a_single_mapping_is_what_an_ordinary_user_may_write() {
        assert!(IdMap::parse("0 1000 1\n").unwrap().is_only(1000));
        assert!(!IdMap::parse("0 1000 1\n").unwrap().is_only(1001));
        assert!(!IdMap::parse("0 1000 2\n").unwrap().is_only(1000));
    }
}
