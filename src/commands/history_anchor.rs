//! `history anchor`, and the part of `history --check` that compares the journal with what is kept elsewhere.

use std::io::Write;

use serde_json::{Value, json};

use super::history::printed;
use super::session::Session;
use crate::anchors::{self, Found, Lying, Put};
use crate::budget;
use crate::cli::Global;
use crate::config::{AnchorFolder, Config};
use crate::exit::{Exit, Fatal};
use crate::journal::anchor::Anchor;
use crate::journal::{Anchored, Claim, Compared, Journal};
use crate::printable::printable;
use crate::secret::Source;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::{RemotePath, Vault};

/// One comparison of the journal with something that is kept elsewhere.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Where it is kept: a document's path in the vault; `None` for what was given with `--against`.
    pub document: Option<String>,
    /// What is claimed; `None` where the document can't be used.
    pub claim: Option<Claim>,
    /// What came of it, in one word for scripts.
    pub result: &'static str,
    /// The same for people.
    pub told: String,
    /// Whether the journal is not what it was.
    pub broken: bool,
}

/// All comparisons.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In the order in which they were made.
    pub comparisons: Vec<Comparison>,
    /// Why the journal was not compared with the vault; `None` where it was, or where nobody asked for it.
    pub not_compared: Option<String>,
}

impl Seen {
    fn not_compared(why: impl Into<String>) -> Self {
        Self { comparisons: Vec::new(), not_compared: Some(why.into()) }
    }

    /// Whether nothing contradicts the journal.
    pub fn is_fine(&self) -> bool {
        self.comparisons.iter().all(|comparison| !comparison.broken)
    }

    /// The lines for people.
    pub fn lines(&self) -> Vec<String> {
        let said = |it: &Comparison| format!("{}{}", it.place(), printable(&it.told));
        let (broken, fine): (Vec<_>, Vec<_>) = self.comparisons.iter().partition(|comparison| comparison.broken);
        let mut lines: Vec<String> = broken.into_iter().map(|it| format!("BROKEN {}", said(it))).collect();
        lines.extend(fine.first().map(|newest| {
            let more = if fine.len() > 1 { format!("; {} older ones agree", fine.len() - 1) } else { String::new() };
            format!("compared with what is kept elsewhere: {}{more}", said(newest))
        }));
        lines.extend(self.not_compared.iter().map(|why| format!("not compared with the vault: {}", printable(why))));
        lines
    }

    /// The same for scripts.
    pub fn objects(&self) -> Vec<Value> {
        let object = |it: &Comparison| {
            let (seq, claim) = (it.claim.as_ref().map(|claim| claim.seq), it.claim.as_ref().map(Claim::to_string));
            json!({ "document": it.document, "seq": seq, "against": claim, "result": it.result, "broken": it.broken, "told": it.told })
        };
        self.comparisons.iter().map(object).collect()
    }
}

impl Comparison {
    fn place(&self) -> String {
        self.document.as_ref().map_or_else(String::new, |document| format!("{}: ", printable(document)))
    }
}

/// Reads what was given with `--against`.
pub fn claims(given: &[String]) -> Result<Vec<Claim>, Fatal> {
    let read = |text: &String| text.parse().map_err(|why| Fatal::new(Exit::Usage, format!("--against {text}: {why}")));
    given.iter().map(read).collect()
}

/// Compares with what was given. An entry that was pruned can't be compared, so nothing is proved, and that is no success.
pub async fn against(journal: &Journal, claims: Vec<Claim>) -> Result<Seen, Fatal> {
    let compared = journal.compare(claims.clone()).await?;
    let comparison = |(claim, compared): (Claim, Compared)| Comparison {
        document: None,
        result: compared.word(),
        told: compared.told(&claim),
        broken: compared != Compared::Same,
        claim: Some(claim),
    };
    Ok(Seen { comparisons: claims.into_iter().zip(compared).map(comparison).collect(), not_compared: None })
}

/// Compares with the anchors in the vault, where there is a service that can be asked: a check without one is a local check.
pub async fn vault(journal: &Journal, config: Config, global: &Global, mut shutdown: Shutdown) -> Result<Seen, Fatal> {
    let last = journal.last_anchor().await?;
    let folders = folders(&config, last.as_ref());
    if let Some(why) = unasked(&config, global, &folders) {
        return Ok(Seen::not_compared(why));
    }
    let session = match Session::open(config, global).await {
        Ok(session) => session,
        Err(fatal) => return Ok(Seen::not_compared(fatal.message)),
    };
    let seen = tokio::select! {
        seen = tokio::time::timeout(budget::ANCHORS_SOUGHT, in_vault(journal, &session.client, &folders, last)) => {
            seen.unwrap_or_else(|_| Ok(Seen::not_compared("the vault took too long to answer")))
        }
        () = shutdown.reached(Stop::Gently) => Ok(Seen::not_compared("interrupted")),
    };
    session.close().await;
    seen
}

/// Why the vault is not asked at all.
fn unasked(config: &Config, global: &Global, folders: &[RemotePath]) -> Option<&'static str> {
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
    folders
        .is_empty()
        .then_some("no folder for anchors is known: set ASTRAN_BACKUP_ANCHOR=/Folder, or anchor under [journal]")
}

/// Where anchors may lie: where they go now, and where the last one went.
fn folders(config: &Config, last: Option<&Anchored>) -> Vec<RemotePath> {
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

async fn in_vault<V: Vault>(
    journal: &Journal,
    vault: &V,
    folders: &[RemotePath],
    last: Option<Anchored>,
) -> Result<Seen, Fatal> {
    // It has the key and the place by which the anchors of this journal are known.
    let now = match journal.sign_anchor().await {
        Ok(now) => now,
        Err(error) => return Ok(Seen { comparisons: vec![no_key(error.to_string())], not_compared: None }),
    };
    let found = match anchors::find(vault, folders, &now.anchor).await {
        Ok(found) => found,
        Err(error) => return Ok(Seen::not_compared(error.message)),
    };
    let mut seen = Seen::default();
    for lying in &found.own {
        seen.comparisons.push(own(journal, lying, &now.anchor).await?);
    }
    seen.comparisons.extend(found.other_key.iter().filter_map(|lying| of_another_key(lying, &now.anchor)));
    seen.comparisons.extend(last.filter(|last| last.key == now.public).and_then(|last| missing(&found, &last)));
    if seen.comparisons.is_empty() {
        seen.not_compared = Some("there is no anchor of this journal yet; `history anchor` puts one".to_owned());
    }
    Ok(seen)
}

/// Without its key nothing tells which anchors are the journal's.
fn no_key(told: String) -> Comparison {
    Comparison { document: None, claim: None, result: "no_key", told, broken: true }
}

/// A document that has the name of this journal and its key.
async fn own(journal: &Journal, lying: &Lying, now: &Anchor) -> Result<Comparison, Fatal> {
    let document = Some(lying.path.to_string());
    let unusable =
        |told: String| Comparison { document: document.clone(), claim: None, result: "unusable", told, broken: true };
    let anchor = match &lying.anchor {
        Ok(anchor) if anchor.key == now.key => anchor,
        Ok(_) => return Ok(unusable("it was signed by another key than the journal's".to_owned())),
        Err(why) => return Ok(unusable(format!("it is not the anchor that was put there: {why}"))),
    };
    let claims = [anchor.receipts(), anchor.of_fates()];
    let mut compared = journal.compare(claims.to_vec()).await?;
    if anchor.fates_since != now.fates_since {
        compared[1] = Compared::Different;
    }
    let worse = usize::from(!compared[0].contradicts() && compared[1].contradicts());
    let told = format!("the anchor of {}: {}", anchor.at, compared[worse].told(&claims[worse]));
    let (broken, result) = (compared[worse].contradicts(), compared[worse].word());
    Ok(Comparison { document, claim: Some(claims[worse].clone()), result, told, broken })
}

/// A document that has the name of this journal, but of another key.
fn of_another_key(lying: &Lying, now: &Anchor) -> Option<Comparison> {
    // Anybody may give a document any name; what no key has signed says nothing.
    let anchor = lying.anchor.as_ref().ok().filter(|anchor| anchor.place() == now.place())?;
    let told = format!(
        "receipt {} was anchored at {} by another key ({}) than the journal's ({}): the state was deleted or exchanged since; if \
         that was meant, move this document away",
        anchor.seq,
        anchor.at,
        anchor.fingerprint(),
        now.fingerprint()
    );
    let document = Some(lying.path.to_string());
    Some(Comparison { document, claim: Some(anchor.receipts()), result: "other_key", told, broken: true })
}

/// The newest anchor that the journal put into the vault, where it is not there any more.
fn missing(found: &Found, last: &Anchored) -> Option<Comparison> {
    let newest = found.own.iter().filter_map(|lying| lying.anchor.as_ref().ok()).map(|anchor| anchor.seq).max();
    if newest >= Some(last.seq) {
        return None;
    }
    let told = format!(
        "the anchor of receipt {}, which the journal put there, is gone: somebody removed or replaced it",
        last.seq
    );
    let document = Some(format!("{}/{}", last.folder.trim_end_matches('/'), last.name));
    Some(Comparison { document, claim: None, result: "gone", told, broken: true })
}

/// Where `history anchor` puts its anchor.
pub fn folder(config: &Config, last: Option<&Anchored>) -> Result<RemotePath, Fatal> {
    let off = config.anchor == AnchorFolder::Off;
    let known = folders(config, last).into_iter().next().filter(|_| !off);
    let why = if off { "anchors are off" } else { "no folder for anchors is known" };
    let mend = "give anchor = \"/Folder\" under [journal], ASTRAN_BACKUP_ANCHOR, or a destination";
    known.ok_or_else(|| Fatal::new(Exit::Usage, format!("{why}: {mend}")))
}

/// `history anchor`: puts an anchor into the vault now, and prints the chain's head.
pub async fn run<V: Vault>(
    journal: &Journal,
    vault: &V,
    folder: &RemotePath,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    let put = anchors::put(vault, journal, folder).await.map_err(|error| match error {
        anchors::AnchorError::Journal(error) => Fatal::from(error),
        anchors::AnchorError::Vault(error) => Fatal::from(error),
    })?;
    anchors::tell(&put.anchor);
    let text = if json { object(&put).to_string() } else { put.anchor.receipts().to_string() };
    printed(writeln!(out, "{text}"))?;
    Ok(Exit::Done)
}

fn object(put: &Put) -> Value {
    let anchor = &put.anchor;
    json!({
        "anchor": anchor.receipts().to_string(),
        "seq": anchor.seq,
        "hash": anchor.hash,
        "fates": anchor.of_fates().to_string(),
        "key": anchor.fingerprint(),
        "document": put.folder.join(&put.name).to_string(),
        "at": anchor.at,
    })
}
