//! `notify --test`: a trial message by each configured way.

use serde::Serialize;

use super::output::Output;
use crate::config::Config;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::notifier::{self, TestResult};
use crate::printable::printable;

/// How one way took the trial message.
#[derive(Serialize)]
struct NotifyTestEvent<'a> {
    way: &'a str,
    ok: bool,
    reason: Option<&'a str>,
}

impl Event for NotifyTestEvent<'_> {
    const TYPE: &'static str = "notify_test";
}

/// Sends the messages, and prints a line for each.
pub(super) async fn run(config: &Config, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    if !config.notify.is_used() {
        let file =
            config.file.as_ref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
        return Err(Fatal::new(
            Exit::Usage,
            format!("[notify] tells nobody: add command, url or ping under [notify] in {file}"),
        ));
    }
    let results = notifier::test(config).await.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
    for result in &results {
        let TestResult { way, wrong } = result;
        let event = NotifyTestEvent { way, ok: wrong.is_none(), reason: wrong.as_deref() };
        out.print(&event, || as_text(result))?;
    }
    Ok(if results.iter().all(|result| result.wrong.is_none()) { Exit::Done } else { Exit::SomeFailed })
}

fn as_text(result: &TestResult) -> String {
    printable(&match &result.wrong {
        Some(wrong) => format!("✗ {}: {wrong}", result.way),
        None => format!("✓ {}", result.way),
    })
}
