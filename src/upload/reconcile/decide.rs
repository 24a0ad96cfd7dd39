//! What is to be done about an attempt without an outcome. Pure: where its file lies and what the store says come in from outside.

use super::search::Location;
use crate::file::Settled;
use crate::journal::{End, Entry, GONE_AT_START, LocalEnd, State};

/// Why a file that is to be sent must know of another attempt first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The other attempt is of the same local path.
    Path,
    /// The other attempt has the name in the vault.
    Name,
}

/// What is done about an attempt before the file that asks is sent.
#[derive(Debug)]
pub(super) enum Action<'a> {
    /// The attempt's own file is at another place: its bytes say what to ask the store for.
    AskFor(&'a Settled),
    /// The attempt's file is gone: the store is asked whether it has the bytes of the file that asks, and the attempt ends.
    Resolve,
    /// The attempt's file was gone before anybody could ask for it: the attempt ends, and its name is free.
    Abandon,
    /// The attempt is in flight: look again soon.
    LookAgain,
    /// Nothing can be known now. The attempt stays open.
    LeaveOpen,
}

impl Action<'_> {
    /// What the log says of it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::AskFor(_) => "its file lies elsewhere: ask the store with that file's bytes",
            Self::Resolve => "its file is gone: ask the store, and end the attempt",
            Self::Abandon => "its file is gone: end the attempt",
            Self::LookAgain => "it is in flight: look again soon",
            Self::LeaveOpen => "its file may lie where nothing can be read: leave the attempt open",
        }
    }
}

/// What is done about an attempt whose file is not the one that asks.
pub(super) fn before_sending(claim: Claim, location: &Location) -> Action<'_> {
    match (location, claim) {
        (Location::At(place), _) => Action::AskFor(place),
        (Location::InFlight, _) => Action::LookAgain,
        (Location::Nowhere, Claim::Path) => Action::Resolve,
        (Location::Nowhere, Claim::Name) => Action::Abandon,
        (Location::Unknown, _) => Action::LeaveOpen,
    }
}

/// What lies at the places where an attempt's file was: at its own, and where it was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtItsPlaces {
    /// Nothing at any of them.
    Nothing,
    /// Other files at all of them.
    Others,
    /// The file itself, or what can't be told.
    Maybe,
}

/// How an attempt of a stopped process ended, if no file will come to ask for it. `is_followed` if there is a later attempt of the same
/// path.
pub(super) fn at_start(entry: &Entry, found: AtItsPlaces, is_followed: bool) -> Option<End> {
    match (&entry.state, found) {
        (State::Open, _) if !entry.intent.names_folder() => Some(End::Abandoned { reason: NEVER_SENT.into() }),
        // Unlinked, and the process was killed before the journal said so.
        (State::Stored, AtItsPlaces::Nothing) => Some(End::Local(LocalEnd::Removed)),
        // Another file has the place. If the attempt's file lies elsewhere it is found there, and sent by itself.
        (State::Stored, AtItsPlaces::Others) => Some(End::Superseded),
        (State::Open, AtItsPlaces::Nothing) => Some(End::Abandoned { reason: GONE_AT_START.into() }),
        // The newest attempt of a path is what the next file of that path asks for; for an earlier one no file does.
        (State::Open, AtItsPlaces::Others) if is_followed => Some(End::Abandoned { reason: GONE_AT_START.into() }),
        (State::Open | State::Stored | State::Ended(_), _) => None,
    }
}

/// Why an attempt is given up whose file can't be sent at all, so that its intent names no folder.
pub(super) const NEVER_SENT: &str = "it was never sent";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{FileStamp, Root};
    use crate::journal::{AttemptId, Intent};
    use crate::vault::{DocumentId, RemotePath};
    use std::sync::Arc;
    use std::time::SystemTime;

    fn entry(state: State, folder: &str) -> Entry {
        let intent = Intent {
            root: "/w".into(),
            relative: "x".into(),
            stamp: FileStamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 },
            dest: RemotePath::default(),
            folder: DocumentId(folder.into()),
            name: "x".into(),
        };
        let (id, started) = (AttemptId(1), SystemTime::UNIX_EPOCH);
        Entry { id, intent, started, state, stored: None, stored_at: None, receipt: None }
    }

    #[test]
    fn a_file_that_lies_elsewhere_is_asked_for_and_an_attempt_ends_only_where_its_file_is_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = Location::At(Settled::new(Arc::new(Root::open(dir.path()).unwrap()), "y".into()));
        for claim in [Claim::Path, Claim::Name] {
            assert!(matches!(before_sending(claim, &elsewhere), Action::AskFor(_)));
            assert!(matches!(before_sending(claim, &Location::InFlight), Action::LookAgain));
            assert!(matches!(before_sending(claim, &Location::Unknown), Action::LeaveOpen));
        }
        assert!(matches!(before_sending(Claim::Path, &Location::Nowhere), Action::Resolve));
        assert!(matches!(before_sending(Claim::Name, &Location::Nowhere), Action::Abandon));
    }

    #[test]
    fn a_start_ends_only_attempts_that_no_file_will_ask_for() {
        let gone = || Some(End::Abandoned { reason: GONE_AT_START.into() });
        let table = [
            (State::Stored, AtItsPlaces::Nothing, false, Some(End::Local(LocalEnd::Removed))),
            (State::Stored, AtItsPlaces::Others, false, Some(End::Superseded)),
            (State::Stored, AtItsPlaces::Maybe, true, None),
            (State::Open, AtItsPlaces::Nothing, false, gone()),
            (State::Open, AtItsPlaces::Others, false, None),
            (State::Open, AtItsPlaces::Others, true, gone()),
            (State::Open, AtItsPlaces::Maybe, true, None),
            (State::Ended(End::Superseded), AtItsPlaces::Nothing, true, None),
        ];
        for (state, found, is_followed, end) in table {
            assert_eq!(
                at_start(&entry(state.clone(), "1"), found, is_followed),
                end,
                "{state:?} {found:?} {is_followed}"
            );
        }
    }

    #[test]
    fn an_attempt_that_went_nowhere_is_over_wherever_its_file_is() {
        for found in [AtItsPlaces::Nothing, AtItsPlaces::Others, AtItsPlaces::Maybe] {
            assert!(matches!(at_start(&entry(State::Open, ""), found, false), Some(End::Abandoned { .. })));
        }
    }
}
