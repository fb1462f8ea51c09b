//! `binary://`: a program that reads what a container prints.
//!
//! It gets the container's output on descriptors 3 and 4 and says on 5 that it is ready, by a byte or by closing it. Of
//! the environment it has the names of the container and of the namespace only.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use sys::daemon::{Fork, fork};
use sys::fd::{close_range, dup_to};

use crate::failure::{Failure, Outcome};

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// What end of file without a byte means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Ready: `binary://`.
    Ready,
    /// A failure: `binary-v2://`.
    Failed,
}

/// A logger to start.
#[derive(Debug)]
pub(crate) struct Start {
    /// The program.
    pub(crate) program: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// The container and the namespace.
    pub(crate) names: [String; 2],
    /// The reading ends of the output.
    pub(crate) pipes: [OwnedFd; 2],
    /// What end of file means.
    pub(crate) silence: Silence,
}

impl Start {
    /// Reads `binary://PATH?key=value&...`.
    pub(crate) fn parse(url: &str, names: [String; 2], pipes: [OwnedFd; 2]) -> Option<Self> {
        let (silence, rest) = match (url.strip_prefix("binary://"), url.strip_prefix("binary-v2://")) {
            (Some(rest), _) => (Silence::Ready, rest),
            (_, Some(rest)) => (Silence::Failed, rest),
            _ => return None,
        };
        let (program, query) = rest.split_once('?').unwrap_or((rest, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let words = pairs.flat_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            [decode(key), decode(value)].into_iter().filter(|word| !word.is_empty())
        });
        Some(Self { program: decode(program), args: words.collect(), names, pipes, silence })
    }

    /// Starts it and waits until it is ready. The value is a pidfd.
    ///
    /// # Errors
    /// Where it cannot be run, ends at once or takes too long.
    pub(crate) fn run(self) -> Outcome<OwnedFd> {
        let failed = |what: String| Failure::unknown(format!("logging binary {}: {what}", self.program));
        let (ready, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.to_string()))?;
        let pid = match fork().map_err(|errno| failed(errno.to_string()))? {
            Fork::Child => self.become_it(&theirs),
            Fork::Parent(pid) => pid,
        };
        drop(theirs);
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let pidfd = pidfd.ok_or_else(|| failed("it has ended".to_owned()))?;
        let wait = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        if poll(&mut [PollFd::new(&ready, PollFlags::IN)], Some(&wait)) == Ok(0) {
            return Err(failed("it is not ready".to_owned()));
        }
        let byte = rustix::io::read(&ready, &mut [0_u8; 1]).unwrap_or(0);
        if byte == 0 && self.silence == Silence::Failed {
            return Err(failed("it ended before it was ready".to_owned()));
        }
        Ok(pidfd)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program is the user's, with an environment of its own"
    )]
    fn become_it(&self, ready: &OwnedFd) -> ! {
        let [stdout, stderr] = &self.pipes;
        let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 16);
        if let (Ok(stdout), Ok(stderr), Ok(ready)) = (high(stdout), high(stderr), high(ready)) {
            let placed = [(&stdout, 3), (&stderr, 4), (&ready, 5)].map(|(fd, to)| dup_to(fd, to).is_ok());
            let keep = [stdout.as_raw_fd(), stderr.as_raw_fd(), ready.as_raw_fd()];
            debug_assert!(keep.iter().all(|number| *number > 5));
            if placed.iter().all(|placed| *placed)
                && close_range(6, u32::MAX, sys::fd::CLOSE_RANGE_CLOEXEC).is_ok()
            {
                sys::signal::set_mask(0, None);
                let [id, namespace] = &self.names;
                let mut command = Command::new(&self.program);
                command
                    .args(&self.args)
                    .env_clear()
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command.env("CONTAINER_ID", id).env("CONTAINER_NAMESPACE", namespace);
                let _ = rustix::process::set_parent_process_death_signal(None);
                let _ = command.exec();
            }
        }
        sys::clone::exit(127)
    }
}

/// `%41` and `+` as in a query.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?')),
                _ => bytes.push(b'?'),
            },
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipes() -> [OwnedFd; 2] {
        [(), ()].map(|()| std::fs::File::open("/dev/null").unwrap().into())
    }

    fn names() -> [String; 2] {
        ["c".to_owned(), "n".to_owned()]
    }

    #[test]
    fn the_query_becomes_arguments() {
        let start = Start::parse("binary:///bin/l%6Fg?id=a+b&--x=", names(), pipes()).unwrap();
        assert_eq!(
            (start.program.as_str(), start.args.as_slice()),
            ("/bin/log", &["id", "a b", "--x"].map(String::from)[..])
        );
        assert_eq!(Start::parse("binary-v2:///l", names(), pipes()).unwrap().silence, Silence::Failed);
        assert!(Start::parse("file:///l", names(), pipes()).is_none());
    }
}
