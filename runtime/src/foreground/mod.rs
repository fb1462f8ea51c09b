//! A container in the foreground: signals go to it, its terminal is relayed, its exit status is the caller's.
//!
//! All of it belongs to the command and none to the library: the process gets another signal mask, reaps children that
//! are not its own and talks to its standard streams. [`Foreground::begin`] comes before the container is made, so that
//! no signal is lost; [`Foreground::attend`] stays until the program's end.
//!
//! One thread, one poll(2). Whatever has nothing to say is left out of the set, so that neither a hung-up stream nor a
//! reader that stalls makes the loop spin; nothing in it blocks, but for a standard output of which no descriptor of
//! our own can be had (see [`streams`]).

pub mod buffer;
pub mod learn;
pub mod master;
pub mod raw;
pub mod relay;
pub mod signals;
pub mod streams;

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use rustix::time::Timespec;
use sys::error::Context;

use crate::launch::spawned::Spawned;
use crate::notify::Proxy;
use crate::{Error, Kind, Result};
use relay::{Ready, Relay};
use signals::Signals;

/// How long the rest of a terminal's output may wait for a standard output that takes nothing.
const STALL: Duration = Duration::from_secs(10);

/// Whether the process takes in orphans of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// It is their subreaper.
    Adopt,
    /// They go to whom they would go anyway: `--no-subreaper`.
    Leave,
}

/// A process that is about to attend a container.
#[derive(Debug)]
pub struct Foreground {
    signals: Signals,
}

/// A container that runs and is attended.
struct Attended<'a> {
    process: &'a Spawned,
    signals: &'a Signals,
    relay: Option<Relay>,
    proxy: Option<Proxy>,
    ended: Option<WaitStatus>,
    /// When the last output was delivered after the end.
    moved: Instant,
}

/// What a turn of the loop found.
#[derive(Default)]
struct Events {
    signals: bool,
    init: bool,
    notification: bool,
    relay: Ready,
}

impl Foreground {
    /// Holds signals back from now on; they are for the container. The former mask returns when the value is dropped.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn begin(orphans: Orphans) -> Result<Self> {
        let signals = Signals::hold()?;
        if orphans == Orphans::Adopt {
            set_child_subreaper(Some(getpid()))
                .context("prctl(PR_SET_CHILD_SUBREAPER)", || "take in the container's orphans".to_owned())?;
        }
        Ok(Self { signals })
    }

    /// Stays with a program that runs until its first process ends, and returns how; [`exit_code`] makes a number of it. A
    /// relay is made before the program starts; the caller's terminal is as before when this returns.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn attend(
        &self,
        process: &Spawned,
        relay: Option<Relay>,
        proxy: Option<Proxy>,
    ) -> Result<WaitStatus> {
        let (signals, moved) = (&self.signals, Instant::now());
        let mut attended = Attended { process, signals, relay, proxy, ended: None, moved };
        let status = attended.until_the_end()?;
        // A terminal in raw mode would garble the message.
        let failure = attended.relay.take().and_then(Relay::end);
        failure.iter().for_each(|error| tracing::warn!("{error}"));
        Ok(status)
    }
}

impl Attended<'_> {
    fn until_the_end(&mut self) -> Result<WaitStatus> {
        loop {
            let moved = self.relay.as_mut().map_or(Ok(false), Relay::turn)?;
            if let Some(status) = self.ended {
                if moved {
                    self.moved = Instant::now();
                }
                if self.relay.as_ref().is_none_or(Relay::is_drained) || self.moved.elapsed() > STALL {
                    return Ok(status);
                }
            }
            let events = self.wait()?;
            self.handle(events)?;
        }
    }

    fn wait(&self) -> Result<Events> {
        let signals = self.signals.descriptor();
        let nothing = || PollFd::from_borrowed_fd(signals, PollFlags::empty());
        let init = match self.ended {
            Some(_) => nothing(),
            None => PollFd::new(&self.process.pidfd, PollFlags::IN),
        };
        let notification = self.proxy.as_ref().map_or_else(nothing, Proxy::watch);
        let [master, input, output] = self
            .relay
            .as_ref()
            .map_or_else(|| [nothing(), nothing(), nothing()], |relay| relay.watch(nothing));
        let mut set =
            [PollFd::from_borrowed_fd(signals, PollFlags::IN), init, notification, master, input, output];
        match poll(&mut set, self.patience().as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Events::default()),
            Err(errno) => return Err(Error::kernel("attend the container", "poll", errno)),
        }
        let [signals, init, notification, master, input, output] = set.map(|one| !one.revents().is_empty());
        Ok(Events { signals, init, notification, relay: Ready { master, input, output } })
    }

    /// How long to wait: not at all where the terminal has more to give, not beyond the limit after the end.
    fn patience(&self) -> Option<Timespec> {
        if self.relay.as_ref().is_some_and(Relay::can_go_on) {
            return Some(Timespec::default());
        }
        self.ended.map(|_| {
            let left = (self.moved + STALL).saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        })
    }

    fn handle(&mut self, events: Events) -> Result<()> {
        if let Some(relay) = &mut self.relay {
            relay.note(&events.relay);
        }
        if let Some(proxy) = self.proxy.as_ref().filter(|_| events.notification) {
            proxy.forward()?;
        }
        if events.signals {
            self.take_signals()?;
        }
        if events.signals || events.init {
            self.reap(events.init)?;
        }
        Ok(())
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(number) = self.signals.next()? {
            match Signal::from_named_raw(number) {
                Some(Signal::CHILD) => {}
                Some(Signal::WINCH) => self.relay.iter().for_each(Relay::resize),
                // Without a program there is nobody else whom the signal could mean.
                Some(Signal::TERM | Signal::INT | Signal::QUIT | Signal::HUP) if self.ended.is_some() => {
                    self.relay.iter_mut().for_each(Relay::give_up);
                }
                _ => self.forward(number),
            }
        }
        Ok(())
    }

    fn forward(&self, number: i32) {
        match sys::signal::pidfd_send(&self.process.pidfd, number) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => {
                let error = Error::kernel(format!("forward signal {number}"), "pidfd_send_signal", errno);
                tracing::warn!("{error}");
            }
        }
    }

    /// Reaps every child that has ended. `must` says that the first process is among them.
    fn reap(&mut self, must: bool) -> Result<()> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid.as_raw_pid() == self.process.pid => self.end(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(Errno::CHILD) => break,
                Err(errno) => return Err(Error::kernel("reap children", "wait4", errno)),
            }
        }
        if must && self.ended.is_none() {
            return Err(Error::new(Kind::Internal, "somebody else reaped the container"));
        }
        Ok(())
    }

    fn end(&mut self, status: WaitStatus) {
        self.ended = Some(status);
        self.moved = Instant::now();
        if let Some(relay) = &mut self.relay {
            relay.finish();
        }
    }
}

/// The exit code of a process, or 128 and the signal that killed it.
pub fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    u8::try_from(code).unwrap_or(255)
}
