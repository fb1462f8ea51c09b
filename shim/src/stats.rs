//! What a container used, from the numbers of the cgroups crate to containerd's messages.

use cgroups::Stats;
use cgroups::stats::{
    BlkioEntry, BlkioV1, CpuV1, CpuV2, IoV2, MemoryEntry, MemoryV1, MemoryV2, PidsStats, Psi, PsiData,
    RdmaEntry, RdmaStats, StatsV1, StatsV2,
};

use crate::proto::{Any, metrics};

/// The message for one reading.
pub(crate) fn message(stats: &Stats) -> Any {
    match stats {
        Stats::V1(stats) => Any::new("io.containerd.cgroups.v1.Metrics", &v1(stats)),
        Stats::V2(stats) => Any::new("io.containerd.cgroups.v2.Metrics", &v2(stats)),
    }
}

fn pids(stats: &PidsStats) -> metrics::PidsStat {
    // The message has no "unlimited": 0 is what it says where there is none.
    let limit = if stats.limit == u64::MAX { 0 } else { stats.limit };
    metrics::PidsStat { current: stats.current, limit }
}

fn rdma(stats: &RdmaStats) -> metrics::Rdma {
    let entry = |entry: &RdmaEntry| metrics::RdmaEntry {
        device: entry.device.clone(),
        hca_handles: entry.hca_handles,
        hca_objects: entry.hca_objects,
    };
    metrics::Rdma {
        current: stats.current.iter().map(entry).collect(),
        limit: stats.limit.iter().map(entry).collect(),
    }
}

fn psi(psi: Psi) -> metrics::PsiStats {
    let data = |data: PsiData| metrics::PsiData {
        avg10: data.avg10,
        avg60: data.avg60,
        avg300: data.avg300,
        total: data.total,
    };
    metrics::PsiStats { some: Some(data(psi.some)), full: Some(data(psi.full)) }
}

fn v2(stats: &StatsV2) -> metrics::MetricsV2 {
    metrics::MetricsV2 {
        pids: stats.pids.as_ref().map(pids),
        cpu: stats.cpu.map(cpu_v2),
        memory: stats.memory.as_ref().map(memory_v2),
        rdma: stats.rdma.as_ref().map(rdma),
        io: stats.io.as_ref().map(io_v2),
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|huge| metrics::HugetlbV2 {
                current: huge.current,
                max: huge.max,
                pagesize: huge.page_size.clone(),
                failcnt: huge.failcnt,
            })
            .collect(),
        memory_events: stats.memory_events.map(|events| metrics::MemoryEvents {
            low: events.low,
            high: events.high,
            max: events.max,
            oom: events.oom,
            oom_kill: events.oom_kill,
            oom_group_kill: events.oom_group_kill,
        }),
    }
}

fn cpu_v2(cpu: CpuV2) -> metrics::CpuV2 {
    metrics::CpuV2 {
        usage_usec: cpu.usage_usec,
        user_usec: cpu.user_usec,
        system_usec: cpu.system_usec,
        nr_periods: cpu.nr_periods,
        nr_throttled: cpu.nr_throttled,
        throttled_usec: cpu.throttled_usec,
        psi: cpu.psi.map(psi),
        nr_bursts: cpu.nr_bursts,
        burst_usec: cpu.burst_usec,
    }
}

fn memory_v2(memory: &MemoryV2) -> metrics::MemoryV2 {
    let stat = &memory.stat;
    metrics::MemoryV2 {
        anon: stat.anon,
        file: stat.file,
        kernel_stack: stat.kernel_stack,
        slab: stat.slab,
        sock: stat.sock,
        shmem: stat.shmem,
        file_mapped: stat.file_mapped,
        file_dirty: stat.file_dirty,
        file_writeback: stat.file_writeback,
        anon_thp: stat.anon_thp,
        inactive_anon: stat.inactive_anon,
        active_anon: stat.active_anon,
        inactive_file: stat.inactive_file,
        active_file: stat.active_file,
        unevictable: stat.unevictable,
        slab_reclaimable: stat.slab_reclaimable,
        slab_unreclaimable: stat.slab_unreclaimable,
        pgfault: stat.pgfault,
        pgmajfault: stat.pgmajfault,
        workingset_refault: stat.workingset_refault,
        workingset_activate: stat.workingset_activate,
        workingset_nodereclaim: stat.workingset_nodereclaim,
        pgrefill: stat.pgrefill,
        pgscan: stat.pgscan,
        pgsteal: stat.pgsteal,
        pgactivate: stat.pgactivate,
        pgdeactivate: stat.pgdeactivate,
        pglazyfree: stat.pglazyfree,
        pglazyfreed: stat.pglazyfreed,
        thp_fault_alloc: stat.thp_fault_alloc,
        thp_collapse_alloc: stat.thp_collapse_alloc,
        usage: memory.usage,
        usage_limit: memory.usage_limit,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        max_usage: memory.max_usage,
        swap_max_usage: memory.swap_max_usage,
        psi: memory.psi.map(psi),
    }
}

fn io_v2(io: &IoV2) -> metrics::IoV2 {
    let entry = |entry: &cgroups::stats::IoEntry| metrics::IoEntry {
        major: entry.major,
        minor: entry.minor,
        rbytes: entry.rbytes,
        wbytes: entry.wbytes,
        rios: entry.rios,
        wios: entry.wios,
    };
    metrics::IoV2 { usage: io.usage.iter().map(entry).collect(), psi: io.psi.map(psi) }
}

fn v1(stats: &StatsV1) -> metrics::MetricsV1 {
    metrics::MetricsV1 {
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|huge| metrics::HugetlbV1 {
                usage: huge.usage,
                max: huge.max,
                failcnt: huge.failcnt,
                pagesize: huge.page_size.clone(),
            })
            .collect(),
        pids: stats.pids.as_ref().map(pids),
        cpu: stats.cpu.as_ref().map(cpu_v1),
        memory: stats.memory.as_ref().map(memory_v1),
        blkio: stats.blkio.as_ref().map(blkio),
        rdma: stats.rdma.as_ref().map(rdma),
        memory_oom_control: stats.memory_oom_control.map(|control| metrics::OomControl {
            oom_kill_disable: control.oom_kill_disable,
            under_oom: control.under_oom,
            oom_kill: control.oom_kill,
        }),
    }
}

fn cpu_v1(cpu: &CpuV1) -> metrics::CpuV1 {
    metrics::CpuV1 {
        usage: Some(metrics::CpuUsage {
            total: cpu.total,
            kernel: cpu.kernel,
            user: cpu.user,
            per_cpu: cpu.per_cpu.clone(),
        }),
        throttling: Some(metrics::Throttling {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        }),
    }
}

fn memory_v1(memory: &MemoryV1) -> metrics::MemoryV1 {
    let (own, total) = (&memory.own, &memory.total);
    let entry = |entry: &MemoryEntry| {
        Some(metrics::MemoryEntry {
            limit: entry.limit,
            usage: entry.usage,
            max: entry.max,
            failcnt: entry.failcnt,
        })
    };
    metrics::MemoryV1 {
        cache: own.cache,
        rss: own.rss,
        rss_huge: own.rss_huge,
        mapped_file: own.mapped_file,
        dirty: own.dirty,
        writeback: own.writeback,
        pgpgin: own.pgpgin,
        pgpgout: own.pgpgout,
        pgfault: own.pgfault,
        pgmajfault: own.pgmajfault,
        inactive_anon: own.inactive_anon,
        active_anon: own.active_anon,
        inactive_file: own.inactive_file,
        active_file: own.active_file,
        unevictable: own.unevictable,
        hierarchical_memory_limit: memory.hierarchical_memory_limit,
        hierarchical_swap_limit: memory.hierarchical_swap_limit,
        total_cache: total.cache,
        total_rss: total.rss,
        total_rss_huge: total.rss_huge,
        total_mapped_file: total.mapped_file,
        total_dirty: total.dirty,
        total_writeback: total.writeback,
        total_pgpgin: total.pgpgin,
        total_pgpgout: total.pgpgout,
        total_pgfault: total.pgfault,
        total_pgmajfault: total.pgmajfault,
        total_inactive_anon: total.inactive_anon,
        total_active_anon: total.active_anon,
        total_inactive_file: total.inactive_file,
        total_active_file: total.active_file,
        total_unevictable: total.unevictable,
        usage: entry(&memory.usage),
        swap: entry(&memory.swap),
        kernel: entry(&memory.kernel),
        kernel_tcp: entry(&memory.kernel_tcp),
    }
}

fn blkio(blkio: &BlkioV1) -> metrics::BlkioV1 {
    let entries = |entries: &[BlkioEntry]| {
        let entry = |entry: &BlkioEntry| metrics::BlkioEntry {
            op: entry.op.clone(),
            device: String::new(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
        };
        entries.iter().map(entry).collect()
    };
    metrics::BlkioV1 {
        service_bytes: entries(&blkio.service_bytes),
        serviced: entries(&blkio.serviced),
        queued: entries(&blkio.queued),
        service_time: entries(&blkio.service_time),
        wait_time: entries(&blkio.wait_time),
        merged: entries(&blkio.merged),
        time: entries(&blkio.time),
        sectors: entries(&blkio.sectors),
    }
}
