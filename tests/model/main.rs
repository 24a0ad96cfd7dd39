//! Random stories of files, crashes and trouble with the store, against a model of folder and store: each file that is put into the
//! folder is in the store once, or is still in the folder.
//!
//! `ASTRAN_TEST_ROUNDS` says how many stories (default 60), `PROPTEST_RNG_SEED` is the seed. A story that fails is shortened, printed,
//! and kept in `main.regressions`.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../support/fake_vault.rs"]
mod fake_vault;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use astran_backup::config::{Policy, Transfers, Verify};
use astran_backup::file::lease::LeaseBreaks;
use astran_backup::file::{Root, Settled};
use astran_backup::journal::Journal;
use astran_backup::observe::metrics::FolderMetrics;
use astran_backup::shutdown;
use astran_backup::upload::{Asked, MoveTargets, Options, Outcome, Report, Shared, Uploader};
use astran_backup::vault::{Kind, RemotePath};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tokio::sync::mpsc;

use fake_vault::{Call, FakeVault, Reply};
use support::proof::{sha256, unique};

/// What the vault does with its next call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Whim {
    Good,
    /// The vault is down: nothing is done.
    Down,
    /// The answer is lost before anything was done.
    LostBefore,
    /// The upload is stored, and the answer is lost.
    LostAfter,
    /// The answer is lost, and a relay that had all of the upload passes it on so many milliseconds later.
    Late(u64),
    /// The vault says that it has what it has not.
    Lie,
    /// Another client has stored something under this name just before.
    Intruder,
    /// The vault refuses the file for good.
    Refuse,
    /// The vault does not know the folder, this once.
    Forgets,
    /// A fault of the program itself, in the middle of one file.
    Panics,
}

/// One step of a story.
#[derive(Debug, Clone)]
enum Step {
    /// A new file of this name and size comes, unless there is one.
    Put(usize, usize),
    /// A process takes all files that are there, and runs until all are done.
    Run,
    /// A process runs for so many milliseconds, and is cut off.
    RunFor(u64),
}

const NAMES: [&str; 4] = ["a", "sub/a", "b.pdf", "sub/b.pdf"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..NAMES.len(), prop_oneof![6 => 1..200usize, 2 => Just(150_000), 1 => Just(0)]).prop_map(|(name, size)| Step::Put(name, size)),
        2 => Just(Step::Run),
        1 => (0..30u64).prop_map(Step::RunFor),
    ];
    proptest::collection::vec(step, 1..10)
}

fn whims() -> impl Strategy<Value = Vec<Whim>> {
    let whim = prop_oneof![
        4 => Just(Whim::Good),
        1 => Just(Whim::Down),
        1 => Just(Whim::LostBefore),
        1 => Just(Whim::LostAfter),
        1 => (500..20000u64).prop_map(Whim::Late),
        1 => Just(Whim::Lie),
        1 => Just(Whim::Intruder),
        1 => Just(Whim::Refuse),
        1 => Just(Whim::Forgets),
        1 => Just(Whim::Panics),
    ];
    proptest::collection::vec(whim, 0..14)
}

/// Makes one reply of the vault of each whim, in the order of the calls. Calls that only ask meet nothing but a vault that is down.
fn script(mut whims: VecDeque<Whim>) -> impl FnMut(Call, &str) -> Reply + Send {
    move |call, name| {
        let whim = whims.pop_front().unwrap_or(Whim::Good);
        if call != Call::Upload {
            let is_down = matches!(whim, Whim::Down | Whim::LostBefore | Whim::LostAfter | Whim::Late(_));
            return if is_down { Reply::Fail(Kind::Unavailable) } else { Reply::Normal };
        }
        match whim {
            Whim::Good => Reply::Normal,
            Whim::Down => Reply::Fail(Kind::Unavailable),
            Whim::LostBefore => Reply::Fail(Kind::Unknown),
            Whim::LostAfter => Reply::Lost(Duration::ZERO),
            Whim::Late(millis) => Reply::Lost(Duration::from_millis(millis)),
            Whim::Lie => Reply::FalseSuccess,
            // The name that holds the content's own hash is nobody else's.
            Whim::Intruder if name.contains("(conflict") => Reply::Normal,
            Whim::Intruder => Reply::PrecededBy(format!("foreign {name}").into_bytes()),
            Whim::Refuse => Reply::Fail(Kind::Refused),
            Whim::Forgets => Reply::Fail(Kind::Missing),
            Whim::Panics => Reply::Panic,
        }
    }
}

struct Story {
    dir: tempfile::TempDir,
    vault: Arc<FakeVault>,
    closed: BTreeMap<String, String>,
}

impl Story {
    fn new(whims: Vec<Whim>, conflicts: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("watched/sub")).unwrap();
        let vault = FakeVault::default().with_every_folder();
        let vault = if conflicts { vault.that_refuses_taken_names() } else { vault };
        vault.script(script(whims.into()));
        Self { dir, vault: Arc::new(vault), closed: BTreeMap::new() }
    }

    fn put(&mut self, name: &str, size: usize) {
        let place = self.dir.path().join("watched").join(name);
        if !place.exists() {
            let content = unique(&format!("{name} {}", self.closed.len()), size);
            self.closed.insert(sha256(&content), name.to_owned());
            std::fs::write(place, content).unwrap();
        }
    }

    fn files_there(&self) -> Vec<PathBuf> {
        support::files_below(&self.dir.path().join("watched"))
    }

    /// The life of one process: staged files are put back, and all files that are there are uploaded.
    async fn run(&self, limit: Option<Duration>) {
        let breaks = LeaseBreaks::install().unwrap();
        let journal = Journal::open(&self.dir.path().join("state")).unwrap();
        let root = Arc::new(Root::open(&self.dir.path().join("watched")).unwrap());
        let aside = astran_backup::removal::recover(&root, Path::new(""));
        let shared = Shared::new(Arc::clone(&self.vault), journal, breaks, None);
        let (reports, mut reported) = mpsc::unbounded_channel::<Report>();
        let policy = Policy { verify: Verify::Listing, transfers: Transfers::Fixed(3), ..Policy::default() };
        let (targets, dest) = (MoveTargets::open(&policy).unwrap(), RemotePath::parse("/dest").unwrap());
        let options = Options { policy, targets, dest, asked: Asked::ByWatch, counts: FolderMetrics::detached() };
        let uploader = Uploader::new(shared, options, reports);
        let (queue, files) = mpsc::channel(64);
        let (_trigger, shutdown) = shutdown::channel();
        let running = tokio::spawn(uploader.run(files, Duration::ZERO, shutdown));
        let feeding = async {
            let mut out = 0;
            for place in self.files_there().into_iter().chain(aside) {
                queue.send(Settled::new(Arc::clone(&root), place)).await.unwrap();
                out += 1;
            }
            while out > 0 {
                let report = reported.recv().await.unwrap();
                out -= 1;
                if let Outcome::Again { place, .. } = report.outcome {
                    queue.send(Settled::new(Arc::clone(&root), place)).await.unwrap();
                    out += 1;
                }
            }
        };
        match limit {
            None => feeding.await,
            Some(limit) => tokio::select! {
                () = feeding => {}
                () = wall_clock_sleep(limit) => {}
            },
        }
        // Cut off at whatever point, as far as that is possible within one process.
        running.abort();
    }

    /// Asserts that each file is in the store once, or in the folder, and nothing else is in the store.
    fn check(&self) {
        self.vault.carry_out_all();
        let mut ours: BTreeMap<String, usize> = BTreeMap::new();
        for content in self.vault.uploaded() {
            *ours.entry(sha256(&content)).or_default() += 1;
        }
        let watched = self.dir.path().join("watched");
        let there: Vec<String> =
            self.files_there().iter().map(|file| sha256(&std::fs::read(watched.join(file)).unwrap())).collect();
        for (content, name) in &self.closed {
            let times = ours.get(content).copied().unwrap_or_default();
            assert!(times <= 1, "{name} is stored {times} times");
            assert!(times == 1 || there.contains(content), "{name} is lost");
        }
        assert!(ours.keys().all(|content| self.closed.contains_key(content)), "a part of a file is stored");
    }
}

/// Sleeps by the wall clock: the paused clock of the runtime jumps whenever all tasks wait.
async fn wall_clock_sleep(limit: Duration) {
    let (sender, over) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        sender.send(()).ok();
    });
    over.await.ok();
}

async fn play(steps: Vec<Step>, whims: Vec<Whim>, conflicts: bool) {
    let mut story = Story::new(whims, conflicts);
    for step in steps {
        match step {
            Step::Put(name, size) => story.put(NAMES[name], size),
            Step::Run => story.run(None).await,
            Step::RunFor(millis) => {
                story.run(Some(Duration::from_millis(millis))).await;
                // Removals that are under way go on by themselves.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
    // The trouble is over: all files but the refused ones are stored.
    story.vault.behave();
    story.run(None).await;
    story.check();
    let journal = Journal::open(&story.dir.path().join("state")).unwrap();
    journal.retry(Vec::new()).await.unwrap();
    story.run(None).await;
    story.check();
    assert_eq!(story.files_there(), Vec::<PathBuf>::new(), "files were left, though the trouble was over");
    assert!(journal.check().await.unwrap().is_whole());
    assert!(
        astran_backup::removal::recover(&Root::open(&story.dir.path().join("watched")).unwrap(), Path::new(""))
            .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: stories(),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_store_does_each_file_is_stored_once_or_still_there(
        steps in steps(),
        whims in whims(),
        conflicts in any::<bool>(),
    ) {
        // With a paused clock, the grace and all waits take no time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps, whims, conflicts));
    }
}

fn stories() -> u32 {
    u32::try_from(support::proof::rounds(60)).unwrap()
}
