//! End-to-end tests: real daemon, real containers, real registry, each test in its own sandbox.
//!
//! Run them with `cargo xtask test [filter]`; against Docker's own daemon, which must pass them too,
//! with `DAVIT_TEST_ENGINE=docker`.

mod setup;

mod confinement;
mod cycles;
mod dns;
mod docker_cli;
mod errors;
mod hops;
mod images;
mod kills;
mod lifecycle;
mod limits;
mod links;
mod machine;
mod many_layers;
mod matrix;
mod metadata;
mod network;
mod others;
mod process;
mod python_sdk;
mod registries;
mod resolver;
mod run_nginx;
mod runtimes;
mod storage;
mod strays;
mod survival;
mod unpacked;
mod user_networks;
mod volumes;
