//! The shim beside containerd's own with runc and with crun, at its socket and under `ctr`: one run, in turns.
//!
//! `cargo bench -p containerd-shim-orlop-v2 --bench shim -- [--runs N] [--out DIR]`; `SHIM` names the shim under test. It
//! prints a table and writes `shim.md` and `shim.json`. It is no test of what the shims do: that is `tests/task`.
//! Run it where cgroups are plain v1, or crun refuses to work. Start at `main`; a figure is one function.
#![expect(clippy::disallowed_methods, reason = "a benchmark starts processes as it likes")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measuring program: whatever fails makes the run worthless"
)]

#[path = "../tests/task/harness.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod harness;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, DeleteRequest, Empty, KillRequest, StartRequest,
    WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::{Client, ttrpc};
use serde_json::{Value, json};

use harness::{Shim, World, able, await_true, program};

/// A shim with a runtime.
struct Subject {
    name: String,
    shim: PathBuf,
    /// The runtime's program; none for a shim that needs none.
    runtime: Option<PathBuf>,
}

/// One figure of every subject, or of the first alone: behind containerd's shim each of 64 execs at once takes a second.
struct Row {
    title: String,
    values: Vec<f64>,
    digits: usize,
}

/// Runs of one subject in a row.
const TURN: usize = 5;

fn main() {
    if !able() {
        println!("needs root and a static busybox");
        return;
    }
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let runs = value("--runs").map_or(60, |text| text.parse().expect("a number"));
    let subjects = subjects();
    let mut rows = under_ctr(&subjects, runs);
    rows.extend(at_the_socket(&subjects, runs));
    rows.extend(memory(&subjects));
    rows.push(size(&subjects));
    let text = markdown(&subjects, &rows, runs);
    print!("{text}");
    if let Some(out) = value("--out").map(Path::new) {
        fs::create_dir_all(out).expect("results directory");
        fs::write(out.join("shim.md"), &text).expect("shim.md");
        fs::write(out.join("shim.json"), format!("{:#}\n", report(&subjects, &rows))).expect("shim.json");
    }
}

/// The shim under test first, then containerd's with the runtimes that are installed.
fn subjects() -> Vec<Subject> {
    let mut subjects = vec![Subject { name: "orlop".to_owned(), shim: program(), runtime: None }];
    let Some(shim) = installed("containerd-shim-runc-v2") else { return subjects };
    for name in ["runc", "crun"] {
        let runtime = installed(name);
        let name = format!("containerd-shim-runc-v2 + {name}");
        subjects.extend(runtime.map(|path| Subject { name, shim: shim.clone(), runtime: Some(path) }));
    }
    subjects
}

fn installed(name: &str) -> Option<PathBuf> {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file())
}

/// The medians of all subjects, who take turns in an order that changes. The first round warms up and does not count.
fn medians(title: &str, count: usize, runs: usize, mut run: impl FnMut(usize, usize) -> Duration) -> Row {
    let mut times = vec![Vec::new(); count];
    for round in 0..=runs.div_ceil(TURN) {
        for index in (0..count).map(|index| (index + round) % count) {
            let took = (0..TURN).map(|turn| run(index, round * TURN + turn).as_secs_f64() * 1000.0);
            let took: Vec<f64> = took.collect();
            if round > 0 {
                times[index].extend(took);
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Row { title: title.to_owned(), values: times.iter_mut().map(median).collect(), digits: 2 }
}

fn timed(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("start");
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

/// A containerd with directories of its own, and the root file system of a [`World`].
struct Containerd {
    world: World,
    daemon: Child,
}

impl Containerd {
    fn new() -> Option<Self> {
        let (Some(daemon), Some(_)) = (installed("containerd"), installed("ctr")) else { return None };
        let world = World::new();
        let place = world.dir.display();
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = \"{place}/c.sock\"\n[ttrpc]\n  address = \"{place}/c.sock.ttrpc\"\n"
        );
        fs::write(world.dir.join("config.toml"), config).unwrap();
        let mut command = Command::new(daemon);
        command.arg("-c").arg(world.dir.join("config.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let containerd = Self { daemon: command.spawn().unwrap(), world };
        await_true("containerd answers", || containerd.ctr(&["version"]).output().unwrap().status.success());
        Some(containerd)
    }

    fn ctr(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.world.dir.join("c.sock")).args(["-n", &self.world.namespace]).args(words);
        command
    }

    fn run(&self, subject: &Subject, options: &[&str], id: &str, program: &[&str]) -> Command {
        let mut command = self.ctr(&["run", "--rootfs"]);
        match &subject.runtime {
            None => command.arg("--runtime").arg(&subject.shim),
            Some(path) => command.args(["--runtime", "io.containerd.runc.v2", "--runc-binary"]).arg(path),
        };
        command.args(options).arg(self.world.dir.join("rootfs")).arg(id).args(program);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What a person at `ctr` waits for.
fn under_ctr(subjects: &[Subject], runs: usize) -> Vec<Row> {
    let Some(containerd) = Containerd::new() else { return Vec::new() };
    let run = medians("`ctr run --rm` of `/bin/true`, ms", subjects.len(), runs, |index, number| {
        let id = format!("r{index}-{number}");
        timed(&mut containerd.run(&subjects[index], &["--rm"], &id, &["/bin/true"]))
    });
    for (index, subject) in subjects.iter().enumerate() {
        let program = ["/bin/sleep", "1000"];
        timed(&mut containerd.run(subject, &["--detach"], &format!("e{index}"), &program));
    }
    let exec = medians("`ctr task exec` of `/bin/true`, ms", subjects.len(), runs, |index, number| {
        let exec = format!("x{number}");
        timed(&mut containerd.ctr(&["task", "exec", "--exec-id", &exec, &format!("e{index}"), "/bin/true"]))
    });
    for index in 0..subjects.len() {
        timed(&mut containerd.ctr(&["task", "rm", "--force", &format!("e{index}")]));
        timed(&mut containerd.ctr(&["container", "rm", &format!("e{index}")]));
    }
    vec![run, exec]
}

/// A client of version 2 of the Task API, which every shim speaks.
struct Task {
    client: Client,
    address: String,
}

impl Task {
    fn call<A: Message, B: Message>(&self, method: &str, asked: &A) -> B {
        let service = "containerd.task.v2.Task".to_owned();
        let payload = asked.write_to_bytes().unwrap();
        let method = method.to_owned();
        let request = ttrpc::proto::Request { service, method, payload, ..ttrpc::proto::Request::default() };
        B::parse_from_bytes(&self.client.request(request).unwrap().payload).unwrap()
    }

    /// A call whose answer says nothing that is needed.
    fn order(&self, method: &str, asked: &impl Message) {
        let _: Empty = self.call(method, asked);
    }

    fn wait(&self, id: &str, exec: &str) -> u32 {
        let asked = WaitRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..WaitRequest::default() };
        self.call::<_, WaitResponse>("Wait", &asked).exit_status
    }

    fn start(&self, id: &str, exec: &str) {
        let asked = StartRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..StartRequest::default() };
        self.order("Start", &asked);
    }

    fn delete(&self, id: &str, exec: &str) {
        let asked = DeleteRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..DeleteRequest::default() };
        self.order("Delete", &asked);
    }

    /// Waits for the answer or for the end of the shim, whichever comes first: not every shim answers.
    fn shutdown(&self) {
        let mut stream = UnixStream::connect(self.address.trim_start_matches("unix://")).unwrap();
        stream.write_all(&harness::frame("containerd.task.v2.Task", "Shutdown", Vec::new())).unwrap();
        let _ = stream.read(&mut [0]);
    }
}

/// A shim with one container that runs.
struct Stage {
    world: World,
    task: Task,
    pid: u32,
    _log: File,
}

/// The fifo for a shim's messages, which containerd makes and reads; nobody reads this one.
fn log(bundle: &Path) -> File {
    let (path, kind, mode) = (bundle.join("log"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

impl Stage {
    fn new(subject: &Subject) -> Self {
        let world = World::new();
        let bundle = world.bundle("c1", "exec sleep 1000");
        let log = log(&bundle);
        let (_, task) = started(&world, subject, &bundle, "c1");
        let pid = task.call::<_, ConnectResponse>("Connect", &ConnectRequest::new()).shim_pid;
        let stage = Self { world, task, pid, _log: log };
        stage.create(subject, "c1");
        stage
    }

    /// Creates and starts a container whose bundle is there.
    fn create(&self, subject: &Subject, id: &str) {
        self.task.order("Create", &request(&self.world, subject, id));
        self.task.start(id, "");
    }

    fn exec(&self, id: &str, exec: &str) {
        self.task.order("Exec", &Shim::exec_request(id, exec, "exit 0"));
        self.task.start(id, exec);
        assert_eq!(self.task.wait(id, exec), 0);
        self.task.delete(id, exec);
    }

    fn end(self, containers: &[&str]) {
        for id in containers {
            let id = (*id).to_owned();
            self.task.order("Kill", &KillRequest { id: id.clone(), signal: 9, ..KillRequest::default() });
            self.task.wait(&id, "");
            self.task.delete(&id, "");
        }
        self.task.shutdown();
    }
}

/// Runs `start`; the value is the time from the start of the program to the end of its output, as containerd waits for
/// it, and a client of the shim.
fn started(world: &World, subject: &Subject, bundle: &Path, id: &str) -> (Duration, Task) {
    let mut command = world.command_of(&subject.shim, bundle, id);
    command.arg("start").stdin(Stdio::null());
    let begun = Instant::now();
    let output = command.output().unwrap();
    let took = begun.elapsed();
    let address = String::from_utf8(output.stdout).unwrap();
    (took, Task { client: Client::connect(&address).unwrap(), address })
}

fn request(world: &World, subject: &Subject, id: &str) -> CreateTaskRequest {
    let runtime = subject.runtime.as_ref().map(|path| path.display().to_string());
    let options = Options {
        binary_name: runtime.unwrap_or_default(),
        root: world.dir.join("states").display().to_string(),
        ..Options::default()
    };
    let value = options.write_to_bytes().unwrap();
    let mut request = Shim::request(world, id);
    request.options =
        Some(Any { type_url: "containerd.runc.v1.Options".to_owned(), value, ..Any::default() }).into();
    request
}

/// What a client that speaks to the shim itself waits for.
fn at_the_socket(subjects: &[Subject], runs: usize) -> Vec<Row> {
    let stages: Vec<Stage> = subjects.iter().map(Stage::new).collect();
    let count = subjects.len();
    let rows = vec![
        medians("`start`, ms", count, runs, |index, number| {
            start(&stages[index].world, &subjects[index], number)
        }),
        medians("create, start, wait and delete of a container, ms", count, runs, |index, number| {
            live(&stages[index], &subjects[index], number)
        }),
        medians("exec, start, wait and delete of an exec, ms", count, runs, |index, number| {
            let begun = Instant::now();
            stages[index].exec("c1", &format!("e{number}"));
            begun.elapsed()
        }),
        medians("64 of these in parallel, ms", 1, TURN, |index, number| parallel(&stages[index], number)),
    ];
    stages.into_iter().for_each(|stage| stage.end(&["c1"]));
    rows
}

fn start(world: &World, subject: &Subject, number: usize) -> Duration {
    let id = format!("s{number}");
    let bundle = world.bundle(&id, "exit 0");
    let _log = log(&bundle);
    let (took, task) = started(world, subject, &bundle, &id);
    task.shutdown();
    fs::remove_dir_all(bundle).unwrap();
    took
}

fn live(stage: &Stage, subject: &Subject, number: usize) -> Duration {
    let id = format!("l{number}");
    let bundle = stage.world.bundle(&id, "exit 0");
    let begun = Instant::now();
    stage.create(subject, &id);
    assert_eq!(stage.task.wait(&id, ""), 0);
    stage.task.delete(&id, "");
    let took = begun.elapsed();
    fs::remove_dir_all(bundle).unwrap();
    took
}

fn parallel(stage: &Stage, number: usize) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for exec in 0..64 {
            scope.spawn(move || stage.exec("c1", &format!("p{number}-{exec}")));
        }
    });
    begun.elapsed()
}

/// The memory of a shim with three containers, each of which has run an exec, while two more such shims run.
fn memory(subjects: &[Subject]) -> Vec<Row> {
    let mut columns = Vec::new();
    for subject in subjects {
        let pods: Vec<Stage> = (0..3).map(|_| Stage::new(subject)).collect();
        for pod in &pods {
            for id in ["c2", "c3"] {
                pod.world.bundle(id, "exec sleep 1000");
                pod.create(subject, id);
            }
            ["c1", "c2", "c3"].iter().for_each(|id| pod.exec(id, "e1"));
        }
        std::thread::sleep(Duration::from_secs(1));
        let seen: Vec<[f64; 4]> = pods.iter().map(|pod| used(pod.pid)).collect();
        let mean = |at: usize| seen.iter().map(|figures| figures[at]).sum::<f64>() / 3.0;
        columns.push([mean(0), mean(1), mean(2), mean(3)]);
        pods.into_iter().for_each(|pod| pod.end(&["c1", "c2", "c3"]));
    }
    let titles = ["private memory (USS), KiB", "PSS, KiB", "RSS, KiB", "threads"];
    let row = |(at, title): (usize, &str)| {
        let values = columns.iter().map(|column| column[at]).collect();
        Row { title: format!("pod of three containers, of three such pods: {title}"), values, digits: 0 }
    };
    titles.into_iter().enumerate().map(row).collect()
}

fn used(pid: u32) -> [f64; 4] {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    let private = of(&maps, "Private_Clean:") + of(&maps, "Private_Dirty:");
    [private, of(&maps, "Pss:"), of(&maps, "Rss:"), of(&status, "Threads:")]
}

fn size(subjects: &[Subject]) -> Row {
    let kib = |path: &PathBuf| fs::metadata(path).unwrap().len() as f64 / 1024.0;
    let values =
        subjects.iter().map(|subject| kib(&subject.shim) + subject.runtime.as_ref().map_or(0.0, kib));
    Row {
        title: "the shim's file with that of the runtime, KiB".to_owned(),
        values: values.collect(),
        digits: 0,
    }
}

/// The table. The ratios are the first subject's figure over the others'.
fn markdown(subjects: &[Subject], rows: &[Row], runs: usize) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let mut text = format!("| medians of {runs} | {} |", names.join(" | "));
    for name in names.iter().skip(1) {
        text += &format!(" {} / {name} |", names[0]);
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(2 * names.len() - 1));
    for row in rows {
        text += &format!("| {} |", row.title);
        let value = |at: usize| row.values.get(at).copied();
        let cell =
            |figure: Option<f64>, digits| figure.map_or("–".to_owned(), |it| format!("{it:.digits$}"));
        for at in 0..names.len() {
            text += &format!(" {} |", cell(value(at), row.digits));
        }
        for at in 1..names.len() {
            text += &format!(" {} |", cell(value(at).map(|other| row.values[0] / other), 2));
        }
        text += "\n";
    }
    text
}

fn report(subjects: &[Subject], rows: &[Row]) -> Value {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let rows: Vec<Value> = rows.iter().map(|row| json!({"title": row.title, "values": row.values})).collect();
    json!({"subjects": names, "rows": rows})
}
