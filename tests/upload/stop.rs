//! A stop while files are under way.

use std::time::Duration;

use astran_backup::config::After;
use astran_backup::journal::{End, Filter, LocalEnd, State};
use astran_backup::upload::Outcome;

use crate::fake_vault::{Call, Reply};
use crate::life::Life;
use crate::support::PATIENCE;

/// Regression: every second such file was left, and asked for at the next start only.
#[tokio::test]
async fn a_file_whose_answer_is_lost_after_a_stop_is_still_asked_for_within_the_grace() {
    for _ in 0..12 {
        let mut life = Life::with_grace(PATIENCE, |policy| policy.after = After::Keep);
        life.put("x", b"1234");
        let trigger = life.trigger.clone();
        life.vault.script(move |call, _| {
            if call != Call::Upload {
                return Reply::Normal;
            }
            trigger.raise();
            Reply::Lost(Duration::ZERO)
        });
        let outcome = life.send("x").await;
        assert!(matches!(outcome, Outcome::Stored { local: LocalEnd::Kept, .. }), "{outcome:?}");
    }
}

/// Regression: a stop that had cut an upload ended the program while the journal still called the last removed files stored.
#[tokio::test(start_paused = true)]
async fn the_reports_end_only_when_the_journal_has_the_ends_of_all_removals() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.hand_over("x").await;
    while life.is_there("x") {
        tokio::task::yield_now().await;
    }
    let other_writer = life.sql();
    other_writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    life.trigger.raise();
    assert!(matches!(life.outcome().await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    assert!(tokio::time::timeout(Duration::from_secs(1), life.no_more_reports()).await.is_err());
    other_writer.execute_batch("COMMIT").unwrap();
    life.no_more_reports().await;
    let history = life.journal.history_page(&Filter::default(), None, 9).await.unwrap();
    assert_eq!(history[0].entry.state, State::Ended(End::Local(LocalEnd::Removed)));
}
