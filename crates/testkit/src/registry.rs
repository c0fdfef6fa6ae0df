//! Debian's `docker-registry` over a storage directory, on the loopback of a sandbox or of this
//! machine, and pushing to it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http::{self, Request, Response};
use crate::oci::{Blob, Image};
use crate::sandbox::Sandbox;
use crate::{paths, wait};

const SANDBOX_PORT: u16 = 5000;
const EMPTY_PORT: u16 = 5001;
/// `u` with the password `secret`, as bcrypt has it.
const USERS: &str = "u:$2y$04$kCSc3MWn.BuYtn3sQojGcOZDfs.6jeb8oOYOy/1yzRbSXVC8kwGIS\n";
const PROGRAM: &str = "docker-registry";

/// A running registry; ends with this value (and with its sandbox).
pub struct Registry {
    process: Child,
    address: SocketAddr,
}

impl Registry {
    /// Serves the cached images `names`, made first where they are missing, in `sandbox`.
    pub fn start(sandbox: &Sandbox, names: &[&str]) -> Result<Self> {
        Self::serve(sandbox, &crate::images::ensure(names)?)
    }

    /// Serves `storage` on 127.0.0.1 of `sandbox`.
    pub fn serve(sandbox: &Sandbox, storage: &Path) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, SANDBOX_PORT));
        let command = sandbox.command(paths::program_or_name(PROGRAM));
        let connect = || sandbox.connect(address);
        let config = config(storage, address, "");
        Self::spawn(command, sandbox.dir(), &config, address, &connect)
    }

    /// Serves a registry without images on 127.0.0.1 of `sandbox`, beside another one.
    pub fn empty(sandbox: &Sandbox) -> Result<Self> {
        Self::second(sandbox, "")
    }

    /// The same, for the user `u` with the password `secret` alone.
    pub fn private(sandbox: &Sandbox) -> Result<Self> {
        let users = sandbox.dir().join("users");
        fs::write(&users, USERS).with_context(|| format!("write {}", users.display()))?;
        let auth = format!("auth:\n  htpasswd:\n    realm: r\n    path: {}\n", users.display());
        Self::second(sandbox, &auth)
    }

    fn second(sandbox: &Sandbox, more: &str) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, EMPTY_PORT));
        let dir = sandbox.dir().join("second-registry");
        let storage = dir.join("storage");
        fs::create_dir_all(&storage).with_context(|| format!("create {}", storage.display()))?;
        let command = sandbox.command(paths::program_or_name(PROGRAM));
        let connect = || sandbox.connect(address);
        Self::spawn(command, &dir, &config(&storage, address, more), address, &connect)
    }

    /// Serves `storage` on a free port of this machine's 127.0.0.1; `dir` takes its configuration.
    pub fn serve_on_host(dir: &Path, storage: &Path) -> Result<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = free.local_addr()?;
        drop(free);
        let command = Command::new(paths::program_or_name(PROGRAM));
        let config = config(storage, address, "");
        Self::spawn(command, dir, &config, address, &|| Ok(TcpStream::connect(address)?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The full reference of the image `name`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}:latest", self.address)
    }

    fn spawn(
        mut command: Command,
        dir: &Path,
        config: &str,
        address: SocketAddr,
        connect: &dyn Fn() -> Result<TcpStream>,
    ) -> Result<Self> {
        let file = dir.join("registry.yml");
        fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
        command.arg("serve").arg(&file);
        let log = fs::File::create(dir.join("registry.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().context("run docker-registry")?;
        let mut registry = Self { process, address };
        wait::until_true(Duration::from_secs(20), "the registry's answer", || {
            if let Some(status) = registry.process.try_wait()? {
                bail!("docker-registry ended: {status}");
            }
            Ok(connect().is_ok())
        })?;
        Ok(registry)
    }
}

fn config(storage: &Path, address: SocketAddr, more: &str) -> String {
    format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n\
         storage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{more}",
        storage.display()
    )
}

impl Drop for Registry {
    fn drop(&mut self) {
        // In a sandbox this is `nsenter`; the registry itself ends with the sandbox.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Pushes `image` as `name:tag` over connections made by `connect`.
pub fn push(
    connect: &dyn Fn() -> Result<TcpStream>,
    name: &str,
    tag: &str,
    image: &Image,
) -> Result<()> {
    let layers = image.layers.iter().map(|layer| &layer.blob);
    for blob in layers.chain([&image.config]) {
        push_blob(connect, name, blob).with_context(|| format!("push blob {}", blob.digest))?;
    }
    let path = format!("/v2/{name}/manifests/{tag}");
    let headers = [("Content-Type", image.manifest.media_type)];
    let body = &image.manifest.data;
    send(connect, Request { method: "PUT", path: &path, headers: &headers, body })?.expect(201)?;
    Ok(())
}

fn push_blob(connect: &dyn Fn() -> Result<TcpStream>, name: &str, blob: &Blob) -> Result<()> {
    let path = format!("/v2/{name}/blobs/uploads/");
    let begun = send(connect, Request { method: "POST", path: &path, headers: &[], body: b"" })?;
    let begun = begun.expect(202)?;
    let location = begun.header("location").context("no Location")?;
    // It is absolute: the path starts at the third slash.
    let location = location.splitn(4, '/').nth(3).context("Location without a path")?;
    let path = format!("/{location}&digest={}", blob.digest);
    let headers = [("Content-Type", "application/octet-stream")];
    let body = &blob.data;
    send(connect, Request { method: "PUT", path: &path, headers: &headers, body })?.expect(201)?;
    Ok(())
}

fn send(connect: &dyn Fn() -> Result<TcpStream>, request: Request<'_>) -> Result<Response> {
    let mut stream = connect()?;
    http::exchange(&mut stream, "127.0.0.1", request)
}
