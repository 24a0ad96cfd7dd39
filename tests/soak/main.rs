//! A soak: files of all kinds come all the time, while the program is killed, stopped and cut off, and the store misbehaves. A ledger
//! has each close, and is compared at the end with what the store took: nothing lost, truncated or stored twice, and nothing left but
//! what must stay.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `ASTRAN_TEST_MINUTES` | how long files come; below two minutes everything comes ten times as fast | some seconds |
//! | `ASTRAN_TEST_KILLS` | `none`: the program is neither killed nor stopped, so that slow growth shows | it is |
//! | `ASTRAN_TEST_SEED` | the seed of the random choices | the clock |
//! | `ASTRAN_TEST_BINARY` | the build of the program that is used, by its absolute path | the tests' own |
//! | `ASTRAN_TEST_DIR` | a folder that is to keep the ledger, the program's log and, of a failed soak, its journal | none is kept |
#![cfg(all(feature = "sandbox", target_os = "linux"))]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;
// All kinds of trouble with a service; the soak uses only some of them.
#[allow(dead_code)]
#[path = "../faults/troubles.rs"]
mod troubles;

mod ledger;
mod program;
mod relay;
mod storm;
mod trouble;
mod writer;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::Fault;

use ledger::{Closed, Ledger};
use program::Program;
use relay::Relay;
use storm::{Storm, Thrown};
use support::World;
use support::proof::{Dice, clean_run, identity_of, seed};

const SETTLE: [&str; 2] = ["--settle", "50ms"];

#[test]
fn in_an_hour_of_kills_outages_and_faults_nothing_is_lost_truncated_or_stored_twice() {
    let length = length();
    let mut dice = Dice::new(seed("soak"));
    let mut world = World::with(|options| options.token_life = Duration::from_secs(20));
    let store = world.access.api_url.strip_prefix("http://").unwrap().parse().unwrap();
    let relay = Relay::start(&world.runtime, store);
    world.access.api_url = format!("http://{}", relay.address);
    world.access.auth_url.clone_from(&world.access.api_url);
    let kept = kept(&world);
    let ledger = Ledger::create(kept.join("ledger.jsonl"));
    let mut program = Program::new(&world, kept.join("log"), length);

    let thrown = Storm { world: &world, relay: &relay, ledger: &ledger, length }.run(&mut program, &mut dice);
    settle_down(&world, &mut program);
    let closed = ledger.read();
    assert_only_the_odd_ones_are_left(&world, &closed);
    let comparison = Comparison::of(&world, &closed);
    let line = summary(&world, &program, length, &closed, &thrown, &comparison);
    println!("{line}");
    std::fs::write(kept.join("summary"), line).unwrap();
    if !comparison.is_perfect() {
        keep_journal(&world, &kept);
        panic!("{comparison:#?}\n{}", program.last_words());
    }
    remove_the_odd_ones(&world);
    clean_run(&world, &SETTLE);
}

fn length() -> Duration {
    match std::env::var("ASTRAN_TEST_MINUTES") {
        Ok(minutes) => Duration::from_secs_f64(60.0 * minutes.parse::<f64>().unwrap()),
        Err(_) => Duration::from_secs(6),
    }
}

/// The folder of the ledger and the log.
fn kept(world: &World) -> PathBuf {
    let kept = std::env::var("ASTRAN_TEST_DIR").map_or_else(|_| world.dir.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&kept).unwrap();
    kept
}

fn keep_journal(world: &World, kept: &Path) {
    for file in support::files_below(&world.state()) {
        std::fs::copy(world.state().join(&file), kept.join(file.file_name().unwrap())).unwrap();
    }
}

/// Runs without trouble until nothing is left to do; fails the test when there is no progress.
fn settle_down(world: &World, program: &mut Program<'_>) {
    program.start(&SETTLE);
    let (mut before, mut since) = ((usize::MAX, 0), Instant::now());
    while in_the_way(world) > 0 {
        assert!(program.runs(), "it ended: {}", program.last_words());
        let now = (in_the_way(world), world.sandbox().stats().uploads_stored);
        if now != before {
            (before, since) = (now, Instant::now());
        }
        let stands_still = since.elapsed() > Duration::from_secs(150);
        assert!(!stands_still, "{now:?} stand still: {:?}\n{}", first_left(world), program.last_words());
        std::thread::sleep(Duration::from_millis(200));
    }
    program.sample();
    assert_eq!(program.stop(), Some(0), "{}", program.last_words());
}

/// Files that are still to be stored or removed: in the watched folder, and staged.
fn in_the_way(world: &World) -> usize {
    let waiting = world.files_left().iter().filter(|file| file.to_str().is_some()).count();
    waiting + support::files_below(&world.watched().join(".astran-backup")).len()
}

fn first_left(world: &World) -> Vec<PathBuf> {
    world.files_left().into_iter().take(20).collect()
}

/// Asserts that only files whose name is not UTF-8 are left, each with its reason in the journal.
fn assert_only_the_odd_ones_are_left(world: &World, closed: &Closed) {
    let output = world.once(&[&SETTLE[..], &["--retry-login"]].concat());
    assert_eq!(output.code, Some(i32::from(closed.odd > 0)), "{output:?}");
    let left = world.files_left();
    assert_eq!(left.len(), closed.odd, "{left:?}");
    assert!(left.iter().all(|file| file.to_str().is_none()), "{left:?}");
    let failed = world.attempts(&["--failed"]);
    let is_odd = |attempt: &serde_json::Value| attempt["reason"].as_str().unwrap().contains("not valid UTF-8");
    let (odd, blamed): (Vec<_>, Vec<_>) = failed.iter().partition(|attempt| is_odd(attempt));
    assert_eq!(blamed, Vec::<&serde_json::Value>::new(), "blamed for what the service did");
    assert!(odd.len() >= closed.odd, "{} must be reported, and are not: {failed:?}", closed.odd);
}

/// Removes the files that must stay: their writer takes them back.
fn remove_the_odd_ones(world: &World) {
    for file in world.files_left() {
        assert!(file.as_os_str().as_bytes().contains(&0xe9));
        std::fs::remove_file(world.watched().join(file)).unwrap();
    }
}

/// Compares the ledger with what the store took.
#[derive(Debug, Default)]
struct Comparison {
    stored: usize,
    lost: Vec<String>,
    truncated: Vec<String>,
    twice: Vec<String>,
}

impl Comparison {
    fn of(world: &World, closed: &Closed) -> Self {
        let uploads = world.sandbox().uploads();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for upload in &uploads {
            *times.entry(identity_of(upload)).or_default() += 1;
        }
        let what = |identity: &String| format!("{} {identity}", closed.may.get(identity).map_or("?", String::as_str));
        let nobodys = |upload: &&astran_backup::sandbox::Upload| !closed.may.contains_key(&identity_of(upload));
        Self {
            stored: uploads.len(),
            lost: closed.must.iter().filter(|identity| !times.contains_key(*identity)).map(what).collect(),
            truncated: uploads.iter().filter(nobodys).map(|upload| format!("{upload:?}")).collect(),
            twice: times.iter().filter(|(_, times)| **times > 1).map(|(identity, _)| what(identity)).collect(),
        }
    }

    fn is_perfect(&self) -> bool {
        self.lost.is_empty() && self.truncated.is_empty() && self.twice.is_empty()
    }
}

fn summary(
    world: &World,
    program: &Program<'_>,
    length: Duration,
    closed: &Closed,
    thrown: &Thrown,
    comparison: &Comparison,
) -> String {
    let Comparison { stored, lost, truncated, twice } = comparison;
    format!(
        "soak of {} s: closed {} (had to be stored {}, odd {}), stored {stored}, lost {}, truncated {}, twice {}; \
         faults {}; thrown {thrown:?}; ended by itself {:?}; most {:?}",
        length.as_secs(),
        closed.may.len(),
        closed.must.len(),
        closed.odd,
        lost.len(),
        truncated.len(),
        twice.len(),
        world.sandbox().stats().faults,
        program.ended,
        program.most,
    )
}

pub(crate) fn status(status: u16, carried_out: bool) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out }
}
