//! Answers of the store, and missing ones.

use std::time::Duration;

use astran_backup::config::{Layout, Verify};
use astran_backup::journal::LocalEnd;
use astran_backup::journal::State;
use astran_backup::upload::{BlockedBy, Doubt, Failure, Outcome, Unsettled};
use astran_backup::vault::Kind;

use crate::fake_vault::{Call, Reply};
use crate::life::Life;

/// Less than the time after which a store that lost its answer is asked again.
const A_MOMENT: Duration = Duration::from_millis(600);

fn is_removed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stored { local: LocalEnd::Removed, .. })
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_its_answer_and_is_still_storing_gets_nothing_twice() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::Lost(A_MOMENT)]);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.vault.uploads(), 1);
}

/// The intent is old by then: only the lost answer says that the store may still be storing.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_after_a_long_upload_leads_to_no_second_one() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    let journal = life.sql();
    life.vault.script(move |call, _| {
        if call != Call::Upload {
            return Reply::Normal;
        }
        journal.execute("UPDATE attempt SET started = started - 60 * 1000000000", []).unwrap();
        Reply::Lost(A_MOMENT)
    });
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.vault.uploads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_before_a_recent_crash_leads_to_no_second_upload() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.begun("x").await;
    life.vault.put_after("/dest/x", b"1234", A_MOMENT);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.vault.uploads(), 0);
}

/// The file is larger than what is read ahead, so the missing hash shows that it was not sent to its end.
#[tokio::test(start_paused = true)]
async fn an_answer_before_all_was_sent_proves_nothing_and_blames_no_file() {
    let mut life = Life::new(|_| ());
    let content = vec![7; 3_000_000];
    life.put("x", &content);
    life.vault.next_uploads([Reply::Early]);
    assert!(is_removed(&life.send("x").await));
    assert_eq!(life.vault.uploads(), 2);
    assert_eq!(life.vault.stored("x"), [content]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_another_document_is_no_receipt() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::OtherContent]);
    let outcome = life.send("x").await;
    let Outcome::Failed { reason: Failure::Doubtful(doubt), .. } = outcome else { panic!("{outcome:?}") };
    assert!(matches!(doubt, Doubt::Contradiction { field: "size", .. }), "{doubt:?}");
    assert!(life.is_there("x"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_a_working_service_never_takes_is_left_to_the_next_walk() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.always([Call::Upload], &Reply::Fail(Kind::Unavailable));
    assert!(matches!(life.send("x").await, Outcome::Blocked { reason: BlockedBy::Service(_) }));
    assert!(life.is_there("x"));
}

/// A folder that was deleted and made again has another id; the known one leads nowhere.
#[tokio::test(start_paused = true)]
async fn a_sub_folder_that_the_store_no_longer_knows_is_looked_up_anew_and_blames_no_file() {
    let mut life = Life::new(|policy| policy.layout = Layout::Mirror);
    life.put("sub/x", b"1234");
    life.vault.next_uploads([Reply::Fail(Kind::Missing)]);
    assert!(matches!(life.send("sub/x").await, Outcome::Blocked { reason: BlockedBy::Folder(_) }));
    assert_eq!(life.vault.calls(Call::Folder), 1);
    assert!(is_removed(&life.send("sub/x").await));
    assert_eq!(life.vault.calls(Call::Folder), 2);
}

/// Other files of the folder go on. The file itself may be stored already, so it is not sent again without an answer.
#[tokio::test(start_paused = true)]
async fn a_file_about_which_the_store_does_not_answer_waits_alone_with_its_intent_open() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    let id = life.begun("x").await;
    life.vault.always(Call::LOOKS, &Reply::Fail(Kind::Forbidden));
    assert!(matches!(life.send("x").await, Outcome::Blocked { reason: BlockedBy::Unanswered(_) }));
    assert!(life.is_there("x"));
    life.put("y", b"5678");
    assert!(is_removed(&life.send("y").await));
    life.vault.behave();
    let open = life.journal.unresolved(life.root.path()).await.unwrap();
    assert!(open.iter().any(|entry| entry.id == id && entry.state == State::Open), "{open:?}");
}

/// The writer is blocked until the upload ends, and an upload may take any time.
#[tokio::test(start_paused = true)]
async fn an_upload_ends_at_once_when_a_program_opens_the_file_for_writing() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::Never]);
    life.hand_over("x").await;
    life.under_way(1).await;
    let path = life.root.path().join("x");
    let writer = std::thread::spawn(move || std::fs::File::options().append(true).open(path).unwrap());
    assert!(matches!(life.outcome().await, Outcome::Again { reason: Unsettled::OpenedForWriting, .. }));
    drop(writer.join().unwrap());
    assert!(is_removed(&life.send("x").await));
}

#[tokio::test(start_paused = true)]
async fn with_verify_listing_only_an_answer_of_the_listing_counts() {
    let mut life = Life::new(|policy| policy.verify = Verify::Listing);
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::FalseSuccess]);
    assert!(matches!(life.send("x").await, Outcome::Failed { reason: Failure::Doubtful(Doubt::NotListed), .. }));
    life.put("y", b"1234");
    life.vault.always(Call::LOOKS, &Reply::Fail(Kind::Forbidden));
    assert!(matches!(life.send("y").await, Outcome::Blocked { reason: BlockedBy::Unanswered(_) }));
    assert!(life.is_there("x") && life.is_there("y"));
    life.vault.behave();
    assert!(is_removed(&life.send("y").await));
    assert_eq!(life.vault.uploads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upload_cut_by_a_crash_is_sent_again_where_the_store_lacks_its_content() {
    for other in [None, Some(b"4321")] {
        let mut life = Life::new(|_| ());
        life.put("x", b"1234");
        life.begun("x").await;
        if let Some(other) = other {
            life.vault.put("/dest/x", other);
        }
        assert!(is_removed(&life.send("x").await));
        assert_eq!(life.vault.stored("x").last().unwrap(), b"1234");
    }
}
