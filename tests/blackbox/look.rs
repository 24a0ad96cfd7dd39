//! `ls` and `get`: list the vault, and take documents out of it.

use std::fs;

use astran_backup::sandbox::faults::{Call, Fault, Field, Rule};
use astran_backup::vault::RemotePath;

use crate::support::World;

fn world() -> World {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/HR_Backup/2026").unwrap()));
    fs::write(world.dir.path().join("report.pdf"), "content").unwrap();
    assert_eq!(world.run(["push", "report.pdf"]).code, Some(0));
    fs::remove_file(world.dir.path().join("report.pdf")).unwrap();
    world
}

fn file(world: &World, name: &str) -> Option<String> {
    fs::read_to_string(world.dir.path().join(name)).ok()
}

#[test]
fn ls_shows_documents_and_folders() {
    let world = world();
    let output = world.run(["ls", "/HR_Backup"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().map(str::trim).collect();
    assert_eq!(lines, ["2026/", "7 bytes  report.pdf"]);
    assert_eq!(world.run(["ls"]).stdout.trim(), "HR_Backup/", "without a path: the root");
    assert_eq!(world.run(["ls", "/HR_Backup/report.pdf"]).stdout.trim(), "7 bytes  report.pdf");
}

#[test]
fn ls_json_has_an_event_for_each_document_and_a_summary() {
    let world = world();
    let output = world.run(["ls", "/HR_Backup", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let documents = output.events("document");
    let paths: Vec<_> = documents.iter().map(|document| document["remote_path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/HR_Backup/2026", "/HR_Backup/report.pdf"]);
    assert_eq!(output.events("summary")[0]["documents"], 2);
}

#[test]
fn get_fetches_several_documents_into_a_folder_and_names_those_that_it_can_not_have() {
    let world = world();
    fs::write(world.dir.path().join("b.pdf"), "other").unwrap();
    assert_eq!(world.run(["push", "b.pdf"]).code, Some(0));
    fs::create_dir(world.dir.path().join("into")).unwrap();
    let output = world.run(["get", "/HR_Backup/report.pdf", "/HR_Backup/b.pdf", "-o", "into/"]);
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(0), "", ""), "{output:?}");
    assert_eq!(
        (file(&world, "into/report.pdf").unwrap(), file(&world, "into/b.pdf").unwrap()),
        ("content".into(), "other".into())
    );
    fs::remove_file(world.dir.path().join("into/b.pdf")).unwrap();
    let again =
        world.run(["get", "/HR_Backup/report.pdf", "/HR_Backup/none", "/HR_Backup/b.pdf", "-o", "into", "--json"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    let codes: Vec<_> = again.events("not_fetched").iter().map(|event| event["code"].clone()).collect();
    assert_eq!(codes, ["exists", "missing"], "{again:?}");
    assert_eq!(again.events("fetched").len(), 1, "{again:?}");
}

#[test]
fn ls_of_a_missing_path_ends_with_4_and_lists_its_neighbours() {
    let output = world().run(["ls", "/HR_Backup/2025"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("/HR_Backup exists") && output.stderr.contains("\"2026\""), "{output:?}");
}

#[test]
fn get_writes_a_document_under_its_own_name_or_another_or_to_standard_output() {
    let world = world();
    assert_eq!(world.run(["get", "/HR_Backup/report.pdf"]).code, Some(0));
    assert_eq!(file(&world, "report.pdf").unwrap(), "content");
    assert_eq!(world.run(["get", "/HR_Backup/report.pdf", "-o", "other"]).code, Some(0));
    assert_eq!(file(&world, "other").unwrap(), "content");
    let output = world.run(["get", "/HR_Backup/report.pdf", "-o", "-"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "content"), "{output:?}");
}

#[test]
fn get_replaces_a_file_only_with_force() {
    let world = world();
    fs::write(world.dir.path().join("report.pdf"), "mine").unwrap();
    let output = world.run(["get", "/HR_Backup/report.pdf"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("--force"), "{output:?}");
    assert_eq!(file(&world, "report.pdf").unwrap(), "mine");
    assert_eq!(world.run(["get", "/HR_Backup/report.pdf", "--force"]).code, Some(0));
    assert_eq!(file(&world, "report.pdf").unwrap(), "content");
}

#[test]
fn get_of_what_is_missing_ends_with_4_and_leaves_no_file() {
    let world = world();
    let output = world.run(["get", "/HR_Backup/none", "-o", "out"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_eq!(file(&world, "out"), None);
    assert_eq!(world.run(["get", "/HR_Backup/report.pdf", "-o", "no/such/folder"]).code, Some(4));
}

#[test]
fn a_download_that_breaks_off_leaves_no_file_and_is_no_success() {
    let world = world();
    world.faults().add(Rule::new(Call::Content, Fault::CutAfter).always());
    let output = world.run(["get", "/HR_Backup/report.pdf", "-o", "out"]);
    assert_eq!(output.code, Some(5), "{output:?}");
    assert_eq!(file(&world, "out"), None);
}

#[test]
fn verify_reports_a_document_whose_bytes_differ_from_its_receipt() {
    let world = world();
    assert_eq!(world.run(["verify"]).code, Some(0));
    world.faults().add(Rule::new(Call::Content, Fault::Wrong { field: Field::Content }));
    let output = world.run(["verify"]);
    assert_eq!(output.code, Some(1), "{output:?}");
}
