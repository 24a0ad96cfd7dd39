//! What the database has, as an auditor or an administrator may read it.

use std::time::{Duration, SystemTime};

use tokio_postgres::{Error, Row};

use super::{FleetError, Session};
use crate::budget;

/// A host, and how it was when it was last heard of.
#[derive(Debug, Clone)]
pub(crate) struct HostStatus {
    pub(crate) name: String,
    pub(crate) dept: String,
    pub(crate) retired: bool,
    pub(crate) joined: bool,
    /// The newest receipt's number.
    pub(crate) receipts: Option<i64>,
    /// How long ago it was heard of, by the database's clock.
    pub(crate) silent: Option<Duration>,
    pub(crate) version: Option<String>,
    /// Its clock minus the database's, in milliseconds.
    pub(crate) clock_ms: Option<i64>,
    pub(crate) unshipped: Option<i64>,
    pub(crate) oldest: Option<Duration>,
    pub(crate) failed: Option<i64>,
    pub(crate) waiting: Option<i64>,
    pub(crate) trouble: Option<String>,
}

/// Where a chain begins and ends in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamState {
    pub(crate) id: [u8; 16],
    pub(crate) host: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) base_seq: i64,
    pub(crate) seq: i64,
    pub(crate) hash: Vec<u8>,
    /// The host's signature of the end; none where nothing was shipped yet.
    pub(crate) signature: Option<Vec<u8>>,
}

/// What receipts are looked for. Empty parts match all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// A glob for the host's name.
    pub(crate) host: Option<String>,
    /// A glob, or a part of the document's name.
    pub(crate) name: Option<String>,
    pub(crate) since: Option<SystemTime>,
}

/// A receipt of any host.
#[derive(Debug, Clone)]
pub(crate) struct SharedReceipt {
    pub(crate) host: String,
    pub(crate) seq: i64,
    pub(crate) name: String,
    pub(crate) dest: String,
    pub(crate) sha256: String,
    pub(crate) size: i64,
    pub(crate) document: String,
    pub(crate) account: String,
    pub(crate) stored_at: SystemTime,
}

/// All hosts that the login may see, by name.
pub(crate) async fn hosts(session: &Session) -> Result<Vec<HostStatus>, FleetError> {
    let sql = "SELECT name, dept, retired_at IS NOT NULL AS retired, joined_at IS NOT NULL AS joined, receipts, silent_s, version, clock_ms, \
               unshipped, oldest_s, failed, waiting, trouble FROM fleet.host_status ORDER BY name";
    let rows = session.ask(async |client| client.query(sql, &[]).await).await?;
    Ok(rows.iter().map(host_status).collect())
}

fn host_status(row: &Row) -> HostStatus {
    let seconds =
        |column| row.get::<_, Option<i64>>(column).map(|s| Duration::from_secs(u64::try_from(s).unwrap_or_default()));
    HostStatus {
        name: row.get("name"),
        dept: row.get("dept"),
        retired: row.get("retired"),
        joined: row.get("joined"),
        receipts: row.get("receipts"),
        silent: seconds("silent_s"),
        version: row.get("version"),
        clock_ms: row.get("clock_ms"),
        unshipped: row.get("unshipped"),
        oldest: seconds("oldest_s"),
        failed: row.get("failed"),
        waiting: row.get("waiting"),
        trouble: row.get("trouble"),
    }
}

/// The ends of all chains that the login may see.
pub(crate) async fn streams(session: &Session) -> Result<Vec<StreamState>, FleetError> {
    let sql = "SELECT uuid_send(s.id) AS id, h.name, s.public_key, s.base_seq, s.head_seq, s.head_hash, s.head_sig \
               FROM fleet.stream s JOIN fleet.host h ON h.id = s.host ORDER BY h.name, s.opened_at";
    let rows = session.ask(async |client| client.query(sql, &[]).await).await?;
    Ok(rows.iter().filter_map(stream_state).collect())
}

fn stream_state(row: &Row) -> Option<StreamState> {
    Some(StreamState {
        id: row.get::<_, Vec<u8>>("id").try_into().ok()?,
        host: row.get("name"),
        public_key: row.get("public_key"),
        base_seq: row.get("base_seq"),
        seq: row.get("head_seq"),
        hash: row.get("head_hash"),
        signature: row.get("head_sig"),
    })
}

/// The first receipt of a chain that is missing or altered in the database, all hashes computed anew; `None` where the chain is whole.
pub(crate) async fn first_defect(session: &Session, stream: &[u8; 16]) -> Result<Option<i64>, FleetError> {
    let sql = "SELECT fleet.first_defect(s) FROM fleet.stream s WHERE uuid_send(s.id) = $1";
    let row = session.ask(async |client| client.query_opt(sql, &[&stream.as_slice()]).await).await?;
    Ok(row.and_then(|row| row.get(0)))
}

/// The hashes that the database has at these places now; a place without a receipt is left out.
pub(crate) async fn hashes_at(
    session: &Session,
    places: &[([u8; 16], i64)],
) -> Result<Vec<([u8; 16], i64, Vec<u8>)>, FleetError> {
    let (ids, seqs): (Vec<&[u8]>, Vec<i64>) = places.iter().map(|(id, seq)| (id.as_slice(), *seq)).unzip();
    let sql = "SELECT uuid_send(s.id) AS id, p.seq, CASE WHEN p.seq = s.base_seq THEN s.base_hash ELSE \
               (SELECT r.hash FROM fleet.receipt r WHERE r.stream = s.id AND r.seq = p.seq LIMIT 1) END AS hash \
               FROM unnest($1::bytea[], $2::bigint[]) AS p (id, seq) JOIN fleet.stream s ON uuid_send(s.id) = p.id";
    let rows = session.ask(async |client| client.query(sql, &[&ids, &seqs]).await).await?;
    let found = rows.iter().filter_map(|row| {
        let id: [u8; 16] = row.get::<_, Vec<u8>>("id").try_into().ok()?;
        Some((id, row.get("seq"), row.get::<_, Option<Vec<u8>>>("hash")?))
    });
    Ok(found.collect())
}

/// What in the database's settings weakens the receipts, in sentences.
pub(crate) async fn warnings(session: &Session) -> Result<Vec<String>, FleetError> {
    let row = session.ask(async |client| settings(client).await).await?;
    let mut warnings = Vec::new();
    let is_off = |column| row.get::<_, String>(column) == "off";
    if is_off("fsync") || is_off("full_page_writes") {
        warnings.push(
            "fsync or full_page_writes is off: a power cut can lose or damage receipts that hosts no longer keep"
                .to_owned(),
        );
    }
    if is_off("synchronous_commit") {
        warnings.push(
            "synchronous_commit is off: a crash can lose the newest receipts after hosts were told that they are kept"
                .to_owned(),
        );
    }
    if row.get::<_, i64>("standbys") > 0 && row.get::<_, String>("synchronous_standby_names").is_empty() {
        warnings.push(
            "no standby is synchronous (synchronous_standby_names): where one takes over, the newest receipts may be missing, and hosts may \
             have pruned them"
                .to_owned(),
        );
    }
    if row.get::<_, i64>("months") < 3 {
        warnings
            .push("partitions for fewer than three more months are left: run `astran-backup fleet migrate`".to_owned());
    }
    Ok(warnings)
}

async fn settings(client: &tokio_postgres::Client) -> Result<Row, Error> {
    let sql = "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes, \
               current_setting('synchronous_commit') AS synchronous_commit, \
               current_setting('synchronous_standby_names') AS synchronous_standby_names, \
               (SELECT count(*) FROM pg_stat_replication) AS standbys, \
               (SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'fleet.receipt'::regclass \
               AND c.relname > 'receipt_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') AND c.relname ~ '^receipt_\\d') AS months";
    client.query_one(sql, &[]).await
}

/// The newest receipts of all hosts that the login may see and the search takes, the newest first.
pub(crate) async fn search(session: &Session, search: &Search) -> Result<Vec<SharedReceipt>, FleetError> {
    let sql = "SELECT host, seq, name, dest, sha256, size, document, account, stored_at FROM fleet.receipts \
               WHERE ($1::text IS NULL OR host LIKE $1) AND ($2::text IS NULL OR name LIKE $2) \
               AND ($3::timestamptz IS NULL OR stored_at >= $3) ORDER BY stored_at DESC, host, seq DESC LIMIT $4";
    let host = search.host.as_deref().map(like_of_glob);
    let name = search.name.as_deref().map(like_of_name);
    let limit = budget::FLEET_ROWS;
    let rows = session.ask(async |client| client.query(sql, &[&host, &name, &search.since, &limit]).await).await?;
    let receipt = |row: &Row| SharedReceipt {
        host: row.get("host"),
        seq: row.get("seq"),
        name: row.get("name"),
        dest: row.get("dest"),
        sha256: row.get("sha256"),
        size: row.get("size"),
        document: row.get("document"),
        account: row.get("account"),
        stored_at: row.get("stored_at"),
    };
    Ok(rows.iter().map(receipt).collect())
}

/// A name as people type it: a glob where it has `*` or `?`, else any part of the name.
fn like_of_name(text: &str) -> String {
    if text.contains(['*', '?']) { like_of_glob(text) } else { format!("%{}%", like_of_glob(text)) }
}

/// A glob of `*` and `?` as a pattern of LIKE.
fn like_of_glob(glob: &str) -> String {
    glob.chars().fold(String::new(), |mut like, letter| {
        match letter {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', letter]),
            other => like.push(other),
        }
        like
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_and_parts_of_names_become_patterns_in_which_nothing_else_is_special() {
        assert_eq!(like_of_glob("scan-?*"), "scan-_%");
        assert_eq!(like_of_glob("100%_a\\b"), "100\\%\\_a\\\\b");
        assert_eq!(like_of_name("invoice"), "%invoice%");
        assert_eq!(like_of_name("*.pdf"), "%.pdf");
    }
}
