//! The table of rooms in `src/lib.rs` is true: every import of `src` is one that it allows, and it goes one way.
//!
//! An import is any path that begins at the crate's root: `crate::room`, `crate::{room, …}`, `super::…::room` where the
//! `super`s reach the root, and `astran_backup::room` in `main.rs`, in a `use` or inline. The reader follows the `mod` declarations from
//! `lib.rs` and `main.rs`, so that it sees the files that the compiler sees. Test code may import everything; test code is
//! what stands under `#[cfg(test)]`: an item, or a file whose `mod` declaration has that attribute. Comments and texts are not
//! read, so a link in a doc comment is no import.

// Helpers of tests are tests too; the lint's own exception sees only the functions marked as such.
#![allow(clippy::unwrap_used)]

mod imports;
mod table;
mod tokens;

use std::collections::BTreeSet;
use std::path::Path;

use imports::{Import, imports_of_crate};
use table::Table;

/// Imports that the table does not allow and that are still there: from, to, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

fn table() -> Table {
    Table::parse(&std::fs::read_to_string(source().join("lib.rs")).unwrap())
}

#[test]
fn every_import_is_one_that_the_table_of_rooms_allows() {
    let table = table();
    let is_exception = |import: &Import| {
        EXCEPTIONS.iter().any(|(from, to, _)| (import.from.as_str(), import.to.as_str()) == (from, to))
    };
    let imports = imports_of_crate(source());
    let forbidden = imports.iter().filter(|import| !table.allows(&import.from, &import.to) && !is_exception(import));
    let lines: Vec<String> = forbidden.map(ToString::to_string).collect();
    assert!(lines.is_empty(), "imports that the table in src/lib.rs does not allow:\n{}", lines.join("\n"));
}

#[test]
fn every_import_that_the_table_or_an_exception_allows_is_one_of_src() {
    let imports = imports_of_crate(source());
    let made: BTreeSet<(&str, &str)> = imports.iter().map(|import| (&*import.from, &*import.to)).collect();
    assert!(imports.len() > 200, "only {} imports were found: the reader has lost its way", imports.len());
    let exceptions = EXCEPTIONS.iter().map(|(from, to, _)| (*from, *to));
    let table = table();
    let unused: Vec<_> = table.arrows().chain(exceptions).filter(|arrow| !made.contains(arrow)).collect();
    assert!(
        unused.is_empty(),
        "imports that src does not make (any more): take them out of the table in src/lib.rs, or of EXCEPTIONS: {unused:?}"
    );
}

#[test]
fn the_table_has_every_room_of_src_and_no_other() {
    let rooms: BTreeSet<String> = imports::rooms(source());
    let told: BTreeSet<String> = table().rooms().map(str::to_owned).collect();
    let (missing, unknown): (Vec<_>, Vec<_>) = (rooms.difference(&told).collect(), told.difference(&rooms).collect());
    assert!(missing.is_empty(), "rooms of src that the table in src/lib.rs does not have: {missing:?}");
    assert!(unknown.is_empty(), "rooms of the table in src/lib.rs that src does not have: {unknown:?}");
}

#[test]
fn the_table_goes_one_way() {
    assert_eq!(table().mistakes(), [""; 0]);
}
