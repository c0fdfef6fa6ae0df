//! Values that every other crate of Davit shares: errors, ids, names, references, digests.
//!
//! Nothing in here does I/O or knows about the kernel, HTTP or Docker's JSON. A value that only one
//! crate needs belongs to that crate.

pub mod digest;
pub mod error;
pub mod id;
pub mod platform;
pub mod reference;

pub use digest::Digest;
pub use error::{Context, Error, Kind, Result};
pub use id::ContainerId;
pub use platform::Platform;
pub use reference::Reference;

/// The OCI runtime and image specifications' documents, from the `oci-spec` crate.
pub mod oci {
    pub use oci_spec::{image, runtime};
}
