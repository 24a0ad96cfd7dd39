//! Comparisons of the journal with heads of its chains that are kept elsewhere.

use serde::Serialize;

use crate::exit::{Exit, Fatal};
use crate::journal::{HeadComparison, Journal, KnownHead};
use crate::printable::printable;
use crate::vault::{Kind, VaultError};

/// One comparison of the journal with a head of its chains that is kept elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    /// The path of the anchor's document in the vault; `None` for a head that was given with `--against`.
    pub(super) document: Option<String>,
    /// The head that is kept elsewhere; `None` where its document can't be used.
    pub(super) head: Option<KnownHead>,
    /// The result in one word, for scripts.
    pub(super) result: &'static str,
    /// The result in words.
    pub(super) text: String,
    /// The conclusion for the journal.
    pub(super) agreement: Agreement,
}

/// Whether a head that is kept elsewhere agrees with the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// The journal still has the entry.
    Agrees,
    /// The two can't be compared: nothing is contradicted, and nothing is proved.
    NotCompared,
    /// The journal has another entry, or none.
    Contradicts,
}

impl Agreement {
    /// A pruned entry is [`Self::NotCompared`], as nothing says any more what it was.
    fn of(compared: &HeadComparison) -> Self {
        match compared {
            HeadComparison::Same => Self::Agrees,
            HeadComparison::Pruned(_) => Self::NotCompared,
            HeadComparison::Different | HeadComparison::Missing { .. } => Self::Contradicts,
        }
    }
}

/// The fields of a comparison in JSON.
#[derive(Serialize)]
pub(super) struct AnchorComparison<'a> {
    remote_path: Option<&'a str>,
    /// SEQ:HASH or fSEQ:HASH, as `--against` takes it.
    against: Option<String>,
    result: &'static str,
    contradicts: bool,
    text: &'a str,
}

impl<'a> From<&'a Comparison> for AnchorComparison<'a> {
    fn from(comparison: &'a Comparison) -> Self {
        Self {
            remote_path: comparison.document.as_deref(),
            against: comparison.head.as_ref().map(KnownHead::to_string),
            result: comparison.result,
            contradicts: comparison.agreement == Agreement::Contradicts,
            text: &comparison.text,
        }
    }
}

/// All comparisons.
#[derive(Debug, Clone, Default)]
pub(super) struct Comparisons {
    /// In the order in which they were made.
    pub(super) all: Vec<Comparison>,
    /// The reason for which the journal was not compared with the vault. `None` where they were compared, or where the user did not ask for it.
    pub(super) not_compared: Option<String>,
    /// Whether the reason is that the service refused the login.
    pub(super) refused: bool,
}

impl Comparisons {
    /// No comparison, for this reason.
    pub(super) fn not_compared(why: impl Into<String>) -> Self {
        Self { not_compared: Some(why.into()), ..Self::default() }
    }

    pub(super) fn trouble(error: VaultError) -> Self {
        Self { refused: error.kind == Kind::Login, ..Self::not_compared(error.message) }
    }

    pub(super) fn of(all: Vec<Comparison>) -> Self {
        Self { all, ..Self::default() }
    }

    /// Whether one of the comparisons has this result.
    pub(super) fn has(&self, agreement: Agreement) -> bool {
        self.all.iter().any(|comparison| comparison.agreement == agreement)
    }

    /// One line for each contradiction and each failure to compare; one line for all that agree.
    pub(super) fn lines(&self) -> Vec<String> {
        let said = |it: &Comparison| format!("{}{}", it.place(), printable(&it.text));
        let those = |agreement| self.all.iter().filter(move |it| it.agreement == agreement);
        let mut lines: Vec<String> = those(Agreement::Contradicts).map(|it| format!("BROKEN {}", said(it))).collect();
        lines.extend(those(Agreement::NotCompared).map(|it| format!("not compared: {}", said(it))));
        lines.extend(those(Agreement::Agrees).next().map(|newest| {
            let more = those(Agreement::Agrees).count() - 1;
            let more = if more > 0 { format!("; {more} older ones agree") } else { String::new() };
            format!("compared with what is kept elsewhere: {}{more}", said(newest))
        }));
        lines
    }

    /// The fields of each comparison.
    pub(super) fn fields(&self) -> Vec<AnchorComparison<'_>> {
        self.all.iter().map(AnchorComparison::from).collect()
    }
}

impl Comparison {
    fn place(&self) -> String {
        self.document.as_ref().map_or_else(String::new, |document| format!("{}: ", printable(document)))
    }
}

/// Parses the values of `--against`.
pub(super) fn known_heads(given: &[String]) -> Result<Vec<KnownHead>, Fatal> {
    let read = |text: &String| text.parse().map_err(|why| Fatal::new(Exit::Usage, format!("--against {text}: {why}")));
    given.iter().map(read).collect()
}

/// Compares the journal with the values of `--against`.
pub(super) async fn with_known_heads(journal: &Journal, known_heads: Vec<KnownHead>) -> Result<Comparisons, Fatal> {
    let compared = journal.compare(known_heads.clone()).await?;
    let comparison = |(head, compared): (KnownHead, HeadComparison)| Comparison {
        document: None,
        result: compared.word(),
        text: compared.sentence(&head),
        agreement: Agreement::of(&compared),
        head: Some(head),
    };
    Ok(Comparisons::of(known_heads.into_iter().zip(compared).map(comparison).collect()))
}
