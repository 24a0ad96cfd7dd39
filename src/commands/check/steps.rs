//! The results of the steps, printed as lines of text or JSON.

use serde::Serialize;

use crate::commands::output::Output;
use crate::commands::totals::Counts;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::printable::printable;

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

/// The result of a step.
#[derive(Serialize)]
struct CheckEvent<'a> {
    step: &'a str,
    status: &'static str,
    detail: Option<&'a str>,
    mend: Option<&'a str>,
    exit: Option<u8>,
}

impl Event for CheckEvent<'_> {
    const TYPE: &'static str = "check";
}

impl<'a> CheckEvent<'a> {
    fn new(step: &'a str, result: &'a StepResult) -> Self {
        let (status, detail, mend, exit) = match result {
            StepResult::Fine(detail) => ("ok", Some(detail), None, None),
            StepResult::Worse(detail, mend) => ("warning", Some(detail), Some(mend), None),
            StepResult::Broken(exit, mend) => ("failed", None, Some(mend), Some(*exit as u8)),
            StepResult::Skipped(why) => ("not_tried", Some(why), None, None),
        };
        Self { step, status, detail: detail.map(String::as_str), mend: mend.map(String::as_str), exit }
    }
}

/// How many steps had each result.
#[derive(Debug, Default)]
struct StepCounts {
    ok: u64,
    warnings: u64,
    failed: u64,
    not_tried: u64,
}

/// Tells each step as it ends.
pub(super) struct Steps<'a, 'o> {
    out: &'a mut Output<'o>,
    counts: StepCounts,
    first: Option<Exit>,
}

impl<'a, 'o> Steps<'a, 'o> {
    pub(super) fn new(out: &'a mut Output<'o>) -> Self {
        Self { out, counts: StepCounts::default(), first: None }
    }

    /// The code of the first step that is broken.
    pub(super) fn exit(&self) -> Exit {
        self.first.unwrap_or(Exit::Done)
    }

    pub(super) fn print(&mut self, step: &str, result: &StepResult) -> Result<(), Fatal> {
        if let StepResult::Broken(exit, _) = result {
            self.first.get_or_insert(*exit);
        }
        self.count(result);
        self.out.print(&CheckEvent::new(step, result), || as_text(step, result))
    }

    fn count(&mut self, result: &StepResult) {
        let StepCounts { ok, warnings, failed, not_tried } = &mut self.counts;
        *match result {
            StepResult::Fine(_) => &mut *ok,
            StepResult::Worse(..) => &mut *warnings,
            StepResult::Broken(..) => &mut *failed,
            StepResult::Skipped(_) => &mut *not_tried,
        } += 1;
        self.out.count(Counts::Steps { ok: *ok, warnings: *warnings, failed: *failed, not_tried: *not_tried });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool, results: &[(&str, StepResult)]) -> (Vec<String>, Exit) {
        let mut out = Vec::new();
        let mut to = Output::new(&mut out, json);
        let mut steps = Steps::new(&mut to);
        for (step, result) in results {
            steps.print(step, result).unwrap();
        }
        let exit = steps.exit();
        drop(to);
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
        let broken = r#""step":"login","status":"failed","detail":null,"mend":"wrong: do this","exit":3}"#;
        assert!(lines[1].ends_with(broken), "{}", lines[1]);
        for (line, status) in lines.iter().zip(["ok", "failed", "not_tried", "failed", "warning"]) {
            assert!(line.contains(&format!(r#""status":"{status}""#)), "{line}");
        }
        assert_eq!(printed(false, &steps[..1]).1, Exit::Done);
    }

    #[test]
    fn a_newline_in_a_name_does_not_break_the_line() {
        let (lines, _) = printed(false, &[("folder /a\nb", StepResult::Fine("fine".into()))]);
        assert_eq!(lines, ["✓ folder /a\\nb: fine"]);
    }
}
