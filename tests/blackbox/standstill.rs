//! A service that reads no more, and says nothing: no part of the program is in trouble, and nothing moves.

use std::time::Duration;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::monitor::listening;
use crate::support::{World, eventually};

/// Regression: `/readyz` said ready, and no line told of it.
#[test]
#[ignore = "takes more than a minute; the pipeline's own test passes that minute by its clock"]
fn a_service_that_accepts_an_upload_and_never_reads_it_is_told_as_a_standstill() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    world.put("first", "content");
    eventually("uploads go", || world.stored("/HR_Backup/first").is_some());
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 85_000 }));
    world.put("second", vec![b'x'; 50_000_000]);
    std::thread::sleep(Duration::from_secs(45));
    assert_eq!(it.reasons(), None, "it may take its time");
    it.is_held_up_by("the files: nothing has moved for 6");
    it.daemon.wait_for("nothing has moved for 6");
    it.daemon.wait_for("files move again");
    it.becomes_ready();
    eventually("it is stored in the end", || world.left().is_empty());
    assert_eq!(it.daemon.stop().code, Some(0));
}
