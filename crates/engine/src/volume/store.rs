//! The volumes of the `local` driver: directories `volumes/<name>/_data` and their records.
//!
//! A volume exists when its record does. Records are read once at start and kept in memory; who uses
//! a volume is known by the containers, not here.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use davit_api::Time;
use davit_types::{Context, Error, Kind, Result};
use serde::{Deserialize, Serialize};

use crate::store::{self, Durability};

/// Label of a volume that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

const RECORD: &str = "volume.json";
const SECOND: i64 = 1_000_000_000;

/// A volume's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Volume {
    /// Its name, which is its directory's too.
    pub(crate) name: String,
    /// To the second.
    pub(crate) created_at: Time,
    /// Labels; absent and empty are told apart.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Driver options.
    pub(crate) options: Option<BTreeMap<String, String>>,
}

impl Volume {
    /// Nobody named it: it goes with its last container.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }
}

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    directory: PathBuf,
    volumes: RwLock<BTreeMap<String, Arc<Volume>>>,
}

impl Volumes {
    /// Reads the records below `directory`. One that can't be read is reported and left alone.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        create_directory(&directory, 0o701)?;
        let mut volumes = BTreeMap::new();
        let entries = std::fs::read_dir(&directory)
            .context(|| format!("list volumes in {}", directory.display()))?;
        for entry in entries.flatten() {
            match store::read_json::<Volume>(&entry.path().join(RECORD)) {
                Ok(volume) => {
                    volumes.insert(volume.name.clone(), Arc::new(volume));
                }
                Err(error) => tracing::warn!(error = %crate::error::chain(&error), "skip a volume"),
            }
        }
        Ok(Self { directory, volumes: RwLock::new(volumes) })
    }

    /// All volumes by name.
    pub(crate) fn list(&self) -> Vec<Arc<Volume>> {
        self.read().values().cloned().collect()
    }

    /// The volume called `name`.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Volume>> {
        self.read()
            .get(name)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }

    /// Where the content of `name` is.
    pub(crate) fn mountpoint(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("_data")
    }

    /// Makes a volume, or returns the one of that name; `true` when it is new.
    pub(crate) fn create(
        &self,
        name: Option<&str>,
        labels: Option<BTreeMap<String, String>>,
        options: Option<BTreeMap<String, String>>,
    ) -> Result<(Arc<Volume>, bool)> {
        let (name, labels) = match name.filter(|name| !name.is_empty()) {
            Some(name) => (check_name(name)?.to_owned(), labels),
            None => (crate::random::id()?.as_str().to_owned(), Some(anonymous(labels))),
        };
        check_options(&name, options.as_ref())?;
        // Held while the directory is made, so that two requests for one name make one volume.
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = volumes.get(&name) {
            return Ok((Arc::clone(present), false));
        }
        let created_at = Time::from_nanoseconds(crate::time::now() / SECOND * SECOND);
        let volume = Arc::new(Volume { name: name.clone(), created_at, labels, options });
        let directory = self.directory.join(&name);
        create_directory(&directory, 0o701)?;
        create_directory(&directory.join("_data"), 0o755)?;
        store::write_json(&directory.join(RECORD), &*volume, Durability::Durable)?;
        store::sync_directory(&self.directory)?;
        volumes.insert(name, Arc::clone(&volume));
        Ok((volume, true))
    }

    /// Deletes a volume and its content; `trash` is on the same file system.
    pub(crate) fn remove(&self, name: &str, trash: &Path) -> Result<()> {
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        if volumes.remove(name).is_none() {
            return Err(Error::not_found(format!("get {name}: no such volume")));
        }
        let away = trash.join(format!("volume-{name}-{}", crate::time::now()));
        std::fs::rename(self.directory.join(name), &away)
            .context(|| format!("remove volume {name}"))?;
        drop(volumes);
        remove_tree(&away)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Volume>>> {
        self.volumes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a directory unless it is there.
fn create_directory(path: &Path, mode: u32) -> Result<()> {
    match std::fs::DirBuilder::new().mode(mode).recursive(true).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).context(|| format!("create {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    davit_image::remove_tree(path).context(|| format!("delete {}", path.display()))
}

fn anonymous(labels: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut labels = labels.unwrap_or_default();
    labels.insert(ANONYMOUS.to_owned(), String::new());
    labels
}

/// Checks a volume's name, in Docker's words.
pub(crate) fn check_name(name: &str) -> Result<&str> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric \
             characters"
        )));
    }
    if first && rest {
        return Ok(name);
    }
    Err(Error::invalid(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )))
}

fn check_options(name: &str, options: Option<&BTreeMap<String, String>>) -> Result<()> {
    match options.and_then(|options| options.keys().next()).map(String::as_str) {
        None => Ok(()),
        Some(key @ ("type" | "o" | "device" | "size")) => Err(Error::new(
            Kind::NotImplemented,
            format!("create {name}: option {key:?} of the local driver is not supported"),
        )),
        Some(key) => Err(Error::invalid(format!("create {name}: invalid option: {key:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("davit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("trash")).expect("scratch directory");
        path
    }

    #[test]
    fn a_volume_is_there_after_a_restart_and_gone_after_removal() {
        let root = scratch("volumes");
        let volumes = Volumes::open(root.join("volumes")).expect("open");
        let (made, new) = volumes.create(Some("v1"), None, None).expect("create");
        assert!(new && volumes.mountpoint("v1").is_dir());
        let (again, new) = volumes.create(Some("v1"), None, None).expect("create again");
        assert!(!new && again == made);
        let (nameless, _) = volumes.create(None, None, None).expect("anonymous");
        assert_eq!(nameless.name.len(), 64);
        assert!(nameless.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS)));

        let volumes = Volumes::open(root.join("volumes")).expect("open again");
        assert_eq!(volumes.list().len(), 2);
        volumes.remove("v1", &root.join("trash")).expect("remove");
        assert_eq!(volumes.get("v1").expect_err("gone").to_string(), "get v1: no such volume");
        std::fs::remove_dir_all(root).expect("clean up");
    }

    #[test]
    fn bad_names_and_options_are_refused_in_dockers_words() {
        let root = scratch("bad-volumes");
        let volumes = Volumes::open(root.join("volumes")).expect("open");
        assert_eq!(
            volumes.create(Some("a b"), None, None).expect_err("space").to_string(),
            "create a b: \"a b\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
        );
        let options = BTreeMap::from([("nosuch".to_owned(), "1".to_owned())]);
        assert_eq!(
            volumes.create(Some("v3"), None, Some(options)).expect_err("option").to_string(),
            "create v3: invalid option: \"nosuch\""
        );
        std::fs::remove_dir_all(root).expect("clean up");
    }
}
