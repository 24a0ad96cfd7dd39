//! Files that wait while nothing moves are noticed, whatever it is that keeps them.

use std::sync::Arc;
use std::time::Duration;

use astran_backup::config::Policy;
use astran_backup::daemon::{self, Mode, WatchedFolder};
use astran_backup::file::Root;
use astran_backup::file::lease::LeaseBreaks;
use astran_backup::journal::Journal;
use astran_backup::observe::health::{Health, HealthCheck};
use astran_backup::observe::metrics::FolderMetrics;
use astran_backup::observe::stall::StallDetector;
use astran_backup::shutdown;
use astran_backup::upload::{MoveTargets, Shared};
use astran_backup::vault::RemotePath;
use tokio::time::sleep;

use crate::life::Life;
use crate::store::{Reply, Store};
use crate::support::PATIENCE;

/// Regression: uploads stood still, `/readyz` said ready, and no line told of it.
#[tokio::test(start_paused = true)]
async fn an_upload_without_an_answer_is_a_standstill_after_a_minute_and_until_its_file_is_done() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.store.then([Reply::After(Duration::from_secs(150))]);
    life.hand_over("x").await;
    life.under_way(1).await;
    // From here on nothing happens but that time passes, which it does in one go.
    let standstill = StallDetector::default();
    standstill.add(life.flow.clone());
    tokio::spawn(standstill.clone().watch());
    sleep(Duration::from_secs(50)).await;
    assert_eq!(standstill.trouble(), None);
    sleep(Duration::from_secs(20)).await;
    assert!(standstill.trouble().unwrap().contains("though files wait"), "{:?}", standstill.trouble());
    life.outcome().await;
    while standstill.trouble().is_some() {
        tokio::task::yield_now().await;
    }
}

/// What `/readyz` says is what this health says.
#[tokio::test(start_paused = true)]
async fn a_watch_whose_store_never_answers_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("watched");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("x"), "1234").unwrap();
    let store = Arc::new(Store::default());
    *store.always.lock().unwrap() = Some(Reply::Never);
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let shared = Shared::new(store, journal, LeaseBreaks::install().unwrap(), None);
    let watched = WatchedFolder {
        root: Arc::new(Root::open(&folder).unwrap()),
        policy: Policy::default(),
        targets: MoveTargets::default(),
        dest: RemotePath::parse("/dest").unwrap(),
        counts: FolderMetrics::detached(),
    };
    let mode = Mode { once: false, grace: Duration::ZERO, keep_receipts: None, anchor: None };
    let (health, (trigger, shutdown)) = (Health::default(), shutdown::channel());
    let asked = health.clone();
    let running =
        tokio::spawn(async move { daemon::run(shared, vec![watched], mode, |_: &_| (), &health, shutdown).await });
    let start = std::time::Instant::now();
    while !asked.reasons().iter().any(|reason| reason.starts_with("the files: nothing has moved for")) {
        assert!(start.elapsed() < PATIENCE, "{:?}", asked.reasons());
        sleep(Duration::from_secs(1)).await;
    }
    drop(trigger);
    running.abort();
}
