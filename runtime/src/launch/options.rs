//! How a container is made, beyond what its configuration says.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use child::op::Newlines;

use crate::plan::RootChange;
use crate::{Result, procfs};

/// How a container is made, beyond what its configuration says.
#[derive(Debug)]
pub struct Options {
    /// What becomes descriptor 0, 1, 2 and so on of the program. With a terminal the first three only serve the set-up.
    pub descriptors: Vec<OwnedFd>,
    /// Who gets the master of the terminal, if there is one.
    pub console: Console,
    /// Whether the program can tell a service manager that it is ready.
    pub notify: Notify,
    /// The socket that gets a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// The file that gets the pid.
    pub pid_file: Option<PathBuf>,
    /// How the root is entered.
    pub root_change: RootChange,
    /// Whether the program gets a session keyring of its own.
    pub keyring: Keyring,
    /// Who makes the cgroups.
    pub driver: cgroups::Driver,
    /// How long each phase may take.
    pub timeout: Duration,
    /// Variables that are added to the program's environment: NAME=value.
    pub environment: Vec<String>,
    /// Which filter of system calls the program gets.
    pub filter: FilterOf,
    /// What becomes of newlines on their way through a terminal that the caller keeps.
    pub newlines: Newlines,
}

/// Which filter of system calls a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOf {
    /// The one of `linux.seccomp`, if it has one.
    Configuration,
    /// One that asks the caller about every call, whatever the configuration says: [`start_learning`]. Processes that join
    /// the container have none.
    Learning,
}

/// Who gets the master of a container's terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// The caller: [`Created::console`].
    Caller,
    /// Whoever listens on this socket. A container without a terminal is refused then.
    Socket(PathBuf),
    /// Nobody. A container with a terminal is refused then.
    Nobody,
}

/// Whether a container has a notification socket; `notify.rs` says how it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// The directory `notify` of its state is mounted at [`crate::notify::INSIDE`], and NOTIFY_SOCKET names a socket in
    /// it that is still to be made.
    Mounted,
    /// It has none.
    Absent,
}

/// Whose session keyring the program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyring {
    /// A new one.
    New,
    /// The caller's: `--no-new-keyring`.
    Caller,
}

impl RootChange {
    /// The host's mounts of proc and sysfs, where they would stay below the container's root.
    pub(super) fn kernel_views(self) -> Result<Vec<CString>> {
        match self {
            Self::Pivot => Ok(Vec::new()),
            Self::Move => procfs::kernel_views(),
        }
    }
}

impl Options {
    /// No sockets, no files, the defaults of the command line.
    pub fn default_for(driver: cgroups::Driver) -> Self {
        Self {
            descriptors: Vec::new(),
            console: Console::Caller,
            notify: Notify::Absent,
            pidfd_socket: None,
            pid_file: None,
            root_change: RootChange::Pivot,
            keyring: Keyring::New,
            driver,
            timeout: Duration::from_secs(30),
            environment: Vec::new(),
            filter: FilterOf::Configuration,
            newlines: Newlines::Translated,
        }
    }
}
