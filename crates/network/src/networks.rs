//! [`Networks`]: the daemon's networks. What happens to sandboxes is in `create.rs`, `remove.rs`
//! and `recover.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use davit_types::{Context, Error, Kind, Result};
use ipnet::Ipv4Net;

use crate::bridge::{self, Bridge};
use crate::config::Config;
use crate::firewall::Firewall;
use crate::firewall::ruleset::Settings;
use crate::ipam::Pool;
use crate::janitor::Janitor;
use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::ports::{Ports, Reservation};
use crate::sandbox::Sandbox;
use crate::store::{Record, Records};

/// All networks of one daemon.
///
/// Safe to use from many threads; work on different containers waits for each other only where the
/// kernel does.
#[derive(Debug)]
pub struct Networks {
    pub(crate) config: Config,
    pub(crate) records: Records,
    /// Absent: no bridge is wanted.
    uplink: Option<Uplink>,
    pub(crate) ports: Ports,
    sandboxes: Mutex<HashMap<String, Held>>,
}

/// What `network inspect` shows of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    /// 64 hex digits, kept for good.
    pub id: String,
    /// `bridge`, `host` or `none`.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// When it was made first.
    pub created: SystemTime,
    /// The addresses of its containers.
    pub subnet: Option<Ipv4Net>,
    /// The host's address in it.
    pub gateway: Option<Ipv4Addr>,
    /// Driver options, as Docker names them.
    pub options: BTreeMap<String, String>,
    /// Addresses of the subnet that are taken: network, gateway, broadcast and the endpoints'.
    pub addresses_in_use: u64,
}

/// The default bridge and what belongs to it.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(crate) bridge: Bridge,
    pub(crate) firewall: Firewall,
    pub(crate) janitor: Janitor,
    pool: Mutex<Pool>,
}

/// A container's sandbox and the ports reserved for it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) sandbox: Sandbox,
    pub(crate) reservations: Vec<Reservation>,
}

impl Networks {
    /// Makes the bridge and the firewall table, or takes over what is there.
    ///
    /// Ports that a former daemon published stay published. [`Networks::recover`] has to be called
    /// before the first sandbox is made: it is told which of them are still wanted.
    ///
    /// # Errors
    /// The state can't be read, or the kernel refuses.
    pub fn open(config: Config) -> Result<Self> {
        fs::create_dir_all(&config.netns_dir)
            .context(|| format!("create {}", config.netns_dir.display()))?;
        let mut records = Records::load(&config.state_dir)?;
        let uplink =
            config.enabled.then(|| Uplink::open(&config, records.bridge_ip)).transpose()?;
        if let Some(uplink) = &uplink {
            // A configured address is not a choice to remember.
            records.bridge_ip = match config.bridge_ip {
                Some(_) => records.bridge_ip,
                None => Some(uplink.bridge.address),
            };
        }
        records.save(&config.state_dir)?;
        let (ports, sandboxes) = (Ports::default(), Mutex::default());
        Ok(Self { config, records, uplink, ports, sandboxes })
    }

    /// All networks.
    pub fn list(&self) -> Vec<NetworkInfo> {
        let bridge = self.uplink.as_ref().map(|uplink| self.bridge_info(uplink));
        let host = plain_info("host", "host", &self.records.host);
        let none = plain_info("none", "null", &self.records.none);
        bridge.into_iter().chain([host, none]).collect()
    }

    /// The network of that name, id or unambiguous beginning of an id.
    ///
    /// # Errors
    /// There is none (`network NAME not found`), or more than one.
    pub fn get(&self, name_or_id: &str) -> Result<NetworkInfo> {
        let networks = self.list();
        let exact = |network: &&NetworkInfo| network.name == name_or_id || network.id == name_or_id;
        if let Some(found) = networks.iter().find(exact) {
            return Ok(found.clone());
        }
        let by_prefix = |network: &&NetworkInfo| network.id.starts_with(name_or_id);
        let mut found = networks.iter().filter(by_prefix);
        match (found.next(), found.count()) {
            (Some(network), 0) if !name_or_id.is_empty() => Ok(network.clone()),
            (Some(_), more) if !name_or_id.is_empty() => Err(Error::invalid(format!(
                "network {name_or_id} is ambiguous ({} matches found on ID prefix)",
                more + 1
            ))),
            _ => Err(Error::not_found(format!("network {name_or_id} not found"))),
        }
    }

    pub(crate) fn uplink(&self) -> Result<&Uplink> {
        self.uplink.as_ref().ok_or_else(|| {
            Error::new(Kind::NotFound, "network bridge not found: the daemon runs without a bridge")
        })
    }

    pub(crate) fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bridge_info(&self, uplink: &Uplink) -> NetworkInfo {
        let config = &self.config;
        let options = [
            ("com.docker.network.bridge.default_bridge", "true".to_owned()),
            ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
            ("com.docker.network.bridge.enable_ip_masquerade", config.ip_masq.to_string()),
            ("com.docker.network.bridge.host_binding_ipv4", config.default_host_ip.to_string()),
            ("com.docker.network.bridge.name", config.bridge_name.clone()),
            ("com.docker.network.driver.mtu", config.mtu.to_string()),
        ];
        NetworkInfo {
            subnet: Some(uplink.bridge.address.trunc()),
            gateway: Some(uplink.bridge.gateway()),
            options: options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            addresses_in_use: uplink.pool().in_use(),
            ..plain_info("bridge", "bridge", &self.records.bridge)
        }
    }
}

impl Uplink {
    fn open(config: &Config, remembered: Option<Ipv4Net>) -> Result<Self> {
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let bridge = bridge::ensure(&route, config, remembered)?;
        let firewall = Firewall::open(Settings {
            table: config.table.clone(),
            bridge: config.bridge_name.clone(),
            subnet: bridge.address.trunc(),
            icc: config.icc,
            masquerade: config.ip_masq,
        })?;
        let pool = Mutex::new(Pool::new(bridge.address));
        Ok(Self { bridge, firewall, janitor: Janitor::start()?, pool })
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plain_info(name: &str, driver: &str, record: &Record) -> NetworkInfo {
    NetworkInfo {
        id: record.id.clone(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        created: record.created,
        subnet: None,
        gateway: None,
        options: BTreeMap::new(),
        addresses_in_use: 0,
    }
}

/// One error for all failures of an operation that tries every step.
pub(crate) fn all_or_ok(operation: &str, errors: Vec<Error>) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    Err(Error::internal(format!("{operation}: {}", texts.join("; "))))
}
