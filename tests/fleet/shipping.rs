//! Receipts arrive whole, once, and in their order, whatever happens to the connection.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::proxy::Proxy;
use crate::support::eventually;

#[test]
fn a_run_ships_its_receipts_and_the_database_has_the_same_chain() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    member.world.put("Ünïcode €.pdf", "odd");
    member.upload(0..20);
    assert_eq!(fleet.receipts_of(&member.name), 21);
    let local = member.world.attempts(&[]);
    let newest = local.iter().max_by_key(|attempt| attempt["receipt"].as_i64()).unwrap();
    let checked = fleet.admin(&["fleet", "check", "--json"]);
    let chain = &checked.events("fleet_chain")[0];
    assert_eq!(
        (chain["receipt"].as_i64(), chain["receipt_hash"].as_str()),
        (Some(21), newest["receipt_hash"].as_str()),
        "{newest}"
    );
    let found = fleet.admin(&["history", "--all-hosts", "scan0007", "--json"]).events("fleet_receipt");
    assert_eq!((found.len(), found[0]["remote_path"].as_str()), (1, Some("/HR_Backup/scan0007.pdf")));
    assert_eq!(fleet.sql("SELECT count(*) FROM fleet.receipt_rest"), "0", "each month has its partition");
}

#[test]
fn a_push_ships_too_and_two_processes_share_one_chain() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "heartbeat = \"1s\"");
    let daemon = member.watch(&[]);
    let elsewhere = member.world.dir.path().join("elsewhere.pdf");
    for round in 0..4 {
        std::fs::write(&elsewhere, format!("pushed {round}")).unwrap();
        member.put(round * 10..round * 10 + 10);
        let pushed = member.world.run(["push", "elsewhere.pdf", "--config", "config.toml"]);
        assert_eq!(pushed.code, Some(0), "{pushed:?}");
    }
    eventually("all receipts", || fleet.receipts_of(&member.name) == 44);
    let stopped = daemon.stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(fleet.is_whole());
}

#[test]
fn a_heartbeat_shows_the_machine_and_silence_shows_too() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "heartbeat = \"1s\"");
    fleet.enroll(&fleet.name("new"), "HR");
    let listed = || fleet.admin(&["fleet", "status", "--json"]);
    let state = |name: &str| {
        let name = fleet.name(name);
        listed().events("fleet_host").into_iter().find(|host| host["host"] == name).unwrap()
    };
    assert_eq!((state("scan")["state"].as_str(), state("new")["state"].as_str()), (Some("silent"), Some("not_joined")));
    let daemon = member.watch(&[]);
    eventually("a heartbeat", || state("scan")["state"] == "ok");
    member.put(0..3);
    eventually("the receipts", || state("scan")["receipts"] == 3);
    let host = state("scan");
    assert!(host["clock_seconds"].as_f64().unwrap().abs() < 5.0 && host["unshipped"] == 0, "{host}");
    daemon.stop();
    fleet.sql("UPDATE fleet.beat SET at = at - interval '1 hour'");
    assert_eq!((state("scan")["state"].as_str(), listed().code), (Some("silent"), Some(1)));
}

/// The cursor is the database's own head: what was taken and not answered is found out by asking.
#[test]
fn lost_answers_and_cut_connections_neither_lose_nor_double_a_receipt() {
    let Some(fleet) = Fleet::new() else { return };
    let proxy = Proxy::to(&fleet.address());
    let member = fleet.member_behind("scan", proxy.port(), "receipts = \"before-removal\"");
    let daemon = member.watch(&[]);
    for round in 0..12 {
        proxy.lose_answers(round % 3 != 2);
        member.put(round * 10..round * 10 + 10);
        std::thread::sleep(Duration::from_millis(120));
        proxy.cut();
    }
    proxy.lose_answers(false);
    eventually("all receipts", || fleet.receipts_of(&member.name) == 120);
    daemon.stop();
    assert_eq!(fleet.sql("SELECT count(*), count(DISTINCT seq), max(seq) FROM fleet.receipt"), "120|120|120");
    assert!(fleet.is_whole());
}

#[test]
fn pruning_waits_for_what_the_database_has() {
    let Some(fleet) = Fleet::new() else { return };
    let proxy = Proxy::to(&fleet.address());
    let member = fleet.member_behind("scan", proxy.port(), "");
    proxy.partition(true);
    member.upload(0..5);
    let prune = || {
        let output = member.world.run(["history", "--prune-before", "0s", "--json"]);
        output.events("pruned")[0]["receipts"].as_u64().unwrap()
    };
    assert_eq!(prune(), 0, "no copy yet");
    proxy.partition(false);
    proxy.cut();
    member.upload(5..6);
    assert_eq!(fleet.receipts_of(&member.name), 6);
    assert_eq!(prune(), 6);
    member.upload(6..7);
    assert_eq!(fleet.receipts_of(&member.name), 7, "a pruned journal's chain goes on");
    assert!(fleet.is_whole());
}

#[test]
fn a_journal_that_was_pruned_before_joins_with_what_it_has() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.machine("scan", fleet.port(), "");
    let earlier = |files| {
        member.put(files);
        assert_eq!(member.world.once_quick(&[]).code, Some(0));
    };
    earlier(0..4);
    member.world.run(["history", "--prune-before", "0s"]);
    earlier(4..6);
    assert_eq!(member.join(&fleet.enroll(&member.name, "HR")).code, Some(0));
    member.upload(6..7);
    assert_eq!(fleet.sql("SELECT min(seq), max(seq), count(*) FROM fleet.receipt"), "5|7|3");
    assert!(fleet.is_whole());
}
