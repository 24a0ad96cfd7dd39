//! A session with the service: what every command that talks to the service starts with, and ends with.

use std::sync::Arc;
use std::time::Duration;

use crate::astran::{Client, ClientConfig, Credentials, Timeouts, UserCredentials};
use crate::cli::Global;
use crate::config::{Config, Grant, Login, Service};
use crate::exit::{Exit, Fatal};
use crate::measure::span;
use crate::observe::health::Condition;
use crate::refused_logins::{Account, RefusedLogins, Use};
use crate::secret::Source;
use crate::upload::{PATIENCE, backoff};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

/// What a command does with the memory of logins that were refused in earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// A command that cron may run: it does not send again what was refused.
    OfCommand,
    /// A daemon: the same, but a new start by a service manager that hands over the secret is a new try.
    OfDaemon,
    /// A person asks whether the login works: it is tried in any case, and the result is remembered.
    Renew,
    /// A plan, which writes nothing.
    ReadOnly,
    /// A person types the password, and decides how often it is tried. Nothing is written.
    Unused,
}

/// A client for the configured service. With `--sandbox` the service is an embedded one that lives as long as the session.
pub(super) struct Session {
    pub(super) config: Config,
    pub(super) client: Client,
    /// Raised while the start of a command waits for the service.
    pub(super) trouble: Condition,
    #[cfg(feature = "sandbox")]
    sandbox: Option<crate::sandbox::Sandbox>,
}

impl Session {
    /// Makes the client, and sends nothing yet. A file with a secret that can't be read is a usage error here; it must not look like
    /// a refused login later.
    pub(super) async fn open(config: Config, global: &Global, memory: Memory) -> Result<Self, Fatal> {
        let session = Self::unchecked(config, global, memory).await?;
        for source in session.config.login()?.secrets().filter(|source| source.path().is_some()) {
            source.read().await.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
        }
        Ok(session)
    }

    /// Makes the client without reading the secrets.
    #[cfg_attr(not(feature = "sandbox"), expect(unused_mut, clippy::unused_async, reason = "only the sandbox waits"))]
    pub(super) async fn unchecked(mut config: Config, global: &Global, memory: Memory) -> Result<Self, Fatal> {
        let refused_logins = if global.sandbox() { None } else { refused_logins(&config, global, memory)? };
        #[cfg(feature = "sandbox")]
        let sandbox = if global.sandbox() { Some(embed(&mut config).await?) } else { None };
        let client_config = ClientConfig { refused_logins, ..client_config(&config.service, config.login()?) };
        let client = Client::new(client_config).map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
        Ok(Self {
            config,
            client,
            trouble: Condition::default(),
            #[cfg(feature = "sandbox")]
            sandbox,
        })
    }

    /// Logs in. A refused login is an error at once. For a service that can't be reached the method waits as long as [`PATIENCE`],
    /// or without a limit where `for_ever`.
    pub(super) async fn log_in(&self, for_ever: bool) -> Result<(), Fatal> {
        let patience = if for_ever { None } else { Some(PATIENCE) };
        retrying(patience, &self.trouble, async || self.client.probe().await.map(drop)).await
    }

    /// Looks up a destination. Waits for the service as [`Session::log_in`] does.
    pub(super) async fn has_destination(&self, dest: &RemotePath, for_ever: bool) -> Result<(), Fatal> {
        let patience = if for_ever { None } else { Some(PATIENCE) };
        let found = retrying(patience, &self.trouble, async || self.client.folder(dest).await.map(drop)).await;
        // A folder that the user may not see counts as missing.
        found.map_err(
            |fatal| if fatal.exit == Exit::SomeFailed { Fatal { exit: Exit::Missing, ..fatal } } else { fatal },
        )
    }

    /// Ends the session at the service, and the sandbox if there is one.
    pub(super) async fn close(self) {
        self.client.logout().await;
        #[cfg(feature = "sandbox")]
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

/// Who logs in, for the client.
pub(super) fn credentials(login: &Login) -> Credentials {
    let user = match &login.grant {
        Grant::Password { username, password } => {
            Some(UserCredentials { username: username.clone(), password: password.clone() })
        }
        Grant::ClientCredentials => None,
    };
    Credentials { client_id: login.client_id.clone(), client_secret: login.client_secret.clone(), user }
}

/// The configuration of the client, out of that of the program.
fn client_config(service: &Service, login: &Login) -> ClientConfig {
    ClientConfig {
        realm: service.realm.clone(),
        api_url: service.api_url.clone(),
        auth_url: service.auth_url.clone(),
        content_type: service.content_type.clone(),
        ca_file: service.ca_file.clone(),
        credentials: credentials(login),
        timeouts: Timeouts::default(),
        refused_logins: None,
    }
}

/// The memory of refused logins, which lies in the state directory.
fn refused_logins(config: &Config, global: &Global, memory: Memory) -> Result<Option<Arc<RefusedLogins>>, Fatal> {
    let login = config.login()?;
    let account = Account {
        address: config.service.auth_url.to_string(),
        realm: config.service.realm.clone(),
        client: login.client_id.clone(),
        user: login.user().to_owned(),
    };
    let secrets: Vec<Source> = login.secrets().cloned().collect();
    let by_service_manager = secrets.iter().any(|secret| matches!(secret, Source::Credential(_)));
    let heed = match memory {
        Memory::Unused => return Ok(None),
        Memory::Renew => false,
        // systemd does not start the service again by itself after a refused login, and a new credential can't be told from the old one.
        Memory::OfDaemon => !by_service_manager,
        Memory::OfCommand | Memory::ReadOnly => true,
    };
    let usage = Use { heed: heed && !global.retry_login, record: memory != Memory::ReadOnly };
    Ok(RefusedLogins::new(&config.state_dir, &account, secrets, config.file.clone(), usage).map(Arc::new))
}

/// Repeats a call with growing waits while the service can't be reached, as long as `patience`, or without a limit.
async fn retrying(
    patience: Option<Duration>,
    trouble: &Condition,
    call: impl AsyncFn() -> Result<(), VaultError>,
) -> Result<(), Fatal> {
    let start = tokio::time::Instant::now();
    let mut failures = 0;
    loop {
        let error = match call().await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind == Kind::Unavailable => error,
            Err(error) => return Err(error.into()),
        };
        failures += 1;
        let wait = backoff::wait(failures, backoff::random(), error.retry_after);
        if patience.is_some_and(|patience| start.elapsed() + wait > patience) {
            return Err(error.into());
        }
        trouble.raise(error.public_message());
        tracing::warn!("the service can't be reached, next try in {}: {error}", span(wait));
        tokio::time::sleep(wait).await;
    }
}

/// Starts a sandbox over a vault in the state folder, so that each `--sandbox` command sees the same one.
#[cfg(feature = "sandbox")]
async fn embed(config: &mut Config) -> Result<crate::sandbox::Sandbox, Fatal> {
    use crate::sandbox::{Options, Sandbox, random_password};

    let store = config.state_dir.join("vault");
    let mut options = Options::new(&store);
    options.folders = config
        .folders
        .iter()
        .map(|folder| &folder.policy)
        .chain([&config.upload])
        .filter_map(|p| p.dest.clone())
        .collect();
    let fatal =
        |error: &dyn std::fmt::Display| Fatal::new(Exit::SomeFailed, format!("the sandbox can't start: {error}"));
    // Other users of this machine can reach the sandbox too. They must not read what is stored, nor make the sandbox lie about it.
    options.password = random_password().map_err(|error| fatal(&error))?;
    options.controls = false;
    let sandbox = Sandbox::start(options).await.map_err(|error| fatal(&error))?;
    let access = sandbox.access();
    let url = |text: &str| url::Url::parse(text).map_err(|error| fatal(&error));
    config.service = Service {
        realm: access.realm.clone(),
        api_url: url(&access.api_url)?,
        auth_url: url(&access.auth_url)?,
        content_type: config.service.content_type.clone(),
        ca_file: None,
    };
    let password = Source::Given(access.password.clone().into());
    config.login = Some(Login {
        client_id: access.client_id.clone(),
        client_secret: None,
        grant: Grant::Password { username: access.username.clone(), password },
    });
    tracing::info!(vault = %store.display(), "using the sandbox: nothing leaves this machine");
    Ok(sandbox)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::HealthCheck;
    use tokio::time::Instant;

    async fn down() -> Result<(), VaultError> {
        // Each try takes the whole time limit of a connection.
        tokio::time::sleep(Duration::from_secs(10)).await;
        Err(VaultError::new(Kind::Unavailable, "down"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_gives_up_within_a_minute_if_the_service_does_not_answer() {
        for _ in 0..20 {
            let start = Instant::now();
            let fatal = retrying(Some(PATIENCE), &Condition::default(), down).await.unwrap_err();
            assert_eq!(fatal.exit, Exit::Unreachable);
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_waits_for_the_service_for_hours() {
        let note = Condition::default();
        let waiting = tokio::time::timeout(Duration::from_secs(10 * 3600), retrying(None, &note, down));
        assert!(waiting.await.is_err());
        assert_eq!(note.trouble().as_deref(), Some("it can't be used just now; the log says why"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_final_at_once() {
        let start = Instant::now();
        let refused = async || Err(VaultError::new(Kind::Login, "wrong password"));
        assert_eq!(retrying(None, &Condition::default(), refused).await.unwrap_err().exit, Exit::LoginRefused);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
