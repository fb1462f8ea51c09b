//! Tests of [`super`]: the command lines that engines and people write.

use std::path::{Component, Path};

use super::super::read::{Caller, default_root};
use super::super::table::{COMMANDS, GLOBAL, Takes};
use super::super::{completion, duration, log, values};
use super::*;

/// Reads a command line written with spaces between the words; `''` is an empty word.
fn line(text: &str) -> Result<Invocation, Exit> {
    let words = text.split(' ').map(|word| if word == "''" { "" } else { word });
    parse(["orlop"].into_iter().chain(words).map(OsString::from).collect())
}

fn good(text: &str) -> Invocation {
    line(text).unwrap_or_else(|exit| panic!("{text}: {}", exit.text))
}

fn command(text: &str) -> Command {
    good(text).command
}

fn bad(text: &str) -> String {
    let exit = line(text).expect_err(text);
    assert_eq!(exit.stream, Stream::Stderr, "{text}");
    assert_ne!(exit.code, 0, "{text}");
    exit.text
}

fn id(name: &str) -> ContainerId {
    ContainerId::try_from(name).unwrap()
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn create() -> Create {
    Create {
        id: id("c1"),
        bundle: PathBuf::from("."),
        config: None,
        console_socket: None,
        pidfd_socket: None,
        pid_file: None,
        no_pivot: false,
        no_new_keyring: false,
        no_subreaper: false,
        preserve_fds: 0,
        timeout: None,
    }
}

fn exec_arguments(args: &[&str]) -> ExecArguments {
    ExecArguments {
        args: args.iter().map(OsString::from).collect(),
        cwd: None,
        env: Vec::new(),
        tty: false,
        user: None,
        additional_gids: Vec::new(),
        capabilities: Vec::new(),
        no_new_privileges: None,
        apparmor: None,
        process_label: None,
    }
}

fn exec(process: ExecProcess) -> Exec {
    Exec {
        id: id("c1"),
        process,
        console_socket: None,
        pidfd_socket: None,
        pid_file: None,
        detach: false,
        preserve_fds: 0,
        cgroups: SubCgroups::None,
        ignore_paused: false,
        timeout: None,
    }
}

fn exec_of(text: &str) -> Exec {
    match command(text) {
        Command::Exec(exec) => *exec,
        other => panic!("{text}: {other:?}"),
    }
}

fn arguments_of(text: &str) -> ExecArguments {
    match exec_of(text).process {
        ExecProcess::Arguments(arguments) => *arguments,
        other => panic!("{text}: {other:?}"),
    }
}

fn criu() -> Criu {
    Criu {
        image_path: "checkpoint".into(),
        work_path: None,
        tcp_established: false,
        ext_unix_sk: false,
        shell_job: false,
        file_locks: false,
        lazy_pages: false,
        auto_dedup: false,
        manage_cgroups: ManageCgroups::Soft,
        network_lock: None,
        empty_network: false,
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        id: id("c1"),
        criu: criu(),
        leave_running: false,
        pre_dump: false,
        parent_path: None,
        tcp_skip_in_flight: false,
        link_remap: false,
        status_fd: None,
        page_server: None,
    }
}

fn restore() -> Restore {
    Restore {
        id: id("c1"),
        criu: criu(),
        bundle: ".".into(),
        detach: false,
        pid_file: None,
        console_socket: None,
        no_subreaper: false,
        no_pivot: false,
        tcp_close: false,
        lsm_profile: None,
        lsm_mount_context: None,
    }
}

fn update(limits: UpdateSource) -> Command {
    Command::Update(Update { id: id("c1"), limits, l3_cache_schema: None, mem_bw_schema: None })
}

#[test]
fn containerd_globals_are_understood() {
    let invocation = good(
        "--root /run/containerd/runc/k8s.io --debug --log /run/c1/log.json --log-format json --systemd-cgroup \
         --rootless=true state c1",
    );
    assert_eq!(
        invocation.globals,
        Globals {
            root: Root { path: "/run/containerd/runc/k8s.io".into(), origin: RootOrigin::Option },
            log: LogOptions {
                target: log::Target::File("/run/c1/log.json".into()),
                format: log::Format::Json,
                level: log::Level::Debug,
            },
            cgroups: CgroupDriver::Systemd,
            rootless: Rootless::Yes,
            strict: false,
            timing: None,
            criu: None,
        }
    );
    assert_eq!(invocation.command, Command::State(id("c1")));
    assert!(invocation.warnings.is_empty());
}

/// What containerd passes through go-runc.
#[test]
fn containerd_command_lines_are_understood() {
    let number = |number: &str| Signal::parse(number).unwrap();
    let table = [
        (
            "create --bundle /b --pid-file /b/init.pid --console-socket /tmp/pty.sock --pidfd-socket /tmp/pidfd.sock \
             --no-pivot --no-new-keyring --preserve-fds 3 c1",
            Command::Create(Create {
                bundle: "/b".into(),
                pid_file: path("/b/init.pid"),
                console_socket: path("/tmp/pty.sock"),
                pidfd_socket: path("/tmp/pidfd.sock"),
                no_pivot: true,
                no_new_keyring: true,
                preserve_fds: 3,
                ..create()
            }),
        ),
        ("start c1", Command::Start(Start { id: id("c1"), timeout: None })),
        (
            "exec --process /tmp/p --console-socket /tmp/s --detach --pid-file /b/e.pid c1",
            Command::Exec(Box::new(Exec {
                console_socket: path("/tmp/s"),
                pid_file: path("/b/e.pid"),
                detach: true,
                ..exec(ExecProcess::File("/tmp/p".into()))
            })),
        ),
        ("delete c1", Command::Delete(Delete { id: id("c1"), force: false })),
        ("delete --force c1", Command::Delete(Delete { id: id("c1"), force: true })),
        ("kill c1 9", Command::Kill(Kill { id: id("c1"), signal: number("9"), all: false })),
        ("kill --all c1 15", Command::Kill(Kill { id: id("c1"), signal: number("15"), all: true })),
        ("events --stats c1", Command::Events(Events { id: id("c1"), mode: EventsMode::Stats })),
        (
            "events --interval=5s c1",
            Command::Events(Events { id: id("c1"), mode: EventsMode::Every(Duration::from_secs(5)) }),
        ),
        ("pause c1", Command::Pause(id("c1"))),
        ("resume c1", Command::Resume(id("c1"))),
        (
            "ps --format json c1",
            Command::Ps(Ps { id: id("c1"), format: ListFormat::Json, arguments: vec!["-ef".into()] }),
        ),
        ("update --resources=- c1", update(UpdateSource::Stdin)),
        ("list --format json", Command::List(List { format: ListFormat::Json, quiet: false })),
        ("state c1", Command::State(id("c1"))),
        ("features", Command::Features),
    ];
    for (text, expected) in table {
        assert_eq!(command(&format!("--root /run/x --log /l --log-format json {text}")), expected, "{text}");
    }
}

#[test]
fn containerd_checkpoints_are_understood() {
    let table = [
        (
            "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --ext-unix-sk --shell-job \
             --lazy-pages --file-locks --page-server 10.0.0.1:9000 --status-fd 3 --manage-cgroups-mode soft \
             --empty-ns network --auto-dedup --parent-path ../p c1",
            Command::Checkpoint(Box::new(Checkpoint {
                criu: Criu {
                    image_path: "/i".into(),
                    work_path: path("/w"),
                    tcp_established: true,
                    ext_unix_sk: true,
                    shell_job: true,
                    lazy_pages: true,
                    file_locks: true,
                    empty_network: true,
                    auto_dedup: true,
                    ..criu()
                },
                leave_running: true,
                status_fd: Some(3),
                page_server: Some(PageServer { address: "10.0.0.1".into(), port: 9000 }),
                parent_path: path("../p"),
                ..checkpoint()
            })),
        ),
        (
            "restore --image-path /i --work-path /w --detach --pid-file /p --console-socket /s --no-pivot \
             -no-subreaper --bundle /b c1",
            Command::Restore(Box::new(Restore {
                criu: Criu { image_path: "/i".into(), work_path: path("/w"), ..criu() },
                detach: true,
                pid_file: path("/p"),
                console_socket: path("/s"),
                no_pivot: true,
                no_subreaper: true,
                bundle: "/b".into(),
                ..restore()
            })),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(command(&format!("--root /run/x --log /l --log-format json {text}")), expected, "{text}");
    }
}

/// What conmon, Podman and CRI-O pass.
#[test]
fn conmon_podman_and_cri_o_command_lines_are_understood() {
    let kill = |all| Command::Kill(Kill { id: id("c1"), signal: Signal::KILL, all });
    let table = [
        (
            "--systemd-cgroup --root=/r create --bundle /b --pid-file /p --no-pivot --no-new-keyring \
             --console-socket /s c1",
            Command::Create(Create {
                bundle: "/b".into(),
                pid_file: path("/p"),
                console_socket: path("/s"),
                no_pivot: true,
                no_new_keyring: true,
                ..create()
            }),
        ),
        (
            "exec --pid-file /p --process /spec --detach --console-socket /s c1",
            Command::Exec(Box::new(Exec {
                pid_file: path("/p"),
                detach: true,
                console_socket: path("/s"),
                ..exec(ExecProcess::File("/spec".into()))
            })),
        ),
        ("--log-format=json --log=/l state c1", Command::State(id("c1"))),
        ("start c1", Command::Start(Start { id: id("c1"), timeout: None })),
        ("kill c1 9", kill(false)),
        ("kill --all c1 9", kill(true)),
        ("kill -a c1 KILL", kill(true)),
        ("delete --force c1", Command::Delete(Delete { id: id("c1"), force: true })),
        ("pause c1", Command::Pause(id("c1"))),
        ("resume c1", Command::Resume(id("c1"))),
        ("update --resources=/tmp/r c1", update(UpdateSource::File("/tmp/r".into()))),
        ("update --resources - c1", update(UpdateSource::Stdin)),
        ("exec --process /spec c1", Command::Exec(Box::new(exec(ExecProcess::File("/spec".into()))))),
        ("features", Command::Features),
    ];
    for (text, expected) in table {
        assert_eq!(command(text), expected, "{text}");
    }
    let disabled = good("--cgroup-manager disabled --systemd-cgroup create c1").globals.cgroups;
    assert_eq!(disabled, CgroupDriver::Disabled);
    assert_eq!(good("--cgroup-manager=systemd features").globals.cgroups, CgroupDriver::Systemd);
    assert_eq!(good("features").globals.cgroups, CgroupDriver::Cgroupfs);
}

#[test]
fn podman_and_cri_o_checkpoints_are_understood() {
    let table = [
        (
            "--systemd-cgroup restore --bundle /b --pid-file /p --detach --image-path /i --work-path /b \
             --tcp-established --lsm-profile=selinux:system_u:system_r:container_t:s0:c1,c2 \
             --lsm-mount-context=system_u:object_r:container_file_t:s0 c1",
            Command::Restore(Box::new(Restore {
                criu: Criu {
                    image_path: "/i".into(),
                    work_path: path("/b"),
                    tcp_established: true,
                    ..criu()
                },
                bundle: "/b".into(),
                pid_file: path("/p"),
                detach: true,
                lsm_profile: Some("selinux:system_u:system_r:container_t:s0:c1,c2".into()),
                lsm_mount_context: Some("system_u:object_r:container_file_t:s0".into()),
                ..restore()
            })),
        ),
        (
            "checkpoint --pre-dump --image-path /i --work-path /w c1",
            Command::Checkpoint(Box::new(Checkpoint {
                criu: Criu { image_path: "/i".into(), work_path: path("/w"), ..criu() },
                pre_dump: true,
                ..checkpoint()
            })),
        ),
        (
            "checkpoint --file-locks --image-path /i --work-path /w --leave-running --parent-path ../pre c1",
            Command::Checkpoint(Box::new(Checkpoint {
                criu: Criu { image_path: "/i".into(), work_path: path("/w"), file_locks: true, ..criu() },
                leave_running: true,
                parent_path: path("../pre"),
                ..checkpoint()
            })),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(command(text), expected, "{text}");
    }
}

/// Podman decides by these two what a runtime can do (its package crutils).
#[test]
fn the_probes_of_podman_are_answered() {
    let exit = line("checkpoint --help").unwrap_err();
    assert_eq!((exit.code, exit.stream), (0, Stream::Stdout));
    let text = bad("restore --lsm-mount-context");
    assert!(text.contains("flag needs an argument"), "{text}");
}

#[test]
fn one_dash_two_dashes_and_letters_mean_the_same() {
    let expected = Command::Run(Run {
        create: Create { bundle: "/b".into(), no_pivot: true, ..create() },
        detach: true,
        keep: false,
        seccomp_learn: None,
    });
    for text in [
        "run --bundle /b --detach --no-pivot c1",
        "run -bundle /b -detach -no-pivot c1",
        "run -bundle=/b -detach=true -no-pivot=1 c1",
        "run --bundle=/b -d --no-pivot=T c1",
        "run -b /b -d --no-pivot= c1",
        "run -b=/b -d --no-pivot c1",
        "run -b/b -d --no-pivot c1",
        "run -db /b --no-pivot c1",
        "run -db=/b --no-pivot c1",
        "run c1 -d --no-pivot --bundle /b",
        "run -d c1 --bundle /b --no-pivot",
        "run --bundle /b --detach --no-pivot -- c1",
        "run --bundle /wrong --bundle /b --detach=false --detach --no-pivot c1",
        "run --keep --keep=false --bundle /b -d --no-pivot c1",
    ] {
        assert_eq!(command(text), expected, "{text}");
    }
}

#[test]
fn a_value_may_stick_to_its_letter() {
    let arguments = arguments_of("exec -eFOO=bar -u1000:5 -tg7 c1 id");
    assert_eq!(arguments.env, ["FOO=bar"]);
    assert_eq!(arguments.user, Some(UserId { uid: 1000, gid: Some(5) }));
    assert_eq!((arguments.tty, arguments.additional_gids), (true, vec![7]));
}

#[test]
fn switches_can_be_switched_off() {
    for off in ["--force=false", "-force=0", "--force=F", "-f=false", "--force --force=FALSE"] {
        assert_eq!(
            command(&format!("delete {off} c1")),
            Command::Delete(Delete { id: id("c1"), force: false }),
            "{off}"
        );
    }
    let text = bad("delete --force=maybe c1");
    assert!(text.contains("invalid boolean value \"maybe\" for --force"), "{text}");
}

#[test]
fn what_follows_the_id_of_exec_and_ps_is_left_alone() {
    let table = [
        ("exec c1 ls -l --help", &["ls", "-l", "--help"][..]),
        ("exec c1 sh -c --tty", &["sh", "-c", "--tty"]),
        ("exec c1 -t", &["-t"]),
        ("exec c1 -- ls -l", &["ls", "-l"]),
        ("exec -- c1 ls -l", &["ls", "-l"]),
        ("exec c1 ls -- x", &["ls", "--", "x"]),
        ("exec c1 -- -- x", &["--", "x"]),
        ("exec -- c1 -- x", &["--", "x"]),
        ("exec c1 ''", &[""]),
    ];
    for (text, args) in table {
        assert_eq!(arguments_of(text), exec_arguments(args), "{text}");
    }
    let Command::Ps(ps) = command("ps c1 -aux --format x") else { panic!("ps") };
    assert_eq!(ps.arguments, ["-aux", "--format", "x"]);
}

#[test]
fn every_option_of_exec_has_its_type() {
    let text = "exec -t -e A=1 --env B= -e =x -u 1000:100 -g 5 --additional-gids 6 -c CAP_NET_RAW --cap SYS_ADMIN \
                --no-new-privs=false --apparmor p --process-label l --cwd /w c1 id";
    assert_eq!(
        arguments_of(text),
        ExecArguments {
            cwd: path("/w"),
            env: ["A=1", "B=", "=x"].map(OsString::from).to_vec(),
            tty: true,
            user: Some(UserId { uid: 1000, gid: Some(100) }),
            additional_gids: vec![5, 6],
            capabilities: vec!["CAP_NET_RAW".into(), "SYS_ADMIN".into()],
            no_new_privileges: Some(false),
            apparmor: Some("p".into()),
            process_label: Some("l".into()),
            ..exec_arguments(&["id"])
        }
    );
    let exec = exec_of(
        "exec --preserve-fds=2 --pidfd-socket /s --ignore-paused --timeout 1m30s --cgroup cpu,memory:/a -cgroup pids:b c1 id",
    );
    assert_eq!(exec.preserve_fds, 2);
    assert_eq!(exec.pidfd_socket, path("/s"));
    assert!(exec.ignore_paused);
    assert_eq!(exec.timeout, Some(Duration::from_secs(90)));
    let pairs = [("cpu", "/a"), ("memory", "/a"), ("pids", "b")];
    let expected = pairs.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).to_vec();
    assert_eq!(exec.cgroups, SubCgroups::Controllers(expected));
    // crun takes the terminal's name after an equals sign.
    assert!(arguments_of("exec --tty=/dev/pts/0 c1 id").tty);
    assert!(!arguments_of("exec --tty=false c1 id").tty);
    assert!(!arguments_of("exec c1 id").tty);
}

#[test]
fn a_mistake_of_exec_cannot_be_taken_for_the_programs_exit_code() {
    for text in
        ["exec c1", "exec", "exec --user root c1 id", "exec --bogus c1 id", "exec .. id", "exec -g -1 c1 id"]
    {
        assert_eq!(line(text).unwrap_err().code, EXEC_FAILED, "{text}");
    }
    assert!(bad("exec c1").contains("exec args cannot be empty"));
    assert_eq!(line("state").unwrap_err().code, 1);
}

#[test]
fn limits_are_numbers_and_sizes() {
    let text = "update --memory 64m --memory-swap -1 --memory-reservation 1073741824 --cpu-quota -1 --cpu-period 100000 \
                --cpu-burst 5 --cpu-share 512 --cpu-rt-period 7 --cpu-rt-runtime 6 --cpuset-cpus 0-3,6 --cpuset-mems 0 \
                --cpu-idle 1 --pids-limit -1 --blkio-weight 500 --kernel-memory 1k --kernel-memory-tcp 2k c1";
    let expected = Limits {
        blkio_weight: Some(500),
        cpu_period: Some(100_000),
        cpu_quota: Some(-1),
        cpu_burst: Some(5),
        cpu_shares: Some(512),
        cpu_rt_period: Some(7),
        cpu_rt_runtime: Some(6),
        cpu_idle: Some(1),
        cpuset_cpus: Some("0-3,6".into()),
        cpuset_mems: Some("0".into()),
        memory: Some(64 << 20),
        memory_reservation: Some(1 << 30),
        memory_swap: Some(-1),
        kernel_memory: Some(1024),
        kernel_memory_tcp: Some(2048),
        pids: Some(-1),
    };
    assert_eq!(command(text), update(UpdateSource::Options(Box::new(expected))));
    assert_eq!(
        command("update --blkio-weight 0 --memory '' c1"),
        update(UpdateSource::Options(Box::default()))
    );
    for text in ["--memory x", "--cpu-period -1", "--blkio-weight 65536", "--pids-limit 1.5", "--memory -2"] {
        let option = text.split(' ').next().unwrap();
        assert!(bad(&format!("update {text} c1")).contains(&format!("invalid value for {option}")), "{text}");
    }
}

#[test]
fn limits_beside_a_file_are_announced_as_unused() {
    let invocation = good("update --resources /r --memory 1m --l3-cache-schema L3:0=f c1");
    assert_eq!(invocation.warnings, ["--memory has no effect beside --resources"]);
    let Command::Update(update) = invocation.command else { panic!("update") };
    assert_eq!(update.l3_cache_schema.as_deref(), Some("L3:0=f"));
    assert_eq!(good("--systemd-log features").warnings.len(), 1);
    assert!(good("update --memory 1m c1").warnings.is_empty());
}

#[test]
fn obsolete_options_of_peers_are_accepted() {
    assert_eq!(good("--criu /usr/sbin/criu features").globals.criu, path("/usr/sbin/criu"));
    for (value, expected) in [
        ("true", Rootless::Yes),
        ("1", Rootless::Yes),
        ("false", Rootless::No),
        ("auto", Rootless::Auto),
        ("AUTO", Rootless::Auto),
        ("", Rootless::Auto),
    ] {
        assert_eq!(good(&format!("--rootless={value} features")).globals.rootless, expected, "{value}");
    }
    assert!(bad("--rootless=maybe features").contains("--rootless"));
    assert_eq!(
        command("create --no-subreaper c1"),
        Command::Create(Create { no_subreaper: true, ..create() })
    );
    for text in ["kill --regex c.* 9", "delete -r c.*"] {
        assert!(bad(text).contains("--regex is not supported"), "{text}");
    }
}

#[test]
fn log_options_are_typed() {
    let log = |text: &str| good(&format!("{text} features")).globals.log;
    assert_eq!(log("--debug=0"), LogOptions::default());
    assert_eq!(log("--log ''"), LogOptions::default());
    assert_eq!(log("--log journald:web").target, log::Target::Journald("web".into()));
    assert_eq!(log("--log-format=text").format, log::Format::Text);
    for (word, level) in [
        ("error", log::Level::Error),
        ("warning", log::Level::Warning),
        ("warn", log::Level::Warning),
        ("info", log::Level::Info),
        ("debug", log::Level::Debug),
    ] {
        assert_eq!(log(&format!("--log-level {word}")).level, level);
    }
    assert_eq!(log("--log-level error --debug").level, log::Level::Debug);
    assert_eq!(log("--debug --debug=false").level, log::Level::Info);
    assert!(bad("--log-format xml features").contains("\"xml\" is not one of text, json"));
}

#[test]
fn global_options_are_understood_after_the_command_as_well() {
    let invocation = good("list --root /r --debug");
    assert_eq!(invocation.globals.root.path, Path::new("/r"));
    assert_eq!(invocation.globals.log.level, log::Level::Debug);
    // The option of the command wins over the global one of that name.
    let invocation = good("--rootless=false spec --rootless --timing /t --strict");
    assert_eq!(invocation.globals.rootless, Rootless::No);
    assert_eq!(invocation.globals.timing, path("/t"));
    assert!(invocation.globals.strict);
    assert_eq!(invocation.command, Command::Spec(Spec { bundle: ".".into(), file: None, rootless: true }));
}

#[test]
fn a_mistake_is_logged_where_the_line_says() {
    for text in [
        "--log /l --log-format json create --bogus c1",
        "--log /l --log-format json frobnicate",
        "--log /l --log-format json state",
    ] {
        let exit = line(text).unwrap_err();
        let expected = LogOptions {
            target: log::Target::File("/l".into()),
            format: log::Format::Json,
            level: log::Level::Info,
        };
        assert_eq!(exit.log, expected, "{text}");
    }
}

#[test]
fn the_root_is_never_the_hosts() {
    for root in ["/", "//", "/.", "/run/..", "/../../", "''", "../../../../../../../../../../../../.."] {
        let text = bad(&format!("--root {root} list"));
        assert!(text.contains("--root argument should not be set to"), "{root}: {text}");
    }
    assert_eq!(good("--root /run/../x list").globals.root.path, Path::new("/run/../x"));
    let relative = good("--root some/where list").globals.root.path;
    assert!(relative.is_absolute() && relative.ends_with("some/where"), "{relative:?}");
}

#[test]
fn the_default_root_depends_on_who_asks() {
    let root = |uid, in_user_namespace, runtime_dir: Option<&str>, user: Option<&str>| {
        let runtime_dir = runtime_dir.map(PathBuf::from);
        let root =
            default_root(&Caller { uid, in_user_namespace, runtime_dir, user: user.map(OsString::from) });
        (root.path.to_str().unwrap().to_owned(), root.origin)
    };
    let is = |path: &str, origin| (path.to_owned(), origin);
    let (system, xdg) = (is("/run/orlop", RootOrigin::System), is("/x/orlop", RootOrigin::XdgRuntimeDir));
    assert_eq!(root(0, false, None, None), system);
    assert_eq!(root(0, false, Some("/x"), None), system);
    assert_eq!(root(0, true, Some("/x"), Some("root")), system);
    assert_eq!(root(0, true, Some("/x"), Some("me")), xdg);
    assert_eq!(root(0, true, Some("/x"), None), xdg);
    assert_eq!(root(0, true, None, None), system);
    assert_eq!(root(1000, false, Some("/x"), Some("me")), xdg);
    assert_eq!(root(1000, false, Some("/x"), Some("root")), xdg);
    assert_eq!(root(1000, false, None, None), is("/tmp/orlop-1000", RootOrigin::Tmp));
    assert_eq!(root(1000, false, Some("relative"), None), is("/tmp/orlop-1000", RootOrigin::Tmp));
}

#[test]
fn signals_have_a_default_and_a_name() {
    let signal = |text: &str| match command(text) {
        Command::Kill(kill) => kill.signal.raw(),
        other => panic!("{other:?}"),
    };
    assert_eq!(signal("kill c1"), 15);
    assert_eq!(signal("kill c1 ''"), 15);
    assert_eq!(signal("kill c1 RTMIN+3"), 37);
    assert_eq!(signal("kill c1 sigusr1"), 10);
    assert_eq!(signal("kill c1 0"), 0);
    assert!(bad("kill c1 -9").contains("unknown signal \"-9\""));
    assert!(bad("kill c1 BOGUS").contains("unknown signal \"BOGUS\""));
    assert!(bad("kill c1 9 9").contains("a maximum of 2"));
}

#[test]
fn every_verb_checks_the_id() {
    for verb in [
        "create",
        "start",
        "state",
        "kill",
        "delete",
        "run",
        "pause",
        "resume",
        "update",
        "events",
        "checkpoint",
        "restore",
        "inspect",
        "ps",
    ] {
        for name in [".", "..", "a/b", "a b\n", "/etc"] {
            let words = ["orlop", verb, name].map(OsString::from).to_vec();
            let text = parse(words).unwrap_err().text;
            assert!(text.contains("invalid container ID format"), "{verb} {name}: {text}");
        }
        assert!(bad(&format!("{verb} ''")).contains("container id cannot be empty"), "{verb}");
        assert!(bad(verb).contains("argument(s)"), "{verb}");
    }
    assert!(bad("exec ../x id").contains("invalid container ID format"));
    assert!(bad("state c1 c2").contains("\"state\" requires exactly 1 argument(s)"));
}

#[test]
fn typos_get_the_word_that_was_meant() {
    let table = [
        ("strat c1", "did you mean \"start\"?"),
        ("cretae c1", "did you mean \"create\"?"),
        ("exce c1 id", "did you mean \"exec\"?"),
        ("create --bundel /b c1", "did you mean \"--bundle\"?"),
        ("create -bundel /b c1", "did you mean \"--bundle\"?"),
        ("exec -evn A=1 c1 id", "did you mean \"--env\"?"),
        ("create --pidfile /p c1", "did you mean \"--pid-file\"?"),
        ("run --detatch c1", "did you mean \"--detach\"?"),
        ("--systemd-cgroups list", "did you mean \"--systemd-cgroup\"?"),
        ("--verison", "did you mean \"--version\"?"),
        ("seccomp explan /b read", "did you mean \"explain\"?"),
        ("help strat", "did you mean \"start\"?"),
        ("completion bsh", "did you mean \"bash\"?"),
    ];
    for (text, expected) in table {
        let shown = bad(text);
        assert!(shown.contains(expected), "{text}: {shown}");
    }
    assert!(bad("create --xyzzyplugh c1").contains("unknown option \"--xyzzyplugh\""));
    assert!(bad("create -zz c1").contains("unknown option \"-zz\""));
    assert!(bad("delete -fz c1").contains("unknown option \"-fz\""));
}

#[test]
fn an_option_without_its_value_says_so() {
    for command in COMMANDS {
        for option in command.all_options().chain(GLOBAL.iter().copied()) {
            if !matches!(option.takes, Takes::Value(_) | Takes::Each(_)) {
                continue;
            }
            if command.verb == Verb::Spec && option.long == "rootless" {
                continue; // its own switch of that name
            }
            let text = bad(&format!("{} --{}", command.name, option.long));
            assert!(text.contains(&format!("flag needs an argument: --{} ", option.long)), "{text}");
        }
    }
    assert!(bad("--root").contains("flag needs an argument: --root"));
    assert!(bad("exec -e").contains("flag needs an argument: --env"));
}

#[test]
fn events_have_three_modes() {
    let mode = |text: &str| match command(text) {
        Command::Events(events) => events.mode,
        other => panic!("{other:?}"),
    };
    assert_eq!(mode("events c1"), EventsMode::Every(Duration::from_secs(5)));
    assert_eq!(mode("events --interval 500ms c1"), EventsMode::Every(Duration::from_millis(500)));
    assert_eq!(mode("events --interval 2 c1"), EventsMode::Every(Duration::from_secs(2)));
    assert_eq!(mode("events --follow c1"), EventsMode::Follow);
    assert!(bad("events --interval 0 c1").contains("duration interval must be greater than 0"));
    assert!(bad("events --interval=-5s c1").contains("invalid duration"));
    assert!(bad("events --stats --follow c1").contains("exclude"));
}

#[test]
fn deadlines_are_never_zero() {
    let Command::Start(start) = command("start --timeout 500ms c1") else { panic!("start") };
    assert_eq!(start.timeout, Some(Duration::from_millis(500)));
    let Command::Run(run) = command("run --timeout 1h --seccomp-learn /p c1") else { panic!("run") };
    assert_eq!(run.create.timeout, Some(Duration::from_secs(3600)));
    assert_eq!(run.seccomp_learn, path("/p"));
    assert!(bad("create --timeout 0s c1").contains("greater than 0"));
    assert!(bad("create --timeout soon c1").contains("invalid duration \"soon\""));
}

#[test]
fn checkpoint_values_are_checked() {
    for (text, expected) in [
        ("--parent-path /abs", "--parent-path must be relative"),
        ("--manage-cgroups-mode all", "\"all\" is not one of soft, full, strict, ignore"),
        ("--empty-ns pid", "namespace \"pid\" is not supported"),
        ("--page-server nowhere", "is not ADDRESS:PORT"),
        ("--status-fd -7", "not negative"),
        ("--network-lock x", "is not one of iptables, nftables, skip"),
    ] {
        let shown = bad(&format!("checkpoint {text} c1"));
        assert!(shown.contains(expected), "{text}: {shown}");
    }
    let Command::Checkpoint(options) = command("checkpoint --status-fd -1 --network-lock skip c1") else {
        panic!("checkpoint")
    };
    assert_eq!((options.status_fd, options.criu.network_lock), (None, Some(NetworkLock::Skip)));
}

#[test]
fn looking_commands_are_typed() {
    let plan = |bundle: &str| Plan { bundle: bundle.into(), config: None, format: ReportFormat::Text };
    assert_eq!(command("plan"), Command::Plan(plan(".")));
    assert_eq!(command("plan --bundle /b"), Command::Plan(plan("/b")));
    assert_eq!(command("plan /b"), Command::Plan(plan("/b")));
    assert!(bad("plan --bundle /a /b").contains("named twice"));
    assert_eq!(
        command("validate /b --config c.json"),
        Command::Validate(Validate { bundle: "/b".into(), config: path("c.json") })
    );
    assert_eq!(
        command("seccomp explain /b socket 2 0x3 -1"),
        Command::SeccompExplain(SeccompExplain {
            bundle: "/b".into(),
            syscall: "socket".into(),
            arguments: vec![2, 3, u64::MAX],
        })
    );
    assert_eq!(command("seccomp dump /b"), Command::SeccompDump(SeccompDump { bundle: "/b".into() }));
    assert_eq!(command("info"), Command::Info(Info { format: ReportFormat::Text }));
    assert_eq!(command("check --format json"), Command::Info(Info { format: ReportFormat::Json }));
    assert_eq!(
        command("inspect c1 --format json"),
        Command::Inspect(Inspect { id: id("c1"), format: ReportFormat::Json })
    );
    assert!(bad("list -f xml").contains("invalid format option"));
    assert!(bad("seccomp").contains("explain or dump"));
    assert!(bad("seccomp explain /b socket x").contains("\"x\" is no number"));
    assert_eq!(command("list -q"), Command::List(List { format: ListFormat::Table, quiet: true }));
}

#[test]
fn help_and_version_end_the_line_with_success() {
    for text in [
        "--help",
        "-h",
        "-?",
        "--usage",
        "help",
        "h",
        "help create",
        "create --help",
        "create c1 -h",
        "exec -h",
        "seccomp --help",
        "help seccomp",
        "help seccomp dump",
        "--root /r --help",
    ] {
        let exit = line(text).unwrap_err();
        assert_eq!((exit.code, exit.stream), (0, Stream::Stdout), "{text}: {}", exit.text);
        assert!(exit.text.contains("Usage: orlop"), "{text}");
    }
    assert_eq!(parse(vec!["orlop".into()]).unwrap_err().code, 0);
    assert_eq!(parse(Vec::new()).unwrap_err().code, 0);
    for text in ["--version", "-version", "-v", "-V", "version", "--debug --version"] {
        let exit = line(text).unwrap_err();
        assert_eq!((exit.code, exit.stream), (0, Stream::Stdout), "{text}");
        assert!(exit.text.starts_with("orlop version "), "{text}");
    }
    for shell in completion::SHELLS {
        assert_eq!(line(&format!("completion {shell}")).unwrap_err().code, 0);
        assert_eq!(line(&format!("completion -s {shell}")).unwrap_err().code, 0);
    }
    assert!(bad("completion").contains("exactly 1"));
}

#[test]
fn words_that_are_no_utf8_are_kept_in_paths_and_refused_elsewhere() {
    use std::os::unix::ffi::OsStringExt;
    let strange = |prefix: &str| OsString::from_vec([prefix.as_bytes(), b"\xff\xfe"].concat());
    let read = |words: [OsString; 4]| parse([OsString::from("orlop")].into_iter().chain(words).collect());
    let invocation = read(["create".into(), "--bundle".into(), strange("/b"), "c1".into()]).unwrap();
    assert_eq!(invocation.command, Command::Create(Create { bundle: strange("/b").into(), ..create() }));
    let invocation = read(["create".into(), strange("--bundle="), "c1".into(), "--".into()]).unwrap();
    assert_eq!(invocation.command, Command::Create(Create { bundle: strange("").into(), ..create() }));
    for words in [
        ["create".into(), "-d".into(), "--".into(), strange("c")],
        [strange("--x"), "state".into(), "c1".into(), "--".into()],
        [strange("-x"), "state".into(), "c1".into(), "--".into()],
        [strange("x"), "state".into(), "c1".into(), "--".into()],
        ["kill".into(), "c1".into(), strange(""), "--".into()],
        ["create".into(), "--preserve-fds".into(), strange("1"), "c1".into()],
    ] {
        assert_ne!(read(words).unwrap_err().code, 0);
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = String> {
        let mut known: Vec<String> =
            vec!["--".into(), "-".into(), "c1".into(), String::new(), "=".into(), "-=".into()];
        for command in COMMANDS {
            known.extend(command.name.split(' ').map(str::to_owned));
            known.extend(command.all_options().map(|option| format!("--{}", option.long)));
            known.extend(command.all_options().map(|option| format!("-{}=1", option.long)));
            known.extend(command.all_options().filter_map(|option| Some(format!("-{}", option.short?))));
        }
        prop_oneof![4 => proptest::sample::select(known), 1 => "\\PC{0,12}", 1 => "-{0,3}[a-z=]{0,8}", 1 => "[0-9a-z:.-]{0,9}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn no_command_line_makes_the_reader_panic(words in proptest::collection::vec(word(), 0..12)) {
            match parse([OsString::from("orlop")].into_iter().chain(words.iter().map(OsString::from)).collect()) {
                Ok(invocation) => prop_assert!(invocation.globals.root.path.is_absolute()),
                Err(exit) => {
                    prop_assert!(exit.text.ends_with('\n'));
                    prop_assert_eq!(exit.code == 0, exit.stream == Stream::Stdout);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(words in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..20), 0..8)) {
            use std::os::unix::ffi::OsStringExt;
            let _ = parse(words.into_iter().map(OsString::from_vec).collect());
        }

        #[test]
        fn values_are_read_without_a_panic(text in "\\PC{0,20}|[0-9a-zA-Z.+:-]{0,24}") {
            let _ = duration::parse(&text);
            let _ = Signal::parse(&text);
            let _ = values::bytes(&text);
            let _ = values::user(&text);
            let _ = values::page_server(&text);
            let _ = values::sub_cgroups([text.as_str()].into_iter());
        }

        #[test]
        fn an_id_that_is_accepted_is_one_component_of_a_path(name in "[a-z./_+-]{0,6}|\\PC{0,4}") {
            if let Ok(id) = ContainerId::try_from(name.as_str()) {
                let mut parts = Path::new(id.as_str()).components();
                prop_assert!(matches!(parts.next(), Some(Component::Normal(_))));
                prop_assert!(parts.next().is_none());
            }
        }
    }
}
