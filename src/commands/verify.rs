//! `verify`: reads documents back and compares them with their receipts.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::history::{ago, printed};
use crate::exit::{Exit, Fatal};
use crate::hex;
use crate::journal::{Journal, Record, Stored};
use crate::printable::{escaped_json, printable};
use crate::vault::{Download, Kind, RemotePath, Vault, VaultError};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One JSON object a line: one for each document, and one at the end.
    pub json: bool,
    /// Only documents stored this long ago or less.
    pub since: Option<Duration>,
}

/// How many receipts are in memory at a time.
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
struct Tally {
    same: u64,
    bad: u64,
    superseded: u64,
}

/// Downloads what each receipt speaks of, one after the other, and prints what differs or is missing.
///
/// The store hands out a document's newest content, so of several receipts for one name only the last is compared.
pub async fn run<V: Vault>(
    journal: &Journal,
    vault: &V,
    options: &Options,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    let since = ago(options.since);
    let tally = compare_all(journal, vault, since, options.json, out).await?;
    printed(writeln!(out, "{}", summary(&tally, options.json)))?;
    Ok(if tally.bad == 0 { Exit::Done } else { Exit::SomeFailed })
}

async fn compare_all<V: Vault>(
    journal: &Journal,
    vault: &V,
    since: Option<SystemTime>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Tally, Fatal> {
    let mut tally = Tally::default();
    let mut after = 0;
    loop {
        let page = journal.receipts_page(since, after, PAGE).await?;
        for receipt in &page {
            after = receipt.record.link.as_ref().map_or(after, |link| link.seq);
            if receipt.superseded {
                tally.superseded += 1;
                continue;
            }
            let Some(stored) = &receipt.record.entry.stored else { continue };
            let finding = compare(vault, &path(&receipt.record), stored).await?;
            *(if finding == Finding::Same { &mut tally.same } else { &mut tally.bad }) += 1;
            if let Some(line) = report(&receipt.record, stored, &finding, json) {
                // Without a reader there is still the exit code to find out.
                printed(writeln!(out, "{line}"))?;
            }
        }
        if page.len() < PAGE {
            return Ok(tally);
        }
    }
}

fn path(record: &Record) -> RemotePath {
    record.entry.intent.dest.join(&record.entry.intent.name)
}

async fn compare<V: Vault>(vault: &V, path: &RemotePath, stored: &Stored) -> Result<Finding, Fatal> {
    match read_back(vault, path, stored.size).await {
        Ok((size, sha256)) if size == stored.size && sha256 == stored.sha256 => Ok(Finding::Same),
        Ok((size, _)) if size > stored.size => {
            Ok(Finding::Differs(format!("it is longer than the {} bytes that the receipt says", stored.size)))
        }
        Ok((size, _)) if size != stored.size => {
            Ok(Finding::Differs(format!("it has {size} bytes, the receipt says {}", stored.size)))
        }
        Ok((_, sha256)) => Ok(Finding::Differs(format!("its SHA-256 is {sha256}, the receipt says {}", stored.sha256))),
        Err(error) => finding(error),
    }
}

/// The service's trouble stops the command: it says nothing of the documents. All else is the document's.
fn finding(error: VaultError) -> Result<Finding, Fatal> {
    match error.kind {
        Kind::Unavailable | Kind::Unknown => Err(Fatal::new(Exit::Unreachable, error.message)),
        Kind::Login => Err(Fatal::new(Exit::LoginRefused, error.message)),
        Kind::Missing => Ok(Finding::Missing),
        Kind::Forbidden | Kind::Conflict | Kind::Refused | Kind::Content => Ok(Finding::Unreadable(error.message)),
    }
}

/// The document's length and SHA-256, without ever holding more of it than one piece.
///
/// No more than one byte beyond `expected` is waited for: a content without an end would be read for ever.
async fn read_back<V: Vault>(vault: &V, path: &RemotePath, expected: u64) -> Result<(u64, String), VaultError> {
    let mut download = vault.download(path).await?;
    let (mut size, mut hasher) = (0, Sha256::new());
    while size <= expected
        && let Some(chunk) = download.chunk().await?
    {
        size += chunk.len() as u64;
        hasher.update(&chunk);
    }
    Ok((size, hex(&hasher.finalize())))
}

/// The line for one document; people are spared those that are as they should be.
fn report(record: &Record, stored: &Stored, finding: &Finding, json: bool) -> Option<String> {
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
        let object = json!({ "path": path, "result": result, "reason": reason, "seq": seq, "document_id": document,
            "sha256": sha256, "size": stored.size });
        return Some(escaped_json(&object.to_string()));
    }
    let reason = reason.map_or(String::new(), |reason| format!(": {}", printable(reason)));
    (*finding != Finding::Same).then(|| format!("{result:<10}  {}{reason}", printable(&path)))
}

fn summary(tally: &Tally, json: bool) -> String {
    let Tally { same, bad, superseded } = tally;
    if json {
        return json!({ "same": same, "bad": bad, "superseded": superseded }).to_string();
    }
    let mut text = format!("{} documents compared: {same} as their receipts say, {bad} not", same + bad);
    if *superseded > 0 {
        let _infallible = write!(text, "\n{superseded} receipts of earlier versions were not compared");
    }
    text
}
