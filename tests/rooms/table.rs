//! The table of rooms, as the documentation of `src/lib.rs` shows it.

use std::collections::BTreeSet;

/// One row: a room, and the rooms that it may import besides the ground.
struct Row {
    room: String,
    is_ground: bool,
    may_import: Vec<String>,
}

/// The rows in their order.
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Reads the rows of the form ``| `room` | what it holds | `room`, `room` |`` from the crate's documentation.
    pub(crate) fn parse(lib: &str) -> Self {
        let rows = lib.lines().filter_map(|line| line.strip_prefix("//! |")).filter_map(row);
        let table = Self(rows.collect());
        assert!(!table.0.is_empty(), "there is no table of rooms in src/lib.rs");
        table
    }

    pub(crate) fn rooms(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|row| row.room.as_str())
    }

    /// All imports that the table names: from where, and to where.
    pub(crate) fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|row| row.may_import.iter().map(|to| (row.room.as_str(), to.as_str())))
    }

    pub(crate) fn allows(&self, from: &str, to: &str) -> bool {
        let row = |room: &str| self.0.iter().find(|row| row.room == room);
        row(to).is_some_and(|row| row.is_ground)
            || row(from).is_some_and(|row| row.may_import.iter().any(|allowed| allowed == to))
    }

    /// What is wrong with the table itself. Where each room imports only rooms above it there can be no circle.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut above = BTreeSet::new();
        for row in &self.0 {
            let room = &row.room;
            for to in row.may_import.iter().filter(|to| !above.contains(*to)) {
                mistakes.push(format!("`{room}` may import `{to}`, which does not stand above it"));
            }
            if row.is_ground && !row.may_import.is_empty() {
                mistakes.push(format!("`{room}` is ground and may import nothing, so that all may import it"));
            }
            if !above.insert(room) {
                mistakes.push(format!("`{room}` has two rows"));
            }
        }
        mistakes
    }
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.trim_end().trim_end_matches('|').split('|').collect();
    let [room, _, may_import] = cells[..] else { panic!("a row of the table of rooms has not three cells: {line}") };
    // The table's head has no room.
    let name = quoted(room).pop()?;
    Some(Row { room: name, is_ground: room.contains("*ground*"), may_import: quoted(may_import) })
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn a_circle_an_arrow_up_and_a_double_row_are_mistakes() {
    let mistakes = |rows: &str| Table::parse(rows).mistakes();
    let good = "//! | Room | Holds | May import |\n//! | --- | --- | --- |\n//! | *ground* `a` | x | |\n//! | `b` | x | `a` |\n";
    assert_eq!(mistakes(good), [""; 0]);
    for bad in [
        "//! | `a` | x | `b` |\n//! | `b` | x | `a` |",
        "//! | `a` | x | `a` |",
        "//! | `a` | x | |\n//! | `a` | x | |",
    ] {
        assert_eq!(mistakes(bad).len(), 1, "{bad}");
    }
}
