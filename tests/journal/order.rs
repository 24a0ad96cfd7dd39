//! Which writes may follow which, what the history shows, and what is tried again.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use astran_backup::journal::{AttemptId, End, Filter, JournalError, LocalEnd, NamePattern, RefusedRequest, State};

use crate::support::{ROOT, abandoned, failed, fresh, go, history, intent, latest, receipt, store};

fn refusal(result: Result<(), JournalError>) -> RefusedRequest {
    let Err(JournalError::Refused(refusal)) = result else { panic!("{result:?}") };
    refusal
}

#[tokio::test]
async fn a_receipt_comes_once_and_before_the_removal() {
    let (_dir, _state, journal) = fresh();
    let id = go(&journal, intent("a", "a")).await;
    for end in [End::Local(LocalEnd::Removed), End::Local(LocalEnd::Kept), End::Local(LocalEnd::Moved("/x".into()))] {
        assert_eq!(refusal(journal.end(id, end).await), RefusedRequest::NoReceipt(id));
    }
    let number = journal.stored(id, receipt("a")).await.unwrap();
    assert_eq!(journal.stored(id, receipt("a")).await.unwrap(), number, "the same receipt has the same number");
    assert_eq!(refusal(journal.stored(id, receipt("b")).await.map(drop)), RefusedRequest::OtherReceipt(id));
    journal.end(id, End::Local(LocalEnd::Kept)).await.unwrap();
    journal.end(id, End::Local(LocalEnd::Removed)).await.unwrap();
    assert_eq!(journal.check().await.unwrap().receipts, 1);
    let over = go(&journal, intent("b", "b")).await;
    journal.end(over, failed()).await.unwrap();
    assert_eq!(refusal(journal.stored(over, receipt("b")).await.map(drop)), RefusedRequest::EndedUnstored(over));
    let unknown = AttemptId(99);
    assert_eq!(refusal(journal.end(unknown, abandoned()).await), RefusedRequest::UnknownAttempt(unknown));
}

/// Another process may have abandoned it before the vault had stored the document.
#[tokio::test]
async fn an_abandoned_attempt_still_gets_its_receipt() {
    let (_dir, _state, journal) = fresh();
    let early = go(&journal, intent("a", "a")).await;
    journal.end(early, abandoned()).await.unwrap();
    journal.stored(early, receipt("a")).await.unwrap();
    assert_eq!(latest(&journal, "a").await.unwrap().state, State::Stored);
    assert!(journal.check().await.unwrap().is_whole());
}

#[tokio::test]
async fn failures_are_cleared_by_path_by_folder_or_all_at_once() {
    let (_dir, _state, journal) = fresh();
    for name in ["a/1", "a/2", "b/1", "ab"] {
        let id = go(&journal, intent(name, name)).await;
        journal.end(id, failed()).await.unwrap();
    }
    store(&journal, "b/1").await;
    for expected in [1, 0] {
        assert_eq!(journal.retry(vec![PathBuf::from(ROOT).join("a/1")]).await.unwrap(), expected);
    }
    let State::Ended(End::Abandoned { reason }) = latest(&journal, "a/1").await.unwrap().state else { panic!() };
    assert!(reason.contains("retry") && reason.contains("413"), "{reason}");
    assert_eq!(journal.retry(vec![PathBuf::from(ROOT).join("a")]).await.unwrap(), 1);
    assert_eq!(journal.retry(Vec::new()).await.unwrap(), 1, "ab; b/1 is stored since");
}

#[tokio::test]
async fn history_shows_what_the_filter_takes_page_by_page() {
    let (_dir, _state, journal) = fresh();
    store(&journal, "stored.pdf").await;
    go(&journal, intent("open.pdf", "open.pdf")).await;
    let id = go(&journal, intent("bad.doc", "bad.doc")).await;
    journal.end(id, failed()).await.unwrap();
    let names = async |filter: Filter| -> Vec<String> {
        history(&journal, &filter).await.into_iter().map(|entry| entry.intent.name).collect()
    };
    let matching = |text: &str| Filter { name: Some(NamePattern::parse(text).unwrap()), ..Filter::default() };
    assert_eq!(names(Filter::default()).await, ["stored.pdf", "open.pdf", "bad.doc"]);
    assert_eq!(names(Filter { failed: true, ..Filter::default() }).await, ["bad.doc"]);
    assert_eq!(names(Filter { pending: true, ..Filter::default() }).await, ["open.pdf"]);
    assert_eq!(names(Filter { failed: true, pending: true, ..Filter::default() }).await, ["open.pdf", "bad.doc"]);
    assert_eq!(names(matching("*.pdf")).await, ["stored.pdf", "open.pdf"]);
    assert_eq!(names(matching("bad")).await, ["bad.doc"]);
    let tomorrow = SystemTime::now() + Duration::from_secs(86400);
    assert!(names(Filter { since: Some(tomorrow), ..Filter::default() }).await.is_empty());
    let page = journal.history_page(&Filter::default(), None, 2).await.unwrap();
    let rest = journal.history_page(&Filter::default(), Some(page[1].entry.id), 2).await.unwrap();
    assert_eq!((page.len(), rest.len()), (2, 1));
    let before = async |filter: Filter, count| journal.before_newest(&filter, count).await.unwrap();
    assert_eq!(before(Filter::default(), 2).await, Some(page[0].entry.id), "behind the first one lie the newest two");
    assert_eq!(before(matching("*.pdf"), 1).await, Some(page[0].entry.id));
    assert_eq!(before(Filter::default(), 4).await, None, "there are no four");
}

/// A file that failed and lies set aside may be followed by another file of its path.
#[tokio::test]
async fn a_failure_is_renewed_behind_another_file_of_its_path_unless_that_failed_too() {
    let (_dir, _state, journal) = fresh();
    let first = go(&journal, intent("a", "a")).await;
    journal.end(first, failed()).await.unwrap();
    assert_eq!(journal.renew(first).await.unwrap(), first);
    store(&journal, "a").await;
    let only = Filter { failed: true, ..Filter::default() };
    assert!(history(&journal, &only).await.is_empty());

    let renewed = journal.renew(first).await.unwrap();
    assert!(renewed > first && journal.renew(renewed).await.unwrap() == renewed);
    let shown = history(&journal, &only).await;
    assert_eq!((shown.len(), shown[0].id, &shown[0].state), (1, renewed, &State::Ended(failed())));

    let other = go(&journal, intent("a", "a")).await;
    journal.end(other, failed()).await.unwrap();
    assert_eq!(journal.renew(renewed).await.unwrap(), renewed);
    assert_eq!(journal.renew(other).await.unwrap(), other);
    assert_eq!(journal.retry(Vec::new()).await.unwrap(), 1);
    assert!(history(&journal, &only).await.is_empty());
}
