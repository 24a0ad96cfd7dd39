//! `history`: what the journal knows of each file, and whether its receipts are as they were written.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::history_anchor::{Seen, Verdict};
use crate::exit::{Exit, Fatal};
use crate::hex;
use crate::journal::{CheckReport, End, Filter, Journal, LocalEnd, NamePattern, Record, State};
use crate::printable::{json_line, printable};
use crate::retention;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One JSON object a line.
    pub json: bool,
    /// Only files that failed.
    pub failed: bool,
    /// Only files that are under way or not yet dealt with.
    pub pending: bool,
    /// Only what happened this long ago or less.
    pub since: Option<Duration>,
    /// Only this name: a part of it, or a glob.
    pub name: Option<String>,
}

/// How many entries are in memory at a time.
const PAGE: usize = 500;

/// Prints the entries asked for, newest last.
pub async fn run(journal: &Journal, options: &Options, out: &mut dyn Write) -> Result<Exit, Fatal> {
    let filter = filter(options)?;
    let mut after = None;
    loop {
        let page = journal.history_page(&filter, after, PAGE).await?;
        for record in &page {
            let line = if options.json { json_line(&object(record)) } else { line(record) };
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

/// Forgets the receipts that are older than `age`, if the chain is whole.
pub async fn prune(journal: &Journal, age: Duration, out: &mut dyn Write) -> Result<Exit, Fatal> {
    let before = ago(Some(age)).ok_or_else(|| Fatal::new(Exit::Usage, "nothing can be so old"))?;
    let count = retention::prune_if_whole(journal, before).await?.ok_or_else(|| {
        let reason = "nothing is forgotten while receipts are missing or altered: see history --check";
        Fatal::new(Exit::SomeFailed, reason)
    })?;
    let receipts = if count == 1 { "receipt" } else { "receipts" };
    printed(writeln!(out, "{count} {receipts} forgotten; those that are left can still be checked"))?;
    Ok(Exit::Done)
}

fn filter(options: &Options) -> Result<Filter, Fatal> {
    let name = options.name.as_deref().map(NamePattern::parse).transpose();
    let name = name.map_err(|error| Fatal::new(Exit::Usage, format!("the name can't be understood: {error}")))?;
    Ok(Filter { name, failed: options.failed, pending: options.pending, since: ago(options.since) })
}

/// The time that lies so far back; `None` for all times.
pub(super) fn ago(since: Option<Duration>) -> Option<SystemTime> {
    SystemTime::now().checked_sub(since?)
}

/// Whether there is still somebody who reads the output: `history | head` is no failure.
pub(super) fn printed(written: io::Result<()>) -> Result<bool, Fatal> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fatal::new(Exit::SomeFailed, format!("the output can't be written: {error}"))),
    }
}

/// `history --check` without anything to compare with: looks along the whole chain of receipts, and prints its newest hash and
/// where it is broken.
pub async fn check(journal: &Journal, json: bool, out: &mut dyn Write) -> Result<Exit, Fatal> {
    let report = journal.check().await?;
    tell_local(&report, json, out)?;
    tell_check(&report, &Seen::default(), json, out)
}

/// Prints what a check found in the journal itself, before anything is asked that may not answer. One object is printed at the end only.
pub fn tell_local(report: &CheckReport, json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    if !json {
        printed(writeln!(out, "{}", local_text(report)))?;
    }
    Ok(())
}

/// Prints what the journal was compared with, and what follows from it all.
pub fn tell_check(report: &CheckReport, seen: &Seen, json: bool, out: &mut dyn Write) -> Result<Exit, Fatal> {
    let text = if json { json_line(&check_object(report, seen)) } else { compared_text(report, seen) };
    printed(writeln!(out, "{text}"))?;
    Ok(match Ending::of(report, seen) {
        Ending::Whole if seen.refused => Exit::LoginRefused,
        Ending::Whole => Exit::Done,
        _ => Exit::SomeFailed,
    })
}

/// What follows from a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    Unproved,
    Contradicted,
    Broken,
}

impl Ending {
    fn of(report: &CheckReport, seen: &Seen) -> Self {
        if !report.is_whole() {
            Self::Broken
        } else if seen.has(Verdict::Broken) {
            Self::Contradicted
        } else if report.unproved.is_some() || seen.has(Verdict::Open) {
            Self::Unproved
        } else {
            Self::Whole
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Whole => "the chain is whole; keep the head's hash elsewhere to prove it later",
            Self::Unproved => "nothing contradicts the journal, but not all could be compared, so it is not proved",
            Self::Contradicted => {
                "the chain looks whole, but is not the one that it was: somebody changed the journal, or what is kept of it \
                 elsewhere; compare both with a backup"
            }
            Self::Broken => "the chain is broken: somebody or something changed the journal; compare it with a backup",
        }
    }
}

fn local_text(report: &CheckReport) -> String {
    let receipts = if report.receipts == 1 { "receipt" } else { "receipts" };
    let mut text = format!("{} {receipts} checked, the newest is {}", report.receipts, report.head.seq);
    if let Some(at) = report.pruned.at {
        let _infallible = write!(text, "; pruned up to {} at {}", report.pruned.seq, rfc3339(at));
    }
    let _infallible = write!(text, "\nhead {}", report.head.hash());
    let (head, fates) = (&report.head, &report.local_ends);
    let _infallible = write!(
        text,
        "\nto compare with later: --against {}:{} --against f{}:{}",
        head.seq,
        head.hash(),
        fates.seq,
        fates.hash()
    );
    for broken in &report.defects {
        let _infallible = write!(text, "\nBROKEN {broken}");
    }
    let unlisted = report.defect_count - report.defects.len() as u64;
    if unlisted > 0 {
        let _infallible = write!(text, "\nand {unlisted} more places");
    }
    if let Some(why) = &report.unproved {
        let _infallible = write!(text, "\nwho cut the oldest off is not known: {}", printable(&why.to_string()));
    }
    text
}

/// That nothing was compared stands last: whoever reads one line must not take a local check for more.
fn compared_text(report: &CheckReport, seen: &Seen) -> String {
    let mut lines = seen.lines();
    lines.push(Ending::of(report, seen).told().to_owned());
    lines.extend(seen.not_compared.iter().map(|why| format!("not compared with the vault: {}", printable(why))));
    lines.join("\n")
}

fn check_object(report: &CheckReport, seen: &Seen) -> Value {
    let broken: Vec<Value> = report
        .defects
        .iter()
        .map(|it| json!({ "first": it.first, "last": it.last, "damage": it.kind.word() }))
        .collect();
    json!({
        "whole": Ending::of(report, seen) == Ending::Whole,
        "receipts": report.receipts,
        "head_seq": report.head.seq,
        "head_hash": report.head.hash(),
        "pruned_seq": report.pruned.seq,
        "pruned_hash": report.pruned.hash(),
        "pruned_at": report.pruned.at.map(rfc3339),
        "fates_seq": report.local_ends.seq,
        "fates_hash": report.local_ends.hash(),
        "anchors": seen.objects(),
        "not_compared": seen.not_compared,
        "unproved": report.unproved.as_ref().map(ToString::to_string),
        "breaks": report.defect_count,
        "broken": broken,
    })
}

/// One entry for people: when, how it stands, how long, from where to where, and why.
fn line(record: &Record) -> String {
    let entry = &record.entry;
    let intent = &entry.intent;
    let (state, reason) = standing(&entry.state);
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
    line
}

/// One entry for scripts. The keys are a contract: none is renamed or dropped, those without a value are null.
fn object(record: &Record) -> Value {
    let entry = &record.entry;
    let intent = &entry.intent;
    let stored = entry.stored.as_ref();
    let (state, reason) = standing(&entry.state);
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
    if let State::Ended(End::Local(LocalEnd::Moved(to))) = &entry.state {
        put("moved_to", json!(to.to_string_lossy()));
    }
    if let Some(bytes) = odd_bytes(&intent.root.join(&intent.relative)) {
        put("path_bytes", json!(bytes));
    }
    Value::Object(object)
}

fn standing(state: &State) -> (&'static str, Option<&str>) {
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

/// The path's bytes in hexadecimal, where text can't say them.
fn odd_bytes(path: &Path) -> Option<String> {
    if path.to_str().is_some() { None } else { Some(hex(path.as_os_str().as_bytes())) }
}

/// UTC with nanoseconds. Before 1970 there is nothing to write in this form; such a clock is shown as 1970.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

fn rfc3339_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}
