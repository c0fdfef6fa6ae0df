//! What a network is: as asked for ([`NetworkRequest`]) and as decided ([`Definition`]). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use davit_types::{Error, Kind, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ipam::{AddressPool, choose_subnet, first_host, overlap};

/// A network as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// 64 hex digits, kept for good.
    pub id: String,
    /// Unique among the networks of a daemon.
    pub name: String,
    /// `bridge`, `macvlan`, `ipvlan`, `host`, `null`.
    pub driver: String,
    /// When it was made.
    pub created: SystemTime,
    /// Containers get IPv4 addresses.
    pub ipv4: bool,
    /// Containers get IPv6 addresses.
    pub ipv6: bool,
    /// There is no way out of it, nor in.
    pub internal: bool,
    /// Of a swarm only; kept and shown.
    pub attachable: bool,
    /// Options of the driver as they were given.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the address management as they were given.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// At most one of each family.
    pub subnets: Vec<Subnet>,
    /// It is no network, only what others are made from.
    #[serde(default)]
    pub config_only: bool,
    /// The name of the one it was made from; empty: none.
    #[serde(default)]
    pub config_from: String,
    /// The parent interface was made for it, and goes with it.
    #[serde(default)]
    pub owns_parent: bool,
}

/// The addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// All of them.
    pub subnet: IpNet,
    /// Those that are given to containers that don't ask for one.
    pub range: Option<IpNet>,
    /// The host's.
    pub gateway: Option<IpAddr>,
    /// Addresses of somebody else's, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Nobody asked for this one: containers can't ask for an address either.
    pub chosen: bool,
}

/// A network to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// Its driver; empty for `bridge`.
    pub driver: String,
    /// Containers get IPv4 addresses.
    pub ipv4: bool,
    /// Containers get IPv6 addresses.
    pub ipv6: bool,
    /// Without a way out.
    pub internal: bool,
    /// Of a swarm only.
    pub attachable: bool,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the address management.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Subnets, as texts.
    pub subnets: Vec<SubnetRequest>,
    /// Only what other networks are to be made from.
    pub config_only: bool,
    /// What it is to be made from; empty: what stands here.
    pub config_from: String,
}

/// A subnet asked for; what is empty is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetRequest {
    /// In CIDR notation; `0.0.0.0/N` or `::/N`: any of that size.
    pub subnet: String,
    /// In CIDR notation.
    pub range: String,
    /// An address.
    pub gateway: String,
    /// Addresses by name.
    pub auxiliary: BTreeMap<String, String>,
}

/// A subnet's texts understood; only one with a prefix and no address is to be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) subnet: IpNet,
    pub(crate) range: Option<IpNet>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) auxiliary: BTreeMap<String, IpAddr>,
}

impl NetworkRequest {
    /// Decides the subnets: those asked for, checked; for a family without one, the first of
    /// `pools` that overlaps none of `taken`.
    ///
    /// `own` are the subnets of other networks, `routed` those the host has routes to.
    pub(crate) fn decide_subnets(
        &self,
        pools: &[AddressPool],
        own: &[IpNet],
        routed: &[IpNet],
    ) -> Result<Vec<Subnet>> {
        let wishes = self.check()?;
        let mut subnets = Vec::new();
        for (enabled, is_family) in [
            (self.ipv4, (|net| matches!(net, IpNet::V4(_))) as fn(&IpNet) -> bool),
            (self.ipv6, |net| matches!(net, IpNet::V6(_))),
        ] {
            let mut wanted = wishes.iter().filter(|wish| is_family(&wish.subnet));
            let (first, more) = (wanted.next(), wanted.count());
            if !enabled {
                continue;
            }
            if more > 0 {
                let driver = if self.driver.is_empty() { "bridge" } else { &self.driver };
                let message = format!("{driver} driver doesn't support multiple subnets");
                return Err(Error::new(Kind::Forbidden, message));
            }
            let of_family: Vec<AddressPool> =
                pools.iter().filter(|pool| is_family(&pool.base)).copied().collect();
            subnets.push(decide(first, &of_family, own, routed)?);
        }
        Ok(subnets)
    }

    /// Understands all subnets; what is wrong with them is told at once, as Docker does.
    pub(crate) fn check(&self) -> Result<Vec<Wish>> {
        let mut faults = Vec::new();
        let mut wishes = Vec::new();
        for request in self.subnets.iter().filter(|request| **request != SubnetRequest::default()) {
            match Wish::read(request, &mut faults) {
                Some(wish) => wishes.push(wish),
                None if faults.is_empty() => faults.push("invalid subnet".to_owned()),
                None => {}
            }
        }
        for wish in &wishes {
            let (family, enabled) = match wish.subnet {
                IpNet::V4(_) => ("IPv4", self.ipv4),
                IpNet::V6(_) => ("IPv6", self.ipv6),
            };
            // An IPv6 subnet of a network without IPv6 is left out, as Docker does.
            if !enabled && family == "IPv4" {
                faults.push(format!("{family} is disabled, but {} is configured", wish.subnet));
            }
        }
        if faults.is_empty() {
            return Ok(wishes);
        }
        Err(Error::invalid(format!("invalid network config:\n{}", faults.join("\n"))))
    }
}

impl Wish {
    /// Understands one; what is wrong is added to `faults`.
    fn read(request: &SubnetRequest, faults: &mut Vec<String>) -> Option<Self> {
        if request.subnet.is_empty() {
            faults.push("no subnet specified".to_owned());
            return None;
        }
        let Ok(subnet) = request.subnet.parse::<IpNet>() else {
            faults.push(format!("invalid subnet {}: invalid CIDR address", request.subnet));
            return None;
        };
        let is_size_only = subnet.addr().is_unspecified();
        if subnet != subnet.trunc() {
            faults.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
            return None;
        }
        let inside = |ip: &IpAddr| is_size_only || subnet.contains(ip);
        let range = match request.range.as_str() {
            "" => None,
            text => match text.parse::<IpNet>() {
                Err(_) => {
                    faults.push(format!("invalid ip-range {text}: invalid CIDR address"));
                    None
                }
                Ok(range) if range != range.trunc() => {
                    faults
                        .push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
                    None
                }
                Ok(range) if !inside(&range.addr()) || range.prefix_len() < subnet.prefix_len() => {
                    faults.push(format!(
                        "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
                    ));
                    None
                }
                Ok(range) => Some(range),
            },
        };
        let mut address = |what: &str, text: &str| match text.parse::<IpAddr>() {
            Err(_) => {
                faults.push(format!("invalid {what}: {text}"));
                None
            }
            Ok(ip) if !inside(&ip) => {
                faults.push(format!(
                    "invalid {what} {ip}: parent subnet {subnet} doesn't contain this address"
                ));
                None
            }
            Ok(ip) => Some(ip),
        };
        let gateway = match request.gateway.as_str() {
            "" => None,
            text => address("gateway", text),
        };
        let auxiliary = request
            .auxiliary
            .iter()
            .filter_map(|(name, text)| Some((name.clone(), address("auxiliary address", text)?)))
            .collect();
        Some(Self { subnet, range, gateway, auxiliary })
    }
}

fn decide(
    wish: Option<&Wish>,
    pools: &[AddressPool],
    own: &[IpNet],
    routed: &[IpNet],
) -> Result<Subnet> {
    let fixed = wish.filter(|wish| !wish.subnet.addr().is_unspecified());
    if let Some(wish) = fixed {
        if own.iter().any(|other| overlap(other, &wish.subnet)) {
            return Err(Error::new(
                Kind::Forbidden,
                "invalid pool request: Pool overlaps with other one on this address space",
            ));
        }
        let gateway = wish.gateway.or_else(|| default_gateway(wish));
        let auxiliary = wish.auxiliary.clone();
        let (subnet, range) = (wish.subnet, wish.range);
        return Ok(Subnet { subnet, range, gateway, auxiliary, chosen: false });
    }
    let size = wish.map(|wish| wish.subnet.prefix_len());
    let sized: Vec<AddressPool> = pools
        .iter()
        .map(|pool| AddressPool { size: size.unwrap_or(pool.size), ..*pool })
        .filter(|pool| pool.size >= pool.base.prefix_len())
        .collect();
    let taken: Vec<IpNet> = own.iter().chain(routed).copied().collect();
    let subnet = choose_subnet(&sized, &taken).ok_or_else(|| {
        Error::invalid(
            "could not find an available, non-overlapping address pool among the defaults to \
             assign to the network: all predefined address pools have been fully subnetted",
        )
    })?;
    Ok(Subnet {
        subnet,
        range: None,
        gateway: first_host(&subnet),
        auxiliary: BTreeMap::new(),
        chosen: true,
    })
}

/// The first address of the range, or of the subnet, that nobody else has.
fn default_gateway(wish: &Wish) -> Option<IpAddr> {
    let reserved = wish.auxiliary.values().copied();
    crate::ipam::Pool::new(wish.subnet, wish.range, reserved).allocate(std::time::Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::default_pools;

    fn request(subnets: &[(&str, &str, &str)]) -> NetworkRequest {
        NetworkRequest {
            name: "n".into(),
            driver: "bridge".into(),
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            ipam_options: None,
            subnets: subnets
                .iter()
                .map(|(subnet, range, gateway)| SubnetRequest {
                    subnet: (*subnet).into(),
                    range: (*range).into(),
                    gateway: (*gateway).into(),
                    auxiliary: BTreeMap::new(),
                })
                .collect(),
            config_only: false,
            config_from: String::new(),
        }
    }

    fn decided(request: &NetworkRequest, own: &[&str]) -> Result<Vec<String>> {
        let own: Vec<IpNet> = own.iter().map(|text| text.parse().expect("a subnet")).collect();
        let pools = [default_pools(), vec![crate::ipam::local_pool([0; 5])]].concat();
        let subnets = request.decide_subnets(&pools, &own, &[])?;
        let text =
            |subnet: &Subnet| format!("{} {}", subnet.subnet, subnet.gateway.expect("a gateway"));
        Ok(subnets.iter().map(text).collect())
    }

    #[test]
    fn what_is_not_given_is_chosen() {
        let own = ["172.17.0.0/16"];
        assert_eq!(decided(&request(&[]), &own).expect("v4"), ["172.18.0.0/16 172.18.0.1"]);
        let both = NetworkRequest { ipv6: true, ..request(&[]) };
        assert_eq!(
            decided(&both, &own).expect("both"),
            ["172.18.0.0/16 172.18.0.1", "fd00::/64 fd00::1"]
        );
        let only = NetworkRequest { ipv4: false, ..both };
        assert_eq!(decided(&only, &own).expect("v6"), ["fd00::/64 fd00::1"]);
        let sized = request(&[("0.0.0.0/24", "", "")]);
        assert_eq!(decided(&sized, &own).expect("sized"), ["172.18.0.0/24 172.18.0.1"]);
        let given = request(&[("10.9.0.0/24", "10.9.0.128/25", "")]);
        assert_eq!(decided(&given, &own).expect("given"), ["10.9.0.0/24 10.9.0.128"]);
    }

    #[test]
    fn faults_are_told_in_dockers_words() {
        let fails = |subnets: &[(&str, &str, &str)], own: &[&str]| {
            let error = decided(&request(subnets), own).expect_err("refused");
            (error.kind(), error.message().to_owned())
        };
        assert_eq!(
            fails(&[("10.98.0.1/24", "", "")], &[]),
            (
                Kind::InvalidParameter,
                "invalid network config:\ninvalid subnet 10.98.0.1/24: it should be 10.98.0.0/24"
                    .to_owned()
            )
        );
        assert_eq!(
            fails(&[("10.98.0.0/24", "10.97.0.0/25", "10.96.0.1")], &[]).1.lines().count(),
            3
        );
        assert_eq!(
            fails(&[("10.99.0.0/24", "", "")], &["10.99.0.0/16"]),
            (
                Kind::Forbidden,
                "invalid pool request: Pool overlaps with other one on this address space"
                    .to_owned()
            )
        );
        assert_eq!(
            fails(&[("10.1.0.0/24", "", ""), ("10.2.0.0/24", "", "")], &[]).0,
            Kind::Forbidden
        );
    }
}
