//! Who logs in, and where the password comes from: flags over environment over file, then what the machine offers.

use std::path::Path;

use secrecy::SecretString;

use super::file::GrantWord;
use super::keys::Table;
use super::load::Inputs;
use super::{ConfigError, Grant, Login};
use crate::secret::Source;

/// The names that a service manager may hand the password over under.
const CREDENTIALS: [&str; 2] = ["password", "astran-backup.password"];

/// Who logs in, or what is missing for that.
pub(super) fn login(given: &Inputs<'_>) -> Result<Result<Login, Vec<String>>, ConfigError> {
    if given.cli.global.sandbox() {
        return Ok(Err(Vec::new()));
    }
    let keys = &given.written.keys.login;
    let mut missing = Vec::new();
    let client_id =
        given.text(given.cli.global.client_id.as_deref(), "ASTRAN_BACKUP_CLIENT_ID", keys.client_id.as_deref())?;
    if client_id.is_none() {
        missing.push(lacks(given, "client_id", "--client-id, ASTRAN_BACKUP_CLIENT_ID"));
    }
    let client_secret = keys.client_secret_file.as_deref().map(|path| in_file(given, path));
    let grant = match keys.grant {
        Some(GrantWord::ClientCredentials) => client_credentials(given, client_secret.is_some(), &mut missing)?,
        Some(GrantWord::Password) | None => password_grant(given, &mut missing)?,
    };
    Ok(match (client_id, grant) {
        (Some(client_id), Some(grant)) => Ok(Login { client_id, client_secret, grant }),
        _ => Err(missing),
    })
}

fn lacks(given: &Inputs<'_>, key: &str, ways: &str) -> String {
    format!("no {key} (give {ways}, or {key} under [login] in {})", given.file_named())
}

fn client_credentials(
    given: &Inputs<'_>,
    has_secret: bool,
    missing: &mut Vec<String>,
) -> Result<Option<Grant>, ConfigError> {
    let flags = &given.cli.global;
    if flags.username.is_some() || flags.password_file.is_some() {
        let place = given.written.at(Table::Login, 0, "grant");
        return Err(ConfigError::new(format!(
            "{place} is \"client_credentials\", which needs no --username or --password-file"
        )));
    }
    if !has_secret {
        missing.push(format!("no client_secret_file (give it under [login] in {})", given.file_named()));
    }
    Ok(has_secret.then_some(Grant::ClientCredentials))
}

fn password_grant(given: &Inputs<'_>, missing: &mut Vec<String>) -> Result<Option<Grant>, ConfigError> {
    let keys = &given.written.keys.login;
    let username =
        given.text(given.cli.global.username.as_deref(), "ASTRAN_BACKUP_USERNAME", keys.username.as_deref())?;
    if username.is_none() {
        missing.push(lacks(given, "username", "--username, ASTRAN_BACKUP_USERNAME"));
    }
    let password = password(given, username.as_deref())?;
    if password.is_none() {
        missing.push(format!(
            "no password (give --password-file, ASTRAN_BACKUP_PASSWORD, a systemd credential called password, or \
             password_file or password_command under [login] in {})",
            given.file_named()
        ));
    }
    Ok(username.zip(password).map(|(username, password)| Grant::Password { username, password }))
}

/// The first of: flag, environment, file, systemd credential, prompt.
///
/// A credential comes after the file, because the file names what it means while a credential is merely there.
fn password(given: &Inputs<'_>, username: Option<&str>) -> Result<Option<Source>, ConfigError> {
    let configured = configured_password(given)?;
    if let Some(file) = &given.cli.global.password_file {
        return Ok(Some(in_file(given, file)));
    }
    if let Some(password) = given.environment.text("ASTRAN_BACKUP_PASSWORD")? {
        return Ok(Some(Source::Given(SecretString::from(password))));
    }
    Ok(configured.or_else(|| credential(given)).or_else(|| prompt(given, username)))
}

fn configured_password(given: &Inputs<'_>) -> Result<Option<Source>, ConfigError> {
    let keys = &given.written.keys.login;
    match (&keys.password_file, &keys.password_command) {
        (Some(_), Some(_)) => {
            let place = given.written.at(Table::Login, 0, "password_command");
            Err(ConfigError::new(format!("{place} and password_file contradict each other: leave one out")))
        }
        (Some(file), None) => Ok(Some(in_file(given, file))),
        (None, Some(command)) => Ok(Some(Source::Command(command.clone()))),
        (None, None) => Ok(None),
    }
}

/// A file that somebody named; it may be one that the service manager hands over, and then has other modes.
fn in_file(given: &Inputs<'_>, path: &Path) -> Source {
    let handed_over = given.environment.absolute("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir));
    if handed_over { Source::Credential(path.to_owned()) } else { Source::File(path.to_owned()) }
}

fn credential(given: &Inputs<'_>) -> Option<Source> {
    let dir = given.environment.absolute("CREDENTIALS_DIRECTORY")?;
    CREDENTIALS.iter().map(|name| dir.join(name)).find(|path| path.exists()).map(Source::Credential)
}

fn prompt(given: &Inputs<'_>, username: Option<&str>) -> Option<Source> {
    let username = username.filter(|_| given.environment.is_terminal())?;
    Some(Source::prompt(format!("Password of {username}: ")))
}
