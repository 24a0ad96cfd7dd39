//! How far an earlier receipt is believed.

use std::time::Duration;

use astran_backup::journal::End;
use astran_backup::journal::LocalEnd;
use astran_backup::upload::Outcome;

use crate::life::Life;

const JUST_NOW: Duration = Duration::ZERO;
const LONG_AGO: Duration = Duration::from_secs(2 * 3600);

/// How often a file is sent that has a receipt, before it is removed.
async fn sent(ago: Duration, end: Option<End>, is_there: bool) -> usize {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    let id = life.receipted("x", b"1234", ago).await;
    if let Some(end) = end {
        life.journal.end(id, end).await.unwrap();
    }
    if is_there {
        life.store.keep("x", b"1234", Duration::ZERO);
    }
    assert!(matches!(life.send("x").await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    assert!(!life.is_there("x"));
    life.store.uploads()
}

/// What a crash has cut ends without another question, even where a newer file of the path covers its document.
#[tokio::test(start_paused = true)]
async fn a_receipt_of_just_now_is_as_good_as_the_answer() {
    for end in [None, Some(End::Superseded)] {
        assert_eq!(sent(JUST_NOW, end, false).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_receipt_is_no_proof_unless_its_document_is_there_still() {
    for end in [None, Some(End::Superseded), Some(End::Local(LocalEnd::Kept)), Some(End::Local(LocalEnd::Removed))] {
        assert_eq!(sent(LONG_AGO, end.clone(), false).await, 1, "{end:?}");
        assert_eq!(sent(LONG_AGO, end.clone(), true).await, 0, "{end:?}");
    }
}

/// It was kept for a reason of its own, and the document had all the time since to go.
#[tokio::test(start_paused = true)]
async fn a_receipt_of_a_file_that_was_to_stay_is_no_proof_however_new() {
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
    let store = std::sync::Arc::clone(&life.store);
    let asked_again_and_again = async {
        while store.looks() < 3 {
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
    assert_eq!(life.store.uploads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_for_other_bytes_of_the_same_length_is_no_receipt() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.receipted("x", b"4321", JUST_NOW).await;
    assert!(matches!(life.send("x").await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    assert_eq!(life.store.stored("x"), [b"1234"]);
}
