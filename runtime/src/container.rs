//! A container as a value: what a program that embeds the library starts with.
//!
//! It is a name in a directory of states, not a process: dropping it ends nothing, and another process can
//! [`Container::open`] the same one. Every call takes the container's lock for as long as it needs it.
//!
//! ```no_run
//! use orlop::container::{Container, Options};
//! use std::path::Path;
//!
//! # fn main() -> orlop::Result<()> {
//! let null = std::fs::File::open("/dev/null").map_err(|error| orlop::Error::new(orlop::Kind::Kernel, error.to_string()))?;
//! let mut options = Options::default_for(cgroups::Driver::Cgroupfs);
//! options.descriptors = (0..3).filter_map(|_| null.try_clone().ok()).map(Into::into).collect();
//! let container = Container::create(Path::new("/run/example"), "c1", Path::new("/srv/bundle"), &options)?;
//! container.start()?;
//! println!("{} runs as process {:?}", container.id(), container.pid()?);
//! container.kill(9)?;
//! container.delete()?;
//! # Ok(())
//! # }
//! ```

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::launch::Options;
pub use crate::state::Status;

use crate::bundle::Bundle;
use crate::event_log::{self, Event};
use crate::id::ContainerId;
use crate::launch::delete::Force;
use crate::launch::{self, delete, start};
use crate::state::{Directory, Root, State};
use crate::{Error, Result, limits, record};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container in a directory of states.
#[derive(Clone, Debug)]
pub struct Container {
    root: PathBuf,
    id: ContainerId,
}

impl Container {
    /// Makes a container from a bundle, up to the point where its program could start. The first process is a child of
    /// the calling process, which reaps it; see [`Container::pidfd`].
    ///
    /// # Errors
    /// As [`launch::create`].
    pub fn create(root: &Path, id: &str, bundle: &Path, options: &Options) -> Result<Self> {
        let id = ContainerId::try_from(id)?;
        let states = Root::open_or_create(root)?;
        let created = launch::create(&states, &id, &Bundle::open(bundle)?, options)?;
        launch::leave(&created)?;
        Ok(Self { root: root.to_owned(), id })
    }

    /// A container that exists.
    ///
    /// # Errors
    /// `NotFound`; `InvalidConfig` for a bad id.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        let container = Self { root: root.to_owned(), id: ContainerId::try_from(id)? };
        container.read()?;
        Ok(container)
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Starts the program and runs the poststart hooks.
    ///
    /// # Errors
    /// As [`start::start`].
    pub fn start(&self) -> Result<()> {
        let (directory, record, state) = self.locked()?;
        start::start(&directory, &state, &record.page()?, PATIENCE)
    }

    /// What the container is doing.
    ///
    /// # Errors
    /// `NotFound`; `Kernel`.
    pub fn status(&self) -> Result<Status> {
        let (record, state) = self.read()?;
        state.status(&record.page()?)
    }

    /// The pid of the first process while it lives, as this process sees it.
    ///
    /// # Errors
    /// `NotFound`; `Kernel`.
    pub fn pid(&self) -> Result<Option<i32>> {
        let (_, state) = self.read()?;
        Ok(state.open_init()?.and(state.init).map(|init| init.pid))
    }

    /// A descriptor of the first process while it lives: it can be polled, and waited for by the process that made it.
    ///
    /// # Errors
    /// `NotFound`; `Kernel`.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        self.read()?.1.open_init()
    }

    /// Sends a signal to the first process; SIGKILL to all, where the others would outlive it.
    ///
    /// # Errors
    /// `WrongState` where it has ended; `Timeout` for what does not die.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let (record, state) = self.read()?;
        launch::kill::kill(&state, state.status(&record.page()?)?, signal)
    }

    /// Freezes every process.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn pause(&self) -> Result<()> {
        let (directory, _, state) = self.locked()?;
        state.cgroup.open()?.freeze()?;
        event_log::append(&directory, &[Event::Paused]);
        Ok(())
    }

    /// Thaws every process.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn resume(&self) -> Result<()> {
        let (directory, _, state) = self.locked()?;
        state.cgroup.open()?.thaw()?;
        event_log::append(&directory, &[Event::Resumed]);
        Ok(())
    }

    /// Changes the limits that `resources` asks for, all of them or none.
    ///
    /// # Errors
    /// `InvalidConfig`, `Unsupported` and `Kernel` with the key.
    pub fn update(&self, resources: &cgroups::Resources) -> Result<()> {
        let (directory, _, state) = self.locked()?;
        limits::update(&directory, &state, resources, &[])
    }

    /// Ends and removes the container; the failure of a poststop hook is returned as a warning.
    ///
    /// # Errors
    /// `NotFound`; `Timeout` and `Kernel` with what could not be removed.
    pub fn delete(&self) -> Result<Option<Error>> {
        let directory = self.directory()?;
        directory.lock()?;
        delete::delete(&directory, Force::Yes)
    }

    fn directory(&self) -> Result<Directory> {
        Root::open(&self.root)?.container(&self.id)
    }

    fn read(&self) -> Result<(record::File, State)> {
        self.directory()?.open_record()
    }

    fn locked(&self) -> Result<(Directory, record::File, State)> {
        let directory = self.directory()?;
        directory.lock()?;
        let (record, state) = directory.open_record()?;
        Ok((directory, record, state))
    }
}
