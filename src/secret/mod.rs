//! Passwords and other secrets: where each comes from. No error, log line or `Debug` shows one.

pub(crate) mod trusted_file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use trusted_file::FileTrust;

/// The longest password file, and the longest output of a password command.
const MOST_BYTES: u64 = 64 * 1024;
/// How long a password command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a secret comes from. The secret is read anew for each login, so that a password that was changed is found.
#[derive(Clone)]
pub enum Source {
    /// A file that only its owner can read; one trailing newline is dropped.
    File(PathBuf),
    /// A systemd credential: a file that the service manager hands over. Its mode may show it as readable by a group.
    Credential(PathBuf),
    /// The first line that a command prints: a program and its arguments; no shell is involved.
    Command(Vec<String>),
    /// The secret itself, from the environment or the sandbox.
    Given(SecretString),
    /// A question on the terminal, asked at the first use; the answer is kept.
    Prompt(Prompt),
}

/// A question on the terminal; clones share the answer.
#[derive(Clone)]
pub struct Prompt {
    text: String,
    answer: Arc<OnceCell<SecretString>>,
}

/// A secret could not be read. The text names the place, never the secret. The caller can only tell the administrator; the next
/// login reads the secret again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl Source {
    /// A question on the terminal, asked at first use.
    pub fn prompt(text: impl Into<String>) -> Self {
        Self::Prompt(Prompt { text: text.into(), answer: Arc::default() })
    }

    /// Reads the secret as it is now.
    pub async fn read(&self) -> Result<SecretString, SecretError> {
        let secret = match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => from_file(path.clone(), FileTrust::Secret).await,
            Self::Credential(path) => from_file(path.clone(), FileTrust::Credential).await,
            Self::Command(words) => from_command(words, COMMAND_TIMEOUT).await,
            Self::Prompt(prompt) => prompt.answer.get_or_try_init(|| ask(prompt.text.clone())).await.cloned(),
        };
        secret.map_err(|why| SecretError(format!("the {} {why}", self.describe())))
    }

    /// The place in words, for messages: `password file /etc/…`. A command's arguments are left out, as they may hold a secret.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("password file {}", path.display()),
            Self::Credential(path) => format!("systemd credential {}", path.display()),
            Self::Command(words) => format!("password command `{}`", words.first().map_or("", String::as_str)),
            Self::Given(_) => "password from the environment".into(),
            Self::Prompt(_) => "password asked for on the terminal".into(),
        }
    }

    /// Whether the secret comes from the same place. Of a secret itself, and of a question, there is only one in a process.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) | (Self::Credential(one), Self::Credential(other)) => one == other,
            (Self::Command(one), Self::Command(other)) => one == other,
            (Self::Given(_), Self::Given(_)) | (Self::Prompt(_), Self::Prompt(_)) => true,
            _ => false,
        }
    }

    /// The path of the file that holds the secret, if one does.
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

/// A secret, or why it could not be read, in words that go behind the source's description.
type ReadResult = Result<SecretString, String>;

async fn from_file(path: PathBuf, trust: FileTrust) -> ReadResult {
    let read = tokio::task::spawn_blocking(move || trusted_file::read(&path, trust, MOST_BYTES));
    let text = read.await.map_err(|_| "could not be read".to_owned())?.map_err(|error| error.to_string())?;
    secret(without_newline(&text))
}

async fn from_command(words: &[String], timeout: Duration) -> ReadResult {
    let (program, arguments) = words.split_first().ok_or("names no program")?;
    // The command gets no standard input, which may be the file that is uploaded. Its standard error goes where ours goes,
    // but no message repeats it, as it may hold the secret.
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("ASTRAN_BACKUP_PASSWORD")
        // With these variables of systemd the command could speak for the service.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("can't be run: {e}"))?;
    let output = tokio::time::timeout(timeout, output(child)).await;
    let (status, bytes) = output.map_err(|_| format!("did not end within {} s", timeout.as_secs()))??;
    if !status.success() {
        return Err(format!("failed ({status})"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "prints something that is not UTF-8 text".to_owned())?;
    secret(without_newline(text.split_inclusive('\n').next().unwrap_or_default()))
}

/// A command's exit status, and what it printed on standard output, up to [`MOST_BYTES`].
async fn output(mut child: Child) -> Result<(ExitStatus, Vec<u8>), String> {
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

async fn ask(text: String) -> ReadResult {
    let asked = tokio::task::spawn_blocking(move || rpassword::prompt_password(text)).await;
    let answer = asked.map_err(|_| "could not be read".to_owned())?.map_err(|e| format!("could not be read: {e}"))?;
    secret(&answer)
}

fn secret(text: &str) -> ReadResult {
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

    async fn read(source: &Source) -> Result<String, String> {
        source.read().await.map(|s| s.expose_secret().to_owned()).map_err(|e| e.to_string())
    }

    fn command(script: &str) -> Source {
        Source::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn one_newline_at_the_end_is_dropped() {
        let rows: [(&[u8], &str); 5] =
            [(b"a b", "a b"), (b"ab\n", "ab"), (b"ab\r\n", "ab"), (b"ab\n\n", "ab\n"), (b" ab ", " ab ")];
        for (content, password) in rows {
            let (_temp, source) = file(content, 0o600);
            assert_eq!(read(&source).await.as_deref(), Ok(password));
        }
    }

    #[tokio::test]
    async fn unfit_password_files_are_refused_without_showing_the_password() {
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
            let why = read(&source).await.unwrap_err();
            assert!(why.starts_with("the password file /") && why.contains(part), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&Source::File(folder.path().join("no"))).await.unwrap_err().contains("is not there"));
        assert!(read(&Source::File(folder.path().into())).await.unwrap_err().contains("not a regular file"));
    }

    #[tokio::test]
    async fn a_credential_may_be_readable_by_a_group() {
        let (_temp, source) = file(b"hunter2", 0o440);
        let credential = Source::Credential(source.path().unwrap().to_owned());
        assert_eq!(read(&credential).await.as_deref(), Ok("hunter2"));
    }

    #[tokio::test]
    async fn a_named_pipe_without_a_writer_does_not_block() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(read(&Source::File(path)).await.unwrap_err().contains("not a regular file"));
    }

    #[tokio::test]
    async fn a_changed_password_is_found_at_the_next_read() {
        let (_temp, source) = file(b"old", 0o600);
        assert_eq!(read(&source).await.as_deref(), Ok("old"));
        std::fs::write(source.path().unwrap(), "new").unwrap();
        assert_eq!(read(&source).await.as_deref(), Ok("new"));
    }

    #[tokio::test]
    async fn a_command_gives_its_first_line_and_its_failures_do_not_show_it() {
        assert_eq!(read(&command("printf 'hunter2\\nuser: me\\n'")).await.as_deref(), Ok("hunter2"));
        assert_eq!(read(&command("printf hunter2")).await.as_deref(), Ok("hunter2"));
        let rows = [
            ("echo hunter2; exit 3", "exit status: 3"),
            ("true", "is empty"),
            ("echo; echo hunter2", "is empty"),
            ("printf 'hunter2\\377'", "not UTF-8"),
            ("yes hunter2", "more than"),
        ];
        for (script, part) in rows {
            let why = read(&command(script)).await.unwrap_err();
            assert!(why.starts_with("the password command `sh` ") && why.contains(part), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let none = Source::Command(vec!["/no/such/program".into(), "hunter2".into()]);
        let why = read(&none).await.unwrap_err();
        assert!(why.contains("/no/such/program") && why.contains("can't be run") && !why.contains("hunter2"), "{why}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended() {
        let words = ["sleep", "60"].map(str::to_owned);
        let why = from_command(&words, Duration::from_millis(50)).await.unwrap_err();
        assert!(why.contains("did not end"), "{why}");
    }

    #[tokio::test]
    async fn the_answer_to_a_prompt_is_kept() {
        let source = Source::prompt("Password: ");
        let Source::Prompt(prompt) = source.clone() else { panic!("a prompt") };
        prompt.answer.set(SecretString::from("hunter2")).unwrap();
        assert_eq!(read(&source).await.as_deref(), Ok("hunter2"));
        assert!(!format!("{source:?} {prompt:?}").contains("hunter2"));
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let given = Source::Given(SecretString::from("hunter2"));
        for source in [given, command("echo hunter2")] {
            let said = format!("{source:?} {source:#?} {}", source.describe());
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
