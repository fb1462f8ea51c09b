//! Groups are made, joined, frozen, killed and removed.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgroups::{Layout, Resources};
use sys::Kind;

use crate::Case;
use crate::fixture::{Container, layout_name, request, soon, unique, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("detect_sees_the_mounts_of_the_caller", detect_sees_the_mounts_of_the_caller),
    ("a_container_is_in_its_groups", a_container_is_in_its_groups),
    ("removal_leaves_nothing", removal_leaves_nothing),
    ("freeze_stops_and_thaw_resumes", freeze_stops_and_thaw_resumes),
    ("kill_ends_a_frozen_container", kill_ends_a_frozen_container),
    ("kill_ends_a_fork_bomb", kill_ends_a_fork_bomb),
    ("a_used_group_is_refused_and_left_alone", a_used_group_is_refused_and_left_alone),
    ("a_frozen_group_is_refused", a_frozen_group_is_refused),
    ("a_failure_leaves_nothing", a_failure_leaves_nothing),
    ("remove_names_who_is_stuck", remove_names_who_is_stuck),
    ("exec_joins_only_beneath_the_container", exec_joins_only_beneath_the_container),
    ("a_bind_mount_does_not_redirect", a_bind_mount_does_not_redirect),
    ("many_in_a_row_take_no_longer_and_leave_nothing", many_in_a_row_take_no_longer_and_leave_nothing),
    ("a_threaded_place_is_refused", a_threaded_place_is_refused),
];

fn detect_sees_the_mounts_of_the_caller() {
    let layout = Layout::detect().unwrap();
    match layout_name().as_str() {
        "v2" => assert_eq!((layout.name(), layout.is_pure_v2()), ("v2", true)),
        "v1" => assert_eq!((layout.name(), layout.is_pure_v2()), ("v1", false)),
        _ => println!("skipped: the host's layout is {}", layout.name()),
    }
}

fn a_container_is_in_its_groups() {
    let container = Container::new("member", &Resources::default());
    let mut child = container.run("exec sleep 100");
    let own = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    for (names, path) in container.cgroup.container_paths() {
        let expected = unique("member");
        let found =
            own.lines().any(|line| line.split(':').nth(1) == Some(&names) && line.ends_with(&expected));
        assert!(found, "{path}: {own}");
    }
    let pids: Vec<u32> =
        container.cgroup.pids().unwrap().iter().map(|pid| pid.as_raw_nonzero().get() as u32).collect();
    assert_eq!(pids, [child.id()]);
    if let Some(group) = container.prepared.unified_group() {
        let link = fs::read_link(format!("/proc/self/fd/{}", group.as_raw_fd())).unwrap();
        assert_eq!(link, container.directory(""));
    }
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}

fn removal_leaves_nothing() {
    let container = Container::new("nested", &Resources::default());
    for (_, path) in container.cgroup.container_paths() {
        fs::create_dir_all(format!("{path}/a/b/c")).unwrap();
        fs::create_dir_all(format!("{path}/a/d")).unwrap();
    }
    container.cgroup.remove(soon()).unwrap();
    assert!(!container.is_there());
    container.cgroup.remove(soon()).expect("removing what is gone is fine");
    container.cgroup.kill(soon()).expect("killing what is gone is fine");
    assert!(container.cgroup.pids().unwrap().is_empty());
}

fn state_of(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').next().unwrap().to_owned()
}

/// How often the process got the CPU so far.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn freeze_stops_and_thaw_resumes() {
    let container = Container::new("freeze", &Resources::default());
    let mut child = container.run("while :; do :; done");
    assert!(!container.cgroup.is_frozen().unwrap());
    container.cgroup.freeze().unwrap();
    assert!(container.cgroup.is_frozen().unwrap());
    let before = cpu_ticks(child.id());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(cpu_ticks(child.id()), before, "a frozen process does not run");
    container.cgroup.thaw().unwrap();
    assert!(!container.cgroup.is_frozen().unwrap());
    wait_until("a thawed process runs", || cpu_ticks(child.id()) > before);
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}

fn kill_ends_a_frozen_container() {
    let container = Container::new("frozen", &Resources::default());
    let mut child = container.run("exec sleep 100");
    container.cgroup.freeze().unwrap();
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    container.cgroup.kill(soon()).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&waiter.join().unwrap()), Some(9));
    assert!(!container.cgroup.is_frozen().unwrap());
}

fn kill_ends_a_fork_bomb() {
    let container = Container::new("bomb", &Resources::default());
    // Bounded by RLIMIT_NPROC of a user that owns nothing else.
    let user = 60_000 + std::process::id() % 5_000;
    let script =
        format!("exec prlimit --nproc=200 setpriv --reuid {user} --clear-groups perl -e 'fork while 1'");
    let mut child = container.run(&script);
    wait_until("the bomb has gone off", || container.cgroup.pids().unwrap().len() > 20);
    let start = Instant::now();
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    container.cgroup.kill(soon()).unwrap();
    println!("killed in {:?}", start.elapsed());
    assert!(container.cgroup.pids().unwrap().is_empty());
    waiter.join().unwrap();
}

fn a_used_group_is_refused_and_left_alone() {
    let container = Container::new("used", &Resources::default());
    let mut child = container.run("exec sleep 100");
    let error =
        cgroups::prepare(&request(&unique("used"), &Resources::default()), &Layout::detect().unwrap())
            .unwrap_err();
    assert!(error.to_string().contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
    assert!(container.is_there());
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
    // Empty, it may be used again: an engine makes the group in advance.
    Container::new("used", &Resources::default());
}

fn a_frozen_group_is_refused() {
    let container = Container::new("cold", &Resources::default());
    container.cgroup.freeze().unwrap();
    let path = format!("{}/inner", unique("cold"));
    for path in [unique("cold"), path] {
        let error =
            cgroups::prepare(&request(&path, &Resources::default()), &Layout::detect().unwrap()).unwrap_err();
        assert!(error.to_string().contains("container's cgroup unexpectedly frozen"), "{error}");
    }
    for (_, path) in container.cgroup.container_paths() {
        assert!(!fs::exists(format!("{path}/inner")).unwrap(), "{path}");
    }
    container.cgroup.thaw().unwrap();
}

/// A file where the last hierarchy's group should be: the groups made before it go away again.
fn a_failure_leaves_nothing() {
    let layout = Layout::detect().unwrap();
    let resources = Resources::default();
    let name = if layout.is_pure_v2() { "/cgroup.procs" } else { "/notify_on_release" };
    let error = cgroups::prepare(&request(name, &resources), &layout).unwrap_err();
    assert_eq!(error.key(), Some("linux.cgroupsPath"), "{error}");

    let path = format!("{}/made/here", unique("undo"));
    let cold = Container::new("undo", &resources);
    cold.cgroup.freeze().unwrap();
    let error = cgroups::prepare(&request(&path, &resources), &layout).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongState, "{error}");
    for (_, path) in cold.cgroup.container_paths() {
        assert!(!fs::exists(format!("{path}/made")).unwrap(), "{path}");
    }
    cold.cgroup.thaw().unwrap();
}

fn remove_names_who_is_stuck() {
    let container = Container::new("stuck", &Resources::default());
    let mut child = container.run("exec sleep 100");
    // The shell has become sleep, and sleep sleeps.
    let name = || fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
    wait_until("it sleeps", || name().trim() == "sleep" && state_of(child.id()) == "S");
    let error = container.cgroup.remove(Instant::now() + Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    let text = error.to_string();
    assert!(text.contains(&format!("{} (sleep, state S)", child.id())), "{text}");
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}

fn exec_joins_only_beneath_the_container() {
    let container = Container::new("exec", &Resources::default());
    for (_, path) in container.cgroup.container_paths() {
        fs::create_dir(format!("{path}/sub")).unwrap();
    }
    let link = |file: &dyn AsRawFd| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let join = container.cgroup.join(&["sub"], None).unwrap();
    for tasks in join.tasks() {
        assert!(link(&tasks).ends_with("sub/tasks"));
    }
    if let Some(group) = join.unified_group() {
        assert_eq!(link(&group), container.directory("").join("sub"));
    }
    for target in ["../x", "sub/../../x", "memory,name=systemd:../x", ":a/../.."] {
        let error = container.cgroup.join(&[target], None).unwrap_err();
        assert!(error.to_string().contains("\"..\""), "{target}: {error}");
    }
    assert!(container.cgroup.join(&["absent"], None).is_err());
    // A symbolic link cannot exist in a control group file system, so no target is ever redirected.
    assert!(symlink("/", container.directory("pids").join("link")).is_err());
}

/// Somebody who can mount binds another container's group over a part of ours.
fn a_bind_mount_does_not_redirect() {
    let victim = Container::new("victim", &Resources::default());
    let container = Container::new("bound", &Resources::default());
    for (names, path) in container.cgroup.container_paths() {
        // Two controllers may share a hierarchy: `cpu,cpuacct`.
        let target = victim.directory(names.split(',').next().unwrap_or_default());
        let status = Command::new("mount").arg("--bind").arg(&target).arg(&path).status().unwrap();
        assert!(status.success());
    }
    let error = container.cgroup.kill(soon()).unwrap_err();
    assert_eq!(error.errno(), Some(rustix::io::Errno::XDEV), "{error}");
    for (_, path) in container.cgroup.container_paths() {
        assert!(Command::new("umount").arg(&path).stderr(Stdio::null()).status().unwrap().success());
    }
}

fn a_threaded_place_is_refused() {
    if layout_name() != "v2" {
        println!("skipped: only version 2 has threaded groups");
        return;
    }
    let container = Container::new("threads", &Resources::default());
    let inner = container.directory("").join("threaded");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.type"), "threaded").unwrap();
    let path = format!("{}/threaded/inner", unique("threads"));
    let error =
        cgroups::prepare(&request(&path, &Resources::default()), &Layout::detect().unwrap()).unwrap_err();
    assert!(error.to_string().contains("domain invalid"), "{error}");
    assert!(!fs::exists(inner.join("inner")).unwrap());
}

fn many_in_a_row_take_no_longer_and_leave_nothing() {
    let count = || Layout::detect().map(|_| fs::read_dir("/proc/self/fd").unwrap().count()).unwrap();
    let (before, mut times) = (count(), Vec::new());
    for _ in 0..500 {
        let start = thread_time();
        let container = Container::new("row", &Resources::default());
        container.cgroup.freeze().unwrap();
        container.cgroup.thaw().unwrap();
        drop(container);
        times.push(thread_time() - start);
    }
    assert_eq!(count(), before, "descriptors are closed");
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (first, last) = (median(&times[..50]), median(&times[450..]));
    println!("CPU time of the first: {first:?}, of the last: {last:?}");
    assert!(last < first * 3, "the first took {first:?}, the last {last:?}");
}

/// The CPU time of this thread, which other tests beside this one do not lengthen.
fn thread_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}
