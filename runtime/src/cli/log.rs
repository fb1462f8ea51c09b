//! Where messages go, and the final error.
//!
//! Messages are `tracing` events; what engines read of them is one line of JSON with exactly the keys that
//! containerd, Podman and conmon decode: `level`, `msg` and `time` (RFC 3339, so that Go's time.Time takes
//! it). Keys beside these are ignored by those readers and carry what a program may want of an error.
//! Containerd takes the last line of level error in the file, so the final error is written once, at the end.
//!
//! The message may hold text of a hostile image. In both formats nothing of it can end the line or reach a
//! terminal as a control sequence. Start at [`install`] and [`Log::fail`].

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Metadata, Subscriber, span};

use super::args::{Exit, Stream};
use super::timing::Timing;
use crate::time::rfc3339;
use crate::{Error, Kind, Result, phase};

/// What the command line says of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Where it goes.
    pub target: Target,
    /// How a line looks.
    pub format: Format,
    /// What is left out.
    pub level: Level,
}

/// Where the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard error.
    #[default]
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// The journal of systemd, under this identifier.
    Journald(String),
    /// syslog(3), under this identifier.
    Syslog(String),
}

impl From<&OsStr> for Target {
    /// `PATH`, `file:PATH`, `journald:ID` or `syslog:ID`.
    fn from(text: &OsStr) -> Self {
        let rest = |prefix: &str| text.as_bytes().strip_prefix(prefix.as_bytes()).map(OsStr::from_bytes);
        let identifier = |id: &OsStr| match id.to_string_lossy() {
            id if id.is_empty() => "orlop".to_owned(),
            id => id.replace(|letter: char| letter.is_control() || letter == ':', "_"),
        };
        match (rest("journald:"), rest("syslog:"), rest("file:").unwrap_or(text)) {
            (Some(id), _, _) => Self::Journald(identifier(id)),
            (_, Some(id), _) => Self::Syslog(identifier(id)),
            // Opening this name fails where standard error is a socket, as it is for services of systemd.
            (_, _, path) if path == "/dev/stderr" || path.is_empty() => Self::Stderr,
            (_, _, path) => Self::File(PathBuf::from(path)),
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=error msg="..."`
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// How grave a message is, the gravest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something was not done as asked.
    Warning,
    /// Something worth knowing.
    #[default]
    Info,
    /// Every phase.
    Debug,
}

impl Level {
    /// The word in the log. Engines know `warning`, not `warn`.
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The severity of syslog(3).
    fn severity(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }

    fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warning => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    sink: Sink,
    format: Format,
    level: Level,
    timing: Option<Timing>,
}

#[derive(Debug)]
enum Sink {
    Stderr,
    File(File),
    Journald { socket: UnixDatagram, id: String },
    Syslog { socket: UnixDatagram, id: String },
}

/// Opens the log and makes it the receiver of every `tracing` event of this process. Only a program may call
/// it, and once: an embedder has a receiver of its own.
///
/// # Errors
/// The file or the socket cannot be opened.
pub fn install(options: &LogOptions, timing: Option<&Path>) -> Result<Arc<Log>> {
    let timing = timing.map(|path| Timing::new(path.to_owned()));
    let log = Arc::new(Log { timing, ..Log::open(options)? });
    tracing::dispatcher::set_global_default(Dispatch::new(Arc::clone(&log)))
        .map_err(|_| Error::new(Kind::Internal, "the log is open already"))?;
    Ok(log)
}

/// Prints what a command line that ends at once has to say, logs it if it is a mistake, and gives the exit
/// code.
pub fn report_exit(exit: &Exit) -> u8 {
    if exit.stream == Stream::Stdout {
        let printed = io::stdout().write_all(exit.text.as_bytes()).and_then(|()| io::stdout().flush());
        return if printed.is_ok() { exit.code } else { exit.code.max(1) };
    }
    let first = exit.text.lines().next().unwrap_or_default();
    let message = first.strip_prefix("orlop: ").or_else(|| first.strip_prefix("orlop ")).unwrap_or(first);
    let record = Record { level: Level::Error, message, fields: &[] };
    let to_stderr = exit.log.target == Target::Stderr;
    if let Ok(log) = Log::open(&exit.log)
        && !(to_stderr && exit.log.format == Format::Text)
    {
        log.write(&record);
    }
    if !(to_stderr && exit.log.format == Format::Json) {
        let _ = io::stderr().write_all(exit.text.as_bytes());
    }
    exit.code
}

impl Log {
    /// Opens the log.
    ///
    /// # Errors
    /// The file or the socket cannot be opened.
    pub fn open(options: &LogOptions) -> Result<Self> {
        let sink = match &options.target {
            Target::Stderr => Sink::Stderr,
            Target::File(path) => Sink::File(open_file(path)?),
            Target::Journald(id) => Sink::Journald {
                socket: connect(Path::new("/run/systemd/journal/socket"), "journald")?,
                id: id.clone(),
            },
            Target::Syslog(id) => {
                Sink::Syslog { socket: connect(Path::new("/dev/log"), "syslog")?, id: id.clone() }
            }
        };
        Ok(Self { sink, format: options.format, level: options.level, timing: None })
    }

    /// Reports the error that ends this process: a line in the log, and its text on standard error if that is
    /// elsewhere. Conmon and CRI-O read standard error, containerd and Podman the file.
    pub fn fail(&self, error: &Error) {
        let message = error.to_string();
        let mut fields = vec![(Cow::Borrowed("kind"), error.kind().name().to_owned())];
        let more = [
            ("key", error.key().map(str::to_owned)),
            ("call", error.call().map(str::to_owned)),
            ("errno", error.errno().map(|errno| sys::errno::name(errno).to_owned())),
        ];
        fields.extend(more.into_iter().filter_map(|(name, value)| Some((Cow::Borrowed(name), value?))));
        self.write(&Record { level: Level::Error, message: &message, fields: &fields });
        if !matches!(self.sink, Sink::Stderr) {
            let mut line = String::new();
            escape_text(&mut line, &message, Quotes::Plain);
            line.push('\n');
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// Writes what `--timing` measured.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write_timing(&self) -> Result<()> {
        self.timing.as_ref().map_or(Ok(()), Timing::write)
    }

    /// Writes one line. There is nobody to tell that a log cannot be written, so that is not an error.
    fn write(&self, record: &Record<'_>) {
        let now = SystemTime::now();
        let line = || match self.format {
            Format::Text => text_line(record, now),
            Format::Json => json_line(record, now),
        };
        let _ = match &self.sink {
            Sink::Stderr => io::stderr().write_all(line().as_bytes()),
            Sink::File(file) => (&mut &*file).write_all(line().as_bytes()),
            Sink::Journald { socket, id } => socket.send(&journal_entry(record, id)).map(drop),
            Sink::Syslog { socket, id } => {
                socket.send(syslog_line(record, id, std::process::id()).as_bytes()).map(drop)
            }
        };
    }
}

/// Appends to `path`. A FIFO that nobody reads must not hold up a container, hence O_NONBLOCK, which means
/// nothing for a file.
fn open_file(path: &Path) -> Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(path);
    sys::error::Context::context(file, "open", || format!("open the log {path:?}"))
}

fn connect(path: &Path, name: &str) -> Result<UnixDatagram> {
    let connected = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    sys::error::Context::context(connected, "connect", || format!("reach {name} at {}", path.display()))
}

/// Only the level decides what is written; spans are not used.
impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match metadata.target() {
            phase::STEP => self.timing.is_some(),
            phase::PHASE if self.timing.is_some() => true,
            _ => Level::of(*metadata.level()) <= self.level,
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.timing.is_some() { LevelFilter::DEBUG } else { self.level.filter() })
    }

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let level = Level::of(*event.metadata().level());
        if let Some(timing) = &self.timing {
            measure(timing, event.metadata().target(), &seen);
        }
        if level > self.level || event.metadata().target() == phase::STEP {
            return;
        }
        self.write(&Record { level, message: &seen.message, fields: &seen.fields });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn measure(timing: &Timing, target: &str, seen: &Seen) {
    let field = |name: &str| seen.fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
    match target {
        phase::PHASE => timing.phase(field("phase"), &seen.message),
        phase::STEP => timing.step(field("step"), &seen.message, field("at").parse().unwrap_or(0)),
        _ => {}
    }
}

/// One message.
struct Record<'a> {
    level: Level,
    message: &'a str,
    fields: &'a [(Cow<'static, str>, String)],
}

#[derive(Default)]
struct Seen {
    message: String,
    fields: Vec<(Cow<'static, str>, String)>,
}

impl Seen {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // The three keys that engines read are ours alone.
            name @ ("level" | "msg" | "time") => {
                self.fields.push((Cow::Owned(format!("fields.{name}")), value))
            }
            name => self.fields.push((Cow::Borrowed(name), value)),
        }
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

fn text_line(record: &Record<'_>, now: SystemTime) -> String {
    let mut line = format!("time=\"{}\" level={} msg=\"", rfc3339(now), record.level.name());
    escape_text(&mut line, record.message, Quotes::Escaped);
    line.push('"');
    for (name, value) in record.fields {
        let _ = write!(line, " {name}=\"");
        escape_text(&mut line, value, Quotes::Escaped);
        line.push('"');
    }
    line.push('\n');
    line
}

fn json_line(record: &Record<'_>, now: SystemTime) -> String {
    let mut line = format!("{{\"level\":\"{}\",\"msg\":\"", record.level.name());
    escape_json(&mut line, record.message);
    let _ = write!(line, "\",\"time\":\"{}\"", rfc3339(now));
    for (name, value) in record.fields {
        line.push_str(",\"");
        escape_json(&mut line, name);
        line.push_str("\":\"");
        escape_json(&mut line, value);
        line.push('"');
    }
    line.push_str("}\n");
    line
}

/// The most of a message that is put into one datagram; the journal and syslog daemons refuse larger ones
/// whole.
const DATAGRAM: usize = 32 * 1024;

/// The native protocol of the journal (systemd.io, "Native Journal Protocol"): every value with its length
/// before it, so that a newline in it ends nothing.
fn journal_entry(record: &Record<'_>, id: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    let mut add = |name: &str, value: &str| {
        let value = beginning(value);
        entry.extend_from_slice(name.as_bytes());
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    };
    add("PRIORITY", &record.level.severity().to_string());
    add("SYSLOG_IDENTIFIER", id);
    add("MESSAGE", record.message);
    for (name, value) in record.fields {
        let name = name.to_ascii_uppercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        add(&format!("ORLOP_{name}"), value);
    }
    entry
}

/// RFC 3164 as syslog(3) sends it, of facility daemon. The time is left to the receiver: the format has no
/// time zone.
fn syslog_line(record: &Record<'_>, id: &str, pid: u32) -> String {
    const DAEMON: u8 = 3;
    let mut line = format!("<{}>{id}[{pid}]: ", (DAEMON << 3) | record.level.severity());
    escape_text(&mut line, beginning(record.message), Quotes::Plain);
    line
}

fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(DATAGRAM)).unwrap_or(text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// As they are.
    Plain,
    /// With a backslash, and backslashes too.
    Escaped,
}

/// Writes `text` so that it stays one line and cannot steer a terminal: control characters, and the marks
/// that turn the direction of writing, are written as escapes.
fn escape_text(line: &mut String, text: &str, quotes: Quotes) {
    for letter in text.chars() {
        match letter {
            '"' | '\\' if quotes == Quotes::Escaped => line.extend(['\\', letter]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if letter.is_ascii_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(letter));
            }
            _ if letter.is_control() || turns_direction(letter) => {
                let _ = write!(line, "\\u{:04x}", u32::from(letter));
            }
            _ => line.push(letter),
        }
    }
}

fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// RFC 8259, section 7. Beyond what that demands, the characters that [`escape_text`] escapes are written as
/// numbers.
fn escape_json(line: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '"' | '\\' => line.extend(['\\', letter]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if letter.is_control() || turns_direction(letter) => {
                let _ = write!(line, "\\u{:04x}", u32::from(letter));
            }
            _ => line.push(letter),
        }
    }
}

#[cfg(test)]
mod tests;
