//! Bad answers of the service: each ends with its exit code, and a sentence that says what to do.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use astran_backup::sandbox::faults::{Call, Fault, Garbage, Rule};
use astran_backup::vault::RemotePath;

use crate::support::{World, run_to_end};

fn status(status: u16) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out: false }
}

#[test]
fn a_wrong_password_is_tried_once_and_ends_with_3() {
    for command in [&["watch", "watched"][..], &["watch", "watched", "--once"], &["push", "watched"], &["ls"]] {
        let world = World::new();
        world.put("file", "content");
        let output = run_to_end(world.command().env("ASTRAN_BACKUP_PASSWORD", "wrong-one").args(command));
        assert_eq!(output.code, Some(3), "{output:?}");
        assert_eq!(world.sandbox().stats().refused_logins, 1, "{command:?}");
        assert!(!output.stderr.contains("wrong-one"), "{output:?}");
        assert_eq!(world.files_left().len(), 1);
    }
}

#[test]
fn a_missing_destination_ends_with_4_and_says_which_part_exists() {
    let world = World::with(|options| {
        options.folders = ["/HR_Backup/2025", "/HR_Backup/2026"].map(|path| RemotePath::parse(path).unwrap()).into();
    });
    world.put("file", "content");
    for command in [&["watch", "watched", "--strict"][..], &["watch", "watched", "--once"], &["push", "watched"]] {
        let output = world.run(command.iter().chain(&["--dest", "/HR_Backup/2024/June"]));
        assert_eq!(output.code, Some(4), "{output:?}");
        let expected = "/HR_Backup exists, and holds \"2025\", \"2026\"";
        assert!(output.stderr.contains("/HR_Backup/2024/June") && output.stderr.contains(expected), "{output:?}");
    }
    assert_eq!(world.files_left().len(), 1);
}

#[test]
fn a_document_as_the_destination_ends_with_4() {
    let world = World::new();
    world.put("file", "content");
    assert_eq!(world.run(["push", "watched"]).code, Some(0));
    let output = world.run(["push", "watched", "--dest", "/HR_Backup/file"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("not a folder"), "{output:?}");
}

#[test]
fn a_file_that_is_too_large_for_the_service_fails_alone() {
    let world = World::with(|options| options.max_size = Some(1000));
    world.put("large", vec![7; 1_000_000]);
    world.put("small", vec![7; 1000]);
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("failed  large: ") && output.stdout.contains("1000000 bytes are more"),
        "{output:?}"
    );
    assert_eq!(world.files_left(), [std::path::PathBuf::from("large")]);
}

#[test]
fn a_415_names_the_setting_that_mends_it() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, status(415)));
    let path = world.put("file", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let explained =
        output.stdout.contains("application/octet-stream") && output.stdout.contains("service.content_type");
    assert!(explained, "{output:?}");
    assert!(path.exists());
}

#[test]
fn a_web_page_instead_of_json_blames_the_service_and_ends_with_5() {
    for call in [Call::Login, Call::Me, Call::Filesystem, Call::Children] {
        let world = World::new();
        world.faults().add(Rule::new(call, Fault::Garbage { body: Garbage::Html, carried_out: false }).always());
        let output = world.run(["ls"]);
        let output = if call == Call::Filesystem { world.run(["ls", "/HR_Backup"]) } else { output };
        assert_eq!(output.code, Some(5), "{call:?}: {output:?}");
        assert!(output.stderr.contains("proxy"), "{call:?}: {output:?}");
    }
}

#[test]
fn a_web_page_as_the_answer_to_an_upload_proves_nothing_and_the_store_is_asked() {
    for carried_out in [true, false] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Upload, Fault::Garbage { body: Garbage::Html, carried_out }));
        world.put("file", "content");
        let output = world.once_quick(&[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(world.stored("/HR_Backup/file").unwrap(), b"content");
        assert_eq!(world.times_stored("/HR_Backup/file"), 1, "carried out at first: {carried_out}");
        assert!(world.files_left().is_empty());
    }
}

#[test]
fn a_redirect_to_another_origin_is_not_followed() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/", other.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in other.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    for call in [Call::Login, Call::Me, Call::Children] {
        let world = World::new();
        world.faults().add(Rule::new(call, Fault::Redirect { to: to.clone() }).always());
        let output = world.run(["ls"]);
        assert_eq!(output.code, Some(5), "{call:?}: {output:?}");
        assert!(output.stderr.contains("redirect"), "{call:?}: {output:?}");
    }
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Redirect { to }));
    world.put("file", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "the next try succeeds: {output:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
