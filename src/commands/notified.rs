//! The people who are told of a run, as `[notify]` says; nobody where it says nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::Context;
use super::journals;
use crate::cli::Global;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::journal::Journal;
use crate::notifier::{FileReports, Notifier};
use crate::observe::health::Health;
use crate::observe::waiting::{Waiting, WaitingFiles};
use crate::upload::Report;

/// The people who are told of a run.
pub(super) struct Notified {
    notifier: Mutex<Option<Notifier>>,
    files: NotifiedFiles,
    config: Config,
    global: Global,
    once: bool,
}

/// Tells of files to whoever is told just now. Clones tell the same people.
#[derive(Debug, Clone, Default)]
pub(super) struct NotifiedFiles(Arc<Mutex<Told>>);

/// What a notifier is told at its start, also one that takes the place of another.
#[derive(Debug, Default)]
struct Told {
    reports: Option<FileReports>,
    journal: Option<Journal>,
    folders: Vec<(PathBuf, Waiting)>,
}

impl Notified {
    pub(super) async fn start(context: &Context, health: &Health, once: bool) -> Result<Self, Fatal> {
        let Context { config, global, .. } = context;
        let notified = Self {
            notifier: Mutex::default(),
            files: NotifiedFiles::default(),
            config: config.clone(),
            global: global.clone(),
            once,
        };
        notified.restart(config, health).await?;
        Ok(notified)
    }

    /// Tells as this configuration says from now on.
    pub(super) async fn restart(&self, config: &Config, health: &Health) -> Result<(), Fatal> {
        let started = Notifier::start(config, health, self.once).await;
        let notifier = started.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
        self.files.use_reports(notifier.as_ref().map(Notifier::files));
        let before = std::mem::replace(&mut *locked(&self.notifier), notifier);
        if let Some(before) = before {
            // Its last messages are sent beside what goes on. Of the end of a daemon that is done it tells nothing.
            tokio::spawn(async move { before.end(&Ok(Exit::Done)).await });
        }
        Ok(())
    }

    pub(super) fn use_journal(&self, journal: &Journal) {
        let mut told = locked(&self.files.0);
        told.journal = Some(journal.clone());
        told.repeat();
    }

    /// What takes note of the files.
    pub(super) fn files(&self) -> NotifiedFiles {
        self.files.clone()
    }

    /// Tells how the run ended.
    pub(super) async fn end(self, ended: &Result<Exit, Fatal>) {
        // A journal that is held open until the process ends is not closed properly.
        *locked(&self.files.0) = Told::default();
        let notifier = locked(&self.notifier).take();
        let Some(notifier) = notifier else { return };
        if ended.is_err() && !self.config.state_dir.exists() {
            // What is told is kept in the state directory, which the journal makes. Without it, each cron job of a run that fails before
            // that would tell the same. Where the journal can't be made, that is told, and nothing is kept.
            journals::open(&self.config, &self.global).await.ok();
        }
        notifier.end(ended).await;
    }
}

impl NotifiedFiles {
    /// A folder is watched from now on, whose waiting files are counted here.
    pub(super) fn watches(&self, folder: &Path, waiting: Waiting) {
        let mut told = locked(&self.0);
        told.folders.retain(|(known, _)| known != folder);
        if let Some(reports) = &told.reports {
            reports.watches(folder, waiting.clone());
        }
        told.folders.push((folder.to_owned(), waiting));
    }

    /// A folder is watched no more.
    pub(super) fn forget(&self, folder: &Path) {
        let mut told = locked(&self.0);
        for (_, waiting) in told.folders.iter().filter(|(known, _)| known == folder) {
            // Nothing waits where nothing is watched.
            waiting.set(WaitingFiles::default());
        }
        told.folders.retain(|(known, _)| known != folder);
    }

    /// Takes note of a file.
    pub(super) fn take(&self, report: &Report) {
        if let Some(reports) = &locked(&self.0).reports {
            reports.take(report);
        }
    }

    fn use_reports(&self, reports: Option<FileReports>) {
        let mut told = locked(&self.0);
        told.reports = reports;
        told.repeat();
    }
}

impl Told {
    /// Tells a notifier that has begun what was told before.
    fn repeat(&self) {
        let Some(reports) = &self.reports else { return };
        if let Some(journal) = &self.journal {
            reports.use_journal(journal.clone());
        }
        for (folder, waiting) in &self.folders {
            reports.watches(folder, waiting.clone());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
