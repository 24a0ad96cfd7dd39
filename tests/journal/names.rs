//! Which local path owns a name in the vault, and which receipt is a document's newest.

use astran_backup::journal::{End, Intent, Journal, LocalEnd, State, Stored};
use astran_backup::vault::{DocumentId, RemotePath};

use crate::support::{abandoned, failed, fresh, go, intent, latest, receipt, taken};

#[tokio::test]
async fn a_name_belongs_to_the_path_that_had_it_first() {
    let (_dir, _state, journal) = fresh();
    let first = go(&journal, intent("a/report", "report")).await;
    let owner = taken(&journal, intent("b/report", "report")).await.unwrap();
    assert_eq!((owner.id, owner.state), (first, State::Open));
    assert!(latest(&journal, "b/report").await.is_none(), "nothing was written");

    journal.stored(first, receipt("1")).await.unwrap();
    journal.end(first, End::Local(LocalEnd::Removed)).await.unwrap();
    assert!(taken(&journal, intent("b/report", "report")).await.is_some(), "a receipt keeps it");
    let elsewhere = Intent { folder: DocumentId("folder-2".to_owned()), ..intent("b/report", "report") };
    assert!(taken(&journal, elsewhere).await.is_none(), "another folder is another name");
    let other_root = Intent { root: "/other".into(), ..intent("a/report", "report") };
    assert!(taken(&journal, other_root).await.is_some(), "the same path in another root is another file");
    assert!(taken(&journal, intent("a/report", "report")).await.is_none(), "a new version of the same file");
}

/// The adopting file's bytes were the same once; with other bytes it would hide the owner's document.
#[tokio::test]
async fn a_path_that_adopts_a_document_does_not_own_its_name() {
    let (_dir, _state, journal) = fresh();
    let first = go(&journal, intent("a/report", "report")).await;
    journal.stored(first, receipt("1")).await.unwrap();
    let same = Stored { already_present: true, ..receipt("1") };
    journal.adopt(intent("b/report", "report"), same).await.unwrap();
    assert_eq!(taken(&journal, intent("b/report", "report")).await.unwrap().id, first);
    assert!(taken(&journal, intent("a/report", "report")).await.is_none());
}

#[tokio::test]
async fn a_documents_receipt_is_its_newest() {
    let (_dir, _state, journal) = fresh();
    for content in ["1", "2"] {
        let id = go(&journal, intent("n", "n")).await;
        journal.stored(id, receipt(content)).await.unwrap();
    }
    let path = RemotePath::parse("/HR/2026/n").unwrap();
    assert_eq!(journal.receipt_of(&path).await.unwrap(), Some(receipt("2")));
    for other in ["/HR/n", "/HR/2026/m", "/"] {
        assert_eq!(journal.receipt_of(&RemotePath::parse(other).unwrap()).await.unwrap(), None, "{other}");
    }
}

#[tokio::test]
async fn an_attempt_that_came_to_nothing_owns_no_name() {
    let (_dir, _state, journal) = fresh();
    for end in [failed(), abandoned()] {
        let id = go(&journal, intent("a", "n")).await;
        journal.end(id, end).await.unwrap();
    }
    let id = go(&journal, intent("b", "n")).await;
    journal.stored(id, receipt("b")).await.unwrap();
    journal.end(id, failed()).await.unwrap();
    assert!(taken(&journal, intent("a", "n")).await.is_some(), "stored, whatever failed after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_paths_that_want_a_name_at_once_one_gets_it() {
    let (_dir, state, one) = fresh();
    let two = Journal::open(&state).unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let journal = if number % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move { taken(&journal, intent(&format!("{number}/n"), "n")).await.is_none() })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap());
    }
    assert_eq!(winners, 1);
}
