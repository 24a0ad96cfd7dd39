//! Detects that files wait while none makes progress, whatever the cause: a server that stopped reading, a share that hangs, a
//! fault of this program. Each component reports the trouble that it knows of; the detector is for trouble that no component notices.
//!
//! Each part of the program counts in an [`Activity`] what waits there and what advances. A task samples the counts every few seconds.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::budget;
use crate::measure::span;
use crate::observe::health::HealthCheck;

/// The time between two samples.
const TICK: Duration = Duration::from_secs(5);

/// How many things wait in one part of the program, and how often one of them advanced. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    advances: AtomicU64,
}

impl Activity {
    /// Counts one more thing that waits.
    pub fn started(&self) {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts things that wait no more; that is an advance too.
    pub fn finished(&self, count: usize) {
        self.0.waiting.fetch_sub(count, Ordering::Relaxed);
        self.advanced();
    }

    /// Counts an advance of something that waits still.
    pub fn advanced(&self) {
        self.0.advances.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    fn advances(&self) -> u64 {
        self.0.advances.load(Ordering::Relaxed)
    }
}

/// An activity and its last sample. Pure: the time is an argument.
#[derive(Debug)]
struct Sampled {
    activity: Activity,
    advances: u64,
    /// When the activity was last seen to advance, or to be empty.
    since: Instant,
}

impl Sampled {
    fn sample(&mut self, now: Instant) {
        let advances = self.activity.advances();
        if advances != self.advances || self.activity.waiting() == 0 {
            (self.advances, self.since) = (advances, now);
        }
    }

    /// How long the activity has stalled, once that is longer than [`budget::STANDSTILL`].
    fn stalled_for(&self, now: Instant) -> Option<Duration> {
        let is_waiting = self.activity.waiting() > 0;
        let has_advanced = self.activity.advances() != self.advances;
        let idle = now.saturating_duration_since(self.since);
        (is_waiting && !has_advanced && idle >= budget::STANDSTILL).then_some(idle)
    }
}

/// Detects whether any of its activities stalls. Clones share one state.
#[derive(Debug, Clone)]
pub struct StallDetector(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    activities: Vec<Sampled>,
    last_sample: Instant,
    /// When the stall began that was logged last, until it is over.
    stalled_since: Option<Instant>,
}

impl Default for StallDetector {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { activities: Vec::new(), last_sample: Instant::now(), stalled_since: None })))
    }
}

impl StallDetector {
    /// Adds an activity.
    pub fn add(&self, activity: Activity) {
        let advances = activity.advances();
        self.state().activities.push(Sampled { activity, advances, since: Instant::now() });
    }

    /// Samples all activities for ever; logs once when a stall begins, and once when it ends.
    pub async fn watch(self) {
        loop {
            sleep(TICK).await;
            self.sample(Instant::now());
        }
    }

    fn sample(&self, now: Instant) {
        let mut state = self.state();
        // This process itself was stopped or got no processor time. Nothing could advance then, so the time does not count.
        let was_suspended = now.saturating_duration_since(state.last_sample) > 3 * TICK;
        state.last_sample = now;
        // Of a folder that has left only this detector still holds the counts.
        state.activities.retain(|sampled| Arc::strong_count(&sampled.activity.0) > 1);
        for sampled in &mut state.activities {
            sampled.sample(now);
            if was_suspended {
                sampled.since = now;
            }
        }
        match (state.stalled_for(now), state.stalled_since) {
            (Some(stalled), None) => {
                state.stalled_since = Some(now - stalled);
                tracing::warn!("nothing has moved for {} though files wait", span(stalled));
            }
            (None, Some(since)) => {
                state.stalled_since = None;
                tracing::info!("files move again, after {}", span(now.saturating_duration_since(since)));
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long the activity that stalls longest has done so.
    fn stalled_for(&self, now: Instant) -> Option<Duration> {
        self.activities.iter().filter_map(|sampled| sampled.stalled_for(now)).max()
    }
}

impl HealthCheck for StallDetector {
    fn trouble(&self) -> Option<String> {
        let stalled = self.state().stalled_for(Instant::now())?;
        Some(format!("nothing has moved for {} though files wait", span(stalled)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> (Activity, StallDetector) {
        let (activity, detector) = (Activity::default(), StallDetector::default());
        detector.add(activity.clone());
        tokio::spawn(detector.clone().watch());
        (activity, detector)
    }

    async fn pass_seconds(seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_reported_after_a_minute_and_while_it_lasts() {
        let (activity, detector) = watched();
        activity.started();
        pass_seconds(54).await;
        assert_eq!(detector.trouble(), None);
        pass_seconds(12).await;
        assert!(detector.trouble().unwrap().starts_with("nothing has moved for 6"), "{:?}", detector.trouble());
        activity.advanced();
        assert_eq!(detector.trouble(), None);
        pass_seconds(70).await;
        assert!(detector.trouble().is_some());
        activity.finished(1);
        pass_seconds(600).await;
        assert_eq!(detector.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_or_advancing_activity_does_not_stall() {
        let (activity, detector) = watched();
        pass_seconds(3600).await;
        assert_eq!(detector.trouble(), None, "nothing waits");
        activity.started();
        for _ in 0..20 {
            pass_seconds(50).await;
            assert_eq!(detector.trouble(), None, "what starts after a long rest has a minute of its own");
            activity.advanced();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_activity_that_advances_hides_no_other_that_stalls() {
        let (activity, detector) = watched();
        let other = Activity::default();
        detector.add(other.clone());
        activity.started();
        other.started();
        for _ in 0..7 {
            pass_seconds(10).await;
            other.advanced();
        }
        assert!(detector.trouble().is_some());
    }

    /// Two minutes of SIGSTOP are no stall.
    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_process_was_stopped_does_not_count() {
        let (activity, detector) = (Activity::default(), StallDetector::default());
        detector.add(activity.clone());
        activity.started();
        tokio::time::advance(Duration::from_secs(120)).await;
        detector.sample(Instant::now());
        assert_eq!(detector.trouble(), None);
    }
}
