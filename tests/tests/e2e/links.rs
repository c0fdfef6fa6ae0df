//! Links on the default bridge: names, their upkeep, and the variables that told of them.

use anyhow::{Context, Result, ensure};
use davit_testkit::DaemonOptions;
use davit_testkit::images::BUSYBOX;
use serde_json::json;

use crate::setup::{BOTH, Setup, plan};

#[test]
fn links_name_containers_and_follow_them() -> Result<()> {
    plan("links_name_containers_and_follow_them", &[BUSYBOX]).run(|setup| {
        for cli in BOTH {
            let ok = |line: &str| -> Result<String> {
                let words: Vec<&str> = line.split_whitespace().collect();
                setup.run(cli, &words)?.ok()
            };
            ok("run -d --name db --hostname store busybox httpd -f -h /var/www")?;
            ok("run -d --name web --link db:data --link db busybox sleep 1000")?;
            let first = address(setup, "db")?;
            let hosts = ok("exec web cat /etc/hosts")?;
            ensure!(hosts.contains(&format!("{first}\tdata store db\n")), "{hosts}");
            ensure!(hosts.contains(&format!("{first}\tdb store\n")), "{hosts}");
            for name in ["data", "db", "store"] {
                let page = ok(&format!("exec web wget -q -O - http://{name}/"))?;
                ensure!(page == "busybox", "{name}: {page}");
            }
            let links = setup.daemon.inspect("web")?["HostConfig"]["Links"].clone();
            ensure!(links == json!(["/db:/web/data", "/db:/web/db"]), "{links}");
            let names = ok("ps --no-trunc --filter name=^db$ --format {{.Names}}")?;
            ensure!(names.contains("web/data"), "{names}");
            ensure!(ok("ps --filter name=^db$ --format {{.Names}}")? == "db");

            // Somebody else gets its address: the parent's hosts follow.
            ok("stop -t 0 db")?;
            ok("run -d --name other busybox sleep 1000")?;
            ok("start db")?;
            let second = address(setup, "db")?;
            ensure!(second != first, "it has its address again: {first}");
            let hosts = ok("exec web cat /etc/hosts")?;
            ensure!(hosts.contains(&format!("{second}\tdata store db\n")), "{hosts}");
            ensure!(!hosts.contains(&format!("{first}\tdata")), "{hosts}");
            ensure!(ok("exec web wget -q -O - http://data/")? == "busybox");
            ensure!(!ok("exec web env")?.contains("DATA_PORT"), "as Docker 29, unless told to");
            ok("rm -f web db other")?;
        }
        Ok(())
    })
}

#[test]
fn links_that_cannot_be_are_refused() -> Result<()> {
    plan("links_that_cannot_be_are_refused", &[BUSYBOX]).run(|setup| {
        setup.ok("network create n1")?;
        setup.ok("create --name still busybox true")?;
        setup.ok("run -d --name elsewhere --network n1 busybox sleep 1000")?;
        setup.ok("run -d --name host --network host busybox sleep 1000")?;
        for (flags, text) in [
            ("--link nosuch", "could not get container for nosuch: No such container: nosuch"),
            ("--link host", "host type networking can't be used with links"),
            ("--name aa --link still:s", "Cannot link to a non running container: /still AS /aa/s"),
            (
                "--name bb --link elsewhere",
                "Cannot link to /elsewhere, as it does not belong to the default network",
            ),
        ] {
            for cli in BOTH {
                let words: Vec<&str> = "run --rm"
                    .split(' ')
                    .chain(flags.split(' '))
                    .chain(["busybox", "true"])
                    .collect();
                let refused = setup.run(cli, &words)?;
                ensure!(refused.code == 125, "{flags}: {}", refused.code);
                ensure!(refused.stderr.contains(text), "{flags}: {}", refused.stderr);
            }
        }
        // The child is gone: the parent starts without it.
        setup.ok("run -d --name db busybox sleep 1000")?;
        setup.ok("create --name web --link db busybox cat /etc/hosts")?;
        setup.ok("rm -f db")?;
        ensure!(!setup.ok("start -a web")?.contains("\tdb"));
        Ok(())
    })
}

#[test]
fn links_are_told_by_variables_if_the_daemon_is_asked_to() -> Result<()> {
    let keep = ("DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS".to_owned(), "1".to_owned());
    let options = DaemonOptions { environment: vec![keep], ..DaemonOptions::default() };
    let name = "links_are_told_by_variables_if_the_daemon_is_asked_to";
    plan(name, &[BUSYBOX]).options(options).run(|setup| {
        setup.ok("run -d --name db --expose 5432 -e MODE=fast busybox sleep 1000")?;
        setup.ok("run -d --name web --link db -e DB_NAME=mine busybox sleep 1000")?;
        let ip = address(setup, "db")?;
        let env = setup.ok("exec web env")?;
        for line in [
            &format!("DB_PORT=tcp://{ip}:5432"),
            &format!("DB_PORT_5432_TCP_ADDR={ip}"),
            "DB_ENV_MODE=fast",
            "DB_NAME=mine",
        ] {
            ensure!(env.lines().any(|one| one == line), "{line} in {env}");
        }
        Ok(())
    })
}

fn address(setup: &Setup, container: &str) -> Result<String> {
    let inspected = setup.daemon.inspect(container)?;
    let address = &inspected["NetworkSettings"]["Networks"]["bridge"]["IPAddress"];
    Ok(address.as_str().context("no address")?.to_owned())
}
