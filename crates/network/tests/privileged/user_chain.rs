//! The administrator's rules in `DOCKER-USER`.

use davit_network::Protocol;

use crate::support::{
    ask_tcp, bridge, eventually, in_private_namespaces, inside, port, serve, shell,
};

const RULES: &str = "nft list chain ip filter DOCKER-USER";
const JUMPS: &str = "nft list chain ip filter FORWARD | grep -c 'jump DOCKER-USER'";

#[test]
fn what_the_administrator_drops_reaches_no_container() {
    in_private_namespaces("what_the_administrator_drops_reaches_no_container", |host| {
        let outside = host.add_outside();
        let networks = host.open();
        let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
        let web = networks.create_sandbox("web", &spec).expect("web");
        serve(&web.key, 80);
        let ask = || inside(&outside, || ask_tcp(("192.0.2.1", 8080)));
        ask().expect("nothing is in the chain");
        shell("iptables-nft -I DOCKER-USER -s 192.0.2.2 -j DROP");
        ask().expect_err("dropped by the administrator");
        shell("ip6tables-nft -I DOCKER-USER -s 2001:db8::2 -j DROP");

        drop(networks);
        let rules = shell(RULES);
        let networks = host.open();
        networks.recover(&[("web".to_owned(), "web".to_owned(), web)]).expect("recover");
        assert_eq!(shell(RULES), rules, "kept");
        assert_eq!(shell(JUMPS).trim(), "1", "called once");
        ask().expect_err("still dropped");
        shell("iptables-nft -I DOCKER-USER -p tcp -j RETURN");
        ask().expect("left to the rules that publish it");
        shell("iptables-nft -D DOCKER-USER -p tcp -j RETURN");
        ask().expect_err("dropped again");

        shell("nft flush ruleset");
        eventually("the chain is back", || shell("nft list ruleset").contains("jump DOCKER-USER"));
        ask().expect("without the rules that were flushed");
    });
}

#[test]
fn a_chain_that_is_called_already_is_left_alone() {
    in_private_namespaces("a_chain_that_is_called_already_is_left_alone", |host| {
        shell(
            "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -p icmp -j ACCEPT; \
             iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; \
             iptables-nft -A DOCKER-USER -p udp -j DROP",
        );
        let table = shell("nft list table ip filter");
        let _networks = host.open();
        assert_eq!(shell("nft list table ip filter"), table);
    });
}

#[test]
fn a_policy_stays_when_the_chain_is_made() {
    in_private_namespaces("a_policy_stays_when_the_chain_is_made", |host| {
        shell("iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -p icmp -j ACCEPT");
        let _networks = host.open();
        let chain = shell("iptables-nft -S FORWARD");
        let expected = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -p icmp -j ACCEPT\n";
        assert_eq!(chain, expected);
    });
}
