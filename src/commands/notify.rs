//! `notify --test`: a trial message by each configured way.

use std::io::Write;
use std::time::SystemTime;

use serde::Serialize;

use super::print::printed;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::notifier::{self, TestResult};
use crate::printable::{json_line, printable};

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    r#type: &'static str,
    time: String,
    way: &'a str,
    ok: bool,
    reason: Option<&'a str>,
}

/// Sends the messages, and prints a line for each.
pub(super) async fn run(config: &Config, json: bool, out: &mut impl Write) -> Result<Exit, Fatal> {
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
        let line = if json { as_json(result, SystemTime::now()) } else { as_text(result) };
        if !printed(writeln!(out, "{line}"))? {
            break;
        }
    }
    Ok(if results.iter().all(|result| result.wrong.is_none()) { Exit::Done } else { Exit::SomeFailed })
}

fn as_text(result: &TestResult) -> String {
    printable(&match &result.wrong {
        // The way stands at the beginning of the reason.
        Some(wrong) => format!("✗ {wrong}"),
        None => format!("✓ {}", result.way),
    })
}

fn as_json(result: &TestResult, now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH)).to_string();
    let TestResult { way, wrong } = result;
    json_line(&Line { v: 1, r#type: "notify_test", time, way, ok: wrong.is_none(), reason: wrong.as_deref() })
}
