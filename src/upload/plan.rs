//! What a transfer does with a file, by what the journal knows of it. Pure.

use crate::config::After;
use crate::file::FileStamp;
use crate::journal::{AttemptId, End, Entry, LocalEnd, State};

/// What a transfer does with a file.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// The file is sent.
    Upload,
    /// The store has the file, by this entry's receipt: only the local end is left.
    Finish(Entry),
    /// An upload was begun, and its outcome is unknown: the store is asked.
    Resolve(Entry),
    /// Nothing: the file was kept before, and has not changed.
    SkipKept,
    /// Nothing: the file failed before, in this attempt and for this reason, and has not changed.
    SkipFailed(AttemptId, String),
}

impl Plan {
    /// What the log says of it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Upload => "send the file",
            Self::Finish(_) => "an earlier receipt: check it, then the local file",
            Self::Resolve(_) => "an attempt without an outcome: ask the store",
            Self::SkipKept => "nothing: the file was kept before, and has not changed",
            Self::SkipFailed(..) => "nothing: the file failed before, and has not changed",
        }
    }
}

/// The plan for a file in this state, by the newest entry that the journal has of it. `forced` where a person asked for just this file:
/// then an earlier success or failure is no reason to leave it.
pub(super) fn plan(latest: Option<Entry>, stamp: &FileStamp, after: &After, forced: bool) -> Plan {
    let Some(entry) = latest else { return Plan::Upload };
    let before = &entry.intent.stamp;
    match &entry.state {
        // Nothing was ever sent.
        State::Open | State::Ended(End::Abandoned { .. }) if !entry.intent.names_folder() => Plan::Upload,
        State::Open => Plan::Resolve(entry),
        // The attempt was given up because its file was gone, or for what the store said. This very file is there again, and the store
        // may have it.
        State::Ended(End::Abandoned { .. }) if before.same_file(stamp) => Plan::Resolve(entry),
        // The file was touched, opened for writing without a change, put back, or has a device number that a reboot has changed: its
        // bytes are compared before anything is removed, and the same bytes are not sent again.
        State::Stored | State::Ended(End::Superseded) if before.size == stamp.size => Plan::Finish(entry),
        // The unlink did not outlive a power cut, or was never done on a file system mounted below.
        State::Ended(End::Local(LocalEnd::Removed | LocalEnd::Moved(_))) if before.same_file(stamp) && !forced => {
            Plan::Finish(entry)
        }
        State::Ended(End::Local(LocalEnd::Kept)) if before.same_file(stamp) && !forced => match after {
            After::Keep => Plan::SkipKept,
            After::Delete | After::Move(_) => Plan::Finish(entry),
        },
        // Nothing was sent: the file could not be read, or not be sent under its name. Finding out whether that is so still costs nothing.
        State::Ended(End::Failed { .. }) if !entry.intent.names_folder() && before.ctime != stamp.ctime => Plan::Upload,
        // A file that was put back when it could not be moved away has another ctime, and is refused all the same.
        State::Ended(End::Failed { reason }) if before.same_content(stamp) && !forced => {
            Plan::SkipFailed(entry.id, reason.clone())
        }
        State::Stored | State::Ended(_) => Plan::Upload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Intent;
    use crate::vault::{DocumentId, RemotePath};
    use std::time::SystemTime;

    const STAMP: FileStamp = FileStamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };
    const CHANGED: FileStamp = FileStamp { size: 9, mtime: 9, ..STAMP };
    const TOUCHED: FileStamp = FileStamp { mtime: 9, ..STAMP };
    const RENAMED: FileStamp = FileStamp { ctime: 9, ..STAMP };
    const REBOOTED: FileStamp = FileStamp { device: 9, ..STAMP };

    #[allow(clippy::unnecessary_wraps, reason = "as the journal answers")]
    fn entry(state: State) -> Option<Entry> {
        let intent = Intent {
            root: "/w".into(),
            relative: "x".into(),
            stamp: STAMP,
            dest: RemotePath::default(),
            folder: DocumentId("1".into()),
            name: "x".into(),
        };
        let (id, started) = (AttemptId(1), SystemTime::UNIX_EPOCH);
        Some(Entry { id, intent, started, state, stored: None, stored_at: None })
    }

    fn failed() -> Option<Entry> {
        entry(State::Ended(End::Failed { reason: "413".into() }))
    }

    #[test]
    fn a_failed_file_is_left_until_it_changes_or_a_person_asks_for_it() {
        assert_eq!(plan(failed(), &STAMP, &After::Delete, false), Plan::SkipFailed(AttemptId(1), "413".into()));
        assert_eq!(plan(failed(), &CHANGED, &After::Delete, false), Plan::Upload);
        assert_eq!(plan(failed(), &STAMP, &After::Delete, true), Plan::Upload);
    }

    #[test]
    fn a_file_that_failed_unsent_is_tried_again_once_anything_about_it_changed() {
        let mut unsent = failed().unwrap();
        unsent.intent.folder = DocumentId(String::new());
        let plan = |stamp| plan(Some(unsent.clone()), stamp, &After::Delete, false);
        assert_eq!(plan(&STAMP), Plan::SkipFailed(AttemptId(1), "413".into()));
        assert_eq!(plan(&RENAMED), Plan::Upload);
    }

    #[test]
    fn an_unknown_outcome_is_always_asked_for() {
        for (stamp, forced) in [(STAMP, false), (CHANGED, false), (STAMP, true)] {
            let plan = plan(entry(State::Open), &stamp, &After::Delete, forced);
            assert!(matches!(plan, Plan::Resolve(_)));
        }
    }

    #[test]
    fn a_stored_file_is_not_sent_again_unless_it_changed() {
        for stamp in [STAMP, RENAMED, TOUCHED, REBOOTED] {
            for state in [State::Stored, State::Ended(End::Superseded)] {
                assert!(matches!(plan(entry(state), &stamp, &After::Delete, false), Plan::Finish(_)));
            }
        }
        assert_eq!(plan(entry(State::Stored), &CHANGED, &After::Delete, false), Plan::Upload);
    }

    #[test]
    fn a_removed_file_that_is_there_again_after_a_power_cut_is_not_sent_again_and_a_new_one_is() {
        let removed = || entry(State::Ended(End::Local(LocalEnd::Removed)));
        assert!(matches!(plan(removed(), &REBOOTED, &After::Delete, false), Plan::Finish(_)));
        for stamp in [CHANGED, TOUCHED, FileStamp { inode: 9, ..STAMP }] {
            assert_eq!(plan(removed(), &stamp, &After::Delete, false), Plan::Upload);
        }
    }

    #[test]
    fn a_kept_file_is_sent_again_only_when_asked_for_and_removed_once_that_is_wanted() {
        let kept = || entry(State::Ended(End::Local(LocalEnd::Kept)));
        assert_eq!(plan(kept(), &STAMP, &After::Keep, false), Plan::SkipKept);
        assert_eq!(plan(kept(), &STAMP, &After::Keep, true), Plan::Upload);
        assert_eq!(plan(kept(), &CHANGED, &After::Keep, false), Plan::Upload);
        assert!(matches!(plan(kept(), &STAMP, &After::Delete, false), Plan::Finish(_)));
    }
}
