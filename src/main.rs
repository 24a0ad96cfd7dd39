//! The program: parses the command line, starts the log, runs the command, and ends with its exit code.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{ExitCode, Termination};

use astran_backup::cli::Cli;
use astran_backup::commands::{self, Run};
use astran_backup::config::Environment;
use astran_backup::exit::{Exit, Fatal};
use astran_backup::observe::logging;
use clap::Parser;

fn main() -> ExitCode {
    leave_no_core();
    keep_memory_together();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let run = Run::of(&cli);
    let environment = Environment::of_process();
    let variable = |name: &str| environment.get(name).map(OsStr::to_owned);
    let log = match logging::init(cli.global.log_format, cli.level(), variable) {
        Ok(log) => log,
        Err(error) => {
            let fatal = Fatal::new(Exit::Usage, error.to_string());
            // `eprintln!` would panic where standard error is closed, and so change the exit code.
            writeln!(std::io::stderr(), "{}", last_message(&fatal)).ok();
            run.end(Err(&fatal));
            return fatal.exit.report();
        }
    };
    let ended = start(cli, environment, &run);
    if let Some(sum) = run.sum() {
        log.sum(&sum);
    }
    log.finish(ended.as_ref().err().map(last_message).as_deref());
    run.end(ended.as_ref().copied());
    ended.unwrap_or_else(|fatal| fatal.exit).report()
}

fn last_message(fatal: &Fatal) -> String {
    format!("astran-backup: {fatal}")
}

/// Ends the program where the command line can't be understood, or asks for help or the version only.
fn refuse(error: &clap::Error) -> ExitCode {
    // Where standard output or standard error is closed, nobody wants the text.
    error.print().ok();
    if !error.use_stderr() {
        return Exit::Done.report();
    }
    let mut typed = std::env::args_os().skip(1).take_while(|argument| argument != "--");
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").trim_end();
    let fatal = Fatal::new(Exit::Usage, message);
    Run::refused(typed.any(|argument| argument == "--json")).end(Err(&fatal));
    fatal.exit.report()
}

fn start(cli: Cli, environment: Environment, run: &Run) -> Result<Exit, Fatal> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the program can't start: {error}")))?;
    let ended = runtime.block_on(commands::run(cli, environment, run));
    // The program does not wait for threads that block, at a prompt or in a share that does not answer.
    runtime.shutdown_background();
    ended
}

/// Has the allocator keep few heaps. By default it has eight for each processor, one for each thread that allocates at the same moment as
/// others, and each keeps what it once needed: a daemon that reads documents back had 54 MB in place of the 40 MB that it has with one heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn keep_memory_together() {
    const HEAPS: libc::c_int = 2;
    // SAFETY: mallopt may be called at any time; it takes plain integers, and no other thread runs yet. Where it refuses, nothing changes.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory_together() {}

/// Forbids core dumps, and debuggers of the same user: both would show the password and the tokens.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Where the system does not allow this, the program runs all the same; `check` shows it.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).ok();
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).ok();
}
