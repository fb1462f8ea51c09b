//! ptrace, for two purposes: ending a command at a chosen system call, and reading its peak memory from inside.
//!
//! A traced command starts as a shell that stops itself, is seized, and then becomes the command: the first system
//! call that counts is the command's own first. Start at [`kill_at`] and [`peaks`].

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// How a command ended that was to be killed at its k-th system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was killed before that call was made.
    Killed,
    /// It ended by itself with this code, after this many calls.
    Ended {
        /// Exit code.
        code: i32,
        /// System calls made.
        calls: u64,
    },
}

/// Runs `command` and kills it, and only it, when it is about to make its `k`-th system call (from 1).
///
/// Its children are not traced: what becomes of them is the kernel's business and the command's own provision.
#[track_caller]
pub fn kill_at(command: &Command, k: u64, output: &Path) -> End {
    let pid = start_seized(command, Options::PTRACE_O_EXITKILL, output);
    run_to_exec(pid);
    let mut calls = 0;
    let mut entering = false;
    let mut signal = None;
    loop {
        ptrace::syscall(pid, signal.take()).expect("ptrace");
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait") {
            WaitStatus::PtraceSyscall(_) if entering => {
                calls += 1;
                if calls == k {
                    return end_by_kill(pid);
                }
                entering = false;
            }
            // The first stop after the exec is the return of execve itself.
            WaitStatus::PtraceSyscall(_) => entering = true,
            WaitStatus::Stopped(_, received) => signal = Some(received),
            WaitStatus::Exited(_, code) => return End::Ended { code, calls },
            WaitStatus::Signaled(_, received, _) => panic!("ended by {received} before call {k}"),
            _ => {}
        }
    }
}

fn end_by_kill(pid: Pid) -> End {
    kill(pid, Signal::SIGKILL).expect("kill");
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait") {
            WaitStatus::Signaled(..) | WaitStatus::Exited(..) => return End::Killed,
            _ => {}
        }
    }
}

/// Starts the command stopped and seizes it.
#[track_caller]
#[allow(clippy::zombie_processes, reason = "the callers wait for it by its pid, as ptrace wants")]
fn start_seized(command: &Command, options: Options, output: &Path) -> Pid {
    let file = File::create(output).expect("output");
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell.stdin(Stdio::null()).stdout(file.try_clone().expect("output")).stderr(file);
    let child = shell.spawn().expect("shell");
    let pid = Pid::from_raw(child.id().cast_signed());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("wait");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    ptrace::seize(pid, options | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD)
        .expect("seize");
    pid
}

/// Lets a seized shell go on until it has become the command.
#[track_caller]
fn run_to_exec(pid: Pid) {
    kill(pid, Signal::SIGCONT).expect("continue");
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait") {
            WaitStatus::PtraceEvent(_, _, event) if event == libc::PTRACE_EVENT_EXEC => return,
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None).expect("ptrace"),
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, Some(signal)).expect("ptrace"),
            other => panic!("ended before it became the command: {other:?}"),
        }
    }
}

/// The peak memory of one program image: from its exec, or the clone that made it, to its next exec or its end.
#[derive(Debug, Clone)]
pub struct Peak {
    /// The process.
    pub pid: i32,
    /// What `/proc/PID/exe` named.
    pub program: String,
    /// Whether it ran in a pid namespace of its own, which is to say as the container's process.
    pub inside: bool,
    /// VmHWM in KiB: what this address space alone has ever had resident.
    pub kib: u64,
}

/// Runs `command` to its end with all its descendants and reads VmHWM of every address space just before it goes.
///
/// getrusage is of no use here: ru_maxrss is carried over fork and exec, so it shows the launcher's peak.
#[track_caller]
pub fn peaks(command: &Command, output: &Path) -> Vec<Peak> {
    let follow = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    let options = follow | Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL;
    let first = start_seized(command, options, output);
    run_to_exec(first);
    let mut peaks = Vec::new();
    let mut live: HashSet<Pid> = HashSet::from([first]);
    resume(first, None);
    while !live.is_empty() {
        let Some(status) = next_stop() else { break };
        let Some(pid) = status.pid() else { continue };
        live.insert(pid);
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                live.remove(&pid);
            }
            WaitStatus::PtraceSyscall(_) => {
                peaks.extend(is_exec(pid).then(|| peak(pid)).flatten());
                resume(pid, None);
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT) => {
                peaks.extend(peak(pid));
                resume(pid, None);
            }
            WaitStatus::Stopped(_, signal) => resume(pid, Some(signal)),
            _ => resume(pid, None),
        }
    }
    peaks
}

fn next_stop() -> Option<WaitStatus> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL)) {
            Ok(status) => return Some(status),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// A process that was killed while it was stopped is gone already; its end is reported by the next wait.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}

/// Whether the process stands in execve or execveat, about to give up its address space.
fn is_exec(pid: Pid) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = text.split(' ').next().and_then(|number| number.parse::<i64>().ok());
    number.is_some_and(|number| [libc::SYS_execve, libc::SYS_execveat].map(i64::from).contains(&number))
}

fn peak(pid: Pid) -> Option<Peak> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let kib = value("VmHWM:")?.trim_end_matches(" kB").parse().ok()?;
    let inside = value("NSpid:")?.split_whitespace().count() > 1;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?.to_string_lossy().into_owned();
    Some(Peak { pid: pid.as_raw(), program, inside, kib })
}
