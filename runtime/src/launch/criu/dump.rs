//! checkpoint: the processes of a running container as images, and the end of the container unless it is to run on.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat, stat};
use rustix::io::write;
use rustix::process::WaitIdStatus;
use sys::error::Context;

use super::super::delete::{self, Force};
use super::super::saved::{self, Outside, Saved};
use super::super::spawned::how;
use super::external::{self, DESCRIPTORS};
use super::options::{Checkpoint, ManageCgroups, PageServer};
use super::rpc::{Features, Message, Request, Response, opts};
use super::swrk::{self, Birth, Streams, Swrk};
use super::{Directories, cgroup_mode, config_file, open_work, shared_options};
use crate::config::namespaces::Kind as Namespace;
use crate::plan_criu;
use crate::state::{Directory, State, Status};
use crate::{Error, Kind, Result};

const LOG: &str = "dump.log";

/// Saves a container whose directory is locked. It is deleted afterwards, unless it is to run on or only its memory was
/// saved; the failures of poststop hooks are returned as a warning.
///
/// # Errors
/// `WrongState`; `Unsupported` for what CRIU cannot do; `Kernel` with the first error of CRIU's log. The container runs
/// on then.
pub fn checkpoint(
    directory: &Directory,
    options: &Checkpoint,
    status_fd: Option<OwnedFd>,
    criu: Option<&Path>,
) -> Result<Option<Error>> {
    let (record, state) = directory.open_record()?;
    let status = state.status(&record.page()?)?;
    if !matches!(status, Status::Running | Status::Paused) {
        let text = format!("Container cannot be checkpointed in {} state", status.name());
        return Err(Error::new(Kind::WrongState, text));
    }
    let pid = state.init.map_or(0, |init| init.pid);
    let dump = Dump { state: &state, options, pid, status_fd };
    let saved = saved::read(directory.fd())?;
    dump.run(&Saved::decode(&saved)?.outside, criu).map_err(|error| dump.let_run(status, error))?;
    if options.leave_running || options.pre_dump {
        return Ok(None);
    }
    delete::delete(directory, Force::Yes)
}

/// A dump and what it is about.
struct Dump<'a> {
    state: &'a State,
    options: &'a Checkpoint,
    pid: i32,
    status_fd: Option<OwnedFd>,
}

impl Dump<'_> {
    fn run(&self, outside: &Outside<'_>, criu: Option<&Path>) -> Result<()> {
        let program = swrk::program(criu, 0)?;
        // Everything that can be refused comes before anything is written.
        let mounts = external::mounts_of(self.pid, outside)?;
        let directories = self.directories()?;
        let mut request = self.request(&directories, outside)?;
        mounts.iter().for_each(|mount| request.text(opts::EXTERNAL, mount));
        let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .context("openat", || "open /dev/null".to_owned())?;
        let own = Streams { own: [null.as_fd(), null.as_fd()], extra: Vec::new() };
        let plan = plan_criu::checkpoint(&program);
        let swrk = Swrk::start(&plan, &own, &Birth::default(), self.state, |_| Ok(()))?;
        match self.converse(&swrk, &request, &directories, &outside.streams) {
            Ok(()) => self.ended(swrk.wait()?),
            Err(error) => Err(swrk.end(error)),
        }
    }

    /// A pre-dump ends CRIU before the request that it waits for.
    fn ended(&self, status: Option<WaitIdStatus>) -> Result<()> {
        let failed = status.filter(|status| status.exit_status() != Some(0) && !self.options.pre_dump);
        failed
            .map_or(Ok(()), |status| Err(Error::new(Kind::Kernel, format!("criu failed: {}", how(&status)))))
    }

    fn directories(&self) -> Result<Directories> {
        let images = swrk::open_or_make(&self.options.criu.image_path, "--image-path")?;
        Ok(Directories { images, work: open_work(&self.options.criu)? })
    }

    fn converse(
        &self,
        swrk: &Swrk,
        request: &Message,
        directories: &Directories,
        streams: &[&str],
    ) -> Result<()> {
        swrk.version()?;
        let Checkpoint { pre_dump, criu, .. } = self.options;
        swrk.demand(Features { mem_track: *pre_dump, lazy_pages: criu.lazy_pages })?;
        if !pre_dump {
            write_descriptors(&directories.images, streams)?;
        }
        let kind = if *pre_dump { Request::PreDump } else { Request::Dump };
        swrk.send(&Message::request(kind).with_options(request))?;
        loop {
            let (response, _) = swrk.receive()?;
            if !response.success {
                return Err(swrk::refused(&response, &Directories::log(criu, LOG)));
            }
            if response.kind != Request::Notify as u64 {
                return Ok(());
            }
            self.notified(&response)?;
            swrk.go_on()?;
        }
    }

    /// Whoever fetches the pages waits for one byte.
    fn notified(&self, response: &Response) -> Result<()> {
        let Some(fd) = self.status_fd.as_ref().filter(|_| response.script == "status-ready") else {
            return Ok(());
        };
        write(fd, &[0]).context("write", || "write to --status-fd".to_owned()).map(drop)
    }

    fn request(&self, directories: &Directories, outside: &Outside<'_>) -> Result<Message> {
        let Checkpoint { criu, .. } = self.options;
        let mut request = shared_options(criu, directories, LOG);
        request.number(opts::PID, u64::from(self.pid.unsigned_abs()));
        request.text(opts::ROOT, &self.state.rootfs.to_string_lossy());
        request.flag(opts::LEAVE_RUNNING, self.options.leave_running);
        request.flag(opts::TCP_SKIP_IN_FLIGHT, self.options.tcp_skip_in_flight);
        request.flag(opts::LINK_REMAP, self.options.link_remap);
        if let Some(parent) = &self.options.parent_path {
            find_parent(parent, &directories.images)?;
            request.text(opts::PARENT_IMG, &parent.to_string_lossy());
            request.flag(opts::TRACK_MEM, true);
        }
        if let Some(PageServer { address, port }) = &self.options.page_server {
            let port = super::rpc::Second::Number((*port).into());
            request.pair(opts::PAGE_SERVER, address, port);
        }
        if let Some(path) = self.freezer() {
            request.text(opts::FREEZE_CGROUP, &path);
        }
        self.cgroups(&mut request);
        for name in self.namespaces(outside)? {
            request.text(opts::EXTERNAL, &name);
        }
        external::foreign(&outside.streams, criu.shell_job)
            .for_each(|name| request.text(opts::EXTERNAL, name));
        config_file(&self.state.annotations, &mut request);
        Ok(request)
    }

    /// Only the container's own groups are saved. In a hierarchy in which it has none it is in the root, and CRIU would
    /// save the groups of everybody.
    fn cgroups(&self, request: &mut Message) {
        let paths = self.state.cgroup.container_paths();
        if paths.is_empty() {
            request.number(opts::MANAGE_CGROUPS_MODE, cgroup_mode(ManageCgroups::Ignore));
        }
        paths.iter().for_each(|(names, _)| request.text(opts::CGROUP_DUMP_CONTROLLER, names));
    }

    /// The group that holds the container's processes still: that of v2 where there is one, as for `pause`.
    fn freezer(&self) -> Option<String> {
        let paths = self.state.cgroup.container_paths();
        let of = |wanted: &str| {
            let has = |names: &str| names.split(',').any(|name| name == wanted);
            paths.iter().find(|(names, _)| has(names)).map(|(_, path)| path.clone())
        };
        of("").or_else(|| of("freezer"))
    }

    /// The namespaces that somebody else made and that must exist when the container is restored. The contents of the
    /// others that were joined are saved.
    fn namespaces(&self, outside: &Outside<'_>) -> Result<Vec<String>> {
        let joined =
            EXTERNAL_NAMESPACES.into_iter().filter(|(kind, _)| outside.namespaces & kind.flag() != 0);
        joined
            .map(|(kind, name)| {
                let path = format!("/proc/{}/ns/{}", self.pid, kind.file());
                let seen = stat(&path).context("stat", || format!("look at {path}"))?;
                Ok(format!("{}[{}]:{name}", kind.file(), seen.st_ino))
            })
            .collect()
    }

    /// After a failure a container that ran goes on, whatever became of CRIU.
    fn let_run(&self, status: Status, error: Error) -> Error {
        if status == Status::Paused {
            return error;
        }
        let thaw = || {
            let cgroup = self.state.cgroup.open()?;
            if cgroup.is_frozen()? { cgroup.thaw() } else { Ok(()) }
        };
        match thaw() {
            Ok(()) => error,
            Err(other) => error.and_also(other),
        }
    }
}

/// The namespaces that CRIU leaves to others, with their names in the images.
pub(super) const EXTERNAL_NAMESPACES: [(Namespace, &str); 2] =
    [(Namespace::Network, "extRootNetNS"), (Namespace::Pid, "extRootPidNS")];

/// The earlier images are found from the directory of these. CRIU itself would write a link to nowhere first.
fn find_parent(parent: &Path, images: &OwnedFd) -> Result<()> {
    openat(images, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context("openat", || format!("open {} from --image-path", parent.display()))
        .map(drop)
        .map_err(|error| error.with_key("--parent-path"))
}

fn write_descriptors(images: &OwnedFd, names: &[&str]) -> Result<()> {
    let what = || format!("write {DESCRIPTORS}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(images, DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR).context("openat", what)?;
    let text = serde_json::to_string(names).unwrap_or_default();
    match write(&file, text.as_bytes()).context("write", what)? {
        length if length == text.len() => Ok(()),
        _ => Err(Error::new(Kind::Kernel, format!("{} in part; is the disk full?", what()))),
    }
}
