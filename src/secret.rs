//! Where a password comes from, and that it is never printed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::config::access::{self, FileTrust, Refused};

/// Longer files and answers are not passwords.
const MOST_BYTES: u64 = 64 * 1024;
/// How long a password command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a secret comes from. Read anew each time, so that a rotated one is found.
#[derive(Clone)]
pub enum Source {
    /// A file that only its owner can read; one trailing newline is dropped.
    File(PathBuf),
    /// A file that the service manager hands over, which its access list may show as readable by a group.
    Credential(PathBuf),
    /// The first line that a command prints: a program and its arguments; no shell is involved.
    Command(Vec<String>),
    /// A value that is known already (environment, sandbox).
    Given(SecretString),
    /// Asked for on the terminal, at first use, then kept.
    Prompt(Prompt),
}

/// A question on the terminal; clones share the answer.
#[derive(Clone)]
pub struct Prompt {
    text: String,
    answer: Arc<OnceCell<SecretString>>,
}

/// Why a secret can't be had. Names the place, never the secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

impl Source {
    /// A question on the terminal, asked at first use.
    pub fn prompt(text: impl Into<String>) -> Self {
        Self::Prompt(Prompt { text: text.into(), answer: Arc::default() })
    }

    /// The secret as it is now.
    pub async fn read(&self) -> Result<SecretString, SecretError> {
        let secret = match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => from_file(path.clone(), FileTrust::Secret).await,
            Self::Credential(path) => from_file(path.clone(), FileTrust::Credential).await,
            Self::Command(words) => from_command(words, PATIENCE).await,
            Self::Prompt(prompt) => prompt.answer.get_or_try_init(|| ask(prompt.text.clone())).await.cloned(),
        };
        secret.map_err(|why| SecretError(format!("the {} {why}", self.describe())))
    }

    /// What it is, for messages: `password file /etc/…`. A command's arguments are left out.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("password file {}", path.display()),
            Self::Credential(path) => format!("systemd credential {}", path.display()),
            Self::Command(words) => format!("password command `{}`", words.first().map_or("", String::as_str)),
            Self::Given(_) => "password from the environment".into(),
            Self::Prompt(_) => "password asked for on the terminal".into(),
        }
    }

    /// The file that it lies in, if it does.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Credential(path) => Some(path),
            Self::Command(_) | Self::Given(_) | Self::Prompt(_) => None,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.describe())
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt").field("text", &self.text).finish_non_exhaustive()
    }
}

/// The errors of what follows go behind the source's description.
type Had = Result<SecretString, String>;

async fn from_file(path: PathBuf, holds: FileTrust) -> Had {
    let read = tokio::task::spawn_blocking(move || access::read(&path, holds, MOST_BYTES));
    match read.await.map_err(|_| "could not be read".to_owned())? {
        Ok(text) => secret(without_newline(&text)),
        Err(Refused::Missing) => Err("is not there".into()),
        Err(Refused::Because(why)) => Err(why),
    }
}

async fn from_command(words: &[String], patience: Duration) -> Had {
    let (program, arguments) = words.split_first().ok_or("names no program")?;
    // Standard input may be the file that is uploaded. What it says on standard error is for whoever sees ours, but
    // never repeated: it may hold anything.
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("ASTRAN_BACKUP_PASSWORD")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("can't be run: {e}"))?;
    let answer = tokio::time::timeout(patience, answer(child)).await;
    let (status, bytes) = answer.map_err(|_| format!("did not end within {} s", patience.as_secs()))??;
    if !status.success() {
        return Err(format!("failed ({status})"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "prints something that is not UTF-8 text".to_owned())?;
    secret(without_newline(text.split_inclusive('\n').next().unwrap_or_default()))
}

/// All that a command prints, up to a limit, and how it ended.
async fn answer(mut child: Child) -> Result<(ExitStatus, Vec<u8>), String> {
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(MOST_BYTES + 1).read_to_end(&mut bytes).await;
        read.map_err(|e| format!("can't be read from: {e}"))?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("prints more than {MOST_BYTES} bytes, so it can't be the right one"));
    }
    let status = child.wait().await.map_err(|e| format!("can't be waited for: {e}"))?;
    Ok((status, bytes))
}

async fn ask(text: String) -> Had {
    let asked = tokio::task::spawn_blocking(move || rpassword::prompt_password(text)).await;
    let answer = asked.map_err(|_| "could not be read".to_owned())?.map_err(|e| format!("could not be read: {e}"))?;
    secret(&answer)
}

fn secret(text: &str) -> Had {
    if text.is_empty() { Err("is empty".into()) } else { Ok(SecretString::from(text)) }
}

/// Without the one newline that editors and `echo` put at the end.
fn without_newline(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, Source) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("password");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (temp, Source::File(path))
    }

    async fn had(source: &Source) -> Result<String, String> {
        source.read().await.map(|s| s.expose_secret().to_owned()).map_err(|e| e.to_string())
    }

    fn command(script: &str) -> Source {
        Source::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn one_newline_is_dropped() {
        let rows: [(&[u8], &str); 5] =
            [(b"a b", "a b"), (b"ab\n", "ab"), (b"ab\r\n", "ab"), (b"ab\n\n", "ab\n"), (b" ab ", " ab ")];
        for (content, password) in rows {
            let (_temp, source) = file(content, 0o600);
            assert_eq!(had(&source).await.as_deref(), Ok(password));
        }
    }

    #[tokio::test]
    async fn files_that_are_refused() {
        let long = vec![b'x'; 65 * 1024];
        let rows: [(&[u8], u32, &str); 6] = [
            (b"", 0o600, "is empty"),
            (b"\n", 0o600, "is empty"),
            (b"hunter2\xff", 0o600, "not UTF-8"),
            (b"hunter2", 0o644, "chmod 600"),
            (b"hunter2", 0o640, "chmod 600"),
            (&long, 0o600, "longer than"),
        ];
        for (content, mode, part) in rows {
            let (_temp, source) = file(content, mode);
            let why = had(&source).await.unwrap_err();
            assert!(why.starts_with("the password file /") && why.contains(part), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(had(&Source::File(folder.path().join("no"))).await.unwrap_err().contains("is not there"));
        assert!(had(&Source::File(folder.path().into())).await.unwrap_err().contains("not a regular file"));
    }

    #[tokio::test]
    async fn a_credential_may_be_readable_by_a_group() {
        let (_temp, source) = file(b"hunter2", 0o440);
        let credential = Source::Credential(source.path().unwrap().to_owned());
        assert_eq!(had(&credential).await.as_deref(), Ok("hunter2"));
    }

    #[tokio::test]
    async fn a_pipe_without_a_writer_holds_nothing_up() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(had(&Source::File(path)).await.unwrap_err().contains("not a regular file"));
    }

    #[tokio::test]
    async fn a_rotated_password_is_found() {
        let (_temp, source) = file(b"old", 0o600);
        assert_eq!(had(&source).await.as_deref(), Ok("old"));
        std::fs::write(source.path().unwrap(), "new").unwrap();
        assert_eq!(had(&source).await.as_deref(), Ok("new"));
    }

    #[tokio::test]
    async fn commands() {
        assert_eq!(had(&command("printf 'hunter2\\nuser: me\\n'")).await.as_deref(), Ok("hunter2"));
        assert_eq!(had(&command("printf hunter2")).await.as_deref(), Ok("hunter2"));
        let rows = [
            ("echo hunter2; exit 3", "exit status: 3"),
            ("true", "is empty"),
            ("echo; echo hunter2", "is empty"),
            ("printf 'hunter2\\377'", "not UTF-8"),
            ("yes hunter2", "more than"),
        ];
        for (script, part) in rows {
            let why = had(&command(script)).await.unwrap_err();
            assert!(why.starts_with("the password command `sh` ") && why.contains(part), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let none = Source::Command(vec!["/no/such/program".into(), "hunter2".into()]);
        let why = had(&none).await.unwrap_err();
        assert!(why.contains("/no/such/program") && why.contains("can't be run") && !why.contains("hunter2"), "{why}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_left() {
        let words = ["sleep", "60"].map(str::to_owned);
        let why = from_command(&words, Duration::from_millis(50)).await.unwrap_err();
        assert!(why.contains("did not end"), "{why}");
    }

    #[tokio::test]
    async fn what_was_answered_once_is_kept() {
        let source = Source::prompt("Password: ");
        let Source::Prompt(prompt) = source.clone() else { panic!("a prompt") };
        prompt.answer.set(SecretString::from("hunter2")).unwrap();
        assert_eq!(had(&source).await.as_deref(), Ok("hunter2"));
        assert!(!format!("{source:?} {prompt:?}").contains("hunter2"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let given = Source::Given(SecretString::from("hunter2"));
        for source in [given, command("echo hunter2")] {
            let said = format!("{source:?} {source:#?} {}", source.describe());
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
