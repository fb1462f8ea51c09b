//! `containerd.events`, and the service that takes them.

use prost::Message;

use super::task::Mount;
use super::{Any, Timestamp};

/// `containerd.services.events.ttrpc.v1.Envelope`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) topic: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) event: Option<Any>,
}

/// Forward.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) envelope: Option<Envelope>,
}

/// The streams of a task.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskIo {
    #[prost(string, tag = "1")]
    pub(crate) stdin: String,
    #[prost(string, tag = "2")]
    pub(crate) stdout: String,
    #[prost(string, tag = "3")]
    pub(crate) stderr: String,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
}

/// /tasks/create.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskCreate {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub(crate) io: Option<TaskIo>,
    #[prost(string, tag = "5")]
    pub(crate) checkpoint: String,
    #[prost(uint32, tag = "6")]
    pub(crate) pid: u32,
}

/// /tasks/start.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskStart {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
}

/// /tasks/delete.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskDelete {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) exited_at: Option<Timestamp>,
    #[prost(string, tag = "5")]
    pub(crate) id: String,
}

/// /tasks/exit: `id` is the container's or the exec's.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExit {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "5")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// /tasks/oom, /tasks/paused and /tasks/resumed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskOnly {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}

/// /tasks/exec-added.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExecAdded {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
}

/// /tasks/exec-started.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExecStarted {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_has_the_numbers_of_the_api() {
        let exit = TaskExit {
            container_id: "c".into(),
            id: "x".into(),
            pid: 5,
            exit_status: 1,
            exited_at: Some(Timestamp { seconds: 9, nanos: 0 }),
        };
        let bytes = b"\x0a\x01c\x12\x01x\x18\x05\x20\x01\x2a\x02\x08\x09";
        assert_eq!(exit.encode_to_vec(), bytes);
    }

    #[test]
    fn a_create_event_has_the_numbers_of_the_api() {
        let event = TaskCreate {
            container_id: "c".into(),
            bundle: "b".into(),
            io: Some(TaskIo { stdout: "o".into(), terminal: true, ..TaskIo::default() }),
            pid: 1,
            ..TaskCreate::default()
        };
        assert_eq!(event.encode_to_vec(), b"\x0a\x01c\x12\x01b\x22\x05\x12\x01o\x20\x01\x30\x01");
    }
}
