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
        }
    }
}

/// The state of one component.
pub trait HealthCheck: fmt::Debug + Send + Sync {
    /// Returns why the component holds up uploads; `None` while it does not. Never blocks.
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
    /// Why it holds up uploads, on one line; `None` while it does not.
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

    /// Returns one line for each component in trouble, with the time since when it is; none while uploads go on.
    pub fn reasons(&self) -> Vec<String> {
        self.check_all().iter().filter_map(Checked::reason).collect()
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
