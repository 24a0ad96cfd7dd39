//! A folder with very many files: how soon the first upload comes, how fast all of them go, and how much memory they take.

use std::time::{Duration, Instant};

use super::{program, setting, timed, world};
use crate::support::World;

/// Empty files: what counts is how many there are, and a disk holds a million of them twice.
pub(crate) fn backlog() {
    for files in [20_000, setting("ASTRAN_BENCH_BACKLOG", 1_000_000)] {
        let world = world();
        for n in 0..files {
            std::fs::File::create(world.watched().join(format!("file-{n:07}"))).unwrap();
        }
        // Empty files are ready once they have lain untouched for five seconds.
        std::thread::sleep(Duration::from_secs(6));
        let start = Instant::now();
        let (took, first) = std::thread::scope(|scope| {
            let first = scope.spawn(|| first_upload(&world));
            (timed(program(&world, None).args(["watch", "watched", "--once", "-q"])), first.join().unwrap())
        });
        let (first, seconds) = ((first - start).as_secs_f64(), took.wall.as_secs_f64());
        assert_eq!(world.files_left().len(), 0, "files were left");
        println!(
            "{files} empty files: first upload after {first:.3} s, all in {seconds:.1} s, {:.0} files/s, {} KiB",
            files as f64 / seconds,
            took.peak
        );
    }
}

/// Waits for the first upload, and returns when it was there.
fn first_upload(world: &World) -> Instant {
    while world.sandbox().stats().uploads_stored == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    Instant::now()
}
