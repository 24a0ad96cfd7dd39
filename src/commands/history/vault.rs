//! The part of `history --check` that compares the journal with its anchors in the vault.

use super::comparison::{Agreement, Comparison, Comparisons};
use crate::anchors::{self, AnchorDocument, FoundAnchors};
use crate::budget;
use crate::cli::Global;
use crate::commands::context::Context;
use crate::commands::session::{Memory, Session};
use crate::config::{AnchorFolder, Config};
use crate::exit::Fatal;
use crate::hex;
use crate::journal::anchor::Anchor;
use crate::journal::{AnchorRecord, HeadComparison, Journal};
use crate::secret::Source;
use crate::shutdown::Stop;
use crate::vault::{RemotePath, Vault};

/// Compares the journal with its anchors in the vault. Where no service can be asked, the check stays a local one.
pub(super) async fn compare(journal: &Journal, context: Context) -> Result<Comparisons, Fatal> {
    let Context { config, global, mut shutdown, .. } = context;
    let last = journal.last_anchor().await?;
    let folders = folders(&config, last.as_ref());
    if let Some(why) = why_not_asked(&config, &global, &folders) {
        return Ok(Comparisons::not_compared(why));
    }
    let session = match Session::open(config, &global, Memory::OfCommand).await {
        Ok(session) => session,
        Err(fatal) => return Ok(Comparisons::not_compared(fatal.message)),
    };
    let comparisons = tokio::select! {
        comparisons = ask(journal, &session.client, &folders, last) => comparisons,
        () = shutdown.reached(Stop::Gently) => Ok(Comparisons::not_compared("interrupted")),
    };
    // The logout waits for a login that is under way, and that login may be what took too long.
    tokio::time::timeout(budget::LOGOUT, session.close()).await.ok();
    comparisons
}

/// The login has a time limit of its own: a service that takes connections and does not answer must not delay a local check for long.
async fn ask<V: Vault>(
    journal: &Journal,
    vault: &V,
    folders: &[RemotePath],
    last: Option<AnchorRecord>,
) -> Result<Comparisons, Fatal> {
    match tokio::time::timeout(budget::ANCHORS_LOGIN, vault.probe()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Ok(Comparisons::trouble(error)),
        Err(_) => {
            let seconds = budget::ANCHORS_LOGIN.as_secs();
            return Ok(Comparisons::not_compared(format!("the service did not answer within {seconds} s")));
        }
    }
    let sought = tokio::time::timeout(budget::ANCHORS_SOUGHT, compare_anchors(journal, vault, folders, last)).await;
    sought.unwrap_or_else(|_| Ok(Comparisons::not_compared("the vault took too long to answer")))
}

/// Why the vault is not asked; `None` where it is.
fn why_not_asked(config: &Config, global: &Global, folders: &[RemotePath]) -> Option<&'static str> {
    if config.anchor == AnchorFolder::Off {
        return Some("anchors are off (anchor = \"off\" under [journal])");
    }
    if !global.sandbox() {
        let Ok(login) = config.login() else { return Some("no complete login is configured") };
        if config.service.leads_nowhere() {
            return Some("no service is configured");
        }
        if login.secrets().any(|source| matches!(source, Source::Prompt(_))) {
            return Some("the login would ask for a password");
        }
    }
    folders.is_empty().then_some(
        "no folder for anchors is known: give --anchor /Folder or ASTRAN_BACKUP_ANCHOR, or anchor under [journal]",
    )
}

/// The folders that may have anchors: those where anchors go now, and the one where the last anchor went.
pub(super) fn folders(config: &Config, last: Option<&AnchorRecord>) -> Vec<RemotePath> {
    let mut folders: Vec<RemotePath> = config.anchor_folder().into_iter().collect();
    if config.anchor == AnchorFolder::Dest {
        folders.extend(config.folders.iter().filter_map(|folder| folder.policy.dest.clone()));
    }
    folders.extend(last.and_then(|last| RemotePath::parse(&last.folder).ok()));
    let mut known = Vec::with_capacity(folders.len());
    folders.retain(|folder| {
        let new = !known.contains(folder);
        known.push(folder.clone());
        new
    });
    folders
}

async fn compare_anchors<V: Vault>(
    journal: &Journal,
    vault: &V,
    folders: &[RemotePath],
    last: Option<AnchorRecord>,
) -> Result<Comparisons, Fatal> {
    // The anchor that the journal would make now has the key and the place of all its anchors.
    let now = match journal.current_anchor().await {
        Ok(now) => now,
        Err(error) => return Ok(Comparisons::of(vec![no_key(error.to_string())])),
    };
    let found = match anchors::find(vault, folders, &now, last.as_ref()).await {
        Ok(found) => found,
        Err(error) => return Ok(Comparisons::trouble(error)),
    };
    let mut comparisons = Comparisons::default();
    for anchor in &found.own {
        comparisons.all.push(of_own_key(journal, anchor, &now).await?);
    }
    let noted = last.as_ref().map(document);
    let other_key = found.other_key.iter().filter_map(|found| of_another_key(found, &now, noted.as_deref()));
    comparisons.all.extend(other_key);
    comparisons.all.extend(last.and_then(|last| missing(&found, &last)));
    if comparisons.all.is_empty() {
        comparisons.not_compared = Some("there is no anchor of this journal yet; `history anchor` puts one".to_owned());
    }
    Ok(comparisons)
}

/// The journal's key can't be used, so nothing tells which anchors are the journal's.
fn no_key(text: String) -> Comparison {
    Comparison { document: None, head: None, result: "no_key", text, agreement: Agreement::NotCompared }
}

/// Compares the journal with a document that has the name of this journal's anchors and its key.
async fn of_own_key(journal: &Journal, found: &AnchorDocument, now: &Anchor) -> Result<Comparison, Fatal> {
    let document = Some(found.path.to_string());
    let unusable = |text: String| {
        let (document, agreement) = (document.clone(), Agreement::Contradicts);
        Comparison { document, head: None, result: "unusable", text, agreement }
    };
    let anchor = match &found.anchor {
        Ok(anchor) if anchor.key == now.key => anchor,
        Ok(_) => return Ok(unusable("it was signed by another key than the journal's".to_owned())),
        Err(why) => return Ok(unusable(format!("it is not the anchor that was put there: {why}"))),
    };
    let known_heads = [anchor.receipts_head(), anchor.local_ends_head()];
    let mut compared = journal.compare(known_heads.to_vec()).await?;
    if anchor.fates_since != now.fates_since {
        compared[1] = HeadComparison::Different;
    }
    let worse = usize::from(!compared[0].contradicts() && compared[1].contradicts());
    let text = format!("the anchor of {}: {}", anchor.at, compared[worse].sentence(&known_heads[worse]));
    // Pruning is signed, so it is no open question that the journal lacks a pruned entry.
    let agreement = if compared[worse].contradicts() { Agreement::Contradicts } else { Agreement::Agrees };
    let result = compared[worse].word();
    Ok(Comparison { document, head: Some(known_heads[worse].clone()), result, text, agreement })
}

/// The result for a document that has the name of this journal's anchors, or that the journal noted, but another key.
fn of_another_key(found: &AnchorDocument, now: &Anchor, noted: Option<&str>) -> Option<Comparison> {
    let path = found.path.to_string();
    // Every user of the vault may give a document any name, so a document without a valid signature proves nothing.
    let ours = |anchor: &&Anchor| anchor.place() == now.place() || noted == Some(&*path);
    let anchor = found.anchor.as_ref().ok().filter(ours)?;
    let key = if now.key.is_empty() { "missing".to_owned() } else { now.fingerprint() };
    let text = format!(
        "receipt {} was anchored at {} by another key ({}) than the journal's ({key}): the state was deleted or exchanged since; if \
         that was meant, move this document away and run `history anchor`",
        anchor.seq,
        anchor.at,
        anchor.fingerprint(),
    );
    let head = Some(anchor.receipts_head());
    Some(Comparison { document: Some(path), head, result: "other_key", text, agreement: Agreement::Contradicts })
}

/// The path at which the journal noted its newest anchor.
fn document(last: &AnchorRecord) -> String {
    format!("{}/{}", last.folder.trim_end_matches('/'), last.name)
}

/// The result for the newest anchor that the journal put into the vault, if the vault does not have it any more.
fn missing(found: &FoundAnchors, last: &AnchorRecord) -> Option<Comparison> {
    let key = hex(&last.key);
    // Both receipts and fates are compared: an older version of the document that was put back over it may have as many receipts.
    let covers = |anchor: &Anchor| anchor.key == key && anchor.seq >= last.seq && anchor.fates >= last.fates;
    let mut known = found.own.iter().chain(&found.other_key).filter_map(|found| found.anchor.as_ref().ok());
    if known.any(covers) {
        return None;
    }
    let text = format!(
        "the anchor of receipt {} and fate {}, which the journal put there, is gone: a user of the vault removed or replaced it",
        last.seq, last.fates
    );
    Some(Comparison {
        document: Some(document(last)),
        head: None,
        result: "gone",
        text,
        agreement: Agreement::Contradicts,
    })
}
