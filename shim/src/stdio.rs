//! The streams of a process: what containerd names, opened.
//!
//! Without a terminal the container gets pipes, and the shim copies between them and the client's fifos or files. With one
//! it gets the terminal, whose master arrives once the process exists. A stream that is named by nothing is /dev/null.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, open, stat};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::container::Key;
use crate::copy::{Copier, Direction, Sink};
use crate::failure::{Code, Failure, Outcome};
use crate::logger;
use crate::options::Options;
use crate::runtime::Streams;

/// The streams as containerd names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stdio {
    /// Standard input.
    pub(crate) stdin: String,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Whether the process has a terminal.
    pub(crate) terminal: bool,
}

/// Streams that are ready for a new process.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What the process gets.
    pub(crate) streams: Streams,
    /// What the shim copies from now on.
    pub(crate) copiers: Vec<Copier>,
    /// With a terminal and a logging binary: where the terminal's output goes.
    pub(crate) logger_input: Option<OwnedFd>,
}

/// The descriptors of `streams`, which a helper needs.
pub(crate) fn kept(streams: &Streams) -> Vec<RawFd> {
    let logger = streams.logger.iter().flat_map(|logger| &logger.pipes);
    streams.descriptors.iter().chain(logger).map(AsRawFd::as_raw_fd).collect()
}

fn failed(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::unknown(format!("open the stream {what}: {why}"))
}

fn null() -> Outcome<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("/dev/null", errno))
}

/// A pipe whose owner the options name.
fn pipe(options: &Options) -> Outcome<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("pipe", errno))?;
    if (options.io_uid, options.io_gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(options.io_uid)), Some(Gid::from_raw(options.io_gid)));
        // Both ends are one inode.
        fchown(&reader, owner.0, owner.1).map_err(|errno| failed("pipe", errno))?;
    }
    Ok((reader, writer))
}

fn is_fifo(path: &Path) -> bool {
    stat(path).is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode) == FileType::Fifo)
}

impl Stdio {
    /// Opens what the process `key` needs at its creation.
    ///
    /// # Errors
    /// A stream that cannot be opened, or has a scheme that is not known.
    pub(crate) fn prepare(&self, key: &Key, namespace: &str, options: &Options) -> Outcome<Prepared> {
        let names = || [key.container.clone(), namespace.to_owned()];
        let logs = self.stdout.starts_with("binary");
        let (logger, writers) = if logs {
            let (out, err) = (pipe(options)?, pipe(options)?);
            let logger = logger::Start::parse(&self.stdout, names(), [out.0, err.0]);
            (Some(logger.ok_or_else(|| unknown_scheme(&self.stdout))?), Some((out.1, err.1)))
        } else {
            (None, None)
        };
        if self.terminal {
            let streams = Streams { descriptors: [null()?, null()?, null()?], terminal: true, logger };
            return Ok(Prepared { streams, copiers: Vec::new(), logger_input: writers.map(|(out, _)| out) });
        }
        let mut copiers = Vec::new();
        let stdin = self.input(key, options, &mut copiers)?;
        let (stdout, stderr) = match writers {
            Some(writers) => writers,
            None => (
                output(&self.stdout, key, options, &mut copiers)?,
                output(&self.stderr, key, options, &mut copiers)?,
            ),
        };
        let streams = Streams { descriptors: [stdin, stdout, stderr], terminal: false, logger };
        Ok(Prepared { streams, copiers, logger_input: None })
    }

    fn input(&self, key: &Key, options: &Options, copiers: &mut Vec<Copier>) -> Outcome<OwnedFd> {
        let Some(path) = fifo_path(&self.stdin)? else { return null() };
        if !is_fifo(&path) {
            return open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| failed(&self.stdin, errno));
        }
        let (reader, writer) = pipe(options)?;
        non_blocking(&writer)?;
        copiers.push(self.input_copier(key, &path, writer)?);
        Ok(reader)
    }

    fn input_copier(&self, key: &Key, path: &Path, sink: OwnedFd) -> Outcome<Copier> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source =
            open(path, OFlags::RDONLY | flags, Mode::empty()).map_err(|errno| failed(&self.stdin, errno))?;
        let mut copier = Copier::new(key.clone(), Direction::In, source, Sink::Open(sink));
        // While the shim holds a writer, a client that goes away does not end the container's input; CloseIO does.
        copier.hold = open(path, OFlags::WRONLY | flags, Mode::empty()).ok();
        Ok(copier)
    }

    /// The copiers of a process whose terminal has the master `console`.
    ///
    /// # Errors
    /// A stream that cannot be opened.
    pub(crate) fn attach(
        &self,
        key: &Key,
        console: &OwnedFd,
        logger: Option<OwnedFd>,
    ) -> Outcome<Vec<Copier>> {
        non_blocking(console)?;
        let copy = || console.as_fd().try_clone_to_owned().map_err(|error| failed("console", error));
        let mut copiers = Vec::new();
        let sink = match logger {
            Some(input) => {
                non_blocking(&input)?;
                Some(Sink::Open(input))
            }
            None => sink(&self.stdout)?,
        };
        // Without a client the output is still read, so that the terminal never fills up.
        copiers.push(Copier::new(key.clone(), Direction::Out, copy()?, sink.unwrap_or(Sink::Gone)));
        if let Some(path) = fifo_path(&self.stdin)?.filter(|path| is_fifo(path)) {
            copiers.push(self.input_copier(key, &path, copy()?)?);
        }
        Ok(copiers)
    }
}

fn output(name: &str, key: &Key, options: &Options, copiers: &mut Vec<Copier>) -> Outcome<OwnedFd> {
    let Some(sink) = sink(name)? else { return null() };
    let (reader, writer) = pipe(options)?;
    non_blocking(&reader)?;
    copiers.push(Copier::new(key.clone(), Direction::Out, reader, sink));
    Ok(writer)
}

/// Where output goes that is named `name`; `None` where it is not wanted.
fn sink(name: &str) -> Outcome<Option<Sink>> {
    if let Some(path) = name.strip_prefix("file://") {
        return append(Path::new(path)).map(|file| Some(Sink::Open(file)));
    }
    match fifo_path(name)? {
        None => Ok(None),
        Some(path) if is_fifo(&path) => Ok(Some(Sink::Fifo(path))),
        Some(path) => append(&path).map(|file| Some(Sink::Open(file))),
    }
}

fn append(path: &Path) -> Outcome<OwnedFd> {
    let why = |error: Errno| failed(&path.display().to_string(), error);
    if let Some(parent) = path.parent() {
        let made = std::fs::create_dir_all(parent);
        made.map_err(|error| failed(&parent.display().to_string(), error))?;
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    open(path, flags, Mode::from_raw_mode(0o644)).map_err(why)
}

/// The path of a fifo: a name without a scheme, or with `fifo`.
fn fifo_path(name: &str) -> Outcome<Option<PathBuf>> {
    let path = name.strip_prefix("fifo://").unwrap_or(name);
    match path {
        "" => Ok(None),
        path if path.contains("://") => Err(unknown_scheme(name)),
        path => Ok(Some(PathBuf::from(path))),
    }
}

fn unknown_scheme(name: &str) -> Failure {
    Failure::new(Code::InvalidArgument, format!("stream {name:?}: unknown scheme"))
}

fn non_blocking(fd: &OwnedFd) -> Outcome<()> {
    ioctl_fionbio(fd, true).map_err(|errno| failed("pipe", errno))
}
