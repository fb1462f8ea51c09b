//! When each thing happens: the one list that says in which order a container is set up. Pure.
//!
//! [`create`] calls; what a section asks for is in `config/`, how a step is done is in `child/src/ops/`. The reasons for
//! the order stand beside the lines.

use std::ffi::CString;

use child::op::{Enter, NoNewPrivs, Placement, Request};
use child::{Fd, Op, Text, Words};
use seccomp::order::{NoNewPrivileges, Order, Step as Last};

use crate::config::Config;
use crate::config::capabilities::Capabilities;
use crate::config::hooks::Surroundings;
use crate::config::limits::Refusal;
use crate::config::memory_policy::MemoryPolicy;
use crate::config::mounts::CgroupView;
use crate::config::namespaces::Kind;
use crate::config::paths::is_within;
use crate::stages::Stages;
use crate::step::{Open, Opens, Step};

/// What the order depends on besides the configuration.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The valid configuration.
    pub config: &'a Config,
    /// How the namespaces come to be.
    pub stages: &'a Stages,
    /// How many descriptors the program gets: the standard streams and the preserved ones.
    pub descriptors: usize,
    /// The inode of the root directory as the parent saw it: device and number.
    pub root_inode: (u64, u64),
    /// How many files the child writes to join its cgroups.
    pub cgroup_files: usize,
    /// How many files it writes to enter a group beneath the container's own: one or none.
    pub leaf_files: usize,
    /// What the mounts of type cgroup become on this host.
    pub cgroup_view: &'a CgroupView,
    /// Whether the parent has work between the namespaces and the mounts: adoption, network devices.
    pub adopt: Adopt,
    /// Whether the root is moved instead of pivoted to.
    pub root_change: RootChange,
    /// Where proc and sysfs are mounted on the host, the topmost first; nothing unless the root is moved.
    pub kernel_views: &'a [CString],
    /// The name of the session keyring; `None` keeps the caller's.
    pub keyring: Option<&'a std::ffi::CStr>,
    /// The filter, ready to load.
    pub filter: Option<&'a Filter>,
    /// The state for createContainer hooks and for startContainer hooks: head and tail.
    pub states: [(&'a [u8], &'a [u8]); 2],
    /// Milliseconds for a hook without a timeout of its own.
    pub hook_timeout_ms: u32,
}

/// Whether the child waits for the parent before it mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// It waits.
    Await,
    /// It need not.
    Nothing,
}

/// How the container's root becomes `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootChange {
    /// pivot_root(2).
    Pivot,
    /// MS_MOVE and chroot(2): `--no-pivot`.
    Move,
}

/// A compiled filter and when it loads.
#[derive(Debug)]
pub struct Filter {
    /// struct sock_filter entries.
    pub program: Vec<u8>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
    /// Whether somebody gets its listener.
    pub listener: child::op::Listener,
    /// Who gets it.
    pub agent: Option<seccomp::Listener>,
    /// Where in the order it loads.
    pub order: Order,
}

/// When the filter of a program with these capabilities loads.
pub fn filter_order(capabilities: &Capabilities) -> Order {
    let no_new_privileges = match capabilities.no_new_privileges() {
        NoNewPrivs::Set => NoNewPrivileges::Set,
        NoNewPrivs::Inherited => NoNewPrivileges::Unset,
    };
    Order::of(no_new_privileges, capabilities.sets().effective)
}

/// What is opened and what is done.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Opened by the parent before the clone.
    pub opens: Opens<'a>,
    /// Done by the parent on the child's process while the id maps are written, because the child may no longer.
    pub by_parent: Vec<Step<'a>>,
    /// Done by the child, in this order.
    pub steps: Vec<Step<'a>>,
}

/// The descriptors every plan has, with their numbers.
#[derive(Clone, Copy, Debug)]
struct Handles {
    socket: Fd,
    proc: Fd,
    start: Fd,
    first_task: Fd,
    hook_output: Option<Fd>,
}

/// The plan of a new container.
pub fn create<'a>(inputs: &'a Inputs<'a>) -> Plan<'a> {
    let config = inputs.config;
    let mut opens = Opens::new(i32::try_from(inputs.descriptors).unwrap_or(i32::MAX));
    let handles = fixed_opens(inputs, &mut opens);
    // The first step is filled in last, when all descriptors are known.
    let mut steps = vec![Step::new("", Op::DieWithParent); 2];
    let by_parent = privileged(inputs, &mut steps);
    enter_namespaces(inputs, &mut opens, &mut steps);
    isolate(inputs, &mut steps);
    mount(inputs, handles, &mut opens, &mut steps);
    finish_root(inputs, handles, &mut steps);
    match &config.process {
        Some(process) => {
            before_ready(inputs, process, &mut steps);
            last_steps(inputs, process, handles, &mut steps);
        }
        None => steps.extend([close(inputs, handles, Some(handles.start)), await_start(handles)]),
    }
    let keep = inputs.descriptors + opens.iter().count();
    let keep = u32::try_from(keep).unwrap_or(u32::MAX);
    let first =
        Op::Descriptors { place: Words::default(), keep, socket: handles.socket, proc: Some(handles.proc) };
    if let Some(step) = steps.first_mut() {
        step.op = first;
    }
    Plan { opens, by_parent, steps }
}

/// Opens what every container needs, with the tasks files in a row.
fn fixed_opens<'a>(inputs: &Inputs<'a>, opens: &mut Opens<'a>) -> Handles {
    let (socket, proc, start) = (opens.add(Open::Socket), opens.add(Open::Proc), opens.add(Open::Start));
    let first_task = Fd(start.0 + 1);
    for index in 0..inputs.cgroup_files + inputs.leaf_files {
        opens.add(Open::Tasks(index));
    }
    let hook_output = inputs.config.hooks.run_inside().then(|| opens.add(Open::HookOutput));
    Handles { socket, proc, start, first_task, hook_output }
}

/// What needs rights over the host, which a process born in a new user namespace lacks: the parent does it then.
fn privileged<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) -> Vec<Step<'a>> {
    let Some(process) = &inputs.config.process else { return Vec::new() };
    let mut privileged: Vec<Step<'a>> = process.limits.raising_steps().collect();
    privileged.extend(process.limits.oom_score_adj_step());
    let lenient = process.limits.oom_score_adj().is_some_and(|score| score.refusal == Refusal::IsWarnedOf);
    if inputs.stages.first & Kind::User as u32 != 0 {
        privileged.extend(process.scheduling.scheduler_step());
        privileged.extend(process.scheduling.io_priority_step());
        return privileged;
    }
    if lenient {
        // Only the parent can turn a refusal into a warning.
        return privileged;
    }
    steps.append(&mut privileged);
    Vec::new()
}

fn enter_namespaces<'a>(inputs: &'a Inputs<'a>, opens: &mut Opens<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { config, stages, .. } = inputs;
    for kind in &stages.join {
        let Some((_, index, path)) = config.namespaces.joined.iter().find(|joined| joined.0 == *kind) else {
            continue;
        };
        let key = format!("linux.namespaces[{index}]");
        let fd = opens.add(Open::Namespace { kind: *kind as u32, path, key: key.clone().into() });
        steps.push(Step::new(key, Op::JoinNamespace { fd, kind: *kind as u32 }));
    }
    // Whoever changes its user is no longer dumpable, and its timens_offsets belong to the host's root.
    let mut time = time_steps(inputs);
    if stages.join.contains(&Kind::User) {
        steps.append(&mut time);
        steps.push(Step::new("linux.namespaces", Op::BecomeRoot));
    }
    if let Some(flags) = stages.second {
        steps.push(Step::new("linux.namespaces", Op::Clone { flags: flags.into() }));
        steps.push(Step::new("", Op::DieWithParent));
        if flags & Kind::User as u32 != 0 {
            steps.push(Step::new("linux.uidMappings", Op::Await { request: Request::Maps }));
            steps.append(&mut time);
            steps.push(Step::new("linux.uidMappings", Op::BecomeRoot));
        }
    }
    if stages.unshare != 0 {
        steps.push(Step::new("linux.namespaces", Op::Unshare { flags: stages.unshare }));
    }
    steps.append(&mut time);
}

/// A new time namespace, its offsets, and then this process in it.
fn time_steps<'a>(inputs: &'a Inputs<'a>) -> Vec<Step<'a>> {
    if !inputs.stages.unshare_time {
        return Vec::new();
    }
    let mut steps = vec![Step::new("linux.namespaces", Op::Unshare { flags: Kind::Time as u32 })];
    steps.extend(inputs.config.namespaces.offsets_step());
    steps.push(Step::new("linux.namespaces", Op::EnterTimeNamespace));
    steps
}

fn isolate<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { config, .. } = inputs;
    // Everything that must open this process's own files in procfs is done by now: a non-dumpable process in a user
    // namespace no longer owns them.
    let labels = config.process.iter().flat_map(|process| process.labels.key_step());
    steps.extend(labels);
    steps.extend(config.process.iter().flat_map(|process| process.labels.exec_steps()));
    steps.push(Step::new("", Op::NonDumpable));
    steps.push(Step::new("", Op::NewSession));
    if let Some(name) = inputs.keyring {
        steps.push(Step::new("", Op::NewKeyring { name: Text(name) }));
    }
    if inputs.adopt == Adopt::Await {
        steps.push(Step::new("", Op::Await { request: Request::Adopt }));
    }
    steps.extend(config.uts.steps());
    if config.namespaces.is_new(Kind::Network) {
        steps.push(Step::new("linux.namespaces", Op::LoopbackUp));
    }
    // Nodes and directories get exactly the modes that are asked for.
    steps.push(Step::new("", Op::Umask { mask: 0 }));
}

fn mount<'a>(inputs: &'a Inputs<'a>, handles: Handles, opens: &mut Opens<'a>, steps: &mut Vec<Step<'a>>) {
    let Inputs { config, .. } = inputs;
    let (device, inode) = inputs.root_inode;
    steps.push(config.root.host_propagation());
    steps.push(config.root.root_step(device, inode));
    let mut joined = false;
    for mount in config.mounts.iter() {
        // The cgroup is joined as late as possible, so that the memory of the set-up is not charged to the container,
        // but a mount of type cgroup shows the groups that the cgroup namespace began with.
        if mount.is_cgroup() && !joined {
            join_cgroups(inputs, handles, steps);
            joined = true;
        }
        steps.extend(mount.steps(opens, inputs.cgroup_view));
    }
    steps.extend(config.devices.steps(opens));
    if !joined {
        join_cgroups(inputs, handles, steps);
    }
}

fn join_cgroups<'a>(inputs: &'a Inputs<'a>, handles: Handles, steps: &mut Vec<Step<'a>>) {
    if inputs.cgroup_files > 0 {
        let count = u32::try_from(inputs.cgroup_files).unwrap_or(u32::MAX);
        steps.push(Step::new("linux.cgroupsPath", Op::JoinCgroups { first: handles.first_task, count }));
    }
    if inputs.stages.unshare_cgroup {
        steps.push(Step::new("linux.namespaces", Op::Unshare { flags: Kind::Cgroup as u32 }));
    }
    // The root of the namespace is the group in which it was made, and that is the container's own, not the leaf.
    if inputs.leaf_files > 0 {
        let files = i32::try_from(inputs.cgroup_files).unwrap_or(i32::MAX);
        let first = Fd(handles.first_task.0.saturating_add(files));
        steps.push(Step::new("annotations", Op::JoinCgroups { first, count: 1 }));
    }
}

fn finish_root<'a>(inputs: &'a Inputs<'a>, handles: Handles, steps: &mut Vec<Step<'a>>) {
    let Inputs { config, .. } = inputs;
    // Hooks of the runtime namespace come after the mounts, because they add to them, and before the root changes, because
    // they find the root by its path on the host.
    if config.hooks.run_outside_before_start() {
        steps.push(Step::new("hooks", Op::Await { request: Request::Hooks }));
    }
    steps.extend(config.hooks.create_container_steps(surroundings(inputs, handles, 0)));
    steps.extend(config.process.iter().flat_map(|process| process.console_step(Placement::Console)));
    steps.extend(config.sysctls.steps());
    // Masks come from the host's null device and a file system of the runtime's, so they precede the change of root.
    steps.extend(config.hidden_paths.steps());
    change_root(inputs, steps);
    steps.extend(config.root.root_propagation());
    // The working directory may have to be made, so it precedes the read-only root.
    steps.extend(config.process.iter().map(|process| process.program.cwd_step(Enter::MakeAsRoot)));
    // Everything that is still made inside the container precedes this: devices, the console, targets of hooks.
    steps.extend(config.mounts.readonly_steps());
    steps.extend(config.root.readonly_step());
}

fn change_root<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    if inputs.root_change == RootChange::Pivot {
        steps.push(Step::new("root", Op::PivotRoot));
        return;
    }
    // The host's tree stays below the new root. A view of the kernel in it that nothing covers would let a user namespace
    // inside mount proc and sysfs without the masks.
    let root = inputs.config.root.path.to_string_lossy();
    let outside = |path: &&CString| !is_within(&path.to_string_lossy(), &root);
    let hide = |path| Step::new("root", Op::HideView { path: Text(path) });
    steps.extend(inputs.kernel_views.iter().filter(outside).map(|path| hide(path.as_c_str())));
    steps.push(Step::new("root", Op::MoveRoot));
}

fn surroundings<'a>(inputs: &Inputs<'a>, handles: Handles, index: usize) -> Surroundings<'a> {
    let (state_head, state_tail) = inputs.states.get(index).copied().unwrap_or_default();
    let output = handles.hook_output.unwrap_or(Fd(-1));
    Surroundings { state_head, state_tail, timeout_ms: inputs.hook_timeout_ms, output, program_env: None }
}

fn before_ready<'a>(
    inputs: &'a Inputs<'a>,
    process: &'a crate::config::process::Process,
    steps: &mut Vec<Step<'a>>,
) {
    let Inputs { config, .. } = inputs;
    steps.push(Step::new("", Op::AllProcessors));
    if inputs.stages.first & Kind::User as u32 == 0 {
        steps.extend(process.scheduling.scheduler_step());
        steps.extend(process.scheduling.io_priority_step());
    }
    steps.extend(config.personality.step());
    steps.extend(config.memory_policy.iter().map(MemoryPolicy::step));
    if process.terminal.is_none() {
        steps.push(process.stdio_step());
    }
    steps.push(process.user.umask_step());
    steps.push(Step::new("", Op::ResetSignals));
    steps.extend(process.home_step());
    steps.extend(process.capabilities.no_new_privileges_step());
}

/// Bounding set, ids, capabilities, and the proof. The directory is entered again, as the user may have a right that root
/// lacks.
fn become_user<'a>(process: &'a crate::config::process::Process, steps: &mut Vec<Step<'a>>) {
    steps.push(process.capabilities.bounding_step());
    steps.push(process.user.ids_step());
    steps.push(process.program.cwd_step(Enter::AsUser));
    steps.push(process.capabilities.set_step());
    steps.push(process.verify_step());
}

fn await_start(handles: Handles) -> Step<'static> {
    Step::new("", Op::AwaitStart { listener: Some(handles.start) })
}

/// From the user to the program, in the order that the filter asks for; without one the same.
fn last_steps<'a>(
    inputs: &'a Inputs<'a>,
    process: &'a crate::config::process::Process,
    handles: Handles,
    steps: &mut Vec<Step<'a>>,
) {
    let hooks = &inputs.config.hooks;
    for step in inputs.filter.map_or(Order::Late, |filter| filter.order).steps() {
        match step {
            Last::Identity => become_user(process, steps),
            Last::Go => {
                steps.push(process.program.find_step());
                // It may wait for days, and what it holds of the host must not be there to be found.
                steps.push(close(inputs, handles, Some(handles.start)));
                steps.push(await_start(handles));
            }
            Last::Load => {
                // Lowering a limit needs no right, and a low one would have hindered the steps above.
                steps.extend(process.limits.rlimit_steps());
                // The fewest calls follow the filter, and none that a profile older than openat2(2) would refuse.
                steps.push(close(inputs, handles, None));
                steps.extend(inputs.filter.map(Filter::step));
            }
            Last::StartContainer => {
                let program_env = Some(process.program.environment());
                let around = Surroundings { program_env, ..surroundings(inputs, handles, 1) };
                steps.extend(hooks.start_container_steps(around));
            }
            Last::Execve => steps.push(process.program.execute_step()),
        }
    }
}

fn close<'a>(inputs: &Inputs<'a>, handles: Handles, start: Option<Fd>) -> Step<'a> {
    let first = u32::try_from(inputs.descriptors).unwrap_or(u32::MAX);
    let output = handles.hook_output.filter(|_| !inputs.config.hooks.start_container.is_empty());
    Step::new("", Op::CloseHandles { first, output, start })
}

impl Filter {
    /// The step that loads it.
    pub fn step(&self) -> Step<'_> {
        Step::new("linux.seccomp", self.op())
    }

    /// The same without its key.
    pub fn op(&self) -> Op<'_> {
        Op::Seccomp { program: child::Bytes(&self.program), flags: self.flags, listener: self.listener }
    }
}

impl Plan<'_> {
    /// The plan as `orlop plan` prints it: what is opened, what the parent does, what the child does.
    pub fn lines(&self) -> Vec<String> {
        let opens = self.opens.iter().map(|(fd, open)| format!("open {fd}: {}", open.describe()));
        let by_parent = self.by_parent.iter().map(|step| format!("runtime {}", line(step)));
        let steps =
            self.steps.iter().enumerate().map(|(index, step)| format!("step {index:03} {}", line(step)));
        opens.chain(by_parent).chain(steps).collect()
    }
}

/// A step as one line: the key, if it has one, and what is done.
pub fn line(step: &Step<'_>) -> String {
    if step.key.is_empty() { step.op.to_string() } else { format!("{}: {}", step.key, step.op) }
}
