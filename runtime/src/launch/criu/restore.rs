//! restore: a container from images, in cgroups and under a record of its own.
//!
//! Images hold processes, their memory and their mounts; what of the host a container gets, which groups and limits it
//! has and who it is comes from the bundle, as for a new container. Of the hooks only those run that set up what is
//! outside of the processes: prestart and createRuntime. Start at [`restore`].

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use child::message::Kind as Said;
use child::page::Phase;
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sys::error::Context;

use super::super::process::run_hooks;
use super::super::saved::Outside;
use super::super::spawned::{Deadline, Spawned};
use super::super::undo::Undo;
use super::super::{Console, Created, Made, Options, Prepared, console, prepare, state_json, view};
use super::confinement;
use super::dump::EXTERNAL_NAMESPACES;
use super::external;
use super::options::Restore;
use super::rpc::{Features, Message, Request, Response, Second, opts};
use super::swrk::{self, Birth, FIRST_EXTRA, Streams, Swrk};
use super::{Directories, config_file, open_work, shared_options};
use crate::bundle::Bundle;
use crate::config::mounts::CgroupView;
use crate::config::namespaces::Kind as Namespace;
use crate::id::ContainerId;
use crate::netlink::Socket;
use crate::plan_criu::{self, Inputs, User};
use crate::state::{Directory, Init, Progress, Root, State, Status};
use crate::{Error, Kind, Result, procfs, record};

const LOG: &str = "restore.log";

/// Makes a container from images; it runs when this returns. On failure nothing is left.
///
/// # Errors
/// As [`super::super::create`]; `Kernel` with the first error of CRIU's log; `Unsupported` for what CRIU cannot do and
/// for images whose processes have more rights than the configuration gives.
pub fn restore(
    root: &Root,
    id: &ContainerId,
    bundle: &Bundle,
    options: &Options,
    how: &Restore,
    criu: Option<&Path>,
) -> Result<Created> {
    let (prepared, spec, warnings) = prepare(root, id, bundle, options)?;
    let images = swrk::open_directory(&how.criu.image_path, "--image-path")?;
    let names = external::read_descriptors(&images, &how.criu.image_path)?;
    let directories = Directories { images, work: open_work(&how.criu)? };
    let namespaces = prepared.open_namespaces()?;
    let restoring = Restoring { prepared, spec, how, names, directories, namespaces, criu };
    let directory = root.claim(id)?;
    let mut undo = Undo::new(&directory);
    match restoring.make(&directory, &mut undo) {
        Ok((spawned, record, state, console)) => {
            Ok(Created { spawned, directory, record, state, console, warnings })
        }
        Err(error) => Err(undo.undo(error)),
    }
}

/// Everything that is known before the first side effect.
struct Restoring<'a> {
    prepared: Prepared<'a>,
    spec: crate::config::Spec,
    how: &'a Restore,
    /// What was behind the standard streams.
    names: Vec<String>,
    directories: Directories,
    /// The namespaces that CRIU leaves to others, with their names in the images.
    namespaces: Vec<(&'static str, OwnedFd)>,
    criu: Option<&'a Path>,
}

/// What changes while CRIU works.
struct Work<'a, 'b> {
    state: &'a mut State,
    record: &'a mut record::File,
    undo: &'a mut Undo<'b>,
    directory: &'a Directory,
    view: &'a CgroupView,
    init: Option<(i32, OwnedFd)>,
    console: Option<OwnedFd>,
}

impl Prepared<'_> {
    /// The namespaces that the images name as external.
    fn open_namespaces(&self) -> Result<Vec<(&'static str, OwnedFd)>> {
        let mut opened = Vec::new();
        for (kind, name) in EXTERNAL_NAMESPACES {
            let Some(path) = self.config.namespaces.path(kind) else { continue };
            let fd = openat(rustix::fs::CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .context("openat", || format!("open {}", path.display()))
                .map_err(|error| error.with_key("linux.namespaces"))?;
            opened.push((name, fd));
        }
        if self.config.namespaces.path(Namespace::Cgroup).is_some() {
            let text = "criu cannot join a cgroup namespace";
            return Err(Error::new(Kind::Unsupported, text).with_key("linux.namespaces"));
        }
        Ok(opened)
    }
}

impl Restoring<'_> {
    fn make(&self, directory: &Directory, undo: &mut Undo<'_>) -> Result<Made> {
        let prepared = &self.prepared;
        let (mut state, mut record, cgroup) = prepared.begin(&self.spec, directory, undo)?;
        let resctrl = prepared.prepare_resctrl(undo)?;
        let view = prepared.config.mounts.cgroup_view(&view(&state.cgroup, &prepared.layout)?);
        let swrk = self.start(directory, &cgroup, &state)?;
        let work = Work {
            state: &mut state,
            record: &mut record,
            undo,
            directory,
            view: &view,
            init: None,
            console: None,
        };
        let (pid, pidfd, console) = self.converse(swrk, work)?;
        resctrl.iter().try_for_each(|group| group.join(pid.unsigned_abs()))?;
        let spawned = spawned(pid, pidfd, &record)?;
        let options = prepared.options;
        spawned.announce(options.pidfd_socket.as_deref(), options.pid_file.as_deref())?;
        Ok((spawned, record, state, console))
    }

    /// CRIU in the container's cgroups, in a mount namespace that ends with it.
    fn start(&self, directory: &Directory, cgroup: &cgroups::Prepared, state: &State) -> Result<Swrk> {
        let prepared = &self.prepared;
        let streams = &prepared.options.descriptors;
        let [Some(stdin), Some(stdout), Some(stderr)] = [0, 1, 2].map(|number| streams.get(number)) else {
            return Err(Error::new(Kind::Internal, "a restore without standard streams"));
        };
        let mut extra = vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        extra.extend(self.namespaces.iter().map(|(_, fd)| fd.as_fd()));
        let program = swrk::program(self.criu, extra.len())?;
        let path = CString::new(directory.path().as_os_str().as_bytes()).unwrap_or_default();
        let seen = fstat(directory.fd()).context("fstat", || "look at the state directory".to_owned())?;
        let keyring = prepared.keyring();
        let inputs = Inputs {
            program: &program,
            config: &prepared.config,
            root_inode: prepared.root_inode()?,
            directory: (&path, (seen.st_dev, seen.st_ino)),
            cgroup_files: cgroup.tasks().len(),
            keyring: keyring.as_deref(),
        };
        let plan = plan_criu::restore(&inputs);
        let birth = Birth { flags: MOUNT_NAMESPACE, group: cgroup.unified_group(), tasks: cgroup.tasks() };
        let streams = Streams { own: [stdin.as_fd(), stdout.as_fd()], extra };
        Swrk::start(&plan, &streams, &birth, state, |spawned| {
            let pid = Pid::from_raw(spawned.pid)
                .ok_or_else(|| Error::new(Kind::Internal, "the new process has no pid"))?;
            cgroup.adopt(pid)
        })
    }

    fn converse(&self, swrk: Swrk, mut work: Work<'_, '_>) -> Result<(i32, OwnedFd, Option<OwnedFd>)> {
        // Open until the end: CRIU reads them through this process.
        let directories = self.directories.within(swrk.process.pid);
        let done = directories.as_ref().map_err(Clone::clone).and_then(|directories| {
            let request = self.request(directories, &work)?;
            self.ask(&swrk, request)?;
            self.until_restored(&swrk, &mut work)
        });
        match done {
            Ok(()) => swrk.wait().map(drop)?,
            // CRIU would let the processes run although an answer stays away, so they end first.
            Err(error) => return Err(swrk.end(work.end(error))),
        }
        let (pid, pidfd) = work.init.ok_or_else(|| Error::new(Kind::Kernel, "criu restored no process"))?;
        Ok((pid, pidfd, work.console))
    }

    fn ask(&self, swrk: &Swrk, mut request: Message) -> Result<()> {
        let version = swrk.version()?;
        let how = self.how;
        if version < LSM_SINCE && (how.lsm_profile.is_some() || how.lsm_mount_context.is_some()) {
            let text = "criu is too old for a choice of LSM labels; 3.16 is the oldest one";
            return Err(Error::new(Kind::Unsupported, text).with_key("--lsm-profile"));
        }
        swrk.demand(Features { lazy_pages: how.criu.lazy_pages, ..Features::default() })?;
        cgroup_roots(swrk.process.pid, &mut request)?;
        swrk.send(&Message::request(Request::Restore).with_options(&request))
    }

    fn until_restored(&self, swrk: &Swrk, work: &mut Work<'_, '_>) -> Result<()> {
        loop {
            let (response, fd) = swrk.receive()?;
            if !response.success {
                return Err(swrk::refused(&response, &Directories::log(&self.how.criu, LOG)));
            }
            if response.kind != Request::Notify as u64 {
                return Ok(());
            }
            self.notified(&response, fd, work, swrk.process.pid)?;
            swrk.go_on()?;
        }
    }

    fn notified(
        &self,
        response: &Response,
        fd: Option<OwnedFd>,
        work: &mut Work<'_, '_>,
        criu: i32,
    ) -> Result<()> {
        match response.script.as_str() {
            "setup-namespaces" => {
                work.note_init(response.pid)?;
                if self.prepared.config.namespaces.is_new(Namespace::Network) {
                    loopback_up(response.pid)?;
                }
                self.run_hooks(response.pid, work)
            }
            "orphan-pts-master" => self.take_console(fd, work),
            "post-restore" => work.note_init(response.pid),
            // Everything is as it was, with the rights that it had, and nothing runs yet.
            "pre-resume" => self.conclude(work, criu),
            _ => Ok(()),
        }
    }

    fn run_hooks(&self, pid: i32, work: &mut Work<'_, '_>) -> Result<()> {
        let hooks = &self.prepared.config.hooks;
        let text = state_json::for_hook(work.state, Status::Created, pid);
        work.undo.hooks_ran = Some(state_json::for_hook(work.state, Status::Stopped, 0));
        run_hooks(hooks.prestart.iter().chain(&hooks.create_runtime), &text, self.prepared.options.timeout)
    }

    fn take_console(&self, master: Option<OwnedFd>, work: &mut Work<'_, '_>) -> Result<()> {
        let master = master.ok_or_else(|| Error::new(Kind::Kernel, "criu: a terminal without a master"))?;
        if let Console::Socket(path) = &self.prepared.options.console {
            let deadline = Deadline::new("restore", self.prepared.options.timeout);
            return console::send(path, master.as_fd(), b"/dev/pts/ptmx", "--console-socket", &deadline);
        }
        work.console = Some(master);
        Ok(())
    }

    /// Checks what was made and records it, before it runs.
    fn conclude(&self, work: &mut Work<'_, '_>, criu: i32) -> Result<()> {
        let prepared = &self.prepared;
        let pid = work.init.as_ref().map_or(0, |init| init.0);
        confinement::check(&prepared.config, prepared.filter.as_ref(), work.state, criu)?;
        let root = prepared.root_inode()?;
        self.set_attributes(work, root)?;
        prepared.save(&self.spec, work.directory, root, work.view, entered(pid)?)?;
        work.record.page().map(|page| page.set_phase(Phase::Executing))?;
        work.state.progress = Progress::Created;
        work.record.write(work.state)
    }

    /// Gives the mounts the attributes that the configuration says.
    fn set_attributes(&self, work: &Work<'_, '_>, root: (u64, u64)) -> Result<()> {
        let Some((pid, pidfd)) = &work.init else { return Ok(()) };
        let Prepared { config, facts, .. } = &self.prepared;
        let own =
            config.namespaces.has(Namespace::User) && !config.namespaces.is_hosts(Namespace::User, facts);
        let user = if own { User::OfContainer } else { User::OfRuntime };
        let root_of_init = CString::new(format!("{pid}/root")).unwrap_or_default();
        let plan = plan_criu::attributes(config, root, &root_of_init, user);
        let process = swrk::spawn(&plan, vec![pidfd.as_fd()], &Birth::default())?;
        let done = match process.receive(&plan.steps) {
            Ok(Some((message, _))) if message.kind == Said::NeedAdopt => Ok(()),
            Ok(_) => Err(process.failure(&plan.steps, work.state)),
            Err(error) => Err(error),
        };
        process.kill().map(drop).and(done)
    }

    fn request(&self, directories: &Directories, work: &Work<'_, '_>) -> Result<Message> {
        let (prepared, how) = (&self.prepared, self.how);
        let mut request = shared_options(&how.criu, directories, LOG);
        request.flag(opts::EVASIVE_DEVICES, true);
        request.flag(opts::RST_SIBLING, true);
        request.flag(opts::TCP_CLOSE, how.tcp_close);
        request.text(opts::ROOT, &root(work.directory)?);
        how.lsm_profile.iter().for_each(|profile| request.text(opts::LSM_PROFILE, profile));
        how.lsm_mount_context.iter().for_each(|context| request.text(opts::LSM_MOUNT_CONTEXT, context));
        external::mounts_for(&Outside::of(&prepared.config, work.view, &[]))?
            .iter()
            .for_each(|mount| request.text(opts::EXTERNAL, mount));
        self.inherit(&mut request);
        let others = prepared.config.namespaces.joined.iter();
        let is_other = |kind: Namespace| EXTERNAL_NAMESPACES.iter().all(|(external, _)| *external != kind);
        for (kind, _, path) in others.filter(|joined| is_other(joined.0)) {
            request.pair(opts::JOIN_NS, kind.file(), Second::Text(&path.to_string_lossy()));
        }
        config_file(&self.spec.annotations.0, &mut request);
        Ok(request)
    }

    /// The streams and namespaces that CRIU has open, by their names in the images.
    fn inherit(&self, request: &mut Message) {
        let number = |index: usize| Second::Number(u64::from(FIRST_EXTRA.unsigned_abs()) + index as u64);
        external::inherited(&self.names)
            .for_each(|(index, name)| request.pair(opts::INHERIT_FD, name, number(index)));
        for (index, (name, _)) in self.namespaces.iter().enumerate() {
            request.pair(opts::INHERIT_FD, name, number(3 + index));
        }
    }
}

/// CLONE_NEWNS.
const MOUNT_NAMESPACE: u64 = 0x2_0000;

/// The CRIU that can change labels.
const LSM_SINCE: u32 = super::rpc::version(3, 16, 0);

impl Work<'_, '_> {
    /// The first process exists: a child of this process, so its number is not another's.
    fn note_init(&mut self, pid: i32) -> Result<()> {
        if self.init.as_ref().is_some_and(|init| init.0 == pid) {
            return Ok(());
        }
        let what = || format!("open process {pid}");
        let number =
            Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::Kernel, "criu: a process without a pid"))?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).context("pidfd_open", what)?;
        self.state.init = Some(Init::of(pid, &pidfd)?);
        self.undo.init = pidfd.try_clone().ok();
        self.init = Some((pid, pidfd));
        self.record.write(self.state)
    }
}

impl Work<'_, '_> {
    /// Ends CRIU and everything that it made, because of `cause`.
    fn end(&self, cause: Error) -> Error {
        let kill = || self.state.cgroup.open()?.kill(Instant::now() + PATIENCE);
        if let Some((_, pidfd)) = &self.init {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        match kill() {
            Ok(()) => cause,
            Err(other) => cause.and_also(other),
        }
    }
}

/// How long processes may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mount point of the root, without links.
fn root(directory: &Directory) -> Result<String> {
    Ok(format!("{}{}", procfs::path_of(directory.fd())?, plan_criu::ROOT.to_string_lossy()))
}

/// A new network namespace is empty, and connections over the loopback come back only where it is up.
fn loopback_up(pid: i32) -> Result<()> {
    let path = format!("{pid}/ns/net");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = openat(procfs::open()?, &path, flags, Mode::empty())
        .context("openat", || format!("open /proc/{path}"))?;
    let what = || "set lo up".to_owned();
    let socket = Socket::open_in(&namespace).context("socket", what)?;
    socket.loopback_up().context("ioctl(SIOCSIFFLAGS)", what)
}

/// The groups of the container take the place of those that the images name.
fn cgroup_roots(pid: i32, request: &mut Message) -> Result<()> {
    let path = format!("{pid}/cgroup");
    let text = procfs::read_file(&procfs::open()?, &path).context("read", || format!("read /proc/{path}"))?;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(group)) = (fields.next(), fields.next()) else { continue };
        names.split(',').for_each(|name| request.pair(opts::CG_ROOT, name, Second::Text(group)));
    }
    Ok(())
}

/// CRIU puts what it restores into a time namespace, so that the clocks go on from where they stood.
fn entered(pid: i32) -> Result<u32> {
    let name = |process: &str| {
        let path = format!("/proc/{process}/ns/time");
        rustix::fs::stat(&path).context("stat", || format!("look at {path}")).map(|seen| seen.st_ino)
    };
    let is_own = name("self")? == name(&pid.to_string())?;
    Ok(if is_own { 0 } else { Namespace::Time.flag() })
}

/// The first process as a new container's would be seen; there is nothing left to say to it.
fn spawned(pid: i32, pidfd: OwnedFd, record: &record::File) -> Result<Spawned> {
    let (socket, _) = swrk::pair()?;
    let deadline = Deadline::new("restore", Duration::ZERO);
    Ok(Spawned { pid, pidfd, socket, page: record.page()?, deadline, hook_output: None })
}
