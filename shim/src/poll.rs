//! What the loop waits for: descriptors by what they are, and points in time.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

/// What a descriptor that became ready is. The numbers are serials that the shim gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The socket on which containerd connects.
    Listener,
    /// Signals.
    Signals,
    /// The connection to containerd for events.
    Events,
    /// A connection from containerd.
    Connection(u64),
    /// A helper's report.
    Helper(u64),
    /// The end of a process.
    Process(u64),
    /// What a copier reads.
    CopyFrom(u64),
    /// What a copier writes to.
    CopyTo(u64),
    /// The OOM notice of a container, by the serial of its first process.
    Oom(u64),
}

const KIND: u32 = 56;

impl Source {
    fn token(self) -> u64 {
        let (kind, serial) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Events => (2, 0),
            Self::Connection(serial) => (3, serial),
            Self::Helper(serial) => (4, serial),
            Self::Process(serial) => (5, serial),
            Self::CopyFrom(serial) => (6, serial),
            Self::CopyTo(serial) => (7, serial),
            Self::Oom(serial) => (8, serial),
        };
        kind << KIND | serial
    }

    fn of(token: u64) -> Option<Self> {
        let serial = token & ((1 << KIND) - 1);
        Some(match token >> KIND {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Events,
            3 => Self::Connection(serial),
            4 => Self::Helper(serial),
            5 => Self::Process(serial),
            6 => Self::CopyFrom(serial),
            7 => Self::CopyTo(serial),
            8 => Self::Oom(serial),
            _ => return None,
        })
    }
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// A new one.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Waits for input as long as it is there.
    ///
    /// # Errors
    /// EPERM for a regular file, ENOMEM, ENOSPC.
    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(source.token()), EventFlags::IN)
    }

    /// Changes what a watched descriptor is watched for.
    ///
    /// # Errors
    /// ENOENT.
    pub(crate) fn change(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(source.token()), flags)
    }

    /// Waits for one event, after which the descriptor is silent until this is called again.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub(crate) fn once(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> Result<(), Errno> {
        let (data, flags) = (EventData::new_u64(source.token()), flags | EventFlags::ONESHOT);
        match epoll::modify(&self.epoll, fd.as_fd(), data, flags) {
            Err(Errno::NOENT) => epoll::add(&self.epoll, fd, data, flags),
            other => other,
        }
    }

    /// Forgets a descriptor.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something is ready or `until` has come, and hands each ready source to `ready`.
    pub(crate) fn wait(&self, until: Option<Instant>, mut ready: impl FnMut(Source, EventFlags)) {
        let left = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            // The kernel counts milliseconds; waking too early would make the loop spin for the rest.
            let left =
                Duration::from_millis(u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
            Timespec { tv_sec: left.as_secs().min(3600).cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut space, left.as_ref()) else { return };
        for event in events {
            if let Some(source) = Source::of(event.data.u64()) {
                ready(source, event.flags);
            }
        }
    }
}

/// Things that are due at some time.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    waiting: Vec<(Instant, T)>,
}

impl<T: PartialEq> Timers<T> {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { waiting: Vec::new() }
    }

    /// Adds one that is due after `delay`.
    pub(crate) fn add(&mut self, delay: Duration, what: T) {
        self.waiting.push((Instant::now() + delay, what));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    /// Takes one that is due.
    pub(crate) fn due(&mut self) -> Option<T> {
        let now = Instant::now();
        let index = self.waiting.iter().position(|(at, _)| *at <= now)?;
        Some(self.waiting.swap_remove(index).1)
    }

    /// Drops every one that equals `what`.
    pub(crate) fn cancel(&mut self, what: &T) {
        self.waiting.retain(|(_, waiting)| waiting != what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_kernel() {
        let serial = (1 << KIND) - 1;
        for source in [
            Source::Listener,
            Source::Signals,
            Source::Events,
            Source::Connection(serial),
            Source::Helper(1),
            Source::Process(2),
            Source::CopyFrom(3),
            Source::CopyTo(4),
            Source::Oom(serial),
        ] {
            assert_eq!(Source::of(source.token()), Some(source));
        }
        assert_eq!(Source::of(u64::MAX), None);
    }

    #[test]
    fn timers_are_due_in_time() {
        let mut timers = Timers::new();
        timers.add(Duration::ZERO, 1);
        timers.add(Duration::from_secs(60), 2);
        timers.add(Duration::ZERO, 3);
        timers.cancel(&3);
        assert_eq!((timers.due(), timers.due()), (Some(1), None));
        assert!(timers.next().is_some_and(|at| at > Instant::now()));
    }
}
