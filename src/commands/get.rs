//! `get PATH [-o FILE]`: fetches a document from the vault, and compares it with its receipt if this machine has one.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::context::Context;
use super::journals;
use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::journal::{Journal, Stored};
use crate::printable::printable;
use crate::read_back;
use crate::removal::AtomicFile;
use crate::vault::{Download, RemotePath, Vault, VaultError};

/// Where a document goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
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
    pub(super) output: Output,
    /// Whether a file that is there already may be replaced.
    pub(super) force: bool,
}

impl From<cli::Get> for Options {
    fn from(typed: cli::Get) -> Self {
        let output = match typed.output {
            None => Output::OwnName,
            Some(file) if file == Path::new("-") => Output::Stdout,
            Some(file) => Output::File(file),
        };
        Self { path: typed.path, output, force: typed.force }
    }
}

/// Runs `get` as it was typed.
pub(super) async fn command(context: Context, typed: cli::Get) -> Result<Exit, Fatal> {
    let options = Options::from(typed);
    let service = journals::service_of(&context.config, &context.global);
    let receipt = receipt(&context.config, service.as_deref(), &options.path).await;
    context.ask(async |vault| run(vault, &options, receipt.as_ref(), &mut io::stdout()).await).await
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

/// Fetches the document; `stdout` is written to only for [`Output::Stdout`].
///
/// A document that differs from its receipt is fetched too, as another user may have changed it, but the command fails and says so.
/// A document that is longer than its receipt says is fetched to its end only with `force`: a content without an end would fill
/// the disk.
async fn run(
    vault: &impl Vault,
    options: &Options,
    receipt: Option<&Stored>,
    stdout: &mut impl Write,
) -> Result<Exit, Fatal> {
    let place = match &options.output {
        Output::Stdout => None,
        Output::File(file) => Some(file.clone()),
        Output::OwnName => Some(own_name(&options.path)?),
    };
    if let Some(place) = place.as_deref().filter(|_| !options.force) {
        refuse_existing(place)?;
    }
    let download = vault.download(&options.path).await.map_err(Fatal::from)?;
    let most = receipt.filter(|_| !options.force).map(|receipt| receipt.size);
    let sha256 = match place {
        None => to_stdout(download, most, stdout).await?,
        Some(place) => to_file(download, most, &place, options.force).await?,
    };
    match receipt {
        Some(receipt) if receipt.sha256 != sha256 => Err(differs(&options.path, receipt, &sha256)),
        _ => Ok(Exit::Done),
    }
}

fn differs(path: &RemotePath, receipt: &Stored, sha256: &str) -> Fatal {
    let path = printable(&path.to_string());
    let message = format!(
        "{path} was fetched, but is not what was stored from here: its SHA-256 is {sha256}, the receipt says {}; \
         another user may have changed it in the vault",
        receipt.sha256
    );
    Fatal::new(Exit::SomeFailed, message)
}

fn longer(size: u64) -> Fatal {
    let message = format!(
        "not fetched to its end: it is longer than the {size} bytes that its receipt says, so another user may have changed it in the vault; \
         --force fetches it all the same"
    );
    Fatal::new(Exit::SomeFailed, message)
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
    Fatal::new(
        Exit::SomeFailed,
        format!("{place} exists and is not replaced: name another file with -o, or use --force"),
    )
}

/// Writes all pieces with `write`, and returns the content's SHA-256. More than `most` bytes are an error.
async fn fetch(
    mut download: impl Download,
    most: Option<u64>,
    mut write: impl FnMut(&[u8]) -> Result<(), Fatal>,
) -> Result<String, Fatal> {
    let limit = most.unwrap_or(u64::MAX);
    let Some(content) = read_back::read(&mut download, limit, &mut write).await? else { return Err(longer(limit)) };
    check_length(&download, content.size)?;
    Ok(content.sha256)
}

async fn to_stdout(download: impl Download, most: Option<u64>, out: &mut impl Write) -> Result<String, Fatal> {
    let failed = |error: io::Error| Fatal::new(Exit::SomeFailed, format!("standard output can't be written: {error}"));
    let sha256 = fetch(download, most, |piece| out.write_all(piece).map_err(failed)).await?;
    out.flush().map_err(failed)?;
    Ok(sha256)
}

async fn to_file(download: impl Download, most: Option<u64>, place: &Path, force: bool) -> Result<String, Fatal> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(place),
        kind => {
            let exit = if kind == ErrorKind::NotFound { Exit::Missing } else { Exit::SomeFailed };
            Fatal::new(exit, format!("{} can't be written: {error}", printable(&place.to_string_lossy())))
        }
    };
    let mut partial = AtomicFile::create(place).map_err(failed)?;
    let sha256 = fetch(download, most, |piece| partial.write_all(piece).map_err(failed)).await?;
    partial.persist(force).map_err(failed)?;
    Ok(sha256)
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

    async fn fetch(path: &str, output: Output, force: bool) -> (Result<Exit, Fatal>, Vec<u8>) {
        let vault = FakeVault::default();
        for (path, length) in [("/docs/a", Some(5)), ("/docs/short", Some(9)), ("/docs/unsized", None)] {
            vault.put_with_length(path, b"hello", length);
        }
        let mut stdout = Vec::new();
        let options = Options { path: RemotePath::parse(path).unwrap(), output, force };
        (run(&vault, &options, None, &mut stdout).await, stdout)
    }

    #[tokio::test]
    async fn a_document_goes_into_a_file_or_onto_standard_output() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "unsized"] {
            let file = dir.path().join(name);
            let (result, stdout) = fetch(&format!("/docs/{name}"), Output::File(file.clone()), false).await;
            assert!(result.unwrap() == Exit::Done && stdout.is_empty());
            assert_eq!(std::fs::read(file).unwrap(), b"hello");
        }
        assert_eq!(fetch("/docs/a", Output::Stdout, false).await.1, b"hello");
        assert_eq!(own_name(&RemotePath::parse("/docs/a").unwrap()).unwrap(), Path::new("a"));
        assert_eq!(own_name(&RemotePath::default()).unwrap_err().exit, Exit::Usage);
    }

    #[tokio::test]
    async fn no_file_is_replaced_without_force_and_no_part_of_one_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out");
        for (path, exit) in [("/docs/short", Exit::Unreachable), ("/docs/none", Exit::Missing)] {
            let (result, _) = fetch(path, Output::File(file.clone()), false).await;
            assert_eq!(result.unwrap_err().exit, exit);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        std::fs::write(&file, "old").unwrap();
        let (result, _) = fetch("/docs/a", Output::File(file.clone()), false).await;
        let error = result.unwrap_err();
        assert!(error.exit == Exit::SomeFailed && error.message.contains("--force"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        let (result, _) = fetch("/docs/none", Output::File(file.clone()), false).await;
        assert_eq!(result.unwrap_err().exit, Exit::SomeFailed, "and nothing is fetched in vain");
        fetch("/docs/a", Output::File(file.clone()), true).await.0.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"hello");
        let (result, _) = fetch("/docs/a", Output::File(dir.path().join("no/such/folder")), false).await;
        assert_eq!(result.unwrap_err().exit, Exit::Missing);
    }

    #[tokio::test]
    async fn a_download_to_standard_output_that_breaks_off_fails() {
        assert_eq!(fetch("/docs/short", Output::Stdout, false).await.0.unwrap_err().exit, Exit::Unreachable);
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
