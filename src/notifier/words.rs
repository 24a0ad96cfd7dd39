//! What is told of a failure: as it may leave this machine, and with the names in it. Pure.

use super::message::Words;
use crate::exit::{Exit, Fatal};
use crate::observe::health::Component;
use crate::upload::Failure;

/// Why a file failed.
pub(super) fn of_failure(failure: &Failure) -> Words {
    Words::new(public(failure), failure.to_string())
}

fn public(failure: &Failure) -> &'static str {
    match failure {
        Failure::Unreadable(_) => "a file can't be read",
        Failure::TooLarge { .. } => "a file is larger than max_size allows",
        Failure::Name(_) => "the vault can have no document of a file's name",
        Failure::NameTaken(_) => "a name in the vault is taken by other content",
        Failure::Refused(_) => "the service refuses a file",
        Failure::Doubtful(_) => "the service's answer does not fit the file that was sent",
        Failure::Earlier(_) => "a file failed before, and is unchanged",
        Failure::JournalRefuses(_) => "the journal refuses what an upload came to",
        Failure::NotRemoved(_) => "a file is stored, and can't be removed here",
        Failure::NotMoved { .. } => "a file failed, and can't be moved away",
        Failure::Gone => "a file is gone",
        Failure::NeverSettled(_) => "a file is written again and again",
        Failure::Internal => "an internal error",
    }
}

/// Why a failure that only the journal knows failed.
pub(super) fn of_journal(reason: String) -> Words {
    Words::new("a file failed before, and is unchanged", reason)
}

/// Why the program ended.
pub(super) fn of_fatal(fatal: &Fatal) -> Words {
    Words::new(of_exit(fatal.exit), &fatal.message)
}

fn of_exit(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "all is done",
        Exit::SomeFailed => "some files were not uploaded, or something else failed; the log says more",
        Exit::Usage => "the command line or the configuration can't be used; the log says why",
        Exit::LoginRefused => "the login is refused; the log says why",
        Exit::Missing => "the destination or a local path is missing; the log says which",
        Exit::Unreachable => "the service can't be reached",
        Exit::Held => "another instance holds a folder",
        Exit::Interrupted => "interrupted by a signal",
    }
}

/// A run that ended with this code.
pub(super) fn of_run(exit: Exit) -> Words {
    Words::new(of_exit(exit), of_exit(exit))
}

/// The trouble of a component. Its reason names nothing, but the component's name may.
pub(super) fn of_component(component: &Component, reason: &str) -> Words {
    let public = match component {
        Component::Destination(_) => "the destination of a folder".to_owned(),
        Component::Folder(_) => "a folder".to_owned(),
        other => other.to_string(),
    };
    Words::new(format!("{public}: {reason}"), format!("{component}: {reason}"))
}
