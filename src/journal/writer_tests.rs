//! What only shows from inside: a full disk, a group that is undone.

use super::super::{
    AttemptId, Begun, DatabaseProblem, End, Filter, Intent, Journal, LocalEnd, Record, RefusedRequest, Stored,
};
use super::*;
use crate::file::FileStamp;
use crate::vault::{DocumentId, RemotePath};

fn intent(name: &str) -> Intent {
    Intent {
        root: "/in".into(),
        relative: name.into(),
        stamp: FileStamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 },
        dest: RemotePath::parse("/HR").unwrap(),
        folder: DocumentId("folder".to_owned()),
        name: name.to_owned(),
    }
}

fn stored() -> Stored {
    Stored {
        sha256: "00".to_owned(),
        size: 3,
        document: DocumentId("d".to_owned()),
        document_version: None,
        user: "me".to_owned(),
        already_present: false,
    }
}

async fn all(journal: &Journal) -> Vec<Record> {
    journal.history_page(&Filter::default(), None, 1000).await.unwrap()
}

/// Limits the journal's size; 1 is raised to the pages that it has now.
async fn limit_pages(journal: &Journal, pages: u32) {
    let work = move |connection: &Connection| {
        Ok(connection.pragma_update_and_check(None, "max_page_count", pages, |_row| Ok(()))?)
    };
    journal.inner.writer.as_ref().unwrap().request(work).await.unwrap();
}

/// Names that fill pages.
fn long(number: usize) -> String {
    format!("{number:0200}")
}

async fn fill(journal: &Journal) -> (AttemptId, JournalError) {
    let mut last = AttemptId(0);
    for number in 0..1000 {
        match journal.begin(intent(&long(number))).await {
            Ok(Begun::Go(id)) => last = id,
            Ok(Begun::NameTaken(entry)) => panic!("{entry:?}"),
            Err(error) => return (last, error),
        }
    }
    panic!("never full");
}

#[tokio::test]
async fn a_full_disk_fails_each_write_and_none_once_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    limit_pages(&journal, 1).await;

    let (last, error) = fill(&journal).await;
    let JournalError::Unusable(Unusable::Database { path, problem: DatabaseProblem::DiskFull, .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(path.ends_with("journal.sqlite"));

    let (read, write) = tokio::join!(all(&journal), journal.begin(intent(&long(5000))));
    assert_eq!(read.last().unwrap().entry.id, last, "what is there can still be read");
    write.unwrap_err();

    limit_pages(&journal, u32::MAX - 1).await;
    journal.stored(last, stored()).await.unwrap();
    journal.end(last, End::Local(LocalEnd::Removed)).await.unwrap();
    assert!(matches!(journal.begin(intent(&long(5000))).await.unwrap(), Begun::Go(_)));
    assert!(journal.check().await.unwrap().is_whole());
}

#[tokio::test]
async fn a_refused_request_does_not_undo_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let (good, bad, other) =
        tokio::join!(journal.begin(intent("a")), journal.stored(AttemptId(99), stored()), journal.begin(intent("b")));
    assert!(matches!((good.unwrap(), other.unwrap()), (Begun::Go(_), Begun::Go(_))));
    assert!(matches!(bad.unwrap_err(), JournalError::Refused(RefusedRequest::UnknownAttempt(AttemptId(99)))));
}

#[tokio::test]
async fn a_group_that_fails_is_undone_for_each_and_the_next_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let nonsense = journal.inner.writer.as_ref().unwrap().request(|connection| Ok(connection.execute("nonsense", [])?));
    let (good, bad) = tokio::join!(journal.begin(intent("a")), nonsense);
    bad.unwrap_err();
    // The two may have shared a group or not: a request that failed has written nothing, one that succeeded has.
    let there = !all(&journal).await.is_empty();
    assert_eq!(there, good.is_ok());
    assert!(matches!(journal.begin(intent("a")).await.unwrap(), Begun::Go(_)));
}

/// Only a power cut would show that it is not.
#[tokio::test]
async fn a_commit_is_synced_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let settings = |connection: &Connection| {
        let ask = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        Ok((ask("journal_mode")?, ask("synchronous")?))
    };
    let (wal, full) = ("wal".to_owned().into(), 2_i64.into());
    assert_eq!(journal.inner.writer.as_ref().unwrap().request(settings).await.unwrap(), (wal, full));
}

#[tokio::test]
async fn a_commit_that_fails_is_not_answered_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let unfounded = journal.inner.writer.as_ref().unwrap().request(|connection| {
        // Only the commit checks this reference.
        Ok(connection.execute_batch(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY); \
             CREATE TABLE child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED); \
             INSERT INTO child VALUES (7)",
        )?)
    });
    unfounded.await.unwrap_err();
    assert!(matches!(journal.begin(intent("a")).await.unwrap(), Begun::Go(_)), "and the next group goes");
}
