//! `history`, `verify` and `retry`: what they print, and the code they end with.

// Helpers of tests are tests too; the lint's own exception sees only the functions marked as such.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "support/fake_vault.rs"]
mod fake_vault;

use std::path::PathBuf;

use astran_backup::commands::{Output, history, retry, verify};
use astran_backup::exit::{Exit, Fatal};
use astran_backup::file::FileStamp;
use astran_backup::journal::{AttemptId, Begun, End, Intent, Journal, LocalEnd, Stored};
use astran_backup::vault::{DocumentId, Kind, RemotePath};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use fake_vault::{Call, FakeVault, Reply, document};

fn fresh() -> (TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    (dir, journal)
}

async fn begin(journal: &Journal, name: &str) -> AttemptId {
    let intent = Intent {
        root: "/in".into(),
        relative: name.into(),
        stamp: FileStamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 },
        dest: RemotePath::parse("/HR").unwrap(),
        folder: DocumentId("f".to_owned()),
        name: name.to_owned(),
    };
    let Begun::Go(id) = journal.begin(intent).await.unwrap() else { panic!("taken") };
    id
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

async fn store(journal: &Journal, name: &str, content: &str) {
    let id = begin(journal, name).await;
    let sha256 = format!("{:x}", Hex(&Sha256::digest(content)));
    let stored = Stored {
        sha256,
        size: content.len() as u64,
        document: DocumentId(format!("doc-{name}")),
        document_version: None,
        user: "me".to_owned(),
        already_present: false,
    };
    journal.stored(id, stored).await.unwrap();
    journal.end(id, End::Local(LocalEnd::Removed)).await.unwrap();
}

async fn fail(journal: &Journal, name: &str) {
    let id = begin(journal, name).await;
    journal.end(id, End::Failed { reason: "too\nlarge".to_owned() }).await.unwrap();
}

async fn shown(journal: &Journal, json: bool) -> String {
    let (mut out, options) = (Vec::new(), history::Options::default());
    assert_eq!(history::run(journal, &options, &mut Output::new(&mut out, json)).await.unwrap(), Exit::Done);
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn history_prints_one_harmless_line_for_each_entry() {
    let (_dir, journal) = fresh();
    store(&journal, "a.pdf", "abc").await;
    fail(&journal, "evil\x1b[2J\nname").await;
    let text = shown(&journal, false).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with("  stored, deleted here     3 bytes  /in/a.pdf -> /HR/a.pdf"), "{text}");
    assert!(
        lines[1].contains("failed") && lines[1].contains(r"evil\u{1b}[2J\nname") && lines[1].contains(r"too\nlarge")
    );
}

#[tokio::test]
async fn history_shows_the_newest_of_a_limit_and_times_in_utc_where_that_is_asked() {
    let (_dir, journal) = fresh();
    for name in ["a", "b", "c"] {
        store(&journal, name, "abc").await;
    }
    let shown = async |options: history::Options| {
        let mut out = Vec::new();
        history::run(&journal, &options, &mut Output::new(&mut out, false)).await.unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = shown(history::Options { limit: Some(2), utc: true, ..history::Options::default() }).await;
    let ends: Vec<_> = text.lines().map(|line| line.rsplit('/').next().unwrap()).collect();
    assert_eq!(ends, ["b", "c"], "{text}");
    let time = |line: &str| line.split("  ").next().unwrap().to_owned();
    assert!(text.lines().all(|line| time(line).len() == 20 && time(line).ends_with('Z')), "{text}");
    let local = shown(history::Options { limit: Some(9), ..history::Options::default() }).await;
    assert_eq!(local.lines().count(), 3);
    assert!(local.lines().all(|line| time(line).len() == 19 && time(line).contains(' ')), "{local}");
}

#[tokio::test]
async fn history_in_json_has_every_key_in_every_line() {
    let (_dir, journal) = fresh();
    store(&journal, "a", "abc").await;
    fail(&journal, "b").await;
    let text = shown(&journal, true).await;
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&objects[0]), keys(&objects[1]));
    assert_eq!(
        (&objects[0]["state"], &objects[0]["receipt"], &objects[0]["local_path"]),
        (&"removed".into(), &1.into(), &"/in/a".into())
    );
    assert_eq!(
        (&objects[1]["state"], &objects[1]["sha256"], &objects[1]["reason"]),
        (&"failed".into(), &Value::Null, &"too\nlarge".into())
    );
}

#[tokio::test]
async fn a_glob_that_can_not_be_read_is_a_usage_error() {
    let (_dir, journal) = fresh();
    let options = history::Options { name: Some("[".to_owned()), ..history::Options::default() };
    let error = history::run(&journal, &options, &mut Output::new(Vec::new(), false)).await.unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
}

#[tokio::test]
async fn check_prints_the_head_and_each_broken_place() {
    let (dir, journal) = fresh();
    store(&journal, "a", "abc").await;
    store(&journal, "b", "abc").await;
    let mut out = Vec::new();
    assert_eq!(history::check(&journal, &mut Output::new(&mut out, false)).await.unwrap(), Exit::Done);
    assert!(String::from_utf8(out).unwrap().contains("\nhead "));

    let raw = rusqlite::Connection::open(dir.path().join("state/journal.sqlite")).unwrap();
    raw.execute_batch("UPDATE receipt SET document = 'other' WHERE seq = 2").unwrap();
    for json in [false, true] {
        let mut out = Vec::new();
        assert_eq!(history::check(&journal, &mut Output::new(&mut out, json)).await.unwrap(), Exit::SomeFailed);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(if json { r#""damage":"altered""# } else { "receipt 2: altered" }), "{text}");
    }
}

#[tokio::test]
async fn retry_says_how_many_files_it_clears() {
    let (_dir, journal) = fresh();
    for name in ["a", "b", "c"] {
        fail(&journal, name).await;
    }
    for (paths, output) in
        [(vec!["/in/a"], "1 failed file will"), (vec!["/else"], "no failed"), (vec![], "2 failed files")]
    {
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        let mut out = Vec::new();
        assert_eq!(retry::run(&journal, &paths, &mut Output::new(&mut out, false)).await.unwrap(), Exit::Done);
        assert!(String::from_utf8(out).unwrap().starts_with(output));
    }
}

async fn verified(journal: &Journal, vault: &FakeVault, json: bool) -> (Result<Exit, Fatal>, String) {
    let mut out = Vec::new();
    let exit = verify::run(journal, vault, verify::Options::default(), &mut Output::new(&mut out, json)).await;
    (exit, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn verify_compares_the_newest_receipt_of_each_name() {
    let (_dir, journal) = fresh();
    store(&journal, "a", "older").await;
    store(&journal, "a", "newer").await;
    let vault = FakeVault::default();
    vault.put("/HR/a", b"newer");
    let (exit, text) = verified(&journal, &vault, false).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert!(
        text.starts_with("1 document compared: 1 as") && text.contains("1 receipt of an earlier version was"),
        "{text}"
    );
}

#[tokio::test]
async fn verify_lists_documents_that_differ_are_missing_or_unreadable() {
    let (_dir, journal) = fresh();
    for name in ["good", "short", "other", "gone", "closed"] {
        store(&journal, name, "abcd").await;
    }
    let vault = FakeVault::default();
    for (name, content) in [("good", b"abcd".as_slice()), ("short", b"abc"), ("other", b"abce")] {
        vault.put(&format!("/HR/{name}"), content);
    }
    let closed = document(&RemotePath::parse("/HR/closed").unwrap(), b"abcd");
    vault.put_described("/HR/closed", closed, Err(Kind::Forbidden));
    let (exit, text) = verified(&journal, &vault, false).await;
    assert_eq!(exit.unwrap(), Exit::SomeFailed);
    for line in [
        "differs     /HR/short: it has 3",
        "differs     /HR/other: its SHA",
        "missing     /HR/gone",
        "unreadable  /HR/closed",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("/HR/good"));
    let (_, text) = verified(&journal, &vault, true).await;
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert_eq!(text.lines().count(), 5);
}

#[tokio::test]
async fn verify_compares_as_many_as_the_sample_has_and_says_of_how_many() {
    let (_dir, journal) = fresh();
    for number in 0..250 {
        store(&journal, &format!("file-{number}"), "abc").await;
    }
    let vault = FakeVault::default();
    for (sample, compared) in [(7, 7), (1000, 250)] {
        let options = verify::Options { sample: Some(sample), ..verify::Options::default() };
        let mut out = Vec::new();
        verify::run(&journal, &vault, options, &mut Output::new(&mut out, false)).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("\n{compared} of 250 documents compared: 0 as")), "{text}");
        assert_eq!(text.lines().count(), compared + 1, "no document is compared twice: {text}");
    }
}

#[tokio::test]
async fn an_unreachable_service_is_no_documents_fault() {
    let (_dir, journal) = fresh();
    store(&journal, "a", "abc").await;
    for (kind, exit) in [(Kind::Unavailable, Exit::Unreachable), (Kind::Login, Exit::LoginRefused)] {
        let vault = FakeVault::default();
        vault.always([Call::Download], &Reply::Fail(kind));
        let (result, _) = verified(&journal, &vault, false).await;
        assert_eq!(result.unwrap_err().exit, exit);
    }
}

/// More receipts than are in memory at a time.
#[tokio::test]
async fn verify_compares_every_one_of_many_receipts() {
    let (_dir, journal) = fresh();
    for number in 0..250 {
        store(&journal, &format!("file-{number}"), "abc").await;
    }
    let (exit, text) = verified(&journal, &FakeVault::default(), false).await;
    assert_eq!(exit.unwrap(), Exit::SomeFailed);
    assert!(text.contains("250 documents compared: 0 as") && text.contains("missing     /HR/file-249"), "{text}");
}
