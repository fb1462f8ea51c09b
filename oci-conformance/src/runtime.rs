//! The runtime that is judged: a program with runc's command line, called with a deadline.
//!
//! Start at [`Runtime::call`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A call that takes longer is ended and counts as failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A runtime, or a broken wrapper of one.
#[derive(Clone)]
pub(crate) struct Runtime {
    /// What reports call it.
    pub(crate) name: String,
    /// The program and the words before a runtime's own arguments.
    prefix: Vec<String>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// The exit status; `None` after a signal or the deadline.
    pub(crate) status: Option<i32>,
    /// The end of what it and the container wrote to standard error.
    pub(crate) said: String,
}

impl Done {
    /// Whether it reported success.
    pub(crate) fn ok(&self) -> bool {
        self.status == Some(0)
    }
}

impl Runtime {
    /// The runtime at a path; its name in reports is its file name, or what stands before `=`.
    pub(crate) fn new(argument: &str) -> Runtime {
        let named = argument.split_once('=').map(|(name, path)| (name.to_owned(), path.to_owned()));
        let (name, path) = named.unwrap_or_else(|| {
            let name = Path::new(argument).file_name().map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_else(|| argument.to_owned()), argument.to_owned())
        });
        Runtime { name, prefix: vec![path] }
    }

    /// A wrapper of this runtime that breaks a row.
    pub(crate) fn broken(&self, row: &str, program: &Path) -> Runtime {
        let words =
            [program.display().to_string(), "broken".to_owned(), row.to_owned(), "--runtime".to_owned()];
        let prefix = words.into_iter().chain(self.prefix.iter().cloned()).chain(["--".to_owned()]).collect();
        Runtime { name: format!("{} that breaks {row}", self.name), prefix }
    }

    /// Runs a command of it. Output goes to a file, because a container may keep a pipe open for as long as it lives.
    pub(crate) fn call(&self, arguments: &[&str], out: &Path, err: &Path) -> io::Result<Done> {
        let mut words = self.prefix.iter();
        let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(words)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::options().append(true).create(true).open(out)?)
            .stderr(File::create(err)?)
            .spawn()?;
        let status = wait(&mut child)?;
        let text = std::fs::read(err).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let start = text.char_indices().rev().nth(400).map_or(0, |(place, _)| place);
        Ok(Done { status, said: text.get(start..).unwrap_or_default().trim().to_owned() })
    }

    /// The program itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.prefix.first().map(PathBuf::from).unwrap_or_default()
    }
}

fn wait(child: &mut Child) -> io::Result<Option<i32>> {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
