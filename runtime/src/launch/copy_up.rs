//! tmpcopyup: what a directory of the image holds, copied into the tmpfs that will cover it, by descriptors.
//!
//! Directories, files with their holes, symbolic links, FIFOs, sockets and, where permitted, device nodes; with owner,
//! mode, times and extended attributes. Other mounts beneath the directory are not the image's: they become empty
//! directories. Hard links become files of their own. Start at [`copy`].

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, flistxattr_query, fsetxattr,
    fstat, ftruncate, futimens, mkdirat, mknodat, openat, openat2, readlinkat, seek, statat, symlinkat,
    utimensat,
};
use rustix::io::{Errno, pread, pwrite};
use rustix::thread::{capabilities, set_capabilities};

use super::spawned::Deadline;
use crate::{Error, Kind, Result, procfs};

/// How much is copied between two looks at the clock, in bytes.
const CHUNK: usize = 128 * 1024;

/// XATTR_SIZE_MAX and XATTR_LIST_MAX, linux/limits.h.
const XATTR_MAX: usize = 65536;

/// Whose tmpfs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tmpfs {
    /// One of the caller's user namespace.
    Own,
    /// One of another user namespace, in which only ids with a mapping may make files.
    OfContainer,
}

/// Copies everything below `from` to below `to`, which is empty and which nobody else uses yet.
///
/// # Errors
/// `Kernel` with the path of what could not be copied, `Timeout`.
pub fn copy(from: &OwnedFd, to: &OwnedFd, tmpfs: Tmpfs, deadline: &Deadline) -> Result<()> {
    if tmpfs == Tmpfs::Own || !rustix::process::geteuid().is_root() {
        return copy_tree(from, to, deadline);
    }
    // The file system's owner has an id in its user namespace for certain. The id of file accesses belongs to a thread,
    // so a thread of its own takes it, and the caller's stay as they are.
    let owner = fstat(to).map_err(|errno| failed("copy into the tmpfs", "fstat", errno))?;
    let run = || become_owner(&owner).and_then(|()| copy_tree(from, to, deadline));
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the copy of a directory broke off")))
}

/// Makes files as `owner` from now on, with the rights of root, which the change of the id takes away. For this thread.
fn become_owner(owner: &Stat) -> Result<()> {
    let what = "copy into the tmpfs";
    let mut sets = capabilities(None).map_err(|errno| failed(what, "capget", errno))?;
    sys::task::setfsgid(owner.st_gid);
    sys::task::setfsuid(owner.st_uid);
    sets.effective = sets.permitted;
    set_capabilities(None, sets).map_err(|errno| failed(what, "capset", errno))
}

fn failed(what: impl Into<String>, call: &'static str, errno: Errno) -> Error {
    Error::kernel(what.into(), call, errno)
}

/// A directory whose entries are being copied.
struct Level {
    entries: Dir,
    from: OwnedFd,
    to: OwnedFd,
    /// What it gets once it is complete; the top is the mount's own and gets nothing.
    seen: Option<Stat>,
}

struct Copier<'a> {
    deadline: &'a Deadline,
    /// The entry that is being copied, below the top.
    path: PathBuf,
    levels: Vec<Level>,
    buffer: Vec<u8>,
    within_kernel: WithinKernel,
}

/// Whether copy_file_range(2) works between these two file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WithinKernel {
    Untried,
    Refused,
}

fn copy_tree(from: &OwnedFd, to: &OwnedFd, deadline: &Deadline) -> Result<()> {
    let mut copier = Copier {
        deadline,
        path: PathBuf::new(),
        levels: Vec::new(),
        buffer: vec![0; CHUNK],
        within_kernel: WithinKernel::Untried,
    };
    let [from, to] = [from, to].map(|fd| openat(fd, ".", directory_flags(), Mode::empty()));
    let from = from.map_err(|errno| copier.failed("openat", errno))?;
    let to = to.map_err(|errno| copier.failed("openat", errno))?;
    copier.enter(from, to, None)?;
    copier.run()
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl Copier<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some(level) = self.levels.last_mut() {
            match level.entries.read() {
                None => self.leave()?,
                Some(entry) => {
                    let entry = entry.map_err(|errno| self.failed("getdents64", errno))?;
                    if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                        self.entry(entry.file_name())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn failed(&self, call: &'static str, errno: Errno) -> Error {
        let error = failed(format!("copy ./{} into the tmpfs", self.path.display()), call, errno);
        match (call, errno) {
            (_, Errno::NOSPC | Errno::DQUOT) => {
                error.with_hint("the tmpfs is too small; see its size= option")
            }
            (_, Errno::MFILE) => error.with_hint("the directories are nested too deeply"),
            ("fchown" | "fchownat", Errno::INVAL | Errno::OVERFLOW) => {
                error.with_hint("its owner has no id in the container's user namespace")
            }
            ("fchown" | "fchownat", Errno::PERM) => error.with_hint("only root can keep the owners of files"),
            _ => error,
        }
    }

    fn in_time(&self) -> Result<()> {
        if self.deadline.left().is_zero() {
            return Err(self.deadline.error(&format!("copy ./{} into the tmpfs", self.path.display())));
        }
        Ok(())
    }

    fn enter(&mut self, from: OwnedFd, to: OwnedFd, seen: Option<Stat>) -> Result<()> {
        let entries = Dir::read_from(&from).map_err(|errno| self.failed("openat", errno))?;
        self.levels.push(Level { entries, from, to, seen });
        Ok(())
    }

    /// Completes a directory: its times last, because every entry changed them.
    fn leave(&mut self) -> Result<()> {
        if let Some(Level { from, to, seen: Some(seen), .. }) = self.levels.pop() {
            self.finish(&from, &to, &seen)?;
        }
        self.path.pop();
        Ok(())
    }

    /// Copies one entry; a directory is only entered.
    fn entry(&mut self, name: &CStr) -> Result<()> {
        self.path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
        self.in_time()?;
        let Some(level) = self.levels.last() else { return Ok(()) };
        let (flags, resolve) = (OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, ResolveFlags::NO_XDEV);
        let source = match openat2(&level.from, name, flags, Mode::empty(), resolve) {
            Ok(source) => source,
            Err(Errno::XDEV) => {
                self.mount_point(level, name)?;
                self.path.pop();
                return Ok(());
            }
            Err(errno) => return Err(self.failed("openat2", errno)),
        };
        let seen = fstat(&source).map_err(|errno| self.failed("fstat", errno))?;
        match FileType::from_raw_mode(seen.st_mode) {
            FileType::Directory => {
                let from = openat(&source, ".", directory_flags(), Mode::empty());
                let from = from.map_err(|errno| self.failed("openat", errno))?;
                let to = self.make_directory(level, name)?;
                return self.enter(from, to, Some(seen));
            }
            FileType::RegularFile => self.file(&source, name, &seen)?,
            FileType::Symlink => self.symlink(&source, name, &seen)?,
            kind => self.node(name, kind, &seen)?,
        }
        self.path.pop();
        Ok(())
    }

    fn make_directory(&self, level: &Level, name: &CStr) -> Result<OwnedFd> {
        mkdirat(&level.to, name, Mode::RWXU).map_err(|errno| self.failed("mkdirat", errno))?;
        openat(&level.to, name, directory_flags(), Mode::empty())
            .map_err(|errno| self.failed("openat", errno))
    }

    /// Another mount: its content is not the image's. A directory stays as a place to mount upon.
    fn mount_point(&self, level: &Level, name: &CStr) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let seen = statat(&level.from, name, flags).map_err(|errno| self.failed("fstatat", errno))?;
        if FileType::from_raw_mode(seen.st_mode) == FileType::Directory {
            let made = self.make_directory(level, name)?;
            fchmod(&made, Mode::from_raw_mode(seen.st_mode & 0o7777))
                .map_err(|errno| self.failed("fchmod", errno))?;
        }
        Ok(())
    }

    fn file(&mut self, source: &OwnedFd, name: &CStr, seen: &Stat) -> Result<()> {
        // By the descriptor, because the name may lead to something else by now.
        let from = procfs::reopen(source, OFlags::RDONLY | OFlags::NONBLOCK)
            .map_err(|errno| self.failed("openat", errno))?;
        let Some(level) = self.levels.last() else { return Ok(()) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(&level.to, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed("openat", errno))?;
        let size = u64::try_from(seen.st_size).unwrap_or(0);
        self.content(&from, &to, size)?;
        ftruncate(&to, size).map_err(|errno| self.failed("ftruncate", errno))?;
        self.finish(&from, &to, seen)
    }

    /// The parts of a file that are no holes.
    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<()> {
        let mut offset = 0;
        while offset < size {
            let begin = match seek(from, SeekFrom::Data(offset)) {
                Ok(begin) => begin,
                // Nothing but a hole is left.
                Err(Errno::NXIO) => return Ok(()),
                Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
                Err(errno) => return Err(self.failed("lseek", errno)),
            };
            let end = seek(from, SeekFrom::Hole(begin)).unwrap_or(size).clamp(begin, size);
            self.range(from, to, begin, end)?;
            offset = end.max(offset + 1);
        }
        Ok(())
    }

    fn range(&mut self, from: &OwnedFd, to: &OwnedFd, mut offset: u64, end: u64) -> Result<()> {
        while offset < end {
            self.in_time()?;
            let len = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
            match self.chunk(from, to, offset, len)? {
                // The file became shorter meanwhile.
                0 => return Ok(()),
                copied => offset += copied as u64,
            }
        }
        Ok(())
    }

    fn chunk(&mut self, from: &OwnedFd, to: &OwnedFd, offset: u64, len: usize) -> Result<usize> {
        if self.within_kernel == WithinKernel::Untried {
            match copy_file_range(from, Some(&mut offset.clone()), to, Some(&mut offset.clone()), len) {
                Ok(copied) if copied > 0 => return Ok(copied),
                // It also reads nothing of some files that have content.
                Ok(_) | Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    self.within_kernel = WithinKernel::Refused;
                }
                Err(errno) => return Err(self.failed("copy_file_range", errno)),
            }
        }
        let room = self.buffer.get_mut(..len).unwrap_or_default();
        let count = pread(from, &mut *room, offset);
        let count = count.map_err(|errno| self.failed("pread", errno))?;
        let mut rest = self.buffer.get(..count).unwrap_or_default();
        let mut at = offset;
        while !rest.is_empty() {
            let written = pwrite(to, rest, at).map_err(|errno| self.failed("pwrite", errno))?;
            rest = rest.get(written..).unwrap_or_default();
            at += written as u64;
        }
        Ok(count)
    }

    fn symlink(&self, source: &OwnedFd, name: &CStr, seen: &Stat) -> Result<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let target = readlinkat(source, c"", Vec::new()).map_err(|errno| self.failed("readlinkat", errno))?;
        symlinkat(&*target, &level.to, name).map_err(|errno| self.failed("symlinkat", errno))?;
        self.named(level, name, seen)
    }

    fn node(&self, name: &CStr, kind: FileType, seen: &Stat) -> Result<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let mode = Mode::from_raw_mode(seen.st_mode & 0o7777);
        match mknodat(&level.to, name, kind, mode, seen.st_rdev) {
            Ok(()) => {}
            // Without the right to make them, devices stay out, as they do for everything else that copies a tree.
            Err(Errno::PERM) if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) => {
                return Ok(());
            }
            Err(errno) => return Err(self.failed("mknodat", errno)),
        }
        // The node is the one that was just made: nobody else is in this file system.
        rustix::fs::chmodat(&level.to, name, mode, AtFlags::empty())
            .map_err(|errno| self.failed("fchmodat", errno))?;
        self.named(level, name, seen)
    }

    /// Owner and times of what cannot be opened.
    fn named(&self, level: &Level, name: &CStr, seen: &Stat) -> Result<()> {
        let (uid, gid) = owner(seen);
        chownat(&level.to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("fchownat", errno))?;
        utimensat(&level.to, name, &times(seen), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("utimensat", errno))
    }

    /// Owner, mode, extended attributes and times, in this order: a change of the owner takes set-user-ID bits and
    /// capabilities away, and every change but the last would touch the times.
    fn finish(&self, from: &OwnedFd, to: &OwnedFd, seen: &Stat) -> Result<()> {
        let (uid, gid) = owner(seen);
        fchown(to, Some(uid), Some(gid)).map_err(|errno| self.failed("fchown", errno))?;
        fchmod(to, Mode::from_raw_mode(seen.st_mode & 0o7777))
            .map_err(|errno| self.failed("fchmod", errno))?;
        self.extended_attributes(from, to)?;
        futimens(to, &times(seen)).map_err(|errno| self.failed("futimens", errno))
    }

    fn extended_attributes(&self, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
        if matches!(flistxattr_query(from), Ok(0) | Err(Errno::OPNOTSUPP | Errno::PERM)) {
            return Ok(());
        }
        let mut names = vec![0; XATTR_MAX];
        let len = flistxattr(from, &mut *names).map_err(|errno| self.failed("flistxattr", errno))?;
        let names = names.get(..len).unwrap_or_default();
        for name in
            names.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        {
            // What overlayfs notes about its own layers means nothing elsewhere.
            if !name.to_bytes().starts_with(b"trusted.overlay.") {
                self.extended_attribute(from, to, name)?;
            }
        }
        Ok(())
    }

    fn extended_attribute(&self, from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
        let mut value = vec![0; XATTR_MAX];
        let len = match fgetxattr(from, name, &mut *value) {
            Ok(len) => len,
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => return Ok(()),
            Err(errno) => return Err(self.failed("fgetxattr", errno)),
        };
        let special = name.to_bytes().starts_with(b"security.") || name.to_bytes().starts_with(b"trusted.");
        match fsetxattr(to, name, value.get(..len).unwrap_or_default(), XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            // Labels and the like are the business of whoever may set them.
            Err(Errno::PERM | Errno::ACCESS | Errno::INVAL) if special => Ok(()),
            Err(errno) => Err(self.failed("fsetxattr", errno)),
        }
    }
}

fn owner(seen: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(seen.st_uid), Gid::from_raw(seen.st_gid))
}

fn times(seen: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(seen.st_atime, seen.st_atime_nsec),
        last_modification: time(seen.st_mtime, seen.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// Two directories, the first one to be filled by a test.
    struct Pair(PathBuf);

    impl Pair {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("it-copy-up-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("from")).unwrap();
            fs::create_dir(root.join("to")).unwrap();
            Self(root)
        }

        fn from(&self, name: &str) -> PathBuf {
            self.0.join("from").join(name)
        }

        fn to(&self, name: &str) -> PathBuf {
            self.0.join("to").join(name)
        }

        fn copy(&self, patience: Duration) -> Result<()> {
            let open = |name: &str| OwnedFd::from(File::open(self.0.join(name)).unwrap());
            copy(&open("from"), &open("to"), Tmpfs::Own, &Deadline::new("create", patience))
        }

        fn copied(&self) -> Result<()> {
            self.copy(Duration::from_secs(20))
        }
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn same(from: &Path, to: &Path) {
        let [from, to] = [from, to].map(|path| fs::symlink_metadata(path).unwrap());
        assert_eq!((from.mode(), from.uid(), from.gid()), (to.mode(), to.uid(), to.gid()));
        assert_eq!((from.mtime(), from.mtime_nsec()), (to.mtime(), to.mtime_nsec()));
        assert_eq!(from.rdev(), to.rdev());
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn a_tree_keeps_everything() {
        let pair = Pair::new("tree");
        fs::create_dir_all(pair.from("a/b")).unwrap();
        fs::write(pair.from("a/b/file"), "hello").unwrap();
        fs::write(pair.from("empty"), "").unwrap();
        symlink("../nowhere", pair.from("a/link")).unwrap();
        mknodat(rustix::fs::CWD, pair.from("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        fs::set_permissions(pair.from("a/b/file"), Permissions::from_mode(0o6755)).unwrap();
        fs::set_permissions(pair.from("a"), Permissions::from_mode(0o1770)).unwrap();
        let mut all = vec!["a", "a/b", "a/b/file", "empty", "a/link", "fifo"];
        if is_root() {
            std::os::unix::fs::lchown(pair.from("a/link"), Some(7), Some(8)).unwrap();
            std::os::unix::fs::chown(pair.from("empty"), Some(9), Some(10)).unwrap();
            let null = rustix::fs::makedev(1, 3);
            mknodat(rustix::fs::CWD, pair.from("null"), FileType::CharacterDevice, Mode::RUSR, null).unwrap();
            all.push("null");
        }
        let file = File::open(pair.from("a/b/file")).unwrap();
        let named = fsetxattr(&file, "user.it", b"value", XattrFlags::empty()).is_ok();
        std::thread::sleep(Duration::from_millis(20));
        pair.copied().unwrap();
        for name in all {
            same(&pair.from(name), &pair.to(name));
        }
        assert_eq!(fs::read_to_string(pair.to("a/b/file")).unwrap(), "hello");
        assert_eq!(fs::read_link(pair.to("a/link")).unwrap(), Path::new("../nowhere"));
        assert!(fs::metadata(pair.to("fifo")).unwrap().file_type().is_fifo());
        let mut value = [0; 16];
        let len = fgetxattr(File::open(pair.to("a/b/file")).unwrap(), "user.it", &mut value[..]);
        assert!(!named || value[..len.unwrap()] == *b"value");
    }

    #[test]
    fn holes_stay_holes() {
        let pair = Pair::new("holes");
        let file = File::create(pair.from("sparse")).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_at(b"begin", 0).unwrap();
        file.write_at(b"middle", 40 << 20).unwrap();
        fs::write(pair.from("large"), vec![7; 3 * CHUNK + 5]).unwrap();
        pair.copied().unwrap();
        let copied = fs::metadata(pair.to("sparse")).unwrap();
        assert_eq!(copied.len(), 64 << 20);
        assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
        assert!(fs::read(pair.from("sparse")).unwrap() == fs::read(pair.to("sparse")).unwrap());
        assert!(fs::read(pair.from("large")).unwrap() == fs::read(pair.to("large")).unwrap());
    }

    #[test]
    fn an_error_names_the_path() {
        let pair = Pair::new("error");
        fs::create_dir_all(pair.from("a")).unwrap();
        fs::write(pair.from("a/file"), "x").unwrap();
        fs::create_dir(pair.to("a")).unwrap();
        let error = pair.copied().unwrap_err();
        assert_eq!(error.to_string(), "copy ./a into the tmpfs: mkdirat: EEXIST (file exists)");
    }

    #[test]
    fn the_deadline_ends_it() {
        let pair = Pair::new("deadline");
        fs::write(pair.from("file"), "x").unwrap();
        let error = pair.copy(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().contains("./file"), "{error}");
    }

    #[test]
    fn deep_trees_are_copied() {
        let pair = Pair::new("deep");
        let deep = ["d"; 100].join("/");
        fs::create_dir_all(pair.from(&deep)).unwrap();
        pair.copied().unwrap();
        assert!(pair.to(&deep).is_dir());
    }

    #[test]
    fn another_owner_makes_the_files_in_a_thread_of_its_own() {
        if !is_root() {
            return;
        }
        let pair = Pair::new("owner");
        fs::write(pair.from("file"), "x").unwrap();
        std::os::unix::fs::chown(pair.from("file"), Some(100_001), Some(100_002)).unwrap();
        std::os::unix::fs::chown(pair.0.join("to"), Some(100_000), Some(100_000)).unwrap();
        let open = |name: &str| OwnedFd::from(File::open(pair.0.join(name)).unwrap());
        let deadline = Deadline::new("create", Duration::from_secs(20));
        copy(&open("from"), &open("to"), Tmpfs::OfContainer, &deadline).unwrap();
        same(&pair.from("file"), &pair.to("file"));
        fs::write(pair.to("mine"), "").unwrap();
        assert_eq!(fs::metadata(pair.to("mine")).unwrap().uid(), 0, "the caller's id stays");
    }
}
