//! What was found, as lines for people or objects for scripts.

use std::io::Write;

use serde::Serialize;

use crate::exit::{Exit, Fatal};
use crate::printable::{escaped_json, printable};

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is well; what was found.
    Fine(String),
    /// It works, but not at its best; what was found, and what would mend it.
    Worse(String, String),
    /// It does not work: what is wrong and what mends it, and the code to end with.
    Broken(Exit, String),
    /// It could not be tried, for this reason.
    Skipped(String),
}

impl Verdict {
    pub(super) fn broken(exit: Exit, mend: impl Into<String>) -> Self {
        Self::Broken(exit, mend.into())
    }

    pub(super) fn skipped(why: &str) -> Self {
        Self::Skipped(format!("not tried: {why}"))
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(..))
    }
}

impl From<Fatal> for Verdict {
    fn from(fatal: Fatal) -> Self {
        Self::Broken(fatal.exit, fatal.message)
    }
}

/// A line of `--json`: a stable contract.
#[derive(Serialize)]
struct Line<'a> {
    step: &'a str,
    ok: bool,
    detail: Option<&'a str>,
    mend: Option<&'a str>,
}

/// Tells each step as it ends.
pub(super) struct Report<'a, W> {
    out: &'a mut W,
    json: bool,
    first: Option<Exit>,
}

impl<'a, W: Write> Report<'a, W> {
    pub(super) fn new(out: &'a mut W, json: bool) -> Self {
        Self { out, json, first: None }
    }

    /// The code of the first step that is broken.
    pub(super) fn exit(&self) -> Exit {
        self.first.unwrap_or(Exit::Done)
    }

    pub(super) fn tell(&mut self, step: &str, verdict: &Verdict) -> Result<(), Fatal> {
        let line = if self.json { as_json(step, verdict) } else { as_text(step, verdict) };
        if let Verdict::Broken(exit, _) = verdict {
            self.first.get_or_insert(*exit);
        }
        writeln!(self.out, "{line}")
            .map_err(|error| Fatal::new(Exit::SomeFailed, format!("standard output can't be written: {error}")))
    }
}

fn as_text(step: &str, verdict: &Verdict) -> String {
    let (mark, text) = match verdict {
        Verdict::Fine(detail) => ("✓", detail.clone()),
        Verdict::Worse(detail, mend) => ("✓", format!("{detail}; better: {mend}")),
        Verdict::Broken(_, mend) => ("✗", mend.clone()),
        Verdict::Skipped(why) => ("–", why.clone()),
    };
    printable(&format!("{mark} {step}: {text}"))
}

fn as_json(step: &str, verdict: &Verdict) -> String {
    let (ok, detail, mend) = match verdict {
        Verdict::Fine(detail) => (true, Some(detail.as_str()), None),
        Verdict::Worse(detail, mend) => (true, Some(detail.as_str()), Some(mend.as_str())),
        Verdict::Broken(_, mend) => (false, None, Some(mend.as_str())),
        Verdict::Skipped(why) => (false, Some(why.as_str()), None),
    };
    // Texts and a truth: that can't fail.
    escaped_json(&serde_json::to_string(&Line { step, ok, detail, mend }).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: bool, steps: &[(&str, Verdict)]) -> (Vec<String>, Exit) {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json);
        for (step, verdict) in steps {
            report.tell(step, verdict).unwrap();
        }
        let exit = report.exit();
        (String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), exit)
    }

    #[test]
    fn the_first_broken_step_gives_the_code() {
        let steps = [
            ("config", Verdict::Fine("a.toml".into())),
            ("login", Verdict::broken(Exit::LoginRefused, "wrong: do this")),
            ("user", Verdict::skipped("the login failed")),
            ("folder", Verdict::broken(Exit::Missing, "make it")),
            ("watches", Verdict::Worse("few".into(), "raise them".into())),
        ];
        let (lines, exit) = told(false, &steps);
        assert_eq!(exit, Exit::LoginRefused);
        let expected = [
            "✓ config: a.toml",
            "✗ login: wrong: do this",
            "– user: not tried: the login failed",
            "✗ folder: make it",
            "✓ watches: few; better: raise them",
        ];
        assert_eq!(lines, expected);
        let (lines, _) = told(true, &steps);
        assert_eq!(lines[1], r#"{"step":"login","ok":false,"detail":null,"mend":"wrong: do this"}"#);
        assert_eq!(told(false, &steps[..1]).1, Exit::Done);
    }

    #[test]
    fn a_line_stays_a_line() {
        let (lines, _) = told(false, &[("folder /a\nb", Verdict::Fine("fine".into()))]);
        assert_eq!(lines, ["✓ folder /a\\nb: fine"]);
    }
}
