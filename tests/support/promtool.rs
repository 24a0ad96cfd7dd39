//! promtool, Prometheus' checker of metrics and alert rules. `.ci/run` sees to it that there is one.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What promtool complains about in metrics of Prometheus' text format; `None` without complaints.
pub fn faults(metrics: &str) -> Option<String> {
    complaints(&run(&["check", "metrics"], Path::new("/"), metrics)?)
}

/// Runs promtool in a folder. `None` where it is not installed.
pub fn run(arguments: &[&str], folder: &Path, input: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: promtool is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// What promtool said, where it found something.
pub fn complaints(output: &Output) -> Option<String> {
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    (!output.status.success() || text.to_lowercase().contains("error")).then_some(text)
}
