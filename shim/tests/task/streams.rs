//! What a container reads and prints.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::CloseIORequest;
use rustix::fs::{FileType, Mode, OFlags};

use crate::harness::{Shim, World, able, await_true, ctx};

fn fifo(world: &World, name: &str) -> PathBuf {
    let path = world.dir.join(name);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    path
}

/// Reads a fifo to its end in a thread of its own.
fn reader(path: &Path) -> std::thread::JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn input_and_both_outputs_go_through_fifos() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "cat; echo done >&2; exit 3"), "c1");
    let (stdin, stdout, stderr) = (fifo(&world, "in"), fifo(&world, "out"), fifo(&world, "err"));
    let (out, err) = (reader(&stdout), reader(&stderr));
    let mut request = Shim::request(&world, "c1");
    (request.stdin, request.stdout, request.stderr) = (text(&stdin), text(&stdout), text(&stderr));
    shim.task.create(ctx(), &request).unwrap();
    shim.start("c1", "").unwrap();
    let data: Vec<u8> = (0..2_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut writer = File::options().write(true).open(&stdin).unwrap();
    writer.write_all(&data).unwrap();
    drop(writer);
    // The shim's own writer keeps the input open until it is told to close it.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(shim.state("c1", "").unwrap().exit_status, 0);
    shim.task
        .close_io(ctx(), &CloseIORequest { id: "c1".to_owned(), stdin: true, ..CloseIORequest::default() })
        .unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 3);
    shim.delete("c1", "").unwrap();
    assert_eq!(out.join().unwrap(), data);
    assert_eq!(err.join().unwrap(), b"done\n");
    shim.shutdown();
}

#[test]
fn nothing_of_a_large_output_is_lost_with_a_terminal() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 10000");
    shim.start("c1", "").unwrap();
    for number in 0..10 {
        let id = format!("e{number}");
        let stdout = fifo(&world, &id);
        let out = reader(&stdout);
        let mut request = Shim::exec_request(
            "c1",
            &id,
            "stty raw; dd if=/dev/zero bs=1M count=10 2>/dev/null | tr '\\000' x",
        );
        (request.terminal, request.stdout) = (true, text(&stdout));
        shim.task.exec(ctx(), &request).unwrap();
        shim.start("c1", &id).unwrap();
        assert_eq!(shim.wait("c1", &id).unwrap().exit_status, 0);
        shim.delete("c1", &id).unwrap();
        let out = out.join().unwrap();
        assert_eq!(out.len(), 10 << 20);
        assert!(out.iter().all(|byte| *byte == b'x'));
    }
    shim.end(&world, "c1");
}

#[test]
fn output_goes_to_files_and_their_directories_are_made() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "echo out; echo err >&2"), "c1");
    let file = world.dir.join("logs/deep/log");
    let mut request = Shim::request(&world, "c1");
    request.stdout = format!("file://{}", file.display());
    request.stderr = request.stdout.clone();
    shim.task.create(ctx(), &request).unwrap();
    shim.start("c1", "").unwrap();
    shim.wait("c1", "").unwrap();
    shim.delete("c1", "").unwrap();
    let mut lines: Vec<_> = fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    shim.shutdown();
}

#[test]
fn a_binary_gets_the_output() {
    if !able() {
        return;
    }
    let world = World::new();
    let (logger, log) = (world.dir.join("logger"), world.dir.join("log"));
    let script = format!(
        "#!/bin/sh\nexec >{} 2>&1\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"\nexec 5>&-\ncat <&3\ncat <&4\n",
        log.display()
    );
    fs::write(&logger, script).unwrap();
    fs::set_permissions(&logger, fs::Permissions::from_mode(0o755)).unwrap();
    let shim = world.shim(&world.bundle("c1", "echo out; echo err >&2"), "c1");
    let mut request = Shim::request(&world, "c1");
    request.stdout = format!("binary://{}?a=b", logger.display());
    request.stderr = request.stdout.clone();
    shim.task.create(ctx(), &request).unwrap();
    shim.start("c1", "").unwrap();
    shim.wait("c1", "").unwrap();
    await_true("the log is complete", || {
        let expected = format!("c1 {} a b\nout\nerr\n", world.namespace);
        fs::read_to_string(&log).unwrap_or_default() == expected
    });
    shim.end(&world, "c1");
}

#[test]
fn a_grandchild_that_holds_the_output_does_not_hold_the_removal_for_ever() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    let stdout = fifo(&world, "out");
    let out = reader(&stdout);
    let mut request = Shim::exec_request("c1", "e1", "echo said; sleep 500 & exit 0");
    request.stdout = text(&stdout);
    shim.task.exec(ctx(), &request).unwrap();
    shim.start("c1", "e1").unwrap();
    shim.wait("c1", "e1").unwrap();
    let before = Instant::now();
    shim.delete("c1", "e1").unwrap();
    let took = before.elapsed();
    assert!(took > Duration::from_secs(5), "{took:?}");
    assert_eq!(out.join().unwrap(), b"said\n");
    shim.end(&world, "c1");
}

#[test]
fn a_reader_that_comes_back_gets_what_it_missed() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "while read line; do echo $line; done"), "c1");
    let (stdin, stdout) = (fifo(&world, "in"), fifo(&world, "out"));
    let first = rustix::fs::open(&stdout, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let mut request = Shim::request(&world, "c1");
    (request.stdin, request.stdout) = (text(&stdin), text(&stdout));
    shim.task.create(ctx(), &request).unwrap();
    shim.start("c1", "").unwrap();
    drop(first);
    let mut writer = File::options().write(true).open(&stdin).unwrap();
    writer.write_all(b"one\ntwo\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let mut bytes = [0; 8];
    File::open(&stdout).unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"one\ntwo\n");
    shim.end(&world, "c1");
}

#[test]
fn a_reader_that_comes_only_when_the_process_is_removed_gets_everything() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "echo said; echo wrong >&2"), "c1");
    let (stdout, stderr) = (fifo(&world, "out"), fifo(&world, "err"));
    let mut request = Shim::request(&world, "c1");
    (request.stdout, request.stderr) = (text(&stdout), text(&stderr));
    shim.task.create(ctx(), &request).unwrap();
    shim.start("c1", "").unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 0);
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| shim.delete("c1", "").unwrap());
        std::thread::sleep(Duration::from_millis(300));
        let (out, err) = (reader(&stdout), reader(&stderr));
        assert_eq!(removal.join().unwrap().exit_status, 0);
        assert_eq!((out.join().unwrap(), err.join().unwrap()), (b"said\n".to_vec(), b"wrong\n".to_vec()));
    });
    shim.shutdown();
}
