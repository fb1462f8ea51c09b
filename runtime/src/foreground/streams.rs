//! Standard input and output of this process, read and written without ever blocking the loop.
//!
//! O_NONBLOCK belongs to the open file and not to the descriptor, and the caller shares ours: setting it would make the
//! caller's shell fail. So pipes and terminals are opened once more through /proc, which gives a file of our own; sockets
//! take MSG_DONTWAIT; files never block. What is left (a pipe or terminal that belongs to another user) is written in
//! small parts after poll(2) said that there is room, which blocks only if somebody else takes the room first.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags, fstat, major, openat};
use rustix::io::{Errno, read, write};
use rustix::net::{SendFlags, send};

use crate::procfs;

/// What a pipe or terminal takes at least once poll(2) says that it takes something.
const SMALL: usize = 256;

/// Major numbers of terminals that may be opened once more: virtual consoles and serial lines, and the slaves of
/// ptys. Opening the master side (5:2) would make another pty. linux/major.h
const TERMINALS: [std::ops::RangeInclusive<u32>; 2] = [4..=4, 136..=143];

/// The major number of null(4), zero and full, which never block.
const MEMORY: u32 = 1;

/// Standard input.
#[derive(Debug)]
pub struct Input {
    own: Option<OwnedFd>,
    number: i32,
}

/// Standard output.
#[derive(Debug)]
pub struct Output {
    own: Option<OwnedFd>,
    number: i32,
    way: Way,
}

/// How writing is kept from blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It never blocks.
    Write,
    /// MSG_DONTWAIT.
    Send,
    /// Only a little, and only after poll(2).
    Careful,
}

impl Input {
    /// Descriptor `number` of this process, to be read.
    pub fn new(number: i32) -> Self {
        Self { own: own(number, OFlags::RDONLY), number }
    }

    /// What is ready: to be called after poll(2) said that there is something.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn read(&self, space: &mut [u8]) -> Result<usize, Errno> {
        read(self.descriptor(), space)
    }

    /// The descriptor that is read.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(sys::fd::borrow(self.number), AsFd::as_fd)
    }

    /// What to wait for.
    pub fn watch(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.descriptor(), PollFlags::IN)
    }
}

impl Output {
    /// Descriptor `number` of this process, to be written.
    pub fn new(number: i32) -> Self {
        let own = own(number, OFlags::WRONLY);
        let way = if own.is_some() { Way::Write } else { Way::of(number) };
        Self { own, number, way }
    }

    /// Whether writing before poll(2) said that there is room could block.
    pub fn needs_poll(&self) -> bool {
        self.way == Way::Careful
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// EAGAIN without room, and those of write(2).
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.way {
            Way::Write => write(self.descriptor(), bytes),
            Way::Send => send(self.descriptor(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Careful => write(self.descriptor(), bytes.get(..SMALL).unwrap_or(bytes)),
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(sys::fd::borrow(self.number), AsFd::as_fd)
    }

    /// What to wait for.
    pub fn watch(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.descriptor(), PollFlags::OUT)
    }
}

impl Way {
    /// Of a descriptor that the caller shares. One that is not open fails at once.
    fn of(number: i32) -> Self {
        let Ok(seen) = fstat(sys::fd::borrow(number)) else { return Self::Write };
        match FileType::from_raw_mode(seen.st_mode) {
            FileType::Socket => Self::Send,
            FileType::Fifo => Self::Careful,
            FileType::CharacterDevice if major(seen.st_rdev) != MEMORY => Self::Careful,
            _ => Self::Write,
        }
    }
}

/// The pipe or terminal behind a descriptor, opened once more and non-blocking.
fn own(number: i32, access: OFlags) -> Option<OwnedFd> {
    let seen = fstat(sys::fd::borrow(number)).ok()?;
    let again = match FileType::from_raw_mode(seen.st_mode) {
        FileType::Fifo => true,
        FileType::CharacterDevice => TERMINALS.iter().any(|range| range.contains(&major(seen.st_rdev))),
        _ => false,
    };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = again.then(|| format!("self/fd/{number}"))?;
    let own = openat(procfs::open().ok()?, path, flags, Mode::empty()).ok()?;
    let opened = fstat(&own).ok()?;
    ((opened.st_dev, opened.st_ino) == (seen.st_dev, seen.st_ino)).then_some(own)
}
