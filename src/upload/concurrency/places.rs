//! The places, how many of them are taken, and the wait for one.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Class;
use super::limit::{Limit, Taken};
use super::line::{Line, Ticket};
use crate::budget;
use crate::config::Transfers;
use crate::observe::transfers;

/// The places that some uploaders share.
#[derive(Debug)]
pub(in crate::upload) struct Places {
    /// Files that wait for a free place look again at each change.
    state: watch::Sender<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limit: Limit,
    pub(super) taken: Taken,
    line: Line,
    /// Tells how many bytes were sent.
    transfers: transfers::Transfers,
    /// When the log last said that descriptors are scarce.
    pub(super) scarcity_logged: Option<Instant>,
}

impl Places {
    /// All places are free.
    pub(in crate::upload) fn new(transfers: Transfers, in_flight: transfers::Transfers) -> Arc<Self> {
        let limit = Limit::new(transfers, most_by_descriptors(), Instant::now());
        let (taken, line) = (Taken::default(), Line::default());
        let state = State { limit, taken, line, transfers: in_flight, scarcity_logged: None };
        Arc::new(Self { state: watch::Sender::new(state) })
    }

    /// Changes the state; those who wait look again if `change` returns true.
    pub(super) fn change(&self, change: impl FnOnce(&mut State, Instant) -> bool) -> bool {
        let mut numbers = (0, 0);
        let changed = self.state.send_if_modified(|state| {
            let now = Instant::now();
            numbers.0 = state.limit.all(now);
            state.limit.passed(state.taken, now);
            let changed = change(state, now);
            numbers.1 = state.limit.all(now);
            changed
        });
        if numbers.0 != numbers.1 {
            tracing::debug!(before = numbers.0, now = numbers.1, "another number of uploads at once");
        }
        changed
    }

    fn changes_after(&self) -> Duration {
        self.state.borrow().limit.changes_after(Instant::now())
    }

    /// Whether more places are taken than there are by now.
    pub(super) fn are_too_few(&self) -> bool {
        let state = self.state.borrow();
        state.taken.all > state.limit.all(Instant::now())
    }
}

impl State {
    /// Whether this is the first in the line for whose file there is room.
    fn is_next(&self, ticket: &Ticket, now: Instant) -> bool {
        self.line.is_next(ticket, |class| self.limit.has_room(class, self.taken, now))
    }

    fn take_if_next(&mut self, ticket: &Ticket, now: Instant) -> bool {
        let is_next = self.is_next(ticket, now);
        if is_next {
            self.line.leave(ticket);
            self.taken.add(ticket.class);
        }
        is_next
    }

    /// Looks at how many bytes were sent, where files are in flight that are measured in bytes.
    pub(super) fn sample(&mut self, now: Instant) {
        if self.taken.by_bytes > 0 {
            self.limit.sent(self.transfers.sent(), self.taken, now);
        }
    }
}

/// A turn in the line of those who wait for a place. Dropped, it leaves the line.
#[derive(Debug)]
pub(in crate::upload) struct Turn {
    places: Arc<Places>,
    ticket: Ticket,
}

impl Turn {
    pub(super) fn join(places: &Arc<Places>, class: Class, is_retry: bool) -> Self {
        let mut ticket = Ticket { number: 0, class };
        // Nobody's turn comes because one more waits.
        places.state.send_if_modified(|state| {
            ticket = state.line.join(class, is_retry);
            false
        });
        Self { places: Arc::clone(places), ticket }
    }

    /// The class of the file that it is for.
    pub(in crate::upload) fn class(&self) -> Class {
        self.ticket.class
    }

    /// Waits until a place is taken. If this is dropped before it returns, none was taken, and the turn stays in the line.
    pub(in crate::upload) async fn taken(&self) {
        let mut changes = self.places.state.subscribe();
        loop {
            let comes = changes.wait_for(|state| state.is_next(&self.ticket, Instant::now()));
            // The number grows by time alone at the beginning and after a shortage of descriptors, and the bytes that are sent are to be
            // looked at.
            timeout(self.places.changes_after(), comes).await.map(drop).ok();
            let has_taken = self.places.change(|state, now| {
                state.sample(now);
                state.take_if_next(&self.ticket, now)
            });
            if has_taken {
                return;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Those behind may be next now.
        self.places.state.send_if_modified(|state| state.line.leave(&self.ticket));
    }
}

/// How many uploads at once the process has descriptors for; a shortage that comes all the same is met by `scarce`.
fn most_by_descriptors() -> usize {
    let open = getrlimit(Resource::Nofile).current.and_then(|open| usize::try_from(open).ok()).unwrap_or(usize::MAX);
    most_of(open)
}

pub(super) fn most_of(descriptors: usize) -> usize {
    (descriptors.saturating_sub(budget::OTHER_DESCRIPTORS) / budget::DESCRIPTORS_OF_AN_UPLOAD).clamp(1, budget::UPLOADS)
}
