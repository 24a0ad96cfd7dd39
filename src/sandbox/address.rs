//! Parsers of request addresses, as strict as the contract. Pure.

use percent_encoding::percent_decode_str;

use crate::vault::RemotePath;

/// The target of a path, whatever the method. Its parts are still percent-encoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Me,
    Children { id: &'a str },
    Filesystem { path: &'a str },
    Realm { realm: &'a str, endpoint: &'a str },
    Control { name: &'a str },
    Nothing,
}

/// Returns the route of a path. The sandbox's own prefix is removed already.
pub(super) fn route(path: &str) -> Route<'_> {
    if let Some(call) = path.strip_prefix("/api/v2.1/") {
        return api_route(call);
    }
    if let Some(name) = path.strip_prefix("/sandbox/") {
        return Route::Control { name };
    }
    match path.strip_prefix("/auth/realms/").and_then(|rest| rest.split_once('/')) {
        Some((realm, endpoint)) => Route::Realm { realm, endpoint },
        None => Route::Nothing,
    }
}

fn api_route(call: &str) -> Route<'_> {
    if call == "users/me" {
        return Route::Me;
    }
    if let Some(id) = call.strip_prefix("files/").and_then(|rest| rest.strip_suffix("/children")) {
        return if id.contains('/') { Route::Nothing } else { Route::Children { id } };
    }
    match call.strip_prefix("filesystem") {
        Some(path) if path.is_empty() || path.starts_with('/') => Route::Filesystem { path },
        _ => Route::Nothing,
    }
}

/// Decodes one segment of a path. The error is the text of the answer.
pub(super) fn segment(raw: &str) -> Result<String, String> {
    let mut rest = raw.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if !digits {
            return Err(format!("{raw:?} holds a % that is not followed by two hexadecimal digits"));
        }
        rest = &rest[at + 3..];
    }
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(format!("{raw:?} is not UTF-8")),
    }
}

/// Decodes a path of the vault. Doubled slashes are tolerated, since the vendor's own client sends them.
pub(super) fn vault_path(raw: &str) -> Result<RemotePath, String> {
    raw.split('/').filter(|part| !part.is_empty()).try_fold(RemotePath::default(), |path, part| {
        let name = segment(part)?;
        let single = !name.contains(['/', '\0']) && name != "." && name != "..";
        if single { Ok(path.join(&name)) } else { Err(format!("{part:?} can't be a part of a path")) }
    })
}

/// Parses a query that must have just these parameters, each once. A `+` is a space.
pub(super) fn query<const N: usize>(raw: Option<&str>, names: [&str; N]) -> Result<[String; N], String> {
    let mut values = [const { None }; N];
    for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let at = names.iter().position(|n| *n == name).ok_or_else(|| format!("unknown query parameter {name:?}"))?;
        if values[at].replace(segment(&value.replace('+', " "))?).is_some() {
            return Err(format!("query parameter {name:?} is given twice"));
        }
    }
    for (name, value) in names.iter().zip(&values) {
        if value.is_none() {
            return Err(format!("query parameter {name:?} is missing"));
        }
    }
    Ok(values.map(Option::unwrap_or_default))
}

/// Parses `true` or `false` in upper or lower case: the vendor's client sends Python's spelling.
pub(super) fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Ok(true),
        _ if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("query parameter {name:?} must be true or false, not {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_path_has_its_route() {
        assert_eq!(route("/api/v2.1/users/me"), Route::Me);
        assert_eq!(route("/api/v2.1/files/x%2Fy/children"), Route::Children { id: "x%2Fy" });
        assert_eq!(route("/api/v2.1/filesystem//HR"), Route::Filesystem { path: "//HR" });
        assert_eq!(route("/api/v2.1/filesystem"), Route::Filesystem { path: "" });
        let realm = Route::Realm { realm: "hr", endpoint: "protocol/openid-connect/token" };
        assert_eq!(route("/auth/realms/hr/protocol/openid-connect/token"), realm);
        for nothing in ["/", "/api/v2.1/filesystems", "/api/v2.1/files/a/b/children", "/api/v2.0/users/me", "/users/me"]
        {
            assert_eq!(route(nothing), Route::Nothing, "{nothing}");
        }
    }

    #[test]
    fn a_query_has_just_its_parameters() {
        let read = |raw| query(Some(raw), ["name", "isMajor"]);
        assert_eq!(read("isMajor=True&name=a+b%2Bc%26d").unwrap(), ["a b+c&d", "True"]);
        for bad in ["name=a", "name=a&isMajor=true&name=b", "name=a&isMajor=true&x=1", "name=%zz&isMajor=true", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn malformed_segments_are_refused() {
        for bad in ["%", "%4", "%zz", "%ff", "a%"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
        for bad in ["a/%2E%2E", "a/..", "a%2Fb", "a%00"] {
            assert!(vault_path(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_out_as_it_went_in(name in "\\PC*") {
            let encoded = utf8_percent_encode(&name, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(segment(&encoded).unwrap(), name.clone());
            let raw = format!("name={encoded}");
            prop_assert_eq!(query(Some(&raw), ["name"]).unwrap(), [name]);
        }

        #[test]
        fn no_text_makes_the_parsers_fail(raw in any::<String>()) {
            prop_assert!(segment(&raw).is_ok() || raw.contains('%'));
            if let Ok(path) = vault_path(&raw) {
                prop_assert!(path.segments().iter().all(|s| !s.is_empty() && !s.contains('/') && s != ".."));
            }
        }
    }
}
