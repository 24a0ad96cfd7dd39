//! Each run has one session, refreshed when needed and ended at the end.

use super::*;

#[test]
fn each_command_ends_its_session() {
    let world = World::new();
    world.put("report.pdf", "content");
    assert_eq!(world.run(["push", "watched/report.pdf"]).code, Some(0));
    assert_eq!(world.run(["ls", "/HR_Backup"]).code, Some(0));
    assert_eq!(world.once(&[]).code, Some(0));
    assert_eq!(world.run(["push", "watched", "--dest", "/Nowhere"]).code, Some(4));
    let daemon = world.watch(&[]);
    assert_eq!(daemon.stop().code, Some(0));
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.logouts), (5, 5));
}

#[test]
fn a_command_that_is_stopped_while_it_starts_ends_its_session_too() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Filesystem, Fault::Stall { ms: 600_000 }).always());
    for (command, code) in [("watch", 0), ("push", 130)] {
        let daemon = Daemon::start(world.command().args([command, "watched"]));
        let before = world.sandbox().stats().requests["filesystem"];
        eventually("it looks for its destination", || world.sandbox().stats().requests["filesystem"] > before);
        assert_eq!(daemon.stop().code, Some(code));
    }
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.logouts), (2, 2));
}

#[test]
fn a_logout_that_hangs_does_not_delay_a_stop() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Logout, Fault::Stall { ms: 600_000 }).always());
    let daemon = world.watch(&[]);
    let asked = Instant::now();
    assert_eq!(daemon.stop().code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "2 s for the logout, the rest for a busy machine");
}

/// A daemon whose password comes from a file, and whose session ends as soon as the fault says so.

#[test]
fn a_hundred_uploads_with_one_second_tokens_need_one_refresh_each_second() {
    let world = World::with(|o| o.token_life = Duration::from_secs(1));
    // Ten uploads at once take 400 ms, so all hundred take several lifetimes of a token.
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 400 }).always());
    for n in 0..100 {
        world.put(format!("{n:03}.pdf"), format!("content {n}"));
    }
    let start = Instant::now();
    let output = world.once(&["--transfers", "10"]);
    let lasted = start.elapsed();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.files_left().is_empty() && !output.stdout.contains("failed "), "{output:?}");
    let stats = world.sandbox().stats();
    assert_eq!((stats.uploads_stored, stats.refused_refreshes, stats.logins["password"]), (100, 0, 1));
    // The next token is fetched when a fifth of the lifetime is left.
    let most = lasted.as_millis() / 800 + 1;
    assert!(u128::from(stats.refreshes) <= most, "{} refreshes in {lasted:?}", stats.refreshes);
    assert!(stats.refreshes >= 3, "{} refreshes in {lasted:?}", stats.refreshes);
}

#[test]
fn a_long_upload_whose_token_expired_at_its_end_is_sent_again_with_a_new_one() {
    let world = World::with(|o| o.token_check = TokenCheck::AtStartAndEnd);
    let content = vec![7; 20 << 20];
    world.put("long.bin", &content);
    // The token expires while the content is being sent.
    world.faults().add(Rule::new(Call::Upload, Fault::Expire));
    let output = world.once(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/long.bin").unwrap(), content);
    let stats = world.sandbox().stats();
    assert_eq!((stats.uploads_stored, stats.refreshes), (1, 1));
    assert_eq!(world.times_stored("/HR_Backup/long.bin"), 1);
}

#[test]
fn after_a_session_ended_while_idle_the_daemon_logs_in_anew() {
    let world = World::new();
    let daemon = world.watch(&["--settle", "50ms"]);
    world.faults().add(at_once(Fault::ExpireAll));
    for n in 0..50 {
        world.put(format!("{n}.pdf"), "content");
    }
    eventually("all are stored", || world.files_left().is_empty());
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.refused_logins, stats.refused_refreshes), (2, 0, 1));
    assert!(!daemon.stop().stdout.contains("failed "));
}
