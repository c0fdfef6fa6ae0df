//! Registries that want something: credentials from a helper, a proxy on the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use davit_testkit::images::{BUSYBOX, LAYERED};
use davit_testkit::{Daemon, DaemonOptions, Registry, Sandbox, command, met, requirements};

use crate::setup::{BOTH, Cli, Setup, plan};

const MINUTE: Duration = Duration::from_secs(60);

/// A credential helper that keeps one entry in a file beside itself, and logs its verbs there.
const HELPER: &str = r#"#!/bin/sh
dir=${0%/*}
echo "$1" >>"$dir/verbs"
case $1 in
store) cat >"$dir/kept" ;;
get)
    read -r server
    if grep -qs "\"$server\"" "$dir/kept"; then exec cat "$dir/kept"; fi
    echo "credentials not found in native keychain"
    exit 1 ;;
erase) rm -f "$dir/kept" ;;
*) echo '{}' ;;
esac
"#;

/// Puts the helper there and has the client's configuration name it. Its directory.
fn install_helper(setup: &Setup, config: &serde_json::Value) -> Result<std::path::PathBuf> {
    let directory = setup.daemon.sandbox().dir().join("helper");
    fs::create_dir_all(&directory)?;
    let program = directory.join("docker-credential-fake");
    fs::write(&program, HELPER)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let file = setup.daemon.sandbox().dir().join("client/config.json");
    fs::write(file, config.to_string())?;
    Ok(directory)
}

/// Runs a command line with the helper's directory in its path.
fn run(
    setup: &Setup,
    cli: Cli,
    helper: &Path,
    words: &[&str],
    input: &[u8],
) -> Result<davit_testkit::Finished> {
    let mut command = setup.command(cli, words);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", helper.display()));
    command::run(command, input, MINUTE)
}

#[test]
fn item1_a_credential_helper_opens_a_private_registry() -> Result<()> {
    let test = "item1_a_credential_helper_opens_a_private_registry";
    plan(test, &[LAYERED]).run(|setup| {
        let registry = Registry::private(setup.daemon.sandbox())?;
        let server = registry.address().to_string();
        let by_store = serde_json::json!({ "credsStore": "fake" });
        let by_host = serde_json::json!({ "credHelpers": { &server: "fake" } });
        for (cli, config) in BOTH.into_iter().zip([&by_store, &by_host]) {
            let helper = install_helper(setup, config)?;
            let go = |words: &[&str], input: &[u8]| run(setup, cli, &helper, words, input);
            let name = format!("{server}/private/{cli:?}:1").to_lowercase();
            setup.ok(&format!("tag {LAYERED} {name}"))?;
            let refused = go(&["push", &name], b"")?;
            ensure!(refused.code == 1, "{cli:?}: {refused:?}");
            ensure!(refused.stderr.contains("no basic auth credentials"), "{cli:?}: {refused:?}");
            let login = ["login", "-u", "u", "--password-stdin", &server];
            let wrong = go(&login, b"wrong\n")?;
            ensure!(wrong.code == 1 && !helper.join("kept").exists(), "{cli:?}: {wrong:?}");
            let told = go(&login, b"secret\n")?.ok()?;
            ensure!(told.contains("Login Succeeded"), "{cli:?}: {told}");
            let kept = fs::read_to_string(helper.join("kept"))?;
            ensure!(kept.contains(r#""Secret":"secret""#), "{cli:?}: {kept}");
            let file = fs::read_to_string(setup.daemon.sandbox().dir().join("client/config.json"))?;
            ensure!(!file.contains("secret") && !file.contains("dTpzZWNyZXQ="), "{cli:?}: {file}");
            go(&["push", &name], b"")?.ok()?;
            go(&["rmi", &name], b"")?.ok()?;
            go(&["pull", &name], b"")?.ok()?;
            let all = name.trim_end_matches(":1");
            setup.ok(&format!("tag {name} {all}:2"))?;
            go(&["push", "-a", all], b"")?.ok()?;
            setup.ok(&format!("rmi {all}:1 {all}:2"))?;
            let told = go(&["pull", "-a", all], b"")?.ok()?;
            ensure!(told.contains("Downloaded newer image for") || told.contains("Image is up"));
            ensure!(setup.ok(&format!("images -q {all}"))?.lines().count() == 2, "{cli:?}");
            go(&["logout", &server], b"")?.ok()?;
            ensure!(!helper.join("kept").exists(), "{cli:?}: erased");
            let refused = go(&["push", &name], b"")?;
            ensure!(refused.code == 1, "{cli:?}: {refused:?}");
            setup.ok(&format!("rmi {all}:1 {all}:2"))?;
            let verbs = fs::read_to_string(helper.join("verbs"))?;
            ensure!(["store", "get", "erase"].iter().all(|verb| verbs.contains(verb)), "{verbs}");
        }
        Ok(())
    })
}

/// The registry itself is the proxy: it looks at the path of what it is asked for.
#[test]
fn item1_the_daemons_proxy_is_used_and_shown() -> Result<()> {
    if !met("item1_the_daemons_proxy_is_used_and_shown", requirements::DAEMON) {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let registry = Registry::start(&sandbox, &[BUSYBOX])?;
    let config = sandbox.dir().join("daemon.json");
    let proxy = format!("http://me:word@{}", registry.address());
    let settings = serde_json::json!({
        "proxies": { "http-proxy": proxy, "no-proxy": "direct.invalid" },
        "insecure-registries": ["proxied.invalid", "direct.invalid"],
    });
    fs::write(&config, settings.to_string())?;
    let arguments = vec!["--config-file".to_owned(), config.display().to_string()];
    let options = DaemonOptions { arguments, ..DaemonOptions::default() };
    let setup = Setup { daemon: Daemon::start_with(sandbox, options)?, registry };
    for cli in BOTH {
        setup.run(cli, &["pull", "proxied.invalid/busybox"])?.ok()?;
        setup.run(cli, &["rmi", "proxied.invalid/busybox"])?.ok()?;
        let direct = setup.run(cli, &["pull", "direct.invalid/busybox"])?.code(1)?;
        ensure!(direct.stderr.contains("direct.invalid"), "{cli:?}: {direct:?}");
    }
    let info = setup.daemon.request("GET", "/info")?.json()?;
    let address = setup.registry.address();
    ensure!(info["HttpProxy"] == format!("http://xxxxx:xxxxx@{address}"), "{}", info["HttpProxy"]);
    ensure!(info["NoProxy"] == "direct.invalid");
    Ok(())
}
