//! The program that tests put into a container: prints what it sees as one JSON object.
//!
//! It is not a test and judges nothing. It is started without Rust's own start-up code, because that opens
//! descriptors 0-2 where they are closed and changes signal dispositions: what it prints is what the runtime left.
//! Start at `report`; every key of the object is one line there. Arguments ask for more:
//! `stat:PATH`, `read:PATH`, `write:PATH`, `mkdir:PATH`, `list:PATH` and `sleep:SECONDS` (after printing);
//! `call:NUMBER:ARG...`, `int80:...` and `x32:...` make a system call by one of x86-64's three entries, `traced:NUMBER`
//! makes one in a child and answers it as its tracer.
#![no_main]
#![allow(unsafe_code, reason = "asks the kernel for what no file of /proc shows")]

use serde_json::{Map, Value, json};
use std::ffi::{CStr, c_char, c_int, c_long};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::{fs, io};

/// The C entry point: the arguments come from the kernel as they are.
#[unsafe(no_mangle)]
pub extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let args = arguments(argc, argv);
    let text = format!("{}\n", report(&args));
    let printed = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    if let Some(seconds) = args.iter().find_map(|arg| arg.strip_prefix("sleep:")) {
        std::thread::sleep(std::time::Duration::from_secs(seconds.parse().unwrap_or(60)));
    }
    c_int::from(printed.is_err())
}

fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        .map(|index| {
            let place = argv.wrapping_add(index);
            // SAFETY: the kernel passes `argc` pointers at `argv`; `index` is below that.
            let pointer = unsafe { *place };
            // SAFETY: each pointer names a string that ends with NUL and lives as long as the process.
            let string = unsafe { CStr::from_ptr(pointer) };
            string.to_string_lossy().into_owned()
        })
        .collect()
}

fn report(args: &[String]) -> Value {
    json!({
        "args": args,
        "pid": std::process::id(),
        "ppid": std::os::unix::process::parent_id(),
        "cwd": link("/proc/self/cwd"),
        "getcwd": std::env::current_dir().ok().map(|path| path.display().to_string()),
        "exe": link("/proc/self/exe"),
        "env": environment(),
        "status": status(),
        "fds": descriptors(),
        "namespaces": namespaces(),
        "timens_offsets": text("/proc/self/timens_offsets"),
        "uid_map": text("/proc/self/uid_map"),
        "gid_map": text("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "mounts": mounts(),
        "limits": limits(),
        "oom_score_adj": text("/proc/self/oom_score_adj"),
        "scheduler": scheduler(),
        "ioprio": number(libc::SYS_ioprio_get, [1, 0, 0]),
        "personality": text("/proc/self/personality"),
        "memory_policy": memory_policy(),
        "hostname": text("/proc/sys/kernel/hostname"),
        "domainname": text("/proc/sys/kernel/domainname"),
        "cgroup": text("/proc/self/cgroup"),
        "devices": directory("/dev"),
        "keyring": keyring(),
        "session": number(libc::SYS_getsid, [0, 0, 0]),
        "process_group": number(libc::SYS_getpgid, [0, 0, 0]),
        "dumpable": number(libc::SYS_prctl, [3, 0, 0]),
        "securebits": number(libc::SYS_prctl, [27, 0, 0]),
        "parent_death_signal": parent_death_signal(),
        "attr_current": text("/proc/self/attr/current"),
        "interfaces": text("/proc/self/net/dev"),
        "tty": tty(),
        "asked": asked(args),
    })
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end_matches(['\n', '\0']).to_owned())
}

fn link(path: impl AsRef<Path>) -> Option<String> {
    fs::read_link(path).ok().map(|target| String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned())
}

/// The environment as the kernel holds it: order and duplicates included.
fn environment() -> Option<Vec<String>> {
    let bytes = fs::read("/proc/self/environ").ok()?;
    let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    Some(entries.map(|entry| String::from_utf8_lossy(entry).into_owned()).collect())
}

/// `/proc/self/status` by key: ids, groups, capability sets, NoNewPrivs, Seccomp, Umask, signal masks, CPUs, NSpid.
fn status() -> Map<String, Value> {
    let text = text("/proc/self/status").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), json!(value.trim()))).collect()
}

/// Every open descriptor with its target, type, owner and whether it closes on exec; the one that lists is left out.
fn descriptors() -> Map<String, Value> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Map::new() };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let mut found = Map::new();
    for name in names {
        let path = Path::new("/proc/self/fd").join(&name);
        let (Some(target), Ok(meta)) = (link(&path), fs::metadata(&path)) else { continue };
        let info = text(&format!("/proc/self/fdinfo/{}", name.to_string_lossy()));
        let facts = json!({"target": target, "dev": meta.dev(), "ino": meta.ino(), "rdev": device(meta.rdev()),
            "uid": meta.uid(), "gid": meta.gid(), "mode": meta.mode(), "info": info});
        found.insert(name.to_string_lossy().into_owned(), facts);
    }
    found
}

fn namespaces() -> Map<String, Value> {
    let kinds = [
        "cgroup",
        "ipc",
        "mnt",
        "net",
        "pid",
        "pid_for_children",
        "time",
        "time_for_children",
        "user",
        "uts",
    ];
    kinds.iter().map(|kind| ((*kind).to_owned(), json!(link(format!("/proc/self/ns/{kind}"))))).collect()
}

/// One object per line of mountinfo, in the kernel's order.
fn mounts() -> Vec<Value> {
    let text = text("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut right = right.split(' ');
    let (id, parent, device) = (left.next()?, left.next()?, left.next()?);
    let (root, target, options) = (left.next()?, left.next()?, left.next()?);
    let propagation: Vec<&str> = left.collect();
    let (kind, source, data) = (right.next()?, right.next()?, right.next()?);
    Some(
        json!({"id": id, "parent": parent, "device": device, "root": root, "target": target, "options": options,
        "propagation": propagation, "type": kind, "source": source, "data": data}),
    )
}

/// `/proc/self/limits`: name to soft and hard value.
fn limits() -> Map<String, Value> {
    let text = text("/proc/self/limits").unwrap_or_default();
    let rows = text.lines().skip(1).filter_map(|line| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut values = rest.split_whitespace();
        Some((name.trim().to_owned(), json!({"soft": values.next()?, "hard": values.next()?})))
    });
    rows.collect()
}

/// A system call that takes up to three numbers and returns one; the negated errno where it fails.
fn number(call: c_long, args: [c_long; 3]) -> i64 {
    let [first, second, third] = args;
    // SAFETY: the calls named above take integers only and write no memory of ours.
    let result = unsafe { libc::syscall(call, first, second, third, 0, 0) };
    if result == -1 { -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { result }
}

fn scheduler() -> Value {
    let mut attributes = [0u64; 7];
    // SAFETY: sched_getattr(2) writes at most the given 56 bytes at `attributes`, which is that large.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), 56, 0) };
    let [head, flags, nice_priority, runtime, deadline, period, clamp] = attributes;
    json!({"errno": i32::from(result != 0), "policy": head >> 32, "flags": flags,
        "nice": (nice_priority & 0xffff_ffff) as u32 as i32, "priority": nice_priority >> 32,
        "runtime": runtime, "deadline": deadline, "period": period, "clamp": clamp})
}

fn memory_policy() -> Value {
    let mut mode: c_int = 0;
    let mut nodes = [0u64; 16];
    // SAFETY: get_mempolicy(2) writes one int at `mode` and 1024 bits at `nodes`, which are that large.
    let result =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), 1024, 0, 0) };
    let [first, ..] = nodes;
    json!({"result": result, "mode": mode, "nodes": first})
}

fn parent_death_signal() -> c_int {
    let mut signal: c_int = 0;
    // SAFETY: PR_GET_PDEATHSIG writes one int at `signal`.
    let result = unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    if result == 0 { signal } else { -1 }
}

/// The session keyring: its serial number, description and the numbers of the keys that it holds.
fn keyring() -> Value {
    const DESCRIBE: c_long = 6;
    const READ: c_long = 11;
    const SESSION: c_long = -3;
    let serial = number(libc::SYS_keyctl, [0, SESSION, 0]);
    let mut buffer = [0u8; 256];
    // SAFETY: KEYCTL_DESCRIBE writes at most 256 bytes at `buffer`, which is that large.
    let length = unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, SESSION, buffer.as_mut_ptr(), 256, 0) };
    let described = CStr::from_bytes_until_nul(&buffer).map(|text| text.to_string_lossy().into_owned()).ok();
    let mut keys = [0i32; 64];
    // SAFETY: KEYCTL_READ writes at most 256 bytes at `keys`, which is that large.
    let bytes = unsafe { libc::syscall(libc::SYS_keyctl, READ, SESSION, keys.as_mut_ptr(), 256, 0) };
    let count = usize::try_from(bytes).unwrap_or(0) / 4;
    let held: Vec<i32> = keys.into_iter().take(count).collect();
    json!({"serial": serial, "length": length, "description": described, "keys": held})
}

/// The controlling terminal: whether /dev/tty opens, and the size of the terminal on descriptor 0.
fn tty() -> Value {
    let opens = fs::File::open("/dev/tty").is_ok();
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize at `size`.
    let result = unsafe { libc::ioctl(0, libc::TIOCGWINSZ as _, &raw mut size) };
    json!({"controlling": opens, "is_terminal": result == 0, "rows": size.ws_row, "columns": size.ws_col})
}

fn device(rdev: u64) -> String {
    format!("{}:{}", libc::major(rdev), libc::minor(rdev))
}

fn directory(path: &str) -> Map<String, Value> {
    let Ok(entries) = fs::read_dir(path) else { return Map::new() };
    let entries = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(|name| (name.clone(), file(&Path::new(path).join(name)))).collect()
}

/// What lstat(2) says of a path, or its errno.
fn file(path: &Path) -> Value {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => return json!({"errno": error.raw_os_error()}),
    };
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symlink",
        kind if kind.is_char_device() => "char",
        kind if kind.is_block_device() => "block",
        kind if kind.is_fifo() => "fifo",
        kind if kind.is_socket() => "socket",
        _ => "file",
    };
    json!({"type": kind, "mode": format!("{:o}", meta.mode() & 0o7777), "uid": meta.uid(), "gid": meta.gid(),
        "rdev": device(meta.rdev()), "size": meta.size(), "dev": meta.dev(), "ino": meta.ino(), "link": link(path)})
}

fn asked(args: &[String]) -> Map<String, Value> {
    args.iter().skip(1).filter_map(|arg| Some((arg.clone(), answer(arg)?))).collect()
}

/// What port 80 of a host, by its name, answers to a request for its first page.
fn page(host: &str) -> io::Result<String> {
    let mut stream = std::net::TcpStream::connect((host, 80))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn answer(arg: &str) -> Option<Value> {
    let (verb, path) = arg.split_once(':')?;
    match verb {
        "call" => Some(json!(call(words(path), 0))),
        "x32" => Some(json!(call(words(path), 0x4000_0000))),
        "int80" => Some(json!(int80(words(path)))),
        "traced" => Some(traced(words(path))),
        "stat" => Some(file(Path::new(path))),
        "list" => Some(Value::Object(directory(path))),
        "read" => Some(outcome(fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))),
        "write" => Some(outcome(fs::OpenOptions::new().write(true).open(path).map(|_| "opened".to_owned()))),
        "fetch" => Some(outcome(page(path))),
        "mkdir" => Some(outcome(fs::create_dir(path).map(|()| "made".to_owned()))),
        _ => None,
    }
}

fn outcome(result: io::Result<String>) -> Value {
    match result {
        Ok(text) => json!({"ok": text}),
        Err(error) => json!({"errno": error.raw_os_error(), "missing": error.kind() == ErrorKind::NotFound}),
    }
}

/// Numbers in decimal or, after `0x`, in hexadecimal; absent ones are 0.
fn words(text: &str) -> [c_long; 4] {
    let mut all = [0; 4];
    for (place, word) in all.iter_mut().zip(text.split(':')) {
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(u64::cast_signed),
            None => word.parse().ok(),
        };
        *place = parsed.unwrap_or(0);
    }
    all
}

/// A system call by the usual entry; the bits of `abi` are added to its number.
fn call([nr, first, second, third]: [c_long; 4], abi: c_long) -> i64 {
    number(nr | abi, [first, second, third])
}

/// A system call by the entry of 32-bit programs, which a 64-bit one can use as well.
#[cfg(target_arch = "x86_64")]
fn int80([nr, first, second, third]: [c_long; 4]) -> i64 {
    let mut result = nr;
    // SAFETY: the calls that the tests ask for take integers only. rbx is put back; the kernel may clear r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}", "int 0x80", "xchg rbx, {first}",
            first = inout(reg) first => _, inout("rax") result, in("rcx") second, in("rdx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as i32)
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: [c_long; 4]) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// Makes a call in a child whose tracer is this process. For a call that a filter gives to the tracer, the tracer puts 77
/// in the place of its result; `message` is the number that the filter gave.
fn traced([nr, ..]: [c_long; 4]) -> Value {
    const RESULT: c_long = 77;
    // SAFETY: the child of this single-threaded program makes system calls only.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: numbers and null pointers only.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        let result = number(nr, [0; 3]);
        // SAFETY: takes a number and does not return. The low bits of a result are enough to tell it.
        unsafe { libc::_exit((result & 0xff) as c_int) }
    }
    let trace = |request, data: c_long| {
        // SAFETY: requests that take numbers only, of a child that is stopped.
        unsafe { libc::ptrace(request, child, 0, data) }
    };
    stopped(child);
    trace(libc::PTRACE_SETOPTIONS, libc::PTRACE_O_TRACESECCOMP.into());
    trace(libc::PTRACE_CONT, 0);
    let mut status = stopped(child);
    let event = status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_SECCOMP << 8;
    let mut message: libc::c_ulong = 0;
    if event {
        // SAFETY: the kernel writes one word at `message`.
        unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, child, 0, &raw mut message) };
        answer_for(child, RESULT);
        trace(libc::PTRACE_CONT, 0);
        status = stopped(child);
    }
    json!({"event": event, "message": message, "result": libc::WEXITSTATUS(status)})
}

fn stopped(child: c_int) -> c_int {
    let mut status = 0;
    // SAFETY: the kernel writes one int at `status`.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    status
}

/// The call is skipped and returns `result`.
#[cfg(target_arch = "x86_64")]
fn answer_for(child: c_int, result: c_long) {
    for (register, value) in [(libc::ORIG_RAX, -1), (libc::RAX, result)] {
        // SAFETY: the registers' places are the kernel's, and the child is stopped.
        unsafe { libc::ptrace(libc::PTRACE_POKEUSER, child, 8 * register as c_long, value) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn answer_for(_: c_int, _: c_long) {}
