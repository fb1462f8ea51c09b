//! `start` and `delete`: dialects, sockets, groups, leftovers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;

use crate::harness::{Shim, World, able, await_true, is_running};

#[test]
fn every_dialect_gets_its_answer() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle("c1", "exit 0");
    let plain = String::from_utf8(world.start_with(&bundle, "c1", b"")).unwrap();
    assert_eq!(std::fs::read_to_string(bundle.join("address")).unwrap(), plain);
    let path = Path::new(plain.strip_prefix("unix://").unwrap());
    assert!(path.starts_with("/run/containerd/s"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
    let mut params = BootstrapParams::new();
    params.instance_id = "c1".to_owned();
    params.namespace = world.namespace.clone();
    let answer = world.start_with(&bundle, "c1", &params.write_to_bytes().unwrap());
    let result = BootstrapResult::parse_from_bytes(&answer).unwrap();
    assert_eq!((result.version, result.address, result.protocol), (2, plain.clone(), "ttrpc".to_owned()));
    Shim::connect(&plain).shutdown();
}

#[test]
fn the_containers_of_a_pod_share_a_shim() {
    if !able() {
        return;
    }
    let world = World::new();
    let annotate = |config: &mut serde_json::Value| {
        config["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
    };
    let (first, second) =
        (world.bundle_with("c1", "sleep 100", annotate), world.bundle_with("c2", "exit 3", annotate));
    let shim = world.shim(&first, "c1");
    assert_eq!(world.shim(&second, "c2").pid, shim.pid);
    shim.create(&world, "c1").unwrap();
    shim.create(&world, "c2").unwrap();
    shim.start("c2", "").unwrap();
    assert_eq!(shim.wait("c2", "").unwrap().exit_status, 3);
    shim.delete("c2", "").unwrap();
    world.delete_leftovers(&second, "c2");
    assert!(is_running(shim.pid), "the other container still needs it");
    shim.end(&world, "c1");
}

#[test]
fn what_a_dead_shim_left_is_removed() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    let pid = shim.start("c1", "").unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(shim.pid.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    await_true("the shim dies", || !is_running(shim.pid));
    let bundle = world.dir.join("c1");
    let response = world.delete_leftovers(&bundle, "c1");
    assert_eq!((response.pid, response.exit_status), (pid, 137));
    assert!(!is_running(pid));
    let socket = shim.address.strip_prefix("unix://").unwrap();
    assert!(!Path::new(socket).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&bundle.display().to_string()));
    // A second time there is nothing, which is no failure; neither is a bundle without a configuration.
    std::fs::remove_file(bundle.join("config.json")).unwrap();
    assert_eq!(world.delete_leftovers(&bundle, "c1").exit_status, 137);
}
