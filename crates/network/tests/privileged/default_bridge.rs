//! The daemon's settings of the default bridge, as containers see them.

use std::path::Path;

use davit_network::{Config, Networks};

use crate::networks::named;
use crate::support::{Host, address, bridge, first, in_private_namespaces, inside, on, shell};

fn opened(host: &Host, change: impl FnOnce(&mut Config)) -> Networks {
    let mut config = host.config();
    change(&mut config);
    Networks::open(config).expect("networks")
}

fn inside_shell(key: &Path, command: &str) -> String {
    inside(key, || shell(command))
}

#[test]
fn containers_get_addresses_of_the_fixed_range_and_the_gateway_given() {
    in_private_namespaces("containers_get_addresses_of_the_fixed_range", |host| {
        let networks = opened(host, |config| {
            config.bridge_ip = Some("10.9.0.1/16".parse().expect("a subnet"));
            config.fixed_cidr = Some("10.9.7.0/24".parse().expect("a subnet"));
            config.default_gateway = Some("10.9.0.254".parse().expect("an address"));
        });
        let web = networks.create_sandbox("web", &bridge(Vec::new())).expect("web");
        assert_eq!(first(&web).ipv4.expect("an address").to_string(), "10.9.7.0/16");
        let routes = inside_shell(&web.key, "ip route");
        assert!(routes.starts_with("default via 10.9.0.254 dev eth0"), "{routes}");
        let found = networks.get("bridge").expect("the bridge").definition;
        let subnet = &found.subnets[0];
        assert_eq!(subnet.range.map(|net| net.to_string()).as_deref(), Some("10.9.7.0/24"));
        assert_eq!(subnet.gateway.map(|ip| ip.to_string()).as_deref(), Some("10.9.0.1"));
    });
}

#[test]
fn a_fixed_range_alone_is_the_subnet() {
    in_private_namespaces("a_fixed_range_alone_is_the_subnet", |host| {
        let networks = opened(host, |config| {
            config.fixed_cidr = Some("10.9.7.0/24".parse().expect("a subnet"));
        });
        let web = networks.create_sandbox("web", &bridge(Vec::new())).expect("web");
        assert_eq!(first(&web).ipv4.expect("an address").to_string(), "10.9.7.2/24");
        assert_eq!(first(&web).gateway, Some("10.9.7.1".parse().expect("an address")));
    });
}

#[test]
fn the_default_bridge_has_ipv6_when_asked() {
    in_private_namespaces("the_default_bridge_has_ipv6_when_asked", |host| {
        let networks = opened(host, |config| config.ipv6 = true);
        let subnets = networks.get("bridge").expect("the bridge").definition.subnets;
        let web = networks.create_sandbox("web", &bridge(Vec::new())).expect("web");
        let v6 = first(&web).ipv6.expect("an IPv6 address");
        assert!(subnets[1].subnet.contains(&std::net::IpAddr::V6(v6.addr())), "{subnets:?}");
        let gateway = subnets[1].gateway.expect("a gateway");
        let routes = inside_shell(&web.key, "ip -6 route show default");
        assert!(routes.starts_with(&format!("default via {gateway} dev eth0")), "{routes}");
        networks.remove_sandbox("web").expect("remove");
        drop(networks);
        let networks = opened(host, |config| config.ipv6 = true);
        let again = networks.get("bridge").expect("the bridge").definition.subnets;
        assert_eq!(again, subnets, "remembered");
        drop(networks);
        let networks = opened(host, |config| {
            config.ipv6 = true;
            config.fixed_cidr_v6 = Some("fd00:9:9::/64".parse().expect("a subnet"));
            config.default_gateway_v6 = Some("fd00:9:9::99".parse().expect("an address"));
        });
        let web = networks.create_sandbox("web", &bridge(Vec::new())).expect("web");
        assert_eq!(first(&web).ipv6.expect("an address").to_string(), "fd00:9:9::2/64");
        let routes = inside_shell(&web.key, "ip -6 route show default");
        assert!(routes.starts_with("default via fd00:9:9::99 dev eth0"), "{routes}");
    });
}

#[test]
fn networks_are_cut_from_the_pools_given() {
    in_private_namespaces("networks_are_cut_from_the_pools_given", |host| {
        let networks = opened(host, |config| {
            config.address_pools = vec!["base=10.77.0.0/16,size=24".parse().expect("a pool")];
        });
        networks.create(&named("n1")).expect("n1");
        let web = networks.create_sandbox("web", &on("n1", Vec::new())).expect("web");
        assert_eq!(address(&web).to_string(), "10.77.1.2");
    });
}

#[test]
fn settings_that_contradict_each_other_are_errors() {
    in_private_namespaces("settings_that_contradict_each_other_are_errors", |host| {
        let base =
            Config { bridge_ip: Some("10.9.0.1/24".parse().expect("a subnet")), ..host.config() };
        let fixed_cidr = Some("10.8.0.0/24".parse().expect("a subnet"));
        let outside = Networks::open(Config { fixed_cidr, ..base.clone() }).expect_err("outside");
        assert!(outside.to_string().contains("10.8.0.0/24 is not inside"), "{outside}");
        let default_gateway = Some("10.8.0.1".parse().expect("an address"));
        let outside = Networks::open(Config { default_gateway, ..base }).expect_err("outside");
        assert!(outside.to_string().contains("10.8.0.1 is not inside"), "{outside}");
    });
}
