//! Which service the journal's receipts are of.

use rusqlite::{Connection, OptionalExtension as _};

use super::error::{RefusedRequest, RequestError};
use super::{Journal, JournalError};

impl Journal {
    /// Makes this service the journal's owner. A journal of another service refuses, for the receipts of one must not count for
    /// another; a journal of an older version goes to the first that claims it. Returns whether it was such an older one.
    pub async fn claim(&self, service: &str) -> Result<bool, JournalError> {
        let service = service.to_owned();
        self.write(move |connection| claim(connection, &service)).await
    }

    /// The service that the journal's receipts are of; `None` where it does not say.
    pub async fn service(&self) -> Result<Option<String>, JournalError> {
        self.read(owner).await
    }
}

fn claim(connection: &Connection, claimant: &str) -> Result<bool, RequestError> {
    match owner(connection)? {
        Some(owner) if owner == claimant => Ok(false),
        Some(owner) => Err(RefusedRequest::OtherService { owner, claimant: claimant.to_owned() }.into()),
        None => {
            connection.prepare_cached("INSERT INTO service (id, name) VALUES (1, ?1)")?.execute([claimant])?;
            Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM attempt)", [], |row| row.get(0))?)
        }
    }
}

/// The service that the journal belongs to.
pub(super) fn owner(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT name FROM service", [], |row| row.get("name")).optional()
}
