//! `rename`.

use std::sync::Arc;

use davit_types::{Error, Result};

use super::{Snapshot, blocking, detached};
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
            container.change(|snapshot| set_name(snapshot, &old_name, &new_name));
            let saved = Arc::clone(&container);
            if let Err(failure) = blocking(move || saved.save(Durability::Durable)).await {
                container.change(|snapshot| {
                    set_name(snapshot, &new_name, old_name.trim_start_matches('/'));
                });
                inner.containers.release(&new_name);
                return Err(failure);
            }
            inner.containers.release(old_name.trim_start_matches('/'));
            let (shared, known) = (Arc::clone(&inner), Arc::clone(&container));
            blocking(move || {
                shared.networks.rename(known.id.as_str(), known.snapshot().name());
                shared.resolver.update(&shared, &known.snapshot());
                Ok(())
            })
            .await?;
            inner.publish(&container.snapshot(), "rename", &[("oldName", old_name)]);
            Ok(())
        })
        .await
    }
}

/// Gives it the name, and has it answer to that on its networks instead of the former one.
fn set_name(snapshot: &mut Snapshot, former: &str, name: &str) {
    let former = former.trim_start_matches('/');
    snapshot.record.name = format!("/{name}");
    for endpoint in snapshot.record.network_settings.networks.values_mut() {
        let names = endpoint.settings.dns_names.iter_mut().flatten();
        names.filter(|known| *known == former).for_each(|known| name.clone_into(known));
    }
}
