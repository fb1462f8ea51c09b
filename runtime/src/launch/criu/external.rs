//! What a container has that is not its own: trees of the host, the null device behind masks, the standard streams and
//! namespaces that somebody else made. CRIU saves none of it. A checkpoint gives each a name, and a restore says what
//! has that name then.
//!
//! | what | its name in the images | what it is at a restore |
//! |---|---|---|
//! | a tree of the host | the target in the configuration | the source in the configuration |
//! | a mount beneath its source | target and the rest of the path | source and the rest of the path |
//! | a masked file | `/dev/null` | the host's null device |
//! | a standard stream | what is behind it, in [`DESCRIPTORS`] | the caller's |
//! | a namespace that was joined | `extRootNetNS`, `extRootPidNS` | the path in the configuration |
//!
//! Nothing in the images decides what of the host a container gets: the names mean what the configuration says.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstatfs, makedev, openat, openat2, statx,
};
use sys::error::Context;

use super::super::saved::{Outside, Tree};
use crate::{Error, Kind, Result, procfs};

/// The file of the image directory that names what was behind the standard streams, as runc has it.
pub const DESCRIPTORS: &str = "descriptors.json";

/// The name of the null device.
const NULL: &str = "/dev/null";

/// A line of mountinfo, proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: String,
    point: String,
}

/// The mounts of a process as it sees them.
#[derive(Debug)]
struct Mounts(Vec<Mount>);

impl Mounts {
    fn of(proc: &OwnedFd, pid: &str) -> Result<Self> {
        let path = format!("{pid}/mountinfo");
        let text = procfs::read_file(proc, &path).context("read", || format!("read /proc/{path}"))?;
        Ok(Self(text.lines().filter_map(mount).collect()))
    }

    fn by_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// The mounts strictly beneath `path`, with the rest of their paths.
    fn beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a Mount)> {
        let path = path.trim_end_matches('/');
        let rest =
            move |mount: &'a Mount| mount.point.strip_prefix(path).filter(|rest| rest.starts_with('/'));
        self.0.iter().filter_map(move |mount| Some((rest(mount)?, mount)))
    }
}

fn mount(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    Some(Mount { id, device, point: procfs::unescape(fields.nth(1)?) })
}

/// A mount and the name of what is mounted, for CRIU's option `external`.
fn named(key: &str, name: &str) -> String {
    format!("mnt[{key}]:{name}")
}

/// The mounts of a container that are of the host, as a checkpoint names them.
///
/// # Errors
/// `Unsupported` for one that a restore could not make again; `Kernel`.
pub fn mounts_of(pid: i32, outside: &Outside<'_>) -> Result<Vec<String>> {
    let proc = procfs::open()?;
    let (inside, host) = (Mounts::of(&proc, &pid.to_string())?, Mounts::of(&proc, "self")?);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(&proc, format!("{pid}/root"), flags, Mode::empty())
        .context("openat", || format!("open /proc/{pid}/root"))?;
    let mut names = Vec::new();
    for tree in &outside.trees {
        refuse_mapped(tree)?;
        let Some(found) = mounted_at(&root, tree.target.0).and_then(|(id, _)| inside.by_id(id)) else {
            continue;
        };
        names.push(named(&found.point, &tree.target.0.to_string_lossy()));
        names.extend(submounts_of(tree, &found.point, &inside, &host));
    }
    for path in &outside.masked {
        let Some((id, kind)) = mounted_at(&root, path.0) else { continue };
        if let (Some(found), true) = (inside.by_id(id), kind != FileType::Directory) {
            names.push(named(&found.point, NULL));
        }
    }
    names.dedup();
    Ok(names)
}

/// CRIU attaches a tree as it finds it, so the ids would be other ones.
fn refuse_mapped(tree: &Tree<'_>) -> Result<()> {
    if !tree.mapped {
        return Ok(());
    }
    let text = format!("{} is id-mapped, which CRIU cannot restore", tree.target);
    Err(Error::new(Kind::Unsupported, text).with_key("mounts"))
}

/// The mount at a path of the container and the type of its root.
fn mounted_at(root: &OwnedFd, path: &CStr) -> Option<(u64, FileType)> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    let wanted = StatxFlags::TYPE | StatxFlags::MNT_ID;
    let seen = statx(&file, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    Some((seen.stx_mnt_id, FileType::from_raw_mode(seen.stx_mode.into())))
}

/// What the host has mounted beneath the source and the container sees beneath the target.
fn submounts_of(tree: &Tree<'_>, point: &str, inside: &Mounts, host: &Mounts) -> Vec<String> {
    let Some(source) = host_path(tree) else { return Vec::new() };
    let target = tree.target.0.to_string_lossy();
    let same = |rest: &str, mount: &Mount| {
        inside.beneath(point).any(|(other, found)| other == rest && found.device == mount.device)
    };
    host.beneath(&source)
        .filter(|(rest, mount)| same(rest, mount))
        .map(|(rest, _)| named(&format!("{point}{rest}"), &format!("{target}{rest}")))
        .collect()
}

/// The path of a source without links, as mountinfo has it; `None` where no submounts follow.
fn host_path(tree: &Tree<'_>) -> Option<String> {
    if !tree.submounts {
        return None;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat(CWD, tree.source.0, flags, Mode::empty()).ok()?;
    procfs::path_of(&file).ok()
}

/// What the names of mounts mean at a restore.
///
/// # Errors
/// `Unsupported` for a mount that CRIU cannot make; `Kernel`.
pub fn mounts_for(outside: &Outside<'_>) -> Result<Vec<String>> {
    let host = Mounts::of(&procfs::open()?, "self")?;
    let mut names = Vec::new();
    for tree in &outside.trees {
        refuse_mapped(tree)?;
        let (source, target) = (tree.source.0.to_string_lossy(), tree.target.0.to_string_lossy());
        names.push(named(&target, &source));
        if let Some(path) = host_path(tree) {
            let beneath = host.beneath(&path);
            names
                .extend(beneath.map(|(rest, _)| named(&format!("{target}{rest}"), &format!("{path}{rest}"))));
        }
    }
    names.push(named(NULL, NULL));
    Ok(names)
}

/// The names of what is behind the standard streams of a new container. They are kept from the beginning, because a
/// program may put something else there for a moment, as shells do.
pub fn names_of(streams: &[OwnedFd]) -> Vec<String> {
    streams.iter().take(3).map(|fd| name_of(fd).unwrap_or_else(|| NULL.to_owned())).collect()
}

/// `None` for what CRIU has no name for.
fn name_of(fd: &OwnedFd) -> Option<String> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let seen = statx(fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    match FileType::from_raw_mode(seen.stx_mode.into()) {
        FileType::Fifo if is_anonymous(fd) => Some(format!("pipe:[{}]", seen.stx_ino)),
        FileType::CharacterDevice if is_terminal(seen.stx_rdev_major) => {
            let device = makedev(seen.stx_rdev_major, seen.stx_rdev_minor);
            Some(format!("tty[{device:x}:{:x}]", makedev(seen.stx_dev_major, seen.stx_dev_minor)))
        }
        FileType::Socket => None,
        _ => Some(format!("file[{:x}:{:x}]", seen.stx_mnt_id, seen.stx_ino)),
    }
}

/// Whether a pipe has no name in a file system.
fn is_anonymous(fd: &OwnedFd) -> bool {
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    fstatfs(fd).is_ok_and(|seen| seen.f_type as u64 == PIPEFS_MAGIC)
}

/// Terminals by their major numbers: consoles, serial lines and ptys (Documentation/admin-guide/devices.txt).
fn is_terminal(major: u32) -> bool {
    matches!(major, 4 | 5 | 136..=143)
}

/// The streams that CRIU must be told of, or it would look for them in the container. It finds pipes by itself, and a
/// terminal that it may take over (`--shell-job`) is not left to others.
pub fn foreign<'a>(streams: &'a [&'a str], shell_job: bool) -> impl Iterator<Item = &'a str> {
    let is_foreign = move |name: &&str| name.starts_with("file[") || (name.starts_with("tty[") && !shell_job);
    streams.iter().copied().filter(is_foreign)
}

/// Which of the caller's streams CRIU gives to the container, by the names in the images. Names of anything but streams
/// are passed over: the images must not decide what is inherited.
pub fn inherited(names: &[String]) -> impl Iterator<Item = (usize, &str)> {
    let is_stream = |name: &str| {
        ["pipe:[", "file[", "tty["].iter().any(|begin| name.starts_with(begin)) && name.ends_with(']')
    };
    let all = names.iter().map(String::as_str).enumerate().take(3).filter(move |(_, name)| is_stream(name));
    all.filter(|(index, name)| !names.iter().take(*index).any(|other| other == name))
}

/// Reads the names of the streams in an image directory.
///
/// # Errors
/// `InvalidConfig` where the file is no list of names, `Kernel` where it is missing.
pub fn read_descriptors(images: &OwnedFd, path: &Path) -> Result<Vec<String>> {
    let what = || format!("read {}", path.join(DESCRIPTORS).display());
    let text = procfs::read_file(images, DESCRIPTORS).context("read", what)?;
    serde_json::from_slice(text.as_bytes())
        .map_err(|error| Error::new(Kind::InvalidConfig, format!("{}: {error}", what())))
}

#[cfg(test)]
mod tests {
    use child::Text;

    use super::*;

    const LINES: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /srv/a\\040b rw - tmpfs tmpfs rw
31 30 0:26 /x /srv/a\\040b/deep/one rw - tmpfs tmpfs rw
32 22 0:27 / /srv/a\\040bc rw - tmpfs tmpfs rw";

    fn mounts() -> Mounts {
        Mounts(LINES.lines().filter_map(mount).collect())
    }

    #[test]
    fn mountinfo_is_read_with_its_escapes() {
        let mounts = mounts();
        let id = mounts.by_id(30).unwrap();
        assert_eq!((id.device.as_str(), id.point.as_str()), ("0:25", "/srv/a b"));
        let beneath: Vec<_> = mounts.beneath("/srv/a b").map(|(rest, mount)| (rest, mount.id)).collect();
        assert_eq!(beneath, [("/deep/one", 31)]);
        let all: Vec<_> = mounts.beneath("/").map(|(rest, _)| rest).collect();
        assert_eq!(all, ["/", "/srv/a b", "/srv/a b/deep/one", "/srv/a bc"]);
    }

    #[test]
    fn only_streams_are_inherited_and_each_once() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table: [(&[&str], &[usize]); 5] = [
            (&["/dev/null", "pipe:[7]", "pipe:[7]"], &[1]),
            (&["file[1a:2]", "tty[8803:19]", "pipe:[9]"], &[0, 1, 2]),
            (&["extRootNetNS", "pipe:[", "socket:[4]"], &[]),
            (&["/", "/", "/", "pipe:[1]"], &[]),
            (&[], &[]),
        ];
        for (list, expected) in table {
            let names = names(list);
            let found: Vec<usize> = inherited(&names).map(|(index, _)| index).collect();
            assert_eq!(found, expected, "{list:?}");
        }
    }

    #[test]
    fn pipes_and_files_have_names() {
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let names = names_of(&[pipe, null, socket.into()]);
        assert!(names[0].starts_with("pipe:[") && names[1].starts_with("file["), "{names:?}");
        assert_eq!(names[2], NULL);
        let names = ["pipe:[1]", "file[1:2]", "tty[3:4]"];
        assert_eq!(foreign(&names, false).collect::<Vec<_>>(), ["file[1:2]", "tty[3:4]"]);
        assert_eq!(foreign(&names, true).collect::<Vec<_>>(), ["file[1:2]"]);
    }

    #[test]
    fn an_id_mapped_tree_is_refused_before_anything_happens() {
        let tree = Tree { source: Text(c"/a"), target: Text(c"/b"), submounts: false, mapped: true };
        let outside = Outside { trees: vec![tree], ..Outside::default() };
        assert_eq!(mounts_for(&outside).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn a_restore_takes_sources_from_the_configuration_alone() {
        let tree = Tree { source: Text(c"/proc/self"), target: Text(c"/b"), submounts: false, mapped: false };
        let outside = Outside { trees: vec![tree], ..Outside::default() };
        assert_eq!(mounts_for(&outside).unwrap(), ["mnt[/b]:/proc/self", "mnt[/dev/null]:/dev/null"]);
    }
}
