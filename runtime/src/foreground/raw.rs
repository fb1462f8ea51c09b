//! The caller's terminal: raw while the container has it, as before afterwards, and its size.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use sys::error::Context;

use crate::Result;

/// The standard streams of this process.
const STREAMS: [i32; 3] = [0, 1, 2];

/// Standard input in raw mode, until the value is dropped.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    former: Termios,
}

impl Raw {
    /// Puts standard input into raw mode if it is a terminal that is ours to change: not one whose foreground is another
    /// job. Everything typed then goes to the container, Ctrl-C among it, and the container's terminal alone edits lines
    /// and turns newlines.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn set() -> Result<Option<Self>> {
        let stdin = sys::fd::borrow(0);
        let Ok(former) = tcgetattr(stdin) else { return Ok(None) };
        if is_in_background(stdin) {
            return Ok(None);
        }
        let what = || "put the terminal into raw mode".to_owned();
        let terminal = stdin.try_clone_to_owned().context("fcntl(F_DUPFD_CLOEXEC)", what)?;
        let raw = Self { terminal, former };
        let mut modes = raw.former.clone();
        modes.make_raw();
        tcsetattr(&raw.terminal, OptionalActions::Now, &modes).context("tcsetattr", what)?;
        Ok(Some(raw))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // At once: to wait for the output to be read could take forever. SIGTTOU is held back, so this works from the
        // background too. Of a terminal that is gone nothing needs to be restored.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.former);
    }
}

/// Whether another job has the terminal, so that reading it is an error. A terminal without jobs is nobody else's.
pub fn is_in_background(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group != getpgrp())
}

/// The size of the caller's terminal; `None` without one, or if it has none.
pub fn window_size() -> Option<Winsize> {
    let sizes = STREAMS.into_iter().filter_map(|number| tcgetwinsize(sys::fd::borrow(number)).ok());
    sizes.into_iter().next().filter(|size| (size.ws_row, size.ws_col) != (0, 0))
}
