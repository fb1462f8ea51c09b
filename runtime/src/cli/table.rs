//! Every command and every option of orlop, as data: the one place that knows their names.
//!
//! It is not the parser ([`go_flags`](super::go_flags) splits words by this table), not the meaning of an
//! option ([`args`](super::args) turns words into types) and not the page a person reads
//! ([`help`](super::help) prints it). The man pages and the completions are made from the same table. Start
//! at [`COMMANDS`].
//!
//! The options are those of runc and crun, hidden and obsolete ones included, because engines pass them; what
//! only orlop has is documented like any other.

/// What follows an option's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing: a switch. `--name=true` and `--name=false` are understood as in Go programs.
    Nothing,
    /// One value; the last one given counts. The text is its name in help.
    Value(&'static str),
    /// One value for each time the option is given, all of them kept in order.
    Each(&'static str),
    /// A switch that may have a value after `=` (`--tty=/dev/pts/3` as crun takes it).
    Maybe(&'static str),
}

/// Whether help shows an option or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Yes.
    Always,
    /// No: it is accepted for callers that still pass it.
    Never,
}

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    /// The name after `--`.
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// What follows it.
    pub(crate) takes: Takes,
    /// Whether help shows it.
    pub(crate) show: Show,
    /// One sentence without a full stop.
    pub(crate) help: &'static str,
}

/// Where options end, apart from `--`, which ends them everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mixed {
    /// Options may stand before, between and after the arguments.
    Everywhere,
    /// Everything after the first argument belongs to another program and is left alone.
    UntilFirstArgument,
}

/// The commands by name, so that the reader of their words cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub(crate) enum Verb {
    Run, Create, Start, State, Kill, Delete, List, Exec, Ps, Events, Inspect, Pause, Resume, Update, Checkpoint,
    Restore, Spec, Validate, Plan, SeccompExplain, SeccompDump, Features, Info, Completion, Version, Help,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cmd {
    /// Which one it is.
    pub(crate) verb: Verb,
    /// Its name; a sub-subcommand has both words, `"seccomp explain"`.
    pub(crate) name: &'static str,
    /// One line for the list of commands, without a full stop.
    pub(crate) about: &'static str,
    /// The arguments as in a usage line.
    pub(crate) arguments: &'static str,
    /// The fewest and the most arguments that it takes.
    pub(crate) count: (usize, usize),
    /// Where its options end.
    pub(crate) mixed: Mixed,
    /// Its options, in groups that commands share.
    pub(crate) options: &'static [&'static [&'static Opt]],
    /// One worked example: a comment line and the command line below it.
    pub(crate) example: &'static str,
    /// Whether help lists it.
    pub(crate) show: Show,
}

impl Cmd {
    /// All its options, in the order of help.
    pub(crate) fn all_options(&self) -> impl Iterator<Item = &'static Opt> {
        self.options.iter().flat_map(|group| group.iter().copied())
    }
}

const fn opt(long: &'static str, takes: Takes, help: &'static str) -> Opt {
    Opt { long, short: None, takes, show: Show::Always, help }
}

const fn short(letter: char, long: &'static str, takes: Takes, help: &'static str) -> Opt {
    Opt { long, short: Some(letter), takes, show: Show::Always, help }
}

const fn hidden(long: &'static str, takes: Takes, help: &'static str) -> Opt {
    Opt { long, short: None, takes, show: Show::Never, help }
}

const fn hidden_short(letter: char, long: &'static str, takes: Takes, help: &'static str) -> Opt {
    Opt { short: Some(letter), ..hidden(long, takes, help) }
}

/// As many arguments as there are.
pub(crate) const ANY: usize = usize::MAX;

use Takes::{Each, Maybe, Nothing, Value};

// The options before the command. They are understood after it as well, unless the command has one of the
// same name.
pub(crate) static ROOT: Opt =
    opt("root", Value("DIR"), "Directory of the container records [default: /run/orlop]");
pub(crate) static LOG: Opt =
    opt("log", Value("TARGET"), "Log to a file, journald:ID or syslog:ID [default: stderr]");
pub(crate) static LOG_FORMAT: Opt =
    opt("log-format", Value("FORMAT"), "Write the log as text or json [default: text]");
pub(crate) static LOG_LEVEL: Opt =
    opt("log-level", Value("LEVEL"), "Log error, warning, info or debug and above [default: info]");
pub(crate) static DEBUG: Opt = opt("debug", Nothing, "Log every phase; the same as --log-level debug");
pub(crate) static SYSTEMD_CGROUP: Opt =
    opt("systemd-cgroup", Nothing, "Let systemd make the cgroup; cgroupsPath is slice:prefix:name");
pub(crate) static CGROUP_MANAGER: Opt =
    opt("cgroup-manager", Value("NAME"), "Make the cgroup by cgroupfs, systemd, auto or not (disabled)");
pub(crate) static ROOTLESS: Opt =
    opt("rootless", Value("BOOL"), "Tolerate missing cgroup rights: true, false or auto [default: auto]");
pub(crate) static STRICT: Opt =
    opt("strict", Nothing, "Refuse a configuration that this host would apply only in part");
pub(crate) static TIMING: Opt =
    opt("timing", Value("FILE"), "Write the microseconds of each phase, as JSON and as a chart (.svg)");
pub(crate) static CRIU: Opt = hidden("criu", Value("PATH"), "The criu program (obsolete)");
pub(crate) static SYSTEMD_LOG: Opt =
    hidden("systemd-log", Nothing, "Log to the journal as well (of youki; has no effect)");
pub(crate) static HELP: Opt = short('h', "help", Nothing, "Show this help");
pub(crate) static VERSION: Opt = short('v', "version", Nothing, "Show the version");

/// The options that every command shares.
pub(crate) static GLOBAL: &[&Opt] = &[
    &ROOT,
    &LOG,
    &LOG_FORMAT,
    &LOG_LEVEL,
    &DEBUG,
    &SYSTEMD_CGROUP,
    &CGROUP_MANAGER,
    &ROOTLESS,
    &STRICT,
    &TIMING,
    &CRIU,
    &SYSTEMD_LOG,
];

// The container's bundle and how its init is started.
pub(crate) static BUNDLE: Opt = short('b', "bundle", Value("DIR"), "The bundle directory [default: .]");
pub(crate) static CONFIG: Opt =
    short('f', "config", Value("FILE"), "The configuration, if it is not config.json in the bundle");
pub(crate) static CONSOLE_SOCKET: Opt =
    opt("console-socket", Value("SOCKET"), "Unix socket that receives the terminal's master");
pub(crate) static PIDFD_SOCKET: Opt =
    opt("pidfd-socket", Value("SOCKET"), "Unix socket that receives a pidfd of the process");
pub(crate) static PID_FILE: Opt = opt("pid-file", Value("FILE"), "File to write the process id to");
pub(crate) static NO_PIVOT: Opt =
    opt("no-pivot", Nothing, "Move the root mount instead of pivot_root, for a root on a ramdisk");
pub(crate) static NO_NEW_KEYRING: Opt = opt("no-new-keyring", Nothing, "Keep the caller's session keyring");
pub(crate) static NO_SUBREAPER: Opt =
    opt("no-subreaper", Nothing, "Do not become the reaper of orphaned processes");
pub(crate) static PRESERVE_FDS: Opt =
    opt("preserve-fds", Value("N"), "Pass the descriptors 3 to 2+N on to the process");
pub(crate) static TIMEOUT: Opt =
    opt("timeout", Value("DURATION"), "Give up and undo all after this time a phase [default: 30s]");
pub(crate) static DETACH: Opt = short('d', "detach", Nothing, "Return as soon as the process runs");
pub(crate) static KEEP: Opt = opt("keep", Nothing, "Keep the container's record after it has exited");
pub(crate) static SECCOMP_LEARN: Opt =
    opt("seccomp-learn", Value("FILE"), "Record the system calls in use and write a profile for them");

// exec.
pub(crate) static CWD: Opt = opt("cwd", Value("DIR"), "Working directory inside the container");
pub(crate) static ENV: Opt = short('e', "env", Each("NAME=VALUE"), "Add a variable to the environment");
pub(crate) static TTY: Opt = short('t', "tty", Maybe("TTY"), "Give the process a terminal");
pub(crate) static USER: Opt = short('u', "user", Value("UID[:GID]"), "Run as this user and group");
pub(crate) static ADDITIONAL_GIDS: Opt =
    short('g', "additional-gids", Each("GID"), "Add a supplementary group");
pub(crate) static PROCESS: Opt =
    short('p', "process", Value("FILE"), "Take the whole process from a JSON file");
pub(crate) static PROCESS_LABEL: Opt = opt("process-label", Value("LABEL"), "SELinux label of the process");
pub(crate) static APPARMOR: Opt = opt("apparmor", Value("PROFILE"), "AppArmor profile of the process");
pub(crate) static NO_NEW_PRIVS: Opt = opt("no-new-privs", Nothing, "Set no_new_privs for the process");
pub(crate) static CAP: Opt = short('c', "cap", Each("CAP"), "Add a capability");
pub(crate) static CGROUP: Opt =
    opt("cgroup", Each("[CONTROLLERS:]PATH"), "Run in an existing cgroup below the container's");
pub(crate) static IGNORE_PAUSED: Opt =
    opt("ignore-paused", Nothing, "Join a paused container; the process waits for resume");

// The other verbs.
pub(crate) static KILL_ALL: Opt =
    hidden_short('a', "all", Nothing, "Signal every process (obsolete; not running is no error then)");
pub(crate) static REGEX: Opt =
    hidden_short('r', "regex", Nothing, "Take the id as a pattern (of crun; refused)");
pub(crate) static FORCE: Opt =
    short('f', "force", Nothing, "Kill it first if it runs; an unknown id is no error");
pub(crate) static LIST_FORMAT: Opt =
    short('f', "format", Value("FORMAT"), "Print a table or json [default: table]");
pub(crate) static QUIET: Opt = short('q', "quiet", Nothing, "Print the ids only");
pub(crate) static SPEC_FILE: Opt =
    short('f', "file", Value("FILE"), "File to write instead of config.json in the bundle");
pub(crate) static SPEC_ROOTLESS: Opt =
    opt("rootless", Nothing, "Write a configuration that an ordinary user can run");
pub(crate) static REPORT_FORMAT: Opt = opt("format", Value("FORMAT"), "Print text or json [default: text]");
pub(crate) static STATS: Opt = opt("stats", Nothing, "Print the statistics once and stop");
pub(crate) static INTERVAL: Opt =
    opt("interval", Value("DURATION"), "Time between two statistics [default: 5s]");
pub(crate) static FOLLOW: Opt = opt("follow", Nothing, "Print what happens to the container as it happens");

// update.
pub(crate) static RESOURCES: Opt =
    short('r', "resources", Value("FILE"), "Take the limits from a JSON file, or standard input if -");
pub(crate) static BLKIO_WEIGHT: Opt = opt("blkio-weight", Value("N"), "Block I/O weight, 10 to 1000");
pub(crate) static CPU_PERIOD: Opt = opt("cpu-period", Value("US"), "Length of a CPU period in microseconds");
pub(crate) static CPU_QUOTA: Opt =
    opt("cpu-quota", Value("US"), "CPU time per period in microseconds; -1 is no limit");
pub(crate) static CPU_BURST: Opt =
    opt("cpu-burst", Value("US"), "CPU time that may be saved up, in microseconds");
pub(crate) static CPU_SHARE: Opt =
    opt("cpu-share", Value("N"), "CPU weight relative to other containers, 2 to 262144");
pub(crate) static CPU_RT_PERIOD: Opt =
    opt("cpu-rt-period", Value("US"), "Length of a real-time period in microseconds");
pub(crate) static CPU_RT_RUNTIME: Opt =
    opt("cpu-rt-runtime", Value("US"), "Real-time CPU time per period in microseconds");
pub(crate) static CPUSET_CPUS: Opt = opt("cpuset-cpus", Value("LIST"), "CPUs to run on, as in 0-3,6");
pub(crate) static CPUSET_MEMS: Opt = opt("cpuset-mems", Value("LIST"), "Memory nodes to use, as in 0,1");
pub(crate) static CPU_IDLE: Opt =
    opt("cpu-idle", Value("0|1"), "Run only when no other cgroup wants the CPU");
pub(crate) static MEMORY: Opt = opt("memory", Value("BYTES"), "Memory limit; 64m is 64 MiB, -1 is no limit");
pub(crate) static MEMORY_RESERVATION: Opt =
    opt("memory-reservation", Value("BYTES"), "Memory that is reclaimed last");
pub(crate) static MEMORY_SWAP: Opt =
    opt("memory-swap", Value("BYTES"), "Memory and swap together; -1 is unlimited swap");
pub(crate) static KERNEL_MEMORY: Opt =
    hidden("kernel-memory", Value("BYTES"), "Kernel memory limit (obsolete)");
pub(crate) static KERNEL_MEMORY_TCP: Opt =
    hidden("kernel-memory-tcp", Value("BYTES"), "TCP buffer limit (obsolete)");
pub(crate) static PIDS_LIMIT: Opt =
    opt("pids-limit", Value("N"), "Most processes and threads; -1 is no limit");
pub(crate) static L3_CACHE_SCHEMA: Opt =
    opt("l3-cache-schema", Value("SCHEMA"), "Intel RDT cache allocation");
pub(crate) static MEM_BW_SCHEMA: Opt =
    opt("mem-bw-schema", Value("SCHEMA"), "Intel RDT memory bandwidth allocation");

// checkpoint and restore.
pub(crate) static IMAGE_PATH: Opt =
    opt("image-path", Value("DIR"), "Directory of the image files [default: checkpoint]");
pub(crate) static WORK_PATH: Opt = opt("work-path", Value("DIR"), "Directory of CRIU's log and work files");
pub(crate) static PARENT_PATH: Opt =
    opt("parent-path", Value("DIR"), "Earlier images to build on, relative to --image-path");
pub(crate) static LEAVE_RUNNING: Opt = opt("leave-running", Nothing, "Let the container run on");
pub(crate) static TCP_ESTABLISHED: Opt =
    opt("tcp-established", Nothing, "Save and restore established TCP connections");
pub(crate) static TCP_SKIP_IN_FLIGHT: Opt =
    opt("tcp-skip-in-flight", Nothing, "Leave out TCP connections that are being opened");
pub(crate) static TCP_CLOSE: Opt = opt("tcp-close", Nothing, "Restore established TCP connections as closed");
pub(crate) static LINK_REMAP: Opt =
    opt("link-remap", Nothing, "Link unlinked files that are still open back while dumping");
pub(crate) static EXT_UNIX_SK: Opt =
    opt("ext-unix-sk", Nothing, "Allow Unix sockets to outside the container");
pub(crate) static SHELL_JOB: Opt = opt("shell-job", Nothing, "Allow a terminal of outside the container");
pub(crate) static LAZY_PAGES: Opt =
    opt("lazy-pages", Nothing, "Fetch memory pages on first use, by userfaultfd");
pub(crate) static STATUS_FD: Opt =
    opt("status-fd", Value("FD"), "Descriptor for a zero byte when lazy pages are ready");
pub(crate) static PAGE_SERVER: Opt =
    opt("page-server", Value("ADDRESS:PORT"), "Send the memory pages to this page server");
pub(crate) static FILE_LOCKS: Opt = opt("file-locks", Nothing, "Save and restore file locks");
pub(crate) static PRE_DUMP: Opt = opt("pre-dump", Nothing, "Save memory only and let the container run on");
pub(crate) static MANAGE_CGROUPS_MODE: Opt = opt(
    "manage-cgroups-mode",
    Value("MODE"),
    "Treat cgroups as soft, full, strict or ignore [default: soft]",
);
pub(crate) static EMPTY_NS: Opt =
    opt("empty-ns", Each("NAMESPACE"), "Make this namespace without what was in it: network");
pub(crate) static AUTO_DEDUP: Opt =
    opt("auto-dedup", Nothing, "Drop pages from earlier images that newer ones replace");
pub(crate) static NETWORK_LOCK: Opt =
    opt("network-lock", Value("METHOD"), "How the network is held still: iptables, nftables or skip");
pub(crate) static LSM_PROFILE: Opt =
    opt("lsm-profile", Value("TYPE:NAME"), "LSM profile of the restored processes");
pub(crate) static LSM_MOUNT_CONTEXT: Opt =
    opt("lsm-mount-context", Value("CONTEXT"), "LSM context of the restored mounts");

// completion.
pub(crate) static SHELL: Opt = hidden_short('s', "shell", Value("SHELL"), "The shell (of youki)");

static CREATE_OPTIONS: &[&Opt] = &[
    &BUNDLE,
    &CONFIG,
    &CONSOLE_SOCKET,
    &PIDFD_SOCKET,
    &PID_FILE,
    &NO_PIVOT,
    &NO_NEW_KEYRING,
    &NO_SUBREAPER,
    &PRESERVE_FDS,
    &TIMEOUT,
];
static RUN_OPTIONS: &[&Opt] = &[&DETACH, &KEEP, &SECCOMP_LEARN];
static EXEC_OPTIONS: &[&Opt] = &[
    &PROCESS,
    &CWD,
    &ENV,
    &USER,
    &ADDITIONAL_GIDS,
    &TTY,
    &DETACH,
    &CONSOLE_SOCKET,
    &PIDFD_SOCKET,
    &PID_FILE,
    &PRESERVE_FDS,
    &CAP,
    &NO_NEW_PRIVS,
    &APPARMOR,
    &PROCESS_LABEL,
    &CGROUP,
    &IGNORE_PAUSED,
    &TIMEOUT,
];
static UPDATE_OPTIONS: &[&Opt] = &[
    &RESOURCES,
    &MEMORY,
    &MEMORY_RESERVATION,
    &MEMORY_SWAP,
    &KERNEL_MEMORY,
    &KERNEL_MEMORY_TCP,
    &CPU_PERIOD,
    &CPU_QUOTA,
    &CPU_BURST,
    &CPU_SHARE,
    &CPU_RT_PERIOD,
    &CPU_RT_RUNTIME,
    &CPUSET_CPUS,
    &CPUSET_MEMS,
    &CPU_IDLE,
    &PIDS_LIMIT,
    &BLKIO_WEIGHT,
    &L3_CACHE_SCHEMA,
    &MEM_BW_SCHEMA,
];
static CRIU_OPTIONS: &[&Opt] = &[
    &IMAGE_PATH,
    &WORK_PATH,
    &TCP_ESTABLISHED,
    &EXT_UNIX_SK,
    &SHELL_JOB,
    &FILE_LOCKS,
    &LAZY_PAGES,
    &MANAGE_CGROUPS_MODE,
    &NETWORK_LOCK,
    &EMPTY_NS,
    &AUTO_DEDUP,
];
static CHECKPOINT_OPTIONS: &[&Opt] =
    &[&LEAVE_RUNNING, &PRE_DUMP, &PARENT_PATH, &TCP_SKIP_IN_FLIGHT, &LINK_REMAP, &STATUS_FD, &PAGE_SERVER];
static RESTORE_OPTIONS: &[&Opt] = &[
    &BUNDLE,
    &DETACH,
    &PID_FILE,
    &CONSOLE_SOCKET,
    &NO_SUBREAPER,
    &NO_PIVOT,
    &TCP_CLOSE,
    &LSM_PROFILE,
    &LSM_MOUNT_CONTEXT,
];

const fn cmd(
    verb: Verb,
    name: &'static str,
    about: &'static str,
    arguments: &'static str,
    example: &'static str,
) -> Cmd {
    Cmd {
        verb,
        name,
        about,
        arguments,
        count: (1, 1),
        mixed: Mixed::Everywhere,
        options: &[],
        example,
        show: Show::Always,
    }
}

pub(crate) static CREATE: Cmd = Cmd {
    options: &[CREATE_OPTIONS],
    ..cmd(
        Verb::Create,
        "create",
        "Set up a container from a bundle and stop before its program starts",
        "ID",
        "\
Set up the bundle in /srv/web and note the process id:
orlop create --bundle /srv/web --pid-file /run/web.pid web",
    )
};
pub(crate) static START: Cmd = Cmd {
    options: &[&[&TIMEOUT]],
    ..cmd(
        Verb::Start,
        "start",
        "Start the program of a created container",
        "ID",
        "\
Let the created container web run:
orlop start web",
    )
};
pub(crate) static STATE: Cmd = cmd(
    Verb::State,
    "state",
    "Print what is known of a container, as JSON",
    "ID",
    "\
Is it still running?
orlop state web",
);
pub(crate) static KILL: Cmd = Cmd {
    count: (1, 2),
    options: &[&[&KILL_ALL, &REGEX]],
    ..cmd(
        Verb::Kill,
        "kill",
        "Send a signal to a container's first process",
        "ID [SIGNAL]",
        "\
Ask the program to end (the default is TERM; 15 and SIGTERM mean the same):
orlop kill web TERM",
    )
};
pub(crate) static DELETE: Cmd = Cmd {
    options: &[&[&FORCE, &REGEX]],
    ..cmd(
        Verb::Delete,
        "delete",
        "Remove what a stopped container has left",
        "ID",
        "\
Remove it whatever its state:
orlop delete --force web",
    )
};
pub(crate) static RUN: Cmd = Cmd {
    options: &[CREATE_OPTIONS, RUN_OPTIONS],
    ..cmd(
        Verb::Run,
        "run",
        "Create a container, start it, wait for it and delete it",
        "ID",
        "\
Run the bundle in the current directory and exit with its exit code:
orlop run test",
    )
};
pub(crate) static LIST: Cmd = Cmd {
    count: (0, 0),
    options: &[&[&LIST_FORMAT, &QUIET]],
    ..cmd(
        Verb::List,
        "list",
        "List the containers",
        "",
        "\
The ids alone, one per line:
orlop list --quiet",
    )
};
pub(crate) static SPEC: Cmd = Cmd {
    count: (0, 0),
    options: &[&[&BUNDLE, &SPEC_FILE, &SPEC_ROOTLESS]],
    ..cmd(
        Verb::Spec,
        "spec",
        "Write a config.json to start from",
        "",
        "\
Make a bundle that an ordinary user can run:
mkdir -p bundle/rootfs && orlop spec --rootless --bundle bundle",
    )
};
pub(crate) static FEATURES: Cmd = Cmd {
    count: (0, 0),
    ..cmd(
        Verb::Features,
        "features",
        "Print what this build supports, as JSON",
        "",
        "\
Which mount options are known?
orlop features | jq .mountOptions",
    )
};
pub(crate) static PLAN: Cmd = Cmd {
    count: (0, 1),
    options: &[&[&BUNDLE, &CONFIG, &REPORT_FORMAT]],
    ..cmd(
        Verb::Plan,
        "plan",
        "Print the steps that a bundle would take on this host, and run nothing",
        "[BUNDLE]",
        "\
What would create do?
orlop plan /srv/web",
    )
};
pub(crate) static VALIDATE: Cmd = Cmd {
    count: (0, 1),
    options: &[&[&BUNDLE, &CONFIG]],
    ..cmd(
        Verb::Validate,
        "validate",
        "Report every mistake in a bundle, and what this host cannot honour",
        "[BUNDLE]",
        "\
Check the bundle in the current directory:
orlop validate",
    )
};
pub(crate) static EXEC: Cmd = Cmd {
    count: (1, ANY),
    mixed: Mixed::UntilFirstArgument,
    options: &[EXEC_OPTIONS],
    ..cmd(
        Verb::Exec,
        "exec",
        "Run a further program in a running container",
        "ID COMMAND [ARG...]",
        "\
A shell in the container web:
orlop exec --tty web /bin/sh",
    )
};
pub(crate) static PS: Cmd = Cmd {
    count: (1, ANY),
    mixed: Mixed::UntilFirstArgument,
    options: &[&[&LIST_FORMAT]],
    ..cmd(
        Verb::Ps,
        "ps",
        "List the processes of a container",
        "ID [PS-OPTION...]",
        "\
With the columns of ps aux:
orlop ps web aux",
    )
};
pub(crate) static PAUSE: Cmd = cmd(
    Verb::Pause,
    "pause",
    "Freeze every process of a container",
    "ID",
    "\
Hold it still:
orlop pause web",
);
pub(crate) static RESUME: Cmd = cmd(
    Verb::Resume,
    "resume",
    "Let a paused container run on",
    "ID",
    "\
Let it go on:
orlop resume web",
);
pub(crate) static UPDATE: Cmd = Cmd {
    options: &[UPDATE_OPTIONS],
    ..cmd(
        Verb::Update,
        "update",
        "Change the limits of a container",
        "ID",
        "\
At most 256 MiB and half a CPU:
orlop update --memory 256m --cpu-quota 50000 --cpu-period 100000 web",
    )
};
pub(crate) static EVENTS: Cmd = Cmd {
    options: &[&[&STATS, &INTERVAL, &FOLLOW]],
    ..cmd(
        Verb::Events,
        "events",
        "Print statistics and out-of-memory events, one JSON object per line",
        "ID",
        "\
One look at its use of memory and CPU:
orlop events --stats web",
    )
};
pub(crate) static CHECKPOINT: Cmd = Cmd {
    options: &[CRIU_OPTIONS, CHECKPOINT_OPTIONS],
    ..cmd(
        Verb::Checkpoint,
        "checkpoint",
        "Save a running container to files, with CRIU",
        "ID",
        "\
Save it and let it run on:
orlop checkpoint --image-path /var/tmp/web --leave-running web",
    )
};
pub(crate) static RESTORE: Cmd = Cmd {
    options: &[CRIU_OPTIONS, RESTORE_OPTIONS],
    ..cmd(
        Verb::Restore,
        "restore",
        "Bring a container back from the files of a checkpoint",
        "ID",
        "\
Bring it back in the background:
orlop restore --detach --bundle /srv/web --image-path /var/tmp/web web",
    )
};
pub(crate) static SECCOMP_EXPLAIN: Cmd = Cmd {
    count: (2, 8),
    ..cmd(
        Verb::SeccompExplain,
        "seccomp explain",
        "Say what a bundle's filter answers to a system call, and which rule decides",
        "BUNDLE SYSCALL [ARG...]",
        "\
May the program open a raw socket?
orlop seccomp explain /srv/web socket 2 3 0",
    )
};
pub(crate) static SECCOMP_DUMP: Cmd = cmd(
    Verb::SeccompDump,
    "seccomp dump",
    "Print a bundle's filter program readably",
    "BUNDLE",
    "\
Show the filter as instructions:
orlop seccomp dump /srv/web",
);
pub(crate) static INFO: Cmd = Cmd {
    count: (0, 0),
    options: &[&[&REPORT_FORMAT]],
    ..cmd(
        Verb::Info,
        "info",
        "Say what this host supports, what is missing and what helps",
        "",
        "\
Can an ordinary user run containers here?
orlop info",
    )
};
pub(crate) static INSPECT: Cmd = Cmd {
    options: &[&[&REPORT_FORMAT]],
    ..cmd(
        Verb::Inspect,
        "inspect",
        "Compare what is in force in a running container with its configuration",
        "ID",
        "\
Capabilities, filter, labels, masks and limits as they are:
orlop inspect web",
    )
};
pub(crate) static COMPLETION: Cmd = Cmd {
    count: (0, 1),
    options: &[&[&SHELL]],
    ..cmd(
        Verb::Completion,
        "completion",
        "Print a completion script for bash, zsh or fish",
        "SHELL",
        "\
Complete commands and options in this shell:
source <(orlop completion bash)",
    )
};
pub(crate) static VERSION_COMMAND: Cmd = Cmd {
    count: (0, 0),
    show: Show::Never,
    ..cmd(
        Verb::Version,
        "version",
        "Show the version",
        "",
        "\
Which version is this?
orlop version",
    )
};
pub(crate) static HELP_COMMAND: Cmd = Cmd {
    count: (0, 2),
    ..cmd(
        Verb::Help,
        "help",
        "Show the help of a command",
        "[COMMAND]",
        "\
All options of create:
orlop help create",
    )
};

/// Every command, in the order of help: the lifecycle first, then looking, then changing, then the rest.
pub(crate) static COMMANDS: &[&Cmd] = &[
    &RUN,
    &CREATE,
    &START,
    &STATE,
    &KILL,
    &DELETE,
    &LIST,
    &EXEC,
    &PS,
    &EVENTS,
    &INSPECT,
    &PAUSE,
    &RESUME,
    &UPDATE,
    &CHECKPOINT,
    &RESTORE,
    &SPEC,
    &VALIDATE,
    &PLAN,
    &SECCOMP_EXPLAIN,
    &SECCOMP_DUMP,
    &FEATURES,
    &INFO,
    &COMPLETION,
    &VERSION_COMMAND,
    &HELP_COMMAND,
];

/// Other names of commands: what other runtimes and people write.
pub(crate) static ALIASES: &[(&str, &Cmd)] = &[("h", &HELP_COMMAND), ("check", &INFO)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_has_two_options_of_one_name() {
        for command in COMMANDS {
            let options: Vec<_> = command.all_options().chain([&HELP]).collect();
            for (place, option) in options.iter().enumerate() {
                let before = &options[..place];
                assert!(
                    before.iter().all(|other| other.long != option.long),
                    "{} --{}",
                    command.name,
                    option.long
                );
                assert!(
                    option.short.is_none() || before.iter().all(|other| other.short != option.short),
                    "{} -{:?}",
                    command.name,
                    option.short
                );
                // Only this one was there in runc before orlop could choose.
                assert!(
                    option.long == "rootless" || GLOBAL.iter().all(|global| global.long != option.long),
                    "{} --{}",
                    command.name,
                    option.long
                );
            }
        }
    }

    #[test]
    fn texts_are_one_sentence_without_a_full_stop() {
        let options = COMMANDS.iter().flat_map(|command| command.all_options());
        let texts = options.map(|option| option.help).chain(COMMANDS.iter().map(|command| command.about));
        for text in texts.chain(GLOBAL.iter().map(|option| option.help)) {
            assert!(text.starts_with(|letter: char| letter.is_uppercase()), "{text}");
            assert!(!text.ends_with('.') && !text.contains('\\'), "{text}");
        }
    }

    #[test]
    fn a_verb_is_one_command() {
        for (place, command) in COMMANDS.iter().enumerate() {
            assert!(
                COMMANDS[..place]
                    .iter()
                    .all(|other| other.verb != command.verb && other.name != command.name)
            );
        }
        assert_eq!(COMMANDS.len(), Verb::Help as usize + 1);
    }
}
