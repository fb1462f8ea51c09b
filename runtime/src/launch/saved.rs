//! What `exec` and `checkpoint` need of a container's configuration, kept in a file of the state directory so that config.json is
//! not read again.
//!
//! It is not part of the record, because it never changes and every other command would read it for nothing. create
//! writes it once, before the container can be started; [`Saved`] is the `process` section as written, so that an
//! exec's changes meet the same rules, and everything else as steps that are ready to run.

use std::os::fd::OwnedFd;

use child::op::Depth;
use child::{Bytes, Op, Text};
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};
use sys::error::Context;

use crate::config::idmappings::{IdMap, IdMappings, Owner};
use crate::config::memory_policy::MemoryPolicy;
use crate::config::mounts::{CgroupView, External, Ids};
use crate::config::namespaces::{Kind as Namespace, Namespaces};
use crate::config::user::Groups;
use crate::config::{Config, Spec, process};
use crate::facts::Facts;
use crate::plan::Filter;
use crate::record::checksum;
use crate::step::Step;
use crate::{Error, Kind, Result};

/// The name of the file in the container's state directory.
const NAME: &str = "exec";

/// What the file begins with: a name, the version of its form, and a checksum of the rest.
const MAGIC: [u8; 8] = *b"orlop\0x\x02";
const HEADER: usize = 16;

/// A file longer than this is not one of ours.
const LONGEST: i64 = 1 << 28;

/// The part of a container's configuration that holds for every process in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<'a> {
    /// CLONE_NEW* flags of the namespaces that are not the runtime's.
    pub namespaces: u32,
    /// The inode of the container's root: device and number.
    pub root: (u64, u64),
    owner: Owner,
    uid_map: &'a str,
    gid_map: &'a str,
    groups: Groups,
    /// The `process` section as JSON; empty if the configuration has none.
    #[serde(borrow)]
    process: Bytes<'a>,
    /// Keyring, personality and memory policy.
    #[serde(borrow)]
    steps: Vec<(&'a str, Op<'a>)>,
    /// The filter, which every process of the container gets.
    #[serde(borrow)]
    filter: Option<Op<'a>>,
    /// What a checkpoint has to leave to the host.
    #[serde(borrow)]
    pub outside: Outside<'a>,
}

/// What a container has of the host: a checkpoint names it and a restore finds it again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outside<'a> {
    /// The trees that are mounted in it.
    #[serde(borrow)]
    pub trees: Vec<Tree<'a>>,
    /// The masked paths; for files the host's null device is mounted there.
    #[serde(borrow)]
    pub masked: Vec<Text<'a>>,
    /// The names of the standard streams; none if they are a terminal of the container's own.
    #[serde(borrow)]
    pub streams: Vec<&'a str>,
    /// CLONE_NEW* flags of the namespaces that were joined by path.
    pub namespaces: u32,
}

/// A tree of the host in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree<'a> {
    /// The absolute path on the host.
    #[serde(borrow)]
    pub source: Text<'a>,
    /// The path in the container.
    #[serde(borrow)]
    pub target: Text<'a>,
    /// Whether its submounts are in the container too.
    pub submounts: bool,
    /// Whether its ids are mapped.
    pub mapped: bool,
}

impl<'a> Outside<'a> {
    /// What `config` has of the host, with the mounts of type cgroup as in `view`, and the names of its streams.
    pub fn of(config: &'a Config, view: &'a CgroupView, streams: &'a [String]) -> Self {
        let tree = |external: External<'a>| Tree {
            source: Text(external.source),
            target: Text(external.target),
            submounts: external.depth == Depth::Tree,
            mapped: external.ids == Ids::Mapped,
        };
        Self {
            trees: config.mounts.external(view).chain(config.devices.external()).map(tree).collect(),
            masked: config.hidden_paths.masked().map(Text).collect(),
            streams: streams.iter().map(String::as_str).collect(),
            namespaces: config.namespaces.joined.iter().fold(0, |flags, joined| flags | joined.0.flag()),
        }
    }
}

/// What [`save`] is given.
pub(super) struct Source<'a> {
    pub(super) spec: &'a Spec,
    pub(super) config: &'a Config,
    pub(super) facts: &'a Facts,
    pub(super) root: (u64, u64),
    pub(super) keyring: Option<&'a std::ffi::CStr>,
    pub(super) filter: Option<&'a Filter>,
    pub(super) view: &'a CgroupView,
    /// The names of the standard streams.
    pub(super) streams: &'a [String],
    /// CLONE_NEW* flags of namespaces that the container is in besides those of the configuration.
    pub(super) entered: u32,
}

/// Writes the file of a new container.
///
/// # Errors
/// `Kernel`, among others for a full disk.
pub(super) fn save(directory: &OwnedFd, source: &Source<'_>) -> Result<()> {
    let Source { config, .. } = source;
    let process = match &source.spec.process {
        Some(shape) => serde_json::to_vec(shape).map_err(|error| broken(&error))?,
        None => Vec::new(),
    };
    let steps = steps(source);
    let saved = Saved {
        namespaces: namespaces(&config.namespaces, source.facts) | source.entered,
        root: source.root,
        owner: config.id_mappings.owner,
        uid_map: config.id_mappings.uid.lines(),
        gid_map: config.id_mappings.gid.lines(),
        groups: config.annotations.groups,
        process: Bytes(&process),
        steps: steps.iter().map(|step| (step.key.as_ref(), step.op)).collect(),
        filter: source.filter.map(Filter::op),
        outside: Outside::of(config, source.view, source.streams),
    };
    write(directory, &postcard::to_stdvec(&saved).map_err(|error| broken(&error))?)
}

/// The namespaces that a process has to join. A user namespace that is the runtime's own cannot be joined again.
fn namespaces(namespaces: &Namespaces, facts: &Facts) -> u32 {
    let joined = namespaces.joined.iter().map(|joined| joined.0);
    let all = namespaces.new.iter().copied().chain(joined);
    let needed = all.filter(|kind| *kind != Namespace::User || !namespaces.is_hosts(*kind, facts));
    needed.fold(0, |flags, kind| flags | kind.flag())
}

fn steps<'a>(source: &Source<'a>) -> Vec<Step<'a>> {
    let keyring = source.keyring.map(|name| Step::new("", Op::NewKeyring { name: Text(name) }));
    let policy = source.config.memory_policy.as_ref().map(MemoryPolicy::step);
    keyring.into_iter().chain(source.config.personality.step()).chain(policy).collect()
}

fn write(directory: &OwnedFd, payload: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        openat(directory, NAME, flags, Mode::RUSR | Mode::WUSR).context("openat", || what("create"))?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&checksum(0, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    let written = pwrite(&file, &bytes, 0).context("pwrite", || what("write"))?;
    if written == bytes.len() {
        return Ok(());
    }
    Err(Error::new(Kind::Kernel, format!("{} in part; is the disk full?", what("write"))))
}

/// The bytes of the file of a container, verified; [`Saved::decode`] reads them.
///
/// # Errors
/// `Kernel`; `Internal` where the file is damaged.
pub fn read(directory: &OwnedFd) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(directory, NAME, flags, Mode::empty()).context("openat", || what("open"))?;
    let size = fstat(&file).context("fstat", || what("open"))?.st_size;
    let size = usize::try_from(size).ok().filter(|_| size < LONGEST).ok_or_else(damaged)?;
    let mut bytes = vec![0; size];
    let length = pread(&file, bytes.as_mut_slice(), 0).context("pread", || what("read"))?;
    let header = bytes.get(..HEADER).filter(|_| length == size).ok_or_else(damaged)?;
    let payload = bytes.get(HEADER..).unwrap_or_default();
    let expected = [MAGIC, checksum(0, payload).to_le_bytes()].concat();
    if header != expected { Err(damaged()) } else { Ok(bytes) }
}

fn what(verb: &str) -> String {
    format!("{verb} what exec needs of the container")
}

fn damaged() -> Error {
    Error::new(Kind::Internal, "what exec needs of the container is damaged")
        .with_hint("the container runs on; only exec needs it")
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Internal, format!("{}: {error}", what("encode")))
}

impl<'a> Saved<'a> {
    /// Reads what [`read`] returned.
    ///
    /// # Errors
    /// `Internal` where it is damaged.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        postcard::from_bytes(bytes.get(HEADER..).unwrap_or_default()).map_err(|_| damaged())
    }

    /// The container's `process` section; the default one where the configuration has none.
    ///
    /// # Errors
    /// `Internal` where it is damaged.
    pub fn process(&self) -> Result<process::Shape> {
        if self.process.0.is_empty() {
            return Ok(process::Shape { cwd: "/".to_owned(), ..process::Shape::default() });
        }
        serde_json::from_slice(self.process.0).map_err(|_| damaged())
    }

    /// The namespaces of the container, as the rules of `process` need them.
    pub fn namespaces(&self) -> Namespaces {
        let has = |kind: &Namespace| self.namespaces & kind.flag() != 0;
        Namespaces { new: Namespace::all().filter(has).collect(), ..Namespaces::default() }
    }

    /// The id maps of the container's user namespace.
    ///
    /// # Errors
    /// `Internal` where they are damaged.
    pub fn id_mappings(&self) -> Result<IdMappings> {
        let map = |lines| IdMap::parse(lines).ok_or_else(damaged);
        Ok(IdMappings { owner: self.owner, uid: map(self.uid_map)?, gid: map(self.gid_map)? })
    }

    /// What becomes of the caller's supplementary groups.
    pub fn groups(&self) -> Groups {
        self.groups
    }

    /// Keyring, personality and memory policy.
    pub fn steps(&self) -> impl Iterator<Item = Step<'a>> {
        self.steps.iter().map(|(key, op)| Step::new(*key, *op))
    }

    /// The step that loads the container's filter.
    pub fn filter(&self) -> Option<Step<'a>> {
        self.filter.map(|op| Step::new("linux.seccomp", op))
    }

    /// Whether the container has a user namespace of its own.
    pub fn has_user_namespace(&self) -> bool {
        self.namespaces & Namespace::User.flag() != 0
    }
}

#[cfg(test)]
mod tests {
    use child::op::Listener;

    use super::*;

    fn directory(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("it-saved-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let fd = std::fs::File::open(&path).unwrap().into();
        (path, fd)
    }

    fn save_example(fd: &OwnedFd) {
        let spec: Spec = serde_json::from_str(
            r#"{"process": {"args": ["a"], "env": ["A=1"], "cwd": "/w", "user": {"uid": 3}, "oomScoreAdj": -1,
                "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}, "capabilities": {"bounding": ["CAP_KILL"]}},
                "linux": {"personality": {"domain": "LINUX32"}, "namespaces": [{"type": "user"}, {"type": "pid"}],
                "maskedPaths": ["/m"],
                "uidMappings": [{"containerID": 0, "hostID": 7, "size": 9}]}}"#,
        )
        .unwrap();
        let facts = Facts::default();
        let config =
            Config::check(&spec, std::path::Path::new("/"), &facts, &mut crate::config::Problems::default());
        let filter = Filter {
            program: vec![6; 16],
            flags: 1,
            listener: Listener::None,
            agent: None,
            order: seccomp::order::Order::Late,
        };
        let keyring = Some(c"_ses.x");
        let source = Source {
            spec: &spec,
            config: &config,
            facts: &facts,
            root: (1, 2),
            keyring,
            filter: Some(&filter),
            view: &CgroupView::default(),
            streams: &[],
            entered: 0,
        };
        save(fd, &source).unwrap();
    }

    #[test]
    fn what_was_saved_is_read_back() {
        let (path, fd) = directory("whole");
        save_example(&fd);
        let bytes = read(&fd).unwrap();
        let saved = Saved::decode(&bytes).unwrap();
        assert_eq!(saved.namespaces, Namespace::User.flag() | Namespace::Pid.flag());
        assert_eq!(saved.namespaces().new, [Namespace::Pid, Namespace::User]);
        assert_eq!(saved.id_mappings().unwrap().host_uid(0), Some(7));
        let shape = saved.process().unwrap();
        assert_eq!((shape.args, shape.env, shape.cwd.as_str()), (vec!["a".into()], vec!["A=1".into()], "/w"));
        assert_eq!(shape.oom_score_adj.map(|score| score.0), Some(-1));
        assert_eq!(shape.io_priority.unwrap().class, "IOPRIO_CLASS_BE");
        assert_eq!(shape.capabilities.bounding, ["CAP_KILL"]);
        let steps: Vec<Op<'_>> = saved.steps().map(|step| step.op).collect();
        let name = Text(c"_ses.x");
        assert_eq!(steps, [Op::NewKeyring { name }, Op::Personality { domain: 8 }]);
        assert_eq!(saved.outside.masked, [Text(c"/m")]);
        let program = [6; 16];
        let load = Op::Seccomp { program: Bytes(&program), flags: 1, listener: Listener::None };
        assert_eq!(saved.filter().unwrap().op, load);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_damaged_file_is_told_and_never_used() {
        let (path, fd) = directory("damaged");
        save_example(&fd);
        let file = path.join(NAME);
        let whole = std::fs::read(&file).unwrap();
        for index in [0, 7, 8, HEADER, whole.len() / 2, whole.len() - 1] {
            let mut torn = whole.clone();
            torn[index] ^= 1;
            std::fs::write(&file, torn).unwrap();
            assert_eq!(read(&fd).unwrap_err().kind(), Kind::Internal, "byte {index}");
        }
        for length in [0, 1, HEADER, whole.len() - 1] {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(read(&fd).unwrap_err().kind(), Kind::Internal, "{length} bytes");
        }
        std::fs::remove_dir_all(path).unwrap();
    }
}
