//! `pause` and `unpause`: the freezer.

use std::sync::Arc;

use davit_types::{Context, Error, Result};

use super::{Event, blocking, detached};
use crate::store::Durability;
use crate::{Engine, error};

impl Engine {
    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// It does not run, restarts, or is paused already (409).
    pub async fn pause(&self, name: &str) -> Result<()> {
        self.freeze(name, Event::Paused).await
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// It is not paused; as with Docker without a kind of its own (500).
    pub async fn unpause(&self, name: &str) -> Result<()> {
        self.freeze(name, Event::Unpaused).await
    }

    async fn freeze(&self, name: &str, event: Event) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        detached(async move {
            let _guard = container.transition.lock().await;
            let snapshot = container.snapshot();
            let id = container.id.as_str();
            let freezes = event == Event::Paused;
            if freezes {
                snapshot.record.state.check_pause(id)?;
            } else if !snapshot.record.state.paused {
                return Err(Error::internal(format!("Container {id} is not paused")));
            }
            let cgroup = inner.cgroup(&snapshot)?;
            let word = if freezes { "pause" } else { "unpause" };
            blocking(move || {
                let done = if freezes { cgroup.freeze() } else { cgroup.thaw() };
                done.context(|| format!("{word} the container's processes"))
            })
            .await?;
            let (snapshot, effects) = container.apply(&event);
            let saved = Arc::clone(&container);
            // It is done, whether or not the disk has room for the record.
            if let Err(failure) = blocking(move || saved.save(Durability::Relaxed)).await {
                tracing::warn!(id, error = %error::chain(&failure), "note the freezer's state");
            }
            super::supervise::carry_out(&inner, &container, &snapshot, &effects);
            Ok(())
        })
        .await
    }
}
