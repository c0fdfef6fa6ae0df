//! [`Engine`]: what all verbs share.

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_image::ImageStore;
use davit_network::Networks;
use davit_sys::cgroup::{Cgroup, Layout, Scope};
use davit_types::{ContainerId, Context, Error, Result};
use rustix::fs::FlockOperation;

use crate::config::Config;
use crate::container::{Container, Registry, Snapshot};
use crate::events::EventBus;
use crate::exec::Execs;
use crate::monitor::Shim;
use crate::network::Resolver;
use crate::spec::HostFacts;
use crate::store::{self, Durability};
use crate::volume::Volumes;

/// Where systemd puts containers that name no slice.
pub(crate) const DEFAULT_SLICE: &str = "system.slice";

/// The engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What all verbs share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) containers: Registry,
    pub(crate) execs: Execs,
    pub(crate) images: ImageStore,
    pub(crate) networks: Networks,
    pub(crate) resolver: Resolver,
    pub(crate) volumes: Volumes,
    pub(crate) events: EventBus,
    pub(crate) shim: Shim,
    pub(crate) layout: Layout,
    pub(crate) host: HostFacts,
    /// How registries are reached.
    pub(crate) registries: Arc<davit_image::RegistryHosts>,
    /// The daemon's own id, for `info`.
    pub(crate) id: String,
    /// Nobody else works on the data root and the exec root while these are held.
    _locks: [OwnedFd; 2],
    /// One prune of containers or networks at a time.
    pub(crate) pruning: tokio::sync::Mutex<()>,
    /// One prune of volumes at a time.
    pub(crate) pruning_volumes: tokio::sync::Mutex<()>,
    /// One prune of images at a time.
    pub(crate) pruning_images: tokio::sync::Mutex<()>,
}

impl Engine {
    /// Opens the data root, finds the containers that run, takes over what happened meanwhile, and
    /// starts those whose restart policy says so.
    ///
    /// # Errors
    /// The data root can't be used, or the bridge can't be made. A bad record of a container is put
    /// aside and is no error.
    pub async fn open(config: Config) -> Result<Self> {
        let inner = crate::container::blocking(move || Inner::open(config)).await?;
        let engine = Self { inner: Arc::new(inner) };
        crate::recover::recover(&engine).await?;
        Ok(engine)
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.inner.config.data_root.display())
    }
}

fn registries(config: &Config) -> Result<davit_image::RegistryHosts> {
    let hosts = davit_image::RegistryHosts {
        insecure: config.insecure_registries.clone(),
        hub_mirrors: config.registry_mirrors.clone(),
        rules: config.registry_rules.clone(),
        certificates: config.registry_certificates.clone(),
        proxies: config.proxies.clone(),
    };
    hosts.check()?;
    Ok(hosts)
}

impl Inner {
    fn open(config: Config) -> Result<Self> {
        create_roots(&config)?;
        let locks = [lock(&config.data_root)?, lock(&config.exec_root)?];
        let layout = Layout::detect().context(|| "find the cgroup hierarchies")?;
        let host = HostFacts::probe(layout.is_v2());
        Ok(Self {
            containers: Registry::default(),
            execs: Execs::default(),
            images: ImageStore::open_with(&config.data_root, config.transfers)?,
            networks: Networks::open(config.network.clone())?,
            resolver: Resolver::new(config.shim.clone(), config.exec_root.clone()),
            volumes: Volumes::open(config.data_root.join("volumes"))?,
            registries: Arc::new(registries(&config)?),
            events: EventBus::new(),
            shim: Shim::new(config.shim.clone()),
            id: engine_id(&config.data_root)?,
            layout,
            host,
            _locks: locks,
            pruning: tokio::sync::Mutex::default(),
            pruning_volumes: tokio::sync::Mutex::default(),
            pruning_images: tokio::sync::Mutex::default(),
            config,
        })
    }

    /// Where what is deleted waits for that.
    pub(crate) fn trash(&self) -> PathBuf {
        self.config.data_root.join("trash")
    }

    /// A container's `cgroupsPath`: below the hierarchies' roots, or `SLICE:PREFIX:NAME` for systemd.
    pub(crate) fn cgroup_path(&self, snapshot: &Snapshot) -> String {
        let parent = match snapshot.host_config.resources.cgroup_parent.as_str() {
            "" => self.config.cgroup_parent.as_str(),
            parent => parent,
        };
        self.cgroup_path_below(parent, &snapshot.record.id)
    }

    /// The `cgroupsPath` of a container about which nothing else is known.
    pub(crate) fn default_cgroup_path(&self, id: &ContainerId) -> String {
        self.cgroup_path_below(&self.config.cgroup_parent, id)
    }

    fn cgroup_path_below(&self, parent: &str, id: &ContainerId) -> String {
        if self.config.systemd_cgroups {
            return format!("{parent}:docker:{id}");
        }
        format!("{}/{id}", parent.trim_end_matches('/'))
    }

    /// A container's cgroup.
    pub(crate) fn cgroup(&self, snapshot: &Snapshot) -> Result<Cgroup> {
        self.cgroup_at(&self.cgroup_path(snapshot))
            .context(|| format!("find the cgroup of {}", snapshot.record.id))
    }

    /// The cgroup of a `cgroupsPath`, whichever driver made it.
    pub(crate) fn cgroup_at(&self, path: &str) -> std::io::Result<Cgroup> {
        if path.starts_with('/') {
            return Cgroup::open(&self.layout, path);
        }
        Cgroup::open(&self.layout, &Scope::parse(path, DEFAULT_SLICE)?.path)
    }

    /// Tells that something happened to a container.
    pub(crate) fn publish(
        &self,
        snapshot: &Snapshot,
        action: &str,
        attributes: &[(&'static str, String)],
    ) {
        let mut all = snapshot.event_attributes();
        all.extend(attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.events.publish("container", action, snapshot.record.id.as_str(), all);
    }

    /// Containers that use a volume, by id.
    pub(crate) fn users_of_volume(&self, name: &str) -> Vec<String> {
        let uses = |container: &Arc<Container>| {
            container.snapshot().volumes().any(|volume| volume == name)
        };
        let mut users: Vec<String> =
            self.containers.all().iter().filter(|c| uses(c)).map(|c| c.id.to_string()).collect();
        users.sort();
        users
    }
}

fn create_roots(config: &Config) -> Result<()> {
    let directories = [
        (config.data_root.clone(), 0o710),
        (config.data_root.join("containers"), 0o710),
        (config.data_root.join("trash"), 0o700),
        (config.exec_root.clone(), 0o711),
        (config.exec_root.join("containers"), 0o711),
        (config.exec_root.join("runtime"), 0o700),
    ];
    for (directory, mode) in directories {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&directory)
            .context(|| format!("create {}", directory.display()))?;
    }
    Ok(())
}

/// Takes a directory for this process alone, as long as the descriptor is open.
fn lock(root: &Path) -> Result<OwnedFd> {
    let path = root.join("davit.lock");
    let failed = || format!("lock {}", path.display());
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .context(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::conflict(format!("another daemon uses {}", root.display())))
        }
        locked => locked.context(failed).map(|()| file.into()),
    }
}

/// An id in the form of a UUID, made once and kept in the data root.
fn engine_id(data_root: &Path) -> Result<String> {
    let path = data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let id = crate::random::id()?;
    let hex = id.as_str();
    let id = format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..15],
        &hex[15..18],
        &hex[18..30]
    );
    store::write_file(&path, id.as_bytes(), 0o600, Durability::Relaxed)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_taken_by_one_daemon_only() {
        let root = tempfile::tempdir().unwrap();
        let held = lock(root.path()).unwrap();
        let error = lock(root.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("another daemon uses {}", root.path().display()));
        drop(held);
        lock(root.path()).unwrap();
    }
}
