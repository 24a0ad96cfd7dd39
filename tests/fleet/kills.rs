//! Machines that are killed, with a network that fails beside.

use std::time::Duration;

use crate::fleet::{Fleet, Member};
use crate::proxy::Proxy;
use crate::support::proof::{Dice, rounds, seed};
use crate::support::{Daemon, eventually, run_to_end};

const BEFORE: &str = "receipts = \"before-removal\"\nheartbeat = \"1s\"\n[upload]\nrescan = \"1s\"";

/// Runs until nothing is left to do, twice at most: with "before-removal" a run may end before the database has the last receipt.
fn finish(member: &Member) {
    let first = member.once();
    if !member.world.files_left().is_empty() {
        assert_eq!(member.once().code, Some(0), "after {first:?}");
    }
    assert!(member.world.files_left().is_empty());
}

#[test]
fn killed_at_each_step_around_the_shipping_nothing_is_lost_stored_twice_or_shipped_twice() {
    let Some(fleet) = Fleet::new() else { return };
    for more in ["", BEFORE] {
        let mode = if more.is_empty() { "async" } else { "before" };
        let member = fleet.member(mode, more);
        let mut files = 0;
        for step in [
            "before-ship",
            "after-ship",
            "after-receipt",
            "after-set-aside",
            "during-grace",
            "after-unlink",
            "after-end",
        ] {
            member.put(files..files + 3);
            files += 3;
            assert!(member.once_killed_at(step), "{mode}: {step} was never reached");
            finish(&member);
            assert_eq!(fleet.receipts_of(&member.name), files, "{mode}: {step}");
        }
        assert_eq!(member.world.sandbox().uploads().len(), files, "{mode}: nothing was stored twice");
    }
    assert!(fleet.is_whole());
}

#[test]
fn a_join_that_is_killed_is_done_again_with_the_same_token() {
    let Some(fleet) = Fleet::new() else { return };
    for step in ["before-join", "after-join"] {
        let member = fleet.machine(step, fleet.port(), "");
        let token = fleet.enroll(&member.name, "HR");
        let mut command = member.world.command();
        command.args(["fleet", "join", &token, "--config", "config.toml"]).env("ASTRAN_BACKUP_FAILPOINT", step);
        assert_eq!(run_to_end(&mut command).code, None, "{step} was never reached");
        let again = member.join(&token);
        assert_eq!(again.code, Some(0), "{step}: {again:?}");
        member.upload(0..2);
        assert_eq!(fleet.receipts_of(&member.name), 2);
    }
}

/// Three machines behind one network. `ASTRAN_TEST_ROUNDS` says how many faults there are, one after the other.
#[test]
fn machines_killed_partitioned_and_cut_at_random_lose_and_double_nothing() {
    let Some(fleet) = Fleet::new() else { return };
    let proxy = Proxy::to(&fleet.address());
    let members: Vec<_> = ["one", "two", "three"]
        .into_iter()
        .map(|name| fleet.member_behind(name, proxy.port(), if name == "one" { "heartbeat = \"1s\"" } else { BEFORE }))
        .collect();
    let mut daemons: Vec<Option<Daemon>> = members.iter().map(|member| Some(member.watch(&[]))).collect();
    let mut dice = Dice::new(seed("fleet"));
    let rounds = usize::try_from(rounds(20)).unwrap();
    for round in 0..rounds {
        for member in &members {
            member.put(round * 3..round * 3 + 3);
        }
        let victim = usize::try_from(dice.within(0, 3)).unwrap();
        std::thread::sleep(Duration::from_millis(dice.within(0, 400)));
        match dice.within(0, 5) {
            0 | 1 => {
                daemons[victim].take().unwrap().kill();
                daemons[victim] = Some(members[victim].watch(&[]));
            }
            2 => proxy.cut(),
            3 => {
                proxy.lose_answers(true);
                std::thread::sleep(Duration::from_millis(200));
                proxy.cut();
                proxy.lose_answers(false);
            }
            _ => {
                proxy.partition(true);
                std::thread::sleep(Duration::from_millis(500));
                proxy.partition(false);
            }
        }
    }
    for member in &members {
        eventually("all files are stored and gone", || member.world.files_left().is_empty());
        eventually("all receipts", || fleet.receipts_of(&member.name) >= rounds * 3);
    }
    for daemon in daemons.into_iter().flatten() {
        daemon.stop();
    }
    for member in &members {
        assert_eq!(fleet.receipts_of(&member.name), rounds * 3);
        for file in 0..rounds * 3 {
            assert_eq!(
                member.world.times_stored(&format!("/HR_Backup/scan{file:04}.pdf")),
                1,
                "{} {file}",
                member.name
            );
        }
    }
    assert!(fleet.is_whole());
}
