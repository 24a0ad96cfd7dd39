//! The time during which files come and everything goes wrong.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::SETTLE;
use crate::ledger::Ledger;
use crate::program::Program;
use crate::relay::{Cut, Relay};
use crate::support::World;
use crate::support::proof::Dice;
use crate::trouble::{Clock, between, change};
use crate::writer::{Orders, Writer};

const WRITERS: u64 = 3;
/// With more waiting files than this the writers pause: the soak tests the program, and must not fill the disk.
const MOST_WAITING: usize = 3000;
/// Exit codes that the trouble explains: login refused, destination missing, service unreachable.
const EXPLAINED: [i32; 3] = [3, 4, 5];

/// Counts of the trouble that was made.
#[derive(Debug, Default)]
pub(crate) struct Thrown {
    kills: u64,
    gentle_stops: u64,
    frozen: u64,
    outages: u64,
    cuts: u64,
    late_stores: u64,
    rules: u64,
    /// How often `status` was asked for.
    asked: u64,
    files: BTreeMap<&'static str, u64>,
}

pub(crate) struct Storm<'a> {
    pub(crate) world: &'a World,
    pub(crate) relay: &'a Relay,
    pub(crate) ledger: &'a Ledger,
    pub(crate) length: Duration,
}

/// When each kind of trouble comes next.
struct Clocks {
    death: Clock,
    faults: Clock,
    outage: Clock,
    freeze: Clock,
    cut: Clock,
    late: Clock,
    sample: Clock,
    status: Clock,
}

impl Storm<'_> {
    /// In a short soak everything comes ten times as fast.
    fn is_short(&self) -> bool {
        self.length < Duration::from_secs(120)
    }

    fn seconds(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self.is_short() { seconds / 10.0 } else { seconds })
    }

    fn clocks(&self, dice: &mut Dice) -> Clocks {
        let mut clock = |low, high| Clock::new(dice, self.seconds(low), self.seconds(high));
        let death = if may_die() { clock(2.0, 60.0) } else { Clock::new(dice, 2 * self.length, 2 * self.length) };
        let mut clock = |low, high| Clock::new(dice, self.seconds(low), self.seconds(high));
        Clocks {
            death,
            faults: clock(1.0, 15.0),
            outage: clock(20.0, 120.0),
            freeze: clock(15.0, 90.0),
            cut: clock(5.0, 60.0),
            late: clock(5.0, 40.0),
            sample: clock(60.0, 60.0),
            status: clock(1.0, 10.0),
        }
    }

    /// Makes all kinds of trouble for as long as the soak lasts. At the end the trouble is over, and the program is dead.
    pub(crate) fn run(&self, program: &mut Program<'_>, dice: &mut Dice) -> Thrown {
        let orders = Orders::default();
        let mut thrown = Thrown::default();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|number| {
                    let (folder, chance) = (self.world.watched(), Dice::new(dice.next()));
                    let writer = Writer::new(folder, number, self.ledger, chance, Duration::from_millis(140));
                    let orders = &orders;
                    scope.spawn(move || writer.run(orders))
                })
                .collect();
            let stopping = StopAtEnd(&orders);
            self.throw(program, dice, &mut thrown, &orders);
            drop(stopping);
            for writer in writers {
                for (kind, files) in writer.join().unwrap() {
                    *thrown.files.entry(kind).or_default() += files;
                }
            }
        });
        program.kill();
        self.world.faults().clear();
        self.relay.open();
        thrown
    }

    fn throw(&self, program: &mut Program<'_>, dice: &mut Dice, thrown: &mut Thrown, orders: &Orders) {
        let (begin, mut clocks) = (Instant::now(), self.clocks(dice));
        while begin.elapsed() < self.length {
            self.keep_running(program, dice);
            if clocks.death.strikes(dice) {
                end(program, dice, thrown);
                // Sometimes a long life, so that slow growth shows.
                if !self.is_short() && dice.one_in(10) {
                    clocks.death.postpone(between(dice, Duration::from_secs(120), Duration::from_secs(480)));
                }
            } else if clocks.faults.strikes(dice) {
                thrown.rules += change(&self.world.faults(), dice);
            } else if clocks.outage.strikes(dice) {
                self.relay.close();
                std::thread::sleep(between(dice, self.seconds(1.0), self.seconds(8.0)));
                self.relay.open();
                thrown.outages += 1;
            } else if clocks.freeze.strikes(dice) {
                self.freeze(program, dice);
                thrown.frozen += 1;
            } else if clocks.cut.strikes(dice) {
                self.relay.cut(Cut::Both);
                thrown.cuts += 1;
            } else if clocks.late.strikes(dice) {
                self.late(dice);
                thrown.late_stores += 1;
            } else if clocks.status.strikes(dice) {
                program.ask_for_status();
                thrown.asked += 1;
            } else if clocks.sample.strikes(dice) {
                self.sample(program, begin.elapsed(), thrown, orders);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the program again, at once or a moment later, with another `verify` each time.
    fn keep_running(&self, program: &mut Program<'_>, dice: &mut Dice) {
        if program.runs() {
            return;
        }
        let unexplained = program.ended.keys().find(|code| !EXPLAINED.contains(code));
        assert_eq!(unexplained, None, "it ended with this: {}", program.last_words());
        std::thread::sleep(between(dice, Duration::ZERO, self.seconds(2.0)));
        // With `verify = "listing"` each file reads the whole listing, so only while the folder has few documents.
        let few = self.world.sandbox().stats().uploads_stored < 2000;
        let verify = *dice.of(if few { &["answer", "content", "listing"] } else { &["answer", "answer", "content"] });
        program.start(&[SETTLE[0], SETTLE[1], "--verify", verify]);
    }

    /// Pauses the program; sometimes for longer than the kernel waits until a lease is given back (45 s).
    fn freeze(&self, program: &mut Program<'_>, dice: &mut Dice) {
        let for_long = !self.is_short() && dice.one_in(15);
        let (low, high) = if for_long { (46.0, 60.0) } else { (0.1, 8.0) };
        if program.runs() {
            program.signal("-STOP");
            std::thread::sleep(between(dice, self.seconds(low), self.seconds(high)));
            program.signal("-CONT");
        }
    }

    /// Cuts the program off while an upload is under way, which the store still stores a while later.
    fn late(&self, dice: &mut Dice) {
        let ms = dice.within(1500, 4000);
        self.world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms }).times(3));
        std::thread::sleep(Duration::from_millis(400));
        self.relay.cut(Cut::Client);
    }

    fn sample(&self, program: &mut Program<'_>, elapsed: Duration, thrown: &Thrown, orders: &Orders) {
        let lying = self.world.files_left().len();
        orders.wait.store(lying > MOST_WAITING, Ordering::Relaxed);
        let stored = self.world.sandbox().stats().uploads_stored;
        let Some((used, age)) = program.sample() else { return };
        println!(
            "{:5} s: {lying} lie there, {stored} stored, {} kills; the program, {} s old: {} MiB, {} descriptors, {} threads",
            elapsed.as_secs(),
            thrown.kills,
            age.as_secs(),
            used.rss_kib / 1024,
            used.descriptors,
            used.threads,
        );
    }
}

/// Without its deaths the program lives as long as the soak, so that slow growth shows.
fn may_die() -> bool {
    std::env::var("ASTRAN_TEST_KILLS").map_or(true, |kills| kills != "none")
}

fn end(program: &mut Program<'_>, dice: &mut Dice, thrown: &mut Thrown) {
    if !program.runs() {
        return;
    }
    if dice.one_in(6) {
        let code = program.stop();
        let expected = [Some(0), Some(3), Some(4), Some(5)].contains(&code);
        assert!(expected, "a stop signal gave {code:?}: {}", program.last_words());
        thrown.gentle_stops += 1;
    } else {
        program.kill();
        thrown.kills += 1;
    }
}

/// Stops the writers when dropped, also if the test fails.
struct StopAtEnd<'a>(&'a Orders);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
