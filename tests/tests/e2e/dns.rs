//! The resolver at 127.0.0.11 between Debian's own client (dig) and server (dnsmasq).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::until;
use rustix::process::Signal;

use crate::setup::{Setup, plan};

/// Sends queries for names of its own, 64 at a time, and prints how many were answered how.
const MANY: &str = "import collections, socket, sys
total, codes, sent, open_ = int(sys.argv[1]), collections.Counter(), 0, set()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.connect(('127.0.0.11', 53))
while sent < total or open_:
    while sent < total and len(open_) < 64:
        label = b'n%d' % sent
        name = bytes([len(label)]) + label + b'\\7example\\3com\\0'
        s.send(sent.to_bytes(2, 'big') + b'\\1\\0\\0\\1' + bytes(6) + name + b'\\0\\1\\0\\1')
        open_.add(sent)
        sent += 1
    a = s.recv(4096)
    open_.remove(int.from_bytes(a[:2], 'big'))
    codes['code %d answers %d' % (a[3] & 15, int.from_bytes(a[6:8], 'big'))] += 1
print(dict(codes))
";

#[test]
fn dig_is_answered_in_every_form() -> Result<()> {
    plan("dig_is_answered_in_every_form", &[BUSYBOX]).run(|setup| {
        name_servers(setup, "nameserver 127.0.0.1\nsearch example.com\n")?;
        dnsmasq(setup, "--txt-record=example.com,hello --host-record=once.example.com,192.0.2.2")?;
        setup.ok("network create --ipv6 --subnet 10.98.0.0/24 --subnet fd98::/64 n1")?;
        setup.ok("network create --subnet 10.99.0.0/24 n2")?;
        setup.ok("run -d --name web --network n1 --ip 10.98.0.7 --ip6 fd98::7 --expose 80 --expose 8000-8002/udp busybox sleep 1000")?;
        setup.ok("run -d --name client --network n1 busybox sleep 1000")?;
        setup.ok("network connect --ip 10.99.0.7 n2 client")?;
        answered(setup)?;
        for (query, expected) in [
            ("web", "10.98.0.7"),
            ("+tcp WEB.n1", "10.98.0.7"),
            ("web AAAA", "fd98::7"),
            ("client.n2", "10.99.0.7"),
            ("-x 10.98.0.7", "web.n1."),
            ("-x fd98::7", "web.n1."),
            ("_80._tcp.web SRV", "0 0 80 web.n1."),
            ("+tcp _8001._udp.web.n1 SRV", "0 0 8001 web.n1."),
            ("www.example.com", "192.0.2.1"),
            ("+search www", "192.0.2.1"),
            ("example.com TXT", "\"hello\""),
        ] {
            let found = dig(setup, "client", &format!("+short {query}"))?;
            ensure!(found == expected, "{query}: {found}");
        }
        // A known name without such a record is no error, and not for others to answer.
        for query in ["client.n2 AAAA", "web MX", "web SRV", "_81._tcp.web SRV", "+tcp web MX"] {
            let found = dig(setup, "client", query)?;
            ensure!(found.contains("status: NOERROR") && found.contains("ANSWER: 0"), "{found}");
            ensure!(found.contains("EDNS: version: 0"), "{found}");
        }
        let plain = dig(setup, "client", "+noedns web")?;
        ensure!(!plain.contains("EDNS") && plain.contains("flags: qr rd ra;"), "{plain}");
        Ok(())
    })
}

#[test]
fn long_answers_are_cut_and_had_by_tcp() -> Result<()> {
    plan("long_answers_are_cut_and_had_by_tcp", &[BUSYBOX]).run(|setup| {
        name_servers(setup, "nameserver 127.0.0.1\n")?;
        let many: Vec<String> =
            (1..=60).map(|n| format!("--host-record=many.example.com,198.51.100.{n}")).collect();
        dnsmasq(setup, &many.join(" "))?;
        setup.ok("network create n1")?;
        setup.ok("run -d --name client --network n1 busybox sleep 1000")?;
        answered(setup)?;
        let cut = dig(setup, "client", "+noedns +ignore many.example.com")?;
        ensure!(cut.contains("flags: qr") && cut.contains(" tc "), "{cut}");
        for query in
            ["+noedns many.example.com", "+tcp many.example.com", "+bufsize=4096 many.example.com"]
        {
            let whole = dig(setup, "client", &format!("+short {query}"))?;
            ensure!(whole.lines().count() == 60, "{query}: {whole}");
        }
        Ok(())
    })
}

#[test]
fn answers_are_kept_and_need_no_daemon() -> Result<()> {
    plan("answers_are_kept_and_need_no_daemon", &[BUSYBOX]).run(|setup| {
        name_servers(setup, "nameserver 127.0.0.1\n")?;
        let server = dnsmasq(setup, "--local-ttl=3000")?;
        setup.ok("network create --subnet 10.98.0.0/24 n1")?;
        setup.ok("run -d --name client --network n1 --ip 10.98.0.7 busybox sleep 1000")?;
        answered(setup)?;
        let pid = setup.daemon.inspect("client")?["State"]["Pid"].to_string();
        setup.daemon.end(Signal::KILL)?;
        let ask = |query: &str| dig_in(setup, &pid, query);
        ensure!(ask("+short client")? == "10.98.0.7", "a name of ours");
        ensure!(ask("+short new.example.com")? == "192.0.2.1", "a name of others");
        setup.daemon.sandbox().sh(&format!("kill -9 {server}"))?.ok()?;
        ensure!(ask("+short new.example.com")? == "192.0.2.1", "it was kept");
        let lost = ask("newer.example.com")?;
        ensure!(lost.contains("status: SERVFAIL"), "{lost}");
        dnsmasq(setup, "")?;
        ensure!(ask("+short newer.example.com")? == "192.0.2.1", "the server is back");
        setup.daemon.start_again()
    })
}

#[test]
fn a_dead_server_costs_no_answer() -> Result<()> {
    plan("a_dead_server_costs_no_answer", &[BUSYBOX]).run(|setup| {
        name_servers(setup, "nameserver 127.0.0.9\nnameserver 127.0.0.1\n")?;
        dnsmasq(setup, "")?;
        // Takes whatever comes, and says nothing.
        let hole = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
                    s.bind((\"127.0.0.9\", 53)); time.sleep(1000)";
        let dir = setup.daemon.sandbox().dir().display().to_string();
        let start = format!("setsid python3 -c '{hole}' </dev/null >/dev/null 2>{dir}/hole.log &");
        setup.daemon.sandbox().sh(&start)?.ok()?;
        until(Duration::from_secs(60), "the dead server", || {
            let found = setup.daemon.sandbox().sh("ss -Hlnu src 127.0.0.9:53")?;
            Ok((!found.stdout.is_empty()).then_some(()))
        })?;
        setup.ok("network create n1")?;
        setup.ok("run -d --name client --network n1 busybox sleep 1000")?;
        answered(setup)?;
        std::fs::write(format!("{dir}/many.py"), MANY)?;
        let pid = setup.daemon.inspect("client")?["State"]["Pid"].to_string();
        let line = format!("nsenter -t {pid} -n python3 {dir}/many.py 3000");
        let found = setup.daemon.sandbox().sh(&line)?.ok()?;
        ensure!(found == "{'code 0 answers 1': 3000}", "{found}");
        Ok(())
    })
}

#[test]
fn servers_domains_and_options_can_be_given() -> Result<()> {
    plan("servers_domains_and_options_can_be_given", &[BUSYBOX]).run(|setup| {
        name_servers(setup, "nameserver 127.0.0.1\nsearch host.test\noptions timeout:3\n")?;
        dnsmasq(setup, "")?;
        setup.ok("network create --internal --subnet 10.98.0.0/24 shut")?;
        let conf = |options: &str| -> Result<String> {
            setup.ok(&format!("run --rm --network shut {options} busybox cat /etc/resolv.conf"))
        };
        let given = conf("--dns 10.98.0.1 --dns-search a.test --dns-search b.test --dns-option ndots:2")?;
        for line in [
            "nameserver 127.0.0.11",
            "search a.test b.test",
            "options ndots:2",
            "# ExtServers: [10.98.0.1]",
            "# Overrides: [nameservers search options]",
            "# Option ndots from: override",
        ] {
            ensure!(given.lines().any(|one| one == line), "{line}: {given}");
        }
        let hosts = conf("")?;
        for line in ["search host.test", "options timeout:3 ndots:0", "# ExtServers: [host(127.0.0.1)]"] {
            ensure!(hosts.lines().any(|one| one == line), "{line}: {hosts}");
        }
        let none = conf("--dns-search .")?;
        ensure!(!none.lines().any(|line| line.starts_with("search")), "{none}");
        // Nothing is asked for from the host by those that are shut in; servers beside them are.
        setup.ok("run -d --name client --network shut busybox sleep 1000")?;
        setup.ok("run -d --name own --network shut --dns 10.98.0.1 --dns-option ndots:1 busybox sleep 1000")?;
        let shut = dig(setup, "client", "www.example.com")?;
        ensure!(shut.contains("status: SERVFAIL"), "{shut}");
        let own = dig(setup, "own", "+short www.example.com")?;
        ensure!(own == "192.0.2.1", "{own}");
        let single = dig(setup, "own", "single")?;
        ensure!(single.contains("status: NOERROR") && single.contains("ANSWER: 0"), "{single}");
        Ok(())
    })
}

/// What the host's `/etc/resolv.conf` says.
fn name_servers(setup: &Setup, text: &str) -> Result<()> {
    let path = setup.daemon.sandbox().dir().join("resolv.conf");
    std::fs::write(&path, text)?;
    let mount = format!("mount --bind {} /etc/resolv.conf", path.display());
    setup.daemon.sandbox().sh(&mount)?.ok().map(drop)
}

/// Starts a server on the host that knows everybody below example.com; returns its process id.
fn dnsmasq(setup: &Setup, options: &str) -> Result<String> {
    let dir = setup.daemon.sandbox().dir().display().to_string();
    let start = format!(
        "dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --user=root --port=53 \
         --bind-dynamic --except-interface=none --pid-file={dir}/dnsmasq.pid \
         --log-facility={dir}/dnsmasq.log --address=/example.com/192.0.2.1 {options} \
         && cat {dir}/dnsmasq.pid"
    );
    setup.daemon.sandbox().sh(&start)?.ok()
}

/// Waits until the host's servers are asked and answer.
fn answered(setup: &Setup) -> Result<()> {
    until(Duration::from_secs(60), "the host's servers", || {
        Ok((dig(setup, "client", "+short first.example.com")? == "192.0.2.1").then_some(()))
    })
}

fn dig(setup: &Setup, container: &str, query: &str) -> Result<String> {
    let pid = setup.daemon.inspect(container)?["State"]["Pid"].as_i64().context("no process")?;
    dig_in(setup, &pid.to_string(), query)
}

/// What dig prints inside the network of a process; no answer is an answer, too.
fn dig_in(setup: &Setup, pid: &str, query: &str) -> Result<String> {
    let line = format!("nsenter -t {pid} -n dig @127.0.0.11 +tries=1 +timeout=30 {query} || true");
    setup.daemon.sandbox().sh(&line)?.ok()
}
