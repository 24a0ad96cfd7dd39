//! What is changed in the database, or in a journal, shows.

use crate::fleet::Fleet;

/// Each way to change the database's copy, as an administrator of the database could.
#[test]
fn each_change_of_the_database_breaks_the_check() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    member.upload(0..6);
    assert!(fleet.is_whole());
    for change in [
        "UPDATE fleet.receipt SET name = 'another' WHERE seq = 3",
        "UPDATE fleet.receipt SET sha256 = repeat('0', 64) WHERE seq = 3",
        "UPDATE fleet.receipt SET hash = decode(repeat('00', 32), 'hex') WHERE seq = 6",
        "DELETE FROM fleet.receipt WHERE seq = 3",
        "DELETE FROM fleet.receipt WHERE seq = 1",
        "DELETE FROM fleet.receipt WHERE seq = 6",
        "DELETE FROM fleet.receipt",
        "INSERT INTO fleet.receipt SELECT * FROM fleet.receipt WHERE seq = 3",
        // The end cut off, and the head moved back to where the chain then ends: all hashes are right, and the signature is not.
        "DELETE FROM fleet.receipt WHERE seq = 6; UPDATE fleet.stream SET head_seq = 5, head_hash = (SELECT hash FROM fleet.receipt WHERE seq = 5)",
        "UPDATE fleet.stream SET head_sig = NULL",
        "UPDATE fleet.stream SET public_key = decode(repeat('00', 32), 'hex')",
    ] {
        fleet.sql("CREATE TABLE r AS TABLE fleet.receipt; CREATE TABLE s AS TABLE fleet.stream");
        fleet.sql(change);
        assert!(!fleet.is_whole(), "{change}");
        fleet.sql(
            "DELETE FROM fleet.receipt; INSERT INTO fleet.receipt TABLE r; UPDATE fleet.stream SET head_seq = s.head_seq, \
             head_hash = s.head_hash, head_sig = s.head_sig, public_key = s.public_key FROM s; DROP TABLE r, s",
        );
        assert!(fleet.is_whole(), "after {change}");
    }
}

/// A machine's disk restored from a backup, or a copy of the machine: the chain goes on from an older receipt.
#[test]
fn a_restored_journal_is_told_and_ships_nothing_while_uploads_go_on() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    let (state, backup) = (member.world.state().join("astran-backup"), member.world.dir.path().join("backup"));
    member.upload(0..3);
    copy(&state, &backup);
    member.upload(3..6);
    std::fs::remove_dir_all(&state).unwrap();
    copy(&backup, &state);
    member.put(6..8);
    let output = member.once();
    assert_eq!(output.code, Some(0), "uploads go on: {output:?}");
    assert!(output.stderr.contains("contradict"), "{output:?}");
    assert_eq!(fleet.receipts_of(&member.name), 6, "nothing of the other chain");
    // The same where the restored chain has grown longer than the copy.
    member.put(8..20);
    let output = member.once();
    assert!(output.code == Some(0) && output.stderr.contains("contradict"), "{output:?}");
    assert_eq!(fleet.receipts_of(&member.name), 6);
    assert!(fleet.is_whole());
}

#[test]
fn a_journal_made_anew_has_another_key_and_ships_nothing() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    member.upload(0..2);
    let state = member.world.state().join("astran-backup");
    for file in ["journal.sqlite", "anchor.key"] {
        std::fs::remove_file(state.join(file)).unwrap();
    }
    member.put(2..4);
    let output = member.once();
    assert!(output.code == Some(0) && output.stderr.contains("key of this journal"), "{output:?}");
    assert_eq!(fleet.receipts_of(&member.name), 2);
}

/// The auditor's own memory finds what the database's administrator could do with all its tables, and even with an older state of them.
#[test]
fn a_checkpoint_remembers_what_the_database_forgot() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    let checkpoint = || fleet.admin(&["fleet", "checkpoint", "--offline", "--json"]);
    member.upload(0..4);
    let first = checkpoint();
    assert!(first.code == Some(0) && first.events("fleet_checkpoint")[0]["chains"] == 1, "{first:?}");
    fleet.sql("CREATE TABLE r AS TABLE fleet.receipt; CREATE TABLE s AS TABLE fleet.stream");
    member.upload(4..6);
    assert_eq!(checkpoint().code, Some(0), "a chain that grew is fine");
    let older = "DELETE FROM fleet.receipt; INSERT INTO fleet.receipt TABLE r; UPDATE fleet.stream SET head_seq = s.head_seq, \
                 head_hash = s.head_hash, head_sig = s.head_sig FROM s";
    fleet.sql(older);
    assert!(fleet.is_whole(), "the older state is whole by itself");
    let found = checkpoint();
    let event = &found.events("fleet_checkpoint")[0];
    assert!(found.code == Some(1) && event["contradicted"] == true, "{found:?}");
    assert!(event["contradictions"][0]["what"].as_str().unwrap().contains("shrunk from 6 to 4"), "{event}");
    assert_eq!(checkpoint().code, Some(1), "it says so until somebody has looked");
}

#[test]
fn old_months_are_forgotten_and_what_remains_can_still_be_checked() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    member.upload(0..5);
    fleet.sql(
        "CREATE TABLE fleet.receipt_2020_01 PARTITION OF fleet.receipt FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z'); \
         UPDATE fleet.receipt SET received_at = '2020-01-15' WHERE seq <= 3",
    );
    assert_eq!(fleet.sql("SELECT fleet.forget_before('2020-01-31')"), "0", "the month is not over then");
    assert_eq!(
        (fleet.sql("SELECT fleet.forget_before('2020-03-01')").as_str(), fleet.receipts_of(&member.name)),
        ("1", 2)
    );
    assert!(fleet.is_whole());
    member.upload(5..6);
    assert!(fleet.is_whole());
    fleet.sql("DELETE FROM fleet.receipt WHERE seq = 4");
    assert!(!fleet.is_whole(), "the first one that must be there");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}
