//! A running daemon whose login is refused: uploads are suspended, with clear messages, until the login is mended.

use super::*;

#[test]
fn a_rotated_password_suspends_uploads_until_the_file_has_the_new_one() {
    let (world, daemon) = rotating();
    world.faults().add(change_password("rotated"));
    world.faults().add(at_once(Fault::ExpireAll));
    for n in 0..20 {
        world.put(format!("{n}.pdf"), "content");
    }
    let line = daemon.wait_for("SUSPENDED");
    assert!(line.contains("ERROR") && line.contains("when the secret changes"), "{line}");
    assert_eq!((refused_logins(&world), world.files_left().len()), (1, 20), "one try, and nothing is deleted");
    rotate(&world, "password", "rotated\n");
    daemon.wait_for("works again");
    eventually("all are stored", || world.files_left().is_empty());
    assert!((1..=2).contains(&refused_logins(&world)));
    let output = daemon.stop();
    assert_eq!(output.code, Some(0));
    assert_eq!(output.stdout.matches("SUSPENDED").count(), 1, "reported once:\n{}", output.stdout);
    assert!(!output.stdout.contains("failed "), "no file is blamed:\n{}", output.stdout);
}

#[test]
fn sighup_makes_a_suspended_daemon_try_the_login_again() {
    let (world, daemon) = rotating();
    world.faults().add(at_once(Fault::DisableUser));
    world.faults().add(at_once(Fault::ExpireAll));
    world.put("after.pdf", "content");
    let line = daemon.wait_for("SUSPENDED");
    assert!(line.contains("have it enabled"), "{line}");
    daemon.signal("-HUP");
    daemon.wait_for("reloading");
    eventually("the reload is tried", || refused_logins(&world) == 2);
    // The account is enabled again, which the program can't notice by itself.
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("the file is stored", || world.files_left().is_empty());
    assert_eq!(refused_logins(&world), 2);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn while_the_login_is_in_trouble_a_valid_token_is_used_and_the_next_login_follows() {
    let world = World::with(|o| o.token_life = Duration::from_secs(4));
    let daemon = world.watch(&["--settle", "50ms"]);
    for call in [Call::Login, Call::Refresh] {
        world.faults().add(Rule::new(call, status(503, None)).times(6));
    }
    // During the outage a refresh is due and fails, while the token is still valid.
    for n in 0..40 {
        world.put(format!("{n}.pdf"), "content");
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("all are stored", || world.files_left().is_empty());
    let stats = world.sandbox().stats();
    assert!(stats.faults > 0, "there was an outage");
    assert_eq!((stats.refused_logins, stats.refused_refreshes), (0, 0));
    let output = daemon.stop();
    assert!(!output.stdout.contains("failed "), "{}", output.stdout);
}

#[test]
fn new_tokens_that_are_refused_suspend_uploads_without_a_storm_of_logins() {
    let world = World::new();
    let daemon = world.watch(&["--settle", "50ms"]);
    world.faults().add(Rule::new(Call::Upload, status(401, Some("{}"))).always());
    world.faults().add(Rule::new(Call::Me, status(401, Some("{}"))).always());
    for n in 0..20 {
        world.put(format!("{n}.pdf"), "content");
    }
    daemon.wait_for("SUSPENDED");
    let before = world.sandbox().stats().requests["me"];
    eventually("it is tried again", || world.sandbox().stats().requests["me"] > before);
    let stats = world.sandbox().stats();
    assert!(stats.refreshes <= 2 && stats.logins["password"] <= 2, "{stats:?}");
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("all are stored", || world.files_left().is_empty());
    assert!(!daemon.stop().stdout.contains("failed "));
}

#[test]
fn a_stop_while_uploads_are_suspended_ends_at_once() {
    let (world, daemon) = rotating();
    world.faults().add(at_once(Fault::DisableUser));
    world.faults().add(at_once(Fault::ExpireAll));
    world.put("after.pdf", "content");
    daemon.wait_for("SUSPENDED");
    let asked = Instant::now();
    let output = daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
    assert_eq!(output.code, Some(0), "a file that is left is no failure: {output:?}");
    assert_eq!(world.files_left().len(), 1);
}
