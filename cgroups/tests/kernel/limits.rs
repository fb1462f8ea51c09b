//! Limits are read back from the kernel, and updates change all or nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cgroups::{Controller, Layout, Resources, Version};

use crate::Case;
use crate::fixture::{Container, request, unique};

pub(crate) const CASES: &[Case] = &[
    ("every_limit_is_read_back", every_limit_is_read_back),
    ("a_limit_that_cannot_be_is_named", a_limit_that_cannot_be_is_named),
    ("an_update_changes_what_it_names", an_update_changes_what_it_names),
    ("an_update_is_all_or_nothing", an_update_is_all_or_nothing),
    ("an_update_finds_the_order_that_the_kernel_takes", an_update_finds_the_order_that_the_kernel_takes),
    ("a_limit_below_the_usage_is_refused", a_limit_below_the_usage_is_refused),
    ("an_out_of_memory_kill_is_counted", an_out_of_memory_kill_is_counted),
];

pub(crate) fn parse(json: &str) -> Resources {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// What is asked; the controller; then file and value on version 1, file and value on version 2. An empty file: the version
/// cannot do it.
type Row = (&'static str, &'static str, (&'static str, &'static str), (&'static str, &'static str));

/// What a version 1 group says that has no limit.
const UNLIMITED: &str = "9223372036854771712";

const TABLE: &[Row] = &[
    (
        r#"{"memory":{"limit":16777216}}"#,
        "memory",
        ("memory.limit_in_bytes", "16777216"),
        ("memory.max", "16777216"),
    ),
    (
        r#"{"memory":{"reservation":8388608}}"#,
        "memory",
        ("memory.soft_limit_in_bytes", "8388608"),
        ("memory.low", "8388608"),
    ),
    (
        r#"{"memory":{"limit":16777216,"swap":33554432}}"#,
        "memory",
        ("memory.memsw.limit_in_bytes", "33554432"),
        ("memory.swap.max", "16777216"),
    ),
    (r#"{"memory":{"swappiness":7}}"#, "memory", ("memory.swappiness", "7"), ("", "")),
    (
        r#"{"memory":{"kernelTCP":4194304}}"#,
        "memory",
        ("memory.kmem.tcp.limit_in_bytes", "4194304"),
        ("", ""),
    ),
    (
        r#"{"memory":{"disableOOMKiller":true}}"#,
        "memory",
        ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0"),
        ("", ""),
    ),
    (r#"{"cpu":{"shares":2048}}"#, "cpu", ("cpu.shares", "2048"), ("cpu.weight", "174")),
    (
        r#"{"cpu":{"quota":50000,"period":200000}}"#,
        "cpu",
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.max", "50000 200000"),
    ),
    (r#"{"cpu":{"period":200000}}"#, "cpu", ("cpu.cfs_period_us", "200000"), ("cpu.max", "max 200000")),
    (
        r#"{"cpu":{"quota":50000,"burst":20000}}"#,
        "cpu",
        ("cpu.cfs_burst_us", "20000"),
        ("cpu.max.burst", "20000"),
    ),
    (r#"{"cpu":{"idle":1}}"#, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
    (r#"{"cpu":{"cpus":"0"}}"#, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    (r#"{"cpu":{"mems":"0"}}"#, "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    (r#"{"pids":{"limit":42}}"#, "pids", ("pids.max", "42"), ("pids.max", "42")),
    (r#"{"pids":{"limit":-1}}"#, "pids", ("pids.max", "max"), ("pids.max", "max")),
    (r#"{"pids":{"limit":0}}"#, "pids", ("pids.max", "0"), ("pids.max", "1")),
    (
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        "hugetlb",
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.max", "4194304"),
    ),
    (
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        "hugetlb",
        ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
    ),
    (r#"{"unified":{"hugetlb.2MB.max":"2097152"}}"#, "hugetlb", ("", ""), ("hugetlb.2MB.max", "2097152")),
    (r#"{"unified":{"memory.high":"8388608"}}"#, "memory", ("", ""), ("memory.high", "8388608")),
    (
        r#"{"memory":{"limit":16777216,"swap":-1}}"#,
        "memory",
        ("memory.memsw.limit_in_bytes", UNLIMITED),
        ("memory.swap.max", "max"),
    ),
    (r#"{"cpu":{"shares":2}}"#, "cpu", ("cpu.shares", "2"), ("cpu.weight", "1")),
    (r#"{"cpu":{"shares":1024}}"#, "cpu", ("cpu.shares", "1024"), ("cpu.weight", "100")),
    (r#"{"cpu":{"shares":262144}}"#, "cpu", ("cpu.shares", "262144"), ("cpu.weight", "10000")),
    (r#"{"cpu":{"quota":-1}}"#, "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
    (r#"{"network":{"classID":1048577}}"#, "net_cls", ("net_cls.classid", "1048577"), ("", "")),
];

/// A block device of this machine, as `major:minor`.
fn block_device() -> Option<(u64, u64)> {
    let device = fs::read_dir("/sys/block").ok()?.flatten().next()?;
    let text = fs::read_to_string(device.path().join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn every_limit_is_read_back() {
    let layout = Layout::detect().unwrap();
    every_limit(
        |asked| cgroups::validate(&request(&unique("limits"), asked), &layout),
        |asked, controller, file| Container::new("limits", asked).read(controller, file),
    );
    throttles(|asked, file| Container::new("throttle", asked).read("blkio", file));
    weights(|asked| {
        let prepared = cgroups::prepare(&request(&unique("weight"), asked), &layout)?;
        let cgroup = prepared.record().open()?;
        let container = Container::adopted(prepared, cgroup);
        Ok(weight_files(&container.directory("blkio")))
    });
}

/// Every row of the table, by a driver: `refused` tells what is wrong with a request, `read` makes a group and reads one
/// of its files.
pub(crate) fn every_limit(
    refused: impl Fn(&Resources) -> Vec<sys::Error>,
    read: impl Fn(&Resources, &str, &str) -> String,
) {
    let layout = Layout::detect().unwrap();
    let mut missing = Vec::new();
    for (json, controller, v1, v2) in TABLE {
        let asked = parse(json);
        let (file, value) = match controller_version(&layout, controller) {
            Some(1) => v1,
            Some(_) => v2,
            None => {
                assert!(
                    !refused(&asked).is_empty(),
                    "{json} must be refused without a {controller} controller"
                );
                missing.push(*controller);
                continue;
            }
        };
        if file.is_empty() {
            assert!(!refused(&asked).is_empty(), "{json} must be refused");
            continue;
        }
        assert_eq!(read(&asked, controller, file), *value, "{json}");
    }
    missing.dedup();
    if !missing.is_empty() {
        println!("skipped: this layout has no {}", missing.join(", "));
    }
}

/// The version that drives block I/O, whose controller each calls by a name of its own.
fn block_io() -> Option<u32> {
    let homes = Layout::detect().unwrap().controllers();
    match homes.of(Controller::Blkio)? {
        Version::V1 => Some(1),
        Version::V2 => Some(2),
    }
}

/// The four rates of a disk, by a driver.
pub(crate) fn throttles(read: impl Fn(&Resources, &str) -> String) {
    let (Some((major, minor)), Some(version)) = (block_device(), block_io()) else {
        println!("skipped: block I/O needs a disk and a controller for it");
        return;
    };
    let device = format!(r#"[{{"major":{major},"minor":{minor},"rate":1048576}}]"#);
    for (field, file, v2) in [
        (
            "throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            "rbps=1048576 wbps=max riops=max wiops=max",
        ),
        (
            "throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            "rbps=max wbps=1048576 riops=max wiops=max",
        ),
        (
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "rbps=max wbps=max riops=1048576 wiops=max",
        ),
        (
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "rbps=max wbps=max riops=max wiops=1048576",
        ),
    ] {
        let asked = parse(&format!(r#"{{"blockIO":{{"{field}":{device}}}}}"#));
        let (file, value) = if version == 1 { (file, "1048576") } else { ("io.max", v2) };
        assert_eq!(read(&asked, file), format!("{major}:{minor} {value}"), "{field}");
    }
}

/// The weight of a group, which only a kernel with the BFQ scheduler or with io.cost has.
pub(crate) fn weights(read: impl Fn(&Resources) -> sys::Result<Vec<(String, String)>>) {
    if block_io().is_none() {
        return;
    }
    match read(&parse(r#"{"blockIO":{"weight":500}}"#)) {
        Ok(files) => {
            let (file, value) = files.first().expect("a file of weights");
            let expected = if file == "io.weight" { "default 4950" } else { "500" };
            assert_eq!(
                value.trim_start_matches("default ").trim(),
                expected.trim_start_matches("default "),
                "{file}"
            );
        }
        Err(error) => {
            assert_eq!(error.key(), Some("linux.resources.blockIO.weight"), "{error}");
            println!("skipped: no scheduler has weights here");
        }
    }
}

/// The files of weights of a group and what they hold, the one that counts first.
pub(crate) fn weight_files(group: &Path) -> Vec<(String, String)> {
    let names = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let text = |name: &str| fs::read_to_string(group.join(name)).ok().map(|text| text.trim().to_owned());
    names.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect()
}

pub(crate) fn controller_version(layout: &Layout, controller: &str) -> Option<u32> {
    let homes = layout.controllers();
    if homes.v1.union(cgroups::Controllers::of_v1(controller)) == homes.v1 {
        return Some(1);
    }
    let v2 = homes.v2?;
    (v2.union(cgroups::Controllers::of_v2(controller)) == v2).then_some(2)
}

fn a_limit_that_cannot_be_is_named() {
    for (json, key) in [
        (r#"{"cpu":{"cpus":"4095"}}"#, "linux.resources.cpu.cpus"),
        (r#"{"hugepageLimits":[{"pageSize":"3MB","limit":0}]}"#, "linux.resources.hugepageLimits[0]"),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":1,"rate":1}]}}"#,
            "linux.resources.blockIO.throttleReadBpsDevice[0]",
        ),
        (r#"{"unified":{"hugetlb.3MB.max":"0"}}"#, "linux.resources.unified.hugetlb.3MB.max"),
        (r#"{"rdma":{"none0":{"hcaHandles":1}}}"#, "linux.resources.rdma.none0"),
    ] {
        let (asked, path) = (parse(json), unique("impossible"));
        let error = cgroups::prepare(&request(&path, &asked), &Layout::detect().unwrap()).unwrap_err();
        assert_eq!(error.key(), Some(key), "{error}");
        for entry in fs::read_dir("/sys/fs/cgroup").unwrap() {
            assert!(
                !entry.unwrap().path().join(path.trim_start_matches('/')).exists(),
                "{json} left a group"
            );
        }
    }
}

fn an_update_changes_what_it_names() {
    let v1 = controller_version(&Layout::detect().unwrap(), "memory") == Some(1);
    if !v1 {
        let container =
            Container::new("update", &parse(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#));
        container.cgroup.update(&parse(r#"{"unified":{"hugetlb.2MB.rsvd.max":"8388608"}}"#)).unwrap();
        assert_eq!(container.read("hugetlb", "hugetlb.2MB.max"), "2097152");
        assert_eq!(container.read("hugetlb", "hugetlb.2MB.rsvd.max"), "8388608");
        return;
    }
    let container = Container::new(
        "update",
        &parse(r#"{"memory":{"limit":16777216},"cpu":{"quota":50000,"burst":20000},"pids":{"limit":10}}"#),
    );
    container.cgroup.update(&parse(r#"{"pids":{"limit":20},"cpu":{"period":50000}}"#)).unwrap();
    assert_eq!(container.read("memory", "memory.limit_in_bytes"), "16777216");
    assert_eq!(container.read("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(container.read("cpu", "cpu.cfs_period_us"), "50000");
    assert_eq!(container.read("cpu", "cpu.cfs_burst_us"), "20000", "an update keeps the burst");
    assert_eq!(container.read("pids", "pids.max"), "20");
    container.cgroup.update(&Resources::default()).unwrap();
    assert_eq!(container.read("pids", "pids.max"), "20");
}

fn an_update_is_all_or_nothing() {
    let v1 = controller_version(&Layout::detect().unwrap(), "memory") == Some(1);
    let (first, second) = ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max");
    if !v1 {
        let container =
            Container::new("atomic", &parse(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#));
        let asked = format!(r#"{{"unified":{{"{first}":"0","{second}":"0","hugetlb.9MB.max":"0"}}}}"#);
        let error = container.cgroup.update(&parse(&asked)).unwrap_err();
        assert_eq!(error.key(), Some("linux.resources.unified.hugetlb.9MB.max"), "{error}");
        assert_eq!(container.read("hugetlb", first), "2097152");
        assert_eq!(container.read("hugetlb", second), "2097152");
        return;
    }
    let container = Container::new("atomic", &parse(r#"{"memory":{"limit":16777216},"pids":{"limit":10}}"#));
    let asked = r#"{"memory":{"limit":33554432,"swap":67108864,"reservation":4194304},"pids":{"limit":20},
        "cpu":{"shares":512,"quota":70000,"period":90000,"cpus":"0","mems":"4095"}}"#;
    let error = container.cgroup.update(&parse(asked)).unwrap_err();
    assert_eq!(error.key(), Some("linux.resources.cpu.mems"), "{error}");
    assert_eq!(container.read("memory", "memory.limit_in_bytes"), "16777216");
    assert_eq!(
        container.read("memory", "memory.memsw.limit_in_bytes"),
        i64::MAX.wrapping_sub(4095).to_string()
    );
    assert_eq!(
        container.read("memory", "memory.soft_limit_in_bytes"),
        i64::MAX.wrapping_sub(4095).to_string()
    );
    assert_eq!(container.read("cpu", "cpu.shares"), "1024");
    assert_eq!(container.read("cpu", "cpu.cfs_quota_us"), "-1");
    assert_eq!(container.read("cpu", "cpu.cfs_period_us"), "100000");
    assert_eq!(container.read("pids", "pids.max"), "10");
    assert_ne!(container.read("cpuset", "cpuset.cpus"), "");
}

fn an_update_finds_the_order_that_the_kernel_takes() {
    if controller_version(&Layout::detect().unwrap(), "memory") != Some(1) {
        println!("skipped: this layout has no version 1 memory controller");
        return;
    }
    let container = Container::new("order", &parse(r#"{"memory":{"limit":16777216,"swap":16777216}}"#));
    for (limit, swap) in
        [(33_554_432_i64, 67_108_864_i64), (8_388_608, 8_388_608), (-1, -1), (16_777_216, 16_777_216)]
    {
        let asked = parse(&format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#));
        container.cgroup.update(&asked).unwrap_or_else(|error| panic!("{limit} {swap}: {error}"));
        let expected = if limit < 0 { i64::MAX - 4095 } else { limit };
        assert_eq!(container.read("memory", "memory.limit_in_bytes"), expected.to_string());
    }
    container.cgroup.update(&parse(r#"{"memory":{"limit":-1}}"#)).expect("lifting the limit lifts swap");
    let cpu = Container::new("order-cpu", &parse(r#"{"cpu":{"quota":90000,"period":100000,"burst":80000}}"#));
    for (quota, period, burst) in [(5_000, 5_000, 4_000), (900_000, 1_000_000, 900_000), (10_000, 20_000, 0)]
    {
        let asked = parse(&format!(r#"{{"cpu":{{"quota":{quota},"period":{period},"burst":{burst}}}}}"#));
        cpu.cgroup.update(&asked).unwrap_or_else(|error| panic!("{quota} {period} {burst}: {error}"));
        assert_eq!(cpu.read("cpu", "cpu.cfs_quota_us"), quota.to_string());
        assert_eq!(cpu.read("cpu", "cpu.cfs_burst_us"), burst.to_string());
    }
}

fn a_limit_below_the_usage_is_refused() {
    if controller_version(&Layout::detect().unwrap(), "memory") != Some(1) {
        println!("skipped: this layout has no version 1 memory controller");
        return;
    }
    let container = Container::new("usage", &parse(r#"{"memory":{"limit":67108864}}"#));
    let mut child = container.run("exec perl -e '$x = \"x\" x 20000000; $| = 1; sleep 100'");
    let end = crate::fixture::soon();
    while container.read("memory", "memory.usage_in_bytes").parse::<u64>().unwrap() < 20_000_000 {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let error = container.cgroup.update(&parse(r#"{"memory":{"limit":4194304}}"#)).unwrap_err();
    assert!(error.to_string().contains("bytes are in use"), "{error}");
    let asked = parse(r#"{"memory":{"limit":4194304,"checkBeforeUpdate":true}}"#);
    let error = container.cgroup.update(&asked).unwrap_err();
    assert!(error.to_string().contains("is below the"), "{error}");
    container.cgroup.kill(crate::fixture::soon()).unwrap();
    child.wait().unwrap();
}

fn an_out_of_memory_kill_is_counted() {
    if controller_version(&Layout::detect().unwrap(), "memory").is_none() {
        println!("skipped: this layout has no memory controller");
        return;
    }
    let container = Container::new("oom", &parse(r#"{"memory":{"limit":16777216,"swap":16777216}}"#));
    assert_eq!(container.cgroup.oom_kill_count().unwrap(), Some(0));
    let mut child = container.run("exec perl -e '$x = \"x\" x 100000000; sleep 100'");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert_eq!(container.cgroup.oom_kill_count().unwrap(), Some(1));
}

/// The device number of a file.
pub(crate) fn device_of(path: &Path) -> (u32, u32) {
    let device = fs::metadata(path).unwrap().rdev();
    (rustix::fs::major(device), rustix::fs::minor(device))
}
