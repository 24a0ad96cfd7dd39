//! `fleet status`: the machines, and which are silent or in trouble.

use std::time::Duration;

use serde::Serialize;

use crate::budget;
use crate::commands::output::Output;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::fleet::{self, HostStatus, Session};
use crate::measure::{count, span};
use crate::printable::printable;

/// One machine.
#[derive(Serialize)]
struct HostEvent<'a> {
    host: &'a str,
    dept: &'a str,
    /// `ok`, `trouble`, `silent`, `not_joined` or `retired`.
    state: &'static str,
    receipts: Option<i64>,
    silent_seconds: Option<u64>,
    unshipped: Option<i64>,
    oldest_unshipped_seconds: Option<u64>,
    failed: Option<i64>,
    waiting: Option<i64>,
    /// The machine's clock minus the database's.
    clock_seconds: Option<f64>,
    version: Option<&'a str>,
    trouble: Option<&'a str>,
}

impl Event for HostEvent<'_> {
    const TYPE: &'static str = "fleet_host";
}

/// Prints a line for each machine. Ends with a failure where one of them needs a person.
pub(super) async fn run(session: &Session, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let hosts = fleet::hosts(session).await?;
    for host in &hosts {
        out.print(&event(host), || line(host))?;
    }
    let troubled = hosts.iter().filter(|host| matches!(state(host), "trouble" | "silent")).count();
    let total = hosts.iter().filter(|host| !host.retired).count();
    out.text(&format!("{}, {troubled} in trouble or silent", machines(total)))?;
    Ok(if troubled > 0 { Exit::SomeFailed } else { Exit::Done })
}

fn machines(number: usize) -> String {
    format!("{} machine{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// How a machine is, in a word.
fn state(host: &HostStatus) -> &'static str {
    if host.retired {
        return "retired";
    }
    match host.silent {
        None if !host.joined => "not_joined",
        None => "silent",
        Some(silent) if silent > budget::FLEET_SILENT => "silent",
        Some(_) if host.trouble.is_some() || host.failed.unwrap_or_default() > 0 || lags(host) => "trouble",
        Some(_) => "ok",
    }
}

/// Whether receipts have been waiting to be shipped for too long.
fn lags(host: &HostStatus) -> bool {
    host.unshipped.unwrap_or_default() > 0 && host.oldest.is_some_and(|oldest| oldest > budget::FLEET_SILENT)
}

fn event(host: &HostStatus) -> HostEvent<'_> {
    HostEvent {
        host: &host.name,
        dept: &host.dept,
        state: state(host),
        receipts: host.receipts,
        silent_seconds: host.silent.map(|silent| silent.as_secs()),
        unshipped: host.unshipped,
        oldest_unshipped_seconds: host.oldest.map(|oldest| oldest.as_secs()),
        failed: host.failed,
        waiting: host.waiting,
        #[expect(clippy::cast_precision_loss, reason = "no clock is wrong by 2^53 milliseconds")]
        clock_seconds: host.clock_ms.map(|ms| ms as f64 / 1000.0),
        version: host.version.as_deref(),
        trouble: host.trouble.as_deref(),
    }
}

fn line(host: &HostStatus) -> String {
    let mut parts = vec![format!("{:<10}  {} ({})", state(host), printable(&host.name), printable(&host.dept))];
    parts.extend(host.receipts.map(|receipts| format!("{} receipts", count(receipts.cast_unsigned()))));
    parts.extend(host.silent.map(|silent| format!("heard {} ago", span(silent))));
    let counted = [("not shipped", host.unshipped), ("failed", host.failed), ("waiting", host.waiting)];
    parts.extend(counted.into_iter().filter_map(|(what, number)| {
        number.filter(|number| *number > 0).map(|number| format!("{} {what}", count(number.cast_unsigned())))
    }));
    let wrong =
        host.clock_ms.map(|ms| Duration::from_millis(ms.unsigned_abs())).filter(|off| *off > budget::FLEET_CLOCK);
    parts.extend(wrong.map(|off| format!("its clock is off by {}", span(off))));
    parts.extend(host.trouble.as_deref().map(printable));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostStatus {
        HostStatus {
            name: "scan-01".into(),
            dept: "HR".into(),
            retired: false,
            joined: true,
            receipts: Some(12),
            silent: Some(Duration::from_secs(20)),
            version: Some("0.1.0".into()),
            clock_ms: Some(3),
            unshipped: Some(0),
            oldest: Some(Duration::ZERO),
            failed: Some(0),
            waiting: Some(0),
            trouble: None,
        }
    }

    #[test]
    fn a_machine_that_is_silent_lags_or_has_failures_needs_a_person() {
        assert_eq!(state(&host()), "ok");
        assert_eq!(state(&HostStatus { silent: Some(budget::FLEET_SILENT * 2), ..host() }), "silent");
        assert_eq!(state(&HostStatus { silent: None, ..host() }), "silent");
        assert_eq!(state(&HostStatus { silent: None, joined: false, ..host() }), "not_joined");
        assert_eq!(state(&HostStatus { retired: true, silent: None, ..host() }), "retired");
        assert_eq!(state(&HostStatus { failed: Some(1), ..host() }), "trouble");
        assert_eq!(state(&HostStatus { trouble: Some("the service: down".into()), ..host() }), "trouble");
        assert_eq!(state(&HostStatus { unshipped: Some(5), ..host() }), "ok", "new ones are on their way");
        let lagging = HostStatus { unshipped: Some(5), oldest: Some(budget::FLEET_SILENT * 2), ..host() };
        assert_eq!(state(&lagging), "trouble");
    }

    #[test]
    fn a_line_says_what_is_wrong_and_breaks_no_terminal() {
        let host =
            HostStatus { clock_ms: Some(-120_000), waiting: Some(3), trouble: Some("a\nb\u{1b}".into()), ..host() };
        let line = line(&host);
        assert!(line.contains("scan-01 (HR), 12 receipts") && line.contains("3 waiting"), "{line}");
        assert!(line.contains("clock is off") && !line.contains('\n') && !line.contains('\u{1b}'), "{line}");
    }
}
