//! A blocking D-Bus client for the few calls that the systemd driver makes
//! ([specification](https://dbus.freedesktop.org/doc/dbus-specification.html)).
//!
//! It speaks to systemd's own socket where it may, else to the bus. One connection serves one command; every wait has a
//! deadline. Only the types that these calls use can be written (see [`Value`]), and only strings, paths and numbers read.
//!
//! ```text
//! us                                   systemd or the bus
//! \0 AUTH EXTERNAL, DATA, BEGIN   ->                          the peer takes the identity from the socket itself
//!                                 <-   DATA, OK
//! Hello (on the bus only)         ->
//! call, call, ...                 ->                          sent together where one does not need the other's answer
//!                                 <-   replies and signals in any order
//! ```

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use sys::{Error, Kind, Result};

use super::message::{Call, Incoming, Value};

/// A message larger than this is not one of those that we ask for.
const MAX_MESSAGE: usize = 16 << 20;

/// How the peer routes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Straight to systemd.
    Private,
    /// Through a bus, which wants to be greeted and told whom a message is for.
    Bus,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    socket: OwnedFd,
    path: String,
    route: Route,
    deadline: Instant,
    serial: u32,
    received: Vec<u8>,
}

impl Bus {
    /// Connects to the socket at `path` and introduces us.
    pub(super) fn connect(path: &str, route: Route, deadline: Instant) -> Result<Self> {
        let socket = connect(path, deadline)?;
        let mut bus =
            Self { socket, path: path.to_owned(), route, deadline, serial: 0, received: Vec::new() };
        bus.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        for expected in ["DATA", "OK"] {
            let line = bus.line()?;
            if !line.starts_with(expected) {
                return Err(bus.broken(&format!("refused us: {line:?}")));
            }
        }
        if route == Route::Bus {
            bus.call(&Call::to_bus("Hello", &[]))?;
        }
        Ok(bus)
    }

    pub(super) fn route(&self) -> Route {
        self.route
    }

    /// Later waits end at `deadline`.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Sends `calls` together and returns the serial of each.
    pub(super) fn send_calls(&mut self, calls: &[Call<'_>]) -> Result<Vec<u32>> {
        let mut bytes = Vec::new();
        let mut serials = Vec::with_capacity(calls.len());
        for call in calls {
            self.serial += 1;
            serials.push(self.serial);
            call.write(self.serial, self.route == Route::Bus, &mut bytes);
        }
        self.send(&bytes)?;
        Ok(serials)
    }

    /// Calls and waits for the answer; messages that are not the answer are dropped.
    pub(super) fn call(&mut self, call: &Call<'_>) -> Result<Incoming> {
        let serial = self.send_calls(std::slice::from_ref(call))?.first().copied().unwrap_or_default();
        loop {
            let message = self.next()?;
            if message.reply_to == Some(serial) {
                return Ok(message);
            }
        }
    }

    /// The next message.
    pub(super) fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Some(length) = Incoming::length(&self.received).map_err(|why| self.broken(why))? {
                if length > MAX_MESSAGE {
                    return Err(self.broken("sent a message that is too large"));
                }
                if self.received.len() >= length {
                    let rest = self.received.split_off(length);
                    let message = std::mem::replace(&mut self.received, rest);
                    return Incoming::parse(&message).ok_or_else(|| self.broken("sent a malformed message"));
                }
            }
            self.receive()?;
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let rest = self.received.split_off(end + 2);
                let line = std::mem::replace(&mut self.received, rest);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.received.len() > 4096 {
                return Err(self.broken("does not speak D-Bus"));
            }
            self.receive()?;
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel(format!("speak to {}", self.path), "sendto", errno)),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => return Err(self.broken("closed the connection")),
                Ok(length) => {
                    self.received.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    return Ok(());
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel(format!("listen to {}", self.path), "read", errno)),
            }
        }
    }

    fn wait(&self, events: PollFlags) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(Kind::Timeout, format!("no answer from {}", self.path))
                .with_hint("systemd is busy or stuck"));
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.socket, events)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::kernel(format!("wait for {}", self.path), "poll", errno)),
        }
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(Kind::Kernel, format!("{} {what}", self.path))
    }
}

/// Connects without blocking: a peer that accepts nobody refuses with EAGAIN, and is tried again with growing pauses.
fn connect(path: &str, deadline: Instant) -> Result<OwnedFd> {
    let what = || format!("connect to {path}");
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| Error::kernel(what(), "socket", errno))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| Error::kernel(what(), "connect", errno))?;
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(errno) => return Err(Error::kernel(what(), "connect", errno)),
        }
    }
}

/// A string argument.
pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
