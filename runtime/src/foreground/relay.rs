//! The container's terminal and the caller's streams: what is typed goes in, what the program writes comes out.
//!
//! ```text
//! stdin  --> [input]  --> master      the end of stdin is typed as the terminal's end-of-file character
//! stdout <-- [output] <-- master      a reader that is gone lets the output be dropped, and the program go on
//! ```
//!
//! A block is read only once the last one is written, so that a slow side slows the other one down and memory stays the
//! same. One call of [`Relay::turn`] moves at most one block each way; the caller waits and handles signals in between.

use std::os::fd::OwnedFd;

use rustix::event::PollFd;
use rustix::io::Errno;

use super::buffer::Buffer;
use super::master::Master;
use super::raw::{self, Raw};
use super::streams::{Input, Output};
use crate::{Error, Kind, Result};

/// How much is typed at once: a line as a terminal takes it (N_TTY_BUF_SIZE).
const INPUT: usize = 4096;

/// How much output is moved at once. The kernel gives no more than 4 KiB for a read.
const OUTPUT: usize = 8192;

/// What the kernel can hold of a terminal's output when its program has ended, with room to spare. More than this comes
/// from somebody who is still writing.
const REST: usize = 1 << 20;

/// A terminal that is relayed.
#[derive(Debug)]
pub struct Relay {
    master: Master,
    input: Option<Input>,
    output: Option<Output>,
    typed: Buffer,
    /// Whether what was typed last did not end a line.
    within_line: bool,
    printed: Buffer,
    /// What poll(2) said of the caller's streams.
    ready: Ready,
    /// How much may still be read after the program's end.
    rest: Option<usize>,
    lost: usize,
    /// Why standard output takes no more.
    failure: Option<Errno>,
    /// Restores the caller's terminal when the relay is dropped.
    _raw: Option<Raw>,
}

/// Which descriptors something was said of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// The master has changed.
    pub master: bool,
    /// Standard input can be read.
    pub input: bool,
    /// Standard output can be written.
    pub output: bool,
}

impl Relay {
    /// Connects a master with this process's streams, and puts the caller's terminal into raw mode. A terminal without
    /// a size gets the caller's.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn new(master: OwnedFd) -> Result<Self> {
        let relay = Self {
            master: Master::new(master)?,
            input: Some(Input::new(0)),
            output: Some(Output::new(1)),
            typed: Buffer::new(INPUT),
            within_line: false,
            printed: Buffer::new(OUTPUT),
            ready: Ready::default(),
            rest: None,
            lost: 0,
            failure: None,
            _raw: Raw::set()?,
        };
        if !relay.master.has_size() {
            relay.resize();
        }
        Ok(relay)
    }

    /// Gives the container's terminal the size of the caller's.
    pub fn resize(&self) {
        raw::window_size().into_iter().for_each(|size| self.master.resize(size));
    }

    /// What to wait for: the master, standard input, standard output; `nothing` for what does not matter now.
    pub fn watch<'a>(&'a self, nothing: impl Fn() -> PollFd<'a>) -> [PollFd<'a>; 3] {
        let input = self.input.as_ref().filter(|_| self.typed.is_empty() && self.rest.is_none());
        let output = self.output.as_ref().filter(|_| !self.printed.is_empty());
        [
            self.master.watch(),
            input.map_or_else(&nothing, Input::watch),
            output.map_or_else(&nothing, Output::watch),
        ]
    }

    /// Takes note of what poll(2) said.
    pub fn note(&mut self, ready: &Ready) {
        if ready.master {
            self.master.note();
        }
        self.ready = *ready;
    }

    /// Moves at most one block each way; says whether output was delivered.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn turn(&mut self) -> Result<bool> {
        self.read_input();
        self.type_in();
        self.read_output();
        Ok(self.print())
    }

    /// Whether [`Relay::turn`] has more to do at once.
    pub fn can_go_on(&self) -> bool {
        let reads = self.master.readable && self.printed.is_empty() && self.rest != Some(0);
        reads || (self.master.writable && !self.typed.is_empty())
    }

    /// The program has ended: nothing is typed any more, and the rest of its output is fetched.
    pub fn finish(&mut self) {
        self.rest = Some(REST);
        self.typed.clear();
        self.master.readable = true;
    }

    /// Whether all output of a program that has ended is delivered.
    pub fn is_drained(&self) -> bool {
        self.printed.is_empty() && (!self.master.readable || self.rest == Some(0))
    }

    /// Lets the rest of the output go.
    pub fn give_up(&mut self) {
        self.rest = Some(0);
        self.lost += self.printed.len();
        self.printed.clear();
    }

    /// Gives the caller's terminal back; an error says what became of output that was not delivered.
    pub fn end(self) -> Option<Error> {
        let what = || "write the terminal's output".to_owned();
        let lost = self.lost + self.printed.len();
        match self.failure {
            Some(errno) => Some(Error::kernel(what(), "write", errno)),
            None if lost > 0 => Some(Error::new(Kind::Timeout, format!("{}: nobody reads it", what()))),
            None => None,
        }
    }

    fn read_input(&mut self) {
        let Some(input) = self.input.as_ref().filter(|_| self.ready.input && self.typed.is_empty()) else {
            return;
        };
        match self.typed.fill(|space| input.read(space)) {
            Ok(0) => self.end_input(),
            Ok(_) => self.within_line = !matches!(self.typed.last(), Some(b'\n' | b'\r')),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A job in the background has no input; on a terminal that was hung up it has ended.
            Err(_) if raw::is_in_background(input.descriptor()) => self.input = None,
            Err(_) => self.end_input(),
        }
    }

    /// Standard input has ended. The program learns of it as it would from a person, by the end-of-file character: once
    /// where a line begins, and twice within a line, of which the first one only ends.
    fn end_input(&mut self) {
        self.input = None;
        let Some(byte) = self.master.end_of_file() else { return };
        let times = if self.within_line { 2 } else { 1 };
        let _ = self.typed.fill(|space| {
            space.iter_mut().take(times).for_each(|place| *place = byte);
            Ok(times)
        });
    }

    fn type_in(&mut self) {
        if self.master.writable
            && !self.typed.is_empty()
            && matches!(self.typed.drain(|bytes| self.master.write(bytes)), Err(errno) if !is_later(errno))
        {
            self.typed.clear();
        }
    }

    fn read_output(&mut self) {
        if !self.master.readable || !self.printed.is_empty() || self.rest == Some(0) {
            return;
        }
        match self.printed.fill(|space| self.master.read(space)) {
            Ok(count) => self.rest = self.rest.map(|rest| rest.saturating_sub(count)),
            Err(errno) if is_later(errno) => {}
            // Nothing else can be read from a master, and nothing could be done about it.
            Err(_) => self.master.readable = false,
        }
    }

    fn print(&mut self) -> bool {
        if self.printed.is_empty() {
            return false;
        }
        let Some(output) = &self.output else {
            self.printed.clear();
            return true;
        };
        if output.needs_poll() && !self.ready.output {
            return false;
        }
        self.ready.output = false;
        match self.printed.drain(|bytes| output.write(bytes)) {
            Ok(count) => count > 0,
            Err(errno) if is_later(errno) => false,
            Err(errno) => {
                // A closed pipe is how a reader says that it has enough.
                self.failure = Some(errno).filter(|errno| *errno != Errno::PIPE);
                self.output = None;
                self.printed.clear();
                true
            }
        }
    }
}

fn is_later(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR)
}
