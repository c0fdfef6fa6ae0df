//! `stop`, `kill` and `restart`.

use std::sync::Arc;
use std::time::Duration;

use davit_monitor::protocol::Request;
use davit_types::{Context, Error, Kind, Result};

use super::{Container, Progress, blocking, detached, start};
use crate::engine::Inner;
use crate::store::Durability;
use crate::{Engine, error, signal};

/// How long a process may take to die of `SIGKILL`.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops a container: its stop signal, then `SIGKILL` after `timeout` seconds (negative: never;
    /// absent: the container's, then the daemon's).
    ///
    /// # Errors
    /// It does not run (304), the signal is none, or it does not die.
    pub async fn stop(&self, name: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let signal = wanted_signal(signal)?;
        detached(async move {
            let _guard = container.transition.lock().await;
            container.check_present()?;
            stop(&inner, &container, timeout, signal).await
        })
        .await
        .map_err(|cause| match cause.kind() {
            Kind::NotModified => cause,
            _ => cause.context(format!("cannot stop container: {name}")),
        })
    }

    /// Stops it if it runs, and starts it. `--rm` does not apply to this stop.
    ///
    /// # Errors
    /// Those of stop and start.
    pub async fn restart(
        &self,
        name: &str,
        timeout: Option<i64>,
        signal: Option<&str>,
    ) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let (signal, name) = (wanted_signal(signal)?, name.to_owned());
        detached(async move {
            let _guard = container.transition.lock().await;
            container.check_present()?;
            // As with Docker, whatever goes wrong has no kind of its own (500).
            let failed = |cause: Error| {
                cause.context(format!("Cannot restart container {name}")).with_kind(Kind::Internal)
            };
            if container.snapshot().record.state.running {
                let _kept = container.keep();
                stop(&inner, &container, timeout, signal).await.map_err(&failed)?;
            }
            start::start(&inner, &container).await.map_err(&failed)?;
            inner.publish(&container.snapshot(), "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Sends a signal, `SIGKILL` by default; with that, waits until it is dead.
    ///
    /// # Errors
    /// It does not run (409), or the signal is none.
    pub async fn kill(&self, name: &str, signal: Option<&str>) -> Result<()> {
        let failed = || format!("cannot kill container: {name}");
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let signal = wanted_signal(signal).context(failed)?.unwrap_or(signal::KILL);
        detached(async move { kill(&inner, &container, signal).await }).await.context(failed)
    }
}

fn wanted_signal(signal: Option<&str>) -> Result<Option<i32>> {
    signal.filter(|text| !text.is_empty()).map(signal::parse).transpose()
}

/// The signal that asks the container to end.
fn stop_signal(container: &Container) -> i32 {
    signal::parse(&container.snapshot().record.config.stop_signal).unwrap_or(signal::TERM)
}

/// Stops a container whose transition lock is held.
pub(crate) async fn stop(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    timeout: Option<i64>,
    signal: Option<i32>,
) -> Result<()> {
    let snapshot = container.snapshot();
    if !snapshot.record.state.running {
        return Err(error::not_modified("container is already stopped"));
    }
    let seconds =
        timeout.or(snapshot.record.config.stop_timeout).unwrap_or(inner.config.stop_timeout);
    let mut progress = container.progress();
    let exits = progress.borrow_and_update().exits;
    mark_stopped(container).await;
    let signal = signal.unwrap_or_else(|| stop_signal(container));
    if snapshot.record.state.restarting {
        // Nothing runs; the monitor gives up waiting and tells the end.
        send(inner, container, signal, true).await?;
    } else if seconds == 0 {
        return end(inner, container, exits).await;
    } else if send(inner, container, signal, true).await.is_err() {
        let patience = Duration::from_secs(2);
        if !exited_within(&mut progress, exits, Some(patience)).await {
            return end(inner, container, exits).await;
        }
    }
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    if !exited_within(&mut progress, exits, patience).await {
        return end(inner, container, exits).await;
    }
    inner.publish(&container.snapshot(), "stop", &[]);
    Ok(())
}

/// The end of a stop that took too long.
async fn end(inner: &Arc<Inner>, container: &Arc<Container>, exits: u64) -> Result<()> {
    kill_and_wait(inner, container, exits).await?;
    inner.publish(&container.snapshot(), "stop", &[]);
    Ok(())
}

/// Kills a running container and waits for its end; used by stop, kill and remove.
pub(crate) async fn kill_and_wait(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    exits: u64,
) -> Result<()> {
    let mut progress = container.progress();
    if let Err(cause) = send(inner, container, signal::KILL, true).await {
        // It, or its monitor, may have died by itself: that is being taken in.
        let patience = Duration::from_secs(2);
        if !exited_within(&mut progress, exits, Some(patience)).await {
            return Err(cause);
        }
    }
    if exited_within(&mut progress, exits, Some(KILL_PATIENCE)).await {
        return Ok(());
    }
    let cgroup = inner.cgroup(&container.snapshot())?;
    blocking(move || cgroup.kill_all().context(|| "kill the processes of the cgroup")).await?;
    if exited_within(&mut progress, exits, Some(Duration::from_secs(2))).await {
        return Ok(());
    }
    let id = &container.id;
    Err(Error::internal(format!(
        "tried to kill container, but did not receive an exit event: {id}"
    )))
}

/// Sends a signal and tells so. A frozen container is let go when the signal is to end it.
async fn send(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    signal: i32,
    cancel_restart: bool,
) -> Result<()> {
    container.monitor()?.request(Request::Signal { signal, cancel_restart }, None).await?;
    let snapshot = container.snapshot();
    if snapshot.record.state.paused && (signal == signal::KILL || signal == stop_signal(container))
    {
        let cgroup = inner.cgroup(&snapshot)?;
        blocking(move || cgroup.thaw().context(|| "thaw the container")).await?;
        container.apply(&super::Event::Unpaused);
    }
    inner.publish(&snapshot, "kill", &[("signal", signal.to_string())]);
    Ok(())
}

async fn kill(inner: &Arc<Inner>, container: &Arc<Container>, signal: i32) -> Result<()> {
    let snapshot = container.snapshot();
    if !snapshot.record.state.running {
        return Err(error::not_running(container.id.as_str()));
    }
    let exits = container.progress().borrow().exits;
    let has_own_signal = !snapshot.record.config.stop_signal.is_empty();
    let cancel = signal == signal::KILL || !has_own_signal || signal == stop_signal(container);
    mark_stopped(container).await;
    if signal == signal::KILL {
        return kill_and_wait(inner, container, exits).await;
    }
    send(inner, container, signal, cancel).await
}

/// Remembers, also for the next daemon, that a person ended it. A disk that is full must not keep
/// anybody from ending what fills it: the record is written again with the exit.
async fn mark_stopped(container: &Arc<Container>) {
    let snapshot = container.change(|snapshot| snapshot.record.has_been_manually_stopped = true);
    let matters = matches!(
        snapshot.host_config.restart_policy.name.as_str(),
        "unless-stopped" | "on-failure"
    );
    let durability = if matters { Durability::Durable } else { Durability::Relaxed };
    let saved = Arc::clone(container);
    if let Err(failure) = blocking(move || saved.save(durability)).await {
        tracing::warn!(id = %container.id, error = %error::chain(&failure), "note the stop");
    }
}

/// Did a run end within the time? Without a time, it is waited for ever.
async fn exited_within(
    progress: &mut tokio::sync::watch::Receiver<Progress>,
    exits: u64,
    patience: Option<Duration>,
) -> bool {
    let ended = progress.wait_for(|progress| progress.exits > exits || progress.removed.is_some());
    match patience {
        Some(patience) => tokio::time::timeout(patience, ended).await.is_ok(),
        None => ended.await.is_ok(),
    }
}
