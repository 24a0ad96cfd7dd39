//! Parses the configuration file, and remembers where each key stands, so that an error can name the line. Pure.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::ConfigError;
use super::file::Keys;
use super::keys::{Table, unknown_key, unknown_table};

/// A parsed configuration file; the default stands for no file.
#[derive(Debug, Clone, Default)]
pub(super) struct Parsed {
    /// The file's path; `None` where there is no file.
    pub(super) origin: Option<PathBuf>,
    /// The keys in the file.
    pub(super) keys: Keys,
    places: Vec<Place>,
}

/// Where a key and its value stand.
#[derive(Debug, Clone)]
struct Place {
    table: Table,
    /// The number of the `[[folder]]`, from 0; 0 in other tables.
    index: usize,
    key: String,
    line: usize,
    span: Range<usize>,
}

impl Parsed {
    /// Parses the text of the file at `origin`.
    pub(super) fn parse(origin: &Path, text: &str) -> Result<Self, ConfigError> {
        let fault =
            |at: usize, why: &str| ConfigError::new(format!("{} line {}: {why}", origin.display(), line_of(text, at)));
        let document = DeTable::parse(text).map_err(|e| {
            let why = e.message().replace('\n', ", ");
            fault(e.span().map_or(0, |s| s.start), &format!("is not TOML: {why}"))
        })?;
        let places = walk(document.get_ref(), text).map_err(|(at, why)| fault(at, &why))?;
        let keys = Keys::deserialize(Deserializer::from(document)).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            fault(span.start, &wrong_value(&places, &span, e.message()))
        })?;
        Ok(Self { origin: Some(origin.to_owned()), keys, places })
    }

    /// Where a key stands, for messages: `/etc/…/config.toml line 7: settle in [upload]`.
    pub(super) fn at(&self, table: Table, index: usize, key: &str) -> String {
        let place = self.places.iter().find(|p| p.table == table && p.index == index && p.key == key);
        let heading = table.heading();
        match (&self.origin, place) {
            (Some(origin), Some(place)) => format!("{} line {}: {key} in {heading}", origin.display(), place.line),
            (Some(origin), None) => format!("{}: {key} in {heading}", origin.display()),
            (None, _) => format!("{key} in {heading}"),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

type Fault = (usize, String);

/// The place of every key, or the first fault in the file: an unknown key or table, or a table that is written wrongly.
fn walk(document: &DeTable<'_>, text: &str) -> Result<Vec<Place>, Fault> {
    let mut places = Vec::new();
    let mut faults = Vec::new();
    for (name, value) in document {
        let at = name.span().start;
        match (Table::named(name.get_ref()), value.get_ref()) {
            (Some(Table::Folder), DeValue::Array(folders)) => {
                for (index, folder) in folders.iter().enumerate() {
                    match folder.get_ref() {
                        DeValue::Table(keys) => walk_table(keys, Table::Folder, index, text, &mut places, &mut faults),
                        _ => faults.push((at, "folder is no table: write [[folder]]".into())),
                    }
                }
            }
            (Some(Table::Folder), _) => {
                faults.push((at, "write [[folder]] in double brackets: there can be several".into()));
            }
            (Some(table), DeValue::Table(keys)) => walk_table(keys, table, 0, text, &mut places, &mut faults),
            (Some(table), DeValue::Array(_)) => {
                faults.push((at, format!("write {} in single brackets, and once", table.heading())));
            }
            (Some(table), _) => faults.push((at, format!("{0} is no table: write {1}", table.name(), table.heading()))),
            (None, _) => faults.push((at, unknown_table(name.get_ref()))),
        }
    }
    faults.into_iter().min().map_or(Ok(places), Err)
}

fn walk_table(
    keys: &DeTable<'_>,
    table: Table,
    index: usize,
    text: &str,
    places: &mut Vec<Place>,
    faults: &mut Vec<Fault>,
) {
    for (key, value) in keys {
        let name: &str = key.get_ref();
        if table.keys().any(|k| k == name) {
            places.push(place(table, index, key, value, text));
        } else {
            faults.push((key.span().start, unknown_key(table, name)));
        }
    }
}

fn place<S: AsRef<str>>(
    table: Table,
    index: usize,
    key: &Spanned<S>,
    value: &Spanned<DeValue<'_>>,
    text: &str,
) -> Place {
    let line = line_of(text, key.span().start);
    Place { table, index, key: key.get_ref().as_ref().to_owned(), line, span: key.span().start..value.span().end }
}

/// The message about a wrong value: the key, what is wrong, and an example of a right value.
fn wrong_value(places: &[Place], span: &Range<usize>, why: &str) -> String {
    let Some(place) = places.iter().find(|p| p.span.start <= span.start && span.end <= p.span.end) else {
        return why.to_owned();
    };
    let (key, heading) = (&place.key, place.table.heading());
    // The value may be a secret, here or in the wrong place, and serde's message would repeat it.
    let is_secret = place.table == Table::Login || (place.table == Table::Notify && key == "command");
    let why = if is_secret { "this can't be its value" } else { why };
    format!("{key} in {heading}: {why}; write it like {}", place.table.example(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{KEYS, TABLES};
    use proptest::prelude::*;

    fn why(text: &str) -> String {
        Parsed::parse(Path::new("c.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_key_takes_its_example() {
        for (table, key, value) in KEYS {
            let text = format!("{}\n{key} = {value}\n", table.heading());
            let parsed = Parsed::parse(Path::new("c.toml"), &text).unwrap();
            assert_eq!(parsed.at(*table, 0, key), format!("c.toml line 2: {key} in {}", table.heading()));
        }
    }

    #[test]
    fn the_message_about_a_wrong_value_shows_a_right_one() {
        for table in TABLES {
            for key in table.keys() {
                let why = why(&format!("# one\n{}\n\n{key} = 2026-01-01\n", table.heading()));
                assert!(why.starts_with(&format!("c.toml line 4: {key} in {}: ", table.heading())), "{why}");
                assert!(why.contains(&format!("write it like {key} = ")), "{why}");
            }
        }
    }

    /// Regression: serde's message repeats the value, and its control characters reached the terminal.
    #[test]
    fn control_characters_of_a_quoted_value_are_escaped() {
        let why = why("[upload]\nverify = \"a\\t\\u001B[2J\\u202Eb\"");
        assert!(why.contains(r"unknown variant `a\t\u{1b}[2J\u{202e}b`"), "{why}");
    }

    #[test]
    fn each_fault_has_a_message_that_says_what_to_write() {
        let rows = [
            ("[upload]\nsettle = 5", "write 5ms, 5s"),
            ("[upload]\nsettle = \"5\"", "write 5ms, 5s"),
            ("[upload]\nrescan = \"1ms\"", "less than a second"),
            ("[upload]\nstore_lag = \"601s\"", "is longer than 10m"),
            ("[upload]\ntransfers = 0", "a number from 1 to 256"),
            ("[upload]\nmax_size = 5", "write 5B"),
            ("[upload]\nmax_size = \"0B\"", "refuse every file"),
            ("[upload]\ntransfers = 1.5", "a number from 1 to 256"),
            ("[upload]\nverify = \"lsting\"", "`listing`"),
            ("[upload]\ndest = \"/a/../b\"", "`..`"),
            ("[upload]\nignore = [\"a\", \"[\"]", "`[`"),
            ("[upload]\nmove_to = \"~/x\"", "write it out"),
            ("[service]\nrealm = 5", "a text in quotes"),
            ("[service]\napi_url = \"http://example.com\"", "plain http"),
            ("[journal]\nkeep_receipts = \"0s\"", "forever"),
            ("[journal]\nanchor = \"Anchors\"", "a folder of the vault like /Anchors"),
            ("[notify]\non = [\"fialed\"]", "did you mean `failed`?"),
            ("[notify]\non = [\"mail\"]", "there are failed, stuck, login and recovered"),
            ("[notify]\non = [\"recovered\"]", "add failed, stuck or login"),
            ("[notify]\non = \"failed\"", "write it like on = [\"failed\""),
            ("[notify]\nevery = \"0s\"", "less than a second"),
            ("[notify]\nurl = \"http://hooks.example/x\"", "plain http"),
            ("[notify]\ncommand = []", "write it like command = ["),
            ("[folder]\npath = \"a\"", "[[folder]]"),
            ("[[upload]]\ndest = \"/a\"", "single brackets"),
            ("folder = [1]", "[[folder]]"),
            ("upload = 1", "write [upload]"),
            ("realm = \"x\"", "belongs in [service]"),
            ("[upload]\nsettel = \"1s\"", "line 2: unknown key `settel` in [upload]: did you mean `settle`?"),
            (
                "[daemon]\nlisten = \"localhost:9464\"",
                "line 2: listen in [daemon]: `localhost:9464` is no IP address with a port",
            ),
            ("[daemon]\nlisten = 9464", "`9464` is no IP address with a port"),
            ("[upload]\ndone_suffix = \".ok\"", "unknown key `done_suffix`"),
            ("[upload\n", "c.toml line 1: is not TOML"),
        ];
        for (text, part) in rows {
            let why = why(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn a_password_in_the_wrong_place_is_not_shown() {
        let rows = [
            "[login]\npassword = \"hunter2\"",
            "[login]\npassword = hunter2",
            "[login]\npassword_command = \"echo hunter2\"",
            "[login]\ngrant = \"hunter2\"",
            "[login]\nusername = [\"hunter2\"]",
            "[login]\npassword_file = \"~/hunter2\"",
            "[service]\napi_url = \"https://me:hunter2@example.com\"",
            "[service]\napi_url = \"https://me:hunter2@example.com:99999\"",
            "[service]\nrealm = \"me:hunter2\"",
            "[login]\npassword = \"hunter2",
            "[notify]\ncommand = \"curl https://hooks.example/hunter2\"",
            "[notify]\nurl = \"http://hooks.example/hunter2\"",
            "[notify]\nurl = \"hunter2\"",
            "[notify]\nping = [\"hunter2\"]",
        ];
        for text in rows {
            let why = why(text);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\[\\[?(upload|folder|login)\\]?\\]|[a-z_]{1,8} ?= ?|\"[^\"]{0,6}\"|[0-9]{1,3}|\n|\\PC){0,30}") {
            drop(Parsed::parse(Path::new("c.toml"), &text));
        }
    }
}
