//! `receipts = "before-removal"`: the database's acknowledgement comes before the unlink, and no upload waits for it.

use std::time::{Duration, Instant};

use crate::fleet::Fleet;
use crate::proxy::Proxy;
use crate::support::eventually;

const BEFORE: &str = "receipts = \"before-removal\"\n[upload]\nrescan = \"1s\"";

#[test]
fn files_go_once_the_database_has_their_receipts() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", BEFORE);
    member.upload(0..30);
    assert_eq!(fleet.receipts_of(&member.name), 30);
}

#[test]
fn without_the_database_files_are_stored_and_stay_and_go_when_it_is_back() {
    let Some(fleet) = Fleet::new() else { return };
    let proxy = Proxy::to(&fleet.address());
    let member = fleet.member_behind("scan", proxy.port(), BEFORE);
    proxy.partition(true);
    let daemon = member.watch(&[]);
    let start = Instant::now();
    member.put(0..300);
    let stored = || (0..300).all(|number| member.world.stored(&format!("/HR_Backup/scan{number:04}.pdf")).is_some());
    eventually("all are stored", stored);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "no upload waits for the database: {took:?}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(member.world.files_left().len(), 300, "no receipt has a copy");
    let uploads = member.world.sandbox().uploads().len();
    // A file that waits for the database holds no lease: a writer need not wait either.
    let start = Instant::now();
    std::fs::write(member.world.watched().join("scan0000.pdf"), "newer content").unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    eventually("the newer content", || {
        member.world.stored("/HR_Backup/scan0000.pdf").is_some_and(|content| content == b"newer content")
    });
    proxy.partition(false);
    proxy.cut();
    eventually("all files are gone", || member.world.files_left().is_empty());
    assert_eq!(member.world.sandbox().uploads().len(), uploads + 1, "nothing was sent twice but the changed file");
    daemon.stop();
    assert_eq!(fleet.receipts_of(&member.name), 301);
    assert!(fleet.is_whole());
}

#[test]
fn a_run_for_cron_leaves_the_files_and_the_next_one_removes_them_unsent() {
    let Some(fleet) = Fleet::new() else { return };
    let proxy = Proxy::to(&fleet.address());
    let member = fleet.member_behind("scan", proxy.port(), BEFORE);
    proxy.partition(true);
    member.put(0..5);
    let output = member.once();
    assert_eq!((output.code, member.world.files_left().len()), (Some(1), 5), "{output:?}");
    assert!(output.stdout.contains("until the fleet's database has its receipt"), "{output:?}");
    proxy.partition(false);
    proxy.cut();
    let output = member.once();
    assert_eq!(output.code, Some(0), "{output:?}");
    let second = if member.world.files_left().is_empty() { 0 } else { member.once().code.unwrap() };
    assert_eq!((second, member.world.files_left().len(), member.world.sandbox().uploads().len()), (0, 0, 5));
}
