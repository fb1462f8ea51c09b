//! What happened, told to containerd in the order in which it happened.
//!
//! One queue, one event under way. While containerd is away the queue waits; an event leaves it only when containerd has
//! said that it has it, so none is lost and none overtakes another.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prost::Message;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::address;
use crate::frame::{self, Reader};
use crate::poll::{Poll, Source};
use crate::proto::events::{Envelope, ForwardRequest};
use crate::proto::ttrpc::{KeyValue, Request, Response};
use crate::proto::{Any, Timestamp};

/// How long containerd may take to say that it has an event.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a failure, which doubles.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// How often containerd may refuse an event before it is given up.
const REFUSALS: u32 = 8;

/// The queue and the connection.
#[derive(Debug)]
pub(crate) struct Events {
    address: Option<PathBuf>,
    namespace: String,
    queue: VecDeque<Vec<u8>>,
    connection: Option<Connection>,
    /// The stream of the next call.
    stream: u32,
    /// Not before then is the next attempt made.
    not_before: Option<Instant>,
    pause: Duration,
    refusals: u32,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    reader: Reader,
    /// What is left to write of the event under way.
    unsent: Vec<u8>,
    /// The call of the event under way, and when its answer is overdue.
    under_way: Option<(u32, Instant)>,
}

impl Events {
    /// A queue for containerd's socket at `address`; without one, events go nowhere.
    pub(crate) fn new(address: Option<&str>, namespace: &str) -> Self {
        let path = address.filter(|address| !address.is_empty());
        Self {
            address: path.map(|path| PathBuf::from(path.strip_prefix("unix://").unwrap_or(path))),
            namespace: namespace.to_owned(),
            queue: VecDeque::new(),
            connection: None,
            stream: 1,
            not_before: None,
            pause: SHORTEST,
            refusals: 0,
        }
    }

    /// Adds an event, which [`Self::pump`] sends.
    pub(crate) fn publish(&mut self, topic: &str, type_url: &str, message: &impl Message) {
        if self.address.is_none() {
            return;
        }
        let envelope = Envelope {
            timestamp: Some(Timestamp::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(Any::new(type_url, message)),
        };
        self.queue.push_back(ForwardRequest { envelope: Some(envelope) }.encode_to_vec());
    }

    /// Whether everything was told.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When something must be done though nothing is ready.
    pub(crate) fn next(&self) -> Option<Instant> {
        let under_way = self.connection.as_ref().and_then(|connection| connection.under_way);
        match under_way {
            Some((_, overdue)) => Some(overdue),
            None if self.queue.is_empty() => None,
            None => self.not_before,
        }
    }

    /// Goes on: connects, sends, gives up on an answer that is overdue.
    pub(crate) fn pump(&mut self, poll: &Poll) {
        let now = Instant::now();
        let under_way = self.connection.as_ref().and_then(|connection| connection.under_way);
        if under_way.is_some_and(|(_, overdue)| overdue <= now) {
            self.disconnect(poll);
        }
        if under_way.is_some_and(|(_, overdue)| overdue > now) || self.not_before.is_some_and(|at| at > now) {
            return;
        }
        let Some(payload) = self.queue.front().cloned() else { return };
        if let Err(errno) = self.connect(poll).and_then(|()| self.send(poll, payload)) {
            debug_assert_ne!(errno, Errno::AGAIN);
            self.disconnect(poll);
        }
    }

    fn connect(&mut self, poll: &Poll) -> Result<(), Errno> {
        let (None, Some(path)) = (&self.connection, &self.address) else { return Ok(()) };
        let socket = address::open(path)?;
        poll.watch(&socket, Source::Events)?;
        let reader = Reader::default();
        self.connection = Some(Connection { socket, reader, unsent: Vec::new(), under_way: None });
        self.stream = 1;
        Ok(())
    }

    fn send(&mut self, poll: &Poll, payload: Vec<u8>) -> Result<(), Errno> {
        let Some(connection) = &mut self.connection else { return Err(Errno::NOTCONN) };
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
            method: "Forward".to_owned(),
            payload,
            timeout_nano: i64::try_from(PATIENCE.as_nanos()).unwrap_or(0),
            metadata: vec![KeyValue {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: self.namespace.clone(),
            }],
        };
        connection.unsent = frame::request(self.stream, &request);
        connection.under_way = Some((self.stream, Instant::now() + PATIENCE));
        self.stream += 2;
        connection.write(poll)
    }

    /// Takes what containerd says.
    pub(crate) fn ready(&mut self, poll: &Poll, flags: EventFlags, buffer: &mut [u8]) {
        let Some(connection) = &mut self.connection else { return };
        let wrote = if flags.contains(EventFlags::OUT) { connection.write(poll) } else { Ok(()) };
        let answers = wrote.and_then(|()| connection.read(buffer));
        match answers {
            Ok(answers) => answers.into_iter().for_each(|answer| self.answered(answer)),
            Err(_) => self.disconnect(poll),
        }
        self.pump(poll);
    }

    fn answered(&mut self, (stream, response): (u32, Response)) {
        let Some(connection) = &mut self.connection else { return };
        if connection.under_way.is_none_or(|(under_way, _)| under_way != stream) {
            return;
        }
        connection.under_way = None;
        let refused = response.status.is_some_and(|status| status.code != 0);
        self.refusals = if refused { self.refusals + 1 } else { 0 };
        if refused && self.refusals < REFUSALS {
            self.wait();
            return;
        }
        self.queue.pop_front();
        (self.refusals, self.pause, self.not_before) = (0, SHORTEST, None);
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn wait(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }

    fn disconnect(&mut self, poll: &Poll) {
        if let Some(connection) = self.connection.take() {
            poll.forget(&connection.socket);
        }
        self.wait();
    }
}

impl Connection {
    fn write(&mut self, poll: &Poll) -> Result<(), Errno> {
        while !self.unsent.is_empty() {
            match rustix::io::write(&self.socket, &self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    return poll.change(&self.socket, Source::Events, EventFlags::IN | EventFlags::OUT);
                }
                Err(errno) => return Err(errno),
            }
        }
        poll.change(&self.socket, Source::Events, EventFlags::IN)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Vec<(u32, Response)>, Errno> {
        let mut got = 0;
        loop {
            match rustix::io::read(&self.socket, &mut *buffer) {
                // What came before the end counts; the end is met again.
                Ok(0) if got > 0 => break,
                Ok(0) => return Err(Errno::CONNRESET),
                Ok(length) => {
                    got += length;
                    self.reader.feed(buffer.get(..length).unwrap_or_default());
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let frames = std::iter::from_fn(|| self.reader.frame());
        let answers = frames
            .filter(|frame| frame.kind == frame::RESPONSE)
            .filter_map(|frame| Some((frame.stream, Response::decode(frame.body?.as_slice()).ok()?)));
        Ok(answers.collect())
    }
}
