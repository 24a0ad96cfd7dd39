//! Which file is next: files go in the order in which they came, except that the others pass large ones that find no place.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Uploader;
use super::concurrency::{Class, Place, Turn};
use super::outcome::{BlockedBy, Outcome};
use crate::budget;
use crate::file::Settled;
use crate::vault::Vault;

/// Files that wait for a place. Their turns stay in the line between two calls of [`Uploader::next`].
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The next file that is not large.
    front: Option<(Settled, Turn)>,
    large: VecDeque<Settled>,
    /// The turn of the first large file.
    large_turn: Option<Turn>,
    /// The queue has ended: no more files come.
    queue_ended: bool,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.front.is_none() && self.large.is_empty()
    }

    pub(super) fn into_files(self) -> impl Iterator<Item = Settled> {
        self.front.map(|(file, _)| file).into_iter().chain(self.large)
    }
}

impl<V: Vault> Uploader<V> {
    /// Waits for the next file that may begin; `None` when none is left. Cancelled at any moment it loses no file.
    pub(super) async fn next(&self, queue: &mut mpsc::Receiver<Settled>, held: &mut Held) -> Option<(Settled, Place)> {
        loop {
            if held.queue_ended && held.is_empty() {
                return None;
            }
            if !held.large.is_empty() {
                held.large_turn.get_or_insert_with(|| self.concurrency.join(Class::Large));
            }
            tokio::select! {
                biased;
                () = turn_of(held.large_turn.as_ref()) => {
                    held.large_turn = None;
                    return held.large.pop_front().map(|file| self.with_place(file, Class::Large));
                }
                () = turn_of(held.front.as_ref().map(|(_, turn)| turn)) => {
                    return held.front.take().map(|(file, turn)| self.with_place(file, turn.class()));
                }
                received = queue.recv(), if held.front.is_none() && !held.queue_ended => match received {
                    None => held.queue_ended = true,
                    Some(file) => self.hold(file, held),
                },
            }
        }
    }

    fn with_place(&self, file: Settled, class: Class) -> (Settled, Place) {
        let place = self.concurrency.place_of(&file, class);
        (file, place)
    }

    /// Large files that are held count against those that a walk may bring, so a daemon holds only so many. A command, which is to end, holds
    /// all of them: it has all of them to send, and no other folder's files.
    fn hold(&self, file: Settled, held: &mut Held) {
        let class = Class::seen(&file, self.context.asked);
        if class != Class::Large {
            held.front = Some((file, self.concurrency.join(class)));
        } else if held.large.len() < budget::LARGE_WAITING || self.context.shared.patience.is_some() {
            held.large.push_back(file);
        } else {
            self.report(file, Outcome::Blocked { reason: BlockedBy::LargeFiles });
        }
    }
}

/// Waits until a turn has taken its place; for ever where there is none.
async fn turn_of(turn: Option<&Turn>) {
    match turn {
        Some(turn) => turn.taken().await,
        None => std::future::pending().await,
    }
}
