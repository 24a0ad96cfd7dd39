//! What a transfer does with a file, by what the journal knows of it. Pure.

use crate::config::After;
use crate::file::FileStamp;
use crate::journal::{AttemptId, End, Entry, LocalEnd, State};
use crate::vault::RemotePath;

/// Who asks for the upload of a file. What the journal knows of an earlier upload counts for each in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nobody: the file lies in a watched folder. A file that has failed is left until it changes.
    ByWatch,
    /// A person, who named it (`push`). A file that has failed is tried again, and what the store has already is not sent again.
    ByName,
    /// A person who wants it sent in any case (`push --again`).
    Again,
}

/// What a transfer does with a file.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// The file is sent.
    Upload,
    /// The store has the file, by this entry's receipt: only the local end is left.
    Finish(Entry),
    /// An upload was begun, and its outcome is unknown: the store is asked.
    Resolve(Entry),
    /// Nothing: the file was kept before, as this entry says, and has not changed.
    SkipKept(Entry),
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
            Self::SkipKept(_) => "nothing: the file was kept before, and has not changed",
            Self::SkipFailed(..) => "nothing: the file failed before, and has not changed",
        }
    }
}

/// The plan for a file in this state that belongs into the folder `dest` of the vault, by the newest entry that the journal has of it.
/// Without `dest`, the file can't be sent under its name.
pub(super) fn plan(
    latest: Option<Entry>,
    (stamp, dest): (&FileStamp, Option<&RemotePath>),
    after: &After,
    asked: Asked,
) -> Plan {
    let Some(entry) = latest else { return Plan::Upload };
    let before = &entry.intent.stamp;
    match &entry.state {
        // A person may send a file to a second folder of the vault: the receipt of the first one says nothing of that.
        State::Stored | State::Ended(End::Superseded | End::Local(_)) if asked == Asked::ByName => {
            match dest == Some(&entry.intent.dest) && before.size == stamp.size {
                true if is_kept_as_it_is(&entry, stamp, after) => Plan::SkipKept(entry),
                // The same bytes are not sent again. Otherwise the file goes.
                true => Plan::Finish(entry),
                false => Plan::Upload,
            }
        }
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
        State::Ended(End::Local(LocalEnd::Removed | LocalEnd::Moved(_)))
            if before.same_file(stamp) && asked == Asked::ByWatch =>
        {
            Plan::Finish(entry)
        }
        State::Ended(End::Local(LocalEnd::Kept)) if before.same_file(stamp) && asked == Asked::ByWatch => match after {
            After::Keep => Plan::SkipKept(entry),
            After::Delete | After::Move(_) => Plan::Finish(entry),
        },
        // Nothing was sent: the file could not be read, or not be sent under its name. Finding out whether that is so still costs nothing.
        State::Ended(End::Failed { .. }) if !entry.intent.names_folder() && before.ctime != stamp.ctime => Plan::Upload,
        // A file that was put back when it could not be moved away has another ctime, and is refused all the same.
        State::Ended(End::Failed { reason }) if before.same_content(stamp) && asked == Asked::ByWatch => {
            Plan::SkipFailed(entry.id, reason.clone())
        }
        State::Stored | State::Ended(_) => Plan::Upload,
    }
}

/// Whether a receipt is there that the file was kept after, nothing about the file has changed since, and it is to be kept again. The bytes
/// are not compared then, so the last change of the inode counts too.
fn is_kept_as_it_is(entry: &Entry, stamp: &FileStamp, after: &After) -> bool {
    let is_kept = matches!(entry.state, State::Ended(End::Local(LocalEnd::Kept)));
    is_kept && *after == After::Keep && entry.stored.is_some() && entry.intent.stamp == *stamp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Intent, Stored};
    use crate::vault::DocumentId;
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
        Some(Entry { id, intent, started, state, stored: None, stored_at: None, receipt: None })
    }

    /// The plan for a file that goes where it went before.
    fn plan(latest: Option<Entry>, stamp: &FileStamp, after: &After, asked: Asked) -> Plan {
        super::plan(latest, (stamp, Some(&RemotePath::default())), after, asked)
    }

    /// The same entry with a receipt.
    fn with_receipt(state: State) -> Option<Entry> {
        let (document, user) = (DocumentId("2".into()), "me".into());
        let stored =
            Stored { sha256: "ab".into(), size: 3, document, document_version: None, user, already_present: false };
        entry(state).map(|entry| Entry { stored: Some(stored), ..entry })
    }

    fn failed() -> Option<Entry> {
        entry(State::Ended(End::Failed { reason: "413".into() }))
    }

    #[test]
    fn a_failed_file_is_left_until_it_changes_or_a_person_asks_for_it() {
        assert_eq!(
            plan(failed(), &STAMP, &After::Delete, Asked::ByWatch),
            Plan::SkipFailed(AttemptId(1), "413".into())
        );
        assert_eq!(plan(failed(), &CHANGED, &After::Delete, Asked::ByWatch), Plan::Upload);
        for asked in [Asked::ByName, Asked::Again] {
            assert_eq!(plan(failed(), &STAMP, &After::Delete, asked), Plan::Upload);
        }
    }

    #[test]
    fn a_file_that_failed_unsent_is_tried_again_once_anything_about_it_changed() {
        let mut unsent = failed().unwrap();
        unsent.intent.folder = DocumentId(String::new());
        let plan = |stamp| plan(Some(unsent.clone()), stamp, &After::Delete, Asked::ByWatch);
        assert_eq!(plan(&STAMP), Plan::SkipFailed(AttemptId(1), "413".into()));
        assert_eq!(plan(&RENAMED), Plan::Upload);
    }

    #[test]
    fn an_unknown_outcome_is_always_asked_for() {
        for (stamp, asked) in
            [(STAMP, Asked::ByWatch), (CHANGED, Asked::ByWatch), (STAMP, Asked::ByName), (STAMP, Asked::Again)]
        {
            let plan = plan(entry(State::Open), &stamp, &After::Delete, asked);
            assert!(matches!(plan, Plan::Resolve(_)));
        }
    }

    #[test]
    fn a_stored_file_is_not_sent_again_unless_it_changed() {
        for stamp in [STAMP, RENAMED, TOUCHED, REBOOTED] {
            for state in [State::Stored, State::Ended(End::Superseded)] {
                assert!(matches!(plan(entry(state), &stamp, &After::Delete, Asked::ByWatch), Plan::Finish(_)));
            }
        }
        assert_eq!(plan(entry(State::Stored), &CHANGED, &After::Delete, Asked::ByWatch), Plan::Upload);
    }

    #[test]
    fn a_removed_file_that_is_there_again_after_a_power_cut_is_not_sent_again_and_a_new_one_is() {
        let removed = || entry(State::Ended(End::Local(LocalEnd::Removed)));
        assert!(matches!(plan(removed(), &REBOOTED, &After::Delete, Asked::ByWatch), Plan::Finish(_)));
        for stamp in [CHANGED, TOUCHED, FileStamp { inode: 9, ..STAMP }] {
            assert_eq!(plan(removed(), &stamp, &After::Delete, Asked::ByWatch), Plan::Upload);
        }
    }

    #[test]
    fn a_kept_file_is_sent_again_only_when_asked_for_and_removed_once_that_is_wanted() {
        let kept = || entry(State::Ended(End::Local(LocalEnd::Kept)));
        assert!(matches!(plan(kept(), &STAMP, &After::Keep, Asked::ByWatch), Plan::SkipKept(_)));
        assert_eq!(plan(kept(), &STAMP, &After::Keep, Asked::Again), Plan::Upload);
        assert_eq!(plan(kept(), &CHANGED, &After::Keep, Asked::ByWatch), Plan::Upload);
        assert!(matches!(plan(kept(), &STAMP, &After::Delete, Asked::ByWatch), Plan::Finish(_)));
    }

    #[test]
    fn a_push_sends_nothing_again_that_has_a_receipt_unless_it_changed_or_goes_elsewhere() {
        let ends =
            [LocalEnd::Removed, LocalEnd::Moved("/m".into()), LocalEnd::Kept].map(|end| State::Ended(End::Local(end)));
        for state in ends.into_iter().chain([State::Stored, State::Ended(End::Superseded)]) {
            let push = |stamp: &FileStamp, after| plan(with_receipt(state.clone()), stamp, after, Asked::ByName);
            for stamp in [TOUCHED, RENAMED, REBOOTED, FileStamp { inode: 9, ..STAMP }] {
                assert!(matches!(push(&stamp, &After::Keep), Plan::Finish(_)), "the bytes are compared: {state:?}");
            }
            assert_eq!(push(&CHANGED, &After::Keep), Plan::Upload);
            assert!(matches!(push(&STAMP, &After::Delete), Plan::Finish(_)), "it is still to be removed");
            let other = RemotePath::parse("/other").unwrap();
            for dest in [Some(&other), None] {
                let elsewhere = super::plan(with_receipt(state.clone()), (&STAMP, dest), &After::Keep, Asked::ByName);
                assert_eq!(elsewhere, Plan::Upload, "{state:?}");
            }
        }
        let kept = State::Ended(End::Local(LocalEnd::Kept));
        let push = |entry| plan(entry, &STAMP, &After::Keep, Asked::ByName);
        assert!(matches!(push(with_receipt(kept.clone())), Plan::SkipKept(_)));
        assert!(matches!(push(entry(kept)), Plan::Finish(_)), "its receipt was pruned: the store is asked");
        assert!(matches!(push(with_receipt(State::Stored)), Plan::Finish(_)));
    }
}
