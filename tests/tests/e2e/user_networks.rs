//! Networks of the user's, by both command lines and the API.

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::setup::{BOTH, Setup, plan};

#[test]
fn networks_are_made_joined_left_and_removed() -> Result<()> {
    plan("networks_are_made_joined_left_and_removed", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let ok = |line: &str| -> Result<String> {
                let words: Vec<&str> = line.split_whitespace().collect();
                setup.run(cli, &words)?.ok()
            };
            let id = ok("network create --label a=b --subnet 10.99.0.0/24 --gateway 10.99.0.254 --ip-range 10.99.0.128/25 n1")?;
            ensure!(id.len() == 64, "{id}");
            ok("run -d --name web busybox httpd -f -h /var/www")?;
            ok("run -d --name one --network n1 --network-alias first busybox sleep 1000")?;
            ok("network connect --ip 10.99.0.200 --alias al n1 web")?;
            let fetched = ok("exec one wget -q -O - http://10.99.0.200/")?;
            ensure!(fetched == "busybox", "{fetched}");
            let network = inspected(setup, "n1")?;
            ensure!(network["IPAM"]["Config"][0]["Gateway"] == "10.99.0.254", "{network}");
            let containers = network["Containers"].as_object().context("no containers")?;
            let mut addresses: Vec<&str> =
                containers.values().filter_map(|one| one["IPv4Address"].as_str()).collect();
            addresses.sort_unstable();
            ensure!(addresses == ["10.99.0.128/24", "10.99.0.200/24"], "{addresses:?}");

            let web = setup.daemon.inspect("web")?;
            let endpoint = &web["NetworkSettings"]["Networks"]["n1"];
            ensure!(endpoint["IPAddress"] == "10.99.0.200" && endpoint["IPPrefixLen"] == 24);
            ensure!(endpoint["Aliases"] == json!(["al"]), "{endpoint}");
            let short = &web["Id"].as_str().context("no id")?[..12];
            ensure!(endpoint["DNSNames"] == json!(["web", "al", short]), "{endpoint}");
            let hosts = ok("exec web cat /etc/hosts")?;
            ensure!(hosts.contains(&format!("10.99.0.200\t{short}")), "{hosts}");

            let used = setup.run(cli, &["network", "rm", "n1"])?;
            ensure!(used.code != 0 && used.stderr.contains("network n1 has active endpoints"));
            ok("network disconnect n1 web")?;
            ensure!(!ok("exec web cat /etc/hosts")?.contains("10.99.0.200"));
            ensure!(ok("exec web ip -o link")?.lines().count() == 2, "an interface is left");
            ok("rm -f one web")?;
            ensure!(ok("network ls -q --filter label=a=b --no-trunc")? == id);
            ensure!(ok("network ls -q --filter type=builtin")?.lines().count() == 3);
            ok("network rm n1")?;
        }
        Ok(())
    })
}

#[test]
fn refusals_have_dockers_words() -> Result<()> {
    plan("refusals_have_dockers_words", &[BUSYBOX]).run(|setup| {
        let subnet = |text: &str| json!({"Config": [{"Subnet": text}]});
        setup
            .daemon
            .post("/networks/create", &json!({"Name": "n1", "IPAM": subnet("10.99.0.0/24")}))?
            .expect(201)?;
        setup.ok("run -d --name web --network n1 busybox sleep 1000")?;
        let web = setup.ok("inspect -f {{.Id}} web")?;
        let not_connected = format!("container {web} is not connected to network bridge");
        for (path, body, status, message) in [
            ("create", json!({"Name": "n1"}), 409, "network with name n1 already exists"),
            (
                "create",
                json!({"Name": "n2", "IPAM": subnet("10.99.0.0/24")}),
                403,
                "invalid pool request: Pool overlaps with other one on this address space",
            ),
            (
                "create",
                json!({"Name": "n3", "Driver": "nosuch"}),
                404,
                "plugin \"nosuch\" not found",
            ),
            (
                "create",
                json!({"Name": "n3", "IPAM": subnet("10.98.0.1/24")}),
                400,
                "invalid network config:\ninvalid subnet 10.98.0.1/24: it should be 10.98.0.0/24",
            ),
            (
                "create",
                json!({"Name": "bridge"}),
                403,
                "operation is not permitted on predefined bridge network ",
            ),
            (
                "n1/connect",
                json!({"Container": "web"}),
                403,
                "endpoint with name web already exists in network n1",
            ),
            ("bridge/disconnect", json!({"Container": "web"}), 500, &not_connected),
            ("nosuch/connect", json!({"Container": "web"}), 404, "network nosuch not found"),
            ("n1/connect", json!({"Container": "nosuch"}), 404, "No such container: nosuch"),
        ] {
            let answer = setup.daemon.post(&format!("/networks/{path}"), &body)?;
            let (code, answer) = (answer.status, answer.json()?);
            ensure!(
                code == status && answer["message"] == message,
                "{path} {body}: {code} {answer}"
            );
        }
        let predefined = setup.daemon.request("DELETE", "/networks/bridge")?.expect(403)?;
        let text = "bridge is a pre-defined network and cannot be removed";
        ensure!(predefined.json()?["message"] == text);
        let ip = setup.davit("run --rm --ip 172.17.0.9 busybox true")?;
        ensure!(
            ip.code == 125
                && ip.stderr.contains(
                    "user specified IP address is supported on user defined networks only"
                ),
            "{}",
            ip.stderr
        );
        Ok(())
    })
}

#[test]
fn several_networks_at_once_and_after_a_restart() -> Result<()> {
    plan("several_networks_at_once_and_after_a_restart", &[BUSYBOX]).run(|setup| {
        setup.ok("network create n1")?;
        setup.ok("network create --ipv6 n2")?;
        setup.ok("network create --internal n3")?;
        setup.ok("run -d --name web --network name=n1,mac-address=02:42:00:00:00:07 --network name=n2,gw-priority=1 -p 8080:80 busybox httpd -f -h /var/www")?;
        setup.ok("create --name later --network n3 busybox sleep 1000")?;
        setup.ok("network connect n1 later")?;
        let route = setup.ok("exec web ip route")?;
        ensure!(route.contains("default via 172.19.0.1 dev eth1"), "{route}");
        let link = setup.ok("exec web ip -o link show eth0")?;
        ensure!(link.contains("02:42:00:00:00:07"), "{link}");
        ensure!(setup.wait_for_page("http://127.0.0.1:8080/")? == "busybox\n");
        let before = settings(setup, "web")?;
        ensure!(before["n2"]["GlobalIPv6PrefixLen"] == 64, "{before}");

        setup.daemon.end(Signal::KILL)?;
        setup.daemon.start_again()?;
        ensure!(settings(setup, "web")? == before);
        ensure!(setup.wait_for_page("http://127.0.0.1:8080/")? == "busybox\n");
        setup.ok("network disconnect n2 web")?;
        let route = setup.ok("exec web ip route")?;
        ensure!(route.contains("default via 172.18.0.1 dev eth0"), "{route}");
        ensure!(setup.wait_for_page("http://127.0.0.1:8080/")? == "busybox\n", "the port follows");
        setup.ok("network rm n2")?;
        setup.ok("start later")?;
        let links = setup.ok("exec later ip -o -4 addr")?;
        ensure!(links.contains("eth0") && links.contains("eth1"), "{links}");
        setup.ok("stop -t 0 web later")?;
        setup.ok("start web")?;
        let after = settings(setup, "web")?;
        ensure!(after.as_object().context("networks")?.keys().collect::<Vec<_>>() == ["n1"]);
        setup.ok("rm -f web later")?;
        let pruned = setup.ok("network prune -f")?;
        ensure!(pruned == "Deleted Networks:\nn1\nn3", "{pruned}");
        let rest = setup.daemon.sandbox().sh("ip -o link | grep -c br- || true")?.ok()?;
        ensure!(rest == "0", "{rest} bridges are left");
        Ok(())
    })
}

fn inspected(setup: &Setup, network: &str) -> Result<Value> {
    setup.daemon.request("GET", &format!("/networks/{network}"))?.expect(200)?.json()
}

fn settings(setup: &Setup, container: &str) -> Result<Value> {
    Ok(setup.daemon.inspect(container)?["NetworkSettings"]["Networks"].clone())
}

#[test]
fn names_resolve_on_networks_of_the_users() -> Result<()> {
    plan("names_resolve_on_networks_of_the_users", &[BUSYBOX]).run(|setup| {
        setup.ok("network create n1")?;
        setup.ok("network create n2")?;
        setup
            .ok("run -d --name web --network n1 --network-alias al busybox httpd -f -h /var/www")?;
        setup.ok("run -d --name client --network n1 --link web:db busybox sleep 1000")?;
        setup.ok("run -d --name stranger --network n2 busybox sleep 1000")?;
        let conf = setup.ok("exec client cat /etc/resolv.conf")?;
        ensure!(conf.contains("nameserver 127.0.0.11\n"), "{conf}");
        let short = setup.ok("inspect -f {{.Id}} web")?[..12].to_owned();
        for name in ["web", "al", "db", "WEB", "web.n1", &short] {
            ensure!(fetches(setup, "client", name)?, "{name} is not known");
        }
        ensure!(!fetches(setup, "stranger", "web")?, "a stranger knows web");
        setup.ok("network connect --alias other n1 stranger")?;
        ensure!(fetches(setup, "stranger", "web")?, "connected, it is known");
        setup.ok("network disconnect n1 stranger")?;
        ensure!(!fetches(setup, "stranger", "web")?, "disconnected, it is not");

        setup.ok("rename web page")?;
        ensure!(fetches(setup, "client", "page")? && !fetches(setup, "client", "web")?, "renamed");
        setup.ok("rename page web")?;

        // Both the daemon and the resolver may die.
        let pid = setup.daemon.inspect("client")?["State"]["Pid"].to_string();
        setup.daemon.end(Signal::KILL)?;
        let inside = format!("nsenter -t {pid} -n -m -- wget -q -O - http://web/");
        setup.daemon.sandbox().sh(&inside)?.ok()?;
        setup.daemon.start_again()?;
        ensure!(fetches(setup, "client", "web")?, "after the daemon's restart");
        let processes = setup.daemon.sandbox().processes();
        let is_it = |name: &str| name == "davit-resolver";
        let found: Vec<i32> =
            processes.iter().filter(|(_, name)| is_it(name)).map(|(pid, _)| *pid).collect();
        ensure!(found.len() == 1, "{found:?} resolvers");
        setup.daemon.sandbox().sh(&format!("kill -9 {}", found[0]))?.ok()?;
        setup.ok("run -d --name late --network n1 busybox sleep 1000")?;
        ensure!(fetches(setup, "client", "web")?, "after the resolver's end");
        let lost = setup.davit("exec client timeout 20 nslookup late.n1")?;
        ensure!(lost.code == 0, "{} {}", lost.stdout, lost.stderr);

        setup.ok("rm -f web client stranger late")?;
        Ok(())
    })
}

#[test]
fn unknown_names_are_asked_for_elsewhere() -> Result<()> {
    plan("unknown_names_are_asked_for_elsewhere", &[BUSYBOX]).run(|setup| {
        let server = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53))
while True:
    q, a = s.recvfrom(4096)
    end = q.index(0, 12) + 5
    kind = q[end - 3]
    answer = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\x35' if kind == 1 else b''
    count = bytes([0, 1]) if answer else bytes(2)
    s.sendto(q[:2] + b'\\x81\\x80\\0\\1' + count + bytes(4) + q[12:end] + answer, a)
";
        let dir = setup.daemon.sandbox().dir().display().to_string();
        std::fs::write(format!("{dir}/server.py"), server)?;
        // Nobody listens at the first one's.
        std::fs::write(
            format!("{dir}/resolv.conf"),
            "nameserver 127.0.0.9\nnameserver 127.0.0.1\n",
        )?;
        let script = format!(
            "mount --bind {dir}/resolv.conf /etc/resolv.conf; \
             setsid python3 {dir}/server.py </dev/null >/dev/null 2>{dir}/server.log &"
        );
        setup.daemon.sandbox().sh(&script)?.ok()?;
        setup.ok("network create n1")?;
        setup.ok("network create --internal shut")?;
        setup.ok("run -d --name client --network n1 busybox sleep 1000")?;
        setup.ok("run -d --name inner --network shut busybox sleep 1000")?;
        let asks = |from: &str, name: &str| {
            setup.davit(&format!("exec {from} timeout 20 nslookup {name}"))
        };
        davit_testkit::until(std::time::Duration::from_secs(60), "an answer", || {
            let found = asks("client", "www.example.com")?;
            Ok(found.stdout.contains("192.0.2.53").then_some(()))
        })?;
        let found = asks("client", "single")?;
        ensure!(found.stdout.contains("192.0.2.53"), "{} {}", found.stdout, found.stderr);
        let own = asks("client", "client")?;
        ensure!(
            own.stdout.contains("172.18.0.2") && !own.stdout.contains("192.0.2.53"),
            "{}",
            own.stdout
        );
        let shut = asks("inner", "www.example.com")?;
        ensure!(!shut.stdout.contains("192.0.2.53"), "{}", shut.stdout);
        Ok(())
    })
}

/// Whether the page of a container can be fetched by a name from inside another one.
fn fetches(setup: &Setup, from: &str, name: &str) -> Result<bool> {
    let url = format!("http://{name}/");
    Ok(setup.davit(&format!("exec {from} timeout 20 wget -q -O - {url}"))?.code == 0)
}

#[test]
fn networks_are_made_from_configurations() -> Result<()> {
    plan("networks_are_made_from_configurations", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let run = |line: &str| -> Result<davit_testkit::Finished> {
                setup.run(cli, &line.split_whitespace().collect::<Vec<&str>>())
            };
            run("network create --config-only --subnet 10.97.0.0/24 --gateway 10.97.0.9 --label a=b -o com.docker.network.driver.mtu=1400 conf")?.ok()?;
            let conf = inspected(setup, "conf")?;
            ensure!(conf["ConfigOnly"] == true && conf["Driver"] == "null", "{conf}");
            run("network create --config-from conf n1")?.ok()?;
            let made = inspected(setup, "n1")?;
            ensure!(made["ConfigFrom"]["Network"] == "conf" && made["ConfigOnly"] == false);
            ensure!(made["IPAM"]["Config"][0]["Gateway"] == "10.97.0.9", "{made}");
            let link = run("run --rm --network n1 busybox ip link show eth0")?.ok()?;
            ensure!(link.contains("mtu 1400"), "{link}");
            for (line, text) in [
                ("network rm conf", "configuration network \"conf\" is in use"),
                ("network create --config-from nosuch n2", "network \"nosuch\" does not exist"),
                ("network create --config-from n1 n2", "n1 is not a configuration network"),
                (
                    "network create --config-from conf --subnet 10.96.0.0/24 n2",
                    "user specified configurations are not supported if the network depends on a \
                     configuration network",
                ),
                (
                    "run --rm --network conf busybox true",
                    "cannot create endpoint on configuration-only network",
                ),
            ] {
                let refused = run(line)?;
                ensure!(refused.code != 0 && refused.stderr.contains(text), "{}", refused.stderr);
            }
            ensure!(run("network prune -f")?.ok()? == "Deleted Networks:\nn1");
            run("network rm conf")?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn refusals_name_a_container_as_it_is_called_now() -> Result<()> {
    plan("refusals_name_a_container_as_it_is_called_now", &[BUSYBOX]).run(|setup| {
        setup.ok("network create n1")?;
        setup.ok("run -d --name before --network n1 busybox sleep 1000")?;
        setup.ok("rename before after")?;
        let used = setup.davit("network rm n1")?;
        let text = "network n1 has active endpoints (name:\"after\" id:";
        ensure!(used.code != 0 && used.stderr.contains(text), "{}", used.stderr);
        Ok(())
    })
}
