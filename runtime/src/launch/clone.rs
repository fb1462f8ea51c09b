//! The step from a plan to a process: the files it names are opened, the image is made, the process is cloned.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use child::op::Op;
use child::{Fd, Header, Words};
use rustix::fs::CWD;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sys::clone::Spawn;
use sys::error::Context;

use super::open::{self, Inherited, Ready};
use super::spawned::{Deadline, Spawned};
use super::{Prepared, image, start, userns};
use crate::config::namespaces::Kind as Namespace;
use crate::plan::Plan;
use crate::stages::Stages;
use crate::state::Directory;
use crate::step::Step;
use crate::{Error, Kind, Result, phase, procfs, record};

impl Prepared<'_> {
    /// Opens what the plan names, seals the image and clones.
    pub(super) fn spawn(
        &self,
        plan: &Plan<'_>,
        stages: &Stages,
        (cgroup, procs): (&cgroups::Prepared, Option<&OwnedFd>),
        directory: &Directory,
        record: &record::File,
    ) -> Result<Spawned> {
        let what = || "make the create socket".to_owned();
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .context("socketpair", what)?;
        let (proc, start) = (procfs::open()?, start::listen(directory)?);
        let hook_output = if self.config.hooks.run_inside() { Some(open::hook_output()?) } else { None };
        let user = self.joined_user_namespace()?;
        let mut tasks = cgroup.tasks();
        tasks.extend(procs.map(AsFd::as_fd));
        tasks.extend(cgroup.leaf());
        let ready = Ready {
            socket: theirs.as_fd(),
            proc: proc.as_fd(),
            start: Some(start.as_fd()),
            tasks,
            program: self.options.descriptors.iter().map(AsFd::as_fd).collect(),
            hook_output: hook_output.as_ref().map(AsFd::as_fd),
            user_namespace: user.as_ref().map(AsFd::as_fd),
        };
        let mut inherited = Inherited::gather(&plan.opens, &ready)?;
        let header =
            (inherited.add_anywhere(theirs.as_fd())?, inherited.add_anywhere(record.descriptor().as_fd())?);
        let bytes = encode(&plan.steps, &inherited.place(), header)?;
        let image = image::with_plan(&bytes)?;
        let born = if procs.is_none() { cgroup.unified_group() } else { None };
        let spawned = self.clone_image(&image, &inherited, stages, (ours, theirs), born, record)?;
        Ok(Spawned { hook_output: hook_output.map(File::from), ..spawned })
    }

    fn joined_user_namespace(&self) -> Result<Option<OwnedFd>> {
        let Some(path) = self.config.namespaces.path(Namespace::User) else { return Ok(None) };
        let what = || format!("open {}", path.display());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, rustix::fs::Mode::empty()).context("openat", what).map(Some)
    }

    fn clone_image(
        &self,
        image: &image::Image,
        inherited: &Inherited,
        stages: &Stages,
        (ours, theirs): (OwnedFd, OwnedFd),
        born: Option<BorrowedFd<'_>>,
        record: &record::File,
    ) -> Result<Spawned> {
        let copy = image_number(image, inherited)?;
        let number = copy.as_raw_fd();
        let texts = [number.to_string(), image.offset.to_string(), image.len.to_string()]
            .map(|text| CString::new(text).unwrap_or_default());
        let mut inherit = inherited.numbers();
        inherit.push(number);
        let new_user = stages.first & Namespace::User as u32 != 0;
        let page = record.page()?;
        phase::time_steps(&page);
        let spawn = Spawn {
            flags: stages.first.into(),
            cgroup: born,
            image: copy.as_fd(),
            args: [c"orlop-init", &texts[0], &texts[1], &texts[2]],
            inherit: &inherit,
            maps: new_user.then(|| theirs.as_fd()),
        };
        let process = spawn.start().map_err(|errno| {
            if new_user {
                userns::explain_clone(errno)
            } else {
                Error::kernel("make the container's first process", "clone3", errno)
            }
        })?;
        let patience = self.options.timeout + self.config.hooks.create_container_patience();
        let deadline = Deadline::new("create", patience);
        Ok(Spawned {
            pid: process.pid,
            pidfd: process.pidfd,
            socket: ours,
            page,
            deadline,
            hook_output: None,
        })
    }
}

/// The image's descriptor above those that the child places.
pub(super) fn image_number(image: &image::Image, inherited: &Inherited) -> Result<OwnedFd> {
    let above = i32::try_from(inherited.numbers().len()).unwrap_or(i32::MAX);
    rustix::io::fcntl_dupfd_cloexec(&image.file, above)
        .context("fcntl(F_DUPFD_CLOEXEC)", || "copy a descriptor".to_owned())
}

/// On v2 a process that is not born in its group joins it like a v1 group, by writing `0`.
pub(super) fn cgroup_procs(cgroup: &cgroups::Prepared, stages: &Stages) -> Result<Option<OwnedFd>> {
    let Some(group) = cgroup.unified_group().filter(|_| stages.second.is_some()) else { return Ok(None) };
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::openat(group, "cgroup.procs", flags, rustix::fs::Mode::empty())
        .context("openat", || "open cgroup.procs".to_owned())
        .map(Some)
}

/// The header and the steps as the child reads them; the first step gets the places of the descriptors.
pub(super) fn encode(steps: &[Step<'_>], place: &[u8], (socket, page): (i32, i32)) -> Result<Vec<u8>> {
    let broken = |error: postcard::Error| Error::new(Kind::Internal, format!("encode the plan: {error}"));
    let header =
        Header { steps: u32::try_from(steps.len()).unwrap_or(u32::MAX), socket: Fd(socket), page: Fd(page) };
    let mut bytes = postcard::to_stdvec(&header).map_err(broken)?;
    for step in steps {
        let op = match step.op {
            Op::Descriptors { keep, socket, proc, .. } => {
                Op::Descriptors { place: Words::new(place), keep, socket, proc }
            }
            other => other,
        };
        bytes.extend(postcard::to_stdvec(&op).map_err(broken)?);
    }
    Ok(bytes)
}
