//! `history`: what the journal knows of each file, and whether its receipts are as they were written.

mod anchor;
mod check;
mod comparison;
mod here;
mod list;
pub(super) mod time;
mod vault;

use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::journals;
use super::output::Output;
use crate::cli::{History, HistoryCommand};
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::journal::Journal;
use crate::retention;

pub use check::check;
pub use list::{Options, run};

/// How many receipts were forgotten.
#[derive(Serialize)]
struct PrunedEvent {
    receipts: u64,
}

impl Event for PrunedEvent {
    const TYPE: &'static str = "pruned";
}

/// Runs `history` as it was typed.
pub(super) async fn command(context: Context, typed: History, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let journal = journals::open_known(&context.config, &context.global).await?;
    if let Some(HistoryCommand::Anchor) = typed.command {
        return anchor::command(&journal, &typed, context, out).await;
    }
    if typed.check {
        return check::command(&journal, &typed, context, out).await;
    }
    if let Some(age) = typed.prune_before {
        return prune(&journal, age, out).await;
    }
    let options = Options {
        failed: typed.failed,
        pending: typed.pending,
        since: typed.since,
        name: typed.name.map(|name| name.to_string_lossy().into_owned()),
        limit: typed.limit,
        utc: typed.utc,
    };
    let exit = run(&journal, &options, out).await?;
    here::print(&context.config.folders, &journal, &options, out).await?;
    Ok(exit)
}

/// Forgets the receipts that are older than `age`, if the chain is whole.
async fn prune(journal: &Journal, age: Duration, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let before = time::ago(Some(age)).ok_or_else(|| Fatal::new(Exit::Usage, "nothing can be so old"))?;
    let count = retention::prune_if_whole(journal, before).await?.ok_or_else(|| {
        let reason = "nothing is forgotten while receipts are missing or altered: see history --check";
        Fatal::new(Exit::SomeFailed, reason)
    })?;
    out.print(&PrunedEvent { receipts: count }, || {
        let receipts = if count == 1 { "receipt" } else { "receipts" };
        format!("{count} {receipts} forgotten; those that are left can still be checked")
    })?;
    Ok(Exit::Done)
}
