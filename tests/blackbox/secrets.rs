//! Nothing of the password or the tokens is ever printed, at whatever log level.

use astran_backup::sandbox::faults::{Call, Fault, Garbage, Rule};

use crate::support::{Output, World, run_to_end};

const PASSWORD: &str = "pässwörd & 100% \"secret\"";

/// Asserts that the output shows no secret: neither the password, plain or encoded as in a form, nor the names of token fields.
#[track_caller]
fn shows_no_secret(output: &Output) {
    let encoded = url::form_urlencoded::byte_serialize(PASSWORD.as_bytes()).collect::<String>();
    for secret in [PASSWORD, "pässwörd", &encoded, "p%C3%A4ssw", "Bearer", "bearer", "access_token", "refresh_token"]
    {
        assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{secret:?} in {output:?}");
    }
}

fn world() -> World {
    let world = World::with(|options| options.password = PASSWORD.into());
    world.put("file", "content");
    world
}

/// Runs the program with all logging on, of libraries too.
fn loud(world: &World, arguments: &[&str]) -> Output {
    run_to_end(world.command().env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1").args(arguments).arg("-vv"))
}

#[test]
fn no_output_of_a_good_run_holds_a_secret() {
    let world = world();
    world.faults().add(Rule::new(Call::Upload, Fault::Expire));
    for arguments in [
        &["watch", "watched", "--once", "--keep", "--settle", "50ms"][..],
        &["push", "watched", "--json", "--log-format", "json"],
        &["ls"],
        &["get", "/HR_Backup/file", "-o", "-"],
        &["history"],
    ] {
        let output = loud(&world, arguments);
        assert_eq!(output.code, Some(0), "{output:?}");
        shows_no_secret(&output);
    }
}

#[test]
fn no_output_of_a_refused_login_or_a_bad_answer_holds_a_secret() {
    let spoilt = Fault::Garbage { body: Garbage::Truncated, carried_out: true };
    let html = Fault::Garbage { body: Garbage::Html, carried_out: false };
    for fault in [spoilt, html, Fault::DisableUser, Fault::CutAfter, Fault::Redirect { to: "http://[::1]:1/".into() }] {
        let world = world();
        world.faults().add(Rule::new(Call::Login, fault).always());
        let output = loud(&world, &["ls"]);
        assert!(matches!(output.code, Some(3 | 5)), "{output:?}");
        shows_no_secret(&output);
    }
}

#[test]
fn no_file_of_the_state_folder_holds_the_password() {
    let world = world();
    assert_eq!(world.once_quick(&[]).code, Some(0));
    for file in crate::support::files_below(&world.state()) {
        let bytes = std::fs::read(world.state().join(&file)).unwrap();
        let holds = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!holds, "{file:?}");
    }
}
