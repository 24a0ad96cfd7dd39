//! The conversation with a scripted person and a scripted world.

use std::collections::VecDeque;

use secrecy::ExposeSecret as _;

use super::dialogue::{FolderFound, Person, Question, World};
use super::*;

/// A person who types these answers; an empty one is Enter. At their end the terminal is closed.
#[derive(Default)]
struct Script {
    answers: VecDeque<&'static str>,
    /// What was asked, with its default, and what was told.
    seen: Vec<String>,
}

impl Script {
    fn new(answers: &[&'static str]) -> Self {
        Self { answers: answers.iter().copied().collect(), seen: Vec::new() }
    }
}

impl Person for Script {
    fn is_there(&self) -> bool {
        true
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<String, Stopped> {
        self.seen.push(format!("{} [{}]", question.text, question.default.unwrap_or_default()));
        match (self.answers.pop_front(), question.default) {
            (Some(""), Some(default)) => Ok(default.to_owned()),
            (Some(answer), _) => Ok(answer.to_owned()),
            (None, _) => Err(Stopped::Ended),
        }
    }

    async fn ask_secret(&mut self, question: Question<'_>) -> Result<SecretString, Stopped> {
        self.ask(question).await.map(Into::into)
    }

    fn tell(&mut self, text: &str) {
        self.seen.push(text.to_owned());
    }
}

/// A service with the realm "hr", the password "right" and one folder.
#[derive(Default)]
struct Fake {
    logins: u32,
    refuses_as: Option<Exit>,
}

impl World for Fake {
    async fn reach(&mut self, answers: &Answers) -> Result<String, Fatal> {
        let works = answers.realm == "hr" || answers.auth_url.as_deref() == Some("https://ours");
        if works { Ok("answers".into()) } else { Err(Fatal::new(Exit::Unreachable, "no such realm")) }
    }

    async fn log_in(&mut self, answers: &Answers) -> Result<String, Fatal> {
        self.logins += 1;
        if answers.password.expose_secret() == "right" {
            return Ok("Me".into());
        }
        Err(Fatal::new(self.refuses_as.unwrap_or(Exit::LoginRefused), "refused"))
    }

    async fn look_at_folder(&mut self, answers: &Answers) -> Result<FolderFound, Fatal> {
        match answers.folder.to_str() {
            Some("/") => Err(Fatal::new(Exit::Usage, "/ is the whole file system")),
            Some("scans") => Ok(FolderFound::There("/srv/scans".into())),
            _ => Ok(FolderFound::Missing("/srv/new".into())),
        }
    }

    async fn vault_folders(&mut self) -> Result<Vec<String>, Fatal> {
        Ok(vec!["HR_Backup".into()])
    }

    async fn look_at_dest(&mut self, answers: &Answers) -> Result<(), Fatal> {
        if answers.dest.to_string() == "/HR_Backup" { Ok(()) } else { Err(Fatal::new(Exit::Missing, "no such folder")) }
    }
}

fn flags() -> Given {
    let flag = |text: &str| Value { flag: Some(text.to_owned()), default: None };
    Given {
        realm: flag("hr"),
        client_id: flag("c"),
        username: flag("me"),
        password: Some("right".into()),
        folder: flag("scans"),
        dest: flag("/HR_Backup"),
        ..Given::default()
    }
}

#[tokio::test]
async fn each_question_is_asked_once_where_each_answer_works_and_enter_takes_the_only_folder() {
    let mut person = Script::new(&["hr", "c", "me", "right", "scans", ""]);
    let answers = converse(Given::default(), &mut person, &mut Fake::default()).await.unwrap();
    assert_eq!((answers.realm.as_str(), answers.auth_url, answers.folder.to_str()), ("hr", None, Some("/srv/scans")));
    assert_eq!(answers.dest.to_string(), "/HR_Backup");
    assert_eq!(person.seen.iter().filter(|seen| seen.ends_with(']')).count(), 6, "{:?}", person.seen);
    assert!(!person.seen.concat().contains("right"));
}

#[tokio::test]
async fn what_does_not_work_is_told_and_asked_again_with_the_last_answer_as_default() {
    let mut person = Script::new(&[
        "wrong",
        "",
        "https://ours",
        "",
        "c",
        "me",
        "bad",
        "",
        "",
        "right",
        "/",
        "x",
        "no",
        "x",
        "",
        "/no",
        "/HR_Backup",
    ]);
    let answers = converse(Given::default(), &mut person, &mut Fake::default()).await.unwrap();
    assert_eq!((answers.realm.as_str(), answers.auth_url.as_deref()), ("wrong", Some("https://ours")));
    assert_eq!((answers.folder.to_str(), answers.dest.to_string()), (Some("/srv/new"), "/HR_Backup".to_owned()));
    for part in [
        "✗ no such realm",
        "Realm [wrong]",
        "✗ refused",
        "User [me]",
        "✗ / is the whole file system",
        "✗ no such folder",
    ] {
        assert!(person.seen.iter().any(|seen| seen == part), "{part}: {:?}", person.seen);
    }
}

#[tokio::test]
async fn three_refused_logins_end_it_so_that_the_account_is_not_locked() {
    let mut person = Script::new(&["bad", "", "", "bad", "", "", "bad", "", "", "right"]);
    let (mut world, given) = (Fake::default(), Given { password: None, ..flags() });
    let Err(Stopped::Failed(fatal)) = converse(given, &mut person, &mut world).await else { panic!("it goes on") };
    assert_eq!((fatal.exit, world.logins), (Exit::LoginRefused, 3));
    // A service that is down refuses nothing, and counts nothing.
    let mut person = Script::new(&["bad", "", "", "bad", "", "", "bad", "", "", "right"]);
    let mut world = Fake { refuses_as: Some(Exit::Unreachable), ..Fake::default() };
    converse(Given { password: None, ..flags() }, &mut person, &mut world).await.unwrap();
    assert_eq!(world.logins, 4);
}

#[tokio::test]
async fn with_nobody_to_ask_the_first_trouble_ends_it_and_what_is_missing_names_its_flag() {
    let ended = async |given| match converse(given, &mut Nobody, &mut Fake::default()).await {
        Ok(_) => None,
        Err(Stopped::Failed(fatal)) => Some((fatal.exit, fatal.message)),
        Err(Stopped::Ended) => panic!("nobody ended it"),
    };
    assert_eq!(ended(flags()).await, None);
    let rows = [
        (Given { realm: Value::default(), ..flags() }, Exit::Usage, "--realm"),
        (Given { client_id: Value::default(), ..flags() }, Exit::Usage, "--client-id"),
        (Given { username: Value::default(), ..flags() }, Exit::Usage, "--username"),
        (Given { password: None, ..flags() }, Exit::Usage, "--password-stdin"),
        (Given { folder: Value::default(), ..flags() }, Exit::Usage, "--folder"),
        (Given { dest: Value::default(), ..flags() }, Exit::Usage, "--dest"),
        (Given { password: Some("bad".into()), ..flags() }, Exit::LoginRefused, "refused"),
        (Given { folder: Value { flag: Some("new".into()), default: None }, ..flags() }, Exit::Missing, "--yes"),
    ];
    for (given, exit, part) in rows {
        let (found, message) = ended(given).await.unwrap();
        assert!(found == exit && message.contains(part), "{part}: {found:?} {message}");
    }
    let made = Given { folder: Value { flag: Some("new".into()), default: None }, yes: true, ..flags() };
    assert_eq!(ended(made).await, None);
}

#[tokio::test]
async fn the_end_of_the_input_ends_it_at_each_question() {
    let all = ["hr", "c", "me", "right", "x", "yes", "/HR_Backup"];
    for typed in 0..all.len() {
        let ended = converse(Given::default(), &mut Script::new(&all[..typed]), &mut Fake::default()).await;
        assert!(matches!(ended, Err(Stopped::Ended)), "{typed} answers");
    }
}
