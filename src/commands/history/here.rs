//! What still lies in the configured folders though the journal has no entry that says so: files that wait, or that need a person.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::list::Options;
use crate::budget;
use crate::commands::output::Output;
use crate::config::Folder;
use crate::events::{Event, LocalPath};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::inventory::{self, FileHere, Inventory, Limits, Look, Standing, StillHere};
use crate::journal::{Journal, Record};
use crate::measure::utc;
use crate::printable::printable;

/// A file that lies in a configured folder.
#[derive(Serialize)]
struct HereEvent<'a> {
    #[serde(flatten)]
    path: LocalPath,
    remote_path: Option<String>,
    size: Option<u64>,
    standing: &'static str,
    reason: String,
    since: Option<String>,
    receipt: Option<i64>,
    mend: Option<&'a str>,
}

impl Event for HereEvent<'_> {
    const TYPE: &'static str = "here";
}

/// Prints the files that lie in these folders and that `--failed` or `--pending` asks for, without those of which the journal's entry
/// was printed already.
pub(super) async fn print(
    folders: &[Folder],
    journal: &Journal,
    options: &Options,
    out: &mut Output<'_>,
) -> Result<(), Fatal> {
    if !options.failed && !options.pending || options.name.is_some() || options.since.is_some() {
        return Ok(());
    }
    for folder in folders {
        let Some((place, inventory)) = take(folder, journal).await? else { continue };
        let asked = |file: &&FileHere| is_asked(&file.standing, options);
        for file in inventory.files.iter().filter(asked) {
            print_file(&place.join(&file.relative), file, out)?;
            if !out.has_reader() {
                return Ok(());
            }
        }
        if !inventory.complete {
            tracing::warn!("{} has more files than were looked at", place.display());
        }
    }
    Ok(())
}

fn is_asked(standing: &Standing, options: &Options) -> bool {
    let waits = matches!(
        standing,
        Standing::Ready { .. }
            | Standing::Settling { .. }
            | Standing::OpenForWriting { .. }
            | Standing::SetAside { .. }
    );
    let needs_a_person = standing.needs_a_person() && !matches!(standing, Standing::Failed { .. });
    options.failed && needs_a_person || options.pending && waits
}

/// The inventory of a folder, with the folder's own path. `None`, with a line in the log, where the folder can't be opened or its file
/// system does not answer.
async fn take(folder: &Folder, journal: &Journal) -> Result<Option<(std::path::PathBuf, Inventory)>, Fatal> {
    let Some(dest) = folder.policy.dest.clone() else { return Ok(None) };
    let breaks = LeaseBreaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    let (path, policy, journal) = (folder.path.clone(), folder.policy.clone(), journal.clone());
    let taking = spawn_blocking(move || {
        let root = match Root::open(&path) {
            Ok(root) => Arc::new(root),
            Err(error) => {
                tracing::warn!("the folder {} can't be looked at: {error}", path.display());
                return Ok(None);
            }
        };
        let place = root.path().to_owned();
        let look = Look::new(root, policy, dest, Some(journal), breaks)
            .map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
        Ok(Some((place, inventory::take(&look, Limits::default())?)))
    });
    let Ok(taken) = timeout(budget::RECOVERY, taking).await else {
        tracing::warn!("the folder {} can't be looked at: its file system does not answer", folder.path.display());
        return Ok(None);
    };
    taken.map_err(Fatal::internal)?
}

fn print_file(path: &Path, file: &FileHere, out: &mut Output<'_>) -> Result<(), Fatal> {
    let (mend, standing) = (file.standing.mend(), &file.standing);
    let event = HereEvent {
        path: LocalPath::new(path),
        remote_path: standing.remote().map(ToString::to_string),
        size: file.size,
        standing: standing.word(),
        reason: standing.to_string(),
        since: standing.since().map(utc),
        receipt: standing.receipt(),
        mend: mend.as_deref(),
    };
    out.print(&event, || {
        let mend = mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default();
        format!("here: {:<10}  {}: {standing}{mend}", standing.word(), printable(&path.to_string_lossy()))
    })
}

/// How long the folders of failed files may take to say whether those files still lie there.
const WAIT: Duration = budget::RECOVERY;

/// Whether the file of each failed entry still lies where it failed, unchanged; `None` for an entry of another kind, and for all where a
/// file system does not answer.
pub(super) async fn still_here(page: Vec<Record>) -> (Vec<Record>, Vec<Option<bool>>) {
    let entries: Vec<_> = page.iter().map(|record| record.entry.clone()).collect();
    let asking = spawn_blocking(move || {
        let mut here = StillHere::default();
        entries.iter().map(|entry| entry.state.is_failed().then(|| here.has(entry))).collect()
    });
    let unknown = || vec![None; page.len()];
    let marks = timeout(WAIT, asking).await.map_or_else(|_| unknown(), |done| done.unwrap_or_else(|_| unknown()));
    (page, marks)
}
