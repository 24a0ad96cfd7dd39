//! All kinds of trouble with a service; a test checks that the list is complete.

use astran_backup::sandbox::faults::{Call, Fault, Field, Garbage, Rule};

use crate::status;

/// All calls of the service.
pub(crate) const CALLS: [Call; 8] =
    [Call::Login, Call::Refresh, Call::Logout, Call::Me, Call::Children, Call::Filesystem, Call::Content, Call::Upload];

/// Trouble of the service, which is the fault of no file and no account.
pub(crate) fn service_troubles() -> Vec<Fault> {
    let mut troubles = Vec::new();
    for carried_out in [false, true] {
        troubles.extend([408, 429, 500, 502, 503, 504].map(|code| status(code, carried_out)));
        let garbage = [Garbage::Html, Garbage::Truncated, Garbage::Empty];
        troubles.extend(garbage.map(|body| Fault::Garbage { body, carried_out }));
    }
    troubles.extend(
        [Field::Size, Field::Name, Field::Sha256, Field::Id, Field::Content].map(|field| Fault::Wrong { field }),
    );
    troubles.extend([0, 1, 500_000].map(|bytes| Fault::CutBefore { bytes }));
    troubles.extend([
        Fault::CutAfter,
        Fault::Stall { ms: 700 },
        Fault::Delay { ms: 700 },
        Fault::Drip { bytes: 5, every_ms: 20 },
        Fault::Expire,
        Fault::Revoke,
        Fault::ExpireAll,
        Fault::Redirect { to: "http://127.0.0.1:9/elsewhere".into() },
        Fault::Status {
            status: 503,
            retry_after: Some(1),
            body: Some("<html>down for maintenance</html>".into()),
            content_type: Some("text/html".into()),
            carried_out: true,
        },
    ]);
    troubles
}

/// Trouble of the account, which an administrator has to mend.
pub(crate) fn account_troubles() -> Vec<Fault> {
    vec![
        Fault::DisableUser,
        Fault::RequireAction,
        Fault::Lock { ms: 60_000 },
        Fault::ChangePassword { password: "another".into() },
    ]
}

/// Trouble of the destination.
pub(crate) fn destination_troubles() -> Vec<Fault> {
    [403, 404].map(|code| status(code, false)).into()
}

/// Whether a login may be refused for it.
pub(crate) fn is_of_the_login(fault: &Fault) -> bool {
    account_troubles().contains(fault) || kills_tokens(fault)
}

/// Whether the fault invalidates tokens. New tokens that are refused again and again are trouble of the login.
pub(crate) fn kills_tokens(fault: &Fault) -> bool {
    matches!(fault, Fault::Expire | Fault::Revoke | Fault::ExpireAll)
}

/// How often in a row the fault may come and still be trouble of the service.
pub(crate) fn most(fault: &Fault) -> u64 {
    if kills_tokens(fault) { 1 } else { u64::MAX }
}

/// Whether a false answer to this call can't be told from a true one, so that a file may be sent again or blamed because of it:
/// answers about other documents than the one just sent, and content that is not the document's.
pub(crate) fn is_believed(call: Call, fault: &Fault) -> bool {
    let looks = matches!(call, Call::Filesystem | Call::Children | Call::Content | Call::Any);
    let content = matches!(call, Call::Content | Call::Any);
    match fault {
        Fault::Wrong { .. } => looks,
        Fault::Garbage { body, .. } => content && *body != Garbage::Empty,
        _ => false,
    }
}

/// The values of a key of the rules, as the documentation of the module lists them.
fn documented(table: &str, column: &str) -> Vec<String> {
    let text = include_str!("../../src/sandbox/faults.rs");
    let rows = text.lines().map(|line| line.trim_start_matches("//! ")).skip_while(|line| !line.starts_with(table));
    let cells = rows.skip(2).take_while(|line| line.starts_with("| ")).flat_map(|line| match column {
        "" => line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect::<Vec<_>>(),
        _ if line.contains(column) => {
            line.split('|').nth(2).unwrap_or_default().split('`').skip(1).step_by(2).collect()
        }
        _ => Vec::new(),
    });
    cells.map(str::to_owned).collect()
}

#[test]
fn no_kind_of_trouble_and_no_call_is_forgotten() {
    let as_json = |rule: &Rule| serde_json::to_value(rule).unwrap();
    let all: Vec<Fault> = [service_troubles(), account_troubles()].concat();
    let rules: Vec<serde_json::Value> = all.iter().map(|fault| as_json(&Rule::new(Call::Any, fault.clone()))).collect();
    let has = |key: &str, value: &str| rules.iter().any(|rule| rule["do"][key] == value);
    let kinds = documented("| `kind` |", "");
    assert!(kinds.len() >= 16, "{kinds:?}");
    for kind in &kinds {
        assert!(has("kind", kind), "{kind}");
    }
    for body in ["html", "truncated", "empty"] {
        assert!(has("body", body), "{body}");
    }
    for field in ["size", "name", "sha256", "id", "content"] {
        assert!(has("field", field), "{field}");
    }
    let calls = documented("| key |", "`call`");
    assert!(calls.len() == CALLS.len() + 1, "{calls:?}");
    for call in CALLS {
        assert!(calls.iter().any(|name| as_json(&Rule::new(call, Fault::CutAfter))["call"] == **name), "{call:?}");
    }
}
