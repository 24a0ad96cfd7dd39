//! `history anchor`, and the part of `history --check` that compares the journal with what is kept elsewhere.

use std::io::Write;

use serde_json::{Value, json};

use super::history::printed;
use super::session::Session;
use crate::anchors::{self, AnchorDocument, FoundAnchors, StoredAnchor};
use crate::budget;
use crate::cli::Global;
use crate::config::{AnchorFolder, Config};
use crate::exit::{Exit, Fatal};
use crate::hex;
use crate::journal::anchor::Anchor;
use crate::journal::{AnchorRecord, HeadComparison, Journal, KnownHead};
use crate::printable::printable;
use crate::secret::Source;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

/// One comparison of the journal with something that is kept elsewhere.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Where it is kept: a document's path in the vault; `None` for what was given with `--against`.
    pub document: Option<String>,
    /// What is claimed; `None` where the document can't be used.
    pub claim: Option<KnownHead>,
    /// What came of it, in one word for scripts.
    pub result: &'static str,
    /// The same for people.
    pub told: String,
    /// What it means for the journal.
    pub verdict: Verdict,
}

/// What one comparison means for the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it was.
    Fine,
    /// It could not be compared: nothing contradicts it, and nothing is proved.
    Open,
    /// It is not what it was.
    Broken,
}

impl Verdict {
    /// An entry that was pruned since may have been any.
    fn of(compared: &HeadComparison) -> Self {
        match compared {
            HeadComparison::Same => Self::Fine,
            HeadComparison::Pruned(_) => Self::Open,
            HeadComparison::Different | HeadComparison::Missing { .. } => Self::Broken,
        }
    }
}

/// All comparisons.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In the order in which they were made.
    pub comparisons: Vec<Comparison>,
    /// Why the journal was not compared with the vault; `None` where it was, or where nobody asked for it.
    pub not_compared: Option<String>,
    /// Whether that is because the service refused the login.
    pub refused: bool,
}

impl Seen {
    /// Nothing was compared, for this reason.
    pub fn not_compared(why: impl Into<String>) -> Self {
        Self { not_compared: Some(why.into()), ..Self::default() }
    }

    fn trouble(error: VaultError) -> Self {
        Self { refused: error.kind == Kind::Login, ..Self::not_compared(error.message) }
    }

    fn of(comparisons: Vec<Comparison>) -> Self {
        Self { comparisons, ..Self::default() }
    }

    /// Whether a comparison came out so.
    pub fn has(&self, verdict: Verdict) -> bool {
        self.comparisons.iter().any(|comparison| comparison.verdict == verdict)
    }

    /// The lines for people.
    pub fn lines(&self) -> Vec<String> {
        let said = |it: &Comparison| format!("{}{}", it.place(), printable(&it.told));
        let those = |verdict| self.comparisons.iter().filter(move |it| it.verdict == verdict);
        let mut lines: Vec<String> = those(Verdict::Broken).map(|it| format!("BROKEN {}", said(it))).collect();
        lines.extend(those(Verdict::Open).map(|it| format!("not compared: {}", said(it))));
        lines.extend(those(Verdict::Fine).next().map(|newest| {
            let more = those(Verdict::Fine).count() - 1;
            let more = if more > 0 { format!("; {more} older ones agree") } else { String::new() };
            format!("compared with what is kept elsewhere: {}{more}", said(newest))
        }));
        lines
    }

    /// The same for scripts.
    pub fn objects(&self) -> Vec<Value> {
        let object = |it: &Comparison| {
            let (seq, claim) = (it.claim.as_ref().map(|claim| claim.seq), it.claim.as_ref().map(KnownHead::to_string));
            json!({ "document": it.document, "seq": seq, "against": claim, "result": it.result, "broken": it.verdict == Verdict::Broken, "told": it.told })
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
pub fn claims(given: &[String]) -> Result<Vec<KnownHead>, Fatal> {
    let read = |text: &String| text.parse().map_err(|why| Fatal::new(Exit::Usage, format!("--against {text}: {why}")));
    given.iter().map(read).collect()
}

/// Compares with what was given. An entry that was pruned can't be compared, so nothing is proved, and that is no success.
pub async fn against(journal: &Journal, claims: Vec<KnownHead>) -> Result<Seen, Fatal> {
    let compared = journal.compare(claims.clone()).await?;
    let comparison = |(claim, compared): (KnownHead, HeadComparison)| Comparison {
        document: None,
        result: compared.word(),
        told: compared.sentence(&claim),
        verdict: Verdict::of(&compared),
        claim: Some(claim),
    };
    Ok(Seen::of(claims.into_iter().zip(compared).map(comparison).collect()))
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
        seen = asked(journal, &session.client, &folders, last) => seen,
        () = shutdown.reached(Stop::Gently) => Ok(Seen::not_compared("interrupted")),
    };
    // The logout waits for a login that is under way, which may be what took too long.
    tokio::time::timeout(budget::LOGOUT, session.close()).await.ok();
    seen
}

/// The login has a limit of its own: a service that takes connections and says nothing must not hold a local check up for long.
async fn asked<V: Vault>(
    journal: &Journal,
    vault: &V,
    folders: &[RemotePath],
    last: Option<AnchorRecord>,
) -> Result<Seen, Fatal> {
    match tokio::time::timeout(budget::ANCHORS_LOGIN, vault.probe()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Ok(Seen::trouble(error)),
        Err(_) => {
            let seconds = budget::ANCHORS_LOGIN.as_secs();
            return Ok(Seen::not_compared(format!("the service did not answer within {seconds} s")));
        }
    }
    let sought = tokio::time::timeout(budget::ANCHORS_SOUGHT, in_vault(journal, vault, folders, last)).await;
    sought.unwrap_or_else(|_| Ok(Seen::not_compared("the vault took too long to answer")))
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
    folders.is_empty().then_some(
        "no folder for anchors is known: give --anchor /Folder or ASTRAN_BACKUP_ANCHOR, or anchor under [journal]",
    )
}

/// Where anchors may lie: where they go now, and where the last one went.
fn folders(config: &Config, last: Option<&AnchorRecord>) -> Vec<RemotePath> {
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
    last: Option<AnchorRecord>,
) -> Result<Seen, Fatal> {
    // It has the key and the place by which the anchors of this journal are known.
    let now = match journal.current_anchor().await {
        Ok(now) => now,
        Err(error) => return Ok(Seen::of(vec![no_key(error.to_string())])),
    };
    let found = match anchors::find(vault, folders, &now, last.as_ref()).await {
        Ok(found) => found,
        Err(error) => return Ok(Seen::trouble(error)),
    };
    let mut seen = Seen::default();
    for lying in &found.own {
        seen.comparisons.push(own(journal, lying, &now).await?);
    }
    let noted = last.as_ref().map(document);
    let other_key = found.other_key.iter().filter_map(|lying| of_another_key(lying, &now, noted.as_deref()));
    seen.comparisons.extend(other_key);
    seen.comparisons.extend(last.and_then(|last| missing(&found, &last)));
    if seen.comparisons.is_empty() {
        seen.not_compared = Some("there is no anchor of this journal yet; `history anchor` puts one".to_owned());
    }
    Ok(seen)
}

/// Without its key nothing tells which anchors are the journal's.
fn no_key(told: String) -> Comparison {
    Comparison { document: None, claim: None, result: "no_key", told, verdict: Verdict::Open }
}

/// A document that has the name of this journal and its key.
async fn own(journal: &Journal, lying: &AnchorDocument, now: &Anchor) -> Result<Comparison, Fatal> {
    let document = Some(lying.path.to_string());
    let unusable = |told: String| {
        let (document, verdict) = (document.clone(), Verdict::Broken);
        Comparison { document, claim: None, result: "unusable", told, verdict }
    };
    let anchor = match &lying.anchor {
        Ok(anchor) if anchor.key == now.key => anchor,
        Ok(_) => return Ok(unusable("it was signed by another key than the journal's".to_owned())),
        Err(why) => return Ok(unusable(format!("it is not the anchor that was put there: {why}"))),
    };
    let claims = [anchor.receipts_head(), anchor.local_ends_head()];
    let mut compared = journal.compare(claims.to_vec()).await?;
    if anchor.fates_since != now.fates_since {
        compared[1] = HeadComparison::Different;
    }
    let worse = usize::from(!compared[0].contradicts() && compared[1].contradicts());
    let told = format!("the anchor of {}: {}", anchor.at, compared[worse].sentence(&claims[worse]));
    // Pruning is signed, so an anchor of what was pruned since is no open question here.
    let verdict = if compared[worse].contradicts() { Verdict::Broken } else { Verdict::Fine };
    let result = compared[worse].word();
    Ok(Comparison { document, claim: Some(claims[worse].clone()), result, told, verdict })
}

/// A document that has the name of this journal, or that the journal noted, but of another key.
fn of_another_key(lying: &AnchorDocument, now: &Anchor, noted: Option<&str>) -> Option<Comparison> {
    let path = lying.path.to_string();
    // Anybody may give a document any name; what no key has signed says nothing.
    let ours = |anchor: &&Anchor| anchor.place() == now.place() || noted == Some(&*path);
    let anchor = lying.anchor.as_ref().ok().filter(ours)?;
    let key = if now.key.is_empty() { "missing".to_owned() } else { now.fingerprint() };
    let told = format!(
        "receipt {} was anchored at {} by another key ({}) than the journal's ({key}): the state was deleted or exchanged since; if \
         that was meant, move this document away and run `history anchor`",
        anchor.seq,
        anchor.at,
        anchor.fingerprint(),
    );
    let claim = Some(anchor.receipts_head());
    Some(Comparison { document: Some(path), claim, result: "other_key", told, verdict: Verdict::Broken })
}

/// Where the journal says that its newest anchor lies.
fn document(last: &AnchorRecord) -> String {
    format!("{}/{}", last.folder.trim_end_matches('/'), last.name)
}

/// The newest anchor that the journal put into the vault, where it is not there any more.
fn missing(found: &FoundAnchors, last: &AnchorRecord) -> Option<Comparison> {
    let key = hex(&last.key);
    // By receipts and by fates: an older version of the document, put back over it, may have as many receipts.
    let covers = |anchor: &Anchor| anchor.key == key && anchor.seq >= last.seq && anchor.fates >= last.fates;
    let mut known = found.own.iter().chain(&found.other_key).filter_map(|lying| lying.anchor.as_ref().ok());
    if known.any(covers) {
        return None;
    }
    let told = format!(
        "the anchor of receipt {} and fate {}, which the journal put there, is gone: somebody removed or replaced it",
        last.seq, last.fates
    );
    Some(Comparison { document: Some(document(last)), claim: None, result: "gone", told, verdict: Verdict::Broken })
}

/// Where `history anchor` puts its anchor.
pub fn folder(config: &Config, last: Option<&AnchorRecord>) -> Result<RemotePath, Fatal> {
    let off = config.anchor == AnchorFolder::Off;
    let known = folders(config, last).into_iter().next().filter(|_| !off);
    let why = if off { "anchors are off" } else { "no folder for anchors is known" };
    let mend = "give --anchor /Folder, ASTRAN_BACKUP_ANCHOR, anchor = \"/Folder\" under [journal], or a destination";
    known.ok_or_else(|| Fatal::new(Exit::Usage, format!("{why}: {mend}")))
}

/// `history anchor`: puts an anchor into the vault now, and prints the heads of both chains: SEQ:HASH, a space, fSEQ:HASH.
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
