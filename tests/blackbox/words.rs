//! What a person reads when a common thing fails: each failure is really caused, and its whole message is compared.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use astran_backup::vault::RemotePath;
use insta::assert_snapshot;

use crate::support::{Output, World, run_to_end};

/// The last message of a run, with what differs from run to run replaced.
fn message(world: &World, output: &Output) -> String {
    let dir = world.dir.path().to_str().unwrap();
    let port = world.access.api_url.rsplit(':').next().unwrap();
    let text = output.stderr.lines().last().unwrap_or_else(|| panic!("{output:?}"));
    text.replace(dir, "DIR").replace(&format!(":{port}"), ":PORT")
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs `ls` against a service behind this proxy.
fn ls_behind(world: &World, proxy: &str) -> Output {
    let mut command = world.command();
    for address in ["ASTRAN_BACKUP_API_URL", "ASTRAN_BACKUP_AUTH_URL"] {
        command.env(address, "https://service.example");
    }
    run_to_end(command.env("HTTPS_PROXY", proxy).arg("ls"))
}

#[test]
fn a_service_that_is_not_there() {
    let world = World::new();
    let port = closed_port();
    let url = format!("http://127.0.0.1:{port}");
    let output = run_to_end(world.command().env("ASTRAN_BACKUP_AUTH_URL", &url).arg("ls"));
    assert_eq!(output.code, Some(5), "{output:?}");
    assert_snapshot!(message(&world, &output).replace(&port.to_string(), "CLOSED"), @"astran-backup: the login at http://127.0.0.1:CLOSED/auth/realms/sandbox/protocol/openid-connect/token: can't reach 127.0.0.1:CLOSED: the connection is refused; does a server run there, and are the address and its port right?");
}

#[test]
fn a_proxy_that_is_not_there_or_does_not_let_through() {
    let world = World::new();
    let port = closed_port();
    let output = ls_behind(&world, &format!("http://127.0.0.1:{port}"));
    assert_eq!(output.code, Some(5), "{output:?}");
    assert_snapshot!(message(&world, &output).replace(&port.to_string(), "CLOSED"), @"astran-backup: the login at https://service.example/auth/realms/sandbox/protocol/openid-connect/token: can't reach the proxy 127.0.0.1:CLOSED (HTTPS_PROXY), which stands before service.example: the connection is refused; does a server run there, and are the address and its port right?");

    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = refusing.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in refusing.incoming().flatten() {
            let _request = stream.read(&mut [0; 1000]).unwrap();
            stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    let output = ls_behind(&world, &format!("http://me:hidden-word@127.0.0.1:{port}"));
    assert_eq!(output.code, Some(5), "{output:?}");
    assert_snapshot!(message(&world, &output).replace(&port.to_string(), "PROXY"), @"astran-backup: the login at https://service.example/auth/realms/sandbox/protocol/openid-connect/token: can't reach service.example: the proxy 127.0.0.1:PROXY does not connect to it; does the proxy allow this host, and does it want a name and a password (HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT)?");
    let all = run_to_end(
        world.command().env("HTTPS_PROXY", format!("http://me:hidden-word@127.0.0.1:{port}")).args(["ls", "-vv"]),
    );
    assert!(!format!("{all:?}{output:?}").contains("hidden-word"), "{all:?}");
}

#[test]
fn a_refused_login() {
    let world = World::new();
    let output = run_to_end(world.command().env("ASTRAN_BACKUP_PASSWORD", "wrong").arg("ls"));
    assert_eq!(output.code, Some(3), "{output:?}");
    assert_snapshot!(message(&world, &output), @r#"astran-backup: the login at http://127.0.0.1:PORT/auth/realms/sandbox/protocol/openid-connect/token was refused: the password of user `sandbox@example.com` is wrong, or the account is locked for a while after wrong ones (the service does not tell which): check login.username, the password and the realm (`sandbox`); do not try again many times (it says 400 Bad Request: "Invalid user credentials")"#);
}

#[test]
fn a_folder_or_a_document_that_is_not_in_the_vault() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/Legal").unwrap()));
    world.put("file", "content");
    let output = world.run(["push", "watched/file", "--dest", "/HR_Bakcup"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_snapshot!(message(&world, &output), @r#"astran-backup: there is no folder /HR_Bakcup in the vault, and this tool makes none: have it made, or name another: / exists, and holds "HR_Backup", "Legal""#);
    let output = world.run(["get", "/Legal/none.pdf"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_snapshot!(message(&world, &output), @"astran-backup: there is no document /Legal/none.pdf in the vault: /Legal exists, and holds nothing");
}

#[test]
fn a_file_that_this_user_may_not_read() {
    let world = World::new();
    let file = world.put("secret.pdf", "content");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::write(world.dir.path().join("password"), "word").unwrap();
    std::fs::set_permissions(world.dir.path().join("password"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let output = world.run_as_ordinary_user(&["push", "watched/secret.pdf"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let (owner, us) = (" belongs to ", " runs as ");
    assert!(output.stdout.contains(owner) && output.stdout.contains(us), "{output:?}");
    assert!(output.stdout.contains("(mode 000)") && !output.stdout.contains("os error"), "{output:?}");
    let output = world.run_as_ordinary_user(&["ls", "--password-file", "password"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("(mode 000)") && output.stderr.contains(us), "{output:?}");
}

#[test]
fn a_folder_that_another_instance_watches() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    let output = world.once(&[]);
    assert_eq!(output.code, Some(6), "{output:?}");
    let shown = message(&world, &output);
    assert!(shown.contains(&format!("(pid {}, since 20", daemon.pid())), "{shown}");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_journal_of_a_newer_version() {
    let world = World::new();
    let file = world.put("file", "content");
    assert_eq!(world.run(["push", file.to_str().unwrap()]).code, Some(0));
    let journal = rusqlite::Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap();
    journal.pragma_update(None, "user_version", 99).unwrap();
    drop(journal);
    let output = world.run(["history"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_snapshot!(message(&world, &output), @"astran-backup: the journal DIR/state/astran-backup/journal.sqlite can't be used: it has version 99, this program knows versions up to 5: use the program that wrote it, or a newer one");
}

#[test]
fn a_local_file_or_folder_that_is_in_the_way_or_missing() {
    let world = World::new();
    let file = world.put("file", "content");
    assert_eq!(world.run(["push", file.to_str().unwrap()]).code, Some(0));
    let output = world.run(["get", "/HR_Backup/file", "-o", "watched/file"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_snapshot!(message(&world, &output), @"astran-backup: watched/file exists and is not replaced: name another file with -o, or use --force");
    let output = world.run(["get", "/HR_Backup/file", "-o", "none/"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_snapshot!(message(&world, &output), @"astran-backup: the folder none/ is missing: make it, or name another one with -o");
    let output = world.run(["watch", "none", "--once"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("none is missing"), "{output:?}");
}
