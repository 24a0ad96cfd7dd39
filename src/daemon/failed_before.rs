//! Failures stay visible: each start tells how many files lie there that failed earlier, until somebody has mended them.

use std::path::PathBuf;
use std::time::SystemTime;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::budget;
use crate::inventory::{FailedHere, failed_here};
use crate::journal::Journal;
use crate::measure::utc;
use crate::printable::printable;

/// A reminder under way.
#[derive(Debug)]
pub(super) struct Reminder(JoinHandle<()>);

/// Looks for the failed files of these folders on a thread that may block, and writes one line about them to the log. No upload waits
/// for this: the file system of a folder may not answer.
pub(super) fn remind(journal: Journal, folders: Vec<PathBuf>) -> Reminder {
    // What fails from now on is told as it fails.
    let start = SystemTime::now();
    Reminder(spawn_blocking(move || match failed_here(&journal, &folders, start, budget::INVENTORY_TIME) {
        // An error: the line is for people who read only errors (`--quiet`, a cron job's mail).
        Ok(found) if found.count > 0 => tracing::error!(failed = found.count, "{}", line(&found)),
        Ok(_) => {}
        Err(error) => tracing::warn!("which files have failed before can't be read: {error}"),
    }))
}

impl Reminder {
    /// Waits for the line: a run with `--once` may end before it is written.
    pub(super) async fn written(self) {
        // A file system that does not answer has no say in when the program ends.
        tokio::time::timeout(budget::TIDY, self.0).await.ok();
    }
}

/// The line in words. Pure.
fn line(found: &FailedHere) -> String {
    let least = if found.complete { "" } else { "at least " };
    let files = match found.count {
        1 => "1 file that failed before still lies there".to_owned(),
        many => format!("{least}{many} files that failed before still lie there"),
    };
    let named: Vec<String> = found
        .newest
        .iter()
        .map(|file| format!("{} ({}): {}", file.path.display(), utc(file.at), file.reason))
        .collect();
    let more = if found.count > named.len() as u64 { "; and more" } else { "" };
    printable(&format!(
        "{files}; newest first: {}{more}. Mend the cause, then run `astran-backup retry`; `astran-backup history --failed` lists all",
        named.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::FailedFile;

    #[test]
    fn the_line_has_the_number_and_the_newest_reasons() {
        let file = |name: &str| FailedFile { path: name.into(), reason: "413".into(), at: SystemTime::UNIX_EPOCH };
        let one = FailedHere { count: 1, newest: vec![file("/w/a\nb")], complete: true };
        assert_eq!(
            line(&one),
            "1 file that failed before still lies there; newest first: /w/a\\nb (1970-01-01T00:00:00Z): 413. Mend the cause, then run `astran-backup retry`; \
             `astran-backup history --failed` lists all"
        );
        let many = FailedHere { count: 5, newest: vec![file("/w/a"), file("/w/b")], complete: false };
        assert!(line(&many).starts_with(
            "at least 5 files that failed before still lie there; newest first: /w/a (1970-01-01T00:00:00Z): 413; /w/b"
        ));
    }
}
