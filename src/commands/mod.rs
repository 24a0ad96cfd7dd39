//! placeholder

pub mod history;
pub mod retry;
pub mod verify;
