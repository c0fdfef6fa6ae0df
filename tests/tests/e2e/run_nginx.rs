//! The first promise: `run -d -p 8080:80 nginx` from a real registry, to its removal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::sandbox::HOST_ADDRESS;
use davit_testkit::{Snapshot, images, until};

use crate::setup::{BOTH, Cli, Setup, plan};

#[test]
fn nginx_is_pulled_served_used_and_removed() -> Result<()> {
    let plan = plan("nginx_is_pulled_served_used_and_removed", &[images::BUSYBOX]);
    plan.unpulled(&[images::NGINX]).run(|setup| {
        setup.daemon.sandbox().add_outside()?;
        // The first container makes what stays, such as caches.
        setup.ok("run --rm busybox true")?;
        for cli in BOTH {
            pull(setup, cli).with_context(|| format!("{cli:?}"))?;
            let before = Snapshot::of(&setup.daemon)?;
            run_and_remove(setup, cli).with_context(|| format!("{cli:?}"))?;
            before.expect_again(&setup.daemon, Duration::from_secs(10))?;
            setup.run(cli, &["rmi", "nginx", &setup.registry.reference("nginx")])?.ok()?;
        }
        Ok(())
    })
}

fn pull(setup: &Setup, cli: Cli) -> Result<()> {
    let reference = setup.registry.reference("nginx");
    let output = setup.run(cli, &["pull", &reference])?.ok()?;
    ensure!(output.contains("Digest: sha256:"), "{output}");
    ensure!(output.contains("Status: Downloaded newer image for"), "{output}");
    setup.run(cli, &["tag", &reference, "nginx"])?.ok()?;
    Ok(())
}

fn run_and_remove(setup: &Setup, cli: Cli) -> Result<()> {
    let run = |words: &[&str]| setup.run(cli, words);
    let id = run(&["run", "-d", "--name", "web", "-p", "8080:80", "nginx"])?.ok()?;
    ensure!(id.len() == 64, "{id}");
    reach_from_everywhere(setup, cli)?;

    let title =
        run(&["exec", "web", "grep", "-o", "Welcome to nginx", "/var/www/html/index.html"])?;
    ensure!(title.ok()?.starts_with("Welcome to nginx"));
    let logs = until(Duration::from_secs(5), "the access log", || {
        let logs = run(&["logs", "web"])?.ok()?;
        Ok(logs.contains("\"GET / HTTP/1.1\" 200").then_some(logs))
    })?;
    ensure!(logs.contains("curl/"), "{logs}");

    let pid = run(&["inspect", "--format", "{{.State.Pid}}", "web"])?.ok()?;
    let command = setup.daemon.sandbox().proc_dir().join(&pid).join("cmdline");
    let command = std::fs::read_to_string(command)?;
    ensure!(command.starts_with("nginx: master process"), "{command}");
    let listed = run(&["ps"])?.ok()?;
    ensure!(listed.contains("0.0.0.0:8080->80/tcp"), "{listed}");
    ensure!(run(&["port", "web", "80"])?.ok()?.contains("0.0.0.0:8080"));

    run(&["stop", "web"])?.ok()?;
    let state = run(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "web"])?;
    ensure!(state.ok()? == "exited 0", "stopped by its own stop signal");
    let (code, _) = setup.daemon.sandbox().curl("http://127.0.0.1:8080/")?;
    ensure!(code == 0, "the port is closed");
    ensure!(run(&["rm", "web"])?.ok()? == "web");
    run(&["inspect", "web"])?.code(1)?;
    Ok(())
}

/// Loopback, another machine, and a sibling container by the host's address.
fn reach_from_everywhere(setup: &Setup, cli: Cli) -> Result<()> {
    let page = setup.wait_for_page("http://127.0.0.1:8080/")?;
    ensure!(page.contains("Welcome to nginx!"), "{page}");
    let from_host = format!("http://{HOST_ADDRESS}:8080/");
    let (code, page) = setup.daemon.sandbox().curl(&from_host)?;
    ensure!(code == 200 && page.contains("nginx"), "from the host by its address: {code}");
    let (code, page) = setup.daemon.sandbox().curl_from_outside(&from_host)?;
    ensure!(code == 200 && page.contains("nginx"), "from outside: {code}");
    let words = ["run", "--rm", "busybox", "wget", "-q", "-O", "-", &from_host];
    let page = setup.run(cli, &words)?.ok()?;
    ensure!(page.contains("nginx"), "from a sibling");
    Ok(())
}
