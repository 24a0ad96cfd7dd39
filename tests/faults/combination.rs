//! Several troubles at once, by chance.

use std::sync::Mutex;
use std::time::Duration;

use astran_backup::sandbox::Duplicates;
use astran_backup::sandbox::faults::{Call, Rule};

use crate::support::proof::{Dice, Reckoning, clean_run, rounds, seed};
use crate::support::{PATIENCE, World, said_within};
use crate::troubles::{CALLS, account_troubles, is_believed, is_dying, is_of_the_login, most, service_troubles};
use crate::{SETTLE, failed, fill, side_by_side};

#[test]
fn in_random_combination_each_file_is_stored_once_and_none_is_blamed() {
    let first = seed("combination");
    let mut dice = Dice::new(first);
    // The first one follows from the seed itself, so that any of them can be had alone.
    let jobs = (0..rounds(6)).map(|round| if round == 0 { first } else { dice.next() }).collect();
    let totals = Mutex::new((0, 0));
    side_by_side(jobs, |seed| {
        let mut dice = Dice::new(seed);
        let duplicates = *dice.of(&[Duplicates::Version, Duplicates::SecondDocument]);
        let verify = *dice.of(&["answer", "listing", "content"]);
        let rules: Vec<Rule> = (0..dice.within(2, 6)).map(|_| random_rule(&mut dice)).collect();
        let replay = format!(
            "ASTRAN_TEST_ROUNDS=1 ASTRAN_TEST_SEED={seed} gives this one alone ({duplicates:?}, --verify {verify}): {}",
            serde_json::to_string(&rules).unwrap()
        );
        let _told = Told(&replay);
        let faults = combined(duplicates, verify, &rules);
        let mut totals = totals.lock().unwrap();
        *totals = (totals.0 + 1, totals.1 + faults);
    });
    println!("combinations, faults: {:?}; lost, twice, truncated, blamed: 0", totals.into_inner().unwrap());
}

/// Says how to have a combination again if it fails in whatever way: one that hangs fails elsewhere.
struct Told<'a>(&'a str);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// Answers how many faults there were.
fn combined(duplicates: Duplicates, verify: &str, rules: &[Rule]) -> u64 {
    let world = World::with(|options| {
        options.duplicates = duplicates;
        // So that there is a refresh to be troubled.
        options.token_life = Duration::from_secs(2);
    });
    let closed = fill(&world);
    for rule in rules {
        world.faults().add(rule.clone());
    }
    let arguments = [SETTLE[0], SETTLE[1], "--verify", verify];
    // Trouble that goes on for longer than patience ends the run, as do tokens that die again and again when they are
    // brand-new, and an account that somebody has to mend; the next one goes on.
    let dying = rules.iter().filter(|rule| is_dying(&rule.fault)).count() > 1;
    let refused = dying || rules.iter().any(|rule| is_of_the_login(&rule.fault) && !is_dying(&rule.fault));
    // It has patience twice: to begin, and with what comes then.
    let mut command = world.command();
    let first = said_within(3 * PATIENCE, command.args(["watch", "watched", "--once"]).args(arguments));
    let expected = match first.code {
        Some(0 | 5) => true,
        Some(3) => refused,
        // Some wait for an answer about themselves; whether one was blamed is looked at below.
        Some(1) => first.stdout.contains("waits"),
        _ => false,
    };
    assert!(expected, "{first:?}");
    let faults = world.sandbox().stats().faults;
    world.faults().clear();
    let second = world.once(&arguments);
    assert_eq!(second.code, Some(0), "{first:?}\n{second:?}");
    let reckoning = Reckoning::of(&world, &closed);
    let perfect = reckoning.lost.is_empty() && reckoning.twice.is_empty() && reckoning.truncated.is_empty();
    assert!(perfect, "{reckoning:#?}\n{first:?}");
    assert_eq!(failed(&world), "", "{first:?}");
    clean_run(&world, &arguments);
    faults
}

fn random_rule(dice: &mut Dice) -> Rule {
    let faults = [service_troubles(), account_troubles()].concat();
    let fault = dice.of(&faults).clone();
    // Most of what can go wrong goes wrong with uploads.
    let call = if dice.one_in(3) { Call::Upload } else { *dice.of(&[&CALLS[..], &[Call::Any]].concat()) };
    let call = if is_believed(call, &fault) { Call::Upload } else { call };
    let times = dice.within(1, 5).min(most(&fault));
    Rule::new(call, fault).after(dice.within(0, 5)).times(times)
}
