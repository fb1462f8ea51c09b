//! The shim's own messages, into the fifo that containerd reads.
//!
//! A message never waits and never fails: where the fifo is full or nobody reads it, it is dropped.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    fifo: Option<OwnedFd>,
    id: String,
}

impl Log {
    /// The log of the shim whose first bundle is `bundle`.
    pub(crate) fn new(bundle: &Path, id: &str) -> Self {
        let path = bundle.join("log");
        Self { fifo: open_fifo(&path), path, id: id.to_owned() }
    }

    /// The descriptor that takes what others print.
    pub(crate) fn fifo(&self) -> Option<&OwnedFd> {
        self.fifo.as_ref()
    }

    /// Writes a message.
    pub(crate) fn line(&mut self, message: &str) {
        let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = format!("time={:?} level=info msg={message:?} shim={:?}\n", orlop::time::now(), self.id);
        let written = self.fifo.as_ref().map(|fifo| rustix::io::write(fifo, text.as_bytes()));
        // containerd was started again and has opened the fifo anew.
        if matches!(written, None | Some(Err(Errno::PIPE))) {
            self.fifo = open_fifo(&self.path);
            let _ = self.fifo.as_ref().map(|fifo| rustix::io::write(fifo, text.as_bytes()));
        }
    }
}

fn open_fifo(path: &Path) -> Option<OwnedFd> {
    open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}
