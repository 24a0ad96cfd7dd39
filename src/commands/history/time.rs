//! Points in time on the command line and in what is printed.

use std::time::{Duration, SystemTime};

/// The point in time that lies this long ago; `None` for all times.
pub(in crate::commands) fn ago(since: Option<Duration>) -> Option<SystemTime> {
    SystemTime::now().checked_sub(since?)
}

/// UTC with nanoseconds. This form has no years before 1970, so an earlier time is shown as 1970.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time.max(SystemTime::UNIX_EPOCH)).to_string()
}
