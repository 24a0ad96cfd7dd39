//! A client that logs in for itself, or with a secret of its own.

use super::*;

fn client_credentials(world: &World, secret: &str) -> std::process::Command {
    secret_file(world, "client-secret", secret);
    let config = "[login]\ngrant = \"client_credentials\"\nclient_secret_file = \"client-secret\"\n";
    secret_file(world, "config.toml", config);
    let mut command = world.command();
    command.args(["--config", "config.toml", "watch", "watched", "--once"]);
    command
}

#[test]
fn a_client_can_log_in_for_itself() {
    let world = World::with(|o| (o.client_secret, o.direct_access) = (Some("hush".into()), false));
    world.put("report.pdf", "content");
    let done = run_to_end(client_credentials(&world, "hush").env_remove("ASTRAN_BACKUP_USERNAME"));
    assert_eq!(done.code, Some(0), "{done:?}");
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["client_credentials"], stats.logins["password"]), (1, 0));

    world.put("second.pdf", "content");
    let refused = run_to_end(&mut client_credentials(&world, "wrong"));
    refused_once_more(&world, &refused, "check login.client_secret_file");
}

#[test]
fn a_confidential_client_sends_its_secret_with_the_users_password() {
    let world = World::with(|o| o.client_secret = Some("hush".into()));
    secret_file(&world, "client-secret", "hush\n");
    secret_file(&world, "config.toml", "[login]\nclient_secret_file = \"client-secret\"\n");
    world.put("report.pdf", "content");
    let output = world.run(["--config", "config.toml", "watch", "watched", "--once"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().stats().logins["password"], 1);
}
