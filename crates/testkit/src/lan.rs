//! Hosts on one wire: the machine that the engine runs on, clients, further engines.
//!
//! The wire is 192.0.2.0/24 and 2001:db8::/64, and a host's number is the last part of both of its
//! addresses. The sandbox itself is number 1, and its default route leads to number 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{Namespace, Sandbox, command};

/// The number of the sandbox that has the wire.
pub const ENGINE: u8 = 1;
/// The number of the host that default routes lead to.
pub const ROUTER: u8 = 2;

/// A wire with hosts, made in a sandbox.
pub struct Lan<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Lan<'a> {
    /// Makes the wire and connects `sandbox` to it, whose interface is called `uplink`.
    pub fn new(sandbox: &'a Sandbox) -> Result<Self> {
        sandbox
            .sh("set -e
                ip netns add wire
                ip -n wire link add wire type bridge mcast_snooping 0
                ip -n wire link set wire up
                ip link add uplink type veth peer name host1 netns wire")?
            .ok()?;
        let lan = Self { sandbox };
        lan.plug(ENGINE)?;
        sandbox.sh(&configure("ip", "uplink", ENGINE))?.ok()?;
        sandbox.sh(&default_route("ip"))?.ok()?;
        Ok(lan)
    }

    /// Connects a new host: the network namespace `name`, its interface called `eth0`.
    pub fn add(&self, name: &str, number: u8) -> Result<Namespace> {
        let (ip, peer) = (format!("ip -n {name}"), format!("host{number}"));
        let configure = configure(&ip, "eth0", number);
        let script = format!(
            "set -e
            ip netns add {name}
            {ip} link set lo up
            ip -n wire link add {peer} type veth peer name eth0 netns {name}
            {configure}"
        );
        self.sandbox.sh(&script)?.ok()?;
        self.plug(number)?;
        Namespace::named(self.sandbox, name)
    }

    /// Connects another sandbox, whose interface is called `uplink` as well.
    pub fn join(&self, other: &Sandbox, number: u8) -> Result<()> {
        let peer = format!("host{number}");
        self.sandbox.sh(&format!("ip link add {peer} type veth peer name joining"))?.ok()?;
        // Only from outside of both are both seen.
        let mut moving = Command::new("nsenter");
        moving.args(["-t", &self.sandbox.init().to_string(), "-n", "ip", "link", "set"]);
        moving.args(["joining", "name", "uplink", "netns", &other.init().to_string()]);
        command::run(moving, b"", Duration::from_secs(60))?.ok()?;
        self.sandbox.sh(&format!("ip link set {peer} netns wire"))?.ok()?;
        other.sh(&configure("ip", "uplink", number))?.ok()?;
        other.sh(&default_route("ip"))?.ok()?;
        self.plug(number)
    }

    fn plug(&self, number: u8) -> Result<()> {
        let peer = format!("host{number}");
        self.sandbox.sh(&format!("ip -n wire link set {peer} master wire up"))?.ok()?;
        Ok(())
    }
}

/// The addresses of the host `number`, IPv4 and IPv6; the last part is written in decimals.
pub fn address(number: u8) -> [IpAddr; 2] {
    let last = u16::from_str_radix(&number.to_string(), 16).unwrap_or_default();
    [
        Ipv4Addr::new(192, 0, 2, number).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into(),
    ]
}

fn configure(ip: &str, interface: &str, number: u8) -> String {
    let [v4, v6] = address(number);
    format!(
        "{ip} addr add {v4}/24 dev {interface} && \
         {ip} addr add {v6}/64 dev {interface} nodad && {ip} link set {interface} up"
    )
}

fn default_route(ip: &str) -> String {
    let [v4, v6] = address(ROUTER);
    format!("{ip} route add default via {v4} && {ip} -6 route add default via {v6}")
}
