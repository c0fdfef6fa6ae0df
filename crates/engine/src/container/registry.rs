//! All containers, found by id, name or the beginning of the id.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use davit_types::{ContainerId, Result};

use super::Container;
use crate::error;

/// The index. Its lock is held for look-ups only, never while something is done.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Names belong to ids; a name may be reserved before its container is in `by_id`.
    by_name: HashMap<String, ContainerId>,
}

impl Registry {
    /// Reserves `name` for the container `id`.
    ///
    /// # Errors
    /// It belongs to another container.
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId) -> Result<()> {
        let mut index = self.write();
        if let Some(holder) = index.by_name.get(name) {
            return Err(error::name_in_use(name, holder.as_str()));
        }
        index.by_name.insert(name.to_owned(), id.clone());
        Ok(())
    }

    /// Gives a reserved name back.
    pub(crate) fn release(&self, name: &str) {
        self.write().by_name.remove(name);
    }

    /// Adds a container, whose name is reserved.
    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.write().by_id.insert(container.id.as_str().to_owned(), container);
    }

    /// Forgets a container and its name.
    pub(crate) fn remove(&self, id: &ContainerId) {
        let mut index = self.write();
        index.by_id.remove(id.as_str());
        index.by_name.retain(|_, holder| holder != id);
    }

    /// All of them, in no order that matters.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }

    /// The container of that full id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Container>> {
        self.read().by_id.get(id).cloned()
    }

    /// Whether the container is there or being made.
    pub(crate) fn knows(&self, id: &ContainerId) -> bool {
        let index = self.read();
        index.by_id.contains_key(id.as_str()) || index.by_name.values().any(|holder| holder == id)
    }

    /// Looks for a full id, then a name with or without its slash, then the beginning of an id.
    ///
    /// # Errors
    /// None or several.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Container>> {
        if name.is_empty() {
            return Err(error::empty_container_name());
        }
        let index = self.read();
        if let Some(container) = index.by_id.get(name) {
            return Ok(Arc::clone(container));
        }
        let bare = name.strip_prefix('/').unwrap_or(name);
        let named = index.by_name.get(bare).and_then(|id| index.by_id.get(id.as_str()));
        if let Some(container) = named {
            return Ok(Arc::clone(container));
        }
        let mut candidates = index
            .by_id
            .range::<str, _>((Bound::Included(name), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(name));
        match (candidates.next(), candidates.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(error::ambiguous_prefix(name)),
            (None, _) => Err(error::no_such_container(name)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::record::tests::snapshot;
    use super::*;

    fn registry(containers: &[(&str, &str)]) -> Registry {
        let registry = Registry::default();
        for (id, name) in containers {
            let container = Container::new(snapshot(id, name), Path::new("/d"), Path::new("/e"));
            registry.reserve(name, &container.id).expect("a free name");
            registry.insert(Arc::new(container));
        }
        registry
    }

    #[test]
    fn ids_come_before_names_and_names_before_prefixes() {
        let (one, two) = ("ab".repeat(32), format!("abcd{}", "0".repeat(60)));
        let registry = registry(&[(&one, "web"), (&two, "abab")]);
        let found = |name: &str| registry.find(name).map(|found| found.id.to_string());
        assert_eq!(found(&one).expect("full id"), one);
        assert_eq!(found("/web").expect("name with slash"), one);
        // A name wins over the prefix of another container's id.
        assert_eq!(found("abab").expect("name"), two);
        assert_eq!(found("ababa").expect("prefix"), one);
        for (name, message) in [
            ("ab", "multiple IDs found with provided prefix: ab"),
            ("nosuch", "No such container: nosuch"),
            ("", "invalid container name or ID: value is empty"),
        ] {
            assert_eq!(found(name).expect_err(name).to_string(), message);
        }
    }

    #[test]
    fn a_name_belongs_to_one_container_until_that_is_gone() {
        let id = "ab".repeat(32);
        let registry = registry(&[(&id, "web")]);
        let other = ContainerId::from_bytes([1; 32]);
        assert_eq!(
            registry.reserve("web", &other).expect_err("taken").to_string(),
            format!(
                "Conflict. The container name \"/web\" is already in use by container \"{id}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            )
        );
        registry.remove(&ContainerId::parse(&id).expect("an id"));
        registry.reserve("web", &other).expect("free again");
    }
}
