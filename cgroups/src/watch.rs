//! What happens to a container's groups, as it happens: kills for memory, and pressure.
//!
//! Version 2 announces both to poll(2). Version 1 has no pressure, and its counter of kills is read from time to time. A
//! hybrid host has the kills where its memory controller is, and the pressure of the version 2 group. Start at
//! [`Watch::wait`]. What the groups used at the end is in [`Watch::usage`], from files that are held open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use sys::{Error, Result};

use crate::cgroup::Cgroup;
use crate::controller::{Controller, Version};
use crate::directory::{Directory, read_again};
use crate::stats::{Psi, parse};

/// How often a version 1 counter is read.
const LOOK: Duration = Duration::from_millis(100);

/// When pressure is told: so many microseconds of stall within two seconds. Only a window of a multiple of two seconds
/// is open to everybody (the kernel's accounting/psi.rst).
const PRESSURES: [(Resource, &str, &str); 2] = [
    (Resource::Memory, "memory.pressure", "some 200000 2000000"),
    (Resource::Cpu, "cpu.pressure", "some 1000000 2000000"),
];

/// What processes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory.
    Memory,
    /// CPU time.
    Cpu,
}

/// Something that happened. A count is that since the group exists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happened {
    /// The memory limit was reached and nothing could be reclaimed.
    Oom(u64),
    /// A process was killed for it.
    OomKill(u64),
    /// Processes waited longer than usual.
    Pressure(Resource, Psi),
}

/// What a container used, as far as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Most memory in use, in bytes.
    pub peak_memory: Option<u64>,
    /// CPU time in nanoseconds.
    pub cpu_time: Option<u64>,
    /// How many processes were killed for memory.
    pub oom_kills: Option<u64>,
}

/// A watch on the groups of one container.
#[derive(Debug)]
pub struct Watch {
    kills: Option<(Version, OwnedFd)>,
    seen: Counts,
    pressures: Vec<(Resource, OwnedFd)>,
    peak: Option<OwnedFd>,
    cpu: Option<(Version, OwnedFd)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    oom: u64,
    kills: u64,
}

impl Watch {
    pub(crate) fn new(cgroup: &Cgroup) -> Result<Self> {
        let open = |group: &Directory, file: &str| group.file(file, OFlags::RDONLY).ok();
        let (mut kills, mut peak) = (None, None);
        if let Some((version, group)) = cgroup.home(Controller::Memory)? {
            let (events, most) = match version {
                Version::V1 => ("memory.oom_control", "memory.max_usage_in_bytes"),
                Version::V2 => ("memory.events", "memory.peak"),
            };
            kills = open(&group, events).map(|file| (version, file));
            peak = open(&group, most);
        }
        let cpu = cgroup.home(Controller::Cpuacct)?.and_then(|(version, group)| {
            let file = if version == Version::V1 { "cpuacct.usage" } else { "cpu.stat" };
            open(&group, file).map(|file| (version, file))
        });
        let unified = cgroup.unified()?;
        let pressures = unified.iter().flat_map(triggers).collect();
        let mut watch = Self { kills, seen: Counts::default(), pressures, peak, cpu };
        watch.seen = watch.counts().unwrap_or_default();
        Ok(watch)
    }

    /// Why pressure is not told; `None` where it is.
    pub fn without_pressure(&self) -> Option<&'static str> {
        self.pressures.is_empty().then_some(
            "pressure is not reported: it needs a version 2 group and a kernel that counts it and lets the caller watch",
        )
    }

    /// Waits until something happens, one of `others` can be read, or `patience` has passed; without a patience it may wait
    /// for ever. What happened may be nothing.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn wait(&mut self, others: &[BorrowedFd<'_>], patience: Option<Duration>) -> Result<Vec<Happened>> {
        let own = self.kills.iter().map(|(_, file)| file).chain(self.pressures.iter().map(|(_, file)| file));
        let mut set: Vec<PollFd<'_>> = own.map(|file| PollFd::new(file, PollFlags::PRI)).collect();
        set.extend(others.iter().map(|other| PollFd::from_borrowed_fd(*other, PollFlags::IN)));
        let patience = [patience, self.interval()].into_iter().flatten().min();
        let timeout = patience.map(|time| Timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        match poll(&mut set, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("watch the container's groups", "poll", errno)),
        }
        let fired: Vec<PollFlags> = set.iter().map(PollFd::revents).collect();
        Ok(self.look(fired.get(usize::from(self.kills.is_some())..).unwrap_or_default()))
    }

    /// Version 1 has to be asked. Its group cannot be polled for this either: it would be ready at all times.
    fn interval(&self) -> Option<Duration> {
        matches!(self.kills, Some((Version::V1, _))).then_some(LOOK)
    }

    fn look(&mut self, fired: &[PollFlags]) -> Vec<Happened> {
        let mut happened = self.new_kills();
        let told = self.pressures.iter().zip(fired).filter(|(_, flags)| flags.contains(PollFlags::PRI));
        for ((resource, file), _) in told {
            let psi = read_again(file).ok().map(|text| parse::psi(&text));
            happened.extend(psi.map(|psi| Happened::Pressure(*resource, psi)));
        }
        // A group that is gone answers every poll at once.
        let mut flags = fired.iter();
        self.pressures.retain(|_| flags.next().is_none_or(|flags| !flags.contains(PollFlags::ERR)));
        happened
    }

    /// The kills that were not told yet.
    pub fn new_kills(&mut self) -> Vec<Happened> {
        let Some(counts) = self.counts() else {
            self.kills = None;
            return Vec::new();
        };
        let before = std::mem::replace(&mut self.seen, counts);
        let oom = (counts.oom > before.oom).then_some(Happened::Oom(counts.oom));
        let kill = (counts.kills > before.kills).then_some(Happened::OomKill(counts.kills));
        oom.into_iter().chain(kill).collect()
    }

    /// The kills up to `count`, which somebody else read, that were not told yet.
    pub fn catch_up(&mut self, count: u64) -> Option<Happened> {
        let more = count > self.seen.kills;
        self.seen.kills = self.seen.kills.max(count);
        more.then_some(Happened::OomKill(count))
    }

    /// `None` where nothing is counted or the group is gone.
    fn counts(&self) -> Option<Counts> {
        let (version, file) = self.kills.as_ref()?;
        let text = read_again(file).ok()?;
        let oom = parse::value(&text, if *version == Version::V1 { "under_oom" } else { "oom" });
        Some(Counts { oom, kills: parse::value(&text, "oom_kill") })
    }

    /// What the container used; what the kernel does not count, or what went with the group, is absent.
    pub fn usage(&self) -> Usage {
        let cpu = self.cpu.as_ref().and_then(|(version, file)| {
            let text = read_again(file).ok()?;
            match version {
                Version::V1 => text.trim().parse().ok(),
                Version::V2 => Some(parse::value(&text, "usage_usec").saturating_mul(1000)),
            }
        });
        Usage {
            peak_memory: self.peak.as_ref().and_then(|file| read_again(file).ok()?.trim().parse().ok()),
            cpu_time: cpu,
            oom_kills: self.counts().map(|counts| counts.kills),
        }
    }
}

/// The pressure files of a version 2 group, each with a trigger, as far as they are to be had.
fn triggers(group: &Directory) -> Vec<(Resource, OwnedFd)> {
    let trigger = |(resource, file, line): (Resource, &str, &str)| {
        let file = group.file(file, OFlags::RDWR | OFlags::NONBLOCK).ok()?;
        rustix::io::write(file.as_fd(), line.as_bytes()).ok()?;
        Some((resource, file))
    };
    PRESSURES.into_iter().filter_map(trigger).collect()
}
