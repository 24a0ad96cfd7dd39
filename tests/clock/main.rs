//! The wall clock jumps while the program runs, by a day, by a year, to before 1970: nothing is lost or stored twice, the login goes
//! on, the chain of receipts stays whole, and no receipt is pruned because of a jump.
#![cfg(all(feature = "sandbox", target_os = "linux", target_env = "gnu"))]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use astran_backup::sandbox::Options;
use astran_backup::sandbox::faults::{Call, Fault, Rule};

use support::proof::{Comparison, Dice, assert_nothing_left, rounds, seed, sha256, unique};
use support::{Daemon, Output, World, eventually, run_to_end};

const DAY: i64 = 24 * 3600;
const YEAR: i64 = 365 * DAY;
/// Offsets of the clock: none, a day back, a year ahead, before 1970.
const OFFSETS: [i64; 4] = [0, -DAY, YEAR, -60 * YEAR];

/// A world whose program has a wall clock of its own.
struct Clock {
    world: World,
    offset: std::fs::File,
}

impl Clock {
    /// `None`, with a message, where there is no C compiler.
    fn new(change: impl FnOnce(&mut Options)) -> Option<Self> {
        let world = World::with(change);
        std::fs::write(world.dir.path().join("shim.c"), include_str!("shim.c")).unwrap();
        std::fs::write(world.dir.path().join("offset"), 0i64.to_ne_bytes()).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", "shim.so", "shim.c"]).current_dir(world.dir.path());
        match compiler.status() {
            Ok(status) => assert!(status.success(), "the shim does not compile"),
            Err(error) => {
                eprintln!("skipped: no C compiler, so there is no other clock: {error}");
                return None;
            }
        }
        let offset = std::fs::File::options().write(true).open(world.dir.path().join("offset")).unwrap();
        world.configure("[journal]\nkeep_receipts = \"30d\"\n");
        Some(Self { world, offset })
    }

    /// Sets the clock to so many seconds from the true time.
    fn set(&self, offset: i64) {
        self.offset.write_all_at(&offset.to_ne_bytes(), 0).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command();
        command.env("LD_PRELOAD", self.world.dir.path().join("shim.so"));
        command.env("CLOCK_OFFSET", self.world.dir.path().join("offset"));
        command.args(["--config", "config.toml"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run_to_end(&mut self.command(arguments))
    }

    fn watch(&self) -> Daemon {
        Daemon::start(&mut self.command(&["watch", "watched", "--settle", "10ms"]))
    }

    /// The number of logins, and of tokens that were issued.
    fn tokens(&self) -> (u64, u64) {
        let requests = self.world.sandbox().stats().requests;
        (requests["login"], requests["login"] + requests["refresh"])
    }

    /// Puts some files, small and large, each with a new name.
    fn put(&self, what: &str, closed: &mut BTreeMap<String, String>) {
        for (name, size) in [("small", 20), ("large", 700_000), ("sub/below", 3000)] {
            let name = format!("{name}-{what}");
            let content = unique(&name, size);
            closed.insert(sha256(&content), name.clone());
            self.world.put(&name, content);
        }
    }

    /// Asserts that nothing is left, lost or stored twice, that the chain is whole, and that all receipts are there.
    #[track_caller]
    fn compare(&self, closed: &BTreeMap<String, String>) {
        let comparison = Comparison::of(&self.world, closed);
        println!("{}", comparison.summary());
        comparison.assert_perfect();
        assert_nothing_left(&self.world);
        for offset in OFFSETS {
            self.set(offset);
            assert_eq!(self.run(&["history", "--check"]).code, Some(0));
        }
        let receipts = self.run(&["history", "--json"]).stdout;
        assert_eq!(receipts.matches("\"state\":\"removed\"").count(), closed.len(), "{receipts}");
        assert!(self.run(&["history", "--failed", "--json"]).events("attempt").is_empty());
    }

    /// The years of the history's entries, each once.
    fn years(&self, arguments: &[&str]) -> Vec<i64> {
        let output = self.run(&[&["history", "--json"], arguments].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        let year = |line: &serde_json::Value| {
            let times =
                ["started_at", "stored_at"].map(|key| line[key].as_str().map(|time| time[..4].parse().unwrap()));
            times.into_iter().flatten().max()
        };
        let mut years: Vec<i64> = output.events("attempt").iter().filter_map(year).collect();
        years.sort_unstable();
        years.dedup();
        years
    }
}

fn short_lives(options: &mut Options) {
    options.token_life = Duration::from_secs(2);
    options.refresh_life = Duration::from_secs(5);
}

#[test]
fn a_clock_that_is_set_while_files_are_on_their_way_stops_nothing_and_costs_nothing() {
    let Some(clock) = Clock::new(short_lives) else { return };
    let mut closed = BTreeMap::new();
    // Lost answers are looked up by the times in the journal.
    clock.world.faults().add(Rule::new(Call::Upload, Fault::CutAfter).with_probability(0.2, 1));
    let daemon = clock.watch();
    daemon.wait_for("watching");
    let offsets = [0, -DAY, YEAR, 0, -60 * YEAR, YEAR, -DAY, 0];
    for (number, offset) in offsets.into_iter().enumerate() {
        clock.set(offset);
        let before = clock.tokens();
        // Waits until a token was fetched under this clock too; the next jump meets the last of these files in their grace.
        for more in 0.. {
            clock.put(&format!("{number}-{more}"), &mut closed);
            eventually("all are stored", || clock.world.sandbox().uploads().len() >= closed.len());
            if clock.tokens().1 > before.1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    eventually("all are removed", || clock.world.files_left().is_empty());
    let (heard, stopped) = (daemon.output_so_far(), daemon.stop());
    assert_eq!(stopped.code, Some(0), "{heard}");
    for bad in ["SUSPENDED", "pruned", "ERROR", "panicked"] {
        assert!(!heard.contains(bad) && !stopped.stdout.contains(bad), "{heard}\n{}", stopped.stdout);
    }
    let (logins, tokens) = clock.tokens();
    println!("{logins} logins, {tokens} tokens");
    assert!(logins <= offsets.len() as u64 + 1 && tokens > logins, "{logins} logins, {tokens} tokens");
    clock.compare(&closed);
    clock.set(0);
    let years = clock.years(&[]);
    assert!(years.len() >= 3 && years[0] == 1970, "the receipts show no other clock: {years:?}");
    // An entry with a later time than now counts as recent; an entry with a time of 1970 does not.
    assert_eq!(clock.years(&["--since", "1h"]), years[1..]);
    clock.set(-60 * YEAR);
    assert_eq!(clock.years(&["--since", "1h"]), years);
}

#[test]
fn a_clock_that_never_stands_still_does_not_stop_the_login_or_the_uploads() {
    let Some(clock) = Clock::new(short_lives) else { return };
    let (stop, mut dice) = (AtomicBool::new(false), Dice::new(seed("jumps")));
    let mut closed = BTreeMap::new();
    std::thread::scope(|scope| {
        let (stop, setter, mut chance) = (&stop, &clock, Dice::new(dice.next()));
        // Also if the test fails: the scope waits for its thread.
        let stopping = StopAtEnd(stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                setter.set(*chance.of(&OFFSETS));
                std::thread::sleep(Duration::from_millis(chance.within(50, 600)));
            }
        });
        let daemon = clock.watch();
        for number in 0..10 {
            clock.put(&format!("{number}"), &mut closed);
            std::thread::sleep(Duration::from_millis(dice.within(0, 600)));
        }
        eventually("all are stored and removed", || clock.world.files_left().is_empty() && !is_staged(&clock.world));
        drop(stopping);
        assert_eq!(daemon.stop().code, Some(0));
    });
    clock.compare(&closed);
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_staged(world: &World) -> bool {
    !support::files_below(&world.watched().join(".astran-backup")).is_empty()
}

#[test]
fn killed_and_started_under_another_clock_each_time_all_is_stored_once() {
    let Some(clock) = Clock::new(short_lives) else { return };
    let (mut dice, mut closed) = (Dice::new(seed("kills")), BTreeMap::new());
    // The first receipts have the right time, since pruning cuts off only the old end of the chain. No start is under a clock that
    // is ahead: that looks like a long pause, after which the receipts are too old to be kept.
    clock.put("first", &mut closed);
    assert_eq!(clock.run(&["watch", "watched", "--once", "--settle", "10ms"]).code, Some(0));
    for round in 0..rounds(18).div_ceil(3) {
        clock.set(*dice.of(&[0, -DAY, -60 * YEAR]));
        let stored = clock.world.sandbox().uploads().len();
        clock.put(&format!("{round}"), &mut closed);
        let daemon = clock.watch();
        std::thread::sleep(Duration::from_millis(dice.within(0, 1500)));
        let jump = *dice.of(&OFFSETS);
        if jump > 0 {
            // The start is over, however slow this machine is.
            eventually("a file of this round is stored", || clock.world.sandbox().uploads().len() > stored);
        }
        clock.set(jump);
        std::thread::sleep(Duration::from_millis(dice.within(0, 500)));
        daemon.kill();
    }
    clock.set(0);
    assert_eq!(clock.run(&["watch", "watched", "--once", "--settle", "10ms"]).code, Some(0));
    clock.compare(&closed);
}
