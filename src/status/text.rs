//! A snapshot as text for people, within 80 columns as far as names allow. Pure: the time and its zone are an argument.

use std::time::Duration;

use jiff::{Timestamp, ZonedDateTime};

use super::{FailedReload, FileStatus, FolderStatus, Snapshot, Transfer, Trouble, Waiting};
use crate::measure::{count, size, span};
use crate::printable::printable;

/// Files of one folder that are named; `--json` has all.
const NAMED: usize = 50;
/// The width of a terminal as it is by default.
const COLUMNS: usize = 80;
/// The widest column of names. A longer name has a line of its own.
const NAME_COLUMNS: usize = 28;
/// The standing of files that are here on purpose: they are counted, not named.
const KEPT: &str = "kept";

/// The snapshot, a line for each fact. Names are below their folder, and safe for terminals. `now` has the local time zone.
pub(crate) fn as_text(snapshot: &Snapshot, now: &ZonedDateTime) -> String {
    let mut lines = vec![head(snapshot, now)];
    lines.extend(snapshot.failed_reload.as_ref().map(|failed| failed_reload_lines(failed, now)));
    lines.extend(snapshot.troubles.iter().map(|trouble| trouble_lines(trouble, snapshot.running, now)));
    for folder in &snapshot.folders {
        lines.push(String::new());
        lines.extend(folder_lines(folder, now));
    }
    lines.join("\n")
}

fn head(snapshot: &Snapshot, now: &ZonedDateTime) -> String {
    let user = snapshot.user.as_deref().map(|user| format!(", as {}", printable(user))).unwrap_or_default();
    let limit = snapshot.limit_rate.map(|rate| format!(", limited to {}/s", size(rate))).unwrap_or_default();
    let head = match (&snapshot.since, snapshot.pid) {
        (Some(since), Some(pid)) => {
            let (version, since) = (&snapshot.version, local(since, now));
            format!("astran-backup {version} is running since {since} (pid {pid}){user}{limit}")
        }
        _ => format!("no daemon is running{user}; this is what the journal and the folders tell"),
    };
    wrapped("", "  ", &head)
}

fn failed_reload_lines(failed: &FailedReload, now: &ZonedDateTime) -> String {
    let (at, reason) = (local(&failed.at, now), printable(&failed.reason));
    let mend = "correct that and reload again";
    wrapped("! ", "  ", &format!("the reload at {at} failed, and the configuration before it holds: {reason}; {mend}"))
}

fn trouble_lines(trouble: &Trouble, is_running: bool, now: &ZonedDateTime) -> String {
    let what = match (trouble.component.as_str(), &trouble.folder) {
        ("start", _) => "the start waits for the service".to_owned(),
        ("progress", _) => "all files".to_owned(),
        ("destination", Some(folder)) => format!("the destination of {}", printable(folder)),
        (_, Some(folder)) => format!("the folder {}", printable(folder)),
        (component, None) => format!("the {}", printable(component)),
    };
    let since = trouble.since.as_deref().map(|since| format!(" since {}", local(since, now))).unwrap_or_default();
    let held_up = if is_running { format!("uploads are held up{since}: ") } else { String::new() };
    wrapped("! ", "  ", &format!("{held_up}{what}: {}", printable(&trouble.reason)))
}

fn folder_lines(folder: &FolderStatus, now: &ZonedDateTime) -> Vec<String> {
    let today = folder.stored_today;
    let stored = format!("{} stored today ({})", count(today.files), size(today.bytes));
    let at_least = if folder.complete { "" } else { "at least " };
    let failed = match folder.failed {
        0 if folder.complete => "none failed".to_owned(),
        0 => "none failed that could be seen".to_owned(),
        failed => format!("{at_least}{} failed", count(failed)),
    };
    let mut lines = vec![
        format!("{} -> {}", printable(folder.path.text()), printable(&folder.remote_path)),
        wrapped("  ", "  ", &format!("{stored}, {failed}, {}", waiting(folder.waiting))),
    ];
    let (kept, mut files): (Vec<_>, Vec<_>) = folder.files.iter().partition(|file| file.standing == KEPT);
    // What needs a person must not stand below fifty files that go by themselves.
    files.sort_by_key(|file| !file.needs_a_person);
    let unnamed = files.split_off(files.len().min(NAMED)).len();
    let transfers = folder.transfers.iter().map(|transfer| (transfer.path.text(), transfer_words(transfer), None));
    let files = files.into_iter().map(|file| (file.path.text(), file_words(file, now), file.mend.as_deref()));
    let named: Vec<_> = transfers.chain(files).map(|(path, words, mend)| (name(folder, path), words, mend)).collect();
    let widths = named.iter().map(|(name, ..)| name.chars().count()).filter(|width| *width <= NAME_COLUMNS);
    let width = widths.max().unwrap_or(0);
    lines.extend(named.into_iter().flat_map(|(name, words, mend)| entry(&name, width, &words, mend)));
    if !kept.is_empty() {
        lines.push(format!("  {at_least}{} stored, and kept here as configured", count(kept.len() as u64)));
    }
    if unnamed > 0 || !folder.complete {
        let more =
            if unnamed > 0 { format!("{at_least}{} more", count(unnamed as u64)) } else { "perhaps more".to_owned() };
        let names = if unnamed > 0 { ": --json has their names" } else { ": not all files could be looked at" };
        lines.push(format!("  and {more}{names}"));
    }
    lines
}

/// A file with its name on the left, and what there is to say of it beside the name.
fn entry(name: &str, width: usize, words: &str, mend: Option<&str>) -> Vec<String> {
    let indent = " ".repeat(width + 4);
    let mut lines = Vec::new();
    let first = if name.chars().count() <= width {
        format!("  {name:<width$}  ")
    } else {
        lines.push(format!("  {name}"));
        indent.clone()
    };
    lines.push(wrapped(&first, &indent, words));
    lines.extend(mend.map(|mend| wrapped(&format!("{indent}-> "), &format!("{indent}   "), &printable(mend))));
    lines
}

/// Words within the width of a terminal, the lines after the first one indented.
fn wrapped(first: &str, indent: &str, words: &str) -> String {
    let (mut text, mut column) = (first.to_owned(), first.chars().count());
    let mut is_first = true;
    for word in words.split(' ') {
        let width = word.chars().count();
        if !is_first && column + 1 + width > COLUMNS {
            text.push('\n');
            text.push_str(indent);
            column = indent.chars().count();
        } else if !is_first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
        is_first = false;
    }
    text
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

fn file_words(file: &FileStatus, now: &ZonedDateTime) -> String {
    let since = file.since.as_deref().map(|since| format!(" (since {})", local(since, now))).unwrap_or_default();
    format!("{}{since}", printable(&file.reason))
}

fn name(folder: &FolderStatus, path: &str) -> String {
    let below = path.strip_prefix(folder.path.text()).map_or(path, |rest| rest.trim_start_matches('/'));
    printable(below)
}

/// A point in time for people: the time of day today, else the date too.
fn local(time: &str, now: &ZonedDateTime) -> String {
    let Ok(at) = time.parse::<Timestamp>() else { return printable(time) };
    let at = at.to_zoned_datetime(now.time_zone().clone());
    let form = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::tz::{TimeZone, offset};

    use super::*;
    use crate::events::LocalPath;
    use crate::status::Sum;

    fn file(name: &str, standing: &str, reason: &str, mend: Option<&str>) -> FileStatus {
        FileStatus {
            path: LocalPath::new(&Path::new("/srv/scans").join(name)),
            size: Some(2),
            standing: standing.to_owned(),
            reason: reason.to_owned(),
            since: (standing == "failed").then(|| "2026-11-23T17:01:00Z".to_owned()),
            mend: mend.map(str::to_owned),
            needs_a_person: standing == "failed",
        }
    }

    fn folder(files: Vec<FileStatus>) -> FolderStatus {
        FolderStatus {
            path: LocalPath::new(Path::new("/srv/scans")),
            remote_path: "/HR_Backup".to_owned(),
            stored_today: Sum { files: 4998, bytes: 61 << 20 },
            waiting: Waiting { files: 2, bytes: 3_000_002, oldest_seconds: Some(400) },
            failed: files.iter().filter(|file| file.needs_a_person).count() as u64,
            transfers: Vec::new(),
            files,
            complete: true,
        }
    }

    fn snapshot(folders: Vec<FolderStatus>, troubles: Vec<Trouble>) -> Snapshot {
        Snapshot {
            running: true,
            version: "0.1.0".to_owned(),
            pid: Some(812),
            since: Some("2026-11-25T07:00:00Z".to_owned()),
            user: Some("me@example.com".to_owned()),
            limit_rate: Some(10 << 20),
            failed_reload: None,
            troubles,
            folders,
        }
    }

    fn shown(snapshot: &Snapshot) -> String {
        let now: Timestamp = "2026-11-25T08:00:00Z".parse().unwrap();
        as_text(snapshot, &now.to_zoned_datetime(TimeZone::fixed(offset(1))))
    }

    #[test]
    fn a_status_is_read_at_80_columns_in_local_time_and_what_needs_a_person_comes_first() {
        let open = "open for writing (pid 812, soffice.bin; pid 4711, scand), last changed 6 min ago";
        let mut folder = folder(vec![
            file("letter.odt", "open", open, Some("close it in the program that writes it")),
            file("kept.pdf", "kept", "stored, and kept here as configured", None),
            file("a/name/that/is/longer/than/the/column\u{1b}[2J", "ready", "ready to be uploaded", None),
            file(
                "c.pdf",
                "failed",
                "failed: too large for the vault",
                Some("mend the cause, then run `astran-backup retry`, or change the file"),
            ),
        ]);
        let path = LocalPath::new(Path::new("/srv/scans/big.iso"));
        let transfer = Transfer { path, size: 3_000_000, sent: 1_125_000, rate: Some(300_845), seconds_left: Some(7) };
        folder.transfers = vec![transfer.clone(), Transfer { sent: 3_000_000, ..transfer }];
        let trouble = Trouble {
            component: "service".to_owned(),
            folder: None,
            reason: "it can't be used just now; the log says why".to_owned(),
            since: Some("2026-11-25T07:20:00Z".to_owned()),
        };
        let text = shown(&snapshot(vec![folder], vec![trouble]));
        insta::assert_snapshot!(text, @r"
        astran-backup 0.1.0 is running since 08:00 (pid 812), as me@example.com, limited
          to 10 MiB/s
        ! uploads are held up since 08:20: the service: it can't be used just now; the
          log says why

        /srv/scans -> /HR_Backup
          4,998 stored today (61 MiB), 1 failed, 2 waiting (2.9 MiB, the oldest for 6
          min)
          big.iso     uploading: 37 % of 2.9 MiB, 294 KiB/s, 7 s left
          big.iso     sent (2.9 MiB), waiting for the answer
          c.pdf       failed: too large for the vault (since 2026-11-23 18:01)
                      -> mend the cause, then run `astran-backup retry`, or change the
                         file
          letter.odt  open for writing (pid 812, soffice.bin; pid 4711, scand), last
                      changed 6 min ago
                      -> close it in the program that writes it
          a/name/that/is/longer/than/the/column\u{1b}[2J
                      ready to be uploaded
          1 stored, and kept here as configured
        ");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
    }

    #[test]
    fn a_failed_file_is_named_however_many_others_wait_or_are_kept() {
        let mut files: Vec<_> =
            (0..200).map(|at| file(&format!("{at}"), "ready", "ready to be uploaded", None)).collect();
        files
            .extend((0..200).map(|at| file(&format!("kept{at}"), "kept", "stored, and kept here as configured", None)));
        files.push(file("refused", "failed", "failed: refused", None));
        let text = shown(&snapshot(vec![folder(files)], Vec::new()));
        let named = text.lines().find(|line| line.contains("refused"));
        assert_eq!(named, Some("  refused  failed: refused (since 2026-11-23 18:01)"));
        for part in ["  200 stored, and kept here as configured", "  and 151 more: --json has their names"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.lines().count() < 60, "{text}");
    }

    #[test]
    fn where_a_look_did_not_see_all_nothing_is_promised_of_the_rest() {
        let folder = FolderStatus { complete: false, ..folder(Vec::new()) };
        let text = shown(&snapshot(vec![folder], Vec::new()));
        let on_one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(on_one_line.contains("none failed that could be seen"), "{text}");
        assert!(text.ends_with("  and perhaps more: not all files could be looked at"), "{text}");
    }

    #[test]
    fn a_failed_reload_is_told_first_with_what_to_do() {
        let failed = FailedReload { at: "2026-11-25T07:55:00Z".to_owned(), reason: "unknown key \"sttle\"".to_owned() };
        let mut snapshot = snapshot(Vec::new(), Vec::new());
        snapshot.failed_reload = Some(failed);
        assert!(snapshot.needs_a_person());
        let shown = shown(&snapshot);
        let (_, reload) = shown.split_once("\n!").unwrap();
        insta::assert_snapshot!(reload, @r#"
         the reload at 08:55 failed, and the configuration before it holds: unknown key
          "sttle"; correct that and reload again
        "#);
    }

    #[test]
    fn without_a_daemon_that_is_said() {
        let trouble = Trouble {
            component: "folder".to_owned(),
            folder: Some("/srv/gone".to_owned()),
            reason: "it can't be opened: No such file or directory".to_owned(),
            since: None,
        };
        let snapshot = Snapshot { running: false, pid: None, since: None, ..snapshot(Vec::new(), vec![trouble]) };
        insta::assert_snapshot!(shown(&snapshot), @r"
        no daemon is running, as me@example.com; this is what the journal and the
          folders tell
        ! the folder /srv/gone: it can't be opened: No such file or directory
        ");
    }
}
