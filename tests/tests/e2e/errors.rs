//! Bad input and bad images: Docker's status and text, and nothing left behind.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::{BUSYBOX, NGINX};
use davit_testkit::{
    Daemon, DaemonOptions, Engine, Registry, Sandbox, Snapshot, evil, met, requirements,
};
use serde_json::{Value, json};

use crate::setup::{BOTH, Setup, plan};

const SECONDS: Duration = Duration::from_secs(10);

#[test]
fn requests_fail_with_dockers_status_and_message() -> Result<()> {
    plan("requests_fail_with_dockers_status_and_message", &[BUSYBOX]).run(|setup| {
        setup.ok("run -d --name up busybox sleep 1000")?;
        setup.ok("create --name made busybox true")?;
        let id = setup.ok("inspect -f {{.Id}} up")?;
        let cases = [
            ("GET", "/containers/nosuch/json", 404, "No such container: nosuch"),
            ("POST", "/containers/nosuch/start", 404, "No such container: nosuch"),
            ("DELETE", "/containers/nosuch", 404, "No such container: nosuch"),
            ("GET", "/images/nosuch/json", 404, "No such image: nosuch:latest"),
            ("DELETE", "/images/nosuch", 404, "No such image: nosuch:latest"),
            ("GET", "/volumes/nosuch", 404, "no such volume"),
            ("GET", "/networks/nosuch", 404, "network nosuch not found"),
            ("GET", "/exec/nosuch/json", 404, "No such exec instance"),
            ("GET", "/nosuch", 404, "page not found"),
            ("PUT", "/containers/json", 404, "page not found"),
            ("GET", "/v9.99/info", 400, "is too new. Maximum supported API version is"),
            ("POST", "/containers/up/start", 304, ""),
            ("POST", "/containers/made/stop", 304, ""),
            ("POST", "/containers/made/kill", 409, "is not running"),
            ("POST", "/containers/up/kill?signal=NOSUCH", 400, "nvalid signal: NOSUCH"),
            ("POST", "/containers/made/pause", 409, "is not running"),
            ("POST", "/containers/up/rename?name=made", 409, "is already in use by container"),
            ("DELETE", "/containers/up", 409, "container"),
            ("GET", "/containers/up/logs", 400, "at least one"),
            (
                "GET",
                "/containers/up/archive?path=/nosuch",
                404,
                "Could not find the file /nosuch in container up",
            ),
            (
                "GET",
                "/containers/json?filters=%7B%22nosuch%22%3A%7B%22x%22%3Atrue%7D%7D",
                400,
                "nosuch",
            ),
            ("POST", "/containers/up/wait?condition=nosuch", 400, "nvalid condition"),
        ];
        for (method, path, status, text) in cases {
            // Docker 20 waits without a word.
            if path.contains("condition") && setup.daemon.engine() == Engine::Docker {
                continue;
            }
            let answer = setup.daemon.request(method, path)?;
            let context = format!("{method} {path}: {} {}", answer.status, answer.text());
            ensure!(answer.status == status && answer.message().contains(text), "{context}");
            if !text.is_empty() {
                ensure!(answer.header("content-type") == Some("application/json"), "{context}");
            }
        }
        ensure!(setup.ok("inspect -f {{.Id}} up")? == id, "still there");
        Ok(())
    })
}

#[test]
fn bad_create_requests_leave_nothing() -> Result<()> {
    plan("bad_create_requests_leave_nothing", &[BUSYBOX]).run(|setup| {
        setup.ok("create --name taken busybox true")?;
        setup.ok("run --rm busybox true")?;
        let before = Snapshot::of(&setup.daemon)?;
        for (path, body, status, text) in bad_creates() {
            let answer = setup.daemon.post(path, &body)?;
            let context = format!("{path} {body}: {} {}", answer.status, answer.text());
            ensure!(answer.status == status && answer.message().contains(text), "{context}");
        }
        let request = davit_testkit::http::Request {
            method: "POST",
            path: "/containers/create",
            headers: &[("Content-Type", "application/json")],
            body: b"{\"Image\": ",
        };
        let answer = davit_testkit::http::over_unix(&setup.daemon.socket(), request)?;
        // Docker 20 said 500.
        let reference = setup.daemon.engine() == Engine::Docker;
        ensure!(answer.status == 400 || reference, "cut JSON: {}", answer.text());
        before.expect_again(&setup.daemon, SECONDS)
    })
}

type BadCreate = (&'static str, Value, u16, &'static str);

/// Path, body, and the answer's status and text.
fn bad_creates() -> Vec<BadCreate> {
    let with = |host: Value| json!({ "Image": "busybox", "HostConfig": host });
    vec![
        ("/containers/create", json!({ "Image": "nosuch" }), 404, "No such image: nosuch:latest"),
        (
            "/containers/create?name=taken",
            json!({ "Image": "busybox" }),
            409,
            "Conflict. The container name \"/taken\" is already in use by container",
        ),
        (
            "/containers/create?name=a%20b",
            json!({ "Image": "busybox" }),
            400,
            "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
        (
            "/containers/create",
            json!({ "Image": "busybox", "WorkingDir": "relative" }),
            400,
            "absolute path",
        ),
        (
            "/containers/create",
            with(json!({ "Memory": 1000 })),
            400,
            "inimum memory limit allowed is 6MB",
        ),
        (
            "/containers/create",
            with(json!({ "NanoCpus": 1_000_000_000_000i64 })),
            400,
            "ange of CPUs is from 0.01 to",
        ),
        (
            "/containers/create",
            with(json!({ "Binds": ["/a:/same", "/b:/same"] })),
            400,
            "Duplicate mount point: /same",
        ),
        (
            "/containers/create",
            with(json!({ "AutoRemove": true, "RestartPolicy": { "Name": "always" } })),
            400,
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            "/containers/create",
            with(json!({ "RestartPolicy": { "Name": "nosuch" } })),
            400,
            "nvalid restart policy",
        ),
        ("/containers/create", with(json!({ "CapAdd": ["NOSUCH"] })), 400, "nvalid"),
    ]
}

#[test]
fn command_lines_explain_what_is_wrong() -> Result<()> {
    plan("command_lines_explain_what_is_wrong", &[BUSYBOX]).run(|setup| {
        setup.ok("run --rm busybox true")?;
        let before = Snapshot::of(&setup.daemon)?;
        let missing = setup.registry.reference("nosuch");
        let cases: [(&[&str], i32, &str); 7] = [
            (&["run", "--nosuch", "busybox"], 125, "unknown flag: --nosuch"),
            (
                &["run", "--rm", "busybox", "nosuch"],
                127,
                "exec: \"nosuch\": executable file not found in $PATH",
            ),
            (&["run", "--rm", "busybox", "/etc/passwd"], 126, "permission denied"),
            (&["run", "--rm", "-p", "99999:80", "busybox"], 125, "nvalid"),
            (&["run", "--rm", &missing, "true"], 125, "Unable to find image"),
            (&["inspect", "nosuch"], 1, "nosuch"),
            (&["stop", "nosuch"], 1, "No such container: nosuch"),
        ];
        for cli in BOTH {
            for (words, code, text) in cases {
                let finished = setup.run(cli, words)?.code(code)?;
                ensure!(finished.stderr.contains(text), "{cli:?}: {finished:?}");
            }
        }
        before.expect_again(&setup.daemon, SECONDS)
    })
}

#[test]
fn a_port_in_use_is_an_error_at_once() -> Result<()> {
    plan("a_port_in_use_is_an_error_at_once", &[BUSYBOX]).run(|setup| {
        setup.ok("run -d --name first -p 8080:80 busybox sleep 1000")?;
        let before = Snapshot::of(&setup.daemon)?;
        for cli in BOTH {
            let words = ["run", "-d", "--name", "second", "-p", "8080:80", "busybox", "true"];
            let refused = setup.run(cli, &words)?.code(125)?;
            ensure!(refused.stderr.contains("port is already allocated"), "{refused:?}");
            ensure!(setup.ok("inspect -f {{.State.Status}} second")? == "created");
            setup.ok("rm second")?;
        }
        before.expect_again(&setup.daemon, SECONDS)?;

        // A process of the host has the port.
        let mut holder = setup.daemon.sandbox().command("busybox");
        let mut holder = holder.args(["httpd", "-f", "-p", "9090"]).spawn()?;
        setup
            .daemon
            .sandbox()
            .sh("until curl -s -o /dev/null localhost:9090; do sleep 0.1; done")?
            .ok()?;
        let answer = setup.davit("run --name third -p 9090:80 busybox true")?.code(125)?;
        ensure!(answer.stderr.contains("address already in use"), "{answer:?}");
        setup.ok("rm third")?;
        setup.daemon.sandbox().sh("kill -9 $(pidof busybox)")?.ok()?;
        holder.wait()?;
        before.expect_again(&setup.daemon, SECONDS)?;
        setup.ok("rm -f first")?;
        setup.ok("run --rm -p 8080:80 -p 9090:80 busybox true")?;
        Ok(())
    })
}

#[test]
fn broken_images_are_refused_and_leave_nothing() -> Result<()> {
    let names: Vec<String> = evil::NAMES.iter().map(|name| format!("evil/{name}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = plan("broken_images_are_refused_and_leave_nothing", &[BUSYBOX]);
    plan.unpulled(&names).run(|setup| {
        setup.ok("run --rm busybox true")?;
        let before = Snapshot::of(&setup.daemon)?;
        for name in evil::NAMES {
            // A tag may lead to whatever the registry says; a digest may not.
            let tag = match name {
                "wrong-manifest-digest" => evil::image(name)?.manifest.digest,
                _ => "latest".to_owned(),
            };
            let repository = format!("{}/evil/{name}", setup.registry.address());
            let path = format!("/images/create?fromImage={repository}&tag={tag}");
            let answer = setup.daemon.request("POST", &path)?;
            let told = answer.text();
            let failed = answer.status >= 400 || told.contains("\"errorDetail\"");
            let must_fail = !["dotdot", "absolute-symlink", "hardlink-outside"].contains(&name);
            ensure!(failed || !must_fail, "{name} was taken: {told}");
            if name.starts_with("wrong-") || name == "truncated-gzip" {
                let words = ["digest", "EOF", "verif", "mismatch", "schema", "manifest", "failed"];
                ensure!(words.iter().any(|word| told.contains(word)), "{name}: {told}");
            }
            nothing_escaped(setup, name)?;
            if !failed {
                setup.ok(&format!("rmi {}", setup.registry.reference(&format!("evil/{name}"))))?;
            }
            let left = setup.ok("images -a -q")?;
            ensure!(left.lines().count() == 2 || left.lines().count() == 1, "{name} left {left}");
            before.expect_again(&setup.daemon, SECONDS).with_context(|| name.to_owned())?;
        }
        ensure!(setup.shell("", "echo works")? == "works");
        Ok(())
    })
}

/// The images try to write below the root directory, the data root and the daemon's directory.
fn nothing_escaped(setup: &Setup, name: &str) -> Result<()> {
    let root = setup.daemon.sandbox().root();
    for dir in ["", "run", "tmp", "var/lib"] {
        let escaped = root.join(dir).join(evil::ESCAPED);
        ensure!(!escaped.exists(), "{name} wrote {}", escaped.display());
    }
    Ok(())
}

#[test]
fn a_full_disk_is_an_error_and_can_be_used_again() -> Result<()> {
    let name = "a_full_disk_is_an_error_and_can_be_used_again";
    if !met(name, requirements::DAEMON) {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let data_root = sandbox.dir().join("small");
    fs::create_dir(&data_root)?;
    let mount = format!("mount -t tmpfs -o size=40m tmpfs {}", data_root.display());
    sandbox.sh(&mount)?.ok()?;
    let registry = Registry::start(&sandbox, &[BUSYBOX, NGINX])?;
    let options = DaemonOptions { data_root: Some(data_root), ..DaemonOptions::default() };
    let daemon = Daemon::start_with(sandbox, options)?;
    let setup = Setup { daemon, registry };
    setup.daemon.pull(&setup.registry, BUSYBOX)?;
    setup.ok("run --rm busybox true")?;
    let before = Snapshot::of(&setup.daemon)?;
    let pulled = setup.davit(&format!("pull {}", setup.registry.reference(NGINX)))?.code(1)?;
    ensure!(pulled.stderr.contains("no space left on device"), "{pulled:?}");
    ensure!(!setup.ok("images")?.contains("nginx"));
    before.expect_again(&setup.daemon, SECONDS)?;

    let fill = "dd if=/dev/zero of=/fill bs=1M count=100 2>&1; true";
    ensure!(setup.shell("", fill)?.contains("No space left on device"), "the container is told");
    // The removed container's bytes come back in the background.
    before.expect_again(&setup.daemon, SECONDS)?;
    ensure!(setup.shell("", "echo again")? == "again");
    before.expect_again(&setup.daemon, SECONDS)
}
