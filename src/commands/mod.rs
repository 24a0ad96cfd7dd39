//! The commands, a file each: what each says, in order.

pub mod check;
pub mod completions;
pub mod get;
pub mod history;
pub mod ls;
mod print;
pub mod push;
pub mod retry;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod session;
#[cfg(test)]
mod shelf;
pub mod verify;
pub mod watch;

use std::io;

use crate::cli::{Cli, Command, Global};
use crate::config::{Config, Environment};
use crate::exit::{Exit, Fatal};
use crate::file::lease::Breaks;
use crate::journal::{Journal, JournalError};
use crate::shutdown::{self, Reloads, Shutdown, Trigger};

#[cfg(feature = "fuzzing")]
pub(crate) use print::told;
use session::Session;

/// Runs the command that was typed.
pub async fn run(cli: Cli, environment: Environment) -> Result<Exit, Fatal> {
    if let Some(exit) = alone(&cli.command)? {
        return Ok(exit);
    }
    if matches!(cli.command, Command::Check) {
        return check::run(&cli, &environment, signals()?.1).await;
    }
    let config = Config::load(&cli, &environment)?;
    let (trigger, shutdown) = signals()?;
    let Cli { global, command } = cli;
    match command {
        #[cfg(feature = "sandbox")]
        Command::Sandbox(typed) => sandbox::run(&typed, global.json, shutdown).await,
        Command::Watch(typed) => {
            let reloads = if typed.once { Reloads::never() } else { hangups(trigger)? };
            watch::run(config, &global, typed.once, shutdown, reloads).await
        }
        Command::Push(typed) => push::run(config, &global, &typed, shutdown).await,
        Command::Ls(typed) => {
            let options = ls::Options { path: typed.path, json: global.json };
            looking(config, &global, shutdown, async |vault| ls::run(vault, &options, &mut io::stdout()).await).await
        }
        Command::Get(typed) => {
            let options = get::Options::from(typed);
            let receipt = get::receipt(&config, &options.path).await;
            let receipt = receipt.as_ref();
            looking(config, &global, shutdown, async |vault| {
                get::run(vault, &options, receipt, &mut io::stdout()).await
            })
            .await
        }
        other => of_receipts(other, config, &global, shutdown).await,
    }
}

/// The commands about receipts.
async fn of_receipts(command: Command, config: Config, global: &Global, shutdown: Shutdown) -> Result<Exit, Fatal> {
    let journal = open_journal(&config)?;
    let mut out = io::stdout();
    match command {
        Command::History(typed) if typed.check => history::check(&journal, global.json, &mut out).await,
        Command::History(typed) => {
            if let Some(age) = typed.prune_before {
                return history::prune(&journal, age, &mut out).await;
            }
            let name = typed.name.map(|name| name.to_string_lossy().into_owned());
            let options = history::Options {
                json: global.json,
                failed: typed.failed,
                pending: typed.pending,
                since: typed.since,
                name,
            };
            history::run(&journal, &options, &mut out).await
        }
        Command::Verify(typed) => {
            claim_journal(&journal, &config, global).await?;
            let options = verify::Options { json: global.json, since: typed.since };
            looking(config, global, shutdown, async |vault| {
                verify::run(&journal, vault, &options, &mut io::stdout()).await
            })
            .await
        }
        Command::Retry(typed) => retry::run(&journal, &typed.paths, &mut out).await,
        other => Err(Fatal::new(Exit::Usage, format!("{other:?} is no command about receipts"))),
    }
}

/// What uploading needs beside the service.
fn local_parts(config: &Config) -> Result<(Journal, Breaks), Fatal> {
    let breaks = Breaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    Ok((open_journal(config)?, breaks))
}

/// Has the journal belong to the configured service: the receipts of one must never count for another.
async fn claim_journal(journal: &Journal, config: &Config, global: &Global) -> Result<(), Fatal> {
    let service = if global.sandbox() {
        // It has a state of its own; where it listens changes with each run.
        "the sandbox".to_owned()
    } else {
        let (service, login) = (&config.service, config.login()?);
        format!("{} (realm {}, user {})", service.api_url, service.realm, login.user())
    };
    let state = config.state_dir.display();
    match journal.claim(&service).await {
        Ok(true) => tracing::warn!(
            "the receipts in {state} don't say which service they are of; from now on they are those of {service}"
        ),
        Ok(false) => {}
        Err(JournalError::Refused(why)) => {
            let mend = "give each service a state of its own with --state-dir";
            return Err(Fatal::new(Exit::Usage, format!("the journal in {state} can't be used: {why}; {mend}")));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn open_journal(config: &Config) -> Result<Journal, Fatal> {
    Ok(Journal::open(&config.state_dir)?)
}

/// The commands that need no configuration.
fn alone(command: &Command) -> Result<Option<Exit>, Fatal> {
    match command {
        Command::Completions(typed) => completions::completions(typed.shell, &mut io::stdout())?,
        Command::Man(typed) => completions::man(typed.command.as_deref(), &mut io::stdout())?,
        _ => return Ok(None),
    }
    Ok(Some(Exit::Done))
}

/// A command that only looks: logs in, looks, ends its session; a signal ends it at once.
async fn looking(
    config: Config,
    global: &Global,
    mut shutdown: Shutdown,
    look: impl AsyncFnOnce(&crate::astran::Client) -> Result<Exit, Fatal>,
) -> Result<Exit, Fatal> {
    let session = Session::open(config, global).await?;
    let ended = tokio::select! {
        ended = look(&session.client) => ended,
        () = shutdown.reached(shutdown::Stop::Gently) => Ok(Exit::Interrupted),
    };
    session.close().await;
    ended
}

fn signals() -> Result<(Trigger, Shutdown), Fatal> {
    let (trigger, shutdown) = shutdown::channel();
    shutdown::on_signals(trigger.clone()).map_err(|error| no_signals(&error))?;
    Ok((trigger, shutdown))
}

fn hangups(trigger: Trigger) -> Result<Reloads, Fatal> {
    shutdown::on_hangup(trigger).map_err(|error| no_signals(&error))
}

fn no_signals(error: &io::Error) -> Fatal {
    Fatal::new(Exit::SomeFailed, format!("signals can't be taken: {error}"))
}
