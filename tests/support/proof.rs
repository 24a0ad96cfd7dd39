//! What the proofs share: chance that can be replayed, unique contents, and the reckoning at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use astran_backup::sandbox::Upload;
use sha2::{Digest, Sha256};

use super::World;

/// A number from the environment, so that a proof can run longer, or a failed one again.
fn asked(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

/// How many rounds: `ASTRAN_TEST_ROUNDS`, or so many.
pub fn rounds(default: u64) -> u64 {
    asked("ASTRAN_TEST_ROUNDS").unwrap_or(default)
}

/// Where chance starts: `ASTRAN_TEST_SEED`, or the clock; printed, for a failed test shows what was printed.
pub fn seed(test: &str) -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = asked("ASTRAN_TEST_SEED").unwrap_or(u64::from(clock.subsec_nanos()));
    println!("{test}: ASTRAN_TEST_SEED={seed}");
    seed
}

/// Chance that follows from a seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` up to but not `high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub fn one_in(&mut self, number: u64) -> bool {
        self.next().is_multiple_of(number)
    }

    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.within(0, choices.len() as u64)).unwrap()]
    }
}

/// Bytes that no other call with another `what` gives; at least so many.
pub fn unique(what: &str, size: usize) -> Vec<u8> {
    let mut bytes = format!("<{what}>").into_bytes();
    let fill = Sha256::digest(what);
    while bytes.len() < size {
        bytes.extend_from_slice(&fill);
    }
    bytes
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// By what a closed file is known again: its content. Empty files have all the same one, and are known by their names, which
/// must be theirs alone.
pub fn identity(name: &str, sha256: &str, size: u64) -> String {
    if size > 0 { sha256.to_owned() } else { format!("empty {}", name.rsplit('/').next().unwrap()) }
}

/// The same of something that the store took.
pub fn identity_of(upload: &Upload) -> String {
    identity(&upload.path, upload.sha256.as_ref().unwrap(), upload.size)
}

/// What a storm came to: what was closed into the folder, held against what the store took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reckoning {
    /// Byte strings that were closed into the folder.
    pub closed: usize,
    /// Uploads that the store took.
    pub stored: usize,
    /// Closed, and neither stored nor in the folder.
    pub lost: Vec<String>,
    /// Stored more than once.
    pub twice: Vec<String>,
    /// Stored, though nobody closed them into the folder: parts, mixtures.
    pub truncated: Vec<String>,
}

impl Reckoning {
    /// `closed` says what was closed into the folder: for each [`identity`] what it was, for people.
    pub fn of(world: &World, closed: &BTreeMap<String, String>) -> Self {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let uploads = world.sandbox().uploads();
        for upload in &uploads {
            *times.entry(identity_of(upload)).or_default() += 1;
        }
        let what = |sha256: &String| format!("{} {sha256}", closed.get(sha256).map_or("?", String::as_str));
        Self {
            closed: closed.len(),
            stored: uploads.len(),
            lost: closed.keys().filter(|sha256| !times.contains_key(*sha256)).map(what).collect(),
            twice: times.iter().filter(|(_, times)| **times > 1).map(|(sha256, _)| what(sha256)).collect(),
            truncated: uploads
                .iter()
                .filter(|upload| !closed.contains_key(&identity_of(upload)))
                .map(|upload| format!("{} {} bytes", upload.path, upload.size))
                .collect(),
        }
    }

    pub fn told(&self) -> String {
        let Self { closed, stored, lost, twice, truncated } = self;
        let (lost, twice, truncated) = (lost.len(), twice.len(), truncated.len());
        format!("closed {closed}, stored {stored}, lost {lost}, twice {twice}, truncated {truncated}")
    }

    /// All that was closed is stored, whole, once; nothing else is.
    #[track_caller]
    pub fn assert_perfect(&self) {
        assert!(self.lost.is_empty() && self.twice.is_empty() && self.truncated.is_empty(), "{self:#?}");
        assert_eq!(self.closed, self.stored);
    }
}

/// Runs `watch --once` to a good end, then nothing may be left: no file, no private folder, no open entry; and the chain of
/// receipts is whole.
#[track_caller]
pub fn clean_run(world: &World, arguments: &[&str]) {
    let said = world.once(arguments);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_nothing_left(world);
    let check = world.run(["history", "--check"]);
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[track_caller]
pub fn assert_nothing_left(world: &World) {
    assert_eq!(world.left(), Vec::<std::path::PathBuf>::new());
    let private = world.watched().join(".astran-backup");
    assert!(!Path::exists(&private), "left in the private folder: {:?}", super::files_below(&private));
    let pending = world.run(["history", "--pending", "--json"]);
    assert_eq!(pending.code, Some(0));
    assert!(pending.stdout.is_empty(), "pending: {:.1000}", pending.stdout);
}
