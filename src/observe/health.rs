//! What holds up uploads just now. It keeps no opinion of its own: those who know are asked when somebody wants to know, so
//! that it can't say anything else than what they act by.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A part of the program that can be in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// The way to the first upload: the login, and a look at the destinations.
    Start,
    /// The service, and the login.
    Service,
    /// The login service: it gives a token, or lets all wait.
    Login,
    /// The journal.
    Journal,
    /// The destination of this folder's files.
    Destination(String),
    /// This watched folder itself.
    Folder(String),
    /// Whatever it is that keeps files from getting further.
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

/// Somebody who knows whether a part is in trouble.
pub trait HealthCheck: fmt::Debug + Send + Sync {
    /// What holds up uploads there; `None` where nothing does. Answers at once, in words for whoever can reach the address
    /// that they are told at: they name no file, no account and nothing secret.
    fn trouble(&self) -> Option<String>;
}

/// All parts; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Components>>);

type Components = Vec<(Component, Arc<dyn HealthCheck>)>;

impl Health {
    /// From now on this one is asked too.
    pub fn add(&self, part: Component, who: Arc<dyn HealthCheck>) {
        self.parts().push((part, who));
    }

    /// Asks all, in the order in which they came.
    pub fn now(&self) -> Vec<(Component, Option<String>)> {
        // Asked without the lock: nobody who starts waits for them.
        let parts = self.parts().clone();
        parts.into_iter().map(|(part, who)| (part, who.trouble())).collect()
    }

    /// A line for each part that is in trouble; none where uploads go on.
    pub fn reasons(&self) -> Vec<String> {
        let line = |why: String| why.split_whitespace().collect::<Vec<_>>().join(" ");
        self.now().into_iter().filter_map(|(part, why)| Some(format!("{part}: {}", line(why?)))).collect()
    }

    fn parts(&self) -> MutexGuard<'_, Components> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody has noted of trouble of their own; clones are the same note.
#[derive(Debug, Clone, Default)]
pub struct Condition(Arc<Mutex<Option<String>>>);

impl Condition {
    /// There is trouble, for this reason. Answers whether that is news.
    pub fn raise(&self, why: impl Into<String>) -> bool {
        self.noted().replace(why.into()).is_none()
    }

    /// It is over.
    pub fn clear(&self) {
        *self.noted() = None;
    }

    fn noted(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthCheck for Condition {
    fn trouble(&self) -> Option<String> {
        self.noted().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_in_trouble_is_one_line_for_as_long_as_it_is() {
        let (health, journal, folder) = (Health::default(), Condition::default(), Condition::default());
        health.add(Component::Journal, Arc::new(journal.clone()));
        health.add(Component::Folder("/srv/scans".into()), Arc::new(folder.clone()));
        assert_eq!(health.reasons(), [""; 0]);
        journal.raise("the disk\nis full");
        folder.raise("it is gone");
        assert_eq!(health.reasons(), ["the journal: the disk is full", "the folder /srv/scans: it is gone"]);
        journal.clear();
        assert_eq!(health.reasons(), ["the folder /srv/scans: it is gone"]);
    }

    #[test]
    fn trouble_that_lasts_is_news_once() {
        let note = Condition::default();
        assert!(note.raise("gone"));
        assert!(!note.raise("gone still"));
        assert_eq!(note.trouble().as_deref(), Some("gone still"));
        note.clear();
        assert!(note.raise("gone again"));
    }
}
