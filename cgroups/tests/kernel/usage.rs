//! Statistics of real processes.

use std::time::{Duration, Instant};

use cgroups::{Resources, Stats};

use crate::Case;
use crate::fixture::{Container, layout_name, soon};
use crate::limits::parse;

pub(crate) const CASES: &[Case] = &[
    ("what_a_container_used_is_told", what_a_container_used_is_told),
    ("a_meter_follows_the_container", a_meter_follows_the_container),
    ("a_meter_of_a_removed_container_says_so", a_meter_of_a_removed_container_says_so),
    ("a_reading_costs_less_than_a_millisecond", a_reading_costs_less_than_a_millisecond),
];

fn what_a_container_used_is_told() {
    let asked =
        if layout_name() == "v2" { "{}" } else { r#"{"memory":{"limit":67108864},"pids":{"limit":20}}"# };
    let container = Container::new("stats", &parse(asked));
    let mut child = container.run("perl -e '$x = \"x\" x 8000000; for (1..3000000) { $y += $_ } sleep 100'");
    std::thread::sleep(Duration::from_millis(700));
    match container.cgroup.stats().unwrap() {
        Stats::V1(stats) => {
            let cpu = stats.cpu.unwrap();
            assert!(cpu.total > 20_000_000, "{cpu:?}");
            assert_eq!(cpu.per_cpu.iter().sum::<u64>() / 1_000_000, cpu.total / 1_000_000);
            assert_eq!(cpu.per_cpu.len(), cpu.per_cpu_user.len());
            let memory = stats.memory.unwrap();
            assert_eq!(memory.usage.limit, 67_108_864);
            assert!(memory.usage.usage > 8_000_000 && memory.usage.max >= memory.usage.usage, "{memory:?}");
            assert!(memory.total.rss > 8_000_000 && memory.raw.len() > 20, "{memory:?}");
            assert_eq!(stats.pids.unwrap().limit, 20);
            assert!(stats.pids.unwrap().current >= 2);
            assert_eq!(stats.memory_oom_control.unwrap().oom_kill, 0);
            assert!(!stats.cpuset.unwrap().cpus.is_empty());
        }
        Stats::V2(stats) => {
            let cpu = stats.cpu.expect("version 2 counts CPU time without the controller");
            assert!(cpu.usage_usec > 20_000 && cpu.usage_usec >= cpu.user_usec, "{cpu:?}");
            assert!(
                stats.memory.is_none() && stats.pids.is_none(),
                "these controllers live in version 1 here"
            );
            let unlimited = |huge: &cgroups::stats::HugetlbV2| huge.page_size == "2MB" && huge.max > 1 << 60;
            assert!(stats.hugetlb.iter().any(unlimited), "{:?}", stats.hugetlb);
        }
    }
    let data =
        serde_json::to_value(cgroups::stats::events::data(&container.cgroup.stats().unwrap())).unwrap();
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 20_000_000, "{data}");
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
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
    std::thread::sleep(Duration::from_millis(200));
    assert!(total(&meter.read().unwrap()) > before);
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

fn a_reading_costs_less_than_a_millisecond() {
    let container = Container::new("cost", &Resources::default());
    let mut child = container.run("exec sleep 100");
    let meter = container.cgroup.meter().unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        meter.read().unwrap();
    }
    // The bound is for an optimized build on an idle machine; this one is neither.
    let each = start.elapsed() / 100;
    println!("skipped the tight bound: a reading takes {each:?}");
    assert!(each < Duration::from_millis(5), "{each:?}");
    container.cgroup.kill(soon()).unwrap();
    child.wait().unwrap();
}
