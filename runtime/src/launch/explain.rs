//! What a failure of the child means: the texts that engines match, and hints where an errno misleads.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use child::page::{KILLED, Page, Report};
use child::{List, Op};
use rustix::io::Errno;
use rustix::process::{Signal, WaitIdStatus};
use serde::{Deserialize, Serialize};

use super::diagnose::{self, Program};
use super::spawned::how;
use crate::state::State;
use crate::step::Step;
use crate::{Error, Kind, procfs};

/// The steps that follow start, as texts: another process than the one that made the plan explains their failures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LateSteps {
    /// The index of the first of them in the plan.
    first: u32,
    /// Key and object of each.
    texts: Vec<(String, String)>,
    /// The name of the program, `args[0]`.
    program: String,
    /// What execve(2) is asked for.
    tried: Tried,
    /// The descriptor of init to which hooks print.
    hook_output: Option<i32>,
    /// What the hooks' own timeouts add to the deadline, in milliseconds.
    patience_ms: u64,
}

impl LateSteps {
    /// The steps of a plan after the one that waits for start; `patience` is what the hooks' own timeouts sum up to.
    pub fn of(steps: &[Step<'_>], patience: Duration) -> Self {
        let wait =
            steps.iter().position(|step| matches!(step.op, Op::AwaitStart { .. })).unwrap_or(steps.len());
        let late = steps.get(wait + 1..).unwrap_or_default();
        let hook_output = late.iter().find_map(|step| match step.op {
            Op::Hook { hook } => Some(hook.output.0),
            _ => None,
        });
        Self {
            first: u32::try_from(wait + 1).unwrap_or(u32::MAX),
            texts: late.iter().map(|step| (step.key.to_string(), step.op.to_string())).collect(),
            program: program_of(late),
            tried: tried(steps),
            hook_output,
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Logs those that ran.
    pub fn log(&self, page: &Page) {
        crate::phase::log_steps(page, self.first, |index| self.text(index).cloned());
    }

    /// The descriptor of init to which the hooks of these steps print.
    pub fn hook_output(&self) -> Option<i32> {
        self.hook_output
    }

    /// What the hooks' own timeouts add to the deadline.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }

    /// What step `index` does, for the error about a deadline.
    pub fn doing(&self, index: u32, id: &str) -> String {
        match self.text(index) {
            Some((key, what)) if key.is_empty() => what.clone(),
            Some((key, what)) => format!("{key}: {what}"),
            None => format!("container {id}: wait for the program"),
        }
    }

    /// Whether the filter was loaded before step `index`.
    fn is_filtered(&self, index: u32) -> bool {
        let before = index.saturating_sub(self.first) as usize;
        self.texts.iter().take(before).any(|(key, _)| key == "linux.seccomp")
    }

    fn text(&self, index: u32) -> Option<&(String, String)> {
        self.texts.get(index.checked_sub(self.first)? as usize)
    }
}

/// What execve(2) is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tried {
    /// The files that may be the program.
    candidates: Vec<PathBuf>,
    /// The working directory.
    cwd: PathBuf,
}

fn tried(steps: &[Step<'_>]) -> Tried {
    let path = |text: &std::ffi::CStr| PathBuf::from(OsStr::from_bytes(text.to_bytes()));
    let mut found = Tried { candidates: Vec::new(), cwd: PathBuf::from("/") };
    for step in steps {
        match step.op {
            Op::FindExecutable { candidates } => found.candidates = candidates.iter().map(path).collect(),
            Op::WorkingDirectory { path: directory, .. } => found.cwd = path(directory.0),
            _ => {}
        }
    }
    found
}

/// Where the errno of a late step may be an answer of the filter.
const FILTERED: &str = "linux.seccomp was in force by then and may have refused the call";

/// What helps a user who has as many keys as the kernel allows one user.
const KEYS: &str = "the user has all the keys that kernel.keys.maxkeys allows; raise it, or share the caller's keyring with --no-new-keyring";

/// What failed before Ready, or at any step of an exec. `pids` are the process itself, which still waits unless a filter
/// was loaded, and the container's first; `printed` is what hooks printed.
pub fn failure(report: &Report, steps: &[Step<'_>], pids: [i32; 2], printed: impl Fn() -> String) -> Error {
    let Some(step) = steps.get(report.step as usize) else {
        return Error::kernel("set up the container", report.call().to_owned(), report.errno());
    };
    let error = match &step.op {
        Op::FindExecutable { candidates } => hinted(
            executable(report.errno(), *candidates, &program_of(steps)),
            pids,
            &tried(steps),
            report.errno(),
        ),
        Op::Execute { args, .. } => {
            let name = args.iter().next().map(|name| name.to_string_lossy().into_owned());
            hinted(execute(&name.unwrap_or_default(), report), pids, &tried(steps), report.errno())
        }
        Op::Hook { .. } => hook(&step.op.to_string(), report, &printed()),
        Op::Mount { data, .. } => mount(step, report, *data),
        Op::NewKeyring { .. } if report.errno() == Errno::DQUOT => {
            Error::kernel(step.op.to_string(), report.call().to_owned(), report.errno()).with_hint(KEYS)
        }
        _ => Error::kernel(step.op.to_string(), report.call().to_owned(), report.errno()),
    };
    let mut before = steps.iter().take(report.step as usize);
    let error = match report.errno() {
        Errno::PERM | Errno::NOSYS if before.any(|step| matches!(step.op, Op::Seccomp { .. })) => {
            error.with_hint(FILTERED)
        }
        _ => error,
    };
    if step.key.is_empty() { error } else { error.with_key(step.key.clone().into_owned()) }
}

/// mount(2) does not say which option it refuses; the child asked option by option afterwards.
fn mount(step: &Step<'_>, report: &Report, data: child::Text<'_>) -> Error {
    let error = Error::kernel(step.op.to_string(), report.call().to_owned(), report.errno());
    let data = data.0.to_string_lossy();
    let option = report.value.checked_sub(1).and_then(|index| data.split(',').nth(index as usize));
    match option {
        Some(option) => error.with_hint(format!("the file system refuses the option {option:?}")),
        None if matches!(report.errno(), Errno::LOOP | Errno::NOTDIR) => {
            error.with_hint("it must be mounted on ordinary directory, not on a symbolic link of the image")
        }
        None => error,
    }
}

/// The signal of a filter that kills.
const SIGSYS: u32 = 31;

/// A hook that the child ran.
fn hook(what: &str, report: &Report, printed: &str) -> Error {
    let status = match (report.call(), report.value) {
        (_, 0) => String::new(),
        (KILLED, SIGSYS) => {
            format!(" by signal {SIGSYS} (bad system call): linux.seccomp applies to the hook")
        }
        (KILLED, signal) => format!(" by signal {signal}"),
        (_, code) => format!(": exit status {code}"),
    };
    match report.errno() {
        Errno::TIMEDOUT => Error::new(Kind::Hook, format!("{what}: killed after its timeout{printed}")),
        // The errno belongs to a check of the child's own.
        Errno::CANCELED => Error::new(Kind::Hook, format!("{what}: {}{status}{printed}", report.call())),
        errno => Error::kernel(what.to_owned(), report.call().to_owned(), errno).with_kind(Kind::Hook),
    }
}

/// What execve(2) itself refused.
fn execute(name: &str, report: &Report) -> Error {
    let error = Error::kernel(format!("exec {name:?}"), report.call().to_owned(), report.errno());
    if report.errno() == Errno::NOENT { error.with_kind(Kind::NotFound) } else { error }
}

/// Adds the diagnosis, seen from the first of `pids` whose root can be opened.
fn hinted(error: Error, pids: [i32; 2], tried: &Tried, errno: Errno) -> Error {
    let proc = procfs::open().ok();
    let root = proc.and_then(|proc| pids.iter().find_map(|pid| diagnose::root_of(&proc, *pid)));
    hinted_by(error, root.as_ref(), pids[0], tried, errno)
}

fn hinted_by(error: Error, root: Option<&OwnedFd>, pid: i32, tried: &Tried, errno: Errno) -> Error {
    let program = Program { candidates: &tried.candidates, cwd: &tried.cwd, errno };
    match root.and_then(|root| diagnose::explain(root, pid, &program)) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The texts for an executable that is not there, in the words that engines look for.
fn executable(errno: Errno, candidates: List<'_>, program: &str) -> Error {
    let first = candidates.iter().next().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    match errno {
        Errno::NOENT if program.contains('/') => {
            Error::new(Kind::NotFound, format!("exec: {first:?}: stat {first}: no such file or directory"))
        }
        Errno::NOENT => {
            Error::new(Kind::NotFound, format!("exec: {program:?}: executable file not found in $PATH"))
        }
        Errno::ISDIR => {
            Error::new(Kind::Kernel, format!("exec: {first:?}: is a directory: permission denied"))
        }
        Errno::ACCESS => Error::new(Kind::Kernel, format!("exec: {first:?}: permission denied")),
        Errno::NOTDIR => Error::new(Kind::Kernel, format!("exec: {first:?}: not a directory")),
        errno => Error::kernel(format!("exec: {first:?}"), "stat", errno),
    }
}

/// `args[0]` of the program that the steps execute.
fn program_of(steps: &[Step<'_>]) -> String {
    let name = steps.iter().rev().find_map(|step| match step.op {
        Op::Execute { args, .. } => args.iter().next().map(|name| name.to_string_lossy().into_owned()),
        _ => None,
    });
    name.unwrap_or_default()
}

/// What failed after start, from the page and the record. `root` was opened before, as init may be gone by now;
/// `printed` is what its hooks printed.
pub fn start_failure(
    page: &Page,
    state: &State,
    root: Option<&OwnedFd>,
    printed: impl Fn() -> String,
) -> Error {
    let Some(report) = page.failure() else {
        return Error::new(Kind::Internal, "init failed without a reason");
    };
    let late = &state.late;
    let Some((key, what)) = late.text(report.step) else {
        return Error::kernel("start the program", report.call().to_owned(), report.errno());
    };
    let error = match report.call() {
        "execve" => {
            let pid = state.init.map_or(0, |init| init.pid);
            hinted_by(execute(&late.program, &report), root, pid, &late.tried, report.errno())
        }
        _ if what.starts_with("run hook") => hook(what, &report, &printed()),
        call => Error::kernel(what.clone(), call.to_owned(), report.errno()),
    };
    let error = match report.errno() {
        Errno::PERM | Errno::NOSYS if late.is_filtered(report.step) => error.with_hint(FILTERED),
        _ => error,
    };
    if key.is_empty() { error } else { error.with_key(key.clone()) }
}

/// A container whose first process ended without a word: killed by the kernel for lack of memory, or by somebody.
/// `status` is how it ended, where this process may know.
pub fn ended(cgroup: &cgroups::Record, doing: &str, status: Option<&WaitIdStatus>) -> Error {
    let killed = status.is_none_or(|status| status.terminating_signal() == Some(Signal::KILL.as_raw()));
    if killed && let Some(error) = out_of_memory(cgroup, doing) {
        return error;
    }
    let how = status.map(|status| format!(": {}", how(status))).unwrap_or_default();
    Error::new(Kind::Kernel, format!("{doing}: init ended{how}"))
}

/// What would do. Measured: 384 KiB are enough for a default container on version 1, which charges the pages of the init
/// image, of the tables and of the kernel stack.
const ENOUGH: &str = "1 MiB is enough for the set-up, hooks and the program need theirs on top";

fn out_of_memory(cgroup: &cgroups::Record, doing: &str) -> Option<Error> {
    let cgroup = cgroup.open().ok()?;
    cgroup.oom_kill_count().ok()?.filter(|count| *count > 0)?;
    let (limit, peak) = match cgroup.stats().ok()? {
        cgroups::Stats::V1(stats) => stats.memory.map(|memory| (memory.usage.limit, memory.usage.max))?,
        cgroups::Stats::V2(stats) => stats.memory.map(|memory| (memory.usage_limit, memory.max_usage))?,
    };
    let text = format!("{doing}: container init was OOM-killed (memory limit too low?)");
    let peak = if peak == 0 { String::new() } else { format!(", {peak} bytes were in use at most") };
    Some(
        Error::new(Kind::Kernel, text)
            .with_key("linux.resources.memory.limit")
            .with_hint(format!("the limit is {limit} bytes{peak}; {ENOUGH}")),
    )
}
