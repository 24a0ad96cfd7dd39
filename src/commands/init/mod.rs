//! `init`: asks for the account and the folders, tries each answer at once, and writes the configuration and the password file.
//!
//! ```text
//!  flags, variables ─► dialogue ◄─► person (terminal, or nobody)
//!                         ▲
//!                         └───────► world (live: service, disks) ─► answers ─► write
//! ```
//!
//! Nothing is written before all answers work, so whoever breaks off leaves no trace.

mod answers;
mod dialogue;
mod live;
mod place;
mod terminal;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use secrecy::SecretString;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::output::Output;
use crate::cli::{self, Global};
use crate::config::overrides::{Task, WatchOverrides};
use crate::config::{Config, Environment, Overrides};
use crate::events::{Event, LocalPath};
use crate::exit::{Exit, Fatal};
use crate::measure::{count, size};
use crate::printable::printable;
use crate::removal;
use crate::secret::Source;
use crate::shutdown::{Shutdown, Stop};

use answers::Answers;
use dialogue::{Given, Person as _, Stopped, Value, converse};
use live::{Found, Live};
use place::Place;
use terminal::{Nobody, Terminal};

/// The configuration is written.
#[derive(Serialize)]
struct InitEvent<'a> {
    config: &'a Path,
    password_file: &'a Path,
    #[serde(flatten)]
    folder: LocalPath,
    remote_path: String,
    files: u64,
    bytes: u64,
    ignored: u64,
    others: u64,
    complete: bool,
    next: &'a [String],
}

impl Event for InitEvent<'_> {
    const TYPE: &'static str = "init";
}

/// Asks, tries, writes, and prints what was written.
pub(super) async fn run(
    global: &Global,
    typed: &cli::Init,
    environment: &Environment,
    mut shutdown: Shutdown,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    if global.sandbox() {
        let why =
            "--sandbox needs no configuration: run `astran-backup watch DIR --dest /HR_Backup --sandbox` without init";
        return Err(Fatal::new(Exit::Usage, why));
    }
    let (place, is_usual) = find_place(global, environment)?;
    let password = given_password(global, typed, &place).await?;
    let mut given = given(global, typed, environment)?;
    given.password = password.clone().map(|(password, _)| password);
    let writes_password = password.is_none_or(|(_, from_file)| !from_file);
    place.refuse_existing(writes_password)?;
    let at_terminal = environment.is_terminal() && !typed.password_stdin;
    if at_terminal {
        Terminal.tell(&format!(
            "The answers go into {} in the end; until then Ctrl-C writes nothing.",
            printable(&place.config.display().to_string())
        ));
    }
    let mut world = Live::new(global, environment.without_settings(), place.config.clone(), place.password.clone());
    let ended = tokio::select! {
        ended = ask_and_count(given, at_terminal, &mut world) => ended,
        () = shutdown.reached(Stop::Gently) => Err(Stopped::Ended),
    };
    world.close().await;
    match ended {
        Ok((answers, found)) => {
            write_all(&world, &place, &answers, writes_password).await?;
            print(&place, &place.next(is_usual), &answers, found, out)?;
            Ok(Exit::Done)
        }
        Err(Stopped::Failed(fatal)) => Err(fatal),
        Err(Stopped::Ended) => {
            if at_terminal {
                Terminal.tell("\nNothing was written.");
            }
            Ok(Exit::Interrupted)
        }
    }
}

/// The place for the files, and whether the program looks there for its configuration.
fn find_place(global: &Global, environment: &Environment) -> Result<(Place, bool), Fatal> {
    let is_root = geteuid().is_root();
    let usual = Config::place_of_new_file(environment, is_root);
    let config = global.config.clone().or_else(|| usual.clone()).ok_or_else(|| {
        Fatal::new(Exit::Usage, "no place for the configuration, as HOME is not set: give --config FILE")
    })?;
    let is_usual = usual.as_ref() == Some(&config);
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Fatal::new(Exit::Usage, format!("{}: {error}", path.display())))
    };
    let (config, password) = (absolute(&config)?, global.password_file.as_ref().map(absolute).transpose()?);
    place::as_text(&config)?;
    let groups = if is_root { std::fs::read_to_string("/etc/group").unwrap_or_default() } else { String::new() };
    Ok((Place::new(config, password, place::service_group(&groups)), is_usual))
}

/// The password from standard input, or from the named file if it is there; and whether it came from the file.
async fn given_password(
    global: &Global,
    typed: &cli::Init,
    place: &Place,
) -> Result<Option<(SecretString, bool)>, Fatal> {
    if typed.password_stdin {
        let line = spawn_blocking(terminal::first_line).await.map_err(Fatal::internal)?;
        let unread = |why: String| Fatal::new(Exit::Usage, format!("the password on standard input {why}"));
        let line = line.map_err(|error| unread(format!("can't be read: {error}")))?.unwrap_or_default();
        return if line.is_empty() { Err(unread("is empty".into())) } else { Ok(Some((line.into(), false))) };
    }
    if global.password_file.is_none() || !place::is_there(&place.password) {
        return Ok(None);
    }
    let password = Source::File(place.password.clone()).read().await;
    Ok(Some((password.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?, true)))
}

fn given(global: &Global, typed: &cli::Init, environment: &Environment) -> Result<Given, Fatal> {
    let value = |flag: &Option<String>, variable: &str| -> Result<Value, Fatal> {
        Ok(Value { flag: flag.clone(), default: environment.text(variable)? })
    };
    let folder = typed.folder.as_deref().map(place::as_text).transpose()?.map(str::to_owned);
    Ok(Given {
        realm: value(&global.realm, "ASTRAN_BACKUP_REALM")?,
        auth_url: value(&global.auth_url, "ASTRAN_BACKUP_AUTH_URL")?,
        api_url: value(&global.api_url, "ASTRAN_BACKUP_API_URL")?,
        ca_file: global.ca_file.clone().or_else(|| environment.path("ASTRAN_BACKUP_CA_FILE")),
        client_id: value(&global.client_id, "ASTRAN_BACKUP_CLIENT_ID")?,
        username: value(&global.username, "ASTRAN_BACKUP_USERNAME")?,
        password: None,
        folder: Value { flag: folder, default: None },
        dest: value(&typed.dest, "ASTRAN_BACKUP_DEST")?,
        yes: typed.yes,
    })
}

async fn ask_and_count(given: Given, at_terminal: bool, world: &mut Live<'_>) -> Result<(Answers, Found), Stopped> {
    let answers = if at_terminal {
        converse(given, &mut Terminal, world).await?
    } else {
        converse(given, &mut Nobody, world).await?
    };
    let found = world.count(&answers).await?;
    Ok((answers, found))
}

/// Makes the folder if it is missing, writes both files, and loads them as every other command will.
async fn write_all(world: &Live<'_>, place: &Place, answers: &Answers, writes_password: bool) -> Result<(), Fatal> {
    let (place, answers) = (place.clone(), answers.clone());
    let flags = Overrides {
        file: Some(place.config.clone()),
        state_dir: world.global.state_dir.clone(),
        // As `watch` without arguments.
        task: Task::Watch(WatchOverrides::default()),
        ..Overrides::default()
    };
    let environment = world.environment.clone();
    let written = spawn_blocking(move || -> Result<(), Fatal> {
        let password_file = if place.is_credential { None } else { Some(place::as_text(&place.password)?) };
        let text = answers.as_file(password_file, place::as_text(&answers.folder)?);
        Config::of_text(&place.config, &text, &flags, &environment)?;
        removal::open_or_make(&answers.folder).map_err(|error| Fatal::new(Exit::Missing, error.to_string()))?;
        write::write(&place, &text, writes_password.then_some(&answers.password))?;
        Config::load(&flags, &environment)?;
        Ok(())
    });
    written.await.map_err(Fatal::internal)?
}

fn print(place: &Place, next: &[String], answers: &Answers, found: Found, out: &mut Output<'_>) -> Result<(), Fatal> {
    let event = InitEvent {
        config: &place.config,
        password_file: &place.password,
        folder: LocalPath::new(&answers.folder),
        remote_path: answers.dest.to_string(),
        files: found.files,
        bytes: found.bytes,
        ignored: found.ignored,
        others: found.others,
        complete: found.complete,
        next,
    };
    out.print(&event, || as_text(place, next, answers, found))
}

fn as_text(place: &Place, next: &[String], answers: &Answers, found: Found) -> String {
    let Found { files, bytes, ignored, others, complete } = found;
    let least = if complete { "" } else { "at least " };
    let noun = if files == 1 { "file" } else { "files" };
    let others = if others == 0 { String::new() } else { format!(", {} can't be uploaded", count(others)) };
    let (folder, dest) = (printable(&answers.folder.to_string_lossy()), printable(&answers.dest.to_string()));
    let shown = |path: &Path| printable(&path.to_string_lossy());
    format!(
        "{least}{} {noun} ({}) would go from {folder} to {dest} now; {} ignored{others}\n\
         written: {} and {}\n\
         next: {}",
        count(files),
        size(bytes),
        count(ignored),
        shown(&place.config),
        shown(&place.password),
        next.join(", then "),
    )
}
