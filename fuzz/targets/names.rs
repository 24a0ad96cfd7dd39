//! Names, reasons and ids of any kind, through everything that is printed: one line each, valid JSON, and nothing in it that
//! drives a terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use astran_backup::file::{Root, Settled};
use astran_backup::fuzzing;
use astran_backup::journal::LocalEnd;
use astran_backup::journal::Stored;
use astran_backup::upload::{BlockedBy, Failure, Outcome, Report};
use astran_backup::vault::{DocumentId, Kind, RemotePath, VaultError};
use serde_json::Value;

use crate::input::{Input, assert_harmless};

/// An empty folder: nothing is opened in it.
fn root() -> &'static Arc<Root> {
    static ROOT: OnceLock<Arc<Root>> = OnceLock::new();
    ROOT.get_or_init(|| Arc::new(Root::open(&tempfile::tempdir().unwrap().keep()).unwrap()))
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let outcome = input.byte();
    let (name, reason, id) = (input.bytes(), input.text(), input.text());
    let relative = Path::new(OsStr::from_bytes(name));
    let text = String::from_utf8_lossy(name);

    assert_harmless(&fuzzing::printable(&text));
    logged(&text);
    let report = Report {
        file: Settled::new(Arc::clone(root()), relative.to_owned()),
        outcome: self::outcome(outcome, &reason, &id, relative),
        put_back: false,
        aside: None,
    };
    told(&report, &reason, &text);
}

fn outcome(kind: u8, reason: &str, id: &str, moved: &Path) -> Outcome {
    let local = match kind % 8 {
        0 => return Outcome::Failed { reason: Failure::Earlier(reason.to_owned()), moved: None },
        1 => return Outcome::Failed { reason: Failure::Earlier(reason.to_owned()), moved: Some(moved.to_owned()) },
        2 => return Outcome::Blocked { reason: BlockedBy::Service(VaultError::new(Kind::Unavailable, reason)) },
        3 => LocalEnd::Moved(PathBuf::from(moved)),
        4 => LocalEnd::Kept,
        _ => LocalEnd::Removed,
    };
    let stored = Stored {
        sha256: reason.to_owned(),
        size: 1,
        document: DocumentId(id.to_owned()),
        document_version: Some(id.to_owned()),
        user: id.to_owned(),
        already_present: kind > 127,
    };
    Outcome::Stored { remote: RemotePath::default().join(id), stored, receipt: Some(1), local }
}

fn told(report: &Report, reason: &str, name: &str) {
    let text = fuzzing::told(report, false).unwrap();
    assert_harmless(&text);
    let json = fuzzing::told(report, true).unwrap();
    assert_harmless(&json);
    let value: Value = serde_json::from_str(&json).unwrap();
    // Whoever reads the JSON gets the very name and reason.
    assert_eq!(
        value["relative"].as_str(),
        Some(&*String::from_utf8_lossy(report.file.origin.as_os_str().as_bytes())),
        "{name}"
    );
    if let Some(told) = value.get("reason") {
        assert_eq!(told, reason);
    }
}

fn logged(text: &str) {
    let lines = fuzzing::logged(text, false);
    assert_eq!(lines.lines().count(), 3, "{lines:?}");
    lines.split('\n').for_each(assert_harmless);
    let lines = fuzzing::logged(text, true);
    let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3, "{lines:?}");
    lines.split('\n').for_each(assert_harmless);
    assert_eq!((objects[0]["file"].as_str(), objects[2]["message"].as_str()), (Some(text), Some(text)));
}
