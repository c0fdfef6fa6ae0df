//! Docker's REST API 1.56 as plain data, shared by daemon and clients.
//!
//! One file per resource. The structs write exactly the keys Docker writes, in its order, `null`
//! where Go has a nil slice; they read anything: a missing or `null` value is the default, unknown
//! keys and unknown words of an enumeration are no error. The shapes are those of the newest
//! version; the daemon derives the older ones.

pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod image;
pub mod lenient;
pub mod network;
pub mod progress;
pub mod stream;
pub mod system;
pub mod time;
pub mod version;
pub mod volume;

pub use error::ErrorResponse;
pub use filters::Filters;
pub use time::Time;
pub use version::ApiVersion;
