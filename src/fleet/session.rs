//! A connection to the database, with a time limit for each request.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error, Statement};

use super::tls::Tls;
use super::{Batch, FleetError, beat};
use crate::budget;
use crate::config::{Database, Fleet};

/// A connection to the database. It ends when this is dropped.
pub struct Session {
    client: Client,
    driver: AbortHandle,
    database: String,
    login: String,
    /// For each request.
    patience: Duration,
    /// Prepared once: a distant database would answer two questions for each batch otherwise.
    ship: OnceCell<Statement>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Where the database's copy of a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The chain's identifier in the database.
    pub stream: [u8; 16],
    /// The newest receipt's number; 0 where there is none.
    pub seq: i64,
    /// The newest receipt's hash.
    pub hash: Vec<u8>,
    /// The host's key, as it was pinned when the host joined.
    pub public_key: Vec<u8>,
}

impl Session {
    /// Connects as a host does: with the configured login, and a short patience.
    pub async fn of_host(fleet: &Fleet) -> Result<Self, FleetError> {
        let login = fleet.login().map_err(|error| FleetError::Settings(error.to_string()))?;
        let password = fleet.password.read().await.map_err(|error| FleetError::Settings(error.to_string()))?;
        Self::open(fleet, &login, &password, (budget::FLEET_STATEMENT, budget::FLEET_ANSWER)).await
    }

    /// Connects as a person does: with the address's user, and patience for long searches.
    pub async fn of_person(fleet: &Fleet) -> Result<Self, FleetError> {
        let Some(login) = fleet.database.user.clone() else {
            return Err(FleetError::Settings(
                "the address of the database names no user: write it like postgres://admin@db.example/fleet, in [fleet] or in \
                 ASTRAN_BACKUP_FLEET_DATABASE"
                    .into(),
            ));
        };
        let password = fleet.password.read().await.map_err(|error| FleetError::Settings(error.to_string()))?;
        let patience = (budget::FLEET_SEARCH, budget::FLEET_SEARCH + budget::FLEET_CONNECT);
        Self::open(fleet, &login, &password, patience).await
    }

    /// Connects with this login. `patience` is how long a statement may take in the database, and from a request to its answer here.
    pub(super) async fn open(
        fleet: &Fleet,
        login: &str,
        password: &SecretString,
        patience: (Duration, Duration),
    ) -> Result<Self, FleetError> {
        let ca_file = fleet.ca_file.clone();
        let tls = spawn_blocking(move || Tls::new(ca_file.as_deref())).await;
        let tls = tls.map_err(|error| FleetError::Settings(format!("TLS can't be set up: {error}")))??;
        let database = fleet.database.to_string();
        let config = config(&fleet.database, login, password, patience.0);
        let Ok(connected) = timeout(budget::FLEET_CONNECT, config.connect(tls)).await else {
            return Err(FleetError::NoAnswer { database, within: budget::FLEET_CONNECT });
        };
        let (client, connection) = connected.map_err(|error| FleetError::of(&database, login, error))?;
        // An error of the connection is the error of the request that it breaks.
        let driver = tokio::spawn(async move { connection.await.ok() }).abort_handle();
        Ok(Self { client, driver, database, login: login.to_owned(), patience: patience.1, ship: OnceCell::new() })
    }

    /// Runs one request within the time limit.
    pub(super) async fn ask<T>(&self, request: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> Result<T, FleetError> {
        match timeout(self.patience, request(&self.client)).await {
            Ok(answer) => answer.map_err(|error| FleetError::of(&self.database, &self.login, error)),
            Err(_elapsed) => Err(FleetError::NoAnswer { database: self.database.clone(), within: self.patience }),
        }
    }

    /// Where the database's copy of the host's chain ends; `None` where the host has not joined yet.
    pub async fn head(&self) -> Result<Option<Head>, FleetError> {
        let sql = "SELECT uuid_send(stream) AS stream, seq, hash, public_key FROM fleet.head()";
        let row = self.ask(async |client| client.query_one(sql, &[]).await).await?;
        let read = |error| FleetError::of(&self.database, &self.login, error);
        let Some(stream) = row.try_get::<_, Option<Vec<u8>>>("stream").map_err(read)? else { return Ok(None) };
        Ok(Some(Head {
            stream: stream.try_into().map_err(|_| FleetError::Database("a chain has no identifier".into()))?,
            seq: row.try_get("seq").map_err(read)?,
            hash: row.try_get("hash").map_err(read)?,
            public_key: row.try_get("public_key").map_err(read)?,
        }))
    }

    /// Appends a batch to the database's copy of the host's chain. Returns the number of its newest receipt then.
    pub async fn ship(&self, batch: &Batch, signature: &[u8]) -> Result<i64, FleetError> {
        let row = self
            .ask(async |client| {
                let statement = self.ship.get_or_try_init(|| Batch::prepare(client)).await?;
                batch.send(client, statement, signature).await
            })
            .await?;
        row.try_get(0).map_err(|error| FleetError::of(&self.database, &self.login, error))
    }

    /// Notes in the database how the host is.
    pub(super) async fn beat(&self, beat: &beat::Beat) -> Result<(), FleetError> {
        self.ask(async |client| beat.send(client).await).await
    }
}

/// How the connection is made. Nothing falls back to plain text.
fn config(database: &Database, login: &str, password: &SecretString, statement: Duration) -> Config {
    let mut config = Config::new();
    let milliseconds = statement.as_millis();
    config
        .host(&database.host)
        .port(database.port)
        .dbname(&database.name)
        .user(login)
        .password(password.expose_secret())
        .application_name("astran-backup")
        .ssl_mode(SslMode::Require)
        .connect_timeout(budget::FLEET_CONNECT)
        .keepalives(true)
        .keepalives_idle(budget::FLEET_KEEPALIVE)
        .tcp_user_timeout(budget::FLEET_UNACKED)
        .options(format!(
            "-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
        ));
    config
}
