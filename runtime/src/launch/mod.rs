//! create, start and delete: straight code in the parent, with guards that undo.
//!
//! [`create`] reads top to bottom as the drawing in the architecture page: check, claim, record, cgroup, clone, talk,
//! record. What is undone on failure is in [`undo`]; what the child does is in the plan.

mod clone;
pub mod console;
pub mod copy_up;
pub mod criu;
pub mod delete;
pub mod diagnose;
pub mod exec;
pub mod explain;
pub mod filter;
pub mod image;
pub mod kill;
pub mod listener;
pub mod net_devices;
pub mod open;
pub mod options;
pub mod process;
pub mod saved;
pub mod spawned;
pub mod start;
pub mod state_json;
pub mod talk;
pub mod undo;
pub mod userns;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use child::message::Kind as Said;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use sys::error::Context;

use crate::bundle::Bundle;
use crate::config::idmappings::Owner;
use crate::config::intel_rdt::IntelRdt;
use crate::config::mounts::CgroupView;
use crate::config::{Config, Problems};
use crate::event_log::{self, Event};
use crate::facts::Facts;
use crate::id::ContainerId;
use crate::plan::{self, Adopt, Filter, Inputs};
use crate::record;
use crate::stages::{Born, Conditions, Privilege, Stages, stages};
use crate::state::{Directory, Init, Progress, Root, State, Status};
use crate::{Error, Result, phase, procfs, resctrl};
use clone::cgroup_procs;
use listener::Agent;
pub use options::{Console, FilterOf, Keyring, Notify, Options};
use spawned::Spawned;
use undo::Undo;

/// A container that was just created.
#[derive(Debug)]
pub struct Created {
    /// Its first process.
    pub spawned: Spawned,
    /// Its state directory, locked.
    pub directory: Directory,
    /// Its record.
    pub record: record::File,
    /// What the record says.
    pub state: State,
    /// The master of its terminal, unless a socket got it.
    pub console: Option<OwnedFd>,
    /// What the configuration asks for and the specification lets pass.
    pub warnings: Vec<Error>,
}

/// Everything that is known before the first side effect.
struct Prepared<'a> {
    options: &'a Options,
    bundle: &'a Bundle,
    config: Config,
    facts: Facts,
    layout: cgroups::Layout,
    filter: Option<Filter>,
    id: &'a ContainerId,
}

/// Makes a container up to the point where its program could start. On failure nothing is left.
///
/// # Errors
/// `InvalidConfig` and `Unsupported` before anything is touched; `AlreadyExists`; `Kernel`, `Hook` and `Timeout` after
/// everything was undone.
pub fn create(root: &Root, id: &ContainerId, bundle: &Bundle, options: &Options) -> Result<Created> {
    phase::begin!("config", "read and check the configuration in {}", bundle.path().display());
    let (prepared, spec, warnings) = prepare(root, id, bundle, options)?;
    phase::begin!("claim", "claim the id {id}");
    let directory = root.claim(id)?;
    let mut undo = Undo::new(&directory);
    let made = prepared.make(&spec, &directory, &mut undo);
    match made {
        Ok((spawned, record, state, console)) => {
            Ok(Created { spawned, directory, record, state, console, warnings })
        }
        Err(error) => Err(undo.undo(error)),
    }
}

/// Everything that can be refused before the first side effect; the last value is what is only warned of.
fn prepare<'a>(
    root: &Root,
    id: &'a ContainerId,
    bundle: &'a Bundle,
    options: &'a Options,
) -> Result<(Prepared<'a>, crate::config::Spec, Vec<Error>)> {
    let facts = Facts::default();
    let mut problems = Problems::default();
    let mut spec = bundle.config()?;
    if options.notify == Notify::Mounted {
        spec.mounts.push(crate::notify::mount(&root.notify(id)));
    }
    if let Some(path) = spec.joined_user_namespace() {
        userns::maps_of(path).into_iter().for_each(|maps| facts.tell_joined_maps(maps));
    }
    let config = Config::check(&spec, bundle.path(), &facts, &mut problems);
    let filter = match options.filter {
        FilterOf::Configuration => filter::of(&spec, &config, &facts, &mut problems),
        FilterOf::Learning => filter::asking(&config, &facts, &mut problems),
    };
    let layout = cgroups::Layout::detect()?;
    let mut prepared = Prepared { options, bundle, config, facts, layout, filter, id };
    problems.errors.extend(cgroups::validate(&prepared.request(), &prepared.layout));
    prepared.check_terminal(&mut problems);
    prepared.check_properties(&mut problems);
    problems.errors.extend(prepared.agent().and_then(|agent| agent.probe().err()));
    let warnings = problems.finish()?;
    prepared.config.add_environment(&options.environment);
    prepared.config.set_newlines(options.newlines);
    Ok((prepared, spec, warnings))
}

type Made = (Spawned, record::File, State, Option<OwnedFd>);

impl Prepared<'_> {
    fn request(&self) -> cgroups::Request<'_> {
        cgroups::Request {
            id: self.id.as_str(),
            cgroups_path: self.config.cgroups_path.as_deref(),
            resources: &self.config.resources,
            driver: self.options.driver,
            rootless: self.facts.euid() != 0 || self.facts.in_user_namespace(),
            owner: self.owner(),
            leaf: self.config.annotations.leaf.as_deref(),
            properties: &self.config.annotations.systemd_properties,
        }
    }

    /// Who gets the groups: the container's root, if it is another user on the host and can reach them. For an ordinary
    /// user they are the caller's own.
    fn owner(&self) -> Option<cgroups::Owner> {
        let mappings = &self.config.id_mappings;
        if mappings.owner == Owner::Runtime || self.facts.euid() != 0 {
            return None;
        }
        let (uid, gid) = (mappings.host_uid(0)?, mappings.host_gid(0)?);
        self.config.mounts.has_own_writable_cgroups().then_some(cgroups::Owner { uid, gid })
    }

    /// Properties of a unit that nobody makes: whoever wrote them expects an effect.
    fn check_properties(&self, problems: &mut Problems) {
        let written = &self.config.annotations.systemd_properties;
        let unused = written.iter().filter(|_| self.options.driver != cgroups::Driver::Systemd);
        unused.for_each(|(name, _)| {
            let key = format!("annotations[\"org.systemd.property.{name}\"]");
            problems.warn(key, "has no effect without the systemd cgroup driver");
        });
    }

    /// The terminal of the configuration against the command line, in the words that runc has for it.
    fn check_terminal(&self, problems: &mut Problems) {
        let terminal = self.config.process.as_ref().is_some_and(|process| process.terminal.is_some());
        let (key, text) = match (&self.options.console, terminal) {
            (Console::Nobody, true) => (
                "process.terminal",
                "cannot allocate tty if orlop will detach without setting console socket",
            ),
            (Console::Socket(_), false) => {
                ("--console-socket", "cannot use console socket if orlop will not detach or allocate tty")
            }
            _ => return,
        };
        problems.errors.push(Error::invalid(key, text));
    }

    /// The record, then the groups that it names.
    fn begin(
        &self,
        spec: &crate::config::Spec,
        directory: &Directory,
        undo: &mut Undo<'_>,
    ) -> Result<(State, record::File, cgroups::Prepared)> {
        if self.options.notify == Notify::Mounted {
            directory.make_notify()?;
        }
        let request = self.request();
        let mut state = self.first_state(spec, cgroups::plan(&request, &self.layout)?)?;
        let record = record::File::create(directory.fd(), &state)?;
        directory.note_cgroups(&state.cgroup)?;
        undo.poststop = state.poststop.clone();
        phase::begin!("cgroup", "make the cgroup and set its limits");
        let cgroup = cgroups::prepare(&request, &self.layout)?;
        state.cgroup = cgroup.record();
        undo.cgroup = Some(state.cgroup.clone());
        Ok((state, record, cgroup))
    }

    fn make(&self, spec: &crate::config::Spec, directory: &Directory, undo: &mut Undo<'_>) -> Result<Made> {
        let (mut state, mut record, cgroup) = self.begin(spec, directory, undo)?;
        let resctrl = self.prepare_resctrl(undo)?;
        phase::begin!("clone", "plan the steps, open what they name, make the process");
        let (stages, root_inode) = (self.stages(), self.root_inode()?);
        // The hooks come after the environment is made (step 2 of the lifecycle), which is what "created" means.
        let around = state_json::around_pid(&state, Status::Created);
        let states = [&around, &around];
        let view = self.config.mounts.cgroup_view(&view(&state.cgroup, &self.layout)?);
        let procs = cgroup_procs(&cgroup, &stages)?;
        let keyring = self.keyring();
        let kernel_views = self.options.root_change.kernel_views()?;
        let inputs = Inputs {
            config: &self.config,
            stages: &stages,
            descriptors: self.options.descriptors.len(),
            root_inode,
            cgroup_files: cgroup.tasks().len() + usize::from(procs.is_some()),
            leaf_files: usize::from(cgroup.leaf().is_some()),
            cgroup_view: &view,
            adopt: self.adopt(),
            root_change: self.options.root_change,
            kernel_views: &kernel_views,
            keyring: keyring.as_deref(),
            filter: self.filter.as_ref(),
            states: states.map(|(head, tail)| (head.as_slice(), tail.as_slice())),
            hook_timeout_ms: u32::try_from(self.options.timeout.as_millis()).unwrap_or(u32::MAX),
        };
        let plan = plan::create(&inputs);
        let spawned = self.spawn(&plan, &stages, (&cgroup, procs.as_ref()), directory, &record)?;
        phase::begin!("set-up", "process {} takes its steps", spawned.pid);
        undo.init = spawned.pidfd.try_clone().ok();
        state.init = Some(Init::of(spawned.pid, &spawned.pidfd)?);
        record.write(&state)?;
        // The child mounts meanwhile, so this costs no time on a second processor.
        self.save(spec, directory, root_inode, &view, 0)?;
        let mut talk = talk::Talk::new(self, &plan, &cgroup, spawned);
        let console = talk.until_ready(&mut state, &mut record, undo)?;
        phase::begin!("created", "the container is set up; write its record");
        // The child may not do it, as it may have no right to resctrl; its program is what the class is for.
        resctrl.iter().try_for_each(|group| group.join(talk.spawned.pid.unsigned_abs()))?;
        state.late = explain::LateSteps::of(&plan.steps, self.config.hooks.start_container_patience());
        state.progress = Progress::Created;
        record.write(&state)?;
        talk.spawned.announce(self.options.pidfd_socket.as_deref(), self.options.pid_file.as_deref())?;
        Ok((talk.spawned, record, state, console))
    }

    fn save(
        &self,
        spec: &crate::config::Spec,
        directory: &Directory,
        root: (u64, u64),
        view: &CgroupView,
        entered: u32,
    ) -> Result<()> {
        let keyring = self.keyring();
        // A terminal of its own is inside the container.
        let terminal = self.config.process.as_ref().is_some_and(|process| process.terminal.is_some());
        let streams = if terminal { Vec::new() } else { criu::external::names_of(&self.options.descriptors) };
        let source = saved::Source {
            spec,
            config: &self.config,
            facts: &self.facts,
            root,
            keyring: keyring.as_deref(),
            filter: self.filter.as_ref().filter(|_| self.options.filter == FilterOf::Configuration),
            view,
            streams: &streams,
            entered,
        };
        saved::save(directory.fd(), &source)
    }

    fn first_state(&self, spec: &crate::config::Spec, cgroup: cgroups::Record) -> Result<State> {
        Ok(State {
            oci_version: spec.oci_version.clone().unwrap_or_default(),
            id: self.id.as_str().to_owned(),
            bundle: self.bundle.path().to_owned(),
            rootfs: PathBuf::from(self.config.root.path.to_string_lossy().into_owned()),
            created: crate::time::now(),
            owner: self.facts.euid(),
            annotations: spec.annotations.0.clone(),
            progress: Progress::Creating,
            boot_id: procfs::boot_id()?,
            init: None,
            cgroup,
            has_process: self.config.process.is_some(),
            late: explain::LateSteps::default(),
            agent: self.agent(),
            poststart: self.config.hooks.poststart.clone(),
            poststop: self.config.hooks.poststop.clone(),
            resctrl: self.resctrl_plan(),
            resctrl_class: self.resctrl_class(),
        })
    }

    /// `linux.intelRdt` and where resctrl is mounted. The kernel is asked for the mount only where it matters.
    fn intel_rdt(&self) -> Option<(&IntelRdt, &Path)> {
        let rdt = self.config.intel_rdt.as_ref()?;
        Some((rdt, self.facts.resctrl()?))
    }

    /// What will be made for `linux.intelRdt`; it is on record before it exists.
    fn resctrl_plan(&self) -> Vec<PathBuf> {
        let asked = self.intel_rdt();
        asked.map(|(rdt, root)| resctrl::planned(rdt, root, self.id.as_str())).unwrap_or_default()
    }

    fn resctrl_class(&self) -> Option<PathBuf> {
        let (rdt, root) = self.intel_rdt()?;
        Some(resctrl::class(rdt, root, self.id.as_str()))
    }

    fn prepare_resctrl(&self, undo: &mut Undo<'_>) -> Result<Option<resctrl::Group>> {
        let Some((rdt, root)) = self.intel_rdt() else {
            return Ok(None);
        };
        let group = resctrl::prepare(rdt, root, self.id.as_str())?;
        undo.resctrl = group.made.clone();
        Ok(Some(group))
    }

    /// Who gets the listener of the filter.
    fn agent(&self) -> Option<Agent> {
        let seccomp::Listener { path, metadata } = self.filter.as_ref()?.agent.as_ref()?;
        Some(Agent { path: path.into(), metadata: metadata.clone() })
    }

    fn stages(&self) -> Stages {
        let born = if self.layout.is_pure_v2() && self.options.driver == cgroups::Driver::Cgroupfs {
            Born::InCgroup
        } else {
            Born::Outside
        };
        let privilege = if self.facts.euid() == 0 { Privilege::Host } else { Privilege::Rootless };
        let conditions = Conditions { born_in_cgroup: born, privilege };
        stages(&self.config.namespaces, self.config.namespaces.time_offsets.is_some(), conditions)
    }

    fn root_inode(&self) -> Result<(u64, u64)> {
        let path = self.config.root.path.as_c_str();
        let what = || format!("open {}", path.to_string_lossy());
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let seen = statx(CWD, path, flags, StatxFlags::INO | StatxFlags::TYPE)
            .context("statx", what)
            .map_err(|error| error.with_key("root.path"))?;
        if rustix::fs::FileType::from_raw_mode(seen.stx_mode.into()) != rustix::fs::FileType::Directory {
            return Err(Error::invalid(
                "root.path",
                format!("{} is not a directory", path.to_string_lossy()),
            ));
        }
        Ok((rustix::fs::makedev(seen.stx_dev_major, seen.stx_dev_minor), seen.stx_ino))
    }

    fn adopt(&self) -> Adopt {
        let systemd = self.options.driver == cgroups::Driver::Systemd;
        if systemd || !self.config.net_devices.list.is_empty() { Adopt::Await } else { Adopt::Nothing }
    }

    fn keyring(&self) -> Option<CString> {
        (self.options.keyring == Keyring::New)
            .then(|| CString::new(format!("_ses.{}", self.id)).unwrap_or_default())
    }
}

/// How many files the child will write to join the groups that `record` names.
fn cgroup_files(record: &cgroups::Record, stages: &Stages) -> usize {
    match record.mounts() {
        cgroups::Mounts::Unified { .. } => usize::from(stages.second.is_some()),
        cgroups::Mounts::Hierarchies { mounts, .. } => mounts
            .iter()
            .filter(|mount| mount.version == cgroups::Version::V1 || stages.second.is_some())
            .count(),
    }
}

/// The cgroups of a container as its mounts of type cgroup show them; those of the caller where it stays in them.
pub(crate) fn view(
    record: &cgroups::Record,
    layout: &cgroups::Layout,
) -> Result<crate::config::cgroup_mount::HostCgroups> {
    use crate::config::cgroup_mount::{Hierarchy, HostCgroups};
    let c_string = |text: String| CString::new(text).unwrap_or_default();
    let mounts = match record.is_empty() {
        true => cgroups::Record::of_caller(layout)?.mounts(),
        false => record.mounts(),
    };
    Ok(match mounts {
        cgroups::Mounts::Unified { source } if source.ends_with('/') => {
            HostCgroups::V2Root { mount_point: c"/sys/fs/cgroup".to_owned() }
        }
        cgroups::Mounts::Unified { .. } => HostCgroups::V2 { mount_point: c"/sys/fs/cgroup".to_owned() },
        cgroups::Mounts::Hierarchies { mounts, .. } => {
            let (unified, hierarchies): (Vec<_>, Vec<_>) = mounts
                .into_iter()
                .map(|mount| {
                    (
                        mount.version,
                        Hierarchy { name: mount.name, data: mount.options, group: c_string(mount.source) },
                    )
                })
                .partition(|(version, _)| *version == cgroups::Version::V2);
            HostCgroups::V1 {
                hierarchies: hierarchies.into_iter().map(|entry| entry.1).collect(),
                unified: unified.into_iter().map(|entry| entry.1).next(),
            }
        }
    })
}

/// The plan of a bundle on this host, as text; nothing is opened, made or run.
///
/// # Errors
/// As [`create`] before it touches anything.
pub fn describe(bundle: &Bundle, driver: cgroups::Driver) -> Result<Vec<String>> {
    let options = Options::default_for(driver);
    let id = ContainerId::try_from("plan")?;
    let facts = Facts::default();
    let mut problems = Problems::default();
    let spec = bundle.config()?;
    let config = Config::check(&spec, bundle.path(), &facts, &mut problems);
    let filter = filter::of(&spec, &config, &facts, &mut problems);
    problems.finish()?;
    let layout = cgroups::Layout::detect()?;
    let prepared = Prepared { options: &options, bundle, config, facts, layout, filter, id: &id };
    let record = cgroups::plan(&prepared.request(), &prepared.layout)?;
    let view = prepared.config.mounts.cgroup_view(&view(&record, &prepared.layout)?);
    let (stages, keyring) = (prepared.stages(), prepared.keyring());
    let kernel_views = options.root_change.kernel_views()?;
    let inputs = Inputs {
        config: &prepared.config,
        stages: &stages,
        descriptors: 3,
        root_inode: (0, 0),
        cgroup_files: cgroup_files(&record, &stages),
        leaf_files: usize::from(record.has_leaf()),
        cgroup_view: &view,
        adopt: prepared.adopt(),
        root_change: options.root_change,
        kernel_views: &kernel_views,
        keyring: keyring.as_deref(),
        filter: prepared.filter.as_ref(),
        states: [(b"", b""); 2],
        hook_timeout_ms: 0,
    };
    Ok(plan::create(&inputs).lines())
}

/// Lets a created container's program start at once, over the create socket: `run` does that.
///
/// # Errors
/// As [`start::start`].
pub fn start_created(created: &mut Created, timeout: Duration) -> Result<()> {
    start_with(created, timeout, Ok)
}

/// As [`start_created`], for a container with [`FilterOf::Learning`]: `attend` gets the listener, and from then on whoever has
/// it must answer every call of the container.
///
/// # Errors
/// As [`start::start`], and those of `attend`, which leave the container as it is.
pub fn start_learning(
    created: &mut Created,
    timeout: Duration,
    attend: impl FnOnce(OwnedFd) -> Result<()>,
) -> Result<()> {
    start_with(created, timeout, |starting| starting.answered_by(attend))
}

fn start_with<'a>(
    created: &'a Created,
    timeout: Duration,
    prepare: impl FnOnce(start::Starting<'a>) -> Result<start::Starting<'a>>,
) -> Result<()> {
    phase::begin!("start", "start the program");
    let Created { spawned, state, directory, .. } = created;
    let starting =
        start::Starting::new(state, &spawned.page, spawned.pidfd.as_fd(), &spawned.socket, timeout);
    spawned.send(Said::Start)?;
    let events = [Event::Created(spawned.pid), Event::Started(spawned.pid)];
    prepare(starting)?.finish(|| event_log::append(directory, &events))
}

/// Lets a created container wait on its start socket and lets go of it.
///
/// # Errors
/// `Kernel`.
pub fn leave(created: &Created) -> Result<()> {
    event_log::append(&created.directory, &[Event::Created(created.spawned.pid)]);
    created.spawned.send(Said::Go)
}
