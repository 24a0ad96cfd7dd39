//! The pipeline against a model of a folder and a store, with trouble between any two steps: whatever is put into the folder
//! is in the store once, or is still in the folder.
//!
//! `ASTRAN_TEST_ROUNDS` says how many stories (default 60), `PROPTEST_RNG_SEED` where chance starts; a failed one is made as
//! short as it can be, and printed.
#![cfg(feature = "sandbox")]
// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
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
use astran_backup::upload::{MoveTargets, Outcome, Pipeline, Report, Shared};
use astran_backup::vault::{Kind, RemotePath};
use proptest::prelude::*;
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

/// What happens in a story.
#[derive(Debug, Clone)]
enum Step {
    /// A new file comes, where none is: this name, so many bytes.
    Put(usize, usize),
    /// The pipeline is given all that lies there, and runs to its end.
    Run,
    /// It runs for so many milliseconds, and is cut off.
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

    fn lies(&self) -> Vec<PathBuf> {
        support::files_below(&self.dir.path().join("watched"))
    }

    /// A process's life: what was set aside is put back, and all that lies there goes into the pipeline.
    async fn run(&self, limit: Option<Duration>) {
        let breaks = LeaseBreaks::install().unwrap();
        let journal = Journal::open(&self.dir.path().join("state")).unwrap();
        let root = Arc::new(Root::open(&self.dir.path().join("watched")).unwrap());
        let aside = astran_backup::removal::recover(&root, Path::new(""));
        let shared = Shared::new(Arc::clone(&self.vault), journal, breaks, None);
        let (reports, mut reported) = mpsc::unbounded_channel::<Report>();
        let policy = Policy { verify: Verify::Listing, transfers: Transfers::Fixed(3), ..Policy::default() };
        let (targets, dest) = (MoveTargets::open(&policy).unwrap(), RemotePath::parse("/dest").unwrap());
        let pipeline = Pipeline::new(shared, policy, targets, dest, false, reports, FolderMetrics::detached());
        let (queue, files) = mpsc::channel(64);
        let (_trigger, shutdown) = shutdown::channel();
        let running = tokio::spawn(pipeline.run(files, Duration::ZERO, shutdown));
        let feeding = async {
            let mut out = 0;
            for place in self.lies().into_iter().chain(aside) {
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
                () = passed(limit) => {}
            },
        }
        // Cut off wherever it is, as far as a process can be without dying.
        running.abort();
    }

    /// In the store once, or in the folder: nothing else.
    fn check(&self) {
        self.vault.carry_out_all();
        let mut ours: BTreeMap<String, usize> = BTreeMap::new();
        for content in self.vault.uploaded() {
            *ours.entry(sha256(&content)).or_default() += 1;
        }
        let watched = self.dir.path().join("watched");
        let lying: Vec<String> =
            self.lies().iter().map(|file| sha256(&std::fs::read(watched.join(file)).unwrap())).collect();
        for (content, name) in &self.closed {
            let times = ours.get(content).copied().unwrap_or_default();
            assert!(times <= 1, "{name} is stored {times} times");
            assert!(times == 1 || lying.contains(content), "{name} is lost");
        }
        assert!(ours.keys().all(|content| self.closed.contains_key(content)), "something half is stored");
    }
}

/// By the world's clock, for the runtime's own jumps wherever there is nothing to do but wait.
async fn passed(limit: Duration) {
    let (sender, over) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        sender.send(()).ok();
    });
    over.await.ok();
}

async fn tell(steps: Vec<Step>, whims: Vec<Whim>, conflicts: bool) {
    let mut story = Story::new(whims, conflicts);
    for step in steps {
        match step {
            Step::Put(name, size) => story.put(NAMES[name], size),
            Step::Run => story.run(None).await,
            Step::RunFor(millis) => {
                story.run(Some(Duration::from_millis(millis))).await;
                // Removals under way end by themselves.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
    // The trouble is over: all but what was refused goes.
    story.vault.behave();
    story.run(None).await;
    story.check();
    let journal = Journal::open(&story.dir.path().join("state")).unwrap();
    journal.retry(Vec::new()).await.unwrap();
    story.run(None).await;
    story.check();
    assert_eq!(story.lies(), Vec::<PathBuf>::new(), "not all went though nothing was wrong any more");
    assert!(journal.check().await.unwrap().is_whole());
    assert!(
        astran_backup::removal::recover(&Root::open(&story.dir.path().join("watched")).unwrap(), Path::new(""))
            .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: stories(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_store_does_between_any_two_steps_each_file_is_stored_once_or_still_there(
        steps in steps(),
        whims in whims(),
        conflicts in any::<bool>(),
    ) {
        // Graces and waits take no time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(tell(steps, whims, conflicts));
    }
}

fn stories() -> u32 {
    u32::try_from(support::proof::rounds(60)).unwrap()
}
