//! The master of the container's terminal.
//!
//! While no process has the slave open, poll(2) reports a hang-up without end, and a program that opens its console for
//! each message makes that come and go. So the master is watched edge-triggered through an epoll(7) descriptor, which
//! becomes readable only when something has changed.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::termios::{SpecialCodeIndex, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};
use rustix::time::Timespec;
use sys::error::Context;

use crate::Result;

/// A master and what is known of it since the last change.
#[derive(Debug)]
pub struct Master {
    fd: OwnedFd,
    edges: OwnedFd,
    /// Whether reading may give something.
    pub readable: bool,
    /// Whether writing may take something.
    pub writable: bool,
}

impl Master {
    /// Takes over a master that nobody else reads.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        let what = || "watch the terminal".to_owned();
        let flags = fcntl_getfl(&fd).context("fcntl(F_GETFL)", what)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).context("fcntl(F_SETFL)", what)?;
        let edges = epoll::create(CreateFlags::CLOEXEC).context("epoll_create1", what)?;
        epoll::add(&edges, &fd, EventData::new_u64(0), EventFlags::IN | EventFlags::OUT | EventFlags::ET)
            .context("epoll_ctl", what)?;
        Ok(Self { fd, edges, readable: true, writable: true })
    }

    /// What to wait for.
    pub fn watch(&self) -> PollFd<'_> {
        PollFd::new(&self.edges, PollFlags::IN)
    }

    /// Takes note of a change.
    pub fn note(&mut self) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 1];
        if epoll::wait(&self.edges, &mut events, Some(&Timespec::default()))
            .is_ok_and(|(seen, _)| !seen.is_empty())
        {
            (self.readable, self.writable) = (true, true);
        }
    }

    /// Reads what the program wrote. Without a slave (EIO) there is nothing to read until the next change.
    ///
    /// # Errors
    /// EAGAIN, and those of read(2).
    pub fn read(&mut self, space: &mut [u8]) -> std::result::Result<usize, Errno> {
        match read(&self.fd, space) {
            Ok(0) | Err(Errno::IO | Errno::AGAIN) => {
                self.readable = false;
                Err(Errno::AGAIN)
            }
            other => other,
        }
    }

    /// Types bytes in, as many as there is room for.
    ///
    /// # Errors
    /// EAGAIN, and those of write(2).
    pub fn write(&mut self, bytes: &[u8]) -> std::result::Result<usize, Errno> {
        match write(&self.fd, bytes) {
            Ok(0) | Err(Errno::IO | Errno::AGAIN) => {
                self.writable = false;
                Err(Errno::AGAIN)
            }
            other => other,
        }
    }

    /// The byte that ends the input where it is typed at the beginning of a line; `None` if none does.
    pub fn end_of_file(&self) -> Option<u8> {
        // POSIX disables a special character by the value 0.
        tcgetattr(&self.fd)
            .ok()
            .map(|modes| modes.special_codes[SpecialCodeIndex::VEOF])
            .filter(|byte| *byte != 0)
    }

    /// Whether somebody gave the terminal a size.
    pub fn has_size(&self) -> bool {
        tcgetwinsize(&self.fd).is_ok_and(|size| (size.ws_row, size.ws_col) != (0, 0))
    }

    /// Changes the size; the kernel tells the program's foreground process group (SIGWINCH).
    pub fn resize(&self, size: Winsize) {
        // The size is a courtesy: no program fails for want of it.
        let _ = tcsetwinsize(&self.fd, size);
    }
}
