//! `[fleet]`: the database that has the receipts of many machines.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::file::FleetKeys;
use super::inputs::Inputs;
use super::{ConfigError, host};
use crate::secret::Source;

/// The time between two heartbeats where nothing is configured.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// The port of `PostgreSQL`.
const PORT: u16 = 5432;
/// What the login of each host begins with.
const LOGIN: &str = "fleet_host_";

/// How a machine takes part in a fleet.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Where the database is.
    pub database: Database,
    /// Where the password of the database's login comes from.
    pub password: Source,
    /// The certificates (PEM) that the database's own must be signed by; the system's where `None`.
    pub ca_file: Option<PathBuf>,
    /// The name of this machine, or why it has none.
    pub name: Result<String, String>,
    /// When a local file may be deleted.
    pub receipts: ReceiptsMode,
    /// The time between two heartbeats.
    pub heartbeat: Duration,
}

impl Fleet {
    /// The login of this machine: the address's user, else the one that `fleet enroll` makes for its name.
    pub fn login(&self) -> Result<String, ConfigError> {
        match (&self.database.user, &self.name) {
            (Some(user), _) => Ok(user.clone()),
            (None, Ok(name)) => Ok(login_of(name)),
            (None, Err(why)) => Err(ConfigError::new(format!(
                "the name of this machine in the fleet is not known, because {why}: add name = \"scan-01\" under [fleet]"
            ))),
        }
    }

    /// Whether two configurations say the same.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let plain = |it: &Self| (it.database.clone(), it.ca_file.clone(), it.name.clone(), it.receipts, it.heartbeat);
        plain(self) == plain(other) && self.password.is_same_as(&other.password)
    }
}

/// The login that `fleet enroll` makes for a machine.
pub(crate) fn login_of(name: &str) -> String {
    format!("{LOGIN}{}", name.to_lowercase())
}

/// Where a database is. Holds no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database's name.
    pub name: String,
    /// The user who logs in, where the address says it.
    pub user: Option<String>,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.name)
    }
}

/// When a local file may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptsMode {
    /// Once this machine's journal has its receipt; the database gets the receipt when it can.
    #[default]
    Async,
    /// Once the database has its receipt too.
    BeforeRemoval,
}

/// The address of a database: `postgres://[user@]host[:port]/name`. No error repeats it, as it may hold a password.
pub(super) fn database(text: &str) -> Result<Database, String> {
    const LIKE: &str = "write it like postgres://db.example/fleet";
    let url = Url::parse(text.trim()).map_err(|e| format!("is no address ({e}): {LIKE}"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(format!("is no address of a PostgreSQL database: {LIKE}"));
    }
    if url.password().is_some() {
        return Err("holds a password: leave it out, and put it into a file for password_file".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a ? or # part: leave it out; the connection is always encrypted and verified".into());
    }
    let plain = |text: &str| {
        let decoded =
            percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| "is no UTF-8 text".to_owned())?;
        if decoded.contains('\0') { Err("holds a NUL".to_owned()) } else { Ok(decoded.into_owned()) }
    };
    let name = plain(url.path().trim_matches('/'))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host.is_empty() || name.is_empty() || name.contains('/') {
        return Err(format!("lacks the server's name or the database's name: {LIKE}"));
    }
    let user = Some(plain(url.username())?).filter(|user| !user.is_empty());
    Ok(Database { host, port: url.port().unwrap_or(PORT), name, user })
}

/// What the environment and the file say. The sandbox is no part of a fleet: its receipts are of documents that are stored nowhere else.
pub(super) fn fleet(inputs: &Inputs<'_>, state_dir: &std::path::Path) -> Result<Option<Fleet>, ConfigError> {
    let FleetKeys { name, database: key, password_file, ca_file, receipts, heartbeat } = &inputs.file.keys.fleet;
    let given = inputs.variable("ASTRAN_BACKUP_FLEET_DATABASE", database)?.or_else(|| key.clone());
    let Some(database) = given.filter(|_| !inputs.overrides.sandbox) else { return Ok(None) };
    if cfg!(not(feature = "fleet")) {
        return Err(ConfigError::new(
            "[fleet] names a database, but this program was built without fleets: build it with `--features fleet`, or leave database out",
        ));
    }
    let path = |variable, key: &Option<PathBuf>| inputs.environment.path(variable).or_else(|| key.clone());
    let password = path("ASTRAN_BACKUP_FLEET_PASSWORD_FILE", password_file);
    Ok(Some(Fleet {
        database,
        password: Source::File(password.unwrap_or_else(|| state_dir.join("fleet.password"))),
        ca_file: path("ASTRAN_BACKUP_FLEET_CA_FILE", ca_file),
        name: host::name_of_this(name.as_deref(), &host::machine()),
        receipts: receipts.unwrap_or_default(),
        heartbeat: heartbeat.unwrap_or(HEARTBEAT),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_database_has_a_server_and_a_name_and_no_password() {
        let full = database("postgres://jo%40x@db.example:6432/fleet").unwrap();
        let expected =
            Database { host: "db.example".into(), port: 6432, name: "fleet".into(), user: Some("jo@x".into()) };
        assert_eq!(full, expected);
        let short = database("postgresql://[::1]/fleet").unwrap();
        assert_eq!((short.host.as_str(), short.port, short.user), ("::1", 5432, None));
        for bad in [
            "",
            "db.example",
            "https://db/fleet",
            "postgres://db",
            "postgres:///fleet",
            "postgres://db/a/b",
            "postgres://u:hunter2@db/f",
        ] {
            let why = database(bad).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        database("postgres://db/fleet?sslmode=disable").unwrap_err();
    }

    #[test]
    fn a_host_logs_in_under_its_own_name() {
        let mut fleet = Fleet {
            database: database("postgres://db/fleet").unwrap(),
            password: Source::File("/p".into()),
            ca_file: None,
            name: Ok("Scan-01".into()),
            receipts: ReceiptsMode::Async,
            heartbeat: HEARTBEAT,
        };
        assert_eq!(fleet.login().unwrap(), "fleet_host_scan-01");
        fleet.name = Err("it has none".into());
        assert!(fleet.login().unwrap_err().to_string().contains("it has none"));
        fleet.database.user = Some("jo".into());
        assert_eq!(fleet.login().unwrap(), "jo");
    }
}
