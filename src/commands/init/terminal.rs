//! Who answers the questions: a person at a terminal, or nobody.

use std::io::{self, BufRead as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;

use super::dialogue::{Person, Question, Stopped};
use crate::budget;
use crate::exit::{Exit, Fatal};
use crate::printable::printable;

/// A person at the terminal: questions go to standard error, answers come from standard input.
pub(super) struct Terminal;

/// Nobody: each question has the answer of its variable, or ends the command and names its flag.
pub(super) struct Nobody;

impl Person for Terminal {
    fn is_there(&self) -> bool {
        true
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<String, Stopped> {
        loop {
            let answer = self.line(question).await?;
            match (answer.trim(), question.default) {
                ("", None) => {}
                ("", Some(default)) => return Ok(default.to_owned()),
                (answer, _) => return Ok(answer.to_owned()),
            }
        }
    }

    async fn ask_secret(&mut self, question: Question<'_>) -> Result<SecretString, Stopped> {
        loop {
            let silent = Silent::begin().map_err(|errno| unusable(&errno.into()))?;
            let answer = self.line(question).await?;
            drop(silent);
            self.tell("");
            if !answer.is_empty() {
                return Ok(answer.into());
            }
        }
    }

    fn tell(&mut self, text: &str) {
        // Where standard error is closed, the answers still count.
        writeln!(io::stderr(), "{text}").ok();
    }
}

impl Terminal {
    /// Asks, and returns the line that is typed, without its end. The thread that reads is left behind where a signal ends the command.
    async fn line(&mut self, question: Question<'_>) -> Result<String, Stopped> {
        let default = question.default.map(|default| format!(" [{}]", printable(default))).unwrap_or_default();
        write!(io::stderr(), "{}{default}: ", printable(question.text)).ok();
        let read = tokio::task::spawn_blocking(first_line).await.map_err(Fatal::internal)?;
        read.map_err(|error| unusable(&error))?.ok_or(Stopped::Ended)
    }
}

impl Person for Nobody {
    fn is_there(&self) -> bool {
        false
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<String, Stopped> {
        question.default.map(str::to_owned).ok_or_else(|| lacks(question))
    }

    async fn ask_secret(&mut self, question: Question<'_>) -> Result<SecretString, Stopped> {
        Err(lacks(question))
    }

    fn tell(&mut self, _: &str) {}
}

fn lacks(question: Question<'_>) -> Stopped {
    let Question { text, flag, .. } = question;
    let why = format!("there is no terminal to ask for: {text}; give {flag}");
    Fatal::new(Exit::Usage, why).into()
}

fn unusable(error: &io::Error) -> Fatal {
    Fatal::new(Exit::Usage, format!("standard input can't be read: {error}"))
}

/// Reads the first line of standard input, without its end; `None` where there is none. Blocks.
pub(super) fn first_line() -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut input = io::stdin().lock().take(budget::ANSWER_BYTES);
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if input.limit() == 0 && line.last() != Some(&b'\n') {
        return Err(io::Error::other("the line is too long to be an answer"));
    }
    // The error of from_utf8 holds the bytes, which may be a password: it is dropped.
    let mut line = String::from_utf8(line).map_err(|_| io::Error::other("the answer is not UTF-8 text"))?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(Some(line))
}

/// The terminal does not show what is typed, until this is dropped. It is dropped also where a signal ends the command.
struct Silent(Termios);

impl Silent {
    fn begin() -> rustix::io::Result<Self> {
        let shown = tcgetattr(io::stdin())?;
        let mut silent = shown.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(shown))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing more.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}
