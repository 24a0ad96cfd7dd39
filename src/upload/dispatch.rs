//! Which file is next: files go in the order in which they came, except that small files pass large ones that find no place.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Uploader;
use super::concurrency::Class;
use super::outcome::{BlockedBy, Outcome};
use crate::budget;
use crate::file::Settled;
use crate::vault::Vault;

/// Large files that wait for a place.
#[derive(Debug, Default)]
pub(super) struct Held {
    files: VecDeque<Settled>,
    /// The queue has ended: no more files come.
    queue_ended: bool,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn into_files(self) -> impl Iterator<Item = Settled> {
        self.files.into_iter()
    }
}

impl<V: Vault> Uploader<V> {
    /// Waits for the next file that may begin; `None` when none is left. Cancelled at any moment it loses no file.
    pub(super) async fn next(&self, queue: &mut mpsc::Receiver<Settled>, held: &mut Held) -> Option<(Settled, Class)> {
        loop {
            if held.queue_ended && held.is_empty() {
                return None;
            }
            let received = tokio::select! {
                biased;
                () = self.concurrency.free(Class::Large), if !held.is_empty() => {
                    return held.files.pop_front().map(|file| (file, Class::Large));
                }
                received = async { self.concurrency.free(Class::Small).await; queue.recv().await }, if !held.queue_ended => received,
            };
            match received {
                None => held.queue_ended = true,
                Some(file) if Class::seen(&file) == Class::Small => return Some((file, Class::Small)),
                Some(file) => self.hold(file, held),
            }
        }
    }

    /// Files that are held count against those that a walk may bring, so a daemon holds only so many. A command, which is to end, holds all
    /// of them: it has all of them to send, and no other folder's files.
    fn hold(&self, file: Settled, held: &mut Held) {
        if held.files.len() < budget::LARGE_WAITING || self.context.shared.patience.is_some() {
            return held.files.push_back(file);
        }
        self.report(file, Outcome::Blocked { reason: BlockedBy::LargeFiles });
    }
}
