//! Drives the real `davit-shim` over its control socket, as the daemon does, with containers of
//! busybox in a sandbox. Needs root.

mod attach;
mod external;
mod lifecycle;
mod support;
