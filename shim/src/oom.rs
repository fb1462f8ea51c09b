//! Notices of the kernel that a container met its memory limit.
//!
//! Version 2 changes `memory.events`, which inotify(7) sees; version 1 writes to an eventfd (cgroup-v1/memory.rst, "OOM
//! Control"). Either only says that something happened. What counts is how many processes were killed, so one kill is
//! one event, and none is missed that falls between two looks.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use cgroups::Record;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;

/// A watch on one container.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Becomes readable.
    pub(crate) notice: OwnedFd,
    /// Version 1: the file that the notices are about stays open.
    _control: Option<OwnedFd>,
    /// Kills that were told.
    seen: u64,
    /// How often the kills are counted again after a notice without one.
    recounts: u32,
}

/// Recounts after one notice.
const RECOUNTS: u32 = 10;

impl Watch {
    /// Watches the container's groups; `None` where memory is not controlled.
    pub(crate) fn new(record: &Record) -> Option<Self> {
        let paths = record.container_paths();
        let v1 = paths.iter().find(|(names, _)| names.split(',').any(|name| name == "memory"));
        let (notice, control) = match v1 {
            Some((_, group)) => {
                v1_notice(Path::new(group)).map(|(notice, control)| (notice, Some(control)))?
            }
            None => {
                let (_, group) = paths.iter().find(|(names, _)| names.is_empty())?;
                (v2_notice(Path::new(group))?, None)
            }
        };
        Some(Self { notice, _control: control, seen: kills(record), recounts: 0 })
    }

    /// Reads the notice and says whether processes were killed since the last time.
    pub(crate) fn look(&mut self, record: &Record) -> bool {
        // Each read takes what there is; the next notice makes it readable again.
        while rustix::io::read(&self.notice, &mut [0_u8; 512]).is_ok() {
            self.recounts = RECOUNTS;
        }
        let now = kills(record);
        let more = now > self.seen;
        self.seen = self.seen.max(now);
        if more {
            self.recounts = 0;
        }
        more
    }

    /// Whether the kill that the last notice announced is still to come.
    pub(crate) fn recount(&mut self) -> bool {
        let again = self.recounts > 0;
        self.recounts = self.recounts.saturating_sub(1);
        again
    }
}

fn kills(record: &Record) -> u64 {
    record.open().and_then(|group| group.oom_kill_count()).ok().flatten().unwrap_or(0)
}

fn v1_notice(group: &Path) -> Option<(OwnedFd, OwnedFd)> {
    let notice = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let control = OwnedFd::from(std::fs::File::open(group.join("memory.oom_control")).ok()?);
    let line = format!("{} {}", notice.as_raw_fd(), control.as_raw_fd());
    std::fs::write(group.join("cgroup.event_control"), line).ok()?;
    Some((notice, control))
}

fn v2_notice(group: &Path) -> Option<OwnedFd> {
    let notice = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&notice, group.join("memory.events"), inotify::WatchFlags::MODIFY).ok()?;
    Some(notice)
}
