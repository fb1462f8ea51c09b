//! Version 2 statistics. Times are microseconds, sizes bytes, and `u64::MAX` is unlimited.

use serde::Serialize;
use sys::Result;

use super::meter::Files;
use super::parse::{device, flat, number, psi, rdma, value, words};
use super::{PidsStats, Psi, RdmaStats};

/// What is opened, huge page files apart.
pub(super) const FILES: &[&str] = &[
    "cpu.stat",
    "cpu.pressure",
    "memory.stat",
    "memory.current",
    "memory.max",
    "memory.swap.current",
    "memory.swap.max",
    "memory.peak",
    "memory.swap.peak",
    "memory.pressure",
    "memory.events",
    "pids.current",
    "pids.max",
    "io.stat",
    "io.pressure",
    "rdma.current",
    "rdma.max",
];

/// One reading of a version 2 group; a part is absent where its controller is not enabled.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StatsV2 {
    /// Tasks.
    pub pids: Option<PidsStats>,
    /// CPU time.
    pub cpu: Option<CpuV2>,
    /// Memory and swap.
    pub memory: Option<MemoryV2>,
    /// What happened because of memory limits.
    pub memory_events: Option<MemoryEvents>,
    /// RDMA resources.
    pub rdma: Option<RdmaStats>,
    /// Block I/O.
    pub io: Option<IoV2>,
    /// Huge pages, one entry for each size.
    pub hugetlb: Vec<HugetlbV2>,
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are those of cpu.stat (cgroup-v2.rst)")]
pub struct CpuV2 {
    pub usage_usec: u64,
    pub user_usec: u64,
    pub system_usec: u64,
    pub nr_periods: u64,
    pub nr_throttled: u64,
    pub throttled_usec: u64,
    pub nr_bursts: u64,
    pub burst_usec: u64,
    pub psi: Option<Psi>,
}

/// Memory and swap.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryV2 {
    /// `memory.stat`.
    pub stat: MemoryStatV2,
    /// Every line of `memory.stat`.
    pub raw: Vec<(String, u64)>,
    /// Bytes in use.
    pub usage: u64,
    /// Limit.
    pub usage_limit: u64,
    /// Most bytes in use so far; 0 before Linux 5.19.
    pub max_usage: u64,
    /// Swap in use.
    pub swap_usage: u64,
    /// Limit of swap.
    pub swap_limit: u64,
    /// Most swap in use so far; 0 before Linux 6.5.
    pub swap_max_usage: u64,
    /// Pressure, where the kernel counts it.
    pub psi: Option<Psi>,
}

/// `memory.stat` (cgroup-v2.rst); a line that the kernel does not have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of memory.stat (cgroup-v2.rst)")]
pub struct MemoryStatV2 {
    pub anon: u64,
    pub file: u64,
    pub kernel_stack: u64,
    pub slab: u64,
    pub sock: u64,
    pub shmem: u64,
    pub file_mapped: u64,
    pub file_dirty: u64,
    pub file_writeback: u64,
    pub anon_thp: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub pgfault: u64,
    pub pgmajfault: u64,
    pub workingset_refault: u64,
    pub workingset_activate: u64,
    pub workingset_nodereclaim: u64,
    pub pgrefill: u64,
    pub pgscan: u64,
    pub pgsteal: u64,
    pub pgactivate: u64,
    pub pgdeactivate: u64,
    pub pglazyfree: u64,
    pub pglazyfreed: u64,
    pub thp_fault_alloc: u64,
    pub thp_collapse_alloc: u64,
}

/// `memory.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of memory.events (cgroup-v2.rst)")]
pub struct MemoryEvents {
    pub low: u64,
    pub high: u64,
    pub max: u64,
    pub oom: u64,
    pub oom_kill: u64,
    pub oom_group_kill: u64,
}

/// Block I/O.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IoV2 {
    /// One entry for each device.
    pub usage: Vec<IoEntry>,
    /// Pressure, where the kernel counts it.
    pub psi: Option<Psi>,
}

/// Block I/O of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of io.stat (cgroup-v2.rst)")]
pub struct IoEntry {
    pub major: u64,
    pub minor: u64,
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
}

/// Huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugetlbV2 {
    /// Bytes in use.
    pub current: u64,
    /// Limit; where there is none, the kernel prints the largest number of whole pages.
    pub max: u64,
    /// `2MB`.
    pub page_size: String,
    /// Allocations that the limit refused.
    pub failcnt: u64,
}

pub(super) fn read(files: &Files) -> Result<StatsV2> {
    Ok(StatsV2 {
        pids: read_pids(files)?,
        cpu: read_cpu(files)?,
        memory: read_memory(files)?,
        memory_events: read_memory_events(files)?,
        rdma: read_rdma(files)?,
        io: read_io(files)?,
        hugetlb: read_hugetlb(files)?,
    })
}

fn read_pids(files: &Files) -> Result<Option<PidsStats>> {
    let Some(current) = files.text("pids.current")? else { return Ok(None) };
    Ok(Some(PidsStats { current: number(&current), limit: files.number("pids.max")? }))
}

fn read_cpu(files: &Files) -> Result<Option<CpuV2>> {
    let Some(text) = files.text("cpu.stat")? else { return Ok(None) };
    Ok(Some(CpuV2 {
        usage_usec: value(&text, "usage_usec"),
        user_usec: value(&text, "user_usec"),
        system_usec: value(&text, "system_usec"),
        nr_periods: value(&text, "nr_periods"),
        nr_throttled: value(&text, "nr_throttled"),
        throttled_usec: value(&text, "throttled_usec"),
        nr_bursts: value(&text, "nr_bursts"),
        burst_usec: value(&text, "burst_usec"),
        psi: files.text("cpu.pressure")?.map(|text| psi(&text)),
    }))
}

fn read_memory(files: &Files) -> Result<Option<MemoryV2>> {
    let Some(text) = files.text("memory.stat")? else { return Ok(None) };
    Ok(Some(MemoryV2 {
        stat: memory_stat(&text),
        raw: flat(&text).map(|(key, value)| (key.to_owned(), value)).collect(),
        usage: files.number("memory.current")?,
        usage_limit: files.number("memory.max")?,
        max_usage: files.number("memory.peak")?,
        swap_usage: files.number("memory.swap.current")?,
        swap_limit: files.number("memory.swap.max")?,
        swap_max_usage: files.number("memory.swap.peak")?,
        psi: files.text("memory.pressure")?.map(|text| psi(&text)),
    }))
}

fn memory_stat(text: &str) -> MemoryStatV2 {
    let of = |key| value(text, key);
    // Since Linux 5.9 the working set is counted for anonymous memory and files apart.
    let both = |anon, file, together| of(together) + of(anon) + of(file);
    MemoryStatV2 {
        anon: of("anon"),
        file: of("file"),
        kernel_stack: of("kernel_stack"),
        slab: of("slab"),
        sock: of("sock"),
        shmem: of("shmem"),
        file_mapped: of("file_mapped"),
        file_dirty: of("file_dirty"),
        file_writeback: of("file_writeback"),
        anon_thp: of("anon_thp"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        slab_reclaimable: of("slab_reclaimable"),
        slab_unreclaimable: of("slab_unreclaimable"),
        pgfault: of("pgfault"),
        pgmajfault: of("pgmajfault"),
        workingset_refault: both("workingset_refault_anon", "workingset_refault_file", "workingset_refault"),
        workingset_activate: both(
            "workingset_activate_anon",
            "workingset_activate_file",
            "workingset_activate",
        ),
        workingset_nodereclaim: of("workingset_nodereclaim"),
        pgrefill: of("pgrefill"),
        pgscan: of("pgscan"),
        pgsteal: of("pgsteal"),
        pgactivate: of("pgactivate"),
        pgdeactivate: of("pgdeactivate"),
        pglazyfree: of("pglazyfree"),
        pglazyfreed: of("pglazyfreed"),
        thp_fault_alloc: of("thp_fault_alloc"),
        thp_collapse_alloc: of("thp_collapse_alloc"),
    }
}

fn read_memory_events(files: &Files) -> Result<Option<MemoryEvents>> {
    let Some(text) = files.text("memory.events")? else { return Ok(None) };
    Ok(Some(MemoryEvents {
        low: value(&text, "low"),
        high: value(&text, "high"),
        max: value(&text, "max"),
        oom: value(&text, "oom"),
        oom_kill: value(&text, "oom_kill"),
        oom_group_kill: value(&text, "oom_group_kill"),
    }))
}

fn read_rdma(files: &Files) -> Result<Option<RdmaStats>> {
    let Some(current) = files.text("rdma.current")? else { return Ok(None) };
    Ok(Some(RdmaStats { current: rdma(&current), limit: rdma(&files.text_or_empty("rdma.max")?) }))
}

fn read_io(files: &Files) -> Result<Option<IoV2>> {
    let Some(text) = files.text("io.stat")? else { return Ok(None) };
    let usage = text.lines().filter_map(io_line).collect();
    Ok(Some(IoV2 { usage, psi: files.text("io.pressure")?.map(|text| psi(&text)) }))
}

fn io_line(line: &str) -> Option<IoEntry> {
    let (numbers, rest) = line.split_once(' ')?;
    let (major, minor) = device(numbers)?;
    let mut entry = IoEntry { major, minor, ..IoEntry::default() };
    for (key, value) in words(rest) {
        let value = value.parse().unwrap_or(0);
        match key {
            "rbytes" => entry.rbytes = value,
            "wbytes" => entry.wbytes = value,
            "rios" => entry.rios = value,
            "wios" => entry.wios = value,
            _ => {}
        }
    }
    Some(entry)
}

pub(super) fn read_hugetlb(files: &Files) -> Result<Vec<HugetlbV2>> {
    let mut all = Vec::new();
    for size in &files.page_sizes {
        let Some(current) = files.text(&format!("hugetlb.{size}.current"))? else { continue };
        all.push(HugetlbV2 {
            current: number(&current),
            max: files.number(&format!("hugetlb.{size}.max"))?,
            page_size: size.clone(),
            failcnt: value(&files.text_or_empty(&format!("hugetlb.{size}.events"))?, "max"),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_io_is_one_device() {
        let entry = io_line("8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0");
        let expected =
            IoEntry { major: 8, minor: 16, rbytes: 1_459_200, wbytes: 314_773_504, rios: 192, wios: 353 };
        assert_eq!(entry, Some(expected));
        assert_eq!(io_line("8:16"), None);
    }

    #[test]
    fn the_working_set_is_one_number_on_old_and_new_kernels() {
        assert_eq!(memory_stat("workingset_refault 5\n").workingset_refault, 5);
        let new = "workingset_refault_anon 5\nworkingset_refault_file 7\n";
        assert_eq!(memory_stat(new).workingset_refault, 12);
    }
}
