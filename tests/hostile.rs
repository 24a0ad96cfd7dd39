//! Writers that race with every step of an upload and a removal: they replace, append, truncate, rewrite and rename away
//! at random moments; and the watched folder itself is moved away, replaced by another one or by a link, and put back. Each content
//! that the program removed must be in the store, and nothing behind a link may be touched.
//!
//! `ASTRAN_TEST_ROUNDS` says how many operations (default 200), `ASTRAN_TEST_SEED` the seed of the random choices.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::proof::{Dice, clean_run, identity, identity_of, rounds, seed, sha256, unique};
use support::{Daemon, World};

const SETTLE: [&str; 2] = ["--settle", "1ms"];
const WRITERS: u64 = 8;

/// What one writer knows of its file. Only this writer and the program touch that file.
#[derive(Debug, Default)]
struct Known {
    /// The SHA-256 of the contents that were whole and closed: only these may be stored.
    closed: BTreeMap<String, String>,
    /// The closed contents that the program took away: these must be stored.
    taken: BTreeSet<String>,
    /// The content that lies there, as far as this writer knows.
    last: Option<Vec<u8>>,
    /// How many operations of each kind there were.
    counts: BTreeMap<&'static str, u64>,
}

#[test]
fn whatever_writers_do_nothing_is_lost_and_no_part_of_a_file_is_stored() {
    storm("");
}

/// The moments in which a writer could do harm are short. The pauses make each of them long enough to be met often.
#[cfg(feature = "failpoints")]
#[test]
fn with_long_dangerous_moments_nothing_is_lost_and_no_part_of_a_file_is_stored() {
    storm("before-set-aside,after-set-aside,before-last-piece,after-send,before-put-back");
}

fn storm(pauses: &str) {
    let operations = rounds(200);
    let mut dice = Dice::new(seed("hostile"));
    let world = World::new();
    let mut command = world.command();
    command.env("ASTRAN_BACKUP_PAUSES", pauses).args(["watch", "watched"]).args(SETTLE);
    let daemon = Daemon::start(&mut command);
    daemon.wait_for("watching");
    let (left, over, away) = (AtomicU64::new(operations), AtomicBool::new(false), RwLock::new(()));
    let victim = Victim::new(&world);
    let known: Vec<Known> = std::thread::scope(|scope| {
        let swapper = Swapper::new(&world, &victim, Dice::new(dice.next()));
        let swapper = scope.spawn(|| swapper.run(&over, &away));
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (folder, left, away, dice) = (world.watched(), &left, &away, Dice::new(dice.next()));
                scope.spawn(move || Writer::new(&folder, number, dice).run(left, away))
            })
            .collect();
        let writers: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let known = writers.into_iter().map(Result::unwrap);
        known.chain([swapper.join().unwrap()]).collect()
    });
    // A file whose upload was cut off by a writer waits for `store_lag`, and is left at a stop.
    assert_eq!(daemon.stop().code, Some(0));
    clean_run(&world, &SETTLE);
    compare(&world, known, operations);
    victim.assert_untouched(&world);
}

/// Compares what the writers know with what the store took.
fn compare(world: &World, known: Vec<Known>, operations: u64) {
    let mut stored: BTreeMap<String, u64> = BTreeMap::new();
    for upload in world.sandbox().uploads() {
        *stored.entry(identity_of(&upload)).or_default() += 1;
    }
    let (mut closed, mut must, mut counts) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::<_, u64>::new());
    for known in known {
        closed.extend(known.closed);
        must.extend(known.taken);
        // What was there at the end was stored by the clean run.
        must.extend(known.last.map(|content| sha256(&content)));
        known.counts.into_iter().for_each(|(what, times)| *counts.entry(what).or_default() += times);
    }
    let what = |sha256: &String| closed.get(sha256).cloned().unwrap_or_default();
    let lost: Vec<_> = must.iter().filter(|sha256| !stored.contains_key(*sha256)).map(what).collect();
    let half: Vec<_> = stored.keys().filter(|sha256| !closed.contains_key(*sha256)).collect();
    let twice: Vec<_> = stored.iter().filter(|(_, times)| **times > 1).map(|(sha256, _)| what(sha256)).collect();
    println!(
        "{operations} operations {counts:?}: closed {}, had to be stored {}, stored {}, lost {}, half {}, twice {}",
        closed.len(),
        must.len(),
        stored.len(),
        lost.len(),
        half.len(),
        twice.len()
    );
    assert!(lost.is_empty() && half.is_empty() && twice.is_empty(), "lost {lost:?}, half {half:?}, twice {twice:?}");
}

struct Writer {
    folder: PathBuf,
    place: PathBuf,
    number: u64,
    operation: u64,
    dice: Dice,
    known: Known,
}

impl Writer {
    fn new(folder: &Path, number: u64, dice: Dice) -> Self {
        let (folder, place) = (folder.to_owned(), folder.join(format!("file-{number}")));
        Self { folder, place, number, operation: 0, dice, known: Known::default() }
    }

    /// `away` is locked while the watched folder is moved away; this writer does nothing meanwhile, so its file is in no other folder.
    fn run(mut self, left: &AtomicU64, away: &RwLock<()>) -> Known {
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.operation += 1;
            let here = away.read().unwrap();
            let what = match self.dice.within(0, 7) {
                0 | 1 => self.replace(),
                2 => self.append(),
                3 => self.truncate(),
                4 => self.rewrite(),
                5 => self.empty(),
                _ => self.rename_away(),
            };
            drop(here);
            *self.known.counts.entry(what).or_default() += 1;
            // From no wait to one longer than the grace, so that each step of an upload and a removal is met.
            let longest = *self.dice.of(&[1, 20, 300, 1300]);
            std::thread::sleep(Duration::from_micros(self.dice.within(0, longest * 1000)));
        }
        self.known
    }

    fn fresh(&mut self) -> Vec<u8> {
        let size = *self.dice.of(&[50, 2000, 200_000, 900_000]);
        unique(&format!("{} {}", self.number, self.operation), size)
    }

    /// Notes that this content is closed and lies there now.
    fn closed(&mut self, what: &str, content: Vec<u8>) {
        self.known.closed.insert(sha256(&content), format!("{what} {} of {}", self.operation, self.number));
        self.known.last = Some(content);
    }

    /// Notes that the program took away what lay there.
    fn taken(&mut self) {
        if let Some(content) = self.known.last.take() {
            self.known.taken.insert(sha256(&content));
        }
    }

    /// Notes that this content was found there. It is what this writer left there, or what the program took away and put back since:
    /// then it belongs to this writer again, to overwrite and to delete.
    fn found(&mut self, held: &[u8]) {
        if self.known.last.as_deref() != Some(held) {
            assert!(self.known.taken.remove(&sha256(held)), "another program wrote into the file");
            self.taken();
            self.known.last = Some(held.to_vec());
        }
    }

    /// Opens the file for writing: from then on its content belongs to this writer, and the program must not take it away.
    fn open(&mut self) -> Option<(File, Vec<u8>)> {
        match OpenOptions::new().read(true).write(true).open(&self.place) {
            Ok(mut file) => {
                let mut held = Vec::new();
                file.read_to_end(&mut held).unwrap();
                self.found(&held);
                Some((file, held))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.taken();
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Renames another file over the name. If the old file was still there, this writer has overwritten it.
    fn replace(&mut self) -> &'static str {
        let content = self.fresh();
        let new = self.folder.with_extension(format!("new-{}", self.number));
        std::fs::write(&new, &content).unwrap();
        self.exchange(&new, content)
    }

    /// Exchanges two files in one step, so that the writer knows whether there was a file to overwrite: then this writer deletes the old
    /// one; if there was none, the program had taken it away.
    fn exchange(&mut self, new: &Path, content: Vec<u8>) -> &'static str {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let what = if renameat_with(CWD, new, CWD, &self.place, RenameFlags::EXCHANGE).is_ok() {
            let old = std::fs::read(new).unwrap();
            self.found(&old);
            std::fs::remove_file(new).unwrap();
            "replaced"
        } else {
            self.taken();
            // The program may put the old file back just now. Then this rename overwrites it, but it must be stored all the same.
            std::fs::rename(new, &self.place).unwrap();
            "renamed in"
        };
        self.closed(what, content);
        what
    }

    /// Makes an empty file with a name of its own, which is never touched again.
    fn empty(&mut self) -> &'static str {
        let name = format!("empty-{}-{}", self.number, self.operation);
        std::fs::write(self.folder.join(&name), "").unwrap();
        let identity = identity(&name, "", 0);
        self.known.closed.insert(identity.clone(), name);
        self.known.taken.insert(identity);
        "empty"
    }

    fn append(&mut self) -> &'static str {
        let Some((mut file, mut held)) = self.open() else { return self.replace() };
        let more = self.fresh();
        file.seek(SeekFrom::End(0)).unwrap();
        self.write(&mut file, &more);
        held.extend(more);
        self.closed("appended", held);
        "appended"
    }

    fn truncate(&mut self) -> &'static str {
        let Some((mut file, mut held)) = self.open() else { return self.replace() };
        // The end makes the content unique: the start alone may have been there before.
        let end = self.fresh();
        let kept = held.len() / 2;
        file.set_len(kept as u64).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        self.write(&mut file, &end);
        held.truncate(kept);
        held.extend(end);
        self.closed("truncated", held);
        "truncated"
    }

    fn rewrite(&mut self) -> &'static str {
        let Some((mut file, held)) = self.open() else { return self.replace() };
        // Of the same size, so that only times and leases show the change.
        let mut content = self.fresh();
        content.resize(held.len().max(60), b'.');
        file.rewind().unwrap();
        self.write(&mut file, &content);
        self.closed("rewritten", content);
        "rewritten"
    }

    /// Renames the file away and deletes it: what was there was this writer's to delete.
    fn rename_away(&mut self) -> &'static str {
        let away = self.folder.with_extension(format!("away-{}", self.number));
        if std::fs::rename(&self.place, &away).is_err() {
            self.taken();
            return self.replace();
        }
        let held = std::fs::read(&away).unwrap();
        self.found(&held);
        self.known.last = None;
        std::fs::remove_file(&away).unwrap();
        "renamed away"
    }

    /// Writes in two parts, sometimes with a pause between them.
    fn write(&mut self, file: &mut File, content: &[u8]) {
        let (first, second) = content.split_at(content.len() / 2);
        file.write_all(first).unwrap();
        if self.dice.one_in(3) {
            std::thread::sleep(Duration::from_micros(self.dice.within(0, 30_000)));
        }
        file.write_all(second).unwrap();
    }
}

/// A folder beside the watched one, which the program must never touch.
struct Victim(PathBuf);

impl Victim {
    fn new(world: &World) -> Self {
        let victim = world.dir.path().join("victim");
        std::fs::create_dir_all(victim.join("empty")).unwrap();
        for name in Self::NAMES {
            std::fs::write(victim.join(name), name).unwrap();
        }
        Self(victim)
    }

    const NAMES: [&str; 3] = ["victim-1", "victim-2", "file-0-of-a-victim"];

    /// Asserts that nothing of the folder is missing, nothing was put there, and nothing of it is stored.
    fn assert_untouched(&self, world: &World) {
        for name in Self::NAMES {
            assert_eq!(std::fs::read_to_string(self.0.join(name)).unwrap(), name);
            assert_eq!(world.times_stored(&format!("/HR_Backup/{name}")), 0, "{name} of the victim is stored");
        }
        assert!(self.0.join("empty").is_dir());
        assert_eq!(std::fs::read_dir(&self.0).unwrap().count(), Self::NAMES.len() + 1);
    }
}

/// Moves the watched folder itself away, puts something else in its place for a while, and puts it back.
struct Swapper<'a> {
    folder: PathBuf,
    victim: &'a Victim,
    dice: Dice,
    known: Known,
}

impl<'a> Swapper<'a> {
    fn new(world: &World, victim: &'a Victim, dice: Dice) -> Self {
        Self { folder: world.watched(), victim, dice, known: Known::default() }
    }

    fn run(mut self, over: &AtomicBool, away: &RwLock<()>) -> Known {
        for number in 0.. {
            for _ in 0..self.dice.within(5, 60) {
                if over.load(Ordering::Relaxed) {
                    return self.known;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let what = self.swap(number, away);
            *self.known.counts.entry(what).or_default() += 1;
        }
        self.known
    }

    fn swap(&mut self, number: u64, away: &RwLock<()>) -> &'static str {
        let _nobody_else = away.write().unwrap();
        let (old, kind) = (self.folder.with_extension("away"), self.dice.within(0, 3));
        std::fs::rename(&self.folder, &old).unwrap();
        let what = match kind {
            0 => "folder away",
            1 => {
                std::os::unix::fs::symlink(&self.victim.0, &self.folder).unwrap();
                "folder a link"
            }
            _ => {
                self.another_folder(number);
                "another folder"
            }
        };
        // Sometimes longer than the program takes to notice.
        let longest = *self.dice.of(&[20, 20, 500, 500, 7000]);
        std::thread::sleep(Duration::from_millis(self.dice.within(0, longest)));
        match kind {
            0 => {}
            1 => std::fs::remove_file(&self.folder).unwrap(),
            _ => std::fs::rename(&self.folder, old.join(format!("replacement-{number}"))).unwrap(),
        }
        std::fs::rename(&old, &self.folder).unwrap();
        what
    }

    /// Another folder with a file that must be stored: from there, or from the real folder, into which the file is moved afterwards.
    fn another_folder(&mut self, number: u64) {
        std::fs::create_dir(&self.folder).unwrap();
        let name = format!("replacement-{number}");
        let content = unique(&name, 3000);
        std::fs::write(self.folder.join(&name), &content).unwrap();
        self.known.taken.insert(sha256(&content));
        self.known.closed.insert(sha256(&content), name);
    }
}
