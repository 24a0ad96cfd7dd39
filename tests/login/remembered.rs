//! A refused login is remembered: the next run does not send it again, until the secret changes or a person asks.

use super::*;

const WRONG: [&str; 2] = ["--password-file", "password"];

fn wrong() -> World {
    let world = World::with(|o| o.brute_force = None);
    secret_file(&world, "password", "wrong");
    world.put("report.pdf", "content");
    world
}

fn logins(world: &World) -> u64 {
    world.sandbox().stats().requests.get("login").copied().unwrap_or(0)
}

#[test]
fn thirty_jobs_at_once_and_thirty_more_make_one_refused_login() {
    let world = wrong();
    for _ in 0..2 {
        let jobs: Vec<_> = (0..15)
            .flat_map(|_| [&["watch", "watched", "--once"][..], &["push", "watched"]])
            .map(|command| {
                let mut job = world.command();
                job.args(command).args(WRONG).stdout(Stdio::null()).stderr(Stdio::null());
                job.spawn().unwrap()
            })
            .collect();
        for mut job in jobs {
            let code = job.wait().unwrap().code();
            // Another job of these thirty may hold the folder.
            assert!(matches!(code, Some(3 | 6)), "{code:?}");
        }
    }
    assert_eq!(logins(&world), 1);
    assert_eq!(world.files_left().len(), 1);
    let output = world.once(&WRONG);
    assert_eq!(output.code, Some(3), "{output:?}");
    for part in
        ["was refused at 2", "not tried again", "password file password", "--retry-login", "is wrong, or the account"]
    {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
}

#[test]
fn a_changed_secret_another_user_and_a_person_who_asks_are_tried() {
    let world = wrong();
    for _ in 0..2 {
        assert_eq!(world.once(&WRONG).code, Some(3));
    }
    assert_eq!(logins(&world), 1);
    assert_eq!(world.once(&[&WRONG[..], &["--retry-login"]].concat()).code, Some(3));
    assert_eq!(logins(&world), 2, "the flag tries");
    assert_eq!(world.run(["ls", "--username", "another"].iter().chain(&WRONG)).code, Some(3));
    assert_eq!(logins(&world), 3, "another user is another login");
    assert_eq!(world.run(["check"].iter().chain(&WRONG)).code, Some(3));
    assert_eq!(logins(&world), 4, "check tries");
    rotate(&world, "password", PASSWORD);
    let output = world.once_quick(&WRONG);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.once_quick(&WRONG).code, Some(0));
}

#[test]
fn an_account_that_was_mended_is_found_by_check_and_then_works_for_all() {
    let world = World::with(|o| o.brute_force = None);
    secret_file(&world, "password", "later");
    assert_eq!(world.once(&WRONG).code, Some(3));
    world.faults().add(change_password("later"));
    assert_eq!(world.once(&WRONG).code, Some(3), "nothing tells that the account was mended");
    assert_eq!(world.run(["check", "--quiet"].iter().chain(&WRONG)).code, Some(0));
    assert_eq!(world.once(&WRONG).code, Some(0));
}

#[test]
fn what_is_remembered_holds_no_secret_and_is_private_and_a_dry_run_writes_nothing() {
    let world = wrong();
    secret_file(&world, "password", "wrong-one-9");
    let remembered = || {
        let files = std::fs::read_dir(world.state().join("astran-backup")).into_iter().flatten().flatten();
        files.map(|file| file.path()).find(|path| path.to_string_lossy().contains("/login-"))
    };
    assert_eq!(world.once(&[&WRONG[..], &["--dry-run"]].concat()).code, Some(3));
    assert_eq!(remembered(), None);
    assert_eq!(world.once(&WRONG).code, Some(3));
    let file = remembered().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"refused\"") && !text.contains("wrong-one-9"), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(world.once(&[&WRONG[..], &["--dry-run"]].concat()).code, Some(3));
    assert_eq!((logins(&world), std::fs::read_to_string(&file).unwrap()), (2, text));
}

#[test]
fn the_refusal_of_a_running_daemon_counts_for_the_next_process() {
    let (world, daemon) = rotating();
    world.faults().add(change_password("another"));
    world.faults().add(at_once(Fault::Revoke));
    world.faults().add(at_once(Fault::Expire));
    world.put("after.pdf", "content");
    daemon.wait_for("UPLOADS ARE SUSPENDED");
    let before = logins(&world);
    let output = world.run(["ls"].iter().chain(&WRONG));
    assert_eq!((output.code, logins(&world)), (Some(3), before), "{output:?}");
    rotate(&world, "password", "another");
    eventually("the daemon logs in with the new secret", || world.times_stored("/HR_Backup/after.pdf") == 1);
    assert_eq!(world.run(["ls"].iter().chain(&WRONG)).code, Some(0));
    assert_eq!(daemon.stop().code, Some(0));
}
