//! [`Networks`]: the daemon's networks. What happens to sandboxes is in `create.rs`, `connect.rs`,
//! `remove.rs` and `recover.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use davit_types::id::SHORT_LENGTH;
use davit_types::{Context, Error, Kind, Result};
use ipnet::IpNet;

use crate::bridge::{self, Bridge, Wanted};
use crate::config::Config;
use crate::configuration::{check_unused, configured, template};
use crate::default_bridge::default_bridge;
use crate::definition::{Definition, NetworkRequest};
use crate::definitions::{self, Stored};
use crate::firewall::Firewall;
use crate::firewall::table::{BridgeRules, Family};
use crate::ipam::{AddressPool, default_pools, local_pool};
use crate::janitor::Janitor;
use crate::link;
use crate::net::Net;
use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::options::{BridgeOptions, GatewayMode};
use crate::parent::{self, Parent};
use crate::ports::{Ports, Reservation};
use crate::sandbox::Sandbox;
use crate::store::{Record, Records, random_id};
use crate::watch::Watch;

/// What the kernel's interfaces have unless something else is known.
const USUAL_MTU: u16 = 1500;

/// All networks of one daemon.
///
/// Safe to use from many threads; work on different containers waits for each other only where the
/// kernel does.
#[derive(Debug)]
pub struct Networks {
    pub(crate) config: Config,
    pools: Vec<AddressPool>,
    /// By id.
    networks: RwLock<BTreeMap<String, Arc<Net>>>,
    /// One network is made or removed at a time.
    changing: Mutex<()>,
    pub(crate) firewall: Arc<Firewall>,
    /// Ends with this.
    _watch: Watch,
    pub(crate) janitor: Janitor,
    pub(crate) ports: Ports,
    sandboxes: Mutex<HashMap<String, Arc<Mutex<Held>>>>,
}

/// What `network inspect` shows of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    /// 64 hex digits, kept for good.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Everything about it.
    pub definition: Definition,
    /// It is there without being made.
    pub is_predefined: bool,
    /// The one that containers are on when nothing is said.
    pub is_default_bridge: bool,
    /// For each subnet: addresses in use, and those left to give.
    pub usage: Vec<(IpNet, u64, u64)>,
}

/// A container's sandbox and the ports reserved for it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) name: String,
    pub(crate) sandbox: Sandbox,
    pub(crate) reservations: Vec<Reservation>,
    /// It has been taken away while somebody waited for it.
    pub(crate) gone: bool,
}

impl Networks {
    /// Makes the bridges and the firewall tables, or takes over what is there.
    ///
    /// Ports that a former daemon published stay published. [`Networks::recover`] has to be called
    /// before the first sandbox is made: it is told which of them are still wanted.
    ///
    /// # Errors
    /// The state can't be read, or the kernel refuses.
    pub fn open(config: Config) -> Result<Self> {
        fs::create_dir_all(&config.netns_dir)
            .context(|| format!("create {}", config.netns_dir.display()))?;
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let mut records = Records::load(&config.state_dir)?;
        let stored = finish_removals(&config, &route)?;
        let mut pools = match config.address_pools.as_slice() {
            [] => default_pools(),
            given => given.to_vec(),
        };
        if !pools.iter().any(|pool| Family::of_net(&pool.base) == Family::V6) {
            pools.push(local_pool(records.seed()));
        }
        let mut nets =
            vec![plain("host", "host", &records.host), plain("none", "null", &records.none)];
        if config.enabled && config.firewall {
            nets.push(default_bridge(&config, &route, &mut records, (&pools, &stored))?);
        }
        records.save(&config.state_dir)?;
        for definition in stored.into_iter().filter(|_| config.firewall) {
            nets.push(revive(&config, &route, definition)?);
        }
        let networks: BTreeMap<String, Arc<Net>> =
            nets.into_iter().map(|net| (net.definition.id.clone(), Arc::new(net))).collect();
        let firewall = Arc::new(Firewall::open(&config.table, rules(&networks))?);
        Ok(Self {
            pools,
            networks: RwLock::new(networks),
            changing: Mutex::default(),
            _watch: Watch::start(Arc::clone(&firewall))?,
            firewall,
            janitor: Janitor::start()?,
            ports: Ports::default(),
            sandboxes: Mutex::default(),
            config,
        })
    }

    /// All networks.
    pub fn list(&self) -> Vec<NetworkInfo> {
        let mut infos: Vec<NetworkInfo> = self.read().values().map(|net| info(net)).collect();
        infos.sort_by(|one, other| one.name.cmp(&other.name));
        infos
    }

    /// The network of that name, id or unambiguous beginning of an id.
    ///
    /// # Errors
    /// There is none (`network NAME not found`), or more than one.
    pub fn get(&self, name_or_id: &str) -> Result<NetworkInfo> {
        self.find(name_or_id).map(|net| info(&net))
    }

    /// Makes a network. When this returns it survives everything but its removal.
    ///
    /// # Errors
    /// The name is taken, the subnets or options make no sense, or the kernel refuses.
    pub fn create(&self, request: &NetworkRequest) -> Result<NetworkInfo> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        check_name(&request.name)?;
        let request = &configured(request, &self.read())?;
        self.check_new(request)?;
        let options = BridgeOptions::read(&request.options, request.internal)?;
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let definition = self.decide(request, &route)?;
        if let Some(name) = &options.interface {
            self.check_interface(name)?;
        }
        let state_dir = &self.config.state_dir;
        definitions::save(state_dir, &Stored { definition: definition.clone(), removing: false })?;
        let made = make(&self.config, &route, definition.clone(), options.clone())
            .and_then(|net| self.add(net));
        match made {
            Ok(net) => Ok(info(&net)),
            Err(error) => {
                let id = definition.id.as_str();
                self.write().remove(id);
                let undone = delete_interface(&route, &definition, &options)
                    .and_then(|()| definitions::delete(state_dir, id));
                if let Err(failure) = undone {
                    tracing::warn!(id, "undo a network: {failure:#}");
                }
                Err(error)
            }
        }
    }

    /// Removes a network that no running container is connected to.
    ///
    /// # Errors
    /// There is none, it is predefined or in use (403), or the kernel refuses.
    pub fn remove(&self, name_or_id: &str) -> Result<NetworkInfo> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let net = self.find(name_or_id)?;
        let definition = &net.definition;
        if is_predefined(&definition.name) {
            let name = &definition.name;
            let message = format!("{name} is a pre-defined network and cannot be removed");
            return Err(Error::new(Kind::Forbidden, message));
        }
        check_unused(&net, &self.read())?;
        net.close()?;
        let removed = self.take_away(&net);
        if removed.is_err() {
            net.open_again();
        }
        removed.map(|()| info(&net))
    }

    fn take_away(&self, net: &Net) -> Result<()> {
        let definition = &net.definition;
        let state_dir = &self.config.state_dir;
        definitions::save(state_dir, &Stored { definition: definition.clone(), removing: true })?;
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        if let Some(bridge) = &net.bridge {
            bridge::delete(&route, &bridge.name)?;
        }
        if net.parent.is_some() && self.is_last_on_parent(net) {
            delete_interface(&route, definition, &net.options)?;
        }
        self.write().remove(&definition.id);
        self.firewall.set_networks(rules(&self.read()))?;
        definitions::delete(state_dir, &definition.id)
    }

    fn check_new(&self, request: &NetworkRequest) -> Result<()> {
        let name = &request.name;
        if is_predefined(name) {
            let message = format!("operation is not permitted on predefined {name} network ");
            return Err(Error::new(Kind::Forbidden, message));
        }
        if self.read().values().any(|net| net.definition.name == *name) {
            return Err(Error::conflict(format!("network with name {name} already exists")));
        }
        match request.driver.as_str() {
            _ if request.config_only => {}
            "" | "bridge" | "macvlan" | "ipvlan" => {}
            driver @ ("host" | "null") => {
                let message = format!("only one instance of {driver:?} network is allowed");
                return Err(Error::new(Kind::Forbidden, message));
            }
            "overlay" => {
                let message = "network driver overlay is not supported";
                return Err(Error::new(Kind::NotImplemented, message));
            }
            driver => return Err(Error::not_found(format!("plugin {driver:?} not found"))),
        }
        if !request.ipv4 && !request.ipv6 {
            return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
        }
        if !self.config.firewall {
            return Err(Error::new(
                Kind::NotImplemented,
                "networks can't be made while the daemon runs with --iptables=false",
            ));
        }
        Ok(())
    }

    fn decide(&self, request: &NetworkRequest, route: &Connection) -> Result<Definition> {
        let networks = self.read();
        let own: Vec<IpNet> = networks
            .values()
            .filter(|net| !net.definition.config_only)
            .flat_map(|net| net.definition.subnets.iter().map(|subnet| subnet.subnet))
            .collect();
        let bridges: Vec<u32> =
            networks.values().filter_map(|net| Some(net.bridge.as_ref()?.index)).collect();
        let routed = link::routed_subnets(route, &bridges).context(|| "list routes")?;
        let subnets = match request.config_only {
            true => request.check()?.into_iter().map(template).collect(),
            false => request.decide_subnets(&self.pools, &own, &routed)?,
        };
        let mut definition = Definition {
            id: random_id()?,
            name: request.name.clone(),
            driver: match request.driver.as_str() {
                _ if request.config_only => "null".to_owned(),
                "" => "bridge".to_owned(),
                driver => driver.to_owned(),
            },
            created: SystemTime::now(),
            ipv4: request.ipv4,
            ipv6: request.ipv6,
            internal: request.internal,
            attachable: request.attachable,
            options: request.options.clone(),
            labels: request.labels.clone(),
            ipam_options: request.ipam_options.clone(),
            subnets,
            config_only: request.config_only,
            config_from: request.config_from.clone(),
            owns_parent: false,
        };
        if parent::DRIVERS.contains(&definition.driver.as_str()) {
            let parent = Parent::read(&definition)?;
            for net in networks.values() {
                let other = net.parent.as_ref().map(|other| (other, &net.definition.id));
                other.map_or(Ok(()), |(other, id)| parent.check_shared(other, id))?;
            }
            definition.owns_parent = parent.is_dummy || !parent.is_there(route)?;
        }
        Ok(definition)
    }

    /// Whether no other network has the parent of this one.
    fn is_last_on_parent(&self, net: &Net) -> bool {
        let interface = |net: &Net| net.parent.as_ref().map(|parent| parent.interface.clone());
        let others = self.read();
        let mut others = others.values().filter(|other| other.definition.id != net.definition.id);
        !others.any(|other| interface(other) == interface(net))
    }

    fn check_interface(&self, name: &str) -> Result<()> {
        let networks = self.read();
        let other = networks
            .values()
            .find(|net| net.bridge.as_ref().is_some_and(|bridge| bridge.name == name));
        match other {
            Some(other) => Err(Error::new(
                Kind::Forbidden,
                format!(
                    "cannot create network: bridge name {name} is already used by network {}",
                    other.definition.name
                ),
            )),
            None => Ok(()),
        }
    }

    /// Lets containers in.
    fn add(&self, net: Net) -> Result<Arc<Net>> {
        let net = Arc::new(net);
        self.write().insert(net.definition.id.clone(), Arc::clone(&net));
        self.firewall.set_networks(rules(&self.read()))?;
        Ok(net)
    }

    pub(crate) fn find(&self, name_or_id: &str) -> Result<Arc<Net>> {
        let networks = self.read();
        let named = |net: &&Arc<Net>| net.definition.name == name_or_id;
        let exact = networks.get(name_or_id).or_else(|| networks.values().find(named));
        if let Some(found) = exact {
            return Ok(Arc::clone(found));
        }
        let mut found = networks.values().filter(|net| net.definition.id.starts_with(name_or_id));
        match (found.next(), found.count()) {
            (Some(net), 0) if !name_or_id.is_empty() => Ok(Arc::clone(net)),
            (Some(_), more) if !name_or_id.is_empty() => Err(Error::invalid(format!(
                "network {name_or_id} is ambiguous ({} matches found on ID prefix)",
                more + 1
            ))),
            _ => Err(Error::not_found(format!("network {name_or_id} not found"))),
        }
    }

    /// All bridges' indexes.
    pub(crate) fn bridges(&self) -> Vec<u32> {
        self.read().values().filter_map(|net| Some(net.bridge.as_ref()?.index)).collect()
    }

    pub(crate) fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, Arc<Mutex<Held>>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Net>>> {
        self.networks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Net>>> {
        self.networks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The definitions to work with; networks whose removal had begun are removed.
fn finish_removals(config: &Config, route: &Connection) -> Result<Vec<Definition>> {
    let mut kept = Vec::new();
    for Stored { definition, removing } in definitions::load(&config.state_dir)? {
        if !removing {
            kept.push(definition);
            continue;
        }
        let options =
            BridgeOptions::read(&definition.options, definition.internal).unwrap_or_default();
        delete_interface(route, &definition, &options)?;
        definitions::delete(&config.state_dir, &definition.id)?;
    }
    Ok(kept)
}

fn revive(config: &Config, route: &Connection, definition: Definition) -> Result<Net> {
    let name = definition.name.clone();
    BridgeOptions::read(&definition.options, definition.internal)
        .and_then(|options| make(config, route, definition, options))
        .context(|| format!("restore network {name}"))
}

/// Makes a network's bridge what it should be.
fn make(
    config: &Config,
    route: &Connection,
    definition: Definition,
    options: BridgeOptions,
) -> Result<Net> {
    if definition.config_only {
        return Ok(Net::new(definition, options, None, false));
    }
    if parent::DRIVERS.contains(&definition.driver.as_str()) {
        let parent = Parent::read(&definition)?;
        parent.ensure(route)?;
        return Ok(Net::on_parent(definition, parent));
    }
    let host_has = |family: Family| {
        let inhibited = family == Family::V4 && options.inhibit_ipv4;
        options.modes[family.index()] != GatewayMode::Isolated && !inhibited
    };
    let gateways = definition.subnets.iter().filter_map(|subnet| {
        let address = bridge::with_prefix(subnet.gateway?, &subnet.subnet)?;
        host_has(Family::of_net(&address)).then_some(address)
    });
    let addresses: Vec<IpNet> = gateways.collect();
    let wanted = Wanted {
        name: &interface_name(&definition, &options),
        addresses: &addresses,
        ipv6: definition.ipv6,
        mtu: mtu(config, route, options.mtu)?,
    };
    let bridge = bridge::ensure(route, &wanted)?;
    Ok(Net::new(definition, options, Some(bridge), false))
}

/// As asked for, as configured, or that of the interface that leads out, in this order.
pub(crate) fn mtu(config: &Config, route: &Connection, asked: Option<u16>) -> Result<u16> {
    if let Some(mtu) = asked.or(config.mtu).filter(|mtu| *mtu > 0) {
        return Ok(mtu);
    }
    let egress = link::egress_mtu(route).context(|| "look at the default route")?;
    Ok(egress.unwrap_or(USUAL_MTU))
}

/// Deletes the interface that was made for a network.
fn delete_interface(
    route: &Connection,
    definition: &Definition,
    options: &BridgeOptions,
) -> Result<()> {
    if definition.config_only {
        return Ok(());
    }
    if parent::DRIVERS.contains(&definition.driver.as_str()) {
        let name = Parent::read(definition)?.interface;
        let delete = || link::delete_link(route, &name).context(|| format!("delete {name}"));
        return if definition.owns_parent { delete() } else { Ok(()) };
    }
    bridge::delete(route, &interface_name(definition, options))
}

fn interface_name(definition: &Definition, options: &BridgeOptions) -> String {
    let by_id = || format!("br-{}", &definition.id[..SHORT_LENGTH]);
    options.interface.clone().unwrap_or_else(by_id)
}

/// A network without subnets.
pub(crate) fn plain(name: &str, driver: &str, record: &Record) -> Net {
    let definition = Definition {
        id: record.id.clone(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        created: record.created,
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        ipam_options: None,
        subnets: Vec::new(),
        config_only: false,
        config_from: String::new(),
        owns_parent: false,
    };
    Net::new(definition, BridgeOptions::default(), None::<Bridge>, false)
}

/// What the firewall has to know, by family; the default bridge first, then by id.
fn rules(networks: &BTreeMap<String, Arc<Net>>) -> [Vec<BridgeRules>; 2] {
    Family::ALL.map(|family| {
        let mut nets: Vec<&Arc<Net>> = networks.values().collect();
        nets.sort_by_key(|net| !net.is_default);
        nets.into_iter().filter_map(|net| net.rules(family)).collect()
    })
}

fn info(net: &Net) -> NetworkInfo {
    let definition = net.definition.clone();
    NetworkInfo {
        id: definition.id.clone(),
        name: definition.name.clone(),
        driver: definition.driver.clone(),
        is_predefined: is_predefined(&definition.name),
        is_default_bridge: net.is_default,
        usage: net.usage(),
        definition,
    }
}

fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if name.trim().is_empty() {
        return Err(Error::invalid("invalid name: name is empty"));
    }
    if first && rest {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// One error for all failures of an operation that tries every step.
pub(crate) fn all_or_ok(operation: &str, errors: Vec<Error>) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    Err(Error::internal(format!("{operation}: {}", texts.join("; "))))
}
