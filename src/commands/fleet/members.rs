//! `fleet enroll`, `join` and `retire`.

use std::io::{Read as _, Write as _};
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::configured;
use crate::budget;
use crate::commands::context::Context;
use crate::commands::journals;
use crate::commands::output::Output;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::fleet::{self, FleetError, Session, Token};
use crate::printable::printable;
use crate::removal::AtomicFile;

/// The fleet's members, or the fleet itself, were changed.
#[derive(Serialize)]
pub(super) struct MemberEvent<'a> {
    /// `migrated`, `enrolled`, `joined` or `retired`.
    pub(super) action: &'static str,
    pub(super) host: Option<&'a str>,
    pub(super) dept: Option<&'a str>,
    /// What `fleet join` takes: a secret.
    pub(super) token: Option<&'a str>,
}

impl Event for MemberEvent<'_> {
    const TYPE: &'static str = "fleet_member";
}

pub(super) async fn enroll(session: &Session, name: &str, dept: &str, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let enrolled = fleet::enroll(session, name, dept).await?;
    let text = enrolled.token.text();
    let host = &enrolled.token.host;
    let event =
        MemberEvent { action: "enrolled", host: Some(host), dept: Some(dept), token: Some(text.expose_secret()) };
    out.print(&event, || {
        let again = if enrolled.again { " again, with a new chain of receipts" } else { "" };
        format!(
            "{host} is enrolled{again}. On that machine, with `database` under [fleet], run this once; the token is a secret until then:\n\
             astran-backup fleet join {}",
            text.expose_secret()
        )
    })?;
    Ok(Exit::Done)
}

pub(super) async fn retire(session: &Session, name: &str, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    fleet::retire(session, name).await?;
    let event = MemberEvent { action: "retired", host: Some(name), dept: None, token: None };
    out.print(&event, || format!("{} is retired: its login is closed, and its receipts stay", printable(name)))?;
    Ok(Exit::Done)
}

pub(super) async fn join(context: &Context, token: &str, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let fleet = configured(&context.config)?;
    let token = Token::parse(given(token).await?.expose_secret())?;
    // The journal makes the state folder, in which the password is kept unless another place is configured.
    let journal = journals::open(&context.config, &context.global).await?;
    let place = fleet.password.path().map(Path::to_owned);
    let keep = async |password: &SecretString| {
        let (place, password) = (place.clone(), password.clone());
        let kept = spawn_blocking(move || write(place.as_deref(), &password)).await;
        kept.unwrap_or_else(|error| Err(FleetError::Settings(format!("the password can't be written: {error}"))))
    };
    let before = fleet::join(fleet, &token, &journal, keep).await?;
    let event = MemberEvent { action: "joined", host: Some(&token.host), dept: None, token: None };
    out.print(&event, || {
        let (host, password) = (&token.host, fleet.password.describe());
        if before {
            format!("{host} has joined already, with this journal's key; its {password} works")
        } else {
            format!("{host} has joined: the key of its journal is pinned, and its password is in the {password}. `watch` ships the receipts")
        }
    })?;
    Ok(Exit::Done)
}

/// The token, from the command line or from standard input.
async fn given(token: &str) -> Result<SecretString, Fatal> {
    if token != "-" {
        return Ok(token.into());
    }
    let reading = spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().take(budget::FLEET_TOKEN).read_to_string(&mut text).map(|_| SecretString::from(text))
    });
    let read = reading.await.map_err(Fatal::internal)?;
    read.map_err(|error| Fatal::new(Exit::Usage, format!("the token can't be read from standard input: {error}")))
}

/// Writes the password for its owner alone, whole or not at all. Blocks.
fn write(place: Option<&Path>, password: &SecretString) -> Result<(), FleetError> {
    let Some(place) = place else {
        return Err(FleetError::Settings("the password of the fleet's database can only be kept in a file".into()));
    };
    let written = AtomicFile::create(place).and_then(|mut file| {
        file.write_all(password.expose_secret().as_bytes())?;
        file.persist(true)
    });
    written.map_err(|error| {
        FleetError::Settings(format!(
            "the password file {} can't be written: {error}; this host has not joined",
            place.display()
        ))
    })
}
