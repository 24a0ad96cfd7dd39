//! Each row of the table of failures and each misbehaviour of the sandbox, alone and in random combination: once the trouble
//! is over everything is stored, once; nothing is lost, and no file is blamed for the service's trouble.
//!
//! `ASTRAN_TEST_ROUNDS` says how many random combinations (default 6), `ASTRAN_TEST_SEED` where chance starts.
#![cfg(feature = "sandbox")]
// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;

use astran_backup::sandbox::Duplicates;
use astran_backup::sandbox::faults::{Call, Fault, Field, Garbage, Rule};

use support::proof::{Dice, Reckoning, assert_nothing_left, clean_run, rounds, seed, sha256, unique};
use support::{World, eventually};

const SETTLE: [&str; 2] = ["--settle", "10ms"];
/// Small, large, in a sub-folder under a name that is taken, and empty.
const FILES: [(&str, usize); 4] = [("small.txt", 40), ("large.bin", 700_000), ("sub/small.txt", 40), ("other", 9000)];

fn fill(world: &World) -> BTreeMap<String, String> {
    let mut closed = BTreeMap::new();
    for (name, size) in FILES {
        let content = unique(name, size);
        closed.insert(sha256(&content), name.to_owned());
        world.put(name, content);
    }
    closed
}

fn failed(world: &World) -> String {
    world.run(["history", "--failed", "--json"]).stdout
}

/// Does many things that mostly wait, some at a time.
fn side_by_side<T: Send>(jobs: Vec<T>, each: impl Fn(T) + Sync) {
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                while let Some(job) = next() {
                    each(job);
                }
            });
        }
    });
}

fn status(status: u16, carried_out: bool) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out }
}

/// All that can go wrong with a service while no file is at fault.
fn service_troubles() -> Vec<Fault> {
    let mut troubles = Vec::new();
    for carried_out in [false, true] {
        troubles.extend([408, 429, 500, 502, 503, 504].map(|code| status(code, carried_out)));
        let garbage = [Garbage::Html, Garbage::Truncated, Garbage::Empty];
        troubles.extend(garbage.map(|body| Fault::Garbage { body, carried_out }));
    }
    troubles.extend([Field::Size, Field::Name, Field::Sha256, Field::Id].map(|field| Fault::Wrong { field }));
    troubles.extend([0, 1, 500_000].map(|bytes| Fault::CutBefore { bytes }));
    troubles.extend([
        Fault::CutAfter,
        Fault::Stall { ms: 700 },
        Fault::Delay { ms: 700 },
        Fault::Drip { bytes: 5, every_ms: 20 },
        Fault::Expire,
        Fault::Revoke,
        Fault::ExpireAll,
        Fault::Redirect { to: "http://127.0.0.1:9/elsewhere".into() },
        Fault::Status {
            status: 503,
            retry_after: Some(1),
            body: Some("<html>down for maintenance</html>".into()),
            content_type: Some("text/html".into()),
            carried_out: true,
        },
    ]);
    troubles
}

/// How often in a row it is the service's trouble still: one that refuses brand-new tokens is the login's.
fn most(fault: &Fault) -> u64 {
    if matches!(fault, Fault::Expire | Fault::Revoke | Fault::ExpireAll) { 1 } else { u64::MAX }
}

#[test]
fn whatever_the_service_does_to_an_upload_each_file_is_stored_once_and_none_is_blamed() {
    let modes = [Duplicates::Version, Duplicates::SecondDocument];
    let jobs = service_troubles().into_iter().enumerate().map(|(n, fault)| (fault, modes[n % 2])).collect();
    side_by_side(jobs, |(fault, duplicates)| {
        let world = World::with(|options| options.duplicates = duplicates);
        let closed = fill(&world);
        let times = most(&fault).min(2);
        world.faults().add(Rule::new(Call::Upload, fault.clone()).times(times));
        clean_run(&world, &SETTLE);
        let reckoning = Reckoning::of(&world, &closed);
        println!("{fault:?} {duplicates:?}: {}", reckoning.told());
        reckoning.assert_perfect();
        assert_eq!(failed(&world), "");
        assert!(world.sandbox().stats().faults >= times, "{fault:?} never came");
    });
}

#[test]
fn a_lost_answer_is_looked_up_and_the_look_up_may_fail_too() {
    let lookups = [Call::Filesystem, Call::Children];
    let troubles = [status(503, false), Fault::CutAfter, Fault::Garbage { body: Garbage::Html, carried_out: false }];
    let jobs = lookups.iter().flat_map(|call| troubles.iter().map(move |fault| (*call, fault.clone()))).collect();
    side_by_side(jobs, |(call, fault)| {
        let world = World::new();
        let closed = fill(&world);
        // The first looks are for the destination.
        world.faults().add(Rule::new(Call::Upload, Fault::CutAfter).times(3));
        world.faults().add(Rule::new(call, fault).after(4).times(3));
        clean_run(&world, &SETTLE);
        Reckoning::of(&world, &closed).assert_perfect();
        assert_eq!(failed(&world), "");
    });
}

#[test]
fn in_random_combination_each_file_is_stored_once_and_none_is_blamed() {
    let mut dice = Dice::new(seed("combination"));
    let jobs = (0..rounds(6)).map(|_| Dice::new(dice.next())).collect();
    let totals = Mutex::new((0, 0));
    side_by_side(jobs, |mut dice| {
        let modes = [Duplicates::Version, Duplicates::SecondDocument];
        let duplicates = *dice.of(&modes);
        let world = World::with(|options| options.duplicates = duplicates);
        let closed = fill(&world);
        let rules: Vec<Rule> = (0..dice.within(2, 6)).map(|_| random_rule(&mut dice)).collect();
        for rule in &rules {
            world.faults().add(rule.clone());
        }
        let verify = *dice.of(&["answer", "listing", "content"]);
        let arguments = [SETTLE[0], SETTLE[1], "--verify", verify];
        // Trouble that goes on for longer than patience ends the run, as do tokens that die again and again when they are
        // brand-new; the next one goes on.
        let dying = |rule: &&Rule| matches!(rule.fault, Fault::Expire | Fault::ExpireAll | Fault::Revoke);
        let refused = rules.iter().filter(dying).count() > 1;
        let first = world.once(&arguments);
        assert!(matches!(first.code, Some(0 | 5)) || (refused && first.code == Some(3)), "{rules:?}\n{}", first.stderr);
        world.faults().clear();
        clean_run(&world, &arguments);
        let reckoning = Reckoning::of(&world, &closed);
        let perfect = reckoning.lost.is_empty() && reckoning.twice.is_empty() && reckoning.truncated.is_empty();
        assert!(perfect, "{rules:#?} {duplicates:?} {verify}: {reckoning:#?}\n{}", first.stderr);
        assert_eq!(failed(&world), "", "{rules:?}");
        let mut totals = totals.lock().unwrap();
        *totals = (totals.0 + 1, totals.1 + world.sandbox().stats().faults);
    });
    println!("combinations, faults: {:?}; lost, twice, truncated, blamed: 0", totals.into_inner().unwrap());
}

fn random_rule(dice: &mut Dice) -> Rule {
    let faults = service_troubles();
    let fault = dice.of(&faults).clone();
    // What is told falsely of other documents than the one sent could not be told from the truth.
    let only_uploads = matches!(fault, Fault::Wrong { .. });
    let calls = [Call::Upload, Call::Upload, Call::Filesystem, Call::Children, Call::Content, Call::Me, Call::Refresh];
    let call = if only_uploads { Call::Upload } else { *dice.of(&calls) };
    // Nor could content that is not the document's: who asks for it takes it for what the store has.
    let false_content = call == Call::Content && matches!(fault, Fault::Garbage { .. });
    let call = if false_content { Call::Upload } else { call };
    let times = dice.within(1, 5).min(most(&fault));
    Rule::new(call, fault).after(dice.within(0, 5)).times(times)
}

#[test]
fn a_refused_file_stays_with_its_reason_until_it_changes_or_is_asked_for_again() {
    side_by_side(vec![400, 413, 415, 422, 409], |code| {
        let world = World::new();
        world.put("bad.txt", "refused");
        world.put("good.txt", "taken");
        world.faults().add(Rule::new(Call::Upload, status(code, false)).named("bad").always());
        assert_eq!(world.once(&SETTLE).code, Some(1), "{code}");
        assert_eq!(world.left(), [std::path::Path::new("bad.txt")]);
        assert!(failed(&world).contains("bad.txt"), "{code}: {}", failed(&world));
        if code != 409 {
            assert!(failed(&world).contains(&code.to_string()), "{code}: {}", failed(&world));
        }

        world.faults().clear();
        let before = world.sandbox().stats().requests["upload"];
        world.once(&SETTLE);
        assert_eq!(world.sandbox().stats().requests["upload"], before, "{code}: sent again though nothing changed");
        assert_eq!(world.left().len(), 1, "{code}");

        if code % 2 == 0 {
            assert_eq!(world.run(["retry", "watched/bad.txt"]).code, Some(0));
        } else {
            world.put("bad.txt", "changed");
        }
        clean_run(&world, &SETTLE);
        assert_eq!(world.sandbox().uploads().len(), 2, "{code}");
    });
}

#[test]
fn a_store_that_says_it_has_what_it_has_not_is_found_out_by_verify() {
    let lie = r#"{"ID": "bm93aGVyZQ", "name": "a.txt", "size": 7, "isFolder": false}"#;
    for verify in ["listing", "content"] {
        let world = World::new();
        world.put("a.txt", "content");
        let body = Some(lie.to_owned());
        let fault = Fault::Status { status: 201, retry_after: None, body, content_type: None, carried_out: false };
        world.faults().add(Rule::new(Call::Upload, fault));
        let said = world.once(&["--settle", "10ms", "--verify", verify]);
        assert_eq!(said.code, Some(1), "{verify}: {}", said.stderr);
        assert_eq!(world.left().len(), 1, "{verify}");
        assert!(failed(&world).contains("answered that it has it"), "{verify}: {}", failed(&world));
    }
}

#[test]
fn a_store_that_gives_other_bytes_back_is_found_out_by_verify_content() {
    let world = World::new();
    world.put("a.txt", "content");
    world.faults().add(Rule::new(Call::Content, Fault::Wrong { field: Field::Content }).always());
    let said = world.once(&["--settle", "10ms", "--verify", "content"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert_eq!(world.left().len(), 1);
    world.faults().clear();
    assert_eq!(world.run(["retry"]).code, Some(0));
    let said = world.once(&["--settle", "10ms", "--verify", "content"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_nothing_left(&world);
}

#[test]
fn a_destination_in_trouble_holds_up_its_own_folder_only() {
    for code in [403, 404] {
        let world = World::new();
        std::fs::create_dir(world.dir.path().join("second")).unwrap();
        let config = world.dir.path().join("config.toml");
        let folder = |path: &str| format!("[[folder]]\npath = {path:?}\ndest = \"/HR_Backup\"\n");
        std::fs::write(&config, format!("{}{}", folder("watched"), folder("second"))).unwrap();
        std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        world.faults().add(Rule::new(Call::Upload, status(code, false)).named("held").always());
        let mut command = world.command();
        command.env_remove("ASTRAN_BACKUP_DEST").args(["--config", "config.toml", "watch"]);
        let daemon = support::Daemon::start(&mut command);
        daemon.wait_for("watching");
        world.put("held", "held");
        daemon.wait_for("the destination is in trouble");
        std::fs::write(world.dir.path().join("second/free"), "free").unwrap();
        eventually("the other folder's file is stored", || world.times_stored("/HR_Backup/free") == 1);
        assert_eq!(world.times_stored("/HR_Backup/held"), 0);
        world.faults().clear();
        eventually("it is stored once the trouble is over", || world.times_stored("/HR_Backup/held") == 1);
        assert_eq!(daemon.stop().code, Some(0));
        assert_eq!(failed(&world), "");
    }
}
