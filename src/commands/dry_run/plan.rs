//! The lines of a plan: text for people, or one JSON object a line; and their sum. Pure.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::planner::{Action, Left, Step};
use crate::config::After;
use crate::printable::{json_line, printable};

/// The sum of a plan.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    upload: u64,
    /// Bytes of the files that would be uploaded.
    bytes: u64,
    finish: u64,
    leave: u64,
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

/// A step as JSON: the fields are a stable contract.
#[derive(Serialize)]
struct PlanEvent<'a> {
    v: u8,
    r#type: &'static str,
    time: String,
    action: &'static str,
    local_path: String,
    remote_path: Option<String>,
    size: Option<u64>,
    /// What would become of the local file.
    local: &'static str,
    moved_to: Option<String>,
    /// Whether a document of this name is in the vault already; only for "upload".
    exists: Option<bool>,
    standing: Option<&'a str>,
    reason: Option<&'a str>,
    since: Option<String>,
    receipt: Option<i64>,
    mend: Option<&'a str>,
}

#[derive(Serialize)]
struct SumEvent {
    v: u8,
    r#type: &'static str,
    time: String,
    dry_run: bool,
    upload: u64,
    bytes: u64,
    finish: u64,
    leave: u64,
    exit: u8,
}

/// The line about a step.
pub(super) fn line(step: &Step, json: bool, now: SystemTime) -> String {
    if json { json_line(&event(step, now)) } else { text(step) }
}

/// The last line.
pub(super) fn sum_line(sum: &Sum, json: bool, now: SystemTime) -> String {
    let Sum { upload, bytes, finish, leave } = *sum;
    if json {
        let time = time(now);
        return json_line(&SumEvent {
            v: 1,
            r#type: "summary",
            time,
            dry_run: true,
            upload,
            bytes,
            finish,
            leave,
            exit: 0,
        });
    }
    let files = if upload == 1 { "file" } else { "files" };
    let mut text = format!("would upload {upload} {files} ({bytes} bytes)");
    if finish > 0 {
        let _infallible = write!(text, ", deal with {finish} that the vault has already");
    }
    let _infallible = write!(text, ", and leave {leave}; nothing was sent, written or removed");
    text
}

fn time(now: SystemTime) -> String {
    humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH)).to_string()
}

fn event(step: &Step, now: SystemTime) -> PlanEvent<'_> {
    let base = PlanEvent {
        v: 1,
        r#type: "plan",
        time: time(now),
        action: "leave",
        local_path: step.local.to_string_lossy().into_owned(),
        remote_path: None,
        size: step.size,
        local: "kept",
        moved_to: None,
        exists: None,
        standing: None,
        reason: None,
        since: None,
        receipt: None,
        mend: None,
    };
    match &step.action {
        Action::Upload { to, exists, then, note } => {
            let (local, moved_to) = local_end(then);
            let (exists, reason) = (Some(*exists), note.as_deref());
            PlanEvent { action: "upload", remote_path: Some(to.to_string()), local, moved_to, exists, reason, ..base }
        }
        Action::Finish { to, then, receipt } => {
            let ((local, moved_to), receipt) = (local_end(then), *receipt);
            PlanEvent { action: "finish", remote_path: Some(to.to_string()), local, moved_to, receipt, ..base }
        }
        Action::Leave(left) => PlanEvent {
            local: if left.moved_to.is_some() { "moved" } else { "kept" },
            moved_to: left.moved_to.as_deref().map(shown),
            remote_path: left.to.as_ref().map(ToString::to_string),
            standing: Some(left.standing),
            reason: Some(&left.reason),
            since: left.since.map(time),
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
fn local_end(then: &After) -> (&'static str, Option<String>) {
    match then {
        After::Delete => ("removed", None),
        After::Keep => ("kept", None),
        After::Move(folder) => ("moved", Some(shown(folder))),
    }
}

fn text(step: &Step) -> String {
    let local = printable(&step.local.to_string_lossy());
    match &step.action {
        Action::Upload { to, then, note, .. } => {
            let size = step.size.map(|size| format!(" ({size} bytes)")).unwrap_or_default();
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
        let line = |step: &Step| line(step, false, SystemTime::UNIX_EPOCH);
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
    fn an_event_has_version_type_and_time_and_the_last_one_the_sum() {
        let read = |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap();
        let step = upload(After::Delete);
        let event = read(line(&step, true, SystemTime::UNIX_EPOCH));
        assert_eq!(
            (&event["v"], &event["type"], &event["time"]),
            (&1.into(), &"plan".into(), &"1970-01-01T00:00:00Z".into())
        );
        assert_eq!(
            (&event["action"], &event["remote_path"], &event["local"]),
            (&"upload".into(), &"/HR/x".into(), &"removed".into())
        );
        let mut sum = Sum::default();
        sum.add(&step);
        let event = read(sum_line(&sum, true, SystemTime::UNIX_EPOCH));
        assert_eq!((&event["type"], &event["upload"], &event["bytes"]), (&"summary".into(), &1.into(), &4.into()));
        assert_eq!(
            sum_line(&sum, false, SystemTime::UNIX_EPOCH),
            "would upload 1 file (4 bytes), and leave 0; nothing was sent, written or removed"
        );
    }
}
