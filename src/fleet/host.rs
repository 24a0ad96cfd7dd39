//! This host as the shipper sees the database: a way to connect, and what a connection can do.

use super::beat::Beat;
use super::shipper::{Database, Link};
use super::{Batch, FleetError, Head, Session};
use crate::config::Fleet;

/// The configured database, to which this host connects as itself.
#[derive(Debug, Clone)]
pub struct Host(pub Fleet);

impl Database for Host {
    type Link = Session;

    async fn connect(&self) -> Result<Session, FleetError> {
        Session::of_host(&self.0).await
    }
}

impl Link for Session {
    async fn head(&self) -> Result<Option<Head>, FleetError> {
        Session::head(self).await
    }

    async fn ship(&self, batch: &Batch, signature: &[u8]) -> Result<i64, FleetError> {
        Session::ship(self, batch, signature).await
    }

    async fn beat(&self, beat: &Beat) -> Result<(), FleetError> {
        Session::beat(self, beat).await
    }
}
