//! The conversation: asks for each value, tries it at once, and asks again where it does not work. Knows neither terminal nor service.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::answers::Answers;
use crate::config::values;
use crate::exit::{Exit, Fatal};
use crate::printable::printable;

/// How often a login may be refused. Login services lock an account after a few refusals.
const LOGINS: u32 = 3;
/// Stands for an address that is not given.
const FROM_REALM: &str = "follows from the realm";
/// How many folders of the vault are offered.
const OFFERED: usize = 20;

/// Why there are no answers.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The person ended the conversation.
    Ended,
    /// This can't be mended by another answer.
    Failed(Fatal),
}

impl<E: Into<Fatal>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) text: &'a str,
    /// How a script gives the answer.
    pub(super) flag: &'a str,
    /// The answer where nothing is typed.
    pub(super) default: Option<&'a str>,
}

/// Who answers.
pub(super) trait Person {
    /// Whether somebody is there to be asked again.
    fn is_there(&self) -> bool;
    /// Asks. The answer is not empty.
    async fn ask(&mut self, question: Question<'_>) -> Result<String, Stopped>;
    /// Asks for a password, which is not shown.
    async fn ask_secret(&mut self, question: Question<'_>) -> Result<SecretString, Stopped>;
    fn tell(&mut self, text: &str);
}

/// What a look at the folder to watch has found. Its path is absolute and without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FolderFound {
    There(PathBuf),
    Missing(PathBuf),
}

/// What the answers are tried on: the service, and this machine's disks. Nothing is written.
pub(super) trait World {
    /// Tries the two addresses. Returns what was found.
    async fn reach(&mut self, answers: &Answers) -> Result<String, Fatal>;
    /// Logs in once. Returns the name of the account.
    async fn log_in(&mut self, answers: &Answers) -> Result<String, Fatal>;
    async fn look_at_folder(&mut self, answers: &Answers) -> Result<FolderFound, Fatal>;
    /// The folders at the vault's root.
    async fn vault_folders(&mut self) -> Result<Vec<String>, Fatal>;
    /// Looks up and lists the folder in the vault.
    async fn look_at_dest(&mut self, answers: &Answers) -> Result<(), Fatal>;
}

/// The values that flags and variables gave before the first question.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub(super) realm: Value,
    pub(super) auth_url: Value,
    pub(super) api_url: Value,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_id: Value,
    pub(super) username: Value,
    pub(super) password: Option<SecretString>,
    pub(super) folder: Value,
    pub(super) dest: Value,
    /// A missing folder is made without a question.
    pub(super) yes: bool,
}

/// One value, before it is asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    /// Given by a flag: not asked for, unless it does not work.
    pub(super) flag: Option<String>,
    /// Offered as the answer.
    pub(super) default: Option<String>,
}

impl Value {
    fn is_given(&self) -> bool {
        self.flag.is_some() || self.default.is_some()
    }

    /// Returns the value, and asks for it unless a flag gave it. It is the default of the next question.
    async fn take(&mut self, person: &mut impl Person, text: &str, flag: &str) -> Result<String, Stopped> {
        let value = match self.flag.take() {
            Some(value) => value,
            None => person.ask(Question { text, flag, default: self.default.as_deref() }).await?,
        };
        self.default = Some(value.clone());
        Ok(value)
    }
}

/// Asks for everything. The answers that are returned have been tried, and all of them work.
pub(super) async fn converse(
    mut given: Given,
    person: &mut impl Person,
    world: &mut impl World,
) -> Result<Answers, Stopped> {
    let mut answers = Answers { ca_file: given.ca_file.clone(), ..Answers::default() };
    address(&mut given, &mut answers, person, world).await?;
    login(&mut given, &mut answers, person, world).await?;
    folder(&mut given, &mut answers, person, world).await?;
    dest(&mut given, &mut answers, person, world).await?;
    Ok(answers)
}

/// Tells what does not work, so that the question can be asked again. With nobody to ask, that ends the command.
fn again(person: &mut impl Person, failed: Fatal) -> Result<(), Stopped> {
    if !person.is_there() {
        return Err(failed.into());
    }
    person.tell(&format!("✗ {failed}"));
    Ok(())
}

async fn address(
    given: &mut Given,
    answers: &mut Answers,
    person: &mut impl Person,
    world: &mut impl World,
) -> Result<(), Stopped> {
    let mut first = true;
    loop {
        answers.realm = given.realm.take(person, "Realm", "--realm NAME").await?;
        // The addresses follow from the realm. They are asked for only where those that follow do not work.
        if given.auth_url.is_given() || !first {
            answers.auth_url = url(&mut given.auth_url, person, "Address of the login", "--auth-url URL").await?;
        }
        if given.api_url.is_given() || !first {
            answers.api_url = url(&mut given.api_url, person, "Address of the API", "--api-url URL").await?;
        }
        match world.reach(answers).await {
            Ok(found) => {
                person.tell(&format!("✓ {found}"));
                return Ok(());
            }
            Err(failed) => again(person, failed)?,
        }
        first = false;
    }
}

/// Takes an address; `None` where it follows from the realm.
async fn url(value: &mut Value, person: &mut impl Person, text: &str, flag: &str) -> Result<Option<String>, Stopped> {
    value.default.get_or_insert_with(|| FROM_REALM.to_owned());
    let url = value.take(person, text, flag).await?;
    Ok((url != FROM_REALM).then_some(url))
}

async fn login(
    given: &mut Given,
    answers: &mut Answers,
    person: &mut impl Person,
    world: &mut impl World,
) -> Result<(), Stopped> {
    let mut refused = 0;
    loop {
        answers.client_id = given.client_id.take(person, "Client id", "--client-id ID").await?;
        answers.username = given.username.take(person, "User", "--username NAME").await?;
        answers.password = if let Some(password) = given.password.take() {
            password
        } else {
            let flag = "--password-file FILE, or --password-stdin";
            person.ask_secret(Question { text: "Password (not shown)", flag, default: None }).await?
        };
        let failed = match world.log_in(answers).await {
            Ok(user) => {
                person.tell(&format!("✓ logged in as {}", printable(&user)));
                return Ok(());
            }
            Err(failed) => failed,
        };
        refused += u32::from(failed.exit == Exit::LoginRefused);
        if refused >= LOGINS {
            let message = format!(
                "{}; no more than {LOGINS} logins are tried, so that the account is not locked",
                failed.message
            );
            return Err(Fatal { message, ..failed }.into());
        }
        again(person, failed)?;
    }
}

async fn folder(
    given: &mut Given,
    answers: &mut Answers,
    person: &mut impl Person,
    world: &mut impl World,
) -> Result<(), Stopped> {
    loop {
        answers.folder = given.folder.take(person, "Folder to watch, which is emptied", "--folder DIR").await?.into();
        let missing = match world.look_at_folder(answers).await {
            Ok(FolderFound::There(path)) => {
                answers.folder = path;
                return Ok(());
            }
            Ok(FolderFound::Missing(path)) => path,
            Err(failed) => {
                again(person, failed)?;
                continue;
            }
        };
        if given.yes || make(&missing, person).await? {
            answers.folder = missing;
            return Ok(());
        }
    }
}

/// Asks whether a missing folder is to be made.
async fn make(missing: &Path, person: &mut impl Person) -> Result<bool, Stopped> {
    let shown = missing.display();
    if !person.is_there() {
        let why = format!("the folder {shown} is missing: make it, or give --yes to have it made");
        return Err(Fatal::new(Exit::Missing, why).into());
    }
    let text = format!("{shown} is missing. Make it? (yes, no)");
    let answer = person.ask(Question { text: &text, flag: "--yes", default: Some("yes") }).await?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

async fn dest(
    given: &mut Given,
    answers: &mut Answers,
    person: &mut impl Person,
    world: &mut impl World,
) -> Result<(), Stopped> {
    if person.is_there() && given.dest.flag.is_none() {
        offer(given, person, world).await;
    }
    loop {
        let text = given.dest.take(person, "Folder in the vault", "--dest PATH").await?;
        let found = match values::remote_path(&text) {
            Ok(dest) => {
                answers.dest = dest;
                world.look_at_dest(answers).await
            }
            Err(why) => Err(Fatal::new(Exit::Usage, format!("--dest {why}"))),
        };
        match found {
            Ok(()) => return Ok(()),
            Err(failed) => again(person, failed)?,
        }
    }
}

/// Names the folders that are there. The only one is the default.
async fn offer(given: &mut Given, person: &mut impl Person, world: &mut impl World) {
    let folders = match world.vault_folders().await {
        Ok(folders) => folders,
        // Not every user may list the root; the folder can be named all the same.
        Err(why) => return person.tell(&format!("The folders of the vault can't be listed: {why}")),
    };
    let shown: Vec<String> = folders.iter().take(OFFERED).map(|name| format!("/{}", printable(name))).collect();
    let more = if folders.len() > OFFERED { format!(", and {} more", folders.len() - OFFERED) } else { String::new() };
    if !shown.is_empty() {
        person.tell(&format!("The vault has {}{more}", shown.join(", ")));
    }
    if let ([only], None) = (&folders[..], &given.dest.default) {
        given.dest.default = Some(format!("/{only}"));
    }
}
