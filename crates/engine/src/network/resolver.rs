//! The daemon's side of the resolver: who asks, and who is called what.
//!
//! The resolver is a process of its own that outlives the daemon. What it is told here is kept, so
//! that one that has ended is replaced by one that knows the same. A resolver that can't be had
//! keeps no container from running: names don't resolve then, and the log says why.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use davit_monitor::resolver::{
    Container, Endpoint, Known, LISTEN_FD, MAX_MESSAGE, Order, ROLE, SOCKET,
};
use davit_network::{Networks, ResolverSockets, Sandbox};
use davit_sys::fdpass;
use davit_types::{Context, Error, Result};
use rustix::net::sockopt;

use super::files::{nameservers, ndots_are_set};
use crate::container::Snapshot;
use crate::engine::Inner;

/// How long a resolver may take to answer or to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// The resolver and what it knows.
#[derive(Debug)]
pub(crate) struct Resolver {
    shim: PathBuf,
    exec_root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<OwnedFd>,
    /// By id.
    containers: BTreeMap<String, View>,
}

/// What the resolver is told of a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    container: Container,
    endpoints: Vec<Endpoint>,
    sandbox: Sandbox,
}

impl Resolver {
    pub(crate) fn new(shim: PathBuf, exec_root: PathBuf) -> Self {
        Self { shim, exec_root, state: Mutex::default() }
    }

    /// Tells what a container looks like now. Blocks.
    pub(crate) fn update(&self, inner: &Inner, snapshot: &Snapshot) {
        let id = snapshot.record.id.as_str();
        let done = match view(inner, snapshot) {
            Ok(Some(view)) => self.set(&inner.networks, view),
            Ok(None) => self.remove(&inner.networks, id),
            Err(error) => Err(error),
        };
        if let Err(failure) = done {
            tracing::error!(id, error = %crate::error::chain(&failure), "tell the resolver");
        }
    }

    /// Tells that a container's run has ended. Blocks.
    pub(crate) fn forget(&self, inner: &Inner, id: &str) {
        if let Err(failure) = self.remove(&inner.networks, id) {
            tracing::error!(id, error = %crate::error::chain(&failure), "tell the resolver");
        }
    }

    /// After a restart of the daemon: tells everything anew. Blocks.
    pub(crate) fn restore(&self, inner: &Inner, live: &[&Snapshot]) {
        let mut state = self.lock();
        for snapshot in live {
            match view(inner, snapshot) {
                Ok(Some(view)) => drop(state.containers.insert(view.container.id.clone(), view)),
                Ok(None) => {}
                Err(failure) => {
                    let error = crate::error::chain(&failure);
                    tracing::error!(id = %snapshot.record.id, error, "tell the resolver");
                }
            }
        }
        let is_there = fdpass::connect(&self.exec_root, SOCKET).is_ok();
        if (is_there || !state.containers.is_empty())
            && let Err(failure) = self.tell_all(&inner.networks, &mut state)
        {
            tracing::error!(error = %crate::error::chain(&failure), "restore the resolver");
        }
    }

    fn set(&self, networks: &Networks, view: View) -> Result<()> {
        let mut state = self.lock();
        let id = view.container.id.clone();
        let former = state.containers.insert(id, view.clone());
        let Some(connection) = &state.connection else {
            return self.tell_all(networks, &mut state);
        };
        match tell_change(connection, networks, former.as_ref(), &view) {
            Err(failure) if failure.kind() == davit_types::Kind::Unavailable => {
                self.tell_all(networks, &mut state)
            }
            done => done,
        }
    }

    fn remove(&self, networks: &Networks, id: &str) -> Result<()> {
        let mut state = self.lock();
        let Some(former) = state.containers.remove(id) else { return Ok(()) };
        let Some(connection) = &state.connection else {
            return self.tell_all(networks, &mut state);
        };
        let leaves = former.endpoints.iter().map(|endpoint| Order::Leave(endpoint.id.clone()));
        let mut orders = leaves.chain([Order::Forget(id.to_owned())]);
        match orders.try_for_each(|order| say(connection, &order, &[])) {
            Err(_) if state.containers.is_empty() => {
                // It has ended, and nobody needs another one.
                state.connection = None;
                Ok(())
            }
            Err(_) => self.tell_all(networks, &mut state),
            done => done,
        }
    }

    /// Tells everything to the resolver that is there, or to a new one.
    fn tell_all(&self, networks: &Networks, state: &mut State) -> Result<()> {
        state.connection = None;
        let (connection, known) = match self.connect() {
            Ok(connected) => connected,
            Err(_) if state.containers.is_empty() => return Ok(()),
            Err(_) => {
                self.launch()?;
                self.connect().context(|| "connect to the resolver")?
            }
        };
        say(&connection, &Order::Begin, &[])?;
        for view in state.containers.values() {
            let is_known = known.containers.contains(&view.container.id);
            // One container's trouble is not the others'.
            if let Err(failure) = introduce(&connection, networks, view, is_known) {
                let error = crate::error::chain(&failure);
                tracing::error!(id = %view.container.id, error, "tell the resolver");
            }
        }
        say(&connection, &Order::End, &[])?;
        state.connection = Some(connection);
        Ok(())
    }

    fn connect(&self) -> Result<(OwnedFd, Known)> {
        let connection =
            fdpass::connect(&self.exec_root, SOCKET).context(|| "connect to the resolver")?;
        let limit = |timeout| sockopt::set_socket_timeout(&connection, timeout, Some(PATIENCE));
        limit(sockopt::Timeout::Recv)
            .and_then(|()| limit(sockopt::Timeout::Send))
            .context(|| "limit the resolver's time")?;
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, _) = fdpass::recv(&connection, &mut buffer).context(|| "hear the resolver")?;
        let known =
            serde_json::from_slice(&buffer[..length]).context(|| "understand the resolver")?;
        Ok((connection, known))
    }

    fn launch(&self) -> Result<()> {
        let listener = fdpass::listen(&self.exec_root, SOCKET)
            .context(|| format!("listen on {}", self.exec_root.join(SOCKET).display()))?;
        let pid = davit_sys::spawn::spawn(&self.shim, &[ROLE], listener.as_fd(), LISTEN_FD)
            .context(|| format!("start {}", self.shim.display()))?;
        reap(pid)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects its exit status whenever it ends.
fn reap(pid: rustix::process::Pid) -> Result<()> {
    std::thread::Builder::new()
        .name("resolver-reaper".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        })
        .map(drop)
        .context(|| "start a thread")
}

fn tell_change(
    connection: &OwnedFd,
    networks: &Networks,
    former: Option<&View>,
    view: &View,
) -> Result<()> {
    let same_sandbox = former.is_some_and(|former| former.sandbox.id == view.sandbox.id);
    for endpoint in former.iter().flat_map(|former| &former.endpoints) {
        if !view.endpoints.iter().any(|other| other.id == endpoint.id) {
            say(connection, &Order::Leave(endpoint.id.clone()), &[])?;
        }
    }
    introduce(connection, networks, view, same_sandbox)
}

fn introduce(connection: &OwnedFd, networks: &Networks, view: &View, is_known: bool) -> Result<()> {
    let order = Order::Container(view.container.clone());
    if is_known {
        say(connection, &order, &[])?;
    } else {
        let ResolverSockets { datagrams, connections, namespace } =
            networks.open_resolver(&view.sandbox)?;
        let fds = [datagrams.as_fd(), connections.as_fd(), namespace.as_fd()];
        say(connection, &order, &fds)?;
    }
    for endpoint in &view.endpoints {
        say(connection, &Order::Endpoint(endpoint.clone()), &[])?;
    }
    Ok(())
}

fn say(connection: &OwnedFd, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = serde_json::to_vec(order).context(|| "encode an order to the resolver")?;
    fdpass::send(connection, &bytes, fds).map_err(|cause| {
        Error::new(davit_types::Kind::Unavailable, "send an order to the resolver")
            .with_source(cause)
    })
}

/// What is to be told of a container; nothing if it is on no network of the user's.
fn view(inner: &Inner, snapshot: &Snapshot) -> Result<Option<View>> {
    let record = &snapshot.record;
    let Some(sandbox) = record.davit_sandbox.clone() else { return Ok(None) };
    let mut container =
        Container { id: record.id.to_string(), forwards: false, ..Container::default() };
    let mut endpoints = Vec::new();
    for given in &sandbox.endpoints {
        let mut entries = record.network_settings.networks.values();
        let entry = entries.find(|entry| entry.settings.network_id == given.network_id);
        let Some(names) = entry.and_then(|entry| entry.settings.dns_names.clone()) else {
            continue;
        };
        container.networks.push(given.network_id.clone());
        for link in entry.iter().flat_map(|entry| entry.settings.links.iter().flatten()) {
            let (target, alias) = link.split_once(':').unwrap_or((link, link));
            let alias = alias.rsplit('/').next().unwrap_or(alias);
            container.links.insert(alias.to_owned(), target.trim_start_matches('/').to_owned());
        }
        endpoints.push(Endpoint {
            id: given.endpoint_id.clone(),
            network: given.network_id.clone(),
            network_name: given.network_name.clone(),
            names,
            addresses: given.addresses().collect::<Vec<IpAddr>>(),
            ports: super::ports::known(&record.config, &snapshot.host_config),
        });
    }
    if endpoints.is_empty() {
        return Ok(None);
    }
    container.servers = nameservers(inner, snapshot)?;
    // From the host nothing is asked for those that are shut in; their own servers may be beside them.
    container.forwards = sandbox.gateway().is_some() || !container.servers.is_empty();
    container.forwards_single_labels = !ndots_are_set(inner, snapshot);
    Ok(Some(View { container, endpoints, sandbox }))
}

/// Whether a container uses the resolver.
pub(crate) fn uses_resolver(snapshot: &Snapshot) -> bool {
    let networks = &snapshot.record.network_settings.networks;
    networks.values().any(|entry| entry.settings.dns_names.is_some())
}
