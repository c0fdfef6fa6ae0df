//! Limits, weights and devices of a container: the part of `HostConfig` that `update` may change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_as_default as null;

/// Limits, weights and devices of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Resources {
    /// Relative weight of CPU time.
    #[serde(deserialize_with = "null")]
    pub cpu_shares: i64,
    /// Memory limit in bytes, 0 for none.
    #[serde(deserialize_with = "null")]
    pub memory: i64,
    /// CPU quota in units of a billionth of a CPU.
    #[serde(deserialize_with = "null")]
    pub nano_cpus: i64,
    /// Cgroup the container's own is made in.
    #[serde(deserialize_with = "null")]
    pub cgroup_parent: String,
    /// Relative weight of block I/O, 10 to 1000.
    #[serde(deserialize_with = "null")]
    pub blkio_weight: u16,
    /// The same per device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Limits of bytes read per second.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Limits of bytes written per second.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Limits of reads per second.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Limits of writes per second.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Length of a CFS period in microseconds.
    #[serde(deserialize_with = "null")]
    pub cpu_period: i64,
    /// CPU time per CFS period in microseconds.
    #[serde(deserialize_with = "null")]
    pub cpu_quota: i64,
    /// Length of a real-time period in microseconds.
    #[serde(deserialize_with = "null")]
    pub cpu_realtime_period: i64,
    /// CPU time per real-time period in microseconds.
    #[serde(deserialize_with = "null")]
    pub cpu_realtime_runtime: i64,
    /// CPUs the container may use, `0-2,4`.
    #[serde(deserialize_with = "null")]
    pub cpuset_cpus: String,
    /// Memory nodes the container may use.
    #[serde(deserialize_with = "null")]
    pub cpuset_mems: String,
    /// Host devices made available.
    pub devices: Option<Vec<DeviceMapping>>,
    /// Rules for the device cgroup.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Requests to device drivers.
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Soft memory limit in bytes.
    #[serde(deserialize_with = "null")]
    pub memory_reservation: i64,
    /// Limit of memory and swap in bytes; -1 for unlimited swap.
    #[serde(deserialize_with = "null")]
    pub memory_swap: i64,
    /// Swappiness, 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// Keep the OOM killer away (cgroup v1).
    pub oom_kill_disable: Option<bool>,
    /// Number of processes; 0 or -1 for unlimited.
    pub pids_limit: Option<i64>,
    /// Resource limits of the process.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only.
    #[serde(deserialize_with = "null")]
    pub cpu_count: i64,
    /// Windows only.
    #[serde(deserialize_with = "null")]
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps", deserialize_with = "null")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth", deserialize_with = "null")]
    pub io_maximum_bandwidth: u64,
}

/// Block I/O weight of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct WeightDevice {
    /// Path of the device.
    #[serde(deserialize_with = "null")]
    pub path: String,
    /// Its weight.
    #[serde(deserialize_with = "null")]
    pub weight: u16,
}

/// Block I/O limit of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ThrottleDevice {
    /// Path of the device.
    #[serde(deserialize_with = "null")]
    pub path: String,
    /// Bytes or operations per second.
    #[serde(deserialize_with = "null")]
    pub rate: u64,
}

/// A host device made available.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// Its path on the host.
    #[serde(deserialize_with = "null")]
    pub path_on_host: String,
    /// Its path in the container.
    #[serde(deserialize_with = "null")]
    pub path_in_container: String,
    /// `r`, `w` and `m`.
    #[serde(deserialize_with = "null")]
    pub cgroup_permissions: String,
}

/// A request to a device driver, such as for GPUs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceRequest {
    /// The driver.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Number of devices, -1 for all.
    #[serde(deserialize_with = "null")]
    pub count: i64,
    /// The devices by id.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// Alternatives of sets of capabilities.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
}

/// One resource limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// Its name, `nofile`.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// The ceiling, -1 for none.
    #[serde(deserialize_with = "null")]
    pub hard: i64,
    /// The limit, -1 for none.
    #[serde(deserialize_with = "null")]
    pub soft: i64,
}
