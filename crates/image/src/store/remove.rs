//! `docker rmi`: Docker's rules, decided without touching anything, then done.

use std::collections::BTreeSet;

use davit_types::{Digest, Error, Reference, Result};

use super::{DANGLING, ImageStore, Inner, dangling_name, reference_of};
use crate::image::{ImageUser, Removed};

/// What to do to an image.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Full names to remove.
    untag: Vec<String>,
    /// Keep the image without a name.
    keep_dangling: bool,
    /// The image goes with its last name.
    delete: bool,
}

/// What was asked for, and what is there.
struct Request<'a> {
    target: &'a Digest,
    /// The full name, when asked by name.
    name: Option<&'a str>,
    /// All full names of the image, dangling ones too.
    names: &'a [String],
    force: bool,
    users: &'a [ImageUser],
}

impl ImageStore {
    /// Removes a name, and the image with its last name. `users` are all containers there are.
    ///
    /// Images have no parents that are images, so `prune` has nothing to add; it is the API's.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` with Docker's texts when a container or another name needs it.
    pub fn remove(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        users: &[ImageUser],
    ) -> Result<Vec<Removed>> {
        tracing::debug!(name, force, prune, "remove image");
        let _change = self.inner.change();
        let (target, tag) = self.inner.find(name)?;
        let names = self.inner.names_of(&target);
        let tag = tag.or_else(|| names_by_digest(name, &names));
        let users: Vec<ImageUser> =
            users.iter().filter(|user| user.image_id == target.as_str()).cloned().collect();
        let request =
            Request { target: &target, name: tag.as_deref(), names: &names, force, users: &users };
        let plan = decide(&request)?;
        self.inner.carry_out(&plan, &target)
    }
}

impl Inner {
    fn names_of(&self, target: &Digest) -> Vec<String> {
        let state = self.state();
        let tags = state.tags.values().filter(|tag| tag.target.digest == *target);
        tags.map(|tag| tag.name.clone()).collect()
    }

    fn carry_out(&self, plan: &Plan, target: &Digest) -> Result<Vec<Removed>> {
        let mut removed = Vec::new();
        if plan.keep_dangling {
            let descriptor = {
                let state = self.state();
                let tag = state.tags.values().find(|tag| tag.target.digest == *target);
                tag.map(|tag| tag.target.clone())
            };
            if let Some(descriptor) = descriptor {
                self.write_tag(&dangling_name(target), descriptor)?;
            }
        }
        for name in &plan.untag {
            self.remove_tag(name)?;
            if let Some(reference) = reference_of(name) {
                removed.push(Removed::Untagged(reference.familiar()));
            }
        }
        if plan.delete {
            self.state_mut().images.remove(target);
            self.collect()?;
            removed.push(Removed::Deleted(target.to_string()));
        }
        Ok(removed)
    }
}

/// `repo@digest` where only tags of the repository are there: the one tag is meant.
fn names_by_digest(asked: &str, names: &[String]) -> Option<String> {
    let asked = Reference::parse(asked).ok().filter(|asked| asked.digest().is_some())?;
    let same = |name: &&String| {
        reference_of(name).is_some_and(|reference| reference.name() == asked.name())
    };
    let mut found = names.iter().filter(same);
    let first = found.next()?;
    found.next().is_none().then(|| first.clone())
}

fn decide(request: &Request<'_>) -> Result<Plan> {
    match request.name {
        Some(name) => decide_by_name(request, name),
        None => decide_by_id(request),
    }
}

fn decide_by_name(request: &Request<'_>, name: &str) -> Result<Plan> {
    let others: Vec<&String> = request.names.iter().filter(|other| *other != name).collect();
    // `repo@digest` beside the last `repo:tag` is not a name of its own.
    let is_companion = |other: &str| {
        let (Some(other), Some(name)) = (reference_of(other), reference_of(name)) else {
            return true;
        };
        other.tag().is_none() && name.tag().is_some() && other.name() == name.name()
    };
    if others.iter().any(|other| !is_companion(other)) {
        return Ok(Plan { untag: vec![name.to_owned()], keep_dangling: false, delete: false });
    }
    let mut untag = vec![name.to_owned()];
    untag.extend(others.into_iter().cloned());
    let Some(user) = request.users.first() else {
        return Ok(Plan { untag, keep_dangling: false, delete: true });
    };
    if !request.force {
        let familiar = Reference::parse(name)?.familiar();
        return Err(Error::conflict(format!(
            "conflict: unable to remove repository reference {familiar:?} (must force) - \
             container {} is using its referenced image {}",
            short(&user.container_id),
            request.target.short()
        )));
    }
    untag.retain(|name| !name.starts_with(DANGLING));
    Ok(Plan { untag, keep_dangling: true, delete: false })
}

fn decide_by_id(request: &Request<'_>) -> Result<Plan> {
    let conflict = |how: &str, why: String| {
        let id = request.target.short();
        Error::conflict(format!("conflict: unable to delete {id} ({how}) - {why}"))
    };
    if let Some(user) = request.users.iter().find(|user| user.running) {
        let id = short(&user.container_id);
        let why = format!("image is being used by running container {id}");
        return Err(conflict("cannot be forced", why));
    }
    let repositories: BTreeSet<String> = request
        .names
        .iter()
        .filter_map(|name| reference_of(name))
        .map(|reference| reference.name())
        .collect();
    if !request.force {
        if repositories.len() > 1 {
            let why = "image is referenced in multiple repositories".to_owned();
            return Err(conflict("must be forced", why));
        }
        if let Some(user) = request.users.first() {
            let id = short(&user.container_id);
            let why = format!("image is being used by stopped container {id}");
            return Err(conflict("must be forced", why));
        }
    }
    Ok(Plan { untag: request.names.to_vec(), keep_dangling: false, delete: true })
}

fn short(id: &str) -> &str {
    id.get(..davit_types::id::SHORT_LENGTH).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "docker.io/library/a:1";
    const A2: &str = "docker.io/library/a:2";
    const B: &str = "docker.io/library/b:1";

    fn plan(name: Option<&str>, names: &[&str], force: bool, running: Option<bool>) -> String {
        let target = Digest::from_sha256([0xab; 32]);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let users: Vec<ImageUser> = running
            .map(|running| ImageUser {
                container_id: "c".repeat(64),
                image_ref: "a:1".to_owned(),
                image_id: target.to_string(),
                running,
            })
            .into_iter()
            .collect();
        let request = Request { target: &target, name, names: &names, force, users: &users };
        match decide(&request) {
            Ok(plan) => format!(
                "untag {}{}{}",
                plan.untag.len(),
                if plan.keep_dangling { " dangling" } else { "" },
                if plan.delete { " delete" } else { "" }
            ),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn removing_follows_dockers_rules() {
        let in_use = "conflict: unable to remove repository reference \"a:1\" (must force) - \
                      container cccccccccccc is using its referenced image abababababab";
        let running = "conflict: unable to delete abababababab (cannot be forced) - image is \
                       being used by running container cccccccccccc";
        let stopped = "conflict: unable to delete abababababab (must be forced) - image is being \
                       used by stopped container cccccccccccc";
        let several = "conflict: unable to delete abababababab (must be forced) - image is \
                       referenced in multiple repositories";
        let digest = format!("docker.io/library/a@sha256:{}", "ab".repeat(32));
        for (name, names, force, user, expected) in [
            (Some(A), &[A][..], false, None, "untag 1 delete"),
            (Some(A), &[A, A2], false, Some(true), "untag 1"),
            (Some(A), &[A, &digest], false, None, "untag 2 delete"),
            (Some(A), &[A], false, Some(false), in_use),
            (Some(A), &[A], true, Some(true), "untag 1 dangling"),
            (None, &[A, A2], false, None, "untag 2 delete"),
            (None, &[A, B], false, None, several),
            (None, &[A, B], true, None, "untag 2 delete"),
            (None, &[A], false, Some(false), stopped),
            (None, &[A], true, Some(false), "untag 1 delete"),
            (None, &[A], true, Some(true), running),
        ] {
            assert_eq!(
                plan(name, names, force, user),
                expected,
                "{name:?} {names:?} {force} {user:?}"
            );
        }
    }
}
