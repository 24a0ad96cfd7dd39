//! The program's health: which components are in trouble now, and since when. [`Health`] asks each component whenever someone wants to
//! know, so what it reports can't differ from what the components act by.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::measure::utc;

/// A component of the program that can be in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// Everything before the first upload: the login, and the check of the destinations.
    Start,
    /// The service, and the account's right to use it.
    Service,
    /// The login service, which issues the tokens.
    Login,
    /// The journal.
    Journal,
    /// The destination of the files of this watched folder.
    Destination(String),
    /// This watched folder itself.
    Folder(String),
    /// All files together: in trouble when files wait and none makes progress.
    Progress,
    /// The fleet's database, to which receipts are shipped. No upload waits for it.
    Fleet,
}

impl Component {
    /// Whether uploads wait while the component is in trouble.
    pub fn holds_up_uploads(&self) -> bool {
        *self != Self::Fleet
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the start"),
            Self::Service => f.write_str("the service"),
            Self::Login => f.write_str("the login"),
            Self::Journal => f.write_str("the journal"),
            Self::Destination(folder) => write!(f, "the destination of {folder}"),
            Self::Folder(folder) => write!(f, "the folder {folder}"),
            Self::Progress => f.write_str("the files"),
            Self::Fleet => f.write_str("the fleet's database"),
        }
    }
}

/// The state of one component.
pub trait HealthCheck: fmt::Debug + Send + Sync {
    /// Returns why the component holds up uploads, or can't do its own work; `None` while all is well. Never blocks.
    ///
    /// `/readyz` shows the text to everyone who can reach its address, so the text names no file and no account, and
    /// holds nothing secret.
    fn trouble(&self) -> Option<String>;

    /// Returns whether the trouble is a login that was refused, which only a person can mend. Never blocks.
    fn is_refused_login(&self) -> bool {
        false
    }
}

/// All health checks of the program. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Check>>>);

#[derive(Debug, Clone)]
struct Check {
    component: Component,
    asks: Arc<dyn HealthCheck>,
    /// When the trouble was first seen, while it lasts. Clones share it.
    since: Arc<Mutex<Option<SystemTime>>>,
}

/// A component, with its trouble if it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The component.
    pub component: Component,
    /// Its trouble, on one line; `None` while all is well.
    pub trouble: Option<String>,
    /// When a check first saw the trouble: in `watch` two seconds after its beginning at most.
    pub since: Option<SystemTime>,
}

impl Checked {
    fn reason(&self) -> Option<String> {
        let since = self.since.map(|at| format!(" (since {})", utc(at))).unwrap_or_default();
        Some(format!("{}: {}{since}", self.component, self.trouble.as_ref()?))
    }
}

impl Check {
    fn run(self) -> Checked {
        let trouble = self.asks.trouble().map(|reason| reason.split_whitespace().collect::<Vec<_>>().join(" "));
        let mut since = locked(&self.since);
        *since = trouble.is_some().then(|| since.unwrap_or_else(SystemTime::now));
        Checked { component: self.component, trouble, since: *since }
    }
}

impl Health {
    /// Adds the check of a component.
    pub fn add(&self, component: Component, check: Arc<dyn HealthCheck>) {
        locked(&self.0).push(Check { component, asks: check, since: Arc::default() });
    }

    /// Removes the checks of these components.
    pub(crate) fn remove(&self, components: &[Component]) {
        locked(&self.0).retain(|check| !components.contains(&check.component));
    }

    /// Runs all checks, in the order in which they were added.
    pub fn check_all(&self) -> Vec<Checked> {
        // The checks run without the lock, so that a component that is being added does not wait for them.
        let checks = locked(&self.0).clone();
        checks.into_iter().map(Check::run).collect()
    }

    /// Returns whether a login was refused, so that uploads wait for a person.
    pub fn is_login_refused(&self) -> bool {
        let checks = locked(&self.0).clone();
        checks.iter().any(|check| check.asks.is_refused_login())
    }

    /// Returns one line for each component whose trouble holds up uploads, with the time since when it is; none while they go on.
    pub fn reasons(&self) -> Vec<String> {
        self.lines(true)
    }

    /// Returns one line for each component in trouble that holds up nothing.
    pub fn notes(&self) -> Vec<String> {
        self.lines(false)
    }

    fn lines(&self, hold_up_uploads: bool) -> Vec<String> {
        let checked = self.check_all().into_iter().filter(|it| it.component.holds_up_uploads() == hold_up_uploads);
        checked.filter_map(|it| it.reason()).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trouble that a component raises when it begins and clears when it is over. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Condition(Arc<Mutex<Option<String>>>);

impl Condition {
    /// Sets the trouble and its reason. Returns whether there was no trouble before.
    pub fn raise(&self, reason: impl Into<String>) -> bool {
        self.reason().replace(reason.into()).is_none()
    }

    /// Ends the trouble. Returns whether there was any.
    pub fn take(&self) -> bool {
        self.reason().take().is_some()
    }

    /// Ends the trouble.
    pub fn clear(&self) {
        *self.reason() = None;
    }

    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        locked(&self.0)
    }
}

impl HealthCheck for Condition {
    fn trouble(&self) -> Option<String> {
        self.reason().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_in_trouble_is_one_line_with_its_beginning_while_the_trouble_lasts() {
        let (health, journal, folder) = (Health::default(), Condition::default(), Condition::default());
        health.add(Component::Journal, Arc::new(journal.clone()));
        health.add(Component::Folder("/srv/scans".into()), Arc::new(folder.clone()));
        assert_eq!(health.reasons(), [""; 0]);
        journal.raise("the disk\nis full");
        folder.raise("it is gone");
        let since = |at: usize| format!(" (since {})", utc(health.check_all()[at].since.unwrap()));
        let folder_line = format!("the folder /srv/scans: it is gone{}", since(1));
        assert_eq!(health.reasons(), [format!("the journal: the disk is full{}", since(0)), folder_line.clone()]);
        journal.clear();
        assert_eq!(health.reasons(), [folder_line]);
    }

    #[test]
    fn trouble_of_the_fleets_database_holds_up_nothing_and_is_told_all_the_same() {
        let (health, fleet) = (Health::default(), Condition::default());
        health.add(Component::Fleet, Arc::new(fleet.clone()));
        fleet.raise("down");
        assert_eq!(health.reasons(), [""; 0]);
        assert!(health.notes()[0].starts_with("the fleet's database: down (since "), "{:?}", health.notes());
        assert!(fleet.take() && !fleet.take());
        assert_eq!(health.notes(), [""; 0]);
    }

    #[test]
    fn a_trouble_has_the_time_when_it_was_first_seen_until_it_is_over() {
        let (health, service) = (Health::default(), Condition::default());
        health.add(Component::Service, Arc::new(service.clone()));
        let since = || health.check_all()[0].since;
        assert_eq!(since(), None);
        service.raise("down");
        let first = since().unwrap();
        service.raise("down still");
        assert_eq!(since(), Some(first));
        service.clear();
        assert_eq!(since(), None);
    }

    #[test]
    fn a_condition_is_new_only_when_it_was_clear_before() {
        let condition = Condition::default();
        assert!(condition.raise("gone"));
        assert!(!condition.raise("gone still"));
        assert_eq!(condition.trouble().as_deref(), Some("gone still"));
        condition.clear();
        assert!(condition.raise("gone again"));
    }
}
