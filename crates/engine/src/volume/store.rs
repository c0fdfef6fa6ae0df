//! The volumes of the `local` driver: directories `volumes/<name>/_data` and their records.
//!
//! A volume exists when its record does. Records are read once at start and kept in memory; who uses
//! a volume is known by the containers, except for those that are just being made: a volume that one
//! of them holds is not removed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use davit_api::Time;
use davit_types::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use super::mount;
use super::options::{self, LocalMount, Options};
use super::usage::Usage;
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
    pub(crate) options: Option<Options>,
}

/// A volume as it is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// Empty for an anonymous one.
    pub(crate) name: &'a str,
    pub(crate) labels: Option<&'a BTreeMap<String, String>>,
    /// Options of the driver.
    pub(crate) options: Option<&'a Options>,
    /// A container that is being made, which holds the volume until [`Volumes::let_go`].
    pub(crate) holder: Option<&'a str>,
}

impl Volume {
    /// What has to be mounted while it is used.
    pub(crate) fn local_mount(&self) -> Option<LocalMount> {
        LocalMount::of(self.options.as_ref())
    }

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
    /// Volumes and the containers being made that hold them.
    held: Mutex<BTreeSet<(String, String)>>,
    usage: Usage,
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
        let volumes = RwLock::new(volumes);
        Ok(Self { directory, volumes, held: Mutex::default(), usage: Usage::default() })
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
    pub(crate) fn create(&self, wanted: &Wanted<'_>) -> Result<(Arc<Volume>, bool)> {
        let labels = wanted.labels.cloned();
        let (name, labels) = match wanted.name {
            "" => (crate::random::id()?.as_str().to_owned(), Some(anonymous(labels))),
            name => (check_name(name)?.to_owned(), labels),
        };
        let options = wanted.options.filter(|options| !options.is_empty()).cloned();
        if let Some(options) = &options {
            options::check(&name, options)?;
        }
        // Held while the directory is made, so that two requests for one name make one volume.
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = wanted.holder {
            self.held().insert((name.clone(), holder.to_owned()));
        }
        if let Some(present) = volumes.get(&name) {
            return Ok((Arc::clone(present), false));
        }
        let created_at = Time::from_nanoseconds(crate::time::now() / SECOND * SECOND);
        let volume = Arc::new(Volume { name: name.clone(), created_at, labels, options });
        self.write(&volume)?;
        volumes.insert(name, Arc::clone(&volume));
        Ok((volume, true))
    }

    fn write(&self, volume: &Volume) -> Result<()> {
        let directory = self.directory.join(&volume.name);
        create_directory(&directory, 0o701)?;
        create_directory(&directory.join("_data"), 0o755)?;
        store::write_json(&directory.join(RECORD), volume, Durability::Durable)?;
        store::sync_directory(&self.directory)
    }

    /// A container that was being made has been, or never will be.
    pub(crate) fn let_go(&self, holder: &str) {
        self.held().retain(|(_, held_by)| held_by != holder);
    }

    /// Deletes a volume and its content; `trash` is on the same file system. `users` are asked for
    /// when nobody can begin to use it any more.
    ///
    /// # Errors
    /// There is none, it is in use, or what is mounted there can't be unmounted.
    pub(crate) fn remove(
        &self,
        name: &str,
        trash: &Path,
        users: impl FnOnce() -> Vec<String>,
    ) -> Result<()> {
        let mut volumes = self.volumes.write().unwrap_or_else(PoisonError::into_inner);
        if !volumes.contains_key(name) {
            return Err(Error::not_found(format!("get {name}: no such volume")));
        }
        let mut users = users();
        users.extend(self.holders(name));
        if !users.is_empty() {
            let users = users.join(", ");
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{users}]")));
        }
        // Never delete through a mount: what lies there is not the volume's.
        mount::unmount(&self.mountpoint(name))?;
        let away = trash.join(format!("volume-{name}-{}", crate::time::now()));
        std::fs::rename(self.directory.join(name), &away)
            .context(|| format!("remove volume {name}"))?;
        volumes.remove(name);
        self.usage.forget(name);
        drop(volumes);
        remove_tree(&away)
    }

    /// Mounts what the volume's options ask for, for `user`.
    ///
    /// # Errors
    /// There is no such volume, or it can't be mounted.
    pub(crate) fn acquire(&self, name: &str, user: &str) -> Result<()> {
        let Some(wanted) = self.get(name)?.local_mount() else { return Ok(()) };
        let target = self.mountpoint(name);
        self.usage
            .acquire(name, user, &wanted, &target)
            .map_err(|cause| cause.context(mounting(&target)))
    }

    /// `user` needs the volume no longer. The last one unmounts it.
    ///
    /// # Errors
    /// It can't be unmounted.
    pub(crate) fn release(&self, name: &str, user: &str) -> Result<()> {
        match self.get(name).ok().and_then(|volume| volume.local_mount()) {
            Some(_) => self.usage.release(name, user, &self.mountpoint(name)),
            None => Ok(()),
        }
    }

    /// Unmounts what nobody uses. To be called when all users have been heard.
    pub(crate) fn unmount_unused(&self) {
        for volume in self.list().iter().filter(|volume| volume.local_mount().is_some()) {
            let target = self.mountpoint(&volume.name);
            if let Err(failure) = self.usage.unmount_unused(&volume.name, &target) {
                let error = crate::error::chain(&failure);
                tracing::warn!(volume = volume.name, error, "unmount a volume");
            }
        }
    }

    fn holders(&self, name: &str) -> Vec<String> {
        let held = self.held();
        held.iter().filter(|(held, _)| held == name).map(|(_, by)| by.clone()).collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Volume>>> {
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

/// How a mount over a volume's directory that failed is introduced.
pub(crate) fn mounting(target: &Path) -> String {
    format!("error while mounting volume '{}'", target.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("davit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("trash")).expect("scratch directory");
        path
    }

    fn named(name: &str) -> Wanted<'_> {
        Wanted { name, ..Wanted::default() }
    }

    #[test]
    fn a_volume_is_there_after_a_restart_and_gone_after_removal() {
        let root = scratch("volumes");
        let volumes = Volumes::open(root.join("volumes")).expect("open");
        let (made, new) = volumes.create(&named("v1")).expect("create");
        assert!(new && volumes.mountpoint("v1").is_dir());
        let (again, new) = volumes.create(&named("v1")).expect("create again");
        assert!(!new && again == made);
        let (nameless, _) = volumes.create(&named("")).expect("anonymous");
        assert_eq!(nameless.name.len(), 64);
        assert!(nameless.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS)));

        let volumes = Volumes::open(root.join("volumes")).expect("open again");
        assert_eq!(volumes.list().len(), 2);
        volumes.create(&Wanted { holder: Some("c1"), ..named("v1") }).expect("hold");
        let trash = root.join("trash");
        for users in [vec!["c0".to_owned()], Vec::new()] {
            let held = volumes.remove("v1", &trash, || users.clone()).expect_err("in use");
            let wanted = [&users[..], &["c1".to_owned()]].concat().join(", ");
            assert_eq!(held.to_string(), format!("remove v1: volume is in use - [{wanted}]"));
        }
        volumes.let_go("c1");
        volumes.remove("v1", &trash, Vec::new).expect("remove");
        assert_eq!(volumes.get("v1").expect_err("gone").to_string(), "get v1: no such volume");
        std::fs::remove_dir_all(root).expect("clean up");
    }

    #[test]
    fn bad_names_and_options_are_refused_in_dockers_words() {
        let root = scratch("bad-volumes");
        let volumes = Volumes::open(root.join("volumes")).expect("open");
        assert_eq!(
            volumes.create(&named("a b")).expect_err("space").to_string(),
            "create a b: \"a b\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
        );
        let options = BTreeMap::from([("nosuch".to_owned(), "1".to_owned())]);
        assert_eq!(
            volumes
                .create(&Wanted { options: Some(&options), ..named("v3") })
                .expect_err("option")
                .to_string(),
            "create v3: invalid option: \"nosuch\""
        );
        std::fs::remove_dir_all(root).expect("clean up");
    }
}
