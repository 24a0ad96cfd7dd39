//! Writers that race with every step of an upload and a removal: they replace, append, truncate, write anew and rename away
//! at random moments; and the watched folder itself is moved away, replaced by another one or by a link, and put back. Nothing
//! that nobody but the program took away may be missing from the store, and nothing that a link led to may be touched.
//!
//! `ASTRAN_TEST_ROUNDS` says how many operations (default 200), `ASTRAN_TEST_SEED` where chance starts.
#![cfg(feature = "sandbox")]
// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
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

/// What one writer knows of its file, which nobody but it and the program touches.
#[derive(Debug, Default)]
struct Known {
    /// Contents that were whole and closed, by SHA-256: what may be stored.
    closed: BTreeMap<String, String>,
    /// Contents that were closed, and taken away by somebody else: what must be stored.
    taken: BTreeSet<String>,
    /// What lies there for all that this writer knows.
    last: Option<Vec<u8>>,
    /// Operations by what they did.
    counts: BTreeMap<&'static str, u64>,
}

#[test]
fn whatever_writers_do_at_whatever_moment_nothing_is_lost_and_nothing_half_is_stored() {
    storm("");
}

/// The moments in which a writer could do harm are short; here each is long enough to be met often.
#[cfg(feature = "failpoints")]
#[test]
fn however_long_the_dangerous_moments_last_nothing_is_lost_and_nothing_half_is_stored() {
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
    // A file whose upload a writer cut off waits for what may come late, and is left at a stop.
    let code = daemon.stop().code;
    assert!([Some(0), Some(130)].contains(&code), "{code:?}");
    // A file that was renamed while its upload was cut off may be sent under its new path before that upload was asked for: the start
    // after the one that removes the file ends it.
    assert_eq!(world.once(&SETTLE).code, Some(0));
    clean_run(&world, &SETTLE);
    judge(&world, known, operations);
    victim.assert_untouched(&world);
}

/// Holds what the writers know against what the store took.
fn judge(world: &World, known: Vec<Known>, operations: u64) {
    let mut stored: BTreeMap<String, u64> = BTreeMap::new();
    for upload in world.sandbox().uploads() {
        *stored.entry(identity_of(&upload)).or_default() += 1;
    }
    let (mut closed, mut must, mut counts) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::<_, u64>::new());
    for known in known {
        closed.extend(known.closed);
        must.extend(known.taken);
        // What was there at the end went in the clean run.
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

    /// `away` is held by whoever has moved the folder away: this writer's file is in no other folder then.
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
            // From at once to beyond the grace: each step of an upload and a removal is met.
            let longest = *self.dice.of(&[1, 20, 300, 1300]);
            std::thread::sleep(Duration::from_micros(self.dice.within(0, longest * 1000)));
        }
        self.known
    }

    fn fresh(&mut self) -> Vec<u8> {
        let size = *self.dice.of(&[50, 2000, 200_000, 900_000]);
        unique(&format!("{} {}", self.number, self.operation), size)
    }

    /// This content is closed and lies there now.
    fn closed(&mut self, what: &str, content: Vec<u8>) {
        self.known.closed.insert(sha256(&content), format!("{what} {} of {}", self.operation, self.number));
        self.known.last = Some(content);
    }

    /// What lay there was taken away by somebody else.
    fn taken(&mut self) {
        if let Some(content) = self.known.last.take() {
            self.known.taken.insert(sha256(&content));
        }
    }

    /// This lies there. It is what this writer left there, or what was taken from it and has been put back since, because
    /// another one had its name meanwhile: then it is this writer's again, to overwrite and to delete.
    fn found(&mut self, held: &[u8]) {
        if self.known.last.as_deref() != Some(held) {
            assert!(self.known.taken.remove(&sha256(held)), "somebody else wrote there");
            self.taken();
            self.known.last = Some(held.to_vec());
        }
    }

    /// The file is opened for writing: from then on what it holds is this writer's to change, and stays its own.
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

    /// Another file takes its name. What lay there then was this writer's to overwrite, if it lay there still.
    fn replace(&mut self) -> &'static str {
        let content = self.fresh();
        let new = self.folder.with_extension(format!("new-{}", self.number));
        std::fs::write(&new, &content).unwrap();
        self.exchange(&new, content)
    }

    /// In one step, so that it is known whether there was something to overwrite: a file exchanged for another is deleted
    /// by this writer; where there is none, whatever lay there was taken.
    fn exchange(&mut self, new: &Path, content: Vec<u8>) -> &'static str {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let what = if renameat_with(CWD, new, CWD, &self.place, RenameFlags::EXCHANGE).is_ok() {
            let old = std::fs::read(new).unwrap();
            self.found(&old);
            std::fs::remove_file(new).unwrap();
            "replaced"
        } else {
            self.taken();
            // It may be put back just now, and is overwritten then, but is no less stored.
            std::fs::rename(new, &self.place).unwrap();
            "renamed in"
        };
        self.closed(what, content);
        what
    }

    /// An empty file of a name of its own, which nobody touches any more.
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
        // The end makes it unique: the start alone may have been there before.
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
        // Of the same size, so that only times and leases tell.
        let mut content = self.fresh();
        content.resize(held.len().max(60), b'.');
        file.rewind().unwrap();
        self.write(&mut file, &content);
        self.closed("rewritten", content);
        "rewritten"
    }

    /// Renamed away: what was there is this writer's own from then on, and deleted by it.
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

    /// In two parts, with a pause between them now and then.
    fn write(&mut self, file: &mut File, content: &[u8]) {
        let (first, second) = content.split_at(content.len() / 2);
        file.write_all(first).unwrap();
        if self.dice.one_in(3) {
            std::thread::sleep(Duration::from_micros(self.dice.within(0, 30_000)));
        }
        file.write_all(second).unwrap();
    }
}

/// A folder beside the watched one that nobody has given to the program.
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

    /// Nothing of it is missing, nothing was put there, and nothing is stored.
    fn assert_untouched(&self, world: &World) {
        for name in Self::NAMES {
            assert_eq!(std::fs::read_to_string(self.0.join(name)).unwrap(), name);
            assert_eq!(world.times_stored(&format!("/HR_Backup/{name}")), 0, "{name} of the victim is stored");
        }
        assert!(self.0.join("empty").is_dir());
        assert_eq!(std::fs::read_dir(&self.0).unwrap().count(), Self::NAMES.len() + 1);
    }
}

/// Moves the watched folder itself away, has something else in its place for a while, and puts it back.
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
        // Longer than it takes to notice, once in a while.
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

    /// With a file that must be stored: from there, or from the real folder, into which this one is moved afterwards.
    fn another_folder(&mut self, number: u64) {
        std::fs::create_dir(&self.folder).unwrap();
        let name = format!("replacement-{number}");
        let content = unique(&name, 3000);
        std::fs::write(self.folder.join(&name), &content).unwrap();
        self.known.taken.insert(sha256(&content));
        self.known.closed.insert(sha256(&content), name);
    }
}
