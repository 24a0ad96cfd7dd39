//! `history anchor`: puts an anchor of the journal's chains into the vault now.

use std::io::Write;

use serde_json::{Value, json};

use super::vault::folders;
use crate::anchors::{self, StoredAnchor};
use crate::cli::History;
use crate::commands::context::Context;
use crate::commands::print::printed;
use crate::config::{AnchorFolder, Config};
use crate::exit::{Exit, Fatal};
use crate::journal::{AnchorRecord, Journal};
use crate::vault::{RemotePath, Vault};

pub(super) async fn command(
    journal: &Journal,
    typed: &History,
    context: Context,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    if typed.lists_or_checks() {
        return Err(Fatal::new(Exit::Usage, "history anchor goes with no other flag of history"));
    }
    let folder = folder(&context.config, journal.last_anchor().await?.as_ref())?;
    let json = context.global.json;
    context.ask(async |vault| put(journal, vault, &folder, json, out).await).await
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
async fn put<V: Vault>(
    journal: &Journal,
    vault: &V,
    folder: &RemotePath,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    let put = anchors::put(vault, journal, folder).await.map_err(|error| match error {
        anchors::AnchorError::Journal(error) => Fatal::from(error),
        anchors::AnchorError::Vault(error) => Fatal::from(error),
        busy @ anchors::AnchorError::Busy => Fatal::new(Exit::SomeFailed, busy.to_string()),
    })?;
    anchors::log(&put.anchor);
    let heads = || format!("{} {}", put.anchor.receipts_head(), put.anchor.local_ends_head());
    let text = if json { object(&put).to_string() } else { heads() };
    printed(writeln!(out, "{text}"))?;
    Ok(Exit::Done)
}

fn object(put: &StoredAnchor) -> Value {
    let anchor = &put.anchor;
    json!({
        "anchor": anchor.receipts_head().to_string(),
        "seq": anchor.seq,
        "hash": anchor.hash,
        "fates": anchor.local_ends_head().to_string(),
        "key": anchor.fingerprint(),
        "document": put.folder.join(&put.name).to_string(),
        "at": anchor.at,
    })
}
