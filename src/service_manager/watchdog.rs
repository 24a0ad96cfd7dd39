//! Decides whether the program gives a sign of life. Pure: the time is an argument.
//!
//! A restart mends only what is this program's own fault. A service, login or share that is down, or a full disk of the journal, is
//! reported by its own component and would be as down after a restart, which would only cut the uploads that still move. So the sign of life is
//! withheld only where files have stood still for [`budget::OWN_STALL`] while every component is well and no upload is in flight: then a part of
//! this program has lost them.

use tokio::time::Instant;

use crate::budget;
use crate::observe::health::{Checked, Component};

/// A standstill for which nothing outside of the program is to blame.
#[derive(Debug, Default)]
pub(super) struct OwnStall {
    since: Option<Instant>,
}

impl OwnStall {
    /// Looks at the health. Returns whether there is no such standstill, or it may still end by itself.
    pub(super) fn is_over(&mut self, checked: &[Checked], in_flight: usize, now: Instant) -> bool {
        let mut in_trouble = checked.iter().filter(|it| it.trouble.is_some()).map(|it| &it.component);
        let mut in_trouble = in_trouble.by_ref().filter(|component| component.holds_up_uploads());
        // An upload in flight waits for the network or for the disk. Each has a time limit of its own.
        let is_own = in_flight == 0 && in_trouble.next() == Some(&Component::Progress) && in_trouble.next().is_none();
        self.since = is_own.then(|| self.since.unwrap_or(now));
        self.since.is_none_or(|since| now.duration_since(since) < budget::OWN_STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn in_trouble(components: &[Component]) -> Vec<Checked> {
        let all = [
            Component::Start,
            Component::Service,
            Component::Login,
            Component::Journal,
            Component::Destination("/w".into()),
            Component::Folder("/w".into()),
            Component::Progress,
        ];
        let checked = |component: Component| {
            let trouble = components.contains(&component).then(|| "trouble".to_owned());
            Checked { component, trouble, since: None }
        };
        all.into_iter().map(checked).collect()
    }

    /// Whether the watchdog is fed at each of these hours of the same trouble.
    fn fed_for_hours(components: &[Component], in_flight: usize) -> bool {
        let (mut stall, start) = (OwnStall::default(), Instant::now());
        (0..5).all(|hour| stall.is_over(&in_trouble(components), in_flight, start + Duration::from_secs(3600) * hour))
    }

    #[test]
    fn trouble_that_no_restart_mends_never_ends_the_signs_of_life() {
        use Component::{Destination, Folder, Journal, Login, Progress, Service, Start};
        assert!(fed_for_hours(&[], 0), "nothing waits");
        for outside in [Start, Service, Login, Journal, Destination("/w".into()), Folder("/w".into())] {
            assert!(fed_for_hours(std::slice::from_ref(&outside), 0), "{outside}");
            assert!(fed_for_hours(&[outside.clone(), Progress], 0), "files wait because of {outside}");
        }
        assert!(fed_for_hours(&[Progress], 1), "an upload has time limits of its own");
    }

    #[test]
    fn files_that_stand_still_though_all_is_well_end_the_signs_of_life_after_a_while() {
        let (mut stall, start) = (OwnStall::default(), Instant::now());
        let mut is_fed = |components: &[Component], at| stall.is_over(&in_trouble(components), 0, start + at);
        assert!(is_fed(&[Component::Progress], Duration::ZERO));
        assert!(is_fed(&[Component::Progress], budget::OWN_STALL / 2));
        assert!(!is_fed(&[Component::Progress], budget::OWN_STALL));
        assert!(is_fed(&[], budget::OWN_STALL), "they move again");
        assert!(is_fed(&[Component::Progress], 2 * budget::OWN_STALL), "the next standstill has the same time");
    }
}
