//! The program inside the container: it writes what it sees as one line of JSON.
//!
//! `probe ID [QUESTION]...`: the facts that cost nothing are always in the report, the answers to questions are below
//! `asked`. The words `stay` and `signals` keep it alive. `probe hook FILE NAME` is a hook that adds what it sees and was
//! given to FILE, `probe do VERB PATH` changes something, which is how broken runtimes break. Start at [`main`].

use crate::raw;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Runs as the probe.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hook", file, name, rest @ ..] => hook(file, name, rest),
        ["do", verb, path] => finish(act(verb, path).map(|_| ())),
        questions => program(questions),
    }
}

fn finish(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The container's program.
fn program(questions: &[&str]) -> ExitCode {
    // Before the report, so that no signal sent after it is lost.
    if questions.contains(&"signals") && raw::block_signals().is_err() {
        return ExitCode::FAILURE;
    }
    let report = report(questions);
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{report}").and_then(|()| out.flush());
    if questions.contains(&"signals") {
        return report_signals();
    }
    while questions.contains(&"stay") {
        std::thread::sleep(Duration::from_secs(60));
    }
    finish(written)
}

/// Writes each signal's number to `/report/signals`; SIGTERM is the last.
fn report_signals() -> ExitCode {
    while let Ok(number) = raw::wait_for_signal() {
        let file = fs::OpenOptions::new().append(true).create(true).open("/report/signals");
        let written = file.and_then(|mut file| writeln!(file, "{number}"));
        if number == libc::SIGTERM || written.is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn report(questions: &[&str]) -> Value {
    let mut report = facts();
    let asked: Map<String, Value> =
        questions.iter().filter_map(|question| Some(((*question).to_owned(), answer(question)?))).collect();
    report.insert("asked".to_owned(), Value::Object(asked));
    Value::Object(report)
}

/// What the process sees of itself.
fn facts() -> Map<String, Value> {
    let status = read("/proc/self/status");
    let limits = read("/proc/self/limits");
    let name = rustix::system::uname();
    let facts = json!({
        "args": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
        "cwd": std::env::current_dir().ok(),
        "pid": std::process::id(),
        "uid": rustix::process::getuid().as_raw(),
        "gid": rustix::process::getgid().as_raw(),
        "groups": rustix::process::getgroups().map(|all| all.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>()).ok(),
        "status": fields(&status),
        "limits": limit_table(&limits),
        "hostname": name.nodename().to_string_lossy(),
        "domainname": name.domainname().to_string_lossy(),
        "machine": name.machine().to_string_lossy(),
        "ns": namespaces(),
        "mounts": mounts(&read("/proc/self/mountinfo")),
        "cgroup": read("/proc/self/cgroup"),
        "oom": read("/proc/self/oom_score_adj").trim(),
        "sched": scheduling(&read("/proc/self/stat")),
        "io": raw::io_priority().ok(),
        "policy": memory_policy(),
        "personality": read("/proc/self/personality").trim(),
        "uid_map": read("/proc/self/uid_map").split_whitespace().collect::<Vec<_>>().join(" "),
        "gid_map": read("/proc/self/gid_map").split_whitespace().collect::<Vec<_>>().join(" "),
        "timens": read("/proc/self/timens_offsets"),
        "root": fs::metadata("/").map(|meta| format!("{}:{}", meta.dev(), meta.ino())).ok(),
        "fds": descriptors(),
        "terminal": terminal(),
        "net": names_in("/sys/class/net"),
    });
    match facts {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The lines `Key: value` of a status file.
fn fields(text: &str) -> Value {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), Value::from(value.trim()))).collect::<Map<_, _>>().into()
}

/// `/proc/self/limits`: name, soft and hard limit.
fn limit_table(text: &str) -> Value {
    let rows = text.lines().skip(1).filter_map(|line| {
        let (name, rest) = (line.get(..26)?, line.get(26..)?);
        let mut words = rest.split_whitespace();
        Some((name.trim().to_owned(), json!([words.next()?, words.next()?])))
    });
    rows.collect::<Map<_, _>>().into()
}

fn namespaces() -> Value {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let link = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).ok();
    kinds.into_iter().map(|kind| (kind.to_owned(), json!(link(kind)))).collect::<Map<_, _>>().into()
}

/// The lines of a mountinfo file (proc_pid_mountinfo(5)).
pub(crate) fn mounts(text: &str) -> Value {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (device, root, at, options) = (left.next()?, left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, source, of_filesystem) = (right.next()?, right.next()?, right.next()?);
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    Some(
        json!({"at": at, "root": root, "device": device, "options": list(options), "peers": left.collect::<Vec<_>>(),
        "type": kind, "source": source, "super": list(of_filesystem)}),
    )
}

/// Policy, nice value and real-time priority (proc_pid_stat(5)).
fn scheduling(stat: &str) -> Value {
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |field: usize| words.get(field - 3).and_then(|word| word.parse::<i64>().ok());
    json!({"nice": number(19), "priority": number(40), "policy": number(41)})
}

/// The policy of the first mapping; the process's own where no mapping has another.
fn memory_policy() -> Value {
    read("/proc/self/numa_maps").split_whitespace().nth(1).into()
}

/// Every open descriptor but the one that reads the directory.
fn descriptors() -> Value {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, fs::read_link(entry.path()).ok()?)));
    let kept = open.filter(|(_, target)| !target.ends_with("fd"));
    kept.map(|(number, target)| (number, json!(target))).collect::<Map<_, _>>().into()
}

fn terminal() -> Value {
    match rustix::termios::tcgetwinsize(io::stdin()) {
        Ok(size) => {
            json!({"rows": size.ws_row, "columns": size.ws_col, "name": fs::read_link("/proc/self/fd/0").ok()})
        }
        Err(_) => Value::Null,
    }
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn answer(question: &str) -> Option<Value> {
    let (verb, path) = question.split_once(':')?;
    Some(outcome(act(verb, path)))
}

fn outcome(result: io::Result<Value>) -> Value {
    match result {
        Ok(value) => json!({"ok": value}),
        Err(error) => json!({"errno": error.raw_os_error().unwrap_or_default()}),
    }
}

/// Does what a word says to a path.
fn act(verb: &str, path: &str) -> io::Result<Value> {
    match verb {
        "stat" => stat(Path::new(path)),
        "list" => fs::read_dir(path).map(|_| json!(names_in(path))),
        "read" => fs::read(path).map(|bytes| json!(String::from_utf8_lossy(&bytes))),
        "byte" => first_byte(path),
        "write" => fs::OpenOptions::new().write(true).open(path)?.write(b"x").map(|count| json!(count)),
        "open" => fs::OpenOptions::new().read(true).write(true).open(path).map(|_| json!(true)),
        "create" => fs::write(path, "x").map(|()| json!(true)),
        "append" => fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?
            .write(b"probe\n")
            .map(|count| json!(count)),
        "mkdir" => fs::create_dir(path).map(|()| json!(true)),
        "unlink" => fs::remove_file(path).map(|()| json!(true)),
        "hide" => fs::remove_file(path).and_then(|()| fs::create_dir(path)).map(|()| json!(true)),
        "umount" => {
            Ok(rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).map(|()| json!(true))?)
        }
        "chmod" => fs::set_permissions(path, fs::Permissions::from_mode(0o640)).map(|()| json!(true)),
        "chown" => std::os::unix::fs::chown(path, Some(7), Some(7)).map(|()| json!(true)),
        "run" => run(path),
        "device" => device(path),
        "file" => fs::read_link(path).map(|target| json!(target)),
        "sethostname" => Ok(rustix::system::sethostname(path.as_bytes()).map(|()| json!(true))?),
        "up" => interface_is_up(path),
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

fn first_byte(path: &str) -> io::Result<Value> {
    let mut byte = [0];
    fs::File::open(path)?.read_exact(&mut byte)?;
    Ok(json!(byte))
}

fn run(path: &str) -> io::Result<Value> {
    let output = std::process::Command::new(path).arg("child").output()?;
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

/// Whether the flags of an interface contain IFF_UP.
fn interface_is_up(name: &str) -> io::Result<Value> {
    let text = fs::read_to_string(format!("/sys/class/net/{name}/flags"))?;
    let flags = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or_default();
    match flags & 1 {
        1 => Ok(json!(true)),
        _ => Err(io::Error::from_raw_os_error(libc::ENETDOWN)),
    }
}

/// `PATH=MINOR`: makes a node of that miscellaneous device and opens it for reading.
fn device(words: &str) -> io::Result<Value> {
    let (path, minor) = words.split_once('=').ok_or(io::ErrorKind::InvalidInput)?;
    let device = rustix::fs::makedev(10, minor.parse().map_err(io::Error::other)?);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::from(0o666), device)?;
    fs::File::open(path).map(|_| json!(true))
}

fn stat(path: &Path) -> io::Result<Value> {
    let meta = fs::symlink_metadata(path)?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symlink",
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        kind if kind.is_fifo() => "p",
        kind if kind.is_socket() => "socket",
        _ => "file",
    };
    let device = meta.rdev();
    let numbers = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    Ok(
        json!({"type": kind, "device": numbers, "mode": format!("{:o}", meta.mode() & 0o7777), "uid": meta.uid(),
        "gid": meta.gid(), "size": meta.size(), "link": fs::read_link(path).ok()}),
    )
}

/// A hook: adds to `file` what it sees, and fails or stays if it is told so.
fn hook(file: &str, name: &str, rest: &[&str]) -> ExitCode {
    let mut state = String::new();
    if !rest.contains(&"deaf") {
        drop(io::stdin().read_to_string(&mut state));
    }
    let state: Value = serde_json::from_str(&state).unwrap_or(Value::Null);
    let mut entry = report(rest);
    if let Some(map) = entry.as_object_mut() {
        map.insert("hook".to_owned(), json!(name));
        map.insert("container".to_owned(), container(&state));
        map.insert("state".to_owned(), state);
    }
    let opened = fs::OpenOptions::new().append(true).create(true).open(file);
    let written = opened.and_then(|mut log| log.write_all(format!("{entry}\n").as_bytes()));
    while rest.contains(&"stay") {
        std::thread::sleep(Duration::from_secs(60));
    }
    if rest.contains(&"fail") { ExitCode::from(3) } else { finish(written) }
}

/// The container's process as a hook sees it in /proc: null where there is none.
fn container(state: &Value) -> Value {
    let Some(pid) = state.get("pid").and_then(Value::as_i64).filter(|pid| *pid > 0) else {
        return Value::Null;
    };
    let Ok(root) = fs::metadata(format!("/proc/{pid}/root/")) else { return Value::Null };
    json!({"root": format!("{}:{}", root.dev(), root.ino()), "mnt": fs::read_link(format!("/proc/{pid}/ns/mnt")).ok(),
        "program": fs::read_link(format!("/proc/{pid}/exe")).ok()})
}
