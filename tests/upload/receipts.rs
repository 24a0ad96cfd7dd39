//! When an earlier receipt is believed.

use std::time::Duration;

use astran_backup::journal::End;
use astran_backup::journal::LocalEnd;
use astran_backup::upload::Outcome;

use crate::fake_vault::Call;
use crate::life::Life;

const JUST_NOW: Duration = Duration::ZERO;
const LONG_AGO: Duration = Duration::from_secs(2 * 3600);

/// How often a file with a receipt is sent again before it is removed.
async fn sent(ago: Duration, end: Option<End>, is_there: bool) -> usize {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    let id = life.receipted("x", b"1234", ago).await;
    if let Some(end) = end {
        life.journal.end(id, end).await.unwrap();
    }
    if is_there {
        life.vault.put("/dest/x", b"1234");
    }
    assert!(matches!(life.send("x").await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    assert!(!life.is_there("x"));
    life.vault.uploads()
}

/// A removal that a crash cut off is finished without asking the store, also where a newer file of the path replaced the document.
#[tokio::test(start_paused = true)]
async fn a_recent_receipt_is_as_good_as_the_answer() {
    for end in [None, Some(End::Superseded)] {
        assert_eq!(sent(JUST_NOW, end, false).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_receipt_is_a_proof_only_if_its_document_is_still_there() {
    for end in [None, Some(End::Superseded), Some(End::Local(LocalEnd::Kept)), Some(End::Local(LocalEnd::Removed))] {
        assert_eq!(sent(LONG_AGO, end.clone(), false).await, 1, "{end:?}");
        assert_eq!(sent(LONG_AGO, end.clone(), true).await, 0, "{end:?}");
    }
}

/// The file was kept on purpose, so the document may have been deleted at any time since.
#[tokio::test(start_paused = true)]
async fn a_receipt_of_a_kept_file_is_no_proof_however_recent() {
    for end in [End::Local(LocalEnd::Kept), End::Local(LocalEnd::Removed)] {
        assert_eq!(sent(JUST_NOW, Some(end.clone()), false).await, 1, "{end:?}");
        assert_eq!(sent(JUST_NOW, Some(end), true).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn while_no_receipt_can_be_written_nothing_is_removed_and_nothing_is_sent_again() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    let journal = life.sql();
    journal
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON receipt BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();
    life.hand_over("x").await;
    let vault = std::sync::Arc::clone(&life.vault);
    let asked_again_and_again = async {
        while Call::LOOKS.iter().map(|call| vault.calls(*call)).sum::<usize>() < 3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        outcome = life.outcome() => panic!("{outcome:?} without a receipt"),
        () = asked_again_and_again => {}
    }
    assert!(life.is_there("x"));
    journal.execute_batch("DROP TRIGGER full").unwrap();
    assert!(matches!(life.outcome().await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    assert_eq!(life.vault.uploads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_for_other_bytes_of_the_same_length_is_no_receipt() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.receipted("x", b"4321", JUST_NOW).await;
    assert!(matches!(life.send("x").await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    assert_eq!(life.vault.stored("x"), [b"1234"]);
}
