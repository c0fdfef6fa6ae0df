//! Images: the store's answers in the API's form, and who uses an image.

mod bundle;
mod list;
mod push;
mod verbs;

use davit_api::image::{Descriptor, Platform};
use davit_image::ImageUser;

use crate::engine::Inner;

/// The storage driver as clients are told it.
pub(crate) const DRIVER: &str = "overlayfs";

/// A descriptor in the API's form.
pub(crate) fn descriptor(descriptor: &davit_image::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

/// A platform in the API's form.
pub(crate) fn platform(platform: &davit_types::Platform) -> Platform {
    Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..Platform::default()
    }
}

/// All containers, as users of images.
pub(crate) fn users(inner: &Inner) -> Vec<ImageUser> {
    inner
        .containers
        .all()
        .iter()
        .map(|container| {
            let snapshot = container.snapshot();
            ImageUser {
                container_id: container.id.to_string(),
                image_ref: snapshot.record.config.image.clone(),
                image_id: snapshot.record.image.clone(),
                running: snapshot.record.state.running,
            }
        })
        .collect()
}
