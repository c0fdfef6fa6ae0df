//! `rename`.

use std::sync::Arc;

use davit_types::{Error, Result};

use super::{blocking, detached};
use crate::store::Durability;
use crate::{Engine, names};

impl Engine {
    /// Gives a container another name.
    ///
    /// # Errors
    /// The name is taken (409), invalid, or the one it has.
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<()> {
        if name.is_empty() || new_name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let new_name = names::check(new_name)?.to_owned();
        detached(async move {
            let _guard = container.transition.lock().await;
            container.check_present()?;
            let old_name = container.snapshot().record.name.clone();
            if old_name == format!("/{new_name}") {
                return Err(Error::invalid(
                    "Renaming a container with the same name as its current name",
                ));
            }
            inner.containers.reserve(&new_name, &container.id)?;
            container.change(|snapshot| snapshot.record.name = format!("/{new_name}"));
            let saved = Arc::clone(&container);
            if let Err(failure) = blocking(move || saved.save(Durability::Durable)).await {
                container.change(|snapshot| snapshot.record.name.clone_from(&old_name));
                inner.containers.release(&new_name);
                return Err(failure);
            }
            inner.containers.release(old_name.trim_start_matches('/'));
            inner.publish(&container.snapshot(), "rename", &[("oldName", old_name)]);
            Ok(())
        })
        .await
    }
}
