//! `diff`: what a container changed in its root.

use std::sync::Arc;

use davit_api::container::Change;
use davit_types::Result;

use super::blocking;
use crate::Engine;

impl Engine {
    /// The paths that differ from the image, sorted.
    ///
    /// # Errors
    /// No such container, or its layer can't be read.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        blocking(move || {
            let changes = inner.images.changes(&container.id)?;
            let change = |change: davit_image::Change| Change {
                path: change.path.to_string_lossy().into_owned(),
                kind: change.kind as u8,
            };
            Ok(changes.into_iter().map(change).collect())
        })
        .await
    }
}
