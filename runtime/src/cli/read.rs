//! Turns the words of a command line into the types of [`args`](super::args), one function for each command.
//!
//! It is not the place of the types, nor of the rules for splitting words. Start at [`Words::read`].

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::args::*;
use super::go_flags::{self, Given, Misuse};
use super::log::{self, LogOptions};
use super::signal::Signal;
use super::table::*;
use super::{completion, duration, help, values};
use crate::config::suggest;
use crate::id::ContainerId;

/// The words of one command line, ready to be read.
pub(super) struct Words<'a> {
    pub(super) command: &'static Cmd,
    pub(super) given: &'a Given,
    pub(super) arguments: Vec<OsString>,
}

/// What a command line gives: something to do, or a text to print.
pub(super) type Read = Result<Result<Invocation, String>, Misuse>;

impl Words<'_> {
    /// Reads them all.
    pub(super) fn read(&self) -> Read {
        let command = match self.command.verb {
            Verb::Version => return Ok(Err(help::version())),
            Verb::Help => return self.help().map(Err),
            Verb::Completion => return self.completion().map(Err),
            Verb::Run => Command::Run(self.run()?),
            Verb::Create => Command::Create(self.create()?),
            Verb::Start => Command::Start(Start { id: self.id()?, timeout: self.timeout()? }),
            Verb::State => Command::State(self.id()?),
            Verb::Kill => Command::Kill(self.kill()?),
            Verb::Delete => Command::Delete(self.delete()?),
            Verb::List => Command::List(List { format: self.list_format()?, quiet: self.on(&QUIET) }),
            Verb::Exec => Command::Exec(Box::new(self.exec()?)),
            Verb::Ps => Command::Ps(self.ps()?),
            Verb::Events => Command::Events(self.events()?),
            Verb::Inspect => Command::Inspect(Inspect { id: self.id()?, format: self.report_format()? }),
            Verb::Pause => Command::Pause(self.id()?),
            Verb::Resume => Command::Resume(self.id()?),
            Verb::Update => Command::Update(self.update()?),
            Verb::Checkpoint => Command::Checkpoint(Box::new(self.checkpoint()?)),
            Verb::Restore => Command::Restore(Box::new(self.restore()?)),
            Verb::Spec => Command::Spec(self.spec()),
            Verb::Validate => {
                Command::Validate(Validate { bundle: self.bundle_argument()?, config: self.path(&CONFIG) })
            }
            Verb::Plan => Command::Plan(self.plan()?),
            Verb::SeccompExplain => Command::SeccompExplain(self.seccomp_explain()?),
            Verb::SeccompDump => Command::SeccompDump(SeccompDump { bundle: self.argument_path(0) }),
            Verb::Features => Command::Features,
            Verb::Info => Command::Info(Info { format: self.report_format()? }),
        };
        Ok(Ok(Invocation { globals: self.globals()?, command, warnings: self.warnings() }))
    }

    fn globals(&self) -> Result<Globals, Misuse> {
        let rootless = match self.value(&ROOTLESS) {
            None => Rootless::Auto,
            Some(text) => {
                rootless(text).ok_or_else(|| self.bad(&ROOTLESS, &choices("true, false or auto", text)))?
            }
        };
        Ok(Globals {
            root: self.root()?,
            log: log_options(self.given).map_err(|text| self.misuse(text))?,
            cgroups: self.cgroup_driver()?,
            rootless,
            strict: self.on(&STRICT),
            timing: self.path(&TIMING),
            criu: self.path(&CRIU),
        })
    }

    /// `--root`, made absolute; it must not be `/`, where every verb would take the host's directories for
    /// containers.
    fn root(&self) -> Result<Root, Misuse> {
        if !self.given.has(&ROOT) {
            return Ok(default_root(&Caller::this_process()));
        }
        let refused = |text: &str| self.misuse(format!("Option --root argument should not be set to {text}"));
        let path = self.path(&ROOT).ok_or_else(|| refused("an empty path"))?;
        let path = std::path::absolute(&path)
            .map_err(|error| self.misuse(format!("--root {path:?}: no current directory: {error}")))?;
        if is_host_root(&path) {
            return Err(refused("/"));
        }
        Ok(Root { path, origin: RootOrigin::Option })
    }

    /// `--cgroup-manager` says more than `--systemd-cgroup`, so it wins: an engine that has cgroups switched
    /// off for one container still passes the latter.
    fn cgroup_driver(&self) -> Result<CgroupDriver, Misuse> {
        let named = self.choice(
            &CGROUP_MANAGER,
            &[
                ("cgroupfs", CgroupDriver::Cgroupfs),
                ("systemd", CgroupDriver::Systemd),
                ("disabled", CgroupDriver::Disabled),
                ("auto", CgroupDriver::Auto),
            ],
        )?;
        let default = if self.on(&SYSTEMD_CGROUP) { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
        Ok(named.unwrap_or(default))
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.on(&SYSTEMD_LOG) {
            warnings.push("--systemd-log has no effect; use --log journald:ID".to_owned());
        }
        if self.command.verb == Verb::Update && self.value(&RESOURCES).is_some() {
            let unused = self.command.all_options().filter(|option| {
                ![&raw const RESOURCES, &raw const L3_CACHE_SCHEMA, &raw const MEM_BW_SCHEMA]
                    .contains(&std::ptr::from_ref(*option))
                    && self.given.has(option)
            });
            warnings
                .extend(unused.map(|option| format!("--{} has no effect beside --resources", option.long)));
        }
        warnings
    }

    fn help(&self) -> Result<String, Misuse> {
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy()).collect();
        let name = words.join(" ");
        if name.is_empty() {
            return Ok(help::overview());
        }
        let family = COMMANDS.iter().find(|command| command.name.split(' ').next() == Some(&name)).copied();
        match go_flags::find(&name).or(family) {
            Some(command) => Ok(help::command(command)),
            None => Err(self.misuse(suggest::unknown(
                "command",
                &name,
                COMMANDS.iter().map(|command| command.name),
            ))),
        }
    }

    fn completion(&self) -> Result<String, Misuse> {
        let shell = self.arguments.first().map(OsString::as_os_str).or_else(|| self.value(&SHELL));
        let shell = shell.ok_or_else(|| self.misuse("completion requires exactly 1 argument(s): SHELL"))?;
        let shell = shell.to_string_lossy();
        completion::script(&shell)
            .ok_or_else(|| self.misuse(suggest::unknown("shell", &shell, completion::SHELLS.iter().copied())))
    }
}

/// The commands.
impl Words<'_> {
    fn create(&self) -> Result<Create, Misuse> {
        Ok(Create {
            id: self.id()?,
            bundle: self.bundle(),
            config: self.path(&CONFIG),
            console_socket: self.path(&CONSOLE_SOCKET),
            pidfd_socket: self.path(&PIDFD_SOCKET),
            pid_file: self.path(&PID_FILE),
            no_pivot: self.on(&NO_PIVOT),
            no_new_keyring: self.on(&NO_NEW_KEYRING),
            no_subreaper: self.on(&NO_SUBREAPER),
            preserve_fds: self.get(&PRESERVE_FDS, values::number)?.unwrap_or(0),
            timeout: self.timeout()?,
        })
    }

    fn run(&self) -> Result<Run, Misuse> {
        Ok(Run {
            create: self.create()?,
            detach: self.on(&DETACH),
            keep: self.on(&KEEP),
            seccomp_learn: self.path(&SECCOMP_LEARN),
        })
    }

    fn kill(&self) -> Result<Kill, Misuse> {
        self.refuse_regex()?;
        let signal = match self.arguments.get(1).map(|word| word.to_string_lossy()) {
            Some(text) if !text.is_empty() => Signal::parse(&text).map_err(|text| self.misuse(text))?,
            _ => Signal::TERM,
        };
        Ok(Kill { id: self.id()?, signal, all: self.on(&KILL_ALL) })
    }

    fn delete(&self) -> Result<Delete, Misuse> {
        self.refuse_regex()?;
        Ok(Delete { id: self.id()?, force: self.on(&FORCE) })
    }

    /// One id is one container: a pattern that matches more than was meant cannot be taken back.
    fn refuse_regex(&self) -> Result<(), Misuse> {
        match self.on(&REGEX) {
            true => Err(self.misuse("--regex is not supported; choose the ids from orlop list --quiet")),
            false => Ok(()),
        }
    }

    fn spec(&self) -> Spec {
        Spec { bundle: self.bundle(), file: self.path(&SPEC_FILE), rootless: self.on(&SPEC_ROOTLESS) }
    }

    fn plan(&self) -> Result<Plan, Misuse> {
        Ok(Plan {
            bundle: self.bundle_argument()?,
            config: self.path(&CONFIG),
            format: self.report_format()?,
        })
    }

    fn exec(&self) -> Result<Exec, Misuse> {
        let cgroups = self.texts(&CGROUP)?;
        let cgroups = values::sub_cgroups(cgroups.into_iter()).map_err(|text| self.misuse(text))?;
        Ok(Exec {
            id: self.id()?,
            process: self.exec_process()?,
            console_socket: self.path(&CONSOLE_SOCKET),
            pidfd_socket: self.path(&PIDFD_SOCKET),
            pid_file: self.path(&PID_FILE),
            detach: self.on(&DETACH),
            preserve_fds: self.get(&PRESERVE_FDS, values::number)?.unwrap_or(0),
            cgroups,
            ignore_paused: self.on(&IGNORE_PAUSED),
            timeout: self.timeout()?,
        })
    }

    fn exec_process(&self) -> Result<ExecProcess, Misuse> {
        if let Some(file) = self.path(&PROCESS) {
            return Ok(ExecProcess::File(file));
        }
        let args: Vec<_> = self.arguments.iter().skip(1).cloned().collect();
        if args.is_empty() {
            return Err(
                self.misuse("exec args cannot be empty: name a program after the id, or use --process")
            );
        }
        let gids = self.texts(&ADDITIONAL_GIDS)?.into_iter().map(values::number::<u32>);
        Ok(ExecProcess::Arguments(Box::new(ExecArguments {
            args,
            cwd: self.path(&CWD),
            env: self.given.values(&ENV).map(OsStr::to_owned).collect(),
            tty: self.on(&TTY),
            user: self.get(&USER, values::user)?,
            additional_gids: gids
                .collect::<Result<_, _>>()
                .map_err(|text| self.bad(&ADDITIONAL_GIDS, &text))?,
            capabilities: self.texts(&CAP)?.into_iter().map(str::to_owned).collect(),
            no_new_privileges: self.given.switch(&NO_NEW_PRIVS),
            apparmor: self.text(&APPARMOR)?,
            process_label: self.text(&PROCESS_LABEL)?,
        })))
    }

    fn ps(&self) -> Result<Ps, Misuse> {
        let mut arguments: Vec<_> = self.arguments.iter().skip(1).cloned().collect();
        if arguments.is_empty() {
            arguments.push("-ef".into());
        }
        Ok(Ps { id: self.id()?, format: self.list_format()?, arguments })
    }

    fn events(&self) -> Result<Events, Misuse> {
        let interval = self.get(&INTERVAL, duration::parse)?.unwrap_or(Duration::from_secs(5));
        if interval.is_zero() {
            return Err(self.misuse("duration interval must be greater than 0"));
        }
        let mode = match (self.on(&STATS), self.on(&FOLLOW)) {
            (true, true) => return Err(self.misuse("--stats and --follow exclude each other")),
            (true, false) => EventsMode::Stats,
            (false, true) => EventsMode::Follow,
            (false, false) => EventsMode::Every(interval),
        };
        Ok(Events { id: self.id()?, mode })
    }

    fn update(&self) -> Result<Update, Misuse> {
        let limits = match self.path(&RESOURCES) {
            Some(path) if path.as_os_str() == "-" => UpdateSource::Stdin,
            Some(path) => UpdateSource::File(path),
            None => UpdateSource::Options(Box::new(self.limits()?)),
        };
        Ok(Update {
            id: self.id()?,
            limits,
            l3_cache_schema: self.text(&L3_CACHE_SCHEMA)?,
            mem_bw_schema: self.text(&MEM_BW_SCHEMA)?,
        })
    }

    fn limits(&self) -> Result<Limits, Misuse> {
        Ok(Limits {
            // A weight of 0 means "not given" to callers that pass every option.
            blkio_weight: self.get(&BLKIO_WEIGHT, values::number)?.filter(|weight| *weight != 0),
            cpu_period: self.get(&CPU_PERIOD, values::number)?,
            cpu_quota: self.get(&CPU_QUOTA, values::number)?,
            cpu_burst: self.get(&CPU_BURST, values::number)?,
            cpu_shares: self.get(&CPU_SHARE, values::number)?,
            cpu_rt_period: self.get(&CPU_RT_PERIOD, values::number)?,
            cpu_rt_runtime: self.get(&CPU_RT_RUNTIME, values::number)?,
            cpu_idle: self.get(&CPU_IDLE, values::number)?,
            cpuset_cpus: self.text(&CPUSET_CPUS)?,
            cpuset_mems: self.text(&CPUSET_MEMS)?,
            memory: self.get(&MEMORY, values::bytes)?,
            memory_reservation: self.get(&MEMORY_RESERVATION, values::bytes)?,
            memory_swap: self.get(&MEMORY_SWAP, values::bytes)?,
            kernel_memory: self.get(&KERNEL_MEMORY, values::bytes)?,
            kernel_memory_tcp: self.get(&KERNEL_MEMORY_TCP, values::bytes)?,
            pids: self.get(&PIDS_LIMIT, values::number)?,
        })
    }

    fn criu(&self) -> Result<Criu, Misuse> {
        let namespaces = self.texts(&EMPTY_NS)?;
        if let Some(other) = namespaces.iter().find(|name| **name != "network") {
            return Err(self.bad(&EMPTY_NS, &format!("namespace {other:?} is not supported")));
        }
        let modes = [
            ("soft", ManageCgroups::Soft),
            ("full", ManageCgroups::Full),
            ("strict", ManageCgroups::Strict),
            ("ignore", ManageCgroups::Ignore),
        ];
        let locks = [
            ("iptables", NetworkLock::Iptables),
            ("nftables", NetworkLock::Nftables),
            ("skip", NetworkLock::Skip),
        ];
        Ok(Criu {
            image_path: self.path(&IMAGE_PATH).unwrap_or_else(|| PathBuf::from("checkpoint")),
            work_path: self.path(&WORK_PATH),
            tcp_established: self.on(&TCP_ESTABLISHED),
            ext_unix_sk: self.on(&EXT_UNIX_SK),
            shell_job: self.on(&SHELL_JOB),
            file_locks: self.on(&FILE_LOCKS),
            lazy_pages: self.on(&LAZY_PAGES),
            auto_dedup: self.on(&AUTO_DEDUP),
            manage_cgroups: self.choice(&MANAGE_CGROUPS_MODE, &modes)?.unwrap_or(ManageCgroups::Soft),
            network_lock: self.choice(&NETWORK_LOCK, &locks)?,
            empty_network: !namespaces.is_empty(),
        })
    }

    fn checkpoint(&self) -> Result<Checkpoint, Misuse> {
        let parent_path = self.path(&PARENT_PATH);
        if parent_path.as_ref().is_some_and(|path| path.is_absolute()) {
            return Err(self.misuse("--parent-path must be relative"));
        }
        let status_fd = self.get(&STATUS_FD, values::number::<i32>)?.filter(|fd| *fd != -1);
        if status_fd.is_some_and(|fd| fd < 0) {
            return Err(self.bad(&STATUS_FD, "a descriptor is not negative"));
        }
        Ok(Checkpoint {
            id: self.id()?,
            criu: self.criu()?,
            leave_running: self.on(&LEAVE_RUNNING),
            pre_dump: self.on(&PRE_DUMP),
            parent_path,
            tcp_skip_in_flight: self.on(&TCP_SKIP_IN_FLIGHT),
            link_remap: self.on(&LINK_REMAP),
            status_fd,
            page_server: self.get(&PAGE_SERVER, values::page_server)?,
        })
    }

    fn restore(&self) -> Result<Restore, Misuse> {
        Ok(Restore {
            id: self.id()?,
            criu: self.criu()?,
            bundle: self.bundle(),
            detach: self.on(&DETACH),
            pid_file: self.path(&PID_FILE),
            console_socket: self.path(&CONSOLE_SOCKET),
            no_subreaper: self.on(&NO_SUBREAPER),
            no_pivot: self.on(&NO_PIVOT),
            tcp_close: self.on(&TCP_CLOSE),
            lsm_profile: self.text(&LSM_PROFILE)?,
            lsm_mount_context: self.text(&LSM_MOUNT_CONTEXT)?,
        })
    }

    fn seccomp_explain(&self) -> Result<SeccompExplain, Misuse> {
        let syscall =
            self.arguments.get(1).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let values = self.arguments.iter().skip(2).map(|word| system_call_argument(&word.to_string_lossy()));
        let arguments = values.collect::<Result<_, _>>().map_err(|text| self.misuse(text))?;
        Ok(SeccompExplain { bundle: self.argument_path(0), syscall, arguments })
    }
}

/// What the commands share.
impl Words<'_> {
    fn misuse(&self, text: impl Into<String>) -> Misuse {
        Misuse::new(Some(self.command), text)
    }

    fn bad(&self, option: &Opt, reason: &str) -> Misuse {
        self.misuse(format!("invalid value for --{}: {reason}", option.long))
    }

    fn id(&self) -> Result<ContainerId, Misuse> {
        let name = self.arguments.first().map_or(OsStr::new(""), OsString::as_os_str);
        ContainerId::try_from(name).map_err(|error| self.misuse(error.to_string()))
    }

    fn on(&self, option: &'static Opt) -> bool {
        self.given.on(option)
    }

    fn value(&self, option: &'static Opt) -> Option<&OsStr> {
        self.given.value(option)
    }

    fn path(&self, option: &'static Opt) -> Option<PathBuf> {
        self.given.path(option)
    }

    fn argument_path(&self, place: usize) -> PathBuf {
        self.arguments.get(place).map(PathBuf::from).unwrap_or_default()
    }

    fn bundle(&self) -> PathBuf {
        self.path(&BUNDLE).unwrap_or_else(|| PathBuf::from("."))
    }

    /// The bundle of `plan` and `validate`, where it may be an argument.
    fn bundle_argument(&self) -> Result<PathBuf, Misuse> {
        match (self.arguments.first(), self.path(&BUNDLE)) {
            (Some(_), Some(_)) => {
                Err(self.misuse("the bundle is named twice, by --bundle and as an argument"))
            }
            (Some(path), None) if !path.is_empty() => Ok(PathBuf::from(path)),
            (_, option) => Ok(option.unwrap_or_else(|| PathBuf::from("."))),
        }
    }

    fn text(&self, option: &'static Opt) -> Result<Option<String>, Misuse> {
        let Some(value) = self.value(option) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.bad(option, &format!("{value:?} is not UTF-8"))),
        }
    }

    fn texts(&self, option: &'static Opt) -> Result<Vec<&str>, Misuse> {
        let text = |value: &'_ OsStr| self.bad(option, &format!("{value:?} is not UTF-8"));
        self.given.values(option).map(|value| value.to_str().ok_or_else(|| text(value))).collect()
    }

    fn get<T>(
        &self,
        option: &'static Opt,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Misuse> {
        let Some(text) = self.text(option)? else {
            return Ok(None);
        };
        read(&text).map(Some).map_err(|reason| self.bad(option, &reason))
    }

    fn choice<T: Copy>(&self, option: &'static Opt, known: &[(&str, T)]) -> Result<Option<T>, Misuse> {
        choice(self.given, option, known).map_err(|text| self.misuse(text))
    }

    /// A deadline of zero would undo everything at once, and there is no way to ask for none: nothing may
    /// hang.
    fn timeout(&self) -> Result<Option<Duration>, Misuse> {
        match self.get(&TIMEOUT, duration::parse)? {
            Some(time) if time.is_zero() => Err(self.bad(&TIMEOUT, "it must be greater than 0")),
            time => Ok(time),
        }
    }

    fn list_format(&self) -> Result<ListFormat, Misuse> {
        let known = [("table", ListFormat::Table), ("json", ListFormat::Json)];
        Ok(self.choice(&LIST_FORMAT, &known)?.unwrap_or(ListFormat::Table))
    }

    fn report_format(&self) -> Result<ReportFormat, Misuse> {
        let known = [("text", ReportFormat::Text), ("json", ReportFormat::Json)];
        Ok(self.choice(&REPORT_FORMAT, &known)?.unwrap_or(ReportFormat::Text))
    }
}

fn choice<T: Copy>(given: &Given, option: &'static Opt, known: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(value) = given.value(option) else {
        return Ok(None);
    };
    let found = known.iter().find(|row| value == row.0).map(|row| row.1);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|row| row.0).collect();
        let noun = if option.long == "format" { "invalid format option" } else { "invalid value for" };
        format!("{noun} --{}: {}", option.long, choices(&names.join(", "), value))
    })
}

fn choices(known: &str, value: &OsStr) -> String {
    format!("{:?} is not one of {known}", value.to_string_lossy())
}

/// The log's options, which a mistake elsewhere in the line must not hide.
pub(super) fn log_options(given: &Given) -> Result<LogOptions, String> {
    let target = given.value(&LOG).map(log::Target::from).unwrap_or_default();
    let formats = [("text", log::Format::Text), ("json", log::Format::Json)];
    let format = choice(given, &LOG_FORMAT, &formats)?.unwrap_or_default();
    let levels = [
        ("error", log::Level::Error),
        ("warning", log::Level::Warning),
        ("warn", log::Level::Warning),
        ("info", log::Level::Info),
        ("debug", log::Level::Debug),
        ("trace", log::Level::Debug),
    ];
    let level = choice(given, &LOG_LEVEL, &levels)?.unwrap_or_default();
    let level = if given.on(&DEBUG) { log::Level::Debug } else { level };
    Ok(LogOptions { target, format, level })
}

fn rootless(value: &OsStr) -> Option<Rootless> {
    match value.to_str()? {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(Rootless::Yes),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(Rootless::No),
        text if text.eq_ignore_ascii_case("auto") => Some(Rootless::Auto),
        _ => None,
    }
}

fn system_call_argument(text: &str) -> Result<u64, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned)),
    };
    value.ok_or_else(|| {
        format!("{text:?} is no number; a system call's arguments are written as 2, -1 or 0x80000")
    })
}

/// Whether `path`, which is absolute, names `/` once its `.` and `..` are taken at their word.
fn is_host_root(path: &Path) -> bool {
    let mut depth = 0_usize;
    for part in path.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth = depth.saturating_sub(1),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    depth == 0
}

/// What the default of `--root` depends on.
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Whether the user namespace is another than the host's.
    pub(super) in_user_namespace: bool,
    pub(super) runtime_dir: Option<PathBuf>,
    pub(super) user: Option<OsString>,
}

impl Caller {
    fn this_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let runtime_dir = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        // The answer matters to root alone, and only if there is a directory to choose.
        let in_user_namespace = uid == 0 && runtime_dir.is_some() && in_user_namespace();
        Self { uid, in_user_namespace, runtime_dir, user: env::var_os("USER") }
    }
}

/// The initial user namespace maps every id to itself (user_namespaces(7)).
fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Root has `/run/orlop`, others a directory of their session. Root inside a user namespace is one of the
/// others, unless a whole system runs there, which shows by $USER.
pub(super) fn default_root(caller: &Caller) -> Root {
    let is_root =
        caller.uid == 0 && (!caller.in_user_namespace || caller.user.as_deref() == Some(OsStr::new("root")));
    if is_root {
        return Root { path: PathBuf::from("/run/orlop"), origin: RootOrigin::System };
    }
    // A relative path is to be ignored, says the XDG Base Directory Specification.
    if let Some(directory) = caller.runtime_dir.as_ref().filter(|path| path.is_absolute()) {
        return Root { path: directory.join("orlop"), origin: RootOrigin::XdgRuntimeDir };
    }
    if caller.uid == 0 {
        return Root { path: PathBuf::from("/run/orlop"), origin: RootOrigin::System };
    }
    Root { path: PathBuf::from(format!("/tmp/orlop-{}", caller.uid)), origin: RootOrigin::Tmp }
}
