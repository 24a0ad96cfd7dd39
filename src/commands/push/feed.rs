//! Hands files to the pipeline, tells what became of each, and hands those over again that somebody still wrote.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::named::{Find, Named, find_all};
use super::spool::Spooled;
use crate::commands::print::Printer;
use crate::daemon::Tally;
use crate::exit::{Exit, Fatal};
use crate::file::Settled;
use crate::removal;
use crate::upload::{Failure, Outcome, Report, Unsettled};

/// A file that somebody writes is tried so often, so far apart; then it fails, for whoever pushes waits.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(500);

pub(super) struct Feed {
    queue: mpsc::Sender<Settled>,
    /// Files handed over whose end is not known.
    out: usize,
    /// How often a file came back.
    tries: HashMap<PathBuf, u32>,
    /// Files that came back and wait for their next try.
    resting: JoinSet<Settled>,
    /// Standard input's file, until its end is known.
    input: Option<Spooled>,
    printer: Printer,
    tally: Tally,
}

impl Feed {
    pub(super) fn new(queue: mpsc::Sender<Settled>, printer: Printer) -> Self {
        let (tries, resting, tally) = (HashMap::new(), JoinSet::new(), Tally::default());
        Self { queue, out: 0, tries, resting, input: None, printer, tally }
    }

    /// Feeds the pipeline until the end of each file is known, or patience ends: a removal may hang, and its file is left.
    pub(super) async fn run(
        mut self,
        named: Vec<Named>,
        mut reported: mpsc::UnboundedReceiver<Report>,
        patience: impl Future<Output = ()>,
    ) -> Result<Tally, Fatal> {
        let (sender, mut found) = mpsc::channel(1);
        let finding = tokio::spawn(find_all(named, sender));
        let mut more = true;
        tokio::pin!(patience);
        while more || self.out > 0 || !self.resting.is_empty() {
            tokio::select! {
                file = found.recv(), if more => match file {
                    Some(file) => self.found(file).await,
                    None => more = false,
                },
                Some(Ok(file)) = self.resting.join_next() => self.hand_over(file).await,
                report = reported.recv() => match report {
                    Some(report) => self.ended(report),
                    // Stopped in the middle of those that are out, and before those that rest.
                    None => break,
                },
                () = &mut patience => break,
            }
        }
        self.tally.left += (self.out + self.resting.len()) as u64;
        if more {
            // It waits for somebody to take more, or for standard input.
            finding.abort();
        }
        match finding.await {
            Err(error) if error.is_cancelled() => self.tally.left += 1,
            ended => ended.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))??,
        }
        if let Some(input) = self.input {
            tell_kept(&input.file);
        }
        Ok(self.tally)
    }

    async fn found(&mut self, found: Find) {
        match found {
            Find::File(file) => self.hand_over(file).await,
            Find::Input(input) => {
                let file = input.file.clone();
                self.input = Some(input);
                self.hand_over(file).await;
            }
            Find::Unreadable(unreadable) => {
                self.tally.failed += 1;
                tracing::error!("{unreadable}");
            }
        }
    }

    async fn hand_over(&mut self, file: Settled) {
        match self.queue.send(file).await {
            Ok(()) => self.out += 1,
            // The pipeline has given up.
            Err(_) => self.tally.left += 1,
        }
    }

    fn ended(&mut self, report: Report) {
        self.out -= 1;
        match report.outcome {
            Outcome::Again { reason, place } => {
                // Where it could not be put back it lies in the private folder, and is to leave that.
                self.came_back(report.file.moved_to(place), reason);
            }
            Outcome::Gone => {
                let outcome = Outcome::Failed { reason: Failure::Gone, moved: None };
                self.tell(&Report::new(report.file, outcome));
            }
            _ => self.tell(&report),
        }
    }

    fn tell(&mut self, report: &Report) {
        self.tally.count(&report.outcome);
        self.printer.tell(report);
        if let Some(input) = self.input.take_if(|input| place_of(&input.file) == place_of(&report.file)) {
            put_away(&input.file, &report.outcome);
        }
    }

    fn came_back(&mut self, file: Settled, reason: Unsettled) {
        let tries = self.tries.entry(file.root.path().join(&file.origin)).or_default();
        *tries += 1;
        if *tries >= TRIES {
            let outcome = Outcome::Failed { reason: Failure::NeverSettled(reason), moved: None };
            return self.tell(&Report::new(file, outcome));
        }
        self.resting.spawn(async move {
            tokio::time::sleep(BETWEEN).await;
            file
        });
    }
}

/// Standard input's file has served; or it holds the only copy of what was piped in.
fn put_away(input: &Settled, outcome: &Outcome) {
    match (outcome, place_of(input).parent()) {
        (Outcome::Stored { .. }, Some(own)) => removal::discard(own),
        _ => tell_kept(input),
    }
}

fn tell_kept(file: &Settled) {
    tracing::error!("what came on standard input is kept in {}", place_of(file).display());
}

fn place_of(file: &Settled) -> PathBuf {
    file.root.path().join(&file.relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget;
    use crate::daemon::patience_after_stop;
    use crate::file::Root;
    use crate::shutdown;
    use std::sync::Arc;

    /// Regression: the push could not be stopped, also not by a second signal.
    #[tokio::test(start_paused = true)]
    async fn a_removal_that_hangs_does_not_keep_a_stop_from_ending_and_its_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let (queue, mut files) = mpsc::channel(1);
        // The one that hangs has a sender as long as it lives.
        let (_hangs, reported) = mpsc::unbounded_channel();
        let (trigger, shutdown) = shutdown::channel();
        let (printer, _printed) = Printer::start(false);
        let named = vec![Named::File(Settled::new(root, "x".into()))];
        let patience = patience_after_stop(Duration::from_secs(3600), shutdown);
        let feeding = tokio::spawn(Feed::new(queue, printer).run(named, reported, patience));
        files.recv().await.unwrap();
        trigger.raise();
        trigger.raise();
        let start = tokio::time::Instant::now();
        let tally = feeding.await.unwrap().unwrap();
        assert_eq!((tally.left, start.elapsed()), (1, budget::TIDY));
    }
}
