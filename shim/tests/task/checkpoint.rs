//! Checkpoint and Create with a checkpoint, by the library and by runc. Where CRIU cannot work, nothing is tested.

use std::path::Path;

use containerd_shim_protos::api::{CheckpointTaskRequest, CreateTaskRequest, Status};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::{CheckpointOptions, Options};
use containerd_shim_protos::ttrpc::Code;

use crate::harness::{Shim, World, able, await_true, ctx, status};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done";

fn criu_works() -> bool {
    let checked = std::process::Command::new("criu").arg("check").output();
    let works = able() && checked.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: criu does not work here");
    }
    works
}

fn count(world: &World) -> u64 {
    let text = std::fs::read_to_string(world.dir.join("rootfs/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn request(world: &World, binary: &str) -> CreateTaskRequest {
    let root = world.dir.join("states").display().to_string();
    let options = Options { binary_name: binary.to_owned(), root, ..Options::default() };
    let value = options.write_to_bytes().unwrap();
    let mut request = Shim::request(world, "c1");
    request.options =
        Some(Any { type_url: "containerd.runc.v1.Options".to_owned(), value, ..Any::default() }).into();
    request
}

fn checkpoint(world: &World, exit: bool) -> CheckpointTaskRequest {
    let value = CheckpointOptions { exit, ..CheckpointOptions::default() }.write_to_bytes().unwrap();
    let type_url = "containerd.runc.v1.CheckpointOptions".to_owned();
    CheckpointTaskRequest {
        id: "c1".to_owned(),
        path: world.dir.join("images").display().to_string(),
        options: Some(Any { type_url, value, ..Any::default() }).into(),
        ..CheckpointTaskRequest::default()
    }
}

fn a_life_through_a_checkpoint(binary: &str) {
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", COUNTER), "c1");
    shim.task.create(ctx(), &request(&world, binary)).unwrap();
    shim.start("c1", "").unwrap();
    await_true("the counter runs", || count(&world) > 5);
    shim.task.checkpoint(ctx(), &checkpoint(&world, false)).unwrap();
    let stood = count(&world);
    await_true("the counter runs on", || count(&world) > stood);
    assert_eq!(shim.state("c1", "").unwrap().status, Status::RUNNING.into());
    shim.task.checkpoint(ctx(), &checkpoint(&world, true)).unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137, "{binary}");
    shim.delete("c1", "").unwrap();
    let stood = count(&world);
    let mut again = request(&world, binary);
    again.checkpoint = world.dir.join("images").display().to_string();
    assert_eq!(shim.task.create(ctx(), &again).unwrap().pid, 0, "{binary}");
    assert_eq!(shim.state("c1", "").unwrap().status, Status::CREATED.into());
    let pid = shim.start("c1", "").unwrap();
    assert!(pid > 0);
    assert_eq!(shim.state("c1", "").unwrap().pid, pid);
    await_true("the counter goes on", || count(&world) > stood);
    assert!(count(&world) < stood + 1000);
    shim.kill("c1", "", 9).unwrap();
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 137, "{binary}");
    shim.delete("c1", "").unwrap();
    let topics: Vec<_> = world.inbox.await_event("/delete", "c1").into_iter().map(|told| told.0).collect();
    assert!(!topics.is_empty());
    assert!(!world.dir.join("c1/criu-work").exists());
    shim.shutdown();
}

#[test]
fn a_container_is_saved_and_restored() {
    if criu_works() {
        a_life_through_a_checkpoint("");
    }
}

#[test]
fn runc_saves_and_restores_behind_it() {
    let runc = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists());
    if let (Some(runc), true) = (runc, criu_works()) {
        a_life_through_a_checkpoint(runc);
    }
}

#[test]
fn what_fails_leaves_its_log_in_the_bundle() {
    if !criu_works() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", COUNTER);
    shim.start("c1", "").unwrap();
    await_true("the counter runs", || count(&world) > 2);
    // CRIU cannot write where a directory stands.
    std::fs::create_dir_all(world.dir.join("images/pstree.img")).unwrap();
    let (code, text) = status(shim.task.checkpoint(ctx(), &checkpoint(&world, true)).unwrap_err());
    let log = world.dir.join("c1/criu-dump.log");
    assert_eq!(code, Code::UNKNOWN);
    assert!(text.contains("criu failed") && text.ends_with(&format!("path= {}", log.display())), "{text}");
    assert!(log.exists());
    assert_eq!(shim.state("c1", "").unwrap().status, Status::RUNNING.into());
    shim.end(&world, "c1");
}

#[test]
fn a_container_that_cannot_be_restored_can_be_removed() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", COUNTER), "c1");
    let mut create = Shim::request(&world, "c1");
    create.checkpoint = world.dir.join("none").display().to_string();
    assert_eq!(shim.task.create(ctx(), &create).unwrap().pid, 0);
    shim.delete("c1", "").unwrap();
    assert_eq!(shim.task.create(ctx(), &create).unwrap().pid, 0);
    let (code, text) = status(shim.start("c1", "").unwrap_err());
    assert_eq!(code, Code::UNKNOWN);
    assert!(text.contains("OCI runtime restore failed") && text.contains("ENOENT"), "{text}");
    assert_eq!(shim.wait("c1", "").unwrap().exit_status, 255);
    shim.delete("c1", "").unwrap();
    shim.shutdown();
}
