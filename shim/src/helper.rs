//! A forked process for each thing that may take long: it does it, reports once, and ends.
//!
//! ```text
//! shim                      helper                       container
//!  |-- fork ------------------>|
//!  | (the loop goes on)        |-- clone, or run a binary -->|
//!  |<-- report: pidfd, ... ----|                             |
//!  |                           exits; the shim is the subreaper, so the
//!  |                           container's process becomes its child
//! ```
//!
//! The report is sent before the helper ends. So whoever looks at the children of the shim after having read all reports
//! knows every process that matters, however short it lived.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use prost::Message;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Signal, set_child_subreaper, set_parent_process_death_signal};
use sys::daemon::{Fork, fork};
use sys::fd::{CLOSE_RANGE_CLOEXEC, close_range};

use crate::failure::{Code, Failure, Outcome};

/// The most descriptors in a report.
const DESCRIPTORS: usize = 3;

/// What a helper says at its end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Report {
    /// The pid of the process that was made.
    #[prost(int32, tag = "1")]
    pub(crate) pid: i32,
    /// Where its cgroups are, as JSON of the cgroups crate.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) cgroup: Vec<u8>,
    /// 1 if the container's processes outlive its first one: it has no pid namespace of its own.
    #[prost(bool, tag = "3")]
    pub(crate) shared_pids: bool,
    /// The answer to the call, where the helper knows it.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) payload: Vec<u8>,
    /// Which descriptors follow, in this order.
    #[prost(bool, tag = "5")]
    pub(crate) has_pidfd: bool,
    #[prost(bool, tag = "6")]
    pub(crate) has_console: bool,
    #[prost(bool, tag = "7")]
    pub(crate) has_logger: bool,
    /// Not zero where it failed.
    #[prost(uint32, tag = "8")]
    pub(crate) code: u32,
    #[prost(string, tag = "9")]
    pub(crate) text: String,
    /// Always 1, so that no report is empty: that is what the end of a helper looks like.
    #[prost(bool, tag = "10")]
    pub(crate) reported: bool,
}

/// A report with its descriptors.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What is said.
    pub(crate) report: Report,
    /// The process that was made.
    pub(crate) pidfd: Option<OwnedFd>,
    /// The master of its terminal.
    pub(crate) console: Option<OwnedFd>,
    /// The program that keeps its output.
    pub(crate) logger: Option<OwnedFd>,
}

/// Forks a helper. `keep` are the descriptors that `work` uses; it has no others of the shim, so that it holds none of the
/// streams of other processes open. The value is the socket for [`receive`].
///
/// # Errors
/// Those of fork(2) and socketpair(2).
pub(crate) fn start(keep: &[RawFd], work: impl FnOnce() -> Outcome<Done>) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let shim = rustix::process::getpid();
    if let Fork::Parent(_) = fork()? {
        return Ok(ours);
    }
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid() != Some(shim) {
        sys::clone::exit(1);
    }
    // What a runtime's binary leaves behind becomes a child of the helper first, which then knows it.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
    let mut kept = keep.to_vec();
    kept.push(theirs.as_raw_fd());
    close_others(kept);
    raise_oom_score();
    let _ = rustix::io::ioctl_fionbio(&theirs, false);
    let done = work().unwrap_or_else(|failure| failed(&failure));
    sys::clone::exit(i32::from(send(&theirs, &done).is_err()))
}

fn failed(failure: &Failure) -> Done {
    let mut text = failure.text.clone();
    if text.len() > 16 << 10 {
        text = text.chars().take(4 << 10).collect();
    }
    Done { report: Report { code: failure.code as u32, text, ..Report::default() }, ..Done::default() }
}

/// Closes every descriptor from 3 on that is not in the list.
fn close_others(mut kept: Vec<RawFd>) {
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.into_iter().filter_map(|number| u32::try_from(number).ok()) {
        if number > first {
            let _ = close_range(first, number - 1, 0);
        }
        first = first.max(number + 1);
    }
    let _ = close_range(first, u32::MAX, 0);
    debug_assert_ne!(CLOSE_RANGE_CLOEXEC, 0);
}

/// The shim is protected from the OOM killer; what it starts for a container is not, unless the configuration says so.
fn raise_oom_score() {
    let path = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score < 0) {
        let _ = std::fs::write(path, "0");
    }
}

fn send(socket: &OwnedFd, done: &Done) -> Result<(), Errno> {
    let report = Report {
        has_pidfd: done.pidfd.is_some(),
        has_console: done.console.is_some(),
        has_logger: done.logger.is_some(),
        reported: true,
        ..done.report.clone()
    };
    let descriptors = [&done.pidfd, &done.console, &done.logger];
    let descriptors: Vec<_> = descriptors.into_iter().flatten().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let bytes = report.encode_to_vec();
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// The report of a helper. `None` while there is none.
///
/// # Errors
/// What the helper failed with, or UNKNOWN where it ended without a report.
pub(crate) fn receive(socket: &OwnedFd) -> Option<Outcome<Done>> {
    match receive_raw(socket) {
        Ok(Some(done)) if done.report.code == 0 => Some(Ok(done)),
        Ok(Some(done)) => Some(Err(Failure::new(Code::from_number(done.report.code), done.report.text))),
        Ok(None) => Some(Err(Failure::unknown("the helper that did this was killed"))),
        Err(Errno::AGAIN | Errno::INTR) => None,
        Err(errno) => Some(Err(Failure::unknown(format!("receive a report: {errno}")))),
    }
}

fn receive_raw(socket: &OwnedFd) -> Result<Option<Done>, Errno> {
    let (_, length) = recv(socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors = descriptors.next().into_iter().flatten();
    let report = Report::decode(bytes.as_slice()).map_err(|_| Errno::PROTO)?;
    let mut next = |has: bool| if has { descriptors.next() } else { None };
    let (pidfd, console, logger) =
        (next(report.has_pidfd), next(report.has_console), next(report.has_logger));
    Ok(Some(Done { report, pidfd, console, logger }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(socket: &OwnedFd) -> Outcome<Done> {
        loop {
            match receive(socket) {
                Some(outcome) => return outcome,
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn a_report_arrives_with_its_descriptors() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let file = |name: &str| OwnedFd::from(std::fs::File::open(name).unwrap());
        let done = Done {
            report: Report { pid: 7, payload: vec![1; 100_000], ..Report::default() },
            console: Some(file("/dev/null")),
            logger: Some(file("/dev/zero")),
            ..Done::default()
        };
        send(&theirs, &done).unwrap();
        let got = wait(&ours).unwrap();
        assert_eq!((got.report.pid, got.report.payload.len()), (7, 100_000));
        assert!(got.pidfd.is_none());
        let mut byte = [1];
        assert_eq!(rustix::io::read(got.console.unwrap(), &mut byte), Ok(0));
        assert_eq!(rustix::io::read(got.logger.unwrap(), &mut byte), Ok(1));
        drop(theirs);
        assert_eq!(wait(&ours).unwrap_err().code, Code::Unknown);
    }
}
