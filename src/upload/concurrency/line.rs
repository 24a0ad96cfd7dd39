//! Who waits for a place, and who is next: files that are tried again first, then all others in the order in which they came. Pure.
//!
//! Each folder has one file of each class in the line at a time, so the folders take turns.

use std::collections::VecDeque;

use super::Class;

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// They have begun already: no file that has not begun may keep them from their end.
    retries: VecDeque<Ticket>,
    others: VecDeque<Ticket>,
    joined: u64,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) class: Class,
}

impl Line {
    pub(super) fn join(&mut self, class: Class, is_retry: bool) -> Ticket {
        self.joined += 1;
        let ticket = Ticket { number: self.joined, class };
        if is_retry { &mut self.retries } else { &mut self.others }.push_back(ticket);
        ticket
    }

    /// Returns whether the ticket was there.
    pub(super) fn leave(&mut self, ticket: &Ticket) -> bool {
        let length = |line: &Self| line.retries.len() + line.others.len();
        let before = length(self);
        self.retries.retain(|other| other != ticket);
        self.others.retain(|other| other != ticket);
        length(self) < before
    }

    /// Whether this is the first for whose class there is room: a large file that waits for one of few places holds up no small one.
    pub(super) fn is_next(&self, ticket: &Ticket, has_room: impl Fn(Class) -> bool) -> bool {
        let first = self.retries.iter().chain(&self.others).find(|ticket| has_room(ticket.class));
        first == Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_next_except_that_retries_come_before_and_who_has_no_room_is_passed() {
        let mut line = Line::default();
        let large = line.join(Class::Large, false);
        let small = line.join(Class::Small, false);
        assert!(line.is_next(&large, |_| true) && !line.is_next(&small, |_| true));
        assert!(line.is_next(&small, |class| class == Class::Small));
        let retry = line.join(Class::Small, true);
        assert!(line.is_next(&retry, |_| true));
        assert!(line.leave(&retry) && !line.leave(&retry));
        assert!(line.is_next(&large, |_| true) && !line.is_next(&large, |_| false));
    }
}
