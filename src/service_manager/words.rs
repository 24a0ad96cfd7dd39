//! The status line that `systemctl status` shows. Pure: the time is an argument.

use std::time::SystemTime;

use jiff::{Timestamp, ZonedDateTime};

use crate::observe::health::{Checked, Component};
use crate::printable::printable;
use crate::status::Brief;

/// What the status line is made from.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) brief: Brief,
    /// The components that are in trouble, the weightiest first.
    pub(super) troubles: Vec<Checked>,
    /// What people should know of the last reload.
    pub(super) note: Option<String>,
    pub(super) is_stopping: bool,
}

/// The status on one line. It names folders, but no files: every user of the machine can read it.
pub(super) fn status(facts: &Facts, now: &ZonedDateTime) -> String {
    let Brief { folders, uploads, stored_today } = facts.brief;
    let uploads_in_flight = match uploads {
        0 => None,
        one_or_more => Some(format!("{} in flight", count(one_or_more as u64, "upload"))),
    };
    let mut parts = Vec::new();
    if facts.is_stopping {
        parts.push("stopping".to_owned());
        parts.extend(uploads_in_flight);
    } else {
        if let Some(trouble) = facts.troubles.first() {
            parts.push(trouble_in_words(trouble, now));
        }
        match facts.troubles.len() {
            0 | 1 => {}
            more => parts.push(format!("{} more", count(more as u64 - 1, "trouble"))),
        }
        parts.push(count(folders as u64, "folder"));
        parts.extend(uploads_in_flight);
        parts.push(format!("{stored_today} stored today"));
        parts.extend(facts.note.clone());
    }
    printable(&parts.join("; "))
}

fn trouble_in_words(checked: &Checked, now: &ZonedDateTime) -> String {
    let since = checked.since.and_then(|since| local(since, now)).map(|at| format!(" since {at}")).unwrap_or_default();
    let reason = checked.trouble.as_deref().unwrap_or_default();
    match &checked.component {
        Component::Start | Component::Service => format!("waiting for the service{since}: {reason}"),
        Component::Progress => format!("no file moves{since}: {reason}"),
        Component::Fleet => format!("receipts are not shipped{since}: {reason}"),
        other => format!("waiting for {other}{since}: {reason}"),
    }
}

/// The time of the day, with the date where that is another day.
fn local(time: SystemTime, now: &ZonedDateTime) -> Option<String> {
    let at = Timestamp::try_from(time).ok()?.to_zoned_datetime(now.time_zone().clone());
    let form = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    Some(at.strftime(form).to_string())
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::{TimeZone, offset};
    use std::time::Duration;

    fn now() -> ZonedDateTime {
        let noon: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        noon.to_zoned_datetime(TimeZone::fixed(offset(1)))
    }

    fn ago(hours: u64) -> SystemTime {
        SystemTime::try_from(now().timestamp()).unwrap() - Duration::from_secs(3600 * hours)
    }

    fn in_trouble(component: Component, reason: &str, hours: u64) -> Checked {
        Checked { component, trouble: Some(reason.to_owned()), since: Some(ago(hours)) }
    }

    #[test]
    fn a_daemon_that_is_well_tells_what_it_does() {
        let facts = |folders, uploads, stored_today| Facts {
            brief: Brief { folders, uploads, stored_today },
            ..Facts::default()
        };
        assert_eq!(status(&facts(3, 2, 17), &now()), "3 folders; 2 uploads in flight; 17 stored today");
        assert_eq!(status(&facts(1, 0, 0), &now()), "1 folder; 0 stored today");
        assert_eq!(status(&Facts { is_stopping: true, ..facts(1, 1, 5) }, &now()), "stopping; 1 upload in flight");
    }

    #[test]
    fn trouble_comes_first_with_the_local_time_of_its_beginning() {
        let mut facts = Facts { troubles: vec![in_trouble(Component::Service, "it is down", 3)], ..Facts::default() };
        assert_eq!(
            status(&facts, &now()),
            "waiting for the service since 10:00: it is down; 0 folders; 0 stored today"
        );
        facts.troubles = vec![in_trouble(Component::Folder("/w\nx".into()), "it is gone", 24)];
        facts.troubles.push(in_trouble(Component::Journal, "the disk is full", 1));
        facts.note = Some("the last reload failed".into());
        assert_eq!(
            status(&facts, &now()),
            "waiting for the folder /w\\nx since 2026-11-24 13:00: it is gone; 1 trouble more; 0 folders; 0 stored today; \
             the last reload failed"
        );
    }
}
