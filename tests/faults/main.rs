//! Each row of the table of failures (`docs/architecture.md`) and each misbehaviour of the sandbox, on each call, alone and in random
//! combination: after the trouble each file is stored once, nothing is lost, and no file is blamed for the service's trouble.
//!
//! Other binaries prove some rows: `login` the trouble of the login, `limits` that of this machine and the journal, `blackbox` the stop
//! signal.
//!
//! `ASTRAN_TEST_ROUNDS` says how many random combinations (default 6), `ASTRAN_TEST_SEED` the seed of the random choices. A failed
//! combination prints the seed that repeats it alone with one round, and its rules as `/sandbox/faults` takes them.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod alone;
mod combination;
mod disk;
mod files;
mod troubles;

use std::collections::BTreeMap;
use std::sync::Mutex;

use astran_backup::sandbox::faults::Fault;

use support::World;
use support::proof::{identity, sha256, unique};

const SETTLE: [&str; 2] = ["--settle", "10ms"];
/// A small file, a large one, one in a sub-folder whose name is taken, and another; `fill` adds an empty one.
const FILES: [(&str, usize); 4] = [("small.txt", 40), ("large.bin", 700_000), ("sub/small.txt", 40), ("other", 9000)];

fn fill(world: &World) -> BTreeMap<String, String> {
    let mut closed = BTreeMap::new();
    world.put("empty", "");
    closed.insert(identity("empty", "", 0), "empty".to_owned());
    for (name, size) in FILES {
        let content = unique(name, size);
        closed.insert(sha256(&content), name.to_owned());
        world.put(name, content);
    }
    closed
}

fn failed(world: &World) -> String {
    world.attempts(&["--failed"]).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs many jobs that mostly wait, some at a time.
fn side_by_side<T: Send>(jobs: Vec<T>, each: impl Fn(T) + Sync) {
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                while let Some(job) = next() {
                    each(job);
                }
            });
        }
    });
}

fn status(status: u16, carried_out: bool) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out }
}
