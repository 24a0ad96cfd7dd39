//! `get PATH [-o FILE]`: takes a document out of the vault.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::ls::printable;
use super::partial::Partial;
use crate::cli;
use crate::exit::{Exit, Fatal};
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

/// Fetches the document; `stdout` is written to only for [`Output::Stdout`].
pub async fn run(vault: &impl Vault, options: &Options, stdout: &mut impl Write) -> Result<Exit, Fatal> {
    let place = match &options.output {
        Output::Stdout => None,
        Output::File(file) => Some(file.clone()),
        Output::OwnName => Some(own_name(&options.path)?),
    };
    if let Some(place) = place.as_deref().filter(|_| !options.force) {
        refuse_existing(place)?;
    }
    let mut download = vault.download(&options.path).await.map_err(Fatal::from)?;
    match place {
        None => to_stdout(&mut download, stdout).await,
        Some(place) => to_file(&mut download, &place, options.force).await,
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

async fn to_stdout(download: &mut impl Download, out: &mut impl Write) -> Result<Exit, Fatal> {
    let failed = |e: std::io::Error| Fatal::new(Exit::SomeFailed, format!("standard output can't be written: {e}"));
    let mut got = 0;
    while let Some(chunk) = download.chunk().await.map_err(Fatal::from)? {
        got += chunk.len() as u64;
        out.write_all(&chunk).map_err(failed)?;
    }
    check_length(download, got)?;
    out.flush().map_err(failed)?;
    Ok(Exit::Done)
}

async fn to_file(download: &mut impl Download, place: &Path, force: bool) -> Result<Exit, Fatal> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => exists(place),
        kind => {
            let exit = if kind == ErrorKind::NotFound { Exit::Missing } else { Exit::SomeFailed };
            Fatal::new(exit, format!("{} can't be written: {e}", printable(&place.to_string_lossy())))
        }
    };
    let mut partial = Partial::create(place).map_err(failed)?;
    let mut got = 0;
    while let Some(chunk) = download.chunk().await.map_err(Fatal::from)? {
        got += chunk.len() as u64;
        partial.write(&chunk).map_err(failed)?;
    }
    check_length(download, got)?;
    partial.keep(force).map_err(failed)?;
    Ok(Exit::Done)
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
    use crate::commands::shelf::Shelf;

    async fn fetch(path: &str, output: Output, force: bool) -> (Result<Exit, Fatal>, Vec<u8>) {
        let shelf = Shelf(vec![("a", b"hello", Some(5)), ("short", b"hello", Some(9)), ("untold", b"hello", None)]);
        let mut stdout = Vec::new();
        let options = Options { path: RemotePath::parse(path).unwrap(), output, force };
        (run(&shelf, &options, &mut stdout).await, stdout)
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
        fetch("/docs/a", Output::File(file.clone()), true).await.0.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"hello");
        let (result, _) = fetch("/docs/a", Output::File(dir.path().join("no/such/folder")), false).await;
        assert_eq!(result.unwrap_err().exit, Exit::Missing);
    }
}
