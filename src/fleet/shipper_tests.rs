//! Tests of the shipper against a scripted database, with time paused.

use std::sync::{Arc, Mutex};

use super::*;
use crate::file::FileStamp;
use crate::journal::{Begun, Intent, Stored};
use crate::observe::health::HealthCheck as _;
use crate::vault::{DocumentId, RemotePath};

/// What the scripted database does with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It can't be reached.
    Down,
    /// It takes the batch, and the answer is lost.
    AnswerLost,
    /// Another process was faster.
    NotNext,
}

#[derive(Debug)]
struct State {
    head: Head,
    faults: Vec<Fault>,
    connections: u32,
    beats: Vec<Beat>,
    batches: Vec<i64>,
}

/// A database that has one chain.
#[derive(Debug, Clone)]
struct Scripted(Arc<Mutex<State>>);

impl Scripted {
    async fn of(journal: &Journal) -> Self {
        let head = Head { stream: [1; 16], seq: 0, hash: vec![0; 32], public_key: journal.public_key().await.unwrap() };
        let state = State { head, faults: Vec::new(), connections: 0, beats: Vec::new(), batches: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn fault(&self) -> Option<Fault> {
        self.state().faults.pop()
    }
}

fn lost() -> FleetError {
    FleetError::NoAnswer { database: "db".into(), within: Duration::from_secs(30) }
}

impl Database for Scripted {
    type Link = Self;

    async fn connect(&self) -> Result<Self, FleetError> {
        self.state().connections += 1;
        if self.state().faults.last() == Some(&Fault::Down) {
            self.fault();
            return Err(lost());
        }
        Ok(self.clone())
    }
}

impl Link for Scripted {
    async fn head(&self) -> Result<Option<Head>, FleetError> {
        Ok(Some(self.state().head.clone()))
    }

    async fn ship(&self, batch: &Batch, signature: &[u8]) -> Result<i64, FleetError> {
        let fault = self.fault();
        let mut state = self.state();
        if fault == Some(Fault::NotNext) {
            return Err(FleetError::NotNext("receipt 1 was sent".into()));
        }
        let (seq, hash) = (batch.newest(), batch.newest_hash().to_vec());
        assert!(crate::journal::is_head_signed(&state.head.public_key, (&[1; 16], seq, &hash), signature));
        state.head = Head { seq, hash, ..state.head.clone() };
        state.batches.push(seq);
        if fault == Some(Fault::AnswerLost) { Err(lost()) } else { Ok(seq) }
    }

    async fn beat(&self, beat: &Beat) -> Result<(), FleetError> {
        self.state().beats.push(beat.clone());
        Ok(())
    }
}

async fn write_receipts(journal: &Journal, files: std::ops::Range<i64>) {
    for number in files {
        let intent = Intent {
            root: "/w".into(),
            relative: format!("{number}").into(),
            stamp: FileStamp { device: 1, inode: number.cast_unsigned(), size: 3, mtime: 4, ctime: 5 },
            dest: RemotePath::parse("/HR").unwrap(),
            folder: DocumentId("1".into()),
            name: number.to_string(),
        };
        let Begun::Go(id) = journal.begin(intent).await.unwrap() else { panic!("the name is free") };
        let stored = Stored {
            sha256: "ab".repeat(32),
            size: 3,
            document: DocumentId(number.to_string()),
            document_version: None,
            user: "me".into(),
            already_present: false,
        };
        journal.stored(id, stored).await.unwrap();
    }
}

struct World {
    _dir: tempfile::TempDir,
    journal: Journal,
    database: Scripted,
    shipping: Shipping,
    stop: tokio::sync::oneshot::Sender<()>,
    run: tokio::task::JoinHandle<()>,
}

/// A shipper that runs, after `files` receipts were written.
async fn world(files: i64, script: impl FnOnce(&mut State)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    write_receipts(&journal, 0..files).await;
    let database = Scripted::of(&journal).await;
    script(&mut database.state());
    let times = (Duration::from_secs(1), Duration::from_secs(60));
    let shipper = Shipper::new(database.clone(), journal.clone(), times, beat::Condition::default);
    let shipping = shipper.shipping();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let run = tokio::spawn(shipper.run(async move { drop(stopped.await) }));
    World { _dir: dir, journal, database, shipping, stop, run }
}

impl World {
    async fn shipped(&self, seq: i64) {
        let mut acknowledged = self.shipping.acknowledged();
        // The journal works on threads of its own, so the paused clock may run far ahead.
        acknowledged.wait_for(|newest| *newest >= Some(seq)).await.unwrap();
    }

    async fn end(self) -> State {
        self.stop.send(()).unwrap();
        self.run.await.unwrap();
        let Self { database, shipping, .. } = self;
        drop(shipping);
        let state = database.state();
        State {
            head: state.head.clone(),
            faults: state.faults.clone(),
            connections: state.connections,
            beats: state.beats.clone(),
            batches: state.batches.clone(),
        }
    }
}

#[tokio::test]
async fn what_the_journal_has_is_shipped_and_what_comes_later_too() {
    let world = world(3, |_| ()).await;
    world.shipped(3).await;
    assert_eq!(world.shipping.unshipped().get(), 0);
    write_receipts(&world.journal, 3..5).await;
    let state = world.end().await;
    assert_eq!((state.head.seq, state.connections), (5, 1), "the end of a run ships what is left");
    assert_eq!(state.beats[0].unshipped, 0);
}

/// The database took the batch: the shipper asks, and sends nothing twice.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_settled_by_asking_for_the_head() {
    let world = world(3, |state| state.faults.push(Fault::AnswerLost)).await;
    world.shipped(3).await;
    let state = world.end().await;
    assert_eq!((state.batches, state.connections), (vec![3], 2));
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_down_is_trouble_until_it_is_back_and_is_not_asked_all_the_time() {
    let world = world(2, |state| state.faults = vec![Fault::Down; 6]).await;
    let start = Instant::now();
    while world.shipping.trouble().trouble().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.shipping.acknowledged().borrow().as_ref(), None);
    world.shipped(2).await;
    assert!(start.elapsed() >= Duration::from_secs(31), "waits of 1 to 32 s, halved at most: {:?}", start.elapsed());
    let trouble = world.shipping.trouble();
    let state = world.end().await;
    assert_eq!((state.connections, trouble.trouble()), (7, None));
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_ship_one_chain_are_no_trouble() {
    let world = world(2, |state| state.faults = vec![Fault::NotNext; 2]).await;
    let start = Instant::now();
    world.shipped(2).await;
    assert_eq!((start.elapsed(), world.shipping.trouble().trouble()), (Duration::ZERO, None));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_database_that_contradicts_the_journal_gets_nothing() {
    for (head, what) in [
        (Head { stream: [1; 16], seq: 2, hash: vec![9; 32], public_key: Vec::new() }, "contradict"),
        (Head { stream: [1; 16], seq: 9, hash: vec![9; 32], public_key: Vec::new() }, "contradict"),
        (Head { stream: [1; 16], seq: 0, hash: vec![0; 32], public_key: vec![1; 32] }, "key of this journal"),
    ] {
        let world = world(3, |state| {
            let own = state.head.public_key.clone();
            state.head =
                Head { public_key: if head.public_key.is_empty() { own } else { head.public_key.clone() }, ..head };
        })
        .await;
        while world.shipping.trouble().trouble().is_none() {
            tokio::task::yield_now().await;
        }
        let trouble = world.shipping.trouble().trouble().unwrap();
        assert!(trouble.contains(what), "{trouble}");
        assert_eq!(world.shipping.acknowledged().borrow().as_ref(), None, "nothing is removed or pruned for it");
        assert_eq!(world.end().await.batches, [0; 0]);
    }
}
