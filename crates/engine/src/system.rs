//! `info`, `version` and `system df`.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_api::Filters;
use davit_api::system::{
    Commit, ComponentVersion, DiskUsage, FirewallInfo, IndexInfo, Info, PluginsInfo,
    RegistryConfig, RuntimeInfo, SwarmInfo, VersionResponse,
};
use davit_api::version::{NEWEST, OLDEST};
use davit_api::volume::VolumeUsageData;
use davit_types::Result;

use crate::Engine;
use crate::container::blocking;
use crate::engine::Inner;
use crate::options::ListOptions;
use crate::volume::{api_volume, directory_size};

const INDEX: &str = "https://index.docker.io/v1/";

impl Engine {
    /// What `docker info` shows.
    ///
    /// # Errors
    /// None at present; what can't be read is left empty.
    pub async fn info(&self) -> Result<Info> {
        let inner = Arc::clone(self.inner());
        blocking(move || Ok(info(&inner))).await
    }

    /// What `docker version` shows of the server.
    pub fn version(&self) -> VersionResponse {
        let config = &self.inner().config;
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        let component = |name: &str, version: &str, details: BTreeMap<String, String>| {
            ComponentVersion { name: name.to_owned(), version: version.to_owned(), details }
        };
        let details = [
            ("ApiVersion", NEWEST.to_string()),
            ("Arch", architecture().to_owned()),
            ("BuildTime", String::new()),
            ("Experimental", config.experimental.to_string()),
            ("GitCommit", String::new()),
            ("GoVersion", String::new()),
            ("KernelVersion", kernel.clone()),
            ("MinAPIVersion", OLDEST.to_string()),
            ("Os", "linux".to_owned()),
        ];
        let details = details.map(|(key, value)| (key.to_owned(), value)).into();
        let own = BTreeMap::from([("GitCommit".to_owned(), String::new())]);
        VersionResponse {
            version: config.version.clone(),
            api_version: NEWEST.to_string(),
            min_api_version: OLDEST.to_string(),
            os: "linux".to_owned(),
            arch: architecture().to_owned(),
            components: vec![
                component("Engine", &config.version, details),
                component("davit-shim", env!("CARGO_PKG_VERSION"), own),
            ],
            kernel_version: kernel,
            experimental: config.experimental,
            ..VersionResponse::default()
        }
    }

    /// What is on disk.
    ///
    /// # Errors
    /// Something there can't be read.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let options = ListOptions { all: true, size: true, ..ListOptions::default() };
        let containers = self.list(options).await?;
        let mut images = self.list_images(true, &Filters::default()).await?;
        for image in &mut images {
            image.shared_size = 0;
        }
        let inner = Arc::clone(self.inner());
        let volumes = blocking(move || {
            let volumes = inner.volumes.list();
            // What a volume's options mount is not on this disk.
            let plain = volumes.iter().filter(|volume| volume.options.is_none());
            let with_usage = plain.map(|volume| {
                let users = inner.users_of_volume(&volume.name).len();
                let size = directory_size(&inner.volumes.mountpoint(&volume.name));
                let mut shown = api_volume(&inner, volume);
                shown.usage_data = Some(VolumeUsageData {
                    ref_count: i64::try_from(users).unwrap_or(i64::MAX),
                    size: i64::try_from(size).unwrap_or(i64::MAX),
                });
                shown
            });
            Ok(with_usage.collect())
        })
        .await?;
        let layers_size = images.iter().map(|image| image.size).sum();
        Ok(DiskUsage { layers_size, images, containers, volumes })
    }
}

fn info(inner: &Inner) -> Info {
    let (running, paused, stopped) = counts(inner);
    let config = &inner.config;
    let uname = rustix::system::uname();
    let (operating_system, os_version) = operating_system();
    let v2 = inner.layout.is_v2();
    Info {
        id: inner.id.clone(),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images: inner.images.list().map_or(0, |images| images.len().try_into().unwrap_or(0)),
        driver: crate::image::DRIVER.to_owned(),
        driver_status: vec![["driver-type".to_owned(), "io.containerd.snapshotter.v1".to_owned()]],
        plugins: plugins(),
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
            .is_ok_and(|text| text.trim() == "1"),
        debug: config.debug,
        n_fd: std::fs::read_dir("/proc/self/fd")
            .map_or(0, |fds| fds.count().try_into().unwrap_or(0)),
        oom_kill_disable: !v2,
        n_goroutines: std::fs::read_dir("/proc/self/task")
            .map_or(0, |tasks| tasks.count().try_into().unwrap_or(0)),
        system_time: davit_api::Time::now().to_string(),
        logging_driver: config.log.kind.clone(),
        cgroup_driver: if config.systemd_cgroups { "systemd" } else { "cgroupfs" }.to_owned(),
        cgroup_version: if v2 { "2" } else { "1" }.to_owned(),
        n_events_listener: inner.events.listeners().try_into().unwrap_or(0),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        operating_system,
        os_version,
        os_type: "linux".to_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        index_server_address: INDEX.to_owned(),
        registry_config: Some(registry_config(inner)),
        ncpu: std::thread::available_parallelism()
            .map_or(1, |cpus| cpus.get().try_into().unwrap_or(1)),
        mem_total: i64::try_from(memory_total()).unwrap_or(i64::MAX),
        generic_resources: None,
        docker_root_dir: config.data_root.display().to_string(),
        http_proxy: davit_image::without_credentials(&config.proxies.http),
        https_proxy: davit_image::without_credentials(&config.proxies.https),
        no_proxy: config.proxies.none.clone(),
        name: uname.nodename().to_string_lossy().into_owned(),
        labels: config.labels.clone(),
        experimental_build: config.experimental,
        server_version: config.version.clone(),
        runtimes: runtimes(inner),
        default_runtime: config.default_runtime.clone(),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        // Containers outlive the daemon, always.
        live_restore_enabled: true,
        isolation: String::new(),
        init_binary: "docker-init".to_owned(),
        containerd_commit: Commit::default(),
        runc_commit: Commit::default(),
        init_commit: Commit::default(),
        security_options: security_options(v2),
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
        cdi_spec_dirs: Some(Vec::new()),
        warnings: None,
    }
}

fn counts(inner: &Inner) -> (i64, i64, i64) {
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for container in inner.containers.all() {
        let snapshot = container.snapshot();
        match (snapshot.record.state.paused, snapshot.record.state.running) {
            (true, _) => paused += 1,
            (false, true) => running += 1,
            (false, false) => stopped += 1,
        }
    }
    (running, paused, stopped)
}

fn plugins() -> PluginsInfo {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    PluginsInfo {
        volume: list(&["local"]),
        network: list(&["bridge", "host", "null"]),
        authorization: None,
        log: list(&["json-file", "none"]),
    }
}

fn registry_config(inner: &Inner) -> RegistryConfig {
    let config = &inner.config;
    let index = |name: &str, secure: bool| IndexInfo {
        name: name.to_owned(),
        mirrors: if secure { config.registry_mirrors.clone() } else { Vec::new() },
        secure,
        official: secure,
    };
    let mut cidrs = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    let mut configs = BTreeMap::from([("docker.io".to_owned(), index("docker.io", true))]);
    for registry in &config.insecure_registries {
        if registry.parse::<ipnet::IpNet>().is_ok() {
            cidrs.push(registry.clone());
        } else {
            configs.insert(registry.clone(), index(registry, false));
        }
    }
    RegistryConfig {
        insecure_registry_cidrs: cidrs,
        index_configs: configs,
        mirrors: config.registry_mirrors.clone(),
    }
}

fn runtimes(inner: &Inner) -> BTreeMap<String, RuntimeInfo> {
    let info = |path: String| RuntimeInfo { path, ..RuntimeInfo::default() };
    let built_in = info(inner.config.shim.display().to_string());
    let mut runtimes = BTreeMap::from([("runc".to_owned(), built_in)]);
    for (name, path) in &inner.config.runtimes {
        runtimes.insert(name.clone(), info(path.display().to_string()));
    }
    runtimes
}

fn security_options(v2: bool) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if v2 {
        options.push("name=cgroupns".to_owned());
    }
    options
}

/// Name and version from `os-release`.
fn operating_system() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let name = value("PRETTY_NAME=").unwrap_or_else(|| "Linux".to_owned());
    (name, value("VERSION_ID=").unwrap_or_default())
}

/// Memory of this machine in bytes.
pub(crate) fn memory_total() -> u64 {
    let info = rustix::system::sysinfo();
    // The field's type depends on the architecture.
    #[allow(clippy::useless_conversion)]
    let total = u64::try_from(info.totalram).unwrap_or(u64::MAX);
    total.saturating_mul(u64::from(info.mem_unit))
}

/// This machine in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
