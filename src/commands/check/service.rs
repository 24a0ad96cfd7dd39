//! The steps about the service: its addresses, the login, the user, the destinations.

use super::steps::{StepResult, Steps};
use crate::astran::{Reachability, Renewal, TokenLifetimes};
use crate::commands::session::Session;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::measure::span;
use crate::vault::{RemotePath, Vault};

pub(super) async fn check(session: &Session, secrets: bool, steps: &mut Steps<'_, '_>) -> Result<(), Fatal> {
    let (api, auth) = tokio::join!(session.client.reach_api(), session.client.reach_login());
    let (api_answers, login_answers) = (api.result.is_ok(), auth.result.is_ok());
    steps.print("api address", &reached(api))?;
    steps.print("login address", &reached(auth))?;
    let login = match (secrets, login_answers) {
        (false, _) => StepResult::skipped("a secret is missing"),
        (_, false) => StepResult::skipped("its address can't be reached"),
        // There is one try only: a refused password is not sent again.
        _ => {
            session.client.log_in().await.map_or_else(|error| Fatal::from(error).into(), |l| StepResult::Fine(lives(l)))
        }
    };
    let logged_in = matches!(login, StepResult::Fine(_));
    steps.print("login", &login)?;
    let hindrance = match (logged_in, api_answers) {
        (false, _) => Some("there is no login"),
        (_, false) => Some("the API's address can't be reached"),
        _ => None,
    };
    let user = match hindrance {
        Some(why) => StepResult::skipped(why),
        None => session.client.probe().await.map_or_else(|error| Fatal::from(error).into(), StepResult::Fine),
    };
    let hindrance = hindrance.or(user.is_broken().then_some("the service does not take the login"));
    steps.print("user", &user)?;
    for dest in destinations(&session.config) {
        let found = match hindrance {
            Some(why) => StepResult::skipped(why),
            None => destination(session, &dest).await,
        };
        steps.print(&format!("destination {dest}"), &found)?;
    }
    Ok(())
}

fn reached(reached: Reachability) -> StepResult {
    match reached.result {
        Ok(detail) => StepResult::Fine(format!("{}: {detail}", reached.address)),
        Err(why) => StepResult::broken(Exit::Unreachable, format!("{}: {why}", reached.address)),
    }
}

/// Looks up a destination as `watch` does at its start, but once.
async fn destination(session: &Session, dest: &RemotePath) -> StepResult {
    match session.client.folder(dest).await {
        Ok(folder) => StepResult::Fine(format!("id {}", folder.id)),
        Err(error) => match Fatal::from(error) {
            // A folder that the user may not see counts as missing.
            fatal if fatal.exit == Exit::SomeFailed => StepResult::broken(Exit::Missing, fatal.message),
            fatal => fatal.into(),
        },
    }
}

/// All destinations, each once.
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
    let access = lives
        .access
        .map_or_else(|| "for a time that the service does not say".into(), |life| format!("for {}", span(life)));
    let refresh = match lives.renewal {
        Renewal::Login => "each is followed by another login".to_owned(),
        Renewal::Unlimited => "the session goes on until it is ended".to_owned(),
        Renewal::Within(life) => format!("the session goes on if used within {}", span(life)),
    };
    format!("access tokens live {access}, {refresh}")
}
