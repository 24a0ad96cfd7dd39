//! `retry`: failed files are tried again.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::history::printed;
use crate::exit::{Exit, Fatal};
use crate::journal::Journal;

/// Clears the failures of these files (or all files below these folders), or all failures where there are no paths.
///
/// The files are uploaded at the next look at their folder; a running `watch` does that by itself.
pub async fn run(journal: &Journal, paths: &[PathBuf], out: &mut dyn Write) -> Result<Exit, Fatal> {
    let count = journal.retry(meant(paths)?).await?;
    let line = match count {
        0 if paths.is_empty() => "no failed files".to_owned(),
        0 => "no failed files there".to_owned(),
        1 => "1 failed file will be tried again".to_owned(),
        many => format!("{many} failed files will be tried again"),
    };
    printed(writeln!(out, "{line}"))?;
    Ok(Exit::Done)
}

/// As typed and as resolved: the journal knows a folder by whatever name its watcher made absolute.
fn meant(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Fatal> {
    let mut all = Vec::with_capacity(paths.len() * 2);
    for path in paths {
        all.push(absolute(path)?);
        // The file itself may be gone or be a link; what counts is the folder that it lies in.
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
