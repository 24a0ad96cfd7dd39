//! The ledger: a file with a line before and after each close, so that the closed contents are known whatever happens to the test.

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
    /// The writer has opened the file again, with its whole content: this content need not be stored any more.
    Reopened,
    /// The file never came into the folder: its name was taken.
    Withdrawn,
    /// The name of the file is not UTF-8: the file must stay where it is, and never be stored.
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

/// One closed file in the ledger.
pub(crate) struct Entry(Line);

/// The result of the ledger at the end: the name for each identity.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// Contents that may be stored.
    pub(crate) may: BTreeMap<String, String>,
    /// Contents that must be stored.
    pub(crate) must: BTreeSet<String>,
    /// Files that must stay.
    pub(crate) odd: usize,
}

/// Writes the ledger. All writers share it.
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

    /// Notes that a file with this content is about to be closed, or renamed into the folder.
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

    /// Reads the ledger from its start.
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
