//! `get PATH [-o FILE]`: takes a document out of the vault, and holds it against its receipt where there is one here.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::hex;
use crate::journal::{Journal, Stored};
use crate::printable::printable;
use crate::removal::AtomicFile;
use crate::vault::{Download, RemotePath, Vault, VaultError};

/// Where a document goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into the working directory, under its own name.
    OwnName,
    /// Into this file.
    File(PathBuf),
    /// Onto standard output.
    Stdout,
}

/// What is asked of `get`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The document.
    pub path: RemotePath,
    /// Where it goes.
    pub output: Output,
    /// Whether a file that is there already may be replaced.
    pub force: bool,
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

/// What this machine's newest receipt for a document says; `None` where there is none, or no journal of this service.
pub async fn receipt(config: &Config, service: Option<&str>, path: &RemotePath) -> Option<Stored> {
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

/// Fetches the document; `stdout` is written to only for [`Output::Stdout`]. One that is not what its receipt says is
/// fetched all the same, for somebody else may have changed it, but said to be so. One that is longer is fetched to its end only
/// with `force`: a content without an end would fill the disk.
pub async fn run(
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
    let arriving = Arriving { download, most, got: 0, sha256: Sha256::new() };
    let sha256 = match place {
        None => to_stdout(arriving, stdout).await?,
        Some(place) => to_file(arriving, &place, options.force).await?,
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
         has somebody changed it in the vault?",
        receipt.sha256
    );
    Fatal::new(Exit::SomeFailed, message)
}

fn longer(size: u64) -> Fatal {
    let message = format!(
        "not fetched to its end: it is longer than the {size} bytes that its receipt says, so somebody has changed it in the vault; \
         --force fetches it all the same"
    );
    Fatal::new(Exit::SomeFailed, message)
}

/// A download, measured while it comes.
struct Arriving<D> {
    download: D,
    /// So many bytes are taken, and not one more.
    most: Option<u64>,
    got: u64,
    sha256: Sha256,
}

impl<D: Download> Arriving<D> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Fatal> {
        let chunk = self.download.chunk().await.map_err(Fatal::from)?;
        if let Some(chunk) = &chunk {
            self.got += chunk.len() as u64;
            if let Some(most) = self.most.filter(|most| self.got > *most) {
                return Err(longer(most));
            }
            self.sha256.update(chunk);
        }
        Ok(chunk)
    }

    /// Its SHA-256, if all of it came.
    fn whole(self) -> Result<String, Fatal> {
        check_length(&self.download, self.got)?;
        Ok(hex(&self.sha256.finalize()))
    }
}

/// The document's name as a file here. A name in the vault can't lead out of the folder: it has no slash and is not `..`.
fn own_name(path: &RemotePath) -> Result<PathBuf, Fatal> {
    let name = path.segments().last();
    name.map(PathBuf::from).ok_or_else(|| Fatal::new(Exit::Usage, "/ is the vault itself: name a document in it"))
}

/// Before anything is fetched; whether it is so still is seen again at the end.
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

async fn to_stdout(mut download: Arriving<impl Download>, out: &mut impl Write) -> Result<String, Fatal> {
    let failed = |e: std::io::Error| Fatal::new(Exit::SomeFailed, format!("standard output can't be written: {e}"));
    while let Some(chunk) = download.chunk().await? {
        out.write_all(&chunk).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    download.whole()
}

async fn to_file(mut download: Arriving<impl Download>, place: &Path, force: bool) -> Result<String, Fatal> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => exists(place),
        kind => {
            let exit = if kind == ErrorKind::NotFound { Exit::Missing } else { Exit::SomeFailed };
            Fatal::new(exit, format!("{} can't be written: {e}", printable(&place.to_string_lossy())))
        }
    };
    let mut partial = AtomicFile::create(place).map_err(failed)?;
    while let Some(chunk) = download.chunk().await? {
        partial.write_all(&chunk).map_err(failed)?;
    }
    let sha256 = download.whole()?;
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

    async fn fetch(path: &str, output: Output, force: bool) -> (Result<Exit, Fatal>, Vec<u8>) {
        let vault = FakeVault::default();
        for (path, length) in [("/docs/a", Some(5)), ("/docs/short", Some(9)), ("/docs/untold", None)] {
            vault.put_with_length(path, b"hello", length);
        }
        let mut stdout = Vec::new();
        let options = Options { path: RemotePath::parse(path).unwrap(), output, force };
        (run(&vault, &options, None, &mut stdout).await, stdout)
    }

    #[tokio::test]
    async fn a_document_goes_into_a_file_or_onto_standard_output() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "untold"] {
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
    async fn nothing_is_replaced_unasked_and_nothing_half_is_left() {
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
    async fn what_broke_off_on_its_way_to_standard_output_is_no_success() {
        assert_eq!(fetch("/docs/short", Output::Stdout, false).await.0.unwrap_err().exit, Exit::Unreachable);
    }

    /// Its look before the download saw nothing there.
    #[tokio::test]
    async fn a_file_that_appears_while_the_download_comes_is_not_replaced() {
        struct Late(Option<PathBuf>);
        impl Download for Late {
            fn length(&self) -> Option<u64> {
                None
            }
            async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
                Ok(self.0.take().map(|place| {
                    std::fs::write(place, "somebody's").unwrap();
                    Bytes::from_static(b"hello")
                }))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let arriving = Arriving { download: Late(Some(place.clone())), most: None, got: 0, sha256: Sha256::new() };
        assert_eq!(to_file(arriving, &place, false).await.unwrap_err().exit, Exit::SomeFailed);
        assert_eq!(std::fs::read(&place).unwrap(), b"somebody's");
    }
}
