//! The image crate against real files, a real registry and a token server.
//!
//! One program, so that what the tests share is compiled once and used as a whole. Names that
//! start with `root_` need root; `registry` in the name means Debian's docker-registry.

mod archive;
mod auth;
mod bundle;
mod damage;
mod hostile;
mod hosts;
mod implied;
mod pull;
mod push;
mod resume;
mod support;
