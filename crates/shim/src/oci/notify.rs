//! `NOTIFY_SOCKET`: a service manager's socket, reached by the container through one of our own.
//!
//! The manager's socket is no file of the container's, and it would not believe a message of a process
//! that it doesn't know. So the container gets a directory with a socket that we listen to, and when
//! it says that it is ready, we say so in its place, and who its first process is.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::Duration;

use davit_runtime::state::State;
use davit_types::oci::runtime::{MountBuilder, Spec};
use davit_types::{Context, Result};

use super::{Host, bundle, failed};

const VARIABLE: &str = "NOTIFY_SOCKET";
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
/// How often the container's end is looked for.
const LOOK: Duration = Duration::from_millis(100);

fn manager() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|path| !path.is_empty())
}

fn directory(host: &Host<'_>, id: &str) -> PathBuf {
    host.root.join(".notify").join(id)
}

/// Gives the container a place for the socket, when this process was started with one.
pub(crate) fn prepare(host: &Host<'_>, id: &str, spec: &mut Spec) -> Result<()> {
    // An id that is none is the runtime's to refuse.
    if manager().is_none() || id.is_empty() || id.contains('/') || id.starts_with('.') {
        return Ok(());
    }
    let source = directory(host, id);
    fs::create_dir_all(&source).context(|| format!("create {}", source.display()))?;
    let mount = MountBuilder::default()
        .destination(INSIDE)
        .source(source)
        .typ("bind")
        .options(["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned))
        .build();
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount.context(|| "plan the notification socket's mount")?);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        bundle::add_variables(process, [format!("{VARIABLE}={INSIDE}/{SOCKET}")]);
    }
    Ok(())
}

/// Removes what [`prepare`] made.
pub(crate) fn remove(host: &Host<'_>, id: &str) {
    // There is none as a rule.
    let _ = fs::remove_dir_all(directory(host, id));
}

/// Listens in the container's place, when it has one.
pub(crate) fn listen(host: &Host<'_>, id: &str) -> Result<Option<Proxy>> {
    let directory = directory(host, id);
    let Some(manager) = manager().filter(|_| directory.is_dir()) else { return Ok(None) };
    let path = directory.join(SOCKET);
    let bind = || -> io::Result<UnixDatagram> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path)?;
        // Whatever user the container runs as.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(socket)
    };
    let socket = bind().context(|| format!("listen at {}", path.display()))?;
    Ok(Some(Proxy { socket, manager }))
}

/// A socket that is listened to.
pub(crate) struct Proxy {
    socket: UnixDatagram,
    manager: String,
}

impl Proxy {
    /// Waits until the container is ready, or has ended, and tells the manager.
    pub(crate) fn until_ready(self, host: &Host<'_>, id: &str) -> Result<()> {
        let state = State::load(&host.root, id).map_err(failed)?;
        self.pass_on(&state)
    }

    /// The same beside this process' other work.
    pub(crate) fn in_background(self, host: &Host<'_>, id: &str) -> Result<()> {
        let state = State::load(&host.root, id).map_err(failed)?;
        std::thread::Builder::new()
            .spawn(move || drop(self.pass_on(&state)))
            .map(drop)
            .context(|| "start the notification proxy")
    }

    fn pass_on(&self, state: &State) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let message = match self.socket.recv(&mut buffer) {
                Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if state.is_alive() {
                        continue;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(|| "receive a notification"),
            };
            if message.lines().any(|line| line == "READY=1") {
                return self
                    .tell(&format!("READY=1\nMAINPID={}", state.pid))
                    .context(|| format!("notify {}", self.manager));
            }
        }
    }

    fn tell(&self, message: &str) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        let address = match self.manager.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&self.manager)?,
        };
        socket.send_to_addr(message.as_bytes(), &address).map(drop)
    }
}
