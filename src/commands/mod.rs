//! The commands, a module for each.

mod awaited;
mod check;
mod completions;
mod context;
mod dry_run;
mod fatal;
mod get;
pub mod history;
mod journals;
mod ls;
mod open_folders;
mod print;
mod push;
pub mod retry;
#[cfg(feature = "sandbox")]
mod sandbox;
mod session;
mod take_folder;
pub mod verify;
mod watch;

use std::io;

use tracing::Instrument as _;

use crate::budget;
use crate::cli::{Cli, Command};
use crate::config::{Config, Environment};
use crate::exit::{Exit, Fatal};
use crate::shutdown::{self, Reloads, Shutdown, Trigger};

use context::Context;
#[cfg(feature = "fuzzing")]
pub(crate) use print::line;

/// Runs the command that was typed.
pub async fn run(cli: Cli, environment: Environment) -> Result<Exit, Fatal> {
    let span = tracing::info_span!("run", command = cli.command.name());
    dispatch(cli, environment).instrument(span).await
}

async fn dispatch(cli: Cli, environment: Environment) -> Result<Exit, Fatal> {
    match &cli.command {
        Command::Completions(typed) => {
            return completions::completions(typed.shell, &mut io::stdout()).map(|()| Exit::Done);
        }
        Command::Man(typed) => {
            return completions::man(typed.command.as_deref(), &mut io::stdout()).map(|()| Exit::Done);
        }
        Command::Check => {
            let loaded = load(&cli, environment).await;
            return check::run(loaded, &cli.global, signals()?.1).await;
        }
        _ => {}
    }
    let config = load(&cli, environment).await?;
    let (trigger, shutdown) = signals()?;
    let Cli { global, command } = cli;
    let context = Context { config, global, shutdown };
    match command {
        #[cfg(feature = "sandbox")]
        Command::Sandbox(typed) => sandbox::run(&typed, context.global.json, context.shutdown).await,
        Command::Watch(typed) if typed.dry_run => dry_run::watch(context, typed.once).await,
        Command::Push(typed) if typed.dry_run => dry_run::push(context, &typed).await,
        Command::Watch(typed) => {
            let reloads = if typed.once { Reloads::never() } else { hangups(trigger)? };
            let options = watch::Options { once: typed.once, strict: typed.strict };
            watch::run(context, options, reloads).await
        }
        Command::Push(typed) => push::run(context, &typed).await,
        Command::Ls(typed) => {
            let options = ls::Options { path: typed.path, json: context.global.json };
            context.ask(async |vault| ls::run(vault, &options, &mut io::stdout()).await).await
        }
        Command::Get(typed) => get::command(context, typed).await,
        Command::History(typed) => history::command(context, typed).await,
        Command::Verify(typed) => {
            let journal = journals::open_known(&context.config, &context.global).await?;
            let options = verify::Options { json: context.global.json, since: typed.since };
            context.ask(async |vault| verify::run(&journal, vault, &options, &mut io::stdout()).await).await
        }
        Command::Retry(typed) => {
            let journal = journals::open_known(&context.config, &context.global).await?;
            retry::run(&journal, &typed.paths, &mut io::stdout()).await
        }
        Command::Check | Command::Completions(_) | Command::Man(_) => Ok(Exit::Done),
    }
}

/// Loads the configuration. Its checks follow the paths of folders, and a share that does not answer would block them for ever.
async fn load(cli: &Cli, environment: Environment) -> Result<Config, Fatal> {
    let overrides = cli.overrides()?;
    let loading = tokio::task::spawn_blocking(move || Config::load(&overrides, &environment));
    let Ok(loaded) = tokio::time::timeout(budget::RECOVERY, loading).await else {
        return Err(Fatal::new(
            Exit::Missing,
            "the configuration can't be checked, as the file system of a file or folder in it, or on the command line, does not \
             answer: see that all shares and disks work, or leave that file or folder out",
        ));
    };
    Ok(loaded.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))??)
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
    Fatal::new(Exit::SomeFailed, format!("the program can't react to signals: {error}"))
}
