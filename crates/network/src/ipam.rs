//! Which subnet a network gets and which address a container: pure allocators, for both families.
//!
//! Addresses are handed out lowest first, as Docker does, but one that was just given back rests
//! for a while: the kernel takes a network namespace down a moment after its last process, and
//! until then it still answers ARP for its old address; and neighbours remember the old hardware
//! address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use davit_types::Error;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How long a released address is left alone while there are others.
pub(crate) const REST: Duration = Duration::from_secs(3);

/// Networks that subnets are cut from, and how long the prefixes of these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The whole of it.
    pub base: IpNet,
    /// Length of the prefix of what is given.
    pub size: u8,
}

impl FromStr for AddressPool {
    type Err = Error;

    /// `base=10.0.0.0/8,size=24`, as Docker writes it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| Error::invalid(format!("invalid address pool {text:?}: {why}"));
        let (mut base, mut size) = (None, None);
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| invalid(format!("{field:?} is not KEY=VALUE")))?;
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "base" => {
                    let parsed: Result<IpNet, _> = value.parse();
                    base = Some(parsed.map_err(|_| invalid(format!("{value} is no subnet")))?);
                }
                "size" => {
                    let parsed: Result<u8, _> = value.parse();
                    size = Some(parsed.map_err(|_| invalid(format!("{value} is no length")))?);
                }
                other => return Err(invalid(format!("unknown key {other:?}"))),
            }
        }
        let (Some(base), Some(size)) = (base, size) else {
            return Err(invalid("base and size are needed".to_owned()));
        };
        if size < base.prefix_len() || size > base.max_prefix_len() {
            return Err(invalid(format!("no subnet of {base} has a prefix of {size}")));
        }
        Ok(Self { base: base.trunc(), size })
    }
}

/// The addresses of one subnet.
#[derive(Debug)]
pub(crate) struct Pool {
    subnet: IpNet,
    /// Where addresses nobody asked for are given from.
    range: IpNet,
    /// Never given: the gateway, auxiliary addresses, network and broadcast.
    reserved: BTreeSet<IpAddr>,
    used: BTreeSet<IpAddr>,
    /// Released addresses and when that was.
    resting: BTreeMap<IpAddr, Instant>,
}

/// Why an address that was asked for can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not of this subnet.
    Outside,
    /// Somebody has it, or nobody may have it.
    Taken,
}

impl Pool {
    /// All addresses of `subnet`, given from `range` if there is one, but those in `reserved`.
    pub(crate) fn new(
        subnet: IpNet,
        range: Option<IpNet>,
        reserved: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let mut reserved: BTreeSet<IpAddr> = reserved.into_iter().collect();
        match subnet {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                reserved.extend([IpAddr::V4(net.network()), IpAddr::V4(net.broadcast())]);
            }
            IpNet::V4(_) => {}
            // The anycast address of the subnet's routers.
            IpNet::V6(net) => {
                reserved.insert(IpAddr::V6(net.network()));
            }
        }
        let range = range.unwrap_or(subnet).trunc();
        Self { subnet, range, reserved, used: BTreeSet::new(), resting: BTreeMap::new() }
    }

    /// The lowest address that is free and has rested; if there is none, the one that rests
    /// longest.
    pub(crate) fn allocate(&mut self, now: Instant) -> Option<IpAddr> {
        self.resting.retain(|_, since| now.duration_since(*since) < REST);
        let rested = self
            .addresses()
            .find(|address| self.is_free(address) && !self.resting.contains_key(address));
        let address = rested.or_else(|| {
            let resting = self.resting.iter().filter(|(address, _)| self.range.contains(*address));
            Some(*resting.min_by_key(|(_, since)| **since)?.0)
        })?;
        self.resting.remove(&address);
        self.used.insert(address);
        Some(address)
    }

    /// Marks an address as taken.
    pub(crate) fn take(&mut self, address: IpAddr) -> Result<(), Refusal> {
        if !self.subnet.contains(&address) {
            return Err(Refusal::Outside);
        }
        if !self.is_free(&address) {
            return Err(Refusal::Taken);
        }
        self.resting.remove(&address);
        self.used.insert(address);
        Ok(())
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, address: IpAddr, now: Instant) {
        if self.used.remove(&address) {
            self.resting.insert(address, now);
        }
    }

    /// Taken addresses, with those that nobody can get.
    pub(crate) fn in_use(&self) -> u64 {
        (self.used.len() + self.reserved.len()) as u64
    }

    /// How many are left to be given to those who don't ask for one.
    pub(crate) fn available(&self) -> u64 {
        let taken = self.used.union(&self.reserved).filter(|ip| self.range.contains(*ip)).count();
        size(&self.range).saturating_sub(taken as u64)
    }

    /// Its addresses are IPv4.
    pub(crate) fn is_v4(&self) -> bool {
        self.subnet.addr().is_ipv4()
    }

    fn is_free(&self, address: &IpAddr) -> bool {
        !self.reserved.contains(address) && !self.used.contains(address)
    }

    fn addresses(&self) -> Box<dyn Iterator<Item = IpAddr>> {
        match self.range {
            IpNet::V4(net) => Box::new(between_v4(net.network(), net.broadcast())),
            IpNet::V6(net) => {
                let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
                Box::new((first..=last).map(|bits| IpAddr::V6(Ipv6Addr::from(bits))))
            }
        }
    }
}

fn between_v4(first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = IpAddr> {
    (u32::from(first)..=u32::from(last)).map(|bits| IpAddr::V4(Ipv4Addr::from(bits)))
}

/// Number of addresses, as far as it can be counted.
fn size(net: &IpNet) -> u64 {
    let bits = u32::from(net.max_prefix_len() - net.prefix_len());
    1u64.checked_shl(bits).unwrap_or(u64::MAX)
}

/// The first address of a subnet that a host can have.
pub(crate) fn first_host(subnet: &IpNet) -> Option<IpAddr> {
    match subnet {
        IpNet::V4(net) => net.hosts().next().map(IpAddr::V4),
        IpNet::V6(net) if net.prefix_len() >= 127 => Some(IpAddr::V6(net.network())),
        IpNet::V6(net) => Some(IpAddr::V6(Ipv6Addr::from(u128::from(net.network()) + 1))),
    }
}

/// Docker's local pools.
pub(crate) fn default_pools() -> Vec<AddressPool> {
    let pool = |base: [u8; 4], length, size| AddressPool {
        base: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(base), length)),
        size,
    };
    let sixteens = (17..20).map(|second| pool([172, second, 0, 0], 16, 16));
    let fourteens = [20, 24, 28].map(|second| pool([172, second, 0, 0], 14, 16));
    sixteens.chain(fourteens).chain([pool([192, 168, 0, 0], 16, 20)]).collect()
}

/// A pool of unique local IPv6 subnets (RFC 4193), by 40 bits that are the daemon's own.
pub(crate) fn local_pool(seed: [u8; 5]) -> AddressPool {
    let [a, b, c, d, e] = seed;
    let base = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    AddressPool { base: IpNet::V6(Ipv6Net::new_assert(base, 48)), size: 64 }
}

/// The first subnet of the pools that overlaps none of `taken`.
pub(crate) fn choose_subnet(pools: &[AddressPool], taken: &[IpNet]) -> Option<IpNet> {
    pools.iter().find_map(|pool| {
        let mut subnets = pool.base.subnets(pool.size).ok()?;
        subnets.find(|subnet| !taken.iter().any(|net| overlap(subnet, net)))
    })
}

/// Whether two subnets share an address.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a subnet")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn pools_are_written_as_dockers() {
        let pool: AddressPool = "base=10.9.1.0/16,size=24".parse().expect("a pool");
        assert_eq!((pool.base.to_string().as_str(), pool.size), ("10.9.0.0/16", 24));
        let pool: AddressPool = "size=64, base=fd00:9::/48".parse().expect("a pool");
        assert_eq!((pool.base.to_string().as_str(), pool.size), ("fd00:9::/48", 64));
        let bad = ["", "base=10.0.0.0/8", "size=24", "base=10.0.0.0/8,size=7", "base=x,size=24"];
        for text in bad.into_iter().chain(["base=10.0.0.0/8,size=33", "base=10.0.0.0/8,len=24"]) {
            assert!(text.parse::<AddressPool>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_given_lowest_first_without_network_gateway_and_broadcast() {
        let mut pool = Pool::new(net("10.0.0.0/29"), None, [ip("10.0.0.2")]);
        let now = Instant::now();
        let given: Vec<_> = std::iter::from_fn(|| pool.allocate(now)).collect();
        assert_eq!(given, [1, 3, 4, 5, 6].map(|last| ip(&format!("10.0.0.{last}"))));
        assert_eq!((pool.in_use(), pool.available()), (8, 0));
    }

    #[test]
    fn a_released_address_rests_unless_nothing_else_is_left() {
        let mut pool = Pool::new(net("10.0.0.0/29"), None, [ip("10.0.0.1")]);
        let start = Instant::now();
        let first = pool.allocate(start).expect("an address");
        pool.release(first, start);
        assert_eq!(pool.allocate(start), Some(ip("10.0.0.3")));
        assert_eq!(pool.allocate(start + REST), Some(first));

        pool.release(first, start);
        for last in [4, 5, 6] {
            assert_eq!(pool.allocate(start), Some(ip(&format!("10.0.0.{last}"))));
        }
        assert_eq!(pool.allocate(start), Some(first), "the resting one is the last resort");
        assert_eq!(pool.allocate(start), None);
    }

    #[test]
    fn an_adopted_address_is_not_given_again() {
        let mut pool = Pool::new(net("10.0.0.0/24"), None, [ip("10.0.0.1")]);
        assert_eq!(pool.take(ip("10.0.0.2")), Ok(()));
        assert_eq!(pool.take(ip("10.0.0.2")), Err(Refusal::Taken));
        assert_eq!(pool.take(ip("10.0.0.1")), Err(Refusal::Taken), "the gateway's");
        assert_eq!(pool.take(ip("10.0.1.2")), Err(Refusal::Outside));
        assert_eq!(pool.allocate(Instant::now()), Some(ip("10.0.0.3")));
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_can_be_asked_for() {
        let reserved = [ip("10.99.0.254")];
        let mut pool = Pool::new(net("10.99.0.0/24"), Some(net("10.99.0.128/25")), reserved);
        assert_eq!(pool.take(ip("10.99.0.5")), Ok(()));
        assert_eq!(pool.take(ip("10.99.0.200")), Ok(()));
        assert_eq!((pool.in_use(), pool.available()), (5, 125));
        assert_eq!(pool.allocate(Instant::now()), Some(ip("10.99.0.128")));
    }

    #[test]
    fn addresses_of_the_sixth_version_begin_after_the_gateway() {
        let mut pool = Pool::new(net("fd00::/64"), None, [ip("fd00::1")]);
        assert_eq!(pool.allocate(Instant::now()), Some(ip("fd00::2")));
        assert_eq!(pool.in_use(), 3);
        assert_eq!(pool.available(), u64::MAX - 3);
    }

    #[test]
    fn the_first_pool_that_is_not_routed_is_chosen() {
        let choose = |taken: &[IpNet]| choose_subnet(&default_pools(), taken);
        assert_eq!(choose(&[]), Some(net("172.17.0.0/16")));
        let taken = [net("172.17.3.0/24"), net("172.18.0.0/15")];
        assert_eq!(choose(&taken), Some(net("172.20.0.0/16")));
        assert_eq!(choose(&[net("172.16.0.0/12")]), Some(net("192.168.0.0/20")));
        assert_eq!(choose(&[net("172.16.0.0/12"), net("192.168.0.0/16")]), None);
        assert_eq!(default_pools().iter().filter(|pool| pool.size == 16).count(), 6);
    }

    #[test]
    fn local_subnets_are_64s_of_one_prefix() {
        let pool = local_pool([1, 2, 3, 4, 5]);
        assert_eq!(pool.base, net("fd01:203:405::/48"));
        let first = choose_subnet(&[pool], &[]);
        assert_eq!(first, Some(net("fd01:203:405::/64")));
        let taken: Vec<IpNet> = first.into_iter().collect();
        assert_eq!(choose_subnet(&[pool], &taken), Some(net("fd01:203:405:1::/64")));
        assert_eq!(first_host(&taken[0]), Some(ip("fd01:203:405::1")));
    }
}
