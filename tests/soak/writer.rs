//! Writers that put files of all kinds into the folder, at a modest rate.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::ledger::{Entry, Ledger};
use crate::support::proof::{Dice, unique};

/// Few names, so that a name comes again while the last file of that name is still under way.
const AGAIN: [&str; 5] = ["a", "b.pdf", "c.txt", "d e", "f.x.y"];
/// Names that are hard to print, to send or to tell apart.
const HARD: [&str; 6] =
    ["line\nbreak", "esc\u{1b}[31m", "bidi\u{202e}fdp", "100%+&#?;=", "e\u{301}\u{e9}", "-rf \"'`$x"];
/// The number of files whose name is not UTF-8. Few, since each start of the program reports each of them.
const MOST_ODD: u64 = 12;

/// What the writers and the test share.
#[derive(Default)]
pub(crate) struct Orders {
    /// Stop writing for good.
    pub(crate) stop: AtomicBool,
    /// So many files wait that the writers pause.
    pub(crate) wait: AtomicBool,
}

pub(crate) struct Writer<'a> {
    pub(crate) folder: PathBuf,
    pub(crate) number: u64,
    pub(crate) ledger: &'a Ledger,
    pub(crate) dice: Dice,
    /// The longest pause between two files.
    pub(crate) pause: Duration,
    files: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(folder: PathBuf, number: u64, ledger: &'a Ledger, dice: Dice, pause: Duration) -> Self {
        Self { folder, number, ledger, dice, pause, files: 0, counts: BTreeMap::new() }
    }

    /// Writes until `stop` is set; returns how many files of each kind there were.
    pub(crate) fn run(mut self, orders: &Orders) -> BTreeMap<&'static str, u64> {
        while !orders.stop.load(Ordering::Relaxed) {
            if orders.wait.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            self.files += 1;
            let kind = self.one();
            *self.counts.entry(kind).or_default() += 1;
            let pause = u64::try_from(self.pause.as_micros()).unwrap();
            std::thread::sleep(Duration::from_micros(self.dice.within(0, pause)));
        }
        self.counts
    }

    fn one(&mut self) -> &'static str {
        match self.dice.within(0, 100) {
            0..40 => self.plain(5000, "small"),
            40..50 => self.plain(100_000, "middling"),
            50..52 => self.plain(4_000_000, "large"),
            52..60 => self.empty(),
            60..75 => self.rename_in(),
            75..78 => self.slow(),
            78..88 => self.append_later(),
            88..98 => self.same_name_again(),
            _ if self.number == 0 && self.counts.get("no text").is_none_or(|odd| *odd < MOST_ODD) => self.no_text(),
            _ => self.hard_name(),
        }
    }

    /// A folder to write into; sometimes a new one.
    fn parent(&mut self) -> PathBuf {
        let fresh = format!("fresh-{}-{}/deep", self.number, self.files);
        let parent = self.folder.join(self.dice.of(&["", "", "", "sub", "sub/below", &fresh]));
        std::fs::create_dir_all(&parent).unwrap();
        parent
    }

    /// A path that no other file ever has.
    fn own_place(&mut self) -> PathBuf {
        self.parent().join(format!("file-{}-{}", self.number, self.files))
    }

    fn content(&mut self, most: usize) -> Vec<u8> {
        let size = usize::try_from(self.dice.within(1, most as u64)).unwrap();
        unique(&format!("{} {}", self.number, self.files), size)
    }

    /// Writes and closes a file of this name if it is free.
    fn close(&self, place: &Path, content: &[u8], pause: Duration) -> Option<Entry> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(place).ok()?;
        Some(self.finish(&mut file, place, content, content, pause))
    }

    /// Writes the last `piece` of `content`, in two parts, and closes.
    fn finish(&self, file: &mut File, place: &Path, content: &[u8], piece: &[u8], pause: Duration) -> Entry {
        let (first, second) = piece.split_at(piece.len() / 2);
        file.write_all(first).unwrap();
        std::thread::sleep(pause);
        file.write_all(second).unwrap();
        self.ledger.closing(place, content)
    }

    fn plain(&mut self, most: usize, kind: &'static str) -> &'static str {
        let (place, content) = (self.own_place(), self.content(most));
        let mut entry = self.close(&place, &content, Duration::ZERO).unwrap();
        self.ledger.closed(&mut entry);
        kind
    }

    fn empty(&mut self) -> &'static str {
        let place = self.own_place();
        let mut entry = self.close(&place, b"", Duration::ZERO).unwrap();
        self.ledger.closed(&mut entry);
        "empty"
    }

    fn rename_in(&mut self) -> &'static str {
        let (place, content) = (self.parent().join(self.dice.of(&AGAIN)), self.content(50_000));
        let temporary = self.folder.with_extension(format!("temporary-{}", self.number));
        std::fs::write(&temporary, &content).unwrap();
        let mut entry = self.ledger.closing(&place, &content);
        if renameat_with(CWD, &temporary, CWD, &place, RenameFlags::NOREPLACE).is_ok() {
            self.ledger.closed(&mut entry);
            "renamed in"
        } else {
            self.ledger.withdrawn(&mut entry);
            "name was taken"
        }
    }

    fn slow(&mut self) -> &'static str {
        let (place, content) = (self.own_place(), self.content(50_000));
        let pause = Duration::from_millis(self.dice.within(50, 1500));
        let mut entry = self.close(&place, &content, pause).unwrap();
        self.ledger.closed(&mut entry);
        "slow"
    }

    fn same_name_again(&mut self) -> &'static str {
        let (place, content) = (self.parent().join(self.dice.of(&AGAIN)), self.content(5000));
        match self.close(&place, &content, Duration::ZERO) {
            Some(mut entry) => {
                self.ledger.closed(&mut entry);
                "same name again"
            }
            None => "name was taken",
        }
    }

    fn hard_name(&mut self) -> &'static str {
        let long = "\u{e4}".repeat(100);
        let hard = *self.dice.of(&[&HARD[..], &[&long]].concat());
        let (place, content) =
            (self.parent().join(format!("{hard}-{}-{}", self.number, self.files)), self.content(500));
        let mut entry = self.close(&place, &content, Duration::ZERO).unwrap();
        self.ledger.closed(&mut entry);
        "hard name"
    }

    /// Writes a file whose name is not UTF-8: it can't be stored, and must stay.
    fn no_text(&mut self) -> &'static str {
        let name = [b"caf\xe9-", self.files.to_string().as_bytes()].concat();
        let (place, content) = (self.folder.join(OsStr::from_bytes(&name)), self.content(500));
        let mut entry = self.close(&place, &content, Duration::ZERO).unwrap();
        self.ledger.odd(&mut entry);
        "no text"
    }

    /// Closes a file, opens it again a while later if it is still there, and closes it with more content: as a program that creates first
    /// and writes later, or that writes a log.
    fn append_later(&mut self) -> &'static str {
        let place = self.own_place();
        let first = if self.dice.one_in(3) { Vec::new() } else { self.content(5000) };
        let mut entry = self.close(&place, &first, Duration::ZERO).unwrap();
        self.ledger.closed(&mut entry);
        let longest = *self.dice.of(&[5, 100, 600, 2500]);
        std::thread::sleep(Duration::from_millis(self.dice.within(0, longest)));
        match OpenOptions::new().read(true).append(true).open(&place) {
            Ok(file) => self.append(file, &place, &first, &mut entry),
            // The program has taken the file away: then this first content must be stored.
            Err(error) if error.kind() == ErrorKind::NotFound => "closed once",
            Err(error) => panic!("{}: {error}", place.display()),
        }
    }

    fn append(&mut self, mut file: File, place: &Path, first: &[u8], entry: &mut Entry) -> &'static str {
        self.ledger.reopened(entry);
        let mut held = Vec::new();
        file.read_to_end(&mut held).unwrap();
        assert_eq!(held, first, "{}: not what its only writer wrote", place.display());
        let more = unique(&format!("more {} {}", self.number, self.files), 300);
        let content = [first, &more].concat();
        let pause = Duration::from_millis(*self.dice.of(&[0, 0, 20, 200]));
        let mut entry = self.finish(&mut file, place, &content, &more, pause);
        drop(file);
        self.ledger.closed(&mut entry);
        "appended later"
    }
}
