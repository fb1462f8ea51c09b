//! Terminals: a pty in the foreground, the console socket, and the streams that `run` forwards.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::wait_until;
use integration_tests::pty::{self, Terminal};
use integration_tests::world::LIMIT;
use integration_tests::{Bundle, Outcome, Report, World, cases, harness, skip, sockets};
use rustix::fs::Timespec;
use serde_json::json;
use std::fs;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        the_program_has_a_controlling_terminal,
        console_is_the_terminal,
        the_terminals_size_is_the_callers,
        a_resize_arrives_with_its_signal,
        what_is_typed_arrives_and_control_c_interrupts_inside,
        the_callers_terminal_is_raw_during_the_run_and_restored_after,
        the_callers_terminal_is_restored_when_the_container_is_killed,
        the_callers_terminal_is_restored_when_the_run_fails,
        exit_codes_pass_through_a_terminal,
        a_terminal_of_a_user_belongs_to_the_user,
        output_is_complete_when_the_program_ends_at_once,
        the_console_socket_receives_the_master,
        run_detached_hands_over_the_terminal,
        console_size_is_applied,
        console_size_without_a_terminal_is_ignored,
        a_console_socket_that_nobody_serves_is_an_error,
        without_a_terminal_there_is_none,
        run_forwards_signals,
        run_ends_when_the_container_ends_not_its_children,
        the_pidfd_socket_receives_a_pidfd,
    ])
}

fn with_terminal(bundle: Bundle) -> Bundle {
    bundle.edit(|config| config["process"]["terminal"] = json!(true))
}

/// `run` of a shell script with a terminal, on a pty of 33 rows and 77 columns.
fn run_on_a_terminal(world: &World, script: &str) -> Terminal {
    let bundle = with_terminal(world.shell(script));
    start(world, &bundle)
}

fn start(world: &World, bundle: &Bundle) -> Terminal {
    pty::start(&world.command(&["run", "--bundle", bundle.path(), &world.id()]), 33, 77)
}

fn the_program_has_a_controlling_terminal(world: &World) -> Outcome {
    let mut terminal = run_on_a_terminal(
        world,
        "tty; test -t 0 && test -t 1 && test -t 2 && : > /dev/tty && echo all; echo end",
    );
    let seen = terminal.expect("end");
    assert!(seen.contains("/dev/pts/0") || seen.contains("/dev/console"), "{seen:?}");
    assert!(seen.contains("all"), "{seen:?}");
    assert_eq!(terminal.end().0, Some(0));
    Ok(())
}

fn console_is_the_terminal(world: &World) -> Outcome {
    let bundle = with_terminal(world.bundle().asking(&["stat:/dev/console"]));
    let (code, seen) = start(world, &bundle).end();
    assert_eq!(code, Some(0), "{seen}");
    let report = Report(serde_json::from_str(seen.trim()).unwrap_or_else(|error| panic!("{error}: {seen}")));
    let console = &report["devices"]["console"];
    assert_eq!((&console["type"], &console["rdev"]), (&json!("char"), &json!("136:0")), "{console}");
    assert_eq!(report["tty"], json!({"controlling": true, "is_terminal": true, "rows": 33, "columns": 77}));
    for descriptor in ["0", "1", "2"] {
        assert_eq!(report["fds"][descriptor]["rdev"], "136:0");
    }
    assert_eq!(report.descriptors().len(), 3, "{}", report["fds"]);
    Ok(())
}

fn the_terminals_size_is_the_callers(world: &World) -> Outcome {
    let mut terminal = run_on_a_terminal(world, "stty size; echo end");
    assert!(terminal.expect("end").contains("33 77"));
    terminal.end();
    Ok(())
}

fn a_resize_arrives_with_its_signal(world: &World) -> Outcome {
    let script = "trap 'stty size; echo end; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut terminal = run_on_a_terminal(world, script);
    terminal.expect("ready");
    terminal.resize(11, 22);
    assert!(terminal.expect("end").contains("11 22"));
    assert_eq!(terminal.end().0, Some(0));
    Ok(())
}

fn what_is_typed_arrives_and_control_c_interrupts_inside(world: &World) -> Outcome {
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; read line; echo \"got <$line>\"; while :; do sleep 0.05; done";
    let mut terminal = run_on_a_terminal(world, script);
    terminal.expect("ready");
    terminal.send("typed text\r");
    terminal.expect("got <typed text>");
    terminal.send("\x03");
    terminal.expect("interrupted");
    assert_eq!(terminal.end().0, Some(5));
    Ok(())
}

/// Terminals are compared by what stty(1) would save.
fn saved(terminal: &Terminal) -> String {
    let modes = terminal.modes();
    format!(
        "{:?} {:?} {:?} {:?}",
        modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes
    )
}

fn the_callers_terminal_is_raw_during_the_run_and_restored_after(world: &World) -> Outcome {
    let (_master, before) = pty::open();
    let before = rustix::termios::tcgetattr(&before).unwrap();
    let mut terminal = run_on_a_terminal(world, "echo ready; read line");
    terminal.expect("ready");
    assert!(terminal.is_raw(), "{}", saved(&terminal));
    terminal.send("\r");
    wait_until("the run has ended", LIMIT, || terminal.child.try_wait().unwrap().is_some());
    assert_eq!(terminal.modes().local_modes, before.local_modes);
    assert_eq!(terminal.modes().input_modes, before.input_modes);
    assert_eq!(terminal.modes().output_modes, before.output_modes);
    Ok(())
}

fn the_callers_terminal_is_restored_when_the_container_is_killed(world: &World) -> Outcome {
    let bundle = with_terminal(world.shell("echo ready; sleep 1000"));
    let id = world.id();
    let mut terminal = pty::start(&world.command(&["run", "--bundle", bundle.path(), &id]), 24, 80);
    terminal.expect("ready");
    world.orlop(&["kill", &id, "KILL"]).ok();
    wait_until("the run has ended", LIMIT, || terminal.child.try_wait().unwrap().is_some());
    assert!(!terminal.is_raw());
    assert_eq!(terminal.end().0, Some(137));
    Ok(())
}

fn the_callers_terminal_is_restored_when_the_run_fails(world: &World) -> Outcome {
    let mut terminal = start(world, &with_terminal(world.bundle().args(&["/no/such/program"])));
    wait_until("the run has ended", LIMIT, || terminal.child.try_wait().unwrap().is_some());
    assert!(!terminal.is_raw());
    let (code, seen) = terminal.end();
    assert!(code != Some(0) && seen.contains("/no/such/program"), "{code:?} {seen}");
    Ok(())
}

fn exit_codes_pass_through_a_terminal(world: &World) -> Outcome {
    assert_eq!(run_on_a_terminal(world, "exit 42").end().0, Some(42));
    Ok(())
}

fn a_terminal_of_a_user_belongs_to_the_user(world: &World) -> Outcome {
    let bundle = with_terminal(
        world.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000})),
    );
    let (_, seen) = start(world, &bundle).end();
    let report = Report(serde_json::from_str(seen.trim()).unwrap_or_else(|error| panic!("{error}: {seen}")));
    assert_eq!(report["fds"]["0"]["uid"], 1000, "{}", report["fds"]);
    assert_eq!(report["tty"]["controlling"], true);
    Ok(())
}

fn output_is_complete_when_the_program_ends_at_once(world: &World) -> Outcome {
    for _ in 0..5 {
        let mut terminal = run_on_a_terminal(
            world,
            "for i in 1 2 3 4 5 6 7 8 9; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxx; done; echo last",
        );
        let seen = terminal.expect("last");
        assert!(seen.contains("line-1-") && seen.contains("line-9-"), "{seen}");
        terminal.end();
    }
    Ok(())
}

fn the_console_socket_receives_the_master(world: &World) -> Outcome {
    let receiver = sockets::listen(&world.path("console"));
    let bundle = with_terminal(world.shell("stty size; read line; echo \"got $line\"; exit 9"));
    let id = world.id();
    let words = ["create", "--bundle", bundle.path(), "--console-socket", &receiver.path, &id];
    world.orlop(&words).ok();
    let (name, descriptors) = receiver.receive();
    assert!(!world.is_orlop() || name.contains("pts") || name.contains("ptmx"), "{name:?}");
    let [master] = descriptors.as_slice() else { panic!("{} descriptors", descriptors.len()) };
    world.orlop(&["start", &id]).ok();
    pty::write_all(master, "hello\r");
    let mut seen = String::new();
    wait_until("the answer has come", LIMIT, || {
        seen.push_str(&pty::read_some(master, std::time::Duration::from_millis(50)));
        seen.contains("got hello")
    });
    world.wait_stopped(&id);
    world.orlop(&["delete", &id]).ok();
    Ok(())
}

fn run_detached_hands_over_the_terminal(world: &World) -> Outcome {
    let receiver = sockets::listen(&world.path("console"));
    let bundle = with_terminal(world.shell("echo ready; sleep 1000"));
    let id = world.id();
    let words = ["run", "--detach", "--bundle", bundle.path(), "--console-socket", &receiver.path, &id];
    world.orlop(&words).ok();
    let (_, descriptors) = receiver.receive();
    let mut seen = String::new();
    wait_until("the output has come", LIMIT, || {
        seen.push_str(&pty::read_some(&descriptors[0], std::time::Duration::from_millis(50)));
        seen.contains("ready")
    });
    assert_eq!(world.status(&id), "running");
    Ok(())
}

fn console_size_is_applied(world: &World) -> Outcome {
    let receiver = sockets::listen(&world.path("console"));
    let bundle = with_terminal(world.bundle().args(&["/bin/sleep", "1000"])).edit(|config| {
        config["process"]["consoleSize"] = json!({"height": 19, "width": 91});
    });
    let id = world.id();
    world.orlop(&["create", "--bundle", bundle.path(), "--console-socket", &receiver.path, &id]).ok();
    let (_, descriptors) = receiver.receive();
    assert_eq!(pty::size_of(&descriptors[0]), (19, 91));
    Ok(())
}

fn console_size_without_a_terminal_is_ignored(world: &World) -> Outcome {
    let bundle =
        world.bundle().edit(|config| config["process"]["consoleSize"] = json!({"height": 19, "width": 91}));
    assert_eq!(world.probe(&bundle)["tty"]["is_terminal"], false);
    Ok(())
}

fn a_console_socket_that_nobody_serves_is_an_error(world: &World) -> Outcome {
    let bundle = with_terminal(world.bundle());
    let id = world.id();
    let absent = world.path("absent");
    world.orlop(&["create", "--bundle", bundle.path(), "--console-socket", &absent, &id]).fails();
    let plain = world.file("plain", "");
    world.orlop(&["create", "--bundle", bundle.path(), "--console-socket", &plain, &id]).fails();
    world.orlop(&["state", &id]).fails();
    Ok(())
}

/// G33: a container without a terminal must not reach the caller's.
fn without_a_terminal_there_is_none(world: &World) -> Outcome {
    let (code, seen) = start(world, &world.bundle()).end();
    assert_eq!(code, Some(0), "{seen}");
    let report = Report(serde_json::from_str(seen.trim()).unwrap_or_else(|error| panic!("{error}: {seen}")));
    assert_eq!(report["tty"]["controlling"], false);
    Ok(())
}

fn run_forwards_signals(world: &World) -> Outcome {
    let script = "trap 'echo got-term; exit 21' TERM; trap 'echo got-usr1' USR1; echo ready; while :; do sleep 0.05; done";
    let bundle = world.shell(script);
    let id = world.id();
    let running = world.begin(&mut world.command(&["run", "--bundle", bundle.path(), &id]));
    wait_until("it is ready", LIMIT, || running.output().0.contains("ready"));
    let pid = nix::unistd::Pid::from_raw(running.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
    wait_until("the first signal has arrived", LIMIT, || running.output().0.contains("got-usr1"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ran = running.end(LIMIT);
    assert_eq!(ran.code, Some(21), "{ran}");
    assert!(ran.out.contains("got-term"), "{ran}");
    Ok(())
}

fn run_ends_when_the_container_ends_not_its_children(world: &World) -> Outcome {
    let bundle = world.shell("sleep 1000 & exit 4");
    let ran = world.run(&bundle);
    assert_eq!(ran.code, Some(4), "{ran}");
    assert!(ran.took.as_secs() < 5, "{ran}");
    Ok(())
}

fn the_pidfd_socket_receives_a_pidfd(world: &World) -> Outcome {
    if !world.is_orlop() {
        return skip("the runtime may have no --pidfd-socket");
    }
    let receiver = sockets::listen(&world.path("pidfd"));
    let bundle = world.bundle().args(&["/bin/sleep", "1000"]);
    let id = world.id();
    world.orlop(&["create", "--bundle", bundle.path(), "--pidfd-socket", &receiver.path, &id]).ok();
    let (_, descriptors) = receiver.receive();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptors[0].as_raw_fd())).unwrap();
    assert!(info.lines().any(|line| line == format!("Pid:\t{}", world.pid(&id))), "{info}");
    world.orlop(&["kill", &id, "KILL"]).ok();
    let mut waiting = [rustix::event::PollFd::new(&descriptors[0], rustix::event::PollFlags::IN)];
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut waiting, Some(&limit)).unwrap(), 1);
    Ok(())
}
