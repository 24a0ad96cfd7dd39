//! `history --check`: whether the receipts are as they were written.

use std::fmt::Write as _;

use serde::Serialize;

use super::comparison::{Agreement, AnchorComparison, Comparisons, known_heads, with_known_heads};
use super::time::rfc3339;
use super::vault;
use crate::cli::History;
use crate::commands::context::Context;
use crate::commands::output::Output;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::journal::{CheckReport, Journal};
use crate::printable::printable;

/// `history --check`: checks the chain, and compares it with heads that were given, or with the anchors in the vault.
pub(super) async fn command(
    journal: &Journal,
    typed: &History,
    context: Context,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let given = known_heads(&typed.against)?;
    let report = journal.check().await?;
    // People read this before a vault is asked that may not answer. As JSON, one object is printed at the end instead.
    out.text(&local_text(&report))?;
    let comparisons = if !given.is_empty() {
        with_known_heads(journal, given).await?
    } else if typed.offline {
        Comparisons::not_compared("--offline was given")
    } else {
        vault::compare(journal, context).await?
    };
    print_conclusion(&report, &comparisons, out)
}

/// `history --check` without a comparison: checks the whole chain of receipts, and prints its newest hash and where it is broken.
pub async fn check(journal: &Journal, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let report = journal.check().await?;
    out.text(&local_text(&report))?;
    print_conclusion(&report, &Comparisons::default(), out)
}

/// Prints what the journal was compared with, and the conclusion.
fn print_conclusion(report: &CheckReport, comparisons: &Comparisons, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let conclusion = Conclusion::of(report, comparisons);
    out.print(&HistoryCheckEvent::new(conclusion, report, comparisons), || compared_text(report, comparisons))?;
    Ok(match conclusion {
        Conclusion::Whole if comparisons.refused => Exit::LoginRefused,
        Conclusion::Whole => Exit::Done,
        _ => Exit::SomeFailed,
    })
}

/// The conclusion of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conclusion {
    Whole,
    Unproved,
    Contradicted,
    Broken,
}

impl Conclusion {
    fn of(report: &CheckReport, comparisons: &Comparisons) -> Self {
        if !report.is_whole() {
            Self::Broken
        } else if comparisons.has(Agreement::Contradicts) {
            Self::Contradicted
        } else if report.unproved.is_some() || comparisons.has(Agreement::NotCompared) {
            Self::Unproved
        } else {
            Self::Whole
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Unproved => "unproved",
            Self::Contradicted => "contradicted",
            Self::Broken => "broken",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Whole => "the chain is whole; keep the head's hash elsewhere to prove it later",
            Self::Unproved => "nothing contradicts the journal, but not all could be compared, so it is not proved",
            Self::Contradicted => {
                "the chain looks whole, but is not the one that it was: the journal was changed, or what is kept of it \
                 elsewhere; compare both with a backup"
            }
            Self::Broken => "the chain is broken: the journal was changed or damaged; compare it with a backup",
        }
    }
}

fn local_text(report: &CheckReport) -> String {
    let receipts = if report.receipts == 1 { "receipt" } else { "receipts" };
    let mut text = format!("{} {receipts} checked, the newest is {}", report.receipts, report.head.seq);
    if let Some(at) = report.pruned.at {
        let _infallible = write!(text, "; pruned up to {} at {}", report.pruned.seq, rfc3339(at));
    }
    let _infallible = write!(text, "\nhead {}", report.head.hash());
    let (head, fates) = (&report.head, &report.local_ends);
    let _infallible = write!(
        text,
        "\nto compare with later: --against {}:{} --against f{}:{}",
        head.seq,
        head.hash(),
        fates.seq,
        fates.hash()
    );
    for broken in &report.defects {
        let _infallible = write!(text, "\nBROKEN {broken}");
    }
    let unlisted = report.defect_count - report.defects.len() as u64;
    if unlisted > 0 {
        let _infallible = write!(text, "\nand {unlisted} more places");
    }
    if let Some(why) = &report.unproved {
        let _infallible = write!(text, "\nwho cut the oldest off is not known: {}", printable(&why.to_string()));
    }
    text
}

/// That nothing was compared stands last, so that a reader of one line does not take a local check for more than that.
fn compared_text(report: &CheckReport, comparisons: &Comparisons) -> String {
    let mut lines = comparisons.lines();
    lines.push(Conclusion::of(report, comparisons).text().to_owned());
    lines.extend(comparisons.not_compared.iter().map(|why| format!("not compared with the vault: {}", printable(why))));
    lines.join("\n")
}

/// What `history --check` found.
#[derive(Serialize)]
struct HistoryCheckEvent<'a> {
    conclusion: &'static str,
    receipts: u64,
    head_receipt: i64,
    head_hash: String,
    local_ends_number: i64,
    local_ends_hash: String,
    pruned_receipt: i64,
    pruned_hash: String,
    pruned_at: Option<String>,
    defect_count: u64,
    defects: Vec<DefectFields>,
    anchors: Vec<AnchorComparison<'a>>,
    not_compared: Option<&'a str>,
    unproved: Option<String>,
}

/// A place where the chain is broken.
#[derive(Serialize)]
struct DefectFields {
    first: i64,
    last: i64,
    damage: &'static str,
}

impl Event for HistoryCheckEvent<'_> {
    const TYPE: &'static str = "history_check";
}

impl<'a> HistoryCheckEvent<'a> {
    fn new(conclusion: Conclusion, report: &CheckReport, comparisons: &'a Comparisons) -> Self {
        let defects = report.defects.iter();
        Self {
            conclusion: conclusion.word(),
            receipts: report.receipts,
            head_receipt: report.head.seq,
            head_hash: report.head.hash(),
            local_ends_number: report.local_ends.seq,
            local_ends_hash: report.local_ends.hash(),
            pruned_receipt: report.pruned.seq,
            pruned_hash: report.pruned.hash(),
            pruned_at: report.pruned.at.map(rfc3339),
            defect_count: report.defect_count,
            defects: defects
                .map(|it| DefectFields { first: it.first, last: it.last, damage: it.kind.word() })
                .collect(),
            anchors: comparisons.fields(),
            not_compared: comparisons.not_compared.as_deref(),
            unproved: report.unproved.as_ref().map(ToString::to_string),
        }
    }
}
