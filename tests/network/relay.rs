//! A relay drops the client during an upload and passes the upload on all the same: the service stores it seconds later.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::between::{Between, Done, Request, hand_on, json, sandbox_of};
use crate::support::{Daemon, QUICK, World, eventually, run_to_end};

/// How the relay drops the client.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The connection is closed without an answer.
    Silently,
    /// With 504: no answer from behind the relay.
    With504,
    /// With 503: the service is busy.
    With503,
}

/// A relay that drops the client of the first `cuts` uploads, and passes these on after this time.
fn late_relay(world: &World, cuts: usize, how: Cut, late: Duration) -> Between {
    let (sandbox, seen) = (sandbox_of(world), Arc::new(AtomicUsize::new(0)));
    Between::start(world, move |request, client| {
        if !request.is_upload() || seen.fetch_add(1, Ordering::SeqCst) >= cuts {
            return Done::HandOn;
        }
        match how {
            Cut::Silently => client.shutdown(Shutdown::Both).unwrap(),
            Cut::With504 => drop(json(client, "504 Gateway Timeout", "{}")),
            Cut::With503 => drop(json(client, "503 Service Unavailable", "{}")),
        }
        std::thread::sleep(late);
        hand_on(sandbox, request);
        Done::Answered
    })
}

/// Regression: after the first two the program waited for eight seconds at most, and after a 503 not at all.
#[test]
fn an_upload_that_a_relay_delivers_late_is_stored_once() {
    let cases = [
        (Cut::Silently, 1500),
        (Cut::Silently, 4000),
        (Cut::Silently, 11_000),
        (Cut::With504, 1500),
        (Cut::With503, 3000),
    ];
    std::thread::scope(|scope| {
        for (how, late) in cases {
            scope.spawn(move || {
                let world = World::new();
                let relay = late_relay(&world, 1, how, Duration::from_millis(late));
                world.put("report", "content");
                let mut command = relay.command(&world);
                command.args(["watch", "watched", "--once"]).args(QUICK).env("ASTRAN_BACKUP_STORE_LAG", "40s");
                let ended = run_to_end(&mut command);
                assert_eq!(ended.code, Some(0), "{how:?} {late}: {ended:?}");
                assert!(world.files_left().is_empty());
                assert_eq!(world.times_stored("/HR_Backup/report"), 1, "{how:?} {late}: {ended:?}");
            });
        }
    });
}

/// Regression: the older content was stored over the newer one, whose file was gone by then.
#[test]
fn a_removed_files_newest_content_is_in_the_store_whatever_a_relay_delivers_late() {
    let world = World::new();
    let relay = late_relay(&world, 1, Cut::Silently, Duration::from_secs(10));
    let place = world.put("report", "first");
    let mut command = relay.command(&world);
    command.args(["watch", "watched"]).args(QUICK).env("ASTRAN_BACKUP_STORE_LAG", "20s");
    let daemon = Daemon::start(&mut command);
    eventually("it was sent", || relay.requests().iter().any(Request::is_upload));
    std::fs::write(&place, "second content").unwrap();
    eventually("the file is gone", || !place.exists());
    eventually("both were stored", || world.times_stored("/HR_Backup/report") >= 2);
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"second content");
    assert_eq!(world.times_stored("/HR_Backup/report"), 2);
}

/// The wait for a late upload is no upload under way, so the grace of a stop does not apply to it.
#[test]
fn a_stop_does_not_wait_for_late_uploads() {
    let world = World::new();
    let relay = late_relay(&world, 1, Cut::Silently, Duration::from_secs(3600));
    world.put("report", "content");
    let mut command = relay.command(&world);
    command.args(["watch", "watched"]).args(QUICK).env("ASTRAN_BACKUP_STORE_LAG", "10m");
    let daemon = Daemon::start(&mut command);
    daemon.wait_for("asking the store whether it has it");
    let start = std::time::Instant::now();
    assert_eq!(daemon.stop().code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(world.files_left().len(), 1);
}
