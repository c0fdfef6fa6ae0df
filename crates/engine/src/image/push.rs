//! Push of images, and signing in at registries.

use davit_image::{Progress, PushOptions, RegistryAuth};
use davit_types::{Error, Platform, Reference, Result};

use crate::Engine;

impl Engine {
    /// Pushes the image `name:tag`, or all tags of the repository `name` when there is no tag.
    /// Dropping the future gives the push up.
    ///
    /// # Errors
    /// No such name, or the registry does not take it.
    pub async fn push_image(
        &self,
        name: &str,
        tag: Option<&str>,
        platform: Option<Platform>,
        auth: Option<RegistryAuth>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<()> {
        let repository = Reference::parse(name)?;
        if repository.digest().is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let tag = tag.or(repository.tag());
        let reference = match tag {
            Some(tag) => repository.with_tag(tag)?,
            None => repository.clone(),
        };
        let options = PushOptions {
            platform,
            auth,
            hosts: std::sync::Arc::clone(&self.inner().registries),
            all_tags: tag.is_none(),
        };
        self.inner().images.push(&reference, options, progress).await?;
        let familiar = reference.familiar();
        super::verbs::publish(self.inner(), "push", &familiar, &reference.familiar_name());
        Ok(())
    }

    /// Shows credentials to their registry.
    ///
    /// # Errors
    /// It does not take them, or does not answer.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<()> {
        davit_image::login(auth, &self.inner().registries).await
    }
}
