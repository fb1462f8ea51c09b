//! Programs of the host that the runtime runs: hooks, and the helpers that write id maps.
//!
//! They get an environment of their own, three descriptors, a process group and a deadline, and nothing else of the
//! caller.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::time::Timespec;
use sys::error::Context;

use crate::config::hooks::Hook;
use crate::{Error, Kind, Result};

/// How much of what a program printed is quoted in an error, in bytes from the end.
const QUOTED: i64 = 1024;

/// Runs hooks one after the other; the first that fails ends it.
///
/// # Errors
/// `Hook`, with what the hook printed.
pub fn run_hooks<'a>(
    hooks: impl IntoIterator<Item = &'a Hook>,
    state: &str,
    default: Duration,
) -> Result<()> {
    hooks.into_iter().try_for_each(|hook| run_hook(hook, state, default))
}

/// Runs one hook with the container's state on its standard input.
///
/// # Errors
/// `Hook`, with what the hook printed.
pub fn run_hook(hook: &Hook, state: &str, default: Duration) -> Result<()> {
    let timeout = hook.timeout_ms.map_or(default, |ms| Duration::from_millis(ms.into()));
    let mut command = command(OsStr::new(&hook.path));
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    run(command, state.as_bytes(), timeout)
        .map_err(|error| error.with_kind(Kind::Hook).with_key(hook.key.clone()))
}

/// Runs a helper of the host with arguments, an empty standard input and PATH as the caller has it.
///
/// # Errors
/// `Kernel` where it cannot be run or fails, with what it printed.
pub fn run_helper(program: &str, args: &[String], timeout: Duration) -> Result<()> {
    let mut command = command(OsStr::new(program));
    command.args(args).envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    run(command, b"", timeout)
}

/// Runs a program of the host with an empty standard input and PATH as the caller has it, and returns what it printed.
///
/// # Errors
/// `Kernel` where it cannot be run or fails, with what it printed.
pub fn output_of(program: &str, args: &[OsString], timeout: Duration) -> Result<String> {
    let mut command = command(OsStr::new(program));
    command.args(args).envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let mut output = collector(program)?;
    run_into(command, b"", timeout, &output)?;
    let what = || format!("read what {program} printed");
    output.rewind().context("lseek", what)?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).context("read", what)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that takes what a program prints.
pub(super) fn collector(program: &str) -> Result<File> {
    let what = || format!("run {program}");
    Ok(memfd_create("orlop-output", MemfdFlags::CLOEXEC).context("memfd_create", what)?.into())
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn command(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").process_group(0).stdin(Stdio::piped());
    sys::process::close_extra_descriptors(&mut command);
    command
}

fn run(command: Command, input: &[u8], timeout: Duration) -> Result<()> {
    let output = collector(&command.get_program().to_string_lossy())?;
    run_into(command, input, timeout, &output)
}

fn run_into(mut command: Command, input: &[u8], timeout: Duration, output: &File) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let what = || format!("run {name}");
    let copies = (output.try_clone().context("dup", what)?, output.try_clone().context("dup", what)?);
    let mut child = command.stdout(copies.0).stderr(copies.1).spawn().context("execve", what)?;
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is not an error. What exceeds a pipe would block on one that neither
        // reads nor ends, so the write is made in a loop that watches the deadline.
        write_until(&mut stdin, input, Instant::now() + timeout);
    }
    let output = output.try_clone().context("dup", what)?;
    finish(child, &name, output, timeout)
}

fn write_until(stdin: &mut std::process::ChildStdin, mut input: &[u8], deadline: Instant) {
    while !input.is_empty() && Instant::now() < deadline {
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if poll(&mut [PollFd::new(&*stdin, PollFlags::OUT)], Some(&wait)) == Ok(0) {
            continue;
        }
        // A pipe that is ready takes PIPE_BUF bytes without blocking.
        match stdin.write(input.get(..input.len().min(4096)).unwrap_or_default()) {
            Ok(written) => input = input.get(written..).unwrap_or_default(),
            Err(_) => return,
        }
    }
}

fn finish(mut child: Child, name: &str, output: File, timeout: Duration) -> Result<()> {
    let what = || format!("run {name}");
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open", what)?;
    let ended = ends_within(&pidfd, timeout)?;
    if !ended {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait().context("waitid", what)?;
    let printed = tail(&output);
    let seconds = timeout.as_secs_f32();
    match (ended, status.success()) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::new(
            Kind::Timeout,
            format!("{}: killed after its timeout of {seconds} s{printed}", what()),
        )),
        (true, false) => Err(Error::new(Kind::Kernel, format!("{}: {status}{printed}", what()))),
    }
}

fn ends_within(pidfd: &OwnedFd, timeout: Duration) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&wait)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("wait for a program", "poll", errno)),
        }
    }
}

/// The end of what a program printed, on one line, for an error.
pub(crate) fn tail(mut output: &File) -> String {
    let mut bytes = Vec::new();
    if output.seek(SeekFrom::End(-QUOTED)).is_err() {
        let _ = output.rewind();
    }
    let _ = output.take(QUOTED.unsigned_abs()).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {}", text.replace('\n', " | ")) }
}
