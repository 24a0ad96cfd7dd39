//! Notices that files wait and nothing moves, whatever the cause: a server that reads no more, a share that hangs, a fault of this
//! program. Each part that can be in trouble tells of its own trouble; this is for the trouble that no part knows of.
//!
//! Parts count into a [`Flow`] what waits there and what moves. A task looks at the counts every few seconds.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::budget;
use crate::observe::health::HealthCheck;

/// Between two looks at the counts.
const TICK: Duration = Duration::from_secs(5);

/// What waits in one part of the program, and how often anything moved there. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Flow(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    moved: AtomicU64,
}

impl Flow {
    /// One thing more waits.
    pub fn waits(&self) {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// So many things wait no more: that is a movement too.
    pub fn ended(&self, count: usize) {
        self.0.waiting.fetch_sub(count, Ordering::Relaxed);
        self.moved();
    }

    /// Something got further.
    pub fn moved(&self) {
        self.0.moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the last look at one flow showed. Pure: counts and times go in.
#[derive(Debug)]
struct Watched {
    flow: Flow,
    moved: u64,
    /// When it was last seen to move, or to be empty.
    since: Instant,
}

impl Watched {
    fn look(&mut self, now: Instant) {
        let moved = self.flow.0.moved.load(Ordering::Relaxed);
        if moved != self.moved || self.flow.0.waiting.load(Ordering::Relaxed) == 0 {
            (self.moved, self.since) = (moved, now);
        }
    }

    /// For how long it has stood still, if for too long.
    fn standing(&self, now: Instant) -> Option<Duration> {
        let waits = self.flow.0.waiting.load(Ordering::Relaxed) > 0;
        let has_moved = self.flow.0.moved.load(Ordering::Relaxed) != self.moved;
        let stood = now.saturating_duration_since(self.since);
        (waits && !has_moved && stood >= budget::STANDSTILL).then_some(stood)
    }
}

/// Knows whether any of the flows stands still. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Standstill(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    flows: Vec<Watched>,
    last_look: Instant,
    /// Since when, once it was told.
    told: Option<Instant>,
}

impl Default for Standstill {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { flows: Vec::new(), last_look: Instant::now(), told: None })))
    }
}

impl Standstill {
    /// From now on this flow is looked at too.
    pub fn add(&self, flow: Flow) {
        let moved = flow.0.moved.load(Ordering::Relaxed);
        self.state().flows.push(Watched { flow, moved, since: Instant::now() });
    }

    /// Looks at all flows, again and again; says once when a standstill begins, and once when it ends.
    pub async fn watch(self) {
        loop {
            sleep(TICK).await;
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        let mut state = self.state();
        // This process was stopped itself, or starved: nothing could move, and that says nothing of the flows.
        let was_away = now.saturating_duration_since(state.last_look) > 3 * TICK;
        state.last_look = now;
        for watched in &mut state.flows {
            watched.look(now);
            if was_away {
                watched.since = now;
            }
        }
        let stands = state.flows.iter().filter_map(|watched| watched.standing(now)).max();
        match (stands, state.told) {
            (Some(stood), None) => {
                state.told = Some(now - stood);
                tracing::warn!("nothing has moved for {} s though files wait", stood.as_secs());
            }
            (None, Some(since)) => {
                state.told = None;
                tracing::info!("files move again, after {} s", now.saturating_duration_since(since).as_secs());
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthCheck for Standstill {
    fn trouble(&self) -> Option<String> {
        let (state, now) = (self.state(), Instant::now());
        let stood = state.flows.iter().filter_map(|watched| watched.standing(now)).max()?;
        Some(format!("nothing has moved for {} s though files wait", stood.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching() -> (Flow, Standstill) {
        let (flow, standstill) = (Flow::default(), Standstill::default());
        standstill.add(flow.clone());
        tokio::spawn(standstill.clone().watch());
        (flow, standstill)
    }

    async fn seconds(seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_is_told_after_a_minute_and_for_as_long_as_it_lasts() {
        let (flow, standstill) = watching();
        flow.waits();
        seconds(54).await;
        assert_eq!(standstill.trouble(), None);
        seconds(12).await;
        assert!(standstill.trouble().unwrap().starts_with("nothing has moved for 6"), "{:?}", standstill.trouble());
        flow.moved();
        assert_eq!(standstill.trouble(), None);
        seconds(70).await;
        assert!(standstill.trouble().is_some());
        flow.ended(1);
        seconds(600).await;
        assert_eq!(standstill.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_nothing_or_moves_now_and_then_does_not_stand_still() {
        let (flow, standstill) = watching();
        seconds(3600).await;
        assert_eq!(standstill.trouble(), None, "nothing waits");
        flow.waits();
        for _ in 0..20 {
            seconds(50).await;
            assert_eq!(standstill.trouble(), None, "what came after a long rest has its own minute");
            flow.moved();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_flow_that_moves_hides_no_other_that_stands_still() {
        let (flow, standstill) = watching();
        let other = Flow::default();
        standstill.add(other.clone());
        flow.waits();
        other.waits();
        for _ in 0..7 {
            seconds(10).await;
            other.moved();
        }
        assert!(standstill.trouble().is_some());
    }

    /// Two minutes of SIGSTOP are no standstill.
    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_itself_starts_to_count_anew() {
        let (flow, standstill) = (Flow::default(), Standstill::default());
        standstill.add(flow.clone());
        flow.waits();
        tokio::time::advance(Duration::from_secs(120)).await;
        standstill.look(Instant::now());
        assert_eq!(standstill.trouble(), None);
    }
}
