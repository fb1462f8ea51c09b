//! The command line in types: nothing is left as text that has a meaning here, and nothing is optional that has a
//! default.
//!
//! It reads no file and touches no container; a path is not checked before it is opened. How words become these types is
//! in `read`. Start at [`parse`] and [`Command`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::go_flags::{self, Given, Line, Misuse};
use super::help;
use super::log::LogOptions;
use super::read::{Words, log_options};
use super::signal::Signal;
use super::table::Verb;
use crate::id::ContainerId;
pub use crate::launch::criu::options::{Checkpoint, Criu, ManageCgroups, NetworkLock, PageServer};

/// A command line that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What holds for every command.
    pub globals: Globals,
    /// The command with its options.
    pub command: Command,
    /// Options that were accepted and have no effect, as sentences for the log.
    pub warnings: Vec<String>,
}

/// The options that every command takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Where the records of containers are.
    pub root: Root,
    /// Where messages go.
    pub log: LogOptions,
    /// Who makes the cgroups.
    pub cgroups: CgroupDriver,
    /// Whether missing cgroup rights are an error.
    pub rootless: Rootless,
    /// `--strict`: a configuration that this host would apply only in part is refused.
    pub strict: bool,
    /// File for the time of each phase.
    pub timing: Option<PathBuf>,
    /// The CRIU program, where an old caller names one.
    pub criu: Option<PathBuf>,
}

/// The directory that holds one directory for each container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// An absolute path other than `/`.
    pub path: PathBuf,
    /// Where the path comes from; it decides what must be checked and done when it is made.
    pub origin: RootOrigin,
}

/// Where the path of the [`Root`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootOrigin {
    /// `--root`.
    Option,
    /// `/run/orlop`: the caller is root.
    System,
    /// `$XDG_RUNTIME_DIR/orlop`. The directory needs the sticky bit, or the session's clean-up may remove it
    /// (XDG Base Directory Specification, "XDG_RUNTIME_DIR").
    XdgRuntimeDir,
    /// `/tmp/orlop-UID`: an ordinary user without $XDG_RUNTIME_DIR. Anyone may have made that name before, so
    /// it is used only if it is a directory of this user with mode 0700.
    Tmp,
}

/// Who makes a container's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// orlop itself, below /sys/fs/cgroup.
    Cgroupfs,
    /// systemd, over D-Bus; cgroupsPath is then `slice:prefix:name`.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
    /// systemd where it manages pure v2 groups and cgroupsPath can name a unit, else orlop itself.
    Auto,
}

/// `--rootless`: whether missing rights to cgroups are tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootless {
    /// If the caller is no root of the initial user namespace.
    Auto,
    /// Yes.
    Yes,
    /// No.
    No,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `create`
    Create(Create),
    /// `start`
    Start(Start),
    /// `state`
    State(ContainerId),
    /// `kill`
    Kill(Kill),
    /// `delete`
    Delete(Delete),
    /// `run`
    Run(Run),
    /// `list`
    List(List),
    /// `spec`
    Spec(Spec),
    /// `features`
    Features,
    /// `plan`
    Plan(Plan),
    /// `validate`
    Validate(Validate),
    /// `exec`
    Exec(Box<Exec>),
    /// `ps`
    Ps(Ps),
    /// `pause`
    Pause(ContainerId),
    /// `resume`
    Resume(ContainerId),
    /// `update`
    Update(Update),
    /// `events`
    Events(Events),
    /// `checkpoint`
    Checkpoint(Box<Checkpoint>),
    /// `restore`
    Restore(Box<Restore>),
    /// `seccomp explain`
    SeccompExplain(SeccompExplain),
    /// `seccomp dump`
    SeccompDump(SeccompDump),
    /// `info`
    Info(Info),
    /// `inspect`
    Inspect(Inspect),
}

/// Options of `create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The container's name.
    pub id: ContainerId,
    /// The bundle directory; `.` if none is named.
    pub bundle: PathBuf,
    /// The configuration, if it is not `config.json` in the bundle.
    pub config: Option<PathBuf>,
    /// Unix socket that receives the terminal's master descriptor.
    pub console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// Move the root mount instead of pivot_root.
    pub no_pivot: bool,
    /// Keep the session keyring of the caller.
    pub no_new_keyring: bool,
    /// Do not become a subreaper. Only `run` becomes one.
    pub no_subreaper: bool,
    /// How many descriptors from 3 on are passed on.
    pub preserve_fds: u32,
    /// The deadline of each phase, never zero.
    pub timeout: Option<Duration>,
}

/// Options of `start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The container.
    pub id: ContainerId,
    /// The deadline of each phase, never zero.
    pub timeout: Option<Duration>,
}

/// Options of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What `run` shares with `create`.
    pub create: Create,
    /// Return as soon as the program runs.
    pub detach: bool,
    /// Keep the record after the exit.
    pub keep: bool,
    /// Record the system calls and write a seccomp profile to this file.
    pub seccomp_learn: Option<PathBuf>,
}

/// Options of `kill`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The container.
    pub id: ContainerId,
    /// What to send.
    pub signal: Signal,
    /// `--all`: every process of the container, and a container that is not running is no error.
    pub all: bool,
}

/// Options of `delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The container.
    pub id: ContainerId,
    /// Kill it first if it runs; an unknown id is no error.
    pub force: bool,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// Columns.
    Table,
    /// JSON.
    Json,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// JSON.
    Json,
}

/// Options of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// How to print.
    pub format: ListFormat,
    /// The ids only.
    pub quiet: bool,
}

/// Options of `spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The directory for config.json; `.` if none is named.
    pub bundle: PathBuf,
    /// Another file to write.
    pub file: Option<PathBuf>,
    /// For an ordinary user.
    pub rootless: bool,
}

/// Options of `plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The bundle directory.
    pub bundle: PathBuf,
    /// The configuration, if it is not `config.json` in the bundle.
    pub config: Option<PathBuf>,
    /// How to print.
    pub format: ReportFormat,
}

/// Options of `validate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validate {
    /// The bundle directory.
    pub bundle: PathBuf,
    /// The configuration, if it is not `config.json` in the bundle.
    pub config: Option<PathBuf>,
}

/// Options of `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The container.
    pub id: ContainerId,
    /// The program.
    pub process: ExecProcess,
    /// Unix socket that receives the terminal's master descriptor.
    pub console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// Return as soon as the program runs.
    pub detach: bool,
    /// How many descriptors from 3 on are passed on.
    pub preserve_fds: u32,
    /// The cgroup below the container's to run in.
    pub cgroups: SubCgroups,
    /// Join a paused container.
    pub ignore_paused: bool,
    /// The deadline of each phase, never zero.
    pub timeout: Option<Duration>,
}

/// What `exec` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecProcess {
    /// A `process` object of the runtime specification, from a file.
    File(PathBuf),
    /// The container's own `process` with these changes.
    Arguments(Box<ExecArguments>),
}

/// What an `exec` without `--process` changes in the container's own process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecArguments {
    /// The program and its arguments; at least one.
    pub args: Vec<OsString>,
    /// The working directory.
    pub cwd: Option<PathBuf>,
    /// Variables to add, each `NAME=VALUE`.
    pub env: Vec<OsString>,
    /// Give it a terminal. The container's own `process.terminal` does not count.
    pub tty: bool,
    /// The user, and the group if one is named.
    pub user: Option<UserId>,
    /// Groups to add.
    pub additional_gids: Vec<u32>,
    /// Capabilities to add, by name.
    pub capabilities: Vec<String>,
    /// Whether to set no_new_privs, if it was said.
    pub no_new_privileges: Option<bool>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// The SELinux label.
    pub process_label: Option<String>,
}

/// `--user UID[:GID]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId {
    /// The user id inside the container.
    pub uid: u32,
    /// The group id inside the container.
    pub gid: Option<u32>,
}

/// `--cgroup` of `exec`. The paths are as written: that they stay beneath the container's cgroup is for the
/// one who opens them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubCgroups {
    /// The container's own.
    None,
    /// One path, for cgroup v2.
    Unified(PathBuf),
    /// A path for each of these v1 controllers.
    Controllers(Vec<(String, PathBuf)>),
}

/// Options of `ps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ps {
    /// The container.
    pub id: ContainerId,
    /// How to print.
    pub format: ListFormat,
    /// Arguments of ps(1); `-ef` if none are given.
    pub arguments: Vec<OsString>,
}

/// Options of `update`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The container.
    pub id: ContainerId,
    /// The limits.
    pub limits: UpdateSource,
    /// `--l3-cache-schema`.
    pub l3_cache_schema: Option<String>,
    /// `--mem-bw-schema`.
    pub mem_bw_schema: Option<String>,
}

/// Where the limits of an `update` are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateSource {
    /// A `linux.resources` object on standard input.
    Stdin,
    /// The same in a file.
    File(PathBuf),
    /// On the command line.
    Options(Box<Limits>),
}

/// The limits that have an option. `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Block I/O weight, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds per period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_burst: Option<u64>,
    /// As cgroup v1 has them.
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds per period.
    pub cpu_rt_runtime: Option<i64>,
    /// 1 is SCHED_IDLE.
    pub cpu_idle: Option<i64>,
    /// A list as in `0-3,6`.
    pub cpuset_cpus: Option<String>,
    /// A list of memory nodes.
    pub cpuset_mems: Option<String>,
    /// Bytes; -1 is no limit.
    pub memory: Option<i64>,
    /// Bytes.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// Bytes; obsolete.
    pub kernel_memory: Option<i64>,
    /// Bytes; obsolete.
    pub kernel_memory_tcp: Option<i64>,
    /// Processes and threads; -1 is no limit.
    pub pids: Option<i64>,
}

/// Options of `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The container.
    pub id: ContainerId,
    /// What is printed.
    pub mode: EventsMode,
}

/// What `events` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsMode {
    /// The statistics once.
    Stats,
    /// The statistics each time this has passed (never zero), and every OOM.
    Every(Duration),
    /// What happens to the container.
    Follow,
}

/// Options of `restore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The container's name.
    pub id: ContainerId,
    /// What it shares with `checkpoint`.
    pub criu: Criu,
    /// The bundle directory; `.` if none is named.
    pub bundle: PathBuf,
    /// Return as soon as the program runs.
    pub detach: bool,
    /// File to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// Unix socket that receives the terminal's master descriptor.
    pub console_socket: Option<PathBuf>,
    /// Do not become a subreaper.
    pub no_subreaper: bool,
    /// Move the root mount instead of pivot_root.
    pub no_pivot: bool,
    /// `--tcp-close`
    pub tcp_close: bool,
    /// `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// The context of the mounts.
    pub lsm_mount_context: Option<String>,
}

/// Arguments of `seccomp explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompExplain {
    /// The bundle directory.
    pub bundle: PathBuf,
    /// The name of the system call.
    pub syscall: String,
    /// Values of its first arguments; what is not given is not decided.
    pub arguments: Vec<u64>,
}

/// Arguments of `seccomp dump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeccompDump {
    /// The bundle directory.
    pub bundle: PathBuf,
}

/// Options of `info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// How to print.
    pub format: ReportFormat,
}

/// Options of `inspect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// The container.
    pub id: ContainerId,
    /// How to print.
    pub format: ReportFormat,
}

/// A command line that ends here: help, the version, a completion script, or a mistake.
///
/// `main` hands it to [`log::report_exit`] and exits with what that returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code of the process.
    pub code: u8,
    /// What to print, with its last newline.
    pub text: String,
    /// Where it is printed.
    pub stream: Stream,
    /// Where a mistake is logged as well, as far as the command line said so before the mistake.
    pub log: LogOptions,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What was asked for.
    Stdout,
    /// What went wrong.
    Stderr,
}

/// The exit code of a mistake in the command line.
const USAGE: u8 = 1;

/// The exit code of `exec` when orlop itself fails: every other one may be that of the program.
pub const EXEC_FAILED: u8 = 255;

/// Reads the command line. `argv` begins with the program's name.
///
/// The environment is read for the default of `--root` alone.
///
/// # Errors
/// [`Exit`] for help, the version, a completion script and for every mistake.
pub fn parse(argv: Vec<OsString>) -> Result<Invocation, Exit> {
    let mut given = Given::default();
    let line = go_flags::split(argv.into_iter().skip(1).collect(), &mut given);
    let result = line.and_then(|line| match line {
        Line::Overview => Ok(Err(help::overview())),
        Line::Help(command) => Ok(Err(help::command(command))),
        Line::Version => Ok(Err(help::version())),
        Line::Command(command, arguments) => Words { command, given: &given, arguments }.read(),
    });
    match result {
        Ok(Ok(invocation)) => Ok(invocation),
        Ok(Err(text)) => {
            Err(Exit { code: 0, text, stream: Stream::Stdout, log: log_options(&given).unwrap_or_default() })
        }
        Err(misuse) => Err(misused(&misuse, &given)),
    }
}

fn misused(misuse: &Misuse, given: &Given) -> Exit {
    let code = match misuse.command {
        Some(command) if command.verb == Verb::Exec => EXEC_FAILED,
        _ => USAGE,
    };
    let text = help::misuse(misuse);
    Exit { code, text, stream: Stream::Stderr, log: log_options(given).unwrap_or_default() }
}

#[cfg(test)]
mod tests;
