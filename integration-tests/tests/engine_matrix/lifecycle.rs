//! Lives: from create to remove, what is asked of a running container, and what stays when all are gone.

use crate::cell::Cell;
use crate::engine::Kind;
use crate::storage::{hook_dir, hooks_ran};
use integration_tests::process::{Ran, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, skip};
use std::fs;
use std::time::{Duration, Instant};

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

/// Ends at once when it is asked to, with a code that tells it from being killed.
const POLITE: [&str; 3] =
    ["/bin/sh", "-c", "trap 'exit 5' TERM; trap 'echo got-hup' HUP; echo ready; while :; do sleep 0.1; done"];

const STATE: &str = "{{.State.Status}} {{.State.ExitCode}}";

pub(crate) fn start_stop(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    assert_eq!(cell.inspect(&name, "{{.State.Status}}"), "running");
    cell.call(&["stop", "--time", "1", &name]).ok();
    assert_eq!(cell.inspect(&name, STATE), "exited 137");
    cell.call(&["start", &name]).ok();
    assert_eq!(cell.exec(&name, &[], &["/bin/echo", "again"]).ok().out, "again\n");
    cell.remove(&name).ok();
    assert!(!cell.call(&["ps", "--all"]).ok().out.contains(&name));
    Ok(())
}

fn task_status(cell: &Cell, name: &str) -> String {
    let out = cell.call(&["task", "ls"]).ok().out;
    let line = out.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_owned()
}

pub(crate) fn ctr_start_kill(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    assert_eq!(task_status(cell, &name), "RUNNING");
    cell.call(&["task", "kill", "--signal", "SIGKILL", &name]).ok();
    wait_until("the task has stopped", LIMIT, || task_status(cell, &name) == "STOPPED");
    cell.call(&["task", "delete", &name]).says("exit code 137");
    cell.call(&["container", "delete", &name]).ok();
    assert_eq!(task_status(cell, &name), "");
    Ok(())
}

fn ready(cell: &Cell, options: &[&str]) -> String {
    let name = cell.start(options, &POLITE);
    wait_until("the program is ready", LIMIT, || cell.call(&["logs", &name]).out.contains("ready"));
    name
}

pub(crate) fn stop_timeout(cell: &Cell) -> Outcome {
    let name = ready(cell, &[]);
    // Had the signal not ended it, the code would be that of the kill.
    cell.call(&["stop", "--time", "30", &name]).ok();
    assert_eq!(cell.inspect(&name, STATE), "exited 5");
    let deaf = cell.start(&[], &SLEEP);
    let began = Instant::now();
    cell.call(&["stop", "--time", "2", &deaf]).ok();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(cell.inspect(&deaf, STATE), "exited 137");
    let own = ready(cell, &["--stop-signal", "HUP"]);
    cell.call(&["stop", "--time", "5", &own]).ok();
    assert!(cell.call(&["logs", &own]).ok().out.contains("got-hup"));
    Ok(())
}

pub(crate) fn create(cell: &Cell) -> Outcome {
    let name = cell.name();
    let line = cell
        .line_of(&["--name", &name], "it-busybox:latest", &["/bin/echo", "made before"])
        .replacen(" run ", " create ", 1);
    cell.shell(&line).ok();
    assert_eq!(cell.inspect(&name, "{{.State.Status}}"), "created");
    cell.call(&["start", &name]).ok();
    cell.wait_for(&name, STATE, "exited 0");
    assert_eq!(cell.call(&["logs", &name]).ok().out, "made before\n");
    Ok(())
}

pub(crate) fn kill(cell: &Cell) -> Outcome {
    let name = ready(cell, &[]);
    cell.call(&["kill", "--signal", "HUP", &name]).ok();
    wait_until("the signal arrived", LIMIT, || cell.call(&["logs", &name]).out.contains("got-hup"));
    cell.call(&["kill", &name]).ok();
    cell.wait_for(&name, STATE, "exited 137");
    cell.call(&["kill", &name]).fails();
    Ok(())
}

pub(crate) fn ctr_kill(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &POLITE);
    // The trap is set a moment after the start.
    let ended = || {
        cell.call(&["task", "kill", "--signal", "SIGTERM", &name]);
        task_status(cell, &name) == "STOPPED"
    };
    wait_until("the task has stopped", LIMIT, ended);
    cell.call(&["task", "delete", &name]).says("exit code 5");
    Ok(())
}

pub(crate) fn wait(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &["/bin/sh", "-c", "sleep 1; exit 9"]);
    assert_eq!(cell.call(&["wait", &name]).ok().out, "9\n");
    Ok(())
}

/// The lines that a container has written.
fn written(cell: &Cell, name: &str) -> usize {
    cell.call(&["logs", name]).ok().out.lines().count()
}

/// Waits until a container writes on.
fn counts(cell: &Cell, name: &str) {
    let before = written(cell, name);
    wait_until("it writes on", LIMIT, || written(cell, name) > before);
}

/// Waits until a container is still: what it wrote before may take a while to its log.
fn is_still(cell: &Cell, name: &str) {
    wait_until("it is still", LIMIT, || {
        let before = written(cell, name);
        std::thread::sleep(Duration::from_secs(1));
        written(cell, name) == before
    });
}

pub(crate) fn pause(cell: &Cell) -> Outcome {
    if cell.is_rootless()
        && integration_tests::layout::current() != Some(integration_tests::layout::Layout::V2)
    {
        return skip("an ordinary user has no freezer on cgroup v1");
    }
    let name = cell.start(&[], &["/bin/sh", "-c", "while :; do echo tick; sleep 0.1; done"]);
    counts(cell, &name);
    cell.call(&["pause", &name]).ok();
    assert_eq!(cell.inspect(&name, "{{.State.Status}}"), "paused");
    cell.exec(&name, &[], &["/bin/true"]).fails();
    is_still(cell, &name);
    cell.call(&["unpause", &name]).ok();
    counts(cell, &name);
    cell.call(&["pause", &name]).ok();
    cell.remove(&name).ok();
    Ok(())
}

pub(crate) fn ctr_pause(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    cell.call(&["task", "pause", &name]).ok();
    assert_eq!(task_status(cell, &name), "PAUSED");
    cell.call(&["task", "resume", &name]).ok();
    assert_eq!(task_status(cell, &name), "RUNNING");
    Ok(())
}

pub(crate) fn restart(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let before = cell.pid(&name);
    cell.call(&["restart", "--time", "1", &name]).ok();
    assert_ne!(cell.pid(&name), before);
    assert_eq!(cell.inspect(&name, "{{.State.Status}}"), "running");
    Ok(())
}

/// What a list of all containers says of one that runs, of one that is paused, and so on.
pub(crate) fn states(cell: &Cell) -> Outcome {
    let mut all = vec![
        (cell.start(&[], &SLEEP), "running", "Up"),
        (cell.start(&[], &["/bin/sh", "-c", "exit 4"]), "exited", "Exited (4)"),
    ];
    if cell.is_docker() {
        let failing = ["/bin/sh", "-c", "sleep 0.1; exit 1"];
        all.push((cell.start(&["--restart", "always"], &failing), "restarting", ""));
    }
    if !cell.is_rootless() {
        let name = cell.start(&[], &SLEEP);
        cell.call(&["pause", &name]).ok();
        all.push((name, "paused", "Paused"));
    }
    let list = || cell.call(&["ps", "--all", "--format", "{{.Names}}={{.State}}"]).ok().out;
    wait_until("every state is seen", LIMIT, || {
        let list = list();
        all.iter().all(|(name, word, podman)| {
            let word = if cell.is_docker() { word } else { podman };
            list.lines().any(|line| line.starts_with(&format!("{name}={word}")))
        })
    });
    Ok(())
}

/// The program that holds a container: the shim that was asked for and no other, or Podman's monitor.
pub(crate) fn holder(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let status = cell.on_host(&["cat", &format!("/proc/{}/status", cell.pid(&name))]).ok().out;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim();
    let program = cell.on_host(&["readlink", &format!("/proc/{parent}/exe")]).ok().out;
    let ours = cell.engine.host.dir.join("bin/containerd-shim-orlop-v2").display().to_string();
    match cell.engine.kind {
        Kind::DockerShim | Kind::ContainerdShim => assert_eq!(program.trim(), ours),
        Kind::Docker | Kind::Containerd => assert!(program.trim().ends_with("/containerd-shim-runc-v2")),
        _ => assert!(program.trim().ends_with("/conmon"), "{program}"),
    }
    Ok(())
}

pub(crate) fn restart_policy(cell: &Cell) -> Outcome {
    let failing = cell.start(&["--restart", "on-failure:2"], &["/bin/sh", "-c", "exit 3"]);
    cell.wait_for(&failing, "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "2 exited 3");
    let always = cell.start(&["--restart", "always"], &SLEEP);
    let before = cell.pid(&always);
    cell.on_host(&["kill", "-KILL", &before]).ok();
    wait_until("it runs again", LIMIT, || {
        let now = cell.inspect(&always, "{{.State.Pid}} {{.State.Status}}");
        now.ends_with(" running") && now != format!("{before} running") && !now.starts_with("0 ")
    });
    cell.call(&["stop", "--time", "1", &always]).ok();
    Ok(())
}

pub(crate) fn health(cell: &Cell) -> Outcome {
    let interval = if cell.is_docker() { "1s" } else { "disable" };
    let name = cell.start(
        &["--health-cmd", "test -e /tmp/well", "--health-interval", interval, "--health-retries", "1"],
        &SLEEP,
    );
    if !cell.is_docker() {
        cell.call(&["healthcheck", "run", &name]).fails();
        cell.exec(&name, &[], &["/bin/touch", "/tmp/well"]).ok();
        cell.call(&["healthcheck", "run", &name]).ok();
        return Ok(());
    }
    cell.wait_for(&name, "{{.State.Health.Status}}", "unhealthy");
    cell.exec(&name, &[], &["/bin/touch", "/tmp/well"]).ok();
    cell.wait_for(&name, "{{.State.Health.Status}}", "healthy");
    Ok(())
}

pub(crate) fn logs(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &["/bin/sh", "-c", "echo one; echo two; echo three >&2"]);
    cell.wait_for(&name, "{{.State.Status}}", "exited");
    let ran = cell.call(&["logs", &name]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("one\ntwo\n", "three\n"));
    let last = cell.call(&["logs", "--tail", "1", "--timestamps", &name]).ok();
    // The two streams have no order between them.
    let last = format!("{}{}", last.out, last.err);
    assert!(["two", "three"].iter().any(|word| last.trim().ends_with(word)), "{last}");
    let following = cell.start(&[], &["/bin/sh", "-c", "echo one; sleep 1; echo two"]);
    assert_eq!(cell.call(&["logs", "--follow", &following]).ok().out, "one\ntwo\n");
    Ok(())
}

pub(crate) fn ctr_logs(cell: &Cell) -> Outcome {
    let log = cell.world.path("log");
    let option = format!("file://{log}");
    let name = cell.start(&["--log-uri", &option], &["/bin/sh", "-c", "echo one; echo two >&2"]);
    wait_until("the task has stopped", LIMIT, || task_status(cell, &name) == "STOPPED");
    let text = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("both lines are in the log", LIMIT, || text().contains("one\n") && text().contains("two\n"));
    Ok(())
}

pub(crate) fn attach(cell: &Cell) -> Outcome {
    let name = cell.start(&["-i"], &["/bin/sh", "-c", "read line; echo got $line; exit 4"]);
    // The input stays open until the program has ended.
    let running = format!("$ENGINE inspect --format {{{{.State.Running}}}} {name}");
    let input = format!("(echo typed; while test \"$({running})\" = true; do sleep 0.2; done)");
    let ran = cell.shell(&format!("{input} | $ENGINE attach {name}"));
    assert_eq!(ran.out.trim_end(), "got typed", "{ran}");
    // Podman answers 0 when its own input ended first, whatever the runtime.
    assert!(ran.code == Some(4) || cell.is_podman(), "{ran}");
    Ok(())
}

pub(crate) fn ctr_attach(cell: &Cell) -> Outcome {
    let program = "until test -e /tmp/go; do echo tick; sleep 0.1; done; exit 4";
    let (name, seen) = (cell.start(&[], &["/bin/sh", "-c", program]), cell.world.path("seen"));
    let ran = cell.shell(&format!(
        "$ENGINE task attach {name} > {seen} & client=$!
         for _ in $(seq 300); do grep -q tick {seen} && break; sleep 0.1; done
         $ENGINE task exec --exec-id go {name} /bin/touch /tmp/go; wait $client"
    ));
    assert_eq!(ran.code, Some(4), "{ran}");
    assert!(fs::read_to_string(&seen).expect("output").starts_with("tick\n"));
    Ok(())
}

pub(crate) fn copy(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let share = cell.share();
    cell.call(&["cp", &format!("{share}/sub"), &format!("{name}:/tmp/")]).ok();
    assert_eq!(cell.exec(&name, &[], &["/bin/cat", "/tmp/sub/file"]).ok().out, "below\n");
    cell.call(&["cp", &format!("{name}:/data/of-the-image"), &format!("{share}/out")]).ok();
    assert_eq!(fs::read_to_string(format!("{share}/out")).expect("file"), "copied up\n");
    Ok(())
}

pub(crate) fn buildah_copy(cell: &Cell) -> Outcome {
    let (name, share) = (cell.buildah_from(&[]), cell.share());
    cell.call(&["copy", &name, &format!("{share}/file"), "/tmp/copied"]).ok();
    let runtime = cell.engine.runtime_path();
    let ran = cell.call(&["run", "--runtime", &runtime, &name, "/bin/cat", "/tmp/copied"]);
    assert_eq!(ran.ok().out, "of the host\n");
    Ok(())
}

pub(crate) fn top(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let ran = cell.call(&["top", &name]).ok();
    assert!(ran.out.contains("sleep"), "{ran}");
    Ok(())
}

pub(crate) fn ctr_ps(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let pid = cell.pid(&name);
    let ran = cell.call(&["task", "ps", &name]).ok();
    assert!(ran.out.lines().any(|line| line.split_whitespace().next() == Some(&pid)), "{ran}");
    Ok(())
}

pub(crate) fn stats(cell: &Cell) -> Outcome {
    if cell.is_rootless()
        && integration_tests::layout::current() != Some(integration_tests::layout::Layout::V2)
    {
        return skip("Podman has no statistics for an ordinary user on cgroup v1");
    }
    let name = cell.start(&[], &SLEEP);
    let format = "{{.Name}} {{.PIDs}} {{.MemUsage}}";
    let ran = || cell.call(&["stats", "--no-stream", "--format", format, &name]).ok();
    // The program's own memory is charged when it runs, a moment after the engine says so.
    wait_until("it uses memory", LIMIT, || {
        let out = ran().out;
        let words: Vec<&str> = out.split_whitespace().collect();
        words[..2] == [name.as_str(), "1"] && words[2].ends_with('B') && !words[2].starts_with("0B")
    });
    Ok(())
}

pub(crate) fn ctr_metrics(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &SLEEP);
    let ran = cell.call(&["task", "metrics", &name]).ok();
    assert!(ran.out.contains("memory.") && ran.out.contains(&name), "{ran}");
    Ok(())
}

pub(crate) fn events(cell: &Cell) -> Outcome {
    let name = cell.start(&[], &["/bin/true"]);
    cell.wait_for(&name, "{{.State.Status}}", "exited");
    let filter = format!("container={name}");
    let words: &[&str] = match cell.is_docker() {
        true => {
            &["events", "--since", "60s", "--until", "0s", "--format", "{{.Status}}", "--filter", &filter]
        }
        false => &["events", "--stream=false", "--format", "{{.Status}}", "--filter", &filter],
    };
    let seen = || cell.call(words).ok().out;
    let ends = if cell.is_docker() { "die" } else { "died" };
    wait_until("the events are there", LIMIT, || {
        let out = seen();
        ["create", "start", ends].iter().all(|event| out.lines().any(|line| line == *event))
    });
    Ok(())
}

pub(crate) fn ctr_events(cell: &Cell) -> Outcome {
    let (events, ran) = events_of(cell, &cell.line(&["--rm"], &["/bin/true"]), "/tasks/delete");
    ran.ok();
    for topic in ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"] {
        assert!(events.contains(topic), "{topic} is missing in {events}");
    }
    Ok(())
}

/// What `ctr events` tells while a line of shell runs, until the last of it, and what became of the line. The client
/// does not say when it listens, so an image is labelled until it tells of that.
pub(crate) fn events_of(cell: &Cell, line: &str, last: &str) -> (String, Ran) {
    let seen = cell.world.path("events");
    let label = "$ENGINE images label docker.io/library/it-busybox:latest it=heard";
    let ran = cell.shell(&format!(
        "$ENGINE events > {seen} & listener=$!
         until test -s {seen}; do {label} > /dev/null; sleep 0.1; done
         ({line}); code=$?
         for _ in $(seq 200); do grep -q {last} {seen} && break; sleep 0.1; done
         kill $listener; exit $code"
    ));
    (fs::read_to_string(&seen).unwrap_or_default(), ran)
}

pub(crate) fn rename(cell: &Cell) -> Outcome {
    let (name, new) = (cell.start(&[], &SLEEP), cell.name());
    cell.call(&["rename", &name, &new]).ok();
    assert_eq!(cell.exec(&new, &[], &["/bin/echo", "renamed"]).ok().out, "renamed\n");
    Ok(())
}

pub(crate) fn buildah_rename(cell: &Cell) -> Outcome {
    let (name, new) = (cell.buildah_from(&[]), cell.name());
    cell.call(&["rename", &name, &new]).ok();
    let ran = cell.call(&["run", "--runtime", &cell.engine.runtime_path(), &new, "/bin/echo", "renamed"]);
    assert_eq!(ran.ok().out, "renamed\n");
    Ok(())
}

pub(crate) fn hooks(cell: &Cell) -> Outcome {
    cell.only_podman("a directory of hooks")?;
    let (dir, wrote) = hook_dir(cell);
    // A global option, so it stands before the command.
    let line =
        cell.line(&["--rm"], &["/bin/true"]).replacen("$ENGINE", &format!("$ENGINE --hooks-dir {dir}"), 1);
    cell.shell(&line).ok();
    hooks_ran(&wrote);
    Ok(())
}

pub(crate) fn daemon_restarts(cell: &Cell) -> Outcome {
    cell.only_docker("a daemon")?;
    for signal in ["-TERM", "-KILL"] {
        let name = cell.start(&[], &POLITE);
        let pid = cell.pid(&name);
        cell.engine.stop_daemon(signal);
        cell.engine.start_daemon();
        assert_eq!(cell.inspect(&name, "{{.State.Pid}} {{.State.Status}}"), format!("{pid} running"));
        assert_eq!(cell.exec(&name, &[], &["/bin/echo", "still"]).ok().out, "still\n");
        cell.call(&["stop", "--time", "20", &name]).ok();
        assert_eq!(cell.inspect(&name, STATE), "exited 5");
    }
    Ok(())
}

pub(crate) fn ctr_daemon_restarts(cell: &Cell) -> Outcome {
    for signal in ["-TERM", "-KILL"] {
        let name = cell.start(&[], &SLEEP);
        let pid = cell.pid(&name);
        cell.engine.stop_daemon(signal);
        cell.engine.start_daemon();
        assert_eq!((cell.pid(&name), task_status(cell, &name)), (pid, "RUNNING".to_owned()));
        assert_eq!(cell.exec(&name, &[], &["/bin/echo", "still"]).ok().out, "still\n");
    }
    Ok(())
}

pub(crate) fn many(cell: &Cell) -> Outcome {
    let lines: Vec<String> = (0..8)
        .map(|number| format!("({}) & ", cell.line(&["--rm"], &["/bin/echo", &format!("n{number}")])))
        .collect();
    let ran = cell.shell(&format!("{} wait", lines.join("\n"))).ok();
    let mut words: Vec<&str> = ran.out.split_whitespace().collect();
    words.sort_unstable();
    assert_eq!(words, ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"], "{ran}");
    Ok(())
}

/// Prints a number every 50 ms and writes it to /count.
const COUNTER: [&str; 3] =
    ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done"];

/// Ends a test where CRIU cannot work.
fn criu_works() -> Outcome {
    match std::process::Command::new("criu").arg("check").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            skip(format!("criu check: {}", text.lines().next().unwrap_or("it fails")))
        }
        Err(error) => skip(format!("criu: {error}")),
    }
}

fn count(cell: &Cell, name: &str) -> u64 {
    cell.exec(name, &[], &["/bin/cat", "/count"]).out.trim().parse().unwrap_or(0)
}

/// The file is empty for a moment each time.
fn read_count(cell: &Cell, name: &str) -> u64 {
    let mut number = 0;
    wait_until("a number can be read", LIMIT, || {
        number = count(cell, name);
        number > 0
    });
    number
}

/// An experimental command of Docker, and one of Podman for root.
pub(crate) fn checkpoint(cell: &Cell) -> Outcome {
    criu_works()?;
    if cell.is_rootless() {
        return skip("Podman checkpoints for root only");
    }
    if cell.engine.kind == Kind::DockerShim && cell.engine.version >= (23, 0) {
        return skip("dockerd does not ask a shim that it knows by name to end what was saved");
    }
    let name = cell.start(&["--network", "none"], &COUNTER);
    wait_until("the counter runs", LIMIT, || count(cell, &name) > 20);
    if cell.is_podman() {
        cell.call(&["container", "checkpoint", "--leave-running", &name]).ok();
        assert_eq!(cell.inspect(&name, "{{.State.Status}}"), "running");
    }
    let stood = read_count(cell, &name);
    let restore: &[&str] = match cell.is_docker() {
        true => {
            cell.call(&["checkpoint", "create", &name, "one"]).ok();
            &["start", "--checkpoint", "one", &name]
        }
        false => {
            cell.call(&["container", "checkpoint", &name]).ok();
            &["container", "restore", &name]
        }
    };
    cell.wait_for(&name, "{{.State.Status}}", "exited");
    cell.call(restore).ok();
    assert_eq!(cell.inspect(&name, "{{.State.Status}}"), "running");
    // Without a checkpoint it would have begun at one again.
    let resumed = read_count(cell, &name);
    assert!(resumed >= stood, "{resumed} after {stood}");
    wait_until("the counter goes on", LIMIT, || count(cell, &name) > resumed);
    Ok(())
}

pub(crate) fn ctr_checkpoint(cell: &Cell) -> Outcome {
    criu_works()?;
    let (first, second) = (cell.start(&[], &COUNTER), cell.name());
    wait_until("the counter runs", LIMIT, || count(cell, &first) > 5);
    cell.call(&["container", "checkpoint", "--rw", "--task", "--image", &first, "it/saved"]).ok();
    let stood = count(cell, &first);
    // A restored task has the groups of the first.
    cell.call(&["task", "kill", "--signal", "SIGKILL", &first]).ok();
    wait_until("the task has stopped", LIMIT, || task_status(cell, &first) == "STOPPED");
    cell.call(&["task", "delete", &first]);
    cell.call(&["container", "delete", &first]).ok();
    cell.call(&["container", "restore", "--rw", "--live", &second, "it/saved"]).ok();
    wait_until("the counter goes on", LIMIT, || count(cell, &second) > stood);
    assert!(count(cell, &second) < stood + 1000);
    cell.call(&["images", "rm", "it/saved"]).ok();
    Ok(())
}

/// When every container of the engine is removed there is no process, group, mount or state of one.
pub(crate) fn nothing_left(cell: &Cell) -> Outcome {
    match cell.engine.kind.family() {
        Kind::Containerd => {}
        Kind::Buildah => drop(cell.call(&["rm", "--all"])),
        _ => cell.call(&["ps", "--all", "--quiet"]).ok().out.lines().for_each(|id| drop(cell.remove(id))),
    }
    let (mut left, end) = (left_behind(cell), Instant::now() + LIMIT);
    while !left.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        left = left_behind(cell);
    }
    assert_eq!(left, Vec::<String>::new());
    Ok(())
}

fn left_behind(cell: &Cell) -> Vec<String> {
    let host = &cell.engine.host;
    let ours = ["-shim", "conmon", "/orlop", "/runc", "/bin/sleep", "/bin/sh -c", "httpd"];
    let processes = host.processes().into_iter().filter(|line| ours.iter().any(|word| line.contains(word)));
    let dir = host.dir.display();
    let mounts = host.mounts().into_iter().filter(|line| {
        line.contains(&format!(" {dir}/")) && (line.contains("/merged ") || line.contains("/rootfs "))
    });
    let groups = host.parent.groups().into_iter().map(|path| path.display().to_string());
    // Podman's monitors and pods and BuildKit have groups of their own, which are theirs to keep.
    let of_engine = |path: &String| match cell.is_podman() {
        true => !path.contains("/libpod-") || path.contains("conmon"),
        false => path.ends_with("/buildkit"),
    };
    let groups = groups.filter(|path| !of_engine(path));
    let states = format!(
        "ls -d /run/orlop/* /run/runc/* {dir}/x/runtime-runc/moby/* /run/containerd/runc/*/* {dir}/home/run/orlop/* {dir}/home/run/runc/* 2>/dev/null; true"
    );
    let states = cell.on_host(&["sh", "-c", &states]).out;
    let states = states.lines().map(str::to_owned).collect::<Vec<_>>();
    processes.chain(mounts).chain(groups).chain(states).collect()
}
