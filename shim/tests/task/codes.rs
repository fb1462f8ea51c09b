//! Codes of failures that no misuse of a container gives, and both versions of the service.

use std::io::{Read, Write};

use containerd_shim_protos::api::{ConnectRequest, ConnectResponse, StateRequest};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::{Code, proto};

use crate::harness::{Shim, World, able, ctx, status};

const METHODS: [&str; 17] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
];

#[test]
fn every_method_of_both_versions_is_there() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "exit 0"), "c1");
    for version in ["v2", "v3"] {
        let service = format!("containerd.task.{version}.Task");
        for method in METHODS.iter().filter(|method| !matches!(**method, "Create" | "Connect" | "Shutdown")) {
            let request = StateRequest { id: "none".to_owned(), ..StateRequest::default() };
            let (code, _) = shim.raw(&service, method, request.write_to_bytes().unwrap());
            assert_eq!(code, Code::NOT_FOUND as i32, "{version} {method}");
        }
        let request = ConnectRequest::new().write_to_bytes().unwrap();
        let (code, payload) = shim.raw(&service, "Connect", request);
        assert_eq!(code, 0);
        assert_eq!(ConnectResponse::parse_from_bytes(&payload).unwrap().shim_pid, shim.pid);
    }
    shim.shutdown();
}

#[test]
fn what_cannot_be_read_is_an_invalid_argument() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "exit 0"), "c1");
    for method in METHODS.iter().filter(|method| **method != "Shutdown") {
        let (code, _) = shim.raw("containerd.task.v2.Task", method, vec![0x0a, 0xff]);
        assert_eq!(code, Code::INVALID_ARGUMENT as i32, "{method}");
    }
    let mut request = Shim::request(&world, "c1");
    request.options = Some(Any { type_url: "windows.Options".to_owned(), ..Any::default() }).into();
    assert_eq!(status(shim.task.create(ctx(), &request).unwrap_err()).0, Code::INVALID_ARGUMENT);
    let mut request = Shim::request(&world, "c1");
    request.stdout = "ftp://host/file".to_owned();
    assert_eq!(status(shim.task.create(ctx(), &request).unwrap_err()).0, Code::INVALID_ARGUMENT);
    shim.shutdown();
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_next_one_answered() {
    if !able() {
        return;
    }
    let world = World::new();
    let shim = world.shim(&world.bundle("c1", "exit 0"), "c1");
    let mut stream = shim.stream();
    let length = (4 << 20) + 1;
    let header = |length, stream_id| -> Vec<u8> {
        proto::MessageHeader { length, stream_id, type_: proto::MESSAGE_TYPE_REQUEST, flags: 0 }.into()
    };
    stream.write_all(&header(length, 1)).unwrap();
    stream.write_all(&vec![0; length as usize]).unwrap();
    let request = proto::Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: "Connect".to_owned(),
        ..proto::Request::default()
    };
    let body = request.write_to_bytes().unwrap();
    stream.write_all(&[header(u32::try_from(body.len()).unwrap(), 3), body].concat()).unwrap();
    for expected in [Code::RESOURCE_EXHAUSTED as i32, 0] {
        let mut header = [0; 10];
        stream.read_exact(&mut header).unwrap();
        let mut body = vec![0; u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize];
        stream.read_exact(&mut body).unwrap();
        let response = proto::Response::parse_from_bytes(&body).unwrap();
        assert_eq!(response.status.code.value(), expected);
    }
    shim.shutdown();
}
