//! Images as archives, and images made here: save, load, import, commit.
//!
//! What comes in is spooled into a directory of its own below `image/load`, which the next start
//! removes; checked blobs are renamed from there into the store.

mod change;
mod commit;
mod docker;
mod import;
mod load;
mod made;
mod save;
mod scratch;

pub use commit::CommitOptions;
pub use import::ImportOptions;
pub use load::LoadedImage;
pub use save::SavePlan;
