//! Random ids and numbers from the kernel.

use davit_types::{ContainerId, Error, Result};

/// 32 random bytes as an id.
pub(crate) fn id() -> Result<ContainerId> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(ContainerId::from_bytes(bytes))
}

/// A random number.
pub(crate) fn number() -> Result<u64> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| Error::internal("read random bytes").with_source(error))
}
