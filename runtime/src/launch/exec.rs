//! exec: one more process in a container that exists.
//!
//! Nothing is parsed but the container's `process` section, which create saved, and nothing is decided after the clone.
//! [`exec`] reads top to bottom; the order inside the new processes is in [`crate::plan_exec`].
//!
//! What an exec may change is its own process: program, environment, user, capabilities, labels, limits. The container's
//! filter, namespaces, cgroup, personality and memory policy hold for it whatever is asked.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use child::message::{Kind as Said, Message};
use child::op::{Newlines, Op};
use child::page::{self, Page, Phase};
use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sys::clone::Spawn;
use sys::error::Context;

use super::clone::encode;
use super::listener::Announced;
use super::open::Inherited;
use super::saved::{self, Saved};
use super::spawned::{Deadline, Spawned};
use super::{console, image, state_json, talk};
use crate::config::process::{self, Process, Shape};
use crate::config::{Problems, capabilities, terminal};
use crate::event_log::{self, Event};
use crate::facts::Facts;
use crate::json::Integer;
use crate::plan_exec::{self, Group, Inputs, Places, Plan};
use crate::state::{Directory, State, Status};
use crate::{Error, Kind, Result, bundle, phase, procfs};

/// How a process joins, beyond what it is.
#[derive(Debug)]
pub struct Options {
    /// What becomes descriptor 0, 1, 2 and so on of the program. With a terminal the first three only serve the set-up.
    pub descriptors: Vec<OwnedFd>,
    /// The socket that gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// The socket that gets a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// The file that gets the pid.
    pub pid_file: Option<PathBuf>,
    /// Groups beneath the container's to run in; see [`cgroups::Cgroup::join`].
    pub cgroups: Vec<String>,
    /// What a paused container means.
    pub paused: Paused,
    /// Whether the caller leaves the process alone once it runs.
    pub attention: Attention,
    /// Rows and columns of a terminal whose configuration says none.
    pub terminal_size: Option<(u16, u16)>,
    /// How long the set-up may take.
    pub timeout: Duration,
    /// What becomes of newlines on their way through a terminal that the caller keeps.
    pub newlines: Newlines,
}

/// What a paused container means for an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// An error.
    Refused,
    /// The process is made, and stands still until the container is resumed.
    Joined,
}

/// What becomes of the caller while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// It stays and keeps the terminal.
    Foreground,
    /// It leaves.
    Detached,
}

/// What is run.
#[derive(Debug)]
pub enum Program {
    /// A whole `process` object.
    Whole(Box<Whole>),
    /// The container's own `process` with changes.
    Changed(Box<Changes>),
}

/// A `process` object that somebody wrote for an exec.
#[derive(Debug)]
pub struct Whole {
    shape: Shape,
    /// Whether it says which capabilities the process has; an empty object says none.
    has_capabilities: bool,
}

/// Changes to the container's own `process`.
#[derive(Debug, Default)]
pub struct Changes {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// Variables to add, `NAME=value`.
    pub env: Vec<String>,
    /// Whether it gets a terminal; the container's own `terminal` does not count.
    pub terminal: bool,
    /// The user id.
    pub uid: Option<u32>,
    /// The group id.
    pub gid: Option<u32>,
    /// Groups to add.
    pub additional_gids: Vec<u32>,
    /// Capabilities to add to the bounding, effective and permitted sets.
    pub capabilities: Vec<String>,
    /// Whether no_new_privs is set.
    pub no_new_privileges: Option<bool>,
    /// The AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// The SELinux label.
    pub selinux_label: Option<String>,
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct Executed {
    /// The process.
    pub spawned: Spawned,
    /// The master of its terminal, unless a socket got it.
    pub console: Option<OwnedFd>,
    /// What was asked for and the specification lets pass.
    pub warnings: Vec<Error>,
}

impl Whole {
    /// Reads the text of a file called `name`.
    ///
    /// # Errors
    /// `InvalidConfig` with the key.
    pub fn parse(text: &[u8], name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Presence {
            capabilities: Option<IgnoredAny>,
        }
        let shape = bundle::parse(text, name)?;
        let presence: Presence = bundle::parse(text, name)?;
        Ok(Self { shape, has_capabilities: presence.capabilities.is_some() })
    }

    /// What the file leaves out of the confinement is the container's.
    fn complete(self, container: Shape) -> Shape {
        let Self { mut shape, has_capabilities } = self;
        if !has_capabilities {
            shape.capabilities = container.capabilities;
        }
        if shape.rlimits.is_empty() {
            shape.rlimits = container.rlimits;
        }
        shape.apparmor_profile = given(shape.apparmor_profile).or(container.apparmor_profile);
        shape.selinux_label = given(shape.selinux_label).or(container.selinux_label);
        shape.oom_score_adj = shape.oom_score_adj.or(container.oom_score_adj);
        shape.scheduler = shape.scheduler.or(container.scheduler);
        shape.io_priority = shape.io_priority.or(container.io_priority);
        shape.exec_cpu_affinity = shape.exec_cpu_affinity.or(container.exec_cpu_affinity);
        shape
    }
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl Changes {
    fn apply(self, mut shape: Shape) -> Shape {
        let number = |id: u32| Integer(id.into());
        shape.args = self.args;
        shape.cwd = self.cwd.unwrap_or(shape.cwd);
        shape.env.extend(self.env);
        shape.terminal = self.terminal;
        shape.user.uid = self.uid.map(number).or(shape.user.uid);
        shape.user.gid = self.gid.map(number).or(shape.user.gid);
        shape.user.additional_gids.extend(self.additional_gids.into_iter().map(number));
        shape.capabilities.add(&self.capabilities);
        shape.no_new_privileges = self.no_new_privileges.unwrap_or(shape.no_new_privileges);
        shape.apparmor_profile = given(self.apparmor_profile).or(shape.apparmor_profile);
        shape.selinux_label = given(self.selinux_label).or(shape.selinux_label);
        shape
    }
}

/// Runs a process in a container. On failure nothing is left.
///
/// # Errors
/// `WrongState`; `InvalidConfig` and `Unsupported` before anything is touched; `NotFound` for an executable that is
/// missing; `Kernel` and `Timeout`.
pub fn exec(directory: &Directory, program: Program, options: &Options) -> Result<Executed> {
    phase::begin!("state", "find the container");
    let (record, state) = directory.open_record()?;
    let init = state.open_init()?;
    let status = state.status_with(&record.page()?, init.as_ref())?;
    let init = init.filter(|_| status != Status::Creating).ok_or_else(|| stopped(status))?;
    if status == Status::Paused && options.paused == Paused::Refused {
        let text = "cannot exec in a paused container (use --ignore-paused to override)";
        return Err(Error::new(Kind::WrongState, text));
    }
    phase::begin!("config", "check the process");
    let bytes = saved::read(directory.fd())?;
    let saved = Saved::decode(&bytes)?;
    let mut problems = Problems::default();
    let mut process = check(program, &saved, options, &mut problems)?;
    process.terminal.iter_mut().for_each(|terminal| terminal.set_newlines(options.newlines));
    check_terminal(&process, options, &mut problems);
    let warnings = problems.finish()?;
    let joining = Joining { state: &state, status, init, saved: &saved, process: &process, options };
    let (spawned, console) = joining.run()?;
    event_log::append(directory, &[Event::Exec(spawned.pid)]);
    Ok(Executed { spawned, console, warnings })
}

fn stopped(status: Status) -> Error {
    let text = match status {
        Status::Creating => "cannot exec in a container that is still being created",
        _ => "cannot exec in a stopped container",
    };
    Error::new(Kind::WrongState, text)
}

fn check(program: Program, saved: &Saved<'_>, options: &Options, problems: &mut Problems) -> Result<Process> {
    let container = saved.process()?;
    let mut shape = match program {
        Program::Whole(whole) => whole.complete(container),
        Program::Changed(changes) => changes.apply(container),
    };
    shape.console_size = shape.console_size.or_else(|| options.terminal_size.map(size));
    let context = process::Context {
        namespaces: &saved.namespaces(),
        id_mappings: &saved.id_mappings()?,
        facts: &Facts::default(),
        groups: saved.groups(),
    };
    Ok(process::check(&shape, &context, problems))
}

fn size((rows, columns): (u16, u16)) -> terminal::Size {
    let number = |count: u16| Some(Integer(count.into()));
    terminal::Size { height: number(rows), width: number(columns) }
}

fn check_terminal(process: &Process, options: &Options, problems: &mut Problems) {
    let detached = options.attention == Attention::Detached;
    let text = match (process.terminal.is_some() && detached, &options.console_socket) {
        (true, None) => "cannot allocate tty if orlop will detach without setting console socket",
        (false, Some(_)) => "cannot use console socket if orlop will not detach or allocate tty",
        _ => return,
    };
    problems.errors.push(Error::new(Kind::InvalidConfig, text).with_key("--console-socket"));
}

/// Everything that is known before the first side effect.
struct Joining<'a> {
    state: &'a State,
    status: Status,
    init: OwnedFd,
    saved: &'a Saved<'a>,
    process: &'a Process,
    options: &'a Options,
}

/// What the new processes inherit, open.
struct Handles {
    join: cgroups::Join,
    proc: OwnedFd,
    cgroup_namespace: Option<OwnedFd>,
    ours: OwnedFd,
    theirs: OwnedFd,
    page: OwnedFd,
}

impl Joining<'_> {
    fn run(&self) -> Result<(Spawned, Option<OwnedFd>)> {
        phase::begin!(
            "clone",
            "open the namespaces and cgroups of process {}, make the process",
            self.init_pid()
        );
        let handles = self.open()?;
        let places = self.places(&handles);
        let root_of_init = CString::new(format!("{}/root", self.init_pid())).unwrap_or_default();
        let inputs = Inputs { saved: self.saved, process: self.process, places, root_of_init: &root_of_init };
        let plan = plan_exec::exec(&inputs);
        let mut spawned = self.spawn(&plan, places, handles)?;
        phase::begin!("set-up", "process {} joins the container", spawned.pid);
        let done = self.attend(&mut spawned, &plan).and_then(|console| {
            phase::log_steps(&spawned.page, 0, |index| talk::text_of(&plan.steps, index));
            spawned.announce(self.options.pidfd_socket.as_deref(), self.options.pid_file.as_deref())?;
            Ok(console)
        });
        match done {
            Ok(console) => Ok((spawned, console)),
            Err(error) => Err(match spawned.kill() {
                Ok(_) => error,
                Err(other) => error.and_also(other),
            }),
        }
    }

    fn init_pid(&self) -> i32 {
        self.state.init.map_or(0, |init| init.pid)
    }

    fn open(&self) -> Result<Handles> {
        let targets: Vec<&str> = self.options.cgroups.iter().map(String::as_str).collect();
        let join = self.state.cgroup.open()?.join(&targets, Pid::from_raw(self.init_pid()))?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .context("socketpair", || "make the socket of an exec".to_owned())?;
        let proc = procfs::open()?;
        let cgroup_namespace = self.cgroup_namespace(&proc, &join)?;
        Ok(Handles { join, proc, cgroup_namespace, ours, theirs, page: new_page()? })
    }

    /// The container's cgroup namespace, where the last process joins it by itself; see [`Group`].
    fn cgroup_namespace(&self, proc: &OwnedFd, join: &cgroups::Join) -> Result<Option<OwnedFd>> {
        let has = self.saved.namespaces & crate::config::namespaces::Kind::Cgroup.flag() != 0;
        if !has || !self.last_is_born_in(join) {
            return Ok(None);
        }
        self.namespace_file(proc, "cgroup").map(Some)
    }

    fn namespace_file(&self, proc: &OwnedFd, name: &str) -> Result<OwnedFd> {
        let path = format!("{}/ns/{name}", self.init_pid());
        openat(proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context("openat", || format!("open /proc/{path}"))
    }

    fn places(&self, handles: &Handles) -> Places {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let group = match (self.last_is_born_in(&handles.join), &handles.cgroup_namespace) {
            (false, _) => Group::NotLast,
            (true, None) => Group::Last,
            (true, Some(_)) => Group::LastBeforeNamespace,
        };
        Places {
            program: count(self.options.descriptors.len()),
            tasks: count(handles.join.tasks().len()),
            group,
        }
    }

    fn last_is_born_in(&self, join: &cgroups::Join) -> bool {
        join.unified_group().is_some() && !self.is_traceable()
    }

    /// Whether a process of the container may be able to trace one that is not dumpable and belongs to the host's user
    /// namespace.
    fn is_traceable(&self) -> bool {
        let container = self.saved.process().unwrap_or_default();
        let has = |set: &[String]| set.iter().any(|name| name == "CAP_SYS_PTRACE");
        let capabilities::Shape { bounding, permitted, .. } = &container.capabilities;
        !self.saved.has_user_namespace() && (has(bounding) || has(permitted))
    }

    fn spawn(&self, plan: &Plan<'_>, places: Places, handles: Handles) -> Result<Spawned> {
        let Handles { join, proc, cgroup_namespace, ours, theirs, page } = handles;
        let group = join.unified_group();
        let mut inherit: Vec<BorrowedFd<'_>> = self.options.descriptors.iter().map(AsFd::as_fd).collect();
        inherit.push(theirs.as_fd());
        inherit.extend(join.tasks());
        inherit.extend(group.filter(|_| places.group != Group::NotLast));
        inherit.extend(cgroup_namespace.as_ref().map(AsFd::as_fd));
        inherit.extend([self.init.as_fd(), proc.as_fd()]);
        let mut inherited = Inherited::in_order(&inherit)?;
        let header = (inherited.add_anywhere(theirs.as_fd())?, inherited.add_anywhere(page.as_fd())?);
        let image = image::with_plan(&encode(&plan.steps, &inherited.place(), header)?)?;
        let page = Page::map(&page).context("mmap", || "share a page with the new process".to_owned())?;
        phase::time_steps(&page);
        let process = start(&image, &inherited, group.filter(|_| places.group == Group::NotLast), 0)?;
        let deadline = Deadline::new("exec", self.options.timeout);
        Ok(Spawned {
            pid: process.pid,
            pidfd: process.pidfd,
            socket: ours,
            page,
            deadline,
            hook_output: None,
        })
    }

    /// Listens to the new processes until the program runs; returns the terminal's master unless a socket got it.
    fn attend(&self, spawned: &mut Spawned, plan: &Plan<'_>) -> Result<Option<OwnedFd>> {
        let mut console = None;
        let mut early = until_cloned(spawned, plan, self.state)?;
        while let Some((message, fd)) = next(&mut early, spawned, plan)? {
            // It is inside the container: what it may say is little, and each but once.
            match (message.kind, fd) {
                (Said::NeedMaps, None) => {
                    self.by_parent(spawned, plan)?;
                    spawned.send(Said::Go)?;
                }
                (Said::Console, Some(master)) if console.is_none() => {
                    self.hand_over(&master, spawned)?;
                    console = Some(master);
                }
                (Said::Listener, None) => {
                    self.hand_over_listener(spawned, message.value)?;
                    spawned.send(Said::Go)?;
                }
                (Said::Failed, _) => return Err(spawned.failure(&plan.steps, self.state)),
                _ => return Err(broken()),
            }
        }
        match spawned.page.phase() {
            Some(Phase::Executing) => Ok(console.filter(|_| self.options.console_socket.is_none())),
            _ => Err(spawned.failure(&plan.steps, self.state)),
        }
    }

    /// The container's filter asks an agent, so the agent gets a listener for this process too.
    fn hand_over_listener(&self, spawned: &Spawned, number: u32) -> Result<()> {
        let Some(agent) = &self.state.agent else {
            return Err(Error::new(Kind::Internal, "a listener that nobody asked for"));
        };
        let state = state_json::specified(self.state, self.status, self.init_pid());
        let from = Announced { pid: spawned.pid, pidfd: spawned.pidfd.as_fd(), number };
        agent.hand_over(state, from, &spawned.deadline)
    }

    fn hand_over(&self, master: &OwnedFd, spawned: &Spawned) -> Result<()> {
        match &self.options.console_socket {
            Some(path) => {
                console::send(path, master.as_fd(), b"/dev/pts/ptmx", "--console-socket", &spawned.deadline)
            }
            None => Ok(()),
        }
    }

    fn by_parent(&self, spawned: &Spawned, plan: &Plan<'_>) -> Result<()> {
        for step in &plan.by_parent {
            let done = talk::on_process(spawned.pid, step);
            match done {
                // An ordinary user may not lower it; engines ask for it all the same.
                Err(error) if matches!(step.op, Op::OomScoreAdj { .. }) => tracing::warn!("{error}"),
                other => other?,
            }
        }
        Ok(())
    }
}

/// What the last process can say without an answer: that it has a terminal, then a question or its failure.
const MOST_EARLY: usize = 2;

/// A message and its descriptor.
type Packet = (Message, Option<OwnedFd>);

/// Goes over to the last process once the first one has told of it, and returns what the last one said before: it runs
/// already, and waits for no answer to the master of its terminal.
fn until_cloned(spawned: &mut Spawned, plan: &Plan<'_>, state: &State) -> Result<VecDeque<Packet>> {
    let mut early = VecDeque::new();
    while let Some((message, fd)) = spawned.receive(&plan.steps)? {
        match message.kind {
            Said::Cloned => return spawned.become_last(message.value).map(|()| early),
            _ if plan.is_last(spawned.page.step()) && early.len() < MOST_EARLY => {
                early.push_back((message, fd))
            }
            Said::Failed => break,
            _ => return Err(broken()),
        }
    }
    Err(spawned.failure(&plan.steps, state))
}

fn next(early: &mut VecDeque<Packet>, spawned: &Spawned, plan: &Plan<'_>) -> Result<Option<Packet>> {
    match early.pop_front() {
        Some(packet) => Ok(Some(packet)),
        None => spawned.receive(&plan.steps),
    }
}

fn broken() -> Error {
    Error::new(Kind::Internal, "the new process broke the protocol")
}

/// Memory that the new processes share with this one: the record's page is that of the container's first process.
pub(super) fn new_page() -> Result<OwnedFd> {
    let what = || "share a page with the new process".to_owned();
    let page = memfd_create("orlop-page", MemfdFlags::CLOEXEC).context("memfd_create", what)?;
    ftruncate(&page, (page::WORDS * size_of::<u32>()) as u64).context("ftruncate", what)?;
    Ok(page)
}

/// Clones a process with the namespaces of `flags`, born in `cgroup`, and has it execute `image`.
pub(super) fn start(
    image: &image::Image,
    inherited: &Inherited,
    cgroup: Option<BorrowedFd<'_>>,
    flags: u64,
) -> Result<sys::clone::Process> {
    let copy = super::clone::image_number(image, inherited)?;
    let number = copy.as_raw_fd();
    let [fd, offset, length] = [number.to_string(), image.offset.to_string(), image.len.to_string()]
        .map(|text| CString::new(text).unwrap_or_default());
    let mut inherit = inherited.numbers();
    inherit.push(number);
    let args = [c"orlop-init", &fd, &offset, &length];
    let spawn = Spawn { flags, cgroup, image: copy.as_fd(), args, inherit: &inherit, maps: None };
    spawn.start().context("clone3", || "make a process from the init image".to_owned())
}
