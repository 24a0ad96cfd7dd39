//! The service: its addresses, the login, the user, the destinations.

use std::io::Write;
use std::time::Duration;

use super::report::{Report, Verdict};
use crate::astran::{Reachability, Renewal, TokenLifetimes};
use crate::commands::session::Session;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::vault::{RemotePath, Vault};

pub(super) async fn check<W: Write>(session: &Session, secrets: bool, report: &mut Report<'_, W>) -> Result<(), Fatal> {
    let (api, auth) = tokio::join!(session.client.reach_api(), session.client.reach_login());
    let (api_answers, login_answers) = (api.result.is_ok(), auth.result.is_ok());
    report.tell("api address", &reached(api))?;
    report.tell("login address", &reached(auth))?;
    let login = match (secrets, login_answers) {
        (false, _) => Verdict::skipped("a secret is missing"),
        (_, false) => Verdict::skipped("its address can't be reached"),
        // One try: a refused password is not tried again by anybody here.
        _ => session.client.log_in().await.map_or_else(|error| Fatal::from(error).into(), |l| Verdict::Fine(lives(l))),
    };
    let logged_in = matches!(login, Verdict::Fine(_));
    report.tell("login", &login)?;
    let hindrance = match (logged_in, api_answers) {
        (false, _) => Some("there is no login"),
        (_, false) => Some("the API's address can't be reached"),
        _ => None,
    };
    let user = match hindrance {
        Some(why) => Verdict::skipped(why),
        None => session.client.probe().await.map_or_else(|error| Fatal::from(error).into(), Verdict::Fine),
    };
    let hindrance = hindrance.or(user.is_broken().then_some("the service does not take the login"));
    report.tell("user", &user)?;
    for dest in destinations(&session.config) {
        let found = match hindrance {
            Some(why) => Verdict::skipped(why),
            None => destination(session, &dest).await,
        };
        report.tell(&format!("destination {dest}"), &found)?;
    }
    Ok(())
}

fn reached(reached: Reachability) -> Verdict {
    match reached.result {
        Ok(detail) => Verdict::Fine(format!("{}: {detail}", reached.address)),
        Err(why) => Verdict::broken(Exit::Unreachable, format!("{}: {why}", reached.address)),
    }
}

/// As `watch` looks for it at its start, but once.
async fn destination(session: &Session, dest: &RemotePath) -> Verdict {
    match session.client.folder(dest).await {
        Ok(folder) => Verdict::Fine(format!("id {}", folder.id)),
        Err(error) => match Fatal::from(error) {
            // A folder that one may not see is as good as missing.
            fatal if fatal.exit == Exit::SomeFailed => Verdict::broken(Exit::Missing, fatal.message),
            fatal => fatal.into(),
        },
    }
}

/// All places that files are to go to, each once.
fn destinations(config: &Config) -> Vec<RemotePath> {
    let mut all: Vec<RemotePath> = Vec::new();
    let folders = config.folders.iter().map(|folder| &folder.policy);
    for dest in folders.chain([&config.upload]).filter_map(|policy| policy.dest.clone()) {
        if !all.contains(&dest) {
            all.push(dest);
        }
    }
    all
}

fn lives(lives: TokenLifetimes) -> String {
    let time = |life: Duration| humantime::format_duration(life).to_string();
    let access =
        lives.access.map_or_else(|| "for a time that is not told".into(), |life| format!("for {}", time(life)));
    let refresh = match lives.renewal {
        Renewal::Login => "each is followed by another login".to_owned(),
        Renewal::Unlimited => "the session goes on until it is ended".to_owned(),
        Renewal::Within(life) => format!("the session goes on if used within {}", time(life)),
    };
    format!("access tokens live {access}, {refresh}")
}
