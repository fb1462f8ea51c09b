//! Other runtimes behind the shim: `BinaryName`. And that without one none is executed.

use containerd_shim_protos::api::{
    PauseRequest, PidsRequest, ResumeRequest, StatsRequest, Status, UpdateTaskRequest,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;

use crate::harness::{Shim, World, able, await_true, controls, cpu_and_pids_limit, ctx};

/// What crun says where v1 and v2 are both mounted.
const HYBRID: &str = "hybrid mode not supported";

/// Opens a fifo, so that its reader meets its end.
fn writer(path: &str) -> std::fs::File {
    std::fs::File::options().write(true).open(path).unwrap()
}

fn installed(name: &str) -> Option<String> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
    places.iter().map(|place| format!("{place}/{name}")).find(|path| std::path::Path::new(path).exists())
}

fn request(world: &World, id: &str, binary: &str) -> containerd_shim_protos::api::CreateTaskRequest {
    let options = Options {
        binary_name: binary.to_owned(),
        root: world.dir.join("states").display().to_string(),
        ..Options::default()
    };
    let value = options.write_to_bytes().unwrap();
    let mut request = Shim::request(world, id);
    request.options =
        Some(Any { type_url: "containerd.runc.v1.Options".to_owned(), value, ..Any::default() }).into();
    request
}

#[test]
fn runc_and_crun_work_behind_it() {
    if !able() {
        return;
    }
    for binary in ["runc", "crun"].into_iter().filter_map(installed) {
        let world = World::new();
        let shim = world.shim(&world.bundle("c1", "sleep 100"), "c1");
        let created = shim.task.create(ctx(), &request(&world, "c1", &binary));
        if created.as_ref().is_err_and(|error| error.to_string().contains(HYBRID)) {
            shim.shutdown();
            continue;
        }
        let pid = created.unwrap().pid;
        assert_eq!(shim.start("c1", "").unwrap(), pid, "{binary}");
        shim.exec("c1", "e1", "exit 5").unwrap();
        let exec = shim.start("c1", "e1").unwrap();
        assert_eq!(shim.wait("c1", "e1").unwrap().exit_status, 5, "{binary}");
        assert_eq!(shim.delete("c1", "e1").unwrap().pid, exec);
        let id = || "c1".to_owned();
        shim.task.pause(ctx(), &PauseRequest { id: id(), ..PauseRequest::default() }).unwrap();
        assert_eq!(shim.state("c1", "").unwrap().status, Status::PAUSED.into(), "{binary}");
        shim.task.resume(ctx(), &ResumeRequest { id: id(), ..ResumeRequest::default() }).unwrap();
        let mut update = UpdateTaskRequest { id: id(), ..UpdateTaskRequest::default() };
        update.resources =
            Some(Any { value: br#"{"pids": {"limit": 77}}"#.to_vec(), ..Any::default() }).into();
        assert_eq!(shim.task.update(ctx(), &update).is_ok(), controls("pids"), "{binary}");
        let stats = shim.task.stats(ctx(), &StatsRequest { id: id(), ..StatsRequest::default() }).unwrap();
        let (cpu, limit) = cpu_and_pids_limit(&stats.stats);
        assert!(cpu > 0, "{binary}");
        assert!(limit == 77 || !controls("pids"), "{binary}: {limit}");
        let pids = shim.task.pids(ctx(), &PidsRequest { id: id(), ..PidsRequest::default() }).unwrap();
        assert_eq!(pids.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [pid], "{binary}");
        shim.kill("c1", "", 15).unwrap();
        shim.kill("c1", "", 9).unwrap();
        assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137, "{binary}");
        world.inbox.await_event("/exit", &format!("c1/c1 pid={pid} status=137"));
        shim.end(&world, "c1");
        assert!(std::fs::read_dir(world.dir.join("states").join(&world.namespace)).unwrap().next().is_none());
    }
}

#[test]
fn a_terminal_and_an_error_of_another_runtime_arrive() {
    if !able() {
        return;
    }
    for binary in ["runc", "crun"].into_iter().filter_map(installed) {
        let world = World::new();
        let bundle = world.bundle_with("c1", "stty size; exit 3", |config| {
            config["process"]["terminal"] = true.into();
            config["process"]["consoleSize"] = serde_json::json!({"height": 11, "width": 22});
        });
        let shim = world.shim(&bundle, "c1");
        let stdout = world.fifo("out");
        let reader = std::thread::spawn({
            let stdout = stdout.clone();
            move || std::fs::read_to_string(stdout).unwrap()
        });
        let mut asked = request(&world, "c1", &binary);
        (asked.terminal, asked.stdout) = (true, stdout);
        let created = shim.task.create(ctx(), &asked);
        if created.as_ref().is_err_and(|error| error.to_string().contains(HYBRID)) {
            drop(writer(&asked.stdout));
            shim.shutdown();
            continue;
        }
        created.unwrap();
        shim.start("c1", "").unwrap();
        assert_eq!(shim.wait("c1", "").unwrap().exit_status, 3, "{binary}");
        shim.delete("c1", "").unwrap();
        assert!(reader.join().unwrap().ends_with("\r\n"), "{binary}");
        world.bundle_with("c2", "", |config| {
            config["process"]["args"] = serde_json::json!(["missing-program"]);
        });
        let error = shim.task.create(ctx(), &request(&world, "c2", &binary)).unwrap_err();
        let text = crate::harness::status(error).1;
        assert!(text.starts_with("OCI runtime create failed: "), "{text}");
        assert!(text.contains("missing-program") && text.contains("executable file"), "{text}");
        shim.shutdown();
    }
}

#[test]
fn no_program_of_the_host_is_executed_where_none_is_named() {
    let Some(strace) = installed("strace").filter(|_| able()) else { return };
    let world = World::new();
    // By its path, as the shell of busybox runs its own programs as /proc/self/exe.
    let shim = world.shim(&world.bundle("c1", "exec /bin/sleep 100"), "c1");
    let log = world.dir.join("strace");
    let mut tracer = std::process::Command::new(strace)
        .args(["-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none", "-o"])
        .arg(&log)
        .args(["-p", &shim.pid.to_string()])
        .spawn()
        .unwrap();
    let traced = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid)).unwrap();
        status.lines().any(|line| line == format!("TracerPid:\t{}", tracer.id()))
    };
    await_true("it is traced", traced);
    shim.create(&world, "c1").unwrap();
    shim.start("c1", "").unwrap();
    shim.exec("c1", "e1", "exit 6").unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1").unwrap().exit_status, 6);
    shim.delete("c1", "e1").unwrap();
    shim.end(&world, "c1");
    tracer.wait().unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    // Where two processes call at once, the end of a call is in a line of its own, without its arguments.
    let calls: Vec<_> =
        text.lines().filter(|line| line.contains("exec") && !line.contains("<... ")).collect();
    // Twice the sealed image by its descriptor, then what the container's own files are.
    assert!(calls.iter().filter(|line| line.contains("AT_EMPTY_PATH")).count() >= 2, "{text}");
    let own = |line: &&&str| line.contains("AT_EMPTY_PATH") || line.contains("\"/bin/");
    let foreign: Vec<_> = calls.iter().filter(|line| !own(line)).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}
