//! `verify`: reads documents back and compares them with their receipts.

mod sample;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use self::sample::Sample;
use super::history::time::ago;
use super::output::Output;
use super::totals::Counts;
use crate::events::{Event, LocalPath};
use crate::exit::{Exit, Fatal};
use crate::journal::{Journal, Record, Stored};
use crate::measure::count;
use crate::printable::printable;
use crate::read_back::{self, ContentDigest};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

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

/// A document that was compared with its receipt.
#[derive(Serialize)]
struct VerifiedEvent<'a> {
    result: &'static str,
    reason: Option<&'a str>,
    #[serde(flatten)]
    path: LocalPath,
    remote_path: String,
    document_id: &'a str,
    receipt: Option<i64>,
    size: u64,
    sha256: &'a str,
}

impl Event for VerifiedEvent<'_> {
    const TYPE: &'static str = "verified";
}

/// Which documents are compared. The default compares all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only documents that were stored this long ago, or later.
    pub since: Option<Duration>,
    /// Only so many of them, chosen by chance.
    pub sample: Option<usize>,
}

#[derive(Debug, Default)]
struct Compared {
    same: u64,
    bad: u64,
    superseded: u64,
    /// How many documents could have been compared, where only some were chosen.
    chosen_of: Option<u64>,
}

/// Downloads the document of each receipt, one after the other, and prints which ones differ or are missing.
///
/// The store hands out a document's newest content, so of several receipts for one name only the last is compared.
pub async fn run<V: Vault>(
    journal: &Journal,
    vault: &V,
    options: Options,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let since = ago(options.since);
    let counts = match options.sample {
        Some(size) => compare_some(journal, vault, since, size, out).await?,
        None => compare_all(journal, vault, since, out).await?,
    };
    let Compared { same, bad, superseded, chosen_of } = counts;
    out.count(Counts::Compared { same, bad, superseded, chosen_of });
    out.text(&summary(&counts))?;
    Ok(if counts.bad == 0 { Exit::Done } else { Exit::SomeFailed })
}

async fn compare_all<V: Vault>(
    journal: &Journal,
    vault: &V,
    since: Option<SystemTime>,
    out: &mut Output<'_>,
) -> Result<Compared, Fatal> {
    let mut counts = Compared::default();
    let mut pages = Pages { since, ..Pages::default() };
    while let Some(page) = pages.next(journal).await? {
        for record in page {
            compare_and_print(vault, &record, &mut counts, out).await?;
        }
    }
    counts.superseded = pages.superseded;
    Ok(counts)
}

/// Chooses `size` receipts by chance, and compares these. Nothing is downloaded before all receipts were looked at.
async fn compare_some<V: Vault>(
    journal: &Journal,
    vault: &V,
    since: Option<SystemTime>,
    size: usize,
    out: &mut Output<'_>,
) -> Result<Compared, Fatal> {
    let mut sample = Sample::of(size);
    let mut pages = Pages { since, ..Pages::default() };
    while let Some(page) = pages.next(journal).await? {
        for record in page {
            sample.offer(record, random()?);
        }
    }
    let mut counts =
        Compared { superseded: pages.superseded, chosen_of: Some(sample.offered()), ..Compared::default() };
    let mut chosen = sample.chosen();
    chosen.sort_by_key(|record| record.link.as_ref().map(|link| link.seq));
    for record in &chosen {
        compare_and_print(vault, record, &mut counts, out).await?;
    }
    Ok(counts)
}

fn random() -> Result<u64, Fatal> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the system gives no random numbers: {error}")))?;
    Ok(u64::from_ne_bytes(random))
}

/// The receipts that can be compared, page by page.
#[derive(Debug, Default)]
struct Pages {
    since: Option<SystemTime>,
    /// The number of the last receipt that was read.
    after: i64,
    is_last: bool,
    /// How many receipts were left out, because the document has had newer content since.
    superseded: u64,
}

impl Pages {
    async fn next(&mut self, journal: &Journal) -> Result<Option<Vec<Record>>, Fatal> {
        if self.is_last {
            return Ok(None);
        }
        let page = journal.receipts_page(self.since, self.after, PAGE).await?;
        self.is_last = page.len() < PAGE;
        self.after = page.last().and_then(|last| last.record.link.as_ref()).map_or(self.after, |link| link.seq);
        let (superseded, page): (Vec<_>, Vec<_>) = page.into_iter().partition(|receipt| receipt.superseded);
        self.superseded += superseded.len() as u64;
        Ok(Some(page.into_iter().map(|receipt| receipt.record).collect()))
    }
}

async fn compare_and_print<V: Vault>(
    vault: &V,
    record: &Record,
    counts: &mut Compared,
    out: &mut Output<'_>,
) -> Result<(), Fatal> {
    let Some(stored) = &record.entry.stored else { return Ok(()) };
    let finding = compare(vault, &path(record), stored).await?;
    *(if finding == Finding::Same { &mut counts.same } else { &mut counts.bad }) += 1;
    // Where standard output has no reader any more, the exit code still tells the result.
    print(record, stored, &finding, out)
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

/// Prints the result for one document. As text, a document that is as its receipt says gets no line.
fn print(record: &Record, stored: &Stored, finding: &Finding, out: &mut Output<'_>) -> Result<(), Fatal> {
    let (result, reason) = match finding {
        Finding::Same => ("same", None),
        Finding::Differs(reason) => ("differs", Some(reason.as_str())),
        Finding::Missing => ("missing", None),
        Finding::Unreadable(reason) => ("unreadable", Some(reason.as_str())),
    };
    let (intent, remote_path) = (&record.entry.intent, path(record).to_string());
    if *finding != Finding::Same {
        let reason = reason.map_or(String::new(), |reason| format!(": {}", printable(reason)));
        out.text(&format!("{result:<10}  {}{reason}", printable(&remote_path)))?;
    }
    out.event(&VerifiedEvent {
        result,
        reason,
        path: LocalPath::new(&intent.root.join(&intent.relative)),
        remote_path,
        document_id: &stored.document.0,
        receipt: record.link.as_ref().map(|link| link.seq),
        size: stored.size,
        sha256: &stored.sha256,
    })
}

fn summary(counts: &Compared) -> String {
    let &Compared { same, bad, superseded, chosen_of } = counts;
    let compared = match chosen_of {
        Some(all) => format!("{} of {}", count(same + bad), count(all)),
        None => count(same + bad),
    };
    let documents = if chosen_of.unwrap_or(same + bad) == 1 { "document" } else { "documents" };
    let mut text =
        format!("{compared} {documents} compared: {} as their receipts say, {} not", count(same), count(bad));
    if superseded == 1 {
        text += "\n1 receipt of an earlier version was not compared";
    } else if superseded > 1 {
        let _infallible = write!(text, "\n{} receipts of earlier versions were not compared", count(superseded));
    }
    text
}
