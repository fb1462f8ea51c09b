//! `run` in the foreground beyond the terminal itself: signals, orphans, streams that stall or end, and what a service
//! manager hands over (LISTEN_FDS, NOTIFY_SOCKET).
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::{is_alive, wait, wait_until};
use integration_tests::pty;
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, Report, World, cases, harness};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    harness::main(cases![
        every_signal_is_forwarded,
        a_signal_that_comes_before_the_program_is_not_lost,
        a_signal_after_the_end_does_not_change_the_exit_code,
        an_ignored_hangup_stays_ignored,
        orphans_are_adopted_and_reaped,
        orphans_are_left_alone_with_no_subreaper,
        the_exit_code_is_known_although_the_caller_ignores_sigchld,
        a_forced_delete_of_an_attended_container_does_not_wait,
        ten_megabytes_before_an_immediate_exit_arrive,
        ten_megabytes_to_a_slow_terminal_arrive,
        the_end_of_input_does_not_end_the_output,
        the_end_of_input_ends_a_program_that_reads,
        an_output_that_nobody_reads_neither_hangs_nor_spins,
        a_terminate_ends_the_wait_for_an_output_that_nobody_reads,
        an_output_that_is_closed_lets_the_program_go_on,
        a_console_that_is_opened_for_each_message_is_relayed,
        the_callers_streams_keep_their_flags,
        raw_mode_ends_when_the_run_is_terminated,
        a_terminal_in_the_background_is_left_alone,
        a_configured_size_is_kept_until_the_terminal_changes,
        a_terminal_that_nobody_would_get_is_refused,
        a_console_socket_without_use_is_refused,
        a_console_socket_that_is_never_accepted_times_out,
        a_pipe_belongs_to_the_user,
        a_file_belongs_to_the_user,
        the_null_device_keeps_its_owner,
        listening_sockets_come_before_preserved_descriptors,
        listening_sockets_of_another_process_are_not_passed,
        a_number_of_listening_sockets_that_is_none_is_refused,
        notifications_of_a_foreground_run_are_passed_on,
        a_sender_that_waits_is_answered,
        a_detached_run_waits_until_the_program_is_ready,
        start_waits_until_the_program_is_ready,
        a_program_that_ends_before_it_is_ready_is_no_error,
        a_program_that_is_never_ready_ends_with_the_timeout,
        a_service_manager_that_is_not_there_is_warned_of,
    ])
}

fn with_terminal(bundle: Bundle) -> Bundle {
    bundle.edit(|config| config["process"]["terminal"] = json!(true))
}

fn send(child: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child).unwrap()), signal).unwrap();
}

/// `run` of a bundle with these streams.
fn spawn(
    world: &World,
    id: &str,
    bundle: &Bundle,
    stdin: impl Into<Stdio>,
    stdout: impl Into<Stdio>,
) -> Child {
    let mut command = world.command(&["run", "--bundle", bundle.path(), id]);
    command.stdin(stdin).stdout(stdout).stderr(Stdio::null()).spawn().unwrap()
}

#[track_caller]
fn code(child: &mut Child) -> Option<i32> {
    wait(child, LIMIT).expect("the run did not end").code()
}

/// Both ends of a pipe.
fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// Everything until the end of a pipe, which must come within the limit.
#[track_caller]
fn read_all(pipe: impl AsFd) -> Vec<u8> {
    let (mut bytes, mut block, began) = (Vec::new(), [0; 65536], Instant::now());
    let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
    while began.elapsed() < LIMIT {
        if poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&wait)).unwrap() == 0 {
            continue;
        }
        match rustix::io::read(&pipe, &mut block).unwrap() {
            0 => return bytes,
            count => bytes.extend_from_slice(&block[..count]),
        }
    }
    panic!(
        "no end after {LIMIT:?}: {:?}",
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(200)..])
    );
}

/// The processor time that a process has used, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

// ── Signals and children ──

fn every_signal_is_forwarded(world: &World) -> Outcome {
    let names = [
        "HUP", "INT", "QUIT", "ABRT", "USR1", "USR2", "ALRM", "TERM", "CONT", "TSTP", "XCPU", "VTALRM",
        "PROF",
    ];
    let traps: String = names.iter().map(|name| format!("trap 'echo got {name}' {name};")).collect();
    let script = format!("{traps} trap 'exit 9' PWR; echo ready; while :; do sleep 0.02; done");
    let running =
        world.begin(&mut world.command(&["run", "--bundle", world.shell(&script).path(), &world.id()]));
    wait_until("it is ready", LIMIT, || running.output().0.contains("ready"));
    for name in names {
        let signal: Signal = format!("SIG{name}").parse().unwrap();
        send(running.pid().unsigned_abs(), signal);
        wait_until(name, LIMIT, || running.output().0.contains(&format!("got {name}\n")));
    }
    send(running.pid().unsigned_abs(), Signal::SIGPWR);
    assert_eq!(running.end(LIMIT).code, Some(9));
    Ok(())
}

/// In the host's pid namespace, so that a signal without a handler ends the program.
fn a_signal_that_comes_before_the_program_is_not_lost(world: &World) -> Outcome {
    let hook = world.script("hook", "kill -USR1 $PPID");
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]).without_namespace("pid");
    let bundle = bundle.edit(|config| config["hooks"] = json!({"createRuntime": [{"path": hook}]}));
    let ran = world.run(&bundle);
    assert_eq!(ran.code, Some(128 + 10), "{ran}");
    Ok(())
}

fn a_signal_after_the_end_does_not_change_the_exit_code(world: &World) -> Outcome {
    let hook = world.script("hook", "kill -TERM $PPID");
    let bundle = world.shell("exit 6");
    let bundle = bundle.edit(|config| config["hooks"] = json!({"poststop": [{"path": hook}]}));
    let ran = world.run(&bundle);
    assert_eq!(ran.code, Some(6), "{ran}");
    Ok(())
}

/// nohup(1) ignores SIGHUP and means the program it starts.
fn an_ignored_hangup_stays_ignored(world: &World) -> Outcome {
    let bundle =
        world.shell("trap 'exit 3' HUP; trap 'exit 4' USR1; echo ready; while :; do sleep 0.02; done");
    let words = ["run", "--bundle", bundle.path(), &world.id()];
    let running = world.begin(&mut world.command_after("trap '' HUP", &words));
    wait_until("it is ready", LIMIT, || running.output().0.contains("ready"));
    send(running.pid().unsigned_abs(), Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(100));
    send(running.pid().unsigned_abs(), Signal::SIGUSR1);
    assert_eq!(running.end(LIMIT).code, Some(4));
    Ok(())
}

const ORPHAN: &str = "(sleep 1 & echo pid $! end); sleep 1000";

/// A container in the host's pid namespace whose program leaves an orphan; returns the run and the orphan's pid.
fn leave_orphan(world: &World, option: &[&str]) -> (integration_tests::process::Running, i32) {
    let bundle = world.shell(ORPHAN).without_namespace("pid");
    let id = world.id();
    let words = [&["run", "--bundle", bundle.path()], option, &[id.as_str()]].concat();
    let running = world.begin(&mut world.command(&words));
    wait_until("the orphan is named", LIMIT, || running.output().0.contains("end"));
    let text = running.output().0;
    let pid = text.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a pid");
    (running, pid)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn orphans_are_adopted_and_reaped(world: &World) -> Outcome {
    let (running, orphan) = leave_orphan(world, &[]);
    wait_until("the orphan is adopted", LIMIT, || parent(orphan) == Some(running.pid()));
    wait_until("the orphan is reaped", LIMIT, || parent(orphan).is_none());
    send(running.pid().unsigned_abs(), Signal::SIGTERM);
    assert_eq!(running.end(LIMIT).code, Some(128 + 15));
    Ok(())
}

fn orphans_are_left_alone_with_no_subreaper(world: &World) -> Outcome {
    let (running, orphan) = leave_orphan(world, &["--no-subreaper"]);
    let adopted = parent(orphan);
    assert!(adopted.is_some() && adopted != Some(running.pid()), "{adopted:?}");
    send(running.pid().unsigned_abs(), Signal::SIGTERM);
    assert_eq!(running.end(LIMIT).code, Some(128 + 15));
    Ok(())
}

fn the_exit_code_is_known_although_the_caller_ignores_sigchld(world: &World) -> Outcome {
    let bundle = world.shell("exit 5");
    // bash does not pass an ignored SIGCHLD on; Python sets nothing of its own.
    let python = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    let mut command = Command::new("python3");
    command.args(["-c", python]).arg(&world.runtime).arg("--root").arg(&world.root);
    command.args(["run", "--bundle", bundle.path(), &world.id()]);
    let ran = world.finish(&mut command);
    assert_eq!(ran.code, Some(5), "{ran}");
    Ok(())
}

fn a_forced_delete_of_an_attended_container_does_not_wait(world: &World) -> Outcome {
    let (bundle, id) = (world.shell("echo ready; sleep 1000"), world.id());
    let running = world.begin(&mut world.command(&["run", "--bundle", bundle.path(), &id]));
    wait_until("it is ready", LIMIT, || running.output().0.contains("ready"));
    let ran = world.orlop(&["delete", "--force", &id]).ok();
    assert!(ran.took < LIMIT, "{ran}");
    let ran = running.end(LIMIT);
    assert_eq!(ran.code, Some(128 + 9), "{ran}");
    Ok(())
}

// ── Streams and the terminal ──

const TEN_MEGABYTES: &str = "dd if=/dev/zero bs=10000 count=1000 2>/dev/null";

fn ten_megabytes_before_an_immediate_exit_arrive(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell(TEN_MEGABYTES));
    let mut child = spawn(world, &world.id(), &bundle, Stdio::null(), Stdio::piped());
    let bytes = read_all(child.stdout.take().unwrap());
    assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), 10_000_000);
    assert_eq!(code(&mut child), Some(0));
    Ok(())
}

fn ten_megabytes_to_a_slow_terminal_arrive(world: &World) -> Outcome {
    let (master, slave) = pty::open();
    let bundle = with_terminal(world.shell(TEN_MEGABYTES));
    let end = || slave.try_clone().unwrap();
    let mut child = spawn(world, &world.id(), &bundle, end(), end());
    let (mut count, mut reads) = (0, 0);
    let began = Instant::now();
    while count < 10_000_000 && began.elapsed() < LIMIT {
        count += pty::read_some(&master, Duration::from_secs(5)).bytes().filter(|byte| *byte == 0).count();
        reads += 1;
        // Slower than the program now and then, so that everything on the way fills up.
        if reads % 500 == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_eq!(count, 10_000_000);
    assert_eq!(code(&mut child), Some(0));
    Ok(())
}

fn the_end_of_input_does_not_end_the_output(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell("sleep 0.3; echo still here"));
    let mut child = spawn(world, &world.id(), &bundle, Stdio::null(), Stdio::piped());
    let text = String::from_utf8(read_all(child.stdout.take().unwrap())).unwrap();
    assert!(text.contains("still here"), "{text:?}");
    assert_eq!(code(&mut child), Some(0));
    Ok(())
}

/// The last line has no newline, so that the first end-of-file character only ends the line.
fn the_end_of_input_ends_a_program_that_reads(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell("stty -echo; echo ready; cat; echo over"));
    let mut child = spawn(world, &world.id(), &bundle, Stdio::piped(), Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = [0; 64];
    let count = stdout.read(&mut seen).unwrap();
    assert!(seen[..count].starts_with(b"ready"));
    std::io::Write::write_all(&mut stdin, b"one\ntwo").unwrap();
    drop(stdin);
    let text = String::from_utf8(read_all(stdout)).unwrap();
    assert_eq!(text, "one\ntwoover\n");
    assert_eq!(code(&mut child), Some(0));
    Ok(())
}

/// A run whose program is killed while its output has filled the pipe that nobody reads.
fn stalled(world: &World) -> (Child, OwnedFd) {
    let bundle = with_terminal(world.shell("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"));
    let id = world.id();
    let (reader, writer) = pipe();
    let child = spawn(world, &id, &bundle, Stdio::null(), writer);
    let held = || rustix::io::ioctl_fionread(&reader).unwrap();
    wait_until("the pipe is full", LIMIT, || {
        let before = held();
        std::thread::sleep(Duration::from_millis(300));
        before > 0 && before == held()
    });
    let before = ticks(child.id());
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks(child.id()) - before <= 1, "the run spins");
    world.orlop(&["kill", &id, "KILL"]).ok();
    (child, reader)
}

fn an_output_that_nobody_reads_neither_hangs_nor_spins(world: &World) -> Outcome {
    let (mut child, _reader) = stalled(world);
    let before = ticks(child.id());
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks(child.id()) - before <= 1, "the run spins");
    assert_eq!(code(&mut child), Some(128 + 9));
    Ok(())
}

fn a_terminate_ends_the_wait_for_an_output_that_nobody_reads(world: &World) -> Outcome {
    let (mut child, _reader) = stalled(world);
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    send(child.id(), Signal::SIGTERM);
    assert_eq!(code(&mut child), Some(128 + 9));
    // Without it the output that stands still is waited for, ten seconds long.
    assert!(began.elapsed() < Duration::from_secs(9));
    Ok(())
}

fn an_output_that_is_closed_lets_the_program_go_on(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell(&format!("{TEN_MEGABYTES}; exit 8")));
    let (reader, writer) = pipe();
    let mut child = spawn(world, &world.id(), &bundle, Stdio::null(), writer);
    drop(reader);
    assert_eq!(code(&mut child), Some(8));
    Ok(())
}

/// As an init does that writes its messages to /dev/console one by one.
fn a_console_that_is_opened_for_each_message_is_relayed(world: &World) -> Outcome {
    let script = "exec </dev/null >/dev/null 2>&1; for word in one two three; do sleep 0.3; echo $word >/dev/console; done; sleep 0.3";
    let mut child =
        spawn(world, &world.id(), &with_terminal(world.shell(script)), Stdio::null(), Stdio::piped());
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks(child.id()) < 20, "the run spins");
    let text = String::from_utf8(read_all(child.stdout.take().unwrap())).unwrap();
    assert_eq!(text, "one\ntwo\nthree\n");
    assert_eq!(code(&mut child), Some(0));
    Ok(())
}

/// O_NONBLOCK belongs to the file that the caller shares.
fn the_callers_streams_keep_their_flags(world: &World) -> Outcome {
    let (_master, slave) = pty::open();
    let (reader, writer) = pipe();
    let flags = |fd: &OwnedFd| rustix::fs::fcntl_getfl(fd).unwrap();
    let before = (flags(&slave), flags(&writer));
    let bundle = with_terminal(world.shell("echo ready; sleep 0.2"));
    let mut child =
        spawn(world, &world.id(), &bundle, slave.try_clone().unwrap(), writer.try_clone().unwrap());
    pty::read_some(&reader, LIMIT);
    assert_eq!((flags(&slave), flags(&writer)), before);
    assert_eq!(code(&mut child), Some(0));
    Ok(())
}

fn raw_mode_ends_when_the_run_is_terminated(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"));
    let mut terminal = pty::start(&world.command(&["run", "--bundle", bundle.path(), &world.id()]), 24, 80);
    terminal.expect("ready");
    assert!(terminal.is_raw());
    // setsid(1) became the run.
    send(terminal.child.id(), Signal::SIGTERM);
    wait_until("the run has ended", LIMIT, || terminal.child.try_wait().unwrap().is_some());
    assert!(!terminal.is_raw());
    assert_eq!(terminal.end().0, Some(7));
    Ok(())
}

/// A job in the background must not change the modes of a terminal that the shell in the foreground is using.
fn a_terminal_in_the_background_is_left_alone(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell("echo ready; sleep 0.5; exit 5"));
    let run = world.command(&["run", "--bundle", bundle.path(), &world.id()]);
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let mut shell = Command::new("/bin/bash");
    shell.args(["-c", &format!("set -m; {} & wait $!; echo code $?", words.join(" "))]);
    let mut terminal = pty::start(&shell, 24, 80);
    terminal.expect("ready");
    assert!(!terminal.is_raw());
    terminal.expect("code 5");
    terminal.end();
    Ok(())
}

fn a_configured_size_is_kept_until_the_terminal_changes(world: &World) -> Outcome {
    let script =
        "trap 'stty size; echo end; exit 0' WINCH; stty size; echo ready; while :; do sleep 0.02; done";
    let bundle = with_terminal(world.shell(script))
        .edit(|config| config["process"]["consoleSize"] = json!({"height": 19, "width": 91}));
    let mut terminal = pty::start(&world.command(&["run", "--bundle", bundle.path(), &world.id()]), 24, 80);
    assert!(terminal.expect("ready").contains("19 91"));
    terminal.resize(11, 22);
    assert!(terminal.expect("end").contains("11 22"));
    terminal.end();
    Ok(())
}

fn a_terminal_that_nobody_would_get_is_refused(world: &World) -> Outcome {
    let bundle = with_terminal(world.bundle());
    world.refused(&bundle).says("cannot allocate tty if").says("will detach without setting console socket");
    let id = world.id();
    let ran = world.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]).fails();
    ran.says("process.terminal").says("cannot allocate tty if");
    world.orlop(&["state", &id]).fails().says("does not exist");
    Ok(())
}

fn a_console_socket_without_use_is_refused(world: &World) -> Outcome {
    let listener = UnixListener::bind(world.path("console")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let text = "will not detach or allocate tty";
    for (bundle, command) in [(world.bundle(), "create"), (with_terminal(world.bundle()), "run")] {
        let id = world.id();
        let words = [command, "--bundle", bundle.path(), "--console-socket", &world.path("console"), &id];
        world.orlop(&words).fails().says("cannot use console socket if").says(text);
        world.orlop(&["state", &id]).fails().says("does not exist");
    }
    assert!(listener.accept().is_err());
    Ok(())
}

fn a_console_socket_that_is_never_accepted_times_out(world: &World) -> Outcome {
    let path = world.path("console");
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _full = UnixStream::connect(&path).unwrap();
    let (bundle, id) = (with_terminal(world.bundle()), world.id());
    let words = ["create", "--bundle", bundle.path(), "--console-socket", &path, "--timeout", "1s", &id];
    let ran = world.orlop(&words).fails().says("--console-socket").says("not done after 1 s");
    assert!(ran.took < LIMIT, "{ran}");
    world.orlop(&["state", &id]).fails().says("does not exist");
    Ok(())
}

// ── Owners of the standard streams ──

fn for_a_user(bundle: Bundle) -> Bundle {
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}))
}

fn a_pipe_belongs_to_the_user(world: &World) -> Outcome {
    let bundle = for_a_user(world.shell("echo opened >/dev/stdout; stat -L -c %u /dev/stdin /dev/stdout"));
    let (reader, writer) = pipe();
    let (input, _held) = pipe();
    let mut child = spawn(world, &world.id(), &bundle, input, writer);
    assert_eq!(code(&mut child), Some(0));
    assert_eq!(pty::read_some(&reader, LIMIT), "opened\n1000\n1000\n");
    Ok(())
}

fn a_file_belongs_to_the_user(world: &World) -> Outcome {
    let path = world.file("output", "");
    let output = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let mut child = spawn(
        world,
        &world.id(),
        &for_a_user(world.shell("echo opened >>/dev/stdout")),
        Stdio::null(),
        output,
    );
    assert_eq!(code(&mut child), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "opened\n");
    assert_eq!(fs::metadata(&path).unwrap().uid(), 1000);
    Ok(())
}

fn the_null_device_keeps_its_owner(world: &World) -> Outcome {
    let before = fs::metadata("/dev/null").unwrap();
    let mut child =
        spawn(world, &world.id(), &for_a_user(world.shell("exit 0")), Stdio::null(), Stdio::null());
    assert_eq!(code(&mut child), Some(0));
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((after.uid(), after.gid(), after.ctime()), (before.uid(), before.gid(), before.ctime()));
    Ok(())
}

// ── The service manager ──

fn environment(report: &Report) -> Vec<String> {
    let all = report["env"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
    all.filter(|text| text.starts_with("LISTEN_") || text.starts_with("NOTIFY_")).collect()
}

fn listening_sockets_come_before_preserved_descriptors(world: &World) -> Outcome {
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        fs::write(world.path(name), number.to_string()).unwrap();
    }
    let open = format!("exec 3<{} 4<{} 5<{}", world.path("a"), world.path("b"), world.path("c"));
    let bundle = world.bundle();
    let prelude = format!("{open}; export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=one:two");
    let words = ["run", "--preserve-fds", "1", "--bundle", bundle.path(), &world.id()];
    let report = Report(world.orlop_after(&prelude, &words).ok().json());
    assert_eq!(environment(&report), ["LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=one:two"]);
    for (number, name) in [("3", "a"), ("4", "b"), ("5", "c")] {
        assert_eq!(report["fds"][number]["ino"], fs::metadata(world.path(name)).unwrap().ino(), "{number}");
    }
    assert_eq!(report.descriptors().len(), 6, "{}", report["fds"]);
    // Without LISTEN_PID they are taken to be meant for whoever gets the variable.
    let words = ["run", "--bundle", bundle.path(), &world.id()];
    let report = Report(world.orlop_after(&format!("{open}; export LISTEN_FDS=1"), &words).ok().json());
    assert_eq!(environment(&report), ["LISTEN_FDS=1", "LISTEN_PID=1"]);
    assert_eq!(report.descriptors().len(), 4, "{}", report["fds"]);
    // Among the processes of the host it has another number.
    let bundle = world.bundle().without_namespace("pid");
    let words = ["run", "--bundle", bundle.path(), &world.id()];
    let report = Report(world.orlop_after(&format!("{open}; export LISTEN_FDS=1"), &words).ok().json());
    let pid = report.status("NSpid");
    assert_eq!(environment(&report), ["LISTEN_FDS=1".to_owned(), format!("LISTEN_PID={pid}")]);
    Ok(())
}

fn listening_sockets_of_another_process_are_not_passed(world: &World) -> Outcome {
    let bundle = world.bundle();
    let words = ["run", "--bundle", bundle.path(), &world.id()];
    let ran = world.orlop_after("exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=1", &words).ok();
    let report = Report(ran.json());
    assert_eq!(environment(&report), Vec::<String>::new());
    assert_eq!(report.descriptors().len(), 3, "{}", report["fds"]);
    Ok(())
}

fn a_number_of_listening_sockets_that_is_none_is_refused(world: &World) -> Outcome {
    let bundle = world.bundle();
    for number in ["x", "-1", "4294967296"] {
        let words = ["run", "--bundle", bundle.path(), &world.id()];
        world.orlop_after(&format!("export LISTEN_FDS={number}"), &words).fails().says("LISTEN_FDS");
    }
    // Far beyond what a process may have open.
    let words = ["run", "--bundle", bundle.path(), &world.id()];
    world.orlop_after("exec 3<&-; export LISTEN_FDS=4000000000", &words).fails().says("descriptor 3");
    Ok(())
}

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(world: &World) -> Manager {
        let path = world.path("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Manager { socket, path }
    }

    fn command(&self, world: &World, arguments: &[&str]) -> Command {
        let mut command = world.command(arguments);
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let count = self.socket.recv(&mut bytes).expect("a notification");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    /// Nothing more has come.
    #[track_caller]
    fn is_silent(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        let more =
            self.socket.recv(&mut bytes).map(|count| String::from_utf8_lossy(&bytes[..count]).into_owned());
        assert!(more.is_err(), "{more:?}");
    }
}

/// A bundle whose program is Python of the host, which can send what systemd-notify(1) sends.
fn notifying(world: &World, program: &str) -> Bundle {
    let head = "import os, socket, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                to = os.environ['NOTIFY_SOCKET']\nsay = lambda text: s.sendto(text, to)\n";
    let bundle = world.bundle().args(&["/usr/bin/python3", "-c", &format!("{head}{program}")]);
    ["/usr", "/lib", "/lib64"].iter().fold(bundle, |bundle, path| bundle.bind(path, path, &["rbind", "ro"]))
}

fn notifications_of_a_foreground_run_are_passed_on(world: &World) -> Outcome {
    let manager = Manager::new(world);
    let bundle = notifying(
        world,
        "say(b'STATUS=starting')\nsay(b'MAINPID=1\\nREADY=1\\nFDSTORE=1')\nsay(b'FDSTORE=1')\nsay(b'WATCHDOG=1')\n\
         print(to, os.access('/run/notify/new', os.W_OK), flush=True)\n\
         try: open('/run/notify/new', 'w')\nexcept OSError as error: print(error.errno)",
    );
    let ran =
        world.finish(&mut manager.command(world, &["run", "--bundle", bundle.path(), &world.id()])).ok();
    assert_eq!(
        [manager.next(), manager.next(), manager.next()],
        ["STATUS=starting\n", "READY=1\n", "WATCHDOG=1\n"]
    );
    manager.is_silent();
    assert_eq!(ran.out, "/run/notify/notify.sock False\n30\n");
    Ok(())
}

/// sd_notify_barrier(3): the sender waits until the descriptor it sent is closed.
fn a_sender_that_waits_is_answered(world: &World) -> Outcome {
    let manager = Manager::new(world);
    let bundle = notifying(
        world,
        "import select\nsay(b'READY=1')\nr, w = os.pipe()\n\
         s.sendmsg([b'BARRIER=1'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, w.to_bytes(4, 'little'))], 0, to)\n\
         os.close(w)\np = select.poll()\np.register(r, 0)\nprint(len(p.poll(10000)))",
    );
    let ran =
        world.finish(&mut manager.command(world, &["run", "--bundle", bundle.path(), &world.id()])).ok();
    assert_eq!(ran.out, "1\n");
    assert_eq!(manager.next(), "READY=1\n");
    manager.is_silent();
    Ok(())
}

const READY_LATER: &str = "say(b'STATUS=half')\nwhile not os.path.exists('/go'): time.sleep(0.05)\nsay(b'READY=1')\n\
    time.sleep(1000)";

/// What the manager hears of a command that ends once the program is ready.
#[track_caller]
fn hears_of_readiness(world: &World, manager: &Manager, bundle: &Bundle, id: &str, mut command: Command) {
    let running = world.begin(&mut command);
    assert_eq!(manager.next(), "STATUS=half\n");
    assert!(is_alive(running.pid()), "it waits");
    fs::write(bundle.rootfs("go"), "").unwrap();
    let ready = manager.next();
    assert_eq!(ready, format!("MAINPID={}\nREADY=1\n", world.pid(id)));
    assert_eq!(manager.next(), "BARRIER=1");
    running.end(LIMIT).ok();
    assert_eq!(world.status(id), "running");
}

fn a_detached_run_waits_until_the_program_is_ready(world: &World) -> Outcome {
    let (manager, bundle, id) = (Manager::new(world), notifying(world, READY_LATER), world.id());
    let command = manager.command(world, &["run", "--detach", "--bundle", bundle.path(), &id]);
    hears_of_readiness(world, &manager, &bundle, &id, command);
    Ok(())
}

fn start_waits_until_the_program_is_ready(world: &World) -> Outcome {
    let (manager, bundle, id) = (Manager::new(world), notifying(world, READY_LATER), world.id());
    world.finish(&mut manager.command(world, &["create", "--bundle", bundle.path(), &id])).ok();
    let command = manager.command(world, &["start", &id]);
    hears_of_readiness(world, &manager, &bundle, &id, command);
    Ok(())
}

fn a_program_that_ends_before_it_is_ready_is_no_error(world: &World) -> Outcome {
    let (manager, id) = (Manager::new(world), world.id());
    let bundle = world.shell("exit 3");
    let ran =
        world.finish(&mut manager.command(world, &["run", "--detach", "--bundle", bundle.path(), &id])).ok();
    ran.says("ended before it was ready");
    assert_eq!(world.status(&id), "stopped");
    manager.is_silent();
    Ok(())
}

fn a_program_that_is_never_ready_ends_with_the_timeout(world: &World) -> Outcome {
    let (manager, id) = (Manager::new(world), world.id());
    let bundle = world.shell("sleep 1000");
    let words = ["run", "--detach", "--timeout", "1s", "--bundle", bundle.path(), &id];
    world.finish(&mut manager.command(world, &words)).fails().says("not ready after 1 s");
    world.orlop(&["state", &id]).fails().says("does not exist");
    Ok(())
}

fn a_service_manager_that_is_not_there_is_warned_of(world: &World) -> Outcome {
    for address in [world.path("absent"), "vsock:2:1".to_owned()] {
        let mut command = world.command(&["run", "--bundle", world.bundle().path(), &world.id()]);
        let ran = world.finish(command.env("NOTIFY_SOCKET", &address)).ok().says("NOTIFY_SOCKET");
        assert_eq!(environment(&Report(ran.json())), Vec::<String>::new());
    }
    Ok(())
}
