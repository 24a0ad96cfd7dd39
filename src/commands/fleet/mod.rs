//! `fleet`: the database that has the receipts of many machines.

mod check;
mod checkpoint;
mod members;
mod search;
mod status;

use super::context::Context;
use super::output::Output;
use crate::cli::FleetCommand;
use crate::config::{Config, Fleet};
use crate::exit::{Exit, Fatal};
use crate::fleet::{self, FleetError, Session};

pub(super) use search::history;

pub(super) async fn command(context: Context, typed: FleetCommand, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    match typed {
        FleetCommand::Migrate => migrate(&person(&context.config).await?, out).await,
        FleetCommand::Enroll { name, dept } => {
            members::enroll(&person(&context.config).await?, &name, &dept, out).await
        }
        FleetCommand::Join { token } => members::join(&context, &token, out).await,
        FleetCommand::Retire { name } => members::retire(&person(&context.config).await?, &name, out).await,
        FleetCommand::Status => status::run(&person(&context.config).await?, out).await,
        FleetCommand::Checkpoint { offline } => {
            let session = person(&context.config).await?;
            Box::pin(checkpoint::run(context, &session, offline, out)).await
        }
        FleetCommand::Check => check::run(&person(&context.config).await?, out).await,
    }
}

/// The connection of a person.
async fn person(config: &Config) -> Result<Session, Fatal> {
    Ok(Session::of_person(configured(config)?).await?)
}

fn configured(config: &Config) -> Result<&Fleet, Fatal> {
    config.fleet.as_ref().ok_or_else(|| {
        Fatal::new(
            Exit::Usage,
            "no fleet's database is configured: add database = \"postgres://admin@db.example/fleet\" under [fleet], or set \
             ASTRAN_BACKUP_FLEET_DATABASE",
        )
    })
}

async fn migrate(session: &Session, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let (before, now) = fleet::migrate(session).await?;
    let text = if before == now {
        format!("the database has version {now} already; the partitions of the next two years are there")
    } else {
        format!("the database was brought from version {before} to version {now}")
    };
    out.print(&members::MemberEvent { action: "migrated", host: None, dept: None, token: None }, || text)?;
    Ok(Exit::Done)
}

impl From<FleetError> for Fatal {
    fn from(error: FleetError) -> Self {
        let exit = match &error {
            FleetError::Unreachable { .. } | FleetError::NoAnswer { .. } => Exit::Unreachable,
            FleetError::LoginRefused { .. } => Exit::LoginRefused,
            FleetError::Settings(_) | FleetError::NotJoined | FleetError::Version(_) => Exit::Usage,
            FleetError::Journal(journal) => return journal.clone().into(),
            _ => Exit::SomeFailed,
        };
        Self::new(exit, error.to_string())
    }
}
