//! The way into the program: working directory, executable, waiting for start, filter, execve.

use core::ffi::{CStr, c_char};
use core::marker::PhantomData;

use rustix::fd::{IntoRawFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, ResolveFlags, accessat, statat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{fchdir, set_parent_process_death_signal};
use sys::clone::exit;

use super::paths::{make_directory, open_beneath};
use crate::data::{Bytes, Fd, List, Text};
use crate::message::{Kind, Message};
use crate::op::{Enter, Listener};
use crate::page::{Called, Failure, Phase};
use crate::run::{Executor, Home};

impl<'a> Executor<'a> {
    pub(crate) fn working_directory(&mut self, path: Text<'a>, how: Enter) -> Result<(), Failure> {
        // Entered as root already: that is enough, and a filter may forbid the calls by now.
        if self.entered {
            return Ok(());
        }
        match self.enter(path.0, how) {
            Ok(()) => {
                self.entered = true;
                Ok(())
            }
            Err(failure) if failure.errno == Errno::ACCESS && how != Enter::AsUser => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn enter(&self, path: &CStr, how: Enter) -> Result<(), Failure> {
        let root = self.root()?;
        let directory = match how {
            Enter::MakeAsRoot => make_directory(root, path, ResolveFlags::empty())?,
            Enter::AsRoot | Enter::AsUser => {
                open_beneath(root, path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())
                    .called("openat2")?
            }
        };
        fchdir(directory).called("fchdir")?;
        let mut buffer = [0; 4096];
        let name = sys::task::getcwd(&mut buffer).called("getcwd")?;
        // A directory outside the root has the name "(unreachable)/...".
        if name.first() == Some(&b'/') {
            Ok(())
        } else {
            Err(Failure::new("cwd is outside the root", Errno::PERM))
        }
    }

    pub(crate) fn find_executable(&mut self, candidates: List<'a>) -> Result<(), Failure> {
        // Looked up early, as the filter need not allow getpid(2).
        self.listen_pid = listen_pid();
        let mut worst = Errno::NOENT;
        for path in candidates.iter() {
            match executable(path) {
                Ok(()) => {
                    self.executable = Some(path);
                    return Ok(());
                }
                Err(errno @ (Errno::ACCESS | Errno::ISDIR)) => worst = errno,
                Err(errno) if candidates.count() == 1 => worst = errno,
                Err(_) => {}
            }
        }
        Err(Failure::new("exec", worst))
    }

    pub(crate) fn find_home(&mut self, uid: u32) -> Result<(), Failure> {
        let mut entry = [0; 512];
        let mut home = Line::default();
        if let Ok(passwd) = open_passwd(self.root()?) {
            home = home_of(uid, &passwd).unwrap_or_default();
        }
        let path: &[u8] = if home.len == 0 { b"/" } else { home.as_bytes() };
        entry.iter_mut().zip(b"HOME=".iter().chain(path)).for_each(|(to, from)| *to = *from);
        self.home = Some(Home { entry });
        Ok(())
    }

    pub(crate) fn await_start(&mut self, listener: Option<Fd>) -> Result<(), Failure> {
        self.page.set_phase(Phase::Ready);
        // From Ready on the container outlives the process that made it. Until the answer comes, end of file on the
        // socket still ends it.
        set_parent_process_death_signal(None).called("prctl(PR_SET_PDEATHSIG)")?;
        Message::from(Kind::Ready).send(self.socket).called("write")?;
        match Message::receive(self.socket).called("read")? {
            Some(Message { kind: Kind::Start, .. }) => {}
            Some(Message { kind: Kind::Go, .. }) => self.accept_start(listener)?,
            Some(_) => return Err(Failure::new("read", Errno::PROTO)),
            None => exit(1),
        }
        self.page.set_phase(Phase::Started);
        Ok(())
    }

    /// Waits for a connection that says Start. One that ends before it does changes nothing.
    fn accept_start(&mut self, listener: Option<Fd>) -> Result<(), Failure> {
        let listener = sys::fd::borrow(listener.map_or(-1, |fd| fd.0));
        loop {
            let connection =
                retry_on_intr(|| accept_with(listener, SocketFlags::CLOEXEC)).called("accept4")?;
            if let Ok(Some(Message { kind: Kind::Start, .. })) = Message::receive(&connection) {
                self.socket = sys::fd::borrow(connection.into_raw_fd());
                return Ok(());
            }
        }
    }

    pub(crate) fn seccomp(
        &mut self,
        program: Bytes<'a>,
        flags: u32,
        listener: Listener,
    ) -> Result<(), Failure> {
        let number = sys::task::seccomp_set_filter(program.0, flags).called("seccomp")?;
        if listener == Listener::None {
            self.filtered = true;
            return Ok(());
        }
        self.page.set_listener(number);
        let announced =
            Message { kind: Kind::Listener, value: number.unsigned_abs() }.send(self.socket).called("write");
        announced.and_then(|()| self.await_go())?;
        drop(sys::fd::take(number));
        self.filtered = true;
        Ok(())
    }

    pub(crate) fn execute_program(&mut self, args: List<'a>, env: List<'a>) -> Result<(), Failure> {
        let path = self.executable.ok_or(Failure::new("exec", Errno::NOENT))?;
        let home = self.home.take();
        let home = home.as_ref().and_then(|home| CStr::from_bytes_until_nul(&home.entry).ok());
        let listen_pid = self.listen_pid;
        let listen_pid = CStr::from_bytes_until_nul(&listen_pid).unwrap_or(UNFINISHED);
        let finished = |text| if text == UNFINISHED { listen_pid } else { text };
        let (env, args) = (self.pointers(env, home, finished)?, self.pointers(args, None, as_it_is)?);
        self.page.set_phase(Phase::Executing);
        Err(Failure::new("execve", args.execve(path, &env)))
    }
}

impl Executor<'_> {
    /// argv or envp out of the memory that was taken before the first step: after the filter no call may be left to make.
    pub(crate) fn pointers<'t>(
        &mut self,
        list: List<'t>,
        more: Option<&'t CStr>,
        finished: impl Fn(&'t CStr) -> &'t CStr,
    ) -> Result<Pointers<'t>, Failure> {
        let room = core::mem::take(&mut self.room);
        let Some((array, rest)) = room.split_at_mut_checked(list.count() + 2) else {
            return Err(Failure::new("room for arguments", Errno::NOMEM));
        };
        self.room = rest;
        Ok(Pointers::fill(array, list.iter().chain(more).map(finished)))
    }
}

/// What sd_listen_fds(3) compares with the process that reads it, before the process exists.
const UNFINISHED: &CStr = c"LISTEN_PID=";

/// The same with the number that this process has in its own pid namespace.
fn listen_pid() -> [u8; 24] {
    let mut entry = [0; 24];
    let mut pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let mut digits = [0; 10];
    let mut count = 0;
    for digit in &mut digits {
        *digit = b'0' + (pid % 10) as u8;
        pid /= 10;
        count += 1;
        if pid == 0 {
            break;
        }
    }
    let number = digits.iter().take(count).rev();
    entry.iter_mut().zip(UNFINISHED.to_bytes().iter().chain(number)).for_each(|(to, from)| *to = *from);
    entry
}

/// A string that is finished.
pub(crate) fn as_it_is(text: &CStr) -> &CStr {
    text
}

/// Whether execve(2) would try this file: a regular file that the process may execute.
fn executable(path: &CStr) -> Result<(), Errno> {
    let seen = statat(CWD, path, AtFlags::empty())?;
    match FileType::from_raw_mode(seen.st_mode) {
        FileType::RegularFile => accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::ACCESS),
    }
}

/// argv or envp: an array of pointers to strings, ended by null.
#[derive(Debug)]
pub(crate) struct Pointers<'a> {
    array: &'static [*const c_char],
    strings: PhantomData<&'a CStr>,
}

impl<'a> Pointers<'a> {
    /// Pointers to the strings; the array has room for them and for the null at its end.
    fn fill(array: &'static mut [*const c_char], texts: impl Iterator<Item = &'a CStr>) -> Self {
        array.fill(core::ptr::null());
        let slots = array.len().saturating_sub(1);
        for (slot, text) in array.iter_mut().take(slots).zip(texts) {
            *slot = text.as_ptr();
        }
        Self { array, strings: PhantomData }
    }

    /// execve(2) with these arguments; returns only what went wrong.
    #[expect(unsafe_code, reason = "the pointers were made here and their strings are borrowed")]
    pub(crate) fn execve(&self, path: &CStr, env: &Pointers<'_>) -> Errno {
        // SAFETY: both arrays end with null and hold pointers to strings that live as long as they do.
        unsafe { sys::clone::execve(path, self.array, env.array) }
    }
}

/// The longest home directory that is looked up.
const HOME_MAX: usize = 500;

/// The largest passwd file that is read: an image must not keep the runtime busy.
const PASSWD_MAX: usize = 1 << 20;

/// The container's passwd file, if it is a regular file.
fn open_passwd(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let seen = open_beneath(root, c"/etc/passwd", OFlags::PATH, ResolveFlags::empty())?;
    if super::paths::file_type(&super::paths::stat(&seen)?) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    open_beneath(root, c"/etc/passwd", flags, ResolveFlags::empty())
}

/// A line of the file, as far as it fits.
struct Line {
    bytes: [u8; HOME_MAX],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; HOME_MAX], len: 0 }
    }
}

impl Line {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    /// The line; empty where it did not fit.
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The home directory, if the line is that of `uid`: the sixth of seven fields, passwd(5).
    fn home(&self, uid: u32) -> Option<&[u8]> {
        let mut fields = self.as_bytes().split(|byte| *byte == b':');
        let number = core::str::from_utf8(fields.nth(2)?).ok()?;
        if number.parse() != Ok(uid) {
            return None;
        }
        fields.nth(2).filter(|home| home.first() == Some(&b'/'))
    }
}

fn home_of(uid: u32, passwd: &OwnedFd) -> Option<Line> {
    let mut line = Line::default();
    let mut chunk = [0; 4096];
    let mut total = 0;
    loop {
        let len = read(passwd, &mut chunk).ok()?;
        total += len;
        for byte in chunk.get(..len)? {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            if let Some(home) = line.home(uid) {
                return Some(copy(home));
            }
            line.len = 0;
        }
        if len == 0 || total > PASSWD_MAX {
            return line.home(uid).map(copy);
        }
    }
}

fn copy(bytes: &[u8]) -> Line {
    let mut line = Line::default();
    bytes.iter().for_each(|byte| line.push(*byte));
    line
}
