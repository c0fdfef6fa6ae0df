//! What the daemon decides once about its engine: places, defaults, limits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use davit_api::container::{LogConfig, Ulimit};

/// Settings of [`crate::Engine::open`].
#[derive(Debug, Clone)]
pub struct Config {
    /// What lasts: `/var/lib/davit`.
    pub data_root: PathBuf,
    /// What a reboot forgets: `/run/davit`.
    pub exec_root: PathBuf,
    /// The program `davit-shim`.
    pub shim: PathBuf,
    /// Parent of the containers' cgroups, `/docker` by default.
    pub cgroup_parent: String,
    /// Cgroups are made by systemd, and the parent is a slice.
    pub systemd_cgroups: bool,
    /// Log driver and options of containers that name none.
    pub log: LogConfig,
    /// The networks.
    pub network: davit_network::Config,
    /// Registries that may be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, asked before it.
    pub registry_mirrors: Vec<String>,
    /// Rules for single registries: mirrors, certificates, credentials.
    pub registry_rules: BTreeMap<String, davit_image::RegistryRule>,
    /// Directories with a folder of certificates per registry.
    pub registry_certificates: Vec<PathBuf>,
    /// Proxies on the way to registries.
    pub proxies: davit_image::Proxies,
    /// How many layers move between registries and here at a time.
    pub transfers: davit_image::TransferLimits,
    /// Name of the runtime of containers that name none.
    pub default_runtime: String,
    /// External OCI runtimes by name; `runc` stands for the built-in one unless it is in here.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// Seconds from the stop signal to the kill.
    pub stop_timeout: i64,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: i64,
    /// `private` or `host`; empty: what suits the cgroup version.
    pub cgroupns_mode: String,
    /// Limits of containers that set none.
    pub ulimits: Vec<Ulimit>,
    /// Name servers of containers that set none.
    pub dns: Vec<String>,
    /// Resolver options of containers that set none.
    pub dns_options: Vec<String>,
    /// Search domains of containers that set none.
    pub dns_search: Vec<String>,
    /// Containers are told of those they link to by environment variables, too.
    pub link_variables: bool,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// The daemon logs debug messages.
    pub debug: bool,
    /// What clients are told about experimental features.
    pub experimental: bool,
    /// The version clients are told.
    pub version: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_root: PathBuf::from("/var/lib/davit"),
            exec_root: PathBuf::from("/run/davit"),
            shim: PathBuf::from("davit-shim"),
            cgroup_parent: "/docker".to_owned(),
            systemd_cgroups: false,
            log: LogConfig { kind: "json-file".to_owned(), config: BTreeMap::new() },
            network: davit_network::Config::default(),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            registry_rules: BTreeMap::new(),
            proxies: davit_image::Proxies::default(),
            registry_certificates: ["/etc/docker/certs.d", "/etc/davit/certs.d"]
                .map(PathBuf::from)
                .into(),
            transfers: davit_image::TransferLimits::default(),
            default_runtime: "runc".to_owned(),
            runtimes: BTreeMap::new(),
            stop_timeout: 10,
            shm_size: 64 << 20,
            cgroupns_mode: String::new(),
            ulimits: Vec::new(),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            link_variables: false,
            labels: Vec::new(),
            debug: false,
            experimental: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
