//! `check`: tries everything that an upload needs, and prints a line for each: ✓, or how to mend it.

mod conditions;
mod local;
mod service;
mod steps;
mod watches;

use super::output::Output;
use super::session::{Memory, Session};
use crate::cli::{self, Global};
use crate::config::{Config, Grant, Login, Notify};
use crate::exit::{Exit, Fatal};
use crate::notifier;
use crate::secret::Source;
use crate::shutdown::{Shutdown, Stop};

use steps::{StepResult, Steps};

/// The configuration with nothing in it to try but what was named: a folder, which is the only one in the configuration already, or a
/// destination.
pub(super) fn narrowed(mut config: Config, typed: &cli::Check) -> Config {
    if typed.dir.is_some() {
        config.upload.dest = None;
    } else if let Some(dest) = &typed.dest {
        config.folders.clear();
        config.upload.dest = Some(dest.clone());
    }
    config
}

/// Checks everything and prints the results. The exit code is that of the first step that is broken.
pub(super) async fn run(
    loaded: Result<Config, Fatal>,
    global: &Global,
    mut shutdown: Shutdown,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let mut steps = Steps::new(out);
    let Some(config) = configured(loaded, global, &mut steps)? else { return Ok(steps.exit()) };
    let session = Session::unchecked(config, global, Memory::Renew).await?;
    let interrupted = tokio::select! {
        checked = all(&session, &mut steps) => { checked?; false }
        () = shutdown.reached(Stop::Gently) => true,
    };
    session.close().await;
    Ok(if interrupted { Exit::Interrupted } else { steps.exit() })
}

/// Prints whether the configuration can be used, and returns it if so.
fn configured(
    loaded: Result<Config, Fatal>,
    global: &Global,
    steps: &mut Steps<'_, '_>,
) -> Result<Option<Config>, Fatal> {
    let complete = loaded.and_then(|config| {
        if !global.sandbox() {
            config.login()?;
        }
        Ok(config)
    });
    match complete {
        Ok(config) => {
            let from = config.file.as_ref().map_or_else(
                || "no file, flags and environment are enough".to_owned(),
                |file| file.display().to_string(),
            );
            steps.print("config", &StepResult::Fine(from))?;
            Ok(Some(config))
        }
        Err(fatal) => {
            steps.print("config", &fatal.into())?;
            steps.print("everything else", &StepResult::skipped("the configuration can't be used"))?;
            Ok(None)
        }
    }
}

async fn all(session: &Session, steps: &mut Steps<'_, '_>) -> Result<(), Fatal> {
    let secrets = secrets(session.config.login().ok(), steps).await?;
    service::check(session, secrets, steps).await?;
    let folders = local::folders(&session.config, steps).await?;
    watches::check(folders, steps)?;
    conditions::process(steps)?;
    notify(&session.config.notify, steps)?;
    local::state(&session.config.state_dir, steps)
}

/// Names those whom `[notify]` tells of trouble. None of them is tried: a check that runs each hour would tell each hour.
fn notify(config: &Notify, steps: &mut Steps<'_, '_>) -> Result<(), Fatal> {
    let ways = notifier::names(config);
    if ways.is_empty() {
        return Ok(());
    }
    let on = config.on.words().join(", ");
    let found = format!("{}; on {on}; not tried (astran-backup notify --test)", ways.join(", "));
    steps.print("notify", &StepResult::Fine(found))
}

/// Returns whether all secrets can be read; each is read as a login reads it.
async fn secrets(login: Option<&Login>, steps: &mut Steps<'_, '_>) -> Result<bool, Fatal> {
    let mut sources = Vec::new();
    if let Some(login) = login {
        if let Grant::Password { password, .. } = &login.grant {
            sources.push(("password", password));
        }
        sources.extend(login.client_secret.as_ref().map(|secret| ("client secret", secret)));
    }
    let mut all = true;
    for (step, source) in sources {
        let result = match source.read().await {
            Ok(_) => StepResult::Fine(kept(source)),
            Err(error) => StepResult::broken(Exit::Usage, error.to_string()),
        };
        all &= !result.is_broken();
        steps.print(step, &result)?;
    }
    Ok(all)
}

/// Where a secret is kept, and the mode of its file.
fn kept(source: &Source) -> String {
    use std::os::unix::fs::MetadataExt;
    let Some(path) = source.path() else { return source.describe() };
    let mode = std::fs::metadata(path).map_or_else(|_| String::new(), |m| format!(", mode {:03o}", m.mode() & 0o777));
    format!("{}{mode}", path.display())
}
