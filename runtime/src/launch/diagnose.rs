//! Why a program cannot be executed, said after the fact: what is missing, of another kind, or out of reach.
//!
//! Nothing here decides anything. The kernel has refused already and its errno is in the error; this adds the sentence
//! that the errno hides, by looking at the container's root through a descriptor, with bounded reads. Start at
//! [`explain`].

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, openat, openat2,
    readlinkat,
};
use rustix::io::{Errno, pread};

use crate::procfs;

mod elf;

/// As much of a line with `#!` as the kernel reads (BINPRM_BUF_SIZE).
const SHEBANG_MAX: usize = 256;

/// How many interpreters may stand behind each other before the search ends; the kernel follows five.
const DEPTH_MAX: u32 = 5;

/// What was to be executed.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The files that were tried, in order, each a path as execve(2) gets it.
    pub candidates: &'a [PathBuf],
    /// The working directory.
    pub cwd: &'a Path,
    /// What the kernel said.
    pub errno: Errno,
}

/// The root of a process, for [`explain`]; one open(2), which is all that a start that succeeds pays.
pub fn root_of(proc: &OwnedFd, pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(proc, format!("{pid}/root"), flags, Mode::empty()).ok()
}

/// What stands in the way of the program beneath `root` for the process `pid`, in words; `None` where nothing does.
pub fn explain(root: &OwnedFd, pid: i32, program: &Program<'_>) -> Option<String> {
    let search = Search { root, who: Identity::of(pid), errno: program.errno };
    let paths: Vec<PathBuf> = program.candidates.iter().map(|path| program.cwd.join(path)).collect();
    if let [only] = paths.as_slice() {
        return search.trouble(only, 0);
    }
    match paths.iter().find(|path| search.open(path).is_ok()) {
        Some(path) => search.trouble(path, 0),
        None => {
            let directories: Vec<String> = paths.iter().filter_map(|path| path.parent()).map(shown).collect();
            (!directories.is_empty()).then(|| format!("looked in {}", directories.join(", ")))
        }
    }
}

/// Who would execute the program.
#[derive(Debug)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH: modes of directories do not matter.
    searches_all: bool,
}

impl Identity {
    /// From proc_pid_status(5), with the ids as this process sees them, as it sees those of files.
    fn of(pid: i32) -> Option<Self> {
        let status = procfs::read_file(&procfs::open().ok()?, format!("{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let second = |name| field(name)?.split_ascii_whitespace().nth(1)?.parse().ok();
        let effective = u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?;
        Some(Self {
            uid: second("Uid:")?,
            gid: second("Gid:")?,
            groups: field("Groups:")?.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect(),
            searches_all: effective & 0b110 != 0,
        })
    }

    /// Whether the x bit that counts for this identity is set.
    fn may_execute(&self, seen: &Stat) -> bool {
        let shift = if self.uid == seen.st_uid {
            6
        } else if self.gid == seen.st_gid || self.groups.contains(&seen.st_gid) {
            3
        } else {
            0
        };
        seen.st_mode >> shift & 1 == 1
    }
}

/// A look around in one root.
#[derive(Debug)]
struct Search<'a> {
    root: &'a OwnedFd,
    who: Option<Identity>,
    errno: Errno,
}

impl Search<'_> {
    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open_with(path, OFlags::PATH)
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    fn trouble(&self, path: &Path, depth: u32) -> Option<String> {
        let Ok(file) = self.open(path) else { return self.unreachable(path) };
        let seen = fstat(&file).ok()?;
        self.unsearchable(path)
            .or_else(|| self.not_executable(path, &file, &seen))
            .or_else(|| self.content(path, &file, depth))
    }

    /// The first part of `path` that cannot be opened.
    fn unreachable(&self, path: &Path) -> Option<String> {
        let (part, errno) = prefixes(path).find_map(|part| Some((part, self.open(part).err()?)))?;
        let name = shown(part);
        match errno {
            Errno::NOENT => Some(self.dangling(part).unwrap_or_else(|| format!("{name} does not exist"))),
            Errno::NOTDIR => Some(format!("{} is not a directory", shown(part.parent()?))),
            Errno::LOOP => Some(format!("{name} is a link that leads in a circle or through /proc")),
            _ => None,
        }
    }

    fn dangling(&self, path: &Path) -> Option<String> {
        let link = self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        let target = readlinkat(&link, "", Vec::new()).ok()?;
        let target = shown(Path::new(OsStr::from_bytes(target.to_bytes())));
        Some(format!("{} is a link to {target}, which does not exist", shown(path)))
    }

    /// The first directory on the way that the process has no right to pass.
    fn unsearchable(&self, path: &Path) -> Option<String> {
        let who = self.who.as_ref().filter(|who| !who.searches_all)?;
        let closed = |part: &&Path| {
            let seen = self.open(part).and_then(fstat);
            seen.is_ok_and(|seen| !who.may_execute(&seen))
        };
        let part = prefixes(path.parent()?).find(closed)?;
        Some(format!("directory {} is not searchable for uid {}", shown(part), who.uid))
    }

    fn not_executable(&self, path: &Path, file: &OwnedFd, seen: &Stat) -> Option<String> {
        let name = shown(path);
        match FileType::from_raw_mode(seen.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Some(format!("{name} is a directory")),
            _ => return Some(format!("{name} is not a regular file")),
        }
        if fstatvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
            return Some(format!("{name} is on a file system that is mounted noexec"));
        }
        let mode = seen.st_mode & 0o7777;
        if mode & 0o111 == 0 {
            return Some(format!("{name} has no execute permission (mode {mode:04o})"));
        }
        let who = self.who.as_ref().filter(|who| !who.searches_all && !who.may_execute(seen))?;
        Some(format!("{name} (mode {mode:04o}, uid {}) is not executable for uid {}", seen.st_uid, who.uid))
    }

    fn content(&self, path: &Path, file: &OwnedFd, depth: u32) -> Option<String> {
        let file = procfs::reopen(file, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        let head = read_at(&file, 0, elf::HEADER_MAX)?;
        let name = shown(path);
        if head.starts_with(elf::MAGIC) {
            return self.elf(&name, &file, &head, depth);
        }
        if let Some(line) = head.strip_prefix(b"#!") {
            return self.script(&name, line, depth);
        }
        match (self.errno, head.is_empty()) {
            (Errno::NOEXEC, true) => Some(format!("{name} is empty")),
            (Errno::NOEXEC, false) => {
                Some(format!("{name} is no ELF program, and no script, which would begin with #!"))
            }
            _ => None,
        }
    }

    fn script(&self, name: &str, line: &[u8], depth: u32) -> Option<String> {
        let line = line.get(..SHEBANG_MAX - 2).unwrap_or(line);
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).filter(|word| !word.is_empty());
        let Some(interpreter) = words.next() else {
            return Some(format!("{name} begins with #! and names no interpreter"));
        };
        if interpreter.ends_with(b"\r") {
            let interpreter = shown(Path::new(OsStr::from_bytes(interpreter)));
            return Some(format!(
                "{name} begins with #!{interpreter}: its lines end with CR LF; convert them to LF"
            ));
        }
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        let trouble = self.behind(interpreter, depth)?;
        Some(format!("{name} begins with #!{}: {trouble}", shown(interpreter)))
    }

    fn elf(&self, name: &str, file: &OwnedFd, head: &[u8], depth: u32) -> Option<String> {
        let Some(header) = elf::Header::parse(head) else {
            return Some(format!("{name} is a damaged ELF file"));
        };
        if let Some(foreign) = header.foreign(self.errno) {
            return Some(format!("{name} {foreign}"));
        }
        let loader = header.interpreter(|offset, len| read_at(file, offset, len))?;
        let loader = Path::new(OsStr::from_bytes(&loader));
        let trouble = self.behind(loader, depth)?;
        let shown = shown(loader);
        let library =
            match (shown.contains("/ld-musl"), shown.contains("/ld-linux") || shown.contains("/ld64")) {
                (true, _) => " (the program was built for musl)",
                (_, true) => " (the program was built for glibc)",
                _ => "",
            };
        Some(format!("{name} needs the dynamic loader {shown}{library}: {trouble}"))
    }

    /// The trouble with an interpreter; a relative one starts at the working directory, where nobody looks for it.
    fn behind(&self, path: &Path, depth: u32) -> Option<String> {
        if depth >= DEPTH_MAX {
            Some("too many interpreters".to_owned())
        } else {
            self.trouble(path, depth + 1)
        }
    }
}

/// `/`, `/a`, `/a/b` of `/a/b`.
fn prefixes(path: &Path) -> impl Iterator<Item = &Path> {
    let all: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    all.into_iter().rev()
}

/// A path on one line: control characters are escaped.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars()
        .flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_default());
            escaped.into_iter().flatten().chain((!letter.is_control()).then_some(letter))
        })
        .collect()
}

/// At most `len` bytes from `offset` on.
fn read_at(file: impl AsFd, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    let count = pread(file, &mut bytes, offset).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A root in which the files of one test lie.
    struct Image(PathBuf);

    impl Image {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("it-diagnose-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("bin")).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> &Self {
            fs::write(self.0.join(name), bytes).unwrap();
            fs::set_permissions(self.0.join(name), Permissions::from_mode(0o755)).unwrap();
            self
        }

        fn says(&self, path: &str, errno: Errno) -> Option<String> {
            let root: OwnedFd = fs::File::open(&self.0).unwrap().into();
            let candidates = [PathBuf::from(path)];
            explain(&root, 0, &Program { candidates: &candidates, cwd: Path::new("/bin"), errno })
        }

        fn must_say(&self, path: &str, errno: Errno, expected: &str) {
            assert_eq!(self.says(path, errno).as_deref(), Some(expected), "{path}");
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let image = Image::new("missing");
        symlink("/nowhere/sh", image.0.join("bin/link")).unwrap();
        symlink("circle", image.0.join("bin/circle")).unwrap();
        image.file("bin/file", b"x");
        image.must_say("/opt/x/y", Errno::NOENT, "/opt does not exist");
        image.must_say("nothing", Errno::NOENT, "/bin/nothing does not exist");
        image.must_say("/bin/link", Errno::NOENT, "/bin/link is a link to /nowhere/sh, which does not exist");
        image.must_say("/bin/file/x", Errno::NOTDIR, "/bin/file is not a directory");
        let circle = "/bin/circle is a link that leads in a circle or through /proc";
        image.must_say("/bin/circle", Errno::LOOP, circle);
    }

    #[test]
    fn scripts_name_their_interpreter() {
        let image = Image::new("script");
        image
            .file("bin/sh", b"#!/bin/deep\n")
            .file("a", b"#! /bin/bash -e\necho\n")
            .file("b", b"#!/bin/sh\r\n");
        image.file("c", b"#!/bin/sh\n").file("d", b"#!  \nx").file("bin/deep", b"#!/bin/none");
        image.must_say("/a", Errno::NOENT, "/a begins with #!/bin/bash: /bin/bash does not exist");
        image.must_say(
            "/b",
            Errno::NOENT,
            "/b begins with #!/bin/sh\\r: its lines end with CR LF; convert them to LF",
        );
        image.must_say(
            "/c",
            Errno::NOENT,
            "/c begins with #!/bin/sh: /bin/sh begins with #!/bin/deep: /bin/deep begins with #!/bin/none: /bin/none does not exist",
        );
        image.must_say("/d", Errno::NOEXEC, "/d begins with #! and names no interpreter");
        image.file("bin/loop", b"#!/bin/loop\n");
        assert!(image.says("/bin/loop", Errno::LOOP).unwrap().ends_with("too many interpreters"));
    }

    #[test]
    fn what_is_no_program_is_said() {
        let image = Image::new("kind");
        image.file("empty", b"").file("text", b"echo hello\n").file("elf", b"\x7fELF\x02\x01\x01");
        fs::set_permissions(image.0.join("bin"), Permissions::from_mode(0o755)).unwrap();
        image.must_say("/bin", Errno::ACCESS, "/bin is a directory");
        image.must_say("/empty", Errno::NOEXEC, "/empty is empty");
        image.must_say(
            "/text",
            Errno::NOEXEC,
            "/text is no ELF program, and no script, which would begin with #!",
        );
        image.must_say("/elf", Errno::NOEXEC, "/elf is a damaged ELF file");
        fs::set_permissions(image.0.join("text"), Permissions::from_mode(0o640)).unwrap();
        image.must_say("/text", Errno::ACCESS, "/text has no execute permission (mode 0640)");
        assert_eq!(image.says("/empty", Errno::ACCESS), None);
    }

    #[test]
    fn a_name_is_looked_for_in_every_directory() {
        let image = Image::new("path");
        let root: OwnedFd = fs::File::open(&image.0).unwrap().into();
        let candidates = ["/sbin/foo", "/bin/foo"].map(PathBuf::from);
        let program = Program { candidates: &candidates, cwd: Path::new("/"), errno: Errno::NOENT };
        assert_eq!(explain(&root, 0, &program).as_deref(), Some("looked in /sbin, /bin"));
        image.file("bin/foo", b"#!/bin/none\n");
        let found = explain(&root, 0, &program).unwrap();
        assert_eq!(found, "/bin/foo begins with #!/bin/none: /bin/none does not exist");
    }

    #[test]
    fn the_bit_that_counts_is_the_most_special_one() {
        let who = Identity { uid: 7, gid: 8, groups: vec![9], searches_all: false };
        let image = Image::new("bits");
        let mut seen = fstat(fs::File::open(&image.0).unwrap()).unwrap();
        for (uid, gid, mode, may) in [
            (7, 0, 0o677, false),
            (7, 0, 0o100, true),
            (0, 8, 0o767, false),
            (0, 9, 0o010, true),
            (0, 0, 0o001, true),
        ] {
            (seen.st_uid, seen.st_gid, seen.st_mode) = (uid, gid, mode);
            assert_eq!(who.may_execute(&seen), may, "{uid} {gid} {mode:o}");
        }
    }
}
