//! `retry`: lets failed files be tried again.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::Output;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::journal::Journal;

/// How many failed files will be tried again.
#[derive(Serialize)]
struct RetryEvent {
    files: usize,
}

impl Event for RetryEvent {
    const TYPE: &'static str = "retry";
}

/// Clears the failures of these files and of all files below these folders; without paths, clears all failures.
///
/// The files are uploaded at the next scan of their folder; a running `watch` makes such scans.
pub async fn run(journal: &Journal, paths: &[PathBuf], out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let count = journal.retry(spellings(paths)?).await?;
    let text = match count {
        0 if paths.is_empty() => "no failed files".to_owned(),
        0 => "no failed files there".to_owned(),
        1 => "1 failed file will be tried again".to_owned(),
        many => format!("{many} failed files will be tried again"),
    };
    out.print(&RetryEvent { files: count }, || text)?;
    Ok(Exit::Done)
}

/// The paths as they were typed, and with their links resolved: the journal has a folder by the absolute path that its watcher used.
fn spellings(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Fatal> {
    let mut all = Vec::with_capacity(paths.len() * 2);
    for path in paths {
        all.push(absolute(path)?);
        // The file itself may be gone or be a link, so the folder that it lies in is resolved too.
        all.extend(path.canonicalize());
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            all.extend(folder.canonicalize().map(|folder| folder.join(name)));
        }
    }
    Ok(all)
}

fn absolute(path: &Path) -> Result<PathBuf, Fatal> {
    std::path::absolute(path)
        .map_err(|error| Fatal::new(Exit::Usage, format!("{} is no usable path: {error}", path.display())))
}
