//! The hosts, networks, containers and servers that the table speaks of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::probe::{self, Outcome, Servers, Transport};
use davit_testkit::{
    Daemon, DaemonOptions, Engine, Lan, Namespace, Registry, Sandbox, lan, until_true,
};

use super::table::{Cell, From, NETWORKS, To, Verdict};
use crate::setup::Setup;

/// Ports of every container: published, published on loopback only, not published.
const PORTS: [u16; 3] = [1000, 1001, 1002];
/// A port of the host's own.
const HOST_SERVICE: u16 = 7000;
const OUTSIDE: u8 = lan::ROUTER;
const ABROAD: u8 = 3;
const FORGER: u8 = 4;
/// The network of the container that is on another one than the target; its number comes after
/// those of the table.
const OTHER: &str = "other";

/// Everybody, ready.
pub(super) struct Scene {
    outside: Namespace,
    forger: Namespace,
    host: Namespace,
    other: Container,
    /// By network.
    siblings: Vec<Container>,
    targets: Vec<Container>,
    foreign: Foreign,
    /// Held for their threads.
    _servers: Vec<Servers>,
}

/// A running container.
struct Container {
    namespace: Namespace,
    /// By family.
    addresses: [IpAddr; 2],
}

/// Another host with an engine and a container.
struct Foreign {
    container: Container,
    /// Held for their processes.
    _registry: Registry,
    _daemon: Daemon,
}

/// A daemon with a default bridge of both families.
pub(super) fn daemon() -> DaemonOptions {
    let mut options = DaemonOptions::default();
    let words = ["--bip", "172.20.0.1/24", "--ipv6", "--fixed-cidr-v6", "fd00:20::/64"];
    options.arguments.extend(words.map(str::to_owned));
    if options.engine == Engine::Docker {
        // So it was asked for in Debian's release of it.
        options.arguments.extend(["--experimental", "--ip6tables"].map(str::to_owned));
    }
    options
}

impl Scene {
    /// Makes all of it.
    pub(super) fn set(setup: &Setup, transports: &[Transport]) -> Result<Self> {
        let daemon = &setup.daemon;
        let wire = Lan::new(daemon.sandbox())?;
        let outside = wire.add("outside", OUTSIDE)?;
        let forger = wire.add("forger", FORGER)?;
        let foreign = Foreign::start(&wire)?;
        for (number, name) in NETWORKS.iter().enumerate() {
            make_network(setup, number, name)?;
        }
        make_network(setup, NETWORKS.len(), OTHER)?;
        let scene = Self {
            outside,
            forger,
            host: Namespace::of_sandbox(daemon.sandbox())?,
            other: Container::run(daemon, OTHER, OTHER, &[])?,
            siblings: each_network(|_, name| {
                Container::run(daemon, name, &format!("sibling-{name}"), &[])
            })?,
            targets: each_network(|number, name| {
                Container::run(daemon, name, &format!("target-{name}"), &publish(number))
            })?,
            foreign,
            _servers: Vec::new(),
        };
        lay_ways(daemon.sandbox())?;
        let some = [&scene.other, &scene.foreign.container];
        let all = some.into_iter().chain(&scene.siblings).chain(&scene.targets);
        all.into_iter().try_for_each(Container::wait_for_addresses)?;
        let serve = |target: &Container| Servers::start(&target.namespace, transports, &PORTS);
        let servers: Vec<Servers> = scene.targets.iter().map(serve).collect::<Result<_>>()?;
        scene.forged_packets_arrive()?;
        Ok(Self { _servers: servers, ..scene })
    }

    /// Where the probe of a cell comes from.
    pub(super) fn origin(&self, cell: &Cell) -> &Namespace {
        match cell.from {
            From::Outside => &self.outside,
            From::Forger => &self.forger,
            From::Host => &self.host,
            From::Other => &self.other.namespace,
            From::Abroad => &self.foreign.container.namespace,
            From::Sibling => &self.siblings[cell.network].namespace,
            From::Itself => &self.targets[cell.network].namespace,
        }
    }

    /// Where it goes.
    pub(super) fn address(&self, cell: &Cell) -> SocketAddr {
        let host = lan::address(lan::ENGINE)[cell.family];
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()][cell.family];
        let container = self.targets[cell.network].addresses[cell.family];
        let [published, private, closed] = host_ports(cell.network);
        let (ip, port): (IpAddr, u16) = match cell.to {
            To::Published => (host, published),
            To::Loopback => (loopback, published),
            To::Private => (host, private),
            To::Own => (loopback, private),
            To::Closed => (host, closed),
            To::Direct => (container, PORTS[0]),
            To::Inner => (container, PORTS[2]),
        };
        (ip, port).into()
    }

    /// Whom the server is to see, if it is to see anybody.
    pub(super) fn source(&self, cell: &Cell) -> Option<IpAddr> {
        let source = match (cell.verdict, cell.from) {
            (Verdict::Gateway, _) => gateway(cell.network),
            (Verdict::Engine, From::Abroad) => lan::address(ABROAD),
            (Verdict::Kept, From::Outside) => lan::address(OUTSIDE),
            (Verdict::Kept, From::Forger) => lan::address(FORGER),
            (Verdict::Kept, From::Host) => lan::address(lan::ENGINE),
            (Verdict::Kept, From::Sibling) => self.siblings[cell.network].addresses,
            (Verdict::Kept, From::Itself) => self.targets[cell.network].addresses,
            (Verdict::Kept, From::Other) => self.other.addresses,
            (Verdict::Kept, From::Abroad) => self.foreign.container.addresses,
            _ => return None,
        };
        Some(source[cell.family])
    }

    /// What the forger sends gets as far as a service of the host's: the host takes packets from the
    /// wire for loopback addresses.
    fn forged_packets_arrive(&self) -> Result<()> {
        let _service = Servers::start(&self.host, &[Transport::Tcp], &[HOST_SERVICE])?;
        let service = (Ipv4Addr::LOCALHOST, HOST_SERVICE).into();
        let patience = Duration::from_secs(60);
        let found = probe::reach(&self.forger, Transport::Tcp, service, patience)?;
        ensure!(found == Outcome::Reached(lan::address(FORGER)[0]), "forged: {found:?}");
        Ok(())
    }
}

impl Container {
    fn run(daemon: &Daemon, network: &str, name: &str, flags: &[String]) -> Result<Self> {
        let words = ["run", "-d", "--name", name, "--network", network];
        let words = words.into_iter().chain(flags.iter().map(String::as_str));
        let words: Vec<&str> = words.chain(["busybox", "sleep", "10000"]).collect();
        daemon.davit(&words)?.ok()?;
        let endpoint = &daemon.inspect(name)?["NetworkSettings"]["Networks"][network];
        let address = |key: &str| -> Result<IpAddr> {
            let text = endpoint[key].as_str().with_context(|| format!("{name}: no {key}"))?;
            text.parse().with_context(|| format!("{name}: {key} is {text:?}"))
        };
        let addresses = [address("IPAddress")?, address("GlobalIPv6Address")?];
        let namespace = Namespace::of_container(daemon, name)?;
        Ok(Self { namespace, addresses })
    }

    /// Waits until the kernel has made sure that nobody else has its addresses.
    fn wait_for_addresses(&self) -> Result<()> {
        let table = || Ok(std::fs::read_to_string("/proc/thread-self/net/if_inet6")?);
        until_true(Duration::from_secs(60), "addresses to be usable", || {
            Ok(!self.namespace.inside(table)?.lines().any(is_tentative))
        })
    }
}

impl Foreign {
    fn start(wire: &Lan<'_>) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        wire.join(&sandbox, ABROAD)?;
        // It knows the ways to the first engine's containers.
        sandbox.sh(&ways("ip"))?.ok()?;
        let registry = Registry::start(&sandbox, &[BUSYBOX])?;
        let mut options = daemon();
        options.arguments[1] = "172.30.0.1/24".to_owned();
        options.arguments[4] = "fd00:30::/64".to_owned();
        let daemon = Daemon::start_with(sandbox, options)?;
        daemon.pull(&registry, BUSYBOX)?;
        let container = Container::run(&daemon, "bridge", "abroad", &[])?;
        Ok(Self { container, _registry: registry, _daemon: daemon })
    }
}

/// Both addresses of a network's bridge.
fn gateway(network: usize) -> [IpAddr; 2] {
    let number = 20 + network as u8;
    let group = u16::from_str_radix(&number.to_string(), 16).unwrap_or_default();
    [Ipv4Addr::new(172, number, 0, 1).into(), Ipv6Addr::new(0xfd00, group, 0, 0, 0, 0, 0, 1).into()]
}

/// The host's ports for a network's target, as in [`PORTS`].
fn host_ports(network: usize) -> [u16; 3] {
    let first = 8000 + 10 * network as u16;
    [first, first + 1, first + 2]
}

fn publish(network: usize) -> Vec<String> {
    let [published, private, _] = host_ports(network);
    let mut flags = Vec::new();
    for transport in Transport::available() {
        for (host, port, inside) in [
            ("", published, PORTS[0]),
            ("127.0.0.1:", private, PORTS[1]),
            ("[::1]:", private, PORTS[1]),
        ] {
            flags.extend(["-p".to_owned(), format!("{host}{port}:{inside}/{transport}")]);
        }
    }
    flags
}

/// All but the first are networks of the user's.
fn make_network(setup: &Setup, number: usize, name: &str) -> Result<()> {
    let option = "-o com.docker.network.bridge";
    let flags = match name {
        "bridge" => return Ok(()),
        "routed" => format!("{option}.gateway_mode_ipv4=routed {option}.gateway_mode_ipv6=routed"),
        "internal" => "--internal".to_owned(),
        "icc-off" => format!("{option}.enable_icc=false"),
        _ => String::new(),
    };
    let number = 20 + number;
    let subnets = format!("--subnet 172.{number}.0.0/24 --ipv6 --subnet fd00:{number}::/64");
    let gateways = format!("--gateway 172.{number}.0.1 --gateway fd00:{number}::1");
    setup.ok(&format!("network create {subnets} {gateways} {flags} {name}"))?;
    Ok(())
}

fn each_network<T>(make: impl Fn(usize, &str) -> Result<T>) -> Result<Vec<T>> {
    NETWORKS.iter().enumerate().map(|(number, name)| make(number, name)).collect()
}

/// Routes to the containers by the engine's host.
fn ways(ip: &str) -> String {
    let [v4, v6] = lan::address(lan::ENGINE);
    let last = 20 + NETWORKS.len();
    let way = |number| {
        format!(
            "{ip} route add 172.{number}.0.0/24 via {v4} && \
             {ip} -6 route add fd00:{number}::/64 via {v6}"
        )
    };
    (20..=last).map(way).collect::<Vec<_>>().join(" && ")
}

/// The outside knows the ways to containers. The forger has no loopback addresses of its own, and the
/// engine's host takes such packets from the wire, as some administrators have it.
fn lay_ways(sandbox: &Sandbox) -> Result<()> {
    let engine = lan::address(lan::ENGINE)[0];
    let ways = ways("ip -n outside");
    sandbox
        .sh(&format!(
            "set -e
            {ways}
            echo 1 > /proc/sys/net/ipv4/conf/uplink/route_localnet
            ip -n forger addr flush dev lo
            ip netns exec forger sh -c 'echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet'
            ip -n forger route add 127.0.0.0/8 via {engine}"
        ))?
        .ok()?;
    Ok(())
}

/// A line of `/proc/net/if_inet6` whose flags say that the address is being tried.
fn is_tentative(line: &str) -> bool {
    const TENTATIVE: u8 = 0x40;
    let flags = line.split_whitespace().nth(4).and_then(|word| u8::from_str_radix(word, 16).ok());
    flags.is_some_and(|flags| flags & TENTATIVE != 0)
}
