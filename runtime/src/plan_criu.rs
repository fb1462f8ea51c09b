//! When each thing happens in the process that becomes CRIU. Pure.
//!
//! ```text
//! checkpoint   as little as possible: CRIU works on the container from outside
//! restore      a mount namespace of its own, in which the mount points are made and the root is mounted where CRIU
//!              finds it; then the container's cgroups, in which every process that CRIU makes is born
//! ```
//!
//! The plan of a new container is in [`crate::plan`], that of one more process in [`crate::plan_exec`].

use std::ffi::CStr;

use child::op::{Attributes, Depth, Over, Request, Source};
use child::{Fd, List, Op, Text, Words};

use crate::config::Config;
use crate::config::mounts::Mount;
use crate::config::namespaces::Kind;
use crate::config::text::Strings;
use crate::step::{Open, Opens, Step, Tree};

/// What is executed, and the descriptors that it gets.
#[derive(Debug)]
pub struct Program {
    /// Where CRIU may be, the most likely first.
    pub candidates: Strings,
    /// Its arguments.
    pub args: Strings,
    /// Its environment.
    pub env: Strings,
    /// How many descriptors it gets.
    pub descriptors: u32,
}

/// What the order depends on when a container is restored.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What is executed.
    pub program: &'a Program,
    /// The valid configuration.
    pub config: &'a Config,
    /// The inode of the root directory as the parent saw it: device and number.
    pub root_inode: (u64, u64),
    /// The state directory and its inode; [`ROOT`] in it becomes the root that CRIU is told of.
    pub directory: (&'a CStr, (u64, u64)),
    /// How many files are written to join the cgroups.
    pub cgroup_files: usize,
    /// The name of the session keyring; `None` keeps the caller's.
    pub keyring: Option<&'a CStr>,
}

/// The mount point of the root in the state directory.
pub const ROOT: &CStr = c"/criu-root";

/// What is opened and what is done.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Opened by the parent before the clone.
    pub opens: Opens<'a>,
    /// Done by the child, in this order.
    pub steps: Vec<Step<'a>>,
}

/// CRIU for a container that runs. It does not die with its parent: it must let go of the container's processes first,
/// which it does when nobody hears it any more.
pub fn checkpoint(program: &Program) -> Plan<'_> {
    let opens = first_opens(program);
    let mut steps = vec![descriptors(program, &opens)];
    execute(program, &mut steps);
    Plan { opens, steps }
}

/// CRIU for a container that is to be made from images.
pub fn restore<'a>(inputs: &'a Inputs<'a>) -> Plan<'a> {
    let Inputs { program, config, .. } = inputs;
    let mut opens = first_opens(program);
    let first_task = Fd(socket(program).0 + 2);
    for index in 0..inputs.cgroup_files {
        opens.add(Open::Tasks(index));
    }
    let pristine = opens.add(root_tree(config));
    let mut steps = vec![Step::new("", Op::DieWithParent); 2];
    steps.extend(inputs.keyring.map(|name| Step::new("", Op::NewKeyring { name: Text(name) })));
    steps.push(Step::new("", Op::Await { request: Request::Adopt }));
    // What is mounted from here on ends with CRIU, whatever happens to the runtime.
    steps.push(Step::new("", Op::HostPropagation { flags: MS_SLAVE | MS_REC }));
    mount_points(inputs, &mut steps);
    root_for_criu(inputs, pristine, &mut steps);
    if inputs.cgroup_files > 0 {
        let count = u32::try_from(inputs.cgroup_files).unwrap_or(u32::MAX);
        steps.push(Step::new("linux.cgroupsPath", Op::JoinCgroups { first: first_task, count }));
    }
    execute(program, &mut steps);
    if let Some(step) = steps.first_mut() {
        *step = descriptors(program, &opens);
    }
    Plan { opens, steps }
}

/// A process that gives the mounts of a restored container the attributes of the configuration and tells the parent when
/// it is done. Its only descriptor of the container is that of its first process.
pub fn attributes<'a>(config: &'a Config, root: (u64, u64), root_of_init: &'a CStr, user: User) -> Plan<'a> {
    let mut opens = Opens::new(1);
    let (socket, proc) = (opens.add(Open::Socket), opens.add(Open::Proc));
    let own_user = if user == User::OfContainer { Kind::User.flag() } else { 0 };
    let (device, inode) = root;
    let mut steps = vec![
        Step::new("", Op::Descriptors { place: Words::default(), keep: 3, socket, proc: Some(proc) }),
        Step::new("", Op::DieWithParent),
        Step::new("", Op::NonDumpable),
        Step::new("", Op::JoinProcess { pidfd: Fd(0), flags: Kind::Mount.flag() | own_user }),
        Step::new("", Op::EnterRoot { device, inode, root: Text(root_of_init) }),
    ];
    steps.extend(config.mounts.attribute_steps());
    steps.extend(config.mounts.readonly_steps());
    steps.extend(config.root.readonly_step());
    steps.push(Step::new("", Op::Await { request: Request::Adopt }));
    Plan { opens, steps }
}

/// Whose user namespace owns the container's mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The runtime's.
    OfRuntime,
    /// One of the container's own.
    OfContainer,
}

fn socket(program: &Program) -> Fd {
    Fd(i32::try_from(program.descriptors).unwrap_or(i32::MAX))
}

fn first_opens<'a>(program: &Program) -> Opens<'a> {
    let mut opens = Opens::new(socket(program).0);
    opens.add(Open::Socket);
    opens.add(Open::Proc);
    opens
}

fn descriptors<'a>(program: &Program, opens: &Opens<'_>) -> Step<'a> {
    let keep = u32::try_from(opens.iter().count()).unwrap_or(u32::MAX).saturating_add(program.descriptors);
    let (place, socket) = (Words::default(), socket(program));
    Step::new("", Op::Descriptors { place, keep, socket, proc: Some(Fd(socket.0 + 1)) })
}

fn execute<'a>(program: &'a Program, steps: &mut Vec<Step<'a>>) {
    let list = |strings: &'a Strings| -> List<'a> { strings.list() };
    steps.push(Step::new("", Op::ResetSignals));
    steps.push(Step::new("criu", Op::FindExecutable { candidates: list(&program.candidates) }));
    steps.push(Step::new("", Op::CloseHandles { first: program.descriptors, output: None, start: None }));
    steps.push(Step::new("criu", Op::Execute { args: list(&program.args), env: list(&program.env) }));
}

/// A copy of the root in which nothing is mounted later on.
fn root_tree(config: &Config) -> Open<'_> {
    Open::Tree(Tree {
        source: &config.root.path,
        depth: Depth::Tree,
        idmap: None,
        propagation: MS_SLAVE.into(),
        key: "root.path".into(),
    })
}

/// sys/mount.h
const MS_SLAVE: u32 = 1 << 19;
const MS_REC: u32 = 1 << 14;

/// Makes every mount point that the configuration needs, as a new container does: by mounting what could hold another
/// one. The contents of file systems come from the images, so an empty one stands for each.
fn mount_points<'a>(inputs: &'a Inputs<'a>, steps: &mut Vec<Step<'a>>) {
    let (device, inode) = inputs.root_inode;
    steps.push(inputs.config.root.root_step(device, inode));
    steps.extend(inputs.config.mounts.iter().filter_map(Mount::mount_point_step));
}

/// CRIU demands a root that is a mount point and whose parent nothing hides.
fn root_for_criu<'a>(inputs: &Inputs<'a>, tree: Fd, steps: &mut Vec<Step<'a>>) {
    let (path, (device, inode)) = inputs.directory;
    steps.push(Step::new("", Op::Root { path: Text(path), tree: None, device, inode }));
    let (whole, attributes) = (Attributes::default(), Attributes::default());
    let (source, target, over) = (Source::Tree(tree), Text(ROOT), Over::Directory);
    steps.push(Step::new("root", Op::Bind { source, target, depth: Depth::Tree, whole, attributes, over }));
}
