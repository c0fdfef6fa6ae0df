//! One sample of `GET /containers/{id}/stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;
use crate::time::Time;

/// A sample of a container's use of resources.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct Stats {
    /// The container's id.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name, with a slash in front.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `linux`.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub os_type: String,
    /// When it was taken.
    #[serde(deserialize_with = "null")]
    pub read: Time,
    /// CPU now.
    #[serde(deserialize_with = "null")]
    pub cpu_stats: CpuStats,
    /// Memory.
    #[serde(deserialize_with = "null")]
    pub memory_stats: MemoryStats,
    /// Traffic by interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeMap<String, NetworkStats>>,
    /// Processes.
    #[serde(deserialize_with = "null")]
    pub pids_stats: PidsStats,
    /// Block I/O.
    #[serde(deserialize_with = "null")]
    pub blkio_stats: BlkioStats,
    /// Windows only.
    #[serde(deserialize_with = "null")]
    pub num_procs: u32,
    /// Windows only.
    #[serde(deserialize_with = "null")]
    pub storage_stats: StorageStats,
    /// When the sample before was taken.
    #[serde(deserialize_with = "null")]
    pub preread: Time,
    /// CPU at the sample before.
    #[serde(deserialize_with = "null")]
    pub precpu_stats: CpuStats,
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct CpuStats {
    /// Time used by the container.
    #[serde(deserialize_with = "null")]
    pub cpu_usage: CpuUsage,
    /// Time used by the whole host, in nanoseconds.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub system_cpu_usage: u64,
    /// CPUs of the host.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub online_cpus: u32,
    /// How often the quota struck.
    #[serde(deserialize_with = "null")]
    pub throttling_data: ThrottlingData,
}

/// CPU time used, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct CpuUsage {
    /// All of it.
    #[serde(deserialize_with = "null")]
    pub total_usage: u64,
    /// By CPU (cgroup v1).
    #[serde(deserialize_with = "null", skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
    /// In the kernel.
    #[serde(deserialize_with = "null")]
    pub usage_in_kernelmode: u64,
    /// Outside of it.
    #[serde(deserialize_with = "null")]
    pub usage_in_usermode: u64,
}

/// How often the CPU quota struck.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct ThrottlingData {
    /// Periods with a quota.
    #[serde(deserialize_with = "null")]
    pub periods: u64,
    /// Periods it was used up.
    #[serde(deserialize_with = "null")]
    pub throttled_periods: u64,
    /// Nanoseconds spent waiting.
    #[serde(deserialize_with = "null")]
    pub throttled_time: u64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct MemoryStats {
    /// Bytes in use.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub usage: u64,
    /// The most ever in use (cgroup v1).
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub max_usage: u64,
    /// `memory.stat`.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, u64>,
    /// How often the limit was hit.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub failcnt: u64,
    /// The limit in bytes.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub limit: u64,
}

/// Traffic of one interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct NetworkStats {
    /// Bytes received.
    #[serde(deserialize_with = "null")]
    pub rx_bytes: u64,
    /// Packets received.
    #[serde(deserialize_with = "null")]
    pub rx_packets: u64,
    /// Errors on receive.
    #[serde(deserialize_with = "null")]
    pub rx_errors: u64,
    /// Packets dropped on receive.
    #[serde(deserialize_with = "null")]
    pub rx_dropped: u64,
    /// Bytes sent.
    #[serde(deserialize_with = "null")]
    pub tx_bytes: u64,
    /// Packets sent.
    #[serde(deserialize_with = "null")]
    pub tx_packets: u64,
    /// Errors on send.
    #[serde(deserialize_with = "null")]
    pub tx_errors: u64,
    /// Packets dropped on send.
    #[serde(deserialize_with = "null")]
    pub tx_dropped: u64,
}

/// Processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct PidsStats {
    /// How many there are.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub current: u64,
    /// How many there may be.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub limit: u64,
}

/// Block I/O.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes by device and operation.
    pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    /// Operations by device and operation.
    pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1 only.
    pub io_queue_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1 only.
    pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1 only.
    pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1 only.
    pub io_merged_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1 only.
    pub io_time_recursive: Option<Vec<BlkioEntry>>,
    /// cgroup v1 only.
    pub sectors_recursive: Option<Vec<BlkioEntry>>,
}

/// One number of block I/O.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct BlkioEntry {
    /// Major number of the device.
    #[serde(deserialize_with = "null")]
    pub major: u64,
    /// Minor number of the device.
    #[serde(deserialize_with = "null")]
    pub minor: u64,
    /// `read` or `write`; capitalised on cgroup v1.
    #[serde(deserialize_with = "null")]
    pub op: String,
    /// The number.
    #[serde(deserialize_with = "null")]
    pub value: u64,
}

/// Windows only; always `{}` here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default)]
pub struct StorageStats {
    /// Reads.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub read_count_normalized: u64,
    /// Bytes read.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub read_size_bytes: u64,
    /// Writes.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub write_count_normalized: u64,
    /// Bytes written.
    #[serde(deserialize_with = "null", skip_serializing_if = "crate::lenient::is_default")]
    pub write_size_bytes: u64,
}
