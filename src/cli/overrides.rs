//! What the command line says about the configuration, and the contradictions in it that clap can't see.

use super::{Check, Cli, Command, Global, Push, Sending, Watch};
use crate::config::overrides::{Overrides, PolicyOverrides, PushOverrides, Task, WatchOverrides};
use crate::config::{After, ConfigError};

impl Cli {
    /// The flags that override the configuration.
    pub fn overrides(&self) -> Result<Overrides, ConfigError> {
        self.refuse_contradictions()?;
        let flags = self.global.clone();
        let sandbox = flags.sandbox();
        Ok(Overrides {
            file: flags.config,
            realm: flags.realm,
            api_url: flags.api_url,
            auth_url: flags.auth_url,
            ca_file: flags.ca_file,
            client_id: flags.client_id,
            username: flags.username,
            password_file: flags.password_file,
            state_dir: flags.state_dir,
            anchor: self.anchor(),
            limit_rate: self.sending().and_then(|sending| sending.limit_rate.clone()),
            sandbox,
            task: self.command.task(),
        })
    }

    fn sending(&self) -> Option<&Sending> {
        match &self.command {
            Command::Watch(typed) => Some(&typed.sending),
            Command::Push(typed) => Some(&typed.sending),
            _ => None,
        }
    }

    fn anchor(&self) -> Option<String> {
        match &self.command {
            Command::History(typed) => typed.anchor.clone(),
            _ => None,
        }
    }

    /// Refuses flags that contradict one another only with some values.
    fn refuse_contradictions(&self) -> Result<(), ConfigError> {
        if let Some(flag) = self.global.flag_for_a_service().filter(|_| self.global.sandbox()) {
            return Err(ConfigError::new(format!(
                "--sandbox runs against the built-in stand-in, {flag} against a service: give one"
            )));
        }
        match &self.command {
            Command::Push(push) => push.refuse_contradictions(),
            _ => Ok(()),
        }
    }
}

impl Global {
    /// A flag that was given and names a real service.
    fn flag_for_a_service(&self) -> Option<&'static str> {
        let flags = [
            ("--realm", self.realm.is_some()),
            ("--api-url", self.api_url.is_some()),
            ("--auth-url", self.auth_url.is_some()),
            ("--ca-file", self.ca_file.is_some()),
        ];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

impl Push {
    fn refuse_contradictions(&self) -> Result<(), ConfigError> {
        let from_input = self.files.iter().filter(|file| file.as_os_str() == "-").count();
        if let Some(list) = &self.files_from {
            let list_from_input = list.as_os_str() == "-";
            return match (from_input, &self.name) {
                (1.., _) if list_from_input => {
                    Err(ConfigError::new("standard input (-) can't be both the list of names and a document"))
                }
                (_, Some(_)) => Err(ConfigError::new(
                    "--name is the name of one document, but --files-from names several files: push them one by one",
                )),
                _ => Ok(()),
            };
        }
        let why = match (from_input, self.files.len(), &self.name) {
            (2.., ..) => "standard input (-) can be pushed once",
            (_, 2.., Some(_)) => {
                "--name is the name of one document, but there are several files: push them one by one"
            }
            (1, _, None) => "standard input (-) has no name of its own: give one with --name NAME",
            (1, ..) if self.delete || self.move_to.is_some() => "standard input (-) can't be deleted or moved",
            _ => return Ok(()),
        };
        Err(ConfigError::new(why))
    }
}

impl Command {
    fn task(&self) -> Task {
        match self {
            Self::Watch(typed) => Task::Watch(typed.into()),
            Self::Push(typed) => Task::Push(typed.into()),
            Self::Check(typed) if typed.dir.is_some() => Task::Watch(typed.into()),
            Self::Ls(_) | Self::Get(_) | Self::Check(_) | Self::Verify(_) => Task::Ask,
            #[cfg(feature = "fleet")]
            Self::Fleet(typed) if typed.asks_service() => Task::Ask,
            _ => Task::Local,
        }
    }
}

impl From<&Watch> for WatchOverrides {
    fn from(typed: &Watch) -> Self {
        let moved = || typed.move_to.clone().map(After::Move);
        let policy = PolicyOverrides {
            settle: typed.settle,
            failed_dir: typed.failed_dir.clone(),
            after: if typed.keep { Some(After::Keep) } else { moved() },
            ..PolicyOverrides::from(&typed.sending)
        };
        Self { dir: typed.dir.clone(), policy, allow_any_folder: typed.yes }
    }
}

impl From<&Check> for WatchOverrides {
    /// The folder is tried as `watch` would take it.
    fn from(typed: &Check) -> Self {
        let policy = PolicyOverrides { dest: typed.dest.clone(), ..PolicyOverrides::default() };
        Self { dir: typed.dir.clone(), policy, allow_any_folder: false }
    }
}

impl From<&Push> for PushOverrides {
    fn from(typed: &Push) -> Self {
        let after = match &typed.move_to {
            Some(dir) => After::Move(dir.clone()),
            None if typed.delete => After::Delete,
            None => After::Keep,
        };
        let policy = PolicyOverrides::from(&typed.sending);
        Self { files: typed.files.clone(), policy, after, allow_any_folder: typed.yes }
    }
}

impl From<&Sending> for PolicyOverrides {
    fn from(typed: &Sending) -> Self {
        Self {
            dest: typed.dest.clone(),
            transfers: typed.transfers,
            verify: typed.verify,
            on_conflict: typed.on_conflict,
            layout: typed.layout,
            ignore: typed.ignore.clone(),
            exclude: typed.exclude.clone(),
            include: typed.include.clone(),
            min_age: typed.min_age,
            max_size: typed.max_size,
            prune_empty: typed.prune_empty,
            ..Self::default()
        }
    }
}
