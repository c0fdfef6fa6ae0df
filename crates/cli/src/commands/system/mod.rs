//! `davit system ...`, and commands about no one kind of object.

pub(crate) mod check;
pub(crate) mod df;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod login;
pub(crate) mod prune;
pub(crate) mod version;
