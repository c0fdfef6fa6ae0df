//! Who uses a volume that has to be mounted: the first user mounts it, the last one unmounts it.
//!
//! Nothing of this is written down. After a restart of the daemon the containers that run say again
//! what they use; a mount that nobody claims then is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use davit_types::Result;

use super::mount::{is_mounted, mount, unmount};
use super::options::LocalMount;

/// Ids of the containers that use a volume.
type Users = Arc<Mutex<BTreeSet<String>>>;

/// The users of all volumes that are mounted.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    // Each volume has a lock of its own: a server that doesn't answer stops its volume only.
    volumes: Mutex<BTreeMap<String, Users>>,
}

impl Usage {
    /// Notes that `user` uses the volume, which is mounted unless it is so already.
    ///
    /// # Errors
    /// It can't be mounted; then `user` doesn't use it.
    pub(crate) fn acquire(
        &self,
        name: &str,
        user: &str,
        wanted: &LocalMount,
        target: &Path,
    ) -> Result<()> {
        let users = self.of(name);
        let mut users = lock(&users);
        if !is_mounted(target) {
            mount(wanted, target)?;
        }
        users.insert(user.to_owned());
        Ok(())
    }

    /// Notes that `user` uses the volume no longer; the last one unmounts it. Somebody who didn't
    /// use it changes nothing.
    ///
    /// # Errors
    /// It can't be unmounted.
    pub(crate) fn release(&self, name: &str, user: &str, target: &Path) -> Result<()> {
        let users = self.of(name);
        let mut users = lock(&users);
        if users.remove(user) && users.is_empty() {
            unmount(target)?;
        }
        Ok(())
    }

    /// Unmounts the volume unless somebody uses it.
    ///
    /// # Errors
    /// It can't be unmounted.
    pub(crate) fn unmount_unused(&self, name: &str, target: &Path) -> Result<()> {
        let users = self.of(name);
        let users = lock(&users);
        if users.is_empty() { unmount(target) } else { Ok(()) }
    }

    /// Forgets a volume that was removed.
    pub(crate) fn forget(&self, name: &str) {
        lock(&self.volumes).remove(name);
    }

    fn of(&self, name: &str) -> Users {
        Arc::clone(lock(&self.volumes).entry(name.to_owned()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
