//! Several services in one state directory: each has a journal of its own.

use std::path::{Path, PathBuf};

use astran_backup::journal::{Journal, JournalError, Ownership, RefusedRequest};

use crate::support::{fresh, latest, raw, store};

fn further(state: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(state.join("services")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn each_service_has_its_own_receipts_and_its_own_chain() {
    let (_dir, state, journal) = fresh();
    drop(journal);
    for (service, opened) in
        [("one", Ownership::Own), ("other", Ownership::Separate), ("one", Ownership::Own), ("other", Ownership::Own)]
    {
        let (journal, found) = Journal::open_for(&state, service).await.unwrap();
        assert_eq!(found, opened, "{service}");
        store(&journal, service).await;
        let strange = if service == "one" { "other" } else { "one" };
        assert!(latest(&journal, service).await.is_some() && latest(&journal, strange).await.is_none());
        assert!(journal.check().await.unwrap().is_whole());
        assert_eq!(journal.service().await.unwrap().as_deref(), Some(service));
    }
    assert_eq!((further(&state).len(), Journal::all(&state).unwrap().len()), (1, 2));
    assert!(Journal::find(&state, "other").await.unwrap().is_some());
    assert!(Journal::find(&state, "third").await.unwrap().is_none());
}

/// A journal of a version before services does not name one.
#[tokio::test]
async fn a_journal_without_a_service_goes_to_the_first_one_only() {
    let (_dir, state, journal) = fresh();
    store(&journal, "older").await;
    drop(journal);
    assert_eq!(Journal::open_for(&state, "one").await.unwrap().1, Ownership::Claimed);
    let (other, opened) = Journal::open_for(&state, "other").await.unwrap();
    assert_eq!(opened, Ownership::Separate);
    assert!(latest(&other, "older").await.is_none());
    let (one, opened) = Journal::open_for(&state, "one").await.unwrap();
    assert_eq!(opened, Ownership::Own);
    assert!(latest(&one, "older").await.is_some());
}

/// The claim is made under the write lock: only one service can be the first.
#[test]
fn services_opened_at_once_get_a_journal_each() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (state, start) = (&state, &start);
                scope.spawn(move || {
                    let service = format!("service {}", number / 2);
                    start.wait();
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async {
                        let (journal, _) = Journal::open_for(state, &service).await.unwrap();
                        assert_eq!(journal.service().await.unwrap(), Some(service));
                        store(&journal, &format!("file {number}")).await;
                    });
                });
            }
        });
        assert_eq!(further(&state).len(), 1);
    }
}

#[tokio::test]
async fn a_journal_in_the_place_of_another_services_is_refused() {
    let (_dir, state, journal) = fresh();
    drop(journal);
    Journal::open_for(&state, "one").await.unwrap();
    Journal::open_for(&state, "other").await.unwrap();
    let place = further(&state).pop().unwrap();
    raw(&place).execute("UPDATE service SET name = 'strange'", []).unwrap();
    let error = Journal::open_for(&state, "other").await.unwrap_err();
    assert!(matches!(error, JournalError::Refused(RefusedRequest::OtherService { .. })), "{error}");
}
