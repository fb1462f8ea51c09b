//! Every method, with the codes and texts that clients rely on.

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, KillRequest, PauseRequest, PidsRequest,
    ResizePtyRequest, ResumeRequest, ShutdownRequest, StatsRequest, Status, UpdateTaskRequest,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::{self, Code};

use crate::harness::{Shim, World, able, controls, cpu_and_pids_limit, ctx, status};

fn id() -> String {
    "c1".to_owned()
}

fn fails<T: std::fmt::Debug>(result: ttrpc::Result<T>, code: Code, text: &str) {
    assert_eq!(status(result.unwrap_err()), (code, text.to_owned()));
}

#[test]
fn a_life_from_create_to_delete() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "exit 7");
    let pid = shim.state("c1", "").unwrap().pid;
    assert_eq!(shim.state("c1", "").unwrap().status, Status::CREATED.into());
    assert_eq!(shim.start("c1", "").unwrap(), pid);
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 7);
    let state = shim.state("c1", "").unwrap();
    assert_eq!((state.status, state.exit_status, state.pid), (Status::STOPPED.into(), 7, pid));
    // What `orlop events --follow` tells of its end.
    let log = format!("/run/containerd/runc/{}/c1/events", world.namespace);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(r#""type":"started""#) && log.contains(r#""data":{"code":7}"#), "{log}");
    // containerd takes it for a leftover only if Shutdown says that nothing is there.
    shim.task.shutdown(ctx(), &ShutdownRequest::new()).unwrap();
    let deleted = shim.delete("c1", "").unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert!(deleted.exited_at.is_some());
    fails(shim.delete("c1", ""), Code::NOT_FOUND, "container not created");
    world.inbox.await_event("/delete", "c1");
    let topics: Vec<_> = world.inbox.all().into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    shim.shutdown();
}

#[test]
fn states_refuse_what_does_not_fit_them() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    let pause = || shim.task.pause(ctx(), &PauseRequest { id: id(), ..PauseRequest::default() });
    let resume = || shim.task.resume(ctx(), &ResumeRequest { id: id(), ..ResumeRequest::default() });
    let checkpoint = || {
        shim.task.checkpoint(ctx(), &CheckpointTaskRequest { id: id(), ..CheckpointTaskRequest::default() })
    };
    fails(shim.create(&world, "c1"), Code::ALREADY_EXISTS, "container c1");
    fails(pause(), Code::UNKNOWN, "cannot pause task in created state");
    fails(resume(), Code::UNKNOWN, "cannot resume task in created state");
    fails(checkpoint(), Code::UNKNOWN, "cannot checkpoint a task in created state");
    fails(shim.exec("c1", "e", "exit"), Code::UNKNOWN, "cannot exec in a created state");
    fails(shim.state("c2", ""), Code::NOT_FOUND, "container not created");
    fails(shim.state("c1", "e"), Code::NOT_FOUND, "process does not exist e");
    shim.start("c1", "").unwrap();
    fails(shim.start("c1", ""), Code::UNKNOWN, "cannot start a running process");
    fails(shim.delete("c1", ""), Code::UNKNOWN, "cannot delete a running process");
    fails(resume(), Code::UNKNOWN, "cannot resume a running process");
    pause().unwrap();
    assert_eq!(shim.state("c1", "").unwrap().status, Status::PAUSED.into());
    fails(pause(), Code::UNKNOWN, "cannot pause a paused container");
    fails(shim.start("c1", ""), Code::UNKNOWN, "cannot start a paused process");
    fails(shim.delete("c1", ""), Code::UNKNOWN, "cannot delete a paused process");
    fails(shim.exec("c1", "e", "exit"), Code::UNKNOWN, "cannot exec in a paused state");
    resume().unwrap();
    assert_eq!(shim.state("c1", "").unwrap().status, Status::RUNNING.into());
    world.inbox.await_event("/paused", "TaskPaused");
    world.inbox.await_event("/resumed", "TaskResumed");
    shim.kill("c1", "", 9).unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    fails(pause(), Code::UNKNOWN, "cannot pause a stopped container");
    fails(resume(), Code::UNKNOWN, "cannot resume a stopped container");
    fails(checkpoint(), Code::UNKNOWN, "cannot checkpoint a stopped container");
    fails(shim.start("c1", ""), Code::UNKNOWN, "cannot start a stopped process");
    fails(shim.exec("c1", "e", "exit"), Code::UNKNOWN, "cannot exec in a stopped state");
    fails(shim.kill("c1", "", 9), Code::NOT_FOUND, "process already finished");
    let update = UpdateTaskRequest { id: id(), ..UpdateTaskRequest::default() };
    fails(shim.task.update(ctx(), &update), Code::UNKNOWN, "cannot update a stopped container");
    shim.end(&world, "c1");
}

#[test]
fn execs_have_a_life_of_their_own() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    shim.exec("c1", "e1", "exit 5").unwrap();
    fails(shim.exec("c1", "e1", "exit"), Code::ALREADY_EXISTS, "id e1");
    assert_eq!(status(shim.exec("c1", "../e", "exit").unwrap_err()).0, Code::INVALID_ARGUMENT);
    fails(shim.kill("c1", "e1", 9), Code::FAILED_PRECONDITION, "process not created");
    let pid = shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1").unwrap().exit_status, 5);
    fails(shim.start("c1", "e1"), Code::UNKNOWN, "cannot start a stopped process");
    fails(shim.kill("c1", "e1", 9), Code::NOT_FOUND, "process already finished");
    let resize = ResizePtyRequest { id: id(), exec_id: "e1".to_owned(), ..ResizePtyRequest::default() };
    fails(shim.task.resize_pty(ctx(), &resize), Code::UNKNOWN, "cannot resize a stopped container");
    assert_eq!(shim.delete("c1", "e1").unwrap().pid, pid);
    fails(shim.delete("c1", "e1"), Code::NOT_FOUND, "process does not exist e1");
    // One that was never started may be deleted, and one whose program does not exist too.
    shim.exec("c1", "e2", "exit").unwrap();
    shim.delete("c1", "e2").unwrap();
    let mut request = Shim::exec_request("c1", "e3", "");
    let value = crate::harness::process(&["/bin/missing"]).to_string().into_bytes();
    request.spec = Some(Any { value, ..Any::default() }).into();
    shim.task.exec(ctx(), &request).unwrap();
    let (code, text) = status(shim.start("c1", "e3").unwrap_err());
    assert_eq!(code, Code::UNKNOWN);
    assert!(
        text.starts_with("OCI runtime exec failed: ") && text.contains("no such file or directory"),
        "{text}"
    );
    shim.delete("c1", "e3").unwrap();
    let exit = format!("c1/e1 pid={pid} status=5");
    world.inbox.await_event("/exit", &exit);
    assert!(world.inbox.position("/exec-added", "c1/e1") < world.inbox.position("/exec-started", "c1/e1"));
    assert!(world.inbox.position("/exec-started", "c1/e1") < world.inbox.position("/exit", &exit));
    shim.end(&world, "c1");
}

#[test]
fn numbers_of_a_running_container() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    let pid = shim.start("c1", "").unwrap();
    let connected =
        shim.task.connect(ctx(), &ConnectRequest { id: id(), ..ConnectRequest::default() }).unwrap();
    assert_eq!((connected.shim_pid, connected.task_pid), (shim.pid, pid));
    shim.exec("c1", "e1", "sleep 100").unwrap();
    let exec = shim.start("c1", "e1").unwrap();
    let pids = shim.task.pids(ctx(), &PidsRequest { id: id(), ..PidsRequest::default() }).unwrap();
    let mut list: Vec<_> =
        pids.processes.iter().map(|process| (process.pid, process.info.is_some())).collect();
    list.sort_unstable();
    let mut expected = vec![(pid, false), (exec, true)];
    expected.sort_unstable();
    assert_eq!(list, expected);
    let stats = shim.task.stats(ctx(), &StatsRequest { id: id(), ..StatsRequest::default() }).unwrap();
    assert!(cpu_and_pids_limit(&stats.stats).0 > 0);
    let value = br#"{"memory": {"limit": 67108864}}"#.to_vec();
    let mut update = UpdateTaskRequest { id: id(), ..UpdateTaskRequest::default() };
    update.resources = Some(Any { value, ..Any::default() }).into();
    assert_eq!(shim.task.update(ctx(), &update).is_ok(), controls("memory"));
    let all = KillRequest { id: id(), signal: 9, all: true, ..KillRequest::default() };
    shim.task.kill(ctx(), &all).unwrap();
    assert_eq!(shim.wait("c1", "e1").unwrap().exit_status, 137);
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    shim.delete("c1", "").unwrap();
    let (code, _) =
        status(shim.task.stats(ctx(), &StatsRequest { id: id(), ..StatsRequest::default() }).unwrap_err());
    assert_eq!(code, Code::NOT_FOUND);
    shim.shutdown();
}

#[test]
fn harmless_calls_succeed_where_there_is_nothing_to_do() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    shim.task
        .resize_pty(
            ctx(),
            &ResizePtyRequest { id: id(), width: 80, height: 25, ..ResizePtyRequest::default() },
        )
        .unwrap();
    let close = CloseIORequest { id: id(), stdin: true, ..CloseIORequest::default() };
    shim.task.close_io(ctx(), &close).unwrap();
    shim.task.close_io(ctx(), &close).unwrap();
    shim.end(&world, "c1");
}

#[test]
fn a_container_that_was_never_started_can_be_killed_or_deleted() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.kill("c1", "", 9).unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    shim.delete("c1", "").unwrap();
    world.bundle("c2", "exit 0");
    shim.create(&world, "c2").unwrap();
    assert_eq!(shim.delete("c2", "").unwrap().exit_status, 137);
    world.inbox.await_event("/delete", "c2");
    assert!(world.inbox.position("/exit", "c2/c2") < world.inbox.position("/delete", "c2"));
    shim.shutdown();
}

#[test]
fn a_create_that_fails_leaves_nothing() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle_with("c1", "", |config| {
        config["process"]["args"] = serde_json::json!(["/bin/missing"]);
    });
    let shim = world.shim(&bundle, "c1");
    let (code, text) = status(shim.create(&world, "c1").unwrap_err());
    assert_eq!(code, Code::UNKNOWN);
    assert!(
        text.starts_with("OCI runtime create failed: ") && text.contains("no such file or directory"),
        "{text}"
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&bundle.display().to_string()));
    assert_eq!(status(shim.state("c1", "").unwrap_err()).0, Code::NOT_FOUND);
    world.bundle("c1", "exit 0");
    shim.create(&world, "c1").unwrap();
    shim.end(&world, "c1");
}

#[test]
fn what_is_not_spoken_is_unimplemented() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle("c1", "exit 0");
    let shim = world.shim(&bundle, "c1");
    for (service, method) in [
        ("containerd.task.v9.Task", "State"),
        ("containerd.runtime.sandbox.v1.Sandbox", "Platform"),
        ("containerd.task.v2.Task", "Dance"),
    ] {
        assert_eq!(shim.raw(service, method, Vec::new()).0, 12, "{service}/{method}");
    }
    shim.shutdown();
}
