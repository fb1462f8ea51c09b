//! The options of the runtime: `containerd.runc.v1.Options`, what came before it, and `runtimeoptions.v1.Options`.

use prost::Message;

/// `containerd.runc.v1.Options`. The deprecated numbers 8, 12 and 13 are not read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuncOptions {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "3")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "4")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) io_gid: u32,
    #[prost(string, tag = "6")]
    pub(crate) binary_name: String,
    #[prost(string, tag = "7")]
    pub(crate) root: String,
    #[prost(bool, tag = "9")]
    pub(crate) systemd_cgroup: bool,
    #[prost(string, tag = "10")]
    pub(crate) criu_image_path: String,
    #[prost(string, tag = "11")]
    pub(crate) criu_work_path: String,
}

/// `containerd.linux.runc.CreateOptions`: what a client up to 1.7 sends for a runtime whose name it does not know.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinuxCreateOptions {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "8")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "9")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "10")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "11")]
    pub(crate) io_gid: u32,
    #[prost(string, tag = "12")]
    pub(crate) criu_work_path: String,
    #[prost(string, tag = "13")]
    pub(crate) criu_image_path: String,
}

/// `runtimeoptions.v1.Options`: a configuration file, or its text.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeOptions {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(string, tag = "2")]
    pub(crate) config_path: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) config_body: Vec<u8>,
}

/// `containerd.runc.v1.CheckpointOptions`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointOptions {
    #[prost(bool, tag = "1")]
    pub(crate) exit: bool,
    #[prost(bool, tag = "2")]
    pub(crate) open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub(crate) external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
    #[prost(bool, tag = "5")]
    pub(crate) file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub(crate) empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub(crate) cgroups_mode: String,
    #[prost(string, tag = "8")]
    pub(crate) image_path: String,
    #[prost(string, tag = "9")]
    pub(crate) work_path: String,
    #[prost(string, tag = "10")]
    pub(crate) parent_path: String,
}

/// `containerd.runc.v1.ProcessDetails`, which Pids adds to an exec.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessDetails {
    #[prost(string, tag = "1")]
    pub(crate) exec_id: String,
}
