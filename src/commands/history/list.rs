//! `history`: lists what the journal knows of each file.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::here::still_here;
use super::time::{ago, rfc3339};
use crate::commands::output::Output;
use crate::commands::totals::Counts;
use crate::events::{Event, LocalPath, MovedTo};
use crate::exit::{Exit, Fatal};
use crate::journal::{End, Filter, Journal, LocalEnd, NamePattern, Record, State};
use crate::measure::{local, size, utc};
use crate::printable::printable;

/// Which entries are listed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only files that failed.
    pub failed: bool,
    /// Only uploads whose outcome is open.
    pub pending: bool,
    /// Only what happened this long ago, or later.
    pub since: Option<Duration>,
    /// Only files with this name: a part of the name, or a glob.
    pub name: Option<String>,
    /// Only so many of them, the newest.
    pub limit: Option<usize>,
    /// Times for people are in UTC, and not in local time.
    pub utc: bool,
}

/// How many entries are read from the journal at a time.
const PAGE: usize = 500;

/// Prints the entries, the newest last.
pub async fn run(journal: &Journal, options: &Options, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let filter = filter(options)?;
    let zone = if options.utc { TimeZone::UTC } else { TimeZone::system() };
    let mut after = match options.limit {
        Some(limit) => journal.before_newest(&filter, limit).await?,
        None => None,
    };
    let mut attempts = 0;
    loop {
        let page = journal.history_page(&filter, after, PAGE).await?;
        let (page, still_here) = if options.failed {
            still_here(page).await
        } else {
            let unknown = vec![None; page.len()];
            (page, unknown)
        };
        for (record, still_here) in page.iter().zip(still_here) {
            attempts += 1;
            out.print(&AttemptEvent::new(record, still_here), || line(record, still_here, &zone))?;
            if !out.has_reader() {
                return Ok(Exit::Done);
            }
        }
        out.count(Counts::Attempts { attempts });
        if page.len() < PAGE {
            return Ok(Exit::Done);
        }
        after = page.last().map(|last| last.entry.id);
    }
}

fn filter(options: &Options) -> Result<Filter, Fatal> {
    let name = options.name.as_deref().map(NamePattern::parse).transpose();
    let name = name.map_err(|error| Fatal::new(Exit::Usage, format!("the name can't be understood: {error}")))?;
    Ok(Filter { name, failed: options.failed, pending: options.pending, since: ago(options.since) })
}

/// One entry as a line of text: time, what became of the file, size, local path, remote path, reason.
/// `still_here` says of a failed file whether it lies there unchanged, where that was looked at.
fn line(record: &Record, still_here: Option<bool>, zone: &TimeZone) -> String {
    let entry = &record.entry;
    let intent = &entry.intent;
    let time = entry.stored_at.unwrap_or(entry.started);
    let (_, reason) = state_words(&entry.state);
    let mut line = format!(
        "{}  {:<20}  {:>10}  {} -> {}",
        if *zone == TimeZone::UTC { utc(time) } else { local(time, zone) },
        state_for_people(&entry.state),
        size(intent.stamp.size),
        printable(&intent.root.join(&intent.relative).to_string_lossy()),
        printable(&intent.dest.join(&intent.name).to_string()),
    );
    if let State::Ended(End::Local(LocalEnd::Moved(to))) = &entry.state {
        let _infallible = write!(line, "  (moved to {})", printable(&to.to_string_lossy()));
    }
    if let Some(reason) = reason {
        let _infallible = write!(line, "  ({})", printable(reason));
    }
    if still_here == Some(false) {
        line += "  (gone, changed or mended since)";
    }
    line
}

/// One entry. A field without a value is null.
#[derive(Serialize)]
struct AttemptEvent<'a> {
    attempt: i64,
    state: &'static str,
    reason: Option<&'a str>,
    #[serde(flatten)]
    path: LocalPath,
    relative: String,
    #[serde(flatten)]
    moved: MovedTo,
    remote_path: String,
    document_id: Option<&'a str>,
    document_version: Option<&'a str>,
    size: u64,
    sha256: Option<&'a str>,
    user: Option<&'a str>,
    already_present: Option<bool>,
    started_at: String,
    stored_at: Option<String>,
    receipt: Option<i64>,
    receipt_hash: Option<&'a str>,
    previous_hash: Option<&'a str>,
    /// Only with `--failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    still_here: Option<bool>,
}

impl Event for AttemptEvent<'_> {
    const TYPE: &'static str = "attempt";
}

impl<'a> AttemptEvent<'a> {
    fn new(record: &'a Record, still_here: Option<bool>) -> Self {
        let (entry, link) = (&record.entry, record.link.as_ref());
        let (intent, stored) = (&entry.intent, entry.stored.as_ref());
        let (state, reason) = state_words(&entry.state);
        let moved_to = match &entry.state {
            State::Ended(End::Local(LocalEnd::Moved(to))) => Some(to.as_path()),
            _ => None,
        };
        Self {
            attempt: entry.id.0,
            state,
            reason,
            path: LocalPath::new(&intent.root.join(&intent.relative)),
            relative: intent.relative.to_string_lossy().into_owned(),
            moved: MovedTo::new(moved_to),
            remote_path: intent.dest.join(&intent.name).to_string(),
            document_id: stored.map(|stored| &*stored.document.0),
            document_version: stored.and_then(|stored| stored.document_version.as_deref()),
            size: stored.map_or(intent.stamp.size, |stored| stored.size),
            sha256: stored.map(|stored| &*stored.sha256),
            user: stored.map(|stored| &*stored.user),
            already_present: stored.map(|stored| stored.already_present),
            started_at: rfc3339(entry.started),
            stored_at: entry.stored_at.map(rfc3339),
            receipt: link.map(|link| link.seq),
            receipt_hash: link.map(|link| &*link.hash),
            previous_hash: link.map(|link| &*link.prev),
            still_here,
        }
    }
}

/// What became of a file, in words of at most 20 letters.
fn state_for_people(state: &State) -> &'static str {
    match state {
        State::Open => "pending",
        State::Stored => "stored, still here",
        State::Ended(End::Local(LocalEnd::Removed)) => "stored, deleted here",
        State::Ended(End::Local(LocalEnd::Kept)) => "stored, kept here",
        State::Ended(End::Local(LocalEnd::Moved(_))) => "stored, moved here",
        State::Ended(End::Superseded) => "stored, changed here",
        State::Ended(End::Failed { .. }) => "failed",
        State::Ended(End::Abandoned { .. }) => "abandoned",
    }
}

/// The state as a word for scripts, and the reason for people.
fn state_words(state: &State) -> (&'static str, Option<&str>) {
    match state {
        State::Open => ("pending", None),
        State::Stored => ("stored", None),
        State::Ended(End::Local(LocalEnd::Removed)) => ("removed", None),
        State::Ended(End::Local(LocalEnd::Kept)) => ("kept", None),
        State::Ended(End::Local(LocalEnd::Moved(_))) => ("moved", None),
        State::Ended(End::Superseded) => ("superseded", None),
        State::Ended(End::Failed { reason }) => ("failed", Some(reason)),
        State::Ended(End::Abandoned { reason }) => ("abandoned", Some(reason)),
    }
}
