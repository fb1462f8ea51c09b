//! Statistics of real processes.

use std::fs;

use cgroups::stats::{StatsV1, StatsV2};
use cgroups::{Layout, Resources, Stats};
use rustix::process::{Resource, Rlimit};

use crate::Case;
use crate::fixture::{Container, soon, wait_until};
use crate::limits::{controller_version, parse};

pub(crate) const CASES: &[Case] = &[
    ("what_a_container_used_is_told", what_a_container_used_is_told),
    ("a_meter_follows_the_container", a_meter_follows_the_container),
    ("a_meter_of_a_removed_container_says_so", a_meter_of_a_removed_container_says_so),
    ("a_reading_opens_nothing_and_reads_each_file_once", a_reading_opens_nothing_and_reads_each_file_once),
];

fn what_a_container_used_is_told() {
    let limited = home("memory").is_some();
    let asked = if limited { r#"{"memory":{"limit":67108864},"pids":{"limit":20}}"# } else { "{}" };
    let container = Container::new("stats", &parse(asked));
    let mut child = container.run("perl -e '$x = \"x\" x 8000000; for (1..3000000) { $y += $_ } sleep 100'");
    wait_until("it has used memory and time", || {
        let stats = container.cgroup.stats().unwrap();
        total(&stats) > 20_000_000 && (!limited || memory_in_use(&stats) > 8_000_000)
    });
    match container.cgroup.stats().unwrap() {
        Stats::V1(stats) => v1_is_told(&stats),
        Stats::V2(stats) => v2_is_told(&stats),
    }
    let data =
        serde_json::to_value(cgroups::stats::events::data(&container.cgroup.stats().unwrap())).unwrap();
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 20_000_000, "{data}");
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}

fn home(controller: &str) -> Option<u32> {
    controller_version(&Layout::detect().unwrap(), controller)
}

fn v1_is_told(stats: &StatsV1) {
    let cpu = stats.cpu.as_ref().unwrap();
    assert_eq!(cpu.per_cpu.iter().sum::<u64>() / 1_000_000, cpu.total / 1_000_000);
    assert_eq!(cpu.per_cpu.len(), cpu.per_cpu_user.len());
    let memory = stats.memory.as_ref().unwrap();
    assert_eq!(memory.usage.limit, 67_108_864);
    assert!(memory.usage.max >= memory.usage.usage, "{memory:?}");
    assert!(memory.total.rss > 8_000_000 && memory.raw.len() > 20, "{memory:?}");
    assert_eq!(stats.pids.unwrap().limit, 20);
    assert!(stats.pids.unwrap().current >= 1);
    assert_eq!(stats.memory_oom_control.unwrap().oom_kill, 0);
    assert!(!stats.cpuset.as_ref().unwrap().cpus.is_empty());
}

fn v2_is_told(stats: &StatsV2) {
    let cpu = stats.cpu.expect("version 2 counts CPU time without the controller");
    assert!(cpu.usage_usec >= cpu.user_usec, "{cpu:?}");
    assert_eq!(stats.memory.is_some(), home("memory") == Some(2), "a controller counts where it lives");
    assert_eq!(stats.pids.is_some(), home("pids") == Some(2));
    if let (Some(memory), Some(pids)) = (&stats.memory, stats.pids) {
        assert_eq!((memory.usage_limit, pids.limit), (67_108_864, 20));
        assert!(memory.stat.anon > 8_000_000, "{memory:?}");
        assert!(pids.current >= 1);
    }
    let unlimited = |huge: &cgroups::stats::HugetlbV2| huge.page_size == "2MB" && huge.max > 1 << 60;
    assert!(home("hugetlb") != Some(2) || stats.hugetlb.iter().any(unlimited), "{:?}", stats.hugetlb);
}

fn memory_in_use(stats: &Stats) -> u64 {
    match stats {
        Stats::V1(stats) => stats.memory.as_ref().map_or(0, |memory| memory.total.rss),
        Stats::V2(stats) => stats.memory.as_ref().map_or(0, |memory| memory.stat.anon),
    }
}

fn total(stats: &Stats) -> u64 {
    match stats {
        Stats::V1(stats) => stats.cpu.as_ref().unwrap().total,
        Stats::V2(stats) => stats.cpu.unwrap().usage_usec * 1_000,
    }
}

fn a_meter_follows_the_container() {
    let container = Container::new("meter", &Resources::default());
    let meter = container.cgroup.meter().unwrap();
    let before = total(&meter.read().unwrap());
    let mut child = container.run("while :; do :; done");
    wait_until("the meter goes on", || total(&meter.read().unwrap()) > before);
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}

fn a_meter_of_a_removed_container_says_so() {
    let container = Container::new("gone", &Resources::default());
    let meter = container.cgroup.meter().unwrap();
    container.cgroup.remove(soon()).unwrap();
    assert_eq!(meter.read().unwrap_err().kind(), sys::Kind::NotFound);
    assert_eq!(container.cgroup.meter().unwrap_err().kind(), sys::Kind::NotFound);
}

/// What makes a reading cheap: the files stay open, and each is read to its end and no more.
fn a_reading_opens_nothing_and_reads_each_file_once() {
    let container = Container::new("cost", &Resources::default());
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let meter = container.cgroup.meter().unwrap();
    let files = (open() - before) as u64;
    assert!(files > 3, "{files}");
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let none_left = Rlimit { current: Some(0), maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, none_left).unwrap();
    meter.read().expect("a reading needs no new descriptor");
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let Some(start) = reads_so_far() else {
        println!("skipped: this kernel does not count reads");
        return;
    };
    for _ in 0..10 {
        meter.read().unwrap();
    }
    let reads = reads_so_far().unwrap() - start;
    // The end of a file is a read of its own, and a few have more than a buffer. Reading the count takes two.
    assert!(reads <= 10 * 3 * files + 2, "{reads} reads of {files} files");
}

/// How many reads this process has made. proc_pid_io(5).
fn reads_so_far() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok())
}
