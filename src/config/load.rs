//! Flags over environment over file, and whether they fit together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::{self, FileTrust, Refused};
use super::file::UploadKeys;
use super::keys::Table;
use super::parsed::Parsed;
use super::policy::PolicyBuilder;
use super::{Config, ConfigError, Environment, Folder, Login, Policy, folders, login, service, values};
use crate::cli::{Cli, Command, Push};
use crate::secret::Source;

/// Longer files are not configurations.
const MOST_BYTES: u64 = 1 << 20;
const SYSTEM_FILE: &str = "/etc/astran-backup/config.toml";
const GRACE: Duration = Duration::from_secs(30);

/// All that was given, before it is combined.
pub(super) struct Inputs<'a> {
    pub(super) cli: &'a Cli,
    pub(super) environment: &'a Environment,
    pub(super) written: Parsed,
}

impl Config {
    /// Reads the file and puts it together with environment and flags.
    ///
    /// For commands that ask for no service (`history`, `retry`, …), and with `--sandbox`, the service's addresses may
    /// be ones that lead nowhere. `watch` has at least one folder, and each has a destination; so has `push`.
    pub fn load(cli: &Cli, environment: &Environment) -> Result<Self, ConfigError> {
        refuse_contradictions(cli)?;
        let given = Inputs { cli, environment, written: find_file(cli, environment)? };
        let draft = upload_draft(&given)?;
        let (login, login_missing) = match login::login(&given)? {
            Ok(login) => (Some(login), Vec::new()),
            Err(missing) => (None, missing),
        };
        let keys = &given.written.keys;
        let configured = configured(&given, &draft)?;
        let config = Self {
            file: given.written.origin.clone(),
            service: service::service(&given)?,
            login,
            login_missing,
            folders: watched(&given, &draft, &configured)?,
            upload: draft.with_flags(&cli.command),
            grace: keys.daemon.grace.unwrap_or(GRACE),
            listen: keys.daemon.listen,
            allowed_hosts: keys.daemon.allowed_hosts.clone().unwrap_or_default(),
            keep_receipts: keys.journal.keep_receipts.and_then(|keep| keep.0),
            anchor: given
                .typed("--anchor", cli.anchor(), "ASTRAN_BACKUP_ANCHOR", values::anchor)?
                .or_else(|| keys.journal.anchor.clone())
                .unwrap_or_default(),
            state_dir: state_dir(cli, environment)?,
        };
        refuse_surprises(cli, environment, &config)?;
        require_destinations(&given, &config)?;
        config.check_places(&configured, &cli.command)?;
        Ok(config)
    }

    fn check_places(&self, configured: &[Folder], command: &Command) -> Result<(), ConfigError> {
        let mut ours = vec![("the folder of the journal", self.state_dir.as_path())];
        ours.extend(self.file.as_deref().map(|path| ("the configuration file", path)));
        ours.extend(self.service.ca_file.as_deref().map(|path| ("the certificate file", path)));
        ours.extend(
            self.login
                .iter()
                .flat_map(Login::secrets)
                .filter_map(Source::path)
                .map(|path| ("a file with a secret", path)),
        );
        folders::are_apart(&self.folders)?;
        folders::hold_nothing_of_ours("watched", &self.folders, configured, &ours)?;
        let pushed = pushed(command).map(|path| Folder { path: path.clone(), policy: self.upload.clone() });
        folders::hold_nothing_of_ours("pushed", &pushed.collect::<Vec<_>>(), configured, &ours)
    }
}

impl Inputs<'_> {
    /// A text by flag, variable or key, whichever comes first.
    pub(super) fn text(
        &self,
        flag: Option<&str>,
        variable: &str,
        key: Option<&str>,
    ) -> Result<Option<String>, ConfigError> {
        let environment = self.environment.text(variable)?;
        Ok(flag.filter(|text| !text.is_empty()).map(str::to_owned).or(environment).or_else(|| key.map(str::to_owned)))
    }

    /// A value by flag or variable, read by `parse`, whose errors get the name of whichever it was.
    pub(super) fn typed<T>(
        &self,
        flag: &str,
        typed: Option<&str>,
        variable: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        if let Some(text) = typed {
            return parse(text).map(Some).map_err(|why| ConfigError::new(format!("{flag} {why}")));
        }
        let text = self.environment.text(variable)?;
        let value = text.map(|text| parse(&text)).transpose();
        value.map_err(|why| ConfigError::new(format!("the environment variable {variable} {why}")))
    }

    /// The configuration file that was read, or else the one that would be.
    pub(super) fn file_named(&self) -> String {
        let candidates = || candidates(self.environment).into_iter().next();
        let path = self.written.origin.clone().or_else(candidates);
        path.map_or_else(|| SYSTEM_FILE.to_owned(), |path| path.display().to_string())
    }
}

/// With `--sandbox` only a file that the command line names: the one for the real service, wherever it lies, is not for a trial.
fn find_file(cli: &Cli, environment: &Environment) -> Result<Parsed, ConfigError> {
    if cli.global.sandbox() && cli.global.config.is_none() {
        return Ok(Parsed::default());
    }
    let named = cli.global.config.clone().or_else(|| environment.path("ASTRAN_BACKUP_CONFIG"));
    if let Some(path) = named {
        return read_file(&path)?
            .ok_or_else(|| ConfigError::new(format!("there is no configuration file {}", path.display())));
    }
    for path in candidates(environment) {
        if let Some(written) = read_file(&path)? {
            return Ok(written);
        }
    }
    Ok(Parsed::default())
}

fn candidates(environment: &Environment) -> Vec<PathBuf> {
    let base = environment.absolute("XDG_CONFIG_HOME").or_else(|| Some(environment.absolute("HOME")?.join(".config")));
    let own = base.map(|base| base.join("astran-backup/config.toml"));
    own.into_iter().chain([PathBuf::from(SYSTEM_FILE)]).collect()
}

fn read_file(path: &Path) -> Result<Option<Parsed>, ConfigError> {
    match access::read(path, FileTrust::Settings, MOST_BYTES) {
        Ok(text) => Parsed::parse(path, &text).map(Some),
        Err(Refused::Missing) => Ok(None),
        Err(Refused::Because(why)) => Err(ConfigError::new(format!("the configuration file {} {why}", path.display()))),
    }
}

/// What clap can't see: flags that only contradict one another for some values.
fn refuse_contradictions(cli: &Cli) -> Result<(), ConfigError> {
    let global = &cli.global;
    let elsewhere = [
        ("--realm", global.realm.is_some()),
        ("--api-url", global.api_url.is_some()),
        ("--auth-url", global.auth_url.is_some()),
        ("--ca-file", global.ca_file.is_some()),
    ];
    let clash = elsewhere.iter().find(|(_, given)| *given && global.sandbox());
    if let Some((flag, _)) = clash {
        return Err(ConfigError::new(format!(
            "--sandbox runs against the built-in stand-in, {flag} against a service: give one"
        )));
    }
    match &cli.command {
        Command::Push(push) => push_contradictions(push),
        _ => Ok(()),
    }
}

fn push_contradictions(push: &Push) -> Result<(), ConfigError> {
    let from_input = push.files.iter().filter(|f| f.as_os_str() == "-").count();
    let why = match (from_input, push.files.len(), &push.name) {
        (2.., ..) => "standard input (-) can be pushed once",
        (_, 2.., Some(_)) => "--name is the name of one document, but there are several files: push them one by one",
        (1, _, None) => "standard input (-) has no name of its own: give one with --name NAME",
        (1, ..) if push.delete || push.move_to.is_some() => "standard input (-) can't be deleted or moved",
        _ => return Ok(()),
    };
    Err(ConfigError::new(why))
}

/// What `[upload]` and the environment say.
///
/// `ASTRAN_BACKUP_DEST` stands for `dest` in `[upload]`; a folder with a destination of its own keeps it, so that a
/// variable can't send several folders' files to one place.
fn upload_draft(given: &Inputs<'_>) -> Result<PolicyBuilder, ConfigError> {
    let at = |key: &str| given.written.at(Table::Upload, 0, key);
    let mut draft = PolicyBuilder::default().with_keys(&given.written.keys.upload, at)?;
    if let Some(dest) = given.typed("--dest", None, "ASTRAN_BACKUP_DEST", values::remote_path)? {
        draft.policy.dest = Some(dest);
    }
    if let Some(lag) = given.typed("--store-lag", None, "ASTRAN_BACKUP_STORE_LAG", values::store_lag)? {
        draft.policy.store_lag = lag;
    }
    Ok(draft)
}

/// Each `[[folder]]`.
fn configured(given: &Inputs<'_>, draft: &PolicyBuilder) -> Result<Vec<Folder>, ConfigError> {
    given.written.keys.folder.iter().enumerate().map(|(index, keys)| folder(given, draft, index, keys)).collect()
}

fn watched(given: &Inputs<'_>, draft: &PolicyBuilder, configured: &[Folder]) -> Result<Vec<Folder>, ConfigError> {
    // With --sandbox none of them: their files are meant for the real service; in a stand-in they would be stored nowhere, and
    // deleted here.
    let configured = if given.cli.global.sandbox() { &[] } else { configured };
    let Command::Watch(watch) = &given.cli.command else { return Ok(configured.to_vec()) };
    let Some(dir) = &watch.dir else {
        return if configured.is_empty() { Err(no_folder(given)) } else { Ok(configured.to_vec()) };
    };
    let known = configured.iter().find(|folder| folders::same(&folder.path, dir));
    let policy = known.map_or_else(|| draft.clone().with_flags(&given.cli.command), |folder| folder.policy.clone());
    Ok(vec![Folder { path: dir.clone(), policy }])
}

fn folder(given: &Inputs<'_>, draft: &PolicyBuilder, index: usize, keys: &UploadKeys) -> Result<Folder, ConfigError> {
    let at = |key: &str| given.written.at(Table::Folder, index, key);
    let Some(path) = keys.path.clone() else {
        let (number, place) = (index + 1, at("path"));
        return Err(ConfigError::new(format!("{place} number {number} is missing: add path = \"./TemporaryFolder\"")));
    };
    let policy: Policy = draft.clone().with_keys(keys, at)?.with_flags(&given.cli.command);
    Ok(Folder { path, policy })
}

fn no_folder(given: &Inputs<'_>) -> ConfigError {
    if given.cli.global.sandbox() {
        return ConfigError::new(
            "no folder to watch: --sandbox takes no configured folder, so that a trial empties none; name one \
             (astran-backup watch DIR --sandbox)",
        );
    }
    let file = given.file_named();
    ConfigError::new(format!(
        "no folder to watch: name one (astran-backup watch DIR), or add a [[folder]] with its path to {file}"
    ))
}

/// Nothing is removed by surprise: a slip in a path must not empty a system or a home.
fn refuse_surprises(cli: &Cli, environment: &Environment, config: &Config) -> Result<(), ConfigError> {
    let homes = || folders::homes(environment.absolute("HOME"));
    match &cli.command {
        Command::Watch(watch) if !watch.yes => {
            folders::refuse_surprises(config.folders.iter().map(|folder| folder.path.as_path()), &homes())
        }
        Command::Push(push) if !push.yes => {
            folders::refuse_surprises(pushed(&cli.command).map(PathBuf::as_path), &homes())
        }
        _ => Ok(()),
    }
}

/// The folders that a push empties.
fn pushed(command: &Command) -> impl Iterator<Item = &PathBuf> {
    let removing = match command {
        Command::Push(push) if push.delete || push.move_to.is_some() => push.files.as_slice(),
        _ => &[],
    };
    removing.iter().filter(|file| file.is_dir())
}

fn require_destinations(given: &Inputs<'_>, config: &Config) -> Result<(), ConfigError> {
    let file = given.file_named();
    let ways = format!("give --dest PATH, ASTRAN_BACKUP_DEST, or dest under [upload] in {file}");
    match &given.cli.command {
        Command::Push(_) if config.upload.dest.is_none() => Err(ConfigError::new(format!("no destination: {ways}"))),
        Command::Watch(_) => match config.folders.iter().find(|folder| folder.policy.dest.is_none()) {
            Some(folder) => Err(ConfigError::new(format!("no destination for {}: {ways}", folder.path.display()))),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Where the journal lies. With `--sandbox` it is a folder of its own: what a stand-in has is stored nowhere else, and its
/// receipts must not stand beside real ones.
fn state_dir(cli: &Cli, environment: &Environment) -> Result<PathBuf, ConfigError> {
    let dir = state_dir_given(cli, environment)?;
    Ok(if cli.global.sandbox() { dir.join("sandbox") } else { dir })
}

/// A service manager may name several folders; the first is ours.
fn state_dir_given(cli: &Cli, environment: &Environment) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = cli.global.state_dir.clone() {
        return Ok(dir);
    }
    let of_service = environment.get("STATE_DIRECTORY").and_then(|dirs| std::env::split_paths(dirs).next());
    let base =
        || environment.absolute("XDG_STATE_HOME").or_else(|| Some(environment.absolute("HOME")?.join(".local/state")));
    of_service
        .or_else(|| base().map(|base| base.join("astran-backup")))
        .ok_or_else(|| ConfigError::new("no place for the journal, as HOME is not set: give --state-dir DIR"))
}
