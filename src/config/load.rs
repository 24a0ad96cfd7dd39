//! Combines command line, environment and file into one configuration, and checks that its parts fit together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::UploadKeys;
use super::inputs::Inputs;
use super::keys::Table;
use super::overrides::{Overrides, Task};
use super::parsed::Parsed;
use super::places::Places;
use super::policy_builder::PolicyBuilder;
use super::{
    Config, ConfigError, Environment, Folder, Login, Notify, Policy, fleet, folders, host, login, service, values,
};
use crate::secret::Source;

const GRACE: Duration = Duration::from_secs(30);

impl Config {
    /// Reads the configuration file and combines it with the environment and the command line.
    ///
    /// For commands that ask nothing of the service (`history`, `retry`, …), and with `--sandbox`, the service's addresses may
    /// lead nowhere. For `watch` there is at least one folder, and each folder has a destination; `push` has one too.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Self, ConfigError> {
        Self::of_inputs(&Inputs::read(overrides, environment)?)
    }

    /// Checks the text of a file that is not written yet, as [`Config::load`] will do once it is at `path`.
    pub(crate) fn of_text(
        path: &Path,
        text: &str,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let file = Parsed::parse(path, text)?;
        Self::of_inputs(&Inputs { overrides, environment, file })
    }

    fn of_inputs(inputs: &Inputs<'_>) -> Result<Self, ConfigError> {
        let overrides = inputs.overrides;
        let upload = upload_policy(inputs)?;
        let configured = configured_folders(inputs, &upload)?;
        let dir = match &overrides.task {
            Task::Watch(watch) => watch.dir.as_deref(),
            _ => None,
        };
        let places = Places::ask(&configured, dir);
        let (login, login_missing) = match login::login(inputs)? {
            Ok(login) => (Some(login), Vec::new()),
            Err(missing) => (None, missing),
        };
        let keys = &inputs.file.keys;
        let anchor = ("--anchor", overrides.anchor.as_deref());
        let state_dir = state_dir(inputs)?;
        let config = Self {
            file: inputs.file.origin.clone(),
            service: service::service(inputs)?,
            login,
            login_missing,
            folders: watched_folders(inputs, &upload, &configured, &places)?,
            upload: with_host(inputs, upload.with_overrides(&overrides.task))?,
            limit_rate: overrides.limit_rate.clone().or_else(|| keys.service.limit_rate.clone()).unwrap_or_default(),
            grace: keys.daemon.grace.unwrap_or(GRACE),
            listen: keys.daemon.listen,
            allowed_hosts: keys.daemon.allowed_hosts.clone().unwrap_or_default(),
            page_names: keys.daemon.page_names,
            keep_receipts: keys.journal.keep_receipts.and_then(|kept| kept.0),
            anchor: inputs
                .parsed(anchor, "ASTRAN_BACKUP_ANCHOR", values::anchor)?
                .or_else(|| keys.journal.anchor.clone())
                .unwrap_or_default(),
            notify: Notify::of_keys(&keys.notify),
            fleet: fleet::fleet(inputs, &state_dir)?,
            state_dir,
        };
        config.refuse_surprises(inputs, &places)?;
        config.require_destinations(inputs)?;
        config.check_places(&configured, &overrides.task, &places)?;
        Ok(config)
    }

    /// Nothing is removed by surprise: a typing error in a path must not empty a system or a home.
    fn refuse_surprises(&self, inputs: &Inputs<'_>, places: &Places) -> Result<(), ConfigError> {
        let task = &inputs.overrides.task;
        let emptied: Vec<PathBuf> = match task {
            Task::Watch(watch) if !watch.allow_any_folder => self.folders.iter().map(|f| f.path.clone()).collect(),
            Task::Push(push) if !push.allow_any_folder => task.emptied().cloned().collect(),
            _ => return Ok(()),
        };
        folders::refuse_surprises(&emptied, &folders::homes(inputs.environment.absolute("HOME")), places)
    }

    fn require_destinations(&self, inputs: &Inputs<'_>) -> Result<(), ConfigError> {
        let lacking = match &inputs.overrides.task {
            Task::Push(_) if self.upload.dest.is_none() => String::new(),
            Task::Watch(_) => match self.folders.iter().find(|folder| folder.policy.dest.is_none()) {
                Some(folder) => format!(" for {}", folder.path.display()),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let file = inputs.file_name();
        Err(ConfigError::new(format!(
            "no destination{lacking}: give --dest PATH, ASTRAN_BACKUP_DEST, or dest under [upload] in {file}"
        )))
    }

    /// No folder that is emptied holds another one, or the program's own files.
    fn check_places(&self, configured: &[Folder], task: &Task, places: &Places) -> Result<(), ConfigError> {
        let secrets = self.login.iter().flat_map(Login::secrets).filter_map(Source::path);
        let mut own_files = vec![("the folder of the journal", self.state_dir.as_path())];
        own_files.extend(self.file.as_deref().map(|path| ("the configuration file", path)));
        own_files.extend(self.service.ca_file.as_deref().map(|path| ("the certificate file", path)));
        own_files.extend(secrets.map(|path| ("a file with a secret", path)));
        if let Some(fleet) = &self.fleet {
            own_files.extend(fleet.password.path().map(|path| ("a file with a secret", path)));
            own_files.extend(fleet.ca_file.as_deref().map(|path| ("the certificate file", path)));
        }
        folders::are_apart(&self.folders, places)?;
        folders::hold_no_own_files("watched", &self.folders, configured, &own_files, places)?;
        let pushed: Vec<Folder> =
            task.emptied().map(|path| Folder { path: path.clone(), policy: self.upload.clone() }).collect();
        folders::hold_no_own_files("pushed", &pushed, configured, &own_files, places)
    }
}

/// What `[upload]` and the environment say.
///
/// `ASTRAN_BACKUP_DEST` stands for `dest` in `[upload]`; a folder with a destination of its own keeps it, so that a
/// variable can't send several folders' files to one place.
fn upload_policy(inputs: &Inputs<'_>) -> Result<PolicyBuilder, ConfigError> {
    let at = |key: &str| inputs.file.at(Table::Upload, 0, key);
    let mut upload = PolicyBuilder::default().with_keys(&inputs.file.keys.upload, at)?;
    if let Some(dest) = inputs.variable("ASTRAN_BACKUP_DEST", values::remote_path)? {
        upload.policy.dest = Some(dest);
    }
    if let Some(lag) = inputs.variable("ASTRAN_BACKUP_STORE_LAG", values::store_lag)? {
        upload.policy.store_lag = lag;
    }
    Ok(upload)
}

/// The policy with this machine's name in its destination, where that has the place `{host}`: machines of a fleet that share one
/// configuration have files of the same name.
fn with_host(inputs: &Inputs<'_>, mut policy: Policy) -> Result<Policy, ConfigError> {
    let configured = inputs.file.keys.fleet.name.as_deref();
    if let Some(dest) = &mut policy.dest {
        *dest = host::fill_in(dest, || host::name_of_this(configured, &host::machine()))?;
    }
    Ok(policy)
}

/// Each `[[folder]]` of the file, with the policy that the command line makes of its own.
fn configured_folders(inputs: &Inputs<'_>, upload: &PolicyBuilder) -> Result<Vec<Folder>, ConfigError> {
    let folders = inputs.file.keys.folder.iter().enumerate();
    folders.map(|(index, keys)| configured_folder(inputs, upload, index, keys)).collect()
}

fn configured_folder(
    inputs: &Inputs<'_>,
    upload: &PolicyBuilder,
    index: usize,
    keys: &UploadKeys,
) -> Result<Folder, ConfigError> {
    let at = |key: &str| inputs.file.at(Table::Folder, index, key);
    let Some(path) = keys.path.clone() else {
        let (number, place) = (index + 1, at("path"));
        return Err(ConfigError::new(format!("{place} number {number} is missing: add path = \"./TemporaryFolder\"")));
    };
    let policy = upload.clone().with_keys(keys, at)?.with_overrides(&inputs.overrides.task);
    Ok(Folder { path, policy: with_host(inputs, policy)? })
}

/// The folders to watch: the one that the command line names, or else all configured ones.
fn watched_folders(
    inputs: &Inputs<'_>,
    upload: &PolicyBuilder,
    configured: &[Folder],
    places: &Places,
) -> Result<Vec<Folder>, ConfigError> {
    // The files of configured folders are meant for the real service: the sandbox would not store them for good, but they
    // would be deleted here.
    let configured = if inputs.overrides.sandbox { &[] } else { configured };
    let Task::Watch(watch) = &inputs.overrides.task else { return Ok(configured.to_vec()) };
    let Some(dir) = &watch.dir else {
        return if configured.is_empty() { Err(no_folder(inputs)) } else { Ok(configured.to_vec()) };
    };
    let known = configured.iter().find(|folder| places.same(&folder.path, dir));
    let policy = match known {
        Some(folder) => folder.policy.clone(),
        None => with_host(inputs, upload.clone().with_overrides(&inputs.overrides.task))?,
    };
    Ok(vec![Folder { path: dir.clone(), policy }])
}

fn no_folder(inputs: &Inputs<'_>) -> ConfigError {
    if inputs.overrides.sandbox {
        return ConfigError::new(
            "no folder to watch: --sandbox takes no configured folder, so that a trial empties none; name one \
             (astran-backup watch DIR --sandbox)",
        );
    }
    let file = inputs.file_name();
    ConfigError::new(format!(
        "no folder to watch: name one (astran-backup watch DIR), or add a [[folder]] with its path to {file}{}",
        super::or_init(inputs.file.origin.as_deref())
    ))
}

/// The folder of the journal. The sandbox has a folder of its own in it: its documents are stored nowhere else, so its receipts
/// must not stand beside real ones.
fn state_dir(inputs: &Inputs<'_>) -> Result<PathBuf, ConfigError> {
    let dir = given_state_dir(inputs)?;
    Ok(if inputs.overrides.sandbox { dir.join("sandbox") } else { dir })
}

fn given_state_dir(inputs: &Inputs<'_>) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = inputs.overrides.state_dir.clone() {
        return Ok(dir);
    }
    let environment = inputs.environment;
    // A service manager may name several folders; the first one is the state directory.
    let of_service = environment.get("STATE_DIRECTORY").and_then(|dirs| std::env::split_paths(dirs).next());
    let base =
        || environment.absolute("XDG_STATE_HOME").or_else(|| Some(environment.absolute("HOME")?.join(".local/state")));
    of_service
        .or_else(|| base().map(|base| base.join("astran-backup")))
        .ok_or_else(|| {
            ConfigError::new(
                "no place for the journal, as HOME is not set: give --state-dir DIR (in a systemd unit: StateDirectory=astran-backup)",
            )
        })
}
