//! What must hold however things overlap.

use std::fs;
use std::time::Duration;

use crate::harness::{World, able, await_true, is_running};

/// How many containers one shim runs; `IT_SHIM_CONTAINERS=10000` for the long form.
fn many() -> u32 {
    std::env::var("IT_SHIM_CONTAINERS").ok().and_then(|number| number.parse().ok()).unwrap_or(100)
}

#[test]
fn short_containers_are_told_in_order_with_the_right_codes() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle("c0", "exit 0");
    let shim = world.shim(&bundle, "c0");
    let mut expected = Vec::new();
    for number in 0..many() {
        let (id, code) = (format!("c{number}"), number % 256);
        world.bundle(&id, &format!("exit {code}"));
        let pid = shim.create(&world, &id).unwrap();
        shim.start(&id, "").unwrap();
        assert_eq!(shim.wait(&id, "").unwrap().exit_status, code);
        assert_eq!(shim.delete(&id, "").unwrap().pid, pid);
        let told = |topic: &str, text: String| (format!("/tasks/{topic}"), text);
        expected.extend([
            told("create", format!("{id} pid={pid}")),
            told("start", format!("{id} pid={pid}")),
            told("exit", format!("{id}/{id} pid={pid} status={code}")),
            told("delete", format!("{id} pid={pid} status={code}")),
        ]);
        fs::remove_dir_all(world.dir.join(&id)).unwrap();
    }
    await_true("all is told", || world.inbox.len() >= expected.len());
    assert!(world.inbox.all() == expected);
    shim.shutdown();
}

#[test]
fn parallel_execs_all_end_and_are_all_told() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    std::thread::scope(|scope| {
        for number in 0..64 {
            let shim = &shim;
            scope.spawn(move || {
                let id = format!("e{number}");
                shim.exec("c1", &id, &format!("exit {number}")).unwrap();
                shim.start("c1", &id).unwrap();
                assert_eq!(shim.wait("c1", &id).unwrap().exit_status, number);
                shim.delete("c1", &id).unwrap();
            });
        }
    });
    for number in 0..64 {
        let exit = format!("c1/e{number} ");
        world.inbox.await_event("/exit", &exit);
        assert!(world.inbox.position("/exec-started", &exit) < world.inbox.position("/exit", &exit));
    }
    shim.end(&world, "c1");
}

#[test]
fn execs_are_told_to_have_ended_before_the_first_process() {
    if !able() {
        return;
    }
    for namespaces in ["own pids", "the host's pids"] {
        let world = World::new();
        let bundle = world.bundle_with("c1", "sleep 100", |config| {
            if namespaces == "the host's pids" {
                config["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}, {"type": "ipc"}]);
            }
        });
        let shim = world.shim(&bundle, "c1");
        shim.create(&world, "c1").unwrap();
        shim.start("c1", "").unwrap();
        for exec in ["e1", "e2", "e3"] {
            shim.exec("c1", exec, "sleep 100").unwrap();
            shim.start("c1", exec).unwrap();
        }
        shim.kill("c1", "", 9).unwrap();
        assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
        world.inbox.await_event("/exit", "c1/c1");
        for exec in ["c1/e1", "c1/e2", "c1/e3"] {
            assert!(
                world.inbox.position("/exit", exec) < world.inbox.position("/exit", "c1/c1"),
                "{namespaces}"
            );
        }
        shim.end(&world, "c1");
    }
}

#[test]
fn what_outlives_the_first_process_is_killed_where_pids_are_shared() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle_with("c1", "sleep 4321 & exit 4", |config| {
        config["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}]);
    });
    let shim = world.shim(&bundle, "c1");
    shim.create(&world, "c1").unwrap();
    shim.start("c1", "").unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 4);
    let strays = fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.ends_with(b"sleep\x004321\0")
    });
    assert_eq!(strays.count(), 0);
    shim.end(&world, "c1");
}

#[test]
fn events_wait_for_a_containerd_that_is_away() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    world.inbox.await_event("/start", "c1");
    world.stop_serving();
    for exec in ["e1", "e2"] {
        shim.exec("c1", exec, "exit 3").unwrap();
        shim.start("c1", exec).unwrap();
        assert_eq!(shim.wait("c1", exec).unwrap().exit_status, 3);
    }
    shim.kill("c1", "", 9).unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137);
    std::thread::sleep(Duration::from_millis(300));
    world.serve();
    let all = world.inbox.await_event("/exit", "c1/c1");
    let exits: Vec<_> = all
        .iter()
        .filter(|(topic, _)| topic.ends_with("/exit"))
        .filter_map(|(_, text)| text.split(' ').next())
        .collect();
    assert_eq!(exits, ["c1/e1", "c1/e2", "c1/c1"]);
    shim.end(&world, "c1");
}

#[test]
fn the_loop_answers_while_a_create_takes_long() {
    if !able() {
        return;
    }
    let world = World::new();
    let annotate = |config: &mut serde_json::Value| {
        config["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
    };
    let bundle = world.bundle_with("c1", "sleep 100", annotate);
    let (began, go) = (bundle.join("began"), bundle.join("go"));
    let script = format!("touch {}; while [ ! -e {} ]; do sleep 0.05; done", began.display(), go.display());
    world.bundle_with("c2", "exit 0", |config| {
        annotate(config);
        config["hooks"] =
            serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    });
    let shim = world.shim(&bundle, "c1");
    shim.create(&world, "c1").unwrap();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| shim.create(&world, "c2").unwrap());
        await_true("the create stands in its hook", || began.exists());
        for _ in 0..50 {
            shim.state("c1", "").unwrap();
        }
        assert!(!slow.is_finished(), "every answer came before the create's");
        fs::write(&go, "").unwrap();
        slow.join().unwrap();
    });
    shim.delete("c2", "").unwrap();
    shim.end(&world, "c1");
}

#[test]
fn strays_are_reaped_and_helpers_too() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle_with("c1", "sleep 100", |config| {
        config["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}]);
    });
    let shim = world.shim(&bundle, "c1");
    shim.create(&world, "c1").unwrap();
    let pid = shim.start("c1", "").unwrap();
    for number in 0..20 {
        let id = format!("e{number}");
        // The grandchild outlives its parent, so the shim inherits it.
        shim.exec("c1", &id, "(sleep 0.05; exit 1) & exit 0").unwrap();
        shim.start("c1", &id).unwrap();
        shim.wait("c1", &id).unwrap();
        shim.delete("c1", &id).unwrap();
    }
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", shim.pid);
        fs::read_to_string(path)
            .unwrap()
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    await_true("only the container is left", || children() == [pid]);
    assert!(is_running(pid));
    shim.end(&world, "c1");
}

#[test]
fn nothing_of_the_host_is_executed_for_a_container() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle("c1", "sleep 100");
    // Neither the shim nor a runtime can be executed again: the one is removed, the other is not in PATH.
    let copy = world.dir.join("containerd-shim-copy-v2");
    fs::copy(crate::harness::program(), &copy).unwrap();
    let shim = world.shim_of(&copy, &bundle, "c1");
    fs::remove_file(&copy).unwrap();
    let pid = shim.create(&world, "c1").unwrap();
    let image = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(image.to_str(), Some("/memfd:orlop-init (deleted)"));
    assert_eq!(shim.start("c1", "").unwrap(), pid);
    shim.exec("c1", "e1", "exit 6").unwrap();
    shim.start("c1", "e1").unwrap();
    assert_eq!(shim.wait("c1", "e1").unwrap().exit_status, 6);
    shim.delete("c1", "e1").unwrap();
    shim.end(&world, "c1");
}
