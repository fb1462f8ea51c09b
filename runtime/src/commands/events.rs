//! `events`: what a container uses, and that it ran out of memory, a line of JSON each.
//!
//! `--follow` is another program, in `follow.rs`. The form here is runc's, which go-runc reads: `{"type":"stats","id":ID,"data":{...}}` and `{"type":"oom","id":ID}`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cgroups::stats::events::{Data, data};
use cgroups::{Cgroup, Meter};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde::Serialize;

use super::follow::follow;
use super::{container, print};
use crate::cli::args::{self, EventsMode, Globals};
use crate::state::{State, Status};
use crate::{Error, Kind, Result};

/// How often the counter of kills for memory is looked at between two readings.
const LOOK: Duration = Duration::from_millis(100);

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

pub(super) fn events(globals: &Globals, options: &args::Events) -> Result<u8> {
    let directory = container(globals, &options.id)?;
    let (record, state) = directory.open_record()?;
    let init = state.open_init()?;
    let status = state.status_with(&record.page()?, init.as_ref())?;
    if options.mode == EventsMode::Follow && status != Status::Creating {
        return follow(&directory, &state, init.as_ref()).map(|()| 0);
    }
    let init = init.filter(|_| status != Status::Creating).ok_or_else(|| {
        Error::new(Kind::WrongState, format!("container with id {} is not running", state.id))
    })?;
    let cgroup = state.cgroup.open()?;
    match options.mode {
        EventsMode::Stats => stats(&state, &cgroup.meter()?)?,
        EventsMode::Every(interval) => every(&state, &cgroup, &init, interval)?,
        EventsMode::Follow => {}
    }
    Ok(0)
}

fn stats(state: &State, meter: &Meter) -> Result<()> {
    line(&Event { kind: "stats", id: &state.id, data: Some(data(&meter.read()?)) })
}

/// Until the first process ends.
fn every(state: &State, cgroup: &Cgroup, init: &OwnedFd, interval: Duration) -> Result<()> {
    let meter = cgroup.meter()?;
    let mut kills = cgroup.oom_kill_count()?;
    let mut next = Instant::now() + interval;
    loop {
        let ended = ends_within(init, LOOK.min(next.saturating_duration_since(Instant::now())))?;
        // The group may be gone with the last process; then there is nothing more to say.
        let Ok(seen) = cgroup.oom_kill_count() else { return Ok(()) };
        if seen > kills {
            line(&Event { kind: "oom", id: &state.id, data: None })?;
        }
        kills = seen;
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            match stats(state, &meter) {
                Err(error) if error.kind() == Kind::NotFound => return Ok(()),
                other => other?,
            }
            next += interval;
        }
    }
}

fn ends_within(init: &OwnedFd, time: Duration) -> Result<bool> {
    let wait = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
    match poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&wait)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::kernel("wait for the container's end", "poll", errno)),
    }
}

fn line(event: &Event<'_>) -> Result<()> {
    let text = serde_json::to_string(event).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    print(&format!("{text}\n"))
}
