//! Starts commands with files as their output and a deadline, and looks at processes by number.
//!
//! Files, because a container that stays alive keeps a pipe open and a reader of that pipe waits for it.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command line, as a person would type it.
    pub line: String,
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Wall-clock time from start to end.
    pub took: Duration,
}

impl Ran {
    /// The command must have ended with 0.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "expected success of {self}");
        self
    }

    /// The command must have ended by itself with a failure: not by a signal and not by a panic's exit code.
    #[track_caller]
    pub fn fails(self) -> Ran {
        let code = self.code.unwrap_or_else(|| panic!("ended by a signal: {self}"));
        assert!(code != 0, "expected a failure of {self}");
        assert!(!self.err.contains("panicked at"), "panicked: {self}");
        self
    }

    /// Standard error must contain `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.err.contains(text), "expected `{text}` on standard error of {self}");
        self
    }

    /// Standard error must contain `text`, in capitals or not.
    #[track_caller]
    pub fn says_any(self, texts: &[&str]) -> Ran {
        let err = self.err.to_lowercase();
        let found = texts.iter().any(|text| err.contains(&text.to_lowercase()));
        assert!(found, "expected one of {texts:?} on standard error of {self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = match (self.code, self.signal) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        writeln!(formatter, "$ {}\n  [{end}, {} ms]", self.line, self.took.as_millis())?;
        let streams =
            self.out.lines().map(|line| ("1", line)).chain(self.err.lines().map(|line| ("2", line)));
        streams.take(40).try_for_each(|(stream, line)| {
            writeln!(formatter, "  {stream}| {}", line.chars().take(600).collect::<String>())
        })
    }
}

/// A command that runs, with its output in files of the directory it was given.
pub struct Running {
    /// The process.
    pub child: Child,
    line: String,
    out: PathBuf,
    err: PathBuf,
    began: Instant,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Starts `command` with /dev/null as input and files in `dir` as output.
#[track_caller]
pub fn start(command: &mut Command, dir: &Path) -> Running {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let (out, err) = (dir.join(format!("out.{serial}")), dir.join(format!("err.{serial}")));
    let line = line_of(command);
    command.stdin(Stdio::null());
    command.stdout(File::create(&out).expect("output file"));
    command.stderr(File::create(&err).expect("error file"));
    let began = Instant::now();
    let child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
    Running { child, line, out, err, began }
}

/// Runs `command` to its end; after `limit` it is killed and the test fails.
#[track_caller]
pub fn run(command: &mut Command, dir: &Path, limit: Duration) -> Ran {
    start(command, dir).end(limit)
}

impl Running {
    /// What it has written so far: standard output, standard error.
    pub fn output(&self) -> (String, String) {
        (read_lossy(&self.out), read_lossy(&self.err))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pid")
    }

    /// Waits for its end; after `limit` it is killed and the test fails.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> Ran {
        let status = wait(&mut self.child, limit);
        let took = self.began.elapsed();
        let (out, err) = self.output();
        let _ = fs::remove_file(&self.out);
        let _ = fs::remove_file(&self.err);
        let line = self.line.clone();
        let Some(status) = status else {
            panic!("did not end within {limit:?}: {line}\n1| {out}\n2| {err}");
        };
        Ran { line, code: status.code(), signal: status.signal(), out, err, took }
    }
}

/// Waits for a child without a signal handler; kills it at the deadline and returns `None`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Asks `check` until it is true; fails the test with `what` after `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !check() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether process `pid` exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
