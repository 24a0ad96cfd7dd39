//! `history --all-hosts`: the receipts of all machines.

use serde::Serialize;

use super::person;
use crate::budget;
use crate::cli::History;
use crate::commands::output::Output;
use crate::config::Config;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::fleet::{self, Search, SharedReceipt};
use crate::measure::utc;
use crate::printable::printable;

/// A receipt of any machine.
#[derive(Serialize)]
struct ReceiptEvent<'a> {
    host: &'a str,
    receipt: i64,
    remote_path: String,
    document_id: &'a str,
    size: u64,
    sha256: &'a str,
    user: &'a str,
    stored: String,
}

impl Event for ReceiptEvent<'_> {
    const TYPE: &'static str = "fleet_receipt";
}

/// Prints the receipts that the database has, the newest last.
pub(in crate::commands) async fn history(
    config: &Config,
    typed: &History,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let session = person(config).await?;
    let search = Search {
        host: typed.host.clone(),
        name: typed.name.as_ref().map(|name| name.to_string_lossy().into_owned()),
        since: typed.since.and_then(|age| std::time::SystemTime::now().checked_sub(age)),
    };
    let found = fleet::search(&session, &search).await?;
    if i64::try_from(found.len()).is_ok_and(|rows| rows == budget::FLEET_ROWS) {
        tracing::warn!("there are more: these are the newest {}; give a name, --host or --since", budget::FLEET_ROWS);
    }
    for receipt in found.iter().rev() {
        out.print(&event(receipt), || line(receipt))?;
    }
    Ok(Exit::Done)
}

fn remote_path(receipt: &SharedReceipt) -> String {
    format!("{}/{}", receipt.dest.trim_end_matches('/'), receipt.name)
}

fn event(receipt: &SharedReceipt) -> ReceiptEvent<'_> {
    ReceiptEvent {
        host: &receipt.host,
        receipt: receipt.seq,
        remote_path: remote_path(receipt),
        document_id: &receipt.document,
        size: receipt.size.cast_unsigned(),
        sha256: &receipt.sha256,
        user: &receipt.account,
        stored: utc(receipt.stored_at),
    }
}

fn line(receipt: &SharedReceipt) -> String {
    let (host, path) = (printable(&receipt.host), printable(&remote_path(receipt)));
    format!("{}  {:>12}  {host}: {path}", utc(receipt.stored_at), receipt.size)
}
