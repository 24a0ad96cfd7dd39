//! Fetches one document, onto standard output or into a file.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use super::place::exists;
use crate::commands::output::Output;
use crate::exit::{Cause, Exit, Fatal};
use crate::measure::size;
use crate::printable::printable;
use crate::read_back::{self, ContentDigest};
use crate::removal::AtomicFile;
use crate::vault::{Download, Kind, VaultError};

fn longer(most: u64) -> Fatal {
    let message = format!(
        "not fetched to its end: it is longer than the {} that its receipt says, so another user may have changed it in the vault; \
         --force fetches it all the same",
        size(most)
    );
    Fatal::because(Cause::Differs, message)
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
pub(super) async fn to_stdout(
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

pub(super) async fn to_file(
    download: impl Download,
    most: Option<u64>,
    place: &Path,
    force: bool,
) -> Result<ContentDigest, Fatal> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(place),
        kind => {
            let exit = if kind == ErrorKind::NotFound { Exit::Missing } else { Exit::SomeFailed };
            let why = match kind {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "there is no room; free some space there, or name another place with -o".to_owned()
                }
                ErrorKind::NotFound => "its folder is missing; make it, or name another place with -o".to_owned(),
                _ => error.to_string(),
            };
            Fatal::new(exit, format!("{} can't be written: {why}", printable(&place.to_string_lossy())))
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
            let message = format!("the download broke off: {got} of {length} bytes came");
            Err(VaultError::new(Kind::Unavailable, message).into())
        }
        _ => Ok(()),
    }
}
