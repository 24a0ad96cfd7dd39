//! The commands, a module for each.

mod awaited;
mod check;
mod completions;
mod context;
mod dry_run;
mod fatal;
#[cfg(feature = "fleet")]
mod fleet;
mod get;
pub mod history;
mod init;
mod journals;
mod ls;
mod manual;
mod notified;
mod notify;
mod open_folders;
mod output;
mod print;
mod push;
mod reload;
pub mod retry;
#[cfg(feature = "sandbox")]
mod sandbox;
mod session;
mod shipments;
mod status;
mod take_folder;
mod totals;
pub mod verify;
mod watch;

use std::ffi::OsStr;
use std::io;

use tracing::Instrument as _;

use crate::budget;
use crate::cli::{Cli, Command};
use crate::config::{Config, Environment, Overrides};
use crate::exit::{Exit, Fatal};
use crate::service_manager::ServiceManager;
use crate::shutdown::{self, Reloads, Shutdown, Trigger};

use context::Context;
pub use output::Output;
#[cfg(feature = "fuzzing")]
pub(crate) use print::line;
use reload::Reloader;
pub use totals::Run;

/// Runs the command that was typed. What it counts goes into the summary of `run`.
pub async fn run(cli: Cli, environment: Environment, run: &Run) -> Result<Exit, Fatal> {
    let span = tracing::info_span!("run", command = cli.command.name());
    // On the heap: the state of the largest command would fill a good part of a stack.
    Box::pin(dispatch(cli, environment, run)).instrument(span).await
}

async fn dispatch(cli: Cli, environment: Environment, run: &Run) -> Result<Exit, Fatal> {
    let mut out = Output::standard(cli.global.json, run.totals());
    match &cli.command {
        Command::Completions(typed) => {
            return completions::completions(typed.shell, &mut io::stdout()).map(|()| Exit::Done);
        }
        Command::Man(typed) => {
            return manual::man(typed.command.as_deref(), &mut io::stdout()).map(|()| Exit::Done);
        }
        Command::Init(typed) => {
            return init::run(&cli.global, typed, &environment, signals()?.1, &mut out).await;
        }
        Command::Check(typed) => {
            let loaded = load(&cli, environment).await.map(|config| check::narrowed(config, typed));
            return check::run(loaded, &cli.global, signals()?.1, &mut out).await;
        }
        _ => {}
    }
    let overrides = cli.overrides()?;
    let config = load_config(overrides.clone(), environment.clone()).await?;
    let (trigger, shutdown) = signals()?;
    let Cli { global, command } = cli;
    let context = Context { config, global, shutdown, totals: run.totals().clone() };
    match command {
        #[cfg(feature = "sandbox")]
        Command::Sandbox(typed) => sandbox::run(&typed, context.shutdown, &mut out).await,
        Command::Watch(typed) if typed.dry_run => dry_run::watch(context, typed.once, &mut out).await,
        Command::Push(typed) if typed.dry_run => dry_run::push(context, &typed, &mut out).await,
        Command::Watch(typed) => {
            let requests = if typed.once { Reloads::never() } else { hangups(trigger)? };
            let manager = if typed.once { ServiceManager::new(|_| None) } else { service_manager(&environment) };
            let reloader = Reloader { requests, overrides, environment, manager, is_pending: false };
            let options = watch::Options { once: typed.once, strict: typed.strict };
            watch::run(context, options, reloader).await
        }
        Command::Push(typed) => push::run(context, &typed).await,
        Command::Status => status::run(context, &mut out).await,
        Command::Ls(typed) => context.ask(async |vault| ls::run(vault, &typed.path, &mut out).await).await,
        Command::Get(typed) => get::command(context, typed, &mut out).await,
        #[cfg(feature = "fleet")]
        Command::Fleet(typed) => Box::pin(fleet::command(context, typed.command, &mut out)).await,
        #[cfg(feature = "fleet")]
        Command::History(typed) if typed.all_hosts => fleet::history(&context.config, &typed, &mut out).await,
        Command::History(typed) => Box::pin(history::command(context, typed, &mut out)).await,
        Command::Verify(typed) => {
            let journal = journals::open_known(&context.config, &context.global).await?;
            let options = verify::Options { since: typed.since, sample: typed.sample };
            context.ask(async |vault| verify::run(&journal, vault, options, &mut out).await).await
        }
        Command::Retry(typed) => {
            let journal = journals::open_known(&context.config, &context.global).await?;
            retry::run(&journal, &typed.paths, &mut out).await
        }
        Command::Notify(_) => notify::run(&context.config, &mut out).await,
        Command::Check(_) | Command::Init(_) | Command::Completions(_) | Command::Man(_) => Ok(Exit::Done),
    }
}

/// Loads the configuration for a command line.
async fn load(cli: &Cli, environment: Environment) -> Result<Config, Fatal> {
    load_config(cli.overrides()?, environment).await
}

/// Loads the configuration. Its checks follow the paths of folders, and a share that does not answer would block them for ever.
async fn load_config(overrides: Overrides, environment: Environment) -> Result<Config, Fatal> {
    let loading = tokio::task::spawn_blocking(move || Config::load(&overrides, &environment));
    let Ok(loaded) = tokio::time::timeout(budget::RECOVERY, loading).await else {
        return Err(Fatal::new(
            Exit::Missing,
            "the configuration can't be checked, as the file system of a file or folder in it, or on the command line, does not \
             answer: see that all shares and disks work, or leave that file or folder out",
        ));
    };
    Ok(loaded.map_err(Fatal::internal)??)
}

/// The service manager that started this process.
fn service_manager(environment: &Environment) -> ServiceManager {
    ServiceManager::new(|name| environment.get(name).map(OsStr::to_owned))
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
