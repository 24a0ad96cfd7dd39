//! Files that wait while nothing moves are noticed, whatever the reason.

use std::sync::Arc;
use std::time::Duration;

use astran_backup::config::Policy;
use astran_backup::daemon::{self, Mode, Settings, WatchedFolder};
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

use crate::fake_vault::{Call, FakeVault, Reply};
use crate::life::Life;
use crate::support::PATIENCE;

/// Regression: uploads stood still, `/readyz` said ready, and nothing was logged.
#[tokio::test(start_paused = true)]
async fn an_upload_without_an_answer_is_a_standstill_after_a_minute_and_until_its_file_is_done() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::After(Duration::from_secs(150))]);
    life.hand_over("x").await;
    life.under_way(1).await;
    // From here on only time passes, and the paused clock does that at once.
    let stalls = StallDetector::default();
    stalls.add(life.flow.clone());
    tokio::spawn(stalls.clone().watch());
    sleep(Duration::from_secs(50)).await;
    assert_eq!(stalls.trouble(), None);
    sleep(Duration::from_secs(20)).await;
    assert!(stalls.trouble().unwrap().contains("though files wait"), "{:?}", stalls.trouble());
    life.outcome().await;
    while stalls.trouble().is_some() {
        tokio::task::yield_now().await;
    }
}

/// `/readyz` shows what this health check says.
#[tokio::test(start_paused = true)]
async fn a_watch_whose_store_never_answers_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("watched");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("x"), "1234").unwrap();
    let vault = Arc::new(FakeVault::default().with_every_folder());
    vault.always([Call::Upload], &Reply::Never);
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let shared = Shared::new(vault, journal, LeaseBreaks::install().unwrap(), None);
    let watched = WatchedFolder {
        root: Arc::new(Root::open(&folder).unwrap()),
        policy: Policy::default(),
        targets: MoveTargets::default(),
        dest: RemotePath::parse("/dest").unwrap(),
        counts: FolderMetrics::detached(),
    };
    let settings = Settings { grace: Duration::ZERO.into(), keep_receipts: None, anchor: None };
    let mode = Mode { once: false, settings };
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
