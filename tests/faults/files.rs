//! Trouble of one file or of the destination, and false answers of the store.

use astran_backup::sandbox::faults::{Call, Fault, Field, Garbage, Rule};

use crate::support::proof::{assert_nothing_left, clean_run};
use crate::support::{Daemon, World, eventually};
use crate::{SETTLE, failed, side_by_side, status};

#[test]
fn a_refused_file_stays_with_its_reason_until_it_changes_or_retry() {
    side_by_side(vec![400, 413, 415, 422, 409], |code| {
        let world = World::new();
        world.put("bad.txt", "refused");
        world.put("good.txt", "taken");
        world.faults().add(Rule::new(Call::Upload, status(code, false)).named("bad").always());
        assert_eq!(world.once(&SETTLE).code, Some(1), "{code}");
        assert_eq!(world.files_left(), [std::path::Path::new("bad.txt")]);
        assert!(failed(&world).contains("bad.txt"), "{code}: {}", failed(&world));
        if code != 409 {
            assert!(failed(&world).contains(&code.to_string()), "{code}: {}", failed(&world));
        }

        world.faults().clear();
        let before = world.sandbox().stats().requests["upload"];
        world.once(&SETTLE);
        assert_eq!(world.sandbox().stats().requests["upload"], before, "{code}: sent again though nothing changed");
        assert_eq!(world.files_left().len(), 1, "{code}");

        if code % 2 == 0 {
            assert_eq!(world.run(["retry", "watched/bad.txt"]).code, Some(0));
        } else {
            world.put("bad.txt", "changed");
        }
        clean_run(&world, &SETTLE);
        assert_eq!(world.sandbox().uploads().len(), 2, "{code}");
    });
}

#[test]
fn verify_listing_finds_a_store_that_confirms_what_it_does_not_have() {
    let lie = r#"{"ID": "bm93aGVyZQ", "name": "a.txt", "size": 7, "isFolder": false}"#;
    for verify in ["listing", "content"] {
        let world = World::new();
        world.put("a.txt", "content");
        let body = Some(lie.to_owned());
        let fault = Fault::Status { status: 201, retry_after: None, body, content_type: None, carried_out: false };
        world.faults().add(Rule::new(Call::Upload, fault));
        let output = world.once(&["--settle", "10ms", "--verify", verify]);
        assert_eq!(output.code, Some(1), "{verify}: {}", output.stderr);
        assert_eq!(world.files_left().len(), 1, "{verify}");
        assert!(failed(&world).contains("answered that it has it"), "{verify}: {}", failed(&world));
    }
}

#[test]
fn verify_content_finds_a_store_that_returns_other_bytes() {
    let garbage = [Garbage::Html, Garbage::Truncated].map(|body| Fault::Garbage { body, carried_out: false });
    side_by_side([Fault::Wrong { field: Field::Content }].into_iter().chain(garbage).collect(), |fault| {
        let world = World::new();
        world.put("a.txt", "content");
        world.faults().add(Rule::new(Call::Content, fault).always());
        let output = world.once(&["--settle", "10ms", "--verify", "content"]);
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        assert_eq!(world.files_left().len(), 1);
        world.faults().clear();
        assert_eq!(world.run(["retry"]).code, Some(0));
        let output = world.once(&["--settle", "10ms", "--verify", "content"]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert_nothing_left(&world);
    });
}

#[test]
fn a_destination_in_trouble_holds_up_its_own_folder_only() {
    for code in [403, 404] {
        let world = World::new();
        std::fs::create_dir(world.dir.path().join("second")).unwrap();
        let config = world.dir.path().join("config.toml");
        let folder = |path: &str| format!("[[folder]]\npath = {path:?}\ndest = \"/HR_Backup\"\n");
        std::fs::write(&config, format!("{}{}", folder("watched"), folder("second"))).unwrap();
        std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        world.faults().add(Rule::new(Call::Upload, status(code, false)).named("held").always());
        let mut command = world.command();
        command.env_remove("ASTRAN_BACKUP_DEST").args(["--config", "config.toml", "watch"]);
        let daemon = Daemon::start(&mut command);
        daemon.wait_for("watching");
        world.put("held", "held");
        daemon.wait_for("the destination can't be used");
        std::fs::write(world.dir.path().join("second/free"), "free").unwrap();
        eventually("the other folder's file is stored", || world.times_stored("/HR_Backup/free") == 1);
        assert_eq!(world.times_stored("/HR_Backup/held"), 0);
        world.faults().clear();
        eventually("the file is stored once the trouble is over", || world.times_stored("/HR_Backup/held") == 1);
        assert_eq!(daemon.stop().code, Some(0));
        assert_eq!(failed(&world), "");
    }
}
