//! `io.containerd.cgroups.v1.Metrics` and `io.containerd.cgroups.v2.Metrics`.

use prost::Message;

/// `io.containerd.cgroups.v2.Metrics`. Number 9, the network, stays empty: it is the client's to fill.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricsV2 {
    #[prost(message, optional, tag = "1")]
    pub(crate) pids: Option<PidsStat>,
    #[prost(message, optional, tag = "2")]
    pub(crate) cpu: Option<CpuV2>,
    #[prost(message, optional, tag = "4")]
    pub(crate) memory: Option<MemoryV2>,
    #[prost(message, optional, tag = "5")]
    pub(crate) rdma: Option<Rdma>,
    #[prost(message, optional, tag = "6")]
    pub(crate) io: Option<IoV2>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) hugetlb: Vec<HugetlbV2>,
    #[prost(message, optional, tag = "8")]
    pub(crate) memory_events: Option<MemoryEvents>,
}

/// Tasks.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PidsStat {
    #[prost(uint64, tag = "1")]
    pub(crate) current: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) limit: u64,
}

/// CPU time.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CpuV2 {
    #[prost(uint64, tag = "1")]
    pub(crate) usage_usec: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) user_usec: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) system_usec: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) nr_periods: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) nr_throttled: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) throttled_usec: u64,
    #[prost(message, optional, tag = "7")]
    pub(crate) psi: Option<PsiStats>,
    #[prost(uint64, tag = "8")]
    pub(crate) nr_bursts: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) burst_usec: u64,
}

/// Memory and swap.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MemoryV2 {
    #[prost(uint64, tag = "1")]
    pub(crate) anon: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) file: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) kernel_stack: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) slab: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) sock: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) shmem: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) file_mapped: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) file_dirty: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) file_writeback: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) anon_thp: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) inactive_anon: u64,
    #[prost(uint64, tag = "12")]
    pub(crate) active_anon: u64,
    #[prost(uint64, tag = "13")]
    pub(crate) inactive_file: u64,
    #[prost(uint64, tag = "14")]
    pub(crate) active_file: u64,
    #[prost(uint64, tag = "15")]
    pub(crate) unevictable: u64,
    #[prost(uint64, tag = "16")]
    pub(crate) slab_reclaimable: u64,
    #[prost(uint64, tag = "17")]
    pub(crate) slab_unreclaimable: u64,
    #[prost(uint64, tag = "18")]
    pub(crate) pgfault: u64,
    #[prost(uint64, tag = "19")]
    pub(crate) pgmajfault: u64,
    #[prost(uint64, tag = "20")]
    pub(crate) workingset_refault: u64,
    #[prost(uint64, tag = "21")]
    pub(crate) workingset_activate: u64,
    #[prost(uint64, tag = "22")]
    pub(crate) workingset_nodereclaim: u64,
    #[prost(uint64, tag = "23")]
    pub(crate) pgrefill: u64,
    #[prost(uint64, tag = "24")]
    pub(crate) pgscan: u64,
    #[prost(uint64, tag = "25")]
    pub(crate) pgsteal: u64,
    #[prost(uint64, tag = "26")]
    pub(crate) pgactivate: u64,
    #[prost(uint64, tag = "27")]
    pub(crate) pgdeactivate: u64,
    #[prost(uint64, tag = "28")]
    pub(crate) pglazyfree: u64,
    #[prost(uint64, tag = "29")]
    pub(crate) pglazyfreed: u64,
    #[prost(uint64, tag = "30")]
    pub(crate) thp_fault_alloc: u64,
    #[prost(uint64, tag = "31")]
    pub(crate) thp_collapse_alloc: u64,
    #[prost(uint64, tag = "32")]
    pub(crate) usage: u64,
    #[prost(uint64, tag = "33")]
    pub(crate) usage_limit: u64,
    #[prost(uint64, tag = "34")]
    pub(crate) swap_usage: u64,
    #[prost(uint64, tag = "35")]
    pub(crate) swap_limit: u64,
    #[prost(uint64, tag = "36")]
    pub(crate) max_usage: u64,
    #[prost(uint64, tag = "37")]
    pub(crate) swap_max_usage: u64,
    #[prost(message, optional, tag = "38")]
    pub(crate) psi: Option<PsiStats>,
}

/// What memory limits led to.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct MemoryEvents {
    #[prost(uint64, tag = "1")]
    pub(crate) low: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) high: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) max: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) oom: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) oom_kill: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) oom_group_kill: u64,
}

/// RDMA resources.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rdma {
    #[prost(message, repeated, tag = "1")]
    pub(crate) current: Vec<RdmaEntry>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) limit: Vec<RdmaEntry>,
}

/// RDMA resources of one device.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RdmaEntry {
    #[prost(string, tag = "1")]
    pub(crate) device: String,
    #[prost(uint32, tag = "2")]
    pub(crate) hca_handles: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) hca_objects: u32,
}

/// Block I/O.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IoV2 {
    #[prost(message, repeated, tag = "1")]
    pub(crate) usage: Vec<IoEntry>,
    #[prost(message, optional, tag = "2")]
    pub(crate) psi: Option<PsiStats>,
}

/// Block I/O of one device.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IoEntry {
    #[prost(uint64, tag = "1")]
    pub(crate) major: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) minor: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) rbytes: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) wbytes: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) rios: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) wios: u64,
}

/// Huge pages of one size.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HugetlbV2 {
    #[prost(uint64, tag = "1")]
    pub(crate) current: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) max: u64,
    #[prost(string, tag = "3")]
    pub(crate) pagesize: String,
    #[prost(uint64, tag = "4")]
    pub(crate) failcnt: u64,
}

/// Pressure.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PsiStats {
    #[prost(message, optional, tag = "1")]
    pub(crate) some: Option<PsiData>,
    #[prost(message, optional, tag = "2")]
    pub(crate) full: Option<PsiData>,
}

/// One line of pressure.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PsiData {
    #[prost(double, tag = "1")]
    pub(crate) avg10: f64,
    #[prost(double, tag = "2")]
    pub(crate) avg60: f64,
    #[prost(double, tag = "3")]
    pub(crate) avg300: f64,
    #[prost(uint64, tag = "4")]
    pub(crate) total: u64,
}

/// `io.containerd.cgroups.v1.Metrics`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricsV1 {
    #[prost(message, repeated, tag = "1")]
    pub(crate) hugetlb: Vec<HugetlbV1>,
    #[prost(message, optional, tag = "2")]
    pub(crate) pids: Option<PidsStat>,
    #[prost(message, optional, tag = "3")]
    pub(crate) cpu: Option<CpuV1>,
    #[prost(message, optional, tag = "4")]
    pub(crate) memory: Option<MemoryV1>,
    #[prost(message, optional, tag = "5")]
    pub(crate) blkio: Option<BlkioV1>,
    #[prost(message, optional, tag = "6")]
    pub(crate) rdma: Option<Rdma>,
    #[prost(message, optional, tag = "9")]
    pub(crate) memory_oom_control: Option<OomControl>,
}

/// Huge pages of one size.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HugetlbV1 {
    #[prost(uint64, tag = "1")]
    pub(crate) usage: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) max: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) failcnt: u64,
    #[prost(string, tag = "4")]
    pub(crate) pagesize: String,
}

/// CPU time.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CpuV1 {
    #[prost(message, optional, tag = "1")]
    pub(crate) usage: Option<CpuUsage>,
    #[prost(message, optional, tag = "2")]
    pub(crate) throttling: Option<Throttling>,
}

/// In nanoseconds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CpuUsage {
    #[prost(uint64, tag = "1")]
    pub(crate) total: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) kernel: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) user: u64,
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) per_cpu: Vec<u64>,
}

/// The effect of a quota.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Throttling {
    #[prost(uint64, tag = "1")]
    pub(crate) periods: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) throttled_periods: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) throttled_time: u64,
}

/// Memory and swap.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MemoryV1 {
    #[prost(uint64, tag = "1")]
    pub(crate) cache: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) rss: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) rss_huge: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) mapped_file: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) dirty: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) writeback: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) pgpgin: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) pgpgout: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) pgfault: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) pgmajfault: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) inactive_anon: u64,
    #[prost(uint64, tag = "12")]
    pub(crate) active_anon: u64,
    #[prost(uint64, tag = "13")]
    pub(crate) inactive_file: u64,
    #[prost(uint64, tag = "14")]
    pub(crate) active_file: u64,
    #[prost(uint64, tag = "15")]
    pub(crate) unevictable: u64,
    #[prost(uint64, tag = "16")]
    pub(crate) hierarchical_memory_limit: u64,
    #[prost(uint64, tag = "17")]
    pub(crate) hierarchical_swap_limit: u64,
    #[prost(uint64, tag = "18")]
    pub(crate) total_cache: u64,
    #[prost(uint64, tag = "19")]
    pub(crate) total_rss: u64,
    #[prost(uint64, tag = "20")]
    pub(crate) total_rss_huge: u64,
    #[prost(uint64, tag = "21")]
    pub(crate) total_mapped_file: u64,
    #[prost(uint64, tag = "22")]
    pub(crate) total_dirty: u64,
    #[prost(uint64, tag = "23")]
    pub(crate) total_writeback: u64,
    #[prost(uint64, tag = "24")]
    pub(crate) total_pgpgin: u64,
    #[prost(uint64, tag = "25")]
    pub(crate) total_pgpgout: u64,
    #[prost(uint64, tag = "26")]
    pub(crate) total_pgfault: u64,
    #[prost(uint64, tag = "27")]
    pub(crate) total_pgmajfault: u64,
    #[prost(uint64, tag = "28")]
    pub(crate) total_inactive_anon: u64,
    #[prost(uint64, tag = "29")]
    pub(crate) total_active_anon: u64,
    #[prost(uint64, tag = "30")]
    pub(crate) total_inactive_file: u64,
    #[prost(uint64, tag = "31")]
    pub(crate) total_active_file: u64,
    #[prost(uint64, tag = "32")]
    pub(crate) total_unevictable: u64,
    #[prost(message, optional, tag = "33")]
    pub(crate) usage: Option<MemoryEntry>,
    #[prost(message, optional, tag = "34")]
    pub(crate) swap: Option<MemoryEntry>,
    #[prost(message, optional, tag = "35")]
    pub(crate) kernel: Option<MemoryEntry>,
    #[prost(message, optional, tag = "36")]
    pub(crate) kernel_tcp: Option<MemoryEntry>,
}

/// One kind of memory.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct MemoryEntry {
    #[prost(uint64, tag = "1")]
    pub(crate) limit: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) usage: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) max: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) failcnt: u64,
}

/// Block I/O.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BlkioV1 {
    #[prost(message, repeated, tag = "1")]
    pub(crate) service_bytes: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) serviced: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) queued: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) service_time: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) wait_time: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) merged: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) time: Vec<BlkioEntry>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) sectors: Vec<BlkioEntry>,
}

/// One counter of one device.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BlkioEntry {
    #[prost(string, tag = "1")]
    pub(crate) op: String,
    #[prost(string, tag = "2")]
    pub(crate) device: String,
    #[prost(uint64, tag = "3")]
    pub(crate) major: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) minor: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) value: u64,
}

/// `memory.oom_control`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct OomControl {
    #[prost(uint64, tag = "1")]
    pub(crate) oom_kill_disable: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) under_oom: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) oom_kill: u64,
}
