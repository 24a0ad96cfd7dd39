//! Any sequence of events, inspections and times: no panic, never "ready" while a process writes the file, never a wait that is
//! over already, and "ready" in the end for a file that nobody touches.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use astran_backup::file::FileStamp;
use astran_backup::watch::settle::{Candidate, Cause, Observation, Readiness, Rules};
use tokio::time::Instant;

use crate::input::Input;

const CAUSES: [Cause; 5] = [Cause::Renamed, Cause::Closed, Cause::Created, Cause::Scanned, Cause::Returned];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let settle = Duration::from_millis(u64::from(input.byte()) * u64::from(input.byte()));
    let rules = Rules::new(settle);
    let patience = input.byte();
    let patience = (patience > 127).then(|| Duration::from_millis(u64::from(patience)));
    let rules = Rules { patience, ..rules };
    let mut now = Instant::now();
    let mut candidate = Candidate::new(cause(&mut input), now);
    while !input.is_empty() {
        now += step(&mut input);
        match input.byte() % 8 {
            0 => candidate.touched(cause(&mut input), now),
            1 => candidate = candidate.returned(now),
            _ => {
                let seen = seen(&mut input);
                let wall = wall(&mut input);
                check(seen, candidate.judge(seen, (now, wall), &rules), now, &rules);
            }
        }
    }
    comes_to_rest(candidate, now, &rules);
}

fn cause(input: &mut Input<'_>) -> Cause {
    CAUSES[usize::from(input.byte()) % CAUSES.len()]
}

/// A time that passes, between nothing and hours.
fn step(input: &mut Input<'_>) -> Duration {
    let (number, unit) = (u64::from(input.byte()), input.byte() % 4);
    match unit {
        0 => Duration::from_micros(number),
        1 => Duration::from_millis(number),
        2 => Duration::from_secs(number),
        _ => Duration::from_secs(number * 3600),
    }
}

/// A time of the wall clock, which anybody may set at any time.
fn wall(input: &mut Input<'_>) -> SystemTime {
    UNIX_EPOCH + step(input)
}

fn seen(input: &mut Input<'_>) -> Observation {
    let kind = input.byte() % 9;
    let size = u64::from(input.byte() % 4);
    let stamp =
        FileStamp { device: 1, inode: u64::from(input.byte() % 2), size, mtime: i64::from(input.byte() % 4), ctime: 0 };
    match kind {
        0 => Observation::Gone,
        1 => Observation::Folder,
        2 => Observation::NotUploadable,
        3 => Observation::Unreadable,
        4 | 5 => Observation::Busy(stamp),
        6 => Observation::Quiet(stamp),
        7 => Observation::Scarce,
        _ => Observation::WritersUnknown(stamp),
    }
}

fn check(seen: Observation, readiness: Readiness, now: Instant, rules: &Rules) {
    let fits = match (seen, readiness) {
        (Observation::Gone | Observation::NotUploadable, readiness) => readiness == Readiness::Forget,
        (Observation::Folder, readiness) => readiness == Readiness::Folder,
        (Observation::Unreadable, readiness) => readiness == Readiness::Ready,
        (Observation::Scarce, Readiness::Ready) => rules.patience.is_some(),
        (Observation::Scarce, readiness) => matches!(readiness, Readiness::Wait(_)),
        (Observation::Busy(_) | Observation::Quiet(_) | Observation::WritersUnknown(_), Readiness::StillOpen) => {
            rules.patience.is_some()
        }
        (Observation::Busy(_), readiness) => readiness != Readiness::Ready && matches!(readiness, Readiness::Wait(_)),
        (Observation::Quiet(_) | Observation::WritersUnknown(_), readiness) => {
            matches!(readiness, Readiness::Ready | Readiness::Wait(_))
        }
    };
    assert!(fits, "{seen:?} gave {readiness:?}");
    if let Readiness::Wait(until) = readiness {
        assert!(until > now, "a wait that is over already would be a busy loop");
        let longest = rules.empty.max(rules.writers_unknown) * 8 + Duration::from_secs(1);
        assert!(until - now <= longest, "it waits for {:?}", until - now);
    }
}

/// Whatever happened before: a file that nobody writes or changes any more is ready after few inspections.
fn comes_to_rest(mut candidate: Candidate, mut now: Instant, rules: &Rules) {
    let stamp = FileStamp { device: 1, inode: 7, size: 1, mtime: 1, ctime: 1 };
    for writers_unknown in [true, false] {
        let seen = if writers_unknown { Observation::WritersUnknown(stamp) } else { Observation::Quiet(stamp) };
        let mut inspections = 0;
        loop {
            match candidate.judge(seen, (now, UNIX_EPOCH), rules) {
                Readiness::Ready => break,
                Readiness::StillOpen if rules.patience.is_some() => break,
                Readiness::Wait(until) => now = until,
                other => panic!("{other:?}"),
            }
            inspections += 1;
            assert!(inspections <= 3, "it never comes to rest");
        }
    }
    // A file that was ready and is opened for writing again is not ready any more.
    let readiness = candidate.judge(Observation::Busy(stamp), (now, UNIX_EPOCH), rules);
    assert!(readiness != Readiness::Ready, "ready while a process writes it");
}
