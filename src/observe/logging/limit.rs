//! A rate limit for each place in the code that logs: thousands of files in the same trouble would log the same line thousands of
//! times. Lines beyond the limit are suppressed and counted; the log reports the count.

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

/// Counts the lines of each place in the code that logs. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimit(Arc<Mutex<HashMap<Identifier, Window>>>);

/// The lines of one place within a second.
#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    suppressed: u64,
    /// The first suppressed line.
    example: String,
}

/// The suppressed lines of one place.
#[derive(Debug)]
pub(crate) struct Suppressed {
    pub(crate) count: u64,
    /// The first of the lines, without its fields.
    pub(crate) example: String,
}

impl RateLimit {
    /// Whether the line may be logged; counts it. Lines below the level `info` have no limit: a person asked for them.
    fn may_log(&self, event: &Event<'_>, now: Instant) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut windows = self.windows();
        let window = windows.entry(event.metadata().callsite()).or_insert_with(|| Window::new(now));
        // The next second begins only after the suppressed lines of this one are reported.
        if window.suppressed == 0 && now - window.since >= SECOND {
            *window = Window::new(now);
        }
        if window.lines < budget::LOG_LINES_A_SECOND {
            window.lines += 1;
            return true;
        }
        if window.suppressed == 0 {
            event.record(&mut Message(&mut window.example));
        }
        window.suppressed += 1;
        false
    }

    /// Takes the suppressed lines of all seconds that are over; with `all`, those of the current second too.
    pub(crate) fn take_suppressed(&self, now: Instant, all: bool) -> Vec<Suppressed> {
        let mut taken = Vec::new();
        self.windows().retain(|_, window| {
            let is_over = all || now - window.since >= SECOND;
            if is_over && window.suppressed > 0 {
                taken.push(Suppressed { count: window.suppressed, example: std::mem::take(&mut window.example) });
            }
            !is_over
        });
        taken
    }

    /// Whether any line was logged lately, so that suppressed lines may have to be reported soon.
    pub(crate) fn is_counting(&self) -> bool {
        !self.windows().is_empty()
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Identifier, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(since: Instant) -> Self {
        Self { since, lines: 0, suppressed: 0, example: String::new() }
    }
}

impl<S: Subscriber> Layer<S> for RateLimit {
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

    /// Counts the lines that pass.
    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Counted {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[test]
    fn lines_beyond_the_limit_of_one_place_are_suppressed_and_counted() {
        let (limit, counted) = (RateLimit::default(), Counted::default());
        let subscriber = tracing_subscriber::registry().with(limit.clone()).with(counted.clone());
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..1000 {
                tracing::warn!(file = number, "it can't be sent");
                tracing::debug!("asked for");
            }
            tracing::error!("another place");
        });
        let count = |level| counted.0.lock().unwrap().iter().filter(|it| **it == level).count();
        // A busy machine may take more than a second, and so log the lines of several seconds.
        assert!(count(Level::WARN) >= 20 && count(Level::WARN) < 500, "{}", count(Level::WARN));
        assert_eq!((count(Level::DEBUG), count(Level::ERROR)), (1000, 1));
        assert!(limit.is_counting());
        let suppressed = limit.take_suppressed(Instant::now(), true);
        assert_eq!(suppressed.len(), 1);
        assert_eq!(suppressed[0].example, "it can't be sent");
        assert!(!limit.is_counting() && limit.take_suppressed(Instant::now(), true).is_empty());
    }

    #[test]
    fn suppressed_lines_are_reported_once_their_second_is_over() {
        let (limit, counted) = (RateLimit::default(), Counted::default());
        let subscriber = tracing_subscriber::registry().with(limit.clone()).with(counted);
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || (0..50).for_each(|_| tracing::info!("again")));
        assert!(limit.take_suppressed(start, false).is_empty());
        assert_eq!(limit.take_suppressed(start + 10 * SECOND, false).len(), 1);
    }
}
