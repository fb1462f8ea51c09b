//! Version 1 statistics. Times are nanoseconds, sizes bytes; a limit that is not set is the large number of the kernel's file.

use serde::Serialize;
use sys::Result;

use super::meter::Files;
use super::parse::{device, flat, number, numbers, rdma, value};
use super::{PidsStats, RdmaStats, v2};

/// What is opened, huge page files apart.
pub(super) const FILES: &[&str] = &[
    "cpuacct.usage",
    "cpuacct.usage_user",
    "cpuacct.usage_sys",
    "cpuacct.usage_percpu",
    "cpuacct.usage_all",
    "cpu.stat",
    "cpuset.cpus",
    "cpuset.mems",
    "cpuset.cpu_exclusive",
    "cpuset.mem_exclusive",
    "cpuset.mem_hardwall",
    "cpuset.memory_migrate",
    "cpuset.memory_pressure",
    "cpuset.memory_spread_page",
    "cpuset.memory_spread_slab",
    "cpuset.sched_load_balance",
    "cpuset.sched_relax_domain_level",
    "memory.stat",
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.failcnt",
    "memory.memsw.usage_in_bytes",
    "memory.memsw.max_usage_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.memsw.failcnt",
    "memory.kmem.usage_in_bytes",
    "memory.kmem.max_usage_in_bytes",
    "memory.kmem.limit_in_bytes",
    "memory.kmem.failcnt",
    "memory.kmem.tcp.usage_in_bytes",
    "memory.kmem.tcp.max_usage_in_bytes",
    "memory.kmem.tcp.limit_in_bytes",
    "memory.kmem.tcp.failcnt",
    "memory.oom_control",
    "pids.current",
    "pids.max",
    "rdma.current",
    "rdma.max",
    "blkio.throttle.io_service_bytes_recursive",
    "blkio.throttle.io_serviced_recursive",
    "blkio.bfq.io_service_bytes_recursive",
    "blkio.bfq.io_serviced_recursive",
    "blkio.bfq.io_queued_recursive",
    "blkio.bfq.io_service_time_recursive",
    "blkio.bfq.io_wait_time_recursive",
    "blkio.bfq.io_merged_recursive",
    "blkio.bfq.time_recursive",
    "blkio.bfq.sectors_recursive",
];

/// One reading of version 1 groups; a part is absent where its controller is not mounted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StatsV1 {
    /// Huge pages, one entry for each size.
    pub hugetlb: Vec<HugetlbV1>,
    /// Tasks.
    pub pids: Option<PidsStats>,
    /// CPU time.
    pub cpu: Option<CpuV1>,
    /// CPUs and memory nodes.
    pub cpuset: Option<Cpuset>,
    /// Memory and swap.
    pub memory: Option<MemoryV1>,
    /// What happened because of memory limits.
    pub memory_oom_control: Option<OomControl>,
    /// Block I/O.
    pub blkio: Option<BlkioV1>,
    /// RDMA resources.
    pub rdma: Option<RdmaStats>,
}

/// CPU time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuV1 {
    /// All time.
    pub total: u64,
    /// Time in the kernel.
    pub kernel: u64,
    /// Time in programs.
    pub user: u64,
    /// All time on each CPU.
    pub per_cpu: Vec<u64>,
    /// Time in the kernel on each CPU.
    pub per_cpu_kernel: Vec<u64>,
    /// Time in programs on each CPU.
    pub per_cpu_user: Vec<u64>,
    /// Periods with a quota.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled_time: u64,
}

/// CPUs and memory nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the cpuset files (cpuset(7))")]
pub struct Cpuset {
    pub cpus: Vec<u64>,
    pub mems: Vec<u64>,
    pub cpu_exclusive: u64,
    pub mem_exclusive: u64,
    pub mem_hardwall: u64,
    pub memory_migrate: u64,
    pub memory_pressure: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory and swap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryV1 {
    /// The group alone.
    pub own: MemoryStatV1,
    /// The group and all beneath it.
    pub total: MemoryStatV1,
    /// The lowest limit here and above.
    pub hierarchical_memory_limit: u64,
    /// The lowest limit of memory and swap here and above.
    pub hierarchical_swap_limit: u64,
    /// Every line of `memory.stat`.
    pub raw: Vec<(String, u64)>,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together.
    pub swap: MemoryEntry,
    /// Kernel memory.
    pub kernel: MemoryEntry,
    /// Kernel memory of TCP buffers.
    pub kernel_tcp: MemoryEntry,
}

/// `memory.stat` (cgroup-v1/memory.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of memory.stat (cgroup-v1/memory.rst)")]
pub struct MemoryStatV1 {
    pub cache: u64,
    pub rss: u64,
    pub rss_huge: u64,
    pub mapped_file: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub pgpgin: u64,
    pub pgpgout: u64,
    pub pgfault: u64,
    pub pgmajfault: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
}

/// One kind of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// Limit.
    pub limit: u64,
    /// Bytes in use.
    pub usage: u64,
    /// Most bytes in use so far.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// `memory.oom_control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OomControl {
    /// 1 if processes wait instead of being killed.
    pub oom_kill_disable: u64,
    /// 1 if they wait now.
    pub under_oom: u64,
    /// Processes killed so far.
    pub oom_kill: u64,
}

/// Huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugetlbV1 {
    /// Bytes in use.
    pub usage: u64,
    /// Most bytes in use so far; 0 where the controller lives in version 2, which does not tell.
    pub max: u64,
    /// Allocations that the limit refused.
    pub failcnt: u64,
    /// `2MB`.
    pub page_size: String,
}

/// Block I/O, the groups beneath included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlkioV1 {
    /// Bytes.
    pub service_bytes: Vec<BlkioEntry>,
    /// Operations.
    pub serviced: Vec<BlkioEntry>,
    /// Operations that wait.
    pub queued: Vec<BlkioEntry>,
    /// Time in the device.
    pub service_time: Vec<BlkioEntry>,
    /// Time waiting.
    pub wait_time: Vec<BlkioEntry>,
    /// Operations merged into others.
    pub merged: Vec<BlkioEntry>,
    /// Time with the device.
    pub time: Vec<BlkioEntry>,
    /// Sectors.
    pub sectors: Vec<BlkioEntry>,
}

/// One number of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; empty where the file has one number for each device.
    pub op: String,
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// The number.
    pub value: u64,
}

pub(super) fn read(files: &Files) -> Result<StatsV1> {
    Ok(StatsV1 {
        hugetlb: read_hugetlb(files)?,
        pids: read_pids(files)?,
        cpu: read_cpu(files)?,
        cpuset: read_cpuset(files)?,
        memory: read_memory(files)?,
        memory_oom_control: read_oom_control(files)?,
        blkio: read_blkio(files)?,
        rdma: read_rdma(files)?,
    })
}

fn read_hugetlb(files: &Files) -> Result<Vec<HugetlbV1>> {
    let from_v2 = |huge: v2::HugetlbV2| HugetlbV1 {
        usage: huge.current,
        max: 0,
        failcnt: huge.failcnt,
        page_size: huge.page_size,
    };
    let mut all: Vec<HugetlbV1> = v2::read_hugetlb(files)?.into_iter().map(from_v2).collect();
    for size in &files.page_sizes {
        let Some(usage) = files.text(&format!("hugetlb.{size}.usage_in_bytes"))? else { continue };
        all.push(HugetlbV1 {
            usage: number(&usage),
            max: files.number(&format!("hugetlb.{size}.max_usage_in_bytes"))?,
            failcnt: files.number(&format!("hugetlb.{size}.failcnt"))?,
            page_size: size.clone(),
        });
    }
    Ok(all)
}

fn read_pids(files: &Files) -> Result<Option<PidsStats>> {
    let Some(current) = files.text("pids.current")? else { return Ok(None) };
    Ok(Some(PidsStats { current: number(&current), limit: files.number("pids.max")? }))
}

fn read_cpu(files: &Files) -> Result<Option<CpuV1>> {
    let Some(total) = files.text("cpuacct.usage")? else { return Ok(None) };
    let throttling = files.text_or_empty("cpu.stat")?;
    let all = files.text_or_empty("cpuacct.usage_all")?;
    let column = |index: usize| -> Vec<u64> {
        all.lines().skip(1).filter_map(|line| numbers(line).get(index).copied()).collect()
    };
    Ok(Some(CpuV1 {
        total: number(&total),
        kernel: files.number("cpuacct.usage_sys")?,
        user: files.number("cpuacct.usage_user")?,
        per_cpu: numbers(&files.text_or_empty("cpuacct.usage_percpu")?),
        per_cpu_user: column(1),
        per_cpu_kernel: column(2),
        periods: value(&throttling, "nr_periods"),
        throttled_periods: value(&throttling, "nr_throttled"),
        throttled_time: value(&throttling, "throttled_time"),
    }))
}

fn read_cpuset(files: &Files) -> Result<Option<Cpuset>> {
    let Some(cpus) = files.text("cpuset.cpus")? else { return Ok(None) };
    Ok(Some(Cpuset {
        cpus: expand(&cpus),
        mems: expand(&files.text_or_empty("cpuset.mems")?),
        cpu_exclusive: files.number("cpuset.cpu_exclusive")?,
        mem_exclusive: files.number("cpuset.mem_exclusive")?,
        mem_hardwall: files.number("cpuset.mem_hardwall")?,
        memory_migrate: files.number("cpuset.memory_migrate")?,
        memory_pressure: files.number("cpuset.memory_pressure")?,
        memory_spread_page: files.number("cpuset.memory_spread_page")?,
        memory_spread_slab: files.number("cpuset.memory_spread_slab")?,
        sched_load_balance: files.number("cpuset.sched_load_balance")?,
        sched_relax_domain_level: files
            .text_or_empty("cpuset.sched_relax_domain_level")?
            .trim()
            .parse()
            .unwrap_or(0),
    }))
}

/// `0-2,5` as `[0, 1, 2, 5]`.
fn expand(list: &str) -> Vec<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u64>().ok()?..=last.parse::<u64>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

fn read_memory(files: &Files) -> Result<Option<MemoryV1>> {
    let Some(text) = files.text("memory.stat")? else { return Ok(None) };
    Ok(Some(MemoryV1 {
        own: memory_stat(&text, ""),
        total: memory_stat(&text, "total_"),
        hierarchical_memory_limit: value(&text, "hierarchical_memory_limit"),
        hierarchical_swap_limit: value(&text, "hierarchical_memsw_limit"),
        raw: flat(&text).map(|(key, value)| (key.to_owned(), value)).collect(),
        usage: read_entry(files, "memory")?,
        swap: read_entry(files, "memory.memsw")?,
        kernel: read_entry(files, "memory.kmem")?,
        kernel_tcp: read_entry(files, "memory.kmem.tcp")?,
    }))
}

fn memory_stat(text: &str, prefix: &str) -> MemoryStatV1 {
    let of = |key: &str| {
        let has = |name: &str| name.strip_prefix(prefix) == Some(key);
        flat(text).find(|(name, _)| has(name)).map_or(0, |(_, value)| value)
    };
    MemoryStatV1 {
        cache: of("cache"),
        rss: of("rss"),
        rss_huge: of("rss_huge"),
        mapped_file: of("mapped_file"),
        dirty: of("dirty"),
        writeback: of("writeback"),
        pgpgin: of("pgpgin"),
        pgpgout: of("pgpgout"),
        pgfault: of("pgfault"),
        pgmajfault: of("pgmajfault"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
    }
}

fn read_entry(files: &Files, prefix: &str) -> Result<MemoryEntry> {
    Ok(MemoryEntry {
        limit: files.number(&format!("{prefix}.limit_in_bytes"))?,
        usage: files.number(&format!("{prefix}.usage_in_bytes"))?,
        max: files.number(&format!("{prefix}.max_usage_in_bytes"))?,
        failcnt: files.number(&format!("{prefix}.failcnt"))?,
    })
}

fn read_oom_control(files: &Files) -> Result<Option<OomControl>> {
    let Some(text) = files.text("memory.oom_control")? else { return Ok(None) };
    Ok(Some(OomControl {
        oom_kill_disable: value(&text, "oom_kill_disable"),
        under_oom: value(&text, "under_oom"),
        oom_kill: value(&text, "oom_kill"),
    }))
}

fn read_rdma(files: &Files) -> Result<Option<RdmaStats>> {
    let Some(current) = files.text("rdma.current")? else { return Ok(None) };
    Ok(Some(RdmaStats { current: rdma(&current), limit: rdma(&files.text_or_empty("rdma.max")?) }))
}

/// The BFQ scheduler counts for its own devices; where it counts nothing, the throttling layer has the numbers.
fn read_blkio(files: &Files) -> Result<Option<BlkioV1>> {
    let Some(throttled) = files.text("blkio.throttle.io_service_bytes_recursive")? else { return Ok(None) };
    let bfq = |name: &str| Ok(entries(&files.text_or_empty(&format!("blkio.bfq.{name}_recursive"))?));
    let or = |first: Vec<BlkioEntry>, text: &str| if first.is_empty() { entries(text) } else { first };
    Ok(Some(BlkioV1 {
        service_bytes: or(bfq("io_service_bytes")?, &throttled),
        serviced: or(bfq("io_serviced")?, &files.text_or_empty("blkio.throttle.io_serviced_recursive")?),
        queued: bfq("io_queued")?,
        service_time: bfq("io_service_time")?,
        wait_time: bfq("io_wait_time")?,
        merged: bfq("io_merged")?,
        time: bfq("time")?,
        sectors: bfq("sectors")?,
    }))
}

/// `8:0 Read 4096` or `8:0 4096`; the sum over all devices has no device and is left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let (numbers, rest) = line.split_once(' ')?;
        let (major, minor) = device(numbers)?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(BlkioEntry { op: op.to_owned(), major, minor, value: value.trim().parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_has_one_line_for_each_device_and_operation() {
        let text = "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n";
        let read = BlkioEntry { op: "Read".to_owned(), major: 8, minor: 0, value: 4096 };
        assert_eq!(entries(text), [read.clone(), BlkioEntry { op: "Total".to_owned(), ..read.clone() }]);
        assert_eq!(entries("8:0 7\n"), [BlkioEntry { op: String::new(), value: 7, ..read }]);
    }

    #[test]
    fn lists_are_expanded() {
        assert_eq!(expand("0-2,5\n"), [0, 1, 2, 5]);
        assert!(expand("\n").is_empty());
    }

    #[test]
    fn own_and_total_memory_are_kept_apart() {
        let text = "cache 1\nrss 2\ntotal_cache 10\ntotal_rss 20\n";
        assert_eq!((memory_stat(text, "").cache, memory_stat(text, "total_").rss), (1, 20));
    }
}
