//! The ledger: a file with a line before and after each close, so that what was closed is known whatever happens to the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::support::proof::{identity, sha256};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    /// The file is about to be closed: from now on it may be stored.
    Closing,
    /// The file is closed: it must be stored.
    Closed,
    /// Its writer has opened it again, with all that it held: this content need not be stored any more.
    Reopened,
    /// The file never came into the folder: its name was taken.
    Withdrawn,
    /// The file has a name that is no text: it must stay where it is, and never be stored.
    Odd,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    event: Event,
    identity: String,
    name: String,
    size: usize,
    sha256: String,
}

/// One closed file, as the ledger knows it.
pub(crate) struct Entry(Line);

/// What the ledger says at the end: for each identity its name.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// What may be stored.
    pub(crate) may: BTreeMap<String, String>,
    /// What must be stored.
    pub(crate) must: BTreeSet<String>,
    /// Files that must stay.
    pub(crate) odd: usize,
}

/// Writes the ledger; shared by all writers.
pub(crate) struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
}

impl Ledger {
    pub(crate) fn create(path: PathBuf) -> Self {
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        Self { path, file: Mutex::new(file) }
    }

    fn write(&self, event: Event, entry: &mut Line) {
        entry.event = event;
        let line = serde_json::to_string(entry).unwrap() + "\n";
        self.file.lock().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// A file is about to be closed with this content, or renamed into the folder.
    pub(crate) fn closing(&self, place: &Path, content: &[u8]) -> Entry {
        let (name, sha256) = (place.to_string_lossy().into_owned(), sha256(content));
        let identity = identity(&name, &sha256, content.len() as u64);
        let mut line = Line { event: Event::Closing, identity, name, size: content.len(), sha256 };
        self.write(Event::Closing, &mut line);
        Entry(line)
    }

    pub(crate) fn closed(&self, entry: &mut Entry) {
        self.write(Event::Closed, &mut entry.0);
    }

    pub(crate) fn reopened(&self, entry: &mut Entry) {
        self.write(Event::Reopened, &mut entry.0);
    }

    pub(crate) fn withdrawn(&self, entry: &mut Entry) {
        self.write(Event::Withdrawn, &mut entry.0);
    }

    pub(crate) fn odd(&self, entry: &mut Entry) {
        self.write(Event::Odd, &mut entry.0);
    }

    /// Reads it from its start.
    pub(crate) fn read(&self) -> Closed {
        let mut closed = Closed::default();
        for line in BufReader::new(File::open(&self.path).unwrap()).lines() {
            let Line { event, identity, name, .. } = serde_json::from_str(&line.unwrap()).unwrap();
            match event {
                Event::Closing => drop(closed.may.insert(identity, name)),
                Event::Closed => drop(closed.must.insert(identity)),
                Event::Reopened => drop(closed.must.remove(&identity)),
                Event::Withdrawn => drop(closed.may.remove(&identity)),
                Event::Odd => {
                    closed.may.remove(&identity);
                    closed.odd += 1;
                }
            }
        }
        closed
    }
}
