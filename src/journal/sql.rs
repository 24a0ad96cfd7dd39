//! The names that the journal's SQL uses: what the numbers in its tables mean, and which columns are read.
//!
//! States are formatted into the text of a statement, not bound to it: `SQLite` uses a partial index (`attempt_waiting`,
//! `attempt_failed`) only where a statement repeats the index's condition as a literal. Each text is made once, at its first use.

use std::sync::LazyLock;

/// The text of a statement that has names of this module in it.
pub(super) type Sql = LazyLock<String>;

/// What `attempt.state` and `fate.state` say. Up to [`state::FAILED`] something is still to be done about the file.
pub(super) mod state {
    pub(in crate::journal) const OPEN: i64 = 0;
    pub(in crate::journal) const STORED: i64 = 1;
    pub(in crate::journal) const FAILED: i64 = 2;
    pub(in crate::journal) const ABANDONED: i64 = 3;
    pub(in crate::journal) const REMOVED: i64 = 4;
    pub(in crate::journal) const KEPT: i64 = 5;
    pub(in crate::journal) const MOVED: i64 = 6;
    pub(in crate::journal) const SUPERSEDED: i64 = 7;
}

/// Declares the columns that a statement selects, in their order: an enum of their positions, and their list for the SQL.
///
/// Positions, not names: a look along 100,000 receipts reads 24 columns of each, and `rusqlite` finds a name by comparing it with
/// the names of all columns.
macro_rules! columns {
    ($(#[$doc:meta])* $visibility:vis enum $columns:ident { $first:ident: $first_sql:literal, $($name:ident: $sql:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        $visibility enum $columns { $first, $($name,)* }

        impl $columns {
            /// For `SELECT`.
            $visibility const LIST: &str = concat!($first_sql, $(", ", $sql,)*);

            $visibility fn get<T: rusqlite::types::FromSql>(self, row: &rusqlite::Row<'_>) -> rusqlite::Result<T> {
                row.get(self as usize)
            }

            $visibility fn get_ref<'a>(
                self,
                row: &'a rusqlite::Row<'_>,
            ) -> rusqlite::Result<rusqlite::types::ValueRef<'a>> {
                row.get_ref(self as usize)
            }
        }
    };
}
pub(super) use columns;

columns! {
    /// An attempt with its receipt. Needs `attempt a`, `receipt r` and [`STRINGS`].
    pub(super) enum Column {
        Id: "a.id",
        Root: "root.value",
        Relative: "a.relative",
        Device: "a.device",
        Inode: "a.inode",
        FileSize: "a.size",
        Mtime: "a.mtime",
        Ctime: "a.ctime",
        Dest: "dest.value",
        Folder: "folder.value",
        Name: "a.name",
        Started: "a.started",
        State: "a.state",
        Detail: "a.detail",
        Seq: "r.seq",
        Sha256: "r.sha256",
        StoredSize: "r.size",
        Document: "r.document",
        DocumentVersion: "r.document_version",
        User: "user.value",
        AlreadyPresent: "r.adopted",
        Stored: "r.stored",
        Prev: "r.prev",
        Hash: "r.hash",
    }
}

/// The strings that `attempt a` and `receipt r` refer to by number.
pub(super) const STRINGS: &str = "LEFT JOIN term root ON root.id = a.root LEFT JOIN term dest ON dest.id = a.dest \
     LEFT JOIN term folder ON folder.id = a.folder LEFT JOIN term user ON user.id = r.user";

/// Selects [`Column`] of all attempts, with their receipts where they have one. A condition follows.
pub(super) fn select_attempts() -> String {
    format!("SELECT {} FROM attempt a LEFT JOIN receipt r ON r.seq = a.seq {STRINGS}", Column::LIST)
}
