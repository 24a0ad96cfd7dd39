//! Who logs in, and where the password comes from: command line over environment over file, then what the machine offers.

use std::path::Path;

use secrecy::SecretString;

use super::ConfigError;
use super::file::GrantWord;
use super::inputs::Inputs;
use super::keys::Table;
use crate::secret::{self, Source};

/// Who logs in, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// The client's id at the login service (`client_id`).
    pub client_id: String,
    /// The secret of a confidential client; `None` for a public one.
    pub client_secret: Option<secret::Source>,
    /// How the client asks for a token.
    pub grant: Grant,
}

impl Login {
    /// The name of the user who logs in; for client credentials, the client's id.
    pub fn user(&self) -> &str {
        match &self.grant {
            Grant::Password { username, .. } => username,
            Grant::ClientCredentials => &self.client_id,
        }
    }

    /// The sources of all secrets that a login needs.
    pub fn secrets(&self) -> impl Iterator<Item = &secret::Source> {
        let password = match &self.grant {
            Grant::Password { password, .. } => Some(password),
            Grant::ClientCredentials => None,
        };
        password.into_iter().chain(&self.client_secret)
    }
}

/// How the client asks for a token (the OAuth grant).
#[derive(Debug, Clone)]
pub enum Grant {
    /// With a user's name and password.
    Password {
        /// The user's name.
        username: String,
        /// Where the password comes from.
        password: secret::Source,
    },
    /// With the client's own secret.
    ClientCredentials,
}

/// The names that a systemd credential with the password may have.
const CREDENTIALS: [&str; 2] = ["password", "astran-backup.password"];

/// Who logs in, or what is missing for a login.
pub(super) fn login(inputs: &Inputs<'_>) -> Result<Result<Login, Vec<String>>, ConfigError> {
    if inputs.overrides.sandbox {
        return Ok(Err(Vec::new()));
    }
    let keys = &inputs.file.keys.login;
    let mut missing = Vec::new();
    let client_id =
        inputs.text(inputs.overrides.client_id.as_deref(), "ASTRAN_BACKUP_CLIENT_ID", keys.client_id.as_deref())?;
    if client_id.is_none() {
        missing.push(lacks(inputs, "client_id", "--client-id, ASTRAN_BACKUP_CLIENT_ID"));
    }
    let client_secret = keys.client_secret_file.as_deref().map(|path| in_file(inputs, path));
    let grant = match keys.grant {
        Some(GrantWord::ClientCredentials) => client_credentials(inputs, client_secret.is_some(), &mut missing)?,
        Some(GrantWord::Password) | None => password_grant(inputs, &mut missing)?,
    };
    Ok(match (client_id, grant) {
        (Some(client_id), Some(grant)) => Ok(Login { client_id, client_secret, grant }),
        _ => Err(missing),
    })
}

fn lacks(inputs: &Inputs<'_>, key: &str, ways: &str) -> String {
    format!("no {key} (give {ways}, or {key} under [login] in {})", inputs.file_name())
}

fn client_credentials(
    inputs: &Inputs<'_>,
    has_secret: bool,
    missing: &mut Vec<String>,
) -> Result<Option<Grant>, ConfigError> {
    let flags = inputs.overrides;
    if flags.username.is_some() || flags.password_file.is_some() {
        let place = inputs.file.at(Table::Login, 0, "grant");
        return Err(ConfigError::new(format!(
            "{place} is \"client_credentials\", which needs no --username or --password-file"
        )));
    }
    if !has_secret {
        missing.push(format!("no client_secret_file (give it under [login] in {})", inputs.file_name()));
    }
    Ok(has_secret.then_some(Grant::ClientCredentials))
}

fn password_grant(inputs: &Inputs<'_>, missing: &mut Vec<String>) -> Result<Option<Grant>, ConfigError> {
    let keys = &inputs.file.keys.login;
    let username =
        inputs.text(inputs.overrides.username.as_deref(), "ASTRAN_BACKUP_USERNAME", keys.username.as_deref())?;
    if username.is_none() {
        missing.push(lacks(inputs, "username", "--username, ASTRAN_BACKUP_USERNAME"));
    }
    let password = password(inputs, username.as_deref())?;
    if password.is_none() {
        missing.push(format!(
            "no password (give --password-file, ASTRAN_BACKUP_PASSWORD, a systemd credential called password, or \
             password_file or password_command under [login] in {})",
            inputs.file_name()
        ));
    }
    Ok(username.zip(password).map(|(username, password)| Grant::Password { username, password }))
}

/// The first of: flag, environment, file, systemd credential, prompt.
///
/// The file comes before a credential, because the file names one source, while a credential is merely there.
fn password(inputs: &Inputs<'_>, username: Option<&str>) -> Result<Option<Source>, ConfigError> {
    let configured = configured_password(inputs)?;
    if let Some(file) = &inputs.overrides.password_file {
        return Ok(Some(in_file(inputs, file)));
    }
    if let Some(password) = inputs.environment.text("ASTRAN_BACKUP_PASSWORD")? {
        return Ok(Some(Source::Given(SecretString::from(password))));
    }
    Ok(configured.or_else(|| credential(inputs)).or_else(|| prompt(inputs, username)))
}

fn configured_password(inputs: &Inputs<'_>) -> Result<Option<Source>, ConfigError> {
    let keys = &inputs.file.keys.login;
    match (&keys.password_file, &keys.password_command) {
        (Some(_), Some(_)) => {
            let place = inputs.file.at(Table::Login, 0, "password_command");
            Err(ConfigError::new(format!("{place} and password_file contradict each other: leave one out")))
        }
        (Some(file), None) => Ok(Some(in_file(inputs, file))),
        (None, Some(command)) => Ok(Some(Source::Command(command.clone()))),
        (None, None) => Ok(None),
    }
}

/// A file that the flag or the key names. If it is a systemd credential, it may have other modes.
fn in_file(inputs: &Inputs<'_>, path: &Path) -> Source {
    let handed_over = inputs.environment.absolute("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir));
    if handed_over { Source::Credential(path.to_owned()) } else { Source::File(path.to_owned()) }
}

fn credential(inputs: &Inputs<'_>) -> Option<Source> {
    let dir = inputs.environment.absolute("CREDENTIALS_DIRECTORY")?;
    CREDENTIALS.iter().map(|name| dir.join(name)).find(|path| path.exists()).map(Source::Credential)
}

fn prompt(inputs: &Inputs<'_>, username: Option<&str>) -> Option<Source> {
    let username = username.filter(|_| inputs.environment.is_terminal())?;
    Some(Source::prompt(format!("Password of {username}: ")))
}
