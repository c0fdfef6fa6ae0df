//! Kernel interfaces: the only crate of Davit with `unsafe` code.
//!
//! One file per topic of the kernel, in the kernel's words. Nothing in here knows what a container is.

pub mod bpf;
pub mod cgroup;
pub mod clone;
pub mod epoll;
pub mod fdpass;
pub mod heap;
pub mod inotify;
pub mod mount;
pub mod namespace;
pub mod overlay;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod schedule;
pub mod sealed;
pub mod seccomp;
pub mod signal;
pub mod signal_names;
pub mod spawn;
pub mod startsync;
pub mod timerfd;
