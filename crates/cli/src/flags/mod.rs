//! Flags: how they are parsed, how they are listed, and those that several commands share.

pub(crate) mod container;
pub(crate) mod filter;
pub(crate) mod help;
pub(crate) mod pflag;
pub(crate) mod text;
pub(crate) mod values;
