//! One kind of trouble at a time.

use astran_backup::sandbox::Duplicates;
use astran_backup::sandbox::faults::{Call, Fault, Garbage, Rule};

use crate::support::World;
use crate::support::proof::{Comparison, clean_run, sha256, unique};
use crate::troubles::{CALLS, account_troubles, is_believed, is_of_the_login, most, service_troubles};
use crate::{SETTLE, failed, fill, side_by_side, status};

#[test]
fn with_any_fault_of_an_upload_each_file_is_stored_once_and_none_is_blamed() {
    let modes = [Duplicates::Version, Duplicates::SecondDocument];
    let jobs = service_troubles().into_iter().enumerate().map(|(n, fault)| (fault, modes[n % 2])).collect();
    side_by_side(jobs, |(fault, duplicates)| {
        let world = World::with(|options| options.duplicates = duplicates);
        let closed = fill(&world);
        let times = most(&fault).min(2);
        world.faults().add(Rule::new(Call::Upload, fault.clone()).times(times));
        clean_run(&world, &SETTLE);
        let comparison = Comparison::of(&world, &closed);
        println!("{fault:?} {duplicates:?}: {}", comparison.summary());
        comparison.assert_perfect();
        assert_eq!(failed(&world), "");
        assert!(world.sandbox().stats().faults >= times, "{fault:?} never came");
    });
}

#[test]
fn after_a_lost_answer_the_store_is_asked_also_if_that_fails_at_first() {
    let lookups = [Call::Filesystem, Call::Children];
    let troubles = [status(503, false), Fault::CutAfter, Fault::Garbage { body: Garbage::Html, carried_out: false }];
    let jobs = lookups.iter().flat_map(|call| troubles.iter().map(move |fault| (*call, fault.clone()))).collect();
    side_by_side(jobs, |(call, fault)| {
        let world = World::new();
        let closed = fill(&world);
        // The first requests look for the destination.
        world.faults().add(Rule::new(Call::Upload, Fault::CutAfter).times(3));
        world.faults().add(Rule::new(call, fault).after(4).times(3));
        clean_run(&world, &SETTLE);
        Comparison::of(&world, &closed).assert_perfect();
        assert_eq!(failed(&world), "");
    });
}

/// One trouble of each kind: the others differ in numbers only.
fn one_of_each_kind() -> Vec<Fault> {
    let more = |fault: &Fault| match fault {
        Fault::Status { status, carried_out, retry_after, .. } => {
            retry_after.is_none() && !matches!((status, carried_out), (429 | 503, false) | (500, true))
        }
        Fault::Garbage { carried_out, .. } => *carried_out,
        Fault::CutBefore { bytes } => *bytes > 0,
        _ => false,
    };
    [service_troubles(), account_troubles()].concat().into_iter().filter(|fault| !more(fault)).collect()
}

/// The rule and the flag that make the program send a call that it would not send by itself.
fn leading_to(call: Call) -> (Option<Rule>, &'static str) {
    match call {
        // The answer is lost, so the store is asked.
        Call::Filesystem => (Some(Rule::new(Call::Upload, Fault::CutAfter)), "answer"),
        Call::Children => (None, "listing"),
        Call::Content => (None, "content"),
        Call::Refresh => (Some(Rule::new(Call::Upload, Fault::Expire)), "answer"),
        _ => (None, "answer"),
    }
}

#[test]
fn with_any_fault_of_other_calls_each_file_is_stored_once_and_none_is_blamed() {
    let others = CALLS.iter().filter(|call| **call != Call::Upload);
    let jobs = others.flat_map(|call| one_of_each_kind().into_iter().map(|fault| (*call, fault))).collect();
    side_by_side(jobs, |(call, fault)| troubled(call, &fault));
}

fn troubled(call: Call, fault: &Fault) {
    let world = World::with(|options| options.brute_force = None);
    let content = unique("report", 40);
    world.put("report", &content);
    let closed = [(sha256(&content), "report".to_owned())].into();
    let (leading, verify) = leading_to(call);
    let lead = u64::from(leading.is_some());
    if let Some(leading) = leading {
        world.faults().add(leading);
    }
    world.faults().add(Rule::new(call, fault.clone()).times(most(fault).min(2)));
    // A login that was refused in the first run is not tried again by the second one, unless a person says so.
    let arguments = [SETTLE[0], SETTLE[1], "--verify", verify, "--retry-login"];
    let first = world.once(&arguments);
    let what = format!("{call:?} {fault:?}: {first:?}");
    assert!(world.sandbox().stats().faults > lead, "it never came: {what}");
    if is_believed(call, fault) {
        // The file may be sent again or blamed, but it must be somewhere.
        let stored =
            world.sandbox().uploads().iter().any(|upload| upload.sha256.as_deref() == Some(&*sha256(&content)));
        assert!(!world.files_left().is_empty() || stored, "{what}");
        return;
    }
    let expected = match first.code {
        Some(0) => true,
        Some(3) => is_of_the_login(fault),
        // Only this file waits: an empty answer says nothing about it.
        Some(1) => first.stdout.starts_with("waits"),
        Some(5) => matches!(fault, Fault::Redirect { .. }),
        _ => false,
    };
    assert!(expected, "{what}");
    world.faults().clear();
    clean_run(&world, &arguments);
    let comparison = Comparison::of(&world, &closed);
    assert!(comparison.lost.is_empty() && comparison.twice.is_empty() && comparison.truncated.is_empty(), "{what}");
    assert_eq!(failed(&world), "", "{what}");
}
