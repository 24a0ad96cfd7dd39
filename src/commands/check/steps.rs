//! The results of the steps, printed as lines of text or JSON.

use std::io::Write;

use serde::Serialize;

use crate::exit::{Exit, Fatal};
use crate::printable::{json_line, printable};

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepResult {
    /// All is well. Holds what was found.
    Fine(String),
    /// The step works, but not at its best. Holds what was found, and the mend.
    Worse(String, String),
    /// The step does not work. Holds the exit code, and what is wrong with the mend.
    Broken(Exit, String),
    /// The step could not be tried, for this reason.
    Skipped(String),
}

impl StepResult {
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

impl From<Fatal> for StepResult {
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
pub(super) struct Steps<'a, W> {
    out: &'a mut W,
    json: bool,
    first: Option<Exit>,
}

impl<'a, W: Write> Steps<'a, W> {
    pub(super) fn new(out: &'a mut W, json: bool) -> Self {
        Self { out, json, first: None }
    }

    /// The code of the first step that is broken.
    pub(super) fn exit(&self) -> Exit {
        self.first.unwrap_or(Exit::Done)
    }

    pub(super) fn print(&mut self, step: &str, result: &StepResult) -> Result<(), Fatal> {
        let line = if self.json { as_json(step, result) } else { as_text(step, result) };
        if let StepResult::Broken(exit, _) = result {
            self.first.get_or_insert(*exit);
        }
        writeln!(self.out, "{line}")
            .map_err(|error| Fatal::new(Exit::SomeFailed, format!("standard output can't be written: {error}")))
    }
}

fn as_text(step: &str, result: &StepResult) -> String {
    let (mark, text) = match result {
        StepResult::Fine(detail) => ("✓", detail.clone()),
        StepResult::Worse(detail, mend) => ("✓", format!("{detail}; better: {mend}")),
        StepResult::Broken(_, mend) => ("✗", mend.clone()),
        StepResult::Skipped(why) => ("–", why.clone()),
    };
    printable(&format!("{mark} {step}: {text}"))
}

fn as_json(step: &str, result: &StepResult) -> String {
    let (ok, detail, mend) = match result {
        StepResult::Fine(detail) => (true, Some(detail.as_str()), None),
        StepResult::Worse(detail, mend) => (true, Some(detail.as_str()), Some(mend.as_str())),
        StepResult::Broken(_, mend) => (false, None, Some(mend.as_str())),
        StepResult::Skipped(why) => (false, Some(why.as_str()), None),
    };
    json_line(&Line { step, ok, detail, mend })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool, results: &[(&str, StepResult)]) -> (Vec<String>, Exit) {
        let mut out = Vec::new();
        let mut steps = Steps::new(&mut out, json);
        for (step, result) in results {
            steps.print(step, result).unwrap();
        }
        let exit = steps.exit();
        (String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), exit)
    }

    #[test]
    fn the_first_broken_step_gives_the_exit_code() {
        let steps = [
            ("config", StepResult::Fine("a.toml".into())),
            ("login", StepResult::broken(Exit::LoginRefused, "wrong: do this")),
            ("user", StepResult::skipped("the login failed")),
            ("folder", StepResult::broken(Exit::Missing, "make it")),
            ("watches", StepResult::Worse("few".into(), "raise them".into())),
        ];
        let (lines, exit) = printed(false, &steps);
        assert_eq!(exit, Exit::LoginRefused);
        let expected = [
            "✓ config: a.toml",
            "✗ login: wrong: do this",
            "– user: not tried: the login failed",
            "✗ folder: make it",
            "✓ watches: few; better: raise them",
        ];
        assert_eq!(lines, expected);
        let (lines, _) = printed(true, &steps);
        assert_eq!(lines[1], r#"{"step":"login","ok":false,"detail":null,"mend":"wrong: do this"}"#);
        assert_eq!(printed(false, &steps[..1]).1, Exit::Done);
    }

    #[test]
    fn a_newline_in_a_name_does_not_break_the_line() {
        let (lines, _) = printed(false, &[("folder /a\nb", StepResult::Fine("fine".into()))]);
        assert_eq!(lines, ["✓ folder /a\\nb: fine"]);
    }
}
