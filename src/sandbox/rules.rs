//! Chooses the rule that fires for a request.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::faults::{Call, Fault, Rule};

/// The rules that are set.
#[derive(Default)]
pub(super) struct Rules {
    /// Whether there are any, so that requests need no lock while there are none.
    any: AtomicBool,
    armed: Mutex<Vec<Armed>>,
}

struct Armed {
    rule: Rule,
    matched: u64,
    fired: u64,
    random: Random,
}

impl Rules {
    pub(super) fn add(&self, rule: Rule) {
        let random = Random(rule.seed);
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push(Armed { rule, matched: 0, fired: 0, random });
        self.any.store(true, Relaxed);
    }

    pub(super) fn clear(&self) {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.any.store(false, Relaxed);
    }

    /// Returns the fault for this request, if any. `name` is called only while there are rules.
    pub(super) fn next(&self, call: Call, name: impl FnOnce() -> String) -> Option<Fault> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let name = name();
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut firing =
            armed.iter_mut().filter_map(|armed| armed.fires(call, &name).then(|| armed.rule.fault.clone()));
        firing.next()
    }
}

impl Armed {
    fn fires(&mut self, call: Call, name: &str) -> bool {
        if !self.rule.matches(call, name) {
            return false;
        }
        self.matched += 1;
        let due = self.matched > self.rule.after && self.fired < self.rule.max_times();
        let fires = due && self.rule.probability.is_none_or(|p| self.random.next() < p);
        self.fired += u64::from(fires);
        fires
    }
}

/// Random numbers from 0 up to 1 that a seed determines (`SplitMix64`).
struct Random(u64);

impl Random {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(rules: &Rules, call: Call, name: &str) -> bool {
        rules.next(call, || name.to_owned()).is_some()
    }

    #[test]
    fn a_rule_fires_for_its_calls_after_some_and_this_often() {
        let rules = Rules::default();
        rules.add(Rule::new(Call::Upload, Fault::CutAfter).after(1).times(2));
        assert!(!fires(&rules, Call::Me, ""));
        let fired: Vec<_> = (0..5).map(|_| fires(&rules, Call::Upload, "a")).collect();
        assert_eq!(fired, [false, true, true, false, false]);
    }

    #[test]
    fn a_rule_may_be_for_one_name() {
        let rules = Rules::default();
        rules.add(Rule::new(Call::Any, Fault::CutAfter).named("bad"));
        assert!(!fires(&rules, Call::Upload, "good.txt"));
        assert!(fires(&rules, Call::Upload, "bad.txt"));
    }

    #[test]
    fn the_seed_determines_when_a_rule_fires() {
        let run = |seed| {
            let rules = Rules::default();
            rules.add(Rule::new(Call::Any, Fault::CutAfter).with_probability(0.3, seed));
            (0..1000).map(|_| fires(&rules, Call::Upload, "")).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let fired = run(7).iter().filter(|f| **f).count();
        assert!((250..350).contains(&fired), "{fired}");
    }
}
