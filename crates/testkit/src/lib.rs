//! What Davit's privileged tests, its benchmark and its demo are built from.
//!
//! A test gets a [`Sandbox`] (own mount, network and PID namespaces, own cgroup parent, own
//! directory), starts a [`Daemon`] in it, and drives that through the `davit` and `docker` command
//! lines or raw HTTP. Images are made here, from Debian's packages, and served by Debian's
//! `docker-registry`, so nothing depends on a registry of the internet.
//!
//! The same tests run against Docker's own daemon (`DAVIT_TEST_ENGINE=docker`): a test that the
//! reference fails is a wrong test.

pub mod cgroup;
pub mod command;
pub mod daemon;
pub mod debian;
pub mod evil;
pub mod http;
pub mod images;
pub mod lan;
pub mod namespace;
pub mod oci;
pub mod paths;
pub mod probe;
pub mod pty;
pub mod registry;
pub mod requirements;
pub mod rootfs;
pub mod sandbox;
pub mod snapshot;
pub mod wait;

pub use command::Finished;
pub use daemon::{Daemon, DaemonOptions, Engine};
pub use http::Response;
pub use lan::Lan;
pub use namespace::Namespace;
pub use pty::Pty;
pub use registry::Registry;
pub use requirements::{Need, met};
pub use sandbox::Sandbox;
pub use snapshot::Snapshot;
pub use wait::{until, until_true};
