//! Tests with real namespaces, links and rules. They need root; each runs in namespaces of its own.

mod default_bridge;
mod lifecycle;
mod networks;
mod parents;
mod reachability;
mod recovery;
mod scale;
mod support;
mod user_chain;
