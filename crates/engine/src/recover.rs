//! What happens when the daemon starts: the containers are read from their records, those that run
//! are found again by their monitors' sockets, and what happened meanwhile is taken over.
//!
//! In this order: load, reconnect, network and volumes, left-overs, then what the restart policies and `--rm`
//! ask for. Nothing here stops or restarts a container that runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use davit_monitor::protocol::{Event as Said, Request};
use davit_monitor::task::{Phase, Status};
use davit_network::Sandbox;
use davit_types::{ContainerId, Context, Error, Result};

use crate::container::{
    Container, Event, Record, Snapshot, blocking, follow, lost, release, remove_bundle,
    start_container, starts_with_daemon,
};
use crate::engine::Inner;
use crate::monitor::{Events, Monitor};
use crate::{Engine, error, signal, store};

/// How long a monitor may take to greet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Brings the engine up to date. Restarts by policy go on in the background.
pub(crate) async fn recover(engine: &Engine) -> Result<()> {
    let inner = engine.inner();
    let shared = Arc::clone(inner);
    blocking(move || load(&shared)).await?;
    // Before anything of theirs is swept.
    let forgotten = forgotten(inner).into_iter();
    let ends: tokio::task::JoinSet<()> =
        forgotten.map(|id| end_forgotten(Arc::clone(inner), id)).collect();
    ends.join_all().await;
    let containers = inner.containers.all();
    let mut reconnects = tokio::task::JoinSet::new();
    for container in &containers {
        let (inner, container) = (Arc::clone(inner), Arc::clone(container));
        reconnects.spawn(async move { reconnect(&inner, container).await });
    }
    let found: Vec<Option<Found>> = reconnects.join_all().await;
    let mut followers = Vec::new();
    let mut live: Vec<(String, String, Sandbox)> = Vec::new();
    for found in found.into_iter().flatten() {
        let snapshot = found.container.snapshot();
        if let Some(sandbox) = snapshot.record.davit_sandbox.clone() {
            live.push((found.container.id.to_string(), snapshot.name().to_owned(), sandbox));
        }
        followers.push(found);
    }
    let shared = Arc::clone(inner);
    let snapshots: Vec<_> = followers.iter().map(|found| found.container.snapshot()).collect();
    blocking(move || {
        let recovered = shared.networks.recover(&live);
        let live: Vec<&Snapshot> = snapshots.iter().map(AsRef::as_ref).collect();
        claim_volumes(&shared, &live);
        shared.resolver.restore(&shared, &live);
        recovered
    })
    .await?;
    for Found { container, events } in followers {
        tokio::spawn(follow(Arc::clone(inner), container, events));
    }
    let shared = Arc::clone(inner);
    blocking(move || {
        sweep(&shared);
        Ok(())
    })
    .await?;
    for container in containers {
        tokio::spawn(resume(Arc::clone(inner), container));
    }
    Ok(())
}

/// Has the containers that run say again which volumes they use. What nobody uses is unmounted.
fn claim_volumes(inner: &Inner, live: &[&Snapshot]) {
    for snapshot in live {
        let id = &snapshot.record.id;
        for volume in snapshot.volumes() {
            if let Err(failure) = inner.volumes.acquire(volume, id.as_str()) {
                tracing::warn!(%id, error = %error::chain(&failure), "use a volume again");
            }
        }
    }
    inner.volumes.unmount_unused();
}

/// A container whose monitor answers.
struct Found {
    container: Arc<Container>,
    events: Events,
}

/// Reads all records. A bad one is put aside.
fn load(inner: &Inner) -> Result<()> {
    let directory = inner.config.data_root.join("containers");
    let entries = std::fs::read_dir(&directory)
        .context(|| format!("list containers in {}", directory.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Anything else there is not a container's.
        let Ok(id) = ContainerId::parse(&name) else { continue };
        if !entry.path().join("config.v2.json").exists() {
            // The last thing that create writes: nobody was told of this container.
            let removed = std::fs::remove_dir_all(entry.path());
            report(&id, removed.context(|| "delete an unfinished container"));
        } else if let Err(failure) = load_one(inner, &id, &entry.path()) {
            put_aside(&entry.path(), &failure);
        }
    }
    Ok(())
}

fn load_one(inner: &Inner, id: &ContainerId, directory: &Path) -> Result<()> {
    let record: Record = store::read_json(&directory.join("config.v2.json"))?;
    let host_config = store::read_json(&directory.join("hostconfig.json"))?;
    if record.id != *id {
        return Err(Error::internal(format!(
            "the record in {} is {}'s",
            directory.display(),
            record.id
        )));
    }
    let snapshot = Snapshot { record, host_config };
    inner.containers.reserve(snapshot.name(), id)?;
    let config = &inner.config;
    let container = Container::new(snapshot, &config.data_root, &config.exec_root);
    inner.containers.insert(Arc::new(container));
    Ok(())
}

/// Renames a directory whose records can't be used, so that a person can look at it.
fn put_aside(directory: &Path, failure: &Error) {
    let aside = PathBuf::from(format!("{}.bad-{}", directory.display(), crate::time::now()));
    let renamed = std::fs::rename(directory, &aside);
    tracing::error!(
        error = %error::chain(failure), path = %directory.display(), aside = %aside.display(),
        renamed = renamed.is_ok(), "put a bad container record aside"
    );
}

/// Ids that have a bundle and no usable record.
fn forgotten(inner: &Inner) -> Vec<ContainerId> {
    let bundles = std::fs::read_dir(inner.config.exec_root.join("containers"));
    let names = bundles.into_iter().flatten().flatten();
    names
        .filter_map(|entry| ContainerId::parse(&entry.file_name().to_string_lossy()).ok())
        .filter(|id| inner.containers.by_id(id.as_str()).is_none())
        .collect()
}

/// Ends what runs of a container that nothing else is known of. Its files go with the sweep.
async fn end_forgotten(inner: Arc<Inner>, id: ContainerId) {
    let bundle = inner.config.exec_root.join("containers").join(id.as_str());
    if bundle.join("monitor.sock").exists() {
        tracing::warn!(%id, "end a container that has no usable record");
        if let Err(failure) = kill_by_monitor(&bundle).await {
            tracing::warn!(%id, error = %error::chain(&failure), "end a forgotten container");
        }
    }
    let known = id.clone();
    if let Err(failure) = blocking(move || remove_traces(&inner, &known, &bundle)).await {
        tracing::warn!(%id, error = %error::chain(&failure), "clean up a forgotten container");
    }
}

/// Has a monitor kill its process, and waits until it has cleaned up.
async fn kill_by_monitor(bundle: &Path) -> Result<()> {
    let (monitor, mut events, _) = greet(bundle).await?;
    let kill = Request::Signal { signal: signal::KILL, cancel_restart: true };
    let ended = async {
        // It may have ended by itself meanwhile; then its last word comes all the same.
        let _ = monitor.request(kill, None).await;
        while let Some(said) = events.recv().await {
            if matches!(said, Said::Exited { restart_after_ms: None, .. } | Said::Failed(_)) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .map_err(|_| Error::internal("the monitor does not end its container"))
}

/// Removes what a monitor that was killed, or does not answer, has left: processes, cgroup, mount.
fn remove_traces(inner: &Inner, id: &ContainerId, bundle: &Path) -> Result<()> {
    let cgroup = store::read_json::<serde_json::Value>(&bundle.join("config.json"))
        .ok()
        .and_then(|spec| spec["linux"]["cgroupsPath"].as_str().map(str::to_owned))
        .unwrap_or_else(|| inner.default_cgroup_path(id));
    if let Ok(layer) = inner.images.container_layer(id) {
        // Not mounted is the usual case.
        let _ = rustix::mount::unmount(&layer.merged, rustix::mount::UnmountFlags::DETACH);
    }
    let cgroup = inner.cgroup_at(&cgroup).context(|| format!("find {cgroup}"))?;
    if cgroup.exists() {
        cgroup.kill_all().and_then(|()| cgroup.remove()).context(|| "remove the cgroup")?;
    }
    Ok(())
}

/// Connects to the monitor of a container that ran when it was last heard of.
async fn reconnect(inner: &Arc<Inner>, container: Arc<Container>) -> Option<Found> {
    // The record may be older than the start: the bundle tells whether there is a monitor.
    if !container.bundle.join("monitor.sock").exists() {
        let record = &container.snapshot().record;
        if record.state.running {
            lost(inner, &container).await;
        } else if record.davit_sandbox.is_some() {
            // The daemon died starting it. A shim that is still at it ends by itself.
            release(inner, &container).await;
            save(&container).await;
            remove_bundle(inner, &container).await;
        }
        return None;
    }
    match greet(&container.bundle).await {
        Ok((monitor, mut events, status)) => {
            if take_over(inner, &container, &status).await {
                container.set_monitor(Some(monitor));
                crate::exec::adopt(inner, &container).await;
                return Some(Found { container, events });
            }
            // It tells its last word and ends; the exit is known from the greeting already.
            events.close();
            None
        }
        Err(failure) => {
            tracing::info!(
                id = %container.id, error = %error::chain(&failure), "the monitor is gone"
            );
            lost(inner, &container).await;
            None
        }
    }
}

/// Connects to the monitor of a task and hears how it is.
pub(crate) async fn greet(task: &Path) -> Result<(Monitor, Events, Status)> {
    let (monitor, mut events) = Monitor::connect(task)?;
    match tokio::time::timeout(PATIENCE, events.recv()).await {
        Ok(Some(Said::Hello { status, .. })) => Ok((monitor, events, status)),
        Ok(Some(said)) => Err(Error::internal(format!("the monitor greeted with {said:?}"))),
        Ok(None) => Err(Error::internal("the monitor has closed the connection")),
        Err(_) => Err(Error::internal("the monitor does not greet")),
    }
}

/// Brings the record up to what the monitor says. Says whether there is anything left to follow.
async fn take_over(inner: &Arc<Inner>, container: &Arc<Container>, status: &Status) -> bool {
    let state = container.snapshot().record.state.clone();
    container.change(|snapshot| snapshot.record.restart_count = status.restart_count);
    match status.phase {
        Phase::Running => {
            let same = state.running && state.pid == status.pid;
            if !same {
                tracing::debug!(id = %container.id, pid = status.pid, "started meanwhile");
                let started = Event::Started { pid: status.pid, at: status.started_at };
                container.apply(&started);
            }
            // The freezer's state is the kernel's; the record knows whether it was us.
            container.advance(|progress| progress.running = true);
            save(container).await;
            true
        }
        Phase::Restarting => {
            let exit = status.last_exit;
            container.apply(&Event::Exited {
                exit_code: exit.map_or(255, |exit| exit.code),
                oom_killed: exit.is_some_and(|exit| exit.oom_killed),
                at: exit.map_or_else(crate::time::now, |exit| exit.finished_at),
                restarts: true,
            });
            container.advance(|progress| progress.running = false);
            save(container).await;
            true
        }
        // The daemon that made it died before it let it go: as if it was never started.
        Phase::Created => {
            release(inner, container).await;
            save(container).await;
            remove_bundle(inner, container).await;
            false
        }
        Phase::Exited => {
            lost(inner, container).await;
            false
        }
    }
}

async fn save(container: &Arc<Container>) {
    let saved = Arc::clone(container);
    let result = blocking(move || saved.save(store::Durability::Relaxed)).await;
    if let Err(failure) = result {
        tracing::warn!(id = %container.id, error = %error::chain(&failure), "note the state");
    }
}

/// Deletes what belongs to no container: layers, bundles, and what a crash left in the trash.
fn sweep(inner: &Inner) {
    for id in inner.images.container_layers() {
        if inner.containers.by_id(id.as_str()).is_none() {
            report(&id, inner.images.remove_container_layer(&id));
        }
    }
    if let Err(failure) = crate::check::sweep(inner) {
        tracing::warn!(error = %error::chain(&failure), "sweep");
    }
    let config = &inner.config;
    for directory in [config.exec_root.join("containers"), config.exec_root.join("runtime")] {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(id) = ContainerId::parse(&name) else { continue };
            if inner.containers.by_id(&name).is_none() {
                let removed = std::fs::remove_dir_all(entry.path());
                report(&id, removed.context(|| "delete a left-over bundle"));
            }
        }
    }
    for entry in std::fs::read_dir(inner.trash()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["container-", "volume-", "stray-"].iter().any(|prefix| name.starts_with(prefix)) {
            // Tried again at the next start.
            let _ = davit_image::remove_tree(&entry.path());
        }
    }
}

fn report(id: &ContainerId, result: Result<()>) {
    match result {
        Ok(()) => tracing::info!(%id, "deleted what a forgotten container left"),
        Err(failure) => tracing::warn!(%id, error = %error::chain(&failure), "sweep"),
    }
}

/// What the restart policy or `--rm` asks for a container that does not run.
async fn resume(inner: Arc<Inner>, container: Arc<Container>) {
    let snapshot = container.snapshot();
    let record = &snapshot.record;
    if record.state.running {
        return;
    }
    if snapshot.host_config.auto_remove {
        crate::container::auto_remove(&inner, &container, &snapshot);
        return;
    }
    let starts = starts_with_daemon(
        &snapshot.host_config.restart_policy,
        &record.state,
        record.has_been_manually_stopped,
        record.has_been_started_before,
        record.restart_count,
    );
    if !starts {
        return;
    }
    let _guard = container.transition.lock().await;
    if let Err(failure) = start_container(&inner, &container).await {
        tracing::error!(
            id = %container.id, error = %error::chain(&failure), "start by the restart policy"
        );
    }
}
