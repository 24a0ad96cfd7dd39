//! `verify`: reads documents back and compares them with their receipts.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::history::time::ago;
use super::print::printed;
use crate::exit::{Exit, Fatal};
use crate::journal::{Journal, Record, Stored};
use crate::printable::{json_line, printable};
use crate::read_back::{self, ContentDigest};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

/// Which receipts are compared, and how the result is printed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One JSON object a line: one for each document, and one at the end.
    pub json: bool,
    /// Only documents that were stored this long ago, or later.
    pub since: Option<Duration>,
}

/// How many receipts are read from the journal at a time.
const PAGE: usize = 200;

/// What reading one document back showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    Same,
    Differs(String),
    Missing,
    Unreadable(String),
}

#[derive(Debug, Default)]
struct Counts {
    same: u64,
    bad: u64,
    superseded: u64,
}

/// Downloads the document of each receipt, one after the other, and prints which ones differ or are missing.
///
/// The store hands out a document's newest content, so of several receipts for one name only the last is compared.
pub async fn run<V: Vault>(
    journal: &Journal,
    vault: &V,
    options: &Options,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    let since = ago(options.since);
    let counts = compare_all(journal, vault, since, options.json, out).await?;
    printed(writeln!(out, "{}", summary(&counts, options.json)))?;
    Ok(if counts.bad == 0 { Exit::Done } else { Exit::SomeFailed })
}

async fn compare_all<V: Vault>(
    journal: &Journal,
    vault: &V,
    since: Option<SystemTime>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Counts, Fatal> {
    let mut counts = Counts::default();
    let mut after = 0;
    loop {
        let page = journal.receipts_page(since, after, PAGE).await?;
        for receipt in &page {
            after = receipt.record.link.as_ref().map_or(after, |link| link.seq);
            if receipt.superseded {
                counts.superseded += 1;
                continue;
            }
            let Some(stored) = &receipt.record.entry.stored else { continue };
            let finding = compare(vault, &path(&receipt.record), stored).await?;
            *(if finding == Finding::Same { &mut counts.same } else { &mut counts.bad }) += 1;
            if let Some(line) = line(&receipt.record, stored, &finding, json) {
                // Where standard output has no reader any more, the exit code still tells the result.
                printed(writeln!(out, "{line}"))?;
            }
        }
        if page.len() < PAGE {
            return Ok(counts);
        }
    }
}

fn path(record: &Record) -> RemotePath {
    record.entry.intent.dest.join(&record.entry.intent.name)
}

async fn compare<V: Vault>(vault: &V, path: &RemotePath, stored: &Stored) -> Result<Finding, Fatal> {
    let content = match read_back(vault, path, stored.size).await {
        Ok(content) => content,
        Err(error) => return finding(error),
    };
    Ok(match content {
        None => Finding::Differs(format!("it is longer than the {} bytes that the receipt says", stored.size)),
        Some(content) if content.size != stored.size => {
            Finding::Differs(format!("it has {} bytes, the receipt says {}", content.size, stored.size))
        }
        Some(content) if content.sha256 != stored.sha256 => {
            Finding::Differs(format!("its SHA-256 is {}, the receipt says {}", content.sha256, stored.sha256))
        }
        Some(_) => Finding::Same,
    })
}

/// Trouble with the service stops the command, as it says nothing about the documents. All other errors concern this document.
fn finding(error: VaultError) -> Result<Finding, Fatal> {
    match error.kind {
        Kind::Unavailable | Kind::Unknown => Err(Fatal::new(Exit::Unreachable, error.message)),
        Kind::Login => Err(Fatal::new(Exit::LoginRefused, error.message)),
        Kind::Missing => Ok(Finding::Missing),
        Kind::Forbidden | Kind::Conflict | Kind::Refused | Kind::Content => Ok(Finding::Unreadable(error.message)),
    }
}

/// Reads a document back; `None` where it is longer than its receipt says.
async fn read_back<V: Vault>(vault: &V, path: &RemotePath, most: u64) -> Result<Option<ContentDigest>, VaultError> {
    read_back::read(&mut vault.download(path).await?, most, |_| Ok(())).await
}

/// The line for one document. As text, a document that is as its receipt says gets no line.
fn line(record: &Record, stored: &Stored, finding: &Finding, json: bool) -> Option<String> {
    let (result, reason) = match finding {
        Finding::Same => ("same", None),
        Finding::Differs(reason) => ("differs", Some(reason)),
        Finding::Missing => ("missing", None),
        Finding::Unreadable(reason) => ("unreadable", Some(reason)),
    };
    let path = path(record).to_string();
    if json {
        let seq = record.link.as_ref().map(|link| link.seq);
        let (document, sha256) = (&stored.document.0, &stored.sha256);
        return Some(json_line(&json!({ "path": path, "result": result, "reason": reason, "seq": seq,
            "document_id": document, "sha256": sha256, "size": stored.size })));
    }
    let reason = reason.map_or(String::new(), |reason| format!(": {}", printable(reason)));
    (*finding != Finding::Same).then(|| format!("{result:<10}  {}{reason}", printable(&path)))
}

fn summary(counts: &Counts, json: bool) -> String {
    let Counts { same, bad, superseded } = counts;
    if json {
        return json!({ "same": same, "bad": bad, "superseded": superseded }).to_string();
    }
    let mut text = format!("{} documents compared: {same} as their receipts say, {bad} not", same + bad);
    if *superseded > 0 {
        let _infallible = write!(text, "\n{superseded} receipts of earlier versions were not compared");
    }
    text
}
