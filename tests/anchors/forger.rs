//! An attacker who may write the whole journal: changes it, and computes all hashes anew, so that the chains look whole.

use rusqlite::Connection;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};

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

/// Hashes all receipts anew, from the first one on, and moves the mark: the journal's documentation says how.
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
pub(crate) fn rebuild_fates(journal: &Connection) {
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

pub(crate) fn newest_cut(journal: &Connection) {
    let move_back = "DELETE FROM receipt WHERE seq >= 4; UPDATE attempt SET state = 3, seq = NULL WHERE seq >= 4; \
         UPDATE mark SET seq = 3, hash = (SELECT hash FROM receipt WHERE seq = 3) WHERE kind = 1; \
         DELETE FROM fate WHERE receipt >= 4;";
    journal.execute_batch(move_back).unwrap();
    rebuild_fates(journal);
}

pub(crate) fn oldest_cut(journal: &Connection) {
    let pruned = "UPDATE mark SET seq = 2, hash = (SELECT hash FROM receipt WHERE seq = 2), at = 1 WHERE kind = 0; \
         DELETE FROM attempt WHERE seq <= 2; DELETE FROM receipt WHERE seq <= 2; DELETE FROM fate WHERE receipt <= 2;";
    journal.execute_batch(pruned).unwrap();
    rebuild_fates(journal);
}

pub(crate) fn altered(journal: &Connection) {
    journal.execute_batch("UPDATE receipt SET document = 'another' WHERE seq = 2").unwrap();
    rebuild_receipts(journal);
}

pub(crate) fn one_removed(journal: &Connection) {
    let renumber = "DELETE FROM attempt WHERE seq = 2; DELETE FROM receipt WHERE seq = 2; \
         UPDATE receipt SET seq = seq - 1 WHERE seq > 2; UPDATE attempt SET seq = seq - 1 WHERE seq > 2; \
         DELETE FROM fate WHERE receipt = 2; UPDATE fate SET receipt = receipt - 1 WHERE receipt > 2;";
    journal.execute_batch(renumber).unwrap();
    rebuild_receipts(journal);
    rebuild_fates(journal);
}

pub(crate) fn fate_altered(journal: &Connection) {
    journal
        .execute_batch("UPDATE attempt SET state = 5 WHERE seq = 2; UPDATE fate SET state = 5 WHERE receipt = 2")
        .unwrap();
    rebuild_fates(journal);
}
