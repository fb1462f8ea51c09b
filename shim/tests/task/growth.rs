//! What must not grow: descriptors and memory of a shim that lives long.

use containerd_shim_protos::api::StateRequest;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use crate::harness::{Shim, World, able, await_true, ctx, process, status};

/// How many execs one shim runs; `IT_SHIM_EXECS=100000` for the long form.
fn many() -> u32 {
    std::env::var("IT_SHIM_EXECS").ok().and_then(|number| number.parse().ok()).unwrap_or(300)
}

#[test]
fn descriptors_of_creates_and_execs_that_fail_are_closed() {
    if !able() {
        return;
    }
    let world = World::new();
    let bundle = world.bundle_with("c1", "", |config| {
        config["process"]["args"] = serde_json::json!(["/bin/missing"]);
    });
    let shim = world.shim(&bundle, "c1");
    let fifos = |name: &str| ["in", "out", "err"].map(|stream| world.fifo(&format!("{name}-{stream}")));
    let [stdin, stdout, stderr] = fifos("c");
    let fail = || {
        let mut request = Shim::request(&world, "c1");
        (request.stdin, request.stdout, request.stderr) = (stdin.clone(), stdout.clone(), stderr.clone());
        shim.task.create(ctx(), &request).unwrap_err();
    };
    fail();
    let before = shim.descriptors();
    (0..20).for_each(|_| fail());
    await_true("as many descriptors as before", || shim.descriptors() <= before);
    world.bundle("c1", "sleep 100");
    shim.create(&world, "c1").unwrap();
    shim.start("c1", "").unwrap();
    let before = shim.descriptors();
    for number in 0..20 {
        let mut request = Shim::exec_request("c1", &format!("e{number}"), "");
        let value = process(&["/bin/missing"]).to_string().into_bytes();
        request.spec = Some(Any { value, ..Any::default() }).into();
        (request.stdin, request.stdout, request.stderr) = (stdin.clone(), stdout.clone(), stderr.clone());
        request.terminal = number % 2 == 0;
        shim.task.exec(ctx(), &request).unwrap();
        let (_, text) = status(shim.start("c1", &request.exec_id).unwrap_err());
        assert!(text.contains("no such file or directory"), "{text}");
        shim.delete("c1", &request.exec_id).unwrap();
    }
    await_true("as many descriptors as before", || shim.descriptors() <= before);
    shim.end(&world, "c1");
}

#[test]
fn masters_of_terminals_are_closed() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100");
    shim.start("c1", "").unwrap();
    let before = shim.descriptors();
    for number in 0..20 {
        let mut request = Shim::exec_request("c1", &format!("e{number}"), "echo said");
        request.terminal = true;
        shim.task.exec(ctx(), &request).unwrap();
        shim.start("c1", &request.exec_id).unwrap();
        assert_eq!(shim.wait("c1", &request.exec_id).unwrap().exit_status, 0);
        shim.delete("c1", &request.exec_id).unwrap();
    }
    await_true("as many descriptors as before", || shim.descriptors() <= before);
    shim.end(&world, "c1");
}

#[test]
fn memory_stays_as_it_is_however_many_execs_and_calls_there_were() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.created("c1", "sleep 100000");
    shim.start("c1", "").unwrap();
    let run = |number: u32| {
        let id = format!("e{number}");
        shim.exec("c1", &id, "exit 7").unwrap();
        shim.start("c1", &id).unwrap();
        assert_eq!(shim.wait("c1", &id).unwrap().exit_status, 7);
        shim.delete("c1", &id).unwrap();
    };
    let ask = || {
        let request = StateRequest { id: "c1".to_owned(), ..StateRequest::default() };
        shim.task.state(ctx(), &request).unwrap();
    };
    (0..200).for_each(run);
    (0..200).for_each(|_| ask());
    let (memory, descriptors) = (shim.written_kib(), shim.descriptors());
    (200..200 + many()).for_each(run);
    (0..20 * many().min(1000)).for_each(|_| ask());
    let now = shim.written_kib();
    println!("{memory} KiB written before {} execs, {now} KiB after", many());
    assert!(now <= memory + 16, "{memory} KiB became {now} KiB");
    await_true("as many descriptors as before", || shim.descriptors() <= descriptors);
    shim.end(&world, "c1");
}
