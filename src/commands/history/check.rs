//! `history --check`: whether the receipts are as they were written.

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Value, json};

use super::comparison::{Agreement, Comparisons, known_heads, with_known_heads};
use super::time::rfc3339;
use super::vault;
use crate::cli::History;
use crate::commands::context::Context;
use crate::commands::print::printed;
use crate::exit::{Exit, Fatal};
use crate::journal::{CheckReport, Journal};
use crate::printable::{json_line, printable};

/// `history --check`: checks the chain, and compares it with heads that were given, or with the anchors in the vault.
pub(super) async fn command(
    journal: &Journal,
    typed: &History,
    context: Context,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    let json = context.global.json;
    let given = known_heads(&typed.against)?;
    let report = journal.check().await?;
    print_local(&report, json, out)?;
    let comparisons = if !given.is_empty() {
        with_known_heads(journal, given).await?
    } else if typed.offline {
        Comparisons::not_compared("--offline was given")
    } else {
        vault::compare(journal, context).await?
    };
    print_conclusion(&report, &comparisons, json, out)
}

/// `history --check` without a comparison: checks the whole chain of receipts, and prints its newest hash and where it is broken.
pub async fn check(journal: &Journal, json: bool, out: &mut dyn Write) -> Result<Exit, Fatal> {
    let report = journal.check().await?;
    print_local(&report, json, out)?;
    print_conclusion(&report, &Comparisons::default(), json, out)
}

/// Prints what the check found in the journal itself, before a vault is asked that may not answer. As JSON, one object is printed
/// at the end instead.
fn print_local(report: &CheckReport, json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    if !json {
        printed(writeln!(out, "{}", local_text(report)))?;
    }
    Ok(())
}

/// Prints what the journal was compared with, and the conclusion.
fn print_conclusion(
    report: &CheckReport,
    comparisons: &Comparisons,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Fatal> {
    let text = if json { json_line(&check_object(report, comparisons)) } else { compared_text(report, comparisons) };
    printed(writeln!(out, "{text}"))?;
    Ok(match Conclusion::of(report, comparisons) {
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

fn check_object(report: &CheckReport, comparisons: &Comparisons) -> Value {
    let broken: Vec<Value> = report
        .defects
        .iter()
        .map(|it| json!({ "first": it.first, "last": it.last, "damage": it.kind.word() }))
        .collect();
    json!({
        "whole": Conclusion::of(report, comparisons) == Conclusion::Whole,
        "receipts": report.receipts,
        "head_seq": report.head.seq,
        "head_hash": report.head.hash(),
        "pruned_seq": report.pruned.seq,
        "pruned_hash": report.pruned.hash(),
        "pruned_at": report.pruned.at.map(rfc3339),
        "fates_seq": report.local_ends.seq,
        "fates_hash": report.local_ends.hash(),
        "anchors": comparisons.objects(),
        "not_compared": comparisons.not_compared,
        "unproved": report.unproved.as_ref().map(ToString::to_string),
        "breaks": report.defect_count,
        "broken": broken,
    })
}
