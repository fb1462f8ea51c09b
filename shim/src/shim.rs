//! The shim: one thread, one loop, and everything it knows.
//!
//! The loop never waits for anything but epoll. What may take long is done by a forked helper ([`crate::helper`]); the
//! calls of containerd are in [`crate::service`], what follows from the end of a helper or of a process in
//! [`crate::lifecycle`].

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Signal, geteuid};

use crate::connection::Connection;
use crate::container::{Caller, Container, Key};
use crate::copy::{BUFFER, Copier, Need};
use crate::events::Events;
use crate::failure::Outcome;
use crate::frame;
use crate::helper::{self, Done};
use crate::lifecycle::Task;
use crate::log::Log;
use crate::poll::{Poll, Source, Timers};

/// How long events may take to be told after the last container is gone.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long a shim without a container waits for somebody who connects.
const LONELY: Duration = Duration::from_secs(300);

/// What is due at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A copier is tried again.
    Copy(u64),
    /// A process is removed though its output has not ended.
    Drain(u64),
    /// The end of a first process is told though execs are not known to have ended.
    Settle(u64),
    /// A container's OOM kills are counted again.
    Oom(u64),
    /// A logging binary gets a signal if it did not end by itself.
    Logger(u64, Signal),
    /// The shim ends if nobody needs it.
    Lonely,
}

/// Something that a helper does.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) socket: OwnedFd,
    pub(crate) task: Task,
    pub(crate) key: Key,
    pub(crate) caller: Option<Caller>,
}

/// Where the shim lives.
#[derive(Debug)]
pub(crate) struct Place {
    /// The namespace of containerd.
    pub(crate) namespace: String,
    /// The path of its own socket.
    pub(crate) socket: PathBuf,
    /// The address of containerd's ttrpc socket.
    pub(crate) ttrpc_address: Option<String>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) place: Place,
    pub(crate) poll: Poll,
    pub(crate) log: Log,
    pub(crate) containers: BTreeMap<String, Container>,
    /// The processes by their serials.
    pub(crate) keys: BTreeMap<u64, Key>,
    pub(crate) copiers: BTreeMap<u64, Copier>,
    pub(crate) operations: BTreeMap<u64, Operation>,
    pub(crate) events: Events,
    pub(crate) timers: Timers<Timer>,
    /// Logging binaries that were asked to end.
    pub(crate) loggers: BTreeMap<u64, OwnedFd>,
    connections: BTreeMap<u64, Connection>,
    listener: OwnedFd,
    signals: OwnedFd,
    buffer: Vec<u8>,
    serial: u64,
    /// When to end at the latest, once it is to end.
    ending: Option<Instant>,
}

impl Shim {
    /// A shim that listens on `listener`.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and signalfd(2).
    pub(crate) fn new(place: Place, listener: OwnedFd, log: Log) -> Result<Self, Errno> {
        let poll = Poll::new()?;
        let handled = [Signal::CHILD, Signal::TERM, Signal::INT, Signal::USR1];
        let mask = handled.iter().fold(0, |mask, signal| mask | 1_u64 << (signal.as_raw() - 1));
        sys::signal::set_mask(mask, None);
        let signals = sys::signalfd::signalfd(mask)?;
        poll.watch(&listener, Source::Listener)?;
        poll.watch(&signals, Source::Signals)?;
        let events = Events::new(place.ttrpc_address.as_deref(), &place.namespace);
        let mut timers = Timers::new();
        timers.add(LONELY, Timer::Lonely);
        Ok(Self {
            place,
            poll,
            log,
            containers: BTreeMap::new(),
            keys: BTreeMap::new(),
            copiers: BTreeMap::new(),
            operations: BTreeMap::new(),
            events,
            timers,
            loggers: BTreeMap::new(),
            connections: BTreeMap::new(),
            listener,
            signals,
            buffer: vec![0; BUFFER],
            serial: 0,
            ending: None,
        })
    }

    /// Serves until there is nothing left to serve.
    pub(crate) fn run(&mut self) {
        while !self.is_over() {
            let until = [self.timers.next(), self.events.next(), self.ending].into_iter().flatten().min();
            let mut ready = Vec::new();
            self.poll.wait(until, |source, flags| ready.push((source, flags)));
            for (source, flags) in ready {
                self.ready(source, flags);
            }
            while let Some(timer) = self.timers.due() {
                self.due(timer);
            }
            self.events.pump(&self.poll);
        }
    }

    fn is_over(&self) -> bool {
        let told = self.events.is_empty() && self.operations.is_empty();
        self.ending.is_some_and(|latest| told || latest <= Instant::now())
    }

    /// Ends once everything was told. The socket goes at once, so that nobody finds a shim that is about to go.
    pub(crate) fn end(&mut self) {
        let _ = std::fs::remove_file(&self.place.socket);
        self.ending.get_or_insert_with(|| Instant::now() + FAREWELL);
    }

    /// A number that was never given before.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn ready(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.signalled(),
            Source::Events => self.events.ready(&self.poll, flags, &mut self.buffer),
            Source::Connection(serial) => self.connection_ready(serial, flags),
            Source::Helper(serial) => self.helper_ready(serial),
            Source::Process(serial) => self.process_ended(serial),
            Source::CopyFrom(serial) | Source::CopyTo(serial) => self.copy(serial),
            Source::Oom(serial) => self.look_for_oom(serial),
        }
    }

    fn due(&mut self, timer: Timer) {
        match timer {
            Timer::Copy(serial) => self.copy(serial),
            Timer::Drain(serial) => self.stop_draining(serial),
            Timer::Settle(serial) => self.settle_anyway(serial),
            Timer::Oom(serial) => self.look_for_oom(serial),
            Timer::Logger(serial, signal) => self.signal_logger(serial, signal),
            Timer::Lonely => {
                if self.containers.is_empty() && self.connections.is_empty() && self.operations.is_empty() {
                    self.log.line("no container and no connection for a long time: ending");
                    self.end();
                } else {
                    self.timers.add(LONELY, Timer::Lonely);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(_) => return,
            };
            let own = sys::net::peer_uid(&socket).is_ok_and(|uid| uid == geteuid().as_raw());
            let serial = self.next_serial();
            if own && self.poll.watch(&socket, Source::Connection(serial)).is_ok() {
                self.connections.insert(serial, Connection::new(socket, serial));
            }
        }
    }

    fn signalled(&mut self) {
        while let Ok(Some(number)) = sys::signalfd::next(&self.signals) {
            match Signal::from_named_raw(number) {
                Some(Signal::TERM | Signal::INT) => {
                    self.log.line("asked to end by a signal");
                    self.end();
                }
                Some(Signal::USR1) => {
                    let summary = self.summary();
                    self.log.line(&summary);
                }
                _ => {}
            }
        }
        self.sweep();
    }

    /// What a SIGUSR1 writes into the log.
    fn summary(&self) -> String {
        format!(
            "containers {:?}, {} connections, {} operations, {} copiers",
            self.containers.keys().collect::<Vec<_>>(),
            self.connections.len(),
            self.operations.len(),
            self.copiers.len()
        )
    }

    fn connection_ready(&mut self, serial: u64, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(&serial) else { return };
        let written = if flags.contains(EventFlags::OUT) { connection.flush(&self.poll) } else { Ok(()) };
        match written.and_then(|()| connection.read(&mut self.buffer)) {
            Ok(calls) => {
                for call in calls {
                    let caller = Caller { connection: serial, stream: call.stream };
                    let answer = match call.request {
                        Ok(request) => self.call(caller, &request),
                        Err(failure) => Some(Err(failure)),
                    };
                    if let Some(answer) = answer {
                        self.answer(caller, answer);
                    }
                }
            }
            Err(_) => self.drop_connection(serial),
        }
    }

    fn drop_connection(&mut self, serial: u64) {
        if let Some(connection) = self.connections.remove(&serial) {
            self.poll.forget(connection.socket());
        }
        // What was asked goes on; only nobody waits for the answer any more.
        for container in self.containers.values_mut() {
            let processes = std::iter::once(&mut container.init).chain(container.execs.values_mut());
            processes.for_each(|process| process.waiters.retain(|waiter| waiter.connection != serial));
        }
    }

    /// Answers a call, if its caller is still there.
    pub(crate) fn answer(&mut self, caller: Caller, answer: Outcome<Vec<u8>>) {
        let Some(connection) = self.connections.get_mut(&caller.connection) else { return };
        if connection.send(&self.poll, &frame::response(caller.stream, answer)).is_err() {
            self.drop_connection(caller.connection);
        }
    }

    /// Lets a helper do `work` for the process `key`.
    pub(crate) fn operate(
        &mut self,
        task: Task,
        key: Key,
        caller: Option<Caller>,
        keep: &[i32],
        work: impl FnOnce() -> Outcome<Done>,
    ) -> Result<(), Errno> {
        let serial = self.next_serial();
        let socket = helper::start(keep, work)?;
        self.poll.watch(&socket, Source::Helper(serial))?;
        self.operations.insert(serial, Operation { socket, task, key, caller });
        Ok(())
    }

    fn helper_ready(&mut self, serial: u64) {
        let Some(operation) = self.operations.get(&serial) else { return };
        let Some(outcome) = helper::receive(&operation.socket) else { return };
        let Some(operation) = self.operations.remove(&serial) else { return };
        self.poll.forget(&operation.socket);
        self.done(operation, outcome);
    }

    /// Takes every report that is there.
    pub(crate) fn take_reports(&mut self) {
        let serials: Vec<u64> = self.operations.keys().copied().collect();
        serials.into_iter().for_each(|serial| self.helper_ready(serial));
    }

    /// Starts to copy a stream.
    pub(crate) fn add_copier(&mut self, copier: Copier) -> u64 {
        let serial = self.next_serial();
        self.copiers.insert(serial, copier);
        serial
    }

    /// Copies what can be copied, and waits for the next.
    pub(crate) fn copy(&mut self, serial: u64) {
        let Some(copier) = self.copiers.get_mut(&serial) else { return };
        let watched = match copier.run(&mut self.buffer) {
            Need::Source => self.poll.once(&copier.source, Source::CopyFrom(serial), EventFlags::IN),
            Need::Sink => match &copier.sink {
                crate::copy::Sink::Open(sink) => {
                    self.poll.once(sink, Source::CopyTo(serial), EventFlags::OUT)
                }
                _ => Ok(()),
            },
            Need::Client => {
                self.timers.add(copier.next_look(), Timer::Copy(serial));
                Ok(())
            }
            Need::Turn => {
                self.timers.add(Duration::ZERO, Timer::Copy(serial));
                Ok(())
            }
            Need::Nothing => return self.end_copier(serial),
        };
        if let Err(errno) = watched {
            self.log.line(&format!("watch a stream: {errno}"));
            self.end_copier(serial);
        }
    }
}
