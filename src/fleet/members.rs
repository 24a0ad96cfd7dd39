//! The hosts of a fleet: enrolled by an administrator, joined by themselves, retired by an administrator.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postgres_protocol::password::scram_sha_256;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};

use super::{FleetError, Session, Token};
use crate::budget;
use crate::config::{Fleet, host_name, login_of};
use crate::failpoint::failpoint;
use crate::journal::Journal;

/// The longest name that `PostgreSQL` keeps whole, in bytes.
const LONGEST_LOGIN: usize = 63;

/// Connections that a host may have at once: its daemon, a push, and the ones before them that have not ended yet.
const CONNECTIONS: u32 = 8;

/// What was done for a new host.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// What `fleet join` takes, on the host.
    pub token: Token,
    /// Whether the host was in the fleet before, and retired. It gets a new chain.
    pub again: bool,
}

/// Makes a login for a host of a department.
pub async fn enroll(session: &Session, name: &str, dept: &str) -> Result<Enrolled, FleetError> {
    let name = host_name(name).map_err(|why| FleetError::Settings(format!("the host's name {why}")))?;
    let login = login_of(&name);
    if login.len() > LONGEST_LOGIN {
        let most = LONGEST_LOGIN - login_of("").len();
        return Err(FleetError::Settings(format!(
            "the host's name has more than {most} characters, which its login can't hold"
        )));
    }
    if dept.is_empty() || dept == "*" {
        return Err(FleetError::Settings(format!(
            "`{dept}` is no department: it can't be empty, and * stands for all of them"
        )));
    }
    begin(session).await?;
    let known = "SELECT h.retired_at IS NOT NULL FROM fleet.host h WHERE h.login = $1::text::name FOR UPDATE";
    let known = session.ask(async |client| client.query_opt(known, &[&login]).await).await?;
    let again = known.map(|row| row.get::<_, bool>(0));
    if again == Some(false) {
        return Err(FleetError::Settings(format!(
            "the host {name} is enrolled already: retire it first (`astran-backup fleet retire {name}`) if it must join anew"
        )));
    }
    let password = new_password()?;
    let (quoted, verifier) = (identifier(&login), literal(&scram_sha_256(password.expose_secret().as_bytes())));
    let role = if again.is_some() { "ALTER" } else { "CREATE" };
    let statement = format!(
        "{role} ROLE {quoted} LOGIN CONNECTION LIMIT {CONNECTIONS} PASSWORD {verifier}; GRANT fleet_host TO {quoted}"
    );
    session.ask(async |client| client.batch_execute(&statement).await).await?;
    let noted = "INSERT INTO fleet.host AS h (name, login, dept) VALUES ($1, $2::text::name, $3) ON CONFLICT (login) DO UPDATE \
                 SET name = excluded.name, dept = excluded.dept, stream = NULL, retired_at = NULL, enrolled_at = clock_timestamp()";
    session.ask(async |client| client.execute(noted, &[&name, &login, &dept]).await).await?;
    commit(session).await?;
    Ok(Enrolled { token: Token { host: name, login, password }, again: again.is_some() })
}

/// Takes a host out of the fleet: its login and its chain end, and its receipts stay.
pub async fn retire(session: &Session, name: &str) -> Result<(), FleetError> {
    begin(session).await?;
    let sql = "UPDATE fleet.host SET retired_at = clock_timestamp() WHERE login = $1::text::name AND retired_at IS NULL \
               RETURNING login::text, stream IS NOT NULL";
    let row = session.ask(async |client| client.query_opt(sql, &[&login_of(name)]).await).await?;
    let Some(row) = row else {
        return Err(FleetError::Settings(format!("the fleet has no host {name}, or it is retired already")));
    };
    let login: String = row.get(0);
    let closed = "UPDATE fleet.stream s SET closed_at = clock_timestamp() FROM fleet.host h WHERE h.stream = s.id AND h.login = $1::text::name";
    session.ask(async |client| client.execute(closed, &[&login]).await).await?;
    let statement = format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", identifier(&login));
    session.ask(async |client| client.batch_execute(&statement).await).await?;
    commit(session).await
}

/// Joins the fleet with a token: the journal's key is pinned, and the token's password is replaced by one that only this host knows.
///
/// `keep` writes the new password down. It is called before the database takes that password, so that a lost answer leaves no host
/// without its password. Returns whether the host had joined before, with this key.
pub async fn join(
    fleet: &Fleet,
    token: &Token,
    journal: &Journal,
    keep: impl AsyncFnOnce(&SecretString) -> Result<(), FleetError>,
) -> Result<bool, FleetError> {
    let login = fleet.login().map_err(|error| FleetError::Settings(error.to_string()))?;
    if login != token.login {
        let name = fleet.name.as_deref().unwrap_or(&login);
        return Err(FleetError::Settings(format!(
            "the token is for the host {}, and this one is {name}: set name = \"{}\" under [fleet], or use another token",
            token.host, token.host
        )));
    }
    let key = journal.public_key().await?;
    if has_joined(fleet, &key).await {
        return Ok(true);
    }
    let patience = (budget::FLEET_STATEMENT, budget::FLEET_ANSWER);
    let session = Session::open(fleet, &login, &token.password, patience).await.map_err(used)?;
    let ends = journal.ends().await?;
    let password = new_password()?;
    begin(&session).await?;
    let base = (ends.pruned.seq, ends.pruned.hash_bytes());
    let sql = "SELECT fleet.join_host($1, $2, $3)";
    session.ask(async |client| client.query_one(sql, &[&key, &base.0, &base.1]).await.map(drop)).await?;
    let verifier = literal(&scram_sha_256(password.expose_secret().as_bytes()));
    let statement = format!("ALTER ROLE CURRENT_USER PASSWORD {verifier}");
    session.ask(async |client| client.batch_execute(&statement).await).await?;
    keep(&password).await?;
    failpoint("before-join");
    commit(&session).await?;
    failpoint("after-join");
    journal.note_shipped(base.0).await?;
    Ok(false)
}

/// Whether the host has joined with this key, and knows its password: a join whose answer was lost.
async fn has_joined(fleet: &Fleet, key: &[u8]) -> bool {
    let Ok(session) = Session::of_host(fleet).await else { return false };
    matches!(session.head().await, Ok(Some(head)) if head.public_key == key)
}

/// A token whose password does not work any more was used.
fn used(error: FleetError) -> FleetError {
    match error {
        FleetError::LoginRefused { .. } => {
            FleetError::JoinedAlready("the token does not work any more: it was used, or its host is retired".into())
        }
        other => other,
    }
}

async fn begin(session: &Session) -> Result<(), FleetError> {
    session.ask(async |client| client.batch_execute("BEGIN").await).await
}

async fn commit(session: &Session) -> Result<(), FleetError> {
    session.ask(async |client| client.batch_execute("COMMIT").await).await
}

/// 256 random bits as text.
fn new_password() -> Result<SecretString, FleetError> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| FleetError::Settings("the system gives no random numbers for a password".into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// A name in SQL.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL, without escapes (`standard_conforming_strings`, which is on by default).
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_stay_in_their_quotes() {
        assert_eq!(identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn no_two_passwords_are_the_same() {
        let (one, other) = (new_password().unwrap(), new_password().unwrap());
        assert!(one.expose_secret().len() >= 43 && one.expose_secret() != other.expose_secret());
    }
}
