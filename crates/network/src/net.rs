//! [`Net`]: a network that is there, with its interface and its addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use davit_types::{Error, Kind, Result};
use ipnet::IpNet;

use crate::bridge::Bridge;
use crate::definition::{Definition, Subnet};
use crate::firewall::table::{BridgeRules, Family, Source};
use crate::ipam::{Pool, Refusal};
use crate::options::{BridgeOptions, GatewayMode};
use crate::parent::Parent;
use crate::sandbox::EndpointSpec;

/// A network and what it has given.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) definition: Definition,
    pub(crate) options: BridgeOptions,
    /// Absent: `host` and `none`, and networks on a parent.
    pub(crate) bridge: Option<Bridge>,
    /// What macvlan and ipvlan networks have instead.
    pub(crate) parent: Option<Parent>,
    /// The one that is there without being made.
    pub(crate) is_default: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pools: Vec<Pool>,
    /// Names of containers by endpoint.
    endpoints: BTreeMap<String, String>,
    removed: bool,
}

/// What an endpoint was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) v4: Option<IpNet>,
    pub(crate) v6: Option<IpNet>,
}

/// The auxiliary address that is the containers' next hop instead of the bridge, as with Docker.
pub(crate) fn next_hop_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "DefaultGatewayIPv4",
        Family::V6 => "DefaultGatewayIPv6",
    }
}

impl Net {
    pub(crate) fn new(
        definition: Definition,
        options: BridgeOptions,
        bridge: Option<Bridge>,
        is_default: bool,
    ) -> Self {
        let pool = |subnet: &Subnet| {
            let reserved = subnet.gateway.into_iter().chain(subnet.auxiliary.values().copied());
            Pool::new(subnet.subnet, subnet.range, reserved)
        };
        let pools = definition.subnets.iter().map(pool).collect();
        let state = State { pools, endpoints: BTreeMap::new(), removed: false };
        let state = Mutex::new(state);
        Self { definition, options, bridge, parent: None, is_default, state }
    }

    /// A network on an interface of the host's.
    pub(crate) fn on_parent(definition: Definition, parent: Parent) -> Self {
        let net = Self::new(definition, BridgeOptions::default(), None, false);
        Self { parent: Some(parent), ..net }
    }

    /// Whether containers can be connected to it.
    ///
    /// # Errors
    /// It is only a configuration, or one of the networks that nothing is made for.
    pub(crate) fn check_joinable(&self) -> Result<()> {
        if self.definition.config_only {
            return Err(config_only());
        }
        if self.parent.is_some() { Ok(()) } else { self.bridge().map(drop) }
    }

    /// The interface that containers are connected to.
    pub(crate) fn bridge(&self) -> Result<&Bridge> {
        self.bridge.as_ref().ok_or_else(|| {
            let name = &self.definition.name;
            Error::internal(format!("network {name} has no bridge"))
        })
    }

    /// The containers' next hop; an internal network has none.
    pub(crate) fn gateway(&self, family: Family) -> Option<IpAddr> {
        let is_alone = self.parent.as_ref().is_some_and(|parent| parent.is_dummy);
        let leads_out = !self.definition.internal && !is_alone;
        let subnet = self.subnet(family).filter(|_| leads_out)?;
        subnet.auxiliary.get(next_hop_name(family)).copied().or(subnet.gateway)
    }

    pub(crate) fn subnet(&self, family: Family) -> Option<&Subnet> {
        self.definition.subnets.iter().find(|subnet| Family::of_net(&subnet.subnet) == family)
    }

    /// Gives an endpoint its addresses, all or none.
    pub(crate) fn give(
        &self,
        endpoint_id: &str,
        container: &str,
        spec: &EndpointSpec,
    ) -> Result<Addresses> {
        self.check_wishes(spec)?;
        let mut state = self.lock();
        let name = &self.definition.name;
        if state.removed {
            return Err(Error::not_found(format!("network {name} not found")));
        }
        if state.endpoints.values().any(|other| other == container) {
            return Err(Error::new(
                Kind::Forbidden,
                format!("endpoint with name {container} already exists in network {name}"),
            ));
        }
        let mut given = Addresses::default();
        for (subnet, pool) in self.definition.subnets.iter().zip(&mut state.pools) {
            let (wish, slot) = match Family::of_net(&subnet.subnet) {
                Family::V4 => (spec.ipv4.map(IpAddr::V4), &mut given.v4),
                Family::V6 => (spec.ipv6.map(IpAddr::V6), &mut given.v6),
            };
            match give_one(name, pool, wish) {
                Ok(ip) => *slot = IpNet::new(ip, subnet.subnet.prefix_len()).ok(),
                Err(error) => {
                    state.take_back(given);
                    return Err(error);
                }
            }
        }
        state.endpoints.insert(endpoint_id.to_owned(), container.to_owned());
        Ok(given)
    }

    /// Takes over what an endpoint of a former daemon has.
    pub(crate) fn adopt(
        &self,
        endpoint_id: &str,
        container: &str,
        addresses: Addresses,
    ) -> Result<()> {
        let mut state = self.lock();
        state.endpoints.insert(endpoint_id.to_owned(), container.to_owned());
        for ip in [addresses.v4, addresses.v6].into_iter().flatten().map(|net| net.addr()) {
            let taken = state.pools.iter_mut().any(|pool| pool.take(ip).is_ok());
            if !taken {
                let name = &self.definition.name;
                let message = format!("adopt container {container}: {ip} is not free in {name}");
                return Err(Error::conflict(message));
            }
        }
        Ok(())
    }

    /// The container of an endpoint is called otherwise now.
    pub(crate) fn rename(&self, endpoint_id: &str, container: &str) {
        if let Some(name) = self.lock().endpoints.get_mut(endpoint_id) {
            container.clone_into(name);
        }
    }

    /// Takes back what an endpoint was given.
    pub(crate) fn take_back(&self, endpoint_id: &str, addresses: Addresses) {
        let mut state = self.lock();
        if state.endpoints.remove(endpoint_id).is_some() {
            state.take_back(addresses);
        }
    }

    /// Lets nobody in any more, unless somebody is there.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.lock();
        if let Some((id, container)) = state.endpoints.iter().next() {
            let name = &self.definition.name;
            let id = &id[..id.len().min(12)];
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "error while removing network: network {name} has active endpoints \
                     (name:{container:?} id:{id:?})"
                ),
            ));
        }
        state.removed = true;
        Ok(())
    }

    /// Undoes [`Net::close`]: it could not be removed.
    pub(crate) fn open_again(&self) {
        self.lock().removed = false;
    }

    /// For each subnet: addresses in use, and those left to give.
    pub(crate) fn usage(&self) -> Vec<(IpNet, u64, u64)> {
        let state = self.lock();
        let subnets = self.definition.subnets.iter().zip(&state.pools);
        subnets.map(|(subnet, pool)| (subnet.subnet, pool.in_use(), pool.available())).collect()
    }

    /// What the firewall has to know of it.
    pub(crate) fn rules(&self, family: Family) -> Option<BridgeRules> {
        let (subnet, bridge) = (self.subnet(family)?, self.bridge.as_ref()?);
        let options = &self.options;
        let mode = options.modes[family.index()];
        let nat = matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected);
        Some(BridgeRules {
            name: bridge.name.clone(),
            subnet: subnet.subnet,
            icc: options.icc,
            internal: self.definition.internal,
            mode,
            source: match options.source[family.index()] {
                _ if !nat || !options.masquerade || self.definition.internal => Source::Kept,
                None => Source::Interface,
                Some(address) => Source::Address(address),
            },
        })
    }

    fn check_wishes(&self, spec: &EndpointSpec) -> Result<()> {
        if self.is_default && (spec.ipv4.is_some() || spec.ipv6.is_some()) {
            return Err(Error::invalid(
                "invalid endpoint settings:\nuser specified IP address is supported on user \
                 defined networks only",
            ));
        }
        let wishes =
            [(Family::V4, spec.ipv4.map(IpAddr::V4)), (Family::V6, spec.ipv6.map(IpAddr::V6))];
        for (family, wish) in wishes {
            let Some(ip) = wish else { continue };
            let subnet = self.subnet(family);
            if subnet.is_some_and(|subnet| subnet.chosen) {
                return Err(Error::invalid(
                    "invalid endpoint settings:\nuser specified IP address is supported only when \
                     connecting to networks with user configured subnets",
                ));
            }
            if !subnet.is_some_and(|subnet| subnet.subnet.contains(&ip)) {
                return Err(Error::invalid(format!(
                    "invalid endpoint settings:\nno configured subnet contains IP address {ip}"
                )));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of containers by a network that is only a configuration.
pub(crate) fn config_only() -> Error {
    Error::new(Kind::Forbidden, "cannot create endpoint on configuration-only network")
}

impl State {
    fn take_back(&mut self, addresses: Addresses) {
        let now = Instant::now();
        for net in [addresses.v4, addresses.v6].into_iter().flatten() {
            self.pools.iter_mut().for_each(|pool| pool.release(net.addr(), now));
        }
    }
}

fn give_one(network: &str, pool: &mut Pool, wish: Option<IpAddr>) -> Result<IpAddr> {
    match wish {
        Some(ip) => match pool.take(ip) {
            Ok(()) => Ok(ip),
            Err(Refusal::Taken) => Err(Error::new(Kind::Forbidden, "Address already in use")),
            Err(Refusal::Outside) => Err(Error::invalid(format!(
                "invalid endpoint settings:\nno configured subnet contains IP address {ip}"
            ))),
        },
        None => pool.allocate(Instant::now()).ok_or_else(|| {
            let family = if pool.is_v4() { "IPv4" } else { "IPv6" };
            Error::internal(format!(
                "no available {family} addresses on this network's address pools: {network}"
            ))
        }),
    }
}
