//! The demo's way up: packages, build, daemon, image, container, page.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use davit_testkit::until;
use davit_testkit::wait::until_true;

use super::place::{
    BRIDGE, CGROUP, CONTAINER, DATA_ROOT, EXEC_ROOT, LOG, PID_FILE, SOCKET, TABLE, answers, davit,
    free_bridge_address,
};
use super::{down, nginx, show};
use crate::build::{self, Programs};
use crate::packages;
use crate::run::{output, say, step};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs all of it.
pub(crate) fn run(port: Option<u16>) -> Result<()> {
    step("packages", packages::for_demo)?;
    let programs = build::release()?;
    if Path::new(EXEC_ROOT).exists() || Path::new(DATA_ROOT).exists() {
        step("remove the previous demo", down::run)?;
    }
    step("start a daemon of its own", || start_daemon(&programs))?;
    step("get the image nginx", nginx::get)?;
    let port = free_port(port)?;
    step("run nginx", || run_nginx(port))?;
    step("fetch the page", || fetch(port))?;
    show::container()?;
    show::what_next(port);
    Ok(())
}

fn start_daemon(programs: &Programs) -> Result<()> {
    fs::create_dir_all(EXEC_ROOT)?;
    let address = free_bridge_address()?;
    say(&format!(
        "data {DATA_ROOT}, state and log {EXEC_ROOT}, bridge {BRIDGE} {address}, \
         firewall table {TABLE}, cgroup {CGROUP}, socket {SOCKET}"
    ));
    let log = File::create(LOG)?;
    let mut daemon = Command::new(&programs.davit);
    daemon
        .arg("daemon")
        .args(["--data-root", DATA_ROOT, "--exec-root", EXEC_ROOT, "--pidfile", PID_FILE])
        .args(["--bridge", BRIDGE, "--bip", &address, "--firewall-table", TABLE])
        .args(["--cgroup-parent", CGROUP, "-H", &format!("unix://{SOCKET}")])
        .env("DAVIT_SHIM", &programs.shim)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in this terminal is not for the daemon.
        .process_group(0);
    let mut daemon = daemon.spawn().context("start the daemon")?;
    let ready = until_true(Duration::from_secs(20), "the daemon's answer", || {
        if let Some(status) = daemon.try_wait()? {
            bail!("the daemon ended: {status}");
        }
        Ok(answers())
    });
    ready.with_context(|| fs::read_to_string(LOG).unwrap_or_default())
}

/// The wished port or an error; 8080 or, when that is taken, any free one.
fn free_port(wished: Option<u16>) -> Result<u16> {
    let bind = |port: u16| TcpListener::bind(("0.0.0.0", port)).and_then(|l| l.local_addr());
    if let Some(port) = wished {
        return Ok(bind(port).with_context(|| format!("port {port}"))?.port());
    }
    if let Ok(address) = bind(8080) {
        return Ok(address.port());
    }
    let port = bind(0).context("find a free port")?.port();
    say(&format!("port 8080 is taken, using {port}"));
    Ok(port)
}

fn run_nginx(port: u16) -> Result<()> {
    let publish = format!("{port}:80");
    say(&format!("$ davit run -d --name {CONTAINER} -p {publish} nginx"));
    let words = ["run", "-d", "--name", CONTAINER, "-p", &publish, "nginx"];
    let finished = davit(&words, MINUTE)?;
    let took = finished.elapsed;
    say(&format!("{} ({} ms)", finished.ok()?, took.as_millis()));
    Ok(())
}

fn fetch(port: u16) -> Result<()> {
    let url = format!("http://localhost:{port}/");
    say(&format!("$ curl --include {url}"));
    let page = until(Duration::from_secs(10), "nginx to answer", || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--include", "--noproxy", "*", "--max-time", "3", &url]);
        Ok(output(curl).ok())
    })?;
    let head: Vec<&str> = page.lines().take(20).collect();
    say(&head.join("\n"));
    Ok(())
}
