//! Containers: their configuration as stored and sent, and the answers about them.

mod config;
mod host_config;
mod inspect;
mod mount;
mod network;
mod requests;
mod resources;
mod stats;
mod summary;

pub use config::{Config, HealthConfig};
pub use host_config::{HostConfig, LogConfig, PortBinding, PortMap, RestartPolicy};
pub use inspect::{
    ContainerState, Health, HealthcheckResult, InspectResponse, RootFs, Snapshot, Storage,
};
pub use mount::{
    BindOptions, ImageOptions, Mount, MountPoint, TmpfsOptions, VolumeDriverConfig, VolumeOptions,
};
pub use network::{
    EndpointIpamConfig, EndpointSettings, NetworkSettings, NetworkSettingsSummary, NetworkingConfig,
};
pub use requests::{
    Change, CreateRequest, CreateResponse, PathStat, PruneResponse, TopResponse, UpdateRequest,
    UpdateResponse, WaitExitError, WaitResponse,
};
pub use resources::{
    DeviceMapping, DeviceRequest, Resources, ThrottleDevice, Ulimit, WeightDevice,
};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    StorageStats, ThrottlingData,
};
pub use summary::{HealthSummary, Port, Summary, SummaryHostConfig};

#[cfg(test)]
mod tests;
