//! The daemon's command line: dockerd's flags, as far as they mean something here, and our own.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{ArgAction, Parser};

/// Flags of `davit daemon`. An option left out takes daemon.json's value, then the default.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "davit daemon", version, about = "Serve Docker's API", args_override_self = true)]
pub(crate) struct Args {
    /// Socket to listen on: unix://PATH, tcp://ADDRESS:PORT or fd://[NUMBER] (repeatable)
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    pub(crate) hosts: Vec<String>,
    /// Where images, containers and volumes are kept [default: /var/lib/davit]
    #[arg(long, alias = "graph", short = 'g', value_name = "DIRECTORY")]
    pub(crate) data_root: Option<PathBuf>,
    /// Where the state of running containers is kept [default: /run/davit]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) exec_root: Option<PathBuf>,
    /// File for the process id [default: davit.pid in the exec root]
    #[arg(short = 'p', long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Configuration file; must exist when given [default: /etc/davit/daemon.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) validate: bool,
    /// Group of the unix socket [default: docker]
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Name of the default bridge, or none [default: davit0]
    #[arg(short = 'b', long, value_name = "NAME")]
    pub(crate) bridge: Option<String>,
    /// Address and subnet of the default bridge, in CIDR notation
    #[arg(long, value_name = "CIDR")]
    pub(crate) bip: Option<String>,
    /// IPv6 address and subnet of the default bridge, in CIDR notation
    #[arg(long, value_name = "CIDR")]
    pub(crate) bip6: Option<String>,
    /// Give the default bridge IPv6 as well
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ipv6: Option<bool>,
    /// Part of the default bridge's subnet that containers get addresses of
    #[arg(long, value_name = "CIDR")]
    pub(crate) fixed_cidr: Option<String>,
    /// Part of the default bridge's IPv6 subnet that containers get addresses of
    #[arg(long, value_name = "CIDR")]
    pub(crate) fixed_cidr_v6: Option<String>,
    /// Next hop of the default bridge's containers [default: the bridge]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) default_gateway: Option<Ipv4Addr>,
    /// IPv6 next hop of the default bridge's containers [default: the bridge]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) default_gateway_v6: Option<Ipv6Addr>,
    /// What networks' subnets are cut from: base=CIDR,size=LENGTH (repeatable)
    #[arg(long, value_name = "POOL")]
    pub(crate) default_address_pool: Vec<String>,
    /// MTU of bridges [default: that of the interface that leads out]
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u16>,
    /// Host address that ports are published on [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<IpAddr>,
    /// Let containers on the default bridge talk to each other [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) icc: Option<bool>,
    /// Masquerade what leaves the bridge [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_masq: Option<bool>,
    /// Make firewall rules; without them there is no default network [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) iptables: Option<bool>,
    /// Name of the nftables table [default: davit]
    #[arg(long, value_name = "NAME")]
    pub(crate) firewall_table: Option<String>,
    /// Accepted for compatibility: there is no proxy process
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) userland_proxy: Option<bool>,
    /// Name server for containers (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,
    /// Resolver option for containers (repeatable)
    #[arg(long, alias = "dns-opts", value_name = "OPTION")]
    pub(crate) dns_opt: Vec<String>,
    /// Search domain for containers (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Registry that may be spoken to without TLS: host or CIDR (repeatable)
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) insecure_registry: Vec<String>,
    /// Mirror of Docker Hub (repeatable)
    #[arg(long, value_name = "URL")]
    pub(crate) registry_mirror: Vec<String>,
    /// File of rules for single registries [default: /etc/davit/registries.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) registries_file: Option<PathBuf>,
    /// Proxy for registries spoken to by plain HTTP [default: HTTP_PROXY]
    #[arg(long, value_name = "URL")]
    pub(crate) http_proxy: Option<String>,
    /// Proxy for registries spoken to with TLS [default: HTTPS_PROXY]
    #[arg(long, value_name = "URL")]
    pub(crate) https_proxy: Option<String>,
    /// Hosts, domains and networks reached without a proxy, comma-separated [default: NO_PROXY]
    #[arg(long, value_name = "HOSTS")]
    pub(crate) no_proxy: Option<String>,
    /// Layers downloaded at the same time [default: 3]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_concurrent_downloads: Option<usize>,
    /// Layers uploaded at the same time [default: 5]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_concurrent_uploads: Option<usize>,
    /// Attempts at a download that makes no progress [default: 5]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_download_attempts: Option<u32>,
    /// Log driver of containers [default: json-file]
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// Option of the log driver (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) log_opt: Vec<String>,
    /// Limit of containers, NAME=SOFT[:HARD] (repeatable)
    #[arg(long, value_name = "LIMIT")]
    pub(crate) default_ulimit: Vec<String>,
    /// Size of /dev/shm of containers, such as 64m
    #[arg(long, value_name = "SIZE")]
    pub(crate) default_shm_size: Option<String>,
    /// Cgroup namespace of containers: private or host
    #[arg(long, value_name = "MODE")]
    pub(crate) default_cgroupns_mode: Option<String>,
    /// Cgroup that containers' cgroups are made in [default: /docker; system.slice with systemd]
    #[arg(long, value_name = "CGROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Runtime option: native.cgroupdriver=cgroupfs or =systemd (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) exec_opt: Vec<String>,
    /// External OCI runtime, NAME=PATH (repeatable)
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) add_runtime: Vec<String>,
    /// Runtime of containers that name none [default: runc, the built-in one]
    #[arg(long, value_name = "NAME")]
    pub(crate) default_runtime: Option<String>,
    /// Seccomp profile of containers: builtin or unconfined
    #[arg(long, value_name = "PROFILE")]
    pub(crate) seccomp_profile: Option<String>,
    /// Accepted for compatibility: containers always outlive the daemon
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) live_restore: Option<bool>,
    /// Seconds to wait for requests under way at shutdown [default: 15]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) shutdown_timeout: Option<i64>,
    /// Storage driver; overlay2 is the only one
    #[arg(short = 's', long, value_name = "DRIVER")]
    pub(crate) storage_driver: Option<String>,
    /// Label of the daemon, KEY=VALUE (repeatable)
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
    /// The program davit-shim [default: beside this program, or $DAVIT_SHIM]
    #[arg(long, value_name = "FILE")]
    pub(crate) shim: Option<PathBuf>,
    /// debug, info, warn, error or fatal [default: info]
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Debug messages
    #[arg(short = 'D', long, action = ArgAction::SetTrue)]
    pub(crate) debug: bool,
}

impl Args {
    /// Reads the arguments that follow the program's name (and `daemon`).
    pub(crate) fn read(args: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(std::iter::once(OsString::from("davit daemon")).chain(args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, clap::Error> {
        Args::read(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn flags_are_written_as_dockerds() {
        let args = read("-H unix:///a -H tcp://1.2.3.4:5 --icc=false --live-restore -D --mtu 1400");
        let args = args.expect("valid");
        assert_eq!(args.hosts, ["unix:///a", "tcp://1.2.3.4:5"]);
        assert_eq!((args.icc, args.live_restore, args.iptables), (Some(false), Some(true), None));
        assert!(args.debug);
        assert_eq!(args.mtu, Some(1400));
    }

    #[test]
    fn unknown_flags_and_arguments_are_errors() {
        assert!(read("--nosuch").is_err());
        assert!(read("extra").is_err());
        assert!(read("--mtu many").is_err());
    }
}
