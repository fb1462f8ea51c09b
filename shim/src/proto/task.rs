//! `containerd.task.v2.Task` and `containerd.task.v3.Task`, whose messages are the same.

use prost::Message;

use super::{Any, Timestamp};

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) source: String,
    #[prost(string, tag = "3")]
    pub(crate) target: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) options: Vec<String>,
}

/// Create.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
    #[prost(string, tag = "5")]
    pub(crate) stdin: String,
    #[prost(string, tag = "6")]
    pub(crate) stdout: String,
    #[prost(string, tag = "7")]
    pub(crate) stderr: String,
    #[prost(string, tag = "8")]
    pub(crate) checkpoint: String,
    #[prost(string, tag = "9")]
    pub(crate) parent_checkpoint: String,
    #[prost(message, optional, tag = "10")]
    pub(crate) options: Option<Any>,
}

/// The answer to Create and Start.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PidResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
}

/// Start, Delete, State and Wait: `exec_id` is empty for the first process.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
}

/// Pids, Pause, Resume, Stats and Connect.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// The answer to Delete, and what the command `delete` prints.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// The answer to Wait.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) exited_at: Option<Timestamp>,
}

/// The answer to State.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateResponse {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(int32, tag = "4")]
    pub(crate) status: i32,
    #[prost(string, tag = "5")]
    pub(crate) stdin: String,
    #[prost(string, tag = "6")]
    pub(crate) stdout: String,
    #[prost(string, tag = "7")]
    pub(crate) stderr: String,
    #[prost(bool, tag = "8")]
    pub(crate) terminal: bool,
    #[prost(uint32, tag = "9")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "10")]
    pub(crate) exited_at: Option<Timestamp>,
    #[prost(string, tag = "11")]
    pub(crate) exec_id: String,
}

/// Exec.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(bool, tag = "3")]
    pub(crate) terminal: bool,
    #[prost(string, tag = "4")]
    pub(crate) stdin: String,
    #[prost(string, tag = "5")]
    pub(crate) stdout: String,
    #[prost(string, tag = "6")]
    pub(crate) stderr: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) spec: Option<Any>,
}

/// ResizePty.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResizePtyRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) width: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) height: u32,
}

/// Kill.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KillRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) signal: u32,
    #[prost(bool, tag = "4")]
    pub(crate) all: bool,
}

/// CloseIO.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CloseIoRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(bool, tag = "3")]
    pub(crate) stdin: bool,
}

/// One process of Pids.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessInfo {
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) info: Option<Any>,
}

/// The answer to Pids.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PidsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) processes: Vec<ProcessInfo>,
}

/// Checkpoint.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) options: Option<Any>,
}

/// Update; its annotations are not read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UpdateRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) resources: Option<Any>,
}

/// The answer to Stats.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatsResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) stats: Option<Any>,
}

/// The answer to Connect.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConnectResponse {
    #[prost(uint32, tag = "1")]
    pub(crate) shim_pid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) task_pid: u32,
    #[prost(string, tag = "3")]
    pub(crate) version: String,
}

/// `containerd.task.Status` of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its program waits for Start.
    Created = 1,
    /// Its program runs.
    Running = 2,
    /// It ended.
    Stopped = 3,
    /// It is frozen.
    Paused = 4,
    /// It is about to be frozen.
    Pausing = 5,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_request_has_the_numbers_of_the_api() {
        let request = CreateRequest {
            id: "c".into(),
            bundle: "/b".into(),
            rootfs: vec![Mount {
                kind: "bind".into(),
                source: "/s".into(),
                options: vec!["ro".into()],
                ..Mount::default()
            }],
            terminal: true,
            stdin: "i".into(),
            stdout: "o".into(),
            stderr: "e".into(),
            options: Some(Any { type_url: "t".into(), value: vec![7] }),
            ..CreateRequest::default()
        };
        let bytes = b"\x0a\x01c\x12\x02/b\x1a\x0e\x0a\x04bind\x12\x02/s\x22\x02ro\x20\x01\x2a\x01i\x32\x01o\x3a\x01e\x52\x06\x0a\x01t\x12\x01\x07";
        assert_eq!(request.encode_to_vec(), bytes);
        assert_eq!(CreateRequest::decode(&bytes[..]), Ok(request));
    }

    #[test]
    fn a_state_has_the_numbers_of_the_api() {
        let state = StateResponse {
            id: "c".into(),
            pid: 300,
            status: Status::Stopped as i32,
            exit_status: 137,
            exited_at: Some(Timestamp { seconds: 1, nanos: 2 }),
            exec_id: "x".into(),
            ..StateResponse::default()
        };
        let bytes = b"\x0a\x01c\x18\xac\x02\x20\x03\x48\x89\x01\x52\x04\x08\x01\x10\x02\x5a\x01x";
        assert_eq!(state.encode_to_vec(), bytes);
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let bytes = b"\x0a\x01c\x12\x01x\xfa\x01\x03new";
        let request = ProcessRequest { id: "c".into(), exec_id: "x".into() };
        assert_eq!(ProcessRequest::decode(&bytes[..]), Ok(request));
    }
}
