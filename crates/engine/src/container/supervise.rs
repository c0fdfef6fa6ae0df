//! Following a container's monitor: exits, restarts, OOM kills; and what they bring with them.
//!
//! One task per running container. It takes what the monitor tells in order and does not need the
//! transition lock, so that a stop can wait for the exit that this task takes in.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use davit_monitor::protocol::Event as Said;
use davit_monitor::restart::{self, History};
use davit_monitor::task::{Exit, Phase, Status};
use davit_types::Result;

use super::record::Snapshot;
use super::restart_policy::task_policy;
use super::start::start_counted;
use super::{Container, Effect, Event, blocking};
use crate::engine::Inner;
use crate::monitor::Events;
use crate::options::RemoveOptions;
use crate::store::{self, Durability};
use crate::{Engine, error, network};

/// Exit status of a run whose end nobody saw.
const LOST: i32 = 255;

/// The delay before the first restart.
const SHORTEST: Duration = Duration::from_millis(100);

/// A delay that the transition lock is held for must not grow without end: 6.4 s.
const MOST_DOUBLINGS: u32 = 6;

/// Follows a monitor until it ends.
pub(crate) async fn follow(inner: Arc<Inner>, container: Arc<Container>, mut events: Events) {
    while let Some(said) = events.recv().await {
        match said {
            Said::Exited { exit, restart_after_ms } => {
                exited(&inner, &container, exit, restart_after_ms.is_some()).await;
                if restart_after_ms.is_none() {
                    return;
                }
            }
            Said::Started { pid, started_at, restart_count } => {
                restarted(&inner, &container, pid, started_at, restart_count).await;
            }
            Said::Oom => inner.publish(&container.snapshot(), "oom", &[]),
            Said::Detached => inner.publish(&container.snapshot(), "detach", &[]),
            Said::Hello { .. } | Said::Created { .. } | Said::Reply { .. } => {}
            Said::Failed(failure) => {
                // A restart that failed: the monitor has given up.
                tracing::warn!(id = %container.id, message = failure.message, "restart");
                lost(&inner, &container).await;
                return;
            }
        }
    }
    tracing::warn!(id = %container.id, "the monitor has ended without a word");
    lost(&inner, &container).await;
    start_again(&inner, &container).await;
}

/// Does what the restart policy asks for and the monitor can't do any more. Boxed: a start begins to
/// follow again, and a future can't contain itself.
fn start_again<'a>(
    inner: &'a Arc<Inner>,
    container: &'a Arc<Container>,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(async move {
        // Held while waiting, too: a stop that comes meanwhile finds something to stop.
        let _guard = container.transition.lock().await;
        let Some(history) = due_restart(&container.snapshot()) else { return };
        tokio::time::sleep(history.delay).await;
        // Somebody may have removed or changed it: what holds now counts.
        let Some(history) = due_restart(&container.snapshot()) else { return };
        if let Err(failure) = start_counted(inner, container, history.count).await {
            tracing::error!(
                id = %container.id, error = %error::chain(&failure), "start by the restart policy"
            );
        }
    })
}

/// When the restart policy starts a container again that does not run.
fn due_restart(snapshot: &Snapshot) -> Option<History> {
    let (record, state) = (&snapshot.record, &snapshot.record.state);
    let is_wanted = state.check_start().is_ok() && !record.has_been_manually_stopped;
    let (Some(started), Some(finished)) = (state.started_at, state.finished_at) else {
        return None;
    };
    let ran_for = Duration::from_nanos(u64::try_from(finished - started).unwrap_or(0));
    // The monitor's delays are gone with it: as if every restart so far had come at once.
    let doublings = record.restart_count.min(MOST_DOUBLINGS);
    let delay = if doublings == 0 { Duration::ZERO } else { SHORTEST * (1 << (doublings - 1)) };
    let history = History { count: record.restart_count, delay };
    let policy = task_policy(&snapshot.host_config.restart_policy);
    restart::next(policy, history, state.exit_code, ran_for).filter(|_| is_wanted)
}

/// The monitor has ended without a word: its status file may know more.
pub(crate) async fn lost(inner: &Arc<Inner>, container: &Arc<Container>) {
    let path = container.bundle.join("status.json");
    let status = blocking(move || store::read_json::<Status>(&path)).await;
    let exit = status
        .ok()
        .filter(|status| matches!(status.phase, Phase::Exited | Phase::Restarting))
        .and_then(|status| status.last_exit)
        .unwrap_or(Exit { code: LOST, oom_killed: false, finished_at: crate::time::now() });
    exited(inner, container, exit, false).await;
}

/// Takes in the end of a run.
pub(crate) async fn exited(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    exit: Exit,
    restarts: bool,
) {
    let event = Event::Exited {
        exit_code: exit.code,
        oom_killed: exit.oom_killed,
        at: exit.finished_at,
        restarts,
    };
    let releases = container.snapshot().record.state.apply(&event).1.contains(&Effect::Release);
    if releases {
        release(inner, container).await;
    }
    let (snapshot, effects) = container.apply(&event);
    let saved = Arc::clone(container);
    let noted = blocking(move || saved.save(Durability::Relaxed)).await;
    if releases && noted.is_ok() {
        remove_bundle(inner, container).await;
    }
    report(container, "note the exit", noted);
    // Asked before those who wait are told: a restart by hand stops keeping it then.
    let removes = effects.contains(&Effect::AutoRemove) && !container.is_kept();
    publish_only(inner, &snapshot, &effects);
    container.advance(|progress| {
        progress.running = false;
        progress.exits += 1;
        progress.exit_code = exit.code;
    });
    if removes {
        auto_remove(inner, container, &snapshot);
    }
}

/// Takes in a restart by the policy.
async fn restarted(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    pid: i32,
    at: i64,
    restart_count: u32,
) {
    container.change(|snapshot| snapshot.record.restart_count = restart_count);
    let (snapshot, effects) = container.apply(&Event::Started { pid, at });
    container.advance(|progress| progress.running = true);
    let saved = Arc::clone(container);
    report(container, "note the restart", blocking(move || saved.save(Durability::Relaxed)).await);
    carry_out(inner, container, &snapshot, &effects);
}

/// Gives back network, cgroup and whatever a dead monitor may have left, but for the bundle.
pub(crate) async fn release(inner: &Arc<Inner>, container: &Arc<Container>) {
    container.set_monitor(None);
    let snapshot = container.snapshot();
    let (shared, known) = (Arc::clone(inner), Arc::clone(container));
    let removed = blocking(move || {
        shared.resolver.forget(&shared, known.id.as_str());
        let result = shared.networks.remove_sandbox(known.id.as_str());
        sweep(&shared, &known);
        release_volumes(&shared, &known);
        result
    });
    report(container, "release the network", removed.await);
    for endpoint in snapshot.record.network_settings.networks.values() {
        let network = &endpoint.settings.network_id;
        publish_network(inner, &snapshot, network, "disconnect");
    }
    publish_mounts(inner, &snapshot, "unmount");
    container.change(network::disconnect);
}

/// Removes what the monitor removes itself unless it was killed: processes, cgroup, mount.
fn sweep(inner: &Inner, container: &Container) {
    let snapshot = container.snapshot();
    if let Ok(cgroup) = inner.cgroup(&snapshot)
        && cgroup.exists()
    {
        let removed = cgroup.kill_all().and_then(|()| cgroup.remove());
        if let Err(cause) = removed {
            tracing::warn!(id = %container.id, error = %cause, "remove a cgroup");
        }
    }
    if let Ok(layer) = inner.images.container_layer(&container.id) {
        // Not mounted is the usual case.
        let _ = rustix::mount::unmount(&layer.merged, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Unmounts the volumes that nobody else uses.
pub(crate) fn release_volumes(inner: &Inner, container: &Container) {
    for volume in container.snapshot().volumes() {
        let released = inner.volumes.release(volume, container.id.as_str());
        report(container, "release a volume", released);
    }
}

/// Removes the bundle. To be called when the record is saved: until then the monitor's status file in
/// it is all that knows the exit, should the daemon be killed now.
pub(crate) async fn remove_bundle(inner: &Arc<Inner>, container: &Arc<Container>) {
    let runtime = inner.config.exec_root.join("runtime").join(container.id.as_str());
    let directories = [container.bundle.clone(), runtime];
    let removed = blocking(move || {
        for directory in directories {
            // Gone already is fine, and the next start empties it anyhow.
            let _ = std::fs::remove_dir_all(directory);
        }
        Ok(())
    });
    report(container, "remove the bundle", removed.await);
}

/// Carries out what an event brings with it, except the release that comes before it.
pub(crate) fn carry_out(
    inner: &Arc<Inner>,
    container: &Arc<Container>,
    snapshot: &Snapshot,
    effects: &[Effect],
) {
    publish_only(inner, snapshot, effects);
    if effects.contains(&Effect::AutoRemove) {
        auto_remove(inner, container, snapshot);
    }
}

fn publish_only(inner: &Inner, snapshot: &Snapshot, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Publish { action, attributes } = effect {
            inner.publish(snapshot, action, attributes);
        }
    }
}

/// `--rm`.
pub(crate) fn auto_remove(inner: &Arc<Inner>, container: &Arc<Container>, snapshot: &Snapshot) {
    if !snapshot.is_auto_remove() {
        return;
    }
    let (inner, container) = (Arc::clone(inner), Arc::clone(container));
    tokio::spawn(async move {
        let options = RemoveOptions { force: true, volumes: true, link: false };
        let engine = Engine::from_inner(inner);
        // In progress already when somebody else removes it.
        if let Err(failure) = engine.remove(container.id.as_str(), options).await
            && failure.kind() == davit_types::Kind::Internal
        {
            tracing::error!(id = %container.id, error = %error::chain(&failure), "auto-remove");
        }
    });
}

/// Tells that the container joined or left a network.
pub(crate) fn publish_network(inner: &Inner, snapshot: &Snapshot, network: &str, action: &str) {
    let Ok(network) = inner.networks.get(network) else { return };
    let attributes = BTreeMap::from([
        ("container".to_owned(), snapshot.record.id.to_string()),
        ("name".to_owned(), network.name),
        ("type".to_owned(), network.driver),
    ]);
    inner.events.publish("network", action, network.id, attributes);
}

/// Tells that the container's volumes are in use, or no longer.
pub(crate) fn publish_mounts(inner: &Inner, snapshot: &Snapshot, action: &str) {
    for mount in snapshot.record.mount_points.values().filter(|mount| mount.is_volume()) {
        let mut attributes =
            BTreeMap::from([("container".to_owned(), snapshot.record.id.to_string())]);
        if action == "mount" {
            attributes.insert("destination".to_owned(), mount.destination.clone());
            attributes.insert("propagation".to_owned(), mount.propagation.clone());
            attributes.insert("read/write".to_owned(), mount.rw.to_string());
        }
        crate::volume::publish(inner, action, &mount.name, attributes);
    }
}

fn report(container: &Container, what: &str, result: Result<()>) {
    if let Err(failure) = result {
        tracing::warn!(id = %container.id, error = %error::chain(&failure), "{what}");
    }
}

#[cfg(test)]
mod tests {
    use davit_api::container::RestartPolicy;

    use super::*;

    #[test]
    fn a_lost_run_is_a_failure_to_the_restart_policy() {
        for (name, maximum_retry_count, count, by_hand, expected) in [
            ("no", 0, 0, false, None),
            ("always", 0, 0, false, Some((1, 100))),
            ("unless-stopped", 0, 2, false, Some((3, 400))),
            ("always", 0, 1000, false, Some((1001, 6400))),
            ("always", 0, 0, true, None),
            ("on-failure", 2, 1, false, Some((2, 200))),
            ("on-failure", 2, 2, false, None),
        ] {
            let id = "ab".repeat(32);
            let mut snapshot = super::super::record::tests::snapshot(&id, "web");
            snapshot.host_config.restart_policy =
                RestartPolicy { name: name.into(), maximum_retry_count };
            let record = &mut snapshot.record;
            (record.restart_count, record.has_been_manually_stopped) = (count, by_hand);
            record.state.started_at = Some(1_000);
            record.state.finished_at = Some(2_000);
            record.state.exit_code = LOST;
            let due = due_restart(&snapshot);
            let due = due.map(|history| (history.count, history.delay.as_millis()));
            assert_eq!(due, expected, "{name} {maximum_retry_count} {count} {by_hand}");
        }
    }
}
