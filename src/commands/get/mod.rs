//! `get PATH… [-o FILE|DIR]`: fetches documents from the vault, and compares each with its receipt if this machine has one.

mod fetch;
mod place;

use std::path::Path;

use serde::Serialize;

use super::context::Context;
use super::journals;
use super::output::Output;
use super::totals::Counts;
use crate::budget;
use crate::cli;
use crate::events::{Event, LocalPath};
use crate::exit::{Cause, Exit, Fatal};
use crate::journal::{Journal, JournalError, Stored};
use crate::printable::printable;
use crate::read_back::ContentDigest;
use crate::vault::{Kind, RemotePath, Vault};

use fetch::{to_file, to_stdout};
use place::{Place, places, refuse_existing};

/// A document that is to be fetched.
#[derive(Debug, Clone)]
struct Wanted {
    path: RemotePath,
    place: Place,
    /// This machine's newest receipt of it.
    receipt: Option<Stored>,
}

/// A document that was written into a file.
#[derive(Serialize)]
struct FetchedEvent<'a> {
    remote_path: String,
    document_id: Option<&'a str>,
    #[serde(flatten)]
    path: LocalPath,
    size: u64,
    sha256: &'a str,
    matches_receipt: Option<bool>,
}

impl Event for FetchedEvent<'_> {
    const TYPE: &'static str = "fetched";
}

/// A document that was not fetched, of several.
#[derive(Serialize)]
struct NotFetchedEvent<'a> {
    remote_path: String,
    code: &'static str,
    reason: &'a str,
}

impl Event for NotFetchedEvent<'_> {
    const TYPE: &'static str = "not_fetched";
}

/// Runs `get` as it was typed.
pub(super) async fn command(context: Context, typed: cli::Get, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let places = places(&typed.paths, typed.output.as_deref())?;
    if out.is_json() && places.contains(&Place::Stdout) {
        let why = "--json and -o - both need standard output: name a file with -o, or leave --json out";
        return Err(Fatal::new(Exit::Usage, why));
    }
    let journal = journal(&context).await;
    let mut all = Vec::new();
    for (path, place) in typed.paths.into_iter().zip(places) {
        let receipt = receipt(journal.as_ref(), &path).await;
        all.push(Wanted { path, place, receipt });
    }
    context.ask(async |vault| run(vault, &all, typed.force, out).await).await
}

/// The journal of this service; `None` where there is none, or none that can be read.
async fn journal(context: &Context) -> Option<Journal> {
    let service = journals::service_of(&context.config, &context.global)?;
    Journal::find(&context.config.state_dir, &service).await.unwrap_or_else(|error| not_compared(&error))
}

/// This machine's newest receipt of a document; `None` where there is none.
async fn receipt(journal: Option<&Journal>, path: &RemotePath) -> Option<Stored> {
    journal?.receipt_of(path).await.unwrap_or_else(|error| not_compared(&error))
}

fn not_compared<T>(error: &JournalError) -> Option<T> {
    tracing::warn!("not compared with receipts: {error}");
    None
}

/// Fetches all documents. With several, one that can't be had does not keep the others from being fetched; trouble with the service or the
/// login ends the command, as it would meet all others too.
async fn run(vault: &impl Vault, all: &[Wanted], force: bool, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let (mut documents, mut bytes, mut exit) = (0, 0, Exit::Done);
    for wanted in all {
        match fetch(vault, wanted, force, out).await {
            Ok(Some(size)) => {
                (documents, bytes) = (documents + 1, bytes + size);
                out.count(Counts::Documents { documents, bytes });
            }
            Ok(None) => {}
            Err(fatal) if all.len() > 1 && concerns_one(&fatal) => {
                report_failure(&wanted.path, &fatal, out)?;
                exit = Exit::SomeFailed;
            }
            Err(fatal) => return Err(fatal),
        }
    }
    Ok(exit)
}

/// Whether an error is that of one document.
fn concerns_one(fatal: &Fatal) -> bool {
    matches!(fatal.exit, Exit::SomeFailed | Exit::Missing) && fatal.cause != Some(Cause::Output)
}

fn report_failure(path: &RemotePath, fatal: &Fatal, out: &mut Output<'_>) -> Result<(), Fatal> {
    let event = NotFetchedEvent { remote_path: path.to_string(), code: fatal.code(), reason: &fatal.message };
    out.print(&event, || format!("failed  {}: {fatal}", printable(&path.to_string())))
}

/// Fetches a document; returns its size. `None` where the reader of standard output has read enough.
///
/// A document that differs from its receipt is fetched too, as another user may have changed it, but this fails and says so.
/// A document that is longer than its receipt says is fetched to its end only with `force`: a content without an end would fill
/// the disk.
async fn fetch(
    vault: &impl Vault,
    Wanted { path, place, receipt }: &Wanted,
    force: bool,
    out: &mut Output<'_>,
) -> Result<Option<u64>, Fatal> {
    if let (Place::File(file), false) = (place, force) {
        refuse_existing(file)?;
    }
    let download = match vault.download(path).await {
        Ok(download) => download,
        Err(error) if error.kind == Kind::Missing => return Err(missing(vault, path).await.unwrap_or(error.into())),
        Err(error) => return Err(error.into()),
    };
    let most = receipt.as_ref().filter(|_| !force).map(|receipt| receipt.size);
    let content = match place {
        Place::Stdout => to_stdout(download, most, out).await?,
        Place::File(file) => Some(to_file(download, most, file, force).await?),
    };
    // The rest was not fetched and can't be compared.
    let Some(content) = content else { return Ok(None) };
    if let Place::File(file) = place {
        report(path, file, &content, receipt.as_ref(), out)?;
    }
    match receipt {
        Some(receipt) if receipt.sha256 != content.sha256 => Err(differs(path, receipt, &content.sha256)),
        _ => Ok(Some(content.size)),
    }
}

/// The error for a document that is not there, with what lies in its folder, or which part of its path there is. `None` where that can't be
/// asked.
async fn missing(vault: &impl Vault, path: &RemotePath) -> Option<Fatal> {
    let (_, above) = path.segments().split_last()?;
    let parent = above.iter().fold(RemotePath::default(), |path, segment| path.join(segment));
    let folder = match vault.folder(&parent).await {
        Ok(folder) => folder,
        Err(error) => return (error.kind == Kind::Missing).then(|| error.into()),
    };
    let mut names: Vec<_> = vault.children(&folder.id).await.ok()?.into_iter().filter_map(|child| child.name).collect();
    names.sort();
    let shown: Vec<_> = names.iter().take(budget::NAMES_BESIDE).map(|name| format!("{name:?}")).collect();
    let there = match (shown.is_empty(), names.len() - shown.len()) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    };
    Some(Fatal::new(
        Exit::Missing,
        format!("there is no document {path} in the vault: {parent} exists, and holds {there}"),
    ))
}

/// Prints the event; people get no line about a document that was fetched.
fn report(
    path: &RemotePath,
    place: &Path,
    content: &ContentDigest,
    receipt: Option<&Stored>,
    out: &mut Output<'_>,
) -> Result<(), Fatal> {
    let matches_receipt = receipt.map(|receipt| receipt.sha256 == content.sha256);
    out.event(&FetchedEvent {
        remote_path: path.to_string(),
        document_id: receipt.map(|receipt| &*receipt.document.0),
        path: LocalPath::new(&std::path::absolute(place).unwrap_or_else(|_| place.to_owned())),
        size: content.size,
        sha256: &content.sha256,
        matches_receipt,
    })
}

fn differs(path: &RemotePath, receipt: &Stored, sha256: &str) -> Fatal {
    let path = printable(&path.to_string());
    let message = format!(
        "{path} was fetched, but is not what was stored from here: its SHA-256 is {sha256}, the receipt says {}; \
         another user may have changed it in the vault",
        receipt.sha256
    );
    Fatal::because(Cause::Differs, message)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bytes::Bytes;

    use super::*;
    use crate::fake_vault::FakeVault;
    use crate::vault::{Download, VaultError};

    async fn fetch_all(all: &[(&str, Place)], force: bool, json: bool) -> (Result<Exit, Fatal>, Vec<u8>) {
        let vault = FakeVault::default();
        for (path, length) in [("/docs/a", Some(5)), ("/docs/short", Some(9)), ("/docs/unsized", None)] {
            vault.put_with_length(path, b"hello", length);
        }
        let mut stdout = Vec::new();
        let wanted = |(path, place): &(&str, Place)| Wanted {
            path: RemotePath::parse(path).unwrap(),
            place: place.clone(),
            receipt: None,
        };
        let all: Vec<_> = all.iter().map(wanted).collect();
        let ended = run(&vault, &all, force, &mut Output::new(&mut stdout, json)).await;
        (ended, stdout)
    }

    async fn fetch(path: &str, place: Place, force: bool) -> (Result<Exit, Fatal>, Vec<u8>) {
        fetch_all(&[(path, place)], force, false).await
    }

    #[tokio::test]
    async fn of_several_documents_those_that_can_be_had_are_fetched_and_the_others_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| Place::File(dir.path().join(name));
        std::fs::write(dir.path().join("old"), "old").unwrap();
        let all = [("/docs/none", file("none")), ("/docs/a", file("old")), ("/docs/unsized", file("new"))];
        let (ended, stdout) = fetch_all(&all, false, false).await;
        assert_eq!(ended.unwrap(), Exit::SomeFailed);
        assert_eq!(std::fs::read(dir.path().join("new")).unwrap(), b"hello");
        assert_eq!(std::fs::read(dir.path().join("old")).unwrap(), b"old");
        let text = String::from_utf8(stdout).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("failed  /docs/none: "), "{text}");
        assert!(lines[1].starts_with("failed  /docs/a: ") && lines[1].contains("--force"), "{text}");
        let (_, stdout) = fetch_all(&all[..2], false, true).await;
        let text = String::from_utf8(stdout).unwrap();
        assert!(text.contains(r#""type":"not_fetched""#) && text.contains(r#""code":"exists""#), "{text}");
    }

    #[tokio::test]
    async fn trouble_with_the_service_ends_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| Place::File(dir.path().join(name));
        let (ended, _) = fetch_all(&[("/docs/short", file("short")), ("/docs/a", file("a"))], false, false).await;
        assert_eq!(ended.unwrap_err().exit, Exit::Unreachable);
        assert!(!dir.path().join("a").exists());
    }

    #[tokio::test]
    async fn a_document_goes_into_a_file_or_onto_standard_output() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "unsized"] {
            let file = dir.path().join(name);
            let (result, stdout) = fetch(&format!("/docs/{name}"), Place::File(file.clone()), false).await;
            assert!(result.unwrap() == Exit::Done && stdout.is_empty());
            assert_eq!(std::fs::read(file).unwrap(), b"hello");
        }
        assert_eq!(fetch("/docs/a", Place::Stdout, false).await.1, b"hello");
    }

    #[tokio::test]
    async fn no_file_is_replaced_without_force_and_no_part_of_one_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out");
        for (path, exit) in [("/docs/short", Exit::Unreachable), ("/docs/none", Exit::Missing)] {
            let (result, _) = fetch(path, Place::File(file.clone()), false).await;
            assert_eq!(result.unwrap_err().exit, exit);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        std::fs::write(&file, "old").unwrap();
        let (result, _) = fetch("/docs/a", Place::File(file.clone()), false).await;
        let error = result.unwrap_err();
        assert!(error.exit == Exit::SomeFailed && error.message.contains("--force"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        let (result, _) = fetch("/docs/none", Place::File(file.clone()), false).await;
        assert_eq!(result.unwrap_err().exit, Exit::SomeFailed, "and nothing is fetched in vain");
        fetch("/docs/a", Place::File(file.clone()), true).await.0.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"hello");
        let (result, _) = fetch("/docs/a", Place::File(dir.path().join("no/such/folder")), false).await;
        assert_eq!(result.unwrap_err().exit, Exit::Missing);
    }

    #[tokio::test]
    async fn a_download_to_standard_output_that_breaks_off_fails() {
        assert_eq!(fetch("/docs/short", Place::Stdout, false).await.0.unwrap_err().exit, Exit::Unreachable);
    }

    /// The check before the download saw no file there.
    #[tokio::test]
    async fn a_file_that_appears_while_the_download_comes_is_not_replaced() {
        struct Late(Option<PathBuf>);
        impl Download for Late {
            fn length(&self) -> Option<u64> {
                None
            }
            async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
                Ok(self.0.take().map(|place| {
                    std::fs::write(place, "another user's").unwrap();
                    Bytes::from_static(b"hello")
                }))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let download = Late(Some(place.clone()));
        assert_eq!(to_file(download, None, &place, false).await.unwrap_err().exit, Exit::SomeFailed);
        assert_eq!(std::fs::read(&place).unwrap(), b"another user's");
    }
}
