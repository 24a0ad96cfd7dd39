//! The commands, a file each: what each says, in order.

pub mod completions;
pub mod get;
pub mod ls;
mod partial;
mod print;
pub mod push;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod session;
#[cfg(test)]
mod shelf;
pub mod watch;

use std::io::{self, Write};

use crate::cli::{Cli, Command, Global};
use crate::config::{Config, Environment};
use crate::exit::{Exit, Fatal};
use crate::shutdown::{self, Shutdown};
use crate::vault::Vault;

use session::Session;

/// Runs the command that was typed.
pub async fn run(cli: Cli, environment: Environment) -> Result<Exit, Fatal> {
    if let Some(exit) = alone(&cli.command)? {
        return Ok(exit);
    }
    let config = Config::load(&cli, &environment)?;
    let shutdown = signals()?;
    let Cli { global, command } = cli;
    match command {
        #[cfg(feature = "sandbox")]
        Command::Sandbox(typed) => sandbox::run(&typed, global.json, shutdown).await,
        Command::Watch(typed) => watch::run(config, &global, typed.once, shutdown).await,
        Command::Push(typed) => push::run(config, &global, &typed, shutdown).await,
        Command::Ls(typed) => {
            let options = ls::Options { path: typed.path, json: global.json };
            looking(config, &global, shutdown, async |vault| ls::run(vault, &options, &mut io::stdout()).await).await
        }
        Command::Get(typed) => {
            let options = get::Options::from(typed);
            looking(config, &global, shutdown, async |vault| get::run(vault, &options, &mut io::stdout()).await).await
        }
        other => Err(Fatal::new(Exit::Usage, format!("{other:?} is not built yet"))),
    }
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

fn signals() -> Result<Shutdown, Fatal> {
    let (trigger, shutdown) = shutdown::channel();
    shutdown::on_signals(trigger)
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("signals can't be taken: {error}")))?;
    Ok(shutdown)
}
