//! Which subnet a bridge gets and which address a container: pure allocators.
//!
//! Addresses are handed out lowest first, as Docker does, but one that was just given back rests
//! for a while: the kernel takes a network namespace down a moment after its last process, and
//! until then it still answers ARP for its old address; and neighbours remember the old hardware
//! address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

/// How long a released address is left alone while there are others.
pub(crate) const REST: Duration = Duration::from_secs(3);

/// The addresses of one subnet.
#[derive(Debug)]
pub(crate) struct Pool {
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    used: BTreeSet<Ipv4Addr>,
    /// Released addresses and when that was.
    resting: BTreeMap<Ipv4Addr, Instant>,
}

impl Pool {
    /// All addresses of the gateway's subnet but network, broadcast and gateway.
    pub(crate) fn new(gateway: Ipv4Net) -> Self {
        Self {
            subnet: gateway.trunc(),
            gateway: gateway.addr(),
            used: BTreeSet::new(),
            resting: BTreeMap::new(),
        }
    }

    /// The lowest address that is free and has rested; if there is none, the one that rests
    /// longest.
    pub(crate) fn allocate(&mut self, now: Instant) -> Option<Ipv4Addr> {
        self.resting.retain(|_, since| now.duration_since(*since) < REST);
        let rested = self
            .subnet
            .hosts()
            .find(|address| self.is_free(*address) && !self.resting.contains_key(address));
        let address = rested.or_else(|| {
            let (address, _) = self.resting.iter().min_by_key(|(_, since)| **since)?;
            Some(*address)
        })?;
        self.resting.remove(&address);
        self.used.insert(address);
        Some(address)
    }

    /// Marks an address as taken; `false` if it was, or isn't one of this pool.
    pub(crate) fn take(&mut self, address: Ipv4Addr) -> bool {
        self.resting.remove(&address);
        self.subnet.contains(&address) && address != self.gateway && self.used.insert(address)
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, address: Ipv4Addr, now: Instant) {
        if self.used.remove(&address) {
            self.resting.insert(address, now);
        }
    }

    /// Taken addresses, with network, broadcast and gateway.
    pub(crate) fn in_use(&self) -> u64 {
        let edges = if self.subnet.prefix_len() < 31 { 2 } else { 0 };
        self.used.len() as u64 + 1 + edges
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        address != self.gateway && !self.used.contains(&address)
    }
}

/// The first of Docker's local pools that overlaps none of `taken`, with its gateway's address.
pub(crate) fn choose_subnet(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let sixteens =
        (17..=31).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let twenties = (0..16)
        .map(|sixteenth| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, sixteenth * 16, 0), 20));
    let free = sixteens.chain(twenties).find(|pool| !taken.iter().any(|net| overlap(pool, net)))?;
    let gateway = free.hosts().next()?;
    Some(Ipv4Net::new_assert(gateway, free.prefix_len()))
}

/// Whether two subnets share an address.
pub(crate) fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a subnet")
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_given_lowest_first_without_network_gateway_and_broadcast() {
        let mut pool = Pool::new(net("10.0.0.2/29"));
        let now = Instant::now();
        let given: Vec<_> = std::iter::from_fn(|| pool.allocate(now)).collect();
        assert_eq!(given, [1, 3, 4, 5, 6].map(|last| Ipv4Addr::new(10, 0, 0, last)));
        assert_eq!(pool.in_use(), 8);
    }

    #[test]
    fn a_released_address_rests_unless_nothing_else_is_left() {
        let mut pool = Pool::new(net("10.0.0.1/29"));
        let start = Instant::now();
        let first = pool.allocate(start).expect("an address");
        pool.release(first, start);
        assert_eq!(pool.allocate(start), Some(ip("10.0.0.3")));
        assert_eq!(pool.allocate(start + REST), Some(first));

        pool.release(first, start);
        for last in [4, 5, 6] {
            assert_eq!(pool.allocate(start), Some(Ipv4Addr::new(10, 0, 0, last)));
        }
        assert_eq!(pool.allocate(start), Some(first), "the resting one is the last resort");
        assert_eq!(pool.allocate(start), None);
    }

    #[test]
    fn an_adopted_address_is_not_given_again() {
        let mut pool = Pool::new(net("10.0.0.1/24"));
        assert!(pool.take(ip("10.0.0.2")));
        assert!(!pool.take(ip("10.0.0.2")), "taken twice");
        assert!(!pool.take(ip("10.0.0.1")), "the gateway's");
        assert!(!pool.take(ip("10.0.1.2")), "of another subnet");
        assert_eq!(pool.allocate(Instant::now()), Some(ip("10.0.0.3")));
    }

    #[test]
    fn the_first_pool_that_is_not_routed_is_chosen() {
        assert_eq!(choose_subnet(&[]), Some(net("172.17.0.1/16")));
        let taken = [net("172.17.3.0/24"), net("172.18.0.0/15")];
        assert_eq!(choose_subnet(&taken), Some(net("172.20.0.1/16")));
        assert_eq!(choose_subnet(&[net("172.16.0.0/12")]), Some(net("192.168.0.1/20")));
        assert_eq!(choose_subnet(&[net("172.16.0.0/12"), net("192.168.0.0/16")]), None);
    }
}
