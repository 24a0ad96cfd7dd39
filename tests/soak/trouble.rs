//! What goes wrong during the soak, and when: random kills, outages, stops, and faults of the store.

use std::time::{Duration, Instant};

use astran_backup::sandbox::Faults;
use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::proof::Dice;
use crate::troubles::{CALLS, account_troubles, destination_troubles, is_believed, most, service_troubles};

/// An event that repeats, after random waits between these two.
pub(crate) struct Clock {
    next: Instant,
    low: Duration,
    high: Duration,
}

impl Clock {
    pub(crate) fn new(dice: &mut Dice, low: Duration, high: Duration) -> Self {
        let mut clock = Self { next: Instant::now(), low, high };
        clock.wind(dice);
        clock
    }

    pub(crate) fn wind(&mut self, dice: &mut Dice) {
        self.next = Instant::now() + between(dice, self.low, self.high);
    }

    /// Delays the next time by this much.
    pub(crate) fn postpone(&mut self, by: Duration) {
        self.next += by;
    }

    /// Returns whether it is time; if so, sets the next time.
    pub(crate) fn strikes(&mut self, dice: &mut Dice) -> bool {
        let strikes = Instant::now() >= self.next;
        if strikes {
            self.wind(dice);
        }
        strikes
    }
}

pub(crate) fn between(dice: &mut Dice, low: Duration, high: Duration) -> Duration {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap();
    Duration::from_micros(dice.within(micros(low), micros(high).max(micros(low) + 1)))
}

/// Sets some faults, or clears all; returns how many were set.
pub(crate) fn change(faults: &Faults, dice: &mut Dice) -> u64 {
    if dice.one_in(3) {
        faults.clear();
        return 0;
    }
    let rules = dice.within(1, 4);
    for _ in 0..rules {
        faults.add(rule(dice));
    }
    rules
}

fn rule(dice: &mut Dice) -> Rule {
    let fault = fault(dice);
    let upload = dice.one_in(2) || destination_troubles().contains(&fault);
    let call = if upload { Call::Upload } else { *dice.of(&[&CALLS[..], &[Call::Any]].concat()) };
    let call = if is_believed(call, &fault) { Call::Upload } else { call };
    let times = dice.within(1, 20).min(most(&fault));
    let rule = Rule::new(call, fault).after(dice.within(0, 5));
    if dice.one_in(2) { rule.times(times) } else { rule.with_probability(0.3, dice.next()).times(times) }
}

/// Mostly trouble of the service. Trouble of the account and of the destination stops everything, so it is rare.
fn fault(dice: &mut Dice) -> Fault {
    match dice.within(0, 20) {
        0 => dice.of(&account_troubles()).clone(),
        1 => dice.of(&destination_troubles()).clone(),
        2 => Fault::Stall { ms: dice.within(500, 4000) },
        3 => Fault::Delay { ms: dice.within(500, 4000) },
        _ => dice.of(&service_troubles()).clone(),
    }
}
