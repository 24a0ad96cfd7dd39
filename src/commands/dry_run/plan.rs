//! The lines of a plan: text for people, or one JSON object a line; and their sum. Pure.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::planner::{Action, Left, Step};
use crate::config::After;
use crate::events::{Event, LocalPath, MovedTo};
use crate::measure::{self, utc};
use crate::printable::printable;

/// The sum of a plan.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) upload: u64,
    /// Bytes of the files that would be uploaded.
    pub(super) bytes: u64,
    pub(super) finish: u64,
    pub(super) leave: u64,
}

impl Sum {
    pub(super) fn add(&mut self, step: &Step) {
        match &step.action {
            Action::Upload { .. } => {
                self.upload += 1;
                self.bytes += step.size.unwrap_or(0);
            }
            Action::Finish { .. } => self.finish += 1,
            Action::Leave(_) => self.leave += 1,
        }
    }
}

/// What would be done with a file.
#[derive(Serialize)]
pub(super) struct PlanEvent<'a> {
    action: &'static str,
    #[serde(flatten)]
    path: LocalPath,
    remote_path: Option<String>,
    size: Option<u64>,
    /// What would become of the local file.
    local: &'static str,
    #[serde(flatten)]
    moved: MovedTo,
    /// Whether a document of this name is in the vault already; only for "upload".
    exists: Option<bool>,
    standing: Option<&'a str>,
    reason: Option<&'a str>,
    since: Option<String>,
    receipt: Option<i64>,
    mend: Option<&'a str>,
}

impl Event for PlanEvent<'_> {
    const TYPE: &'static str = "plan";
}

/// The last line for people.
pub(super) fn sum_line(sum: &Sum) -> String {
    let Sum { upload, bytes, finish, leave } = *sum;
    let bytes = measure::size(bytes);
    let files = if upload == 1 { "file" } else { "files" };
    let mut text = format!("would upload {upload} {files} ({bytes})");
    if finish > 0 {
        let _infallible = write!(text, ", deal with {finish} that the vault has already");
    }
    let _infallible = write!(text, ", and leave {leave}; nothing was sent, written or removed");
    text
}

/// The event about a step.
pub(super) fn event(step: &Step) -> PlanEvent<'_> {
    let base = PlanEvent {
        action: "leave",
        path: LocalPath::new(&step.local),
        remote_path: None,
        size: step.size,
        local: "kept",
        moved: MovedTo::new(None),
        exists: None,
        standing: None,
        reason: None,
        since: None,
        receipt: None,
        mend: None,
    };
    match &step.action {
        Action::Upload { to, exists, then, note } => {
            let (local, moved) = local_end(then);
            let (exists, reason) = (Some(*exists), note.as_deref());
            PlanEvent { action: "upload", remote_path: Some(to.to_string()), local, moved, exists, reason, ..base }
        }
        Action::Finish { to, then, receipt } => {
            let ((local, moved), receipt) = (local_end(then), *receipt);
            PlanEvent { action: "finish", remote_path: Some(to.to_string()), local, moved, receipt, ..base }
        }
        Action::Leave(left) => PlanEvent {
            local: if left.moved_to.is_some() { "moved" } else { "kept" },
            moved: MovedTo::new(left.moved_to.as_deref()),
            remote_path: left.to.as_ref().map(ToString::to_string),
            standing: Some(left.standing),
            reason: Some(&left.reason),
            since: left.since.map(utc),
            receipt: left.receipt,
            mend: left.mend.as_deref(),
            ..base
        },
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What would become of the local file, in the words of the event `stored`.
fn local_end(then: &After) -> (&'static str, MovedTo) {
    match then {
        After::Delete => ("removed", MovedTo::new(None)),
        After::Keep => ("kept", MovedTo::new(None)),
        After::Move(folder) => ("moved", MovedTo::new(Some(folder))),
    }
}

/// The line about a step, for people.
pub(super) fn text(step: &Step) -> String {
    let local = printable(&step.local.to_string_lossy());
    match &step.action {
        Action::Upload { to, then, note, .. } => {
            let size = step.size.map(|size| format!(" ({})", measure::size(size))).unwrap_or_default();
            let note = note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            format!("upload  {local} -> {}{size}{}{note}", printable(&to.to_string()), end_words(then))
        }
        Action::Finish { to, then, .. } => {
            format!("stored  {local} -> {}, nothing to send{}", printable(&to.to_string()), end_words(then))
        }
        Action::Leave(Left { reason, mend, moved_to, .. }) => {
            let mend = mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default();
            let moved = moved_to.as_deref().map(|to| format!(", and move it to {}", printable(&shown(to))));
            format!("leave   {local}: {reason}{mend}{}", moved.unwrap_or_default())
        }
    }
}

fn end_words(then: &After) -> String {
    match then {
        After::Delete => ", then delete it here".to_owned(),
        After::Keep => String::new(),
        After::Move(folder) => format!(", then move it to {}", printable(&shown(folder))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::RemotePath;

    fn step(action: Action) -> Step {
        Step { local: "/w/x\n".into(), size: Some(4), action }
    }

    fn upload(then: After) -> Step {
        let to = RemotePath::parse("/HR/x").unwrap();
        step(Action::Upload { to, exists: false, then, note: None })
    }

    #[test]
    fn a_line_says_what_would_be_sent_and_what_would_be_deleted_or_moved() {
        let line = text;
        assert_eq!(line(&upload(After::Delete)), "upload  /w/x\\n -> /HR/x (4 bytes), then delete it here");
        assert_eq!(line(&upload(After::Keep)), "upload  /w/x\\n -> /HR/x (4 bytes)");
        assert_eq!(
            line(&upload(After::Move("/done".into()))),
            "upload  /w/x\\n -> /HR/x (4 bytes), then move it to /done"
        );
        let leave =
            Action::Leave(Left { standing: "ignored", reason: "its name matches `*.part`".into(), ..Left::default() });
        assert_eq!(line(&step(leave)), "leave   /w/x\\n: its name matches `*.part`");
    }

    #[test]
    fn an_event_says_what_would_become_of_the_file_and_the_last_line_the_sum() {
        let step = upload(After::Delete);
        let event = serde_json::to_value(event(&step)).unwrap();
        assert_eq!(
            (&event["action"], &event["remote_path"], &event["local"]),
            (&"upload".into(), &"/HR/x".into(), &"removed".into())
        );
        let mut sum = Sum::default();
        sum.add(&step);
        assert_eq!(sum_line(&sum), "would upload 1 file (4 bytes), and leave 0; nothing was sent, written or removed");
    }
}
