//! The search against a simulated service with a latency, a capacity and a queue: uploads begin as the number allows, wait in the
//! service's queue, and end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

/// A service at a distance. Times are in seconds.
#[derive(Debug, Clone, Copy)]
struct Service {
    /// How long an upload takes that waits for no other.
    latency: f64,
    /// How many uploads it ends in a second at most.
    capacity: f64,
    /// Each upload takes so much longer for each other one in flight.
    crowding: f64,
    /// More uploads at once than this are refused with 429.
    refuses_above: usize,
}

const SERVICE: Service = Service { latency: 0.05, capacity: 1000.0, crowding: 0.0, refuses_above: usize::MAX };

/// A run: the service's queue, and the uploads in flight.
struct Simulation {
    service: Service,
    start: Instant,
    now: f64,
    /// When the service is done with all that it has.
    busy_until: f64,
    /// When uploads end, in nanoseconds, with the time they began, and whether they were refused.
    in_flight: BinaryHeap<Reverse<(u64, u64, bool)>>,
    ended: usize,
    refused: usize,
    /// For the noise: each upload takes up to a fifth more, by chance.
    random: u64,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
impl Simulation {
    fn new(service: Service, random: u64) -> Self {
        Self {
            service,
            start: Instant::now(),
            now: 0.0,
            busy_until: 0.0,
            in_flight: BinaryHeap::new(),
            ended: 0,
            refused: 0,
            random: random | 1,
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now)
    }

    fn begin(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let noise = 1.0 + 0.2 * (self.random % 1000) as f64 / 1000.0;
        let refused = self.in_flight.len() >= self.service.refuses_above;
        let mut end = self.now + self.service.latency * noise;
        if !refused {
            self.busy_until = self.busy_until.max(self.now) + 1.0 / self.service.capacity;
            end = end.max(self.busy_until) + self.service.crowding * self.in_flight.len() as f64;
        }
        self.in_flight.push(Reverse(((end * 1e9) as u64, (self.now * 1e9) as u64, refused)));
    }

    /// Runs for so long. `number` says how many uploads may be in flight; it is told of each end.
    fn run(&mut self, seconds: f64, control: &mut impl Control) {
        let end = self.now + seconds;
        while self.now < end {
            while self.in_flight.len() < control.number(self.instant()) {
                control.passed(self.in_flight.len(), self.instant());
                self.begin();
            }
            if control.is_beginning(self.instant()) && self.ends_after(FIRST_TIME) {
                self.now += FIRST_TIME.as_secs_f64();
                continue;
            }
            let Some(Reverse((at, began, refused))) = self.in_flight.pop() else { return };
            self.now = at as f64 / 1e9;
            let (taken, now) = (self.in_flight.len() + 1, self.instant());
            control.passed(taken, now);
            self.ended += usize::from(!refused);
            self.refused += usize::from(refused);
            control.ended((!refused).then(|| Duration::from_nanos(at - began)), taken, now);
        }
    }

    fn ends_after(&self, time: Duration) -> bool {
        self.in_flight.peek().is_some_and(|Reverse((at, ..))| *at as f64 / 1e9 > self.now + time.as_secs_f64())
    }

    /// How many uploads end in a second, from now on.
    fn rate(&mut self, seconds: f64, control: &mut impl Control) -> f64 {
        let (before, since) = (self.ended, self.now);
        self.run(seconds, control);
        (self.ended - before) as f64 / (self.now - since)
    }
}

/// What decides how many uploads are in flight.
trait Control {
    fn number(&self, now: Instant) -> usize;
    fn is_beginning(&self, _now: Instant) -> bool {
        false
    }
    fn passed(&mut self, _taken: usize, _now: Instant) {}
    /// `took` is `None` for an upload that was refused.
    fn ended(&mut self, _took: Option<Duration>, _taken: usize, _now: Instant) {}
}

impl Control for usize {
    fn number(&self, _now: Instant) -> usize {
        *self
    }
}

impl Control for Search {
    fn number(&self, now: Instant) -> usize {
        self.allowed(now)
    }

    fn is_beginning(&self, now: Instant) -> bool {
        self.is_beginning(now)
    }

    fn passed(&mut self, taken: usize, now: Instant) {
        self.passed(taken, now);
    }

    fn ended(&mut self, took: Option<Duration>, taken: usize, now: Instant) {
        match took {
            Some(_) => self.ended(Ended { work: 1.0, took }, taken, now),
            None => self.overloaded(taken, now),
        }
    }
}

fn search(start: Instant) -> Search {
    Search::new(Measure::Files, (64, 256), start)
}

/// The rate of the best fixed number, from the first upload on.
fn best_fixed(service: Service, seconds: f64) -> f64 {
    let rate = |mut number| Simulation::new(service, 7).rate(seconds, &mut number);
    LADDER.into_iter().skip(1).step_by(2).map(rate).fold(0.0, f64::max)
}

/// The highest rate that a fixed number can reach in the long run.
fn highest(service: Service) -> f64 {
    if service.crowding > 0.0 {
        return best_fixed(service, 10.0);
    }
    (256.0 / (1.1 * service.latency)).min(service.capacity)
}

/// The rate of the search beside the best fixed number: from the first upload on, and once it has settled.
fn beside_best(service: Service, seconds: f64) -> (f64, f64, Search) {
    let mut simulation = Simulation::new(service, 7);
    let mut search = search(simulation.start);
    let at_first = simulation.rate(seconds, &mut search);
    simulation.run(20.0, &mut search);
    let later = simulation.rate(15.0, &mut search);
    (at_first / best_fixed(service, seconds), later / highest(service), search)
}

#[test]
fn from_loopback_to_the_other_side_of_the_earth_it_is_nearly_as_fast_as_the_best_fixed_number() {
    for latency in [0.002, 0.01, 0.05, 0.2] {
        for capacity in [20.0, 500.0, 1300.0, 4000.0] {
            let service = Service { latency, capacity, ..SERVICE };
            let (at_first, later, search) = beside_best(service, 10.0 * latency + 1.0);
            let found = format!("{at_first:.2}, {later:.2} with {} at {latency} s and {capacity}/s", search.number());
            assert!(at_first > 0.9 && later > 0.9, "{found}");
        }
    }
}

#[test]
fn it_finds_the_best_number_also_where_each_upload_slows_the_others_down() {
    for crowding in [0.0001, 0.0005, 0.002] {
        let (_, later, search) = beside_best(Service { crowding, ..SERVICE }, 2.0);
        assert!(later > 0.9, "{later:.2} with {} at {crowding}", search.number());
    }
}

#[test]
fn it_takes_no_more_uploads_at_once_than_help() {
    let number = |latency, capacity| beside_best(Service { latency, capacity, ..SERVICE }, 1.0).2.number();
    assert!(number(0.002, 500.0) <= 4);
    assert!(number(0.05, 500.0) <= 64);
    assert!(number(0.2, 4000.0) >= 192);
}

#[test]
fn a_service_that_gets_faster_or_slower_is_followed() {
    let mut simulation = Simulation::new(Service { capacity: 100.0, ..SERVICE }, 7);
    let mut search = search(simulation.start);
    for capacity in [100.0, 2000.0, 300.0, 4000.0] {
        simulation.service.capacity = capacity;
        simulation.run(30.0, &mut search);
        let (rate, best) = (simulation.rate(10.0, &mut search), highest(simulation.service));
        assert!(rate > 0.9 * best, "{rate} of {best} at {capacity}/s with {}", search.number());
    }
}

/// 429 for each upload above the fortieth: each of these stops all uploads for seconds, in the program.
#[test]
fn a_service_that_refuses_is_left_in_peace_after_a_few_refusals_and_used_as_far_as_it_goes() {
    let service = Service { refuses_above: 40, ..SERVICE };
    let mut simulation = Simulation::new(service, 7);
    let mut search = search(simulation.start);
    simulation.run(5.0, &mut search);
    assert!(search.number() <= 40);
    let mut times = 0;
    for _ in 0..1200 {
        let before = simulation.refused;
        simulation.run(1.0, &mut search);
        times += usize::from(simulation.refused > before);
    }
    assert!(times <= 8, "{times} times in twenty minutes");
    let rate = simulation.rate(60.0, &mut search);
    assert!(rate > 0.6 * 40.0 / (1.1 * service.latency), "{rate}");
}

#[test]
fn once_the_service_refuses_no_more_the_number_grows_again() {
    let mut simulation = Simulation::new(Service { refuses_above: 20, latency: 0.2, ..SERVICE }, 7);
    let mut search = search(simulation.start);
    simulation.run(30.0, &mut search);
    assert!(search.number() <= 20);
    simulation.service.refuses_above = usize::MAX;
    simulation.run(200.0, &mut search);
    assert!(search.number() >= 128, "{}", search.number());
}

/// Regression: 64 uploads that all began at once had no fast one among them, so the number grew on where more could not help.
#[test]
fn the_first_uploads_are_few_until_one_has_ended_or_a_moment_has_passed() {
    let start = Instant::now();
    let mut search = search(start);
    search.passed(0, start);
    assert_eq!(search.allowed(start), FIRST);
    search.passed(FIRST, start);
    assert_eq!(search.allowed(start + FIRST_TIME), 64);
    search.ended(Ended { work: 1.0, took: Some(Duration::from_millis(2)) }, FIRST, start);
    assert_eq!(search.allowed(start), 64);
}

#[test]
fn an_overload_halves_the_number_at_once_and_those_that_come_together_count_once() {
    let start = Instant::now();
    let mut search = search(start);
    for _ in 0..64 {
        search.overloaded(64, start);
    }
    assert_eq!(search.number(), 32);
    for second in 2..20 {
        search.overloaded(1, start + Duration::from_secs(second));
    }
    assert_eq!(search.number(), 1);
}

#[test]
fn where_files_are_missing_nothing_is_learned() {
    let start = Instant::now();
    let mut search = search(start);
    for millisecond in 1..100_000u32 {
        let now = start + Duration::from_millis(millisecond.into());
        search.passed(3, now);
        search.ended(Ended { work: 1.0, took: Some(Duration::from_millis(3)) }, 3, now);
    }
    assert_eq!(search.number(), 64);
}

#[test]
fn a_settled_number_is_left_now_and_then_for_a_neighbour_and_not_else() {
    let (_, _, mut search) = beside_best(SERVICE, 2.0);
    let mut simulation = Simulation::new(SERVICE, 9);
    let start = Instant::now() + Duration::from_secs(1000);
    simulation.start = start;
    search.disturbed(1, start);
    let (mut numbers, mut changes, mut before) = (std::collections::BTreeSet::new(), 0, 0);
    for _ in 0..600 {
        simulation.run(0.1, &mut search);
        changes += usize::from(search.number() != before);
        before = search.number();
        numbers.insert(before);
    }
    assert!(numbers.len() <= 4 && changes <= 60, "{numbers:?}, {changes} changes in a minute");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_happens_the_number_is_at_least_one_and_at_most_the_most(
        most in 1usize..300,
        events in prop::collection::vec((0u8..5, 0u64..3_000_000_000, 0usize..300), 1..2000),
    ) {
        let mut now = Instant::now();
        let mut search = Search::new(Measure::Files, (64, most), now);
        for (kind, nanoseconds, taken) in events {
            now += Duration::from_nanos(nanoseconds);
            search.passed(taken, now);
            match kind {
                0 => search.overloaded(taken, now),
                1 => search.disturbed(taken, now),
                2 => search.ended(Ended { work: 0.0, took: None }, taken, now),
                _ => search.ended(Ended { work: 1.0, took: Some(Duration::from_nanos(nanoseconds)) }, taken, now),
            }
            prop_assert!((1..=most).contains(&search.number()));
        }
    }

    #[test]
    fn any_service_is_used_nearly_as_well_as_by_the_best_fixed_number(
        latency in 0.001f64..0.3, capacity in 5.0f64..5000.0, random in any::<u64>(),
    ) {
        let service = Service { latency, capacity, ..SERVICE };
        let mut simulation = Simulation::new(service, random);
        let mut search = search(simulation.start);
        simulation.run(20.0, &mut search);
        let rate = simulation.rate(10.0, &mut search);
        let best = highest(service);
        prop_assert!(rate > 0.9 * best, "{} of {}: with {}", rate, best, search.number());
    }
}
