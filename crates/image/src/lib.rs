//! Images: the registry client, the store, unpacked layers, and containers' writable layers.
//!
//! A pull goes network → SHA-256 → inflate → untar → disk in one pass for all layers at once; there
//! is no file of compressed layers. A layer is keyed by itself alone, not by what lies under it, so
//! no layer waits for another and `lower` exists only in containers' directories.

pub mod archive;
mod bundle;
pub mod config;
pub mod image;
mod layer;
mod manifest;
mod pull;
mod push;
mod registry;
mod store;
mod tree;

pub use bundle::{CommitOptions, ImportOptions, LoadedImage, SavePlan};
pub use config::{HealthConfig, ImageConfig, RunConfig};
pub use image::{
    Change, ChangeKind, ContainerLayer, Descriptor, HistoryEntry, Image, ImageUser, LayerId,
    Progress, PullOptions, Pulled, PushOptions, RegistryAuth, Removed, TransferLimits,
};
pub use registry::{Proxies, RegistryHosts, RegistryRule, login, without_credentials};
pub use store::{Finding, ImageStore};
pub use tree::remove_tree;
