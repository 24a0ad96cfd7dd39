//! A limit for how often one place of the program may log: thousands of files in the same trouble say the same thousands of times.
//! What is left out is counted, and told.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::budget;

const SECOND: Duration = Duration::from_secs(1);

/// Counts what each place of the program logs. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogLimit(Arc<Mutex<HashMap<Identifier, Window>>>);

/// A second of one place's lines.
#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    left_out: u64,
    /// The first of those left out.
    example: String,
}

impl LogLimit {
    /// Whether a line may be logged. Details that somebody asked for have no limit.
    fn may_log(&self, event: &Event<'_>, now: Instant) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut windows = self.windows();
        let window = windows.entry(event.metadata().callsite()).or_insert_with(|| Window::new(now));
        // Until what was left out is told, the next second does not begin.
        if window.left_out == 0 && now - window.since >= SECOND {
            *window = Window::new(now);
        }
        if window.lines < budget::LOG_LINES_A_SECOND {
            window.lines += 1;
            return true;
        }
        if window.left_out == 0 {
            event.record(&mut Message(&mut window.example));
        }
        window.left_out += 1;
        false
    }

    /// What was left out in seconds that are over: how many lines, and the first of them. With `all`, also what is not over.
    pub(crate) fn left_out(&self, now: Instant, all: bool) -> Vec<(u64, String)> {
        let mut told = Vec::new();
        self.windows().retain(|_, window| {
            let is_over = all || now - window.since >= SECOND;
            if is_over && window.left_out > 0 {
                told.push((window.left_out, std::mem::take(&mut window.example)));
            }
            !is_over
        });
        told
    }

    /// Whether anything was logged in the last second, so that something may be left out and not told yet.
    pub(crate) fn is_counting(&self) -> bool {
        !self.windows().is_empty()
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Identifier, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(since: Instant) -> Self {
        Self { since, lines: 0, left_out: 0, example: String::new() }
    }
}

impl<S: Subscriber> Layer<S> for LogLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.may_log(event, Instant::now())
    }
}

/// The text of an event, without its fields.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String can't fail.
            write!(self.0, "{value:?}").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// Counts what gets through.
    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Counted {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[test]
    fn one_place_says_so_much_in_a_second_and_what_was_left_out_is_counted() {
        let (limit, counted) = (LogLimit::default(), Counted::default());
        let subscriber = tracing_subscriber::registry().with(limit.clone()).with(counted.clone());
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..1000 {
                tracing::warn!(file = number, "it can't be sent");
                tracing::debug!("asked for");
            }
            tracing::error!("another place");
        });
        let count = |level| counted.0.lock().unwrap().iter().filter(|it| **it == level).count();
        // A machine that is busy may take more than a second for it.
        assert!(count(Level::WARN) >= 20 && count(Level::WARN) < 500, "{}", count(Level::WARN));
        assert_eq!((count(Level::DEBUG), count(Level::ERROR)), (1000, 1));
        assert!(limit.is_counting());
        let left_out = limit.left_out(Instant::now(), true);
        assert_eq!(left_out.len(), 1);
        assert_eq!(left_out[0].1, "it can't be sent");
        assert!(!limit.is_counting() && limit.left_out(Instant::now(), true).is_empty());
    }

    #[test]
    fn what_was_left_out_is_told_once_its_second_is_over() {
        let (limit, counted) = (LogLimit::default(), Counted::default());
        let subscriber = tracing_subscriber::registry().with(limit.clone()).with(counted);
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || (0..50).for_each(|_| tracing::info!("again")));
        assert!(limit.left_out(start, false).is_empty());
        assert_eq!(limit.left_out(start + 10 * SECOND, false).len(), 1);
    }
}
