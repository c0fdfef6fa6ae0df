//! The images that tests, demo and benchmark use, made once and kept as a registry's storage.
//!
//! The cache (see [`paths::cache_dir`]) holds one `docker-registry` storage directory; an image is
//! built and pushed when first asked for, under a file lock, so that test processes don't race.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::oci::{Image, Layer};
use crate::registry::{self, Registry};
use crate::{Sandbox, evil, paths, rootfs};

/// Raised whenever the contents of an image change.
const VERSION: u32 = 1;

/// A static busybox with a shell.
pub const BUSYBOX: &str = "busybox";
/// nginx on Debian, listening on port 80.
pub const NGINX: &str = "nginx";
/// Three layers with whiteouts, links, devices, attributes.
pub const LAYERED: &str = "layered";

/// Makes sure that the registry's storage holds the images `names` and returns it. `evil/<name>` is
/// one of [`evil::NAMES`].
pub fn ensure(names: &[&str]) -> Result<PathBuf> {
    let storage = paths::cache_dir().join(format!("registry-{VERSION}"));
    let done = storage.join("done");
    fs::create_dir_all(&done).with_context(|| format!("create {}", done.display()))?;
    let lock = File::create(storage.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let marker = |name: &str| done.join(name.replace('/', "_"));
    let missing: Vec<&str> = names.iter().copied().filter(|name| !marker(name).exists()).collect();
    if missing.is_empty() {
        return Ok(storage);
    }
    let sandbox = Sandbox::new()?;
    let registry = Registry::serve(&sandbox, &storage)?;
    for name in missing {
        let image = build(name, sandbox.dir()).with_context(|| format!("make image {name}"))?;
        let connect = || sandbox.connect(registry.address());
        registry::push(&connect, name, "latest", &image)
            .with_context(|| format!("push image {name}"))?;
        if let Some(evil) = name.strip_prefix("evil/") {
            evil::damage(evil, &image, &storage)?;
        }
        File::create(marker(name))?;
    }
    Ok(storage)
}

fn build(name: &str, work: &Path) -> Result<Image> {
    match name {
        BUSYBOX => Image::new(vec![Layer::gzip(&rootfs::busybox()?)?], &busybox_config()),
        LAYERED => {
            let mut layers = vec![Layer::gzip(&rootfs::busybox()?)?];
            for layer in rootfs::layered()? {
                layers.push(Layer::gzip(&layer)?);
            }
            Image::new(layers, &busybox_config())
        }
        NGINX => {
            let [base, top] = rootfs::nginx(work)?;
            Image::new(vec![Layer::gzip(&base)?, Layer::gzip(&top)?], &nginx_config())
        }
        other => match other.strip_prefix("evil/") {
            Some(evil) if evil::NAMES.contains(&evil) => evil::image(evil),
            _ => bail!("unknown test image {other}"),
        },
    }
}

fn busybox_config() -> Value {
    json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["sh"],
    })
}

fn nginx_config() -> Value {
    json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "ExposedPorts": { "80/tcp": {} },
        "StopSignal": "SIGQUIT",
    })
}
