//! What the store answers, or does not.

use std::time::Duration;

use astran_backup::config::{Layout, Verify};
use astran_backup::journal::LocalEnd;
use astran_backup::journal::State;
use astran_backup::upload::Outcome;
use astran_backup::vault::Kind;

use crate::life::Life;
use crate::store::Reply;

/// Less than a store that lost its answer is given before it is asked again.
const A_MOMENT: Duration = Duration::from_millis(600);

fn is_removed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stored { local: LocalEnd::Removed, .. })
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_its_answer_and_is_still_storing_gets_nothing_twice() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.store.then([Reply::Lost(A_MOMENT)]);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.store.uploads(), 1);
}

/// Its intent is old by then, and nothing but the lost answer tells that the store may be storing still.
#[tokio::test(start_paused = true)]
async fn the_same_after_an_upload_that_took_long() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    *life.store.aged.lock().unwrap() = Some(life.state());
    life.store.then([Reply::Lost(A_MOMENT)]);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.store.uploads(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_after_a_crash_a_moment_ago() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.begun("x").await;
    life.store.keep("x", b"1234", A_MOMENT);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.store.uploads(), 0);
}

/// Larger than what is read ahead of the sending: that it was never hashed tells that it was not sent to its end.
#[tokio::test(start_paused = true)]
async fn an_answer_before_all_was_sent_proves_nothing_and_blames_no_file() {
    let mut life = Life::new(|_| ());
    let content = vec![7; 3_000_000];
    life.put("x", &content);
    life.store.then([Reply::Early]);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.store.uploads(), 2);
    assert_eq!(life.store.stored("x"), [content]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_speaks_of_something_else_is_no_receipt() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.store.then([Reply::Contradicts]);
    let outcome = life.send("x").await;
    assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("the store says")), "{outcome:?}");
    assert!(life.is_there("x"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_service_never_takes_while_it_works_otherwise_is_left_to_the_next_walk() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    *life.store.always.lock().unwrap() = Some(Reply::Busy);
    assert!(matches!(life.send("x").await, Outcome::Blocked { .. }));
    assert!(life.is_there("x"));
}

/// Made anew, a folder has another id: the one that is known leads nowhere for ever.
#[tokio::test(start_paused = true)]
async fn a_sub_folder_that_the_store_no_longer_knows_is_looked_up_anew_and_blames_no_file() {
    let mut life = Life::new(|policy| policy.layout = Layout::Mirror);
    life.put("sub/x", b"1234");
    life.store.then([Reply::Missing]);
    assert!(matches!(life.send("sub/x").await, Outcome::Blocked { .. }));
    assert_eq!(life.store.folders_asked_for(), 1);
    assert!(is_removed(&life.send("sub/x").await));
    assert_eq!(life.store.folders_asked_for(), 2);
}

/// Others of its folder go on; and what may be stored is not sent again for want of an answer.
#[tokio::test(start_paused = true)]
async fn a_file_that_the_store_answers_no_question_about_waits_alone_with_its_intent_open() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    let id = life.begun("x").await;
    *life.store.silent.lock().unwrap() = Some(Kind::Forbidden);
    assert!(matches!(life.send("x").await, Outcome::Blocked { .. }));
    assert!(life.is_there("x"));
    life.put("y", b"5678");
    assert!(is_removed(&life.send("y").await));
    *life.store.silent.lock().unwrap() = None;
    let open = life.journal.unresolved(life.root.path()).await.unwrap();
    assert!(open.iter().any(|entry| entry.id == id && entry.state == State::Open), "{open:?}");
}

/// Its writer waits until then, and nobody knows how long an upload takes.
#[tokio::test(start_paused = true)]
async fn an_upload_ends_at_once_when_somebody_opens_the_file_for_writing() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.store.then([Reply::Never]);
    life.hand_over("x").await;
    life.under_way(1).await;
    let path = life.root.path().join("x");
    let writer = std::thread::spawn(move || std::fs::File::options().append(true).open(path).unwrap());
    assert!(matches!(life.outcome().await, Outcome::Again { .. }));
    drop(writer.join().unwrap());
    assert!(is_removed(&life.send("x").await));
}

#[tokio::test(start_paused = true)]
async fn where_the_listing_is_to_be_asked_its_answer_counts_and_no_answer_is_none() {
    let mut life = Life::new(|policy| policy.verify = Verify::Listing);
    life.put("x", b"1234");
    life.store.then([Reply::Lie]);
    assert!(matches!(life.send("x").await, Outcome::Failed { .. }));
    life.put("y", b"1234");
    *life.store.silent.lock().unwrap() = Some(Kind::Forbidden);
    assert!(matches!(life.send("y").await, Outcome::Blocked { .. }));
    assert!(life.is_there("x") && life.is_there("y"));
    *life.store.silent.lock().unwrap() = None;
    assert!(is_removed(&life.send("y").await));
    assert_eq!(life.store.uploads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upload_cut_by_a_crash_is_sent_again_where_the_store_has_nothing_or_something_else() {
    for other in [None, Some(b"4321")] {
        let mut life = Life::new(|_| ());
        life.put("x", b"1234");
        life.begun("x").await;
        if let Some(other) = other {
            life.store.keep("x", other, Duration::ZERO);
        }
        assert!(is_removed(&life.send("x").await));
        assert_eq!(life.store.stored("x").last().unwrap(), b"1234");
    }
}
