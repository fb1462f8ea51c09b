//! Ends of processes that meet something else: none is lost, none is told twice, none comes too early.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use containerd_shim_protos::api::{
    DeleteRequest, PidsRequest, ShutdownRequest, StateRequest, StatsRequest, Status,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::Code;
use rustix::process::Signal;

use crate::harness::{Shim, World, able, await_true, controls, ctx, frame, is_running, status};

/// How often `topic` was told with a text that begins like this.
fn times(world: &World, topic: &str, text: &str) -> usize {
    world.inbox.all().iter().filter(|(t, x)| t.ends_with(topic) && x.starts_with(text)).count()
}

fn kill(pid: u32, signal: Signal) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

#[test]
fn a_first_process_that_ends_before_its_start_is_told_so() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    let pid = shim.state("c1", "").unwrap().pid;
    kill(pid, Signal::KILL);
    await_true("the end is known", || shim.state("c1", "").unwrap().status == Status::STOPPED.into());
    let (code, text) = status(shim.start("c1", "").unwrap_err());
    assert_eq!((code, text.as_str()), (Code::UNKNOWN, "cannot start a stopped process"));
    assert_eq!(shim.delete("c1", "").unwrap().exit_status, 137);
    world.inbox.await_event("/delete", "c1");
    let topics: Vec<_> = world.inbox.all().into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/exit", "/tasks/delete"]);
    shim.shutdown();
}

#[test]
fn an_exec_does_not_start_after_the_first_process_has_ended() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    shim.exec("c1", "e1", "exit 0").unwrap();
    shim.kill("c1", "", 9).unwrap();
    shim.wait("c1", "").unwrap();
    let (code, text) = status(shim.start("c1", "e1").unwrap_err());
    assert_eq!(
        (code, text.as_str()),
        (Code::FAILED_PRECONDITION, "container c1 init process is not running")
    );
    shim.delete("c1", "e1").unwrap();
    assert_eq!(times(&world, "/exit", "c1/e1"), 0);
    shim.end(&world, "c1");
}

#[test]
fn execs_that_start_while_the_first_process_ends_are_told_before_it() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c0", "sleep 100");
    for round in 0..10 {
        let id = format!("c{round}");
        if round > 0 {
            world.bundle(&id, "sleep 100");
            shim.create(&world, &id).unwrap();
        }
        shim.start(&id, "").unwrap();
        let started: Vec<String> = std::thread::scope(|scope| {
            let execs: Vec<_> = (0..8)
                .map(|number| {
                    let (shim, id) = (&shim, &id);
                    scope.spawn(move || {
                        let exec = format!("e{number}");
                        shim.exec(id, &exec, "sleep 100").ok()?;
                        let started = shim.start(id, &exec).is_ok();
                        // Whether it has started or not, its end is known and it can be removed.
                        shim.wait(id, &exec).unwrap();
                        shim.delete(id, &exec).unwrap();
                        started.then_some(exec)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(4 * round));
            shim.kill(&id, "", 9).unwrap();
            execs.into_iter().filter_map(|exec| exec.join().unwrap()).collect()
        });
        assert_eq!(shim.wait(&id, "").unwrap().exit_status, 137);
        shim.delete(&id, "").unwrap();
        world.inbox.await_event("/delete", &format!("{id} "));
        for exec in started {
            assert_eq!(times(&world, "/exit", &format!("{id}/{exec} ")), 1, "{id}/{exec}");
            let (exec, init) = (format!("{id}/{exec} "), format!("{id}/{id} "));
            assert!(world.inbox.position("/exit", &exec) < world.inbox.position("/exit", &init), "{exec}");
        }
        assert_eq!(times(&world, "/exit", &format!("{id}/{id} ")), 1);
    }
    shim.shutdown();
}

#[test]
fn a_shim_that_stood_still_for_long_misses_no_end() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    let pid = shim.start("c1", "").unwrap();
    for number in 0..20 {
        let id = format!("e{number}");
        shim.exec("c1", &id, "sleep 100").unwrap();
        shim.start("c1", &id).unwrap();
    }
    shim.signal(Signal::STOP);
    kill(pid, Signal::KILL);
    std::thread::sleep(Duration::from_millis(1500));
    shim.signal(Signal::CONT);
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    world.inbox.await_event("/exit", "c1/c1 ");
    for number in 0..20 {
        let exit = format!("c1/e{number} ");
        assert_eq!(times(&world, "/exit", &exit), 1);
        assert!(world.inbox.position("/exit", &exit) < world.inbox.position("/exit", "c1/c1 "));
    }
    shim.end(&world, "c1");
}

/// A pid namespace has a `pid_max` of its own since Linux 6.14.
fn has_pid_max_of_namespaces() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 14)
}

#[test]
fn pids_that_are_used_again_confuse_nothing() {
    if !able() || !has_pid_max_of_namespaces() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle("c1", "sleep 1000");
    let shim = world.shim_with_few_pids(&bundle, "c1");
    shim.create(&world, "c1").unwrap();
    shim.start("c1", "").unwrap();
    let mut pids = std::collections::BTreeSet::new();
    let mut again = 0;
    for number in 0..500 {
        let id = format!("e{number}");
        shim.exec("c1", &id, &format!("exit {}", number % 200)).unwrap();
        let pid = shim.start("c1", &id).unwrap();
        again += usize::from(!pids.insert(pid));
        assert_eq!(shim.wait("c1", &id).unwrap().exit_status, number % 200);
        assert_eq!(shim.delete("c1", &id).unwrap().pid, pid);
    }
    assert!(again > 50, "only {again} pids came twice");
    for number in 0..500 {
        let exit = format!("c1/e{number} ");
        world.inbox.await_event("/exit", &exit);
        assert_eq!(times(&world, "/exit", &exit), 1);
    }
    assert_eq!(times(&world, "/exit", "c1/c1"), 0);
    shim.kill("c1", "", 9).unwrap();
    shim.wait("c1", "").unwrap();
    shim.delete("c1", "").unwrap();
    shim.task.shutdown(ctx(), &ShutdownRequest::new()).unwrap();
}

#[test]
fn each_kill_for_want_of_memory_is_told_once_and_before_the_end() {
    if !able() || !controls("memory") {
        return;
    }
    let world = World::new();
    let eat = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null";
    let bundle = world.bundle_with("c1", &format!("{eat}; sleep 0.5; exec {eat}"), |config| {
        config["linux"]["resources"] = serde_json::json!({"memory": {"limit": 16 << 20}});
    });
    let device = serde_json::json!({"path": "/dev/zero", "type": "c", "major": 1, "minor": 5});
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bundle.join("config.json")).unwrap()).unwrap();
    config["linux"]["devices"] = serde_json::json!([device]);
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let shim = world.shim(&bundle, "c1");
    shim.create(&world, "c1").unwrap();
    shim.start("c1", "").unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    shim.delete("c1", "").unwrap();
    let all = world.inbox.await_event("/delete", "c1");
    let topics: Vec<_> = all.iter().map(|(topic, _)| topic.trim_start_matches("/tasks/")).collect();
    assert_eq!(topics, ["create", "start", "oom", "oom", "exit", "delete"]);
    shim.shutdown();
}

#[test]
fn a_container_whose_cgroup_is_gone_has_no_statistics() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "exit 0");
    shim.start("c1", "").unwrap();
    shim.wait("c1", "").unwrap();
    let request = StatsRequest { id: "c1".to_owned(), ..StatsRequest::default() };
    let _ = shim.task.stats(ctx(), &request);
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok) {
        let _ = std::fs::remove_dir(hierarchy.path().join(&world.namespace).join("c1"));
    }
    let _ = std::fs::remove_dir(format!("/sys/fs/cgroup/{}/c1", world.namespace));
    let (code, text) = status(shim.task.stats(ctx(), &request).unwrap_err());
    assert_eq!((code, text.as_str()), (Code::NOT_FOUND, "cgroup does not exist"));
    shim.end(&world, "c1");
}

#[test]
fn a_caller_that_goes_away_during_create_leaves_what_can_be_removed() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle_with("c1", "sleep 100", |config| {
        config["hooks"] =
            serde_json::json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1"]}]});
    });
    let shim = world.shim(&bundle, "c1");
    let create = Shim::request(&world, "c1").write_to_bytes().unwrap();
    let mut stream = shim.stream();
    stream.write_all(&frame("containerd.task.v2.Task", "Create", create)).unwrap();
    drop(stream);
    // What a containerd that was started again asks: is it a leftover, and then its removal.
    let pids = || shim.task.pids(ctx(), &PidsRequest { id: "c1".to_owned(), ..PidsRequest::default() });
    await_true("the request is read", || {
        pids().is_err_and(|error| status(error).0 == Code::FAILED_PRECONDITION)
    });
    let busy = |method: &str, payload: Vec<u8>| shim.raw("containerd.task.v3.Task", method, payload).0;
    let state = StateRequest { id: "c1".to_owned(), ..StateRequest::default() }.write_to_bytes().unwrap();
    let delete = DeleteRequest { id: "c1".to_owned(), ..DeleteRequest::default() }.write_to_bytes().unwrap();
    for method in ["State", "Start", "Wait", "Kill", "Exec", "Pause", "Resume", "Stats", "Update", "Pids"] {
        assert_eq!(busy(method, state.clone()), Code::FAILED_PRECONDITION as i32, "{method}");
    }
    assert_eq!(busy("Delete", delete.clone()), Code::FAILED_PRECONDITION as i32);
    assert_eq!(busy("Connect", state), 0);
    await_true("it is created", || pids().is_ok_and(|answer| !answer.processes.is_empty()));
    assert_eq!(busy("Delete", delete), 0);
    world.inbox.await_event("/delete", "c1");
    shim.shutdown();
}

#[test]
fn a_delete_beside_a_live_shim_loses_neither_pid_nor_end() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    let pid = shim.start("c1", "").unwrap();
    let removed = world.delete_leftovers(&world.dir.join("c1"), "c1");
    assert_eq!((removed.pid, removed.exit_status), (pid, 137));
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    world.inbox.await_event("/exit", &format!("c1/c1 pid={pid} status=137"));
    assert_eq!(shim.delete("c1", "").unwrap().pid, pid);
    shim.shutdown();
}

#[test]
fn many_who_shut_down_at_once_get_an_answer_or_the_end() {
    if !able() {
        return;
    }
    let world = World::new();
    // The shim becomes a child of this process, which then learns how it ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    for _ in 0..5 {
        let shim = world.created("c1", "exit 0");
        shim.start("c1", "").unwrap();
        shim.wait("c1", "").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let mut stream = shim.stream();
                let shutdown = frame("containerd.task.v2.Task", "Shutdown", Vec::new());
                // Until nobody is there any more.
                scope.spawn(move || {
                    while stream.write_all(&shutdown).is_ok() {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                });
            }
            shim.delete("c1", "").unwrap();
        });
        await_true("the shim ends", || !is_running(shim.pid));
        let pid = rustix::process::Pid::from_raw(shim.pid.cast_signed());
        let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
        assert_eq!(ended.and_then(|(_, status)| status.exit_status()), Some(0));
        std::fs::remove_dir_all(world.dir.join("c1")).unwrap();
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_said_and_nothing_remains() {
    if !able() {
        return;
    }
    let world = World::new();
    let file = world.dir.join("rootfs/bin/plain");
    std::fs::write(&file, "no program").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bundle = world.bundle_with("c1", "", |config| {
        config["process"]["args"] = serde_json::json!(["/bin/plain"]);
    });
    let shim = world.shim(&bundle, "c1");
    let (code, text) = status(shim.create(&world, "c1").unwrap_err());
    assert_eq!(code, Code::UNKNOWN);
    assert!(text.contains("permission denied"), "{text}");
    assert_eq!(world.inbox.len(), 0);
    shim.shutdown();
}
