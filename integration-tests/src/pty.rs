//! A terminal of the test's own: a pty with a command on its other side, as a person would have it.
//!
//! util-linux `setsid --ctty` makes it the controlling terminal of the command.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A pty, and the command that runs on it.
pub struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    /// The command; `setsid` becomes it, so its pid is the command's.
    pub child: Child,
    seen: String,
}

/// Starts `command` on a new terminal of that size.
#[track_caller]
pub fn start(command: &Command, rows: u16, columns: u16) -> Terminal {
    let (master, slave) = open();
    tcsetwinsize(&master, size(rows, columns)).expect("size");
    let mut wrapped = Command::new("/usr/bin/setsid");
    wrapped.arg("--ctty").arg("--wait").arg(command.get_program()).args(command.get_args());
    let end = || slave.try_clone().expect("slave");
    let child = wrapped.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid");
    Terminal { master, slave, child, seen: String::new() }
}

/// A new pty: master and slave.
pub fn open() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).expect("openpt");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let slave = ioctl_tiocgptpeer(&master, flags).expect("pty peer");
    (master, slave)
}

impl Terminal {
    /// Types `text`.
    pub fn send(&self, text: &str) {
        write_all(&self.master, text);
    }

    /// Reads until `text` has appeared; returns everything seen since the last call.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "`{text}` did not appear on the terminal: {:?}", self.seen);
            self.seen.push_str(&read_some(&self.master, Duration::from_millis(100)));
        }
        let end = self.seen.find(text).map_or(0, |at| at + text.len());
        let rest = self.seen.split_off(end);
        std::mem::replace(&mut self.seen, rest)
    }

    /// Changes the size; the kernel sends SIGWINCH to the foreground process group.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).expect("size");
    }

    /// The modes of the terminal, as the next user of it would find them.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.slave).expect("terminal modes")
    }

    /// Whether the terminal is in raw mode now.
    pub fn is_raw(&self) -> bool {
        !self.modes().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the command's end and returns its exit code, and what it printed since the last `expect`.
    ///
    /// It reads all the while, because a writer to a full terminal waits for its reader.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.child.try_wait().expect("wait");
            let text = read_some(&self.master, Duration::from_millis(20));
            self.seen.push_str(&text);
            match status {
                Some(status) if text.is_empty() => return (status.code(), self.seen),
                None if Instant::now() > deadline => break,
                _ => {}
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        panic!("did not end; the terminal shows {:?}", self.seen)
    }
}

/// Text that reaches a terminal's master within `limit`; empty at its end.
pub fn read_some(master: &OwnedFd, limit: Duration) -> String {
    let mut waiting = [PollFd::new(master, PollFlags::IN)];
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    if poll(&mut waiting, Some(&limit)).unwrap_or(0) == 0 {
        return String::new();
    }
    let mut buffer = [0u8; 4096];
    let count = rustix::io::read(master, &mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// Writes all of `text`.
pub fn write_all(master: &OwnedFd, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let count = rustix::io::write(master, rest).expect("write to the terminal");
        rest = &rest[count..];
    }
}

/// Rows and columns of a terminal.
pub fn size_of(terminal: &OwnedFd) -> (u16, u16) {
    let size = tcgetwinsize(terminal).expect("size");
    (size.ws_row, size.ws_col)
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
