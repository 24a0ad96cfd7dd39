//! The commands, a file each: what each says, in order.

pub mod completions;
pub mod get;
pub mod ls;
#[cfg(feature = "sandbox")]
pub mod sandbox;
