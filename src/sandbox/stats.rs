//! The counters of the sandbox: what happened as the service saw it, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::faults::Call;
use super::vault::Entry;
use crate::hex;

/// Counters since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Granted logins by grant.
    pub logins: BTreeMap<&'static str, u64>,
    /// Refused logins, whatever the grant and the reason.
    pub refused_logins: u64,
    /// Granted refreshes.
    pub refreshes: u64,
    /// Refused refreshes.
    pub refused_refreshes: u64,
    /// Sessions ended by their owner.
    pub logouts: u64,
    /// Uploads whose body the sandbox began to read.
    pub uploads_started: u64,
    /// Uploads stored.
    pub uploads_stored: u64,
    /// Bytes of all stored uploads.
    pub uploads_bytes: u64,
    /// Uploads whose body is being read now.
    pub uploads_at_once: u64,
    /// The largest number of uploads at the same time.
    pub uploads_at_once_max: u64,
    /// Requests by call.
    pub requests: BTreeMap<&'static str, u64>,
    /// The largest number of requests at the same time.
    pub requests_at_once_max: u64,
    /// API calls refused for their token (401).
    pub unauthorized: u64,
    /// Faults that fired.
    pub faults: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// One stored upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upload {
    /// Grows with each stored upload, from 1.
    pub number: u64,
    /// When its request arrived, in nanoseconds since 1970.
    pub arrived_ns: u64,
    /// The path in the vault, like `/HR_Backup/report.pdf`.
    pub path: String,
    /// The length in bytes.
    pub size: u64,
    /// The SHA-256 of the content in lower-case hexadecimal; `None` where the options turn sums off.
    pub sha256: Option<String>,
    /// The document's id.
    pub id: String,
    /// The version of the document that the upload made.
    pub version: String,
}

#[derive(Default)]
pub(super) struct Stats {
    pub(super) password_logins: AtomicU64,
    pub(super) client_logins: AtomicU64,
    pub(super) refused_logins: AtomicU64,
    pub(super) refreshes: AtomicU64,
    pub(super) refused_refreshes: AtomicU64,
    pub(super) logouts: AtomicU64,
    pub(super) unauthorized: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) connections: AtomicU64,
    stored_bytes: AtomicU64,
    uploads: Gauge,
    requests: Gauge,
    by_call: [AtomicU64; Call::COUNT],
    stored: Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    count: u64,
    latest: VecDeque<Record>,
}

/// An [`Upload`] as it is kept. Its texts are made only when they are needed.
struct Record {
    number: u64,
    arrived_ns: u64,
    entry: Entry,
}

/// How many there are now, were at most, and were altogether.
#[derive(Default)]
struct Gauge {
    now: AtomicU64,
    most: AtomicU64,
    ever: AtomicU64,
}

/// A guard that counts as one until it is dropped.
pub(super) struct Counted<'a>(&'a Gauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

impl Gauge {
    fn enter(&self) -> Counted<'_> {
        self.ever.fetch_add(1, Relaxed);
        self.most.fetch_max(self.now.fetch_add(1, Relaxed) + 1, Relaxed);
        Counted(self)
    }
}

impl Stats {
    pub(super) fn request(&self) -> Counted<'_> {
        self.requests.enter()
    }

    pub(super) fn upload(&self) -> Counted<'_> {
        self.uploads.enter()
    }

    pub(super) fn call(&self, call: Call) {
        self.by_call[call as usize].fetch_add(1, Relaxed);
    }

    /// Records a stored upload. Only the latest `remembered` ones are kept.
    pub(super) fn stored(&self, entry: Entry, arrived_ns: u64, remembered: usize) {
        self.stored_bytes.fetch_add(entry.size, Relaxed);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.count += 1;
        if remembered == 0 {
            return;
        }
        if stored.latest.len() >= remembered {
            stored.latest.pop_front();
        }
        let record = Record { number: stored.count, arrived_ns, entry };
        stored.latest.push_back(record);
    }

    /// Returns the remembered uploads whose number is greater than `after`.
    pub(super) fn uploads_after(&self, after: u64) -> Vec<Upload> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.latest.iter().filter(|record| record.number > after).map(Record::upload).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner).count;
        Counts {
            logins: BTreeMap::from([
                ("password", get(&self.password_logins)),
                ("client_credentials", get(&self.client_logins)),
            ]),
            refused_logins: get(&self.refused_logins),
            refreshes: get(&self.refreshes),
            refused_refreshes: get(&self.refused_refreshes),
            logouts: get(&self.logouts),
            uploads_started: get(&self.uploads.ever),
            uploads_stored: stored,
            uploads_bytes: get(&self.stored_bytes),
            uploads_at_once: get(&self.uploads.now),
            uploads_at_once_max: get(&self.uploads.most),
            requests: Call::ALL.iter().map(|call| (call.name(), get(&self.by_call[*call as usize]))).collect(),
            requests_at_once_max: get(&self.requests.most),
            unauthorized: get(&self.unauthorized),
            faults: get(&self.faults),
            connections: get(&self.connections),
        }
    }
}

impl Record {
    fn upload(&self) -> Upload {
        Upload {
            number: self.number,
            arrived_ns: self.arrived_ns,
            path: self.entry.place.path.to_string(),
            size: self.entry.size,
            sha256: self.entry.sha256.map(|sum| hex(&sum)),
            id: self.entry.place.id(),
            version: self.entry.version.to_string(),
        }
    }
}
