//! Limits as plain numbers, in the words of the runtime specification.

/// What a cgroup may use. Absent: left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory; -1 unlimited.
    pub memory: Option<i64>,
    /// Bytes of memory below which reclaim leaves it alone.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 unlimited.
    pub memory_swap: Option<i64>,
    /// 0 to 100 (version 1 only).
    pub swappiness: Option<u64>,
    /// Processes wait instead of being killed (version 1 only).
    pub oom_kill_disable: Option<bool>,
    /// Bytes of kernel memory (version 1 only, gone since Linux 5.16).
    pub kernel_memory: Option<i64>,
    /// Bytes of kernel memory for TCP's buffers (version 1 only).
    pub kernel_tcp_memory: Option<i64>,
    /// What cgroups below use counts here; version 2 does so always.
    pub use_hierarchy: Option<bool>,
    /// Refuse a memory limit that is below what is used already.
    pub check_before_update: bool,
    /// Relative weight, 2 to 262144, 1024 being usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 unlimited.
    pub cpu_quota: Option<i64>,
    /// Length of the period in microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds that may be saved up.
    pub cpu_burst: Option<u64>,
    /// `SCHED_IDLE` for the whole group (1) or not (0).
    pub cpu_idle: Option<i64>,
    /// Length of the realtime period in microseconds (version 1 only).
    pub cpu_rt_period: Option<u64>,
    /// Microseconds per realtime period (version 1 only).
    pub cpu_rt_runtime: Option<i64>,
    /// Processors, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, as `0-2,4`.
    pub cpuset_mems: Option<String>,
    /// Number of tasks; 0 or less: unlimited.
    pub pids: Option<i64>,
    /// Relative weight, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// The same for the group's own tasks against those of groups below (version 1 only).
    pub blkio_leaf_weight: Option<u16>,
    /// Relative weights on single devices.
    pub weights: Vec<DeviceWeight>,
    /// Read bytes per second.
    pub read_bps: Vec<Throttle>,
    /// Written bytes per second.
    pub write_bps: Vec<Throttle>,
    /// Reads per second.
    pub read_iops: Vec<Throttle>,
    /// Writes per second.
    pub write_iops: Vec<Throttle>,
    /// Huge pages.
    pub hugepages: Vec<Hugepages>,
    /// Devices for remote direct memory access.
    pub rdma: Vec<Rdma>,
    /// Class of the network packets that are sent (version 1 only).
    pub network_class: Option<u32>,
    /// Priorities of the packets sent through single interfaces (version 1 only).
    pub network_priorities: Vec<(String, u32)>,
    /// Files of the unified hierarchy and what is written to them.
    pub unified: Vec<(String, String)>,
}

/// A rate on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Device number, major part.
    pub major: i64,
    /// Device number, minor part.
    pub minor: i64,
    /// The rate.
    pub rate: u64,
}

/// A limit on huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hugepages {
    /// The size as the kernel writes it (`2MB`).
    pub size: String,
    /// Bytes.
    pub limit: i64,
}

/// Weights on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceWeight {
    /// Device number, major part.
    pub major: i64,
    /// Device number, minor part.
    pub minor: i64,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// 10 to 1000, for the group's own tasks (version 1 only).
    pub leaf_weight: Option<u16>,
}

/// Limits on one device for remote direct memory access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdma {
    /// The device.
    pub device: String,
    /// Open handles; absent: any number.
    pub handles: Option<u32>,
    /// Objects; absent: any number.
    pub objects: Option<u32>,
}
