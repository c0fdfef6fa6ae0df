//! Networks as containers and their neighbours see them.

use anyhow::{Context, Result, ensure};
use davit_testkit::images::{BUSYBOX, NGINX};
use davit_testkit::sandbox::HOST_ADDRESS;
use serde_json::Value;

use crate::setup::{Setup, plan};

#[test]
fn ports_are_published_in_every_form() -> Result<()> {
    plan("ports_are_published_in_every_form", &[BUSYBOX]).run(|setup| {
        setup.daemon.sandbox().add_outside()?;
        setup.ok("run -d --name http -p 80 -p 127.0.0.1:81:80 -p 8000-8001:8000-8001 busybox httpd -f -h /var/www")?;
        let ephemeral = setup.ok("port http 80/tcp")?;
        let ports: Vec<&str> = ephemeral.lines().collect();
        let any = ports.iter().find_map(|line| line.strip_prefix("0.0.0.0:")).context("0.0.0.0")?;
        let port: u16 = any.parse()?;
        ensure!(port >= 32768, "{ephemeral}");
        ensure!(ports.contains(&"127.0.0.1:81"), "{ephemeral}");
        ensure!(setup.wait_for_page(&format!("http://127.0.0.1:{port}/"))? == "busybox\n");
        ensure!(setup.wait_for_page("http://127.0.0.1:81/")? == "busybox\n");
        let sandbox = setup.daemon.sandbox();
        let (open, _) = sandbox.curl_from_outside(&format!("http://{HOST_ADDRESS}:{port}/"))?;
        let (closed, _) = sandbox.curl_from_outside(&format!("http://{HOST_ADDRESS}:81/"))?;
        ensure!(open == 200 && closed == 0, "from outside: {open} {closed}");
        let all = setup.ok("port http")?;
        ensure!(all.contains("8000/tcp -> 0.0.0.0:8000") && all.contains("8001/tcp -> 0.0.0.0:8001"));

        setup.ok("stop -t 0 http")?;
        setup.ok("start http")?;
        ensure!(setup.wait_for_page("http://127.0.0.1:81/")? == "busybox\n", "after stop and start");
        Ok(())
    })
}

#[test]
fn udp_ports_answer_from_the_right_address() -> Result<()> {
    // nginx's Debian brings perl; this busybox knows no UDP.
    plan("udp_ports_answer_from_the_right_address", &[NGINX]).run(|setup| {
        setup.daemon.sandbox().add_outside()?;
        let server = "$s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp'); \
                      $s->send($d) while defined $s->recv($d, 100);";
        let words = ["run", "-d", "--name", "echo", "-p", "5353:53/udp", "nginx"];
        let words = [&words[..], &["perl", "-MIO::Socket", "-e", server]].concat();
        setup.daemon.davit(&words)?.ok()?;
        ensure!(setup.ok("port echo 53/udp")?.contains("0.0.0.0:5353"));
        let client = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)
s.connect((HOST, 5353))
import time
for _ in range(10):
    s.send(b'hello')
    try: print(s.recv(100).decode()); break
    except OSError: time.sleep(0.2)
";
        for (wrapper, host) in [("", "127.0.0.1"), ("ip netns exec outside ", HOST_ADDRESS)] {
            let program = client.replace("HOST", &format!("'{host}'"));
            let script = format!("{wrapper}python3 - <<'EOF'\n{program}EOF");
            let answer = setup.daemon.sandbox().sh(&script)?.ok()?;
            ensure!(answer == "hello", "{host}: {answer:?}");
        }
        Ok(())
    })
}

#[test]
fn containers_reach_each_other_and_the_world() -> Result<()> {
    plan("containers_reach_each_other_and_the_world", &[BUSYBOX]).run(|setup| {
        setup.daemon.sandbox().add_outside()?;
        setup.ok("run -d --name http -p 8080:80 busybox httpd -f -h /var/www")?;
        setup.wait_for_page("http://127.0.0.1:8080/")?;
        let (gateway, address) = container_addresses(setup, "http")?;
        let fetch = |url: &str| setup.shell("", &format!("timeout 5 wget -q -O - {url}"));
        ensure!(fetch(&format!("http://{address}/"))? == "busybox", "by its address");
        ensure!(fetch(&format!("http://{gateway}:8080/"))? == "busybox", "by the bridge's address");
        ensure!(fetch(&format!("http://{HOST_ADDRESS}:8080/"))? == "busybox", "by the host's");
        let itself = ["exec", "http", "wget", "-q", "-O", "-"];
        let itself = [&itself[..], &["http://192.0.2.1:8080/"]].concat();
        ensure!(setup.daemon.davit(&itself)?.ok()? == "busybox", "its own published port");
        ensure!(setup.shell("", "ping -c 1 -W 2 192.0.2.2 >/dev/null && echo out")? == "out");

        let hosts = setup.ok("exec http cat /etc/hosts")?;
        let id = setup.ok("inspect -f {{.Id}} http")?;
        ensure!(hosts.contains(&format!("{address}\t{}", &id[..12])), "{hosts}");
        let inside = setup.ok("exec http ip -o -4 addr show eth0")?;
        ensure!(inside.contains(&address), "{inside}");
        ensure!(
            setup.ok("exec http ip route")?.contains(&format!("default via {gateway} dev eth0"))
        );
        Ok(())
    })
}

#[test]
fn other_network_modes_are_what_they_say() -> Result<()> {
    plan("other_network_modes_are_what_they_say", &[BUSYBOX]).run(|setup| {
        let links = "ls /sys/class/net | tr '\\n' ' '";
        ensure!(setup.shell("--network none", links)? == "lo");
        ensure!(
            setup.shell("--network none", "ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up")?
                == "up"
        );
        let host = setup.shell("--network host", "ip -o link | wc -l")?;
        let wanted = setup.daemon.sandbox().sh("ip -o link | wc -l")?.ok()?;
        ensure!(host == wanted, "{host} interfaces instead of {wanted}");
        let name = setup.shell("--network host", "hostname")?;
        ensure!(name == setup.daemon.sandbox().sh("uname -n")?.ok()?, "{name}");

        setup.ok("run -d --name http busybox httpd -f -h /var/www")?;
        let shared =
            setup.shell("--network container:http", "wget -q -O - http://127.0.0.1/; hostname")?;
        let id = setup.ok("inspect -f {{.Id}} http")?;
        ensure!(shared == format!("busybox\n{}", &id[..12]), "{shared}");
        let listed = setup.ok("network ls --format {{.Name}}")?;
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        ensure!(listed == ["bridge", "host", "none"], "{listed:?}");
        let bridge = setup.daemon.request("GET", "/networks/bridge")?.expect(200)?.json()?;
        ensure!(bridge["Containers"][&id]["Name"] == "http", "{bridge}");
        Ok(())
    })
}

/// Gateway and address of a container on the default bridge.
fn container_addresses(setup: &Setup, name: &str) -> Result<(String, String)> {
    let inspected = setup.daemon.inspect(name)?;
    let endpoint = &inspected["NetworkSettings"]["Networks"]["bridge"];
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no address");
    Ok((text(&endpoint["Gateway"])?, text(&endpoint["IPAddress"])?))
}
