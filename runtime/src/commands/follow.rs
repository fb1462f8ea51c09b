//! `events --follow`: what happens to a container as it happens, a line of JSON each, until it ends.
//!
//! What commands did comes from the log that they keep ([`crate::event_log`]), from the container's beginning; kills for
//! memory and pressure come from its groups, from now on; its end comes from its pidfd. The exit code is told where one of
//! ours saw it: the command that attended it, a shim, or this one, by procfs while nobody has reaped the process, by
//! PIDFD_INFO_EXIT afterwards (kernel 6.15). Else it is absent.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cgroups::Watch;
use cgroups::stats::Psi;
use cgroups::watch::{Happened, Resource};
use rustix::fs::inotify;
use serde::{Deserialize, Serialize};

use super::print;
use crate::event_log::{self, Ending, Line, Reader};
use crate::state::{Directory, State, is_alive};
use crate::{Result, procfs};

/// How often the log is read where the kernel does not tell of its growth.
const LOOK: Duration = Duration::from_millis(100);

/// How long the one who reaps the container may take to do it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Somebody who follows a container.
struct Follower<'a> {
    directory: &'a Directory,
    id: &'a str,
    pid: i32,
    log: Reader,
    /// What the log says of the end.
    ending: Option<Ending>,
}

/// Follows a container until it ends. `init` is absent where that was before.
pub(super) fn follow(directory: &Directory, state: &State, init: Option<&OwnedFd>) -> Result<()> {
    let pid = state.init.map_or(0, |init| init.pid);
    let mut follower = Follower { directory, id: &state.id, pid, log: Reader::new(), ending: None };
    let _mark = event_log::follow(directory)?;
    let Some(init) = init else {
        follower.read_log()?;
        return follower.line("exited", Some(follower.ending.unwrap_or_default()));
    };
    let mut watch = state.cgroup.open()?.watch()?;
    if let Some(reason) = watch.without_pressure() {
        tracing::warn!("{reason}");
    }
    follower.until_the_end(init, &mut watch)?;
    follower.finish(init, &mut watch)
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Count { count: u64 },
    Pressure(Psi),
}

impl Follower<'_> {
    fn until_the_end(&mut self, init: &OwnedFd, watch: &mut Watch) -> Result<()> {
        let growth = growth(self.directory);
        let others: Vec<BorrowedFd<'_>> =
            std::iter::once(init.as_fd()).chain(growth.iter().map(AsFd::as_fd)).collect();
        let patience = growth.is_none().then_some(LOOK);
        loop {
            self.read_log()?;
            if !is_alive(init) {
                return Ok(());
            }
            for happened in watch.wait(&others, patience)? {
                self.happened(happened)?;
            }
            if let Some(growth) = &growth {
                while rustix::io::read(growth, &mut [0_u8; 1024]).is_ok() {}
            }
        }
    }

    /// Prints what is new in the log; an end is kept until everything else is printed.
    fn read_log(&mut self) -> Result<()> {
        for line in self.log.read(self.directory)? {
            match ending(&line) {
                Some(ending) => self.ending = Some(self.ending.unwrap_or_default().or(ending)),
                None => print(&format!("{line}\n"))?,
            }
        }
        Ok(())
    }

    fn happened(&self, happened: Happened) -> Result<()> {
        let (kind, data) = match happened {
            Happened::Oom(count) => ("oom", Data::Count { count }),
            Happened::OomKill(count) => ("oom_kill", Data::Count { count }),
            Happened::Pressure(Resource::Memory, psi) => ("memory_pressure", Data::Pressure(psi)),
            Happened::Pressure(Resource::Cpu, psi) => ("cpu_pressure", Data::Pressure(psi)),
        };
        self.line(kind, Some(data))
    }

    fn finish(&mut self, init: &OwnedFd, watch: &mut Watch) -> Result<()> {
        let usage = watch.usage();
        let mut kills = watch.new_kills();
        let ending = self.how_it_ended(init)?.with_usage(usage).or(self.ending.unwrap_or_default());
        // The groups may have gone before their counter was read; whoever removed them has read it then.
        kills.extend(watch.catch_up(ending.oom_kills.unwrap_or(0)));
        kills.into_iter().try_for_each(|happened| self.happened(happened))?;
        self.line("exited", Some(ending))
    }

    /// From whoever tells it first; nothing where nobody does in time.
    fn how_it_ended(&mut self, init: &OwnedFd) -> Result<Ending> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.read_log()?;
            if let Some(ending) = self.ending.filter(Ending::is_known) {
                return Ok(ending);
            }
            if let Some(status) = self.seen_by_us(init) {
                return Ok(Ending::of_status(status));
            }
            if Instant::now() >= deadline {
                return Ok(Ending::default());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Before the process is reaped procfs tells it, afterwards its pidfd.
    fn seen_by_us(&self, init: &OwnedFd) -> Option<i32> {
        let status = procfs::zombie_status(self.pid);
        // The number is the container's for as long as a signal still finds it.
        let is_ours = || sys::signal::pidfd_send(init, 0).is_ok();
        status.filter(|_| is_ours()).or_else(|| sys::task::pidfd_exit_status(init).ok().flatten())
    }

    fn line<T: Serialize>(&self, kind: &str, data: Option<T>) -> Result<()> {
        let line = Line { kind, id: self.id, time: crate::time::now(), data };
        print(&format!("{}\n", line.text()?))
    }
}

/// What a line of the log says of the end; `None` for any other line.
fn ending(line: &str) -> Option<Ending> {
    #[derive(Deserialize)]
    struct Exited {
        #[serde(rename = "type")]
        kind: String,
        data: Option<Ending>,
    }
    let line: Exited = serde_json::from_slice(line.as_bytes()).ok()?;
    (line.kind == "exited").then(|| line.data.unwrap_or_default())
}

/// Becomes readable when the log grows; `None` where the kernel has no more watches to give.
fn growth(directory: &Directory) -> Option<OwnedFd> {
    let notice = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    let path = format!("/proc/self/fd/{}", directory.fd().as_raw_fd());
    inotify::add_watch(&notice, path, inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE).ok()?;
    Some(notice)
}
