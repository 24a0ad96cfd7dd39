//! Any sequence of events, looks and times: no panic, never "ready" while somebody writes, never a wait that has passed, and
//! "ready" in the end for what nobody touches.

use std::time::Duration;

use astran_backup::file::FileStamp;
use astran_backup::watch::settle::{Candidate, Cause, Observation, Rules, Verdict};
use tokio::time::Instant;

use crate::input::Input;

const CAUSES: [Cause; 5] = [Cause::Renamed, Cause::Closed, Cause::Created, Cause::Scanned, Cause::Returned];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let settle = Duration::from_millis(u64::from(input.byte()) * u64::from(input.byte()));
    let rules = Rules::new(settle);
    let patience = input.byte();
    let rules = if patience > 127 { rules.with_patience(Duration::from_millis(u64::from(patience))) } else { rules };
    let mut now = Instant::now();
    let mut candidate = Candidate::new(cause(&mut input), now);
    while !input.is_empty() {
        now += step(&mut input);
        match input.byte() % 8 {
            0 => candidate.hint(cause(&mut input), now),
            1 => candidate = candidate.returned(now),
            _ => {
                let seen = seen(&mut input);
                check(seen, candidate.look(seen, now, &rules), now, &rules);
            }
        }
    }
    comes_to_rest(candidate, now, &rules);
}

fn cause(input: &mut Input<'_>) -> Cause {
    CAUSES[usize::from(input.byte()) % CAUSES.len()]
}

/// From nothing to hours.
fn step(input: &mut Input<'_>) -> Duration {
    let (number, unit) = (u64::from(input.byte()), input.byte() % 4);
    match unit {
        0 => Duration::from_micros(number),
        1 => Duration::from_millis(number),
        2 => Duration::from_secs(number),
        _ => Duration::from_secs(number * 3600),
    }
}

fn seen(input: &mut Input<'_>) -> Observation {
    let kind = input.byte() % 9;
    let size = u64::from(input.byte() % 4);
    let stamp =
        FileStamp { device: 1, inode: u64::from(input.byte() % 2), size, mtime: i64::from(input.byte() % 4), ctime: 0 };
    match kind {
        0 => Observation::Gone,
        1 => Observation::Folder,
        2 => Observation::Unfit,
        3 => Observation::Unreadable,
        4 | 5 => Observation::Busy(stamp),
        6 => Observation::Quiet(stamp),
        7 => Observation::Scarce,
        _ => Observation::Unsure(stamp),
    }
}

fn check(seen: Observation, verdict: Verdict, now: Instant, rules: &Rules) {
    let fits = match (seen, verdict) {
        (Observation::Gone | Observation::Unfit, verdict) => verdict == Verdict::Forget,
        (Observation::Folder, verdict) => verdict == Verdict::Folder,
        (Observation::Unreadable, verdict) => verdict == Verdict::Ready,
        (Observation::Scarce, Verdict::Ready) => rules.patience.is_some(),
        (Observation::Scarce, verdict) => matches!(verdict, Verdict::Wait(_)),
        (Observation::Busy(_) | Observation::Quiet(_) | Observation::Unsure(_), Verdict::StillOpen) => {
            rules.patience.is_some()
        }
        (Observation::Busy(_), verdict) => verdict != Verdict::Ready && matches!(verdict, Verdict::Wait(_)),
        (Observation::Quiet(_) | Observation::Unsure(_), verdict) => {
            matches!(verdict, Verdict::Ready | Verdict::Wait(_))
        }
    };
    assert!(fits, "{seen:?} gave {verdict:?}");
    if let Verdict::Wait(until) = verdict {
        assert!(until > now, "a wait that has passed is a loop without a rest");
        let longest = rules.empty.max(rules.unsure) * 8 + Duration::from_secs(1);
        assert!(until - now <= longest, "it waits for {:?}", until - now);
    }
}

/// Whatever happened before: a file that nobody writes or changes any more is ready, after as many looks as it asks for.
fn comes_to_rest(mut candidate: Candidate, mut now: Instant, rules: &Rules) {
    let stamp = FileStamp { device: 1, inode: 7, size: 1, mtime: 1, ctime: 1 };
    for unsure in [true, false] {
        let seen = if unsure { Observation::Unsure(stamp) } else { Observation::Quiet(stamp) };
        let mut looks = 0;
        loop {
            match candidate.look(seen, now, rules) {
                Verdict::Ready => break,
                Verdict::StillOpen if rules.patience.is_some() => break,
                Verdict::Wait(until) => now = until,
                other => panic!("{other:?}"),
            }
            looks += 1;
            assert!(looks <= 3, "it never comes to rest");
        }
    }
    // Ready a moment ago, and opened again: no more.
    let verdict = candidate.look(Observation::Busy(stamp), now, rules);
    assert!(verdict != Verdict::Ready, "ready while somebody writes it");
}
