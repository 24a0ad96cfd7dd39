//! `get PATH [-o FILE]`: fetches a document from the vault, and compares it with its receipt if this machine has one.

use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::context::Context;
use super::journals;
use super::output::Output;
use super::totals::Counts;
use crate::cli;
use crate::config::Config;
use crate::events::{Event, LocalPath};
use crate::exit::{Cause, Exit, Fatal};
use crate::journal::{Journal, Stored};
use crate::printable::printable;
use crate::read_back::{self, ContentDigest};
use crate::removal::AtomicFile;
use crate::vault::{Download, RemotePath, Vault, VaultError};

/// Where a document goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the working directory, under its own name.
    OwnName,
    /// Into this file.
    File(PathBuf),
    /// Onto standard output.
    Stdout,
}

/// Which document is fetched, and to where.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The document.
    pub(super) path: RemotePath,
    /// Where it goes.
    pub(super) output: Place,
    /// Whether a file that is there already may be replaced.
    pub(super) force: bool,
}

impl From<cli::Get> for Options {
    fn from(typed: cli::Get) -> Self {
        let output = match typed.output {
            None => Place::OwnName,
            Some(file) if file == Path::new("-") => Place::Stdout,
            Some(file) => Place::File(file),
        };
        Self { path: typed.path, output, force: typed.force }
    }
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

/// Runs `get` as it was typed.
pub(super) async fn command(context: Context, typed: cli::Get, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let options = Options::from(typed);
    if out.is_json() && options.output == Place::Stdout {
        let why = "--json and -o - both need standard output: name a file with -o, or leave --json out";
        return Err(Fatal::new(Exit::Usage, why));
    }
    let service = journals::service_of(&context.config, &context.global);
    let receipt = receipt(&context.config, service.as_deref(), &options.path).await;
    context.ask(async |vault| run(vault, &options, receipt.as_ref(), out).await).await
}

/// This machine's newest receipt of a document; `None` where there is none, or no journal of this service.
async fn receipt(config: &Config, service: Option<&str>, path: &RemotePath) -> Option<Stored> {
    let found = async {
        match Journal::find(&config.state_dir, service?).await {
            Ok(Some(journal)) => journal.receipt_of(path).await.transpose(),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    };
    found.await.transpose().unwrap_or_else(|error| {
        tracing::warn!("not compared with its receipt: {error}");
        None
    })
}

/// Fetches the document.
///
/// A document that differs from its receipt is fetched too, as another user may have changed it, but the command fails and says so.
/// A document that is longer than its receipt says is fetched to its end only with `force`: a content without an end would fill
/// the disk.
async fn run(
    vault: &impl Vault,
    options: &Options,
    receipt: Option<&Stored>,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let place = match &options.output {
        Place::Stdout => None,
        Place::File(file) => Some(file.clone()),
        Place::OwnName => Some(own_name(&options.path)?),
    };
    if let Some(place) = place.as_deref().filter(|_| !options.force) {
        refuse_existing(place)?;
    }
    let download = vault.download(&options.path).await.map_err(Fatal::from)?;
    let most = receipt.filter(|_| !options.force).map(|receipt| receipt.size);
    let content = match &place {
        None => to_stdout(download, most, out).await?,
        Some(place) => Some(to_file(download, most, place, options.force).await?),
    };
    // The reader of standard output has read enough, so the rest was not fetched and can't be compared.
    let Some(content) = content else { return Ok(Exit::Done) };
    out.count(Counts::Documents { documents: 1, bytes: content.size });
    if let Some(place) = &place {
        report(&options.path, place, &content, receipt, out)?;
    }
    match receipt {
        Some(receipt) if receipt.sha256 != content.sha256 => Err(differs(&options.path, receipt, &content.sha256)),
        _ => Ok(Exit::Done),
    }
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

fn longer(size: u64) -> Fatal {
    let message = format!(
        "not fetched to its end: it is longer than the {size} bytes that its receipt says, so another user may have changed it in the vault; \
         --force fetches it all the same"
    );
    Fatal::because(Cause::Differs, message)
}

/// The document's name, as a file in the working directory. A name in the vault has no slash and is not `..`, so it can't lead
/// out of the directory.
fn own_name(path: &RemotePath) -> Result<PathBuf, Fatal> {
    let name = path.segments().last();
    name.map(PathBuf::from).ok_or_else(|| Fatal::new(Exit::Usage, "/ is the vault itself: name a document in it"))
}

/// Refuses before anything is fetched. A file that appears later is refused when the download is renamed to its place.
fn refuse_existing(place: &Path) -> Result<(), Fatal> {
    if std::fs::symlink_metadata(place).is_ok() { Err(exists(place)) } else { Ok(()) }
}

fn exists(place: &Path) -> Fatal {
    let place = printable(&place.to_string_lossy());
    Fatal::because(
        Cause::Exists,
        format!("{place} exists and is not replaced: name another file with -o, or use --force"),
    )
}

/// Writes all pieces with `write`, and returns the content's length and SHA-256. More than `most` bytes are an error.
async fn fetch(
    mut download: impl Download,
    most: Option<u64>,
    mut write: impl FnMut(&[u8]) -> Result<(), Fatal>,
) -> Result<ContentDigest, Fatal> {
    let limit = most.unwrap_or(u64::MAX);
    let Some(content) = read_back::read(&mut download, limit, &mut write).await? else { return Err(longer(limit)) };
    check_length(&download, content.size)?;
    Ok(content)
}

/// Returns `None` where the reader has closed the pipe: no more is fetched then.
async fn to_stdout(
    download: impl Download,
    most: Option<u64>,
    out: &mut Output<'_>,
) -> Result<Option<ContentDigest>, Fatal> {
    let fetched = fetch(download, most, |piece| {
        out.write(piece)?;
        if out.has_reader() { Ok(()) } else { Err(Fatal::because(Cause::Output, "the reader has closed the pipe")) }
    });
    let fetched = fetched.await;
    if out.has_reader() { fetched.map(Some) } else { Ok(None) }
}

async fn to_file(
    download: impl Download,
    most: Option<u64>,
    place: &Path,
    force: bool,
) -> Result<ContentDigest, Fatal> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(place),
        kind => {
            let exit = if kind == ErrorKind::NotFound { Exit::Missing } else { Exit::SomeFailed };
            Fatal::new(exit, format!("{} can't be written: {error}", printable(&place.to_string_lossy())))
        }
    };
    let mut partial = AtomicFile::create(place).map_err(failed)?;
    let content = fetch(download, most, |piece| partial.write_all(piece).map_err(failed)).await?;
    partial.persist(force).map_err(failed)?;
    Ok(content)
}

fn check_length(download: &impl Download, got: u64) -> Result<(), Fatal> {
    match download.length() {
        Some(length) if length != got => {
            let message = format!("the download broke off: {got} bytes came of {length}");
            Err(VaultError::new(crate::vault::Kind::Unavailable, message).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_vault::FakeVault;
    use bytes::Bytes;

    async fn fetch(path: &str, output: Place, force: bool) -> (Result<Exit, Fatal>, Vec<u8>) {
        let vault = FakeVault::default();
        for (path, length) in [("/docs/a", Some(5)), ("/docs/short", Some(9)), ("/docs/unsized", None)] {
            vault.put_with_length(path, b"hello", length);
        }
        let mut stdout = Vec::new();
        let options = Options { path: RemotePath::parse(path).unwrap(), output, force };
        let ended = run(&vault, &options, None, &mut Output::new(&mut stdout, false)).await;
        (ended, stdout)
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
        assert_eq!(own_name(&RemotePath::parse("/docs/a").unwrap()).unwrap(), Path::new("a"));
        assert_eq!(own_name(&RemotePath::default()).unwrap_err().exit, Exit::Usage);
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
