//! Runs the command of `[notify]`: without a shell, with a clean environment, and never for longer than it may.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::budget;
use crate::printable::printable;

/// The variables of this process that the command gets.
const KEPT: [&str; 3] = ["PATH", "HOME", "LANG"];

/// How long a command that has ended may have left something in its pipe.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("it can't be run: {0}")]
    NotRun(#[source] io::Error),
    #[error("it did not end within {} s, and was killed", .0.as_secs())]
    TooLong(Duration),
    #[error("it failed ({status}){said}")]
    Failed { status: ExitStatus, said: String },
}

/// Runs the command with `input` on its standard input and these variables. What it prints on standard output is dropped.
pub(super) async fn run(
    words: &[String],
    input: &str,
    variables: &[(&'static str, String)],
    patience: Duration,
) -> Result<(), CommandError> {
    let mut running = Running::start(words, variables).map_err(CommandError::NotRun)?;
    match timeout(patience, running.end(input)).await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => Err(CommandError::Failed { status, said }),
        Ok(Err(error)) => Err(CommandError::NotRun(error)),
        Err(_elapsed) => Err(CommandError::TooLong(patience)),
    }
}

/// A command that runs. Dropped before its end, it is killed with all processes of its group, so that a shell that waits for a program
/// which hangs does not leave that program behind.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn start(words: &[String], variables: &[(&'static str, String)]) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let kept = KEPT.into_iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(kept)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, group })
    }

    /// Waits for the command's end. Returns its status, and the beginning of what it wrote to standard error.
    async fn end(&mut self, input: &str) -> io::Result<(ExitStatus, String)> {
        let (stdin, stderr) = (self.child.stdin.take(), self.child.stderr.take());
        let mut said = Vec::new();
        let mut input_and_output = Box::pin(async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // A command need not read its input.
                    stdin.write_all(format!("{input}\n").as_bytes()).await.ok();
                }
            };
            let read = async {
                if let Some(stderr) = stderr {
                    keep_beginning(stderr, &mut said).await;
                }
            };
            tokio::join!(write, read);
        });
        let status = tokio::select! {
            () = &mut input_and_output => self.child.wait().await?,
            status = self.child.wait() => {
                // What it wrote last is still in the pipe. A process that it leaves behind may hold the pipe open for ever.
                timeout(LAST_WORDS, &mut input_and_output).await.ok();
                status?
            }
        };
        drop(input_and_output);
        self.group = None;
        Ok((status, excerpt(&said)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // The command has not been waited for, so its number can't be another process's by now. It may have ended by itself.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// Reads all, so that the command is never blocked, and keeps the beginning.
async fn keep_beginning(mut from: ChildStderr, kept: &mut Vec<u8>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let room = budget::NOTIFY_STDERR.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
}

/// The last line of what was kept, for a message: programs say there what is wrong.
fn excerpt(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let short: String = last.chars().take(budget::QUOTED).collect();
    if short.is_empty() { short } else { format!(": {}", printable(&short)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SOON: Duration = Duration::from_millis(500);
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn sh(script: &str, patience: Duration) -> Result<(), CommandError> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&words, "{\"event\":\"test\"}", &[("ASTRAN_BACKUP_EVENT", "test".to_owned())], patience).await
    }

    #[tokio::test]
    async fn a_command_gets_its_input_and_its_words_and_nothing_else_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let seen = dir.path().join("seen");
        sh(&format!("cat > {0}; env >> {0}", seen.display()), PATIENCE).await.unwrap();
        let seen = std::fs::read_to_string(seen).unwrap();
        assert!(seen.starts_with("{\"event\":\"test\"}\n") && seen.contains("ASTRAN_BACKUP_EVENT=test\n"), "{seen}");
        let allowed = ["PATH=", "HOME=", "LANG=", "ASTRAN_BACKUP_EVENT=", "PWD=", "SHLVL=", "_=", "OLDPWD=", "{"];
        assert!(seen.lines().all(|line| allowed.iter().any(|start| line.starts_with(start))), "{seen}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let error = sh(&format!("sleep 1000 & echo $! > {}; wait", pid.display()), SOON).await.unwrap_err();
        assert!(matches!(error, CommandError::TooLong(_)), "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let end = Instant::now() + PATIENCE;
        // A killed process may be a zombie until its new parent has waited for it.
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_alive() {
            assert!(Instant::now() < end, "the child of the command lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn much_output_blocks_no_command_and_only_its_beginning_is_kept() {
        let floods = "head -c 100000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 3";
        let error = sh(floods, PATIENCE).await.unwrap_err();
        assert!(error.to_string().len() < 4000, "{error}");
        assert!(matches!(error, CommandError::Failed { status, .. } if status.code() == Some(3)));
    }

    #[tokio::test]
    async fn a_command_that_leaves_a_process_behind_has_ended_all_the_same() {
        let start = Instant::now();
        sh("sleep 20 & exit 0", PATIENCE).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn the_error_says_what_the_command_said_last() {
        let error =
            sh("echo 'connecting'>&2; printf 'no such\\033[2J host\\n' >&2; exit 75", PATIENCE).await.unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with(": no such\\u{1b}[2J host") && text.contains("75"), "{text}");
        let missing = run(&["/nonexistent/tell".to_owned()], "", &[], PATIENCE).await.unwrap_err();
        assert!(missing.to_string().contains("can't be run"), "{missing}");
    }
}
