//! The signals that the process holds back and passes on.
//!
//! All but SIGKILL and SIGSTOP, which nobody can hold; SIGPIPE and SIGURG, which concern this process alone; and a SIGHUP
//! that the caller chose to ignore, as nohup(1) does. SIGCHLD is held to learn of children that ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;
use sys::error::Context;
use sys::signal::{is_ignored, set_mask};
use sys::signalfd;

use crate::Result;

/// Signals that are held back until the value is dropped.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    former: u64,
}

impl Signals {
    /// Holds signals back from now on.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn hold() -> Result<Self> {
        let held = held();
        let fd = signalfd::signalfd(held).context("signalfd4", || "hold signals back".to_owned())?;
        let mut former = 0;
        set_mask(held, Some(&mut former));
        Ok(Self { fd, former })
    }

    /// The number of the next signal that came.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn next(&self) -> Result<Option<i32>> {
        signalfd::next(&self.fd).context("read", || "read a signal".to_owned())
    }

    /// What becomes readable when a signal has come.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What came after the container's end was for the container, and must not end this process in its stead.
        while let Ok(Some(_)) = self.next() {}
        set_mask(self.former, None);
    }
}

fn held() -> u64 {
    let left = [Signal::KILL, Signal::STOP, Signal::PIPE, Signal::URG];
    let left = left.into_iter().chain(Some(Signal::HUP).filter(|hup| is_ignored(hup.as_raw())));
    left.fold(u64::MAX, |mask, signal| mask & !(1 << (signal.as_raw() - 1)))
}
