//! A snapshot as text for people. Pure but for the local time zone.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{FileStatus, FolderStatus, Snapshot, Transfer, Trouble, Waiting};
use crate::measure::{count, size, span};
use crate::printable::printable;

/// Files of one folder that are named; `--json` has all.
const NAMED: usize = 50;

/// The snapshot, a line for each fact. Names are below their folder, and safe for terminals.
pub(crate) fn as_text(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let mut lines = vec![head(snapshot, zone)];
    lines.extend(snapshot.troubles.iter().map(|trouble| format!("! {}", trouble_line(trouble, zone))));
    for folder in &snapshot.folders {
        lines.push(String::new());
        lines.extend(folder_lines(folder, zone));
    }
    lines.join("\n")
}

fn head(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let user = snapshot.user.as_deref().map(|user| format!(", as {}", printable(user))).unwrap_or_default();
    let limit = snapshot.limit_rate.map(|rate| format!(", limited to {}/s", size(rate))).unwrap_or_default();
    match (&snapshot.since, snapshot.pid) {
        (Some(since), Some(pid)) => {
            let (version, since) = (&snapshot.version, local(since, zone));
            format!("astran-backup {version} is running since {since} (pid {pid}){user}{limit}")
        }
        _ => format!("no daemon is running{user}; this is what the journal and the folders tell"),
    }
}

fn trouble_line(trouble: &Trouble, zone: &TimeZone) -> String {
    let what = match (trouble.component.as_str(), &trouble.folder) {
        ("start", _) => "the start".to_owned(),
        ("progress", _) => "all files".to_owned(),
        ("destination", Some(folder)) => format!("the destination of {}", printable(folder)),
        (_, Some(folder)) => format!("the folder {}", printable(folder)),
        (component, None) => format!("the {component}"),
    };
    let since = trouble.since.as_deref().map(|since| format!(" since {}", local(since, zone))).unwrap_or_default();
    format!("uploads are held up{since}: {what}: {}", printable(&trouble.reason))
}

fn folder_lines(folder: &FolderStatus, zone: &TimeZone) -> Vec<String> {
    let today = folder.stored_today;
    let stored = format!("{} stored today ({})", count(today.files), size(today.bytes));
    let failed = if folder.failed == 0 { "none failed".to_owned() } else { format!("{} failed", count(folder.failed)) };
    let mut lines = vec![
        format!("{} -> {}", printable(&folder.local_path), printable(&folder.remote_path)),
        format!("  {stored}, {}, {failed}", waiting(folder.waiting)),
    ];
    let width = name_width(folder);
    let line = |path: &str, words: String| format!("  {:<width$}  {words}", name(folder, path));
    let transfers = folder.transfers.iter();
    lines.extend(transfers.map(|transfer| line(&transfer.local_path, transfer_words(transfer))));
    let named = folder.files.iter().take(NAMED);
    lines.extend(named.map(|file| line(&file.local_path, file_words(file, zone))));
    let unnamed = folder.files.len().saturating_sub(NAMED);
    if unnamed > 0 || !folder.complete {
        let at_least = if folder.complete { "" } else { "at least " };
        lines.push(format!("  and {at_least}{} more: --json has their names", count(unnamed as u64)));
    }
    lines
}

fn waiting(waiting: Waiting) -> String {
    if waiting.files == 0 {
        return "none waiting".to_owned();
    }
    let oldest = waiting.oldest_seconds.filter(|seconds| *seconds > 0);
    let oldest =
        oldest.map(|seconds| format!(", the oldest for {}", span(Duration::from_secs(seconds)))).unwrap_or_default();
    format!("{} waiting ({}{oldest})", count(waiting.files), size(waiting.bytes))
}

fn transfer_words(transfer: &Transfer) -> String {
    let Transfer { size: whole, sent, rate, seconds_left, .. } = transfer;
    if sent >= whole {
        return format!("sent ({}), waiting for the answer", size(*whole));
    }
    let percent = u128::from(*sent) * 100 / u128::from((*whole).max(1));
    let rate = rate.map(|rate| format!(", {}/s", size(rate))).unwrap_or_default();
    let left = seconds_left.map(|seconds| format!(", {} left", span(Duration::from_secs(seconds)))).unwrap_or_default();
    format!("uploading: {percent} % of {}{rate}{left}", size(*whole))
}

fn file_words(file: &FileStatus, zone: &TimeZone) -> String {
    let since = file.since.as_deref().map(|since| format!(" (since {})", local(since, zone))).unwrap_or_default();
    let mend = file.mend.as_deref().map(|mend| format!("; {mend}")).unwrap_or_default();
    format!("{}{since}{}", printable(&file.reason), printable(&mend))
}

fn name(folder: &FolderStatus, path: &str) -> String {
    let below = path.strip_prefix(&folder.local_path).map_or(path, |rest| rest.trim_start_matches('/'));
    printable(below)
}

/// The width of the column of names: that of the longest, within reason.
fn name_width(folder: &FolderStatus) -> usize {
    let files = folder.files.iter().take(NAMED).map(|file| &file.local_path);
    let names = folder.transfers.iter().map(|transfer| &transfer.local_path).chain(files);
    names.map(|path| name(folder, path).chars().count()).max().unwrap_or(0).min(32)
}

/// A point in time for people: the time of day today, else the date too.
fn local(time: &str, zone: &TimeZone) -> String {
    let Ok(at) = time.parse::<Timestamp>() else { return time.to_owned() };
    let (at, now) = (at.to_zoned_datetime(zone.clone()), Timestamp::now().to_zoned_datetime(zone.clone()));
    let form = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.strftime(form).to_string()
}
