//! Create, list, inspect, remove and prune of volumes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use davit_api::Filters;
use davit_api::filters::{VOLUMES, VOLUMES_PRUNE};
use davit_api::volume::{
    Volume as ApiVolume, VolumeCreateRequest, VolumesListResponse, VolumesPruneResponse,
};
use davit_types::{Error, Kind, Result};
use regex_lite::Regex;

use super::store::{Volume, Wanted};
use crate::container::blocking;
use crate::engine::Inner;
use crate::{Engine, error};

impl Engine {
    /// Makes a volume, or gives the one of that name.
    ///
    /// # Errors
    /// A bad name, driver or option.
    pub async fn create_volume(&self, body: VolumeCreateRequest) -> Result<ApiVolume> {
        check_driver(&body.driver).map_err(|error| error.with_kind(Kind::NotFound))?;
        let inner = Arc::clone(self.inner());
        blocking(move || {
            let (volume, new) = inner.volumes.create(&Wanted {
                name: &body.name,
                labels: body.labels.as_ref(),
                options: body.driver_opts.as_ref(),
                holder: None,
            })?;
            if new {
                super::publish(&inner, "create", &volume.name, BTreeMap::new());
            }
            Ok(api_volume(&inner, &volume))
        })
        .await
    }

    /// The volumes that pass the filters.
    ///
    /// # Errors
    /// An unknown filter.
    pub fn volumes(&self, filters: &Filters) -> Result<VolumesListResponse> {
        filters.check(VOLUMES)?;
        let dangling = filters.truth("dangling", false)?;
        let inner = self.inner();
        let names: Vec<Regex> =
            filters.get("name").filter_map(|text| Regex::new(text).ok()).collect();
        let passes = |volume: &Arc<Volume>| {
            let labels = volume.labels.clone().unwrap_or_default();
            filters.match_labels(&labels)
                && filters.exact_match("driver", "local")
                && (!filters.contains("name")
                    || names.iter().any(|name| name.is_match(&volume.name)))
                && (!filters.contains("dangling")
                    || inner.users_of_volume(&volume.name).is_empty() == dangling)
        };
        let volumes = inner.volumes.list();
        let volumes = volumes.iter().filter(|volume| passes(volume));
        Ok(VolumesListResponse {
            volumes: volumes.map(|volume| api_volume(inner, volume)).collect(),
            warnings: None,
        })
    }

    /// All about a volume.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn inspect_volume(&self, name: &str) -> Result<ApiVolume> {
        let volume = self.inner().volumes.get(name)?;
        Ok(api_volume(self.inner(), &volume))
    }

    /// Removes a volume that no container uses; with `force` one that does not exist, too.
    ///
    /// # Errors
    /// There is none, or it is in use (409).
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let name = name.to_owned();
        blocking(move || {
            match inner.volumes.get(&name) {
                Err(_) if force => return Ok(()),
                found => found?,
            };
            inner.volumes.remove(&name, &inner.trash(), || inner.users_of_volume(&name))?;
            super::publish(&inner, "destroy", &name, BTreeMap::new());
            Ok(())
        })
        .await
    }

    /// Removes anonymous volumes that no container uses; with the filter `all` named ones, too.
    ///
    /// # Errors
    /// An unknown filter, or another prune is at work.
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumesPruneResponse> {
        filters.check(VOLUMES_PRUNE)?;
        let all = filters.truth("all", false)?;
        let Ok(_guard) = self.inner().pruning_volumes.try_lock() else {
            return Err(error::prune_running());
        };
        let mut deleted = Vec::new();
        let mut space_reclaimed = 0;
        for volume in self.inner().volumes.list() {
            let labels = volume.labels.clone().unwrap_or_default();
            // What others gave it to mount is theirs to keep.
            let is_plain = volume.options.is_none();
            if !is_plain || !(all || volume.is_anonymous()) || !filters.match_labels(&labels) {
                continue;
            }
            let mountpoint = self.inner().volumes.mountpoint(&volume.name);
            let size = blocking(move || Ok(directory_size(&mountpoint))).await?;
            // In use, or used meanwhile: then it stays.
            if self.remove_volume(&volume.name, false).await.is_ok() {
                deleted.push(volume.name.clone());
                space_reclaimed += size;
            }
        }
        let reclaimed = ("reclaimed".to_owned(), space_reclaimed.to_string());
        self.inner().events.publish("volume", "prune", "", [reclaimed].into());
        Ok(VolumesPruneResponse { volumes_deleted: Some(deleted), space_reclaimed })
    }
}

/// The only driver is `local`, which is meant when there is no name.
///
/// # Errors
/// Not a 404, which clients of `containers/create` take for a missing image.
pub(crate) fn check_driver(name: &str) -> Result<()> {
    if matches!(name, "" | "local") {
        return Ok(());
    }
    let message = format!("error looking up volume plugin {name}: plugin {name:?} not found");
    Err(Error::invalid(message))
}

/// A volume in the API's form.
pub(crate) fn api_volume(inner: &Inner, volume: &Volume) -> ApiVolume {
    ApiVolume {
        created_at: Some(volume.created_at),
        driver: "local".to_owned(),
        labels: volume.labels.clone(),
        mountpoint: inner.volumes.mountpoint(&volume.name).display().to_string(),
        name: volume.name.clone(),
        options: volume.options.clone(),
        scope: "local".to_owned(),
        usage_data: None,
    }
}

/// Bytes of the files below a directory. What can't be read counts nothing.
pub(crate) fn directory_size(directory: &Path) -> u64 {
    let mut size = 0;
    // No recursion: how deep it goes is the container's choice.
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => size += metadata.len(),
                Err(_) => {}
            }
        }
    }
    size
}
