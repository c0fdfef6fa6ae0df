//! `POST /containers/{id}/start`: network first, then the bundle, then the shim, then the program.
//!
//! Everything up to the shim's start is one piece of blocking work; the rest is a conversation with
//! the monitor. Clients that attached before are handed over before the program runs, so that they
//! miss nothing.

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_monitor::protocol::{Event as Said, Failure, Request};
use davit_monitor::task::{Kind as TaskKind, Overlay, Stdin, Task};
use davit_types::{Context, Error, Kind, Result};

use super::record::Snapshot;
use super::{Container, Event, blocking, detached, mounts, supervise};
use crate::engine::Inner;
use crate::monitor::{Events, Monitor, Role};
use crate::network::{self, Join};
use crate::spec::{self, Namespace, SharedMemory, SpecInput};
use crate::store::{self, Durability};
use crate::{Engine, error};

impl Engine {
    /// Starts a container that does not run.
    ///
    /// # Errors
    /// It runs (304), is paused or being removed (409), its program can't be run (400).
    pub async fn start(&self, name: &str) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        detached(async move {
            let _guard = container.transition.lock().await;
            container.check_present()?;
            start(&inner, &container).await
        })
        .await
    }
}

/// Starts a container whose transition lock is held.
pub(crate) async fn start(inner: &Arc<Inner>, container: &Arc<Container>) -> Result<()> {
    start_counted(inner, container, 0).await
}

/// Starts a container for the `restart_count`th time by its restart policy; 0: by hand.
pub(crate) async fn start_counted(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    restart_count: u32,
) -> Result<()> {
    container.snapshot().record.state.check_start()?;
    container.change(|snapshot| snapshot.record.restart_count = restart_count);
    let result = run(inner, container).await;
    if let Err(error) = &result {
        failed(inner, container, error).await;
    }
    result
}

async fn run(inner: &Arc<Inner>, container: &Arc<Container>) -> Result<()> {
    let (shared, known) = (Arc::clone(inner), Arc::clone(container));
    let prepared = blocking(move || prepare(&shared, &known)).await?;
    let Prepared { join, monitor, mut events } = prepared;
    expect_created(&mut events).await?;
    for (attach, client) in container.set_monitor(Some(monitor.clone())) {
        // A client that has gone meanwhile must not keep the container from starting.
        if let Err(error) = monitor.request(Request::Attach(attach), Some(client)).await {
            tracing::debug!(id = %container.id, %error, "attach a waiting client");
        }
    }
    monitor.start().await?;
    let (pid, at) = expect_started(&mut events).await?;
    commit(inner, container, &join, pid, at).await;
    tokio::spawn(supervise::follow(Arc::clone(inner), Arc::clone(container), events));
    Ok(())
}

/// What is there when the shim has been started.
struct Prepared {
    join: Join,
    monitor: Monitor,
    events: Events,
}

fn prepare(inner: &Arc<Inner>, container: &Container) -> Result<Prepared> {
    let mut snapshot = Box::new(Snapshot::clone(&container.snapshot()));
    for volume in snapshot.volumes() {
        inner.volumes.acquire(volume, container.id.as_str())?;
    }
    make_bind_sources(&snapshot)?;
    let join = network::join(inner, &snapshot)?;
    network::connect(&mut snapshot, &join)?;
    let children = network::links::ready(inner, &snapshot)?;
    let files = (&join, children.as_slice());
    let mut extra = network::write_files(inner, container, &mut snapshot, files)?;
    let mut mounts = mounts::runtime_mounts(&snapshot.record.mount_points, &snapshot.host_config)?;
    mounts.append(&mut extra);
    set_log_path(container, &mut snapshot)?;
    write_bundle(inner, container, &snapshot, &join, mounts)?;
    // Before there is a process: a daemon that is started again must find its network in the record.
    container.change(|present| note(present, &snapshot));
    container.save(Durability::Relaxed)?;
    inner.resolver.update(inner, &snapshot);
    network::links::tell_parents(inner, &snapshot);
    let (monitor, events) = inner.shim.launch(Role::Create, &container.bundle)?;
    Ok(Prepared { join, monitor, events })
}

/// Takes over what was prepared for a run.
fn note(snapshot: &mut Snapshot, prepared: &Snapshot) {
    let (present, next) = (&mut snapshot.record, &prepared.record);
    present.config.hostname.clone_from(&next.config.hostname);
    present.network_settings.clone_from(&next.network_settings);
    present.davit_sandbox.clone_from(&next.davit_sandbox);
    present.log_path.clone_from(&next.log_path);
    present.hostname_path.clone_from(&next.hostname_path);
    present.hosts_path.clone_from(&next.hosts_path);
    present.resolv_conf_path.clone_from(&next.resolv_conf_path);
}

/// A directory named by `-v` is made when it is missing; one named by `--mount` must be there.
fn make_bind_sources(snapshot: &Snapshot) -> Result<()> {
    for mount in snapshot.record.mount_points.values() {
        let source = Path::new(&mount.source);
        if source.exists() {
            continue;
        }
        if mount.skip_mountpoint_creation {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source
            )));
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(source)
            .context(|| format!("error while creating mount source path '{}'", mount.source))?;
    }
    Ok(())
}

/// Names the log file and puts the link `log.json` beside it.
fn set_log_path(container: &Container, snapshot: &mut Snapshot) -> Result<()> {
    if snapshot.host_config.log_config.kind != "json-file" {
        snapshot.record.log_path.clear();
        return Ok(());
    }
    let name = format!("{}-json.log", container.id);
    snapshot.record.log_path = container.log_path().display().to_string();
    match symlink(&name, container.directory.join("log.json")) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).context(|| "link the log")
        }
        _ => Ok(()),
    }
}

/// The program for `--init`: the shim under another name. In a shared pid namespace it isn't first.
fn init_program(inner: &Inner, snapshot: &Snapshot) -> Result<Option<PathBuf>> {
    let host_config = &snapshot.host_config;
    if host_config.init != Some(true) || !host_config.pid_mode.is_empty() {
        return Ok(None);
    }
    let shim = &inner.config.shim;
    shim.canonicalize().map(Some).context(|| format!("find the init program {}", shim.display()))
}

fn write_bundle(
    inner: &Inner,
    container: &Container,
    snapshot: &Snapshot,
    join: &Join,
    mounts: Vec<spec::Mount>,
) -> Result<()> {
    let failed = || format!("create {}", container.bundle.display());
    // What an earlier run left must not be taken for this one's.
    match std::fs::remove_dir_all(&container.bundle) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(failed);
        }
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&container.bundle).context(failed)?;
    let layer = inner.images.container_layer(&container.id)?;
    let devices = spec::devices::resolve(&snapshot.host_config)?;
    let init = init_program(inner, snapshot)?;
    let input = SpecInput {
        id: &container.id,
        config: &snapshot.record.config,
        host_config: &snapshot.host_config,
        args: std::iter::once(snapshot.record.path.clone())
            .chain(snapshot.record.args.iter().cloned())
            .collect(),
        init: init.as_deref(),
        root: &layer.merged,
        hostname: &snapshot.record.config.hostname,
        link_env: network::links::environment(inner, snapshot),
        mounts,
        network: join.namespace.clone(),
        pid: shared_namespace(inner, &snapshot.host_config.pid_mode, "pid")?,
        ipc: shared_namespace(inner, &snapshot.host_config.ipc_mode, "ipc")?,
        uts: uts_namespace(snapshot, join)?,
        cgroup_path: inner.cgroup_path(snapshot),
        shm: shared_memory(inner, snapshot)?,
        devices,
        seccomp_profile: seccomp_profile(snapshot),
        host: &inner.host,
    };
    let overlay = Overlay {
        layers: layer.layers_dir.clone(),
        lower: layer.lower.clone(),
        upper: layer.upper.clone(),
        work: layer.work.clone(),
        merged: layer.merged.clone(),
        volatile: snapshot.is_auto_remove(),
    };
    let config = spec::oci_spec(&input)?;
    let task = task(inner, snapshot, overlay)?;
    store::write_json(&container.bundle.join("config.json"), &config, Durability::Relaxed)?;
    store::write_json(&container.bundle.join("task.json"), &task, Durability::Relaxed)
}

fn task(inner: &Inner, snapshot: &Snapshot, rootfs: Overlay) -> Result<Task> {
    let (config, host_config) = (&snapshot.record.config, &snapshot.host_config);
    let memory = inner.cgroup(snapshot)?.directory("memory").map(PathBuf::from);
    let mut restart = super::restart_policy::task_policy(&host_config.restart_policy);
    restart.count = snapshot.record.restart_count;
    Ok(Task {
        id: snapshot.record.id.to_string(),
        kind: TaskKind::Container,
        runtime_root: inner.config.exec_root.join("runtime"),
        runtime: inner.config.runtimes.get(&host_config.runtime).cloned(),
        systemd_cgroup: inner.config.systemd_cgroups,
        rootfs: Some(rootfs),
        user: config.user.clone(),
        groups: host_config.group_add.clone().unwrap_or_default(),
        terminal: config.tty,
        stdin: match (config.open_stdin, config.stdin_once) {
            (false, _) => Stdin::Closed,
            (true, false) => Stdin::Open,
            (true, true) => Stdin::Once,
        },
        log: super::logging::task_log(snapshot)?,
        restart,
        oom_cgroups: memory.into_iter().collect(),
    })
}

fn shared_namespace(inner: &Inner, mode: &str, kind: &str) -> Result<Namespace> {
    if mode == "host" {
        return Ok(Namespace::Host);
    }
    let Some(donor) = mode.strip_prefix("container:") else { return Ok(Namespace::Private) };
    let donor = network::running_donor(inner, donor, kind)?;
    Ok(Namespace::Path(network::namespace_path(&donor, kind)?))
}

/// A container that shares another's network shares its host name, too.
fn uts_namespace(snapshot: &Snapshot, join: &Join) -> Result<Namespace> {
    match &join.donor {
        Some(donor) => Ok(Namespace::Path(network::namespace_path(donor, "uts")?)),
        None if snapshot.host_config.uts_mode == "host" => Ok(Namespace::Host),
        None => Ok(Namespace::Private),
    }
}

/// `/dev/shm` goes with the IPC namespace. A donor's is bound from its own mount namespace, so that
/// no mount of ours has to outlive it on the host.
fn shared_memory(inner: &Inner, snapshot: &Snapshot) -> Result<SharedMemory> {
    let mode = snapshot.host_config.ipc_mode.as_str();
    if mode == "host" {
        return Ok(SharedMemory::Bind(PathBuf::from("/dev/shm")));
    }
    let Some(donor) = mode.strip_prefix("container:") else {
        let size = u64::try_from(snapshot.host_config.shm_size).unwrap_or_default();
        return Ok(SharedMemory::Private(size));
    };
    let donor = network::running_donor(inner, donor, "ipc")?;
    if donor.snapshot().host_config.ipc_mode != "shareable" {
        return Err(Error::invalid(format!(
            "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the \
             donor container)",
            donor.id
        )));
    }
    Ok(SharedMemory::Bind(PathBuf::from(format!("/proc/{}/root/dev/shm", donor.pid()?))))
}

fn seccomp_profile(snapshot: &Snapshot) -> Option<&str> {
    snapshot
        .host_config
        .security_opt
        .iter()
        .flatten()
        .filter_map(|option| option.strip_prefix("seccomp=").or(option.strip_prefix("seccomp:")))
        .find(|value| !matches!(*value, "unconfined" | "builtin"))
}

async fn expect_created(events: &mut Events) -> Result<()> {
    loop {
        match events.recv().await {
            Some(Said::Created { .. }) => return Ok(()),
            Some(Said::Failed(failure)) => return Err(start_error(&failure)),
            Some(_) => {}
            None => return Err(Error::internal("the container's monitor has ended unexpectedly")),
        }
    }
}

async fn expect_started(events: &mut Events) -> Result<(i32, i64)> {
    loop {
        match events.recv().await {
            Some(Said::Started { pid, started_at, .. }) => return Ok((pid, started_at)),
            Some(Said::Failed(failure)) => return Err(start_error(&failure)),
            Some(_) => {}
            None => return Err(Error::internal("the container's monitor has ended unexpectedly")),
        }
    }
}

/// The error of a start in the words that the CLI and scripts look into.
fn start_error(failure: &Failure) -> Error {
    let mut message = failure.message.clone();
    if message.contains("is a directory") && !message.contains("permission denied") {
        message.push_str(": permission denied");
    }
    let kind = if exit_code(&message) == 128 { Kind::Internal } else { Kind::InvalidParameter };
    Error::new(
        kind,
        format!(
            "failed to create task for container: failed to create shim task: OCI runtime create \
             failed: runc create failed: {message}"
        ),
    )
}

/// What `ExitCode` becomes when a start failed with this message.
pub(crate) fn exit_code(message: &str) -> i32 {
    let message = message.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has(&["permission denied", "is a directory"]) {
        126
    } else if has(&["executable file not found", "no such file or directory", "not a directory"]) {
        127
    } else {
        128
    }
}

/// Notes and tells that it runs.
async fn commit(inner: &Arc<Inner>, container: &Arc<Container>, join: &Join, pid: i32, at: i64) {
    container.change(|snapshot| {
        let present = &mut snapshot.record;
        present.has_been_started_before = true;
        present.has_been_manually_stopped = false;
    });
    let (snapshot, effects) = container.apply(&Event::Started { pid, at });
    container.advance(|progress| progress.running = true);
    let saved = Arc::clone(container);
    // It runs: a full disk doesn't undo that, and the next save tells the same.
    if let Err(failure) = blocking(move || saved.save(Durability::Relaxed)).await {
        tracing::warn!(id = %container.id, error = %error::chain(&failure), "note the start");
    }
    supervise::publish_mounts(inner, &snapshot, "mount");
    for joined in &join.networks {
        supervise::publish_network(inner, &snapshot, &joined.info.id, "connect");
    }
    supervise::carry_out(inner, container, &snapshot, &effects);
}

/// Undoes a start, and notes why it failed. The shim has cleaned up behind itself.
async fn failed(inner: &Arc<Inner>, container: &Arc<Container>, why: &Error) {
    let message = error::chain(why);
    let event = Event::StartFailed { exit_code: exit_code(&message), error: message };
    container.set_monitor(None);
    // Whoever attached and waits is told by the end of the connection.
    drop(container.take_clients());
    let (shared, known) = (Arc::clone(inner), Arc::clone(container));
    let released = blocking(move || {
        shared.resolver.forget(&shared, known.id.as_str());
        supervise::release_volumes(&shared, &known);
        shared.networks.remove_sandbox(known.id.as_str())
    })
    .await;
    container.change(network::disconnect);
    let paths = Arc::clone(container);
    container.change(|snapshot| note_paths(&paths, snapshot));
    let (snapshot, effects) = container.apply(&event);
    container.advance(|progress| {
        progress.exit_code = snapshot.record.state.exit_code;
        progress.exits += 1;
    });
    let saved = Arc::clone(container);
    let saved = blocking(move || saved.save(Durability::Relaxed)).await;
    for failure in [released, saved].into_iter().filter_map(Result::err) {
        tracing::warn!(id = %container.id, error = %error::chain(&failure), "undo a failed start");
    }
    supervise::carry_out(inner, container, &snapshot, &effects);
}

/// A failed start leaves the paths behind, as Docker does.
fn note_paths(container: &Container, snapshot: &mut Snapshot) {
    let path = |name: &str| container.directory.join(name).display().to_string();
    let record = &mut snapshot.record;
    record.hostname_path = path("hostname");
    record.hosts_path = path("hosts");
    record.resolv_conf_path = path("resolv.conf");
    if snapshot.host_config.log_config.kind == "json-file" {
        record.log_path = container.log_path().display().to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Error {
        start_error(&Failure { stage: "exec".into(), errno: 0, message: message.into() })
    }

    #[test]
    fn failed_starts_have_dockers_texts_kinds_and_exit_codes() {
        for (message, kind, code, end) in [
            (
                "exec: \"nosuch\": executable file not found in $PATH",
                Kind::InvalidParameter,
                127,
                "executable file not found in $PATH",
            ),
            (
                "exec: \"/etc\": is a directory",
                Kind::InvalidParameter,
                126,
                "is a directory: permission denied",
            ),
            ("exec: \"/x\": permission denied", Kind::InvalidParameter, 126, "permission denied"),
            ("mount proc: operation not permitted", Kind::Internal, 128, "not permitted"),
        ] {
            let error = failure(message);
            assert_eq!((error.kind(), exit_code(&error.to_string())), (kind, code), "{message}");
            assert!(error.to_string().ends_with(end), "{error}");
        }
    }
}
