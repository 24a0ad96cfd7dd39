//! Parse, load, run, exit code; nothing else.

use std::process::{ExitCode, Termination};

use astran_backup::cli::Cli;
use astran_backup::commands;
use astran_backup::config::Environment;
use astran_backup::exit::{Exit, Fatal};
use astran_backup::telemetry;
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(exit) => exit,
        Err(fatal) => {
            eprintln!("astran-backup: {fatal}");
            fatal.exit
        }
    }
    .report()
}

fn run(cli: Cli) -> Result<Exit, Fatal> {
    let environment = Environment::of_process();
    telemetry::init(cli.global.log_format, cli.level(), &environment)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the program can't start: {error}")))?;
    let ended = runtime.block_on(commands::run(cli, environment));
    // A read that blocks (a prompt, a hung share) must not hold up the end.
    runtime.shutdown_background();
    ended
}
