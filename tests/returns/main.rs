//! What comes back, or comes in between: files renamed, moved and replaced while it is not known what became of them. None is
//! sent twice, none is forgotten, and nothing is left open for ever.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod aside;
mod entries;
mod given_up;
mod kept;
mod live;
mod moved;
mod names;
mod places;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Command;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use support::proof::sha256;
use support::{Daemon, World, eventually};

const SETTLE: [&str; 2] = ["--settle", "10ms"];
/// One after the other: which way a file takes then depends on their order, not on chance.
const ONE_BY_ONE: [&str; 4] = ["--settle", "10ms", "--transfers", "1"];
/// Longer than any test lasts.
const NEVER: u64 = 600_000;

fn status(status: u16) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out: false }
}

/// A file that the store has, from a daemon that was killed before it heard so.
fn answer_lost(world: &World, relative: &str) -> PathBuf {
    let place = world.put(relative, "content");
    killed_unanswered(world, world.command().args(["watch", "watched"]).args(SETTLE));
    place
}

/// Runs a command that uploads, and kills it when the store has one file more and has not said so.
fn killed_unanswered(world: &World, command: &mut Command) {
    let before = world.sandbox().uploads().len();
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: NEVER }).times(1));
    let process = Daemon::start(command);
    eventually("the store has it", || world.sandbox().uploads().len() > before);
    process.kill();
}

/// These contents were sent, each as often as it is in the list, and nothing else was.
#[track_caller]
fn assert_sent(world: &World, contents: &[&str]) {
    let meant = |sum: &str| contents.iter().find(|content| sha256(content.as_bytes()) == sum);
    let uploads = world.sandbox().uploads();
    let mut sent: Vec<_> = uploads.iter().map(|it| meant(it.sha256.as_deref().unwrap()).unwrap_or(&"?")).collect();
    let mut expected: Vec<_> = contents.iter().collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected, "\n{}", world.run(["history"]).stdout);
}

fn journal(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap()
}
