//! `run --seccomp-learn FILE`: every call of the container is asked about, noted and let through; what was noted becomes a
//! profile.
//!
//! A thread of its own answers, because the container stands still until it does, also while the main thread waits for a
//! hook. [`Learning::begin`] comes before the container is made, [`Learning::attend`] when its filter is loaded, and
//! [`Learning::finish`] writes the file after the container has ended.
//!
//! What is allowed by the profile is what the container's processes called from the load of the filter on. Of the calls of
//! init before the program those are left out that only tell of the listener: under the profile there is none.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, write};
use seccomp::learn::{Call, profile};
use sys::error::Context;
use sys::listener::{Question, proceed, receive};

use crate::launch::filter::native;
use crate::{Error, Kind, Result};

/// A run that is learned from.
#[derive(Debug)]
pub struct Learning {
    target: PathBuf,
    /// The profile until it is whole; deleted if it never is.
    unfinished: PathBuf,
    file: File,
    /// Told when the container has ended.
    stop: OwnedFd,
    thread: Option<JoinHandle<Result<BTreeSet<Call>>>>,
}

/// The thread's part.
struct Watch {
    listener: OwnedFd,
    stop: OwnedFd,
    seen: BTreeSet<Call>,
    init: u32,
    /// What is left of init's own calls about the listener.
    own: std::slice::Iter<'static, &'static str>,
}

/// What init calls to announce its listener, in this order.
const ANNOUNCEMENT: [&str; 3] = ["write", "read", "close"];

const KEY: &str = "--seccomp-learn";

impl Learning {
    /// Makes sure that the profile can be written.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn begin(target: &Path) -> Result<Self> {
        let mut unfinished = target.as_os_str().to_owned();
        unfinished.push(format!(".{}", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let file = File::options().write(true).create_new(true).open(&unfinished);
        let file = file.map_err(|error| failed("create", &unfinished, &error))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)
            .context("eventfd2", || "watch the container's calls".to_owned())?;
        Ok(Self { target: target.to_owned(), unfinished, file, stop, thread: None })
    }

    /// Answers the calls of a container, whose first process is `init`, from now on.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn attend(&mut self, listener: OwnedFd, init: i32) -> Result<()> {
        let what = || "watch the container's calls".to_owned();
        let stop = self.stop.try_clone().map_err(|error| failed("watch", &self.target, &error))?;
        let (seen, own) = (BTreeSet::new(), ANNOUNCEMENT.iter());
        let watch = Watch { listener, stop, seen, init: init.unsigned_abs(), own };
        let thread = std::thread::Builder::new().name("learn".to_owned()).spawn(|| watch.run());
        self.thread = Some(thread.map_err(|error| Error::new(Kind::Kernel, format!("{}: {error}", what())))?);
        Ok(())
    }

    /// Writes the profile; the container has ended.
    ///
    /// # Errors
    /// `Kernel`, also if the calls could not be followed to the end.
    pub fn finish(mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Err(Error::new(Kind::Internal, "no filter was loaded to learn from").with_key(KEY));
        };
        write(&self.stop, &1_u64.to_ne_bytes())
            .context("write", || "end the watch over the container's calls".to_owned())?;
        let seen = thread.join().map_err(|_| Error::new(Kind::Internal, "the learner ended"))??;
        let learned = profile(&seen, native()?);
        for call in &learned.nameless {
            tracing::warn!(
                "{KEY}: call {:#x} of architecture {:#x} has no name; left out",
                call.number,
                call.audit
            );
        }
        let text = serde_json::to_string_pretty(&learned)
            .map_err(|error| Error::new(Kind::Internal, format!("write the profile: {error}")))?;
        writeln!(self.file, "{text}").map_err(|error| failed("write", &self.unfinished, &error))?;
        fs::rename(&self.unfinished, &self.target).map_err(|error| failed("rename", &self.unfinished, &error))
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        // Nothing is there once it was renamed.
        let _ = fs::remove_file(&self.unfinished);
    }
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> Error {
    let what = format!("{verb} {}", path.display());
    match error.raw_os_error() {
        Some(number) => Error::kernel(what, verb.to_owned(), Errno::from_raw_os_error(number)),
        None => Error::new(Kind::Kernel, format!("{what}: {error}")),
    }
    .with_key(KEY)
}

impl Watch {
    /// Until the container has ended and no process is left that could ask.
    fn run(mut self) -> Result<BTreeSet<Call>> {
        loop {
            let mut set =
                [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut set, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::kernel("watch the container's calls", "poll", errno)),
            }
            let [asked, stopped] = set.map(|one| one.revents());
            if asked.contains(PollFlags::IN) {
                self.answer()?;
            } else if asked.contains(PollFlags::HUP) || !stopped.is_empty() {
                return Ok(self.seen);
            }
        }
    }

    fn answer(&mut self) -> Result<()> {
        let question = match receive(self.listener.as_fd()) {
            Ok(question) => question,
            // Whoever asked was killed, or interrupted and will ask again.
            Err(Errno::NOENT | Errno::INTR) => return Ok(()),
            Err(errno) => return Err(Error::kernel("take a call of the container", "ioctl", errno)),
        };
        self.note(&question);
        match proceed(self.listener.as_fd(), &question) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::kernel("let a call of the container through", "ioctl", errno)),
        }
    }

    fn note(&mut self, question: &Question) {
        let call = Call { audit: question.audit, number: question.number };
        if question.pid == self.init
            && call.name() == self.own.as_slice().first().copied()
            && call.name().is_some()
        {
            self.own.next();
        } else {
            self.seen.insert(call);
        }
    }
}
