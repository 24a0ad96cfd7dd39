//! Black-box tests: the binary as a real process against the sandbox, file by file what is promised.
//!
//! One target and not one for each file: it is linked once, and the waits of all its tests overlap.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)] // in a test it is what fails it
#![allow(clippy::disallowed_methods)] // files come, move and go here as they do with any other program

#[path = "../support/mod.rs"]
mod support;

mod afterwards;
mod arrivals;
mod bad_answers;
mod bad_input;
mod bursts;
mod ends;
mod floods;
mod folders;
mod hostile_hands;
mod kept_elsewhere;
mod left_alone;
mod locks;
mod look;
mod monitor;
mod mounts;
mod names;
mod outage;
mod places;
mod push;
mod readers;
mod sandbox_command;
mod secrets;
mod standard_input;
mod tls;
