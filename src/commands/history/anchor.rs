//! `history anchor`: puts an anchor of the journal's chains into the vault now.

use serde::Serialize;

use super::vault::folders;
use crate::anchors::{self, StoredAnchor};
use crate::cli::History;
use crate::commands::context::Context;
use crate::commands::output::Output;
use crate::config::{AnchorFolder, Config};
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::journal::{AnchorRecord, Journal};
use crate::vault::{RemotePath, Vault};

pub(super) async fn command(
    journal: &Journal,
    typed: &History,
    context: Context,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    if typed.lists_or_checks() {
        return Err(Fatal::new(Exit::Usage, "history anchor goes with no other flag of history"));
    }
    let folder = folder(&context.config, journal.last_anchor().await?.as_ref())?;
    context.ask(async |vault| put(journal, vault, &folder, out).await).await
}

/// The folder into which `history anchor` puts the anchor.
fn folder(config: &Config, last: Option<&AnchorRecord>) -> Result<RemotePath, Fatal> {
    let off = config.anchor == AnchorFolder::Off;
    let known = folders(config, last).into_iter().next().filter(|_| !off);
    let why = if off { "anchors are off" } else { "no folder for anchors is known" };
    let mend = "give --anchor /Folder, ASTRAN_BACKUP_ANCHOR, anchor = \"/Folder\" under [journal], or a destination";
    known.ok_or_else(|| Fatal::new(Exit::Usage, format!("{why}: {mend}")))
}

/// Puts an anchor into the vault, and prints the heads of both chains: SEQ:HASH, a space, fSEQ:HASH.
async fn put<V: Vault>(journal: &Journal, vault: &V, folder: &RemotePath, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let put = anchors::put(vault, journal, folder).await.map_err(|error| match error {
        anchors::AnchorError::Journal(error) => Fatal::from(error),
        anchors::AnchorError::Vault(error) => Fatal::from(error),
        busy @ anchors::AnchorError::Busy => Fatal::new(Exit::SomeFailed, busy.to_string()),
    })?;
    anchors::log(&put.anchor);
    out.print(&AnchorEvent::new(&put), || format!("{} {}", put.anchor.receipts_head(), put.anchor.local_ends_head()))?;
    Ok(Exit::Done)
}

/// The heads of both chains, and where their anchor lies in the vault.
#[derive(Serialize)]
struct AnchorEvent<'a> {
    /// SEQ:HASH, as `--against` takes it.
    anchor: String,
    /// fSEQ:HASH, as `--against` takes it.
    local_ends: String,
    receipt: i64,
    receipt_hash: &'a str,
    key: String,
    remote_path: String,
    signed_at: &'a str,
}

impl Event for AnchorEvent<'_> {
    const TYPE: &'static str = "anchor";
}

impl<'a> AnchorEvent<'a> {
    fn new(put: &'a StoredAnchor) -> Self {
        let anchor = &put.anchor;
        Self {
            anchor: anchor.receipts_head().to_string(),
            local_ends: anchor.local_ends_head().to_string(),
            receipt: anchor.seq,
            receipt_hash: &anchor.hash,
            key: anchor.fingerprint(),
            remote_path: put.folder.join(&put.name).to_string(),
            signed_at: &anchor.at,
        }
    }
}
