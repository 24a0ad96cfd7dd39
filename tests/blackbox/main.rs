//! Black-box tests: the binary as a real process against the sandbox; each file has the tests of one promise.
//!
//! One binary for all these files: it is linked once, and the waits of all its tests overlap.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)] // a failed `unwrap` fails the test
#![allow(clippy::disallowed_methods)] // the tests make, move and delete files as any other program does

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/promtool.rs"]
#[allow(dead_code, unreachable_pub)]
mod promtool;

mod afterwards;
mod arrivals;
mod bad_answers;
mod bad_input;
mod bursts;
mod choosing;
mod documents;
mod dry_run;
mod ends;
mod failures_told;
mod floods;
mod folders;
mod help;
mod hostile_hands;
mod init;
mod kept_elsewhere;
mod left_alone;
mod locks;
mod look;
mod missing_folders;
mod monitor;
mod mounts;
mod names;
mod notified;
mod outage;
mod places;
mod push;
mod quiet;
mod readers;
mod reload;
mod sandbox_command;
mod scripting;
mod secrets;
mod service;
mod service_manager;
mod standard_input;
mod status;
mod terminal;
mod tls;
mod words;
