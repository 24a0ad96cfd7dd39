//! Helpers of the journal's tests.

use std::path::{Path, PathBuf};

use astran_backup::file::FileStamp;
use astran_backup::journal::{AttemptId, Begun, End, Entry, Filter, Intent, Journal, LocalEnd, Stored};
use astran_backup::vault::{DocumentId, RemotePath};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) const ROOT: &str = "/srv/in";

pub(crate) fn intent(relative: &str, name: &str) -> Intent {
    Intent {
        root: ROOT.into(),
        relative: relative.into(),
        stamp: FileStamp { device: u64::MAX, inode: 2, size: 300, mtime: -4, ctime: 5 },
        dest: RemotePath::parse("/HR/2026").unwrap(),
        folder: DocumentId("folder-1".to_owned()),
        name: name.to_owned(),
    }
}

pub(crate) fn receipt(content: &str) -> Stored {
    Stored {
        sha256: format!("{content:0>64}"),
        size: 300,
        document: DocumentId(format!("doc-{content}")),
        document_version: Some("1.0".to_owned()),
        user: "me@example.com".to_owned(),
        already_present: false,
    }
}

pub(crate) fn fresh() -> (TempDir, PathBuf, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let journal = Journal::open(&state).unwrap();
    (dir, state, journal)
}

pub(crate) async fn go(journal: &Journal, intent: Intent) -> AttemptId {
    match journal.begin(intent).await.unwrap() {
        Begun::Go(id) => id,
        Begun::NameTaken(entry) => panic!("taken by {entry:?}"),
    }
}

pub(crate) async fn taken(journal: &Journal, intent: Intent) -> Option<Entry> {
    match journal.begin(intent).await.unwrap() {
        Begun::Go(_) => None,
        Begun::NameTaken(entry) => Some(*entry),
    }
}

pub(crate) async fn store(journal: &Journal, name: &str) -> AttemptId {
    let id = go(journal, intent(name, name)).await;
    journal.stored(id, receipt(name)).await.unwrap();
    journal.end(id, End::Local(LocalEnd::Removed)).await.unwrap();
    id
}

/// The entries that a filter selects.
pub(crate) async fn history(journal: &Journal, filter: &Filter) -> Vec<Entry> {
    let page = journal.history_page(filter, None, 1000).await.unwrap();
    page.into_iter().map(|record| record.entry).collect()
}

pub(crate) async fn latest(journal: &Journal, relative: &str) -> Option<Entry> {
    let of_path = |entry: &Entry| entry.intent.root == Path::new(ROOT) && entry.intent.relative == Path::new(relative);
    history(journal, &Filter::default()).await.into_iter().rfind(of_path)
}

pub(crate) fn failed() -> End {
    End::Failed { reason: "refused: 413".to_owned() }
}

pub(crate) fn abandoned() -> End {
    End::Abandoned { reason: "stopped".to_owned() }
}

pub(crate) fn raw(state: &Path) -> Connection {
    Connection::open(state.join("journal.sqlite")).unwrap()
}
