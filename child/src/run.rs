//! The executor: runs the steps of a plan one after the other.

use core::ffi::{CStr, c_char};

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::data::Fd;
use crate::message::{Kind, Message};
use crate::op::Op;
use crate::page::{Failure, Page, Phase};

/// What stands before the steps of a plan.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The number of steps.
    pub steps: u32,
    /// The create socket, as inherited (before descriptors are placed).
    pub socket: Fd,
    /// The record, whose first page is shared.
    pub page: Fd,
}

/// What steps hand on to later steps: a fixed table of handles, and nothing else.
#[derive(Debug)]
pub struct Executor<'a> {
    /// The page in which progress and failure are noted.
    pub(crate) page: Page,
    /// The create socket; after start the connection over which it came.
    pub(crate) socket: BorrowedFd<'static>,
    /// The runtime's procfs.
    pub(crate) proc: Option<Fd>,
    /// Whether the host's mounts are left in their peer groups.
    pub(crate) host_shared: bool,
    /// The root of the container's file system.
    pub(crate) root: Option<OwnedFd>,
    /// The container's /dev, while nothing was mounted since it was opened.
    pub(crate) dev: Option<OwnedFd>,
    /// A mount of the empty read-only tmpfs that masks directories.
    pub(crate) empty: Option<OwnedFd>,
    /// A mount of the verified null device that masks files.
    pub(crate) null: Option<OwnedFd>,
    /// The executable that was found.
    pub(crate) executable: Option<&'a CStr>,
    /// HOME=..., where it had to be looked up.
    pub(crate) home: Option<Home>,
    /// `LISTEN_PID=number` with its terminator.
    pub(crate) listen_pid: [u8; 24],
    /// Whether the working directory was entered.
    pub(crate) entered: bool,
    /// Whether a filter was loaded, which may forbid to send messages.
    pub(crate) filtered: bool,
    /// Memory for the arrays of execve(2).
    pub(crate) room: &'static mut [*const c_char],
}

/// An environment entry that was found in the container's passwd file.
#[derive(Debug)]
pub(crate) struct Home {
    /// `HOME=/path` with its terminator.
    pub(crate) entry: [u8; 512],
}

impl<'a> Executor<'a> {
    /// Runs the plan in `bytes`: a [`Header`], then the steps. Returns only what failed before the first step; a failed
    /// step ends the process.
    pub fn run(bytes: &'a [u8]) -> Errno {
        let Ok((header, rest)) = postcard::take_from_bytes::<Header>(bytes) else { return Errno::PROTO };
        let page = match Page::map(sys::fd::borrow(header.page.0)) {
            Ok(page) => page,
            Err(errno) => return errno,
        };
        page.set_phase(Phase::Setup);
        // Every string of an array has a byte in the plan at least, and a step has two arrays, each with two slots more.
        // Nothing is used of it before it is written.
        let room = match sys::map::zeroed(rest.len().saturating_add(4 * header.steps as usize)) {
            Ok(room) => room,
            Err(errno) => return errno,
        };
        let mut executor = Self::new(page, sys::fd::borrow(header.socket.0), room);
        executor.run_steps(header.steps, rest);
        Errno::PROTO
    }

    fn new(page: Page, socket: BorrowedFd<'static>, room: &'static mut [*const c_char]) -> Self {
        Self {
            page,
            socket,
            proc: None,
            host_shared: false,
            root: None,
            dev: None,
            empty: None,
            null: None,
            executable: None,
            home: None,
            listen_pid: [0; 24],
            entered: false,
            filtered: false,
            room,
        }
    }

    fn run_steps(&mut self, count: u32, mut rest: &'a [u8]) {
        for index in 0..count {
            // A filter may refuse the clock.
            let filtered = self.filtered;
            self.page.begin(index, || if filtered { 0 } else { sys::task::realtime() });
            let done = match postcard::take_from_bytes::<Op<'a>>(rest) {
                Ok((op, after)) => {
                    rest = after;
                    self.execute(&op)
                }
                Err(_) => Err(Failure::new("decode", Errno::PROTO)),
            };
            if let Err(failure) = done {
                self.end(failure);
            }
        }
    }

    /// Says what failed and waits until the parent has seen it, because the parent looks at this process's root to
    /// explain the failure.
    fn end(&self, failure: Failure) -> ! {
        self.page.fail(failure);
        if !self.filtered {
            let _ = Message::from(Kind::Failed).send(self.socket);
            while let Ok(Some(_)) = Message::receive(self.socket) {}
        }
        sys::clone::exit(1)
    }

    fn execute(&mut self, op: &Op<'a>) -> Result<(), Failure> {
        match *op {
            Op::Descriptors { place, keep, socket, proc } => self.descriptors(place, keep, socket, proc),
            Op::DieWithParent => self.die_with_parent(),
            Op::NonDumpable => self.non_dumpable(),
            Op::ResetSignals => self.reset_signals(),
            Op::Umask { mask } => self.umask(mask),
            Op::NewSession => self.new_session(),
            Op::NewKeyring { name } => self.new_keyring(name),
            Op::AllProcessors => self.all_processors(),
            Op::Processors { mask } => self.processors(mask),
            Op::JoinNamespace { fd, kind } => self.join_namespace(fd, kind),
            Op::Unshare { flags } => self.unshare(flags),
            Op::TimeOffsets { lines } => self.time_offsets(lines),
            Op::EnterTimeNamespace => self.enter_time_namespace(),
            Op::Clone { flags } => self.clone_last(flags),
            Op::JoinProcess { pidfd, flags } => self.join_process(pidfd, flags),
            Op::EnterRoot { device, inode, root } => self.enter_root((device, inode), root),
            Op::Close { first, count } => self.close(first, count),
            Op::CloneInto { group } => self.clone_into(group),
            Op::BecomeRoot => self.become_root(),
            Op::Await { request } => self.await_parent(request),
            Op::JoinCgroups { first, count } => self.join_cgroups(first, count),
            Op::LoopbackUp => self.loopback_up(),
            Op::Hostname { name } => self.hostname(name),
            Op::Domainname { name } => self.domainname(name),
            Op::HostPropagation { flags } => self.host_propagation(flags),
            Op::Root { path, tree, device, inode } => self.open_root(path, tree, (device, inode)),
            Op::Mount { target, source, kind, flags, data, over } => {
                self.mount(target, source, kind, (flags, data), over)
            }
            Op::MountCopyUp { target, flags, data } => self.mount_copy_up(target, flags, data),
            Op::Bind { source, target, depth, whole, attributes, over } => {
                self.bind((source, depth), target, (whole, attributes), over)
            }
            Op::SetAttributes { target, depth, attributes } => self.set_attributes(target, depth, attributes),
            Op::Remount { target, flags, data } => self.remount(target, flags, data),
            Op::Device { path, device } => self.device(path, device),
            Op::Symlink { path, text, existing } => self.symlink(path, text, existing),
            Op::Console { rows, columns, uid, bind, newlines } => {
                self.console((rows, columns), uid, (bind, newlines))
            }
            Op::PivotRoot => self.pivot_root(),
            Op::MoveRoot => self.move_root(),
            Op::HideView { path } => self.hide_view(path),
            Op::RootPropagation { flags } => self.root_propagation(flags),
            Op::ReadonlyRoot => self.readonly_root(),
            Op::ReadonlyPath { path } => self.readonly_path(path),
            Op::MaskPath { path, label } => self.mask_path(path, label),
            Op::Sysctl { name, value } => self.sysctl(name, value),
            Op::Hook { hook } => self.hook(&hook),
            Op::Rlimit { resource, soft, hard } => self.rlimit(resource, soft, hard),
            Op::OomScoreAdj { value } => self.oom_score_adj(value),
            Op::Scheduler { attributes } => self.scheduler(attributes),
            Op::IoPriority { value } => self.io_priority(value),
            Op::Personality { domain } => self.personality(domain),
            Op::MemoryPolicy { mode, nodes, max_node } => self.memory_policy(mode, nodes, max_node),
            Op::ExecLabel { file, label } => self.exec_label(file, label),
            Op::KeyLabel { label } => self.key_label(label),
            Op::StdioOwner { uid } => self.stdio_owner(uid),
            Op::NoNewPrivileges => self.no_new_privileges(),
            Op::BoundingSet { keep } => self.bounding_set(keep),
            Op::Ids { uid, gid, groups } => self.ids(uid, gid, groups),
            Op::Capabilities { sets } => self.capabilities(sets),
            Op::VerifyIdentity { uid, gid, groups, sets, no_new_privileges } => {
                self.verify_identity((uid, gid), groups, sets, no_new_privileges)
            }
            Op::WorkingDirectory { path, how } => self.working_directory(path, how),
            Op::FindExecutable { candidates } => self.find_executable(candidates),
            Op::FindHome { uid } => self.find_home(uid),
            Op::AwaitStart { listener } => self.await_start(listener),
            Op::CloseHandles { first, output, start } => self.close_handles(first, output, start),
            Op::Seccomp { program, flags, listener } => self.seccomp(program, flags, listener),
            Op::Execute { args, env } => self.execute_program(args, env),
        }
    }
}
