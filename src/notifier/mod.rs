//! Tells people of trouble, as `[notify]` says: files that fail, uploads that are stuck, a login that is refused, and that these are over.
//!
//! ```text
//!  reports of files ─┐
//!  health ───────────┼─► trouble (what is wrong, what is due) ─► message ─► delivery (a queue and a task for each way)
//!  end of the run ───┘        └─► marks (what was told before, kept across runs)
//! ```
//!
//! Nothing here is in the way of uploads. What happens to files goes into a bounded channel that drops what it can't take; a thread of
//! its own decides what is told, because it locks a file; and each way to tell has a bounded queue and a task of its own.
//!
//! The room is not called `notify`: that is the crate from which `watch` has its events.

mod command;
mod delivery;
mod marks;
mod message;
mod teller;
mod test_run;
mod trouble;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::astran::ClientError;
use crate::budget;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::journal::Journal;
use crate::observe::health::Health;
use crate::observe::waiting::Waiting;
use crate::upload::{Outcome, Report};

pub(crate) use delivery::names;
use delivery::{Parcel, Senders, Signal};
use teller::{Input, Run, Teller};
pub(crate) use test_run::{TestResult, test};

/// Tells people of trouble while a run lasts.
#[derive(Debug)]
pub(crate) struct Notifier {
    files: FileReports,
    senders: Senders,
    /// Resolves when the thread has decided what the end of the run tells.
    decided: oneshot::Receiver<()>,
}

/// Takes note of what becomes of files. Clones report to the same notifier.
#[derive(Debug, Clone)]
pub(crate) struct FileReports {
    inputs: SyncSender<Input>,
    /// Failures that the channel had no room for.
    missed: Arc<AtomicU64>,
}

impl Notifier {
    /// Starts to tell; `None` where the configuration names nobody to tell. With `once` a run is told at its end.
    pub(crate) async fn start(config: &Config, health: &Health, once: bool) -> Result<Option<Self>, ClientError> {
        if !config.notify.is_used() {
            return Ok(None);
        }
        let (notify, ca_file) = (config.notify.clone(), config.service.ca_file.clone());
        let reading = tokio::task::spawn_blocking(move || delivery::ways(&notify, ca_file.as_deref()));
        let ways = reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let host = host();
        let (mut queues, senders) = delivery::start(ways, &host);
        if once {
            queues.hand(&Parcel::Signal(Signal::Start, String::new()));
        }
        let (inputs, received) = sync_channel(budget::NOTIFY_INPUTS);
        let missed = Arc::<AtomicU64>::default();
        let (decide, decided) = oneshot::channel();
        let run = Run {
            notify: config.notify.clone(),
            once,
            host,
            health: health.clone(),
            missed: Arc::clone(&missed),
            looked_up: inputs.clone(),
        };
        let state_dir = config.state_dir.clone();
        std::thread::spawn(move || {
            Teller::new(run, queues, &state_dir).run(&received);
            // Where the run did not wait for this, nobody hears it.
            decide.send(()).ok();
        });
        Ok(Some(Self { files: FileReports { inputs, missed }, senders, decided }))
    }

    /// What takes note of the files.
    pub(crate) fn files(&self) -> FileReports {
        self.files.clone()
    }

    /// Tells how the run ended, and waits a few seconds until that is sent.
    pub(crate) async fn end(mut self, ended: &Result<Exit, Fatal>) {
        let end = match ended {
            Ok(exit) => Input::End(Ok(*exit)),
            Err(fatal) => Input::End(Err((fatal.exit, words::of_fatal(fatal)))),
        };
        let all = async {
            self.files.end(end).await;
            self.decided.await.ok();
            self.senders.finish().await;
        };
        if timeout(budget::NOTIFY_AT_END, all).await.is_err() {
            tracing::warn!("not all messages of [notify] could be sent before the end");
        }
    }
}

impl FileReports {
    /// From now on the failures that lie in the folders can be counted in this journal.
    pub(crate) fn use_journal(&self, journal: Journal) {
        self.inputs.try_send(Input::Journal(journal)).ok();
    }

    /// A folder is watched from now on, whose waiting files are counted here. Never waits.
    pub(crate) fn watches(&self, folder: &Path, waiting: Waiting) {
        self.inputs.try_send(Input::Folder(folder.to_owned(), waiting)).ok();
    }

    /// Takes note of a file. Never waits.
    pub(crate) fn take(&self, report: &Report) {
        let folder = || report.file.root.path().to_owned();
        let input = match &report.outcome {
            Outcome::Failed { reason, .. } => {
                let path = report.file.root.path().join(&report.file.origin);
                Input::Failed { folder: folder(), path, reason: words::of_failure(reason) }
            }
            Outcome::Skipped { failed: true } => Input::FailedBefore(folder()),
            Outcome::Stored { .. } => Input::Stored,
            _ => return,
        };
        let is_failure = matches!(input, Input::Failed { .. });
        if self.inputs.try_send(input).is_err() && is_failure {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands over the last input. The channel may be full for a moment.
    async fn end(&self, mut end: Input) {
        while let Err(TrySendError::Full(back)) = self.inputs.try_send(end) {
            end = back;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The name of this machine.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How long a process has run, for what lasts: the wall clock may be set meanwhile.
#[derive(Debug)]
struct Uptime(Instant);

impl Uptime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
