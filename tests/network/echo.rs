//! A server whose error pages repeat what was sent, in many forms: no secret may show in the output, the log or the journal.

use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::between::{Between, Done, Request, answer, json};
use crate::support::{World, run_to_end};

const PASSWORD: &str = "pä5 \"w&o'/<r>+d%\\x";
const CLIENT_SECRET: &str = "cl1 \"e&n't/<s>+%e";
const ACCESS: &str = "acc3ss/t0k+en=.~A/l0ng";
const REFRESH: &str = "refr3sh/t0k+en=.~R/l0ng";
const SECRETS: [&str; 4] = [PASSWORD, CLIENT_SECRET, ACCESS, REFRESH];

type Form = (&'static str, fn(&str) -> String);

/// The forms in which a server may repeat what was sent.
const FORMS: [Form; 13] = [
    ("plain", str::to_owned),
    ("percent", |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()),
    ("percent in small letters", |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().to_lowercase()),
    ("each byte", |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect()),
    ("form", |text| url::form_urlencoded::byte_serialize(text.as_bytes()).collect()),
    ("base64", |text| STANDARD.encode(text)),
    ("base64 of a pair", |text| STANDARD.encode(format!("x:{text}"))),
    ("base64 of a header", |text| STANDARD.encode(format!("Bearer {text}"))),
    ("base64 for addresses", |text| URL_SAFE_NO_PAD.encode(text)),
    ("hexadecimal", |text| text.bytes().map(|byte| format!("{byte:02x}")).collect()),
    ("JSON", |text| serde_json::to_string(text).unwrap()),
    ("page", page),
    ("page in percent", |text| page(&utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace('%', "&#37;"))),
];

fn page(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#x27;")
}

/// What the server repeats, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Login,
    Refresh,
    Look,
    Upload,
    /// As the name of the document that the server claims to have stored.
    Name,
}

/// A service with one folder, which repeats each secret of a request in this form.
fn service(world: &World, place: Where, form: Form, as_page: bool) -> Between {
    Between::start(world, move |request, client| {
        if request.path.ends_with("/logout") {
            return json(client, "204 No Content", "");
        }
        if request.is_login() {
            let refreshes = request.body.windows(13).any(|part| part == b"refresh_token");
            if place == Where::Login || (place == Where::Refresh && refreshes) {
                return repeat(client, "400 Bad Request", request, form, as_page);
            }
            // So short a lifetime that the next call needs another token.
            let life = if place == Where::Refresh { 1 } else { 300 };
            let token = serde_json::json!({
                "access_token": ACCESS, "refresh_token": REFRESH, "expires_in": life, "refresh_expires_in": 1800,
                "token_type": "Bearer",
            });
            return json(client, "200 OK", &token.to_string());
        }
        if request.is_upload() {
            return match place {
                Where::Upload => repeat(client, "400 Bad Request", request, form, as_page),
                Where::Name => {
                    let name = format!("{} {}", form.1(ACCESS), form.1(REFRESH));
                    json(client, "201 Created", &serde_json::json!({"ID": "7", "name": name}).to_string())
                }
                _ => json(client, "201 Created", r#"{"ID":"7"}"#),
            };
        }
        if place == Where::Look {
            return repeat(client, "403 Forbidden", request, form, as_page);
        }
        if request.path.ends_with("/users/me") {
            return json(client, "200 OK", r#"{"username":"me","member":{"rootDocumentId":"1"}}"#);
        }
        if request.is_listing() {
            return json(client, "200 OK", "[]");
        }
        json(client, "200 OK", r#"{"ID":"2","name":"HR_Backup","isFolder":true}"#)
    })
}

/// An error that repeats all secrets of the request in this form, one after the other.
fn repeat(to: &mut TcpStream, status: &str, request: &Request, form: Form, as_page: bool) -> Done {
    let refreshes = request.body.windows(13).any(|part| part == b"refresh_token");
    let secrets: &[&str] = match (request.is_login(), refreshes) {
        (true, false) => &[PASSWORD, CLIENT_SECRET],
        (true, true) => &[REFRESH, CLIENT_SECRET, PASSWORD],
        (false, _) => &[ACCESS],
    };
    let text = secrets.iter().map(|secret| form.1(secret)).collect::<Vec<_>>().join(" ; ");
    if as_page {
        let body = format!("<html><head><title>you sent {text}</title></head></html>");
        return answer(to, status, "text/html", body.as_bytes());
    }
    let output = serde_json::json!({"error": "invalid_request", "error_description": format!("you sent {text}")});
    json(to, status, &output.to_string())
}

/// All that a run leaves: its output, and the files in its state folder.
fn run(world: &World, service: &Between, arguments: &[&str]) -> Vec<u8> {
    // Each service has a journal of its own.
    let state = tempfile::tempdir_in(world.dir.path()).unwrap();
    let mut command = service.command(world);
    command.arg("--state-dir").arg(state.path());
    command.args(arguments).args(["-vv", "--config", "config.toml"]).env("RUST_LOG", "trace");
    command.env("ASTRAN_BACKUP_PASSWORD", PASSWORD).env("RUST_BACKTRACE", "1");
    let ended = run_to_end(&mut command);
    let mut all = format!("{}\n{}\n", ended.stdout, ended.stderr).into_bytes();
    for file in walkdir::WalkDir::new(state.path()).into_iter().map_while(Result::ok) {
        all.extend(std::fs::read(file.path()).unwrap_or_default());
    }
    all
}

fn holds(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Regression: the password was shown in 9 of 161 runs, a token in 65, in 6 of them in the journal.
#[test]
fn no_secret_comes_out_in_whatever_form_a_server_repeats_it() {
    let places = [Where::Login, Where::Refresh, Where::Look, Where::Upload, Where::Name];
    let all: Vec<_> = places.into_iter().flat_map(|place| FORMS.map(|form| (place, form))).collect();
    let jobs = Arc::new(Mutex::new(all));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let jobs = Arc::clone(&jobs);
            scope.spawn(move || {
                let world = World::new();
                configure(&world);
                loop {
                    let Some((place, form)) = jobs.lock().unwrap().pop() else { return };
                    try_one(&world, place, form, false);
                    // A page as the answer to an upload is trouble of a proxy, so the program waits and tries again.
                    if !matches!(place, Where::Upload | Where::Name) {
                        try_one(&world, place, form, true);
                    }
                }
            });
        }
    });
}

/// With a client that has a secret of its own.
fn configure(world: &World) {
    let mut options = std::fs::OpenOptions::new();
    let secret = options.write(true).create_new(true).mode(0o600).open(world.dir.path().join("client-secret"));
    std::io::Write::write_all(&mut secret.unwrap(), CLIENT_SECRET.as_bytes()).unwrap();
    world.configure("[login]\nclient_secret_file = \"client-secret\"\n");
    world.put("report", "content");
}

fn try_one(world: &World, place: Where, form: Form, as_page: bool) {
    let service = service(world, place, form, as_page);
    let commands: &[&[&str]] = match place {
        Where::Login => &[&["ls"]],
        Where::Refresh | Where::Look => &[&["ls", "/HR_Backup"]],
        Where::Upload | Where::Name => &[&["push", "watched"]],
    };
    for arguments in commands {
        let all = run(world, &service, arguments);
        assert!(!service.requests().is_empty());
        for secret in SECRETS {
            for (name, write) in FORMS {
                let text = write(secret);
                let what = format!("{place:?} in {}, page {as_page}: {name} of {secret:?}", form.0);
                assert!(!holds(&all, &text), "{what}: {}", String::from_utf8_lossy(&all[..all.len().min(4000)]));
            }
        }
    }
}
