//! CRIU as a process that serves one request over a socket (`criu swrk`), and the conversation with it.
//!
//! ```text
//! ORLOP                                        CRIU
//!   Version, keep open     ───────────────>
//!                          <── version ──
//!   FeatureCheck, keep open ──────────────>    only where a feature is needed
//!                          <── features ──
//!   Dump, PreDump, Restore ───────────────>
//!                          <── Notify{point} ─ at each point; with a descriptor for the terminal
//!   Notify, success        ───────────────>
//!                          <── result ──       and it ends
//! ```
//!
//! What is asked is in [`super::dump`] and [`super::restore`], the bytes are in [`super::rpc`].

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use child::message::Kind as Said;
use child::page::{Page, Phase};
use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, send, socketpair,
};
use rustix::process::WaitIdStatus;
use rustix::time::Timespec;
use sys::error::Context;

use super::super::clone::encode;
use super::super::open::{Inherited, Ready};
use super::super::process::{collector, tail};
use super::super::spawned::{Deadline, Spawned, reap};
use super::super::{exec, image};
use super::rpc::{Features, Message, Request, Response, version};
use crate::config::text::Strings;
use crate::plan_criu::{Plan, Program};
use crate::state::State;
use crate::{Error, Kind, Result, procfs};

/// The oldest CRIU: it can leave pid namespaces to others and knows the freezer of v2.
const OLDEST: u32 = version(3, 15, 0);

/// The number of the socket in CRIU, after the standard streams.
const SOCKET: i32 = 3;

/// Where the descriptors begin that a request names.
pub const FIRST_EXTRA: i32 = SOCKET + 1;

/// How long the init image may take to become CRIU.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long CRIU may take to give up.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The longest message; what CRIU says is short.
const LONGEST: usize = 1 << 16;

/// What the new process gets.
#[derive(Debug)]
pub struct Streams<'a> {
    /// CRIU's own standard input and output; what it prints to its standard error is collected.
    pub own: [BorrowedFd<'a>; 2],
    /// Descriptors that the request names, from [`FIRST_EXTRA`] on.
    pub extra: Vec<BorrowedFd<'a>>,
}

/// Where a new process is born.
#[derive(Debug, Default)]
pub struct Birth<'a> {
    /// CLONE_NEW* flags.
    pub flags: u64,
    /// The v2 cgroup.
    pub group: Option<BorrowedFd<'a>>,
    /// The files to join v1 cgroups.
    pub tasks: Vec<BorrowedFd<'a>>,
}

/// A CRIU that serves one request.
#[derive(Debug)]
pub struct Swrk {
    /// The process.
    pub process: Spawned,
    socket: OwnedFd,
    printed: File,
}

/// CRIU's program: the one that is named, or the first in PATH.
///
/// # Errors
/// `Unsupported` where there is none.
pub fn program(named: Option<&Path>, descriptors: usize) -> Result<Program> {
    let path = find(named)?;
    let mut strings = [Strings::default(), Strings::default(), Strings::default()];
    let [candidates, args, env] = &mut strings;
    candidates.push(&c_string(path.as_os_str()));
    args.push(c"criu");
    args.push(c"swrk");
    args.push(&c_string(OsStr::new(&SOCKET.to_string())));
    for (name, value) in std::env::vars_os().filter(|(name, _)| is_for_criu(name)) {
        env.push(&c_string(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat())));
    }
    let [candidates, args, env] = strings;
    let descriptors =
        u32::try_from(descriptors).unwrap_or(u32::MAX).saturating_add(FIRST_EXTRA.unsigned_abs());
    Ok(Program { candidates, args, env, descriptors })
}

fn is_for_criu(name: &OsStr) -> bool {
    name == "PATH" || name.as_bytes().starts_with(b"CRIU_")
}

fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap_or_default()
}

fn find(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let found = std::env::split_paths(&path).map(|place| place.join("criu")).find(|file| file.is_file());
    found.ok_or_else(|| {
        Error::new(Kind::Unsupported, "criu: executable file not found in $PATH")
            .with_hint("checkpoint and restore need it; install criu")
    })
}

impl Swrk {
    /// Starts CRIU by `plan`; `adopt` is called with the new process while it waits for that.
    ///
    /// # Errors
    /// `Kernel` and `Timeout`; the process is gone then.
    pub fn start(
        plan: &Plan<'_>,
        streams: &Streams<'_>,
        birth: &Birth<'_>,
        state: &State,
        adopt: impl FnOnce(&Spawned) -> Result<()>,
    ) -> Result<Self> {
        let (socket, theirs) = pair()?;
        let printed = collector("criu")?;
        let mut program = vec![streams.own[0], streams.own[1], printed.as_fd(), theirs.as_fd()];
        program.extend(&streams.extra);
        let process = spawn(plan, program, birth)?;
        drop(theirs);
        let swrk = Self { process, socket, printed };
        match swrk.until_executed(plan, state, adopt) {
            Ok(()) => Ok(swrk),
            Err(error) => Err(swrk.end(error)),
        }
    }

    fn until_executed(
        &self,
        plan: &Plan<'_>,
        state: &State,
        adopt: impl FnOnce(&Spawned) -> Result<()>,
    ) -> Result<()> {
        let mut adopt = Some(adopt);
        while let Some((message, _)) = self.process.receive(&plan.steps)? {
            match (message.kind, adopt.take()) {
                (Said::NeedAdopt, Some(adopt)) => {
                    adopt(&self.process)?;
                    self.process.send(Said::Go)?;
                }
                _ => return Err(self.process.failure(&plan.steps, state)),
            }
        }
        match self.process.page.phase() {
            Some(Phase::Executing) => Ok(()),
            _ => Err(self.process.failure(&plan.steps, state)),
        }
    }

    /// Waits for the end of a CRIU that has done its work; the value is how it ended.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn wait(self) -> Result<Option<WaitIdStatus>> {
        drop(self.socket);
        reap(&self.process.pidfd)
    }

    /// Ends CRIU because of `cause`. It hears of that first and has some time to let go of processes that it holds.
    pub fn end(self, cause: Error) -> Error {
        let Self { process, socket, .. } = self;
        drop(socket);
        let wait = Timespec { tv_sec: LAST_WORDS.as_secs().cast_signed(), tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&process.pidfd, PollFlags::IN)], Some(&wait));
        match process.kill() {
            Ok(_) => cause,
            Err(other) => cause.and_also(other),
        }
    }

    /// Asks for the version and refuses one that is too old.
    ///
    /// # Errors
    /// `Unsupported`; `Kernel` where CRIU gives no answer.
    pub fn version(&self) -> Result<u32> {
        self.send(&Message::request(Request::Version).with_keep_open())?;
        let found = self.receive()?.0.version;
        tracing::debug!("criu has version {}", dotted(found));
        if found >= OLDEST {
            return Ok(found);
        }
        let text = format!("criu {} is too old; {} is the oldest one", dotted(found), dotted(OLDEST));
        Err(Error::new(Kind::Unsupported, text))
    }

    /// Refuses what CRIU and the kernel cannot do together.
    ///
    /// # Errors
    /// `Unsupported`; `Kernel` where CRIU gives no answer.
    pub fn demand(&self, wanted: Features) -> Result<()> {
        if wanted == Features::default() {
            return Ok(());
        }
        self.send(&Message::request(Request::FeatureCheck).with_features(wanted).with_keep_open())?;
        let found = self.receive()?.0.features;
        let missing = match (wanted.mem_track && !found.mem_track, wanted.lazy_pages && !found.lazy_pages) {
            (true, _) => "--pre-dump: criu cannot track memory on this kernel",
            (_, true) => "--lazy-pages: criu cannot use userfaultfd on this kernel",
            (false, false) => return Ok(()),
        };
        Err(Error::new(Kind::Unsupported, missing).with_hint("`criu check --all` says what is missing"))
    }

    /// Sends a request or an answer.
    ///
    /// # Errors
    /// `Kernel`, with what CRIU printed where it is gone.
    pub fn send(&self, message: &Message) -> Result<()> {
        match retry_on_intr(|| send(&self.socket, message.as_bytes(), SendFlags::NOSIGNAL)) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.gone()),
            Err(errno) => Err(Error::kernel("talk to criu", "sendmsg", errno)),
        }
    }

    /// The next thing that CRIU says, with a descriptor where there is one.
    ///
    /// # Errors
    /// `Kernel`, with what CRIU printed where it is gone.
    pub fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            Ok(received) if received.bytes > 0 => received.bytes,
            Ok(_) | Err(Errno::CONNRESET) => return Err(self.gone()),
            Err(errno) => return Err(Error::kernel("talk to criu", "recvmsg", errno)),
        };
        let attached = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.last(),
            _ => None,
        });
        let response = bytes.get(..length).and_then(Response::parse);
        let response = response.ok_or_else(|| Error::new(Kind::Kernel, "criu broke the protocol"))?;
        tracing::debug!("criu: {response:?}");
        Ok((response, attached))
    }

    /// Grants what was notified.
    ///
    /// # Errors
    /// As [`Swrk::send`].
    pub fn go_on(&self) -> Result<()> {
        self.send(&Message::request(Request::Notify).with_notify_success())
    }

    fn gone(&self) -> Error {
        let printed = tail(&self.printed);
        Error::new(Kind::Kernel, format!("criu failed: it ended without an answer{printed}"))
    }
}

/// The error of a request that was refused, with the first error of CRIU's log.
pub fn refused(response: &Response, log: &Path) -> Error {
    let first = std::fs::read(log).ok().and_then(|bytes| first_error(&String::from_utf8_lossy(&bytes)));
    let words = (!response.message.is_empty()).then(|| response.message.clone());
    let why = first.or(words).unwrap_or_else(|| format!("type {} errno {}", response.kind, response.errno));
    let error = Error::new(Kind::Kernel, format!("criu failed: {why}"));
    error.with_hint(format!("log file: {}", log.display()))
}

/// What CRIU logs as an error and lives without: a higher limit of open files, and the network tunnels that the device
/// policy of a container keeps from it.
const HARMLESS: [&str; 2] = ["rlimit:", "tun:"];

/// The first error of a log that is a reason to fail.
fn first_error(log: &str) -> Option<String> {
    let is_harmless = |line: &&str| HARMLESS.iter().any(|part| line.contains(part));
    let line = log.lines().find(|line| line.contains("Error") && !is_harmless(line))?;
    let text = line.split_once(") ").map_or(line, |(_, text)| text);
    Some(text.trim().to_owned())
}

fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("socketpair", || "make the socket to criu".to_owned())
}

/// Starts the process of a plan with the descriptors `program` from 0 on.
pub(super) fn spawn(plan: &Plan<'_>, program: Vec<BorrowedFd<'_>>, birth: &Birth<'_>) -> Result<Spawned> {
    let (socket, theirs) = pair()?;
    let (proc, page) = (procfs::open()?, exec::new_page()?);
    let tasks = birth.tasks.clone();
    let ready = Ready {
        socket: theirs.as_fd(),
        proc: proc.as_fd(),
        start: None,
        tasks,
        program,
        hook_output: None,
        user_namespace: None,
    };
    let mut inherited = Inherited::gather(&plan.opens, &ready)?;
    let header = (inherited.add_anywhere(theirs.as_fd())?, inherited.add_anywhere(page.as_fd())?);
    let image = image::with_plan(&encode(&plan.steps, &inherited.place(), header)?)?;
    let page = Page::map(&page).context("mmap", || "share a page with criu".to_owned())?;
    let process = exec::start(&image, &inherited, birth.group, birth.flags)?;
    let deadline = Deadline::new("criu", PATIENCE);
    Ok(Spawned { pid: process.pid, pidfd: process.pidfd, socket, page, deadline, hook_output: None })
}

/// A directory for images or for the log, made if absent.
///
/// # Errors
/// `Kernel`.
pub fn open_or_make(path: &Path, key: &'static str) -> Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error)
            .context("mkdir", || format!("make {}", path.display()))
            .map_err(|error| error.with_key(key)),
        _ => open_directory(path, key),
    }
}

/// A directory that exists.
///
/// # Errors
/// `Kernel`.
pub fn open_directory(path: &Path, key: &'static str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, path, flags, Mode::empty())
        .context("openat", || format!("open {}", path.display()))
        .map_err(|error| error.with_key(key))
}

/// The number of a descriptor in this process: CRIU opens it through /proc/PID/fd of whoever made the socket.
pub fn number(fd: &OwnedFd) -> u64 {
    fd.as_raw_fd().unsigned_abs().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_the_log_is_told() {
        let log = "(00.1) Warn  (a.c:1): no\n(00.2) Error (criu/util.c:1534): rlimit: Can't setup\n\
                   (00.3) Error (criu/x.c:7): Can't lookup mount=27\n(00.4) Error (criu/y.c:9): Dumping FAILED.\n";
        assert_eq!(first_error(log).unwrap(), "Error (criu/x.c:7): Can't lookup mount=27");
        assert_eq!(first_error("(00.1) fine\n"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version(3, 9, 0) < OLDEST && version(3, 17, 1) > OLDEST && version(4, 0, 0) > OLDEST);
        assert_eq!(dotted(version(3, 17, 1)), "3.17.1");
    }
}
