//! What layers mean together: the merged view of several, the init layer, what a container changed.

mod changes;
mod init;
mod view;

pub(crate) use changes::{changes, disk_size};
pub(crate) use init::{init_layer_id, make_init_layer};
pub(crate) use view::{View, is_opaque};
