//! What happened to a container, a line of JSON each, in its state directory: the memory of `events --follow`.
//!
//! ```text
//! events       written to with O_APPEND, one write(2) for what happens at one time
//! events.1     what `events` was before it grew too long
//! follow       there, and locked in shared mode, while somebody follows
//! ```
//!
//! A line begins and ends with a newline, so what a kill in the middle of a write leaves never harms the line after it;
//! [`Reader`] passes over it. Nothing in a container's life depends on the log: a failure to write it is a warning.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, statat};
use rustix::io::{Errno, pread, write};
use serde::{Deserialize, Serialize};
use sys::error::Context;

use crate::state::Directory;
use crate::{Error, Kind, Result};

const NAME: &str = "events";
const FORMER: &str = "events.1";
const FOLLOW: &str = "follow";

/// A file longer than this is renamed before the next line, so both together stay below twice this and a line.
const LONGEST: i64 = 64 << 10;

/// Something that a command did or saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container waits for start; the pid of its first process.
    Created(i32),
    /// Its program runs; the pid likewise.
    Started(i32),
    /// A process was added; its pid.
    Exec(i32),
    /// All processes were stopped.
    Paused,
    /// They go on.
    Resumed,
    /// The first process ended.
    Exited(Ending),
}

/// How a container ended, as far as the writer knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ending {
    /// The exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Most memory in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// CPU time in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<u64>,
    /// Processes that were killed for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

impl Ending {
    /// From what wait(2) says.
    pub fn of_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self { code: Some(status >> 8 & 0xff), ..Self::default() },
            signal => Self { signal: Some(signal), ..Self::default() },
        }
    }

    /// Together with what the groups of the container say.
    pub fn with_usage(self, usage: cgroups::watch::Usage) -> Self {
        let cgroups::watch::Usage { peak_memory, cpu_time, oom_kills } = usage;
        self.or(Self { peak_memory, cpu_time, oom_kills, ..Self::default() })
    }

    /// What `other` knows besides.
    pub fn or(self, other: Self) -> Self {
        Self {
            code: self.code.or(other.code),
            signal: self.signal.or(other.signal),
            peak_memory: self.peak_memory.or(other.peak_memory),
            cpu_time: self.cpu_time.or(other.cpu_time),
            oom_kills: self.oom_kills.or(other.oom_kills),
        }
    }

    /// Whether it says how the process ended.
    pub fn is_known(&self) -> bool {
        self.code.is_some() || self.signal.is_some()
    }
}

/// One line.
#[derive(Serialize)]
pub struct Line<'a, T> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The container.
    pub id: &'a str,
    /// When, RFC 3339.
    pub time: String,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
}

impl<T: Serialize> Line<'_, T> {
    /// As JSON, without a newline.
    ///
    /// # Errors
    /// `Internal`.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::new(Kind::Internal, error.to_string()))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Process { pid: i32 },
    Ending(Ending),
}

impl Event {
    fn line(&self, id: &str) -> Result<String> {
        let process = |pid: i32| Some(Data::Process { pid });
        let (kind, data) = match *self {
            Self::Created(pid) => ("created", process(pid)),
            Self::Started(pid) => ("started", process(pid)),
            Self::Exec(pid) => ("exec", process(pid)),
            Self::Paused => ("paused", None),
            Self::Resumed => ("resumed", None),
            Self::Exited(ending) => ("exited", Some(Data::Ending(ending))),
        };
        Line { kind, id, time: crate::time::now(), data }.text()
    }
}

/// Adds `events` to the log of a container, in one write. A failure is only warned of.
pub fn append(directory: &Directory, events: &[Event]) {
    if let Err(error) = try_append(directory, events) {
        tracing::warn!("{error}");
    }
}

fn try_append(directory: &Directory, events: &[Event]) -> Result<()> {
    let id = directory.id().as_str();
    let lines = events.iter().map(|event| Ok(format!("\n{}\n", event.line(id)?)));
    let text = lines.collect::<Result<String>>()?;
    let mut file = open_to_append(directory)?;
    if fstat(&file).context("fstat", what)?.st_size > LONGEST {
        rotate(directory, &file)?;
        file = open_to_append(directory)?;
    }
    write(&file, text.as_bytes()).context("write", what).map(drop)
}

fn what() -> String {
    "note an event of the container".to_owned()
}

fn open_to_append(directory: &Directory) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory.fd(), NAME, flags, Mode::RUSR | Mode::WUSR).context("openat", what)
}

/// Makes room for a new file. Of several writers that come to it at the same time only one does it.
fn rotate(directory: &Directory, file: &OwnedFd) -> Result<()> {
    if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_current(directory, file) {
        renameat(directory.fd(), NAME, directory.fd(), FORMER).context("renameat", what)?;
    }
    Ok(())
}

/// Whether `file` still is the one that is written to.
fn is_current(directory: &Directory, file: &OwnedFd) -> bool {
    is_called(directory, NAME, file)
}

fn is_called(directory: &Directory, name: &str, file: &OwnedFd) -> bool {
    let named = statat(directory.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
    matches!((named, fstat(file)), (Ok(named), Ok(held)) if named.st_ino == held.st_ino)
}

/// Says that somebody follows, for as long as the value lives.
///
/// # Errors
/// `Kernel`.
pub fn follow(directory: &Directory) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory.fd(), FOLLOW, flags, Mode::RUSR | Mode::WUSR).context("openat", what)?;
    flock(&file, FlockOperation::LockShared).context("flock", what)?;
    Ok(file)
}

/// Whether somebody follows, and wants to know what only the group of the container knows, before it goes.
pub fn is_followed(directory: &Directory) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(file) = openat(directory.fd(), FOLLOW, flags, Mode::empty()) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

/// Reads a log from its beginning, and what is added to it.
#[derive(Debug)]
pub struct Reader {
    file: Option<OwnedFd>,
    offset: u64,
    /// Whether the first read was made.
    begun: bool,
}

impl Reader {
    /// At the beginning.
    pub fn new() -> Self {
        Self { file: None, offset: 0, begun: false }
    }

    /// The lines since the last call. It works on after the state directory was removed.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn read(&mut self, directory: &Directory) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        if !self.begun {
            self.begun = true;
            self.read_former(directory, &mut lines)?;
        }
        loop {
            self.read_file(&mut lines)?;
            if self.file.as_ref().is_some_and(|file| is_current(directory, file)) {
                return Ok(lines);
            }
            // What was added between the last read and the renaming is still in the former file.
            self.read_file(&mut lines)?;
            let Some(next) = open(directory, NAME)? else { return Ok(lines) };
            (self.file, self.offset) = (Some(next), 0);
        }
    }

    /// The newer file is opened first, so that none is missed that is renamed meanwhile.
    fn read_former(&mut self, directory: &Directory, lines: &mut Vec<String>) -> Result<()> {
        let newer = open(directory, NAME)?;
        if !newer.as_ref().is_some_and(|file| is_called(directory, FORMER, file)) {
            self.file = open(directory, FORMER)?;
            self.read_file(lines)?;
        }
        (self.file, self.offset) = (newer, 0);
        Ok(())
    }

    fn read_file(&mut self, lines: &mut Vec<String>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = Vec::new();
        let mut buffer = [0_u8; 4096];
        loop {
            let at = self.offset + text.len() as u64;
            let length = pread(file, &mut buffer, at).context("pread", || "read the events".to_owned())?;
            text.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if length < buffer.len() {
                break;
            }
        }
        // What has no newline yet is read again.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.offset += whole as u64;
        let text = String::from_utf8_lossy(text.get(..whole).unwrap_or_default()).into_owned();
        let is_json = |line: &&str| serde_json::from_slice::<serde::de::IgnoredAny>(line.as_bytes()).is_ok();
        lines.extend(text.lines().filter(is_json).map(str::to_owned));
        Ok(())
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

fn open(directory: &Directory, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory.fd(), name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::kernel("read the events", "openat", errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::id::ContainerId;
    use crate::state::Root;

    struct Place {
        path: std::path::PathBuf,
        directory: Directory,
    }

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("it-events-{name}-{}", std::process::id()));
            let root = Root::open_or_create(&path).unwrap();
            let directory = root.claim(&ContainerId::try_from("c1").unwrap()).unwrap();
            Self { path, directory }
        }

        fn kinds(&self, reader: &mut Reader) -> Vec<String> {
            let lines = reader.read(&self.directory).unwrap();
            let kind = |line: &String| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["id"], "c1");
                format!("{} {}", value["type"].as_str().unwrap(), value["data"]["pid"])
            };
            lines.iter().map(kind).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.path).unwrap();
        }
    }

    #[test]
    fn what_is_appended_is_read_once() {
        let place = Place::new("once");
        let mut reader = Reader::new();
        assert!(place.kinds(&mut reader).is_empty());
        append(&place.directory, &[Event::Created(5), Event::Started(5)]);
        assert_eq!(place.kinds(&mut reader), ["created 5", "started 5"]);
        append(&place.directory, &[Event::Exec(6)]);
        append(&place.directory, &[Event::Paused]);
        assert_eq!(place.kinds(&mut reader), ["exec 6", "paused null"]);
        assert_eq!(place.kinds(&mut Reader::new()).len(), 4);
    }

    #[test]
    fn a_note_that_comes_during_the_removal_does_not_stop_it() {
        for _ in 0..200 {
            let place = Place::new("removal");
            std::thread::scope(|scope| {
                scope.spawn(|| (0..20).for_each(|pid| append(&place.directory, &[Event::Exec(pid)])));
                place.directory.remove().unwrap();
            });
            assert!(!place.path.join("c1").exists());
        }
    }

    #[test]
    fn a_torn_line_harms_no_other() {
        let place = Place::new("torn");
        append(&place.directory, &[Event::Created(1)]);
        let mut file = std::fs::OpenOptions::new().append(true).open(place.path.join("c1/events")).unwrap();
        file.write_all(b"\n{\"type\":\"exec\",\"id\":\"c").unwrap();
        let mut reader = Reader::new();
        assert_eq!(place.kinds(&mut reader), ["created 1"]);
        append(&place.directory, &[Event::Exec(2)]);
        assert_eq!(place.kinds(&mut reader), ["exec 2"]);
    }

    #[test]
    fn the_log_is_bounded_and_a_reader_misses_nothing() {
        let place = Place::new("bounded");
        let mut reader = Reader::new();
        let mut seen = Vec::new();
        for number in 0..3000 {
            append(&place.directory, &[Event::Exec(number)]);
            if number % 100 == 99 {
                seen.extend(place.kinds(&mut reader));
            }
        }
        let expected: Vec<String> = (0..3000).map(|number| format!("exec {number}")).collect();
        assert_eq!(seen, expected);
        let size = |name| std::fs::metadata(place.path.join("c1").join(name)).unwrap().len();
        assert!(size(NAME) + size(FORMER) < 2 * LONGEST as u64 + 1000);
        let late = place.kinds(&mut Reader::new());
        assert!(late.len() > 500 && expected.ends_with(&late), "{} lines", late.len());
    }

    #[test]
    fn a_follower_is_known_for_as_long_as_it_lives() {
        let place = Place::new("follow");
        assert!(!is_followed(&place.directory));
        let (one, two) = (follow(&place.directory).unwrap(), follow(&place.directory).unwrap());
        assert!(is_followed(&place.directory));
        drop(one);
        assert!(is_followed(&place.directory));
        drop(two);
        assert!(!is_followed(&place.directory));
    }

    #[test]
    fn an_ending_is_what_is_known_and_no_more() {
        assert_eq!(Ending::of_status(7 << 8).code, Some(7));
        assert_eq!(Ending::of_status(9 | 0x80).signal, Some(9));
        let known = Ending { peak_memory: Some(5), ..Ending::of_status(0) };
        assert_eq!(Ending::default().or(known), known);
        assert!(!Ending { cpu_time: Some(1), ..Ending::default() }.is_known());
        let line = Event::Exited(known).line("c1").unwrap();
        assert!(line.ends_with(r#""data":{"code":0,"peakMemory":5}}"#), "{line}");
    }
}
