//! Logins that were refused, remembered across runs: thirty jobs of cron with a wrong password make one refused login and not thirty, which
//! would lock the account.
//!
//! The state directory holds a small file for each account: which secret was refused, when, and in which words. A secret is known
//! by where it is kept, never by its content: by path, inode, times and size of its file. No hash of a secret is stored either: whoever reads the
//! state directory could try passwords against it, also against a keyed one, as the key would have to lie beside it. So a new password
//! from the environment or from a command looks like the old one; `--retry-login` tries it.
//!
//! The file is locked while its account logs in. Of several processes that start at once the first one tries, and the others wait for its
//! result.

mod file;
mod record;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::budget;
use crate::hex;
use crate::secret::Source;
use file::{Locked, Opened};
use record::{Record, Refused};

/// How often a process looks whether the login of another process has ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long a process waits for the file to write a result into it. The result of another process is as good.
const WRITE: Duration = Duration::from_secs(2);

/// The account that logs in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The address of the login service.
    pub address: String,
    /// The realm.
    pub realm: String,
    /// The client.
    pub client: String,
    /// The user; for client credentials, the client again.
    pub user: String,
}

/// What is done with the memory.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// A login that was refused in an earlier run is not sent again.
    pub heed: bool,
    /// The result of a login is written down.
    pub record: bool,
}

/// The memory of one account's refused logins.
#[derive(Debug)]
pub struct RefusedLogins {
    path: PathBuf,
    user: String,
    secrets: RwLock<Vec<Source>>,
    config: Option<PathBuf>,
    usage: Use,
    /// A login of this process was granted: from then on the process paces its logins by itself (see `astran::session`).
    was_granted: AtomicBool,
}

impl RefusedLogins {
    /// The memory in a state directory. `config` is the configuration file: a password command is known by it. `None` where a person
    /// types a secret: that person decides how often it is tried.
    pub fn new(
        state_dir: &Path,
        account: &Account,
        secrets: Vec<Source>,
        config: Option<PathBuf>,
        usage: Use,
    ) -> Option<Self> {
        if secrets.iter().any(|secret| matches!(secret, Source::Prompt(_))) {
            return None;
        }
        let Account { address, realm, client, user } = account;
        let hash = Sha256::digest([address.as_str(), realm, client, user].join("\n"));
        let path = state_dir.join(format!("login-{}.json", hex(&hash[..8])));
        Some(Self {
            path,
            user: user.clone(),
            secrets: RwLock::new(secrets),
            config,
            usage,
            was_granted: AtomicBool::new(false),
        })
    }

    /// The secrets come from elsewhere from now on.
    pub(crate) fn set_secrets(&self, secrets: Vec<Source>) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    fn secrets(&self) -> Vec<Source> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until no other process logs in with this account, within [`budget::LOGIN_TURN`]. The error says that an earlier login was
    /// refused, and that nothing may be sent. Where the file can't be used, the login goes on without it.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, String> {
        let start = SystemTime::now();
        let secret = self.identity().await;
        let Some(locked) = self.lock(budget::LOGIN_TURN).await else {
            return Ok(Turn { memory: self, secret, locked: None });
        };
        let heed = self.usage.heed && !self.was_granted.load(Ordering::Relaxed);
        let refusal = locked.record.refuses(&secret, &self.user, &self.secrets(), SystemTime::now());
        if let Some(message) = refusal.filter(|_| heed) {
            return Err(message);
        }
        // Another process has logged in with this secret while this one waited, so the secret is right: all others may log in at once.
        let proved = locked.record.was_granted_since(&secret, start);
        Ok(Turn { memory: self, secret, locked: Some(locked).filter(|_| !proved) })
    }

    /// Opens and locks the file. `None` where it can't be used: without a state directory, or where another process holds it for longer
    /// than `patience`.
    async fn lock(&self, patience: Duration) -> Option<Locked> {
        let end = Instant::now() + patience;
        let (path, create) = (self.path.clone(), self.usage.record);
        let mut opened = blocking(move || Opened::at(&path, create)).await?;
        loop {
            match blocking(move || Some(opened.lock())).await? {
                Ok(locked) => return Some(locked),
                Err(Some(held)) if Instant::now() < end => opened = held,
                Err(_) => {
                    tracing::debug!("the memory of refused logins is not used: its file can't be locked");
                    return None;
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn identity(&self) -> String {
        let (secrets, config) = (self.secrets(), self.config.clone());
        blocking(move || Some(file::identity(&secrets, config.as_deref()))).await.unwrap_or_default()
    }
}

/// A process's turn to log in. Dropped without a result, it leaves the memory as it was: trouble of the login service says nothing about
/// the secret.
pub(crate) struct Turn<'a> {
    memory: &'a RefusedLogins,
    secret: String,
    locked: Option<Locked>,
}

impl Turn<'_> {
    /// The login was granted: what was refused before is forgotten.
    pub(crate) async fn granted(self) {
        self.memory.was_granted.store(true, Ordering::Relaxed);
        self.write(Record::granted).await;
    }

    /// The login was refused in these words, which hold no secret.
    pub(crate) async fn refused(self, reason: &str) {
        self.write(|record, secret, now| record.refused(Refused::new(secret, now, reason))).await;
    }

    async fn write(self, change: impl FnOnce(&mut Record, String, SystemTime)) {
        let Self { memory, secret, locked } = self;
        if !memory.usage.record {
            return;
        }
        let locked = match locked {
            Some(locked) => Some(locked),
            None => memory.lock(WRITE).await,
        };
        let Some(mut locked) = locked else { return };
        change(&mut locked.record, secret, SystemTime::now());
        blocking(move || {
            locked.write();
            Some(())
        })
        .await;
    }
}

/// Runs work that may block: the state directory may lie on a share.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn memory(dir: &Path, usage: Use) -> RefusedLogins {
        let account =
            Account { address: "https://a.example".into(), realm: "r".into(), client: "c".into(), user: "me".into() };
        let password = dir.join("password");
        if !password.exists() {
            std::fs::write(&password, "wrong").unwrap();
        }
        RefusedLogins::new(dir, &account, vec![Source::File(password)], None, usage).unwrap()
    }

    const USED: Use = Use { heed: true, record: true };

    #[tokio::test]
    async fn a_refused_login_is_not_tried_again_until_the_secret_changes_or_a_person_asks() {
        let dir = tempfile::tempdir().unwrap();
        memory(dir.path(), USED).turn().await.unwrap().refused("wrong password").await;
        let message = memory(dir.path(), USED).turn().await.err().unwrap();
        assert!(message.contains("wrong password") && message.contains("--retry-login"), "{message}");
        let asked = memory(dir.path(), Use { heed: false, record: true });
        assert!(asked.turn().await.is_ok(), "a person asked");
        assert!(memory(dir.path(), USED).turn().await.is_err(), "a turn without a result changes nothing");
        std::fs::remove_file(dir.path().join("password")).unwrap();
        std::fs::write(dir.path().join("password"), "right-one").unwrap();
        memory(dir.path(), USED).turn().await.expect("the secret has changed").granted().await;
        memory(dir.path(), USED).turn().await.expect("it works");
    }

    #[tokio::test]
    async fn a_process_that_logged_in_once_paces_its_logins_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = memory(dir.path(), USED);
        daemon.turn().await.unwrap().granted().await;
        daemon.turn().await.unwrap().refused("disabled").await;
        assert!(daemon.turn().await.is_ok());
        assert!(memory(dir.path(), USED).turn().await.is_err(), "its refusal counts for the next process");
    }

    #[tokio::test]
    async fn of_thirty_processes_at_once_one_tries_and_the_others_hear_its_result() {
        let dir = tempfile::tempdir().unwrap();
        let tried = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let all = (0..30).map(|_| {
            let (memory, tried) = (memory(dir.path(), USED), Arc::clone(&tried));
            tokio::spawn(async move {
                let Ok(turn) = memory.turn().await else { return };
                tried.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(100)).await;
                turn.refused("wrong password").await;
            })
        });
        for process in all.collect::<Vec<_>>() {
            process.await.unwrap();
        }
        assert_eq!(tried.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn once_the_secret_has_proved_right_all_that_wait_log_in_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, third) = (memory(dir.path(), USED), memory(dir.path(), USED), memory(dir.path(), USED));
        let turn = first.turn().await.unwrap();
        let waiting = async {
            let (second, third) = tokio::join!(second.turn(), third.turn());
            // Both have their turn now: neither waits for the end of the other.
            second.unwrap().granted().await;
            third.unwrap().granted().await;
        };
        tokio::join!(waiting, async {
            sleep(Duration::from_millis(20)).await;
            turn.granted().await;
        });
    }

    #[tokio::test]
    async fn without_a_state_directory_or_for_a_plan_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let plan = memory(dir.path(), Use { heed: true, record: false });
        plan.turn().await.unwrap().refused("no").await;
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the password");
        let mut absent = memory(dir.path(), USED);
        absent.path = dir.path().join("absent/login.json");
        absent.turn().await.unwrap().refused("no").await;
        assert!(!dir.path().join("absent").exists());
    }

    #[tokio::test]
    async fn the_file_is_private_and_a_damaged_one_or_a_link_counts_for_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let own = memory(dir.path(), USED);
        own.turn().await.unwrap().refused("no").await;
        assert_eq!(own.path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&own.path).unwrap();
        std::fs::write(&own.path, &text[..text.len() / 2]).unwrap();
        assert!(own.turn().await.is_ok());
        std::fs::rename(&own.path, dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", &own.path).unwrap();
        own.turn().await.unwrap().refused("no").await;
        assert_eq!(std::fs::read_to_string(dir.path().join("other")).unwrap(), text[..text.len() / 2]);
    }
}
