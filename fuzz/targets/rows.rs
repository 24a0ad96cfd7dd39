//! Rows of a damaged or forged journal. Any values in any column: each reader returns rows or an error, and what is printed is
//! valid and harmless. One value of a good journal altered: the check of the chain notices.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use astran_backup::commands::{Output, history};
use astran_backup::file::FileStamp;
use astran_backup::journal::{Begun, Intent, Journal, Stored};
use astran_backup::vault::{DocumentId, RemotePath};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::Runtime;

use crate::input::{Input, assert_harmless};

const ROOT: &str = "/watched";

/// A journal whose tables take any values, and what lay in it when it was good.
struct World {
    runtime: Runtime,
    journal: Journal,
    connection: Connection,
    tables: Vec<Table>,
}

struct Table {
    name: String,
    columns: Vec<String>,
    good: Vec<Vec<Value>>,
}

pub(crate) fn run(data: &[u8]) {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let world = WORLD.get_or_init(|| Mutex::new(World::new()));
    // A panic is what the fuzzer looks for; in a test the next input still gets the world.
    let mut world = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut input = Input::new(data);
    if input.byte().is_multiple_of(4) { world.alter(&mut input) } else { world.fill(&mut input) }
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state = tempfile::tempdir().unwrap().keep().join("state");
        runtime.block_on(write_receipts(&state));
        let file = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "sqlite")).unwrap();
        let connection = Connection::open(file).unwrap();
        connection.pragma_update(None, "synchronous", "off").unwrap();
        let tables = tables(&connection);
        loosen(&connection);
        drop(connection);
        let journal = Journal::open(&state).unwrap();
        let connection = Connection::open(state.join("journal.sqlite")).unwrap();
        connection.pragma_update(None, "synchronous", "off").unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        let mut world = Self { runtime, journal, connection, tables };
        world.restore();
        assert!(world.is_whole().unwrap(), "the good journal is whole");
        world
    }

    fn is_whole(&self) -> Result<bool, String> {
        self.runtime.block_on(self.journal.check()).map(|report| report.is_whole()).map_err(|error| error.to_string())
    }

    fn restore(&mut self) {
        let all = self.connection.transaction().unwrap();
        for table in &self.tables {
            all.execute(&format!("DELETE FROM {}", table.name), []).unwrap();
            for row in &table.good {
                insert(&all, &table.name, row, &[]).unwrap();
            }
        }
        all.commit().unwrap();
    }

    /// Any rows in all tables.
    fn fill(&mut self, input: &mut Input<'_>) {
        let all = self.connection.transaction().unwrap();
        for table in &self.tables {
            all.execute(&format!("DELETE FROM {}", table.name), []).unwrap();
            for _ in 0..input.byte() % 4 {
                let (values, texts): (Vec<Value>, Vec<bool>) = table.columns.iter().map(|_| value(input)).unzip();
                // A key that is no number, or is taken already, makes no row.
                insert(&all, &table.name, &values, &texts).ok();
            }
        }
        all.commit().unwrap();
        self.read(input);
    }

    /// Calls every reader; none may panic.
    fn read(&self, input: &mut Input<'_>) {
        let stamp = FileStamp { device: 1, inode: u64::from(input.byte() % 8), size: 1, mtime: 1, ctime: 1 };
        let path = PathBuf::from(input.text().into_owned());
        self.runtime.block_on(async {
            let root = Path::new(ROOT);
            self.journal.of_file(root, &path, stamp).await.ok();
            self.journal.open_of_inode(stamp.inode, 100).await.ok();
            self.journal.unresolved(root).await.ok();
            self.journal.receipts_page(None, 0, 100).await.ok();
            self.journal.receipt_of(&RemotePath::default().join("a")).await.ok();
            self.journal.check().await.ok();
            for (json, failed, pending) in [(true, false, false), (false, false, false), (true, true, true)] {
                let options = history::Options { failed, pending, ..history::Options::default() };
                let mut out = Vec::new();
                history::run(&self.journal, &options, &mut Output::new(&mut out, json)).await.ok();
                printed(&out, json);
            }
            for json in [true, false] {
                let mut out = Vec::new();
                history::check(&self.journal, &mut Output::new(&mut out, json)).await.ok();
                printed(&out, json);
            }
        });
    }

    /// Changes one value of the receipts: that must show.
    fn alter(&mut self, input: &mut Input<'_>) {
        self.restore();
        let table = self.tables.iter().find(|table| table.name == "receipt").unwrap();
        let row = usize::from(input.byte()) % table.good.len();
        let column = usize::from(input.byte()) % table.columns.len();
        let (new, is_text) = value(input);
        let key = table.columns[0].as_str();
        let place = if is_text { "CAST(?1 AS TEXT)" } else { "?1" };
        let column_name = &table.columns[column];
        let sql = format!("UPDATE receipt SET {column_name} = {place} WHERE {key} = ?2 RETURNING {column_name}");
        let before = &table.good[row][column];
        let changed = self.connection.query_row(&sql, params_from_iter([&new, &table.good[row][0]]), |row| row.get(0));
        // The value may still be the same: a column of numbers turns the text "5" into a 5.
        let Ok(after): rusqlite::Result<Value> = changed else { return };
        if read_alike(&after, before) {
            return;
        }
        let whole = self.is_whole();
        assert!(whole != Ok(true), "{column_name} = {after:?} instead of {before:?} does not show");
    }
}

/// Whether the journal's readers see no difference between two values: they read a text as its bytes.
fn read_alike(one: &Value, other: &Value) -> bool {
    let bytes = |value: &Value| match value {
        Value::Text(text) => Some(text.clone().into_bytes()),
        Value::Blob(bytes) => Some(bytes.clone()),
        _ => None,
    };
    one == other || bytes(one).is_some_and(|one| bytes(other) == Some(one))
}

fn printed(out: &[u8], json: bool) {
    let text = std::str::from_utf8(out).unwrap();
    for line in text.lines() {
        assert_harmless(line);
        if json {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

/// A value of any type, and whether its bytes are to be a text, which need not be valid.
fn value(input: &mut Input<'_>) -> (Value, bool) {
    match input.byte() % 8 {
        0 => (Value::Null, false),
        1 | 2 => (Value::Integer(i64::from(input.byte() % 8)), false),
        3 => (Value::Integer(input.number().cast_signed()), false),
        4 => (Value::Real(f64::from_bits(input.number())), false),
        5 => (Value::Blob(input.bytes().to_vec()), false),
        6 => (Value::Blob(input.bytes().to_vec()), true),
        _ => (Value::Text(ROOT.to_owned()), false),
    }
}

fn insert(connection: &Connection, table: &str, values: &[Value], texts: &[bool]) -> rusqlite::Result<usize> {
    let places: Vec<String> =
        (0..values.len())
            .map(|at| {
                if texts.get(at) == Some(&true) { format!("CAST(?{} AS TEXT)", at + 1) } else { format!("?{}", at + 1) }
            })
            .collect();
    let sql = format!("INSERT OR IGNORE INTO {table} VALUES ({})", places.join(", "));
    connection.prepare_cached(&sql)?.execute(params_from_iter(values))
}

fn tables(connection: &Connection) -> Vec<Table> {
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let table = |name: String| {
        let mut rows = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let values = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|at| row.get(at)).collect();
        let good = rows.query_map([], values).unwrap().map(Result::unwrap).collect();
        Table { name, columns, good }
    };
    names.into_iter().filter(|name| !name.starts_with("sqlite_")).map(table).collect()
}

/// Makes the tables take any values: a forged journal need not have our constraints.
fn loosen(connection: &Connection) {
    let edit = "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(replace(sql, ' STRICT', ''), ' NOT NULL', '') WHERE type = 'table';
         PRAGMA writable_schema = OFF;";
    connection.execute_batch(edit).unwrap();
}

async fn write_receipts(state: &Path) {
    let journal = Journal::open(state).unwrap();
    for (number, name) in ["a", "b.pdf", "c d"].into_iter().enumerate() {
        let number = number as u64;
        let intent = Intent {
            root: ROOT.into(),
            relative: name.into(),
            stamp: FileStamp { device: 1, inode: number, size: 10 + number, mtime: 5, ctime: 6 },
            dest: RemotePath::parse("/dest").unwrap(),
            folder: DocumentId("folder".into()),
            name: name.into(),
        };
        let Begun::Go(id) = journal.begin(intent).await.unwrap() else { panic!("{name}") };
        let stored = Stored {
            sha256: format!("{number:064x}"),
            size: 10 + number,
            document: DocumentId(format!("id-{number}")),
            document_version: (number > 0).then(|| "1.0".to_owned()),
            user: "user".into(),
            already_present: number == 2,
        };
        journal.stored(id, stored).await.unwrap();
    }
    journal.prune(SystemTime::UNIX_EPOCH).await.unwrap();
}
