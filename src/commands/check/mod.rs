//! `check`: each thing that must hold before files can go, one line each: ✓, or what mends it.

mod conditions;
mod local;
mod report;
mod service;
mod watches;

use std::io::{self, Write};

use super::session::Session;
use crate::cli::Cli;
use crate::config::{Config, Environment, Grant, Login};
use crate::exit::{Exit, Fatal};
use crate::secret::Source;
use crate::shutdown::{Shutdown, Stop};

use report::{Report, Verdict};

/// Checks all, and tells on standard output; the exit code is that of the first thing that is broken.
pub async fn run(cli: &Cli, environment: &Environment, mut shutdown: Shutdown) -> Result<Exit, Fatal> {
    let mut out = io::stdout();
    let mut report = Report::new(&mut out, cli.global.json);
    let Some(config) = configured(cli, environment, &mut report)? else { return Ok(report.exit()) };
    let session = Session::unchecked(config, &cli.global).await?;
    let interrupted = tokio::select! {
        told = all(&session, &mut report) => { told?; false }
        () = shutdown.reached(Stop::Gently) => true,
    };
    session.close().await;
    Ok(if interrupted { Exit::Interrupted } else { report.exit() })
}

/// The configuration, where there is one that can be used.
fn configured<W: Write>(
    cli: &Cli,
    environment: &Environment,
    report: &mut Report<'_, W>,
) -> Result<Option<Config>, Fatal> {
    let loaded = Config::load(cli, environment).and_then(|config| {
        if !cli.global.sandbox() {
            config.login()?;
        }
        Ok(config)
    });
    match loaded {
        Ok(config) => {
            let from = config.file.as_ref().map_or_else(
                || "no file, flags and environment are enough".to_owned(),
                |file| file.display().to_string(),
            );
            report.tell("config", &Verdict::Fine(from))?;
            Ok(Some(config))
        }
        Err(error) => {
            report.tell("config", &Verdict::broken(Exit::Usage, error.to_string()))?;
            report.tell("everything else", &Verdict::skipped("the configuration can't be used"))?;
            Ok(None)
        }
    }
}

async fn all<W: Write>(session: &Session, report: &mut Report<'_, W>) -> Result<(), Fatal> {
    let secrets = secrets(session.config.login().ok(), report).await?;
    service::check(session, secrets, report).await?;
    let need = local::folders(&session.config, report)?;
    watches::check(&need, report)?;
    conditions::process(report)?;
    local::state(&session.config.state_dir, report)
}

/// Whether all secrets can be had; each is read as a login would.
async fn secrets<W: Write>(login: Option<&Login>, report: &mut Report<'_, W>) -> Result<bool, Fatal> {
    let mut sources = Vec::new();
    if let Some(login) = login {
        if let Grant::Password { password, .. } = &login.grant {
            sources.push(("password", password));
        }
        sources.extend(login.client_secret.as_ref().map(|secret| ("client secret", secret)));
    }
    let mut all = true;
    for (step, source) in sources {
        let verdict = match source.read().await {
            Ok(_) => Verdict::Fine(kept(source)),
            Err(error) => Verdict::broken(Exit::Usage, error.to_string()),
        };
        all &= !verdict.is_broken();
        report.tell(step, &verdict)?;
    }
    Ok(all)
}

/// Where a secret lies, and who may read it.
fn kept(source: &Source) -> String {
    use std::os::unix::fs::MetadataExt;
    let Some(path) = source.path() else { return source.describe() };
    let mode = std::fs::metadata(path).map_or_else(|_| String::new(), |m| format!(", mode {:03o}", m.mode() & 0o777));
    format!("{}{mode}", path.display())
}
