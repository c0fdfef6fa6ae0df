//! Limits: memory, CPU, processes, block I/O.

use clap::Args;
use davit_api::container::{HostConfig, ThrottleDevice, Ulimit, WeightDevice};

use crate::failure::Failure;
use crate::flags::values;

#[derive(Debug, Args)]
pub(super) struct LimitFlags {
    /// Relative weight of block I/O, 10 to 1000, 0 for none
    #[arg(long, value_name = "uint16", value_parser = values::small_unsigned)]
    blkio_weight: Option<u16>,
    /// Relative weight of block I/O for a device
    #[arg(long, value_parser = values::weight_device)]
    blkio_weight_device: Vec<WeightDevice>,
    /// Cgroup to put the container's cgroup into
    #[arg(long)]
    cgroup_parent: Option<String>,
    /// Period of the CPU quota in microseconds
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_period: Option<i64>,
    /// CPU quota in microseconds per period
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_quota: Option<i64>,
    /// Real-time period in microseconds
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_rt_period: Option<i64>,
    /// Real-time runtime in microseconds
    #[arg(long, value_name = "int", value_parser = values::integer)]
    cpu_rt_runtime: Option<i64>,
    /// Relative weight of the CPU
    #[arg(long, short = 'c', value_name = "int", value_parser = values::integer)]
    cpu_shares: Option<i64>,
    /// How many CPUs may be used
    #[arg(long, value_name = "decimal", value_parser = values::cpus)]
    cpus: Option<i64>,
    /// Which CPUs may be used, such as 0-3 or 0,1
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Which memory nodes may be used
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Read limit of a device in bytes per second
    #[arg(long, value_parser = values::throttle_bps)]
    device_read_bps: Vec<ThrottleDevice>,
    /// Read limit of a device in operations per second
    #[arg(long, value_parser = values::throttle_iops)]
    device_read_iops: Vec<ThrottleDevice>,
    /// Write limit of a device in bytes per second
    #[arg(long, value_parser = values::throttle_bps)]
    device_write_bps: Vec<ThrottleDevice>,
    /// Write limit of a device in operations per second
    #[arg(long, value_parser = values::throttle_iops)]
    device_write_iops: Vec<ThrottleDevice>,
    /// No longer has an effect
    #[arg(long, value_name = "bytes", value_parser = values::bytes, hide = true)]
    kernel_memory: Option<i64>,
    /// Memory limit
    #[arg(long, short, value_name = "bytes", value_parser = values::bytes)]
    memory: Option<i64>,
    /// Soft memory limit
    #[arg(long, value_name = "bytes", value_parser = values::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together, -1 for unlimited swap
    #[arg(long, value_name = "bytes", value_parser = values::swap_bytes)]
    memory_swap: Option<i64>,
    /// How readily memory is swapped out, 0 to 100
    #[arg(long, value_name = "int", value_parser = values::integer, default_value = "-1")]
    memory_swappiness: i64,
    /// Don't let the kernel kill the container for lack of memory
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily the kernel kills the container for lack of memory, -1000 to 1000
    #[arg(long, value_name = "int", value_parser = values::integer)]
    oom_score_adj: Option<i64>,
    /// Limit of processes, -1 for none
    #[arg(long, value_name = "int", value_parser = values::integer)]
    pids_limit: Option<i64>,
    /// Limit of the process, name=soft[:hard]
    #[arg(long, value_name = "ulimit", value_parser = values::ulimit)]
    ulimit: Vec<Ulimit>,
}

impl LimitFlags {
    pub(super) fn apply(&self, host_config: &mut HostConfig) -> Result<(), Failure> {
        if self.memory_swappiness != -1 && !(0..=100).contains(&self.memory_swappiness) {
            return Err(Failure::new(format!(
                "invalid value: {}. Valid memory swappiness range is 0-100",
                self.memory_swappiness
            )));
        }
        let number = |value: Option<i64>| value.unwrap_or(0);
        host_config.oom_score_adj = number(self.oom_score_adj);
        let resources = &mut host_config.resources;
        resources.memory = number(self.memory);
        resources.memory_reservation = number(self.memory_reservation);
        resources.memory_swap = number(self.memory_swap);
        resources.memory_swappiness = Some(self.memory_swappiness);
        resources.oom_kill_disable = Some(self.oom_kill_disable);
        resources.nano_cpus = number(self.cpus);
        resources.cpu_shares = number(self.cpu_shares);
        resources.cpu_period = number(self.cpu_period);
        resources.cpu_quota = number(self.cpu_quota);
        resources.cpu_realtime_period = number(self.cpu_rt_period);
        resources.cpu_realtime_runtime = number(self.cpu_rt_runtime);
        resources.cpuset_cpus = self.cpuset_cpus.clone().unwrap_or_default();
        resources.cpuset_mems = self.cpuset_mems.clone().unwrap_or_default();
        resources.cgroup_parent = self.cgroup_parent.clone().unwrap_or_default();
        resources.pids_limit = Some(number(self.pids_limit));
        resources.blkio_weight = self.blkio_weight.unwrap_or(0);
        resources.blkio_weight_device = Some(self.blkio_weight_device.clone());
        resources.blkio_device_read_bps = Some(self.device_read_bps.clone());
        resources.blkio_device_read_iops = Some(self.device_read_iops.clone());
        resources.blkio_device_write_bps = Some(self.device_write_bps.clone());
        resources.blkio_device_write_iops = Some(self.device_write_iops.clone());
        let mut ulimits = self.ulimit.clone();
        ulimits.sort_by(|a, b| a.name.cmp(&b.name));
        resources.ulimits = Some(ulimits);
        Ok(())
    }
}
