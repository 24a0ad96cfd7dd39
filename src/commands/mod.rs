//! placeholder
pub mod completions;
