//! `linux.seccomp.listenerPath`: the agent gets the listener and the state, once, before the program runs.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]
#![allow(unsafe_code, reason = "no safe crate offers the ioctls of a listener")]

use integration_tests::{Bundle, Outcome, World, cases, harness};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

fn main() -> ExitCode {
    harness::main(cases![
        the_agent_answers_what_run_asks,
        start_hands_the_listener_over_and_create_does_not,
        the_state_is_as_the_specification_says,
        a_large_state_arrives_whole,
        without_no_new_privileges_it_works_too,
        a_missing_agent_is_an_error_at_create,
        an_agent_that_is_gone_fails_start_and_ends_the_container,
        an_agent_that_never_takes_the_connection_is_a_timeout,
        an_agent_that_dies_leaves_no_hang,
        an_agent_that_dies_over_a_question_leaves_no_hang,
        exec_hands_over_a_listener_of_its_own,
    ])
}

/// The number that the agent answers with instead of running the call.
const ANSWER: i32 = 17;

/// A filter that asks the agent about mkdir.
fn asking(bundle: Bundle, socket: &str) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": socket,
            "listenerMetadata": "some \"metadata\"",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
        });
    })
}

/// What one connection brought: the state, the number of descriptors, and the listener.
struct Received {
    state: Value,
    listener: OwnedFd,
}

fn receive(stream: &mut UnixStream) -> Received {
    let mut bytes = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let first = recvmsg(&*stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg").bytes;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    assert_eq!(descriptors.len(), 1);
    let mut text = bytes[..first].to_vec();
    // The runtime closes the connection after the state, so this ends.
    stream.read_to_end(&mut text).expect("the rest of the state");
    Received { state: serde_json::from_slice(&text).expect("a state"), listener: descriptors.remove(0) }
}

/// Takes one question of the filter; the value is its number.
fn take_up(listener: &OwnedFd) -> u64 {
    const RECV: libc::c_ulong = 0xc050_2100;
    let mut question = [0u64; 10];
    // SAFETY: the buffer has the 80 bytes of struct seccomp_notif.
    let got = unsafe { libc::ioctl(listener.as_raw_fd(), RECV as _, question.as_mut_ptr()) };
    assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
    question[0]
}

/// Takes one question of the filter and answers it with an errno.
fn answer(listener: &OwnedFd) {
    const SEND: libc::c_ulong = 0xc018_2101;
    let question = take_up(listener);
    let error = u64::from((-ANSWER).cast_unsigned());
    let reply = [question, 0, error];
    // SAFETY: the buffer has the 24 bytes of struct seccomp_notif_resp.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, reply.as_ptr()) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// An agent that serves one container: it gets the state, answers `questions`, and gives back what it got.
fn agent(path: &str, questions: usize) -> JoinHandle<Received> {
    let listener = UnixListener::bind(path).unwrap();
    spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let received = receive(&mut stream);
        (0..questions).for_each(|_| answer(&received.listener));
        received
    })
}

fn the_agent_answers_what_run_asks(world: &World) -> Outcome {
    let socket = world.path("agent");
    let agent = agent(&socket, 1);
    let bundle = asking(world.shell("mkdir /new; echo done"), &socket);
    let ran = world.run(&bundle).ok();
    assert_eq!(ran.out, "done\n");
    assert!(ran.err.contains("File exists"), "{ran}");
    assert_eq!(agent.join().unwrap().state["state"]["status"], "created");
    Ok(())
}

fn start_hands_the_listener_over_and_create_does_not(world: &World) -> Outcome {
    let socket = world.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let id = world.create(&asking(world.bundle().args(&["/bin/sleep", "1000"]), &socket));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    world.orlop(&["start", &id]).ok();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(false).unwrap();
    assert_eq!(receive(&mut stream).state["pid"], world.pid(&id));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "one connection");
    Ok(())
}

fn the_state_is_as_the_specification_says(world: &World) -> Outcome {
    let socket = world.path("agent");
    let agent = agent(&socket, 0);
    let bundle = asking(world.bundle().args(&["/bin/sleep", "1000"]), &socket);
    let bundle = bundle.edit(|config| config["annotations"] = json!({"it.key": "value"}));
    let id = world.started(&bundle);
    let pid = world.pid(&id);
    let expected = json!({
        "ociVersion": "1.0.2",
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "some \"metadata\"",
        "state": {
            "ociVersion": "1.0.2",
            "id": id,
            "status": "created",
            "pid": pid,
            "bundle": bundle.path(),
            "annotations": {"it.key": "value"}
        }
    });
    assert_eq!(agent.join().unwrap().state, expected);
    Ok(())
}

fn a_large_state_arrives_whole(world: &World) -> Outcome {
    let socket = world.path("agent");
    let agent = agent(&socket, 0);
    let long = "x".repeat(1_000_000);
    let bundle = asking(world.bundle().args(&["/bin/true"]), &socket);
    let bundle = bundle.edit(|config| config["annotations"] = json!({"long": long}));
    world.run(&bundle).ok();
    assert_eq!(agent.join().unwrap().state["state"]["annotations"]["long"], long);
    Ok(())
}

fn without_no_new_privileges_it_works_too(world: &World) -> Outcome {
    let socket = world.path("agent");
    let agent = agent(&socket, 1);
    let bundle = asking(world.shell("mkdir /new; echo done"), &socket);
    let bundle = bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    assert_eq!(world.run(&bundle).ok().out, "done\n");
    agent.join().unwrap();
    Ok(())
}

fn a_missing_agent_is_an_error_at_create(world: &World) -> Outcome {
    let socket = world.path("agent");
    let bundle = asking(world.bundle(), &socket);
    world.refused(&bundle).says("linux.seccomp.listenerPath").says(&socket).says("ENOENT");
    drop(UnixListener::bind(&socket).unwrap());
    world.refused(&bundle).says("linux.seccomp.listenerPath").says("ECONNREFUSED");
    Ok(())
}

fn an_agent_that_is_gone_fails_start_and_ends_the_container(world: &World) -> Outcome {
    let socket = world.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let id = world.create(&asking(world.bundle().args(&["/bin/sleep", "1000"]), &socket));
    drop(listener);
    world.orlop(&["start", &id]).fails().says("linux.seccomp.listenerPath").says("ECONNREFUSED");
    assert_eq!(world.status(&id), "stopped");
    Ok(())
}

fn an_agent_that_never_takes_the_connection_is_a_timeout(world: &World) -> Outcome {
    world.only_orlop()?;
    let socket = world.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&socket).unwrap();
    let id = world.create(&asking(world.bundle().args(&["/bin/sleep", "1000"]), &socket));
    world.orlop(&["start", "--timeout", "1", &id]).fails().says("not done after 1 s");
    assert_eq!(world.status(&id), "stopped");
    Ok(())
}

fn an_agent_that_dies_leaves_no_hang(world: &World) -> Outcome {
    let socket = world.path("agent");
    let agent = agent(&socket, 0);
    let bundle =
        asking(world.shell("while [ ! -e /tmp/go ]; do sleep 0.1; done; mkdir /new 2>/tmp/said; :"), &socket);
    let id = world.started(&bundle);
    drop(agent.join().unwrap());
    fs::write(bundle.rootfs("tmp/go"), "").unwrap();
    world.wait_stopped(&id);
    let said = fs::read_to_string(bundle.rootfs("tmp/said")).unwrap();
    assert!(said.contains("not implemented"), "{said}");
    Ok(())
}

/// The question was asked, and taken up by the agent or not, when the last descriptor of the listener goes.
fn an_agent_that_dies_over_a_question_leaves_no_hang(world: &World) -> Outcome {
    for taken_up in [true, false] {
        let socket = world.path(&format!("agent-{taken_up}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let bundle = asking(world.shell("mkdir /new; echo $?"), &socket);
        let agent = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let received = receive(&mut stream);
            asked(&received.listener);
            if taken_up {
                take_up(&received.listener);
            }
            // Here the agent is killed.
        });
        let ran = world.run(&bundle).ok();
        agent.join().unwrap();
        assert_eq!(ran.out, "1\n", "{ran}");
        assert!(ran.err.contains("not implemented"), "{ran}");
    }
    Ok(())
}

/// Waits until a call of the container waits for an answer.
fn asked(listener: &OwnedFd) {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(listener, PollFlags::IN)], None).expect("poll");
}

fn exec_hands_over_a_listener_of_its_own(world: &World) -> Outcome {
    let socket = world.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let id = world.started(&asking(world.bundle().args(&["/bin/sleep", "1000"]), &socket));
    let (mut stream, _) = listener.accept().unwrap();
    let first = receive(&mut stream);
    let agent = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let received = receive(&mut stream);
        answer(&received.listener);
        received.state
    });
    let ran = world.orlop(&["exec", &id, "/bin/sh", "-c", "mkdir /new; echo done"]).ok();
    assert!(ran.err.contains("File exists") && ran.out == "done\n", "{ran}");
    let state = agent.join().unwrap();
    assert_ne!(state["pid"], first.state["pid"]);
    assert_eq!((&state["state"]["pid"], &state["state"]["status"]), (&first.state["pid"], &json!("running")));
    Ok(())
}
