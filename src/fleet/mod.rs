//! The database that has the receipts of many machines.
//!
//! ```text
//!  journal ─► shipper ─► session (TLS) ─► function `ship` ─► receipt, stream     PostgreSQL
//!                                    └──► function `beat` ─► beat
//!  fleet status, check, history --all-hosts ◄─ views, by department ◄──┘
//! ```
//!
//! The journal stays the journal: a receipt is durable there before anything else happens, and no upload ever waits for the database.
//! The `shipper` copies the chain of receipts, in batches, from where the database's copy ends; that end is asked for at each new
//! connection, so a lost answer needs no memory. The database recomputes each hash, and takes only the next receipt.
//!
//! A host logs in as itself and may call four functions (`migrations/001.sql`); it can neither read nor change a table.
//!
//! - `tls`, `session`: the verified connection, and a time limit for each request; `error` says what a failure means.
//! - `schema`: brings the database to this program's version. `members` enrols, joins and retires hosts; `token` is what they are given.
//! - `batch` (pure) turns links of the chain into what the database takes; `shipper` is the loop, `beat` what it says of this host.
//! - `audit` reads what the database has; `checkpoint` (pure) compares the ends of all chains with those that were seen before.

mod audit;
mod batch;
mod beat;
mod checkpoint;
mod error;
mod host;
mod members;
mod schema;
mod session;
mod shipper;
mod tls;
mod token;

pub(crate) use audit::{
    HostStatus, Search, SharedReceipt, StreamState, first_defect, hashes_at, hosts, search, streams, warnings,
};
pub use batch::Batch;
pub(crate) use beat::Condition as HostCondition;
pub(crate) use checkpoint::{Contradiction, Note};
pub use error::FleetError;
pub use host::Host;
pub use members::{Enrolled, enroll, join, retire};
pub use schema::migrate;
pub use session::{Head, Session};
pub use shipper::{Shipper, Shipping};
pub use token::Token;
