//! `history`: lists what the journal knows of each file.

use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::here::still_here;
use super::time::{ago, rfc3339, rfc3339_seconds};
use crate::commands::print::printed;
use crate::exit::{Exit, Fatal};
use crate::hex;
use crate::journal::{End, Filter, Journal, LocalEnd, NamePattern, Record, State};
use crate::printable::{json_line, printable};

/// Which entries are listed, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One JSON object a line.
    pub json: bool,
    /// Only files that failed.
    pub failed: bool,
    /// Only uploads whose outcome is open.
    pub pending: bool,
    /// Only what happened this long ago, or later.
    pub since: Option<Duration>,
    /// Only files with this name: a part of the name, or a glob.
    pub name: Option<String>,
}

/// How many entries are read from the journal at a time.
const PAGE: usize = 500;

/// Prints the entries, the newest last.
pub async fn run(journal: &Journal, options: &Options, out: &mut dyn Write) -> Result<Exit, Fatal> {
    let filter = filter(options)?;
    let mut after = None;
    loop {
        let page = journal.history_page(&filter, after, PAGE).await?;
        let (page, still_here) = if options.failed {
            still_here(page).await
        } else {
            let unknown = vec![None; page.len()];
            (page, unknown)
        };
        for (record, still_here) in page.iter().zip(still_here) {
            let line = if options.json { json_line(&object(record, still_here)) } else { line(record, still_here) };
            if !printed(writeln!(out, "{line}"))? {
                return Ok(Exit::Done);
            }
        }
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

/// One entry as a line of text: time, state, size, local path, remote path, reason.
/// `still_here` says of a failed file whether it lies there unchanged, where that was looked at.
fn line(record: &Record, still_here: Option<bool>) -> String {
    let entry = &record.entry;
    let intent = &entry.intent;
    let (state, reason) = state_words(&entry.state);
    let mut line = format!(
        "{}  {state:<9}  {:>12}  {} -> {}",
        rfc3339_seconds(entry.stored_at.unwrap_or(entry.started)),
        intent.stamp.size,
        printable(&intent.root.join(&intent.relative).to_string_lossy()),
        printable(&intent.dest.join(&intent.name).to_string()),
    );
    if let State::Ended(End::Local(LocalEnd::Moved(to))) = &entry.state {
        let _infallible = write!(line, "  (to {})", printable(&to.to_string_lossy()));
    }
    if let Some(reason) = reason {
        let _infallible = write!(line, "  ({})", printable(reason));
    }
    if still_here == Some(false) {
        line += "  (gone, changed or mended since)";
    }
    line
}

/// One entry as JSON. The keys are a stable contract: none is renamed or dropped, and a key without a value is null.
fn object(record: &Record, still_here: Option<bool>) -> Value {
    let entry = &record.entry;
    let intent = &entry.intent;
    let stored = entry.stored.as_ref();
    let (state, reason) = state_words(&entry.state);
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("id", json!(entry.id.0));
    put("path", json!(intent.root.join(&intent.relative).to_string_lossy()));
    put("relative", json!(intent.relative.to_string_lossy()));
    put("name", json!(intent.name));
    put("dest", json!(intent.dest.to_string()));
    put("size", json!(stored.map_or(intent.stamp.size, |stored| stored.size)));
    put("sha256", json!(stored.map(|stored| &stored.sha256)));
    put("document_id", json!(stored.map(|stored| &stored.document.0)));
    put("version", json!(stored.and_then(|stored| stored.document_version.as_ref())));
    put("user", json!(stored.map(|stored| &stored.user)));
    put("adopted", json!(stored.map(|stored| stored.already_present)));
    put("state", json!(state));
    put("reason", json!(reason));
    put("started", json!(rfc3339(entry.started)));
    put("stored", json!(entry.stored_at.map(rfc3339)));
    put("seq", json!(record.link.as_ref().map(|link| link.seq)));
    put("hash", json!(record.link.as_ref().map(|link| &link.hash)));
    put("prev", json!(record.link.as_ref().map(|link| &link.prev)));
    if let Some(still_here) = still_here {
        put("still_here", json!(still_here));
    }
    if let State::Ended(End::Local(LocalEnd::Moved(to))) = &entry.state {
        put("moved_to", json!(to.to_string_lossy()));
    }
    if let Some(bytes) = bytes_if_not_text(&intent.root.join(&intent.relative)) {
        put("path_bytes", json!(bytes));
    }
    Value::Object(object)
}

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

/// The path's bytes in hexadecimal, if the path is not UTF-8.
fn bytes_if_not_text(path: &Path) -> Option<String> {
    if path.to_str().is_some() { None } else { Some(hex(path.as_os_str().as_bytes())) }
}
