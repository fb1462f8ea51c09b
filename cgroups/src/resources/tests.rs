//! Every field on every version and with every driver, as tables: the JSON, what each version writes, or the key that it
//! refuses; what systemd is told.

use crate::controller::{Controllers, Homes};
use crate::resources::{IfAbsent, InForce, Resources, Write};

/// A configuration, what version 1 writes, what version 2 writes. `Err` names the key that is refused.
type Row = (&'static str, Result<&'static str, &'static str>, Result<&'static str, &'static str>);

const TABLE: &[Row] = &[
    ("{}", Ok(""), Ok("")),
    (
        r#"{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{},"rdma":{},"hugepageLimits":[]}"#,
        Ok(""),
        Ok(""),
    ),
    (r#"{"memory":null,"cpu":null,"devices":null,"hugepageLimits":null,"unified":null}"#, Ok(""), Ok("")),
    // What Docker writes for a container without limits.
    (r#"{"memory":{"disableOOMKiller":false},"cpu":{"shares":0},"blockIO":{"weight":0}}"#, Ok(""), Ok("")),
    // Memory.
    (r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#, Ok(""), Ok("")),
    (r#"{"memory":{"limit":65536}}"#, Ok("memory.limit_in_bytes=65536"), Ok("memory.max=65536")),
    (
        r#"{"memory":{"limit":-1}}"#,
        Ok("memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1"),
        Ok("memory.max=max memory.swap.max=max"),
    ),
    (
        r#"{"memory":{"limit":4096,"swap":12288}}"#,
        Ok("memory.limit_in_bytes=4096 memory.memsw.limit_in_bytes=12288"),
        Ok("memory.max=4096 memory.swap.max=8192"),
    ),
    (
        r#"{"memory":{"limit":4096,"swap":4096}}"#,
        Ok("memory.limit_in_bytes=4096 memory.memsw.limit_in_bytes=4096"),
        Ok("memory.max=4096 memory.swap.max=0"),
    ),
    (
        r#"{"memory":{"limit":4096,"swap":-1}}"#,
        Ok("memory.limit_in_bytes=4096 memory.memsw.limit_in_bytes=-1"),
        Ok("memory.max=4096 memory.swap.max=max"),
    ),
    (r#"{"memory":{"swap":-1}}"#, Ok("memory.memsw.limit_in_bytes=-1"), Ok("memory.swap.max=max")),
    (r#"{"memory":{"swap":4096}}"#, Err("memory.swap"), Err("memory.swap")),
    (r#"{"memory":{"limit":8192,"swap":4096}}"#, Err("memory.swap"), Err("memory.swap")),
    (r#"{"memory":{"limit":-1,"swap":4096}}"#, Err("memory.swap"), Err("memory.swap")),
    (r#"{"memory":{"limit":-2}}"#, Err("memory.limit"), Err("memory.limit")),
    (r#"{"memory":{"reservation":4096}}"#, Ok("memory.soft_limit_in_bytes=4096"), Ok("memory.low=4096")),
    (r#"{"memory":{"reservation":-1}}"#, Ok("memory.soft_limit_in_bytes=-1"), Ok("memory.low=max")),
    (r#"{"memory":{"kernel":4096}}"#, Ok("memory.kmem.limit_in_bytes=4096"), Err("memory.kernel")),
    (r#"{"memory":{"kernel":-1}}"#, Ok("memory.kmem.limit_in_bytes=-1"), Ok("")),
    (r#"{"memory":{"kernelTCP":4096}}"#, Ok("memory.kmem.tcp.limit_in_bytes=4096"), Err("memory.kernelTCP")),
    (r#"{"memory":{"swappiness":0}}"#, Ok("memory.swappiness=0"), Err("memory.swappiness")),
    (r#"{"memory":{"swappiness":101}}"#, Err("memory.swappiness"), Err("memory.swappiness")),
    (r#"{"memory":{"disableOOMKiller":true}}"#, Ok("memory.oom_control=1"), Err("memory.disableOOMKiller")),
    (r#"{"memory":{"useHierarchy":true,"checkBeforeUpdate":true}}"#, Ok(""), Ok("")),
    (r#"{"memory":{"useHierarchy":false}}"#, Err("memory.useHierarchy"), Err("memory.useHierarchy")),
    // CPU.
    (r#"{"cpu":{"shares":1024}}"#, Ok("cpu.shares=1024"), Ok("cpu.weight=100")),
    (r#"{"cpu":{"shares":1}}"#, Err("cpu.shares"), Ok("cpu.weight=1")),
    (r#"{"cpu":{"shares":262145}}"#, Err("cpu.shares"), Ok("cpu.weight=10000")),
    (r#"{"cpu":{"quota":50000}}"#, Ok("cpu.cfs_quota_us=50000"), Ok("cpu.max=50000")),
    (r#"{"cpu":{"quota":-1}}"#, Ok("cpu.cfs_quota_us=-1"), Ok("cpu.max=max")),
    (r#"{"cpu":{"period":200000}}"#, Ok("cpu.cfs_period_us=200000"), Ok("cpu.max=max 200000")),
    (
        r#"{"cpu":{"quota":50000,"period":200000}}"#,
        Ok("cpu.cfs_period_us=200000 cpu.cfs_quota_us=50000"),
        Ok("cpu.max=50000 200000"),
    ),
    (
        r#"{"cpu":{"quota":50000,"burst":20000}}"#,
        Ok("cpu.cfs_quota_us=50000 cpu.cfs_burst_us=20000"),
        Ok("cpu.max=50000 cpu.max.burst=20000"),
    ),
    (r#"{"cpu":{"burst":0}}"#, Ok("cpu.cfs_burst_us?=0"), Ok("cpu.max.burst?=0")),
    (r#"{"cpu":{"quota":50000,"burst":60000}}"#, Err("cpu.burst"), Err("cpu.burst")),
    (r#"{"cpu":{"quota":999}}"#, Err("cpu.quota"), Err("cpu.quota")),
    (r#"{"cpu":{"period":999}}"#, Err("cpu.period"), Err("cpu.period")),
    (r#"{"cpu":{"period":1000001}}"#, Err("cpu.period"), Err("cpu.period")),
    (
        r#"{"cpu":{"idle":1,"shares":2048}}"#,
        Ok("cpu.shares=2048 cpu.idle=1"),
        Ok("cpu.weight=174 cpu.idle=1"),
    ),
    (
        r#"{"cpu":{"idle":0,"shares":2048}}"#,
        Ok("cpu.idle?=0 cpu.shares=2048"),
        Ok("cpu.idle?=0 cpu.weight=174"),
    ),
    (r#"{"cpu":{"idle":2}}"#, Err("cpu.idle"), Err("cpu.idle")),
    (
        r#"{"cpu":{"realtimeRuntime":950000,"realtimePeriod":1000000}}"#,
        Ok("cpu.rt_period_us=1000000 cpu.rt_runtime_us=950000"),
        Err("cpu.realtimePeriod cpu.realtimeRuntime"),
    ),
    (r#"{"cpu":{"realtimeRuntime":0,"realtimePeriod":0}}"#, Ok(""), Ok("")),
    (
        r#"{"cpu":{"cpus":"0-3,7","mems":"0"}}"#,
        Ok("cpuset.cpus=0-3,7 cpuset.mems=0"),
        Ok("cpuset.cpus=0-3,7 cpuset.mems=0"),
    ),
    (r#"{"cpu":{"cpus":"","mems":""}}"#, Ok(""), Ok("")),
    (r#"{"cpu":{"cpus":"all","mems":"0\n"}}"#, Err("cpu.cpus cpu.mems"), Err("cpu.cpus cpu.mems")),
    // Tasks.
    (r#"{"pids":{"limit":50}}"#, Ok("pids.max=50"), Ok("pids.max=50")),
    (r#"{"pids":{"limit":-1}}"#, Ok("pids.max=max"), Ok("pids.max=max")),
    (r#"{"pids":{"limit":0}}"#, Ok("pids.max=0"), Ok("pids.max=1")),
    // Block I/O.
    (
        r#"{"blockIO":{"weight":100}}"#,
        Ok("blkio.weight=100|blkio.bfq.weight=100"),
        Ok("io.bfq.weight=100|io.weight=910"),
    ),
    (r#"{"blockIO":{"weight":9}}"#, Err("blockIO.weight"), Err("blockIO.weight")),
    (r#"{"blockIO":{"weight":1001}}"#, Err("blockIO.weight"), Err("blockIO.weight")),
    (r#"{"blockIO":{"leafWeight":10}}"#, Err("blockIO.leafWeight"), Err("blockIO.leafWeight")),
    (
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500}]}}"#,
        Ok("blkio.weight_device=8:0 500|blkio.bfq.weight_device=8:0 500"),
        Ok("io.bfq.weight=8:0 500|io.weight=8:0 4950"),
    ),
    (
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":500}]}}"#,
        Err("blockIO.weightDevice[0].leafWeight"),
        Err("blockIO.weightDevice[0].leafWeight"),
    ),
    (
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}]}}"#,
        Ok("blkio.throttle.read_bps_device=8:0 1048576"),
        Ok("io.max=8:0 rbps=1048576"),
    ),
    (
        r#"{"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
        Ok("blkio.throttle.write_bps_device=8:0 0"),
        Ok("io.max=8:0 wbps=max"),
    ),
    (
        r#"{"blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":1,"rate":7}]}}"#,
        Ok("blkio.throttle.read_iops_device=8:1 7"),
        Ok("io.max=8:1 riops=7"),
    ),
    (
        r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":7}]}}"#,
        Ok("blkio.throttle.write_iops_device=8:1 7"),
        Ok("io.max=8:1 wiops=7"),
    ),
    (
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":-1,"minor":0,"rate":1}]}}"#,
        Err("blockIO.throttleReadBpsDevice[1]"),
        Err("blockIO.throttleReadBpsDevice[1]"),
    ),
    // Huge pages.
    (
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        Ok("hugetlb.2MB.limit_in_bytes=4194304 hugetlb.2MB.rsvd.limit_in_bytes?=4194304"),
        Ok("hugetlb.2MB.max=4194304 hugetlb.2MB.rsvd.max?=4194304"),
    ),
    (
        r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#,
        Err("hugepageLimits[0].pageSize"),
        Err("hugepageLimits[0].pageSize"),
    ),
    // Network.
    (r#"{"network":{"classID":1048577}}"#, Ok("net_cls.classid=1048577"), Err("network.classID")),
    (
        r#"{"network":{"priorities":[{"name":"eth0","priority":5},{"name":"a b","priority":1}]}}"#,
        Err("network.priorities[1].name"),
        Err("network.priorities[0] network.priorities[1].name"),
    ),
    (
        r#"{"network":{"priorities":[{"name":"eth0","priority":5}]}}"#,
        Ok("net_prio.ifpriomap=eth0 5"),
        Err("network.priorities[0]"),
    ),
    // RDMA.
    (
        r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}}}"#,
        Ok("rdma.max=mlx5_1 hca_handle=3 hca_object=10000"),
        Ok("rdma.max=mlx5_1 hca_handle=3 hca_object=10000"),
    ),
    (
        r#"{"rdma":{"mlx4_0":{"hcaHandles":0}}}"#,
        Ok("rdma.max=mlx4_0 hca_handle=0"),
        Ok("rdma.max=mlx4_0 hca_handle=0"),
    ),
    (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, Err("rdma.a b"), Err("rdma.a b")),
    // Unified.
    (r#"{"unified":{"memory.high":"1048576"}}"#, Err("unified.memory.high"), Ok("memory.high=1048576")),
    (
        r#"{"unified":{"io.max":"8:0 rbps=1\n8:1 wbps=2"}}"#,
        Err("unified.io.max"),
        Ok("io.max=8:0 rbps=1 io.max=8:1 wbps=2"),
    ),
    (r#"{"unified":{"misc.max":"sev 1"}}"#, Err("unified.misc.max"), Ok("misc.max=sev 1")),
    (r#"{"unified":{"cpuset.cpus":""}}"#, Err("unified.cpuset.cpus"), Ok("cpuset.cpus=\n")),
    (r#"{"unified":{"../memory.max":"1"}}"#, Err("unified.../memory.max"), Err("unified.../memory.max")),
    (r#"{"unified":{"cgroup.procs":"1"}}"#, Err("unified.cgroup.procs"), Err("unified.cgroup.procs")),
    (
        r#"{"unified":{"memory.max":"4096"},"memory":{"limit":8192}}"#,
        Err("unified.memory.max"),
        Ok("memory.max=8192 memory.max=4096"),
    ),
];

/// What the systemd driver tells systemd of each row of [`TABLE`] that version 2 writes anything for. The file is written
/// besides in any case; where there is no property, it is written alone.
const PROPERTIES: &[(&str, &str)] = &[
    (r#"{"memory":{"limit":65536}}"#, "MemoryMax=65536"),
    (r#"{"memory":{"limit":-1}}"#, "MemoryMax=max MemorySwapMax=max"),
    (r#"{"memory":{"limit":4096,"swap":12288}}"#, "MemoryMax=4096 MemorySwapMax=8192"),
    (r#"{"memory":{"limit":4096,"swap":4096}}"#, "MemoryMax=4096 MemorySwapMax=0"),
    (r#"{"memory":{"limit":4096,"swap":-1}}"#, "MemoryMax=4096 MemorySwapMax=max"),
    (r#"{"memory":{"swap":-1}}"#, "MemorySwapMax=max"),
    (r#"{"memory":{"reservation":4096}}"#, "MemoryLow=4096"),
    (r#"{"memory":{"reservation":-1}}"#, "MemoryLow=max"),
    (r#"{"cpu":{"shares":1024}}"#, "CPUWeight=100"),
    (r#"{"cpu":{"shares":1}}"#, "CPUWeight=1"),
    (r#"{"cpu":{"shares":262145}}"#, "CPUWeight=10000"),
    (r#"{"cpu":{"quota":50000}}"#, "CPUQuotaPerSecUSec=500000 CPUQuotaPeriodUSec=100000"),
    (r#"{"cpu":{"quota":-1}}"#, "CPUQuotaPerSecUSec=max CPUQuotaPeriodUSec=100000"),
    (r#"{"cpu":{"period":200000}}"#, "CPUQuotaPerSecUSec=max CPUQuotaPeriodUSec=200000"),
    (r#"{"cpu":{"quota":50000,"period":200000}}"#, "CPUQuotaPerSecUSec=250000 CPUQuotaPeriodUSec=200000"),
    (r#"{"cpu":{"quota":50000,"burst":20000}}"#, "CPUQuotaPerSecUSec=500000 CPUQuotaPeriodUSec=100000"),
    (r#"{"cpu":{"burst":0}}"#, ""),
    (r#"{"cpu":{"idle":1,"shares":2048}}"#, "CPUWeight=174"),
    (r#"{"cpu":{"idle":0,"shares":2048}}"#, "CPUWeight=174"),
    (r#"{"cpu":{"cpus":"0-3,7","mems":"0"}}"#, "AllowedCPUs=[8f] AllowedMemoryNodes=[1]"),
    (r#"{"pids":{"limit":50}}"#, "TasksMax=50"),
    (r#"{"pids":{"limit":-1}}"#, "TasksMax=max"),
    (r#"{"pids":{"limit":0}}"#, "TasksMax=1"),
    (r#"{"blockIO":{"weight":100}}"#, "IOWeight=100|IOWeight=910"),
    (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500}]}}"#, ""),
    (r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}]}}"#, ""),
    (r#"{"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0}]}}"#, ""),
    (r#"{"blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":1,"rate":7}]}}"#, ""),
    (r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":7}]}}"#, ""),
    (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#, ""),
    (r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}}}"#, ""),
    (r#"{"rdma":{"mlx4_0":{"hcaHandles":0}}}"#, ""),
    (r#"{"unified":{"memory.high":"1048576"}}"#, "MemoryHigh=1048576"),
    (r#"{"unified":{"io.max":"8:0 rbps=1\n8:1 wbps=2"}}"#, ""),
    (r#"{"unified":{"misc.max":"sev 1"}}"#, ""),
    (r#"{"unified":{"cpuset.cpus":""}}"#, "AllowedCPUs=[]"),
    (r#"{"unified":{"memory.max":"4096"},"memory":{"limit":8192}}"#, "MemoryMax=8192 MemoryMax=4096"),
];

fn v1() -> Homes {
    let all = "blkio,cpu,cpuacct,cpuset,devices,freezer,hugetlb,memory,net_cls,net_prio,pids,rdma";
    Homes { v1: Controllers::of_v1(all), v2: None }
}

fn v2() -> Homes {
    Homes {
        v1: Controllers::default(),
        v2: Some(Controllers::of_v2("cpuset cpu io memory hugetlb pids rdma")),
    }
}

fn parse(json: &str) -> Resources {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// `file=value`, with `?` for a file that may be absent and `|` before the one that then takes its place.
fn show(write: &Write) -> String {
    let Write { file, value, .. } = write;
    match &write.if_absent {
        IfAbsent::Skip if value != "-1" && value != "max" => format!("{file}?={value}"),
        IfAbsent::Instead { file: other, value: instead } => format!("{file}={value}|{other}={instead}"),
        _ => format!("{file}={value}"),
    }
}

fn convert(json: &str, homes: Homes) -> Result<String, String> {
    let joined = |texts: Vec<String>| texts.join(" ");
    match parse(json).writes(homes) {
        Ok(writes) => Ok(joined(writes.iter().map(show).collect())),
        Err(errors) => {
            let key = |error: &sys::Error| error.key().unwrap().replace("linux.resources.", "");
            Err(joined(errors.iter().map(key).collect()))
        }
    }
}

#[test]
fn every_field_on_every_version() {
    for (json, on_v1, on_v2) in TABLE {
        for (name, homes, expected) in [("v1", v1(), on_v1), ("v2", v2(), on_v2)] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(convert(json, homes), expected, "{name}: {json}");
        }
    }
}

/// What systemd hears of a write, with `|` before what it hears where the other file takes its place.
fn properties(write: &Write) -> Vec<String> {
    let of = crate::systemd::property::show;
    match &write.if_absent {
        IfAbsent::Instead { file, value } => of(&write.file, &write.value)
            .iter()
            .zip(of(file, value))
            .map(|(a, b)| format!("{a}|{b}"))
            .collect(),
        _ => of(&write.file, &write.value),
    }
}

#[test]
fn every_field_as_properties_of_systemd() {
    let mut expected = PROPERTIES.iter();
    for (json, ..) in TABLE.iter().filter(|(_, _, on_v2)| on_v2.is_ok_and(|writes| !writes.is_empty())) {
        let writes = parse(json).writes(v2()).unwrap();
        let told = writes.iter().flat_map(properties).collect::<Vec<_>>().join(" ");
        assert_eq!(expected.next(), Some(&(*json, told.as_str())));
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn without_controllers_every_demand_is_refused_by_its_key() {
    for (json, on_v1, on_v2) in TABLE {
        let demands =
            on_v1.is_err() || on_v2.is_err() || !on_v1.unwrap().is_empty() || !on_v2.unwrap().is_empty();
        assert_eq!(convert(json, Homes::default()).is_err(), demands, "{json}");
    }
}

#[test]
fn a_write_names_the_key_that_asks_for_it() {
    for (json, ..) in TABLE {
        for write in [v1(), v2()].into_iter().filter_map(|homes| parse(json).writes(homes).ok()).flatten() {
            let field = write.key.strip_prefix("linux.resources.").unwrap();
            let section = field.split(['.', '[']).next().unwrap();
            assert!(json.contains(&format!("{section:?}")), "{json}: {}", write.key);
        }
    }
}

#[test]
fn a_limit_in_force_completes_what_is_asked() {
    let in_force = InForce { memory_limit: Some(4096), cpu_quota: Some(50_000) };
    let show_all = |json, homes| -> Vec<String> {
        parse(json).changes(homes, in_force).unwrap().iter().map(show).collect()
    };
    let json = r#"{"memory":{"swap":8192},"cpu":{"period":200000}}"#;
    assert_eq!(show_all(json, v2()), ["memory.swap.max=4096", "cpu.max=50000 200000"]);
    assert_eq!(show_all(json, v1()), ["memory.memsw.limit_in_bytes=8192", "cpu.cfs_period_us=200000"]);
}

#[test]
fn hybrid_uses_each_controller_where_it_lives() {
    let homes = Homes { v1: Controllers::of_v1("memory,pids"), v2: Some(Controllers::of_v2("hugetlb")) };
    let json = r#"{"memory":{"limit":4096},"unified":{"hugetlb.2MB.max":"0"},"pids":{"limit":3}}"#;
    assert_eq!(convert(json, homes).unwrap(), "memory.limit_in_bytes=4096 pids.max=3 hugetlb.2MB.max=0");
    let refused = r#"{"unified":{"memory.high":"1"},"cpu":{"shares":2}}"#;
    assert_eq!(convert(refused, homes).unwrap_err(), "cpu.shares unified.memory.high");
}
