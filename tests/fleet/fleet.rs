//! A database of its own for each test, and machines that are members of its fleet.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Daemon, Output, QUICK, World, run_to_end};

/// A migrated database, which is dropped with this.
pub(crate) struct Fleet {
    server: String,
    ca: PathBuf,
    pub(crate) database: String,
    dir: tempfile::TempDir,
}

impl Fleet {
    /// `None` where no script has started a `PostgreSQL`: the test is skipped.
    pub(crate) fn new() -> Option<Self> {
        let fleet = Self::bare()?;
        let migrated = fleet.admin(&["fleet", "migrate"]);
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        Some(fleet)
    }

    /// With an empty database.
    pub(crate) fn bare() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("FLEET_POSTGRES") else {
            eprintln!("SKIPPED: no PostgreSQL was started for the tests, see .ci/postgres");
            return None;
        };
        let ca = PathBuf::from(std::env::var("FLEET_POSTGRES_CA").unwrap());
        let database = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("admin.password");
        std::fs::write(&password, "admin").unwrap();
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
        let fleet = Self { server, ca, database, dir };
        fleet.sql_in("postgres", "admin", "admin", &format!("CREATE DATABASE {}", fleet.database)).unwrap();
        Some(fleet)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The server's address, without the name that its certificate has.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// The name of a machine of this test. Logins are the whole server's, and other tests run beside this one.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.database.replace('_', "-"))
    }

    /// Runs SQL as the administrator; the rows as text.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.sql_in(&self.database, "admin", "admin", sql).unwrap()
    }

    /// Runs SQL as another login; the error is what the database says.
    pub(crate) fn sql_as(&self, login: &str, password: &str, sql: &str) -> Result<String, String> {
        self.sql_in(&self.database, login, password, sql)
    }

    fn sql_in(&self, database: &str, login: &str, password: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "localhost", "-p", &self.port().to_string()]);
        psql.args(["-U", login, "-d", database, "-c", sql]);
        psql.env("PGPASSWORD", password).env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", &self.ca);
        let output = psql.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// A file with the administrator's password.
    pub(crate) fn admin_password(&self) -> PathBuf {
        self.dir.path().join("admin.password")
    }

    /// Runs the program as the fleet's administrator, on a machine of his own.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Output {
        self.person("admin", &self.admin_password(), arguments)
    }

    /// Runs the program as somebody who looks into the database.
    pub(crate) fn person(&self, login: &str, password_file: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_astran-backup"));
        command.env_clear().current_dir(self.dir.path()).env("HOME", self.dir.path()).args(arguments);
        command.env("ASTRAN_BACKUP_FLEET_DATABASE", format!("postgres://{login}@{}/{}", self.server, self.database));
        command.env("ASTRAN_BACKUP_FLEET_PASSWORD_FILE", password_file).env("ASTRAN_BACKUP_FLEET_CA_FILE", &self.ca);
        run_to_end(&mut command)
    }

    /// Enrols a machine; its token.
    pub(crate) fn enroll(&self, name: &str, dept: &str) -> String {
        let output = self.admin(&["fleet", "enroll", name, "--dept", dept, "--json"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.events("fleet_member")[0]["token"].as_str().unwrap().to_owned()
    }

    /// A machine that has joined.
    pub(crate) fn member(&self, name: &str, more: &str) -> Member {
        let member = self.machine(name, self.port(), more);
        let joined = member.join(&self.enroll(&member.name, "HR"));
        assert_eq!(joined.code, Some(0), "{joined:?}");
        member
    }

    /// The same, which reaches the database by another port.
    pub(crate) fn member_behind(&self, name: &str, port: u16, more: &str) -> Member {
        let member = self.machine(name, port, more);
        let joined = member.join(&self.enroll(&member.name, "HR"));
        assert_eq!(joined.code, Some(0), "{joined:?}");
        member
    }

    /// A machine that knows the database, and has not joined. `more` are further keys of `[fleet]`.
    pub(crate) fn machine(&self, name: &str, port: u16, more: &str) -> Member {
        let (name, world) = (self.name(name), World::new());
        let Self { ca, database, .. } = self;
        let ca = ca.display();
        world.configure(&format!(
            "[fleet]\nname = \"{name}\"\ndatabase = \"postgres://localhost:{port}/{database}\"\nca_file = \"{ca}\"\n{more}\n"
        ));
        Member { name, world }
    }

    /// How many receipts of a machine the database has.
    pub(crate) fn receipts_of(&self, name: &str) -> usize {
        self.sql(&format!("SELECT count(*) FROM fleet.receipts WHERE host = '{name}'")).parse().unwrap()
    }

    pub(crate) fn is_whole(&self) -> bool {
        let checked = self.admin(&["fleet", "check", "--json"]);
        assert!(matches!(checked.code, Some(0 | 1)), "{checked:?}");
        checked.code == Some(0)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let hosts = self.sql_in(&self.database, "admin", "admin", "SELECT login FROM fleet.host").unwrap_or_default();
        self.sql_in("postgres", "admin", "admin", &format!("DROP DATABASE {} WITH (FORCE)", self.database)).ok();
        for login in hosts.lines() {
            self.sql_in("postgres", "admin", "admin", &format!("DROP ROLE \"{login}\"")).ok();
        }
    }
}

/// A machine of a fleet.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) world: World,
}

const CONFIG: [&str; 2] = ["--config", "config.toml"];

impl Member {
    pub(crate) fn join(&self, token: &str) -> Output {
        self.world.run(["fleet", "join", token].iter().chain(&CONFIG))
    }

    /// A run with `--once` that is killed at a named step. Returns whether it got there.
    #[cfg(feature = "failpoints")]
    pub(crate) fn once_killed_at(&self, step: &str) -> bool {
        let mut command = self.world.command();
        command.args(["watch", "watched", "--once"]).args(QUICK).args(CONFIG).env("ASTRAN_BACKUP_FAILPOINT", step);
        run_to_end(&mut command).code.is_none()
    }

    pub(crate) fn once(&self) -> Output {
        self.world.once_quick(&CONFIG)
    }

    pub(crate) fn watch(&self, arguments: &[&str]) -> Daemon {
        self.world.watch(&[&QUICK, &CONFIG, arguments].concat())
    }

    pub(crate) fn login(&self) -> String {
        format!("fleet_host_{}", self.name)
    }

    pub(crate) fn password(&self) -> String {
        std::fs::read_to_string(self.world.state().join("astran-backup/fleet.password")).unwrap()
    }

    /// Puts so many files into the folder and uploads them.
    pub(crate) fn upload(&self, files: std::ops::Range<usize>) {
        self.put(files);
        let output = self.once();
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(self.world.files_left().is_empty());
    }

    pub(crate) fn put(&self, files: std::ops::Range<usize>) {
        for number in files {
            self.world.put(format!("scan{number:04}.pdf"), format!("{} {number}", self.name));
        }
    }
}
