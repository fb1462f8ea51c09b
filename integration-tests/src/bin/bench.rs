//! The benchmark: the runtime under test, crun, runc and the floor on the same bundle, in one run, interleaved.
//!
//! `bench [--runs N] [--cold-runs N] [--out DIR]`; `ORLOP` names the runtime under test. Everything runs on plain
//! cgroup v1 in a private mount namespace, which all of them accept. Prints the table and writes `bench.md`,
//! `bench.json` and `bench.svg`. A `seccomp.json` that is there already, of `cargo bench -p seccomp`, becomes a table too.
//! Start at `measure`; a scenario is one function that returns how long it took.
//!
//! A run is timed from the call that starts the command to the return of the wait for it, with no shell between.
//! Peak memory is VmHWM of each address space, read under ptrace just before it goes: ru_maxrss would show the
//! launcher's peak, because it is carried over fork and exec.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measuring program: whatever fails makes the run worthless"
)]

use integration_tests::Bundle;
use integration_tests::layout::{Layout, enter};
use integration_tests::trace::{Peak, peaks};
use integration_tests::world::{prepare_run, program, remove_run, run_dir, runtime, text_of};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::{Pid, WaitOptions, set_child_subreaper, waitpid};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A runtime that is measured.
struct Runtime {
    name: String,
    path: PathBuf,
    version: String,
    is_floor: bool,
}

/// What the command line asks for.
struct Options {
    runs: usize,
    cold_runs: usize,
    out: PathBuf,
}

/// The bundles of all scenarios; made once, used by all.
struct Bundles {
    fresh: Bundle,
    joined: Bundle,
    tight: Bundle,
    waiting: Bundle,
    netns: String,
}

/// All times of one runtime in one scenario.
struct Times {
    runtime: String,
    micros: Vec<u64>,
}

/// A scenario with the times of those runtimes that can do it.
struct Scenario {
    title: &'static str,
    times: Vec<Times>,
}

type Measured = fn(&Runtime, &Bundles, usize) -> Option<Duration>;

fn main() -> ExitCode {
    let options = options();
    enter(Layout::V1).expect("plain cgroup v1");
    set_child_subreaper(Pid::from_raw(1)).expect("subreaper");
    prepare_run();
    let runtimes = runtimes();
    let bundles = bundles();
    let scenarios = measure(&runtimes, &bundles, &options);
    let report = json!({
        "machine": machine(),
        "runtimes": runtimes.iter().map(|runtime| json!({"name": runtime.name, "version": runtime.version,
            "bytes": fs::metadata(&runtime.path).map(|meta| meta.len()).unwrap_or(0)})).collect::<Vec<_>>(),
        "scenarios": scenarios.iter().map(scenario_json).collect::<Vec<_>>(),
        "memory_limit_384k": runtimes.iter().filter(|runtime| !runtime.is_floor)
            .map(|runtime| json!({"runtime": runtime.name, "succeeded": tight(runtime, &bundles), "of": TIGHT_RUNS}))
            .collect::<Vec<_>>(),
        "peak_memory_kib": runtimes.iter().filter(|runtime| !runtime.is_floor)
            .map(|runtime| memory(runtime, &bundles)).collect::<Vec<_>>(),
        "stats_cpu_us": runtimes.iter().filter(|runtime| !runtime.is_floor)
            .map(|runtime| json!({"runtime": runtime.name, "cpu_us": stats_cpu(runtime, &bundles)})).collect::<Vec<_>>(),
        "growth": growth(&runtimes[0], &bundles),
        "crates": crates(),
        "seccomp": seccomp(&options.out),
    });
    remove_run();
    let text = markdown(&report);
    fs::create_dir_all(&options.out).expect("results directory");
    fs::write(options.out.join("bench.md"), &text).expect("bench.md");
    fs::write(options.out.join("bench.json"), format!("{report:#}\n")).expect("bench.json");
    fs::write(options.out.join("bench.svg"), svg(&report)).expect("bench.svg");
    print!("{text}");
    ExitCode::SUCCESS
}

fn options() -> Options {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let number = |name: &str, default| value(name).map_or(default, |text| text.parse().expect("a number"));
    Options {
        runs: number("--runs", 200),
        cold_runs: number("--cold-runs", 20),
        out: value("--out").map_or_else(|| PathBuf::from("bench-results"), PathBuf::from),
    }
}

/// The runtime under test first, then those that are installed, then the floor.
fn runtimes() -> Vec<Runtime> {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let installed =
        |name: &str| places.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file());
    let mut found = vec![named(runtime())];
    found.extend(["crun", "runc"].into_iter().filter_map(installed).map(named));
    found.push(Runtime {
        name: "floor".into(),
        path: program("floor"),
        version: "the kernel's own".into(),
        is_floor: true,
    });
    found
}

fn named(path: PathBuf) -> Runtime {
    let output = Command::new(&path).arg("--version").output().expect("--version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let version = first.split_whitespace().last().unwrap_or_default().to_owned();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Runtime { name, path, version, is_floor: false }
}

fn bundles() -> Bundles {
    let netns = park_in_a_network_namespace();
    let bundle = |name: &str| {
        Bundle::new(&run_dir().join(name))
            .args(&["/bin/true"])
            .edit(|config| config["root"]["readonly"] = json!(true))
    };
    Bundles {
        fresh: bundle("fresh"),
        joined: bundle("joined").with_namespace("network", Some(&netns)),
        tight: bundle("tight")
            .edit(|config| config["linux"]["resources"]["memory"] = json!({"limit": 384 << 10})),
        waiting: bundle("waiting").args(&["/bin/sleep", "1000"]),
        netns,
    }
}

/// A thread that lives in a network namespace of its own for as long as the program; returns the namespace's path.
fn park_in_a_network_namespace() -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("network namespace");
        sender.send(rustix::thread::gettid().as_raw_nonzero()).expect("send");
        loop {
            std::thread::park();
        }
    });
    format!("/proc/{}/task/{}/ns/net", std::process::id(), receiver.recv().expect("the thread"))
}

fn measure(runtimes: &[Runtime], bundles: &Bundles, options: &Options) -> Vec<Scenario> {
    let alone: [(&str, usize, Measured); 4] = [
        ("run /bin/true", options.runs, run_fresh),
        ("run /bin/true, one start per 250 ms", options.cold_runs, run_cold),
        ("run /bin/true, joined network namespace", options.runs, run_joined),
        ("create + start + delete", options.runs, create_start_delete),
    ];
    let one: [(&str, usize, Measured); 3] = [
        ("exec /bin/true in a running container", options.runs, exec_hot),
        ("exec /bin/true, one per 250 ms", options.cold_runs, exec_cold),
        ("100 execs at once, until the last has ended", PARALLEL_RUNS, exec_parallel),
    ];
    let crowd: [(&str, usize, Measured); 3] = [
        ("state, with 500 containers", options.runs, state),
        ("kill with SIGCONT, with 500 containers", options.runs, kill),
        ("list, with 500 containers", options.runs, list_all),
    ];
    let one_each = |(title, count, measured)| interleave(title, runtimes, bundles, count, measured);
    let mut scenarios: Vec<Scenario> = alone.into_iter().map(one_each).collect();
    for (size, table) in [(1, one), (CROWD, crowd)] {
        stand_up(runtimes, bundles, size);
        scenarios.extend(table.into_iter().map(one_each));
        take_down(runtimes, size);
    }
    scenarios
}

/// How often a hundred execs are begun at once.
const PARALLEL_RUNS: usize = 5;

/// How many execs are begun at once.
const PARALLEL: usize = 100;

/// The containers that stand beside the one that is asked.
const CROWD: usize = 500;

/// Starts containers under every runtime; they wait until [`take_down`].
fn stand_up(runtimes: &[Runtime], bundles: &Bundles, count: usize) {
    for runtime in runtimes.iter().filter(|runtime| !runtime.is_floor) {
        (0..count).for_each(|number| {
            let words = ["run", "--detach", "--bundle", bundles.waiting.path(), &standing(runtime, number)];
            timed(rooted(runtime).args(words));
        });
    }
}

fn take_down(runtimes: &[Runtime], count: usize) {
    for runtime in runtimes.iter().filter(|runtime| !runtime.is_floor) {
        (0..count).for_each(|number| {
            timed(rooted(runtime).args(["delete", "--force", &standing(runtime, number)]));
        });
    }
}

/// The id of a container that stands.
fn standing(runtime: &Runtime, number: usize) -> String {
    id(runtime, 5000 + number)
}

/// What a runtime does with the container that stands first; the floor has none.
fn on_standing(runtime: &Runtime, before: &[&str], after: &[&str]) -> Option<Duration> {
    if runtime.is_floor {
        return None;
    }
    Some(timed(rooted(runtime).args(before).arg(standing(runtime, 0)).args(after)))
}

fn exec_hot(runtime: &Runtime, _: &Bundles, _: usize) -> Option<Duration> {
    on_standing(runtime, &["exec"], &["/bin/true"])
}

fn exec_cold(runtime: &Runtime, bundles: &Bundles, turn: usize) -> Option<Duration> {
    std::thread::sleep(Duration::from_millis(250));
    exec_hot(runtime, bundles, turn)
}

fn exec_parallel(runtime: &Runtime, _: &Bundles, _: usize) -> Option<Duration> {
    if runtime.is_floor {
        return None;
    }
    let begin = |_| {
        let mut command = rooted(runtime);
        command.arg("exec").arg(standing(runtime, 0)).arg("/bin/true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("start")
    };
    let begun = Instant::now();
    let running: Vec<_> = (0..PARALLEL).map(begin).collect();
    for mut child in running {
        assert!(child.wait().expect("wait").success(), "{}", runtime.name);
    }
    Some(begun.elapsed())
}

fn state(runtime: &Runtime, _: &Bundles, _: usize) -> Option<Duration> {
    on_standing(runtime, &["state"], &[])
}

/// SIGCONT does nothing to a process that is not stopped.
fn kill(runtime: &Runtime, _: &Bundles, _: usize) -> Option<Duration> {
    on_standing(runtime, &["kill"], &["CONT"])
}

fn list_all(runtime: &Runtime, _: &Bundles, _: usize) -> Option<Duration> {
    (!runtime.is_floor).then(|| timed(rooted(runtime).arg("list")))
}

/// Takes turns of a few runs each, in a new order every round, so that a drift of the machine meets all of them.
///
/// A few runs, because a write to cgroup.procs takes long after a pause and little in a loop: single runs in turn
/// would charge that to whoever follows a runtime that does not write there. The cold scenario shows that cost.
fn interleave(
    title: &'static str,
    runtimes: &[Runtime],
    bundles: &Bundles,
    count: usize,
    measured: Measured,
) -> Scenario {
    let mut times: Vec<Times> =
        runtimes.iter().map(|runtime| Times { runtime: runtime.name.clone(), micros: Vec::new() }).collect();
    let mut order: Vec<usize> = (0..runtimes.len()).collect();
    // The first round warms caches and is not counted.
    for round in 0..count.div_ceil(TURN) + 1 {
        shuffle(&mut order, round);
        for (index, turn) in
            order.iter().flat_map(|index| (0..TURN).map(move |step| (*index, round * TURN + step)))
        {
            let took = measured(&runtimes[index], bundles, turn).filter(|_| round > 0);
            times[index].micros.extend(took.map(|took| u64::try_from(took.as_micros()).expect("micros")));
        }
    }
    times.retain(|times| !times.micros.is_empty());
    times.iter_mut().for_each(|times| times.micros.sort_unstable());
    Scenario { title, times }
}

/// Runs of one runtime in a row.
const TURN: usize = 5;

/// Fisher and Yates with a small generator: the order differs from round to round and is the same in every run.
fn shuffle(order: &mut [usize], round: usize) {
    let mut state = round.wrapping_mul(2_654_435_761).wrapping_add(12345);
    for last in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) % (last + 1));
    }
}

fn run_fresh(runtime: &Runtime, bundles: &Bundles, turn: usize) -> Option<Duration> {
    let mut command = run_command(runtime, &bundles.fresh, turn);
    Some(timed(if runtime.is_floor { command.arg("/bin/true") } else { &mut command }))
}

fn run_cold(runtime: &Runtime, bundles: &Bundles, turn: usize) -> Option<Duration> {
    std::thread::sleep(Duration::from_millis(250));
    run_fresh(runtime, bundles, turn)
}

fn run_joined(runtime: &Runtime, bundles: &Bundles, turn: usize) -> Option<Duration> {
    let mut command = run_command(runtime, &bundles.joined, turn);
    if runtime.is_floor {
        command.args(["--netns", &bundles.netns, "/bin/true"]);
    }
    Some(timed(&mut command))
}

fn create_start_delete(runtime: &Runtime, bundles: &Bundles, turn: usize) -> Option<Duration> {
    if runtime.is_floor {
        return None;
    }
    let id = id(runtime, turn);
    let pid_file = text_of(&run_dir().join("pid"));
    let begun = Instant::now();
    let words = ["create", "--bundle", bundles.fresh.path(), "--pid-file", &pid_file, &id];
    timed(rooted(runtime).args(words));
    timed(rooted(runtime).args(["start", &id]));
    // The container's first process is ours after its creator has gone, so this wait is exact and takes no polling.
    let pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    waitpid(pid, WaitOptions::empty()).expect("the container's process");
    timed(rooted(runtime).args(["delete", &id]));
    Some(begun.elapsed())
}

fn id(runtime: &Runtime, turn: usize) -> String {
    format!("it-bench-{}-{}-{turn}", runtime.name, std::process::id())
}

fn rooted(runtime: &Runtime) -> Command {
    let mut command = Command::new(&runtime.path);
    command.arg("--root").arg(run_dir().join(format!("state-{}", runtime.name)));
    command
}

fn run_command(runtime: &Runtime, bundle: &Bundle, turn: usize) -> Command {
    if runtime.is_floor {
        let mut command = Command::new(&runtime.path);
        command.arg(bundle.rootfs("")).arg(id(runtime, turn));
        return command;
    }
    let mut command = rooted(runtime);
    command.args(["run", "--bundle", bundle.path(), &id(runtime, turn)]);
    command
}

/// How long a command took; it must succeed.
fn timed(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("start");
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

const TIGHT_RUNS: usize = 20;

/// How many of twenty runs under a memory limit of 384 KiB succeed.
fn tight(runtime: &Runtime, bundles: &Bundles) -> usize {
    let succeeds = |turn: &usize| {
        let mut command = run_command(runtime, &bundles.tight, 1000 + turn);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let succeeded = command.status().expect("start").success();
        if !succeeded {
            let _ = rooted(runtime).args(["delete", "--force", &id(runtime, 1000 + turn)]).output();
        }
        succeeded
    };
    (0..TIGHT_RUNS).filter(succeeds).count()
}

/// Peak memory of a run: of any process of the runtime, and of what stands in the container before its program.
fn memory(runtime: &Runtime, bundles: &Bundles) -> Value {
    let command = run_command(runtime, &bundles.fresh, 2000);
    let of_exec = memory_of_exec(runtime, bundles);
    let peaks: Vec<Peak> = peaks(&command, &run_dir().join("traced"));
    let ours = peaks.iter().filter(|peak| !peak.program.ends_with("/bin/busybox"));
    let largest = |peaks: Vec<&Peak>| peaks.iter().map(|peak| peak.kib).max().unwrap_or(0);
    let all: Vec<&Peak> = ours.collect();
    let inside: Vec<&Peak> = all.iter().copied().filter(|peak| peak.inside).collect();
    // Where a small image of its own becomes the init, the moment between clone and exec still shows the parent's.
    let own = text_of(&runtime.path);
    let image: Vec<&Peak> = inside.iter().copied().filter(|peak| peak.program != own).collect();
    let images =
        all.iter().map(|peak| json!({"program": peak.program, "inside": peak.inside, "kib": peak.kib}));
    json!({"runtime": runtime.name, "largest": largest(all.clone()),
        "exec": of_exec, "init": largest(if image.is_empty() { inside } else { image }), "images": images.collect::<Vec<_>>()})
}

/// Peak memory of any process of the runtime in an exec, in KiB.
fn memory_of_exec(runtime: &Runtime, bundles: &Bundles) -> u64 {
    stand_up(std::slice::from_ref(runtime), bundles, 1);
    let mut command = rooted(runtime);
    command.arg("exec").arg(standing(runtime, 0)).arg("/bin/true");
    let peaks: Vec<Peak> = peaks(&command, &run_dir().join("traced-exec"));
    take_down(std::slice::from_ref(runtime), 1);
    let ours = peaks.iter().filter(|peak| !peak.program.ends_with("/bin/busybox"));
    ours.map(|peak| peak.kib).max().unwrap_or(0)
}

/// CPU time of one `events --stats` on a running container, in microseconds; null where the runtime has no such command.
fn stats_cpu(runtime: &Runtime, bundles: &Bundles) -> Option<u64> {
    const LOOKS: u32 = 50;
    let id = id(runtime, 3000);
    // No pipe: the container would keep its end, and a reader would wait for it.
    let succeeds = |words: &[&str]| {
        let mut command = rooted(runtime);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("start").success()
    };
    assert!(succeeds(&["run", "--detach", "--bundle", bundles.waiting.path(), &id]), "{}", runtime.name);
    let before = cpu_of_children();
    let had = (0..LOOKS).all(|_| succeeds(&["events", "--stats", &id]));
    let used = cpu_of_children() - before;
    assert!(succeeds(&["delete", "--force", &id]));
    had.then(|| u64::try_from((used / LOOKS).as_micros()).expect("micros"))
}

/// User and system time of all children that were waited for.
fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    let micros = |time: nix::sys::time::TimeVal| time.num_microseconds().unsigned_abs();
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

/// 500 containers one after the other, each created, limited, started, paused, resumed and deleted: the median of the first
/// fifty and of the last fifty.
fn growth(runtime: &Runtime, bundles: &Bundles) -> Value {
    const ROUNDS: usize = 500;
    const PART: usize = 50;
    let id = id(runtime, 4000);
    let micros = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        timed(rooted(runtime).args(["create", "--bundle", bundles.waiting.path(), &id]));
        timed(rooted(runtime).args(["update", "--pids-limit", "50", "--memory", "64m", &id]));
        for words in [&["start"][..], &["pause"], &["resume"], &["delete", "--force"]] {
            timed(rooted(runtime).args(words).arg(&id));
        }
        u64::try_from(begun.elapsed().as_micros()).expect("micros")
    });
    let micros: Vec<u64> = micros.collect();
    let median = |part: &[u64]| {
        let mut sorted = part.to_vec();
        sorted.sort_unstable();
        percentile(&sorted, 50)
    };
    let (first, last) = (median(&micros[..PART]), median(&micros[ROUNDS - PART..]));
    json!({"rounds": ROUNDS, "first_us": first, "last_us": last})
}

/// The crates that the runtime is built from; null where cargo or the sources are not at hand.
fn crates() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let words =
        ["tree", "--offline", "-p", "orlop", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let Ok(output) = Command::new("cargo").args(words).current_dir(root).output() else { return Value::Null };
    if !output.status.success() {
        return Value::Null;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    json!(names.collect::<std::collections::BTreeSet<_>>().len())
}

/// What the benchmark of the seccomp crate left beside the results: it is linked with libseccomp, which this is not.
fn seccomp(out: &Path) -> Value {
    let text = fs::read(out.join("seccomp.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

/// Filters, compiled and loaded by seccomp(2), ours beside libseccomp's.
fn filters(seccomp: &Value) -> String {
    let rows = list(&seccomp["rows"]);
    let of = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    let first = |key: &str| rows.first().map_or(f64::NAN, |row| of(row, key));
    let mut text = format!(
        "| filter of {} names for {} architectures, medians of {} | compile us | orlop / this | load us | orlop / this | instructions |\n\
         |---|---:|---:|---:|---:|---:|\n",
        seccomp["names"], seccomp["architectures"], seccomp["rounds"]
    );
    for row in rows {
        let (compile, load) = (of(row, "compile_us"), of(row, "load_us"));
        text += &format!(
            "| {} | {compile:.1} | {:.4} | {load:.1} | {:.2} | {} |\n",
            row["compiler"].as_str().unwrap_or_default(),
            first("compile_us") / compile,
            first("load_us") / load,
            row["instructions"]
        );
    }
    text
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let date = Command::new("date")
        .args(["-u", "+%Y-%m-%d"])
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    json!({"kernel": read("/proc/sys/kernel/osrelease"), "processor": model.trim_start_matches([' ', '\t', ':']),
        "processors": processors.lines().filter(|line| line.starts_with("processor")).count(),
        "cgroups": "plain v1 in a private mount namespace", "date": String::from_utf8_lossy(&date).trim()})
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn scenario_json(scenario: &Scenario) -> Value {
    let rows = scenario.times.iter().map(|times| {
        json!({"runtime": times.runtime, "runs": times.micros.len(), "median_us": percentile(&times.micros, 50),
            "best_us": percentile(&times.micros, 0), "p90_us": percentile(&times.micros, 90)})
    });
    json!({"title": scenario.title, "rows": rows.collect::<Vec<_>>()})
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn millis(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN) / 1000.0
}

/// The tables. A ratio is the median of the runtime under test over that of the row's.
fn markdown(report: &Value) -> String {
    let machine = &report["machine"];
    let mut text = format!(
        "Measured {} on {} ({} processors), Linux {}, {}.\n\n",
        machine["date"].as_str().unwrap_or_default(),
        machine["processor"].as_str().unwrap_or_default(),
        machine["processors"],
        machine["kernel"].as_str().unwrap_or_default(),
        machine["cgroups"].as_str().unwrap_or_default(),
    );
    let subject = report["runtimes"][0]["name"].as_str().unwrap_or_default();
    for scenario in list(&report["scenarios"]) {
        text += &times(report, scenario, subject);
    }
    text += &costs(report);
    text += &grown(&report["growth"], subject);
    text += &format!("\nCrates in {subject}: {}.\n", report["crates"]);
    if !report["seccomp"].is_null() {
        text += &format!("\n{}", filters(&report["seccomp"]));
    }
    text
}

/// The times of one scenario, a row for each runtime.
fn times(report: &Value, scenario: &Value, subject: &str) -> String {
    let rows = list(&scenario["rows"]);
    let base =
        rows.iter().find(|row| row["runtime"] == subject).map_or(f64::NAN, |row| millis(&row["median_us"]));
    let mut text = format!(
        "| {} | median ms | best ms | p90 ms | runs | {subject} / this |\n|---|---:|---:|---:|---:|---:|\n",
        scenario["title"].as_str().unwrap_or_default()
    );
    for row in rows {
        let [median, best, p90] = ["median_us", "best_us", "p90_us"].map(|key| millis(&row[key]));
        let name = labelled(report, row["runtime"].as_str().unwrap_or_default());
        text += &format!(
            "| {name} | {median:.2} | {best:.2} | {p90:.2} | {} | {:.2} |\n",
            row["runs"],
            base / median
        );
    }
    text + "\n"
}

/// What has one figure for each runtime.
fn costs(report: &Value) -> String {
    let mut text =
        format!("| | {} |\n|---|{}\n", names(report).join(" | "), "---:|".repeat(names(report).len()));
    let line = |title: &str, values: Vec<String>| format!("| {title} | {} |\n", values.join(" | "));
    let sizes = list(&report["runtimes"]).iter().filter(|entry| entry["name"] != "floor");
    text += &line(
        "binary, KiB",
        sizes.map(|entry| (entry["bytes"].as_u64().unwrap_or(0) / 1024).to_string()).collect(),
    );
    let memory = list(&report["peak_memory_kib"]);
    text += &line(
        "peak memory of any process, KiB",
        memory.iter().map(|entry| entry["largest"].to_string()).collect(),
    );
    text += &line(
        "peak memory of any process in an exec, KiB",
        memory.iter().map(|entry| entry["exec"].to_string()).collect(),
    );
    text += &line("peak memory of init, KiB", memory.iter().map(|entry| entry["init"].to_string()).collect());
    let tight = list(&report["memory_limit_384k"]).iter();
    text += &line(
        "runs under a 384 KiB limit",
        tight.map(|entry| format!("{} of {}", entry["succeeded"], entry["of"])).collect(),
    );
    let cpu = list(&report["stats_cpu_us"]).iter().map(|entry| match entry["cpu_us"].as_f64() {
        Some(micros) => format!("{:.2}", micros / 1000.0),
        None => "has none".to_owned(),
    });
    text += &line("CPU time of `events --stats`, ms", cpu.collect());
    text
}

fn grown(growth: &Value, subject: &str) -> String {
    let (first, last) = (millis(&growth["first_us"]), millis(&growth["last_us"]));
    format!(
        "\n{} containers in a row, each created, limited, started, paused, resumed and deleted by {subject}: the first 50 took \
         {first:.2} ms each, the last 50 {last:.2} ms, {:.2} of that.\n",
        growth["rounds"],
        last / first
    )
}

fn names(report: &Value) -> Vec<String> {
    let runtimes = list(&report["runtimes"]).iter().filter_map(|entry| entry["name"].as_str());
    runtimes.filter(|name| *name != "floor").map(|name| labelled(report, name)).collect()
}

fn labelled(report: &Value, name: &str) -> String {
    let entry = list(&report["runtimes"]).iter().find(|entry| entry["name"] == name);
    let version = entry.and_then(|entry| entry["version"].as_str()).unwrap_or_default();
    if name == "floor" { name.to_owned() } else { format!("{name} {version}") }
}

/// One bar per runtime and scenario; lengths share one scale.
fn svg(report: &Value) -> String {
    const ROW: usize = 22;
    let mut body = String::new();
    let scenarios = list(&report["scenarios"]);
    let rows = scenarios.iter().flat_map(|scenario| list(&scenario["rows"]));
    let longest = rows.map(|row| millis(&row["median_us"])).fold(1.0, f64::max);
    let mut top = 10;
    for scenario in scenarios {
        let title = scenario["title"].as_str().unwrap_or_default();
        body +=
            &format!("<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}, median ms</text>\n", top + 14);
        top += ROW;
        for row in list(&scenario["rows"]) {
            let name = row["runtime"].as_str().unwrap_or_default();
            let median = millis(&row["median_us"]);
            let width = median / longest * 420.0;
            let colour = if report["runtimes"][0]["name"] == name { "#c2410c" } else { "#94a3b8" };
            body += &format!("<text x=\"10\" y=\"{}\">{}</text>\n", top + 14, labelled(report, name));
            body += &format!(
                "<rect x=\"150\" y=\"{top}\" width=\"{width:.1}\" height=\"17\" fill=\"{colour}\"/>\n"
            );
            body += &format!("<text x=\"{:.1}\" y=\"{}\">{median:.1}</text>\n", 156.0 + width, top + 14);
            top += ROW;
        }
        top += ROW / 2;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"{top}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}
