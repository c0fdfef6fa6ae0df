//! The engine: what a container means. Lifecycle, composition, persistence; no HTTP.
//!
//! [`Engine`] has one method per verb of the API and takes and gives the API's documents. A verb is
//! one file below `container/`, `exec/`, `image/`, `network/` or `volume/`. The engine never runs a container itself: it
//! writes a bundle and starts `davit-shim`, whose monitor outlives the daemon.

mod check;
mod config;
mod container;
mod engine;
mod error;
mod events;
mod exec;
mod image;
pub mod logs;
mod monitor;
mod names;
mod network;
mod options;
mod random;
mod recover;
mod signal;
pub mod spec;
mod store;
mod system;
mod time;
mod volume;

pub use config::Config;
pub use container::streams::Chunks;
pub use davit_image::{
    ImportOptions, LoadedImage, Progress, Proxies, Pulled, RegistryAuth, RegistryRule,
    TransferLimits,
};
pub use engine::Engine;
pub use options::{
    AttachOptions, ClientStream, CommitContainerOptions, ListOptions, LogOptions, LogStream,
    PutArchiveOptions, RemoveImageOptions, RemoveOptions, WaitCondition,
};
