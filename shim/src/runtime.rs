//! What a helper does with a container: by the library of this program, or by the binary that the options name.
//!
//! Everything here runs in a forked helper and may block. The two ways end in the same report; start at [`create`].

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop::bundle::Bundle;
use orlop::event_log::{self, Ending, Event};
use orlop::id::ContainerId;
use orlop::launch::criu::options::Restore;
use orlop::launch::criu::restore;
use orlop::launch::delete::Force;
use orlop::launch::exec::{self, Attention, Paused, Whole};
use orlop::launch::{self, Keyring};
use orlop::plan::RootChange;
use orlop::state::{Directory, Root, State};
use orlop::{Error, Kind};
use prost::Message;
use serde::Deserialize;
use sys::daemon::Ended;

use crate::binary::Binary;
use crate::failure::{Failure, Outcome};
use crate::helper::{Done, Report};
use crate::options::Options;
use crate::proto::task::{Mount, StatsResponse};
use crate::{logger, mounts, stats};

/// How long a phase of a create, a start or an exec may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The container that something is done to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The namespace of containerd.
    pub(crate) namespace: String,
    /// Its id.
    pub(crate) id: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// The options it was created with.
    pub(crate) options: Options,
}

/// What a new process gets as its streams.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Descriptors 0, 1 and 2; with a terminal they only serve the set-up.
    pub(crate) descriptors: [OwnedFd; 3],
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
    /// A program that reads what it prints, to be started first.
    pub(crate) logger: Option<logger::Start>,
}

/// What config.json says that the shim must know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Facts {
    linux: LinuxFacts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LinuxFacts {
    namespaces: Vec<Namespace>,
    cgroups_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Facts {
    fn read(bundle: &Path) -> Self {
        let text = std::fs::read(bundle.join("config.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whether other processes outlive the first one: the container has no pid namespace of its own.
    fn shares_pids(&self) -> bool {
        !self.linux.namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }

    /// `slice:prefix:name` means systemd, also where no option says so.
    fn names_a_slice(&self) -> bool {
        let parts: Vec<&str> = self.linux.cgroups_path.split(':').collect();
        parts.len() == 3 && !self.linux.cgroups_path.contains('/')
    }
}

impl Target {
    /// The directory of the root file system.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// The runtime's binary, where one is to be used.
    pub(crate) fn binary(&self) -> Option<Binary> {
        self.options.binary().map(|program| Binary {
            program: program.to_owned(),
            root: self.options.root(&self.namespace),
            log: self.bundle.join("log.json"),
            systemd: self.options.systemd_cgroup,
        })
    }

    pub(crate) fn directory(&self) -> orlop::Result<Directory> {
        let id = ContainerId::try_from(self.id.as_str())?;
        match Root::open(&self.options.root(&self.namespace)) {
            Ok(root) => root.container(&id),
            Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Err(orlop::state::missing(&id)),
            Err(error) => Err(error),
        }
    }

    /// Notes how the container ended in its log, which `orlop events --follow` reads.
    pub(crate) fn note_end(&self, ended: Ended) {
        // The state directory of another runtime is not ours to write in.
        let directory = if self.binary().is_none() { self.directory().ok() } else { None };
        let number = |value: u32| i32::try_from(value).ok();
        let ending = match ended.signal {
            Some(signal) => Ending { signal: number(signal), ..Ending::default() },
            None => Ending { code: number(ended.status), ..Ending::default() },
        };
        directory.iter().for_each(|directory| event_log::append(directory, &[Event::Exited(ending)]));
    }

    fn state(&self) -> orlop::Result<State> {
        self.directory()?.open_record().map(|(_, state)| state)
    }
}

/// Mounts the root file system and makes the container up to the point where its program could start.
///
/// # Errors
/// "OCI runtime create failed" and why; everything is unmounted.
pub(crate) fn create(target: &Target, rootfs: &[Mount], mut streams: Streams) -> Outcome<Done> {
    let why = |error: Error| Failure::of_runtime("create", &error);
    target
        .options
        .save(&target.bundle)
        .map_err(|error| Failure::unknown(format!("save the options: {error}")))?;
    mounts::mount_all(rootfs, &target.rootfs()).map_err(|error| Failure::unknown(error.to_string()))?;
    let logger = match streams.logger.take().map(logger::Start::run) {
        Some(Err(failure)) => return Err(unmounted(target, failure)),
        Some(Ok(logger)) => Some(logger),
        None => None,
    };
    let facts = Facts::read(&target.bundle);
    let made = match target.binary() {
        Some(binary) => binary.create(&target.id, &target.bundle, streams, &target.options),
        None => create_here(target, streams, &facts).map_err(why),
    };
    let mut done = made.map_err(|failure| unmounted(target, failure))?;
    done.report.shared_pids = facts.shares_pids();
    done.logger = logger;
    Ok(done)
}

fn unmounted(target: &Target, mut failure: Failure) -> Failure {
    if let Err(error) = mounts::unmount_all(&target.rootfs()) {
        failure.text = format!("{}; then {error}", failure.text);
    }
    failure
}

fn create_here(target: &Target, streams: Streams, facts: &Facts) -> orlop::Result<Done> {
    let launch = launch_options(target, streams, facts);
    let id = ContainerId::try_from(target.id.as_str())?;
    let bundle = Bundle::open(&target.bundle)?;
    let root = Root::open_or_create(&target.options.root(&target.namespace))?;
    let created = launch::create(&root, &id, &bundle, &launch)?;
    launch::leave(&created)?;
    Ok(made(created))
}

/// Restores a container by the library.
pub(crate) fn restore_here(target: &Target, streams: Streams, how: &Restore) -> orlop::Result<Done> {
    let launch = launch_options(target, streams, &Facts::read(&target.bundle));
    let id = ContainerId::try_from(target.id.as_str())?;
    let bundle = Bundle::open(&target.bundle)?;
    let root = Root::open_or_create(&target.options.root(&target.namespace))?;
    restore::restore(&root, &id, &bundle, &launch, how, None).map(made)
}

/// Whether other processes of a bundle's container outlive its first one.
pub(crate) fn shares_pids(bundle: &Path) -> bool {
    Facts::read(bundle).shares_pids()
}

fn launch_options(target: &Target, streams: Streams, facts: &Facts) -> launch::Options {
    let options = &target.options;
    let systemd = options.systemd_cgroup || facts.names_a_slice();
    launch::Options {
        descriptors: streams.descriptors.into(),
        pid_file: Some(target.bundle.join("init.pid")),
        root_change: if options.no_pivot_root { RootChange::Move } else { RootChange::Pivot },
        keyring: if options.no_new_keyring { Keyring::Caller } else { Keyring::New },
        timeout: PATIENCE,
        ..launch::Options::default_for(if systemd {
            cgroups::Driver::Systemd
        } else {
            cgroups::Driver::Cgroupfs
        })
    }
}

fn made(created: launch::Created) -> Done {
    let cgroup = serde_json::to_vec(&created.state.cgroup).unwrap_or_default();
    let report = Report { pid: created.spawned.pid, cgroup, ..Report::default() };
    Done { report, pidfd: Some(created.spawned.pidfd), console: created.console, ..Done::default() }
}

/// Starts the program of a created container.
///
/// # Errors
/// "OCI runtime start failed" and why.
pub(crate) fn start(target: &Target) -> Outcome<Done> {
    if let Some(binary) = target.binary() {
        return binary.start(&target.id);
    }
    let start = || {
        let directory = target.directory()?;
        directory.lock()?;
        let (record, state) = directory.open_record()?;
        launch::start::start(&directory, &state, &record.page()?, PATIENCE)
    };
    start().map_err(|error| Failure::of_runtime("start", &error))?;
    Ok(Done::default())
}

/// Runs one more process in the container.
///
/// # Errors
/// "OCI runtime exec failed" and why.
pub(crate) fn exec(target: &Target, exec_id: &str, process: &[u8], mut streams: Streams) -> Outcome<Done> {
    let logger = streams.logger.take().map(logger::Start::run).transpose()?;
    let process = with_terminal(process, streams.terminal);
    let made = match target.binary() {
        Some(binary) => binary.exec(&target.id, exec_id, &target.bundle, &process, streams),
        None => {
            exec_here(target, exec_id, &process, streams).map_err(|error| Failure::of_runtime("exec", &error))
        }
    };
    made.map(|done| Done { logger, ..done })
}

/// The process as it was asked for: whether it has a terminal is what the request says, not what stands in the process.
fn with_terminal(process: &[u8], terminal: bool) -> Vec<u8> {
    let Ok(mut parsed) = serde_json::from_slice::<serde_json::Value>(process) else {
        return process.to_vec();
    };
    if let Some(fields) = parsed.as_object_mut() {
        fields.insert("terminal".to_owned(), terminal.into());
    }
    parsed.to_string().into_bytes()
}

fn exec_here(target: &Target, exec_id: &str, process: &[u8], streams: Streams) -> orlop::Result<Done> {
    let whole = Whole::parse(process, "process")?;
    let options = exec::Options {
        descriptors: streams.descriptors.into(),
        console_socket: None,
        pidfd_socket: None,
        pid_file: Some(target.bundle.join(format!("{exec_id}.pid"))),
        cgroups: Vec::new(),
        paused: Paused::Refused,
        attention: if streams.terminal { Attention::Foreground } else { Attention::Detached },
        terminal_size: None,
        timeout: PATIENCE,
        newlines: Default::default(),
    };
    let executed = exec::exec(&target.directory()?, exec::Program::Whole(Box::new(whole)), &options)?;
    let report = Report { pid: executed.spawned.pid, ..Report::default() };
    Ok(Done { report, pidfd: Some(executed.spawned.pidfd), console: executed.console, ..Done::default() })
}

/// Removes a container that has stopped or was never started, and unmounts its root file system.
///
/// # Errors
/// What could not be removed.
pub(crate) fn delete(target: &Target) -> Outcome<Done> {
    let deleted = match target.binary() {
        Some(binary) => binary.delete(&target.id),
        None => delete_here(target, Force::No).map_err(Failure::from),
    };
    let unmounted =
        mounts::unmount_all(&target.rootfs()).map_err(|error| Failure::unknown(error.to_string()));
    deleted.and(unmounted)?;
    Ok(Done::default())
}

/// Removes whatever a shim that died has left: the container in any state, and its mounts.
pub(crate) fn delete_leftovers(target: &Target) -> Result<(), String> {
    let deleted = match target.binary() {
        Some(binary) => binary.delete_forced(&target.id).map_err(|failure| failure.text),
        None => delete_here(target, Force::Yes).map_err(|error| error.to_string()),
    };
    let unmounted = mounts::unmount_all(&target.rootfs()).map_err(|error| error.to_string());
    deleted.and(unmounted)
}

fn delete_here(target: &Target, force: Force) -> orlop::Result<()> {
    let delete = || {
        let directory = target.directory()?;
        directory.lock()?;
        launch::delete::delete(&directory, force)
    };
    match delete() {
        Ok(_) => Ok(()),
        // It is gone, which is what was asked for.
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Stops every process of the container.
///
/// # Errors
/// What the freezer says.
pub(crate) fn pause(target: &Target) -> Outcome<Done> {
    match target.binary() {
        Some(binary) => binary.simple("pause", &target.id)?,
        None => {
            let directory = target.directory()?;
            directory.open_record()?.1.cgroup.open()?.freeze()?;
            event_log::append(&directory, &[Event::Paused]);
        }
    }
    Ok(Done::default())
}

/// Lets every process of the container go on.
///
/// # Errors
/// What the freezer says.
pub(crate) fn resume(target: &Target) -> Outcome<Done> {
    match target.binary() {
        Some(binary) => binary.simple("resume", &target.id)?,
        None => {
            let directory = target.directory()?;
            directory.open_record()?.1.cgroup.open()?.thaw()?;
            event_log::append(&directory, &[Event::Resumed]);
        }
    }
    Ok(Done::default())
}

/// Changes the limits of the container: `resources` is `linux.resources` as JSON.
///
/// # Errors
/// What the cgroups say; nothing is changed then.
pub(crate) fn update(target: &Target, resources: &[u8]) -> Outcome<Done> {
    match target.binary() {
        Some(binary) => binary.update(&target.id, resources)?,
        None => {
            let asked: cgroups::Resources = orlop::bundle::parse(resources, "resources")?;
            let directory = target.directory()?;
            directory.lock()?;
            let (_, state) = directory.open_record()?;
            orlop::limits::update(&directory, &state, &asked, &[])?;
        }
    }
    Ok(Done::default())
}

/// Sends a signal to the first process, or to all.
///
/// # Errors
/// NOT_FOUND where it has ended.
pub(crate) fn kill(target: &Target, signal: u32, whom: Whom) -> Outcome<Done> {
    match target.binary() {
        Some(binary) => binary.kill(&target.id, signal, whom)?,
        None => kill_here(target, signal, whom)?,
    }
    Ok(Done::default())
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The first process.
    Init,
    /// Every process of the container.
    All,
}

fn kill_here(target: &Target, signal: u32, whom: Whom) -> Outcome<()> {
    let state = target.state()?;
    let number = i32::try_from(signal).unwrap_or(i32::MAX);
    if whom == Whom::All {
        if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            state.cgroup.open()?.signal(signal)?;
        }
    } else {
        let init = state.open_init()?.ok_or_else(|| Failure::not_found("process already finished"))?;
        sys::signal::pidfd_send(init, number)
            .map_err(|errno| Failure::unknown(format!("unknown error after kill: {errno}")))?;
    }
    if signal == 9 {
        // On v1 a frozen process dies only once it is thawed.
        state.cgroup.open()?.thaw()?;
    }
    Ok(())
}

/// Ends everything that is left in the cgroup of a container whose first process has ended.
pub(crate) fn kill_rest(target: &Target, cgroup: &cgroups::Record) -> Outcome<Done> {
    // The groups of another runtime's container are only guessed, and a wrong guess would kill strangers.
    if let Some(binary) = target.binary() {
        binary.kill(&target.id, 9, Whom::All)?;
    } else {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        cgroup.open()?.kill(deadline)?;
    }
    Ok(Done::default())
}

/// What the container used, as the answer to Stats.
///
/// # Errors
/// NOT_FOUND where it has no cgroup.
pub(crate) fn measure(cgroup: &cgroups::Record) -> Outcome<Done> {
    let missing = || Failure::not_found("cgroup does not exist");
    if cgroup.is_empty() || !cgroup.container_paths().iter().any(|(_, path)| Path::new(path).exists()) {
        return Err(missing());
    }
    let reading = cgroup.open().and_then(|group| group.stats()).map_err(|_| missing())?;
    let payload = StatsResponse { stats: Some(stats::message(&reading)) }.encode_to_vec();
    Ok(Done { report: Report { payload, ..Report::default() }, ..Done::default() })
}

/// A copy of a descriptor for the program that a stream is handed to.
pub(crate) fn copy(descriptor: &impl AsFd) -> Outcome<OwnedFd> {
    descriptor
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Failure::unknown(format!("duplicate a descriptor: {error}")))
}
