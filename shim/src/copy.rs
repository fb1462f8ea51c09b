//! Copying one stream: from a container's pipe or terminal to a client's fifo or file, or the other way.
//!
//! Nothing here waits. [`Copier::run`] copies until it would have to, and says for what. Between two pipes the kernel
//! moves the pages (splice(2)); elsewhere a buffer is used that all copiers share, so an idle stream costs no memory.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, ioctl_fionread, read, write};
use rustix::pipe::{SpliceFlags, splice};
use rustix::time::Timespec;

use crate::container::Key;

/// The size of the shared buffer, and of a pipe.
pub(crate) const BUFFER: usize = 64 << 10;

/// How many buffers one stream may copy before the others get their turn.
const TURNS: u32 = 16;

/// How soon a fifo is tried again whose client is not there, at first and after a long time. The kernel tells nobody that
/// a reader has come: it wakes those who wait in open(2), which the shim must not.
const CLIENT: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(1)];

/// How long a client may leave the end of a stream unread before nobody waits for it any more.
const UNREAD: Duration = Duration::from_secs(1);

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the container.
    In,
    /// From the container.
    Out,
}

/// What a copier waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Something to read.
    Source,
    /// Room to write.
    Sink,
    /// The client, who has not opened its end of the fifo yet, or not read the last of the stream.
    Client,
    /// A turn of its own: it copied as much as it may at once.
    Turn,
    /// Nothing: it is at its end.
    Nothing,
}

/// Where a stream goes to.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A fifo whose reader is not there yet.
    Fifo(PathBuf),
    /// A descriptor that takes data.
    Open(OwnedFd),
    /// Nowhere: writing failed, and the container must not be blocked by that.
    Gone,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Copier {
    /// Whose stream it is.
    pub(crate) key: Key,
    /// Which way it goes.
    pub(crate) direction: Direction,
    /// What is read.
    pub(crate) source: OwnedFd,
    /// What is written to.
    pub(crate) sink: Sink,
    /// The other end of the client's fifo, held so that the stream outlives a client that goes and comes back.
    pub(crate) hold: Option<OwnedFd>,
    /// Whether the kernel can move pages; found out by trying.
    splices: bool,
    /// What was read and not written yet.
    pending: Vec<u8>,
    /// How long to wait for the client before its fifo is tried again.
    client: Duration,
    /// When the source was found to be at its end.
    ended: Option<Instant>,
}

/// The outcome of one attempt.
enum Step {
    Copied,
    Need(Need),
}

impl Copier {
    /// A stream of the process `key`.
    pub(crate) fn new(key: Key, direction: Direction, source: OwnedFd, sink: Sink) -> Self {
        let [client, _] = CLIENT;
        let (pending, ended) = (Vec::new(), None);
        Self { key, direction, source, sink, hold: None, splices: true, pending, client, ended }
    }

    /// When to look again for a client that is not there: each time an eighth later than the last, so that one who comes
    /// is noticed within an eighth of the time that it took, or within a second.
    pub(crate) fn next_look(&mut self) -> Duration {
        let [_, longest] = CLIENT;
        let now = self.client;
        self.client = (now + now / 8).min(longest);
        now
    }

    /// Whether only its client keeps this stream from its end.
    pub(crate) fn awaits_client(&self) -> bool {
        matches!(self.sink, Sink::Fifo(_)) || self.ended.is_some()
    }

    /// Somebody waits for this stream to end: a client that comes is to be noticed soon.
    pub(crate) fn look_soon(&mut self) {
        [self.client, _] = CLIENT;
    }

    /// Copies what can be copied without waiting.
    pub(crate) fn run(&mut self, buffer: &mut [u8]) -> Need {
        if !self.open_fifo() {
            return Need::Client;
        }
        if self.ended.is_some() {
            return self.until_read();
        }
        for _ in 0..TURNS {
            match self.step(buffer) {
                Step::Copied => {}
                Step::Need(Need::Nothing) => return self.until_read(),
                Step::Need(need) => return need,
            }
        }
        Need::Turn
    }

    /// At the end of the source: whether the client has read all of it. One that hears of the process's end while it still
    /// opens its fifo gives the fifo up, and what is in it would be lost.
    fn until_read(&mut self) -> Need {
        if self.ended.is_none() {
            self.look_soon();
        }
        let ended = *self.ended.get_or_insert_with(Instant::now);
        let (Direction::Out, Sink::Open(sink), Some(_)) = (self.direction, &self.sink, &self.hold) else {
            return Need::Nothing;
        };
        let unread = ioctl_fionread(sink).unwrap_or(0) > 0;
        if unread && ended.elapsed() < UNREAD { Need::Client } else { Need::Nothing }
    }

    /// Opens the client's fifo for writing, which fails until there is a reader, and then for reading, so that a reader
    /// that goes away does not end the stream.
    fn open_fifo(&mut self) -> bool {
        let Sink::Fifo(path) = &self.sink else { return true };
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
        match open(path, OFlags::WRONLY | flags, Mode::empty()) {
            Ok(fifo) => {
                self.hold = open(path, OFlags::RDONLY | flags, Mode::empty()).ok();
                self.sink = Sink::Open(fifo);
            }
            Err(Errno::NXIO | Errno::INTR) => return false,
            Err(_) => self.sink = Sink::Gone,
        }
        true
    }

    fn step(&mut self, buffer: &mut [u8]) -> Step {
        if !self.pending.is_empty() {
            return self.flush();
        }
        match &self.sink {
            Sink::Open(sink) if self.splices => {
                let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
                match splice(&self.source, None, sink, None, BUFFER, flags) {
                    Ok(0) => Step::Need(Need::Nothing),
                    Ok(_) | Err(Errno::INTR) => Step::Copied,
                    Err(Errno::AGAIN) => Step::Need(unready(&self.source)),
                    Err(Errno::PIPE) => self.lose_sink(),
                    Err(_) => {
                        self.splices = false;
                        Step::Copied
                    }
                }
            }
            _ => self.read_and_write(buffer),
        }
    }

    fn read_and_write(&mut self, buffer: &mut [u8]) -> Step {
        match read(&self.source, &mut *buffer) {
            // A terminal without a program gives EIO.
            Ok(0) | Err(Errno::IO) => Step::Need(Need::Nothing),
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                let written = match &self.sink {
                    Sink::Open(sink) => write(sink, bytes),
                    _ => Ok(length),
                };
                self.written(bytes, written)
            }
            Err(Errno::AGAIN) => Step::Need(Need::Source),
            Err(Errno::INTR) => Step::Copied,
            Err(_) => Step::Need(Need::Nothing),
        }
    }

    fn flush(&mut self) -> Step {
        let bytes = std::mem::take(&mut self.pending);
        let written = match &self.sink {
            Sink::Open(sink) => write(sink, &bytes),
            _ => Ok(bytes.len()),
        };
        self.written(&bytes, written)
    }

    fn written(&mut self, bytes: &[u8], written: Result<usize, Errno>) -> Step {
        match written {
            Ok(length) => {
                self.pending = bytes.get(length..).unwrap_or_default().to_vec();
                if self.pending.is_empty() { Step::Copied } else { Step::Need(Need::Sink) }
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.pending = bytes.to_vec();
                Step::Need(Need::Sink)
            }
            Err(_) => self.lose_sink(),
        }
    }

    /// Nobody takes the data any more. A container's output is read on and dropped, so that it never blocks; its input
    /// ends.
    fn lose_sink(&mut self) -> Step {
        self.sink = Sink::Gone;
        match self.direction {
            Direction::In => Step::Need(Need::Nothing),
            Direction::Out => Step::Copied,
        }
    }
}

/// What splice(2) waits for: it says neither which of the two was not ready, nor, with a full sink, that the source is at
/// its end.
fn unready(source: &OwnedFd) -> Need {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(source, PollFlags::IN)];
    let _ = poll(&mut polled, Some(&now));
    let seen = polled.first().map_or(PollFlags::empty(), PollFd::revents);
    match (seen.contains(PollFlags::IN), seen.contains(PollFlags::HUP)) {
        (true, _) => Need::Sink,
        (false, true) => Need::Nothing,
        (false, false) => Need::Source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
    }

    fn copier(direction: Direction, source: OwnedFd, sink: Sink) -> Copier {
        Copier::new(Key::default(), direction, source, sink)
    }

    #[test]
    fn a_full_sink_is_waited_for_and_nothing_is_lost() {
        let ((source, from), (to, sink)) = (pair(), pair());
        let mut copier = copier(Direction::Out, source, Sink::Open(sink));
        let (mut from, mut to) = (File::from(from), File::from(to));
        let mut buffer = vec![0; BUFFER];
        assert_eq!(copier.run(&mut buffer), Need::Source);
        from.write_all(&[1; BUFFER]).unwrap();
        assert_eq!(copier.run(&mut buffer), Need::Source);
        from.write_all(&[2; BUFFER]).unwrap();
        assert_eq!(copier.run(&mut buffer), Need::Sink);
        let mut got = vec![0; BUFFER];
        to.read_exact(&mut got).unwrap();
        assert_eq!(got, [1; BUFFER]);
        drop(from);
        assert_eq!(copier.run(&mut buffer), Need::Nothing);
        to.read_exact(&mut got).unwrap();
        assert_eq!(got, [2; BUFFER]);
    }

    #[test]
    fn output_without_a_reader_is_dropped_and_input_ends() {
        for direction in [Direction::Out, Direction::In] {
            let ((source, from), (to, sink)) = (pair(), pair());
            let mut copier = copier(direction, source, Sink::Open(sink));
            drop(to);
            File::from(from).write_all(b"lost").unwrap();
            assert_eq!(copier.run(&mut [0; BUFFER]), Need::Nothing);
            assert!(matches!(copier.sink, Sink::Gone));
        }
    }

    #[test]
    fn a_full_disk_does_not_block_the_container() {
        let (source, from) = pair();
        let full = OwnedFd::from(File::options().write(true).open("/dev/full").unwrap());
        let mut copier = copier(Direction::Out, source, Sink::Open(full));
        let mut from = File::from(from);
        for _ in 0..4 {
            from.write_all(&[1; BUFFER]).unwrap();
            assert_eq!(copier.run(&mut vec![0; BUFFER]), Need::Source);
        }
    }

    #[test]
    fn a_client_that_does_not_come_is_looked_for_less_and_less() {
        let (source, _from) = pair();
        let mut copier = copier(Direction::Out, source, Sink::Gone);
        let looks: Vec<Duration> = std::iter::repeat_with(|| copier.next_look()).take(100).collect();
        let mut waited = Duration::ZERO;
        for look in &looks {
            assert!(*look <= CLIENT[0] + waited / 8 && *look <= Duration::from_secs(1));
            waited += *look;
        }
        assert_eq!(looks[99], Duration::from_secs(1));
        copier.look_soon();
        assert_eq!(copier.next_look(), CLIENT[0]);
    }

    #[test]
    fn a_fifo_waits_for_its_reader_and_outlives_it() {
        let path = std::env::temp_dir().join(format!("it-shim-fifo-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let (source, from) = pair();
        let mut copier = copier(Direction::Out, source, Sink::Fifo(path.clone()));
        let mut from = File::from(from);
        from.write_all(b"one").unwrap();
        let mut buffer = vec![0; BUFFER];
        assert_eq!(copier.run(&mut buffer), Need::Client);
        let reader = || File::from(open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap());
        let first = reader();
        assert_eq!(copier.run(&mut buffer), Need::Source);
        drop(first);
        from.write_all(b"two").unwrap();
        assert_eq!(copier.run(&mut buffer), Need::Source);
        let mut got = [0; 16];
        assert_eq!(reader().read(&mut got).unwrap(), 6);
        assert_eq!(&got[..6], b"onetwo");
        let mut last = reader();
        from.write_all(b"three").unwrap();
        drop(from);
        assert_eq!(copier.run(&mut buffer), Need::Client, "the end is not read");
        assert!(copier.awaits_client());
        assert_eq!(last.read(&mut got).unwrap(), 5);
        assert_eq!(copier.run(&mut buffer), Need::Nothing);
        std::fs::remove_file(path).unwrap();
    }
}
