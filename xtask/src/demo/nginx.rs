//! Where the demo's nginx comes from: Docker Hub when it answers, else Debian's packages.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use davit_testkit::{Registry, images};

use super::place::{EXEC_ROOT, davit};
use crate::run::{output, say};

/// Leaves the image under the name `nginx`.
pub(crate) fn get() -> Result<()> {
    if hub_answers() {
        say("$ davit pull nginx");
        match davit(&["pull", "nginx"], Duration::from_secs(180)).and_then(|pull| pull.ok()) {
            Ok(text) => {
                say(&text);
                return Ok(());
            }
            Err(error) => say(&format!("Docker Hub did not deliver: {error:#}")),
        }
    } else {
        say("Docker Hub does not answer from here.");
    }
    say("Making the image from this machine's package archive (debootstrap, nginx-light; cached) \
         and serving it from Debian's docker-registry on the loopback.");
    let storage = images::ensure(&[images::NGINX])?;
    let registry = Registry::serve_on_host(Path::new(EXEC_ROOT), &storage)?;
    let reference = registry.reference(images::NGINX);
    say(&format!("$ davit pull {reference}"));
    say(&davit(&["pull", &reference], Duration::from_secs(120))?.ok()?);
    davit(&["tag", &reference, "nginx"], Duration::from_secs(10))?.ok()?;
    Ok(())
}

/// Any HTTP answer will do, the usual one is 401.
fn hub_answers() -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "8", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code}", "https://registry-1.docker.io/v2/"]);
    output(curl).is_ok_and(|code| matches!(code.trim(), "200" | "401"))
}
