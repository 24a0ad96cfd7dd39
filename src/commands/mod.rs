//! placeholder

pub mod get;
pub mod ls;
mod partial;
#[cfg(test)]
mod shelf;
