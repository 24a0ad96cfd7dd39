//! How many uploads at once: `--transfers auto` beside fixed numbers, in turns, near by and at distances.

use std::time::Duration;

use super::{Took, filled, median, program, runs, timed};
use crate::link::Link;
use crate::support::World;

/// The fixed numbers that are tried.
const FIXED: [&str; 6] = ["8", "16", "32", "64", "128", "256"];

/// One round is a run with each number, so that a machine that gets slower meanwhile slows all of them.
pub(crate) fn numbers(files: usize, delay: Duration) {
    let mut took: Vec<(&str, Vec<Took>)> = FIXED.into_iter().chain(["auto"]).map(|it| (it, Vec::new())).collect();
    for _ in 0..runs() {
        for (number, took) in &mut took {
            let world = filled(files);
            let link = (!delay.is_zero()).then(|| Link::start(&world, delay));
            took.push(with_number(&world, link.as_ref(), number));
            assert_eq!(world.sandbox().uploads().len(), files);
        }
    }
    let rate = |took: Took| files as f64 / took.wall.as_secs_f64();
    let rows: Vec<(&str, Took)> = took.into_iter().map(|(number, took)| (number, median(took))).collect();
    let best = rows.iter().filter(|(number, _)| *number != "auto").map(|(_, took)| rate(*took)).fold(0.0, f64::max);
    println!("{files} files of 4 KiB, {} ms away, by --transfers:", 2 * delay.as_millis());
    for (number, took) in rows {
        let (seconds, rate) = (took.wall.as_secs_f64(), rate(took));
        let times = rate / best;
        println!(
            "  {number:<6} {seconds:8.3} s {rate:8.0} files/s {:7} KiB   {times:5.2} x the best fixed one",
            took.peak
        );
    }
}

fn with_number(world: &World, link: Option<&Link>, number: &str) -> Took {
    timed(program(world, link).args(["watch", "watched", "--once", "-q", "--transfers", number]))
}
