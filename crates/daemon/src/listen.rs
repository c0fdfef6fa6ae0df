//! The sockets that clients connect to: `unix://`, `tcp://` and systemd's `fd://`.

use std::io::ErrorKind;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::net::{TcpListener, UnixListener};

/// Group that may use the socket unless a flag names another.
const DEFAULT_GROUP: &str = "docker";

/// The first descriptor that systemd passes.
const FIRST_INHERITED: i32 = 3;

/// A socket that listens. A unix socket's file, if we made it, is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    _file: Option<SocketFile>,
}

/// The kinds of sockets.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// The file of a unix socket.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is gone already is what is wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Opens the socket of a `-H` flag.
pub(crate) fn listen(host: &str, group: Option<&str>) -> Result<Vec<Listener>> {
    match host.split_once("://") {
        Some(("unix", path)) => Ok(vec![listen_unix(Path::new(path), group)?]),
        Some(("tcp", address)) => Ok(vec![listen_tcp(address)?]),
        Some(("fd", name)) => inherited(name),
        None if host.starts_with('/') => Ok(vec![listen_unix(Path::new(host), group)?]),
        _ => bail!("invalid bind address ({host}): use unix://, tcp:// or fd://"),
    }
}

fn listen_unix(path: &Path, group: Option<&str>) -> Result<Listener> {
    let what = || format!("listen on unix socket {}", path.display());
    if !path.is_absolute() {
        bail!("invalid unix socket {}: the path must be absolute", path.display());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(what)?;
    }
    remove_stale(path)?;
    let listener = StdUnixListener::bind(path).with_context(what)?;
    let file = SocketFile(path.to_owned());
    // Between bind and here only root can connect: the parent's socket mode is the umask's.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(what)?;
    give_to_group(path, group)?;
    listener.set_nonblocking(true).with_context(what)?;
    let socket = Socket::Unix(UnixListener::from_std(listener).with_context(what)?);
    Ok(Listener { socket, _file: Some(file) })
}

/// Removes a socket that nobody listens on; one that answers belongs to a running daemon.
fn remove_stale(path: &Path) -> Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => bail!("a daemon is already listening on {}", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .with_context(|| format!("remove stale socket {}", path.display())),
        Err(error) => Err(error).with_context(|| format!("probe socket {}", path.display())),
    }
}

fn give_to_group(path: &Path, group: Option<&str>) -> Result<()> {
    let name = group.unwrap_or(DEFAULT_GROUP);
    match (group_id(name)?, group) {
        (Some(id), _) => chown(path, Some(0), Some(id))
            .with_context(|| format!("give socket {} to group {name}", path.display())),
        (None, Some(_)) => bail!("group {name} not found"),
        (None, None) => {
            tracing::debug!("no group {DEFAULT_GROUP}: only root can use the socket");
            Ok(())
        }
    }
}

/// The id of a group, given by name or number.
fn group_id(name: &str) -> Result<Option<u32>> {
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let groups = std::fs::read_to_string("/etc/group").context("read /etc/group")?;
    let id = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    Ok(id)
}

/// The sockets systemd passed: descriptors from 3 on, counted by `LISTEN_FDS`.
fn inherited(name: &str) -> Result<Vec<Listener>> {
    let for_us = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok());
    let count: i32 = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if for_us != Some(std::process::id()) || count == 0 {
        bail!(
            "no sockets found via socket activation: make sure the service was started by systemd"
        );
    }
    let first = FIRST_INHERITED;
    let numbers = match name {
        "" | "*" => first..first + count,
        number => {
            let number: i32 = number.parse().with_context(|| format!("invalid fd://{name}"))?;
            if !(first..first + count).contains(&number) {
                bail!("fd://{name} was not passed by systemd");
            }
            number..number + 1
        }
    };
    numbers.map(inherited_listener).collect()
}

fn inherited_listener(number: i32) -> Result<Listener> {
    let what = || format!("take over inherited socket {number}");
    let fd = davit_sys::fdpass::take_inherited(number).with_context(what)?;
    let is_unix = rustix::net::sockopt::socket_domain(&fd).with_context(what)?
        == rustix::net::AddressFamily::UNIX;
    if is_unix {
        let listener = StdUnixListener::from(fd);
        listener.set_nonblocking(true).with_context(what)?;
        let socket = Socket::Unix(UnixListener::from_std(listener).with_context(what)?);
        return Ok(Listener { socket, _file: None });
    }
    let listener = StdTcpListener::from(fd);
    listener.set_nonblocking(true).with_context(what)?;
    let socket = Socket::Tcp(TcpListener::from_std(listener).with_context(what)?);
    Ok(Listener { socket, _file: None })
}

fn listen_tcp(address: &str) -> Result<Listener> {
    let what = || format!("listen on tcp address {address}");
    let listener = StdTcpListener::bind(address).with_context(what)?;
    tracing::warn!(address, "API is served over TCP without authentication: root access for all");
    listener.set_nonblocking(true).with_context(what)?;
    let socket = Socket::Tcp(TcpListener::from_std(listener).with_context(what)?);
    Ok(Listener { socket, _file: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = std::env::temp_dir().join(format!("davit-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("a.sock");
        drop(StdUnixListener::bind(&path).expect("a socket that nobody listens on afterwards"));
        let group = rustix::process::getgid().as_raw().to_string();
        let host = format!("unix://{}", path.display());
        let listener = listen(&host, Some(&group)).expect("the stale socket is replaced");
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let error = listen(&host, Some(&group)).expect_err("somebody listens");
        assert!(error.to_string().starts_with("a daemon is already listening"), "{error:#}");
        drop(listener);
        assert!(!path.exists(), "the socket is removed with its listener");
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn addresses_have_a_scheme() {
        for bad in ["ftp://x", "nosuch", "unix://relative", "fd://3"] {
            assert!(listen(bad, None).is_err(), "{bad}");
        }
    }
}
