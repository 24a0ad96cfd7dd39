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
use crate::pipeline::{Outcome, Report};
use crate::remove;

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

    /// Feeds the pipeline until the end of each file is known.
    pub(super) async fn run(
        mut self,
        named: Vec<Named>,
        mut reported: mpsc::UnboundedReceiver<Report>,
    ) -> Result<Tally, Fatal> {
        let (sender, mut found) = mpsc::channel(1);
        let finding = tokio::spawn(find_all(named, sender));
        let mut more = true;
        while more || self.out > 0 || !self.resting.is_empty() {
            tokio::select! {
                file = found.recv(), if more => match file {
                    Some(file) => self.found(file).await,
                    None => more = false,
                },
                Some(Ok(file)) = self.resting.join_next() => self.hand_over(file).await,
                report = reported.recv() => match report {
                    Some(report) => self.ended(&report),
                    // Stopped in the middle of those that are out, and before those that rest.
                    None => break,
                },
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

    fn ended(&mut self, report: &Report) {
        self.out -= 1;
        match &report.outcome {
            Outcome::Again { reason, place } => {
                // Where it could not be put back it lies in the private folder, and is to leave that.
                let file = Settled { relative: place.clone(), ..report.file.clone() };
                self.came_back(&file, reason);
            }
            Outcome::Gone => {
                let reason = "it is gone".to_owned();
                self.tell(&Report {
                    file: report.file.clone(),
                    outcome: Outcome::Failed { reason, moved: None },
                    put_back: false,
                    aside: None,
                });
            }
            _ => self.tell(report),
        }
    }

    fn tell(&mut self, report: &Report) {
        self.tally.count(&report.outcome);
        self.printer.tell(report);
        if let Some(input) = self.input.take_if(|input| place_of(&input.file) == place_of(&report.file)) {
            put_away(&input.file, &report.outcome);
        }
    }

    fn came_back(&mut self, file: &Settled, reason: &str) {
        let tries = self.tries.entry(file.root.path().join(&file.origin)).or_default();
        *tries += 1;
        if *tries >= TRIES {
            let outcome = Outcome::Failed { reason: format!("{reason}, again and again"), moved: None };
            return self.tell(&Report { file: file.clone(), outcome, put_back: false, aside: None });
        }
        let file = file.clone();
        self.resting.spawn(async move {
            tokio::time::sleep(BETWEEN).await;
            file
        });
    }
}

/// Standard input's file has served; or it holds the only copy of what was piped in.
fn put_away(input: &Settled, outcome: &Outcome) {
    match (outcome, place_of(input).parent()) {
        (Outcome::Stored { .. }, Some(own)) => remove::discard(own),
        _ => tell_kept(input),
    }
}

fn tell_kept(file: &Settled) {
    tracing::error!("what came on standard input is kept in {}", place_of(file).display());
}

fn place_of(file: &Settled) -> PathBuf {
    file.root.path().join(&file.relative)
}
