//! Flags, daemon.json and defaults put together: what the daemon and its engine run with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use davit_api::container::{LogConfig, Ulimit};
use davit_engine::{Config, Proxies, RegistryRule, TransferLimits};
use davit_sys::cgroup::Scope;

use crate::api::VERSION;
use crate::args::Args;
use crate::config_file::{ConfigFile, PoolEntry};

/// Where rules for single registries are.
const REGISTRIES_FILE: &str = "/etc/davit/registries.json";

/// The exec option for cgroups that systemd makes.
const SYSTEMD: &str = "native.cgroupdriver=systemd";

/// What the daemon itself needs; the rest is the engine's.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) hosts: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) pidfile: PathBuf,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) engine: Config,
}

/// A flag's value, or the file's.
macro_rules! either {
    ($args:ident, $file:ident, $name:ident) => {
        $args.$name.clone().or_else(|| $file.$name.clone())
    };
}

impl Settings {
    /// Puts them together; conflicts have been ruled out.
    pub(crate) fn new(args: &Args, file: &ConfigFile) -> Result<Self> {
        let engine = engine_config(args, file)?;
        let mut hosts = args.hosts.clone();
        hosts.extend(file.hosts.clone().unwrap_or_default());
        if hosts.is_empty() {
            hosts.push(format!("unix://{}", engine.exec_root.join("davit.sock").display()));
        }
        let pidfile = either!(args, file, pidfile);
        let seconds = either!(args, file, shutdown_timeout).unwrap_or(15);
        Ok(Self {
            hosts,
            group: either!(args, file, group),
            pidfile: pidfile.unwrap_or_else(|| engine.exec_root.join("davit.pid")),
            shutdown_timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)),
            engine,
        })
    }
}

/// The level of messages wanted, in words of tracing.
pub(crate) fn log_level(args: &Args, file: &ConfigFile) -> Result<&'static str> {
    if args.debug || file.debug == Some(true) {
        return Ok("debug");
    }
    match either!(args, file, log_level).as_deref().unwrap_or("info") {
        "debug" => Ok("debug"),
        "info" => Ok("info"),
        "warn" => Ok("warn"),
        "error" | "fatal" => Ok("error"),
        other => bail!("invalid logging level: {other}"),
    }
}

fn engine_config(args: &Args, file: &ConfigFile) -> Result<Config> {
    refuse_unsupported(args, file)?;
    let mut config = Config::default();
    config.data_root = either!(args, file, data_root).unwrap_or(config.data_root);
    config.exec_root = either!(args, file, exec_root).unwrap_or(config.exec_root);
    config.shim = find_shim(either!(args, file, shim))?;
    set_cgroups(args, file, &mut config)?;
    config.log = log_config(args, file)?;
    config.insecure_registries = joined(&args.insecure_registry, &file.insecure_registries);
    config.registry_mirrors = joined(&args.registry_mirror, &file.registry_mirrors);
    config.registry_rules = registry_rules(either!(args, file, registries_file))?;
    config.proxies = proxies(args, file);
    config.transfers = transfers(args, file)?;
    config.default_runtime = either!(args, file, default_runtime).unwrap_or(config.default_runtime);
    config.runtimes = runtimes(args, file)?;
    if let Some(size) = either!(args, file, default_shm_size) {
        config.shm_size = parse_size(&size)?;
    }
    config.cgroupns_mode = either!(args, file, default_cgroupns_mode).unwrap_or_default();
    config.ulimits = ulimits(args, file)?;
    config.dns = joined(&args.dns, &file.dns);
    config.dns_options = joined(&args.dns_opt, &file.dns_opts);
    config.dns_search = joined(&args.dns_search, &file.dns_search);
    config.labels = joined(&args.label, &file.labels);
    // As with Docker: nearly nobody wants them any more.
    config.link_variables =
        std::env::var("DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS").as_deref() == Ok("1");
    config.debug = args.debug || file.debug.unwrap_or(false);
    VERSION.clone_into(&mut config.version);
    network_config(&mut config, args, file)?;
    Ok(config)
}

/// The rules' file; only the default one may be missing.
fn registry_rules(file: Option<PathBuf>) -> Result<BTreeMap<String, RegistryRule>> {
    let path = file.clone().unwrap_or_else(|| PathBuf::from(REGISTRIES_FILE));
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("rules for registries in {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => {
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Flags and daemon.json before the environment, as with dockerd.
fn proxies(args: &Args, file: &ConfigFile) -> Proxies {
    let file = file.proxies.clone().unwrap_or_default();
    let environment = |name: &str| {
        std::env::var(name).or_else(|_| std::env::var(name.to_lowercase())).unwrap_or_default()
    };
    Proxies {
        http: either!(args, file, http_proxy).unwrap_or_else(|| environment("HTTP_PROXY")),
        https: either!(args, file, https_proxy).unwrap_or_else(|| environment("HTTPS_PROXY")),
        none: either!(args, file, no_proxy).unwrap_or_else(|| environment("NO_PROXY")),
    }
}

/// How many layers move at a time. Docker takes a 0 for its default; less makes no sense.
fn transfers(args: &Args, file: &ConfigFile) -> Result<TransferLimits> {
    let mut limits = TransferLimits::default();
    let count = |given: Option<usize>, default| given.filter(|n| *n > 0).unwrap_or(default);
    limits.downloads = count(either!(args, file, max_concurrent_downloads), limits.downloads);
    limits.uploads = count(either!(args, file, max_concurrent_uploads), limits.uploads);
    let attempts = either!(args, file, max_download_attempts);
    limits.attempts = attempts.unwrap_or(limits.attempts);
    if limits.attempts == 0 {
        bail!("invalid max download attempts: 0");
    }
    Ok(limits)
}

fn network_config(config: &mut Config, args: &Args, file: &ConfigFile) -> Result<()> {
    let network = &mut config.network;
    network.state_dir = config.data_root.join("network");
    network.netns_dir = config.exec_root.join("netns");
    let bridge = either!(args, file, bridge);
    network.enabled = bridge.as_deref() != Some("none");
    network.firewall = either!(args, file, iptables).unwrap_or(true);
    if let Some(name) = bridge.filter(|name| name != "none") {
        network.bridge_name = name;
    }
    network.bridge_ip = subnet("bip", either!(args, file, bip))?;
    network.bridge_ipv6 = subnet("bip6", either!(args, file, bip6))?;
    network.fixed_cidr = subnet("fixed-cidr", either!(args, file, fixed_cidr))?;
    network.fixed_cidr_v6 = subnet("fixed-cidr-v6", either!(args, file, fixed_cidr_v6))?;
    network.default_gateway = either!(args, file, default_gateway);
    network.default_gateway_v6 = either!(args, file, default_gateway_v6);
    network.ipv6 = either!(args, file, ipv6).unwrap_or(false);
    let of_ipv6 = [
        ("bip6", network.bridge_ipv6.is_some()),
        ("fixed-cidr-v6", network.fixed_cidr_v6.is_some()),
        ("default-gateway-v6", network.default_gateway_v6.is_some()),
    ];
    if let Some((name, _)) = of_ipv6.iter().find(|(_, given)| *given && !network.ipv6) {
        bail!("{name} has no meaning without ipv6");
    }
    let written = |entry: &PoolEntry| format!("base={},size={}", entry.base, entry.size);
    let from_file = file.default_address_pools.iter().flatten().map(written);
    let pools = args.default_address_pool.iter().cloned().chain(from_file);
    network.address_pools = pools.map(|pool| pool.parse()).collect::<Result<_, _>>()?;
    network.table = either!(args, file, firewall_table).unwrap_or_else(|| network.table.clone());
    network.mtu = either!(args, file, mtu).filter(|mtu| *mtu > 0);
    network.default_host_ip = either!(args, file, ip).unwrap_or(network.default_host_ip);
    network.icc = either!(args, file, icc).unwrap_or(network.icc);
    network.ip_masq = either!(args, file, ip_masq).unwrap_or(network.ip_masq);
    Ok(())
}

/// A subnet in CIDR notation, of either family.
fn subnet<T>(name: &str, given: Option<String>) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let parse = |text: String| {
        text.parse().with_context(|| format!("invalid {name}: {text} is not ADDRESS/LENGTH"))
    };
    given.filter(|text| !text.is_empty()).map(parse).transpose()
}

/// Driver and parent: a directory, or a slice of systemd's.
fn set_cgroups(args: &Args, file: &ConfigFile, config: &mut Config) -> Result<()> {
    config.systemd_cgroups = joined(&args.exec_opt, &file.exec_opts).iter().any(|o| o == SYSTEMD);
    let parent = either!(args, file, cgroup_parent).filter(|parent| !parent.is_empty());
    if !config.systemd_cgroups {
        if let Some(parent) = parent {
            config.cgroup_parent = format!("/{}", parent.trim_matches('/'));
        }
        return Ok(());
    }
    config.cgroup_parent = parent.unwrap_or_else(|| "system.slice".to_owned());
    if Scope::parse(&format!("{}:docker:x", config.cgroup_parent), "").is_err() {
        bail!("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"");
    }
    Ok(())
}

/// Settings whose only supported value is the default: another one must not be ignored.
fn refuse_unsupported(args: &Args, file: &ConfigFile) -> Result<()> {
    match either!(args, file, storage_driver).as_deref() {
        None | Some("" | "overlay2" | "overlayfs") => {}
        Some(other) => bail!("storage driver {other} is not supported: overlay2 is the only one"),
    }
    match either!(args, file, seccomp_profile).as_deref() {
        None | Some("" | "builtin") => {}
        Some(other) => {
            bail!("seccomp profile {other} is not supported as default: give it per container")
        }
    }
    for option in joined(&args.exec_opt, &file.exec_opts) {
        match option.as_str() {
            "native.cgroupdriver=cgroupfs" | "native.cgroupdriver=" | SYSTEMD => {}
            other => bail!("invalid exec option: {other}"),
        }
    }
    Ok(())
}

/// The given program, `$DAVIT_SHIM`, or `davit-shim` beside this program.
fn find_shim(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = given.or_else(|| std::env::var_os("DAVIT_SHIM").map(PathBuf::from)) {
        return Ok(path);
    }
    let own = std::env::current_exe().context("find out where this program is")?;
    Ok(own.parent().unwrap_or(Path::new("/")).join("davit-shim"))
}

fn log_config(args: &Args, file: &ConfigFile) -> Result<LogConfig> {
    let mut config = file.log_opts.clone().unwrap_or_default();
    for option in &args.log_opt {
        let (key, value) =
            option.split_once('=').with_context(|| format!("invalid log option: {option}"))?;
        config.insert(key.to_owned(), value.to_owned());
    }
    let kind = either!(args, file, log_driver).unwrap_or_else(|| "json-file".to_owned());
    Ok(LogConfig { kind, config })
}

fn runtimes(args: &Args, file: &ConfigFile) -> Result<BTreeMap<String, PathBuf>> {
    let mut runtimes = BTreeMap::new();
    for (name, entry) in file.runtimes.iter().flatten() {
        if !entry.runtime_args.is_empty() {
            bail!("runtime {name}: runtimeArgs are not supported");
        }
        runtimes.insert(name.clone(), entry.path.clone());
    }
    for given in &args.add_runtime {
        let (name, path) =
            given.split_once('=').with_context(|| format!("invalid runtime: {given}"))?;
        runtimes.insert(name.to_owned(), PathBuf::from(path));
    }
    Ok(runtimes)
}

fn ulimits(args: &Args, file: &ConfigFile) -> Result<Vec<Ulimit>> {
    let from_file = file.default_ulimits.iter().flatten().map(|(key, entry)| {
        let name = if entry.name.is_empty() { key } else { &entry.name };
        Ok(Ulimit { name: name.clone(), hard: entry.hard, soft: entry.soft })
    });
    from_file.chain(args.default_ulimit.iter().map(|text| parse_ulimit(text))).collect()
}

/// `NAME=SOFT[:HARD]`
fn parse_ulimit(text: &str) -> Result<Ulimit> {
    let invalid = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').with_context(invalid)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(Ulimit {
        name: name.to_owned(),
        soft: soft.parse().with_context(invalid)?,
        hard: hard.parse().with_context(invalid)?,
    })
}

/// `64m`: a number and a power of 1024.
fn parse_size(text: &str) -> Result<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => bail!("invalid size: '{text}'"),
    };
    let number: i64 = digits.parse().with_context(|| format!("invalid size: '{text}'"))?;
    number.checked_shl(shift).with_context(|| format!("invalid size: '{text}'"))
}

fn joined(flags: &[String], file: &Option<Vec<String>>) -> Vec<String> {
    flags.iter().chain(file.iter().flatten()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Result<Settings> {
        let args = Args::read(args.iter().map(Into::into).collect()).expect("valid flags");
        Settings::new(&args, &ConfigFile::default())
    }

    #[test]
    fn everything_follows_the_roots() {
        let settings = settings(&["--data-root=/d", "--exec-root=/e"]).expect("valid");
        assert_eq!(settings.hosts, ["unix:///e/davit.sock"]);
        assert_eq!(settings.pidfile, Path::new("/e/davit.pid"));
        assert_eq!(settings.engine.network.netns_dir, Path::new("/e/netns"));
        assert_eq!(settings.engine.network.state_dir, Path::new("/d/network"));
    }

    #[test]
    fn flags_become_the_engines_configuration() {
        let settings = settings(&[
            "--bip=10.9.0.1/24",
            "--bridge=br9",
            "--cgroup-parent=mine/",
            "--log-opt=max-size=1m",
            "--default-ulimit=nofile=10:20",
            "--default-shm-size=1g",
            "--icc=false",
        ]);
        let engine = settings.expect("valid").engine;
        assert_eq!(
            engine.network.bridge_ip.map(|ip| ip.to_string()).as_deref(),
            Some("10.9.0.1/24")
        );
        assert_eq!(engine.network.bridge_name, "br9");
        assert!(!engine.network.icc && engine.network.enabled);
        assert_eq!(engine.cgroup_parent, "/mine");
        assert_eq!(engine.log.config["max-size"], "1m");
        assert_eq!((engine.ulimits[0].soft, engine.ulimits[0].hard), (10, 20));
        assert_eq!(engine.shm_size, 1 << 30);
    }

    #[test]
    fn the_default_bridges_flags_and_keys_are_dockers() {
        let flags = settings(&[
            "--ipv6",
            "--fixed-cidr=10.9.7.0/24",
            "--fixed-cidr-v6=fd00:9::/64",
            "--default-gateway=10.9.7.254",
            "--default-gateway-v6=fd00:9::99",
            "--default-address-pool=base=10.77.0.0/16,size=24",
        ]);
        let text = r#"{"ipv6":true,"fixed-cidr":"10.9.7.0/24","fixed-cidr-v6":"fd00:9::/64",
            "default-gateway":"10.9.7.254","default-gateway-v6":"fd00:9::99",
            "default-address-pools":[{"base":"10.77.0.0/16","size":24}]}"#;
        let file: ConfigFile = serde_json::from_str(text).expect("valid");
        for settings in [flags, Settings::new(&Args::default(), &file)] {
            let network = settings.expect("valid").engine.network;
            assert!(network.ipv6);
            let texts = [
                network.fixed_cidr.expect("given").to_string(),
                network.fixed_cidr_v6.expect("given").to_string(),
                network.default_gateway.expect("given").to_string(),
                network.default_gateway_v6.expect("given").to_string(),
                network.address_pools[0].base.to_string(),
            ];
            let expected =
                ["10.9.7.0/24", "fd00:9::/64", "10.9.7.254", "fd00:9::99", "10.77.0.0/16"];
            assert_eq!(texts, expected);
            assert_eq!(network.address_pools[0].size, 24);
        }
    }

    #[test]
    fn proxies_come_from_flags_or_the_file() {
        let text = r#"{"proxies":{"http-proxy":"http://a:1","no-proxy":"x,y"}}"#;
        let file: ConfigFile = serde_json::from_str(text).expect("valid");
        let args = Args::read(vec!["--https-proxy=http://b:2".into()]).expect("valid");
        let proxies = Settings::new(&args, &file).expect("valid").engine.proxies;
        assert_eq!((&*proxies.http, &*proxies.https), ("http://a:1", "http://b:2"));
        assert_eq!(proxies.none, "x,y");
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let bad = [
            "--storage-driver=btrfs",
            "--exec-opt=native.cgroupdriver=other",
            "--bip=x",
            "--bip=fd00::1/64",
            "--fixed-cidr=10.0.0.0",
            "--fixed-cidr-v6=fd00::/64",
            "--default-address-pool=base=10.0.0.0/8",
            "--default-shm-size=1x",
            "--add-runtime=x",
            "--default-ulimit=nofile",
        ];
        for flag in bad {
            assert!(settings(&[flag]).is_err(), "{flag}");
        }
        let systemd = "--exec-opt=native.cgroupdriver=systemd";
        assert!(settings(&[systemd, "--cgroup-parent=/a/directory"]).is_err());
        let engine = settings(&[systemd]).expect("valid").engine;
        assert!(engine.systemd_cgroups && engine.cgroup_parent == "system.slice");
        assert!(!settings(&["--bridge=none"]).expect("valid").engine.network.enabled);
    }
}
