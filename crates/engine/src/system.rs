//! The engine itself: version, info, disk usage.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use davit_api::Time;
use davit_api::filters::Filters;
use davit_api::system::{
    Commit, ComponentVersion, DiskUsage, FirewallInfo, IndexInfo, Info, PluginsInfo,
    RegistryConfig, RuntimeInfo, SwarmInfo, VersionResponse,
};
use davit_api::version;
use davit_api::volume::VolumeUsageData;
use davit_sys::cgroup::Layout;
use davit_types::Result;

use crate::Engine;
use crate::container::blocking;
use crate::engine::Inner;
use crate::options::ListOptions;

impl Engine {
    /// Versions of the engine and its parts.
    pub fn version(&self) -> VersionResponse {
        let config = &self.inner().config;
        let kernel_version = kernel_version();
        let details = BTreeMap::from(
            [
                ("ApiVersion", version::NEWEST.to_string()),
                ("Arch", architecture().to_owned()),
                ("Experimental", config.experimental.to_string()),
                ("KernelVersion", kernel_version.clone()),
                ("MinAPIVersion", version::OLDEST.to_string()),
                ("Os", "linux".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        let part = |name: &str, details| ComponentVersion {
            name: name.to_owned(),
            version: config.version.clone(),
            details,
        };
        VersionResponse {
            version: config.version.clone(),
            api_version: version::NEWEST.to_string(),
            min_api_version: version::OLDEST.to_string(),
            os: "linux".to_owned(),
            arch: architecture().to_owned(),
            components: vec![
                part("Engine", details),
                part("davit-shim", BTreeMap::from([("GitCommit".to_owned(), String::new())])),
            ],
            kernel_version,
            experimental: config.experimental,
            ..VersionResponse::default()
        }
    }

    /// Facts about the engine and its host. What can't be found out is left empty.
    ///
    /// # Errors
    /// The images can't be read.
    pub async fn info(&self) -> Result<Info> {
        let inner = Arc::clone(self.inner());
        blocking(move || {
            let mut info = Info { images: i64::try_from(inner.images.list()?.len()).unwrap_or(0), ..host_info() };
            count_containers(&inner, &mut info);
            describe_engine(&inner, &mut info);
            describe_cgroups(&inner, &mut info);
            Ok(info)
        })
        .await
    }

    /// Sizes of images, containers and volumes.
    ///
    /// # Errors
    /// One of them can't be read.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let all = ListOptions { all: true, size: true, ..ListOptions::default() };
        let containers = self.list(all).await?;
        let images = self.list_images(false, &Filters::default()).await?;
        let volumes = self.volumes(&Filters::default())?.volumes;
        let inner = Arc::clone(self.inner());
        blocking(move || {
            let mut volumes = volumes;
            for volume in &mut volumes {
                let ref_count = inner.users_of_volume(&volume.name).len();
                volume.usage_data = Some(VolumeUsageData {
                    ref_count: i64::try_from(ref_count).unwrap_or(i64::MAX),
                    size: tree_size(Path::new(&volume.mountpoint)),
                });
            }
            let layers_size = images.iter().map(|image| image.size).sum();
            Ok(DiskUsage { layers_size, images, containers, volumes })
        })
        .await
    }
}

fn count_containers(inner: &Inner, info: &mut Info) {
    for container in inner.containers.all() {
        let state = &container.snapshot().record.state;
        info.containers += 1;
        match (state.paused, state.running) {
            (true, _) => info.containers_paused += 1,
            (false, true) => info.containers_running += 1,
            (false, false) => info.containers_stopped += 1,
        }
    }
}

fn describe_engine(inner: &Inner, info: &mut Info) {
    let config = &inner.config;
    let runtime = |path: &Path| RuntimeInfo {
        path: path.display().to_string(),
        ..RuntimeInfo::default()
    };
    info.runtimes.insert("runc".to_owned(), runtime(&config.shim));
    for (name, path) in &config.runtimes {
        info.runtimes.insert(name.clone(), runtime(path));
    }
    info.id.clone_from(&inner.id);
    info.driver = "overlay2".to_owned();
    info.driver_status = vec![["driver-type".to_owned(), "overlayfs".to_owned()]];
    info.default_runtime.clone_from(&config.default_runtime);
    info.debug = config.debug;
    info.experimental_build = config.experimental;
    info.server_version.clone_from(&config.version);
    info.docker_root_dir = config.data_root.display().to_string();
    info.logging_driver.clone_from(&config.log.kind);
    info.labels.clone_from(&config.labels);
    info.n_events_listener = i64::try_from(inner.events.listeners()).unwrap_or(i64::MAX);
    info.registry_config = Some(registry_config(&config.registry_mirrors, &config.insecure_registries));
}

fn describe_cgroups(inner: &Inner, info: &mut Info) {
    let version = if inner.layout.is_v2() { "2" } else { "1" };
    info.cgroup_driver = "cgroupfs".to_owned();
    info.cgroup_version = version.to_owned();
    let controllers = controllers(&inner.layout);
    let has = |name: &str| controllers.iter().any(|controller| controller == name);
    info.memory_limit = has("memory");
    info.swap_limit = has("memory");
    info.oom_kill_disable = version == "1" && has("memory");
    info.cpu_cfs_period = has("cpu");
    info.cpu_cfs_quota = has("cpu");
    info.cpu_shares = has("cpu");
    info.cpu_set = has("cpuset");
    info.pids_limit = has("pids");
    info.security_options = vec!["name=seccomp,profile=builtin".to_owned()];
    if version == "2" {
        info.security_options.push("name=cgroupns".to_owned());
    }
}

/// Names of the controllers that limits can be set with.
fn controllers(layout: &Layout) -> Vec<String> {
    if let Layout::V2(root) = layout {
        let names = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        return names.split_whitespace().map(str::to_owned).collect();
    }
    layout.v1().iter().flat_map(|hierarchy| hierarchy.controllers.iter().cloned()).collect()
}

fn host_info() -> Info {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    let release = os_release();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let entries = |path: &str| fs::read_dir(path).map_or(0, |entries| entries.count());
    let uname = rustix::system::uname();
    Info {
        plugins: PluginsInfo {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&["json-file", "none"]),
        },
        ipv4_forwarding: fs::read("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.starts_with(b"1")),
        n_fd: i64::try_from(entries("/proc/self/fd")).unwrap_or(0),
        n_goroutines: i64::try_from(entries("/proc/self/task")).unwrap_or(0),
        system_time: Time::now().to_string(),
        kernel_version: kernel_version(),
        operating_system: release.get("PRETTY_NAME").cloned().unwrap_or_default(),
        os_version: release.get("VERSION_ID").cloned().unwrap_or_default(),
        os_type: "linux".to_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        name: uname.nodename().to_string_lossy().into_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        ncpu: i64::try_from(cpus).unwrap_or(1),
        mem_total: i64::try_from(memory_total()).unwrap_or(i64::MAX),
        http_proxy: proxy("HTTP_PROXY"),
        https_proxy: proxy("HTTPS_PROXY"),
        no_proxy: proxy("NO_PROXY"),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        live_restore_enabled: true,
        init_commit: Commit { id: String::new() },
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
        ..Info::default()
    }
}

/// A proxy's setting with the password left out.
fn proxy(name: &str) -> String {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
    let value = value.unwrap_or_default();
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        _ => value,
    }
}

fn registry_config(mirrors: &[String], insecure: &[String]) -> RegistryConfig {
    let index = |name: &str, official: bool| IndexInfo {
        name: name.to_owned(),
        mirrors: if official { mirrors.to_vec() } else { Vec::new() },
        secure: official,
        official,
    };
    let mut index_configs = BTreeMap::from([("docker.io".to_owned(), index("docker.io", true))]);
    let is_network = |name: &str| name.contains('/');
    for name in insecure.iter().filter(|name| !is_network(name)) {
        index_configs.insert(name.clone(), index(name, false));
    }
    let networks = insecure.iter().filter(|name| is_network(name)).cloned();
    RegistryConfig {
        insecure_registry_cidrs: ["::1/128", "127.0.0.0/8"]
            .map(str::to_owned)
            .into_iter()
            .chain(networks)
            .collect(),
        index_configs,
        mirrors: mirrors.to_vec(),
    }
}

/// The machine's memory in bytes.
pub(crate) fn memory_total() -> u64 {
    let info = rustix::system::sysinfo();
    u64::try_from(info.totalram).unwrap_or(u64::MAX).saturating_mul(u64::from(info.mem_unit))
}

fn kernel_version() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The processor in the words of image platforms.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `os-release(5)`; empty when there is none.
fn os_release() -> BTreeMap<String, String> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let entry = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// Bytes of the files below `path`; what vanishes meanwhile or can't be read counts nothing.
fn tree_size(path: &Path) -> i64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_size(&entry.path()),
            Ok(metadata) => i64::try_from(metadata.len()).unwrap_or(0),
            Err(_) => 0,
        })
        .sum()
}
