//! Brings the database to this program's version.

use super::{FleetError, Session};

/// Step `n` turns version `n` into version `n + 1`. A step that was ever released is never edited.
const STEPS: &[&str] = &[include_str!("migrations/001.sql")];

/// The oldest `PostgreSQL` whose views can run with the rights of the user who reads them, which the auditors' filter needs.
const OLDEST: i32 = 150_000;

/// One migration at a time. The number means nothing; it only must be the same in every version of this program.
const LOCK: i64 = 0x6173_7472_616e_0001;

/// What each step needs. Roles belong to the whole server, and another database's migration may make them at the same moment.
const GROUND: &str = "
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['fleet_owner', 'fleet_host', 'fleet_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, 'fleet_owner', 'MEMBER') THEN
        EXECUTE format('GRANT fleet_owner TO %I', current_user);
    END IF;
END $$;
CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
CREATE SCHEMA IF NOT EXISTS fleet AUTHORIZATION fleet_owner;
SET LOCAL search_path = fleet, public;
SET LOCAL client_min_messages = warning;
CREATE TABLE IF NOT EXISTS migration (version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
ALTER TABLE migration OWNER TO fleet_owner;
GRANT USAGE ON SCHEMA fleet TO fleet_host, fleet_auditor;
";

/// Takes all the steps that the database has not taken yet, in one transaction, and makes the partitions of the next months. Returns the
/// versions before and after.
pub async fn migrate(session: &Session) -> Result<(usize, usize), FleetError> {
    session.ask(async |client| client.batch_execute("BEGIN").await).await?;
    session.ask(async |client| client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await).await?;
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version')";
    let row = session.ask(async |client| client.query_one(sql, &[]).await).await?;
    if row.get::<_, i32>(0) < OLDEST {
        let found: String = row.get(1);
        return Err(FleetError::Version(format!(
            "the database runs PostgreSQL {found}, and version 15 or later is needed"
        )));
    }
    session.ask(async |client| client.batch_execute(GROUND).await).await?;
    let row = session
        .ask(async |client| client.query_one("SELECT coalesce(max(version), 0) FROM migration", &[]).await)
        .await?;
    let found = usize::try_from(row.get::<_, i32>(0)).unwrap_or_default();
    if found > STEPS.len() {
        let known = STEPS.len();
        return Err(FleetError::Version(format!(
            "the database has version {found}, and this program knows {known}: a newer program has changed it; install that one here"
        )));
    }
    for (taken, step) in STEPS.iter().enumerate().skip(found) {
        session.ask(async |client| client.batch_execute(step).await).await?;
        let version = i32::try_from(taken + 1).unwrap_or(i32::MAX);
        session
            .ask(async |client| client.execute("INSERT INTO migration (version) VALUES ($1)", &[&version]).await)
            .await?;
    }
    session
        .ask(async |client| client.batch_execute("SET LOCAL ROLE fleet_owner; SELECT make_months(); COMMIT").await)
        .await?;
    Ok((found, STEPS.len()))
}
