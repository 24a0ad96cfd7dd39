//! Whoever may write the journal can make it look whole: the anchors in the vault, and those kept elsewhere, show it all the same.
#![cfg(feature = "sandbox")]
// Helpers of tests are tests too; and these tests delete what is theirs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use rusqlite::Connection;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};

use astran_backup::sandbox::Duplicates;
use astran_backup::sandbox::faults::{Call, Fault, Rule};
use astran_backup::vault::RemotePath;
use support::{Daemon, Output, QUICK, World, eventually};

/// A world in which anchors go into the vault, as they do by default.
fn run(world: &World, arguments: &[&str]) -> Output {
    support::run_to_end(world.command().env_remove("ASTRAN_BACKUP_ANCHOR").args(arguments))
}

fn upload(world: &World, names: &[&str]) {
    for name in names {
        world.put(name, name);
    }
    let output = run(world, &["watch", "watched", "--once", QUICK[0], QUICK[1]]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn journal(world: &World) -> Connection {
    Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap()
}

fn field(hasher: &mut Sha256, value: &Value) {
    let bytes = match value {
        Value::Integer(number) => number.to_be_bytes().to_vec(),
        Value::Text(text) => text.clone().into_bytes(),
        Value::Blob(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// What the journal's own documentation tells everybody: hashes all receipts anew, from the first one on, and moves the mark.
fn rebuild_receipts(journal: &Connection) {
    let sql = "SELECT r.seq, a.id, root.value, a.relative, a.device, a.inode, a.size, a.mtime, a.ctime, dest.value, folder.value, \
         a.name, a.started, r.sha256, r.size, r.document, r.document_version, user.value, r.adopted, r.stored \
         FROM receipt r JOIN attempt a ON a.id = r.attempt JOIN term root ON root.id = a.root JOIN term dest ON dest.id = a.dest \
         JOIN term folder ON folder.id = a.folder JOIN term user ON user.id = r.user ORDER BY r.seq";
    let mut statement = journal.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| (0..20).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>());
    let mut prev =
        journal.query_row("SELECT hash FROM mark WHERE kind = 0", [], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    for row in rows.unwrap().map(Result::unwrap) {
        let mut hasher = Sha256::new();
        field(&mut hasher, &Value::Text("astran-backup receipt 1".to_owned()));
        field(&mut hasher, &row[0]);
        field(&mut hasher, &Value::Blob(prev.clone()));
        for (column, value) in row.iter().enumerate().skip(1) {
            match (column, value) {
                (16, Value::Null) => field(&mut hasher, &Value::Blob(vec![0])),
                (16, value) => {
                    field(&mut hasher, &Value::Blob(vec![1]));
                    field(&mut hasher, value);
                }
                (18, Value::Integer(already_present)) => {
                    field(&mut hasher, &Value::Blob(vec![u8::try_from(*already_present).unwrap()]));
                }
                (_, value) => field(&mut hasher, value),
            }
        }
        let hash = hasher.finalize().to_vec();
        let update = "UPDATE receipt SET prev = ?2, hash = ?3 WHERE seq = ?1";
        journal.execute(update, rusqlite::params![row[0], prev, hash]).unwrap();
        journal.execute("UPDATE mark SET seq = ?1, hash = ?2 WHERE kind = 1", rusqlite::params![row[0], hash]).unwrap();
        prev = hash;
    }
}

/// The same for the chain of what became of the local files.
fn rebuild_fates(journal: &Connection) {
    let since: i64 = journal.query_row("SELECT seq FROM mark WHERE kind = 4", [], |row| row.get(0)).unwrap();
    let mut prev = vec![0; 32];
    let mut statement = journal.prepare("SELECT receipt, state, detail, at FROM fate ORDER BY seq").unwrap();
    let rows = statement.query_map([], |row| (0..4).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>());
    let rows: Vec<Vec<Value>> = rows.unwrap().map(Result::unwrap).collect();
    journal.execute("DELETE FROM fate", []).unwrap();
    for (seq, row) in (1_i64..).zip(rows) {
        let mut hasher = Sha256::new();
        field(&mut hasher, &Value::Text("astran-backup fate 1".to_owned()));
        field(&mut hasher, &Value::Integer(seq));
        field(&mut hasher, &Value::Blob(prev));
        field(&mut hasher, &Value::Integer(since));
        field(&mut hasher, &row[0]);
        field(&mut hasher, &row[1]);
        assert_eq!(row[2], Value::Null);
        field(&mut hasher, &Value::Blob(vec![0]));
        field(&mut hasher, &row[3]);
        let hash = hasher.finalize().to_vec();
        let values = rusqlite::params![seq, row[0], row[1], row[2], row[3], hash];
        journal.execute("INSERT INTO fate VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values).unwrap();
        journal.execute("UPDATE mark SET seq = ?1, hash = ?2 WHERE kind = 3", rusqlite::params![seq, hash]).unwrap();
        prev = hash;
    }
}

fn newest_cut(journal: &Connection) {
    let move_back = "DELETE FROM receipt WHERE seq >= 4; UPDATE attempt SET state = 3, seq = NULL WHERE seq >= 4; \
         UPDATE mark SET seq = 3, hash = (SELECT hash FROM receipt WHERE seq = 3) WHERE kind = 1; \
         DELETE FROM fate WHERE receipt >= 4;";
    journal.execute_batch(move_back).unwrap();
    rebuild_fates(journal);
}

fn oldest_cut(journal: &Connection) {
    let pruned = "UPDATE mark SET seq = 2, hash = (SELECT hash FROM receipt WHERE seq = 2), at = 1 WHERE kind = 0; \
         DELETE FROM attempt WHERE seq <= 2; DELETE FROM receipt WHERE seq <= 2; DELETE FROM fate WHERE receipt <= 2;";
    journal.execute_batch(pruned).unwrap();
    rebuild_fates(journal);
}

fn altered(journal: &Connection) {
    journal.execute_batch("UPDATE receipt SET document = 'another' WHERE seq = 2").unwrap();
    rebuild_receipts(journal);
}

fn one_removed(journal: &Connection) {
    let renumber = "DELETE FROM attempt WHERE seq = 2; DELETE FROM receipt WHERE seq = 2; \
         UPDATE receipt SET seq = seq - 1 WHERE seq > 2; UPDATE attempt SET seq = seq - 1 WHERE seq > 2; \
         DELETE FROM fate WHERE receipt = 2; UPDATE fate SET receipt = receipt - 1 WHERE receipt > 2;";
    journal.execute_batch(renumber).unwrap();
    rebuild_receipts(journal);
    rebuild_fates(journal);
}

fn fate_altered(journal: &Connection) {
    journal
        .execute_batch("UPDATE attempt SET state = 5 WHERE seq = 2; UPDATE fate SET state = 5 WHERE receipt = 2")
        .unwrap();
    rebuild_fates(journal);
}

/// The heads of both chains, as a check tells them.
fn heads(world: &World) -> [String; 2] {
    let output = run(world, &["history", "--check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let head =
        |prefix: &str, seq: &str, hash: &str| format!("{prefix}{}:{}", report[seq], report[hash].as_str().unwrap());
    [head("", "head_seq", "head_hash"), head("f", "fates_seq", "fates_hash")]
}

fn anchors(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world.sandbox().uploads().into_iter().map(|upload| upload.path).collect();
    names.retain(|path| path.contains("/astran-backup-anchor-"));
    names
}

type Attack = fn(&Connection);

/// Regression: none of these was shown by anything.
#[test]
fn what_is_changed_in_the_journal_shows_though_it_looks_whole() {
    let attacks: [(&str, Attack, bool); 5] = [
        ("the newest cut off", newest_cut, true),
        ("the oldest cut off and called pruned", oldest_cut, false),
        ("one altered and all after it hashed anew", altered, true),
        ("one removed and the rest renumbered", one_removed, true),
        ("the fate of a local file altered", fate_altered, true),
    ];
    let world = World::new();
    upload(&world, &["1", "2", "3", "4", "5"]);
    assert_eq!(anchors(&world).len(), 1);
    let [receipts, fates] = heads(&world);
    let place = world.state().join("astran-backup/journal.sqlite");
    let kept = world.dir.path().join("kept.sqlite");
    journal(&world).execute("VACUUM INTO ?1", [kept.to_str().unwrap()]).unwrap();
    for (what, attack, looks_whole) in attacks {
        std::fs::remove_file(place.with_extension("sqlite-wal")).ok();
        std::fs::remove_file(place.with_extension("sqlite-shm")).ok();
        std::fs::copy(&kept, &place).unwrap();
        let fine = run(&world, &["history", "--check"]);
        assert!(fine.code == Some(0) && fine.stdout.contains("is as it was"), "{fine:?}");
        attack(&journal(&world));
        let local = world.run(["history", "--check"]);
        assert_eq!(local.code, Some(i32::from(!looks_whole)), "{what}: {local:?}");
        let checked = run(&world, &["history", "--check"]);
        assert!(checked.code == Some(1) && checked.stdout.contains("BROKEN"), "{what}: {checked:?}");
        if looks_whole {
            assert!(checked.stdout.contains("BROKEN /HR_Backup/astran-backup-anchor-"), "{what}: {checked:?}");
        }
        let head = if what.contains("fate") { &fates } else { &receipts };
        let against = world.run(["history", "--check", "--against", head]);
        assert!(against.code == Some(1) && against.stdout.contains("BROKEN"), "{what}: {against:?}");
    }
}

#[test]
fn a_state_that_was_deleted_or_whose_key_was_exchanged_shows() {
    for (what, whole) in [("the state", true), ("the key", false)] {
        let world = World::new();
        upload(&world, &["1", "2"]);
        let [receipts, _] = heads(&world);
        let state = world.state().join("astran-backup");
        if whole {
            std::fs::remove_dir_all(&state).unwrap();
        } else {
            std::fs::remove_file(state.join("anchor.key")).unwrap();
        }
        let checked = run(&world, &["history", "--check"]);
        assert!(checked.code == Some(1) && checked.stdout.contains("by another key"), "{what}: {checked:?}");
        let against = world.run(["history", "--check", "--against", &receipts]);
        assert_eq!(against.code, Some(i32::from(whole)), "{what}: {against:?}");
        // What is put from then on does not cover it.
        upload(&world, &["3"]);
        assert_eq!(run(&world, &["history", "anchor"]).code, Some(0));
        assert_eq!(run(&world, &["history", "--check"]).code, Some(1), "{what}");
    }
}

/// A day's anchors are versions of one document, and a changed journal must not put a new version over the proof.
#[test]
fn an_anchor_that_contradicts_the_journal_is_not_covered_by_the_next_one() {
    let world = World::new();
    upload(&world, &["1", "2", "3", "4", "5"]);
    newest_cut(&journal(&world));
    upload(&world, &["6", "7", "8"]);
    let output = run(&world, &["history", "anchor"]);
    assert!(output.code == Some(0) && output.stderr.contains("see history --check"), "{output:?}");
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("BROKEN /HR_Backup/"), "{checked:?}");
}

#[test]
fn an_anchor_is_found_again_whatever_the_store_does_with_a_second_document_of_its_name() {
    for duplicates in [Duplicates::Version, Duplicates::SecondDocument, Duplicates::Conflict] {
        let world = World::with(|options| options.duplicates = duplicates);
        upload(&world, &["0"]);
        for name in ["1", "2", "3"] {
            upload(&world, &[name]);
            let output = run(&world, &["history", "anchor"]);
            assert_eq!(
                (output.code, output.stdout.trim()),
                (Some(0), &*heads(&world).join(" ")),
                "{duplicates:?}: {output:?}"
            );
        }
        let checked = run(&world, &["history", "--check"]);
        assert!(
            checked.code == Some(0) && checked.stdout.contains("receipt 4 is as it was"),
            "{duplicates:?}: {checked:?}"
        );
        newest_cut(&journal(&world));
        let checked = run(&world, &["history", "--check"]);
        assert!(checked.code == Some(1) && checked.stdout.contains("the newest is 3"), "{duplicates:?}: {checked:?}");
    }
}

#[test]
fn a_daemon_anchors_at_its_stop_what_is_new_and_tells_the_head_in_its_log() {
    let world = World::new();
    let start = || {
        let mut command = world.command();
        command.env_remove("ASTRAN_BACKUP_ANCHOR").args(["watch", "watched"]).args(QUICK);
        let daemon = Daemon::start(&mut command);
        daemon.wait_for("watching");
        daemon
    };
    let daemon = start();
    world.put("1", "1");
    eventually("it is removed", || world.files_left().is_empty());
    let output = daemon.stop();
    let [receipts, _] = heads(&world);
    assert!(output.code == Some(0) && output.stdout.contains(&format!("receipt chain head {receipts} ")), "{output:?}");
    assert_eq!(anchors(&world).len(), 1);
    assert_eq!(start().stop().code, Some(0));
    assert_eq!(anchors(&world).len(), 1, "nothing is new");
}

/// A job may run each minute.
#[test]
fn runs_that_end_by_themselves_put_one_anchor_an_hour() {
    let world = World::new();
    for name in ["1", "2", "3"] {
        upload(&world, &[name]);
    }
    assert_eq!(anchors(&world).len(), 1);
    journal(&world).execute("UPDATE anchor SET at = at - 3600000000000", []).unwrap();
    upload(&world, &["4"]);
    assert_eq!(anchors(&world).len(), 2);
}

#[test]
fn an_anchor_that_the_vault_does_not_take_is_told_and_fails_nothing() {
    let world = World::new();
    let named = Rule::new(Call::Upload, Fault::Delay { ms: 600_000 }).named("astran-backup-anchor-");
    world.faults().add(named);
    world.put("1", "1");
    let output = run(&world, &["watch", "watched", "--once", QUICK[0], QUICK[1]]);
    assert!(output.code == Some(0) && output.stderr.contains("took too long"), "{output:?}");
    assert!(world.files_left().is_empty());
}

#[test]
fn without_a_vault_to_ask_the_check_is_a_local_one_and_says_so() {
    let mut world = World::new();
    upload(&world, &["1"]);
    world.stop_sandbox();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("not compared with the vault"), "{checked:?}");
    let mut alone = world.command();
    for (name, _) in support::access_variables(&world.access) {
        alone.env_remove(name);
    }
    let checked = support::run_to_end(alone.env_remove("ASTRAN_BACKUP_ANCHOR").args(["history", "--check"]));
    assert!(checked.code == Some(0) && checked.stdout.contains("no complete login"), "{checked:?}");
}

#[test]
fn a_removed_anchor_shows_and_one_of_another_journal_does_not_disturb() {
    let world = World::new();
    upload(&world, &["1"]);
    let vault = world.dir.path().join("vault");
    std::fs::write(vault.join("HR_Backup/astran-backup-anchor-of-nobody.json"), "{}").unwrap();
    assert_eq!(run(&world, &["history", "--check"]).code, Some(0));
    std::fs::remove_file(vault.join(anchors(&world)[0].trim_start_matches('/'))).unwrap();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("is gone"), "{checked:?}");
}

#[test]
fn what_was_pruned_is_told_and_is_no_damage() {
    let world = World::new();
    upload(&world, &["1", "2"]);
    upload(&world, &["3"]);
    let [receipts, _] = heads(&world);
    let pruned = run(&world, &["history", "--prune-before", "0s"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    let checked = run(&world, &["history", "--check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let same = world.run(["history", "--check", "--against", &receipts]);
    assert_eq!(same.code, Some(0), "the newest pruned one is noted: {same:?}");
    let older = world.run(["history", "--check", "--against", &format!("1:{}", "0".repeat(64))]);
    assert!(older.code == Some(1) && older.stdout.contains("not all could be compared"), "{older:?}");
    assert!(!older.stdout.contains("somebody") && !older.stdout.contains("BROKEN"), "{older:?}");
}

#[test]
fn an_anchor_is_told_for_scripts_too() {
    let world = World::new();
    upload(&world, &["1"]);
    for arguments in [["history", "anchor", "--json"], ["history", "--json", "anchor"]] {
        let output = run(&world, &arguments);
        let object: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let [receipts, fates] = heads(&world);
        assert_eq!(
            (output.code, object["anchor"].as_str(), object["fates"].as_str()),
            (Some(0), Some(&*receipts), Some(&*fates))
        );
        assert!(world.stored(object["document"].as_str().unwrap()).is_some());
    }
    let checked = run(&world, &["history", "--check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!((&report["whole"], &report["anchors"][0]["result"]), (&true.into(), &"same".into()));
    assert_eq!(run(&world, &["history", "--failed", "anchor"]).code, Some(2));
    assert_eq!(world.run(["history", "anchor"]).code, Some(2), "they are off there");
}

#[test]
fn anchors_go_into_the_folder_that_is_configured() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/Anchors").unwrap()));
    let with = |arguments: &[&str]| {
        let mut command = world.command();
        support::run_to_end(command.env("ASTRAN_BACKUP_ANCHOR", "/Anchors").args(arguments))
    };
    let flag = |name: &str| run(&world, &["history", "anchor", "--anchor", name]);
    world.put("1", "1");
    assert_eq!(with(&["watch", "watched", "--once", QUICK[0], QUICK[1]]).code, Some(0));
    assert!(anchors(&world)[0].starts_with("/Anchors/"));
    assert!(flag("/HR_Backup").code == Some(0) && anchors(&world).iter().any(|path| path.starts_with("/HR_Backup/")));
    let wrong = flag("Anchors");
    assert!(wrong.code == Some(2) && wrong.stderr.contains("--anchor"), "{wrong:?}");
    assert_eq!(flag("/Anchors").code, Some(0));
    assert!(with(&["history", "--check"]).stdout.contains("receipt 1 is as it was"));
    let elsewhere = run(&world, &["history", "--check"]);
    assert!(elsewhere.stdout.contains("receipt 1 is as it was"), "the journal knows where it went: {elsewhere:?}");
}

#[test]
fn a_head_that_is_none_is_a_usage_error() {
    let world = World::new();
    let output = world.run(["history", "--check", "--against", "12"]);
    assert!(output.code == Some(2) && output.stderr.contains("SEQ:HASH"), "{output:?}");
    assert_eq!(world.run(["history", "--against", "12:00"]).code, Some(2), "only with --check");
}

/// Regression: anchors were known by the names of the host and of the state's folder, which a container has anew in each run. The old
/// ones were told as gone, or, where the journal did not say that there were any, not compared at all.
#[test]
fn anchors_are_known_by_their_key_wherever_the_state_lies() {
    let world = World::new();
    upload(&world, &["1", "2", "3", "4", "5"]);
    let moved = world.dir.path().join("moved");
    std::fs::rename(world.state().join("astran-backup"), &moved).unwrap();
    let check = ["--state-dir", moved.to_str().unwrap(), "history", "--check"];
    let fine = run(&world, &check);
    assert!(fine.code == Some(0) && fine.stdout.contains("receipt 5 is as it was"), "{fine:?}");
    let journal = Connection::open(moved.join("journal.sqlite")).unwrap();
    altered(&journal);
    journal.execute("DELETE FROM anchor", []).unwrap();
    let checked = run(&world, &check);
    assert!(checked.code == Some(1) && checked.stdout.contains("BROKEN /HR_Backup/"), "{checked:?}");
}

/// Regression: only the receipts' numbers were compared.
#[test]
fn an_anchor_in_the_vault_that_was_put_back_to_older_fates_shows() {
    let world = World::new();
    upload(&world, &["1", "2"]);
    let document = world.dir.path().join("vault").join(anchors(&world)[0].trim_start_matches('/'));
    let older = std::fs::read(&document).unwrap();
    let one_more = "INSERT INTO fate SELECT 3, receipt, state, detail, at, hash FROM fate WHERE seq = 1";
    journal(&world).execute_batch(one_more).unwrap();
    rebuild_fates(&journal(&world));
    assert_eq!(run(&world, &["history", "anchor"]).code, Some(0));
    let fine = run(&world, &["history", "--check"]);
    assert_eq!(fine.code, Some(0), "{fine:?}");
    std::fs::write(&document, older).unwrap();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("is gone"), "{checked:?}");
}

/// Regression: the words were those of a journal that somebody changed.
#[test]
fn a_key_that_can_not_be_used_proves_nothing_and_accuses_nobody() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    upload(&world, &["1", "2"]);
    upload(&world, &["3"]);
    assert_eq!(run(&world, &["history", "--prune-before", "0s"]).code, Some(0));
    let key = world.state().join("astran-backup/anchor.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [&["history", "--check"][..], &["history", "--check", "--against", &heads(&world)[0]]] {
        let checked = run(&world, arguments);
        assert!(checked.code == Some(1) && checked.stdout.contains("mode 600"), "{checked:?}");
        assert!(!checked.stdout.contains("somebody") && !checked.stdout.contains("BROKEN"), "{checked:?}");
    }
}

/// Regression: of two at once the slower one put an older anchor over the newer one, which the check then missed.
#[test]
fn one_process_at_a_time_anchors() {
    let world = World::new();
    upload(&world, &["1"]);
    let lock = std::fs::File::open(world.state().join("astran-backup/anchor.lock")).unwrap();
    lock.lock().unwrap();
    let busy = run(&world, &["history", "anchor"]);
    assert!(busy.code == Some(1) && busy.stderr.contains("another process anchors"), "{busy:?}");
    drop(lock);
    assert_eq!(run(&world, &["history", "anchor"]).code, Some(0));
}

fn last_line(output: &Output) -> &str {
    output.stdout.trim_end().lines().last().unwrap_or_default()
}

/// Regression: it ended with 0, and its one line about it was easily missed.
#[test]
fn a_check_whose_login_is_refused_is_a_local_one_and_ends_with_3() {
    let world = World::new();
    upload(&world, &["1"]);
    let wrong = |arguments: &[&str]| {
        let mut command = world.command();
        command.env_remove("ASTRAN_BACKUP_ANCHOR").env("ASTRAN_BACKUP_PASSWORD", "wrong");
        support::run_to_end(command.args(["history", "--check"]).args(arguments))
    };
    let refused = wrong(&[]);
    assert!(refused.code == Some(3) && refused.stdout.starts_with("1 receipt checked"), "{refused:?}");
    assert!(last_line(&refused).starts_with("not compared with the vault: "), "{refused:?}");
    let object = wrong(&["--json"]);
    assert_eq!((object.code, object.stdout.lines().count()), (Some(3), 1), "{object:?}");
    let logins = world.sandbox().stats().requests["login"];
    let offline = wrong(&["--offline"]);
    assert!(offline.code == Some(0) && last_line(&offline).ends_with("--offline was given"), "{offline:?}");
    assert_eq!(world.sandbox().stats().requests["login"], logins);
}

/// Regression: nothing was printed for 30 s, and the log said that uploads waited.
#[test]
fn a_service_that_takes_connections_and_says_nothing_does_not_hold_the_local_check_up() {
    let world = World::new();
    upload(&world, &["1"]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let mut command = world.command();
    command.env_remove("ASTRAN_BACKUP_ANCHOR").env("ASTRAN_BACKUP_AUTH_URL", address);
    let checked = support::run_to_end(command.args(["history", "--check"]));
    assert!(checked.code == Some(0) && checked.stdout.starts_with("1 receipt checked"), "{checked:?}");
    assert!(last_line(&checked).contains("did not answer within 7 s"), "{checked:?}");
    assert!(!checked.stderr.contains("uploads"), "{checked:?}");
}

/// A check looks; what it finds must not become the journal's.
#[test]
fn a_check_makes_no_key() {
    let world = World::new();
    upload(&world, &["1"]);
    let key = world.state().join("astran-backup/anchor.key");
    std::fs::remove_file(&key).unwrap();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("by another key"), "{checked:?}");
    assert!(!key.exists());
}
