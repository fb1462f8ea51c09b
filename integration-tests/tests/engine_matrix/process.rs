//! Programs: how they start and end, their streams and terminals, `exec`, the namespaces they see, what runs inside.

use crate::cell::Cell;
use crate::image;
use integration_tests::process::{Ran, wait_until};
use integration_tests::world::{LIMIT, runtime, text_of};
use integration_tests::{Outcome, skip};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

pub(crate) fn run(cell: &Cell) -> Outcome {
    let report = cell.run(&[], &["/bin/probe"]).ok().json();
    assert_eq!(report["pid"], 1);
    Ok(())
}

pub(crate) fn exit_code(cell: &Cell) -> Outcome {
    let ran = cell.run(&[], &["/bin/sh", "-c", "exit 7"]);
    assert_eq!(ran.code, Some(7), "{ran}");
    Ok(())
}

/// Docker and Podman turn the runtime's text into these numbers.
pub(crate) fn not_found(cell: &Cell) -> Outcome {
    for (program, code) in
        [("it-no-such-program", 127), ("/it/no/such", 127), ("/etc", 126), ("/etc/passwd", 126)]
    {
        let ran = cell.run(&[], &[program]);
        assert_eq!(ran.code, Some(code), "{ran}");
        ran.says(program);
    }
    Ok(())
}

pub(crate) fn ctr_not_found(cell: &Cell) -> Outcome {
    cell.run(&[], &["it-no-such-program"])
        .fails()
        .says("executable file not found in $PATH")
        .says("it-no-such-program");
    cell.run(&[], &["/etc"]).fails().says_any(&["permission denied", "is a directory"]);
    Ok(())
}

pub(crate) fn buildah_not_found(cell: &Cell) -> Outcome {
    cell.run(&[], &["it-no-such-program"]).fails().says("it-no-such-program");
    cell.run(&[], &["/etc"]).fails();
    Ok(())
}

/// A value that the kernel refuses, so that only the runtime can find out.
pub(crate) fn own_failure(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--sysctl", "net.ipv4.ip_forward=nonsense"], &["/bin/true"]);
    assert_eq!(ran.code, Some(if cell.is_docker() { 125 } else { 126 }), "{ran}");
    ran.says("ip_forward");
    Ok(())
}

/// In the host's pid namespace a program is no first process, so signals that it does not catch end it.
pub(crate) fn ended_by_signal(cell: &Cell) -> Outcome {
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        let ran = cell.run(&["--pid", "host"], &["/bin/sh", "-c", &format!("kill -{signal} $$; sleep 9")]);
        assert_eq!(ran.code, Some(code), "{ran}");
    }
    Ok(())
}

pub(crate) fn ctr_ended_by_signal(cell: &Cell) -> Outcome {
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        let options = ["--with-ns", "pid:/proc/1/ns/pid"];
        let ran = cell.run(&options, &["/bin/sh", "-c", &format!("kill -{signal} $$; sleep 9")]);
        assert_eq!(ran.code, Some(code), "{ran}");
    }
    Ok(())
}

pub(crate) fn input(cell: &Cell) -> Outcome {
    let line = cell.line(&["--rm", "--interactive"], &["cat"]);
    assert_eq!(cell.shell(&format!("printf 'one\\ntwo\\n' | {line}")).ok().out, "one\ntwo\n");
    let large =
        cell.shell(&format!("head -c 3000000 /dev/zero | {} | wc -c", cell.line(&["--rm", "-i"], &["cat"])));
    assert_eq!(large.ok().out.trim(), "3000000");
    Ok(())
}

pub(crate) fn ctr_input(cell: &Cell) -> Outcome {
    // The program ends by itself, because this client does not pass an end of file on.
    let line = cell.line(&["--rm"], &["head", "-n", "2"]);
    assert_eq!(cell.shell(&format!("printf 'one\\ntwo\\n' | {line}")).ok().out, "one\ntwo\n");
    Ok(())
}

pub(crate) fn buildah_input(cell: &Cell) -> Outcome {
    let name = cell.buildah_from(&[]);
    let runtime = cell.engine.runtime_path();
    let ran = cell.shell(&format!("printf 'one\\ntwo\\n' | $ENGINE run --runtime {runtime} {name} cat"));
    assert_eq!(ran.ok().out, "one\ntwo\n");
    Ok(())
}

/// A line typed into a terminal that `script` makes for the client.
fn in_terminal(cell: &Cell, line: &str) -> Ran {
    cell.shell(&format!("script --quiet --return --command \"stty rows 33 cols 77; {line}\" /dev/null"))
}

fn assert_terminal(ran: Ran) -> Outcome {
    let ran = ran.ok();
    let out = ran.out.replace('\r', "");
    // `script` types an end of file, which the terminal echoes wherever it comes.
    let out = out.replace("^@", "").replace("^D\u{8}\u{8}", "");
    assert!(out.trim().ends_with("/dev/pts/0\n33 77"), "{ran}");
    Ok(())
}

/// The client sets the size after the start, so the program waits for it.
const TERMINAL: &str = "'until stty size | grep -q 33.77; do sleep 0.1; done; tty; stty size'";

pub(crate) fn terminal(cell: &Cell) -> Outcome {
    assert_terminal(in_terminal(cell, &cell.line(&["--rm", "-t", "-i"], &["/bin/sh", "-c", TERMINAL])))
}

pub(crate) fn ctr_terminal(cell: &Cell) -> Outcome {
    assert_terminal(in_terminal(cell, &cell.line(&["--rm", "-t"], &["/bin/sh", "-c", TERMINAL])))
}

pub(crate) fn buildah_terminal(cell: &Cell) -> Outcome {
    let (name, runtime) = (cell.buildah_from(&[]), cell.engine.runtime_path());
    assert_terminal(in_terminal(
        cell,
        &format!("$ENGINE run -t --runtime {runtime} {name} /bin/sh -c {TERMINAL}"),
    ))
}

pub(crate) fn missing_directory(cell: &Cell) -> Outcome {
    cell.only_docker("making a directory that is missing")?;
    assert_eq!(cell.run(&["--workdir", "/a/b"], &["/bin/pwd"]).ok().out, "/a/b\n");
    Ok(())
}

pub(crate) fn entry_point(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--entrypoint", "/bin/echo"], &["said"]);
    assert_eq!(ran.ok().out, "said\n");
    Ok(())
}

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

pub(crate) fn exec(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    assert_eq!(cell.exec(&name, &[], &["/bin/echo", "inside"]).ok().out, "inside\n");
    assert_eq!(cell.exec(&name, &[], &["/bin/sh", "-c", "exit 3"]).code, Some(3));
    let missing = cell.exec(&name, &[], &["it-no-such-program"]);
    // dockerd makes 126 of it, whatever the runtime says; 28 is the first that may not.
    let codes: &[i32] = if cell.is_docker() { &[126, 127] } else { &[127] };
    assert!(missing.code.is_some_and(|code| codes.contains(&code)), "{missing}");
    let directory = cell.exec(&name, &[], &["/etc"]);
    assert_eq!(directory.code, Some(126), "{directory}");
    let input = cell.shell(&format!("echo typed | $ENGINE exec -i {name} cat"));
    assert_eq!(input.ok().out, "typed\n");
    Ok(())
}

pub(crate) fn ctr_exec(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    assert_eq!(cell.exec(&name, &[], &["/bin/echo", "inside"]).ok().out, "inside\n");
    assert_eq!(cell.exec(&name, &[], &["/bin/sh", "-c", "exit 3"]).code, Some(3));
    cell.exec(&name, &[], &["it-no-such-program"]).fails().says("executable file not found in $PATH");
    Ok(())
}

pub(crate) fn exec_options(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let options = ["--user", "1000:29", "--env", "A=1", "--workdir", "/tmp"];
    let ran = cell.exec(&name, &options, &["/bin/sh", "-c", "id -u; id -g; echo $A; pwd"]);
    assert_eq!(ran.ok().out, "1000\n29\n1\n/tmp\n");
    Ok(())
}

pub(crate) fn ctr_exec_options(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let ran =
        cell.exec(&name, &["--user", "1000:29", "--cwd", "/tmp"], &["/bin/sh", "-c", "id -u; id -g; pwd"]);
    assert_eq!(ran.ok().out, "1000\n29\n/tmp\n");
    Ok(())
}

pub(crate) fn exec_terminal(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    assert_terminal(in_terminal(cell, &format!("$ENGINE exec -t -i {name} /bin/sh -c {TERMINAL}")))?;
    cell.exec(&name, &["--detach"], &["/bin/touch", "/tmp/ran"]).ok();
    let ran = || cell.exec(&name, &[], &["/bin/test", "-e", "/tmp/ran"]).code == Some(0);
    wait_until("the exec in the background ran", LIMIT, ran);
    Ok(())
}

pub(crate) fn ctr_exec_terminal(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let line = format!("$ENGINE task exec -t --exec-id it-t {name} /bin/sh -c {TERMINAL}");
    assert_terminal(in_terminal(cell, &line))?;
    cell.exec(&name, &["--detach"], &["/bin/touch", "/tmp/ran"]).ok();
    let ran = || cell.exec(&name, &[], &["/bin/test", "-e", "/tmp/ran"]).code == Some(0);
    wait_until("the exec in the background ran", LIMIT, ran);
    Ok(())
}

/// A privileged exec has every capability that the engine has.
pub(crate) fn exec_privileged(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let script = ["/bin/sh", "-c", "grep CapEff /proc/self/status | cut -f2"];
    let mask = |options: &[&str]| {
        u64::from_str_radix(cell.exec(&name, options, &script).ok().out.trim(), 16).expect("a mask")
    };
    let (less, more) = (mask(&[]), mask(&["--privileged"]));
    assert!(more.count_ones() > less.count_ones() && more & (1 << 21) != 0, "{less:x} {more:x}");
    Ok(())
}

pub(crate) fn init(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--init"], &["/bin/sh", "-c", "cat /proc/1/comm; test $$ != 1 && echo second"]).ok();
    let (first, rest) = ran.out.split_once('\n').unwrap_or_default();
    assert!(first.contains("init") || first == "catatonit", "{ran}");
    assert_eq!(rest, "second\n");
    Ok(())
}

pub(crate) fn preserved_descriptors(cell: &Cell) -> Outcome {
    cell.only_podman("handing descriptors on")?;
    let line = cell.line(&["--rm", "--preserve-fds", "1"], &["/bin/sh", "-c", "'cat <&3'"]);
    let file = cell.world.file("handed", "handed on\n");
    assert_eq!(cell.shell(&format!("exec 3<{file}; {line}")).ok().out, "handed on\n");
    Ok(())
}

/// The runtime stands between the engine's socket and the one that the container finds.
pub(crate) fn sd_notify(cell: &Cell) -> Outcome {
    cell.only_podman("readiness")?;
    let path = text_of(&cell.engine.host.home().join("notify"));
    let _socket = UnixDatagram::bind(&path).expect("socket");
    cell.on_host(&["chmod", "666", &path]).ok();
    let script = "'test -S $NOTIFY_SOCKET && echo a socket'";
    let line = cell.line(&["--rm", "--sdnotify=container"], &["/bin/sh", "-c", script]);
    let ran = cell.shell(&format!(
        "ENGINE=\"${{ENGINE/\\/usr\\/bin\\/env/\\/usr\\/bin\\/env NOTIFY_SOCKET={path}}}\"; {line}"
    ));
    std::fs::remove_file(&path).expect("socket");
    assert_eq!(ran.ok().out, "a socket\n");
    Ok(())
}

pub(crate) fn domain_name(cell: &Cell) -> Outcome {
    cell.only_docker("a domain name")?;
    let ran = cell.run(&["--domainname", "it.test"], &["/bin/cat", "/proc/sys/kernel/domainname"]);
    assert_eq!(ran.ok().out, "it.test\n");
    Ok(())
}

/// Whether a program with these options is in the host's namespace of a kind.
fn is_of_host(cell: &Cell, kind: &str, options: &[&str]) -> bool {
    let path = format!("/proc/self/ns/{kind}");
    let inside = cell.run(options, &["/bin/readlink", &path]).ok().out;
    inside == cell.on_host(&["readlink", &path]).ok().out
}

pub(crate) fn pid_of_host(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "pid", &["--pid", "host"]) && !is_of_host(cell, "pid", &[]));
    Ok(())
}

pub(crate) fn ctr_pid_of_host(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "pid", &["--with-ns", "pid:/proc/1/ns/pid"]) && !is_of_host(cell, "pid", &[]));
    Ok(())
}

pub(crate) fn buildah_pid_of_host(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "pid", &["--pid", "host"]) && !is_of_host(cell, "pid", &[]));
    Ok(())
}

pub(crate) fn pid_of_another(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let ran = cell.run(&["--pid", &format!("container:{name}")], &["/bin/ps"]);
    assert!(ran.ok().out.contains("sleep 1000"));
    Ok(())
}

pub(crate) fn ipc(cell: &Cell) -> Outcome {
    if cell.is_rootless() && !std::path::Path::new("/dev/mqueue").exists() {
        return skip("this machine has no /dev/mqueue, which Podman would bind");
    }
    assert!(is_of_host(cell, "ipc", &["--ipc", "host"]) && !is_of_host(cell, "ipc", &["--ipc", "private"]));
    let name = cell.start(&["--ipc", "shareable"], &SLEEP);
    cell.exec(&name, &[], &["/bin/touch", "/dev/shm/it-shared"]).ok();
    cell.run(&["--ipc", &format!("container:{name}")], &["/bin/test", "-e", "/dev/shm/it-shared"]).ok();
    Ok(())
}

pub(crate) fn ctr_ipc(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "ipc", &["--with-ns", "ipc:/proc/1/ns/ipc"]) && !is_of_host(cell, "ipc", &[]));
    Ok(())
}

pub(crate) fn buildah_ipc(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "ipc", &["--ipc", "host"]) && !is_of_host(cell, "ipc", &[]));
    Ok(())
}

pub(crate) fn uts_of_host(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "uts", &["--uts", "host"]) && !is_of_host(cell, "uts", &[]));
    Ok(())
}

pub(crate) fn ctr_uts_of_host(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "uts", &["--with-ns", "uts:/proc/1/ns/uts"]) && !is_of_host(cell, "uts", &[]));
    Ok(())
}

pub(crate) fn buildah_uts_of_host(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "uts", &["--uts", "host"]) && !is_of_host(cell, "uts", &[]));
    Ok(())
}

pub(crate) fn cgroup_namespace(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "cgroup", &["--cgroupns", "host"]));
    let ran = cell.run(&["--cgroupns", "private"], &["/bin/cat", "/proc/self/cgroup"]).ok();
    assert!(ran.out.lines().all(|line| line.ends_with(":/")), "{ran}");
    Ok(())
}

pub(crate) fn buildah_cgroup_namespace(cell: &Cell) -> Outcome {
    assert!(is_of_host(cell, "cgroup", &["--", "--cgroupns", "host"]));
    assert!(!is_of_host(cell, "cgroup", &["--", "--cgroupns", "private"]));
    Ok(())
}

/// systemd of this machine, from its own `/usr`; its one service makes a file.
pub(crate) fn systemd(cell: &Cell) -> Outcome {
    if !std::path::Path::new("/lib/systemd/systemd").exists() {
        return skip("systemd is not installed here");
    }
    cell.engine.load(&image::of_this_machine(&cell.world)).ok();
    let name = cell.name();
    let own: &[&str] = match cell.is_docker() {
        true => &[
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/tmp",
            "--cgroupns",
            "private",
            "--privileged",
            "--stop-signal",
            "SIGRTMIN+3",
        ],
        false => &["--systemd=always"],
    };
    let options = [own, &["--env", "container=oci", "--volume", "/usr:/usr:ro", "-t"]].concat();
    cell.start_image("it-machine:latest", &name, &options, &[]).ok();
    let ran = || cell.exec(&name, &[], &["/usr/bin/test", "-e", "/run/it-ran"]).code == Some(0);
    let end = Instant::now() + LIMIT;
    while !ran() && cell.inspect(&name, "{{.State.Running}}") == "true" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(ran(), "the service did not run: {}", cell.call(&["logs", &name]));
    assert_eq!(cell.exec(&name, &[], &["/usr/bin/cat", "/proc/1/comm"]).ok().out, "systemd\n");
    cell.call(&["stop", "--time", "20", &name]).ok();
    assert_ne!(cell.inspect(&name, "{{.State.ExitCode}}"), "137", "systemd did not end by itself");
    Ok(())
}

/// Binds for a bundle of this test and the runtime under test.
fn nested_binds(cell: &Cell) -> (String, String) {
    let bundle = cell.world.bundle().args(&["/bin/echo", "from the inside"]);
    (bundle.path().to_owned(), text_of(&runtime()))
}

pub(crate) fn nested(cell: &Cell) -> Outcome {
    let (bundle, runtime) = nested_binds(cell);
    let (bundle, runtime) = (format!("{bundle}:/bundle"), format!("{runtime}:/bin/orlop:ro"));
    let options = ["--privileged", "--volume", &bundle, "--volume", &runtime, "--tmpfs", "/run"];
    let ran = cell.run(&options, &["/bin/orlop", "run", "--bundle", "/bundle", "it-inner"]);
    assert_eq!(ran.ok().out, "from the inside\n");
    Ok(())
}

pub(crate) fn ctr_nested(cell: &Cell) -> Outcome {
    let (bundle, runtime) = nested_binds(cell);
    let bundle = format!("type=bind,src={bundle},dst=/bundle,options=rbind:rw");
    let runtime = format!("type=bind,src={runtime},dst=/bin/orlop,options=bind:ro");
    let ran = cell.run(
        &["--privileged", "--mount", &bundle, "--mount", &runtime],
        &["/bin/orlop", "run", "--bundle", "/bundle", "it-inner"],
    );
    assert_eq!(ran.ok().out, "from the inside\n");
    Ok(())
}
