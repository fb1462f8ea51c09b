//! What a checkpoint and a restore can be asked for.
//!
//! The words of the command line become these types in `cli`; what CRIU is told of them is in [`super::dump`] and
//! [`super::restore`].

use std::path::PathBuf;

use crate::id::ContainerId;

/// What `checkpoint` and `restore` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criu {
    /// Directory of the images; `checkpoint` in the current directory if none is named.
    pub image_path: PathBuf,
    /// Directory of the log and of work files.
    pub work_path: Option<PathBuf>,
    /// `--tcp-established`
    pub tcp_established: bool,
    /// `--ext-unix-sk`
    pub ext_unix_sk: bool,
    /// `--shell-job`
    pub shell_job: bool,
    /// `--file-locks`
    pub file_locks: bool,
    /// `--lazy-pages`
    pub lazy_pages: bool,
    /// `--auto-dedup`
    pub auto_dedup: bool,
    /// `--manage-cgroups-mode`
    pub manage_cgroups: ManageCgroups,
    /// `--network-lock`
    pub network_lock: Option<NetworkLock>,
    /// `--empty-ns network` was given. The contents of a network namespace are never saved, with or without
    /// it.
    pub empty_network: bool,
}

/// `--manage-cgroups-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManageCgroups {
    /// Restore what CRIU made.
    Soft,
    /// Restore all.
    Full,
    /// Fail if any is missing.
    Strict,
    /// Leave them alone.
    Ignore,
}

/// `--network-lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables.
    Iptables = 1,
    /// By nftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// Options of `checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The container.
    pub id: ContainerId,
    /// What it shares with `restore`.
    pub criu: Criu,
    /// Let the container run on.
    pub leave_running: bool,
    /// Memory only.
    pub pre_dump: bool,
    /// Earlier images, relative to the image directory.
    pub parent_path: Option<PathBuf>,
    /// `--tcp-skip-in-flight`
    pub tcp_skip_in_flight: bool,
    /// `--link-remap`
    pub link_remap: bool,
    /// Descriptor for the zero byte when lazy pages are ready.
    pub status_fd: Option<i32>,
    /// Where memory pages are sent.
    pub page_server: Option<PageServer>,
}

/// `--page-server ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageServer {
    /// A name or an address, without brackets.
    pub address: String,
    /// The TCP port.
    pub port: u16,
}

/// What a restore is asked for, beyond how a container is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// What it shares with `checkpoint`.
    pub criu: Criu,
    /// Restore established TCP connections as closed.
    pub tcp_close: bool,
    /// The LSM profile of the restored processes, `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// The LSM context of the restored mounts.
    pub lsm_mount_context: Option<String>,
}
