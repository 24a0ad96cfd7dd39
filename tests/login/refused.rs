//! Refusals are final at once, and each says what to mend.

use super::*;

#[test]
fn each_refusal_ends_a_run_with_its_sentence_after_one_try() {
    type Change = fn(&mut Options);
    type Row = (Change, Option<Fault>, (&'static str, &'static str), &'static str);
    let same: Change = |_| ();
    let none = ("UNUSED", "");
    let rows: [Row; 9] = [
        (same, None, ("ASTRAN_BACKUP_PASSWORD", "wrong"), "is wrong, or the account is locked"),
        (|o| o.refused_password = 401, None, ("ASTRAN_BACKUP_PASSWORD", "wrong"), "is wrong, or the account is locked"),
        (same, None, ("ASTRAN_BACKUP_USERNAME", "nobody"), "the password of user `nobody` is wrong"),
        (same, Some(Fault::Lock { ms: 600_000 }), none, "or the account is locked for a while"),
        (same, Some(Fault::DisableUser), none, "is disabled: have it enabled"),
        (same, Some(Fault::RequireAction), none, "is not fully set up: log in once with a browser"),
        (same, None, ("ASTRAN_BACKUP_CLIENT_ID", "other"), "the client `other` is not known in realm `sandbox`"),
        (|o| o.client_secret = Some("hush".into()), None, none, "is wrong or missing: check login.client_secret_file"),
        (|o| o.direct_access = false, None, none, "may not log in with a user's password"),
    ];
    for (change, fault, environment, sentence) in rows {
        let (world, output) = once_with(change, fault, environment);
        refused_once(&world, &output, sentence);
    }
}

#[test]
fn a_password_file_that_others_can_read_is_refused_before_any_login() {
    let world = World::new();
    let file = secret_file(&world, "password", PASSWORD);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [["watch", "watched"], ["push", "watched"]] {
        let output = world.run(arguments.iter().chain(&["--password-file", "password"]));
        assert!(output.code == Some(2) && output.stderr.contains("chmod 600"), "{output:?}");
    }
    assert_eq!(world.sandbox().stats().requests["login"], 0);
}

#[test]
fn a_realm_that_is_unknown_or_disabled_ends_a_run_after_one_try() {
    let (world, output) = once_with(|_| (), None, ("ASTRAN_BACKUP_REALM", "nope"));
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains("there is no realm `nope`"), "{output:?}");
    assert_eq!(world.files_left().len(), 1);

    let world = World::new();
    let body = r#"{"error":"access_denied","error_description":"Realm not enabled"}"#;
    world.faults().add(Rule::new(Call::Login, status(403, Some(body))).always());
    let output = world.once(&[]);
    assert_eq!((output.code, world.sandbox().stats().requests["login"]), (Some(3), 1), "{output:?}");
    assert!(output.stderr.contains("the realm `sandbox` is disabled"), "{output:?}");
}

#[test]
fn trouble_of_the_login_service_is_no_refusal_and_is_waited_for() {
    let html = Fault::Garbage { body: Garbage::Html, carried_out: false };
    let page = Fault::Status {
        status: 403,
        retry_after: None,
        body: Some("<html>blocked</html>".into()),
        content_type: Some("text/html".into()),
        carried_out: false,
    };
    for fault in [status(503, None), status(429, None), html, page] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Login, fault));
        world.put("report.pdf", "content");
        let output = world.once(&[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(world.stored("/HR_Backup/report.pdf").is_some());
        assert_eq!(world.sandbox().stats().refused_logins, 0);
    }
}
