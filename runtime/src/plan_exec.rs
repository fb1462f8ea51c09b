//! When each thing happens when a process joins a running container. Pure.
//!
//! ```text
//! FIRST  outside the container: what needs rights over the host, labels, non-dumpable, one setns of everything,
//!        the root found and checked, every descriptor of the host closed
//! LAST   born in the container's pid namespace and v2 cgroup: v1 cgroups, session, terminal, identity, filter, execve
//! ```
//!
//! Two processes, because a process that enters a pid namespace by setns(2) is not in it, only its children are; and the
//! first one outside, because whatever is in the namespace could be traced from its first instruction on. The plan of a
//! new container is in [`crate::plan`].

use std::ffi::CStr;

use child::op::{Enter, Placement, Request};
use child::{Fd, Op, Words};
use seccomp::order::{Order, Step as Last};

use crate::config::limits::Refusal;
use crate::config::namespaces::Kind as Namespace;
use crate::config::process::Process;
use crate::launch::saved::Saved;
use crate::plan::filter_order;
use crate::step::Step;

/// What the order depends on besides the process.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What holds for every process of the container.
    pub saved: &'a Saved<'a>,
    /// The program, valid.
    pub process: &'a Process,
    /// The numbers of descriptors in the new processes.
    pub places: Places,
    /// The root of the container's first process, below procfs: `123/root`.
    pub root_of_init: &'a CStr,
}

/// The numbers of the descriptors in the new processes, one after the other: the program's own, the socket, the files to
/// join v1 cgroups, the v2 group, the cgroup namespace, and last those that are closed before anything is inside the
/// container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// How many descriptors the program gets: the standard streams and the preserved ones.
    pub program: u32,
    /// The number of v1 groups to join.
    pub tasks: u32,
    /// Whether the last process is born in a v2 group.
    pub group: Group,
}

/// Which process is born in the container's v2 group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The last one, so that the first does not count in its limits.
    Last,
    /// The last one, which then joins the container's cgroup namespace by a descriptor of its own. Where the v2 tree is
    /// mounted with nsdelegate, as systemd mounts it, a process in that namespace cannot be put into a group from
    /// outside of it, nor can its child: clone3(2) answers ENOENT (kernel 4.13).
    LastBeforeNamespace,
    /// The first one already, or there is no group. A descriptor of the group would be in reach of a process inside that
    /// may trace the last one.
    NotLast,
}

/// What is done by whom.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Done by the parent on the last process, which waits for it, because it may no longer.
    pub by_parent: Vec<Step<'a>>,
    /// Done by the first process, then by the last one.
    pub steps: Vec<Step<'a>>,
}

/// How many descriptors belong to the host, the last ones: the pidfd of init and procfs.
const HOSTS: u32 = 2;

impl Places {
    fn socket(self) -> Fd {
        number(self.program)
    }

    fn first_task(self) -> Fd {
        number(self.program + 1)
    }

    fn group(self) -> Option<Fd> {
        (self.group != Group::NotLast).then(|| number(self.program + 1 + self.tasks))
    }

    fn cgroup_namespace(self) -> Option<Fd> {
        (self.group == Group::LastBeforeNamespace).then(|| number(self.program + 2 + self.tasks))
    }

    /// How many descriptors the last process closes at once.
    fn of_group(self) -> u32 {
        match self.group {
            Group::NotLast => 0,
            Group::Last => 1,
            Group::LastBeforeNamespace => 2,
        }
    }

    fn init(self) -> Fd {
        number(self.program + 1 + self.tasks + self.of_group())
    }

    fn proc(self) -> Fd {
        Fd(self.init().0 + 1)
    }

    fn count(self) -> u32 {
        self.init().0.unsigned_abs() + HOSTS
    }
}

impl Plan<'_> {
    /// Whether a step of this index is the last process's.
    pub fn is_last(&self, step: u32) -> bool {
        let clone = self.steps.iter().position(|step| matches!(step.op, Op::CloneInto { .. }));
        clone.is_some_and(|clone| step as usize > clone)
    }
}

fn number(number: u32) -> Fd {
    Fd(i32::try_from(number).unwrap_or(i32::MAX))
}

/// The plan of one more process.
pub fn exec<'a>(inputs: &'a Inputs<'a>) -> Plan<'a> {
    let mut steps = outside(inputs);
    enter(inputs, &mut steps);
    let by_parent = by_parent(inputs);
    settle(inputs, &mut steps);
    if !by_parent.is_empty() {
        steps.push(Step::new("process", Op::Await { request: Request::Maps }));
    }
    surround(inputs, &mut steps);
    run(inputs, &mut steps);
    Plan { by_parent, steps }
}

/// What needs rights over the host, and the runtime's procfs.
fn outside<'a>(inputs: &'a Inputs<'a>) -> Vec<Step<'a>> {
    let Inputs { process, places, .. } = inputs;
    let op = Op::Descriptors {
        place: Words::default(),
        keep: places.count(),
        socket: places.socket(),
        proc: Some(places.proc()),
    };
    let mut steps = vec![Step::new("", op), Step::new("", Op::DieWithParent)];
    steps.extend(process.scheduling.initial_affinity_step());
    steps.extend(process.limits.raising_steps());
    if !is_lenient(process) {
        steps.extend(process.limits.oom_score_adj_step());
    }
    // A fork hands these on, and the last process has no procfs.
    steps.extend(process.labels.key_step());
    steps.extend(process.labels.exec_steps());
    steps
}

fn is_lenient(process: &Process) -> bool {
    process.limits.oom_score_adj().is_some_and(|score| score.refusal == Refusal::IsWarnedOf)
}

/// From the host into the container's namespaces.
fn enter<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { saved, places, .. } = inputs;
    steps.push(Step::new("", Op::NonDumpable));
    let mut flags = saved.namespaces;
    if places.cgroup_namespace().is_some() {
        flags &= !Namespace::Cgroup.flag();
    }
    steps.push(Step::new("", Op::JoinProcess { pidfd: places.init(), flags }));
    let (device, inode) = saved.root;
    steps.push(Step::new("", Op::EnterRoot { device, inode, root: child::Text(inputs.root_of_init) }));
    // A process inside that may trace the last one would find these in /proc/PID/fd.
    steps.push(Step::new("", Op::Close { first: places.init(), count: HOSTS }));
    steps.push(Step::new("", Op::CloneInto { group: places.group() }));
}

/// The last process gets out of reach of the host: its descriptors and its cgroups.
fn settle<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { saved, process, places, .. } = inputs;
    if saved.has_user_namespace() {
        // Only now: the v2 group belongs to the caller, and whoever is born in it must have the right to write there.
        steps.push(Step::new("", Op::BecomeRoot));
    }
    if let Some(fd) = places.cgroup_namespace() {
        steps.push(Step::new("", Op::JoinNamespace { fd, kind: Namespace::Cgroup.flag() }));
    }
    if let Some(first) = places.group() {
        steps.push(Step::new("", Op::Close { first, count: places.of_group() }));
    }
    if places.tasks > 0 {
        let (first, count) = (places.first_task(), places.tasks);
        steps.push(Step::new("linux.cgroupsPath", Op::JoinCgroups { first, count }));
        steps.push(Step::new("", Op::Close { first, count }));
    }
    // The processors of the caller are not those of the container; its cgroup limits them.
    let chosen = process.scheduling.final_affinity_step();
    steps.push(chosen.unwrap_or_else(|| Step::new("", Op::AllProcessors)));
    // Whatever terminal the caller has is out of reach of another session.
    steps.push(Step::new("", Op::NewSession));
}

/// What a process in a user namespace of its own may not do to itself.
fn by_parent<'a>(inputs: &'a Inputs<'a>) -> Vec<Step<'a>> {
    let Inputs { saved, process, .. } = inputs;
    let mut steps = Vec::new();
    if is_lenient(process) {
        steps.extend(process.limits.oom_score_adj_step());
    }
    if saved.has_user_namespace() {
        steps.extend(process.scheduling.scheduler_step());
        steps.extend(process.scheduling.io_priority_step());
    }
    steps
}

/// What the program runs with.
fn surround<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { saved, process, .. } = inputs;
    if !saved.has_user_namespace() {
        steps.extend(process.scheduling.scheduler_step());
        steps.extend(process.scheduling.io_priority_step());
    }
    steps.extend(saved.steps());
    let terminal = process.console_step(Placement::StdioOnly);
    steps.push(terminal.unwrap_or_else(|| process.stdio_step()));
    steps.push(process.user.umask_step());
    steps.push(Step::new("", Op::ResetSignals));
    steps.extend(process.home_step());
    steps.extend(process.capabilities.no_new_privileges_step());
}

/// Identity, filter and program, in the order that the filter asks for; without one the same.
fn run<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { saved, process, places, .. } = inputs;
    let filter = saved.filter();
    let order = filter.as_ref().map_or(Order::Late, |_| filter_order(&process.capabilities));
    if order == Order::Early {
        // The program may be named relative to it, and after the filter it is out of reach.
        steps.push(process.program.cwd_step(Enter::AsRoot));
    }
    for step in order.steps() {
        match step {
            Last::Identity => become_user(process, steps),
            Last::Go => steps.push(process.program.find_step()),
            Last::Load => {
                steps.extend(process.limits.rlimit_steps());
                steps.push(Step::new(
                    "",
                    Op::CloseHandles { first: places.program, output: None, start: None },
                ));
                steps.extend(filter.clone());
            }
            Last::StartContainer => {}
            Last::Execve => steps.push(process.program.execute_step()),
        }
    }
}

/// The directory is entered as the user, who may have a right to it that root lacks.
fn become_user<'a>(process: &'a Process, steps: &mut Vec<Step<'a>>) {
    steps.push(process.capabilities.bounding_step());
    steps.push(process.program.cwd_step(Enter::AsRoot));
    steps.push(process.user.ids_step());
    steps.push(process.program.cwd_step(Enter::AsUser));
    steps.push(process.capabilities.set_step());
    steps.push(process.verify_step());
}
