//! Realms and network addresses as people write them, in a flag, a variable or the file. Pure.
//!
//! An error says what is wrong and how to write it, without the place: the caller knows the place. No error repeats an address,
//! which may hold a password.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

/// A realm's name: what may stand in an address's path without being encoded.
pub(super) fn realm(text: &str) -> Result<String, String> {
    let simple = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if text.is_empty() || text.len() > 255 || !simple || text.starts_with('.') {
        return Err("is no realm: expects its bare name, such as my-realm, not an address".into());
    }
    Ok(text.to_owned())
}

/// The address that follows from the realm's name; `part` is `api.s5` or `auth`.
pub(super) fn of_realm(realm: &str, part: &str) -> Result<Url, String> {
    let label = realm.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !label || realm.is_empty() || realm.len() > 63 || realm.starts_with('-') || realm.ends_with('-') {
        return Err(format!("no address follows from the realm `{realm}`, which can't be part of a host's name"));
    }
    Url::parse(&format!("https://{realm}.{part}.astran.io")).map_err(|e| e.to_string())
}

/// An address of the service: https, or plain http on this machine; a path prefix is kept.
pub(super) fn service(text: &str) -> Result<Url, String> {
    const LIKE: &str = "https://my-realm.api.s5.astran.io";
    let url = parsed(text, LIKE)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password: leave them out, they belong in [login]".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a ? or # part: leave it out".into());
    }
    private(url, LIKE)
}

/// An address that is told of trouble: https, or plain http on this machine. Its user, path and query may be secrets.
pub(super) fn notify(text: &str) -> Result<Url, String> {
    const LIKE: &str = "https://hooks.example/your-secret";
    private(parsed(text, LIKE)?, LIKE)
}

fn parsed(text: &str, like: &str) -> Result<Url, String> {
    Url::parse(text.trim()).map_err(|e| format!("is no address ({e}): write it like {like}"))
}

/// Refuses an address that others on the way could read along.
fn private(url: Url, like: &str) -> Result<Url, String> {
    match url.scheme() {
        "https" if url.host().is_some() => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => {
            Err("is plain http, which everyone on the way can read: write https (http only to this machine)".into())
        }
        _ => Err(format!("is no https address: write it like {like}")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// An address of this machine to listen on; port 0 takes a free one.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is no IP address with a port: write it like 127.0.0.1:9464 or [::1]:9464, not as a name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*") {
            drop((service(&text), notify(&text), realm(&text), of_realm(&text, "auth"), listen(&text)));
        }

        #[test]
        fn no_error_repeats_what_an_address_holds(user in "[a-z]{8}", word in "[a-zA-Z0-9]{12}", scheme in "[a-z]{2,5}") {
            let text = format!("{scheme}://{user}:{word}@example.com:99999/");
            for why in [service(&text).unwrap_err(), notify(&text).unwrap_err()] {
                prop_assert!(!why.contains(&word) && !why.contains(&user), "{}", why);
            }
        }

        #[test]
        fn a_realm_cannot_leave_its_domain(text in "\\PC{1,80}") {
            if let Ok(url) = of_realm(&text, "auth") {
                prop_assert!(url.host_str().unwrap().ends_with(".auth.astran.io"));
                prop_assert_eq!(url.path(), "/");
            }
        }
    }

    #[test]
    fn addresses_to_listen_on_have_an_ip_and_a_port() {
        for good in ["127.0.0.1:9464", "[::1]:9464", "0.0.0.0:0"] {
            assert!(listen(good).is_ok(), "{good}");
        }
        for bad in
            ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "::1:9464", "127.0.0.1:99999", "http://127.0.0.1:1"]
        {
            assert!(listen(bad).unwrap_err().contains("127.0.0.1:9464"), "{bad}");
        }
    }

    #[test]
    fn plain_http_only_to_this_machine() {
        for good in
            ["http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:1/x", "http://localhost", "https://h/p/q"]
        {
            assert!(service(good).is_ok(), "{good}");
        }
        for bad in ["http://example.com", "http://localhost.example.com", "http://0.0.0.0", "http://[::2]", "ftp://h"] {
            assert!(service(bad).is_err(), "{bad}");
        }
        assert_eq!(service("https://h/a/b").unwrap().path(), "/a/b");
    }

    #[test]
    fn realms_are_simple_names() {
        for good in ["my-realm", "A_b.c", "42"] {
            assert!(realm(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "https://a", "a b", "a?b", "é", "a@b"] {
            assert!(realm(bad).is_err(), "{bad}");
        }
        assert!(of_realm("a_b", "auth").is_err());
    }
}
