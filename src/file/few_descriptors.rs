//! For tests: a process that may open only a few files.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const IN_CHILD: &str = "ASTRAN_BACKUP_TEST_WITH_FEW_DESCRIPTORS";

/// Runs a test once more in a process of its own, with this limit; the limit would fail other tests of this process. Returns true
/// in that process, where the test goes on; and false here, where it has passed.
///
/// `test` is the test's full name.
pub(crate) fn in_process_with(limit: u64, test: &str) -> bool {
    if std::env::var_os(IN_CHILD).is_some() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(IN_CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}
