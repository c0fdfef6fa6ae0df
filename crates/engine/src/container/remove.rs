//! `DELETE /containers/{id}` and the prune of stopped containers.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_api::Filters;
use davit_api::container::PruneResponse;
use davit_api::filters::PRUNE;
use davit_types::{Context, Error, Kind, Result};

use super::{Container, Event, blocking, detached, stop};
use crate::engine::Inner;
use crate::options::RemoveOptions;
use crate::{Engine, error};

impl Engine {
    /// Removes a container; with `force` one that runs, too.
    ///
    /// # Errors
    /// It runs, or somebody else removes it (409).
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        if options.link {
            return Err(Error::invalid(format!("{name} is not a link")));
        }
        begin(&container, name, options.force)?;
        detached(async move {
            let result = remove(&inner, &container, options.volumes).await;
            finish(&inner, &container, result)
        })
        .await
    }

    /// Removes all containers that don't run.
    ///
    /// # Errors
    /// An unknown filter, or another prune is at work.
    pub async fn prune_containers(&self, filters: &Filters) -> Result<PruneResponse> {
        filters.check(PRUNE)?;
        let until = super::list::until(filters)?;
        let Ok(_guard) = self.inner().pruning.try_lock() else {
            return Err(error::prune_running());
        };
        let mut response = PruneResponse::default();
        let mut deleted = Vec::new();
        for container in self.inner().containers.all() {
            let snapshot = container.snapshot();
            let state = &snapshot.record.state;
            let labels = snapshot.record.config.labels.clone().unwrap_or_default();
            let is_old = until.is_none_or(|until| {
                crate::time::from_api(snapshot.record.created).is_some_and(|time| time < until)
            });
            if state.running || state.removing || !is_old || !filters.match_labels(&labels) {
                continue;
            }
            let (images, id) = (self.inner().images.clone(), container.id.clone());
            let size = blocking(move || images.layer_size(&id)).await.unwrap_or_default();
            let removed = self.remove(container.id.as_str(), RemoveOptions::default()).await;
            if removed.is_ok() {
                deleted.push(container.id.to_string());
                response.space_reclaimed += size;
            }
        }
        response.containers_deleted = (!deleted.is_empty()).then_some(deleted);
        let reclaimed = ("reclaimed".to_owned(), response.space_reclaimed.to_string());
        self.inner().events.publish("container", "prune", "", [reclaimed].into());
        Ok(response)
    }
}

/// Claims the removal: of several at once, one gets through.
fn begin(container: &Container, name: &str, force: bool) -> Result<()> {
    let mut checked = Ok(());
    container.change(|snapshot| {
        let state = &mut snapshot.record.state;
        checked = state.check_remove(name, container.id.as_str(), force);
        if checked.is_ok() {
            *state = state.apply(&Event::RemovalStarted).0;
        }
    });
    if checked.is_ok() {
        container.advance(|progress| progress.removed = None);
    }
    checked
}

async fn remove(inner: &Arc<Inner>, container: &Arc<Container>, volumes: bool) -> Result<()> {
    let exits = container.progress().borrow().exits;
    if container.snapshot().record.state.running {
        // Without the lock: a stop that waits is over as soon as the process is.
        stop::kill_and_wait(inner, container, exits).await.context(|| {
            format!("cannot remove container {:?}: could not kill", container.snapshot().name())
        })?;
    }
    let guard = Arc::clone(&container.transition).lock_owned().await;
    if container.snapshot().record.state.running {
        // A start was under way when the removal began.
        let exits = container.progress().borrow().exits;
        stop::kill_and_wait(inner, container, exits).await?;
    }
    drop(container.take_clients());
    let (inner, container) = (Arc::clone(inner), Arc::clone(container));
    blocking(move || {
        delete(&inner, &container, volumes)?;
        drop(guard);
        Ok(())
    })
    .await
}

/// Deletes everything of a container that does not run.
fn delete(inner: &Inner, container: &Container, volumes: bool) -> Result<()> {
    let snapshot = container.snapshot();
    inner.resolver.forget(inner, container.id.as_str());
    inner.networks.remove_sandbox(container.id.as_str())?;
    inner.images.remove_container_layer(&container.id)?;
    // Renamed before it is unlinked: half a directory would be a bad record at the next start.
    let away = inner.trash().join(format!("container-{}", container.id));
    match std::fs::rename(&container.directory, &away) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(cause).context(|| format!("remove {}", container.directory.display()));
        }
        _ => {}
    }
    for directory in [&away, &container.bundle] {
        match std::fs::remove_dir_all(directory) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(error = %cause, path = %directory.display(), "delete");
            }
            _ => {}
        }
    }
    inner.execs.forget_container(container.id.as_str());
    inner.containers.remove(&container.id);
    if volumes {
        remove_anonymous_volumes(inner, &snapshot);
    }
    Ok(())
}

/// Volumes that nobody named go with their last container.
fn remove_anonymous_volumes(inner: &Inner, snapshot: &super::Snapshot) {
    for name in snapshot.volumes() {
        let is_anonymous = inner.volumes.get(name).is_ok_and(|volume| volume.is_anonymous());
        if !is_anonymous {
            continue;
        }
        let users = || inner.users_of_volume(name);
        match inner.volumes.remove(name, &inner.trash(), users) {
            Ok(()) => crate::volume::publish(inner, "destroy", name, BTreeMap::new()),
            Err(failure) if matches!(failure.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(failure) => {
                tracing::warn!(name, error = %error::chain(&failure), "remove a volume");
            }
        }
    }
}

/// Tells those who wait, and everybody else, how the removal went.
fn finish(inner: &Inner, container: &Container, result: Result<()>) -> Result<()> {
    match result {
        Ok(()) => {
            inner.publish(&container.snapshot(), "destroy", &[]);
            container.advance(|progress| progress.removed = Some(Ok(())));
            Ok(())
        }
        Err(failure) => {
            container.apply(&Event::RemovalFailed);
            let message = error::chain(&failure);
            container.advance(|progress| progress.removed = Some(Err(message)));
            Err(failure)
        }
    }
}
