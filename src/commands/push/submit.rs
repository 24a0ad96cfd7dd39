//! Submits files for upload, reports what became of each, and submits files again that a program was still writing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::expand::{Given, Item, Named, expand};
use super::spool::Spooled;
use crate::commands::print::Printer;
use crate::daemon::Tally;
use crate::exit::Fatal;
use crate::file::Settled;
use crate::removal;
use crate::upload::{Failure, Outcome, Report, Unsettled};

/// How often, and how far apart, a file is submitted that a program is still writing. Then the file fails, as the user is waiting.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(500);

pub(super) struct Submitter {
    queue: mpsc::Sender<Settled>,
    /// The number of submitted files whose outcome is not known yet.
    in_flight: usize,
    /// How often each file came back.
    tries: HashMap<PathBuf, u32>,
    /// Files that came back, and wait for their next try.
    waiting: JoinSet<Settled>,
    /// How the files that were submitted, and whose outcome is not known yet, were typed.
    typed: HashMap<PathBuf, PathBuf>,
    /// The file of standard input, until its outcome is known.
    input: Option<Spooled>,
    printer: Printer,
    tally: Tally,
}

impl Submitter {
    pub(super) fn new(queue: mpsc::Sender<Settled>, printer: Printer) -> Self {
        let (tries, typed, waiting, tally) = (HashMap::new(), HashMap::new(), JoinSet::new(), Tally::default());
        Self { queue, in_flight: 0, tries, waiting, typed, input: None, printer, tally }
    }

    /// Submits all files, and returns when the outcome of each is known, or when `patience` ends: a removal may hang, and its file
    /// is left as it is.
    pub(super) async fn run(
        mut self,
        given: Given,
        mut reported: mpsc::UnboundedReceiver<Report>,
        patience: impl Future<Output = ()>,
    ) -> Result<(Tally, Named), Fatal> {
        let (sender, mut items) = mpsc::channel(1);
        let expanding = tokio::spawn(expand(given, sender));
        let mut more = true;
        tokio::pin!(patience);
        while more || self.in_flight > 0 || !self.waiting.is_empty() {
            tokio::select! {
                item = items.recv(), if more => match item {
                    Some(item) => self.found(item).await,
                    None => more = false,
                },
                Some(Ok(file)) = self.waiting.join_next() => self.submit(file).await,
                report = reported.recv() => match report {
                    Some(report) => self.ended(report),
                    // The upload was stopped: files in flight and files that wait are left as they are.
                    None => break,
                },
                () = &mut patience => break,
            }
        }
        self.tally.left += (self.in_flight + self.waiting.len()) as u64;
        if more {
            // The task waits until an item is taken, or for standard input.
            expanding.abort();
        }
        let named = match expanding.await {
            Err(error) if error.is_cancelled() => {
                self.tally.left += 1;
                Named::default()
            }
            ended => ended.map_err(Fatal::internal)??,
        };
        if let Some(input) = self.input {
            log_kept(&input.file);
        }
        Ok((self.tally, named))
    }

    async fn found(&mut self, item: Item) {
        match item {
            Item::File(file, typed) => {
                self.typed.insert(origin_of(&file), typed);
                self.submit(file).await;
            }
            Item::StandardInput(input) => {
                let file = input.file.clone();
                self.input = Some(input);
                self.submit(file).await;
            }
            Item::Missing(missing) => {
                self.tally.failed += 1;
                self.printer.print_missing(&missing.typed, &missing.why);
            }
        }
    }

    async fn submit(&mut self, file: Settled) {
        match self.queue.send(file).await {
            Ok(()) => self.in_flight += 1,
            // The upload was stopped.
            Err(_) => self.tally.left += 1,
        }
    }

    fn ended(&mut self, report: Report) {
        self.in_flight -= 1;
        match report.outcome {
            Outcome::Again { reason, place } => {
                // A file that could not be put back lies in the private folder, and must leave it.
                self.came_back(report.file.moved_to(place), reason);
            }
            Outcome::Gone => {
                let outcome = Outcome::Failed { reason: Failure::Gone, moved: None };
                self.report(&Report::new(report.file, outcome));
            }
            _ => self.report(&report),
        }
    }

    fn report(&mut self, report: &Report) {
        self.tally.count(&report.outcome);
        let typed = self.typed.remove(&origin_of(&report.file));
        self.printer.print_as(report, typed.as_deref().unwrap_or(&report.file.origin));
        self.tries.remove(&origin_of(&report.file));
        if let Some(input) = self.input.take_if(|input| place_of(&input.file) == place_of(&report.file)) {
            put_away(&input.file, &report.outcome);
        }
    }

    fn came_back(&mut self, file: Settled, reason: Unsettled) {
        let tries = self.tries.entry(origin_of(&file)).or_default();
        *tries += 1;
        if *tries >= TRIES {
            let outcome = Outcome::Failed { reason: Failure::NeverSettled(reason), moved: None };
            return self.report(&Report::new(file, outcome));
        }
        self.waiting.spawn(async move {
            tokio::time::sleep(BETWEEN).await;
            file
        });
    }
}

/// Discards the file of standard input once the store has it. Otherwise the file is the only copy, and is kept.
fn put_away(input: &Settled, outcome: &Outcome) {
    match (outcome, place_of(input).parent()) {
        (Outcome::Stored { .. } | Outcome::StoredBefore { .. }, Some(own)) => removal::discard(own),
        _ => log_kept(input),
    }
}

fn log_kept(file: &Settled) {
    tracing::error!("what came on standard input is kept in {}", place_of(file).display());
}

fn origin_of(file: &Settled) -> PathBuf {
    file.root.path().join(&file.origin)
}

fn place_of(file: &Settled) -> PathBuf {
    file.root.path().join(&file.relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget;
    use crate::cli::Global;
    use crate::commands::push::arguments::Argument;
    use crate::daemon::patience_after_stop;
    use crate::file::Root;
    use crate::progress::Done;
    use crate::shutdown;
    use std::sync::Arc;

    /// Regression: a hanging removal kept the push from ending, even at a second signal.
    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_push_whose_removal_hangs_and_the_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let (queue, mut files) = mpsc::channel(1);
        // A removal that hangs holds a sender as long as it lives.
        let (_hangs, reported) = mpsc::unbounded_channel();
        let (trigger, shutdown) = shutdown::channel();
        let (printer, _printed) = Printer::start(&Global::default(), Done::default());
        let arguments = vec![Argument::File(Settled::new(root, "x".into()), "x".into())];
        let given = Given { arguments, missing: Vec::new(), list: None, min_age: Duration::ZERO };
        let patience = patience_after_stop(Duration::from_secs(3600), shutdown);
        let submitting = tokio::spawn(Submitter::new(queue, printer).run(given, reported, patience));
        files.recv().await.unwrap();
        trigger.raise();
        trigger.raise();
        let start = tokio::time::Instant::now();
        let (tally, _) = submitting.await.unwrap().unwrap();
        assert_eq!((tally.left, start.elapsed()), (1, budget::TIDY));
    }
}
