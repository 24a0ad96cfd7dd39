//! Each row of the table of failures and each misbehaviour of the sandbox, on each call, alone and in random combination: once
//! the trouble is over everything is stored, once; nothing is lost, and no file is blamed for the service's trouble.
//!
//! Rows that are proved elsewhere: the login's trouble in `login`, local trouble and the journal's in `limits`, the stop signal
//! in `blackbox`.
//!
//! `ASTRAN_TEST_ROUNDS` says how many random combinations (default 6), `ASTRAN_TEST_SEED` the seed of the random choices. One that failed
//! prints the seed that gives it alone with one round, and its rules as `/sandbox/faults` takes them.
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
/// Small, large, in a sub-folder under a name that is taken; `fill` adds an empty one.
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
    world.run(["history", "--failed", "--json"]).stdout
}

/// Does many things that mostly wait, some at a time.
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
