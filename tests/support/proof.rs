//! What the proofs share: random choices that a seed repeats, unique contents, and the comparison at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use astran_backup::sandbox::Upload;
use sha2::{Digest, Sha256};

use super::World;

/// A number from the environment: makes a proof longer, or repeats a failed one.
fn number_from_environment(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

/// The number of rounds: `ASTRAN_TEST_ROUNDS`, else the default.
pub fn rounds(default: u64) -> u64 {
    number_from_environment("ASTRAN_TEST_ROUNDS").unwrap_or(default)
}

/// The seed of the random choices: `ASTRAN_TEST_SEED`, else from the clock. It is printed, so that the output of a failed test shows it.
pub fn seed(test: &str) -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number_from_environment("ASTRAN_TEST_SEED").unwrap_or(u64::from(clock.subsec_nanos()));
    println!("{test}: ASTRAN_TEST_SEED={seed}");
    seed
}

/// Random numbers that follow from a seed (`SplitMix64`).
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

    /// A number from `low` to `high - 1`.
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

/// At least `size` bytes, different for each `what`.
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

/// What identifies a closed file: its content. Empty files have all the same content and are identified by their names, which no
/// other file may have.
pub fn identity(name: &str, sha256: &str, size: u64) -> String {
    if size > 0 { sha256.to_owned() } else { format!("empty {}", name.rsplit('/').next().unwrap()) }
}

/// The [`identity`] of an upload that the store took.
pub fn identity_of(upload: &Upload) -> String {
    identity(&upload.path, upload.sha256.as_ref().unwrap(), upload.size)
}

/// The files that writers closed into the folder, compared with what the store took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many contents were closed into the folder.
    pub closed: usize,
    /// How many uploads the store took.
    pub stored: usize,
    /// Closed, and not stored.
    pub lost: Vec<String>,
    /// Stored more than once.
    pub twice: Vec<String>,
    /// Stored, but never closed into the folder: parts of files, or mixtures of several.
    pub truncated: Vec<String>,
}

impl Comparison {
    /// `closed` has what was closed into the folder: the [`identity`] of each content, with a description for messages.
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

    pub fn summary(&self) -> String {
        let Self { closed, stored, lost, twice, truncated } = self;
        let (lost, twice, truncated) = (lost.len(), twice.len(), truncated.len());
        format!("closed {closed}, stored {stored}, lost {lost}, twice {twice}, truncated {truncated}")
    }

    /// Asserts that each closed content is stored once and whole, and nothing else is stored.
    #[track_caller]
    pub fn assert_perfect(&self) {
        assert!(self.lost.is_empty() && self.twice.is_empty() && self.truncated.is_empty(), "{self:#?}");
        assert_eq!(self.closed, self.stored);
    }
}

/// Runs `watch --once`, which must succeed; then asserts that nothing is left (no file, no private folder, no open entry in the
/// journal), and that the chain of receipts is whole.
#[track_caller]
pub fn clean_run(world: &World, arguments: &[&str]) {
    let output = world.once(arguments);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_nothing_left(world);
    let check = world.run(["history", "--check"]);
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[track_caller]
pub fn assert_nothing_left(world: &World) {
    assert_eq!(world.files_left(), Vec::<std::path::PathBuf>::new());
    let private = world.watched().join(".astran-backup");
    assert!(!Path::exists(&private), "left in the private folder: {:?}", super::files_below(&private));
    let pending = world.run(["history", "--pending", "--json"]);
    assert_eq!(pending.code, Some(0));
    assert!(pending.events("attempt").is_empty(), "pending: {:.1000}", pending.stdout);
}
