//! The list of names that `--files-from` gives: read as fast as its names are looked up, so that a list of a million names takes no memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::is_standard_input;
use crate::budget;
use crate::exit::{Exit, Fatal};

/// A list of names, open.
pub(in crate::commands) struct List {
    reader: Box<dyn BufRead + Send>,
    shown: String,
    /// The byte that ends each name.
    end: u8,
}

/// Names that may wait to be looked up.
const AHEAD: usize = 64;

impl List {
    /// Opens a list; `-` is standard input. `null` where each name ends with a NUL, not with a newline. Blocks.
    pub(in crate::commands) fn open(path: &Path, null: bool) -> Result<Self, Fatal> {
        let end = if null { 0 } else { b'\n' };
        if is_standard_input(path) {
            return Ok(Self { reader: Box::new(BufReader::new(io::stdin())), shown: "standard input".into(), end });
        }
        let shown = path.display().to_string();
        let file = File::open(path)
            .map_err(|error| Fatal::new(Exit::Missing, format!("the list {shown} can't be read: {error}")))?;
        Ok(Self { reader: Box::new(BufReader::new(file)), shown, end })
    }

    /// Reads the names on a thread that may block. An error is the last thing that comes.
    pub(in crate::commands) fn names(mut self) -> mpsc::Receiver<Result<PathBuf, String>> {
        let (names, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            while let Some(name) = self.next() {
                let is_last = name.is_err();
                if names.blocking_send(name).is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }

    /// The next name that is not empty.
    fn next(&mut self) -> Option<Result<PathBuf, String>> {
        loop {
            let mut name = Vec::new();
            let longest = budget::LISTED_NAME + 1;
            match self.reader.by_ref().take(longest).read_until(self.end, &mut name) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(format!("{} can't be read any further: {error}", self.shown))),
            }
            if name.last() == Some(&self.end) {
                name.pop();
            } else if name.len() as u64 == longest {
                let most = budget::LISTED_NAME;
                let shown = &self.shown;
                return Some(Err(format!(
                    "{shown} has a name of more than {most} bytes: does each name end as it should (see --null)?"
                )));
            }
            if !name.is_empty() {
                return Some(Ok(OsString::from_vec(name).into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], end: u8) -> Vec<Result<PathBuf, String>> {
        let mut list = List { reader: Box::new(io::Cursor::new(text.to_vec())), shown: "the list".into(), end };
        std::iter::from_fn(move || list.next()).collect()
    }

    #[test]
    fn names_end_with_newlines_or_nuls_and_may_hold_any_other_byte() {
        let names = |names: &[&[u8]]| {
            names.iter().map(|name| Ok(PathBuf::from(OsString::from_vec(name.to_vec())))).collect::<Vec<_>>()
        };
        assert_eq!(read(b"a\n\n b c \ncaf\xe9\r\nlast", b'\n'), names(&[b"a", b" b c ", b"caf\xe9\r", b"last"]));
        assert_eq!(read(b"a\nb\0-\0\0", 0), names(&[b"a\nb", b"-"]));
        assert!(read(b"", 0).is_empty());
    }

    #[test]
    fn a_list_that_is_no_list_ends_in_words_and_not_in_memory() {
        let long = vec![b'x'; 3 * usize::try_from(budget::LISTED_NAME).unwrap()];
        let mut list = List { reader: Box::new(io::Cursor::new(long)), shown: "the list".into(), end: 0 };
        assert!(list.next().unwrap().unwrap_err().contains("--null"));
    }
}
