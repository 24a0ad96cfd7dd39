//! Which file is next: in the order in which they came, but that large files which find no place let the others pass.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::concurrency::Class;
use super::{Outcome, Pipeline};
use crate::budget;
use crate::file::Settled;
use crate::vault::Vault;

/// Large files that wait for a place.
#[derive(Debug, Default)]
pub(super) struct Held {
    files: VecDeque<Settled>,
    /// The queue has ended: no more come.
    is_last: bool,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn into_files(self) -> impl Iterator<Item = Settled> {
        self.files.into_iter()
    }
}

impl<V: Vault> Pipeline<V> {
    /// Waits for the next file that may begin; `None` when there is none left. Given up at any moment it loses no file.
    pub(super) async fn next(&self, queue: &mut mpsc::Receiver<Settled>, held: &mut Held) -> Option<(Settled, Class)> {
        loop {
            if held.is_last && held.is_empty() {
                return None;
            }
            let received = tokio::select! {
                biased;
                () = self.concurrency.free(Class::Large), if !held.is_empty() => {
                    return held.files.pop_front().map(|file| (file, Class::Large));
                }
                received = async { self.concurrency.free(Class::Small).await; queue.recv().await }, if !held.is_last => received,
            };
            match received {
                None => held.is_last = true,
                Some(file) if Class::seen(&file) == Class::Small => return Some((file, Class::Small)),
                Some(file) => self.hold(file, held),
            }
        }
    }

    /// What is held counts against what a walk may bring, so a daemon holds only so many. A command that is to end has all of them to
    /// send, and nobody else's files to look out for.
    fn hold(&self, file: Settled, held: &mut Held) {
        if held.files.len() < budget::LARGE_WAITING || self.shared.patience.is_some() {
            return held.files.push_back(file);
        }
        let reason =
            "other large files are sent first; it is looked at again at the next walk through the folder".to_owned();
        self.report(file, Outcome::Blocked { reason });
    }
}
