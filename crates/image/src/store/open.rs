//! Opening the store: read the records, then sweep what nothing owns.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use davit_types::{ContainerId, Context as _, Result};
use tracing::{info, warn};

use super::record::Records;
use super::trash::Trash;
use super::{ImageStore, Inner, LayerRecord, Paths, State, TagRecord};
use crate::image::TransferLimits;
use crate::pull::Downloads;

const LINKS: &str = "l";

impl ImageStore {
    /// Opens the store below `data_root`, making it when it is not there.
    ///
    /// Only one process may have it open.
    ///
    /// # Errors
    /// Directories that can't be made or read. A bad record is no error.
    pub fn open(data_root: &Path) -> Result<Self> {
        Self::open_with(data_root, TransferLimits::default())
    }

    /// Like [`ImageStore::open`], with other limits than Docker's.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(data_root: &Path, limits: TransferLimits) -> Result<Self> {
        let paths = Paths::new(data_root);
        for directory in [&paths.blobs, &paths.partial, &paths.scratch, &paths.links] {
            fs::create_dir_all(directory).context(|| format!("create {}", directory.display()))?;
        }
        // Layers hold setuid programs and secrets: nobody but root may reach them from the host.
        for directory in [&paths.layers, &data_root.join("image")] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o710))
                .context(|| format!("close {}", directory.display()))?;
        }
        let quarantine = data_root.join("image/quarantine");
        let inner = Inner {
            tags: Records::open(data_root.join("image/tags"), quarantine.clone())?,
            layers: Records::open(data_root.join("image/layers"), quarantine.clone())?,
            ingests: Records::open(data_root.join("image/ingest"), quarantine)?,
            trash: Trash::open(data_root.join("trash"))?,
            state: RwLock::new(State::default()),
            changing: Mutex::new(()),
            downloads: Downloads::new(limits),
            paths,
        };
        inner.load_layers()?;
        inner.load_tags()?;
        inner.load_containers()?;
        inner.load_ingests()?;
        inner.empty_scratch()?;
        inner.collect()?;
        inner.sweep_links()?;
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn load_layers(&self) -> Result<()> {
        for record in self.layers.load::<LayerRecord>()? {
            let directory = self.paths.layer(&record.id);
            if record.complete && directory.join("diff").is_dir() {
                self.state_mut().layers.insert(record.id.clone(), record);
                continue;
            }
            info!(layer = %record.id, "unfinished layer removed");
            self.trash.discard(&directory)?;
            self.layers.remove(record.id.directory())?;
        }
        Ok(())
    }

    fn load_tags(&self) -> Result<()> {
        for record in self.tags.load::<TagRecord>()? {
            self.refresh(&record.target);
            self.state_mut().tags.insert(record.name.clone(), record);
        }
        Ok(())
    }

    /// A directory that is no known layer is a container's if it says what lies under it.
    fn load_containers(&self) -> Result<()> {
        let place = || format!("read {}", self.paths.layers.display());
        for entry in fs::read_dir(&self.paths.layers).context(place)? {
            let entry = entry.context(place)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let known = self.state().layers.keys().any(|layer| layer.directory() == name);
            if known || name == LINKS {
                continue;
            }
            let lower =
                ContainerId::parse(&name).and_then(|id| Ok((id, self.read_lower(&entry.path())?)));
            match lower {
                Ok((id, lower)) => {
                    self.state_mut().containers.insert(id, lower);
                }
                Err(error) => {
                    warn!(directory = %entry.path().display(), "unowned layer removed: {error:#}");
                    self.trash.discard(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn sweep_links(&self) -> Result<()> {
        let owned: HashSet<String> = {
            let state = self.state();
            let layers = state.layers.values().map(|record| record.link.clone());
            let containers = state.containers.keys().filter_map(|id| {
                fs::read_to_string(self.paths.layers.join(id.as_str()).join("link")).ok()
            });
            layers.chain(containers).collect()
        };
        let place = || format!("read {}", self.paths.links.display());
        for entry in fs::read_dir(&self.paths.links).context(place)? {
            let entry = entry.context(place)?;
            if !owned.contains(entry.file_name().to_string_lossy().as_ref()) {
                let path = entry.path();
                fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}
