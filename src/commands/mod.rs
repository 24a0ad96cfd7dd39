//! The commands, a file each: what each says, in order.

pub mod check;
pub mod completions;
mod fatal;
pub mod get;
pub mod history;
pub mod history_anchor;
pub mod ls;
mod print;
pub mod push;
pub mod retry;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod session;
mod taking;
pub mod verify;
pub mod watch;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Cli, Command, Global, History, HistoryCommand};
use crate::config::{Config, Environment};
use crate::exit::{Exit, Fatal};
use crate::file::lease::LeaseBreaks;
use crate::file::lock::Locks;
use crate::journal::{Journal, Ownership};
use crate::shutdown::{self, Reloads, Shutdown, Trigger};

use history_anchor::Seen;
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
            let receipt = get::receipt(&config, service_of(&config, &global).as_deref(), &options.path).await;
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
    let journal = known_journal(&config, global).await?;
    let mut out = io::stdout();
    match command {
        Command::History(typed @ History { command: Some(HistoryCommand::Anchor), .. }) => {
            if typed.asks() {
                return Err(Fatal::new(Exit::Usage, "history anchor goes with no other flag of history"));
            }
            let folder = history_anchor::folder(&config, journal.last_anchor().await?.as_ref())?;
            looking(config, global, shutdown, async |vault| {
                history_anchor::run(&journal, vault, &folder, global.json, &mut io::stdout()).await
            })
            .await
        }
        Command::History(typed) if typed.check => {
            let claims = history_anchor::claims(&typed.against)?;
            let report = journal.check().await?;
            history::tell_local(&report, global.json, &mut out)?;
            let seen = if !claims.is_empty() {
                history_anchor::against(&journal, claims).await?
            } else if typed.offline {
                Seen::not_compared("--offline was given")
            } else {
                history_anchor::vault(&journal, config, global, shutdown).await?
            };
            history::tell_check(&report, &seen, global.json, &mut out)
        }
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
async fn local_parts(config: &Config, global: &Global) -> Result<(Journal, Arc<Locks>, LeaseBreaks), Fatal> {
    let breaks = LeaseBreaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    if !global.sandbox() {
        // What is uploaded belongs to somebody.
        config.login()?;
    }
    // It sees that the state directory is there, and ours.
    let journal = open_journal(config, global).await?;
    let locks = Locks::open(&config.state_dir).map_err(|error| {
        let state = config.state_dir.display();
        Fatal::new(Exit::SomeFailed, format!("the locks in the state directory {state} can't be used: {error}"))
    })?;
    Ok((journal, locks, breaks))
}

/// The service that receipts are of, in words; `None` where the configuration names none.
fn service_of(config: &Config, global: &Global) -> Option<String> {
    if global.sandbox() {
        // It has a state of its own; where it listens changes with each run.
        return Some("the sandbox".to_owned());
    }
    let (service, login) = (&config.service, config.login.as_ref()?);
    let named = format!("{} (realm {}, user {})", service.api_url, service.realm, login.user());
    (!service.leads_nowhere()).then_some(named)
}

/// The journal of the configured service: the receipts of one must never count for another. Where none is configured, the only one.
async fn open_journal(config: &Config, global: &Global) -> Result<Journal, Fatal> {
    let Some(service) = service_of(config, global) else { return only_journal(&config.state_dir).await };
    let (journal, opened) = Journal::open_for(&config.state_dir, &service).await?;
    let state = config.state_dir.display();
    match opened {
        Ownership::Own => {}
        Ownership::Claimed => tracing::warn!(
            "the receipts in {state} don't say which service they are of; from now on they are those of {service}"
        ),
        Ownership::Separate => tracing::warn!(
            "the receipts in {state} are of another service; {service} gets a journal of its own there, and what the other one has \
             does not count for it"
        ),
    }
    Ok(journal)
}

/// The same for commands that only look: they make none beside that of another service, for most likely a name was mistyped.
async fn known_journal(config: &Config, global: &Global) -> Result<Journal, Fatal> {
    if let Some(service) = service_of(config, global)
        && Journal::find(&config.state_dir, &service).await?.is_none()
    {
        let all = Journal::all(&config.state_dir)?;
        if !all.is_empty() {
            let (state, known) = (config.state_dir.display(), services(&all).await?);
            let why = format!("{state} has no receipts of {service}, but those of {known}: name the one that you mean");
            return Err(Fatal::new(Exit::Usage, why));
        }
    }
    open_journal(config, global).await
}

async fn services(journals: &[Journal]) -> Result<String, Fatal> {
    let mut named = Vec::new();
    for journal in journals {
        named.push(journal.service().await?.unwrap_or_else(|| "a service that they don't name".to_owned()));
    }
    Ok(named.join("; "))
}

/// Where nobody says which service is meant, there must be one journal only.
async fn only_journal(state_dir: &Path) -> Result<Journal, Fatal> {
    let mut all = Journal::all(state_dir)?;
    if all.len() > 1 {
        let (state, named) = (state_dir.display(), services(&all).await?);
        return Err(Fatal::new(
            Exit::Usage,
            format!(
                "{state} has the receipts of several services ({named}): say which with --realm, --client-id and --username, and \
                 with --api-url where it does not follow from the realm, or name a configuration"
            ),
        ));
    }
    all.pop().map_or_else(|| Ok(Journal::open(state_dir)?), Ok)
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
