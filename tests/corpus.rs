//! Runs the fuzz targets (`fuzz/`) over their committed inputs and some random ones: what the fuzzer found once stays mended, also on
//! machines without a fuzzer.
//!
//! `ASTRAN_TEST_ROUNDS` says how many random inputs for each target (default 300), `ASTRAN_TEST_SEED` the seed of the random choices.
#![cfg(feature = "fuzzing")]
// The targets are written for the fuzzer, which is another program with other lints.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::pedantic, unreachable_pub)]

#[path = "../fuzz/targets/answers.rs"]
mod answers;
#[path = "../fuzz/targets/config.rs"]
mod config;
#[path = "../fuzz/targets/input.rs"]
mod input;
#[path = "../fuzz/targets/names.rs"]
mod names;
#[path = "../fuzz/targets/paths.rs"]
mod paths;
#[path = "../fuzz/targets/rows.rs"]
mod rows;
#[path = "../fuzz/targets/settle.rs"]
mod settle;
mod support;

use std::path::Path;

use support::proof::{Dice, rounds, seed};

fn each(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<Vec<u8>> =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| run(input));
    let mut dice = Dice::new(seed(target));
    for _ in 0..rounds(300) {
        let mut input = dice.of(&inputs).clone();
        change(&mut input, &mut dice);
        run(&input);
        if dice.one_in(4) && inputs.len() < 2000 {
            inputs.push(input);
        }
    }
}

/// Changes, cuts out or inserts some bytes.
fn change(input: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.within(1, 6) {
        let at = usize::try_from(dice.within(0, input.len() as u64 + 1)).unwrap();
        let byte = dice.next().to_le_bytes()[0];
        match (dice.within(0, 3), at < input.len()) {
            (0, true) => input[at] = byte,
            (1, true) => drop(input.remove(at)),
            _ => input.insert(at, byte),
        }
    }
}

#[test]
fn any_configuration_is_read_or_refused_in_words() {
    each("config", config::run);
}

#[test]
fn any_answer_of_the_service_is_read_within_its_limits() {
    each("answers", answers::run);
}

#[test]
fn any_name_and_path_travels_as_itself() {
    each("paths", paths::run);
}

#[test]
fn any_rows_of_a_journal_are_read_or_refused_and_an_altered_receipt_shows() {
    each("rows", rows::run);
}

#[test]
fn no_sequence_of_observations_makes_a_file_ready_while_it_is_written() {
    each("settle", settle::run);
}

#[test]
fn any_name_is_printed_on_one_line_and_harmless() {
    each("names", names::run);
}
