//! `get PATH [-o FILE]`: takes a document out of the vault.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::ls::printable;
use super::partial::Partial;
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
