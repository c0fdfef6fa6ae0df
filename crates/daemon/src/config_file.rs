//! daemon.json: the same settings as the flags, under dockerd's keys.
//!
//! A key that is unknown, and a setting given both here and as a flag, are errors, as with dockerd:
//! a typing mistake must not silently leave a default in place.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::args::Args;

/// The file's keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) data_root: Option<PathBuf>,
    pub(crate) exec_root: Option<PathBuf>,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) group: Option<String>,
    pub(crate) bridge: Option<String>,
    pub(crate) bip: Option<String>,
    pub(crate) bip6: Option<String>,
    pub(crate) ipv6: Option<bool>,
    pub(crate) fixed_cidr: Option<String>,
    pub(crate) fixed_cidr_v6: Option<String>,
    pub(crate) default_gateway: Option<Ipv4Addr>,
    pub(crate) default_gateway_v6: Option<Ipv6Addr>,
    pub(crate) default_address_pools: Option<Vec<PoolEntry>>,
    pub(crate) mtu: Option<u16>,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) icc: Option<bool>,
    pub(crate) ip_masq: Option<bool>,
    pub(crate) iptables: Option<bool>,
    pub(crate) firewall_table: Option<String>,
    pub(crate) userland_proxy: Option<bool>,
    pub(crate) dns: Option<Vec<String>>,
    pub(crate) dns_opts: Option<Vec<String>>,
    pub(crate) dns_search: Option<Vec<String>>,
    pub(crate) insecure_registries: Option<Vec<String>>,
    pub(crate) registry_mirrors: Option<Vec<String>>,
    pub(crate) registries_file: Option<PathBuf>,
    pub(crate) proxies: Option<ProxiesEntry>,
    pub(crate) max_concurrent_downloads: Option<usize>,
    pub(crate) max_concurrent_uploads: Option<usize>,
    pub(crate) max_download_attempts: Option<u32>,
    pub(crate) log_driver: Option<String>,
    pub(crate) log_opts: Option<BTreeMap<String, String>>,
    pub(crate) default_ulimits: Option<BTreeMap<String, UlimitEntry>>,
    pub(crate) default_shm_size: Option<String>,
    pub(crate) default_cgroupns_mode: Option<String>,
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) exec_opts: Option<Vec<String>>,
    pub(crate) runtimes: Option<BTreeMap<String, RuntimeEntry>>,
    pub(crate) default_runtime: Option<String>,
    pub(crate) seccomp_profile: Option<String>,
    pub(crate) live_restore: Option<bool>,
    pub(crate) shutdown_timeout: Option<i64>,
    pub(crate) storage_driver: Option<String>,
    pub(crate) labels: Option<Vec<String>>,
    pub(crate) shim: Option<PathBuf>,
    pub(crate) log_level: Option<String>,
    pub(crate) debug: Option<bool>,
    /// Accepted: switches of Docker's builder and store, which have no meaning here.
    pub(crate) features: Option<BTreeMap<String, bool>>,
    /// Accepted: nothing here is experimental.
    pub(crate) experimental: Option<bool>,
}

/// What subnets are cut from, as dockerd's file has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolEntry {
    pub(crate) base: String,
    pub(crate) size: u8,
}

/// How registries are reached, as dockerd's file has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ProxiesEntry {
    pub(crate) http_proxy: Option<String>,
    pub(crate) https_proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
}

/// A limit, as dockerd's file has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UlimitEntry {
    pub(crate) name: String,
    pub(crate) hard: i64,
    pub(crate) soft: i64,
}

/// A runtime, as dockerd's file has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RuntimeEntry {
    pub(crate) path: PathBuf,
    pub(crate) runtime_args: Vec<String>,
}

/// Where the file is looked for unless a flag says otherwise; it need not exist there.
const DEFAULT_PATH: &str = "/etc/davit/daemon.json";

impl ConfigFile {
    /// Reads the file of the flags, or the default one if there is one.
    pub(crate) fn load(args: &Args) -> Result<Self> {
        let path = args.config_file.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if args.config_file.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("read configuration {}", path.display()));
            }
        };
        let failed = || format!("unable to configure the daemon with file {}", path.display());
        let file = Self::parse(&text).with_context(failed)?;
        file.check_conflicts(args).with_context(failed)?;
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_str(text)?)
    }

    fn check_conflicts(&self, args: &Args) -> Result<()> {
        let conflicts: Vec<&str> = self
            .pairs(args)
            .into_iter()
            .filter(|(_, flag, file)| *flag && *file)
            .map(|p| p.0)
            .collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            conflicts.join(", ")
        )
    }

    /// Each setting's key, whether it is a flag, and whether it is in the file. Lists of registries,
    /// options and labels add up and don't conflict.
    fn pairs(&self, args: &Args) -> Vec<(&'static str, bool, bool)> {
        let proxies = self.proxies.clone().unwrap_or_default();
        vec![
            ("hosts", !args.hosts.is_empty(), self.hosts.is_some()),
            ("data-root", args.data_root.is_some(), self.data_root.is_some()),
            ("exec-root", args.exec_root.is_some(), self.exec_root.is_some()),
            ("pidfile", args.pidfile.is_some(), self.pidfile.is_some()),
            ("group", args.group.is_some(), self.group.is_some()),
            ("bridge", args.bridge.is_some(), self.bridge.is_some()),
            ("bip", args.bip.is_some(), self.bip.is_some()),
            ("bip6", args.bip6.is_some(), self.bip6.is_some()),
            ("ipv6", args.ipv6.is_some(), self.ipv6.is_some()),
            ("fixed-cidr", args.fixed_cidr.is_some(), self.fixed_cidr.is_some()),
            ("fixed-cidr-v6", args.fixed_cidr_v6.is_some(), self.fixed_cidr_v6.is_some()),
            ("default-gateway", args.default_gateway.is_some(), self.default_gateway.is_some()),
            (
                "default-gateway-v6",
                args.default_gateway_v6.is_some(),
                self.default_gateway_v6.is_some(),
            ),
            (
                "default-address-pools",
                !args.default_address_pool.is_empty(),
                self.default_address_pools.is_some(),
            ),
            ("mtu", args.mtu.is_some(), self.mtu.is_some()),
            ("ip", args.ip.is_some(), self.ip.is_some()),
            ("icc", args.icc.is_some(), self.icc.is_some()),
            ("ip-masq", args.ip_masq.is_some(), self.ip_masq.is_some()),
            ("iptables", args.iptables.is_some(), self.iptables.is_some()),
            ("firewall-table", args.firewall_table.is_some(), self.firewall_table.is_some()),
            ("userland-proxy", args.userland_proxy.is_some(), self.userland_proxy.is_some()),
            ("dns", !args.dns.is_empty(), self.dns.is_some()),
            ("dns-opts", !args.dns_opt.is_empty(), self.dns_opts.is_some()),
            ("dns-search", !args.dns_search.is_empty(), self.dns_search.is_some()),
            ("http-proxy", args.http_proxy.is_some(), proxies.http_proxy.is_some()),
            ("https-proxy", args.https_proxy.is_some(), proxies.https_proxy.is_some()),
            ("no-proxy", args.no_proxy.is_some(), proxies.no_proxy.is_some()),
            ("log-driver", args.log_driver.is_some(), self.log_driver.is_some()),
            ("log-opts", !args.log_opt.is_empty(), self.log_opts.is_some()),
            ("default-ulimits", !args.default_ulimit.is_empty(), self.default_ulimits.is_some()),
            ("default-shm-size", args.default_shm_size.is_some(), self.default_shm_size.is_some()),
            (
                "default-cgroupns-mode",
                args.default_cgroupns_mode.is_some(),
                self.default_cgroupns_mode.is_some(),
            ),
            ("cgroup-parent", args.cgroup_parent.is_some(), self.cgroup_parent.is_some()),
            ("exec-opts", !args.exec_opt.is_empty(), self.exec_opts.is_some()),
            ("runtimes", !args.add_runtime.is_empty(), self.runtimes.is_some()),
            ("default-runtime", args.default_runtime.is_some(), self.default_runtime.is_some()),
            ("seccomp-profile", args.seccomp_profile.is_some(), self.seccomp_profile.is_some()),
            ("live-restore", args.live_restore.is_some(), self.live_restore.is_some()),
            ("shutdown-timeout", args.shutdown_timeout.is_some(), self.shutdown_timeout.is_some()),
            ("storage-driver", args.storage_driver.is_some(), self.storage_driver.is_some()),
            ("shim", args.shim.is_some(), self.shim.is_some()),
            ("log-level", args.log_level.is_some(), self.log_level.is_some()),
            ("debug", args.debug, self.debug.is_some()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_errors() {
        let error = ConfigFile::parse(r#"{"data-rot":"/x"}"#).expect_err("a typing mistake");
        assert!(error.to_string().contains("data-rot"), "{error}");
        assert_eq!(ConfigFile::parse(" \n").expect("empty"), ConfigFile::default());
    }

    #[test]
    fn a_setting_must_not_be_given_twice() {
        let file = ConfigFile::parse(r#"{"mtu":1400,"debug":true,"dns":["1.1.1.1"]}"#);
        let file = file.expect("valid");
        let args = Args { mtu: Some(1500), debug: true, ..Args::default() };
        let error = file.check_conflicts(&args).expect_err("twice");
        assert!(error.to_string().ends_with("configuration file: mtu, debug"), "{error}");
        assert!(file.check_conflicts(&Args::default()).is_ok());
    }
}
