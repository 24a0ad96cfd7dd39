//! The database is absent, refuses, or is not what it says: uploads go on, and people are told.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::proxy::Proxy;
use crate::support::eventually;

#[test]
fn uploads_go_on_without_the_database_and_the_backlog_is_shipped_later() {
    let Some(fleet) = Fleet::new() else { return };
    let proxy = Proxy::to(&fleet.address());
    let member = fleet.member_behind("scan", proxy.port(), "[daemon]\nlisten = \"127.0.0.1:0\"");
    let daemon = member.watch(&[]);
    proxy.partition(true);
    proxy.cut();
    member.put(0..50);
    eventually("all are stored and gone", || member.world.files_left().is_empty());
    eventually("the trouble is told", || daemon.output_so_far().contains("receipts are not shipped"));
    let status = member.world.run(["status", "--json", "--config", "config.toml"]);
    let troubles = status.events("status")[0]["troubles"].clone();
    assert!(troubles.as_array().unwrap().iter().any(|trouble| trouble["component"] == "fleet"), "{troubles}");
    proxy.partition(false);
    eventually("the backlog", || fleet.receipts_of(&member.name) == 50);
    eventually("the end of the trouble is told", || {
        daemon.output_so_far().contains("shipped to the fleet's database again")
    });
    daemon.stop();
    assert!(fleet.is_whole());
}

/// The server proves its name, or nothing is sent to it: neither a password nor a receipt.
#[test]
fn a_server_without_tls_or_with_another_certificate_gets_nothing() {
    let Some(fleet) = Fleet::new() else { return };
    // A server that has no TLS.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut client, _) = plain.accept().unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"N").unwrap();
        let mut more = Vec::new();
        client.read_to_end(&mut more).ok();
        more
    });
    let member = fleet.machine("scan", port, "");
    let token = fleet.enroll(&member.name, "HR");
    let refused = member.join(&token);
    assert!(refused.code == Some(5) && refused.stderr.contains("TLS"), "{refused:?}");
    assert_eq!(heard.join().unwrap(), b"", "nothing after the refusal");
    // The real server, whose certificate another authority has signed.
    let other = fleet.machine("scan", fleet.port(), "");
    let config = other.world.dir.path().join("config.toml");
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = other.world.dir.path().join("stranger.pem");
    std::fs::write(&ca, stranger.cert.pem()).unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&fleet.ca().display().to_string(), &ca.display().to_string())).unwrap();
    let refused = other.join(&token);
    assert!(refused.code == Some(5) && refused.stderr.to_lowercase().contains("certificate"), "{refused:?}");
}

#[test]
fn a_machine_that_has_not_joined_or_has_no_tables_is_told_the_mend() {
    let Some(fleet) = Fleet::bare() else { return };
    let member = fleet.machine("scan", fleet.port(), "");
    let password = member.world.state().join("astran-backup/fleet.password");
    let once = || {
        member.put(0..1);
        let output = member.once();
        assert_eq!(output.code, Some(0), "uploads go on: {output:?}");
        output.stderr
    };
    let text = once();
    assert!(text.contains("fleet.password") && text.contains("is not there"), "{text}");
    std::fs::write(&password, "admin").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = once();
    assert!(text.contains("refuses the login"), "{text}");
    let config = member.world.dir.path().join("config.toml");
    let as_admin = std::fs::read_to_string(&config).unwrap().replace("postgres://", "postgres://admin@");
    std::fs::write(&config, as_admin).unwrap();
    let text = once();
    assert!(text.contains("fleet migrate"), "{text}");
    assert_eq!(fleet.admin(&["fleet", "migrate"]).code, Some(0));
    let text = once();
    assert!(text.contains("fleet enroll"), "{text}");
}

#[test]
fn no_fleet_command_works_without_a_configured_database() {
    let world = crate::support::World::new();
    let output = world.run(["fleet", "status"]);
    assert!(output.code == Some(2) && output.stderr.contains("ASTRAN_BACKUP_FLEET_DATABASE"), "{output:?}");
    let output = world.run(["watch", "watched", "--once", "--sandbox"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// The server is killed while receipts are shipped. `.ci/postgres` runs this test alone, as the others need the server.
#[test]
#[ignore = "restarts the server, so it runs alone: see .ci/postgres"]
fn restart_of_a_killed_server_neither_loses_nor_doubles_a_receipt() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "heartbeat = \"1s\"");
    let daemon = member.watch(&[]);
    for round in 0..5 {
        member.put(round * 40..round * 40 + 40);
        std::thread::sleep(Duration::from_millis(1100));
        let restarted = Command::new(std::env::var("FLEET_POSTGRES_RESTART").unwrap()).arg("restart").status().unwrap();
        assert!(restarted.success());
    }
    eventually("all receipts", || fleet.receipts_of(&member.name) == 200);
    daemon.stop();
    assert_eq!(fleet.sql("SELECT count(*), count(DISTINCT seq), max(seq) FROM fleet.receipt"), "200|200|200");
    assert!(fleet.is_whole());
}
