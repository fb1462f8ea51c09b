//! The `data` object that runc prints for `events`, which containerd's and others' parsers expect.
//!
//! Times are nanoseconds on both versions. Version 2 counts memory and swap apart; they are added up here, since the format
//! comes from version 1. Numbers that are 0 are left out where runc leaves them out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    BlkioEntry, BlkioV1, CpuV1, CpuV2, Cpuset, IoEntry, MemoryEntry, MemoryV1, MemoryV2, PidsStats, Psi,
    Stats, StatsV1, StatsV2,
};

/// What one line of `events` says of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Data {
    cpu: Cpu,
    cpuset: Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, Hugetlb>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: Entry,
    swap: Entry,
    kernel: Entry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: Entry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Entry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    /// Left out where there is none.
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_queue_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<BlkioLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct BlkioLine {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The `data` of one reading.
pub fn data(stats: &Stats) -> Data {
    match stats {
        Stats::V1(stats) => data_v1(stats),
        Stats::V2(stats) => data_v2(stats),
    }
}

fn data_v1(stats: &StatsV1) -> Data {
    let hugetlb = stats.hugetlb.iter().map(|huge| {
        (huge.page_size.clone(), Hugetlb { usage: huge.usage, max: huge.max, failcnt: huge.failcnt })
    });
    Data {
        cpu: stats.cpu.as_ref().map(cpu_v1).unwrap_or_default(),
        cpuset: stats.cpuset.clone().unwrap_or_default(),
        memory: stats.memory.as_ref().map(memory_v1).unwrap_or_default(),
        pids: stats.pids.map(pids).unwrap_or_default(),
        blkio: stats.blkio.as_ref().map(blkio_v1).unwrap_or_default(),
        hugetlb: hugetlb.collect(),
    }
}

fn cpu_v1(cpu: &CpuV1) -> Cpu {
    Cpu {
        usage: CpuUsage {
            total: cpu.total,
            percpu: cpu.per_cpu.clone(),
            percpu_kernel: cpu.per_cpu_kernel.clone(),
            percpu_user: cpu.per_cpu_user.clone(),
            kernel: cpu.kernel,
            user: cpu.user,
        },
        throttling: Throttling {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        },
        psi: None,
    }
}

fn memory_v1(memory: &MemoryV1) -> Memory {
    let entry = |entry: &MemoryEntry| Entry {
        limit: entry.limit,
        usage: entry.usage,
        max: entry.max,
        failcnt: entry.failcnt,
    };
    Memory {
        cache: memory.own.cache,
        usage: entry(&memory.usage),
        swap: entry(&memory.swap),
        kernel: entry(&memory.kernel),
        kernel_tcp: entry(&memory.kernel_tcp),
        raw: memory.raw.iter().cloned().collect(),
        psi: None,
    }
}

fn blkio_v1(blkio: &BlkioV1) -> Blkio {
    let lines = |entries: &[BlkioEntry]| {
        let line =
            |e: &BlkioEntry| BlkioLine { major: e.major, minor: e.minor, op: e.op.clone(), value: e.value };
        entries.iter().map(line).collect()
    };
    Blkio {
        io_service_bytes_recursive: lines(&blkio.service_bytes),
        io_serviced_recursive: lines(&blkio.serviced),
        io_queue_recursive: lines(&blkio.queued),
        io_service_time_recursive: lines(&blkio.service_time),
        io_wait_time_recursive: lines(&blkio.wait_time),
        io_merged_recursive: lines(&blkio.merged),
        io_time_recursive: lines(&blkio.time),
        sectors_recursive: lines(&blkio.sectors),
        psi: None,
    }
}

fn data_v2(stats: &StatsV2) -> Data {
    let hugetlb = stats
        .hugetlb
        .iter()
        .map(|huge| (huge.page_size.clone(), Hugetlb { usage: huge.current, max: 0, failcnt: huge.failcnt }));
    let blkio = stats.io.as_ref().map(|io| Blkio { psi: io.psi, ..blkio_v2(&io.usage) });
    Data {
        cpu: stats.cpu.map(cpu_v2).unwrap_or_default(),
        cpuset: Cpuset::default(),
        memory: stats.memory.as_ref().map(memory_v2).unwrap_or_default(),
        pids: stats.pids.map(pids).unwrap_or_default(),
        blkio: blkio.unwrap_or_default(),
        hugetlb: hugetlb.collect(),
    }
}

fn cpu_v2(cpu: CpuV2) -> Cpu {
    let nanoseconds = |microseconds: u64| microseconds.saturating_mul(1_000);
    Cpu {
        usage: CpuUsage {
            total: nanoseconds(cpu.usage_usec),
            kernel: nanoseconds(cpu.system_usec),
            user: nanoseconds(cpu.user_usec),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: cpu.nr_periods,
            throttled_periods: cpu.nr_throttled,
            throttled_time: nanoseconds(cpu.throttled_usec),
        },
        psi: cpu.psi,
    }
}

fn memory_v2(memory: &MemoryV2) -> Memory {
    let usage = Entry { limit: memory.usage_limit, usage: memory.usage, max: memory.max_usage, failcnt: 0 };
    let swap = Entry {
        limit: memory.swap_limit.saturating_add(memory.usage_limit),
        usage: memory.swap_usage.saturating_add(memory.usage),
        max: memory.swap_max_usage,
        failcnt: 0,
    };
    Memory {
        cache: memory.stat.file,
        usage,
        swap,
        raw: memory.raw.iter().cloned().collect(),
        psi: memory.psi,
        ..Memory::default()
    }
}

fn blkio_v2(usage: &[IoEntry]) -> Blkio {
    let line = |entry: &IoEntry, op: &str, value| BlkioLine {
        major: entry.major,
        minor: entry.minor,
        op: op.to_owned(),
        value,
    };
    let bytes = usage.iter().flat_map(|e| [line(e, "Read", e.rbytes), line(e, "Write", e.wbytes)]);
    let operations = usage.iter().flat_map(|e| [line(e, "Read", e.rios), line(e, "Write", e.wios)]);
    Blkio {
        io_service_bytes_recursive: bytes.collect(),
        io_serviced_recursive: operations.collect(),
        ..Blkio::default()
    }
}

fn pids(pids: PidsStats) -> Pids {
    Pids { current: pids.current, limit: if pids.limit == u64::MAX { 0 } else { pids.limit } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(stats: &Stats) -> serde_json::Value {
        serde_json::to_value(data(stats)).unwrap()
    }

    #[test]
    fn version_2_is_told_in_the_terms_of_version_1() {
        let memory = MemoryV2 {
            usage: 100,
            usage_limit: u64::MAX,
            swap_usage: 5,
            swap_limit: u64::MAX,
            raw: vec![("anon".to_owned(), 7)],
            ..MemoryV2::default()
        };
        let stats = StatsV2 {
            cpu: Some(CpuV2 { usage_usec: 3, throttled_usec: 2, ..CpuV2::default() }),
            memory: Some(memory),
            pids: Some(PidsStats { current: 1, limit: u64::MAX }),
            ..StatsV2::default()
        };
        let json = json(&Stats::V2(stats));
        assert_eq!(json["cpu"]["usage"], serde_json::json!({"total": 3000, "kernel": 0, "user": 0}));
        assert_eq!(json["cpu"]["throttling"], serde_json::json!({"throttledTime": 2000}));
        assert_eq!(
            json["memory"]["swap"],
            serde_json::json!({"limit": u64::MAX, "usage": 105, "failcnt": 0})
        );
        assert_eq!(json["memory"]["raw"]["anon"], 7);
        assert_eq!(json["pids"], serde_json::json!({"current": 1}));
    }

    #[test]
    fn version_1_keeps_its_names() {
        let entry = BlkioEntry { op: "Read".to_owned(), major: 8, minor: 0, value: 4096 };
        let stats = StatsV1 {
            blkio: Some(BlkioV1 { service_bytes: vec![entry], ..BlkioV1::default() }),
            cpu: Some(CpuV1 { total: 9, per_cpu: vec![4, 5], ..CpuV1::default() }),
            ..StatsV1::default()
        };
        let json = json(&Stats::V1(stats));
        let expected = serde_json::json!([{"major": 8, "op": "Read", "value": 4096}]);
        assert_eq!(json["blkio"]["ioServiceBytesRecursive"], expected);
        assert_eq!(json["cpu"]["usage"]["percpu"], serde_json::json!([4, 5]));
        assert!(json["memory"]["kernelTCP"].is_object());
    }
}
